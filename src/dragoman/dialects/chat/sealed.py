"""Sealed thinking in bodies that go from Chat to Chat untouched: `reasoning_details`, and what hangs on a tool call."""

from __future__ import annotations

import re
from typing import Any, cast

import msgspec

from dragoman.dialects.sealing import Foreign, Sealing, sifted, values_of

Block = dict[str, Any]

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_encode = msgspec.json.Encoder().encode

_DETAILS, _SIGNATURE = b"reasoning_details", b"thought_signature"
_VALUES = re.compile(rb'"(?:signature|data|thought_signature)"\s*:\s*"([^"\\]+)"')


def _without(body: bytes, foreign: Foreign) -> tuple[bytes, int]:
    def message(raw: msgspec.Raw) -> tuple[msgspec.Raw, int]:
        data = bytes(raw)
        return _message(raw, foreign) if _DETAILS in data or _SIGNATURE in data else (raw, 0)

    found = sifted(body, "messages", message)
    return (found.encoded(), found.taken) if found is not None else (body, 0)


def _message(raw: msgspec.Raw, foreign: Foreign) -> tuple[msgspec.Raw, int]:
    try:
        fields = _fields.decode(raw)
        details = msgspec.json.decode(fields.get("reasoning_details", b"null"))
        calls = msgspec.json.decode(fields.get("tool_calls", b"null"))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return raw, 0
    taken = 0
    if isinstance(details, list):
        natives = cast("list[Any]", details)
        kept = [item for item in natives if not _is_foreign(item, foreign)]
        if len(kept) < len(natives):
            taken += len(natives) - len(kept)
            fields["reasoning_details"] = msgspec.Raw(_encode(kept))
            if not kept:
                del fields["reasoning_details"]
    if isinstance(calls, list):
        natives = cast("list[Any]", calls)
        count = sum(_bare(call, foreign) for call in natives)
        if count:
            taken += count
            fields["tool_calls"] = msgspec.Raw(_encode(natives))
    return (msgspec.Raw(_encode(fields)), taken) if taken else (raw, 0)


def _is_foreign(item: Any, foreign: Foreign) -> bool:
    if not isinstance(item, dict):
        return False
    native = cast("Block", item)
    return any(isinstance(value := native.get(key), str) and value and foreign(value) for key in ("signature", "data"))


def _bare(call: Any, foreign: Foreign) -> bool:
    """Whether the call was another's; what hung on it is gone then."""
    extra: Any = cast("Block", call).get("extra_content") if isinstance(call, dict) else None
    inner: Any = cast("Block", extra).get("google") if isinstance(extra, dict) else None
    value: Any = cast("Block", inner).get("thought_signature") if isinstance(inner, dict) else None
    if not (isinstance(value, str) and value and foreign(value)):
        return False
    del call["extra_content"]
    return True


SEALING = Sealing((_DETAILS, _SIGNATURE), values_of(_VALUES), _without, customary=False)
