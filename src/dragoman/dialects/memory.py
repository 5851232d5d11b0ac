"""What a caller says again. An agent sends the same tools and all earlier turns with each of its requests, so what was made
of them is kept for the next one:

    Memory       of one caller: the very bytes of earlier tools, instructions and messages, and what they became in the hub
    Memories     of all callers, within a bound
    Repeated     tools or instructions that came before; encoders keep with them what they made of them
    Recalled     messages of which the first came before: the same for each of these

**Finding.** Nothing is parsed to find a repetition. Bytes of an earlier body are looked for where they stood then: at the same
distance from the beginning of the body or from its end. Messages are compared one after the other, from the first.

**Why that is right.** What was found is cut out of the body, a word of the gateway's own stands in its place, and the rest is
read as any body is. A reader of JSON that comes to a place in the same state, and finds either of two complete values there,
goes on in the same state. So if the word arrives as the value of the member that it was put for, those bytes stood there as
that member's, and mean what they meant. If it does not arrive there (the bytes stood within a text, in another object, the
member came twice), the body is read as if nothing were known. The word is random, so that no body holds it by itself.

**Who may notice.** Something known is read faster. Nothing is shared between callers, so that the clock tells nobody what
another has said: a memory belongs to the holder of one key and, where credentials of the caller's own are passed on, to those.

**How much.** What is seen once is only noted; what comes again is kept. `_MOST` bounds the bytes of all memories together; the
one that has been used longest ago is emptied first, and one that has not been used for `_LONGEST` holds nothing any more.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from operator import attrgetter
from typing import Any, TypeAlias, TypeVar

import msgspec

from dragoman.ir.losses import Ledger, Loss
from dragoman.ir.request import Message

_MOST = 8 * 1024 * 1024
"""Bytes of bodies. What they become takes twice as much again."""
_MOST_OF_ONE = 4 * 1024 * 1024
_MOST_CALLERS = 1024
_LONGEST = 3600.0
"""Seconds."""
_PACE = 60.0
_MOST_VALUES = 8
"""Of one member, for one caller: its agents differ in their tools."""
_MOST_TALKS = 16
_MOST_NOTED = 64
LEAST = 4096
"""A shorter body is read before anything could be looked up; a shorter value is not worth keeping."""

_SEPARATED = b", \t\r\n"
_MOST_SPACE = 64
_used = attrgetter("used")

Made = TypeVar("Made")
Each = TypeVar("Each")


class Repeated(list[Each]):
    """What is the same for several requests of one caller. Nobody changes it."""

    __slots__ = ("_forms",)

    def __init__(self, values: list[Each]) -> None:
        super().__init__(values)
        self._forms: dict[Hashable, tuple[Any, list[Loss]]] = {}

    def form(self, key: Hashable, ledger: Ledger, make: Callable[[], Made]) -> Made:
        """What `make` makes of them, with the losses that it tells. `key`: all that it depends on beside the tools."""
        found = self._forms.get(key)
        if found is None:
            before = len(ledger.losses)
            made = make()
            if len(self._forms) >= _MOST_VALUES:
                self._forms.clear()
            self._forms[key] = made, ledger.losses[before:]
            return made
        ledger.losses += found[1]
        return found[0]


Form: TypeAlias = "dict[Hashable, Any]"
"""What encoders made of one message, by all that it depends on beside the message. Nothing was lost by it."""


class Recalled(list[Message]):
    """A conversation whose first messages came before. Nobody changes these. `forms`: one for each of them."""

    __slots__ = ("forms",)

    def __init__(self, known: list[Message], forms: list[Form], new: list[Message]) -> None:
        super().__init__([*known, *new])
        self.forms = forms


class Value(msgspec.Struct, eq=False):
    """A member's value that came before, and what it became. `ahead` and `behind`: how many bytes stood on either side."""

    data: bytes
    made: Any
    ahead: int
    behind: int

    def place_in(self, body: bytes) -> int | None:
        """Where it stands in this body, if it does."""
        if body.startswith(self.data, self.ahead):
            return self.ahead
        at = len(body) - self.behind - len(self.data)
        return at if at > 0 and body.startswith(self.data, at) else None


