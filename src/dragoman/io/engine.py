"""Puts the gateway together: configuration in, a handler out, and everything that must be closed at the end.

The one place where the core meets its real transport, clock and dice. `Engine` is what the server, the command line
and the library drive.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

from dragoman.config import Config, Documents, Fetch, ProviderConfig, TargetConfig
from dragoman.dialects import EVERY
from dragoman.dialects.base import ModelCard
from dragoman.dialects.memory import Memories
from dragoman.flow.access import KeyRing
from dragoman.flow.call import Core
from dragoman.flow.continuity import Continuity
from dragoman.flow.seals import Witness
from dragoman.gateway import Gateway, Site
from dragoman.io.clock import SystemClock, new_id
from dragoman.io.documents import PdfReader
from dragoman.io.fetch import HttpFetcher
from dragoman.io.guard import Guard
from dragoman.io.local import LentModel, LocalModel
from dragoman.io.process import resident
from dragoman.io.request_log import RequestLog
from dragoman.io.seals import StoreSeals
from dragoman.io.store import store_of
from dragoman.io.upstream import HttpTransport, Limits
from dragoman.io.vault import vault_of
from dragoman.io.workshop import TaskWorkshop
from dragoman.ir.usage import Usage
from dragoman.models import prices
from dragoman.models.catalogue import catalogue
from dragoman.providers.auth import auth_headers
from dragoman.route.target import Endpoint, PassThrough, Route
from dragoman.stored.service import Stored
from dragoman.wire.http import RawHeaders, Transport


class Engine:
    """One for each process. `local` is a built-in model that already runs, or None."""

    def __init__(
        self, config: Config, *, local: LocalModel | LentModel | None = None, transport: Transport | None = None
    ) -> None:
        self.local = local
        self.config = config.with_local(f"{local.base_url}/v1" if local is not None else None)
        self.transport = transport or HttpTransport(limits=_limits(config))
        self.draining = False
        """The server is about to stop: what asks for health is told."""
        self.team: dict[int, int] = {1: os.getpid()}
        """The processes that serve, by number."""
        self._routes: dict[str, Route] = {}
        self.clock = SystemClock()
        self.store = store_of(config.store, self.clock)
        self.seals = StoreSeals(self.store, self.clock, config.vault.ttl) if self.store is not None else None
        self.fetcher = _fetcher(config.fetch)
        core = Core(
            transport=self.transport,
            dialects=EVERY,
            route=self.route,
            clock=self.clock,
            new_id=new_id,
            observe=RequestLog(config.server.log.sample).observe,
            ping_every=config.server.ping,
            fetcher=self.fetcher,
            reader=_reader(config.documents),
            continuity=Continuity(self._witness(), vault_of(config.vault, self.store, self.clock)),
            memories=Memories(new_id()),
        )
        self.workshop = TaskWorkshop()
        self.stored = Stored(core, self.store, config.store.ttl, self.workshop)
        site = Site(
            keys=KeyRing({key.digest: key.name for key in config.keys}),
            models=self.models,
            passes={name: self._pass(provider) for name, provider in self._passable()},
            health=self._health,
            state=lambda: "draining" if self.draining else "ok",
            price=self.price,
            stored=self.stored,
            max_body=config.server.max_body,
        )
        self.gateway = Gateway(core, site)

    def begin_draining(self) -> None:
        self.draining = True

    async def aclose(self) -> None:
        await self.stored.aclose()
        await self.workshop.aclose()
        await self.transport.aclose()
        if self.fetcher is not None:
            await self.fetcher.aclose()
        if self.seals is not None:
            await self.seals.aclose()
        if self.store is not None:
            await self.store.aclose()
        if self.local is not None:
            await asyncio.to_thread(self.local.stop)

    def _witness(self) -> Witness:
        providers = self.config.providers.values()
        # A caller may come with a key of its own for any provider of the table; but only those that are set up are worth a
        # store that may not be open otherwise, and the built-in model seals nothing.
        set_up = [one for one in providers if (one.ready or one.explicit) and one.name != self.config.local.name]
        shared = _contested(set_up)
        return Witness(_contested(providers), self.clock, memory=self.seals, shared=shared)

    # ------------------------------------------------------------ routes

    def route(self, model: str) -> Route:
        """Raises `UnknownModel`."""
        known = self._routes.get(model)
        if known is None:
            chain = self.config.route(model)
            endpoints = tuple(endpoint for target in chain for endpoint in self._endpoints(target))
            known = Route(model=model, endpoints=endpoints, strict=chain[0].strict)
            # Names come from callers, so their number has no end.
            if len(self._routes) < 1024:
                self._routes[model] = known
        return known

    def _endpoints(self, target: TargetConfig) -> list[Endpoint]:
        """One for each of the provider's keys: when the first is refused or out of quota, the next is tried."""
        provider = target.provider
        urls = {dialect: url for dialect in provider.row.dialects() if dialect in EVERY and (url := provider.url(dialect))}
        if not target.profile.completions:
            urls.pop("completions", None)
        return [
            Endpoint(
                provider=provider.name,
                model=target.model,
                issuer=provider.issuer or provider.name,
                urls=urls,
                auth=tuple(auth),
                keyless=provider.ready and not provider.credentials,
                key=number,
                headers=tuple(_raw(provider.row.headers)),
                counts=provider.row.counting(),
                credentials=provider.mode,
                profile=target.profile,
                timeouts=target.timeouts,
                price=target.price,
                input=target.input,
            )
            for number, auth in enumerate(self._auths(provider), 1)
        ]

    def _auths(self, provider: ProviderConfig, *, native: bool = False) -> list[RawHeaders]:
        """The credential headers of each of the provider's keys; one without any where it has none."""
        if provider.name == self.config.local.name and self.local is not None:
            return [auth_headers("bearer", self.local.api_key)]
        usual = provider.row.root_auth if native and provider.row.root_auth is not None else provider.row.auth
        found = [auth_headers(credential.auth or usual, credential.secret) for credential in provider.credentials]
        return found or [[]]

    def _passable(self) -> list[tuple[str, ProviderConfig]]:
        return [(name, provider) for name, provider in self.config.providers.items() if provider.row.base_url]

    def _pass(self, provider: ProviderConfig) -> PassThrough:
        return PassThrough(
            provider=provider.name,
            root=provider.row.native_root().rstrip("/"),
            dialect=next((name for name in provider.row.dialects() if name in EVERY), "chat"),
            auth=tuple(self._auths(provider, native=True)[0]),
            keyless=provider.ready and not provider.credentials,
            headers=tuple(_raw(provider.row.headers)),
            credentials=provider.mode,
            timeouts=provider.timeouts,
        )

    # ------------------------------------------------------------ what it costs

    async def price(self, endpoint: Endpoint, usage: Usage) -> prices.Cost | None:
        """By the configuration, or else by the list of the provider, which is read in a thread: that takes a while."""
        if endpoint.price is not None:
            return endpoint.price.cost(usage)
        provider = self.config.provider(endpoint.provider)
        if provider is None or not await asyncio.to_thread(prices.load):
            return None
        return prices.price_of(provider.row.name, endpoint.model, usage, at=self.clock.time())

    # ------------------------------------------------------------ what can be asked of the gateway

    def models(self) -> list[ModelCard]:
        return [
            ModelCard(
                id=model.id,
                display_name=model.display_name,
                owner=model.provider,
                description=model.description or "",
                created=model.created,
                context=model.context,
                max_output=model.output,
                embeds=(known := catalogue().find(model.id)) is not None and known.makes == ("embedding",),
            )
            for model in self.config.served_models()
        ]

    def _health(self) -> dict[str, Any]:
        return {
            "providers": {
                name: {
                    "ready": provider.ready,
                    "dialects": list(provider.row.dialects()),
                    "hint": "" if provider.ready else provider.hint,
                }
                for name, provider in self.config.providers.items()
                if provider.ready or provider.explicit
            },
            "models": len(self.models()),
            "local": self.local is not None,
            "workers": [{"worker": number, "pid": pid, "memory": resident(pid)} for number, pid in self.team.items()],
        }


