"""Streams that tell one part after the other, though several may be open at once (a provider may interleave two calls).

    one part is live: what comes of it is written through
    the others are held, in the order in which they opened, until it ends
    then the next one is live, with all that was held for it; and so on, while what was held holds its end too

Of several answers only the first is told. What all of it looks like is the dialect's: it says what it must remember of a part
(its own `LivePart`), and writes the beginning, the growth and the end of one (the abstract methods of `SerialEncoder`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Generic, TypeAlias, TypeVar

import msgspec

from dragoman.dialects.base import Reply
from dragoman.errors import DragomanError
from dragoman.ir.events import Cited, Close, Delta, Event, Fault, Finish, Open, Ping, Sealed, Start
from dragoman.ir.request import Part

Growth: TypeAlias = Delta | Sealed | Cited


class LivePart:
    """The part being written. `key` is its index in the hub, or -1 for one of the encoder's own; `begun`: something of it has
    gone out; `text`: what has been said of it, piece by piece (its length is what the answer is estimated by)."""

    __slots__ = ("begun", "key", "part", "text")

    def __init__(self, key: int, part: Part) -> None:
        self.key = key
        self.part = part
        self.begun = False
        self.text: list[str] = []


Live = TypeVar("Live", bound=LivePart)


class SerialEncoder(ABC, Generic[Live]):
    """A `StreamEncoder`. Nothing is live, and nothing more is written, once it is over."""

    ping: ClassVar[bytes]

    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        self._live: Live | None = None
        self._held: dict[int, list[Open | Growth | Close]] = {}
        """Of each part that waits, by its key: its `Open`, and what came since."""
        self._started = False
        self._over = False
        self._refused = False
        """The model has declined in words, of which the dialect takes note."""
        self._characters = 0
        """Said in the parts that have ended."""
        self._others: set[int] = set()
        """Choices beside the first that have not finished."""
        self._last: Finish | None = None

    def feed(self, event: Event) -> bytes:
        if self._over:
            return b""
        live = self._live
        match event:
            case Delta() | Sealed() | Cited():
                return self._grow(live, event) if live is not None and event.index == live.key else self._hold(event)
            case Open():
                return self._open(event)
            case Close():
                if live is None or event.index != live.key:
                    return self._hold(event)
                return self._close(live, complete=event.complete) + self._promote()
            case Start():
                return self._start(event)
            case Finish():
                return self._finish(event)
            case Ping():
                return self.ping
            case Fault():
                self._over = True
                self._live = None
                return self._fault(event.error)

    # ------------------------------------------------------------ whose turn it is

    def _start(self, event: Start) -> bytes:
        if self._started:
            return b""
        self._started = True
        return self._head(event)

    def _open(self, event: Open) -> bytes:
        if event.choice:
            if not self._others:
                self._reply.ledger.add(None, "choices", "only the first of several answers fits", "lost")
            self._others.add(event.choice)
            return b""
        if self._live is not None:
            self._held[event.index] = [event]
            return b""
        return self._start(Start("", "")) + self._enter(event.index, event.part)

    def _hold(self, event: Growth | Close) -> bytes:
        held = self._held.get(event.index)
        if held is not None:
            held.append(event)
        return b""

    def _enter(self, key: int, part: Part) -> bytes:
        live = self._live = self._part(key, part)
        return self._begin(live)

    def _close(self, live: Live, *, complete: bool = True) -> bytes:
        self._live = None
        out = self._end(live, complete=complete)
        self._characters += sum(map(len, live.text))
        return out

    def _promote(self) -> bytes:
        """The next part that waited, with all that was held for it, and the next one if that is closed already."""
        out: list[bytes] = []
        while self._live is None and self._held:
            for event in self._held.pop(next(iter(self._held))):
                live = self._live
                if isinstance(event, Open):
                    out.append(self._enter(event.index, event.part))
                elif live is None:
                    break
                elif isinstance(event, Close):
                    out.append(self._close(live, complete=event.complete))
                else:
                    out.append(self._grow(live, event))
        return b"".join(out)

    def _whole(self, part: Part) -> bytes:
        """A part of our own, in one piece. Nothing may be live."""
        out = self._enter(-1, part)
        return out + (self._close(self._live) if self._live is not None else b"")

    def _finish(self, event: Finish) -> bytes:
        # Of several answers only the first is told, but the count of all of them stands at the last one's end.
        self._others.discard(event.choice)
        if event.choice == 0:
            self._last = event
        elif event.usage is not None and self._last is not None:
            self._last = msgspec.structs.replace(self._last, usage=event.usage)
        if self._last is None or (self._others and self._last.usage is None):
            return b""
        out = self._start(Start("", ""))
        while self._live is not None or self._held:
            out += (self._close(self._live) if self._live is not None else b"") + self._promote()
        out += self._tail(self._last)
        self._over = True
        return out

    # ------------------------------------------------------------ what a dialect says

    @abstractmethod
    def _head(self, event: Start) -> bytes:
        """The beginning of the answer. Comes once, before all else."""

    @abstractmethod
    def _part(self, key: int, part: Part) -> Live:
        """What is to be remembered of a part while it is live."""

    @abstractmethod
    def _begin(self, live: Live) -> bytes:
        """What can be written when a part opens, with what it holds already."""

    @abstractmethod
    def _grow(self, live: Live, event: Growth) -> bytes:
        """More of the part. What is said goes into its `text`."""

    @abstractmethod
    def _end(self, live: Live, *, complete: bool) -> bytes:
        """The end of the part, which is live no more. `complete` as in `Close`."""

    @abstractmethod
    def _tail(self, event: Finish) -> bytes:
        """The end of the answer, when every part has ended."""

    @abstractmethod
    def _fault(self, error: DragomanError) -> bytes:
        """The answer broke off."""
