"""What the head of a GGUF file tells, and how a damaged one is refused."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dragoman.io.gguf import Head, NotGguf, read_head
from tests.io.gguf_files import gguf, plausible


def head_of(tmp_path: Path, raw: bytes) -> Head:
    file = tmp_path / "model.gguf"
    file.write_bytes(raw)
    return read_head(file)


def test_the_head_says_how_long_the_context_may_be_and_what_a_token_of_it_costs(tmp_path: Path) -> None:
    raw = gguf(plausible())
    assert head_of(tmp_path, raw) == Head(size=len(raw), architecture="llama", context=2048, token_bytes=1024)


def test_heads_of_unusual_width_and_layers_of_different_width_count_for_what_they_are(tmp_path: Path) -> None:
    widths = {"llama.attention.key_length": 10, "llama.attention.value_length": 6, "llama.attention.head_count_kv": [1, 3]}
    assert head_of(tmp_path, gguf(plausible(**widths))).token_bytes == (1 + 3) * (10 + 6) * 2


def test_a_model_without_narrow_heads_has_them_all(tmp_path: Path) -> None:
    said = plausible()
    del said["llama.attention.head_count_kv"]
    assert head_of(tmp_path, gguf(said)).token_bytes == 2048


def test_a_file_that_says_nothing_is_a_file_about_which_nothing_is_known(tmp_path: Path) -> None:
    raw = gguf({})
    assert head_of(tmp_path, raw) == Head(size=len(raw))


def test_nothing_behind_the_first_word_of_the_tokenizer_is_read(tmp_path: Path) -> None:
    raw = gguf({**plausible(), "tokenizer.ggml.model": "gpt2"})
    assert head_of(tmp_path, raw[:-5]).context == 2048


@pytest.mark.parametrize("raw", [b"", b"GGU", b"GGML" + bytes(100), b"<!DOCTYPE html>"])
def test_another_kind_of_file_is_called_so(raw: bytes, tmp_path: Path) -> None:
    with pytest.raises(NotGguf, match=r"^is not a GGUF file$"):
        head_of(tmp_path, raw)


def test_an_unknown_version_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotGguf, match=r"^is a GGUF file of version 7; versions 2 and 3 are known$"):
        head_of(tmp_path, gguf({}, version=7))


def test_a_head_cut_anywhere_is_called_cut(tmp_path: Path) -> None:
    raw = gguf(plausible())
    for length in range(4, len(raw)):
        with pytest.raises(NotGguf, match=r"^is a GGUF file that breaks off in its head$"):
            head_of(tmp_path, raw[:length])


@pytest.mark.parametrize(
    "raw",
    [
        gguf({"k": "v"})[:24] + b"\xff" * 60,
        gguf({"k": "v"}).replace(b"\x08\x00\x00\x00", b"\x63\x00\x00\x00"),
        gguf({"\udcff".encode("utf-8", "surrogateescape").decode("latin-1"): "v"}).replace(b"\xc3\xbf", b"\xff\xfe"),
        gguf({"k": [1, 2]}).replace(b"\x02" + bytes(7), b"\x02" + bytes(6) + b"\x01"),
        gguf({"k": [9, 9]}).replace(b"\x04\x00\x00\x00", b"\x09\x00\x00\x00"),
    ],
    ids=["endless key", "unknown type", "key that is no text", "endless array", "arrays of arrays"],
)
def test_a_damaged_head_is_called_damaged(raw: bytes, tmp_path: Path) -> None:
    with pytest.raises(NotGguf, match=r"^is a GGUF file with a damaged head$"):
        head_of(tmp_path, raw)


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_rubbish_behind_the_magic_is_read_or_refused_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, rubbish: bytes
) -> None:
    file = tmp_path_factory.getbasetemp() / "rubbish.gguf"
    file.write_bytes(b"GGUF\x03\x00\x00\x00" + rubbish)
    with contextlib.suppress(NotGguf):
        read_head(file)
