"""Small GGUF files: a head that says something, and no tensors."""

from __future__ import annotations

import struct
from collections.abc import Mapping

Value = int | str | list[int]


def gguf(said: Mapping[str, Value], *, version: int = 3, magic: bytes = b"GGUF") -> bytes:
    body = b"".join(_text(key) + _value(value) for key, value in said.items())
    return magic + struct.pack("<IQQ", version, 0, len(said)) + body


def _text(text: str) -> bytes:
    raw = text.encode()
    return struct.pack("<Q", len(raw)) + raw


def _value(value: Value) -> bytes:
    match value:
        case str():
            return struct.pack("<I", 8) + _text(value)
        case int():
            return struct.pack("<IQ", 10, value)
        case list():
            return struct.pack("<IIQ", 9, 4, len(value)) + struct.pack(f"<{len(value)}I", *value)


def plausible(**more: Value) -> dict[str, Value]:
    """What a llama of two layers says: 2 * 2 * (64 + 64) * 2 = 1024 bytes for each token."""
    return {
        "general.architecture": "llama",
        "llama.context_length": 2048,
        "llama.block_count": 2,
        "llama.embedding_length": 256,
        "llama.attention.head_count": 4,
        "llama.attention.head_count_kv": 2,
        **more,
    }
