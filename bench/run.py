"""`python -m bench`: rounds in which each has its turn, A B C A B C, so that a slow minute of the machine is everybody's.

make bench                                          everything, once: about eight minutes with all the other gateways
make bench ARGS='--quick'                           Dragoman and nginx, the suites that matter most: less than two minutes
make bench ARGS='--only dragoman --suites chat'     one figure
make bench ARGS='--rounds 5 --seconds 3 --write'    figures for docs/performance.md
"""

from __future__ import annotations

import argparse
import contextlib
import math
import platform
import signal
import sys
import tempfile
import time
from collections.abc import Iterable, Set
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

import msgspec

from bench import contestants, cores, generator, suites
from bench.charts import draw, shown
from bench.contestant import Contestant, Failed, Upstreams
from bench.exchanges import UPSTREAMS
from bench.ports import free_port, raise_file_limit
from bench.processes import Others
from bench.report import Entry, Results, Setting, Turn, put_between_marks, report
from bench.suites import Bench, Suite

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "performance.md"
ROUNDS = 1
SECONDS = 1.0
LIMIT = 900.0
QUICK = ("direct", "nginx", "dragoman")
_STARTING = 1.5
"""Seconds that a turn takes besides its measurements, as long as nothing better is known."""


def main(said: list[str] | None = None) -> int:
    options = arguments(said)
    signal.signal(signal.SIGTERM, _end)
    try:
        results = _kept(options.kept) if options.kept else run(options)
    except (generator.Broken, ValueError, OSError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    text = report(results)
    kept = Path(options.kept) if options.kept else _keep(results)
    print(f"\n{text}\nAll of it: {kept}")
    if options.write:
        drawn = draw(results)
        for name, svg in drawn.items():
            (PAGE.parent / "charts" / name).write_text(svg)
        PAGE.write_text(put_between_marks(PAGE.read_text(), f"{text}\n{shown(drawn)}"))
    return 1 if any(turn.errors for turn in results.turns) else 0


def _keep(results: Results) -> Path:
    kept = HERE / "results" / f"{datetime.now(UTC):%Y%m%dT%H%M%S}.json"
    kept.parent.mkdir(exist_ok=True)
    kept.write_bytes(msgspec.json.format(msgspec.json.encode(results)))
    return kept.relative_to(HERE.parent)


def _kept(file: str) -> Results:
    """What an earlier run has kept. Raises `OSError`, and `ValueError` for what is no such file."""
    return msgspec.json.decode(Path(file).read_bytes(), type=Results)


def _end(number: int, _: object) -> NoReturn:
    """A signal must end the gateways too: as an exception it passes everybody who has something to tidy up."""
    raise SystemExit(128 + number)


def arguments(said: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="What the gateway costs, beside others.")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"how often each has its turn ({ROUNDS})")
    parser.add_argument("--seconds", type=float, default=SECONDS, help=f"length of one measurement ({SECONDS:g})")
    parser.add_argument("--only", metavar="NAMES", help=f"of {', '.join(contestants.ALL)}, with commas; `direct` always runs")
    parser.add_argument("--suites", metavar="NAMES", help=f"of {', '.join(suites.ALL)}")
    parser.add_argument("--quick", action="store_true", help="Dragoman and nginx alone, in the suites that matter most")
    parser.add_argument(
        "--limit", type=float, help=f"seconds after which no turn begins ({LIMIT:g}, or more if rounds and seconds ask for it)"
    )
    parser.add_argument("--python", action="store_true", help="the load generator in Python, even if there is a C compiler")
    parser.add_argument("--kept", metavar="FILE", help="measure nothing: tell again what an earlier run kept in bench/results")
    parser.add_argument("--write", action="store_true", help=f"put the tables into docs/{PAGE.name}, and draw its charts")
    return parser.parse_args(said)


def run(options: argparse.Namespace) -> Results:
    """Raises `ValueError` for names that nobody knows, `generator.Broken` when the tools fail."""
    known = [name for name, suite in suites.ALL.items() if suite.core or not options.quick]
    chosen = {name: suites.ALL[name] for name in _names(options.suites, known, "suite")}
    wanted = _names(options.only, list(QUICK if options.quick else contestants.ALL), "contestant")
    raise_file_limit()
    everybody = [make() for name, make in contestants.ALL.items() if name in wanted or name == "direct"]
    tools = generator.find(python_only=options.python)
    place = cores.choose()
    limit = options.limit or max(LIMIT, 2 * _expected(everybody, list(chosen.values()), options))
    began, others = time.monotonic(), Others()
    turns: list[Turn] = []
    took: dict[str, float] = {}
    asked = {contestants.upstream_of(suite.way) for suite in chosen.values()} | {"chat"}
    upstreams = Upstreams(**{name: free_port() for name in UPSTREAMS if name in asked | {"messages"}})
    with contextlib.ExitStack() as opened:
        folder = opened.enter_context(tempfile.TemporaryDirectory(prefix="bench-"))
        for name in UPSTREAMS:
            if name in asked:
                opened.enter_context(generator.upstream(tools, place.load, upstreams.port(name), limit + 300, name))
        bench = Bench(tools, place.load, Path(folder), options.seconds)
        skipped: set[str] = set()
        for number in range(1, options.rounds + 1):
            for contestant in everybody:
                mine = _suites_of(contestant, chosen.values(), number)
                if contestant.missing or not mine:
                    continue
                need = min(took.get(contestant.name, math.inf), _turn_seconds(mine, options.seconds))
                if time.monotonic() - began + need > limit:
                    skipped.add(contestant.name)
                    continue
                start = time.monotonic()
                core = place.many if contestant.group == "workers" else place.gateway
                turns.append(_turn(bench, contestant, mine, number, core, upstreams))
                took[contestant.name] = time.monotonic() - start
    caveats = [f"{place.caveat[:1].upper()}{place.caveat[1:]}."] if place.caveat else []
    if skipped:
        caveats.append(f"Fewer rounds for {', '.join(sorted(skipped))}: the time was up ({limit:g} s).")
    setting = Setting(
        when=f"{datetime.now(UTC):%Y-%m-%d}",
        machine=machine(),
        python=f"Python {platform.python_version()}",
        tools=tools.about,
        seconds=options.seconds,
        rounds=options.rounds,
        others=others.share(),
        team=_team(place),
        caveats=caveats,
    )
    return Results(setting=setting, entries=[_entry(contestant) for contestant in everybody], turns=turns)


