"""One client at one upstream, in one mode: how a case asks, and looks at what came of it on both sides."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec

from dragoman.conformance.case import Difference, Differs, Mode
from dragoman.conformance.clients import Client
from dragoman.conformance.heard import Heard, heard
from dragoman.conformance.prompt import Prompt
from dragoman.conformance.recording import RECORDED, Recorded
from dragoman.conformance.script import Script, Ticket, TicketedUpstream, marked
from dragoman.testing import VOICES, IllegalStream, View
from dragoman.testing.http1 import Request


class Raised(msgspec.Struct):
    """What an SDK raised: the names of its class and that class's bases, the HTTP status where there was one."""

    names: tuple[str, ...]
    status: int | None
    message: str

    @property
    def shown(self) -> str:
        status = f" ({self.status})" if self.status else ""
        return f"{self.names[0]}{status}: {self.message[:200]}"


class Said(msgspec.Struct):
    """What came of a question. `native` is the SDK's object and `view` what stands in it, None where it raised. `judged` is
    what the strict judge reads from the bytes, `illegal` the rule that they break."""

    recorded: Recorded
    ticket: Ticket
    native: Any = None
    view: View | None = None
    raised: Raised | None = None
    judged: View | None = None
    illegal: str = ""

    @property
    def requests(self) -> list[Request]:
        return self.ticket.requests

    def answered(self) -> View:
        """The answer as the SDK understood it. Raises `Differs` where there is none."""
        if self.view is None:
            strays = f"; the upstream was asked at {', '.join(self.ticket.strays)}" if self.ticket.strays else ""
            raise Differs(Difference("the answer", "one", (self.raised.shown if self.raised else "nothing") + strays))
        return self.view

    def sent(self) -> Request:
        """The last request that the upstream got. Raises `Differs` where it got none."""
        if not self.requests:
            got = f"{self.raised.shown}" if self.raised else "none"
            raise Differs(Difference("the request to the upstream", "one, in its dialect", got))
        return self.requests[-1]


class Bench(msgspec.Struct):
    """What all seats share: the upstream, the names of models, and the breaches of grammar found on the way."""

    upstream: TicketedUpstream
    upstreams: tuple[str, ...]
    models: Mapping[str, str]
    """By upstream dialect, as clients name them."""

    chains: Mapping[str, str]
    """The same for models whose first target is overloaded and whose second answers."""

    base_url: str = ""
    key: str = ""
    http: Any = None
    grammar: dict[tuple[str, str, Mode], list[tuple[str, str]]] = {}
    """By client, upstream and mode: (case, the rule that was broken)."""

    judged: dict[tuple[str, str, Mode], int] = {}
    """How many answers the judges have read."""


class Seat:
    def __init__(self, bench: Bench, client: Client, upstream: str, mode: Mode, case: str) -> None:
        self.bench = bench
        self.client = client
        self.dialect = client.dialect
        self.upstream = upstream
        self.mode: Mode = mode
        self.case = case
        self.view: View | None = None
        """The answer that is compared between the modes, where the case has one."""

        self._tickets: list[Ticket] = []

    @property
    def streams(self) -> bool:
        return self.mode == "stream"

    async def ask(
        self, prompt: Prompt, script: Script, *, upstream: str = "", model: str = "", leave_after: int | None = None
    ) -> Said:
        """Asks, at the seat's own upstream or at another, and reads the answer in both ways. After `leave_after` bytes of it
        the client hangs up."""
        at = upstream or self.upstream
        ticket = self.bench.upstream.issue(script, frozenset({at}))
        self._tickets.append(ticket)
        recorded = Recorded()
        recorded.leave_after = leave_after
        said = Said(recorded, ticket)
        body = self.client.body(marked(prompt, ticket), model or self.bench.models[at])
        token = RECORDED.set(recorded)
        try:
            send = self.client.stream if self.streams else self.client.create
            said.native = await send(body)
            said.view = None if said.native is None else self.client.read(said.native)
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001  whatever a client raises is a finding, and is told as one
            said.raised = raised(error)
        finally:
            RECORDED.reset(token)
        if recorded.status == 200:
            self._judge(said, at)
        if said.native is None and said.raised is None:
            said.view = said.judged
        return said

    def heard(self, said: Said, upstream: str = "") -> Heard:
        """What the upstream was told. Raises `Differs` where it got nothing."""
        return heard(upstream or self.upstream, said.sent())

    def close(self) -> None:
        for ticket in self._tickets:
            self.bench.upstream.retire(ticket)

    def _judge(self, said: Said, upstream: str) -> None:
        voice = VOICES[self.dialect]
        body = said.recorded.body
        try:
            said.judged = voice.fold(body) if self.streams else voice.read(body)
        except IllegalStream as illegal:
            said.illegal = illegal.reason
            said.judged = illegal.view
        except Exception as error:  # noqa: BLE001  a judge that stumbles has found something illegal
            said.illegal = f"unreadable: {type(error).__name__}: {error}"
        place = (self.dialect, upstream, self.mode)
        if said.recorded.ended or not self.streams:
            self.bench.judged[place] = self.bench.judged.get(place, 0) + 1
            if said.illegal:
                self.bench.grammar.setdefault(place, []).append((self.case, said.illegal))


def raised(error: BaseException) -> Raised:
    status = getattr(error, "status_code", None) or getattr(error, "code", None)
    names = tuple(kind.__name__ for kind in type(error).__mro__ if kind not in (object, BaseException))
    return Raised(names, status if isinstance(status, int) else None, str(error) or type(error).__name__)
