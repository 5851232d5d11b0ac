"""`dragoman conformance`: the public battery, against this gateway or any other."""

from __future__ import annotations

import argparse
import asyncio
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dragoman import __version__
from dragoman.cli.setting import Failure

if TYPE_CHECKING:
    from dragoman.conformance.battery import Plan, Progress
    from dragoman.conformance.report import Report

_DIALECTS = "messages, chat, responses, gemini"
_MORE = ", converse"


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "conformance",
        help="judge this gateway, or any other, by the public battery",
        description="Judges a gateway by the official SDKs: every client API against every provider API, streamed and not. "
        "Without --base-url it starts this gateway and judges it. Exit code 0: all passed; 1: something differs; 2: nothing "
        "was judged.",
    )
    parser.add_argument("--base-url", metavar="URL", help="of a gateway that is running already, without /v1")
    parser.add_argument("--key", help="that the gateway wants of its clients")
    parser.add_argument("--name", help="of the gateway, with its version: for the report")
    parser.add_argument("--clients", metavar="LIST", help=f"APIs to call it by, with commas ({_DIALECTS})")
    parser.add_argument("--upstreams", metavar="LIST", help=f"APIs of its providers, with commas ({_DIALECTS}{_MORE})")
    parser.add_argument("--model", action="append", default=[], metavar="UPSTREAM=NAME", help="its model on that upstream")
    parser.add_argument("--chain", action="append", default=[], metavar="UPSTREAM=NAME", help="its model with a second target")
    parser.add_argument("--upstream-host", default="127.0.0.1", metavar="HOST", help="where the scripted upstream listens")
    parser.add_argument("--upstream-port", type=int, metavar="PORT", help="the same (9100 with --base-url, else any)")
    parser.add_argument("--only", action="append", default=[], metavar="CASE", help="this case, or these: 'tools-*'")
    parser.add_argument("--at-once", type=int, default=24, metavar="N", help="questions under way at once (24)")
    parser.add_argument("--driver", choices=("asgi", "native"), default="asgi", help="of this gateway, where it is judged")
    parser.add_argument("--json", metavar="FILE", help="write the result")
    parser.add_argument("--html", metavar="FILE", help="write a scoreboard")
    parser.add_argument("--list", action="store_true", help="print the cases and stop")
    parser.add_argument("--setup", metavar="NAME", help="print how a known gateway is set up for it, and stop")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    _installed()
    from dragoman.conformance import battery, catalogue, matrix

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


def _installed() -> None:
    try:
        from dragoman.conformance import clients
    except ModuleNotFoundError as error:
        raise Failure(
            f"the battery needs the official SDKs ({error.name} is missing): pip install 'dragoman[conformance]'", 2
        ) from None
    assert clients


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
    from dragoman.conformance import battery, own, peers, script

    models = {name: peers.model_of(name) for name in upstreams} | _pairs(options.model, "--model", upstreams)
    chains = {name: peers.chain_of(name) for name in upstreams} | _pairs(options.chain, "--chain", upstreams)
    port = options.upstream_port if options.upstream_port is not None else (peers.PORT if options.base_url else 0)
    upstream = script.TicketedUpstream(host=options.upstream_host, port=port)

    def plan(base_url: str, gateway: str) -> Plan:
        return battery.Plan(
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
    from dragoman.conformance import report as reports
    from dragoman.conformance import scoreboard

    for file, text in ((options.json, reports.to_json), (options.html, scoreboard.page)):
        if not file:
            continue
        try:
            Path(file).write_text(text(report), encoding="utf-8")
        except OSError as error:
            raise Failure(f"{file} cannot be written: {error.strerror}", 2) from None


def _setup(options: argparse.Namespace) -> int:
    from dragoman.conformance import peers

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
