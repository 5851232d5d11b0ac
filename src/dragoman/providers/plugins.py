"""Providers that another installed package brings.

    [project.entry-points."dragoman.providers"]
    acme = "acme_dragoman:PROVIDER"

The object is a `Provider`, a list of them, or a callable that returns either.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import cast

import msgspec

from dragoman.providers.table import TABLE, Provider

GROUP = "dragoman.providers"

_log = logging.getLogger(__name__)


def installed(table: Mapping[str, Provider] = TABLE) -> tuple[dict[str, Provider], list[str]]:
    """The table with the rows of every plugin, and a sentence for each plugin that could not be used.

    A plugin cannot take the place of a built-in row: a package must not redirect another provider's key."""
    rows = dict(table)
    problems: list[str] = []
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        for row in _rows_of(point, problems):
            if row.name in rows:
                problems.append(f"plugin {point.value}: there is already a provider {row.name!r}; its row is ignored")
            else:
                rows[row.name] = row
    return rows, problems


def _rows_of(point: EntryPoint, problems: list[str]) -> list[Provider]:
    try:
        found = point.load()
        if callable(found):
            found = cast("Callable[[], object]", found)()
        rows = list(cast("Iterable[object]", [found] if isinstance(found, Provider) else found))
        # There and back: a struct does not check the types of what it is made of, decoding does.
        return [msgspec.convert(msgspec.to_builtins(row), Provider) for row in rows]
    except Exception as error:  # noqa: BLE001  somebody else's code: whatever it raises must not stop the gateway
        _log.warning("plugin %s failed", point.value, exc_info=error)
        problems.append(f"plugin {point.value}: {type(error).__name__}: {error}")
        return []
