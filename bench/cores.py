"""Which core does what: the gateway alone on one, the load generator and the upstream together on another. A gateway of several
workers gets all that are left, or, where that is no more than one, all."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Generator, Mapping, Sequence, Set
from contextlib import contextmanager
from pathlib import Path

import msgspec


class Cores(msgspec.Struct, frozen=True):
    """Numbers of cores; None where processes cannot be bound. `many` is for several workers; the load generator may be among
    them. `caveat` says what is wrong with the choice, if anything."""

    gateway: int | None
    load: int | None
    caveat: str = ""
    many: frozenset[int] | None = None


def choose() -> Cores:
    if sys.platform != "linux":
        return Cores(None, None, "processes cannot be bound to cores here: the system moves them about")
    usable = allowed()
    return pick(usable, {core: _siblings(core) for core in usable})


def allowed() -> list[int]:
    """The cores that this process may use."""
    if sys.platform == "linux":
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def pick(usable: Sequence[int], siblings: Mapping[int, Set[int]]) -> Cores:
    """`siblings`: the logical cores that share a physical one with each."""
    load = usable[0]
    everything = frozenset(usable)
    if len(usable) == 1:
        return Cores(load, load, "there is only one core: gateway and load share it, and times say little", everything)
    apart = [core for core in usable if core not in siblings[load] and core != load]
    left = frozenset(apart) if len(apart) > 1 else everything - {load}
    many = left if len(left) > 1 else everything
    if apart:
        return Cores(apart[-1], load, many=many)
    return Cores(usable[-1], load, "the two cores are threads of one physical core, and slow each other down", many)


def _siblings(core: int) -> frozenset[int]:
    try:
        text = Path(f"/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list").read_text()
    except OSError:
        return frozenset({core})
    return cores_in(text)


def cores_in(text: str) -> frozenset[int]:
    """The kernel's way of listing cores: `0-2,5`."""
    found: set[int] = set()
    for first, last in re.findall(r"(\d+)(?:-(\d+))?", text):
        found.update(range(int(first), int(last or first) + 1))
    return frozenset(found)


@contextmanager
def bound(core: int | Set[int] | None) -> Generator[None]:
    """Processes that are started within begin on this core, or on these, and so do all of theirs."""
    if core is None or sys.platform != "linux":
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core} if isinstance(core, int) else core)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
