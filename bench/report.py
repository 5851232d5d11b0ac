"""What was measured, as tables. Pure: turns in, text out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Literal

import msgspec

from bench.contestant import DIALECTS
from bench.exchanges import UPSTREAMS
from bench.stats import Histogram, median, merged, spread
from bench.suites import ALL, DIRECTIONS, FURTHER, LATENCIES, MANY, NAMES, Measured

BEGIN = "<!-- measured: begin (written by `make bench ARGS=--write`) -->"
END = "<!-- measured: end -->"
BASE = "direct"
OURS = "dragoman"
"""What the rows of features are compared with."""


class Turn(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One contestant in one round. `errors` say why there is nothing, or not everything."""

    contestant: str
    round: int
    started: float | None = None
    memory_idle: float | None = None
    memory_after: float | None = None
    measured: dict[str, Measured] = {}
    errors: list[str] = []


class Entry(msgspec.Struct, kw_only=True):
    """A contestant, for the tables."""

    name: str
    about: str
    version: str = ""
    missing: str = ""
    group: Literal["gateway", "feature", "workers"] = "gateway"


class Setting(msgspec.Struct, kw_only=True):
    """Where and how it was measured."""

    when: str
    machine: str
    python: str
    tools: str
    seconds: float
    rounds: int
    others: float | None = None
    """Cores that were busy with something else."""
    team: str = ""
    """Where several workers run: `on 3 cores of their own`."""
    caveats: list[str] = []


class Results(msgspec.Struct, kw_only=True):
    """What is kept in `bench/results`."""

    setting: Setting
    entries: list[Entry]
    turns: list[Turn]


# ---------------------------------------------------------------- numbers


class Numbers:
    """What the rounds of one contestant come to."""

    def __init__(self, turns: Iterable[Turn], name: str) -> None:
        self.name = name
        self._all = list(turns)
        self._turns = [turn for turn in self._all if turn.contestant == name]

    def beside(self, name: str) -> Numbers:
        """Another's, of the same run."""
        return Numbers(self._all, name)

    @property
    def rounds(self) -> int:
        return sum(1 for turn in self._turns if turn.measured)

    @property
    def errors(self) -> list[str]:
        return list(dict.fromkeys(error for turn in self._turns for error in turn.errors))

    def of(self, suite: str) -> list[Measured]:
        return [turn.measured[suite] for turn in self._turns if suite in turn.measured]

    def middle(self, suite: str, field: str) -> float | None:
        return median(getattr(measured, field) for measured in self.of(suite))

    def differ(self, suite: str, field: str) -> float | None:
        return spread(getattr(measured, field) for measured in self.of(suite))

    def failed(self, suite: str) -> int:
        return sum(measured.failed for measured in self.of(suite))

    def histogram(self, suite: str, name: str) -> Histogram:
        """Of all rounds together."""
        return merged(Histogram(measured.histograms.get(name, ())) for measured in self.of(suite))

    def about(self, field: str) -> float | None:
        return median(getattr(turn, field) for turn in self._turns)


# ---------------------------------------------------------------- text


def report(results: Results) -> str:
    """The tables in Markdown, with what must be known to read them."""
    asked = {suite for turn in results.turns for suite in turn.measured}
    names = [name for name in ALL if name in asked]
    parts = [_heading(results.setting)]
    loads = [name for name in names if ALL[name].kind == "load"]
    main = [(ALL[name].title, _per_request(name)) for name in loads if name not in DIRECTIONS and name not in FURTHER]
    if main:
        parts.append("CPU time per request, in microseconds, and requests per second that one core is good for:")
        parts.append(_table(results, main, skip={BASE}))
    directions = [(ALL[name].title, _per_request(name)) for name in loads if name in DIRECTIONS]
    if directions:
        parts.append("The same, of other translations:")
        parts.append(_table(results, directions, skip={BASE}, filled=True))
    if any(name in FURTHER for name in names):
        parts += _every_direction(results, loads)
    paced = [name for name in names if ALL[name].kind == "paced"]
    if paced:
        parts.append("50 streams at once, an event each 10 ms:")
        columns: list[tuple[str, Cell]] = []
        for name in paced:
            columns += [(f"{ALL[name].title}: CPU us per event", _per_event(name)), ("delay p50 / p99, ms", _delay(name))]
        parts.append(_table(results, columns, skip={BASE}))
    parts += [part for name in names if ALL[name].kind == "held" for part in _held(results, name)]
    if "latency" in asked:
        parts += _latency(results)
    had = {turn.contestant for turn in results.turns}
    if any(entry.group == "gateway" and entry.name in had for entry in results.entries):
        parts.append(_processes(results))
    parts += _workers(results)
    parts += _features(results, names)
    parts.append(_remarks(results))
    return "\n\n".join(part for part in parts if part) + "\n"


