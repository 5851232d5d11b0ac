"""What a tree of processes costs, and how it is ended.

On Linux the CPU time is that of the kernel's clock for each process, in nanoseconds and with all its threads, those that have
ended too; memory is PSS, so that what several processes share counts once. Elsewhere `ps` says both, more coarsely.
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

_LINUX = sys.platform == "linux"


def tree(root: int) -> list[int]:
    """The process and its descendants."""
    return family(root, _parents())


def family(root: int, parents: Mapping[int, int]) -> list[int]:
    children: dict[int, list[int]] = {}
    for child, parent in parents.items():
        children.setdefault(parent, []).append(child)
    found = [root]
    for pid in found:
        found += children.get(pid, [])
    return found


def _parents() -> dict[int, int]:
    if not _LINUX:
        return {pid: parent for pid, (parent, _, _) in _ps().items()}
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except OSError:
                continue  # it has just ended
            parents[int(entry.name)] = parent_in(stat)
    return parents


def parent_in(stat: str) -> int:
    """The parent in `/proc/PID/stat`, where the name in brackets may hold anything."""
    return int(stat[stat.rindex(")") + 2 :].split()[1])


def cpu_ns(pids: Iterable[int]) -> dict[int, int]:
    """CPU time that each has used, in nanoseconds. Those that have ended are left out."""
    if not _LINUX:
        table = _ps()
        return {pid: table[pid][1] for pid in pids if pid in table}
    used: dict[int, int] = {}
    for pid in pids:
        try:
            # What clock_getcpuclockid(3) gives: the clock of a whole process.
            used[pid] = time.clock_gettime_ns(((~pid) << 3) | 2)
        except OSError:
            continue
    return used


def used_between(before: Mapping[int, int], after: Mapping[int, int]) -> int:
    """What the processes that are left have used, in nanoseconds; new ones count whole."""
    return sum(used - before.get(pid, 0) for pid, used in after.items())


def memory_mb(pids: Iterable[int]) -> float:
    """Resident memory of all together."""
    if not _LINUX:
        table = _ps()
        return sum(table[pid][2] for pid in pids if pid in table) / 1024
    total = 0
    for pid in pids:
        try:
            total += pss_kb(Path(f"/proc/{pid}/smaps_rollup").read_text())
        except OSError:
            continue
    return total / 1024


def pss_kb(rollup: str) -> int:
    """`Pss:` of `/proc/PID/smaps_rollup`."""
    return next((int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:")), 0)


# ---------------------------------------------------------------- elsewhere


def _ps() -> dict[int, tuple[int, int, int]]:
    said = subprocess.run(["ps", "-axo", "pid=,ppid=,time=,rss="], capture_output=True, text=True, check=True, timeout=10)
    return read_ps(said.stdout)


def read_ps(text: str) -> dict[int, tuple[int, int, int]]:
    """By pid: the parent, CPU nanoseconds, resident kilobytes."""
    rows = (line.split() for line in text.splitlines() if line.strip())
    return {int(pid): (int(parent), clock_ns(clock), int(rss)) for pid, parent, clock, rss in rows}


def clock_ns(text: str) -> int:
    """`1-02:03:04` (Linux) or `123:04.56` (macOS) in nanoseconds."""
    days, _, rest = text.rpartition("-")
    seconds = 0.0
    for field in rest.split(":"):
        seconds = seconds * 60 + float(field)
    return round((int(days or 0) * 86400 + seconds) * 1e9)


# ---------------------------------------------------------------- the end of it


def stop(process: subprocess.Popen[bytes], patience: float = 5.0) -> None:
    """Ends a process that was started in a session of its own, with all that it has started. Leaves nothing behind."""
    members = tree(process.pid)
    _signal_group(process.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(patience)
    _signal_group(process.pid, signal.SIGKILL)
    for pid in members[1:]:
        if _in_session(pid, process.pid):
            _kill(pid)
    process.wait(patience)


def _signal_group(group: int, number: signal.Signals) -> None:
    # macOS says PermissionError of a group in which all have ended.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _in_session(pid: int, session: int) -> bool:
    """Whether it is still the one we knew, and not another that has got its number."""
    try:
        return os.getsid(pid) == session
    except ProcessLookupError:
        return False


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


# ---------------------------------------------------------------- other people


class Others:
    """How busy the machine was with something else: what all cores did, less what this process and its children did."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._busy = _all_busy()
        self._ours = _ours()

    def share(self) -> float | None:
        """In cores, since the beginning. Children count once they have ended. None where the system does not say."""
        busy = _all_busy()
        if busy is None or self._busy is None:
            return None
        others = (busy - self._busy) - (_ours() - self._ours)
        return max(0.0, others / (time.monotonic() - self._began))


def _ours() -> float:
    return sum(
        usage.ru_utime + usage.ru_stime for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def _all_busy() -> float | None:
    try:
        line = Path("/proc/stat").read_text().splitlines()[0]
    except OSError:
        return None
    return busy_ticks(line) / os.sysconf("SC_CLK_TCK")


def busy_ticks(line: str) -> int:
    """The first line of `/proc/stat`, without the idle columns."""
    user, nice, system, _, _, *rest = (int(field) for field in line.split()[1:9])
    return user + nice + system + sum(rest)