def _fetcher(fetch: Fetch) -> HttpFetcher | None:
    if not fetch.enabled:
        return None
    guard = Guard(allow_private=fetch.allow_private, allow_hosts=fetch.allow_hosts)
    return HttpFetcher(guard, max_bytes=fetch.max_bytes, timeout=fetch.timeout)


def _reader(documents: Documents) -> PdfReader | None:
    if not documents.enabled:
        return None
    return PdfReader(
        pictures=documents.pictures, max_pages=documents.max_pages, timeout=documents.timeout, memory=documents.memory
    )


def _limits(config: Config) -> dict[str, Limits]:
    """The connection limits that providers have of their own, by the origin of each of their URLs."""
    limits: dict[str, Limits] = {}
    for provider in config.providers.values():
        if provider.max_connections or provider.max_keepalive:
            for dialect in provider.row.dialects():
                parts = urlsplit(provider.url(dialect) or "")
                limits[f"{parts.scheme}://{parts.netloc}"] = Limits(
                    connections=provider.max_connections, idle=provider.max_keepalive
                )
    return limits


def _raw(headers: Mapping[str, str] | tuple[tuple[str, str], ...]) -> RawHeaders:
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    return [(name.lower().encode(), value.encode("latin-1")) for name, value in pairs]


def _contested(providers: Iterable[ProviderConfig]) -> list[str]:
    """The dialects that providers of more than one issuer speak."""
    issuers: dict[str, set[str]] = {}
    for provider in providers:
        for dialect in provider.row.dialects():
            issuers.setdefault(dialect, set()).add(provider.issuer or provider.name)
    return [dialect for dialect, names in issuers.items() if len(names) > 1]
