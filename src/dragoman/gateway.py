"""Which path is answered by what. The gateway knows neither ASGI nor sockets: a driver hands it an `Inbound` and
an `Outbound` (`wire/http.py`) and cancels it when the client leaves.

    POST /v1/messages, /v1/chat/completions    inference, in `pipeline.py`
    POST /v1/messages/count_tokens             the provider's own count, or an estimate that says so
    GET  /v1/models, /v1/models/{id}           what can be served, in the caller's dialect
    *    /anthropic/*, /openai/*, ...          native pass-through
    GET  /health ...                           `/health/live`, `/health/ready`, `/health/detailed`
    HEAD /, /api/hello                         a client asks whether anybody is there
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from dragoman import __version__
from dragoman.dialects.base import Dialect, ModelCard
from dragoman.errors import BodyTooLarge, DragomanError, Internal, MalformedBody, UnknownModel, UnknownRoute
from dragoman.flow.access import KeyRing
from dragoman.flow.call import Core
from dragoman.flow.envelope import Caller
from dragoman.flow.passing import forward
from dragoman.ir.estimate import input_tokens
from dragoman.pipeline import infer
from dragoman.route.target import PassThrough
from dragoman.wire.body import peek, swap_model
from dragoman.wire.http import Inbound, Outbound, RawHeaders

log = logging.getLogger("dragoman.gateway")

_JSON: RawHeaders = [(b"content-type", b"application/json")]


class Site(msgspec.Struct, kw_only=True):
    """What this gateway serves. `models` gives the list anew at each call; `health` the state of the providers by name;
    `ready` whether requests can be taken."""

    keys: KeyRing
    models: Callable[[], Sequence[ModelCard]]
    passes: Mapping[str, PassThrough]
    health: Callable[[], dict[str, Any]]
    ready: Callable[[], bool]
    max_body: int = 64 * 1024 * 1024


class Gateway:
    """One for each process. `handle` never raises but for cancellation."""

    def __init__(self, core: Core, site: Site) -> None:
        self.core = core
        self.site = site
        self._dialects = {dialect.path: dialect for dialect in core.dialects.values()}
        # Base URLs are given with and without /v1.
        self._dialects |= {path.removeprefix("/v1"): dialect for path, dialect in self._dialects.items()}

    async def handle(self, inbound: Inbound, out: Outbound) -> None:
        path = inbound.path.rstrip("/") or "/"
        dialect = self._dialects.get(path)
        watched = _Watched(out)
        try:
            if dialect is not None and inbound.method == "POST":
                inbound, caller = self.site.keys.admit(_unpacked(inbound, self.site.max_body))
                await infer(self.core, dialect, inbound, caller, watched, request_id="req_" + self.core.new_id())
            else:
                await self._other(path, inbound, watched)
        except DragomanError as error:
            await self.refuse(inbound, watched, error)
        except Exception:
            log.exception("a fault in the gateway on %s %s", inbound.method, inbound.path)
            await self.refuse(inbound, watched, Internal("the gateway failed; its log says why"))

    async def refuse(self, inbound: Inbound, out: Outbound, error: DragomanError) -> None:
        """An error of the gateway itself, in the caller's dialect. Breaks off where an answer has already begun."""
        if isinstance(out, _Watched) and out.started:
            out.abort()
            return
        told = self._dialect_of(inbound).encode_error(error, "req_" + self.core.new_id())
        headers = [(name.encode(), value.encode("latin-1", "replace")) for name, value in told.headers]
        await _send(out, told.status, headers, told.body)

    def _dialect_of(self, inbound: Inbound) -> Dialect:
        """The dialect of a path, or of the client's habits where the path tells nothing."""
        path = inbound.path.rstrip("/")
        found = self._dialects.get(path)
        if found is not None:
            return found
        anthropic = inbound.header(b"anthropic-version") is not None or "messages" in path or path.startswith("/anthropic")
        return self.core.dialects["messages" if anthropic else "chat"]

    # ------------------------------------------------------------ everything but inference

    async def _other(self, path: str, inbound: Inbound, out: Outbound) -> None:
        asks = inbound.method in {"GET", "HEAD"}
        if asks and path in {"/", "/api/hello"}:
            await _send(out, 200, _JSON, msgspec.json.encode({"name": "dragoman", "version": __version__, "status": "ok"}))
            return
        if asks and (path.startswith("/health") or path in {"/v1/universal/health", "/v1/cache/health"}):
            await self._health(path, inbound, out)
            return
        inbound, caller = self.site.keys.admit(inbound)
        first = path.split("/")[1]
        if path.removeprefix("/v1") in {"/messages/count_tokens"} and inbound.method == "POST":
            await self._count(_unpacked(inbound, self.site.max_body), caller, out)
        elif asks and path in {"/v1/models", "/models"}:
            await self._models(inbound, out)
        elif asks and path.startswith(("/v1/models/", "/models/")):
            await self._model(path.removeprefix("/v1").removeprefix("/models/"), inbound, out)
        elif first in self.site.passes:
            await self._pass(first, path, inbound, caller, out)
        elif path in self._dialects:
            raise UnknownRoute(f"{path} takes POST, not {inbound.method}", status=405)
        else:
            raise UnknownRoute(f"there is no {inbound.method} {path} here; see /v1/models, /v1/messages, /v1/chat/completions")

    async def _pass(self, provider: str, path: str, inbound: Inbound, caller: Caller, out: Outbound) -> None:
        target = self.site.passes[provider]
        if path == f"/{provider}/health" and inbound.method in {"GET", "HEAD"}:
            state = {"status": "ok", "provider": provider, "credential": bool(target.auth) or target.keyless}
            await _send(out, 200, _JSON, msgspec.json.encode(state))
            return
        rest = inbound.raw_path.decode("latin-1").removeprefix(f"/{provider}")
        await forward(self.core.transport, target, rest or "/", inbound, caller, out=out, clock=self.core.clock)

    async def _models(self, inbound: Inbound, out: Outbound) -> None:
        query = dict(parse_qsl(inbound.query.decode("latin-1")))
        body = self._dialect_of(inbound).encode_models(self.site.models(), query)
        await _send(out, 200, _JSON, body)

    async def _model(self, name: str, inbound: Inbound, out: Outbound) -> None:
        for card in self.site.models():
            if card.id == name:
                await _send(out, 200, _JSON, self._dialect_of(inbound).encode_model(card))
                return
        # Names that are not listed can still be served (`provider/anything`).
        route = self.core.route(name)
        card = ModelCard(id=name, display_name=name, owner=route.endpoints[0].provider)
        await _send(out, 200, _JSON, self._dialect_of(inbound).encode_model(card))

    async def _count(self, inbound: Inbound, caller: Caller, out: Outbound) -> None:
        dialect = self.core.dialects["messages"]
        seen = peek(inbound.body)
        if not isinstance(seen.model, str):
            raise MalformedBody("model: the name of a model is required", param="model")
        endpoint = self.core.route(seen.model).endpoints[0]
        url = endpoint.urls.get("messages")
        if url is not None and not endpoint.keyless:
            body = inbound.body if endpoint.model == seen.model else swap_model(inbound.body, endpoint.model)
            target = PassThrough(
                provider=endpoint.provider,
                root=url,
                auth=endpoint.auth,
                headers=endpoint.headers,
                credentials=endpoint.credentials,
                timeouts=endpoint.timeouts,
            )
            counted = msgspec.structs.replace(inbound, body=dialect.scrub(body, endpoint.issuer))
            await forward(self.core.transport, target, "/count_tokens", counted, caller, out=out, clock=self.core.clock)
            return
        tokens = input_tokens(dialect.decode_request(inbound.body))
        headers = [*_JSON, (b"x-dragoman-estimate", b"true")]
        await _send(out, 200, headers, msgspec.json.encode({"input_tokens": tokens}))

    async def _health(self, path: str, inbound: Inbound, out: Outbound) -> None:
        ready = self.site.ready()
        state: dict[str, Any] = {"status": "ok" if ready else "starting", "version": __version__}
        match path:
            case "/health/live" | "/health/liveliness" | "/health/liveness":
                await _send(out, 200, _JSON, msgspec.json.encode({"status": "ok"}))
                return
            case "/health" | "/health/ready" | "/health/readiness":
                pass
            case "/health/detailed" | "/v1/universal/health":
                self.site.keys.admit(inbound)
                state |= self.site.health()
            case "/health/claude-code-readiness":
                state |= self._claude_code()
                ready = ready and state["ready"]
            case "/v1/cache/health":
                state |= {"cache": "off"}
            case _:
                raise UnknownRoute(f"there is no {path} here")
        await _send(out, 200 if ready else 503, _JSON, msgspec.json.encode(state))

    def _claude_code(self) -> dict[str, Any]:
        """Whether Claude Code could work here: the endpoints are there, and its three tiers lead somewhere."""
        tiers: dict[str, str | None] = {}
        for tier in ("claude-opus-4-1", "claude-sonnet-4-5", "claude-haiku-4-5", "big", "small"):
            try:
                tiers[tier] = self.core.route(tier).endpoints[0].label
            except UnknownModel:
                tiers[tier] = None
        return {
            "ready": any(tiers.values()),
            "models": tiers,
            "endpoints": ["/v1/messages", "/v1/messages/count_tokens", "/v1/models"],
        }


