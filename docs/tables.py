"""Writes the generated tables of the documentation: `make docs`. A test keeps them true.

python docs/tables.py            write them
python docs/tables.py --check    fail where they are out of date
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

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


def main() -> int:
    stale = False
    for path, made in ((PAGE, page), (MODELS_PAGE, models_page)):
        old = path.read_text()
        new = made(old)
        stale = stale or old != new
        if "--check" not in sys.argv:
            path.write_text(new)
    return int(stale and "--check" in sys.argv)


if __name__ == "__main__":
    sys.exit(main())
