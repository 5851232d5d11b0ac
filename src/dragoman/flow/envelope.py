"""What stands round a body: which headers go on, whose key goes where.

In its own dialect a request's headers are an open list: all go on but those about the connection, those of the
gateway, and the key that was meant for the gateway. In another dialect only the provider's own go.
"""

from __future__ import annotations

from hashlib import sha256
from typing import assert_never

import msgspec

from dragoman import __version__
from dragoman.errors import NoCredential
from dragoman.route.target import Endpoint, PassThrough
from dragoman.wire.framing import SSE
from dragoman.wire.http import HOP_BY_HOP, Head, Inbound, RawHeaders

CREDENTIAL_HEADERS = frozenset({b"authorization", b"x-api-key", b"x-goog-api-key", b"api-key"})
_OWN = b"x-dragoman-"
_OWN_LENGTH = len(_OWN)
OWN_KEY_HEADER = _OWN + b"key"
USER_AGENT = b"dragoman/" + __version__.encode()

# Rewritten for each connection, or decided by the gateway.
_NOT_FORWARDED = (
    HOP_BY_HOP
    | CREDENTIAL_HEADERS
    | {b"host", b"content-length", b"expect"}
    # Parts of an AWS signature, which was made for the gateway's address; the token is half a key.
    | {b"x-amz-date", b"x-amz-content-sha256", b"x-amz-security-token"}
)
_SAID_ANEW = HOP_BY_HOP | {b"content-length"}
_CODINGS = frozenset({b"accept-encoding", b"content-encoding"})


class Caller(msgspec.Struct, frozen=True):
    """Who asks. `name` is that of its gateway key, empty where none is asked for. `kept` are the credential headers
    that were not the gateway's key, to be shown to a provider if that is wished; `queried` such keys as stand in the query.
    `apart`: the gateway's key came in its own header, so that what stands in the customary place is meant for the provider."""

    name: str = ""
    kept: tuple[tuple[bytes, bytes], ...] = ()
    queried: tuple[bytes, ...] = ()
    apart: bool = False

    def __repr__(self) -> str:
        return f"Caller({self.name!r})"

    @property
    def brings_key(self) -> bool:
        """Whether it shows a credential that is not the gateway's."""
        return bool(self.kept or self.queried)

    @property
    def fingerprint(self) -> str:
        """Tells who brings one credential for a provider from who brings another, wherever it stands; empty where there is
        none. What is remembered for a caller is remembered under its name and this. It gives no key away."""
        if not self.brings_key:
            return ""
        keys = {bare(value) for _, value in self.kept} | set(self.queried)
        return sha256(b"".join(sorted(sha256(key).digest() for key in keys))).hexdigest()[:32]

    def elsewhere(self) -> Caller:
        """The same for providers that its credentials are not meant for."""
        return msgspec.structs.replace(self, kept=(), queried=())


def bare(value: bytes) -> bytes:
    """The key in a credential header."""
    value = value.strip()
    return value[7:].strip() if value[:7].lower() == b"bearer " else value


def brings_own(holder: Endpoint | PassThrough, caller: Caller) -> bool:
    """Whether the caller's own credential is to be used, where the caller speaks the provider's own dialect."""
    match holder.credentials:
        case "gateway":
            return False
        case "caller":
            return caller.brings_key
        case "auto":
            wished = caller.apart or not holder.auth
            return wished and not holder.keyless and caller.brings_key
        case _:
            assert_never(holder.credentials)


def credential(holder: Endpoint | PassThrough, caller: Caller, *, trusted: bool) -> tuple[RawHeaders, bool]:
    """The credential headers for a provider, and whether they are the gateway's own. `trusted`: a key of the caller's may
    be meant for this provider, and stands in the right place. Raises `NoCredential`."""
    if trusted and brings_own(holder, caller):
        return list(caller.kept), False
    if holder.credentials != "caller" and (holder.auth or holder.keyless):
        return list(holder.auth), True
    if holder.credentials == "caller":
        raise NoCredential(
            f"the provider {holder.provider} is used with the caller's own key only, and this request brings none for it",
            provider=holder.provider,
        )
    raise NoCredential(
        f"there is no key for the provider {holder.provider}: set it in the environment or under "
        f"providers.{holder.provider}.api_key in the configuration",
        provider=holder.provider,
    )


def request_headers(
    inbound: Inbound, endpoint: Endpoint, caller: Caller, *, verbatim: bool, first: bool = True, accept: bytes = SSE.accept
) -> tuple[RawHeaders, bool]:
    """The headers for an endpoint, and whether the credential among them is the gateway's own.

    `first`: the endpoint is of the provider that the route begins with. A caller's key is meant for that one; a provider
    further down the chain sees it only where the configuration says so (`credentials: caller`). `accept` is asked for where
    the caller's own headers stay behind."""
    trusted = verbatim and (first or endpoint.credentials == "caller")
    auth, own = credential(endpoint, caller, trusted=trusted)
    if not verbatim:
        headers: RawHeaders = [
            (b"content-type", b"application/json"),
            (b"accept", accept),
            (b"user-agent", USER_AGENT),
        ]
    else:
        headers = [pair for pair in forwarded(inbound) if pair[0] not in _CODINGS]
    # The answer's beginning must be readable: an error can stand in it.
    headers.append((b"accept-encoding", b"identity"))
    said = {name for name, _ in headers}
    headers += [pair for pair in endpoint.headers if pair[0] not in said]
    return headers + auth, own


def passed_headers(inbound: Inbound, target: PassThrough, caller: Caller) -> tuple[RawHeaders, bool]:
    """The headers for a native pass-through: nothing is looked at, so the encoding stays the caller's business."""
    auth, own = credential(target, caller, trusted=True)
    headers = forwarded(inbound)
    said = {name for name, _ in headers}
    headers += [pair for pair in target.headers if pair[0] not in said]
    return headers + auth, own


def forwarded(inbound: Inbound) -> RawHeaders:
    return _without(inbound.headers, _NOT_FORWARDED)


def passed_back(head: Head) -> RawHeaders:
    """The headers of a provider's answer for the caller: all but those about the connection, and those that another
    gateway of this kind has put there."""
    return _without(head.headers, HOP_BY_HOP)


def response_headers(head: Head, *, stream: bool = False) -> RawHeaders:
    """The same without the length, which is said anew (a stream may grow by a ping)."""
    headers = _without(head.headers, _SAID_ANEW)
    if stream and head.get(b"x-accel-buffering") is None:
        headers.append((b"x-accel-buffering", b"no"))
    return headers


def without_key(query: bytes) -> bytes:
    """A query without the key that stands in it."""
    if b"key=" not in query:
        return query
    return b"&".join(field for field in query.split(b"&") if not field.startswith(b"key="))


def _without(headers: RawHeaders, dropped: frozenset[bytes]) -> RawHeaders:
    """All but these, those of a gateway of this kind, and those that `Connection` names (RFC 9110, 7.6.1)."""
    kept: RawHeaders = []
    named: set[bytes] | None = None
    for pair in headers:
        name = pair[0]
        if name == b"connection":
            named = {item.strip().lower() for item in pair[1].split(b",")} | (named or set())
        if name not in dropped and name[:_OWN_LENGTH] != _OWN:
            kept.append(pair)
    return kept if named is None else [pair for pair in kept if pair[0] not in named]
