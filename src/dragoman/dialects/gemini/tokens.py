"""`countTokens`, both sides: `POST /v1beta/models/M:countTokens`. Types: `google.genai.types.CountTokensResponse`.

A request holds either the contents alone or, so that instructions and tools count too, a whole `generateContentRequest`.
"""

from __future__ import annotations

import msgspec

from dragoman.dialects.counts import count_of
from dragoman.dialects.gemini.decode_request import decode_request
from dragoman.ir.request import Request
from dragoman.wire.body import fields_of

_KEYS = ("generateContentRequest", "generate_content_request")


def decode_count(body: bytes) -> Request:
    """The request whose tokens are to be counted. Its model, where it names one, is the path's as well."""
    fields = fields_of(body)
    held = next((fields[key] for key in _KEYS if key in fields), None)
    return decode_request(bytes(held) if held is not None else body)


def encode_count(body: bytes, model: str) -> bytes:
    """Of the body of an inference: counted is what would be sent."""
    inner = {"model": msgspec.Raw(msgspec.json.encode(f"models/{model}")), **fields_of(body)}
    return msgspec.json.encode({"generateContentRequest": inner})


def decode_counted(body: bytes, issuer: str) -> int:
    """The number of tokens. Raises `UpstreamGarbled`."""
    return count_of(body, "totalTokens", issuer, 0)  # a number of nought is left out


def encode_counted(tokens: int) -> bytes:
    return msgspec.json.encode({"totalTokens": tokens, "promptTokensDetails": [{"modality": "TEXT", "tokenCount": tokens}]})
