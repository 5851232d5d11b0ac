"""Carriers: how sealed state survives a client whose dialect has no place for it.

A Messages answer may hold thinking with a signature, which Anthropic wants back, byte for byte, on the
next turn. A Chat client keeps neither; but it does keep a tool call's id, and replays it exactly. So the
state rides in the id:

    toolu_01A  ->  toolu_01A-dgm1-<base64url(zlib(json))>

and where a dialect has a native place for opaque state that is not its issuer's own (the `signature` of a
thinking block that came from a Chat provider) the same token stands there alone: `dgm1-<...>`.

The token uses only `A-Za-z0-9_-`, so it fits every dialect's idea of an id, and can be cut out of a body that
is otherwise passed on verbatim (`strip`). It holds the issuer's name, and the state is only ever given
back to that issuer. It is not secret and not trusted: the issuer checks its own signatures.
"""

from __future__ import annotations

import binascii
import hashlib
import re
import zlib
from base64 import urlsafe_b64decode, urlsafe_b64encode

import msgspec

from dragoman.ir.request import Reasoning, Seal

MARK = "dgm1-"
_IN_ID = "-" + MARK
_MOST_IN_ID = 16 * 1024
"""A longer id is not made: clients and proxies have limits of their own."""
_MOST_UNPACKED = 1024 * 1024
_ESCAPED = "dgmid-"

_TOKEN_IN_BODY = re.compile(rb"-dgm1-[A-Za-z0-9_-]+")


class _Packed(msgspec.Struct, omit_defaults=True):
    text: str = ""
    value: str = ""
    issuer: str | None = None
    dialect: str = ""
    redacted: bool = False
    summary: bool = False


_decoder = msgspec.json.Decoder(list[_Packed])


def pack(parts: list[Reasoning], most: int = _MOST_UNPACKED) -> str | None:
    """A token `dgm1-...` that holds these parts, or None when it would be longer than `most` characters."""
    packed = [
        _Packed(
            p.text,
            p.seal.value if p.seal else "",
            p.seal.issuer if p.seal else None,
            p.seal.dialect if p.seal else "",
            p.redacted,
            p.summary,
        )
        for p in parts
    ]
    token = MARK + urlsafe_b64encode(zlib.compress(msgspec.json.encode(packed), 6)).decode().rstrip("=")
    return token if len(token) <= most else None


def unpack(token: str) -> list[Reasoning] | None:
    """What `pack` was given, or None when this is no token of ours (or a damaged one)."""
    if not token.startswith(MARK):
        return None
    body = token[len(MARK) :]
    try:
        squeezed = urlsafe_b64decode(body + "=" * (-len(body) % 4))
        packed = _decoder.decode(zlib.decompressobj().decompress(squeezed, _MOST_UNPACKED))
    except (binascii.Error, zlib.error, msgspec.DecodeError, ValueError):
        return None
    return [
        Reasoning(
            text=p.text,
            redacted=p.redacted,
            summary=p.summary,
            seal=Seal(p.value, p.issuer, p.dialect) if p.value or p.issuer else None,
        )
        for p in packed
    ]


def attach(call_id: str, parts: list[Reasoning]) -> str:
    """The id with the parts riding in it; the bare id when they do not fit."""
    token = pack(parts, _MOST_IN_ID)
    return f"{call_id}-{token}" if token else call_id


def detach(call_id: str) -> tuple[str, list[Reasoning]]:
    """The bare id and what rode in it."""
    bare, mark, rest = call_id.partition(_IN_ID)
    if not mark:
        return call_id, []
    return bare, unpack(MARK + rest) or []


_MARK_IN_BASE64 = b"ZGdtMS"
"""How a token begins in base64, for fields that dialects declare as bytes."""


def carries(body: bytes) -> bool:
    """Whether a request body holds any of our tokens, so that it cannot go out untouched."""
    # In long texts CPython searches backwards four times as fast as forwards, and faster than `re`.
    return body.rfind(b"dgm1-") >= 0 or body.rfind(b"dgmid-") >= 0 or body.rfind(_MARK_IN_BASE64) >= 0


def strip_ids(body: bytes) -> bytes:
    """The body without the tokens in its ids; every other byte stays."""
    return _TOKEN_IN_BODY.sub(b"", body)


# ---------------------------------------------------------------- foreign ids

_SAFE_ID = re.compile(r"^[A-Za-z0-9_-]+$")


def safe_id(call_id: str) -> str:
    """An id that every dialect accepts (`^[A-Za-z0-9_-]+$`): the id itself where it is one, else a reversible
    escape of it. Deterministic, so calls and results stay paired over turns. Undone by `original_id`."""
    if _SAFE_ID.match(call_id) and not call_id.startswith(_ESCAPED):
        return call_id
    return _ESCAPED + urlsafe_b64encode(call_id.encode("utf-8", "surrogatepass")).decode().rstrip("=")


def is_changed(call_id: str) -> bool:
    """Whether an id may be another than its issuer gave: something rides in it, or it was escaped."""
    return _IN_ID in call_id or call_id.startswith(_ESCAPED)


def original_id(call_id: str) -> str:
    if not call_id.startswith(_ESCAPED):
        return call_id
    body = call_id[len(_ESCAPED) :]
    try:
        return urlsafe_b64decode(body + "=" * (-len(body) % 4)).decode("utf-8", "surrogatepass")
    except (binascii.Error, ValueError):
        return call_id


_LETTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def digest(call_id: str, length: int) -> str:
    """That many letters and digits that stand for this id, for a target with a form of its own for ids."""
    number = int.from_bytes(hashlib.sha256(call_id.encode("utf-8", "surrogatepass")).digest())
    letters: list[str] = []
    for _ in range(length):
        number, at = divmod(number, len(_LETTERS))
        letters.append(_LETTERS[at])
    return "".join(letters)


def is_token(value: object) -> bool:
    """Whether a native opaque field holds one of our tokens instead of its issuer's own state."""
    return isinstance(value, str) and value.startswith(MARK)
