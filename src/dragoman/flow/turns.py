"""What a client sends back of an answer, as a name for what it does not send back.

A turn is known by what it said and by what it answered: its text and its calls (not their ids, which some clients make up
anew), and the caller's words before it. White space, the order of members in arguments and the like are nobody's words. The
id of its first call, if it is long enough to be its own, is a second name, for clients that keep ids and mend texts.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from dragoman.ir import carrier
from dragoman.ir.request import Message, Part, Reasoning, Refusal, Request, Seal, Text, ToolCall, ToolResult

_IDS = frozenset({"id", "call_id"})
"""Where a call's id stands, in any API."""
_MOST_LOOKED_UP = 64
"""Turns, from the last one back."""

_ONE_OF_ITS_KIND = 20
"""Characters from which on an id is taken to be nobody else's. Servers that count (`call_1`, `functions.Bash:0`) give the same
to every conversation, and one must not get the thoughts of another."""


class Sealed(msgspec.Struct, array_like=True, frozen=True):
    """A sealed part and where it stood: at the `front`, `before` or `after` the nth call, or at the `end`."""

    value: str
    issuer: str | None
    dialect: str
    text: str
    redacted: bool
    summary: bool
    where: Literal["front", "before", "after", "end"]
    call: int

    @property
    def part(self) -> Reasoning:
        seal = Seal(self.value, self.issuer, self.dialect)
        return Reasoning(text=self.text, seal=seal, redacted=self.redacted, summary=self.summary)


class Turn(msgspec.Struct, array_like=True, frozen=True):
    """`calls` are the ids of the turn's calls, as their provider gave them."""

    sealed: list[Sealed]
    calls: list[str]


def sealed_in(parts: list[Part]) -> bool:
    return any(isinstance(part, Reasoning) and part.seal is not None and bool(part.seal.value) for part in parts)


def carried_in(messages: list[Message]) -> set[Literal["id", "place"]]:
    """How this client has sent back what was sealed: within the ids of calls, or in a place that its API has for it."""
    found: set[Literal["id", "place"]] = set()
    for message in messages:
        if message.role == "assistant":
            for part in message.parts:
                if isinstance(part, Reasoning) and part.seal is not None and part.seal.value:
                    found.add("id" if part.at is not None and part.at[1] in _IDS else "place")
    return found


def fits_in_id(parts: list[Part]) -> bool:
    """Whether all that is sealed in an answer rides in the id of a call behind it."""
    last = max((position for position, part in enumerate(parts) if isinstance(part, ToolCall)), default=-1)
    before = [part for part in parts[: last + 1] if isinstance(part, Reasoning)]
    return not sealed_in(parts[last + 1 :]) and carrier.attach("", before) != ""


def turn_of(parts: list[Part]) -> Turn:
    """What is to be remembered of an answer."""
    sealed: list[Sealed] = []
    calls: list[str] = []
    for position, part in enumerate(parts):
        if isinstance(part, ToolCall):
            calls.append(part.id)
        elif isinstance(part, Reasoning) and part.seal is not None and part.seal.value:
            where, call = _place(parts, position, len(calls))
            seal = part.seal
            sealed.append(Sealed(seal.value, seal.issuer, seal.dialect, part.text, part.redacted, part.summary, where, call))
    return Turn(sealed, calls)


def _place(parts: list[Part], position: int, calls: int) -> tuple[Literal["front", "before", "after", "end"], int]:
    follows = next((part for part in parts[position + 1 :] if not isinstance(part, Reasoning)), None)
    if isinstance(follows, ToolCall):
        return "before", calls
    if follows is None:
        return "end", 0
    return ("after", calls - 1) if calls else ("front", 0)


def missing(messages: list[Message]) -> list[int]:
    """The assistant's turns that came back without anything sealed, the last ones."""
    found = [index for index, one in enumerate(messages) if one.role == "assistant" and not sealed_in(one.parts)]
    return found[-_MOST_LOOKED_UP:]