class _Watched:
    """An `Outbound` that remembers whether anything was sent."""

    __slots__ = ("_out", "started")

    def __init__(self, out: Outbound) -> None:
        self._out = out
        self.started = False

    async def start(self, status: int, headers: Any) -> None:
        self.started = True
        await self._out.start(status, headers)

    async def write(self, data: bytes) -> None:
        await self._out.write(data)

    async def finish(self, data: bytes = b"") -> None:
        await self._out.finish(data)

    def abort(self) -> None:
        self._out.abort()


async def _send(out: Outbound, status: int, headers: RawHeaders, body: bytes) -> None:
    await out.start(status, [*headers, (b"content-length", b"%d" % len(body))])
    await out.finish(body)


def _unpacked(inbound: Inbound, most: int) -> Inbound:
    """A body that came compressed, as it was before. Some clients (Codex) compress what they send."""
    encoding = (inbound.header(b"content-encoding") or b"identity").strip().lower()
    if encoding in {b"identity", b""}:
        return inbound
    if encoding not in {b"gzip", b"x-gzip", b"deflate"}:
        raise MalformedBody(f"content-encoding {encoding.decode('latin-1')!r} is not understood; send gzip or none", status=415)
    unzip = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
    try:
        body = unzip.decompress(inbound.body, most + 1)
    except zlib.error as error:
        raise MalformedBody(f"the body is not valid {encoding.decode()}: {error}") from None
    if len(body) > most:
        raise BodyTooLarge(f"the body is larger than {most} bytes when unpacked")
    return msgspec.structs.replace(inbound, body=body)
