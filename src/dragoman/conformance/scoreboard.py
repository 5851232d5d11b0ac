"""The result as a page: one file, no network, readable without scripts, by a screen reader, in the dark."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from itertools import groupby
from pathlib import Path

from dragoman.conformance.matrix import cell_text, grouped
from dragoman.conformance.report import CaseResult, Cell, Failure, Report
from dragoman.conformance.sources import link_of
from dragoman.conformance.titles import GROUPS

_TEMPLATE = Path(__file__).with_name("scoreboard.html")
DIALECTS = {
    "messages": "Messages",
    "chat": "Chat Completions",
    "responses": "Responses",
    "gemini": "Gemini",
    "converse": "Converse",
}
"""How people call the dialects."""


def page(report: Report) -> str:
    """The whole page."""
    parts = {
        "title": f"{report.gateway}: conformance",
        "gateway": report.gateway,
        "score": _score(report),
        "facts": f"Judged by {', '.join(report.sdks)} on {report.date}, in {report.seconds:.0f} seconds.",
        "matrix": "\n".join(_matrix(report)),
        "cases": "\n".join(_cases(report)),
    }
    text = _TEMPLATE.read_text(encoding="utf-8")
    for name, value in parts.items():
        text = text.replace(f"<!--{name}-->", value if name in ("matrix", "cases", "score") else escape(value))
    return text


def _score(report: Report) -> str:
    share = report.passed / report.total if report.total else 0.0
    # 99.97 % is not all of it.
    percent = f"{int(share * 1000) / 10:g}"
    return (
        f'<p class="score {_level(report.passed, report.total)}"><strong>{percent}&thinsp;%</strong> '
        f"<span>{report.passed:,} of {report.total:,} checks passed; "
        f"{len(report.cases) - len(report.failed)} of {len(report.cases)} cases everywhere</span></p>"
    )


def _level(passed: int, total: int) -> str:
    if passed == total:
        return "all"
    return "most" if passed >= total * 0.9 else "some"


def _matrix(report: Report) -> Iterator[str]:
    yield "<thead><tr><th scope=col>Client speaks</th>"
    for upstream in report.upstreams:
        yield f"<th scope=col>{_named(upstream)}</th>"
    yield "</tr></thead><tbody>"
    for client in report.clients:
        yield f"<tr><th scope=row>{_named(client)}</th>"
        for upstream in report.upstreams:
            yield f"<td>{_cell(report.cell(client, upstream))}</td>"
        yield "</tr>"
    yield "</tbody>"


def _named(dialect: str) -> str:
    return escape(DIALECTS.get(dialect, dialect))


def _cell(cell: Cell) -> str:
    if not cell.offered:
        return '<span class="cell none">not offered</span>'
    label = f"{_named(cell.client)} client, {_named(cell.upstream)} provider: {cell.passed} of {cell.total} passed"
    level = _level(cell.passed, cell.total)
    mark = "✓ " if level == "all" else ""
    return (
        f'<button type=button class="cell {level}" aria-pressed=false aria-label="{label}" '
        f'data-place="{cell.client}-{cell.upstream}">{mark}{cell_text(cell)}</button>'
    )


def _cases(report: Report) -> Iterator[str]:
    ordered = sorted(report.cases, key=lambda case: (list(GROUPS).index(case.group), not case.failures))
    for group, cases in groupby(ordered, key=lambda case: case.group):
        held = list(cases)
        passed, total = sum(case.passed for case in held), sum(case.total for case in held)
        yield f"<section class=group><h2>{escape(GROUPS[group])} <small>{passed:,}/{total:,}</small></h2>"
        for case in held:
            yield from _case(case)
        yield "</section>"


def _case(case: CaseResult) -> Iterator[str]:
    places = " ".join(sorted({f"{one.client}-{one.upstream}" for one in case.failures}))
    level = _level(case.passed, case.total)
    words = escape(f"{case.id} {case.title} {case.why} {' '.join(case.sources)}".lower(), quote=True)
    yield f'<details class="case {level}" id="{case.id}" data-words="{words}" data-places="{places}">'
    mark, said = ("✓", "passed") if level == "all" else ("✗", "failed somewhere")
    yield (
        f'<summary><span class=mark role=img aria-label="{said}">{mark}</span> <span class=title>{_ticked(case.title)}</span> '
        f"<code>{case.id}</code> <span class=count>{case.passed}/{case.total}</span></summary>"
    )
    if case.why or case.sources:
        sources = ", ".join(_source(source) for source in case.sources)
        yield f"<p class=why>{_ticked(case.why)}{' Seen in ' + sources + '.' if sources else ''}</p>"
    for differences, where in grouped(case.failures):
        yield "<div class=failure>"
        yield f"<h3>{_where(where)}</h3><dl>"
        for one in differences:
            yield f"<dt>{escape(one.what)}</dt>"
            yield f"<dd><span class=label>expected</span> <samp>{escape(one.expected)}</samp></dd>"
            yield f"<dd><span class=label>got</span> <samp>{escape(one.got)}</samp></dd>"
        yield "</dl></div>"
    if not case.failures:
        yield "<p class=why>Passed wherever it applies.</p>"
    yield "</details>"


def _where(where: list[Failure]) -> str:
    """The places, with the modes of each together."""
    modes: dict[tuple[str, str], list[str]] = {}
    for one in where:
        modes.setdefault((one.client, one.upstream), []).append(one.mode)
    return "; ".join(
        f"{_named(client)} → {_named(upstream)} <small>{', '.join(names)}</small>"
        for (client, upstream), names in modes.items()
    )


def _ticked(text: str) -> str:
    """Words between backticks as code."""
    pieces = escape(text).split("`")
    return "".join(f"<code>{piece}</code>" if number % 2 else piece for number, piece in enumerate(pieces))


def _source(source: str) -> str:
    link = link_of(source)
    return f'<a href="{link}" rel="noreferrer">{escape(source)}</a>' if link else escape(source)
