"""Which path is answered by what. The gateway knows neither ASGI nor sockets: a driver hands it an `Inbound` and
an `Outbound` (`wire/http.py`) and cancels it when the client leaves.

    POST /v1/messages, /v1/chat/completions    inference, in `pipeline.py`
    POST /v1/completions                       the same, for texts to go on with
    POST /v1/messages/count_tokens, ...        the provider's own count, or an estimate that says so
    POST /v1/embeddings                        vectors, in `flow/embedding.py`
    POST /v1/images/generations, ...           the rest that names a model, in `flow/surface.py`: images, audio, moderations
    POST /v1/explain/v1/messages, ...          what would become of it, in `explain.py`; also /v1/explain?dialect=messages
    POST /v1beta/models/{model}:{verb}         the same three where the model stands in the path
    POST /model/{model}/invoke, ...:rawPredict the same in a cloud's envelope, in `envelopes/`
    *    /v1/responses, /v1/responses/{id}     answers that can be kept, in `stored/`
    GET  /v1/models, /v1/models/{id}           what can be served, in the caller's dialect
    *    /anthropic/*, /openai/*, ...          native pass-through
    GET  /health ...                           `/health/live`, `/health/ready`, `/health/detailed`
    HEAD /, /api/hello                         a client asks whether anybody is there
"""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Literal
from urllib.parse import parse_qsl, unquote

import msgspec

from dragoman import __version__
from dragoman.dialects.base import Dialect, ModelCard
from dragoman.envelopes import enclosing
from dragoman.errors import DragomanError, Internal, MalformedBody, UnknownModel, UnknownRoute
from dragoman.explain import Pricing, embedding, explaining, inference
from dragoman.flow.access import KeyRing
from dragoman.flow.call import Core, Regular, Report
from dragoman.flow.counting import count
from dragoman.flow.embedding import embed
from dragoman.flow.envelope import Caller, brings_own
from dragoman.flow.passing import forward
from dragoman.flow.several import each
from dragoman.flow.surface import PATHS as SURFACE
from dragoman.flow.surface import asking, serve
from dragoman.pipeline import Work, attend, infer, regular
from dragoman.route.target import PassThrough
from dragoman.stored.service import Stored
from dragoman.wire.coding import TAKEN, unpacked
from dragoman.wire.http import Inbound, Outbound, RawHeaders

log = logging.getLogger("dragoman.gateway")

_JSON: RawHeaders = [(b"content-type", b"application/json")]
_MODELS = re.compile(r"(/v1(beta|alpha)?)?/models(?=/|$)")
_ASKS = frozenset({"GET", "HEAD"})
_NEVER_PASSED = frozenset({"TRACE", "CONNECT"})
"""The answer to TRACE is the request, the provider's key included (RFC 9110, section 9.3.8)."""
_CLIENT_LEFT = 499
_NOT_UNDERSTOOD = 415
_GREETINGS = frozenset({"", "/api/hello"})
_OTHER_HEALTH = frozenset({"/v1/universal/health", "/v1/cache/health"})
State = Literal["ok", "starting", "draining"]
"""Anything but `ok` tells a load balancer to send requests elsewhere."""
_TWICE = re.compile(rb"//+|/v1(?:beta|alpha)?/+(?=v1(?:beta|alpha)?/)")
"""What stands before a path of ours where a base URL ends in a slash, or has a version that the client adds as well."""
_EXPLAIN = re.compile(r"(?:/v1)?/explain(?=/|$)")


_VERBS: dict[str, Work] = {"infer": infer, "count": count, "embed": embed}


class Site(msgspec.Struct, kw_only=True):
    """What this gateway serves. `models` gives the list anew at each call; `health` the state of the providers by name;
    `state` whether requests are to be sent here; `price` what usage costs; `stored` keeps Responses, where anything does."""

    keys: KeyRing
    models: Callable[[], Sequence[ModelCard]]
    passes: Mapping[str, PassThrough]
    health: Callable[[], dict[str, Any]]
    state: Callable[[], State]
    price: Pricing
    stored: Stored | None = None
    max_body: int = 64 * 1024 * 1024


