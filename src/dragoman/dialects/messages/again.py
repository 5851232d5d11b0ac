"""A Messages request of a caller who has been heard before: what was said then is not read again (`dialects/memory.py`)."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence

import msgspec

from dragoman.dialects.memory import LEAST, Form, Memory, Recalled, Repeated, Talk, Value, pieces
from dragoman.dialects.messages import plain
from dragoman.dialects.messages.decode_request import decode_request, of_plain, with_every_question
from dragoman.ir.request import Request, Text

_NEAR_END = 6
"""So many of the last messages may differ from what a client sent before, and it is still the same conversation: marks for the
prompt cache move along, a reminder goes."""
_TAIL = 24
_HEAD = 64
_MOST_KEY = 64


class _Slices(msgspec.Struct):
    messages: list[msgspec.Raw]
    tools: msgspec.Raw = msgspec.Raw(b"")
    system: msgspec.Raw = msgspec.Raw(b"")


_slices = msgspec.json.Decoder(_Slices).decode


class _Cut(msgspec.Struct):
    """What is known of a body. `place` and `end`: which bytes it is."""

    member: str
    place: int
    end: int
    value: Value | None = None
    talk: Talk | None = None
    number: int = 0


def decode_again(body: bytes, memory: Memory) -> Request:
    """The same as `decode_request`, and faster the more of it has come before."""
    if len(body) < LEAST:
        return decode_request(body)
    cuts = _known(body, memory)
    if cuts:
        request = _of_the_rest(body, cuts, memory)
        if request is not None:
            return request
    read = plain.read(body)
    if read is None:
        return with_every_question(body)
    request = of_plain(read)
    _learn(body, request, memory)
    return request


# ---------------------------------------------------------------- what is known


def _known(body: bytes, memory: Memory) -> list[_Cut]:
    """In the order in which they stand."""
    found: list[_Cut] = []
    for member, values in memory.values.items():
        for number, value in enumerate(values):
            place = value.place_in(body)
            if place is not None:
                found.append(_Cut(member, place, place + len(value.data), value=value))
                if number:
                    values.insert(0, values.pop(number))
                break
    best = 0
    cut: _Cut | None = None
    for talk in memory.talks:
        number, end = talk.reach_in(body)
        if number > best:
            best = number
            cut = _Cut("messages", talk.ahead, end, talk=talk, number=number)
    if cut is not None and cut.talk is not None:
        found.append(cut)
        if cut.talk is not memory.talks[0]:
            memory.talks.remove(cut.talk)
            memory.talks.insert(0, cut.talk)
    found.sort(key=_place)
    return found


def _place(cut: _Cut) -> int:
    return cut.place


def _of_the_rest(body: bytes, cuts: list[_Cut], memory: Memory) -> Request | None:
    """None where a word does not arrive in its place, or anything is unusual."""
    rest: list[bytes] = []
    at = 0
    for cut in cuts:
        if cut.place < at:
            memory.forget()
            return None
        rest += (body[at : cut.place], _stand_in(cut.member, memory.word))
        at = cut.end
    rest.append(body[at:])
    short = b"".join(rest)
    read = plain.read(short)
    if read is None:
        return None
    if not all(_arrived(cut.member, read, memory.word) for cut in cuts):
        memory.forget()
        return None
    number = 0
    for cut in cuts:
        match cut.member:
            case "tools":
                read.tools = None
            case "system":
                read.system = None
            case _:
                number = cut.number
                del read.messages[0]
    request = of_plain(read, number)
    for cut in cuts:
        if cut.talk is not None:
            request.messages = Recalled(cut.talk.made[:number], cut.talk.forms[:number], request.messages)
            if len(request.messages) > number:
                _go_on(short, request, cut, memory)
        elif cut.value is not None:
            cut.value.ahead, cut.value.behind = cut.place, len(body) - cut.end
            setattr(request, cut.member, cut.value.made)
    if len(short) >= LEAST:
        _learn(body, request, memory, [cut.member for cut in cuts])
    return request


def _stand_in(member: str, word: str) -> bytes:
    match member:
        case "tools":
            return b'[{"name":"%b"}]' % word.encode()
        case "system":
            return b'"%b"' % word.encode()
        case _:
            return b'{"role":"user","content":"%b"}' % word.encode()


def _arrived(member: str, read: plain.Plain, word: str) -> bool:
    match member:
        case "tools":
            return read.tools is not None and len(read.tools) == 1 and read.tools[0].name == word
        case "system":
            return read.system == word
        case _:
            return read.messages[0].content == word


# ---------------------------------------------------------------- what is kept


def _learn(body: bytes, request: Request, memory: Memory, known: Sequence[str] = ()) -> None:
    """Keep what came again and was not known."""
    signs = {name: sign for name, sign in _signs(request) if name not in known and memory.comes_again((name, sign))}
    if not signs:
        return
    slices = _slices(body)
    if "tools" in signs:
        for tool in request.tools:
            tool.schema = tool.schema.copy()  # it is a view of the whole body, which would stay with it
        request.tools = Repeated(request.tools)
        _keep(body, "tools", bytes(slices.tools), request.tools, memory)
    if "system" in signs:
        request.system = Repeated(request.system)
        _keep(body, "system", bytes(slices.system), request.system, memory)
    if "messages" in signs:
        start = _place_of(body, bytes(slices.messages[0]), b'"messages":[')
        said = pieces(body, slices.messages, start) if start is not None else None
        if start is not None and said is not None:
            memory.begin(Talk(start, said, request.messages[:], [{} for _ in said]))


def _signs(request: Request) -> Iterator[tuple[str, Hashable]]:
    """By which to tell, without much ado, whether something may have come before."""
    if request.tools:
        first, last = request.tools[0], request.tools[-1]
        yield "tools", (len(request.tools), first.name, last.name, len(bytes(last.schema)))
    if request.system and sum(len(part.text) for part in request.system) >= LEAST:
        last = request.system[-1].text
        yield "system", (len(request.system), len(last), last[-_TAIL:])
    first = next((part.text for part in request.messages[0].parts if isinstance(part, Text)), "")
    yield "messages", (len(first), first[:_TAIL], first[-_TAIL:])


def _keep(body: bytes, member: str, data: bytes, made: object, memory: Memory) -> None:
    place = _place_of(body, data, b'"%b":' % member.encode()) if len(data) >= LEAST else None
    if place is not None:
        memory.keep(member, Value(data, made, place, len(body) - place - len(data)))


def _place_of(body: bytes, data: bytes, behind: bytes) -> int | None:
    """Where these bytes stand behind those others, from which white space may separate them. By their first few, as a search
    for many takes long to begin."""
    at = body.find(data[:_HEAD])
    while at >= 0:
        before = body[max(0, at - _MOST_KEY) : at]
        if body.startswith(data, at) and b"".join(before.split()).endswith(behind):
            return at
        at = body.find(data[:_HEAD], at + 1)
    return None


def _go_on(short: bytes, request: Request, cut: _Cut, memory: Memory) -> None:
    """The conversation has gone on, or another has begun in the same words."""
    assert cut.talk is not None
    word = _stand_in(cut.member, memory.word)
    values = _slices(short).messages[1:]
    said = pieces(short, values, short.index(word) + len(word))
    if said is None:
        return
    talk, number = cut.talk, cut.number
    if len(talk.said) - number <= _NEAR_END:
        memory.go_on(talk, number, said, request.messages[number:])
    else:
        forms: list[Form] = [*talk.forms[:number], *({} for _ in said)]
        memory.begin(Talk(talk.ahead, [*talk.said[:number], *said], list(request.messages), forms))
