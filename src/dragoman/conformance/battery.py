"""Runs the battery: every case at every place it applies to, many at once, each bounded in time."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Protocol

import httpx2
import msgspec

from dragoman.conformance.case import Case, Check, Difference, Differs, Mode, Result
from dragoman.conformance.catalogue import CASES
from dragoman.conformance.clients import CLIENTS, Client
from dragoman.conformance.compare import same
from dragoman.conformance.grammar import GRAMMAR, verdicts
from dragoman.conformance.heard import READERS
from dragoman.conformance.prompt import Prompt, User
from dragoman.conformance.recording import recording_client
from dragoman.conformance.report import Report, cells_of, results_of
from dragoman.conformance.script import TicketedUpstream
from dragoman.conformance.seat import Bench, Raised, Seat
from dragoman.testing import VOICES, Finish, Text, scenario
from dragoman.testing.library_text import HELLO, U

UPSTREAMS: tuple[str, ...] = tuple(name for name in READERS if name in VOICES)
"""The dialects that the scripted upstream speaks, and of which it understands the requests."""

CUSTOMARY: tuple[str, ...] = tuple(name for name in UPSTREAMS if name in CLIENTS)
"""Those that another gateway is judged on unless told otherwise."""

_NOT_THERE = (404, 405, 501)
_WAITS = 45.0
"""A case that may take longer than this waits more than it works: it runs beside the others."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is judged. `models` and `chains` by upstream dialect, as the gateway names them."""

    base_url: str
    key: str
    clients: tuple[str, ...]
    upstreams: tuple[str, ...]
    models: Mapping[str, str]
    chains: Mapping[str, str]
    gateway: str
    only: tuple[str, ...] = ()
    at_once: int = 24


class Progress(Protocol):
    """Told of every check as it is done."""

    def begin(self, total: int) -> None: ...
    def done(self, check: Check) -> None: ...


class Unreachable(Exception):
    """Nobody answers at the base URL."""


def chosen(only: Sequence[str]) -> dict[str, Case]:
    """The cases of these names or patterns (`tools-*`), or all. Raises `LookupError` for one that fits none."""
    if not only:
        return dict(CASES)
    for pattern in only:
        if not any(fnmatchcase(name, pattern) for name in CASES):
            raise LookupError(f"no case is called {pattern!r}; `dragoman conformance --list` names them")
    return {name: case for name, case in CASES.items() if any(fnmatchcase(name, pattern) for pattern in only)}


class _Job(msgspec.Struct, frozen=True):
    case: Case
    client: str
    upstream: str


async def run(plan: Plan, upstream: TicketedUpstream, progress: Progress) -> Report:
    """The battery against the gateway at `plan.base_url`, whose providers are `upstream`. Raises `Unreachable`."""
    cases = chosen(plan.only)
    began = time.monotonic()
    async with recording_client(plan.at_once * 4, patience=60.0) as http:
        clients = {name: CLIENTS[name](plan.base_url, plan.key, http) for name in plan.clients}
        bench = Bench(upstream, plan.upstreams, plan.models, plan.chains)
        absent = await _absent(bench, clients, http, plan.base_url)
        jobs = [
            _Job(case, client, name)
            for case in cases.values()
            if case is not GRAMMAR
            for client in clients
            for name in plan.upstreams
            if case.applies(client, name)
        ]
        progress.begin(sum(len(job.case.modes) for job in jobs))
        checks = await _all(_Run(bench, clients, absent, progress), jobs, plan.at_once)
    if GRAMMAR.id in cases:
        for check in verdicts(bench):
            progress.done(check)
            checks.append(check)
    return Report(
        plan.gateway,
        datetime.now(UTC).date().isoformat(),
        round(time.monotonic() - began, 1),
        tuple(dict.fromkeys(client.sdk for client in clients.values())),
        plan.clients,
        plan.upstreams,
        cells_of(plan.clients, plan.upstreams, checks),
        results_of(cases, checks),
    )


class _Run(msgspec.Struct, frozen=True):
    """`absent` are the places that the gateway does not offer."""

    bench: Bench
    clients: Mapping[str, Client]
    absent: set[tuple[str, str]]
    progress: Progress


