"""The upstream of the battery. Every question carries a ticket in its text, which every gateway must forward; the upstream
reads it and knows which scenario is the answer. So any number of questions can be under way at once, whatever the models
are called.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import msgspec

from dragoman.conformance.prompt import Prompt, Result, Results, User
from dragoman.testing import VOICES, HttpError, Scenario, ScriptedUpstream
from dragoman.testing.http1 import Request

_TICKET = re.compile(rb"ticket-(\d{7})")
Script = Scenario | Callable[[Request, int], Scenario]
"""A scenario, or a function of the request and of how many with this ticket came before it."""


class Ticket(msgspec.Struct):
    """`dialects` are those in which the request may come; `requests` those that came, with the newest last."""

    number: int
    script: Script
    dialects: frozenset[str]
    requests: list[Request]
    strays: list[str]
    """Paths of requests that came in another dialect."""

    @property
    def text(self) -> str:
        return f"ticket-{self.number:07}"


class TicketedUpstream(ScriptedUpstream):
    """`ScriptedUpstream`, answering by ticket."""

    def __init__(self, *, host: str = "127.0.0.1", port: int = 0) -> None:
        super().__init__(host=host, port=port, models=[], keep=200)
        self._tickets: dict[int, Ticket] = {}
        self._last = 0
        self.script(self._by_ticket, default=True)

    def issue(self, script: Script, dialects: frozenset[str]) -> Ticket:
        self._last += 1
        ticket = self._tickets[self._last] = Ticket(self._last, script, dialects, [], [])
        return ticket

    def retire(self, ticket: Ticket) -> None:
        """Forgets it, and with it the bodies of its requests."""
        self._tickets.pop(ticket.number, None)

    def _by_ticket(self, request: Request) -> Scenario:
        # A conversation holds the tickets of its earlier turns too: the newest is the one that is asked.
        numbers = [int(number) for number in _TICKET.findall(request.body)]
        ticket = self._tickets.get(max(numbers)) if numbers else None
        if ticket is None:
            return _refusal(500, "The scripted upstream found no ticket in this request: its text was lost on the way.")
        if dialect_of(request) not in ticket.dialects:
            ticket.strays.append(request.path)
            spoken = " or ".join(sorted(ticket.dialects))
            return _refusal(404, f"This model speaks {spoken} only, not what is asked at {request.path}.")
        before = len(ticket.requests)
        ticket.requests.append(request)
        return ticket.script if isinstance(ticket.script, Scenario) else ticket.script(request, before)


def dialect_of(request: Request) -> str:
    """The dialect of a request by its path, or nothing."""
    return next((name for name, voice in VOICES.items() if voice.hears(request.method, request.path, {}) is not None), "")


def _refusal(status: int, message: str) -> Scenario:
    return Scenario("refused", (HttpError(status, message),))


def marked(prompt: Prompt, ticket: Ticket) -> Prompt:
    """The prompt with the ticket at the end of its last turn."""
    last = prompt.turns[-1]
    match last:
        case User(text):
            turn = msgspec.structs.replace(last, text=f"{text} ({ticket.text})")
        case Results(results):
            # In a result that is text already, so that the others stay as they are.
            spot = max(i for i, result in enumerate(results) if not result.reference)
            told = [_told(result, ticket) if i == spot else result for i, result in enumerate(results)]
            turn = Results(tuple(told))
        case _:
            raise ValueError("a prompt ends with a user's turn")
    return msgspec.structs.replace(prompt, turns=(*prompt.turns[:-1], turn))


def _told(result: Result, ticket: Ticket) -> Result:
    return msgspec.structs.replace(result, text=f"{result.text} ({ticket.text})")
