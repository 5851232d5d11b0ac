"""The head of a GGUF file: enough to say, before anything is loaded, whether it is one and what it will need.

https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

_SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
_STRING, _ARRAY = 8, 9

_LONGEST_NAME = 65_535
"""Of a key, by the specification."""

_LONGEST = 1 << 20
"""Bytes of a string and elements of an array that are believed."""

_KV_BYTES = 2
"""Of one number in the cache: half precision."""


class NotGguf(ValueError):
    """`str(error)` continues the sentence "FILE ..."."""


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """`size` in bytes. `context`: tokens the model was trained on. `token_bytes`: what one token of context costs.
    The two are None where the file does not say."""

    size: int
    architecture: str = ""
    context: int | None = None
    token_bytes: int | None = None


def read_head(path: Path) -> Head:
    """Raises `NotGguf`, and `OSError` where the file cannot be read."""
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise NotGguf("is not a GGUF file")
        try:
            said = _metadata(file)
        except struct.error:
            raise NotGguf("is a GGUF file that breaks off in its head") from None
        except (UnicodeDecodeError, OverflowError, KeyError):
            raise NotGguf("is a GGUF file with a damaged head") from None
    return _head(said, path.stat().st_size)


def _metadata(file: BinaryIO) -> dict[str, Any]:
    """Everything before the tokenizer, whose tables are long; writers put it last."""
    version = _number(file, "<I")
    if version not in {2, 3}:
        raise NotGguf(f"is a GGUF file of version {version}; versions 2 and 3 are known")
    _number(file, "<Q")
    said: dict[str, Any] = {}
    for _ in range(_number(file, "<Q")):
        key = _text(file, _LONGEST_NAME)
        if key.startswith("tokenizer."):
            break
        said[key] = _value(file, _number(file, "<I"))
    return said


def _value(file: BinaryIO, kind: int) -> Any:
    if kind == _STRING:
        return _text(file, _LONGEST)
    if kind == _ARRAY:
        inner, count = _number(file, "<I"), _number(file, "<Q")
        if count > _LONGEST or inner == _ARRAY:
            raise OverflowError
        return [_value(file, inner) for _ in range(count)]
    return _number(file, _SCALARS[kind])


def _number(file: BinaryIO, form: str) -> Any:
    return struct.unpack(form, file.read(struct.calcsize(form)))[0]


def _text(file: BinaryIO, longest: int) -> str:
    length = _number(file, "<Q")
    if length > longest:
        raise OverflowError
    raw = file.read(length)
    if len(raw) != length:
        raise struct.error
    return raw.decode()


def _head(said: dict[str, Any], size: int) -> Head:
    architecture = str(said.get("general.architecture", ""))

    def figure(name: str) -> int | None:
        value = said.get(f"{architecture}.{name}")
        return value if isinstance(value, int) and value > 0 else None

    layers, width, heads = figure("block_count"), figure("embedding_length"), figure("attention.head_count")
    narrow = said.get(f"{architecture}.attention.head_count_kv", heads)
    each = width // heads if width and heads else 0
    key, value = figure("attention.key_length") or each, figure("attention.value_length") or each
    token_bytes = None
    if layers and key and value:
        if isinstance(narrow, int):
            token_bytes = layers * narrow * (key + value) * _KV_BYTES
        elif isinstance(narrow, list):
            token_bytes = sum(count for count in narrow if isinstance(count, int)) * (key + value) * _KV_BYTES
    return Head(size=size, architecture=architecture, context=figure("context_length"), token_bytes=token_bytes)
