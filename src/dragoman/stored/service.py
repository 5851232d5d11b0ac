"""The paths of the Responses API, as works of `pipeline.attend`:

POST   /v1/responses                     an answer, kept as the request says; or one in the background
GET    /v1/responses/{id}                the answer, or with ?stream=true its events from behind `starting_after`
DELETE /v1/responses/{id}
POST   /v1/responses/compact             a conversation made short, in `compact.py`
POST   /v1/responses/{id}/cancel         stop the work in the background
GET    /v1/responses/{id}/input_items    what it was made of
"""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable
from functools import partial
from urllib.parse import parse_qsl

import msgspec

from dragoman.dialects.base import Dialect
from dragoman.dialects.responses import keeping as forms
from dragoman.dialects.responses.keeping import Asked
from dragoman.errors import DragomanError, RequestError
from dragoman.flow.call import Call, Core
from dragoman.flow.envelope import Caller
from dragoman.pipeline import Work, infer
from dragoman.records import Records
from dragoman.route.target import Endpoint, PassThrough
from dragoman.stored.compact import compact
from dragoman.stored.jobs import Job
from dragoman.stored.keeping import DIALECT, Keeping, keeps
from dragoman.stored.passing import Reader, passing
from dragoman.stored.recorder import Recorder
from dragoman.stored.shelf import Found, Shelf, not_found
from dragoman.stored.there import hand_on
from dragoman.stored.workshop import Workshop
from dragoman.wire.http import Inbound, Outbound

log = logging.getLogger("dragoman.stored")

_PATH = re.compile(r"(?:/v1)?/responses/([^/]+)(/cancel|/input_items)?")
_NO_ID = frozenset({"input_tokens", "compact"})
_STATES = frozenset({"queued", "in_progress"})
_JSON = [(b"content-type", b"application/json")]
_POLL = 0.25
"""Seconds between two looks at an answer that another process makes."""
_STOP_WITHIN = 10.0


