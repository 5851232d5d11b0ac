from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dragoman.wire.json import Halves, clean, loads
from dragoman.wire.partial import arguments_object, mended_object, whole


@pytest.mark.parametrize(
    ("text", "expected"),
    [("", True), (" \n", True), ("{}", True), ('{"a": [1]}', True), ('{"a": ', False), ('{"a": 1', False), ("nul", False)],
)
def test_whole_tells_a_complete_value_from_a_broken_one(text: str, expected: bool) -> None:
    assert whole(text) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"path": "a.txt", "content": "It was', {"path": "a.txt"}),
        ('{"a": {"b": 1, "c": [1, 2', {"a": {"b": 1, "c": [1, 2]}}),
        ('{"a": "x,y}", "b": tr', {"a": "x,y}"}),
        ("{", {}),
        ("", {}),
        ('{"a": "\\"', {}),
        ("nonsense", {}),
    ],
)
def test_a_broken_object_is_read_as_far_as_it_is_whole(text: str, expected: dict[str, object]) -> None:
    assert mended_object(text) == expected


def test_arguments_are_an_object_or_nothing() -> None:
    assert arguments_object("") == {}
    assert arguments_object('{"a": 1}') == {"a": 1}
    assert arguments_object("[1]") is None
    assert arguments_object("{") is None


@given(st.text(st.characters(codec="utf-16"), max_size=20), st.data())
def test_halves_of_characters_are_joined_whatever_the_cut(text: str, data: st.DataObject) -> None:
    units = text.encode("utf-16-le")
    cut = 2 * data.draw(st.integers(0, len(units) // 2))
    pieces = [part.decode("utf-16-le", "surrogatepass") for part in (units[:cut], units[cut:])]
    halves = Halves()
    assert "".join(halves.join(piece) for piece in pieces) + halves.rest() == text


def test_a_half_that_stays_alone_becomes_the_replacement_character() -> None:
    halves = Halves()
    assert halves.join("a\ud83d") == "a"
    assert halves.rest() == "\ufffd"
    assert clean({"\ud83d": ["x\ude00"]}) == {"\ufffd": ["x\ufffd"]}


def test_what_python_servers_write_is_read() -> None:
    assert loads(b'{"a": NaN, "b": [-Infinity, 1]}') == {"a": None, "b": [None, 1]}
    with pytest.raises(ValueError, match="property"):
        loads(b"{nope")
    with pytest.raises(ValueError, match=r"deep|recursion"):
        loads(b"[" * 100_000)
