"""Signatures in bodies that go from Messages to Messages untouched."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from dragoman.dialects.sealing import Sealing, SignedThinking, values_of

# In a text the quotes would be escaped. A member of that name in a call's input does no harm here.
_VALUES = re.compile(rb'"(?:signature|data)"\s*:\s*"([^"\\]+)"')


def _value(block: dict[str, Any]) -> object:
    match block.get("type"):
        case "thinking":
            return block.get("signature")
        case "redacted_thinking":
            return block.get("data")
        case _:
            return None


def _off(fields: dict[str, msgspec.Raw]) -> None:
    if b'"enabled"' in bytes(fields.get("thinking", b"")):
        fields["thinking"] = msgspec.Raw(b'{"type":"disabled"}')


_THINKING = SignedThinking(mark=b"thinking", value=_value, result=b'"tool_result"', off=_off)

SEALING = Sealing((b'"signature"', b"redacted_thinking"), values_of(_VALUES), _THINKING.without)