class Stored:
    """`records` None: the gateway keeps nothing of its own, but what providers keep can still be used."""

    def __init__(self, core: Core, records: Records | None, ttl: float, shop: Workshop) -> None:
        self._core = core
        self._shop = shop
        self._shelf = Shelf(records, core.clock, ttl) if records is not None else None
        self._dialect = core.dialects[DIALECT]
        self._jobs: dict[tuple[str, str], Job] = {}

    def find(self, method: str, path: str) -> tuple[Dialect, Work] | None:
        """The work for a path about one answer; None for any other path or method."""
        found = _PATH.fullmatch(path)
        if found is None or found[1] in _NO_ID:
            return None
        works: dict[tuple[str, str], Callable[[str, Call], Awaitable[None]]] = {
            ("GET", ""): self._retrieve,
            ("DELETE", ""): self._delete,
            ("POST", "/cancel"): self._cancel,
            ("GET", "/input_items"): self._input_items,
        }
        work = works.get((method, found[2] or ""))
        return (self._dialect, partial(work, found[1])) if work is not None else None

    def allowed(self, path: str) -> str:
        """The methods of such a path; empty for any other."""
        found = _PATH.fullmatch(path)
        if found is None or found[1] in _NO_ID:
            return ""
        return {"/cancel": "POST", "/input_items": "GET"}.get(found[2] or "", "GET, DELETE")

    async def aclose(self) -> None:
        """Work in the background ends here, and says so."""
        jobs = list(self._jobs.values())
        for job in jobs:
            job.stop("failed")
        for job in jobs:
            await job.stopped()

    # ------------------------------------------------------------ POST /v1/responses

    async def create(self, call: Call) -> None:
        keeping = await self.prepare(call)
        if keeping is None:
            await infer(call)
            return
        await keeping.claim()
        if keeping.asked.background is True and not self._runs_there(call, keeping):
            await self._background(call, keeping)
            return
        if keeping.wanted or (keeping.conversation and keeping.shelf is not None):
            call.answer.through(lambda out: Recorder(out, call, keeping, self._shop))
        await infer(call)

    async def prepare(self, call: Call) -> Keeping | None:
        """What the request goes on from, put into the call; None where it neither goes on nor is kept."""
        asked = call.seen()
        assert isinstance(asked, Asked)
        stateless = asked.store is False and not asked.background
        alone = stateless and not asked.previous_response_id and asked.conversation is None
        if alone and not asked.leaning():
            return None
        keeping = Keeping(call, asked, self._shelf)
        await keeping.prepare()
        if alone and not (keeping.here_only or keeping.there_only):
            return None
        call.kept = keeping
        return keeping

    def prepared(self, work: Work) -> Work:
        """Another work on the request as it would go out (explaining it, counting its tokens)."""

        async def ready(call: Call) -> None:
            if call.dialect is self._dialect:
                await self.prepare(call)
            await work(call)

        return ready

    def _runs_there(self, call: Call, keeping: Keeping) -> bool:
        """Whether the providers work in the background by themselves. Raises what stands in the way of it."""
        if keeping.asked.store is False:
            raise RequestError(
                "background: a response in the background is stored, so it cannot have store false", param="background"
            )
        endpoints = keeping.among(list(call.route().endpoints))
        # With one among them that cannot, all can be tried only if the work goes on here.
        there = not keeping.here_only and (all(map(keeps, endpoints)) or (keeping.shelf is None and keeps(endpoints[0])))
        if there:
            keeping.there_only = True
        elif keeping.shelf is None:
            raise RequestError(
                "background: this gateway keeps no answers (store.enabled is false), and this model's provider has no store",
                param="background",
            )
        return there

    async def _background(self, call: Call, keeping: Keeping) -> None:
        assert self._shelf is not None
        keeping.told()  # a mistake is told at once
        keeping.answer_id = self._dialect.id_prefix + self._core.new_id()
        keeping.created = int(self._core.clock.time())
        if keeping.owner is None:
            keeping.owner = keeping.owner_at(call.route().endpoints[0])
        job = Job(self._core, self._shelf, keeping, shop=self._shop, inbound=keeping.background())
        self._jobs[job.owner, job.id] = job
        try:
            response = await job.begin(self._forget)
        except DragomanError:
            self._forget(job)
            raise
        call.answer.headers = [(b"x-dragoman-request-id", call.report.request_id.encode())]
        if call.stream:
            await job.tape.follow(call.answer, -1, self._core.ping_every)
        else:
            await call.answer.whole(200, _JSON, response)

    def _forget(self, job: Job) -> None:
        self._jobs.pop((job.owner, job.id), None)

    async def compact(self, call: Call) -> None:
        await compact(call, self._shelf)

    # ------------------------------------------------------------ one answer

    async def _found(self, own_id: str, call: Call) -> Found:
        found = await self._shelf.find(call.report.caller, own_id) if self._shelf is not None else None
        if found is None:
            raise not_found(own_id)
        return found

    async def _retrieve(self, own_id: str, call: Call) -> None:
        found = await self._found(own_id, call)
        if found.entry.held == "there":
            await self._ask_there(call, found, "GET", "")
            return
        query = _query(call)
        job = self._jobs.get((found.owner, found.id))
        if query.get("stream", "").lower() in {"true", "1"}:
            after = _number(query.get("starting_after"), "starting_after")
            await self._stream(call, found, job, after)
            return
        found = await self._settled(found, job)
        await call.answer.whole(200, _JSON, bytes(found.entry.response))

    async def _delete(self, own_id: str, call: Call) -> None:
        found = await self._found(own_id, call)
        assert self._shelf is not None
        if found.entry.held == "there":
            await hand_on(call, self._endpoint(call, found), "DELETE", f"/{found.id}", done=partial(self._shelf.remove, found))
            return
        await self._shelf.remove(await self._stop(found))
        await call.answer.whole(200, _JSON, forms.deleted(own_id))

    async def _cancel(self, own_id: str, call: Call) -> None:
        found = await self._found(own_id, call)
        if found.entry.held == "there":
            await self._ask_there(call, found, "POST", "/cancel")
            return
        if not found.entry.background:
            raise RequestError("Cannot cancel a synchronous response.", code="invalid_request")
        found = await self._stop(found)
        await call.answer.whole(200, _JSON, bytes(found.entry.response))

    async def _input_items(self, own_id: str, call: Call) -> None:
        found = await self._found(own_id, call)
        if found.entry.held == "there":
            await self._ask_there(call, found, "GET", "/input_items")
            return
        assert self._shelf is not None
        context = await self._shelf.before(found)
        await call.answer.whole(200, _JSON, forms.listed(context.items, context.names, _query(call)))

    # ------------------------------------------------------------ answers in the making

    async def _again(self, found: Found) -> Found:
        assert self._shelf is not None
        record = await self._shelf.read(found.owner, found.id)
        if record is None:
            raise not_found(found.id)
        return record

    async def _settled(self, found: Found, job: Job | None) -> Found:
        """The answer as it is now. Where nobody works on it any more, it has failed."""
        shelf = self._shelf
        assert shelf is not None
        response = bytes(found.entry.response)
        if job is not None or forms.status_of(response) not in _STATES:
            return found
        if await shelf.records.get("running", found.owner, found.id) is not None:
            return found
        found = await self._again(found)  # it may have ended between the two questions
        response = bytes(found.entry.response)
        if forms.status_of(response) not in _STATES:
            return found
        error = {"code": "server_error", "message": "the gateway that worked on this response has stopped"}
        entry = msgspec.structs.replace(found.entry, response=msgspec.Raw(forms.ended(response, "failed", error)))
        await shelf.change(found, entry)
        return await self._again(found)

    async def _stop(self, found: Found) -> Found:
        """End the work on an answer, whichever process does it."""
        shelf = self._shelf
        assert shelf is not None
        job = self._jobs.get((found.owner, found.id))
        if job is not None:
            await job.cancel()
            return await self._again(found)
        until = self._core.clock.now() + _STOP_WITHIN
        found = await self._settled(found, None)
        if forms.status_of(bytes(found.entry.response)) in _STATES:
            await shelf.ask_to_stop(found)
        while forms.status_of(bytes(found.entry.response)) in _STATES and self._core.clock.now() < until:
            await self._shop.pause(_POLL)
            found = await self._settled(await self._again(found), None)
        return found

    async def _stream(self, call: Call, found: Found, job: Job | None, after: int) -> None:
        call.stream = call.answer.stream = call.report.stream = True
        if job is not None:
            await job.tape.follow(call.answer, after, self._core.ping_every)
            return
        if not found.entry.streamed:
            raise RequestError("This response was not created with stream, so it cannot be streamed.", param="stream")
        assert self._shelf is not None
        found = await self._settled(found, None)
        while forms.status_of(bytes(found.entry.response)) in _STATES:
            if self._core.clock.now() - call.answer.quiet_since > self._core.ping_every:
                await call.answer.ping()
            await self._shop.pause(_POLL)
            found = await self._settled(await self._again(found), None)
        record = await self._shelf.records.get("events", found.owner, found.id)
        events = record.body.split(b"\n\n")[:-1] if record is not None else []
        await call.answer.begin_stream()
        await call.answer.finish(b"".join(event + b"\n\n" for event in events[after + 1 :]))

    # ------------------------------------------------------------ answers there

    async def passing(
        self, target: PassThrough, inbound: Inbound, caller: Caller, out: Outbound, read: Callable[[], bytes]
    ) -> tuple[Inbound, Outbound]:
        """A native pass-through, as it may go on, and the way of its answer (`passing.py`)."""
        return (
            (inbound, out) if self._shelf is None else await passing(self._shelf, target, inbound, caller, out=out, read=read)
        )

    async def _ask_there(self, call: Call, found: Found, method: str, suffix: str) -> None:
        """Hand on what the provider says that keeps it. Raises its refusals."""
        shelf, name = self._shelf, call.report.caller.name
        if method == "GET" and shelf is not None and name and found.owner == name:
            # Of an answer that was made in the background its items are told here first, and those of its input only here.
            call.answer.through(lambda out: Reader(out, partial(shelf.note, name)))
        await hand_on(call, self._endpoint(call, found), method, f"/{found.id}{suffix}")

    def _endpoint(self, call: Call, found: Found) -> Endpoint:
        """The way to the provider that keeps an answer, with the key that it was made with."""
        entry = found.entry
        route = self._core.route(entry.model)
        there = [one for one in route.endpoints if one.provider == entry.provider and keeps(one)]
        if not there:
            raise RequestError(
                f"Response with id '{found.id}' is kept by the provider {entry.provider}, "
                f"to which {entry.model!r} no longer leads",
                status=404,
                code="response_not_found",
            )
        call.first = entry.provider
        return next((one for one in there if one.key == entry.key), there[0])


def _query(call: Call) -> dict[str, str]:
    return dict(parse_qsl(call.inbound.query.decode("latin-1")))


def _number(said: str | None, name: str) -> int:
    """-1 where nothing is said."""
    if not said:
        return -1
    if not (said.isascii() and said.isdigit() and len(said) < 10):
        raise RequestError(f"{name}: expected a number, got {said[:40]!r}", param=name)
    return int(said)