def _every_direction(results: Results, loads: Iterable[str]) -> list[str]:
    """Clients downwards, providers to the right."""
    numbers = Numbers(results.turns, OURS)
    found: dict[tuple[str, str], list[str]] = {}
    for suite in (ALL[name] for name in loads if ALL[name].size == "small"):
        used = numbers.middle(suite.name, "cpu_us")
        ways = suite.way.partition(">")[0], suite.way.rpartition(">")[2]
        found.setdefault(ways, ["", ""])[suite.events > 0] = (
            "" if used is None else _microseconds(used) + _marked(numbers, suite.name)
        )
    rows = [["", *(f"to {NAMES[upstream]}" for upstream in UPSTREAMS)], ["---"] * (len(UPSTREAMS) + 1)]
    for client in DIALECTS:
        cells = (" / ".join(filter(None, found.get((client, upstream), ()))) for upstream in UPSTREAMS)
        rows.append([NAMES[client], *cells])
    said = (
        f"Every direction that there is, of `{OURS}`: CPU microseconds per request, in one piece / as a stream of 100 events at"
        " once. What speaks the same on both sides goes verbatim:"
    )
    return [said, _rows(rows)]


def _processes(results: Results) -> str:
    columns: list[tuple[str, Cell]] = [
        ("memory idle, MB", lambda numbers, _: _plain(numbers.about("memory_idle"), 0)),
        ("after load, MB", lambda numbers, _: _plain(numbers.about("memory_after"), 0)),
        ("start to first answer, s", lambda numbers, _: _plain(numbers.about("started"), 2)),
        ("rounds", lambda numbers, _: str(numbers.rounds)),
    ]
    return _table(results, columns, skip={BASE})


def _held(results: Results, name: str) -> list[str]:
    suite = ALL[name]
    columns: list[tuple[str, Cell]] = [
        ("events delivered", lambda numbers, _: _percent(numbers.middle(name, "delivered")) + _marked(numbers, name)),
        ("delay p50 / p99, ms", _delay(name)),
        ("memory per open stream, kB", _per_stream(name)),
        ("of its core", lambda numbers, _: _percent(numbers.middle(name, "busy"), 0)),
    ]
    rate = suite.streams * 1000 // suite.pace
    said = f"{suite.title} at once, an event of each every {suite.pace} ms ({rate:,} a second in all):"
    return [said, _table(results, columns, skip={BASE}, filled=True)]


def _per_stream(name: str) -> Cell:
    """Nothing where many were refused or came too late: then fewer were open than it is divided by."""

    def cell(numbers: Numbers, _: Numbers) -> str:
        delivered = numbers.middle(name, "delivered")
        return _plain(numbers.middle(name, "stream_kb")) if delivered is None or delivered > 0.99 else ""

    return cell


def _latency(results: Results) -> list[str]:
    titles = {"answer": "Chat JSON", "first-byte": "first byte of a Chat stream"}
    columns = [
        (f"{title}, {connections} connection{'s' if connections > 1 else ''}", _added(f"{what}-{connections}"))
        for what, title in titles.items()
        for connections in LATENCIES
    ]
    said = (
        "Milliseconds added to what the same request takes without a gateway (its own row), p50 / p99. Ten connections have 40 "
        "requests a second between them. One, and 32, send the next as soon as they have an answer, so that with 32 most of it "
        "is waiting for the core:"
    )
    return [said, _table(results, columns)]