class Gateway:
    """One for each process. `handle` never raises but for cancellation."""

    def __init__(self, core: Core, site: Site) -> None:
        self.core = core
        self.site = site
        self._works: dict[str, tuple[Dialect, Work]] = {
            dialect.path: (dialect, infer if dialect.apart is None else each(infer)) for dialect in core.dialects.values()
        }
        self._works["/v1/messages/count_tokens"] = core.dialects["messages"], count
        self._works["/v1/chat/completions/input_tokens"] = core.dialects["chat"], count
        self._works["/v1/embeddings"] = core.dialects["chat"], embed
        self._works |= {path: (asking(core.dialects["chat"], default), serve) for path, default in SURFACE.items()}
        self._explain = explaining(site.price, inference)
        self._explain_vectors = explaining(site.price, embedding)
        self._uninferred: set[Work] = {count, serve}
        if site.stored is not None:
            stored, responses = site.stored, core.dialects["responses"]
            self._works["/v1/responses"] = responses, stored.create
            counted = stored.prepared(count)
            self._works["/v1/responses/input_tokens"] = responses, counted
            self._works["/v1/responses/compact"] = responses, stored.compact
            self._uninferred |= {counted, stored.compact}
            self._explain = stored.prepared(self._explain)
        self._located = [dialect.locate for dialect in core.dialects.values() if dialect.locate is not None]
        # Base URLs are given with and without /v1.
        self._works |= {path.removeprefix("/v1"): work for path, work in self._works.items()}

    async def handle(self, inbound: Inbound, out: Outbound) -> None:
        known: _Known | None = inbound.same.get(self) if inbound.same is not None else None
        try:
            if known is None:
                await self._admit(inbound, out)
            else:
                # Its head has been let in before, and led to the same work.
                regular = known.regular
                await attend(
                    known.work, self.core, known.dialect, inbound=inbound, caller=regular.caller, out=out,
                    request_id="req_" + self.core.new_id(), known=regular,
                )  # fmt: skip
        except Exception:
            log.exception("a fault in the gateway on %s %s, which it could not even tell", inbound.method, inbound.path)
            out.abort()

    async def _admit(self, inbound: Inbound, out: Outbound) -> None:
        """A request of whose head nothing is known yet."""
        path = inbound.path.rstrip("/") or "/"
        if path not in self._works and (twice := _TWICE.match(inbound.raw_path)) is not None:
            raw = b"/" + inbound.raw_path[twice.end() :]
            inbound = msgspec.structs.replace(inbound, path=unquote(raw.decode("latin-1")), raw_path=raw, same=None)
            path = inbound.path.rstrip("/") or "/"
        envelope = None if path in self._works else enclosing(inbound)
        watched = _Watched(out if envelope is None else envelope.close(out, self.core.clock))
        try:
            if inbound.method == "POST" and _EXPLAIN.match(path):
                inbound, found = self._explained(path, inbound)
                envelope = enclosing(inbound)
            else:
                found = self._asked(path, inbound)
            if found is not None:
                dialect, work = found
                asked = inbound
                # The key first: nothing is unpacked for a stranger.
                inbound, caller = self.site.keys.admit(inbound)
                inbound = _unpacked(inbound, self.site.max_body)
                if inbound is asked and inbound.same is not None and envelope is None and path in self._works:
                    inbound.same[self] = _Known(dialect, work, regular(inbound, caller))
                if envelope is not None:
                    # Its credentials are those of its cloud, and no business of a provider's.
                    inbound, caller = envelope.open(inbound), caller.elsewhere()
                request_id = self._new_id()
                await attend(work, self.core, dialect, inbound=inbound, caller=caller, out=watched, request_id=request_id)
            else:
                await self._other(path, inbound, watched)
        except DragomanError as error:
            await self.refuse(inbound, watched, error)
        except Exception:
            log.exception("a fault in the gateway on %s %s", inbound.method, inbound.path)
            await self.refuse(inbound, watched, Internal("the gateway failed; its log says why"))

    def owns(self, inbound: Inbound) -> bool:
        """Whether a request is the gateway's to answer: by its path, whatever the method."""
        path = inbound.path.rstrip("/")
        return bool(self._allowed(path)) or _first(path) in self.site.passes or self._work(path, inbound) is not None

    def screen(self, inbound: Inbound) -> DragomanError | None:
        """The key is in the head: nobody need wait for the body of a stranger's request, not even where none is asked for
        a key (a body has no business there)."""
        if inbound.same is not None and self in inbound.same:
            return None
        try:
            self.site.keys.admit(inbound)
        except DragomanError as error:
            return error
        return None

    def _asked(self, path: str, inbound: Inbound) -> tuple[Dialect, Work] | None:
        """What a request asks for, of what `attend` answers."""
        found = self._work(path, inbound) if inbound.method == "POST" else None
        if found is None and self.site.stored is not None:
            found = self.site.stored.find(inbound.method, path)
        return found

    def _work(self, path: str, inbound: Inbound) -> tuple[Dialect, Work] | None:
        """What a path asks for: by the path itself, or where a dialect puts the model into it."""
        found = self._works.get(path)
        if found is None:
            envelope = enclosing(inbound)
            if envelope is not None and not envelope.located:
                return self.core.dialects[envelope.dialect], _VERBS[envelope.verb]
            for locate in self._located:
                if (way := locate(inbound)) is not None:
                    return way.dialect, _VERBS[way.verb]
        return found

    def _explained(self, path: str, inbound: Inbound) -> tuple[Inbound, tuple[Dialect, Work]]:
        """The request that is to be explained, as it would stand without that, and who explains it."""
        inner = _EXPLAIN.sub("", path, count=1)
        if not inner:
            dialect, inbound = self._named_dialect(inbound)
            return inbound, (dialect, self._explain)
        raw = _EXPLAIN.sub("", inbound.raw_path.decode("latin-1"), count=1).encode("latin-1")
        asked = msgspec.structs.replace(inbound, path=inner, raw_path=raw)
        found = self._work(inner, asked)
        if found is None or found[1] in self._uninferred:
            raise UnknownRoute(f"nothing is inferred at {inner}, so there is nothing to explain")
        return asked, (found[0], self._explain_vectors if found[1] is embed else self._explain)

    def _named_dialect(self, inbound: Inbound) -> tuple[Dialect, Inbound]:
        """The dialect of `?dialect=`, and the request without that: it is not for a provider's eyes."""
        query = inbound.query.decode("latin-1")
        name = dict(parse_qsl(query)).get("dialect", "")
        dialect = self.core.dialects.get(name)
        if dialect is None:
            there = ", ".join(self.core.dialects)
            what = f"there is no dialect {name!r}" if name else "it must be known whose request this is"
            raise MalformedBody(
                f"{what}: say /v1/explain?dialect= and one of {there}, or /v1/explain/v1/messages", param="dialect"
            )
        kept = "&".join(field for field in query.split("&") if not field.startswith("dialect="))
        return dialect, msgspec.structs.replace(inbound, path=dialect.path, query=kept.encode("latin-1"))

    async def refuse(self, inbound: Inbound, out: Outbound, error: DragomanError) -> None:
        """An error of the gateway itself, in the caller's dialect. Breaks off where an answer has already begun."""
        if isinstance(out, _Watched) and out.started:
            out.abort()
            return
        if not isinstance(out, _Watched) and (envelope := enclosing(inbound)) is not None:
            # A driver refuses by itself whom it need not hear out.
            out = envelope.close(out, self.core.clock)
        request_id = self._new_id()
        dialect = self._dialect_of(inbound)
        told = dialect.encode_error(error, request_id)
        headers = told.raw
        if error.status == 405:
            headers.append((b"allow", self._allowed(inbound.path.rstrip("/")).encode()))
        elif error.status == _NOT_UNDERSTOOD:
            headers.append((b"accept-encoding", TAKEN.encode()))  # RFC 9110, section 15.5.16
        await out.whole(told.status, headers, told.body)
        now = self.core.clock.now()
        self.core.observe(
            Report(
                request_id=request_id, dialect=dialect.name, caller=Caller(), path=inbound.path,
                started=now, ended=now, status=told.status, error=error,
            )
        )  # fmt: skip

    def _new_id(self) -> str:
        return "req_" + self.core.new_id()

    def _dialect_of(self, inbound: Inbound) -> Dialect:
        """The dialect of a path, or of the client's habits where the path tells nothing."""
        path = inbound.path.rstrip("/")
        found = self._work(path, inbound)
        if found is not None:
            return found[0]
        passed = self.site.passes.get(_first(path))
        if passed is not None:
            return self.core.dialects[passed.dialect]
        if inbound.header(b"anthropic-version") is not None or "messages" in path:
            return self.core.dialects["messages"]
        google = path.startswith("/v1beta") or inbound.header(b"x-goog-api-key") is not None
        return self.core.dialects["gemini" if google and "gemini" in self.core.dialects else "chat"]

    def _allowed(self, path: str) -> str:
        """The methods of a path of ours, empty for one that is not ours."""
        if path in self._works or _EXPLAIN.match(path):
            return "POST"
        if self.site.stored is not None and (methods := self.site.stored.allowed(path)):
            return methods
        ours = path in _GREETINGS or path.startswith("/health") or path in _OTHER_HEALTH or _is_models(path)
        return "GET, HEAD" if ours else ""

    # ------------------------------------------------------------ everything but inference

    async def _other(self, path: str, inbound: Inbound, out: Outbound) -> None:
        asks = inbound.method in _ASKS
        if asks and (path == "/" or path in _GREETINGS):
            await out.whole(200, _JSON, msgspec.json.encode({"name": "dragoman", "version": __version__, "status": "ok"}))
            return
        if asks and (path.startswith("/health") or path in _OTHER_HEALTH):
            await self._health(path, inbound, out)
            return
        inbound, caller = self.site.keys.admit(inbound)
        first = _first(path)
        if asks and _is_models(path):
            await self._models(_MODELS.sub("", path, count=1).removeprefix("/"), inbound, caller, out)
        elif first in self.site.passes:
            await self._pass(self.site.passes[first], path, inbound, caller, out)
        elif inbound.method == "POST" and _is_models(path) and ":" in path:
            # A method of Google's: what is wrong is its name, not POST.
            raise UnknownRoute(f"nothing here does {path.rpartition(':')[2]!r} with a model")
        elif allowed := self._allowed(path if path != "/" else ""):
            raise UnknownRoute(f"{path} takes {allowed}, not {inbound.method}", status=405)
        else:
            raise UnknownRoute(f"there is no {inbound.method} {path} here; see /v1/models, /v1/messages, /v1/chat/completions")

    async def _pass(self, target: PassThrough, path: str, inbound: Inbound, caller: Caller, out: Outbound) -> None:
        if path == f"/{target.provider}/health" and inbound.method in _ASKS:
            state = {"status": "ok", "provider": target.provider, "credential": bool(target.auth) or target.keyless}
            await out.whole(200, _JSON, msgspec.json.encode(state))
            return
        if inbound.method in _NEVER_PASSED:
            raise UnknownRoute(f"{inbound.method} is not passed on to providers", status=405)
        if self.site.stored is not None:
            asked, most = inbound, self.site.max_body
            inbound, out = await self.site.stored.passing(target, asked, caller, out, lambda: _unpacked(asked, most).body)
        # As it stood on the wire, behind the provider's name.
        rest = inbound.raw_path[1:].partition(b"/")[2].decode("latin-1")
        clock = self.core.clock
        report = Report(
            request_id=self._new_id(), dialect=target.dialect, caller=caller, path=inbound.path, started=clock.now(),
            provider=target.provider, tier="passed", status=_CLIENT_LEFT,
        )  # fmt: skip
        refused = False
        try:
            await forward(self.core.transport, target, f"/{rest}", inbound, report, out=out, clock=clock)
        except DragomanError:
            refused = True  # and reported as such
            raise
        finally:
            if not refused:
                report.ended = clock.now()
                self.core.observe(report)

    async def _models(self, name: str, inbound: Inbound, caller: Caller, out: Outbound) -> None:
        dialect = self._dialect_of(inbound)
        cards = self.site.models()
        if not name:
            body = dialect.encode_models(cards, dict(parse_qsl(inbound.query.decode("latin-1"))))
        else:
            body = dialect.encode_model(next((card for card in cards if card.id == name), None) or self._card(name, caller))
        await out.whole(200, _JSON, body)

    def _card(self, name: str, caller: Caller) -> ModelCard:
        """Of a model that is in no list but can be served (`provider/anything`). Raises `UnknownModel`."""
        for endpoint in self.core.route(name).endpoints:
            if endpoint.auth or endpoint.keyless or brings_own(endpoint, caller):
                return ModelCard(id=name, display_name=name, owner=endpoint.provider)
        raise UnknownModel(f"No model {name!r} here: its provider has no key.", code="model_not_found", param="model")

    async def _health(self, path: str, inbound: Inbound, out: Outbound) -> None:
        status = self.site.state()
        ready = status == "ok"
        state: dict[str, Any] = {"status": status, "version": __version__}
        match path:
            case "/health/live" | "/health/liveliness" | "/health/liveness":
                await out.whole(200, _JSON, msgspec.json.encode({"status": "ok"}))
                return
            case "/health" | "/health/ready" | "/health/readiness":
                pass
            case "/health/detailed" | "/v1/universal/health":
                self.site.keys.admit(inbound)
                state |= self.site.health()
            case "/health/claude-code-readiness":
                state |= self._claude_code()
                ready = ready and state["ready"]
                if self.screen(inbound) is not None:
                    del state["models"]  # where names lead is nothing for strangers
            case "/v1/cache/health":
                state |= {"cache": "off"}
            case _:
                raise UnknownRoute(f"there is no {path} here")
        await out.whole(200 if ready else 503, _JSON, msgspec.json.encode(state))

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


