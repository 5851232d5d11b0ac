"""Writes the generated tables of the documentation: `make docs`. A test keeps them true.

python docs/tables.py            write them
python docs/tables.py --check    fail where they are out of date
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from dragoman.conformance.matrix import cell_text
from dragoman.conformance.report import Report, from_json
from dragoman.conformance.sources import REPOSITORIES, link_of
from dragoman.conformance.titles import GROUPS
from dragoman.dialects import DIALECTS
from dragoman.dialects.base import Target
from dragoman.errors import MalformedBody
from dragoman.ir.losses import Ledger
from dragoman.ir.profile import Profile
from dragoman.models.catalogue import Model, catalogue

ROOT = Path(__file__).parent.parent
CORPUS = ROOT / "tests" / "corpus"
PAGE = ROOT / "docs" / "translation.md"
MODELS_PAGE = ROOT / "docs" / "models.md"
_SEVERITIES = ("lost", "degraded", "info")


def losses(source: str, target: str) -> list[tuple[str, str, str]]:
    """(severity, path with its indices left out, what) over the whole corpus, the worst first."""
    found: set[tuple[str, str, str]] = set()
    for path in sorted((CORPUS / source).glob("*/request.json")):
        ledger = Ledger()
        try:
            request = DIALECTS[source].decode_request(path.read_bytes())
        except MalformedBody:
            continue
        DIALECTS[target].encode_request(request, Target("model", "issuer", Profile()), ledger)
        found |= {(loss.severity, re.sub(r"\[\d+\]", "[]", loss.path), loss.what) for loss in ledger.losses}
    return sorted(found, key=lambda row: (_SEVERITIES.index(row[0]), row[1], row[2]))


def table(source: str, target: str) -> str:
    rows = "\n".join(f"| {severity} | `{path}` | {what} |" for severity, path, what in losses(source, target))
    return f"### From {source} to {target}\n\n| severity | path | what becomes of it |\n|---|---|---|\n{rows}\n"


def page(text: str) -> str:
    """The page of the losses with its tables made anew."""
    tables = "\n".join(table(source, target) for source in DIALECTS for target in DIALECTS if source != target)
    return between(text, "losses", tables)


def between(text: str, name: str, tables: str) -> str:
    """The page with this between its two marks."""
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    head, _, rest = text.partition(begin)
    return f"{head}{begin}\n\n{tables}\n{end}{rest.partition(end)[2]}"


def models_page(text: str) -> str:
    """The page of the models. Where nothing is known, nothing stands."""
    tables: list[str] = []
    for vendor in catalogue().vendors:
        rows = "\n".join(_row(model) for model in vendor.models)
        head = "| model | id | context | output | takes | makes | can | released |\n|---|---|---|---|---|---|---|---|"
        made = f"From [its maker's page]({vendor.source}), by way of {vendor.via}, {vendor.read}."
        tables.append(f"### {vendor.name}\n\n{made}\n\n{head}\n{rows}\n")
    return between(text, "models", "\n".join(tables))


def _row(model: Model) -> str:
    sizes = [f"{size:,}" if size else "" for size in (model.context, model.output)]
    vector = f" ({model.dimensions:,})" if model.dimensions else ""
    made = [kind + vector if kind == "embedding" else kind for kind in model.makes or ()]
    words = [", ".join(kinds or ()) for kinds in (model.input, made, model.can)]
    title = f"[{model.name}]({model.source})" if model.source else model.name
    return f"| {' | '.join([title, f'`{model.id}`', *sizes, *words, model.released])} |"


README = ROOT / "README.md"
SCORES_PAGE = ROOT / "docs" / "conformance.md"
SCORES = ("dragoman", "litellm")
"""Results in docs/conformance/, in the order of their columns."""


def scores_page(text: str) -> str:
    """The page of the battery: who passed what, and every case."""
    reports = [from_json((ROOT / "docs" / "conformance" / f"{name}.json").read_bytes()) for name in SCORES]
    return between(between(text, "scores", "\n".join(map(_score, reports))), "cases", _cases(reports))


def readme(text: str) -> str:
    """The first page, with this gateway's own score."""
    report = from_json((ROOT / "docs" / "conformance" / f"{SCORES[0]}.json").read_bytes())
    told = (
        f"{report.passed:,} of {report.total:,} checks pass. Rows are what the client speaks, columns what the provider speaks."
    )
    return between(text, "matrix", f"{_matrix(report)}\n\n{told}\n")


def _matrix(report: Report) -> str:
    head = "| client | " + " | ".join(report.upstreams) + " |\n|---|" + "---|" * len(report.upstreams)
    rows = [
        f"| **{client}** | " + " | ".join(cell_text(report.cell(client, upstream)) for upstream in report.upstreams) + " |"
        for client in report.clients
    ]
    return "\n".join([head, *rows])


def _score(report: Report) -> str:
    judges = ", ".join(report.sdks)
    share = int(1000 * report.passed / report.total) / 10
    return (
        f"### {report.gateway}\n\n**{report.passed:,} of {report.total:,} checks ({share:g} %)**, "
        f"{len(report.cases) - len(report.failed)} of {len(report.cases)} cases everywhere; on {report.date}, by {judges}. "
        f"Rows are what the client speaks, columns what the provider speaks.\n\n{_matrix(report)}\n"
    )


def _cases(reports: list[Report]) -> str:
    short = ", ".join(f"{name} {title}" for name, (title, _) in sorted(REPOSITORIES.items(), key=lambda row: row[0].lower()))
    tables = [f"Public issues in which a mistake was seen are named in short: {short}; others as they call themselves.\n"]
    peers = reports[1:]
    told = [{case.id: case for case in report.cases} for report in peers]
    for group, title in GROUPS.items():
        rows: list[str] = []
        for case in (case for case in reports[0].cases if case.group == group):
            theirs = [f"{one[case.id].passed}/{one[case.id].total}" if case.id in one else "" for one in told]
            words = [f"`{case.id}`", f"{case.title}. {case.why}".strip(), ", ".join(map(_issue, case.sources))]
            rows.append(f"| {' | '.join([*words, f'{case.passed}/{case.total}', *theirs])} |")
        names = [report.gateway for report in reports]
        head = f"| case | what a gateway does right | seen in | {' | '.join(names)} |\n|---|---|---|{'---|' * len(names)}"
        tables.append(f"### {title}\n\n{head}\n" + "\n".join(rows) + "\n")
    return "\n".join(tables)


def _issue(source: str) -> str:
    link = link_of(source)
    return f"[{source}]({link})" if link else source


def main() -> int:
    stale = False
    for path, made in ((PAGE, page), (MODELS_PAGE, models_page), (SCORES_PAGE, scores_page), (README, readme)):
        old = path.read_text()
        new = made(old)
        stale = stale or old != new
        if "--check" not in sys.argv:
            path.write_text(new)
    return int(stale and "--check" in sys.argv)


if __name__ == "__main__":
    sys.exit(main())