def named(messages: list[Message], index: int) -> list[str]:
    """The names of the turn at that place; none where it said nothing."""
    parts = messages[index].parts
    calls = [part for part in parts if isinstance(part, ToolCall)]
    text = _words(part.text for part in parts if isinstance(part, Text | Refusal))
    if not text and not calls:
        return []
    said = [text, *(f"{call.name} {_canonical(call.arguments)}" for call in calls)]
    names = ["turn\0" + "\0".join([_asked(messages, index), *said])]
    if calls and len(calls[0].id) >= _ONE_OF_ITS_KIND:
        names.append(f"call\0{calls[0].id}")
    return names


def _asked(messages: list[Message], index: int) -> str:
    """What the caller said right before: its own words, and what its tools gave."""
    words: list[str] = []
    for message in reversed(messages[:index]):
        if message.role == "assistant":
            break
        if message.role == "user":
            words.append(_words(_texts(message.parts)))
    return "\0".join(reversed(words))


def _texts(parts: list[Part]) -> list[str]:
    found: list[str] = []
    for part in parts:
        if isinstance(part, Text):
            found.append(part.text)
        elif isinstance(part, ToolResult):
            found += _texts(part.parts)
    return found


def _words(texts: object) -> str:
    return " ".join(" ".join(texts).split())  # type: ignore[arg-type]


def _canonical(arguments: str) -> str:
    try:
        return msgspec.json.encode(msgspec.json.decode(arguments), order="deterministic").decode()
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return arguments.strip()


def put_back(request: Request, turns: dict[int, Turn], issuer: str) -> Request:
    """The request with what this issuer sealed back in its places, and with its ids of calls where the client made up
    others."""
    ids = {part.id for message in request.messages for part in message.parts if isinstance(part, ToolCall)}
    renamed: dict[str, str] = {}
    messages = list(request.messages)
    for index, turn in turns.items():
        own = [one for one in turn.sealed if one.issuer == issuer]
        if not own or index >= len(messages):
            continue
        message = messages[index]
        calls = [part for part in message.parts if isinstance(part, ToolCall)]
        if len(calls) == len(turn.calls):
            renamed |= {
                call.id: given for call, given in zip(calls, turn.calls, strict=True) if call.id != given and given not in ids
            }
        messages[index] = msgspec.structs.replace(message, parts=_with(message, own))
    if not any(one is not other for one, other in zip(messages, request.messages, strict=True)):
        return request
    if renamed:
        messages = [_renamed(message, renamed) for message in messages]
    return msgspec.structs.replace(request, messages=messages)


def _with(message: Message, sealed: list[Sealed]) -> list[Part]:
    parts: list[Part] = []
    number = 0

    def place(where: str, call: int = 0) -> None:
        parts.extend(
            msgspec.structs.replace(one.part, at=message.at) for one in sealed if one.where == where and one.call == call
        )

    place("front")
    calls = sum(isinstance(part, ToolCall) for part in message.parts)
    for part in message.parts:
        if isinstance(part, ToolCall):
            place("before", number)
            parts.append(part)
            place("after", number)
            number += 1
        elif not (isinstance(part, Reasoning) and any(one.text == part.text for one in sealed)):
            parts.append(part)
    place("end")
    lost = [one for one in sealed if one.where in {"before", "after"} and one.call >= calls]
    return [*(msgspec.structs.replace(one.part, at=message.at) for one in lost), *parts]


def _renamed(message: Message, renamed: dict[str, str]) -> Message:
    parts: list[Part] = []
    for part in message.parts:
        if isinstance(part, ToolCall) and part.id in renamed:
            parts.append(msgspec.structs.replace(part, id=renamed[part.id]))
        elif isinstance(part, ToolResult) and part.call_id in renamed:
            parts.append(msgspec.structs.replace(part, call_id=renamed[part.call_id]))
        else:
            parts.append(part)
    return msgspec.structs.replace(message, parts=parts)
