from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dragoman.errors import UpstreamGarbled
from dragoman.wire.jsonarray import ArrayAligner, JsonArrayReader, is_closed, last_element

VALUES: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.text(max_size=6), VALUES, max_size=4)


def read(*pieces: bytes) -> tuple[list[Any], bool]:
    reader = JsonArrayReader()
    found = [json.loads(element) for piece in pieces for element in reader.feed(piece)]
    return found, reader.end()


@given(st.lists(OBJECTS, max_size=4), st.sampled_from([None, 1]), st.booleans())
def test_every_element_comes_out_wherever_the_bytes_are_cut(objects: list[Any], indent: int | None, ascii_: bool) -> None:
    whole = json.dumps(objects, indent=indent, ensure_ascii=ascii_).encode("utf-8", "surrogatepass")
    assert read(whole) == (objects, True)
    for size in (1, 3, 7):
        assert read(*(whole[start : start + size] for start in range(0, len(whole), size))) == (objects, True)


def test_an_element_is_given_as_soon_as_it_is_whole() -> None:
    reader = JsonArrayReader()
    assert reader.feed(b'[{"a": "}\\"') == []
    assert reader.feed(b'{["}') == [b'{"a": "}\\"{["}']
    assert reader.feed(b",\r\n") == []
    assert reader.feed(b'{"b":1}, {"c":[') == [b'{"b":1}']
    assert not reader.end()
    assert reader.feed(b"]}]\n") == [b'{"c":[]}']
    assert reader.whole
    assert reader.end()


def test_an_escape_that_is_cut_in_half_is_put_together() -> None:
    assert read(b'[{"a":"x\\', b'"y"}', b"]") == ([{"a": 'x"y'}], True)


def test_an_object_alone_is_its_only_element() -> None:
    assert read(b'\xef\xbb\xbf {"error":', b'{"code":1}}', b"\n") == ([{"error": {"code": 1}}], True)


def test_an_array_that_broke_off_is_not_whole() -> None:
    assert read(b'[{"a":1},') == ([{"a": 1}], False)
    assert read(b'[{"a":') == ([], False)
    assert read(b"") == ([], True)


def test_what_comes_after_the_array_is_ignored() -> None:
    assert read(b'[{"a":1}] {"b":2}') == ([{"a": 1}], True)


@pytest.mark.parametrize("garbage", [b"<html>", b"[1]", b"[[]]", b'["x"]', b"data: {}"])
def test_anything_but_objects_is_refused(garbage: bytes) -> None:
    with pytest.raises(UpstreamGarbled):
        JsonArrayReader().feed(garbage)


def test_an_element_is_bounded() -> None:
    reader = JsonArrayReader(limit=100)
    with pytest.raises(UpstreamGarbled, match="larger than 100"):
        reader.feed(b'[{"a":"' + b"x" * 200)


@given(st.binary(max_size=200))
def test_no_bytes_do_worse_than_be_refused(data: bytes) -> None:
    with contextlib.suppress(UpstreamGarbled):
        JsonArrayReader().feed(data)


@given(st.lists(OBJECTS, max_size=4), st.sampled_from([None, 1]), st.sampled_from([1, 3, 7, 1000]), st.sampled_from([4, 1000]))
def test_an_aligner_gives_everything_out_again_and_stops_between_elements(
    objects: list[Any], indent: int | None, size: int, limit: int
) -> None:
    whole = json.dumps(objects, indent=indent).encode() + b"\n"
    aligner = ArrayAligner(limit)
    out = b""
    for start in range(0, len(whole), size):
        ready = aligner.feed(whole[start : start + size])
        out += ready
        assert whole.startswith(out)
        if ready and aligner.between:
            # Here an error of ours could stand.
            found = json.loads(out if is_closed(out) else out + b"]")
            assert found == objects[: len(found)]
        # The end is seen at the end and not before.
        assert is_closed(ready) == (bool(ready.strip()) and out.rstrip() == whole.rstrip())
    assert out + aligner.rest == whole


@given(st.lists(OBJECTS, min_size=1, max_size=3), st.sampled_from([None, 1]), st.integers(0, 40))
def test_the_last_element_is_found_from_the_end(objects: list[Any], indent: int | None, cut: int) -> None:
    whole = json.dumps(objects, indent=indent).encode()
    found = last_element(whole[cut:])
    assert found is not None or cut
    assert found is None or json.loads(found) == objects[-1]
    assert last_element(b"[]") is None
    assert last_element(b'"}]') is None