def _workers(results: Results) -> list[str]:
    teams = [(entry, Numbers(results.turns, entry.name)) for entry in results.entries if entry.group == "workers"]
    lines = [["", "requests a second", "CPU us per request", "CPU time of each process", "memory idle, MB"], ["---"] * 5]
    for entry, numbers in teams:
        used = numbers.middle("workers", "cpu_us")
        if used is None:
            continue
        shares = " + ".join(_percent(share, 0) for share in numbers.of("workers")[0].shares if share >= _WORTH)
        each = [_plain(numbers.middle("workers", "per_second"), 0), _microseconds(used) + _marked(numbers, "workers")]
        lines.append([entry.about, *each, shares or "100%", _plain(numbers.about("memory_idle"), 0)])
    if len(lines) == _HEADINGS:
        return []
    return [f"Several workers, Chat JSON over {MANY} connections, {results.setting.team}:", _rows(lines)]


def _features(results: Results, names: Iterable[str]) -> list[str]:
    rows = [entry for entry in results.entries if entry.group == "feature"]
    measured = [name for name in names if any(Numbers(results.turns, entry.name).of(name) for entry in rows)]
    if not measured or not any(turn.contestant == OURS for turn in results.turns):
        return []
    lines = [["", *(ALL[name].title for name in measured)], ["---"] * (len(measured) + 1)]
    lines += [
        [entry.about, *(_percent(ratio(results, entry.name, name), 0) for name in measured)]
        for entry in rows
        if any(turn.contestant == entry.name for turn in results.turns)
    ]
    said = f"What a feature costs: CPU time of Dragoman with one thing changed, as a share of `{OURS}`, measured just before:"
    return [said, _rows(lines)]


def ratio(results: Results, feature: str, suite: str) -> float | None:
    """CPU time with the feature changed, as a share of that with everything as it is; the median of the rounds."""
    return median(
        changed / whole
        for changed, whole in zip(_by_round(results, feature, suite), _by_round(results, OURS, suite), strict=True)
        if changed and whole
    )


def _by_round(results: Results, name: str, suite: str) -> list[float | None]:
    found = {
        turn.round: turn.measured[suite].cpu_us for turn in results.turns if turn.contestant == name and suite in turn.measured
    }
    return [found.get(number) for number in range(1, results.setting.rounds + 1)]


_WORTH = 0.005
"""A process that has used less has done nothing: the supervisor."""
_HEADINGS = 2

Cell = Callable[[Numbers, Numbers], str]
"""Makes a cell of a contestant's numbers and of those without a gateway."""


def _table(results: Results, columns: Sequence[tuple[str, Cell]], *, skip: Iterable[str] = (), filled: bool = False) -> str:
    """`filled`: without the rows that would be empty."""
    rows = [["", *(title for title, _ in columns)], ["---"] * (len(columns) + 1)]
    base = Numbers(results.turns, BASE)
    for entry in results.entries:
        if entry.name in skip or entry.group != "gateway":
            continue
        if entry.missing:
            if not filled:
                rows.append([entry.name, entry.missing, *[""] * (len(columns) - 1)])
            continue
        numbers = Numbers(results.turns, entry.name)
        cells = [cell(numbers, base) for _, cell in columns]
        if any(cells) or not filled:
            rows.append([entry.name, *cells])
    return _rows(rows)


