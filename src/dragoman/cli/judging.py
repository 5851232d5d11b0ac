"""What `dragoman conformance` does. A file of its own, as the battery needs the official SDKs, which are an extra."""

from __future__ import annotations

import argparse
import asyncio
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dragoman import __version__
from dragoman.cli.setting import Failure
from dragoman.conformance import battery, catalogue, matrix, own, peers, scoreboard, script
from dragoman.conformance import report as reports
from dragoman.conformance.battery import Plan, Progress
from dragoman.conformance.report import Report


def run(options: argparse.Namespace) -> int:
    if options.setup:
        return _setup(options)
    if options.list:
        for case in catalogue.CASES.values():
            print(f"{case.id:34} {case.title}")
        return 0
    clients = _names(options.clients, tuple(battery.CLIENTS), "--clients")
    # This gateway is judged on all that providers speak, another on what is customary.
    default = battery.CUSTOMARY if options.base_url else battery.UPSTREAMS
    upstreams = _names(options.upstreams, battery.UPSTREAMS, "--upstreams") if options.upstreams else default
    try:
        battery.chosen(options.only)
    except LookupError as error:
        raise Failure(str(error.args[0]), 2) from None
    for file in filter(None, (options.json, options.html)):
        if not Path(file).absolute().parent.is_dir():
            raise Failure(f"{file} cannot be written: there is no such folder", 2)
    progress = matrix.TerminalProgress(sys.stderr)
    with warnings.catch_warnings():
        # What a gateway says amiss stands in the report; the SDKs' warnings of it are noise.
        warnings.simplefilter("ignore")
        report = asyncio.run(_judged(options, clients, upstreams, progress))
    progress.clear()
    _written(options, report)
    ink = matrix.Ink(sys.stdout)
    for line in matrix.lines(report, ink):
        print(line)
    if not report.total:
        raise Failure("the gateway offers none of these", 2)
    return 0 if report.passed == report.total else 1


def _names(said: str | None, known: tuple[str, ...], option: str) -> tuple[str, ...]:
    if said is None:
        return known
    names = tuple(name.strip() for name in said.split(",") if name.strip())
    wrong = [name for name in names if name not in known]
    if wrong or not names:
        raise Failure(f"{option} knows {', '.join(known)}, not {', '.join(wrong) or 'nothing'}", 2)
    return names


def _pairs(said: Sequence[str], option: str, upstreams: tuple[str, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for pair in said:
        upstream, equals, name = pair.partition("=")
        if not (equals and name and upstream in upstreams):
            raise Failure(f"{option} is UPSTREAM=NAME, with an upstream of {', '.join(upstreams)}; not {pair!r}", 2)
        found[upstream] = name
    return found


async def _judged(
    options: argparse.Namespace, clients: tuple[str, ...], upstreams: tuple[str, ...], progress: Progress
) -> Report:
    models = {name: peers.model_of(name) for name in upstreams} | _pairs(options.model, "--model", upstreams)
    chains = {name: peers.chain_of(name) for name in upstreams} | _pairs(options.chain, "--chain", upstreams)
    port = options.upstream_port if options.upstream_port is not None else (peers.PORT if options.base_url else 0)
    upstream = script.TicketedUpstream(host=options.upstream_host, port=port)

    def plan(base_url: str, gateway: str) -> Plan:
        return Plan(
            base_url=base_url.rstrip("/"),
            key=options.key or peers.KEY,
            clients=clients,
            upstreams=upstreams,
            models=models,
            chains=chains,
            gateway=options.name or gateway,
            only=tuple(options.only),
            at_once=max(1, options.at_once),
        )

    asyncio.get_running_loop().set_exception_handler(_quiet)
    try:
        async with upstream:
            if options.base_url:
                return await battery.run(plan(options.base_url, options.base_url), upstream, progress)
            async with own.served(upstream.url, upstreams, options.driver) as url:
                return await battery.run(plan(url, f"Dragoman {__version__}"), upstream, progress)
    except (battery.Unreachable, own.DidNotStart) as error:
        raise Failure(str(error), 2) from None
    except OSError as error:
        raise Failure(f"the scripted upstream cannot listen on {options.upstream_host}:{port}: {error.strerror}", 2) from None


def _quiet(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """An SDK whose time is up leaves its generators to the loop, which cannot close them in every state: no news."""
    if "asyncgen" not in context:
        loop.default_exception_handler(context)


def _written(options: argparse.Namespace, report: Report) -> None:
    for file, text in ((options.json, reports.to_json), (options.html, scoreboard.page)):
        if not file:
            continue
        try:
            Path(file).write_text(text(report), encoding="utf-8")
        except OSError as error:
            raise Failure(f"{file} cannot be written: {error.strerror}", 2) from None


def _setup(options: argparse.Namespace) -> int:
    known = peers.SETUPS.get(options.setup)
    if known is None:
        raise Failure(f"no setup is called {options.setup!r}; there are {', '.join(peers.SETUPS)}", 2)
    port = options.upstream_port if options.upstream_port is not None else peers.PORT
    url = f"http://{options.upstream_host}:{port}"
    print(peers.setup_text(options.setup, url, options.key or peers.KEY), end="")
    said = [f"{known.title}: write this to {known.file}, then", f"  {known.start}", f"  dragoman conformance {known.judge}"]
    if port != peers.PORT:
        said[-1] += f" --upstream-port {port}"
    said += [known.notes] if known.notes else []
    said.append(f"tried with {known.tried}" if known.tried else "not tried yet: mend what is amiss, and tell us")
    print("\n".join(said), file=sys.stderr)
    return 0
