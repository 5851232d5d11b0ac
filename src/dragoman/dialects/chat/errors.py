"""Errors as Chat Completions puts them: with a status as in `openai_errors`, or as a frame of a stream."""

from __future__ import annotations

import msgspec

from dragoman.dialects.openai_errors import decode_error, encode_error, error_body
from dragoman.errors import DragomanError

__all__ = ["decode_error", "encode_error", "stream_error"]


def stream_error(error: DragomanError, request_id: str) -> bytes:  # noqa: ARG001 - a frame has no place for it
    return b"data: %b\n\n" % msgspec.json.encode(error_body(error))
