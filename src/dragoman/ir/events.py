"""The hub's answer: a stream of events, and the whole answer they fold to.

    Start  (Open (Delta | Sealed | Cited)* Close)*  Finish       and, anywhere between: Ping, Fault

Rules that every decoder keeps and every encoder may rely on:
- one `Start`, first; at most one `Finish` for each choice, last; after a `Fault` nothing comes.
- indices are the decoder's own, from 0, in the order of `Open`, never reused.
- a `Delta` names an index that is open. Several may be open at once (a provider may interleave the arguments of
  two calls); an encoder whose dialect wants one after the other holds back the later ones.
- `fold(events)` is the unary answer and `unfold(response)` its events, so both ways share one path.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, TypeAlias

import msgspec

from dragoman.errors import DragomanError
from dragoman.ir.request import Citation, Part, Reasoning, Refusal, Seal, Text, ToolCall
from dragoman.ir.usage import Usage

FinishReason = Literal["stop", "stop_sequence", "length", "context_length", "tool_calls", "refusal", "content_filter", "pause"]
"""`refusal`: the model or its guard declined. `content_filter`: a filter cut the answer off.
`pause`: a long turn of server tools; the caller sends the answer back to go on."""


class Start(msgspec.Struct, gc=False):
    """`usage` is what is known this early (Anthropic counts the input here)."""

    id: str
    model: str
    usage: Usage | None = None


class Open(msgspec.Struct, gc=False):
    """`part` is the skeleton: its kind, a call's id and name. What it holds already (a whole redacted
    block, text that came at once) counts; deltas add to it."""

    index: int
    part: Part
    choice: int = 0


class Delta(msgspec.Struct, gc=False):
    """More text of the open part: of a text, a reasoning, a refusal, or of a call's arguments.
    `logprobs` as in Chat Completions (`choices[].logprobs.content`), where asked for."""

    index: int
    text: str
    logprobs: list[object] | None = None


class Sealed(msgspec.Struct, gc=False):
    """The seal of an open reasoning part."""

    index: int
    seal: Seal


class Cited(msgspec.Struct, gc=False):
    index: int
    citation: Citation


class Close(msgspec.Struct, gc=False):
    """`complete` is false for a call whose arguments broke off: it must not be run."""

    index: int
    complete: bool = True


class Finish(msgspec.Struct, gc=False):
    """`usage` is final, and stands on the last choice's `Finish`; None where the provider does not count."""

    reason: FinishReason
    usage: Usage | None = None
    stop_sequence: str | None = None
    explanation: str | None = None
    choice: int = 0
    ratings: list[Any] = []
    """How safe the provider rated the answer, as Gemini puts it (`safetyRatings`)."""


class Ping(msgspec.Struct, gc=False):
    """The upstream is alive and silent. Never content."""


class Fault(msgspec.Struct, gc=False):
    """The answer broke off. Never a clean end."""

    error: DragomanError


Event: TypeAlias = Start | Open | Delta | Sealed | Cited | Close | Finish | Ping | Fault


def settled(reason: FinishReason, *, calls: bool, broken: bool) -> FinishReason:
    """The reason that agrees with what was said. Providers get this wrong both ways: a `stop` after a call lets a
    client drop the call, a `tool_calls` without one makes it wait forever, a call that broke off must not be run."""
    if broken:
        return "length"
    if calls and reason in {"stop", "stop_sequence"}:
        return "tool_calls"
    if not calls and reason == "tool_calls":
        return "stop"
    return reason


class Choice(msgspec.Struct):
    parts: list[Part]
    finish: Finish
    incomplete: set[int] = msgspec.field(default_factory=set[int])
    """Positions in `parts` of calls whose arguments broke off."""
    logprobs: list[object] | None = None


class Response(msgspec.Struct):
    """A whole answer. There is at least one choice."""

    id: str
    model: str
    choices: list[Choice]
    usage: Usage | None = None


def fold(events: Iterable[Event]) -> Response:
    """The unary answer that a stream amounts to. Raises the error of a `Fault`."""
    response = Response("", "", [])
    parts: dict[int, Part] = {}
    choice_of: dict[int, int] = {}
    texts: dict[int, list[str]] = {}
    citations: dict[int, list[Citation]] = {}
    incomplete: set[int] = set()
    logprobs: dict[int, list[object]] = {}
    finishes: dict[int, Finish] = {}
    for event in events:
        match event:
            case Delta(index, text, probs):
                texts[index].append(text)
                if probs:
                    logprobs.setdefault(choice_of[index], []).extend(probs)
            case Open(index, part, choice):
                parts[index] = part
                choice_of[index] = choice
                texts[index] = []
            case Sealed(index, seal):
                part = parts[index]
                if isinstance(part, Reasoning):
                    parts[index] = msgspec.structs.replace(part, seal=seal)
            case Cited(index, citation):
                if isinstance(parts[index], Text):
                    citations.setdefault(index, []).append(citation)
            case Close(index, complete):
                if not complete:
                    incomplete.add(index)
            case Start(id_, model, usage):
                response.id, response.model, response.usage = id_, model, usage
            case Finish():
                finishes[event.choice] = event
                if event.usage is not None:
                    response.usage = event.usage
            case Fault(error):
                raise error
            case Ping():
                pass
    of_choice: dict[int, list[int]] = {}
    for index in parts:
        of_choice.setdefault(choice_of[index], []).append(index)
    for choice in sorted({*finishes, *of_choice}):
        held: list[Part] = []
        broken: set[int] = set()
        for index in of_choice.get(choice, ()):
            if index in incomplete:
                broken.add(len(held))
            part = _grown(parts[index], "".join(texts[index]))
            if index in citations and isinstance(part, Text):
                part = msgspec.structs.replace(part, citations=[*part.citations, *citations[index]])
            held.append(part)
        response.choices.append(Choice(held, finishes.get(choice) or Finish("stop"), broken, logprobs.get(choice)))
    return response


def _grown(part: Part, text: str) -> Part:
    if not text:
        return part
    match part:
        case Text() | Reasoning() | Refusal():
            return msgspec.structs.replace(part, text=part.text + text)
        case ToolCall():
            return msgspec.structs.replace(part, arguments=part.arguments + text)
        case _:
            return part


def unfold(response: Response) -> list[Event]:
    """The events of a whole answer, each part in one piece."""
    events: list[Event] = [Start(response.id, response.model, response.usage)]
    index = 0
    last = len(response.choices) - 1
    for number, choice in enumerate(response.choices):
        for position, part in enumerate(choice.parts):
            events.append(Open(index, part, number))
            if position == 0 and choice.logprobs:
                events.append(Delta(index, "", choice.logprobs))
            events.append(Close(index, position not in choice.incomplete))
            index += 1
        if number and not choice.parts:
            # So that an encoder hears of every choice before the first one finishes.
            events += [Open(index, Text(text=""), number), Close(index)]
            index += 1
    for number, choice in enumerate(response.choices):
        usage = response.usage if number == last else None
        events.append(msgspec.structs.replace(choice.finish, usage=usage, choice=number))
    return events