def _rows(rows: Iterable[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _percent(value: float | None, digits: int = 2) -> str:
    return "" if value is None else f"{value:.{digits}%}"


def _plain(value: float | None, digits: int = 1) -> str:
    return "" if value is None else f"{value:,.{digits}f}"


def _microseconds(value: float) -> str:
    return _plain(value, 1 if value < 100 else 0)


def _per_request(suite: str) -> Cell:
    def cell(numbers: Numbers, _: Numbers) -> str:
        used = numbers.middle(suite, "cpu_us")
        if used is None:
            return ""
        return f"{_microseconds(used)} ({1e6 / used:,.0f}/s){_marked(numbers, suite)}"

    return cell


def _per_event(suite: str) -> Cell:
    def cell(numbers: Numbers, _: Numbers) -> str:
        used = numbers.middle(suite, "event_us")
        return "" if used is None else _microseconds(used) + _marked(numbers, suite)

    return cell


def _delay(suite: str) -> Cell:
    def cell(numbers: Numbers, _: Numbers) -> str:
        delays = numbers.histogram(suite, "delay")
        return _pair(delays.quantile(0.5), delays.quantile(0.99))

    return cell


def _added(name: str) -> Cell:
    def cell(numbers: Numbers, base: Numbers) -> str:
        mine, without = numbers.histogram("latency", name), base.histogram("latency", name)
        if numbers.name == BASE:
            return _pair(mine.quantile(0.5), mine.quantile(0.99))
        more = [_minus(mine.quantile(share), without.quantile(share)) for share in (0.5, 0.99)]
        return _pair(*more, sign="+") + _marked(numbers, "latency")

    return cell


def _minus(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one - other


def _pair(one: float | None, other: float | None, *, sign: str = "") -> str:
    if one is None or other is None:
        return ""
    return f"{one / 1e6:{sign}.2f} / {other / 1e6:{sign}.2f}"


def _marked(numbers: Numbers, suite: str) -> str:
    return " \\*" if numbers.failed(suite) else ""


_QUIET = 0.25
"""Cores that others may keep busy before the reader is told first of all."""


def _heading(setting: Setting) -> str:
    busy = setting.others or 0.0
    noisy = (
        f"\n\n**The machine was not quiet: other programs kept {busy:.1f} cores busy. Differences of less than a "
        "factor of two between rows, and delays above all, may be theirs.**"
    )
    return _where(setting) + (noisy if busy > _QUIET else "")


def _where(setting: Setting) -> str:
    return f"{setting.when}. {setting.machine}. {setting.python}; {setting.tools}; {setting.seconds:g} s for each measurement."


def _remarks(results: Results) -> str:
    """Versions, and everything that a reader should doubt."""
    lines = [
        f"- {entry.name}{' ' + entry.version if entry.version else ''}: {entry.about}."
        for entry in results.entries
        if entry.group == "gateway" and any(turn.contestant == entry.name for turn in results.turns)
    ]
    for entry in results.entries:
        numbers = Numbers(results.turns, entry.name)
        lines += [f"- {entry.name} failed: {error}" for error in numbers.errors]
        for suite in ALL:
            if numbers.failed(suite):
                complaint = next((measured.complaint for measured in numbers.of(suite) if measured.complaint), "")
                why = f" ({complaint})" if complaint else ""
                lines.append(f"- \\* {entry.name}, {suite}: {numbers.failed(suite)} requests failed{why}.")
    widest = _widest(results)
    if widest:
        lines.append(f"- {widest}")
    if results.setting.others is not None:
        lines.append(f"- Other programs kept {results.setting.others:.2f} cores busy meanwhile.")
    lines += [f"- {caveat}" for caveat in results.setting.caveats]
    return "\n".join(lines)


def _widest(results: Results) -> str:
    """Where the rounds differed most: no difference between two rows that is smaller means anything."""
    found = [
        (differ, entry.name, suite)
        for entry in results.entries
        for suite in ALL
        if (differ := Numbers(results.turns, entry.name).differ(suite, "cpu_us")) is not None
    ]
    if not found:
        return "One round only: how much the figures vary is not known."
    differ, name, suite = max(found)
    return f"The CPU times of a row's rounds differed by {differ:.0%} at most ({name}, {suite})."


def put_between_marks(page: str, generated: str) -> str:
    """The page with its generated section replaced. Raises `ValueError` when the page has no such section."""
    if BEGIN not in page or END not in page:
        raise ValueError(f"the page lacks its marks {BEGIN} and {END}")
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{generated.strip()}\n\n{END}{after}"
