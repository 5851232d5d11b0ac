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

ROOT = Path(__file__).parent.parent
CORPUS = ROOT / "tests" / "corpus"
PAGE = ROOT / "docs" / "translation.md"
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
    """The page with its tables made anew."""
    tables = "\n".join(table(source, target) for source in DIALECTS for target in DIALECTS if source != target)
    begin, end = "<!-- losses:begin -->", "<!-- losses:end -->"
    head, _, rest = text.partition(begin)
    return f"{head}{begin}\n\n{tables}\n{end}{rest.partition(end)[2]}"


def main() -> int:
    old = PAGE.read_text()
    new = page(old)
    if "--check" in sys.argv:
        return int(old != new)
    PAGE.write_text(new)
    return 0


if __name__ == "__main__":
    sys.exit(main())
