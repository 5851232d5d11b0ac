"""Answers that are made in the background: the work goes on when the caller has left, and what has come of it can be asked for.

A job is the same work as any request, with a `Tape` in the caller's place. Its state is the record of its answer: `queued` or
`in_progress` at first, and at the end whatever it has become. While it runs it renews a record of the kind `running`, which
soon expires: where that is missing, the gateway that worked on it is gone. A record of the kind `stop` tells the process
that runs it, whichever that is, to stop.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any, Literal

import msgspec

from dragoman.dialects.base import Reply
from dragoman.dialects.responses import keeping as forms
from dragoman.dialects.responses.errors import failure
from dragoman.errors import Internal, StoreUnavailable
from dragoman.flow.answer import Answer
from dragoman.flow.call import Call, Core
from dragoman.flow.envelope import Caller
from dragoman.ir.losses import Ledger
from dragoman.pipeline import attend, infer
from dragoman.records import Record
from dragoman.stored.keeping import Keeping
from dragoman.stored.recorder import LARGEST, Recorder
from dragoman.stored.shelf import Shelf
from dragoman.stored.workshop import Bell, Running, Workshop
from dragoman.wire.http import Inbound, Outbound
from dragoman.wire.sse import SseParser

log = logging.getLogger("dragoman.stored")

_WATCH = 2.0
"""Seconds between two looks at whether a job is to stop."""
_ALIVE = 20.0
"""Seconds for which a job counts as running that has not said so again."""

Block = dict[str, Any]


class Tape(Outbound):
    """An `Outbound` that keeps what it gets: the events of the answer's stream, or the refusal in its place."""

    def __init__(self, bell: Bell) -> None:
        self.events: list[bytes] = []
        self.items: list[bytes] = []
        """Those that are done, as JSON."""
        self.refusal: bytes = b""
        self.done = False
        self._refused = False
        self._bell = bell
        self._parser = SseParser(LARGEST)

    def bound(self, seconds: float) -> None: ...

    def abort(self) -> None: ...

    async def start(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:  # noqa: ARG002
        self._refused = status != 200

    async def write(self, data: bytes) -> None:
        if self._refused:
            self.refusal += data
            return
        for frame in self._parser.feed(data):
            if frame.event == "error":
                self.refusal = frame.data  # in words that a Response has a place for, it is told at the end
                continue
            self.events.append(b"event: %b\ndata: %b\n\n" % (frame.event.encode(), frame.data))
            if frame.event == "response.output_item.done":
                self.items.append(bytes(msgspec.json.decode(frame.data, type=_Done).item))
        self._bell.ring()

    async def finish(self, data: bytes = b"") -> None:
        await self.write(data)

    def end(self) -> None:
        self.done = True
        self._bell.ring()

    async def follow(self, answer: Answer, after: int, every: float) -> None:
        """Give the events behind the one of this number to the caller, until the last."""
        await answer.begin_stream()
        at = after + 1
        while True:
            if at < len(self.events):
                ready = b"".join(self.events[at:])
                at = len(self.events)
                await answer.write(ready)
            elif self.done:
                await answer.finish()
                return
            elif not await self._bell.wait(every):
                await answer.ping()


class _Done(msgspec.Struct):
    item: msgspec.Raw


class Job:
    """One answer in the making. `inbound` is the whole request, as a stream."""

    def __init__(self, core: Core, shelf: Shelf, keeping: Keeping, *, shop: Workshop, inbound: Inbound) -> None:
        self.id = keeping.answer_id
        self.owner = keeping.owner or ""
        self.why: Literal["failed", "cancelled"] = "failed"
        self._core = core
        self._shelf = shelf
        self._shop = shop
        self._keeping = keeping
        self._inbound = inbound
        self._request_id = keeping.call.report.request_id
        self._dialect = keeping.call.dialect
        self._task: Running | None = None
        self._state: Literal["new", "working", "settling"] = "new"
        self._halted = False
        self.tape = Tape(shop.bell())
        self._ended = shop.bell()

    async def begin(self, forget: Callable[[Job], None]) -> bytes:
        """Set to work; the Response as it is now. Durable when it returns. Raises `Busy` and `StoreUnavailable`."""
        self._shop.admit()
        response = self.shell("queued")
        await self._alive()
        await self._shelf.keep(self.owner, self.id, self._keeping.entry(self.shell("in_progress")))
        self._task = self._shop.start(self._run(forget))
        return response

    def shell(self, status: str, error: Block | None = None) -> bytes:
        call = self._keeping.call
        reply = Reply(
            request=self._keeping.told(),
            model=call.endpoint.model if call.endpoint is not None else call.model,
            created=self._keeping.created,
            fallback_id=self.id,
            input_estimate=0,
            issuer="",
            ledger=Ledger(),
            own_id=self.id,
        )
        return forms.shell(reply, status, self.tape.items, error)

    async def cancel(self) -> None:
        """Returns when it has stopped, or soon after."""
        self.stop("cancelled")
        await self.stopped()

    def stop(self, why: Literal["failed", "cancelled"]) -> None:
        self.why = why
        self._halted = True
        # A work that has not begun looks before it does; and what it has come to is written down in peace.
        if self._task is not None and self._state == "working":
            self._task.cancel()

    async def stopped(self) -> None:
        if not self.tape.done:
            await self._ended.wait(_ALIVE)

    # ------------------------------------------------------------ the work

    async def _run(self, forget: Callable[[Job], None]) -> None:
        stopped, self._state = self._halted, "working"
        watch = self._shop.start(self._watch())
        try:
            caller: Caller = self._keeping.caller
            if not stopped:
                await attend(
                    self._work, self._core, self._dialect, inbound=self._inbound, caller=caller, out=self.tape,
                    request_id=self._request_id,
                )  # fmt: skip
        finally:
            self._state = "settling"
            watch.cancel()
            try:
                await self._settle()
            except StoreUnavailable as error:
                log.warning("the end of the background response %s is not kept: %s", self.id, error.message)
            finally:
                forget(self)
                self.tape.end()
                self._ended.ring()

    async def _work(self, call: Call) -> None:
        self._keeping.call = call
        call.kept = self._keeping
        call.answer.through(lambda out: Recorder(out, call, self._keeping, self._shop))
        await infer(call)

    async def _settle(self) -> None:
        """Write down what has become of it, where no answer has."""
        keeping = self._keeping
        if not keeping.kept:
            error = None if self.why == "cancelled" else self._error()
            response = self.shell(self.why, error)
            if error is not None:
                body = b'{"type":"response.failed","sequence_number":%d,"response":%b}' % (len(self.tape.events), response)
                self.tape.events.append(b"event: response.failed\ndata: %b\n\n" % body)
            await self._shelf.keep(self.owner, self.id, keeping.entry(response))
        if keeping.asked.stream is True:
            events = b"".join(self.tape.events)
            await self._shelf.keep_events(self.owner, self.id, events)
        await self._shelf.records.delete("running", self.owner, self.id)

    def _error(self) -> Block:
        """Why there is no answer."""
        try:
            said = msgspec.json.decode(self.tape.refusal, type=dict[str, Block])["error"]
            return {"code": said.get("code") or "server_error", "message": said.get("message") or "no reason given"}
        except (msgspec.DecodeError, KeyError):
            told = failure(Internal("the gateway stopped before the answer was complete"))
            return {"code": told["code"], "message": told["message"]}

    # ------------------------------------------------------------ across processes

    async def _alive(self) -> None:
        now = self._shelf.clock.time()
        record = Record(kind="running", id=self.id, owner=self.owner, body=b"", created=now, expires=now + _ALIVE)
        await self._shelf.records.put(record)

    async def _watch(self) -> None:
        records = self._shelf.records
        said = self._core.clock.now()
        while True:
            await self._shop.pause(_WATCH)
            try:
                if await records.get("stop", self.owner, self.id) is not None:
                    self.stop("cancelled")
                    return
                if self._core.clock.now() - said > _ALIVE / 3:
                    said = self._core.clock.now()
                    await self._alive()
            except StoreUnavailable as error:
                log.warning("%s", error.message)
