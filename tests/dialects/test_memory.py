"""What is kept of callers is bounded, and nobody's but theirs."""

from __future__ import annotations

import sys

import msgspec

from dragoman.dialects.memory import Memories, Repeated, Talk, Value, pieces
from dragoman.ir.losses import Ledger
from dragoman.ir.request import Message, Tool


def value(size: int) -> Value:
    return Value(b"x" * size, [], 0, 0)


def test_every_caller_has_a_memory_of_its_own() -> None:
    memories = Memories("w")
    memories.of("a").keep("tools", value(5000))
    assert memories.of("a").values
    assert not memories.of("b").values


def test_all_memories_together_are_bounded_and_the_one_used_longest_ago_goes_first() -> None:
    memories = Memories("w", most=20_000)
    for caller in "abc":
        memories.of(caller).keep("tools", value(8000))
    assert [memories.of(caller).size for caller in "abc"] == [0, 8000, 8000]
    memories.of("b").keep("system", value(3000))
    memories.of("d").keep("tools", value(8000))
    assert [memories.of(caller).size for caller in "abcd"] == [0, 11000, 0, 8000]


def test_what_is_used_and_does_not_grow_stays() -> None:
    memories = Memories("w", most=20_000)
    for caller in "ab":
        memories.of(caller).keep("tools", value(8000))
    memories.of("a").used = 2.0
    memories.of("b").used = 1.0
    memories.of("c").used = 3.0
    memories.of("c").keep("tools", value(8000))
    assert [memories.of(caller).size for caller in "abc"] == [8000, 0, 8000]


def test_of_what_came_once_no_word_stays() -> None:
    memory = Memories("w").of("a")
    name = "n" * 5000
    before = sys.getrefcount(name)
    assert not memory.comes_again(("tools", name))
    assert sys.getrefcount(name) == before
    assert memory.comes_again(("tools", name))


def test_a_memory_that_outgrows_the_bound_alone_is_emptied() -> None:
    memories = Memories("w", most=10_000)
    memory = memories.of("a")
    memory.keep("tools", value(20_000))
    assert not memory.size
    memory.keep("tools", value(9_000))
    assert memory.size == 9_000


def test_what_has_not_been_used_for_an_hour_is_forgotten() -> None:
    memories = Memories("w")
    for caller, used in (("a", 100.0), ("b", 5000.0)):
        memories.of(caller).keep("tools", value(5000))
        memories.of(caller).used = used
    memories.look(3600.0)
    assert memories.of("a").size
    memories.look(3659.0)
    memories.look(3701.0)
    assert [memories.of(caller).size for caller in "ab"] == [0, 5000]


def test_one_caller_has_a_few_values_and_conversations_at_most() -> None:
    memory = Memories("w").of("a")
    for _ in range(100):
        memory.keep("tools", value(5000))
        memory.begin(Talk(0, [b"x" * 100], [], []))
    assert (len(memory.values["tools"]), len(memory.talks)) == (8, 16)
    assert memory.size == 8 * 5000 + 16 * 100


def test_a_conversation_that_goes_on_elsewhere_counts_as_long_as_it_is() -> None:
    memory = Memories("w").of("a")
    talk = Talk(0, [b"12345", b"678"], [], [{}, {}])
    memory.begin(talk)
    memory.go_on(talk, 1, [b"9", b"0"], [])
    assert (talk.said, memory.size) == ([b"12345", b"9", b"0"], 7)
    memory.forget()
    memory.go_on(talk, 1, [b"9"], [])
    assert not memory.size


def test_a_conversation_is_followed_up_to_the_first_message_that_differs() -> None:
    talk = Talk(2, [b"one", b",two", b",three"], [Message(role="user", parts=[])] * 3, [])
    assert talk.reach_in(b"[[one,two,three]") == (3, 15)
    assert talk.reach_in(b"[[one,two,four]") == (2, 9)
    assert talk.reach_in(b"[one") == (0, 2)


def test_the_elements_of_an_array_are_cut_with_what_separates_them() -> None:
    body = b'[ {"a":1} ,\n{"b":2},3]'
    values = msgspec.json.decode(body, type=list[msgspec.Raw])
    assert pieces(body, values, 2) == [b'{"a":1}', b' ,\n{"b":2}', b",3"]
    assert pieces(body, values, 5) is None


def test_what_was_made_of_tools_comes_again_with_what_was_lost() -> None:
    tools = Repeated([Tool(name="a")])
    asked: list[int] = []

    def make(ledger: Ledger) -> str:
        asked.append(1)
        ledger.add(None, "tools", "gone")
        return "made"

    ledgers = [Ledger(), Ledger(), Ledger()]
    made = [tools.form(key, ledger, lambda ledger=ledger: make(ledger)) for key, ledger in zip("aab", ledgers, strict=True)]
    assert made == ["made"] * 3
    assert len(asked) == 2
    assert [ledger.losses for ledger in ledgers] == [ledgers[0].losses] * 3
    assert ledgers[0].losses


def test_a_memory_tells_nothing_of_what_it_holds() -> None:
    memory = Memories("secret").of("a")
    memory.keep("tools", Value(b"secret", ["secret"], 0, 0))
    assert repr(memory) == "Memory(6 bytes)"