class _Known(msgspec.Struct):
    """What a head asks for, and who asks."""

    dialect: Dialect
    work: Work
    regular: Regular


class _Watched:
    """An `Outbound` that remembers whether anything was sent."""

    __slots__ = ("_out", "started")

    def __init__(self, out: Outbound) -> None:
        self._out = out
        self.started = False

    # No coroutines of its own: they would cost at every event.

    def start(self, status: int, headers: Any) -> Awaitable[None]:
        self.started = True
        return self._out.start(status, headers)

    def write(self, data: bytes) -> Awaitable[None]:
        return self._out.write(data)

    def finish(self, data: bytes = b"") -> Awaitable[None]:
        return self._out.finish(data)

    def whole(self, status: int, headers: RawHeaders, body: bytes) -> Awaitable[None]:
        self.started = True
        return self._out.whole(status, headers, body)

    def bound(self, seconds: float) -> None:
        self._out.bound(seconds)

    def abort(self) -> None:
        self._out.abort()


def _first(path: str) -> str:
    """The first step of a path; `*` (`OPTIONS *`) has none."""
    return path.removeprefix("/").partition("/")[0] if path.startswith("/") else ""


def _is_models(path: str) -> bool:
    return _MODELS.match(path) is not None


def _unpacked(inbound: Inbound, most: int) -> Inbound:
    """A body that came compressed, as it was before."""
    coding = (inbound.header(b"content-encoding") or b"identity").strip().lower()
    if coding in {b"identity", b""}:
        return inbound
    return msgspec.structs.replace(inbound, body=unpacked(inbound.body, coding.decode("latin-1"), most))
