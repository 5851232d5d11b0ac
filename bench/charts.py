"""Charts of what was measured, as SVG: bars on a logarithmic scale. Pure: results in, text out.

Drawn by hand, so that they read well on light and on dark pages (`prefers-color-scheme`) and need no library.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape

import msgspec

from bench.report import BASE, OURS, Entry, Numbers, Results, ratio

_WIDTH, _LEFT, _RIGHT = 760, 132, 96
_BAR, _GAP, _PANEL, _TOP = 18, 6, 30, 44
_STYLE = """
text { font: 13px system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif; fill: #1f2328; }
.title { font-size: 16px; font-weight: 600; } .panel { font-weight: 600; } .note, .tick { font-size: 11px; fill: #59636e; }
.bar { fill: #afb8c1; } .ours { fill: #0969da; } .rule { stroke: #d1d9e0; stroke-width: 1; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; } .note, .tick { fill: #9198a1; }
  .bar { fill: #656c76; } .ours { fill: #4493f8; } .rule { stroke: #3d444d; }
}
"""


class Bar(msgspec.Struct, frozen=True):
    label: str
    value: float
    text: str
    ours: bool = False


class Panel(msgspec.Struct, frozen=True):
    title: str
    bars: Sequence[Bar]


def draw(results: Results) -> dict[str, str]:
    """SVG by the name of its file; a chart without anything to show is left out."""
    unit = "Microseconds of CPU time, logarithmic: less is better. One core, everything on."
    charts = {
        "overhead.svg": (
            "What a request costs in the gateway",
            unit,
            [
                Panel("Chat Completions, passed through", _cpu(results, "chat")),
                Panel("Messages translated to Chat Completions", _cpu(results, "messages")),
                Panel("the same, a coding agent's 66 kB with 20 tools", _cpu(results, "large")),
            ],
        ),
        "streams.svg": (
            "What a stream of 100 events costs in the gateway",
            unit,
            [
                Panel("Chat, all events at once", _cpu(results, "chat-burst")),
                Panel("Messages to Chat, all events at once", _cpu(results, "messages-burst")),
                Panel("each event of 50 Chat streams, one each 10 ms", _bars(results, _event("chat-paced"), _us)),
            ],
        ),
        "latency.svg": (
            "What a request waits longer",
            "Milliseconds added to the same request without a gateway, logarithmic: less is better. One connection.",
            [
                Panel("Chat JSON, median", _bars(results, _added("answer-1", 0.5), _ms)),
                Panel("Chat JSON, 99th percentile", _bars(results, _added("answer-1", 0.99), _ms)),
                Panel("first byte of a stream, median", _bars(results, _added("first-byte-1", 0.5), _ms)),
            ],
        ),
        "features.svg": (
            "What a feature costs",
            "CPU time with one thing changed, in percent of what it is with everything as usual.",
            [Panel("Chat Completions, passed through", _shares(results, "chat")),
             Panel("Messages translated to Chat Completions", _shares(results, "messages"))],
        ),
    }  # fmt: skip
    drawn: dict[str, str] = {}
    for name, (title, note, panels) in charts.items():
        filled = [panel for panel in panels if panel.bars]
        if filled:
            drawn[name] = svg(title, note, filled, logarithmic=name != "features.svg")
    return drawn


def shown(drawn: Mapping[str, str]) -> str:
    """Where the charts stand on the page."""
    titles = {name: text.partition("<title>")[2].partition("</title>")[0] for name, text in drawn.items()}
    return "\n\n".join(f"![{title}](charts/{name})" for name, title in titles.items()) + "\n"


# ---------------------------------------------------------------- numbers


def _bars(results: Results, value: Callable[[Numbers], float | None], text: Callable[[float], str]) -> list[Bar]:
    found: list[Bar] = []
    for entry in results.entries:
        if entry.group != "gateway" or entry.name == BASE:
            continue
        number = value(Numbers(results.turns, entry.name))
        if number is not None and number > 0:
            found.append(Bar(entry.name, number, text(number), ours=_ours(entry)))
    return sorted(found, key=lambda bar: bar.value)


def _ours(entry: Entry) -> bool:
    return entry.name.startswith(OURS)


def _cpu(results: Results, suite: str) -> list[Bar]:
    return _bars(results, lambda numbers: numbers.middle(suite, "cpu_us"), _us)


def _event(suite: str) -> Callable[[Numbers], float | None]:
    return lambda numbers: numbers.middle(suite, "event_us")


def _added(name: str, share: float) -> Callable[[Numbers], float | None]:
    def value(numbers: Numbers) -> float | None:
        mine = numbers.histogram("latency", name).quantile(share)
        without = numbers.beside(BASE).histogram("latency", name).quantile(share)
        return None if mine is None or without is None else (mine - without) / 1e6

    return value


def _shares(results: Results, suite: str) -> list[Bar]:
    return [
        Bar(entry.name, share * 100, f"{share:.0%}", ours=True)
        for entry in results.entries
        if entry.group == "feature" and (share := ratio(results, entry.name, suite)) is not None
    ]


def _us(value: float) -> str:
    return f"{value:,.1f}" if value < 100 else f"{value:,.0f}"


def _ms(value: float) -> str:
    return f"{value:.2f}"


# ---------------------------------------------------------------- drawing


def svg(title: str, note: str, panels: Sequence[Panel], *, logarithmic: bool = True) -> str:
    values = [bar.value for panel in panels for bar in panel.bars]
    scale = _logarithmic(values) if logarithmic else _linear(values)
    lines: list[str] = []
    y = _TOP + 10
    for panel in panels:
        lines.append(f'<text class="panel" x="{_LEFT}" y="{y + 15}">{escape(panel.title)}</text>')
        y += _PANEL - 8
        height = len(panel.bars) * (_BAR + _GAP)
        for at, _ in scale.ticks:
            lines.append(f'<line class="rule" x1="{at:.1f}" x2="{at:.1f}" y1="{y}" y2="{y + height}"/>')
        for bar in panel.bars:
            lines += _bar(bar, y, scale.at(bar.value))
            y += _BAR + _GAP
        y += 8
    lines += [f'<text class="tick" x="{at:.1f}" y="{y + 8}" text-anchor="middle">{label}</text>' for at, label in scale.ticks]
    return _page(title, note, y + 18, lines)


def _bar(bar: Bar, y: float, right: float) -> Iterable[str]:
    kind = "bar ours" if bar.ours else "bar"
    middle = y + _BAR / 2 + 5
    yield f'<text x="{_LEFT - 8}" y="{middle:.1f}" text-anchor="end">{escape(bar.label)}</text>'
    yield f'<rect class="{kind}" x="{_LEFT}" y="{y}" width="{max(2.0, right - _LEFT):.1f}" height="{_BAR}" rx="2"/>'
    yield f'<text x="{max(right, _LEFT + 2) + 6:.1f}" y="{middle:.1f}">{escape(bar.text)}</text>'


class _Scale(msgspec.Struct, frozen=True):
    """From a value to a place on the page, and the places that are marked."""

    at: Callable[[float], float]
    ticks: Sequence[tuple[float, str]]


def _logarithmic(values: Sequence[float]) -> _Scale:
    low = math.floor(math.log10(min(values)))
    high = max(low + 1.0, math.log10(max(values)))

    def at(value: float) -> float:
        return _LEFT + (math.log10(value) - low) / (high - low) * (_WIDTH - _LEFT - _RIGHT)

    marked = [10.0**power for power in range(low, math.floor(high) + 1)]
    return _Scale(at, [(at(value), f"{value:,g}") for value in marked])


def _linear(values: Sequence[float]) -> _Scale:
    high = max(*values, 100.0)

    def at(value: float) -> float:
        return _LEFT + value / high * (_WIDTH - _LEFT - _RIGHT)

    return _Scale(at, [(at(value), f"{value:g}") for value in (0.0, 50.0, 100.0)])


def _page(title: str, note: str, height: float, lines: Iterable[str]) -> str:
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height:g}" width="{_WIDTH}" height="{height:g}" '
            'role="img">',
            f"<title>{escape(title)}</title>",
            f"<style>{_STYLE}</style>",
            f'<text class="title" x="8" y="22">{escape(title)}</text>',
            f'<text class="note" x="8" y="40">{escape(note)}</text>',
            *lines,
            "</svg>",
            "",
        ]
    )
