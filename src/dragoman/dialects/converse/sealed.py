"""Signatures in bodies that go from Converse to Converse untouched."""

from __future__ import annotations

import re
from typing import Any, cast

import msgspec

from dragoman.dialects.sealing import Sealing, SignedThinking, values_of

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_encode = msgspec.json.Encoder().encode

# In a text the quotes would be escaped. A member of that name in a call's input does no harm here.
_VALUES = re.compile(rb'"(?:signature|redactedContent)"\s*:\s*"([^"\\]+)"')


def _value(block: dict[str, Any]) -> object:
    reasoning = block.get("reasoningContent")
    if not isinstance(reasoning, dict):
        return None
    held = cast("dict[str, Any]", reasoning)
    inner = held.get("reasoningText")
    return cast("dict[str, Any]", inner).get("signature") if isinstance(inner, dict) else held.get("redactedContent")


def _off(fields: dict[str, msgspec.Raw]) -> None:
    try:
        more = _fields.decode(fields["additionalModelRequestFields"])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, KeyError):
        return
    for key in ("thinking", "reasoning_config"):
        if b'"enabled"' in bytes(more.get(key, b"")):
            more[key] = msgspec.Raw(b'{"type":"disabled"}')
            fields["additionalModelRequestFields"] = msgspec.Raw(_encode(more))


_THINKING = SignedThinking(
    mark=b"reasoningContent", value=_value, result=b'"toolResult"', nothing=b'[{"text":"(no text)"}]', off=_off
)

SEALING = Sealing((b'"signature"', b'"redactedContent"'), values_of(_VALUES), _THINKING.without)
