"""Everything that is wrong with a configuration, collected, so that it is mended in one go."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

from dragoman.config.parse import At
from dragoman.errors import ConfigError
from dragoman.secret import Secret, mask

_PLAIN = re.compile(r"[A-Za-z0-9_-]+")
_MOST_SHOWN = 60


def path_text(at: At) -> str:
    """`providers.openai.models[0]`; a name that is no plain word stands in brackets: `models["gpt-5.4"]`."""
    return "".join(_step(key) for key in at).removeprefix(".")


def _step(key: str | int) -> str:
    if isinstance(key, int):
        return f"[{key}]"
    return f".{key}" if _PLAIN.fullmatch(key) else f'["{key}"]'


def shown(value: object, *, secret: bool = False) -> str:
    """A value as it may stand in a message."""
    if isinstance(value, Secret):
        return str(value)
    if secret:
        return mask(value) if isinstance(value, str) else "…"
    text = repr(value) if not isinstance(value, bool) else str(value).lower()
    # A URL may bring a password or a key along.
    text = re.sub(r"(?<=://)[^/@\s]*@", "…@", text)
    text = re.sub(r"(?<=[?&])([^=&\s'\"]+)=[^&\s'\"]+", r"\1=…", text)
    return text if len(text) <= _MOST_SHOWN else text[: _MOST_SHOWN - 1] + "…"


def closest(name: str, known: Iterable[str]) -> str:
    """` did you mean 'openai'?`, or nothing."""
    matches = difflib.get_close_matches(name.lower(), list(dict.fromkeys(known)), n=1, cutoff=0.66)
    return f" did you mean {matches[0]!r}?" if matches else ""


class Problems:
    """`labels` maps the place of a setting under its proper name to how it is called where it was written:
    file, line and path, or an environment variable."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.labels: dict[At, str] = {}
        self.failed: set[At] = set()
        """Where something is wrong already, so that what follows from it need not be said as well."""

        self.errors: list[str] = []
        self.warnings: list[str] = []

    def label(self, path: At) -> str:
        """How the setting, or else what holds it, is called where it was written."""
        for end in range(len(path), 0, -1):
            label = self.labels.get(path[:end])
            if label is not None:
                return label + "".join(_step(key) for key in path[end:])
        return f"{self.source}: {path_text(path)}" if path else self.source

    def add(self, path: At, what: str) -> None:
        self.failed.add(path)
        self.errors.append(f"{self.label(path)}: {what}")

    def warn(self, path: At, what: str) -> None:
        self.warnings.append(f"{self.label(path)}: {what}")

    def raise_if_any(self) -> None:
        if not self.errors:
            return
        if len(self.errors) == 1:
            raise ConfigError(self.errors[0])
        lines = "\n".join(f"  {error}" for error in self.errors)
        raise ConfigError(f"{self.source}: {len(self.errors)} mistakes in the configuration\n{lines}")
