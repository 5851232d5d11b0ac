"""A named case of the battery, and what became of it in one place.

A case is judged once for each client, upstream and mode it applies to. Its judge asks through the seat, and raises `Differs`
with everything that is not as it should be.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Literal, TypeAlias

import msgspec

if TYPE_CHECKING:
    from dragoman.conformance.seat import Seat

Mode = Literal["unary", "stream", "both"]
"""`both` compares what came in the one with what came in the other, unless one of them was wrong already."""
Group = Literal["answers", "tools", "reasoning", "streams", "requests", "continuity", "errors", "service"]
Result = Literal["passed", "failed", "not offered"]


class Difference(msgspec.Struct, frozen=True):
    """One thing that is not as it should be: `what`, with what was expected and what was got, as short texts."""

    what: str
    expected: str
    got: str


class Differs(Exception):
    def __init__(self, *differences: Difference) -> None:
        super().__init__("; ".join(f"{one.what}: expected {one.expected}, got {one.got}" for one in differences))
        self.differences = differences


Judge: TypeAlias = "Callable[[Seat], Awaitable[None]]"


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """`why` says in a sentence what goes wrong for users where it fails, `sources` where that was seen: public issues, in the
    short form of docs/conformance.md. `clients` and `upstreams` None means all; `elsewhere`: not where both speak the same
    dialect, since what passes through is not to be mended; `alike`: only there."""

    id: str
    group: Group
    title: str
    judge: Judge
    why: str = ""
    sources: tuple[str, ...] = ()
    modes: tuple[Mode, ...] = ("unary", "stream")
    clients: frozenset[str] | None = None
    upstreams: frozenset[str] | None = None
    elsewhere: bool = False
    alike: bool = False
    patience: float = 30.0
    """Seconds that it may take."""

    def applies(self, client: str, upstream: str) -> bool:
        return (
            (self.clients is None or client in self.clients)
            and (self.upstreams is None or upstream in self.upstreams)
            and not (self.elsewhere and client == upstream)
            and not (self.alike and client != upstream)
        )


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of one case in one place."""

    case: str
    client: str
    upstream: str
    mode: Mode
    result: Result
    differences: tuple[Difference, ...] = ()


def expect(what: str, *, expected: object, got: object) -> None:
    """Raises `Differs` unless they are equal."""
    if expected != got:
        raise Differs(Difference(what, shown(expected), shown(got)))


def demand(holds: object, what: str, *, expected: str, got: object) -> None:
    """Raises `Differs` unless it holds."""
    if not holds:
        raise Differs(Difference(what, expected, shown(got)))


_LONGEST = 400


def shown(value: object) -> str:
    """A value as a short text."""
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 20]}... ({len(text)} characters)"
