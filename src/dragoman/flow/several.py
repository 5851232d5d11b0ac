"""A request that is several at once (prompts of `/v1/completions`), for targets of another dialect, which take one at a time.

Where every target of the route takes such a request as it is, it goes as it is. Otherwise its parts go one after another, each
along the whole route, and their answers become one; what goes wrong with one of them is the answer to all.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

import msgspec

from dragoman.dialects.base import Joiner
from dragoman.flow.answer import Answer
from dragoman.flow.call import Call, Report
from dragoman.flow.prepare import begin, way
from dragoman.ir.losses import Ledger
from dragoman.ir.usage import Usage
from dragoman.wire.http import Outbound, RawHeaders

Work = Callable[[Call], Awaitable[None]]


def each(infer: Work) -> Work:
    """The work that infers the parts of a request where it has any, and otherwise the request itself."""

    async def infer_each(call: Call) -> None:
        found = call.dialect.apart(call.inbound.body) if call.dialect.apart is not None else None
        if found is None or all(endpoint.urls and way(call, endpoint)[1] for endpoint in begin(call)):
            await infer(call)
            return
        bodies, joiner = found
        joined = _Joined(call, joiner)
        total = _Total(call.report)
        try:
            for body in bodies:
                await infer(joined.part(body))
                total.add()
        finally:
            total.tell()
        await joined.finish_all()

    return infer_each


class _Joined(Outbound):
    """An `Outbound` for the parts: what each says goes through the joiner to the caller."""

    def __init__(self, call: Call, joiner: Joiner) -> None:
        self._call = call
        self._joiner = joiner
        self._headers: RawHeaders = []
        self._held: list[bytes] = []

    def part(self, body: bytes) -> Call:
        call = self._call
        answer = Answer(self, call.dialect, call.answer.request_id, call.core.clock)
        inbound = msgspec.structs.replace(call.inbound, body=body)
        return Call(call.core, call.dialect, inbound, answer, call.report)

    async def finish_all(self) -> None:
        if self._call.stream:
            await self._call.answer.finish(self._joiner.end())
        else:
            await self._call.answer.whole(200, self._headers, self._joiner.whole())

    async def start(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        self._headers = self._headers or [pair for pair in headers if pair[0] != b"content-length"]
        if self._call.stream:
            await self._call.answer.begin(status, self._headers)

    async def write(self, data: bytes) -> None:
        if not self._call.stream:
            self._held.append(data)
        elif told := self._joiner.feed(data):
            await self._call.answer.write(told)

    async def finish(self, data: bytes = b"") -> None:
        await self.write(data)
        if self._call.stream:
            self._joiner.next()
        else:
            self._joiner.add(b"".join(self._held))
            self._held.clear()

    def bound(self, seconds: float) -> None:
        self._call.answer.bound(seconds)

    def abort(self) -> None:
        self._call.answer.torn = True


class _Total:
    """What all parts came to. Each of them leaves its own in the report."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._usage: Usage | None = None
        self._first: float | None = None
        self._ledger = Ledger()
        self._trail: list[str] = []

    def add(self) -> None:
        report = self._report
        self._usage = report.usage if self._usage is None else _sum(self._usage, report.usage or Usage())
        self._first = report.first_byte if self._first is None else self._first
        self._ledger.losses += report.ledger.losses
        self._trail += report.trail
        report.usage, report.ledger, report.trail = None, Ledger(), []

    def tell(self) -> None:
        self.add()
        report = self._report
        report.usage, report.first_byte, report.ledger, report.trail = self._usage, self._first, self._ledger, self._trail


def _sum(one: Usage, other: Usage) -> Usage:
    counts = {name: getattr(one, name) + getattr(other, name) for name in Usage.__struct_fields__ if name != "estimated"}
    return Usage(**counts, estimated=one.estimated or other.estimated)
