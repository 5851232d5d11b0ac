"""Who may use the gateway: its own keys, in every place where clients customarily put one.

Keys are held as SHA-256 digests, so a look-up neither tells by its time how much of a key was right, nor leaves the
keys themselves in memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from urllib.parse import unquote_to_bytes

import msgspec

from dragoman.errors import Unauthenticated
from dragoman.flow.envelope import CREDENTIAL_HEADERS, OWN_KEY_HEADER, Caller, bare
from dragoman.wire.http import Inbound

_SIGNATURE = b"AWS4-"
_GOOGLE_TOKEN = b"ya29."
_HOW = "`Authorization: Bearer KEY`, `x-api-key`, `x-goog-api-key`, `?key=` or `x-dragoman-key`"


class KeyRing:
    """The gateway's keys. Without any, everybody is let in."""

    __slots__ = ("_names",)

    def __init__(self, names: Mapping[bytes, str]) -> None:
        """`names`: SHA-256 digest (32 bytes) of a key to the name of its holder."""
        self._names = dict(names)

    def __len__(self) -> int:
        return len(self._names)

    def admit(self, inbound: Inbound) -> tuple[Inbound, Caller]:
        """The caller, and the request without the gateway's key. Raises `Unauthenticated`."""
        own = inbound.header(OWN_KEY_HEADER)
        shown = [(name, value) for name, value in inbound.headers if name in CREDENTIAL_HEADERS]
        signed = [value for _, value in shown if value.startswith(_SIGNATURE)]
        if signed:
            # It is good for the host alone that it was made for.
            shown = [pair for pair in shown if not pair[1].startswith(_SIGNATURE)]
        query, others, in_query = self._from_query(inbound.query)
        if not self._names:
            return inbound, Caller(kept=tuple(shown), queried=others, apart=own is not None)
        holder = self._names.get(_digest(_key_id(signed[0])), "") if signed else ""
        kept: list[tuple[bytes, bytes]] = []
        for pair in shown:
            name = self._names.get(_digest(bare(pair[1])))
            if name is None:
                kept.append(pair)
            holder = holder or name or ""
        holder = self._names.get(_digest(bare(own)), "") if own is not None else holder or in_query
        if not holder:
            raise Unauthenticated(_unknown(inbound, tried=own is not None or bool(shown or others)))
        if query != inbound.query:
            inbound = msgspec.structs.replace(inbound, query=query)
        return inbound, Caller(name=holder, kept=tuple(kept), queried=others, apart=own is not None)

    def _from_query(self, query: bytes) -> tuple[bytes, tuple[bytes, ...], str]:
        """The query without a `key` of ours, the others that are left in it, and the holder of ours."""
        if b"key=" not in query:
            return query, (), ""
        holder = ""
        others: list[bytes] = []
        kept: list[bytes] = []
        for field in query.split(b"&"):
            name, _, value = field.partition(b"=")
            key = unquote_to_bytes(value) if name == b"key" else b""
            found = self._names.get(_digest(key)) if key else None
            if found is not None:
                holder = found
                continue
            kept.append(field)
            if key:
                others.append(key)
        return b"&".join(kept), tuple(others), holder


def _unknown(inbound: Inbound, *, tried: bool) -> str:
    """What to say to who has shown no key of ours: clients that are set up for a cloud show that cloud's credential."""
    shown = inbound.header(b"authorization") or b""
    if shown.startswith(_SIGNATURE):
        return (
            "an AWS signature is no key of this gateway, which cannot check it; give one of its keys as a bearer token "
            "(AWS_BEARER_TOKEN_BEDROCK, or `api_key`), as AWS_ACCESS_KEY_ID, or beside the signature as `x-dragoman-key`"
        )
    if bare(shown).startswith(_GOOGLE_TOKEN):
        return (
            "a Google access token is no key of this gateway; give one of its keys as the access token, or beside it as "
            "`x-dragoman-key`"
        )
    if tried:
        return f"this is not a key of this gateway; send one of its keys as {_HOW}"
    return f"a key of this gateway is required; send it as {_HOW}"


def _key_id(signature: bytes) -> bytes:
    """The access key's id in an AWS signature. AWS's SDKs send a bearer token over TLS only, and an id over anything."""
    return signature.partition(b"Credential=")[2].partition(b"/")[0]


def _digest(key: bytes) -> bytes:
    return sha256(key).digest()
