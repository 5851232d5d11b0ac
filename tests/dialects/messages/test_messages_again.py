"""What a caller says again becomes what it became the first time, whatever stands round it."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from dragoman.dialects import EVERY
from dragoman.dialects.base import Target
from dragoman.dialects.memory import Memories, Memory, Recalled, Repeated
from dragoman.dialects.messages import again, plain
from dragoman.dialects.messages.again import decode_again
from dragoman.dialects.messages.decode_request import decode_request
from dragoman.errors import MalformedBody
from dragoman.ir.losses import Ledger
from dragoman.ir.profile import Profile
from dragoman.ir.request import Request
from tests.fuzz.mutate import mutated

Body = dict[str, Any]
WORD = "q7Rk2mXw9LpT4vNs8YbH3cJd"
LONG = "Mind the gap. " * 400
SCHEMA = {"type": "object", "properties": {"path": {"type": "string", "description": "Où? " * 30}}}
TOOLS = [{"name": f"tool_{number}", "description": LONG[:600], "input_schema": SCHEMA} for number in range(9)]


def turn(number: int) -> list[Body]:
    call = f"toolu_{number}"
    return [
        {"role": "assistant", "content": [{"type": "tool_use", "id": call, "name": "tool_1", "input": {"path": f"/{number}"}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call, "content": f"found {number} " * 40}]},
    ]


def session(turns: int, **members: Any) -> Body:
    """A body of an agent's, so far into its work."""
    said = [{"role": "user", "content": [{"type": "text", "text": LONG}]}]
    messages = [*said, *(message for number in range(turns) for message in turn(number))]
    return {
        "model": "m",
        "max_tokens": 9,
        "messages": messages,
        "system": LONG,
        "tools": TOOLS,
        "metadata": {"user_id": "u"},
        **members,
    }


def written(body: Body, **options: Any) -> bytes:
    return json.dumps(body, ensure_ascii=False, **(options or {"separators": (",", ":")})).encode()


def memory() -> Memory:
    return Memories(WORD).of("somebody")


def taught(*bodies: bytes) -> Memory:
    """That has heard these twice."""
    known = memory()
    for body in bodies * 2:
        decode_again(body, known)
    return known


