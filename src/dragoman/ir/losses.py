"""The loss ledger: what a target could not be told, or had to be told in other words.

Nothing that a caller says is dropped silently. A loss names the path in the caller's own body, what became
of it, and how much that matters; the ledger goes into the `x-dragoman-losses` header, the log, and in strict
mode into a 400 instead of a request.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from dragoman.ir.request import Node, Path, path_text

Severity = Literal["info", "degraded", "lost"]
"""`info`: the answer is the same without it (a cache mark, a label). `degraded`: said in other words
or weaker. `lost`: the target was not told."""

HEADER_LIMIT = 1024

_LABELS = frozenset({"id", "status"})
"""What an API calls a thing that it gave out earlier. Another API has no use for it, and nothing is missed."""


class Loss(msgspec.Struct, frozen=True):
    path: str
    what: str
    severity: Severity


class Ledger:
    """Collects the losses of one attempt."""

    __slots__ = ("losses",)

    def __init__(self) -> None:
        self.losses: list[Loss] = []

    def add(self, at: Path, key: str | int | None, what: str, severity: Severity = "lost") -> None:
        """`at` is the node, `key` its field (None for the node itself)."""
        path = path_text(at if key is None else (at, key))
        self.losses.append(Loss(path, what, severity))

    def extras(self, node: Node) -> None:
        """Enter everything the hub had no field for."""
        for key in node.extras:
            label = key.rpartition(".")[2] in _LABELS
            self.add(node.at, key, "unknown to the target's dialect", "info" if label else "lost")

    def header(self) -> str:
        """`3; top_k lost; messages[0].name info; +1`: count first, then `path severity` as far as it fits
        in 1 KiB, then how many more. ASCII only."""
        parts = [str(len(self.losses))]
        size = len(parts[0])
        for number, loss in enumerate(self.losses):
            entry = f"{loss.path} {loss.severity}"
            if not (entry.isascii() and entry.isprintable()):
                entry = entry.encode("ascii", "backslashreplace").decode()
                entry = "".join(c if " " <= c <= "~" else "?" for c in entry)
            entry = entry.replace(";", "\\x3b")
            if size + len(entry) + 2 > HEADER_LIMIT - 12:
                parts.append(f"+{len(self.losses) - number}")
                break
            parts.append(entry)
            size += len(entry) + 2
        return "; ".join(parts)
