"""`countTokens`, both sides: `POST /v1beta/models/M:countTokens`. Types: `google.genai.types.CountTokensResponse`.

A request holds either the contents alone or, so that instructions and tools count too, a whole `generateContentRequest`.
"""

from __future__ import annotations

import msgspec

from dragoman.dialects.base import Target
from dragoman.dialects.gemini.decode_request import decode_request
from dragoman.dialects.gemini.encode_request import request_body
from dragoman.errors import UpstreamGarbled
from dragoman.ir.losses import Ledger
from dragoman.ir.request import Request
from dragoman.wire.body import fields_of
from dragoman.wire.json import loads

_KEYS = ("generateContentRequest", "generate_content_request")


def decode_count(body: bytes) -> Request:
    """The request whose tokens are to be counted. Its model, where it names one, is the path's as well."""
    fields = fields_of(body)
    held = next((fields[key] for key in _KEYS if key in fields), None)
    return decode_request(bytes(held) if held is not None else body)


def encode_count(request: Request, target: Target, ledger: Ledger) -> bytes:
    """Counted through the same transformation as an inference, so that both agree."""
    inner = {"model": f"models/{target.model}", **request_body(request, target, ledger)}
    return msgspec.json.encode({"generateContentRequest": inner})


def decode_counted(body: bytes, issuer: str) -> int:
    """The number of tokens. Raises `UpstreamGarbled`."""
    try:
        native = loads(body)
    except ValueError:
        native = None
    # A number of nought is left out.
    total = native.get("totalTokens", 0) if isinstance(native, dict) and "error" not in native else None
    if not isinstance(total, int) or isinstance(total, bool) or total < 0:
        raise UpstreamGarbled(f"the answer is not a count of tokens: {body[:80]!r}", provider=issuer)
    return total


def encode_counted(tokens: int) -> bytes:
    return msgspec.json.encode({"totalTokens": tokens, "promptTokensDetails": [{"modality": "TEXT", "tokenCount": tokens}]})
