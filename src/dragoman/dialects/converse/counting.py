"""Counting tokens, `POST /model/{modelId}/count-tokens`. Types: `CountTokensRequest`, `ConverseTokensRequest`."""

from __future__ import annotations

import msgspec

from dragoman.dialects.base import Counting
from dragoman.dialects.converse import paths
from dragoman.dialects.converse.decode_request import decode_request
from dragoman.dialects.counts import count_of, only
from dragoman.dialects.raw import raw_object
from dragoman.errors import MalformedBody
from dragoman.ir.request import Request
from dragoman.wire.body import fields_of

_COUNTED = frozenset({"messages", "system", "toolConfig", "additionalModelRequestFields"})
"""What has tokens. The rest of a request is refused here."""


def _decode(body: bytes) -> Request:
    """A Converse request within `input`. The other form, another API's body as bytes, only its provider can read."""
    whole = raw_object(fields_of(body).get("input"), (None, "input")).get("converse")
    if whole is None:
        raise MalformedBody("input: expected converse, the one form of a request that is counted here", param="input")
    return decode_request(bytes(whole))


def _encode(tokens: int) -> bytes:
    return msgspec.json.encode({"inputTokens": tokens})


def _address(url: str, model: str) -> str:
    return paths.upstream_url(url, model, "count-tokens")


def _asked(body: bytes, model: str) -> bytes:
    del model  # stands in the path
    return b'{"input":{"converse":%b}}' % only(body, _COUNTED)


def _counted(body: bytes, issuer: str) -> int:
    return count_of(body, "inputTokens", issuer)


COUNTING = Counting(_decode, _encode, _address, _asked, _counted)