class Talk(msgspec.Struct, eq=False):
    """A conversation as far as it was known last: each message with what separates it from the one before."""

    ahead: int
    said: list[bytes]
    made: list[Message]
    forms: list[Form]

    @property
    def size(self) -> int:
        return sum(map(len, self.said))

    def reach_in(self, body: bytes) -> tuple[int, int]:
        """How many of its messages stand at the beginning of this body's, and where they end."""
        end, number = self.ahead, 0
        for data in self.said:
            if not body.startswith(data, end):
                break
            end += len(data)
            number += 1
        return number, end


class Memory:
    """Of one caller. `word` is what takes the place of something known; `used` is when it was asked last, in seconds."""

    __slots__ = ("_home", "_noted", "size", "talks", "used", "values", "word")

    def __init__(self, home: Memories) -> None:
        self._home = home
        self.word = home.word
        self.used = 0.0
        self._noted: dict[int, None] = {}
        self.clear()

    def __repr__(self) -> str:
        return f"Memory({self.size} bytes)"

    def clear(self) -> None:
        """For whoever counts the sizes; all others say `forget`."""
        self.size = 0
        self.values: dict[str, list[Value]] = {}
        self.talks: list[Talk] = []

    def forget(self) -> None:
        size = self.size
        self.clear()
        self._home.grown(self, -size)

    def comes_again(self, sign: Hashable) -> bool:
        """Whether something that looks like this has come before."""
        noted = hash(sign)  # it holds a caller's words, however many: they are not to stay
        if noted in self._noted:
            return True
        if len(self._noted) >= _MOST_NOTED:
            del self._noted[next(iter(self._noted))]
        self._noted[noted] = None
        return False

    def keep(self, member: str, value: Value) -> None:
        values = self.values.setdefault(member, [])
        values.insert(0, value)
        size = len(value.data)
        if len(values) > _MOST_VALUES:
            size -= len(values.pop().data)
        self._grow(size)

    def begin(self, talk: Talk) -> None:
        self.talks.insert(0, talk)
        size = talk.size
        if len(self.talks) > _MOST_TALKS:
            size -= self.talks.pop().size
        self._grow(size)

    def go_on(self, talk: Talk, number: int, said: list[bytes], made: list[Message]) -> None:
        """After so many messages of the conversation these came."""
        size = talk.size
        talk.said[number:], talk.made[number:] = said, made
        talk.forms[number:] = [{} for _ in said]
        if talk in self.talks:
            self._grow(talk.size - size)

    def _grow(self, size: int) -> None:
        self.size += size
        while self.size > _MOST_OF_ONE and len(self.talks) > 1:
            size -= (last := self.talks.pop().size)
            self.size -= last
        if self.size > _MOST_OF_ONE:
            size -= self.size
            self.clear()
        self._home.grown(self, size)


class Memories:
    """One for each process. `word`: letters and digits that nobody can guess."""

    def __init__(self, word: str, most: int = _MOST) -> None:
        self.word = word
        self._most = most
        self._size = 0
        self._of: dict[Hashable, Memory] = {}
        self._filled: dict[Memory, None] = {}
        self._due = 0.0

    def of(self, caller: Hashable) -> Memory:
        found = self._of.get(caller)
        if found is None:
            if len(self._of) >= _MOST_CALLERS:
                del self._of[next(iter(self._of))]
            found = self._of[caller] = Memory(self)
        return found

    def look(self, now: float) -> None:
        """Whether any has not been used for long: to be asked with every request."""
        if now < self._due:
            return
        self._due = now + _PACE
        for memory in [held for held in self._filled if now - held.used > _LONGEST]:
            memory.forget()

    def grown(self, memory: Memory, size: int) -> None:
        self._size += size
        self._filled.pop(memory, None)
        if memory.size:
            self._filled[memory] = None
        while self._size > self._most:
            oldest = min(self._filled, key=_used)
            del self._filled[oldest]
            self._size -= oldest.size
            oldest.clear()


def pieces(body: bytes, values: list[msgspec.Raw], at: int) -> list[bytes] | None:
    """The values of an array, each with what separates it from the one before. `at`: where the first one begins, or the
    separator before it. None where they do not stand there."""
    found: list[bytes] = []
    for value in values:
        start = at
        while not body.startswith(value, at):
            if at - start > _MOST_SPACE or body[at : at + 1] not in _SEPARATED:
                return None
            at += 1
        end = at + len(bytes(value))
        found.append(body[start:end])
        at = end
    return found
