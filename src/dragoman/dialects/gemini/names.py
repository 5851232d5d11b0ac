"""Reading JSON as the API does: protobuf's JSON form, in which a field may be written in lowerCamelCase or as it is called in
the `.proto` file, a number may stand in a string, and bytes are base64 of either alphabet, padded or not.

https://protobuf.dev/programming-guides/json
"""

from __future__ import annotations

import math
import re
from functools import lru_cache
from typing import Any, cast

from dragoman.dialects.shape import Fields, wrong
from dragoman.errors import MalformedBody
from dragoman.ir.request import Path, path_text

_HUMP = re.compile(r"(?<=[a-z0-9])([A-Z])")
_TO_STANDARD = str.maketrans("-_", "+/")
_NO_BASE64 = re.compile(r"[^A-Za-z0-9+/]")


@lru_cache(maxsize=512)
def snake(key: str) -> str:
    """`maxOutputTokens` as `max_output_tokens`."""
    return _HUMP.sub(r"_\1", key).lower()


@lru_cache(maxsize=512)
def camel(key: str) -> str:
    """`max_output_tokens` as `maxOutputTokens`."""
    first, *rest = key.split("_")
    return first + "".join(part[:1].upper() + part[1:] for part in rest) if first else key


def merge(into: dict[str, Any], extras: dict[str, Any]) -> list[str]:
    """Write extras back where they stood, objects into objects. Gives the keys that were taken already."""
    taken: list[str] = []
    for key, value in extras.items():
        own = key if key in into else camel(key)
        held = into.get(own)
        if own not in into:
            into[key] = value
        elif isinstance(held, dict) and isinstance(value, dict):
            taken += [f"{key}.{inner_key}" for inner_key in merge(cast("dict[str, Any]", held), cast("dict[str, Any]", value))]
        elif held != value:
            taken.append(key)
    return taken


class Names(Fields):
    """An object whose keys are asked for in lowerCamelCase and taken in either way of writing. What nobody took keeps the
    caller's own keys, and so do paths."""

    def own(self, key: str) -> str:
        """The key as the caller wrote it."""
        if key not in self.left:
            other = snake(key)
            if other in self.left:
                return other
        return key

    def path(self, key: str) -> Path:
        return (self.at, self.own(key))

    def any(self, key: str) -> Any:
        return super().any(self.own(key))

    def text(self, key: str) -> str | None:
        return super().text(self.own(key))

    def integer(self, key: str) -> int | None:
        self._number(key)
        return super().integer(self.own(key))

    def number(self, key: str) -> float | None:
        self._number(key)
        return super().number(self.own(key))

    def flag(self, key: str) -> bool | None:
        return super().flag(self.own(key))

    def array(self, key: str) -> list[Any] | None:
        return super().array(self.own(key))

    def object(self, key: str) -> dict[str, Any] | None:
        return super().object(self.own(key))

    def texts(self, key: str) -> list[str] | None:
        return super().texts(self.own(key))

    def word(self, key: str) -> str | None:
        """The value of an enum, in capitals; one whose name says that nothing is said counts as not said."""
        value = self.text(key)
        if value is None:
            return None
        value = value.upper()
        return None if value.endswith("_UNSPECIFIED") else value

    def _number(self, key: str) -> None:
        own = self.own(key)
        value = self.left.get(own)
        if type(value) is str:
            try:
                number = float(value) if not value.lstrip("-").isdigit() else int(value)
            except ValueError:
                return  # the getter complains
            if type(number) is int or math.isfinite(number):
                self.left[own] = number


def standard_base64(text: str) -> str | None:
    """The same bytes in the standard alphabet, padded; None when it is no base64."""
    if "-" in text or "_" in text:
        text = text.translate(_TO_STANDARD)
    bare = text.rstrip("=")
    if _NO_BASE64.search(bare):
        bare = "".join(bare.split())
        if _NO_BASE64.search(bare):
            return None
    if len(bare) % 4 == 1:
        return None
    padded = bare + "=" * (-len(bare) % 4)
    return text if padded == text else padded


def need_base64(fields: Names, key: str) -> str:
    at = fields.path(key)
    value = fields.text(key)
    if value is None:
        path = path_text(at)
        raise MalformedBody(f"{path}: base64 is required here", param=path)
    found = standard_base64(value)
    if found is None:
        raise wrong(at, "base64", value)
    return found


def inner(fields: Names, key: str) -> Names:
    """The object under a key, empty where there is none."""
    at = fields.path(key)
    return Names(fields.object(key) or {}, at)


def keep_rest(fields: Names, key: str, held: Fields) -> None:
    """What nobody took of an inner object stays where it stood."""
    rest = held.rest()
    if rest:
        fields.left[str(held.at[1]) if held.at is not None else key] = rest