def heard(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many bytes are really read, from now on."""
    sizes: list[int] = []
    read = plain.read

    def counted(body: bytes) -> plain.Plain | None:
        sizes.append(len(body))
        return read(body)

    monkeypatch.setattr(again.plain, "read", counted)
    return sizes


def same(body: bytes, known: Memory) -> None:
    """That with this memory the body is what it is without, told in the same words where it is wrong."""
    assert said_of(lambda: decode_again(body, known)) == said_of(lambda: decode_request(body))


def said_of(read: Callable[[], Request]) -> Request | tuple[str, str | None]:
    try:
        return read()
    except MalformedBody as error:
        return error.message, error.param


def test_what_came_before_is_not_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    known = taught(written(session(3)))
    sizes = heard(monkeypatch)
    same(written(session(4)), known)
    assert len(sizes) == 2  # with the memory, and without
    assert sizes[0] < 1500 < 15_000 < sizes[1]


def test_a_conversation_is_known_as_far_as_it_has_come(monkeypatch: pytest.MonkeyPatch) -> None:
    known = taught(written(session(1)))
    for turns in range(2, 9):
        same(written(session(turns)), known)
    sizes = heard(monkeypatch)
    decode_again(written(session(9)), known)
    assert max(sizes) < 1500


def test_what_comes_once_is_not_kept() -> None:
    known = memory()
    decode_again(written(session(1)), known)
    assert not known.size
    decode_again(written(session(2)), known)
    assert known.size


def test_what_is_kept_does_not_hold_the_body_that_it_came_in() -> None:
    known = taught(written(session(1)))
    body = written(session(2, tools=TOOLS[:8]))
    before = sys.getrefcount(body)
    for _ in range(2):
        decode_again(body, known)
    assert len(known.values["tools"]) == 2
    assert sys.getrefcount(body) == before


def test_short_bodies_are_not_looked_up() -> None:
    short = written({"model": "m", "messages": [{"role": "user", "content": "Hello"}]})
    assert not taught(short).size


CHANGED: dict[str, Callable[[Body], Body]] = {
    "other tools": lambda body: {**body, "tools": TOOLS[:5]},
    "no tools": lambda body: {name: value for name, value in body.items() if name != "tools"},
    "another system": lambda body: {**body, "system": "Be brief"},
    "another first message": lambda body: {**body, "messages": [{"role": "user", "content": "Hi"}, *body["messages"][1:]]},
    "a message less": lambda body: {**body, "messages": body["messages"][:-1]},
    "the last one changed": lambda body: {**body, "messages": [*body["messages"][:-1], {"role": "user", "content": "No"}]},
    "one in the middle gone": lambda body: {**body, "messages": [*body["messages"][:2], *body["messages"][3:]]},
    "an image": lambda body: {
        **body,
        "messages": [
            *body["messages"],
            {"role": "user", "content": [{"type": "image", "source": {"type": "url", "url": "https://a.test/b.png"}}]},
        ],
    },
    "unknown member": lambda body: {**body, "new": 1},
    "more settings": lambda body: {"thinking": {"type": "adaptive"}, **body, "stop_sequences": ["x"]},
    "in another order": lambda body: dict(reversed(body.items())),
    "known things elsewhere": lambda body: {**body, "metadata": {"tools": TOOLS, "messages": body["messages"], "system": LONG}},
    "only elsewhere": lambda body: {
        "model": "m",
        "messages": body["messages"][:1],
        "metadata": {"tools": TOOLS, "system": LONG},
    },
    "no messages": lambda body: {**body, "messages": []},
    "wrong": lambda body: {**body, "max_tokens": "many"},
}


@pytest.mark.parametrize("change", CHANGED.values(), ids=CHANGED.keys())
@pytest.mark.parametrize("options", [{}, {"indent": 1}], ids=["dense", "spaced"])
def test_what_has_changed_is_read_as_it_is_now(change: Callable[[Body], Body], options: Any) -> None:
    known = taught(written(session(3), **options))
    same(written(change(session(3)), **options), known)
    same(written(change(session(4)), **options), known)
    same(written(session(4), **options), known)


def moved(body: bytes, data: bytes) -> list[bytes]:
    """Bodies in which known bytes stand at their old distance from the beginning or the end, but mean something else."""
    at = body.index(data)
    before, behind = body[:at], body[at + len(data) :]
    return [
        b'{"a":"' + b"x" * (at - 6) + data + behind,  # begun within a text
        b'{"a":{"b":' + b" " * (at - 10) + data + b'},"model":"m","messages":[{"role":"user","content":"x"}]}',
        before + data + b',"tools":[]' + behind,  # the member comes twice
        before + data + b',"messages":[{"role":"user","content":"x"}]' + behind,
        before + data + b"]" + behind,
        before + data + data + behind,
        before[:-1] + b"\\" + data + behind,
        before[:-1] + b" " + data + behind,
        before + data,
        body[:-1] + b',"tools":null}',
        body[:-1] + b',"messages":[{"role":"user","content":"x"}]}',
        body[:-1] + b',"system":"x"}',
        body[:-1] + b',"system":"\xff"}',
        body[:-1],
        body + b"x",
    ]


@pytest.mark.parametrize("member", ["tools", "system", "messages"])
def test_known_bytes_in_another_place_are_nothing_known(member: str) -> None:
    body = written(session(2))
    [data] = [value.data for value in taught(body).values.get(member, [])] or [b"".join(taught(body).talks[0].said)]
    for strange in moved(body, data):
        known = taught(body)
        same(strange, known)
        same(body, known)
        same(written(session(3)), known)


def test_nobody_can_say_the_word_that_stands_for_something_known() -> None:
    # Nobody knows it. Who did would confuse a body of his own and none of another's.
    body = session(2, metadata={"user_id": WORD})
    same(written({**body, "messages": [{"role": "user", "content": WORD}]}), taught(written(body)))


@pytest.mark.parametrize("seed", range(40))
def test_sessions_with_mistakes_in_them_are_read_as_if_nothing_were_known(seed: int) -> None:
    rng = random.Random(seed)
    known = memory()
    for turns in range(1, 8):
        body = written(session(turns))
        if rng.random() < 0.5:
            body = mutated(body, rng, ["tools", "messages", "system", "content", "text"])
        if rng.random() < 0.2:
            place = rng.randrange(len(body))
            body = body[:place] + bytes([rng.randrange(256)]) + body[place + 1 :]
        same(body, known)


# ---------------------------------------------------------------- what encoders make of it

ODD = Profile(sampling=False, custom_tools=False, cache_marks="cache_control", call_opening="<tool_call>", allowed_tools=False)


def encoded(request: Request) -> list[object]:
    found: list[object] = []
    for name, dialect in EVERY.items():
        if name == "completions":
            continue
        for profile in (Profile(), ODD):
            ledger = Ledger()
            found += [dialect.encode_request(request, Target("m", "up", profile), ledger), ledger.losses]
    return found


def test_every_dialect_writes_the_same_the_second_time_and_the_third() -> None:
    marked = [*TOOLS[:-1], {**TOOLS[-1], "cache_control": {"type": "ephemeral"}}]
    body = written(session(2, tools=marked, tool_choice={"type": "any"}))
    known = taught(body)
    wanted = encoded(decode_request(body))
    for _ in range(3):
        request = decode_again(body, known)
        assert isinstance(request.tools, Repeated)
        assert isinstance(request.system, Repeated)
        assert isinstance(request.messages, Recalled)
        assert encoded(request) == wanted
    # And has changed nothing of what is kept.
    assert decode_again(body, known) == decode_request(body)


def test_what_depends_on_the_target_is_not_taken_from_another() -> None:
    known = taught(written(session(1)))
    request = decode_again(written(session(1)), known)
    for profile in (Profile(), Profile(custom_tools=False), ODD, Profile(call_ids="nine"), Profile()):
        written_now, anew = (
            EVERY["chat"].encode_request(each, Target("m", "up", profile), Ledger())
            for each in (request, decode_request(written(session(1))))
        )
        assert msgspec.json.decode(written_now) == msgspec.json.decode(anew)
