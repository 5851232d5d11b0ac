"""What can be known of a process of ours while it runs."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path
from types import FrameType

_PAGE = os.sysconf("SC_PAGE_SIZE") if sys.platform != "win32" else 4096


def resident(pid: int) -> int | None:
    """Bytes of memory in use; None where the system does not say (only Linux does), or there is no such process."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    except (OSError, ValueError, IndexError):
        return None


def end_within(seconds: float, code: int) -> None:
    """End this process then, if it has not ended by itself. For when all its work is done: whatever keeps it, a thread that
    does not return or a task that cannot be cancelled, is not ours."""
    alarm = threading.Timer(seconds, os._exit, (code,))
    alarm.daemon = True
    alarm.start()


def ignore_signals() -> None:
    """From here to the end of this process: it is ending, and is not to be disturbed in it. Some send a signal twice, to the
    process and to its group, and the interpreter would meet the second one without a handler while it tidies up."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if sys.platform != "win32":
        signal.signal(signal.SIGHUP, signal.SIG_IGN)


class Starting:
    """Signals of a process that does not serve yet: left to themselves, each would kill it and leave its work lying about. To
    be made in the main thread. Whoever serves sets handlers of its own."""

    def __init__(self) -> None:
        self._hung_up = False
        self._terminal = Terminal()
        signal.signal(signal.SIGTERM, self._end)
        if sys.platform != "win32":
            signal.signal(signal.SIGHUP, self._hang_up)

    def over(self) -> None:
        """It serves: a reload that was asked for meanwhile begins now."""
        if sys.platform != "win32" and self._hung_up:
            self._hung_up = False
            os.kill(os.getpid(), signal.SIGHUP)

    def _end(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002  the signature of a signal's handler
        raise SystemExit(0)

    def _hang_up(self, number: int, frame: FrameType | None) -> None:
        if self._terminal.is_gone():
            self._end(number, frame)
        self._hung_up = True


class Terminal:
    """Where this process was started from, if from a terminal. Closing it sends SIGHUP too, and then it means the end."""

    def __init__(self) -> None:
        self._there = _on_terminal()

    def is_gone(self) -> bool:
        return self._there and not _on_terminal()


def _on_terminal() -> bool:
    return os.isatty(0) or os.isatty(2)
