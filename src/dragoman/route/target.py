"""Where a request can go: one endpoint of one provider, with all that is needed to send to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from dragoman.ir.profile import Profile
from dragoman.models.catalogue import Input
from dragoman.models.prices import Price
from dragoman.wire.http import Timeouts

Credentials = Literal["auto", "gateway", "caller"]
"""Whose key goes to the provider. `gateway`: the configured one, always. `caller`: the caller's, always. `auto`: the
configured one where there is one, unless the caller showed its gateway key in a header of its own and so keeps the
customary place free for a key of the provider."""


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """`urls` maps each dialect that the provider speaks to the absolute URL of its endpoint, the preferred one first.
    `auth` are the credential headers (secret: never logged), empty where the provider has no key configured."""

    provider: str
    model: str
    issuer: str
    urls: Mapping[str, str]
    auth: tuple[tuple[bytes, bytes], ...] = ()
    keyless: bool = False
    """The provider needs no key (a local server)."""
    key: int = 1
    """Which of the provider's keys this is."""
    headers: tuple[tuple[bytes, bytes], ...] = ()
    counts: tuple[str, ...] = ()
    """The dialects in which the provider counts tokens, as far as anybody knows."""
    credentials: Credentials = "auto"
    profile: Profile = Profile()
    timeouts: Timeouts = Timeouts()
    price: Price | None = None
    """What the configuration says it costs; None: what the provider's list says."""
    input: tuple[Input, ...] | None = None
    """What the configuration says the model takes; None: what its profile and the catalogue say."""

    def __repr__(self) -> str:
        return f"Endpoint({self.provider}/{self.model})"

    @property
    def label(self) -> str:
        return f"{self.provider}/{self.model}" + (f" (key {self.key})" if self.key > 1 else "")


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """What a model's name stands for: endpoints in the order in which they are tried. `strict`: losses are refused."""

    model: str
    endpoints: tuple[Endpoint, ...]
    strict: bool = False


class PassThrough(msgspec.Struct, frozen=True, kw_only=True):
    """A provider's own API, forwarded under `/<provider>/`: `root` is what stands before the path. `dialect` is that of
    errors of ours."""

    provider: str
    root: str
    dialect: str = "chat"
    auth: tuple[tuple[bytes, bytes], ...] = ()
    keyless: bool = False
    headers: tuple[tuple[bytes, bytes], ...] = ()
    credentials: Credentials = "auto"
    timeouts: Timeouts = Timeouts()

    def __repr__(self) -> str:
        return f"PassThrough({self.provider})"
