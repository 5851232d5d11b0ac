"""What the renderers of all dialects share: the part of a scenario that is about the wire and not about the dialect."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, assert_never

from dragoman.testing.scenario import (
    Ask,
    Comment,
    Cut,
    ErrorEvent,
    HttpError,
    Interruption,
    Native,
    Parallel,
    Part,
    Ping,
    RawFrame,
    Refusal,
    Rendered,
    Reset,
    Scenario,
    SlowHead,
    Stall,
    Step,
    Text,
    Thinking,
    ToolCall,
    UnknownEvent,
    Usage,
)
from dragoman.testing.sse import write_comment, write_event, write_json
from dragoman.testing.view import TroubleWord

CREATED = 1_793_000_000
"""The upstream's idea of now, in seconds since 1970. Fixed, so that the same scenario is always the same bytes."""

STATUS_OF: dict[TroubleWord, int] = {
    "invalid_request": 400,
    "authentication": 401,
    "billing": 402,
    "permission": 403,
    "not_found": 404,
    "too_large": 413,
    "rate_limit": 429,
    "internal": 500,
    "unavailable": 502,
    "overloaded": 503,
    "timeout": 504,
    "cut": 502,
}

Head = SlowHead | Cut | Reset


class Writer:
    """Writes the events of one streamed answer. A dialect overrides `error`, `ping`, `native` and feeds it its own steps."""

    dialect = ""

    def __init__(self, scenario: Scenario, ask: Ask) -> None:
        self.scenario = scenario
        self.ask = ask
        self.style = scenario.style
        self.parts: list[Part] = []
        self.over = False
        """The answer has broken off: nothing more is written."""

    def event(self, name: str, payload: Mapping[str, Any]) -> None:
        self.parts.append(write_event(name, write_json(payload, self.style), self.style))

    def interrupt(self, item: Interruption) -> None:
        match item:
            case Stall():
                self.parts.append(item)
            case Cut() | Reset():
                self.parts.append(item)
                self.over = True
            case ErrorEvent():
                self.error(item)
                self.over = True
            case Comment(text):
                self.parts.append(write_comment(text, self.style))
            case RawFrame(data):
                self.parts.append(data)
            case Ping():
                self.ping()
            case Native(dialect, payload):
                if dialect == self.dialect:
                    self.native(payload)
            case UnknownEvent(name, payload):
                self.unknown(name, payload)
            case _:
                assert_never(item)

    def pieces(self, pieces: Sequence[str | Interruption]) -> Iterator[str]:
        """The texts among the pieces; what stands between them happens on the way."""
        for piece in pieces:
            if self.over:
                return
            if isinstance(piece, str):
                yield piece
            else:
                self.interrupt(piece)

    def error(self, item: ErrorEvent) -> None:
        raise NotImplementedError

    def ping(self) -> None:
        self.parts.append(write_comment("keep-alive", self.style))

    def native(self, payload: Mapping[str, Any]) -> None:
        raise NotImplementedError

    def unknown(self, name: str, payload: Mapping[str, Any]) -> None:
        """Most dialects have no place for an unknown event."""

    def finished(self, headers: tuple[tuple[str, str], ...]) -> Rendered:
        """The stream as written, in the scenario's style."""
        parts = self.parts
        if self.style.bom:
            parts.insert(0, b"\xef\xbb\xbf")
        if not self.style.last_blank and parts and isinstance(parts[-1], bytes):
            parts[-1] = parts[-1].rstrip(b"\r\n")
        return Rendered(200, (("content-type", "text/event-stream; charset=utf-8"), *headers), tuple(parts))


def interruptions(steps: Sequence[Step]) -> Iterator[Interruption]:
    """Everything that happens between the content, also within it, in order."""
    for step in steps:
        match step:
            case Stall() | Cut() | Reset() | ErrorEvent() | Comment() | Ping() | RawFrame() | Native() | UnknownEvent():
                yield step
            case Text(pieces) | Thinking(pieces) | Refusal(pieces):
                yield from _between(pieces)
            case ToolCall():
                yield from _between(step.pieces)
            case Parallel(calls):
                for call in calls:
                    yield from _between(call.pieces)
            case _:
                pass


def _between(pieces: object) -> Iterator[Interruption]:
    if isinstance(pieces, tuple):
        yield from (p for p in pieces if not isinstance(p, str))


def until_broken(steps: Sequence[Step]) -> list[Step]:
    """The steps up to the one in which the answer breaks off, that one included."""
    held: list[Step] = []
    for step in steps:
        held.append(step)
        if any(isinstance(i, Cut | Reset | ErrorEvent) for i in interruptions((step,))):
            break
    return held


def split_head(steps: tuple[Step, ...]) -> tuple[Head | None, tuple[Step, ...]]:
    """What happens before the status line, and the rest."""
    match steps:
        case (SlowHead() | Cut(before_head=True) | Reset(before_head=True)) as head, *rest:
            return head, tuple(rest)
        case _:
            return None, steps


def broken_body(steps: Sequence[Step], body: bytes) -> tuple[Part, ...]:
    """A whole body as a scenario's interruptions leave it: stalls come first, a cut or a reset in its middle."""
    parts: list[Part] = []
    for item in interruptions(steps):
        if isinstance(item, Stall):
            parts.append(item)
        elif isinstance(item, Cut | Reset):
            return (*parts, body[: len(body) // 2], item)
    return (*parts, body)


def first_error(steps: Sequence[Step]) -> HttpError | ErrorEvent | None:
    """The error that a whole answer consists of, if it is one."""
    for step in steps:
        if isinstance(step, HttpError):
            return step
    return next((i for i in interruptions(steps) if isinstance(i, ErrorEvent)), None)


def total(usage: Usage) -> tuple[int, int]:
    """All prompt tokens, all completion tokens."""
    return usage.input + usage.cache_read + usage.cache_write + usage.cache_write_1h, usage.output + usage.reasoning
