"""The result of a run: which checks passed where, as a tree that JSON, the terminal and the scoreboard tell."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from dragoman.conformance.case import Case, Check, Difference, Mode


class Failure(msgspec.Struct, frozen=True):
    """One case that failed in one place, in one mode."""

    client: str
    upstream: str
    mode: Mode
    differences: tuple[Difference, ...]


class CaseResult(msgspec.Struct, frozen=True, omit_defaults=True):
    """A case over all places."""

    id: str
    group: str
    title: str
    passed: int
    total: int
    why: str = ""
    sources: tuple[str, ...] = ()
    failures: tuple[Failure, ...] = ()


class Cell(msgspec.Struct, frozen=True):
    """One client at one upstream. `offered` is false where the gateway has no such API or model."""

    client: str
    upstream: str
    passed: int
    total: int
    offered: bool = True


class Report(msgspec.Struct, frozen=True):
    """`gateway` is its name and version as they were given; `seconds` what the run took."""

    gateway: str
    date: str
    seconds: float
    sdks: tuple[str, ...]
    clients: tuple[str, ...]
    upstreams: tuple[str, ...]
    cells: tuple[Cell, ...]
    cases: tuple[CaseResult, ...]
    format: int = 1

    @property
    def passed(self) -> int:
        return sum(cell.passed for cell in self.cells)

    @property
    def total(self) -> int:
        return sum(cell.total for cell in self.cells)

    @property
    def failed(self) -> list[CaseResult]:
        return [case for case in self.cases if case.failures]

    def cell(self, client: str, upstream: str) -> Cell:
        return next(cell for cell in self.cells if (cell.client, cell.upstream) == (client, upstream))


def results_of(cases: Mapping[str, Case], checks: Iterable[Check]) -> tuple[CaseResult, ...]:
    """The checks by case, in the order of the catalogue. Those of APIs that are not offered are left out."""
    held: defaultdict[str, list[Check]] = defaultdict(list)
    for check in checks:
        if check.result != "not offered":
            held[check.case].append(check)
    return tuple(_result(cases[name], held[name]) for name in cases if name in held)


def _result(case: Case, checks: Sequence[Check]) -> CaseResult:
    failures = sorted(
        (Failure(one.client, one.upstream, one.mode, one.differences) for one in checks if one.result == "failed"),
        key=lambda one: (one.client, one.upstream, one.mode),
    )
    passed = len(checks) - len(failures)
    return CaseResult(case.id, case.group, case.title, passed, len(checks), case.why, case.sources, tuple(failures))


def cells_of(clients: Sequence[str], upstreams: Sequence[str], checks: Sequence[Check]) -> tuple[Cell, ...]:
    cells: list[Cell] = []
    for client in clients:
        for upstream in upstreams:
            here = [one for one in checks if (one.client, one.upstream) == (client, upstream)]
            counted = [one for one in here if one.result != "not offered"]
            passed = sum(one.result == "passed" for one in counted)
            cells.append(Cell(client, upstream, passed, len(counted), offered=len(counted) == len(here) and bool(here)))
    return tuple(cells)


def to_json(report: Report) -> str:
    return json.dumps(msgspec.to_builtins(report), indent=1, ensure_ascii=False) + "\n"


def from_json(text: str | bytes) -> Report:
    return msgspec.json.decode(text, type=Report)
