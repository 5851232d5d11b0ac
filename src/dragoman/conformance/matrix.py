"""The result in a terminal: the matrix, and what differs, by case."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from typing import TextIO

from dragoman.conformance.case import Check, Difference
from dragoman.conformance.report import CaseResult, Cell, Failure, Report

_EVERY = 0.1
_MOST_PLACES = 4


class Ink:
    """Colours, where there is somebody to see them."""

    def __init__(self, stream: TextIO, *, plain: bool = False) -> None:
        self._on = stream.isatty() and not plain

    def __call__(self, text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._on else text


GREEN, RED, DIM, BOLD, YELLOW = "32", "31", "2", "1", "33"


class TerminalProgress:
    """One line that counts, on a terminal; nothing elsewhere."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._shows = stream.isatty()
        self._ink = Ink(stream)
        self._total = self._done = self._failed = 0
        self._drawn = 0.0

    def begin(self, total: int) -> None:
        self._total = total

    def done(self, check: Check) -> None:
        self._done += 1
        self._failed += check.result == "failed"
        now = time.monotonic()
        if self._shows and (now - self._drawn > _EVERY or self._done == self._total):
            self._drawn = now
            wide = 30
            filled = min(wide, wide * self._done // max(1, self._total))
            bar = self._ink("━" * filled, RED if self._failed else GREEN) + self._ink("━" * (wide - filled), DIM)
            self._stream.write(f"\r{bar} {self._done}/{self._total}  {self._failed} failed\x1b[K")
            self._stream.flush()

    def clear(self) -> None:
        if self._shows:
            self._stream.write("\r\x1b[K")
            self._stream.flush()


def lines(report: Report, ink: Ink | None = None) -> Iterator[str]:
    """The whole of it, line by line."""
    ink = ink or Ink(sys.stdout, plain=True)
    yield ink(report.gateway, BOLD)
    yield ink(f"judged by {', '.join(report.sdks)} on {report.date}, in {report.seconds:.0f} s", DIM)
    yield ""
    yield from matrix(report, ink)
    for case in report.failed:
        yield ""
        yield from failed(case, ink)
    yield ""
    whole = report.passed == report.total
    yield ink(f"{report.passed} of {report.total} passed", GREEN if whole else RED) + (
        "" if whole else f"; {len(report.failed)} of {len(report.cases)} cases differ somewhere"
    )


def matrix(report: Report, ink: Ink) -> Iterator[str]:
    wide = max(len(cell_text(cell)) for cell in report.cells)
    wide = max(wide, *(len(name) for name in report.upstreams)) + 3
    first = max(len("client"), *(len(name) for name in report.clients)) + 2
    yield " " * first + ink("provider speaks", DIM)
    yield "client".ljust(first) + "".join(name.rjust(wide) for name in report.upstreams)
    for client in report.clients:
        row = client.ljust(first)
        for upstream in report.upstreams:
            cell = report.cell(client, upstream)
            whole = cell.passed == cell.total
            row += ink(cell_text(cell).rjust(wide), YELLOW if not cell.offered else GREEN if whole else RED)
        yield row


def cell_text(cell: Cell) -> str:
    return f"{cell.passed}/{cell.total}" if cell.offered else "not offered"


def failed(case: CaseResult, ink: Ink) -> Iterator[str]:
    places = len(case.failures)
    yield f"{ink('FAILED', RED)} {ink(case.id, BOLD)}: {case.title} ({case.passed}/{case.total})"
    if case.why:
        yield ink(f"       {case.why}" + (f" [{', '.join(case.sources)}]" if case.sources else ""), DIM)
    for differences, where in grouped(case.failures)[:_MOST_PLACES]:
        yield f"   {ink(_places(where), YELLOW)}"
        for one in differences:
            yield f"     {one.what}"
            yield f"       expected {one.expected}"
            yield f"       got      {one.got}"
        places -= len(where)
    if places:
        yield ink(f"   and {places} more", DIM)


def grouped(failures: tuple[Failure, ...]) -> list[tuple[tuple[Difference, ...], list[Failure]]]:
    """Failures that differ in the same way are told once, with all their places; the most frequent first."""
    held: dict[tuple[Difference, ...], list[Failure]] = {}
    for failure in failures:
        held.setdefault(failure.differences, []).append(failure)
    return sorted(held.items(), key=lambda pair: -len(pair[1]))


_MOST_NAMED = 6


def _places(where: list[Failure]) -> str:
    named = [f"{one.client} to {one.upstream}, {one.mode}" for one in where[:_MOST_NAMED]]
    return "; ".join(named) + (f"; and {len(where) - _MOST_NAMED} more" if len(where) > _MOST_NAMED else "")