async def _all(run: _Run, jobs: Sequence[_Job], at_once: int) -> list[Check]:
    checks: list[Check] = []

    async def work(job: _Job) -> None:
        if (job.client, job.upstream) in run.absent:
            done = [_check(job, mode, "not offered") for mode in job.case.modes]
        else:
            done = await _judge(run.bench, run.clients[job.client], job)
        for check in done:
            run.progress.done(check)
        checks.extend(done)

    busy = deque(job for job in jobs if job.case.patience <= _WAITS)
    waiting = [job for job in jobs if job.case.patience > _WAITS]

    async def worker() -> None:
        while busy:
            await work(busy.popleft())

    async with asyncio.TaskGroup() as group:
        for job in waiting:
            group.create_task(work(job))
        for _ in range(at_once):
            group.create_task(worker())
    return checks


def _check(job: _Job, mode: Mode, result: Result, differences: tuple[Difference, ...] = ()) -> Check:
    return Check(case=job.case.id, client=job.client, upstream=job.upstream, mode=mode, result=result, differences=differences)


async def _judge(bench: Bench, client: Client, job: _Job) -> list[Check]:
    """The modes of a case in one place, one after the other; then, where it has both, what they have in common."""
    checks: list[Check] = []
    seats: dict[Mode, Seat] = {}
    for mode in job.case.modes:
        if mode == "both":
            # Where one of the two is wrong already, that they differ is no further news.
            if len({check.result for check in checks}) == 1:
                checks.append(_compared(job, seats))
            continue
        seat = seats[mode] = Seat(bench, client, job.upstream, mode, job.case.id)
        try:
            async with asyncio.timeout(job.case.patience):
                await job.case.judge(seat)
            checks.append(_check(job, mode, "passed"))
        except Differs as differs:
            checks.append(_check(job, mode, "failed", differs.differences))
        except TimeoutError:
            late = Difference("the outcome", f"within {job.case.patience:.0f} seconds", "none")
            checks.append(_check(job, mode, "failed", (late,)))
        except Exception as error:  # noqa: BLE001  a judge reads other people's JSON: what it stumbles over is the finding
            odd = Difference("the shape of what was said", "what the dialect says", f"{type(error).__name__}: {error}")
            checks.append(_check(job, mode, "failed", (odd,)))
        finally:
            seat.close()
    return checks


def _compared(job: _Job, seats: Mapping[Mode, Seat]) -> Check:
    unary, stream = seats["unary"].view, seats["stream"].view
    if unary is None or stream is None:
        nothing = Difference("the answers", "one whole, one streamed", "not both: see there")
        return _check(job, "both", "failed", (nothing,))
    found = same(unary, stream, job.client, job.upstream)
    return _check(job, "both", "failed" if found else "passed", tuple(found))


# ---------------------------------------------------------------- what is offered

_HELLO = scenario("offered", Text(HELLO), U, Finish())


async def _absent(bench: Bench, clients: Mapping[str, Client], http: httpx2.AsyncClient, base_url: str) -> set[tuple[str, str]]:
    """The places that the gateway does not offer: a client's API that it does not have, a provider's that it cannot speak. Told
    by a 404 in the whole row or the whole column; a single one is a failure. Raises `Unreachable`."""
    try:
        await http.get(base_url, timeout=10)
    except httpx2.HTTPError as error:
        raise Unreachable(f"nobody answers at {base_url}: {error or type(error).__name__}") from None
    missing: set[tuple[str, str]] = set()
    for name, client in clients.items():
        for upstream in bench.upstreams:
            outcome = await _tried(bench, client, upstream)
            if outcome is not None and outcome.status in _NOT_THERE:
                missing.add((name, upstream))
    absent: set[tuple[str, str]] = set()
    for name in clients:
        row = {(name, upstream) for upstream in bench.upstreams}
        absent |= row if row <= missing else set()
    for upstream in bench.upstreams:
        column = {(name, upstream) for name in clients}
        absent |= column if column <= missing else set()
    return absent


async def _tried(bench: Bench, client: Client, upstream: str) -> Raised | None:
    seat = Seat(bench, client, upstream, "unary", "offered")
    try:
        async with asyncio.timeout(20):
            said = await seat.ask(Prompt(turns=(User("Hello?"),)), _HELLO)
    except TimeoutError:
        return None
    finally:
        seat.close()
    bench.grammar.clear()
    bench.judged.clear()
    return said.raised