def _team(place: cores.Cores) -> str:
    """Where several workers run."""
    if place.many is None:
        return "on all cores, where the load generator and the upstream are too"
    on = f"on {len(place.many)} core{'s' if len(place.many) > 1 else ''}"
    return (
        f"{on}, one of which the load generator and the upstream use too" if place.load in place.many else f"{on} of their own"
    )


def _names(said: str | None, known: list[str], kind: str) -> list[str]:
    names = known if said is None else [name.strip() for name in said.split(",") if name.strip()]
    for name in names:
        if name not in known:
            raise ValueError(f"there is no {kind} {name!r}; known are {', '.join(known)}")
    return names


def _suites_of(contestant: Contestant, chosen: Iterable[Suite], number: int) -> list[Suite]:
    """What it is measured in, in the round of this number."""
    return [suite for suite in chosen if suites.measures(suite, contestant) and (number == 1 or not suite.once)]


def _expected(everybody: list[Contestant], chosen: list[Suite], options: argparse.Namespace) -> float:
    """Seconds that the whole run takes where all keep up."""
    return sum(
        _turn_seconds(_suites_of(contestant, chosen, number), options.seconds)
        for number in range(1, options.rounds + 1)
        for contestant in everybody
        if not contestant.missing
    )


def _turn_seconds(mine: list[Suite], seconds: float) -> float:
    return _STARTING + sum(suites.expected_seconds(suite, seconds) for suite in mine)


def _turn(
    bench: Bench, contestant: Contestant, mine: list[Suite], number: int, core: int | Set[int] | None, upstreams: Upstreams
) -> Turn:
    turn = Turn(contestant=contestant.name, round=number)
    held = [suite for suite in mine if suite.kind == "held"]
    together = [suite for suite in mine if suite.kind != "held"]
    # Streams held open are measured in a process that has seen nothing else: memory that others freed would hide theirs.
    for lot in [together, *([suite] for suite in held)]:
        if lot:
            _lot(bench, contestant, lot, turn, core, upstreams)
    return turn


def _lot(
    bench: Bench, contestant: Contestant, lot: list[Suite], turn: Turn, core: int | Set[int] | None, upstreams: Upstreams
) -> None:
    """Some suites over one process."""
    try:
        with contestants.running(contestant, core, upstreams) as running:
            if running.pid and turn.started is None:
                turn.started = running.started
                turn.memory_idle = suites.settled(running)
            for suite in lot:
                try:
                    turn.measured[suite.name] = measured = suites.measure(bench, suite, running)
                except Failed as error:
                    _wrong(turn, f"{suite.name}: {error}")
                else:
                    _say(turn.round, contestant, suite, measured)
            if running.pid and turn.memory_after is None:
                turn.memory_after = suites.settled(running)
    except (Failed, generator.Broken, OSError) as error:
        _wrong(turn, str(error))


def _wrong(turn: Turn, sentence: str) -> None:
    turn.errors.append(sentence)
    print(f"round {turn.round}  {turn.contestant}: {sentence}", file=sys.stderr, flush=True)


def _say(number: int, contestant: Contestant, suite: Suite, measured: suites.Measured) -> None:
    figures = {
        "us": measured.cpu_us if suite.kind in {"load", "workers"} else measured.event_us,
        "kB": measured.stream_kb,
        "/s": measured.per_second if suite.kind in {"load", "workers"} else None,
        "busy": measured.busy,
        "failed": measured.failed or None,
    }
    told = "  ".join(f"{value:.4g} {name}" for name, value in figures.items() if value is not None)
    print(f"round {number}  {contestant.name:13} {suite.name:19} {told} {measured.complaint}", file=sys.stderr, flush=True)


def _entry(contestant: Contestant) -> Entry:
    return Entry(
        name=contestant.name, about=contestant.about, version=contestant.version, missing=contestant.missing,
        group=contestant.group,
    )  # fmt: skip


def machine() -> str:
    """What it was measured on."""
    model = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), model)
    count = len(cores.allowed())
    return f"{model}, {count} core{'s' if count != 1 else ''}, {platform.system()} {platform.release().split('-')[0]}"
