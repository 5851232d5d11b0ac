"""What stands round a body: which headers go on, whose key goes where.

In its own dialect a request's headers are an open list: all go on but those about the connection, those of the
gateway, and the key that was meant for the gateway. In another dialect only the provider's own go.
"""

from __future__ import annotations

import msgspec

from dragoman import __version__
from dragoman.errors import NoCredential
from dragoman.route.target import Credentials, Endpoint, PassThrough
from dragoman.wire.http import HOP_BY_HOP, Head, Inbound, RawHeaders

CREDENTIAL_HEADERS = frozenset({b"authorization", b"x-api-key", b"x-goog-api-key", b"api-key"})
OWN_KEY_HEADER = b"x-dragoman-key"
USER_AGENT = b"dragoman/" + __version__.encode()

# Rewritten for each connection, or decided by the gateway.
_NOT_FORWARDED = HOP_BY_HOP | CREDENTIAL_HEADERS | {b"host", b"content-length", b"content-encoding", b"expect"}


class Caller(msgspec.Struct, frozen=True):
    """Who asks. `name` is that of its gateway key, empty where none is asked for. `kept` are the credential headers
    that were not the gateway's key, to be shown to a provider if that is wished. `apart`: the gateway's key came in
    its own header, so that what stands in the customary place is meant for the provider."""

    name: str = ""
    kept: tuple[tuple[bytes, bytes], ...] = ()
    apart: bool = False

    def __repr__(self) -> str:
        return f"Caller({self.name!r})"


def credential(holder: Endpoint | PassThrough, caller: Caller, *, native: bool) -> tuple[RawHeaders, bool]:
    """The credential headers for a provider, and whether they are the gateway's own. `native`: the caller speaks the
    provider's own dialect, so a key of the caller's stands in the right place. Raises `NoCredential`."""
    mode: Credentials = holder.credentials
    if (
        native
        and caller.kept
        and (mode == "caller" or (mode == "auto" and (caller.apart or not holder.auth) and not holder.keyless))
    ):
        return list(caller.kept), False
    if mode != "caller" and (holder.auth or holder.keyless):
        return list(holder.auth), True
    raise NoCredential(
        f"there is no key for the provider {holder.provider}: set it in the environment or under "
        f"providers.{holder.provider}.api_key in the configuration",
        provider=holder.provider,
    )


def request_headers(inbound: Inbound, endpoint: Endpoint, caller: Caller, *, verbatim: bool) -> tuple[RawHeaders, bool]:
    """The headers for an endpoint, and whether the credential among them is the gateway's own."""
    auth, own = credential(endpoint, caller, native=verbatim)
    if not verbatim:
        headers: RawHeaders = [
            (b"content-type", b"application/json"),
            (b"accept", b"application/json, text/event-stream"),
            (b"user-agent", USER_AGENT),
        ]
    else:
        headers = forwarded(inbound, keep_encoding=False)
    # The answer's beginning must be readable: an error can stand in it.
    headers.append((b"accept-encoding", b"identity"))
    said = {name for name, _ in headers}
    headers += [pair for pair in endpoint.headers if pair[0] not in said]
    return headers + auth, own


def passed_headers(inbound: Inbound, target: PassThrough, caller: Caller) -> tuple[RawHeaders, bool]:
    """The headers for a native pass-through: nothing is looked at, so the encoding stays the caller's business."""
    auth, own = credential(target, caller, native=True)
    headers = forwarded(inbound, keep_encoding=True)
    said = {name for name, _ in headers}
    headers += [pair for pair in target.headers if pair[0] not in said]
    return headers + auth, own


def forwarded(inbound: Inbound, *, keep_encoding: bool) -> RawHeaders:
    dropped = _named_by_connection(inbound.headers)
    return [
        (name, value)
        for name, value in inbound.headers
        if name not in _NOT_FORWARDED
        and name not in dropped
        and not name.startswith(b"x-dragoman-")
        and (keep_encoding or name != b"accept-encoding")
    ]


def passed_back(head: Head) -> RawHeaders:
    """The headers of a provider's answer for the caller: all but those about the connection."""
    dropped = _named_by_connection(head.headers)
    return [(name, value) for name, value in head.headers if name not in HOP_BY_HOP and name not in dropped]


def response_headers(head: Head, *, stream: bool = False) -> RawHeaders:
    """The same without the length, which is said anew (a stream may grow by a ping)."""
    headers = [pair for pair in passed_back(head) if pair[0] != b"content-length"]
    if stream and head.get(b"x-accel-buffering") is None:
        headers.append((b"x-accel-buffering", b"no"))
    return headers


def _named_by_connection(headers: RawHeaders) -> frozenset[bytes]:
    """RFC 9110, 7.6.1: `Connection` names further headers that end here."""
    for name, value in headers:
        if name == b"connection":
            named = frozenset(item.strip().lower() for item in value.split(b","))
            return named - {b"close", b"keep-alive"}
    return frozenset()
