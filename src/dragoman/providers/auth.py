"""Which header carries the key."""

from __future__ import annotations

from typing import assert_never

import msgspec

from dragoman.providers.table import Auth, Provider
from dragoman.secret import Secret
from dragoman.wire.http import RawHeaders

# Whatever else a caller sends, its own credentials never go to a provider beside ours.
CREDENTIAL_HEADERS = frozenset({b"authorization", b"x-api-key", b"x-goog-api-key", b"api-key"})


class Credential(msgspec.Struct, frozen=True):
    """`auth` overrides the provider's own way (a bearer token among API keys). `source` says where it was found,
    in words that may be shown."""

    secret: Secret
    auth: Auth | None = None
    source: str = ""


def auth_headers(auth: Auth, secret: Secret) -> RawHeaders:
    value = secret.reveal().encode("latin-1")
    match auth:
        case "bearer":
            return [(b"authorization", b"Bearer " + value)]
        case "x-api-key":
            return [(b"x-api-key", value)]
        case "x-goog-api-key":
            return [(b"x-goog-api-key", value)]
        case "none":
            return []
        case _:
            assert_never(auth)


def headers_for(provider: Provider, credential: Credential | None, *, native: bool = False) -> RawHeaders:
    """The provider's own headers and the credential's, as raw pairs with names in lower case.

    `native` is for the verbatim pass-through, whose root may want another header than the dialect's endpoint."""
    headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in provider.headers]
    if credential is None:
        return headers
    usual = provider.root_auth if native and provider.root_auth is not None else provider.auth
    return headers + auth_headers(credential.auth or usual, credential.secret)
