"""Reading other people's JSON: take the fields you know, complain about wrong shapes with a path, keep the rest.

A codec makes a `Fields` of each object, takes what it knows by type, and puts `rest()` into the node's extras: so a
field that nobody took can never be dropped by oversight. JSON null counts as not said.
"""

from __future__ import annotations

from typing import Any

from dragoman.errors import MalformedBody
from dragoman.ir.request import Path, path_text

_NAMES: dict[type, str] = {
    dict: "an object",
    list: "an array",
    str: "a string",
    bool: "a boolean",
    int: "an integer",
    float: "a number",
    type(None): "null",
}


def kind_of(value: object) -> str:
    return _NAMES.get(type(value), type(value).__name__)


def wrong(at: Path, expected: str, value: object) -> MalformedBody:
    """`messages[3].content: expected a string or an array, got an integer`"""
    path = path_text(at)
    return MalformedBody(f"{path}: expected {expected}, got {kind_of(value)}", param=path)


class Fields:
    """One JSON object being read. Every getter takes its key out; `need_*` also insist that it is there."""

    __slots__ = ("at", "left")

    def __init__(self, native: Any, at: Path) -> None:
        if type(native) is not dict:
            raise wrong(at, "an object", native)
        self.left: dict[str, Any] = native.copy()
        self.at = at

    def any(self, key: str) -> Any:
        return self.left.pop(key, None)

    def text(self, key: str) -> str | None:
        value = self.left.pop(key, None)
        if value is None or type(value) is str:
            return value
        raise wrong((self.at, key), "a string", value)

    def need_text(self, key: str) -> str:
        value = self.text(key)
        if value is None:
            path = path_text((self.at, key))
            raise MalformedBody(f"{path}: a string is required here", param=path)
        return value

    def integer(self, key: str) -> int | None:
        value = self.left.pop(key, None)
        if value is None or type(value) is int:
            return value
        if type(value) is float and value.is_integer():
            return int(value)
        raise wrong((self.at, key), "an integer", value)

    def number(self, key: str) -> float | None:
        value = self.left.pop(key, None)
        if value is None or type(value) in {int, float}:
            return value
        raise wrong((self.at, key), "a number", value)

    def flag(self, key: str) -> bool | None:
        value = self.left.pop(key, None)
        if value is None or type(value) is bool:
            return value
        raise wrong((self.at, key), "a boolean", value)

    def array(self, key: str) -> list[Any] | None:
        value = self.left.pop(key, None)
        if value is None or type(value) is list:
            return value
        raise wrong((self.at, key), "an array", value)

    def object(self, key: str) -> dict[str, Any] | None:
        value = self.left.pop(key, None)
        if value is None or type(value) is dict:
            return value
        raise wrong((self.at, key), "an object", value)

    def texts(self, key: str) -> list[str] | None:
        values = self.array(key)
        for index, value in enumerate(values or ()):
            if type(value) is not str:
                raise wrong(((self.at, key), index), "a string", value)
        return values

    def rest(self) -> dict[str, Any]:
        """What nobody took, without nulls."""
        return {key: value for key, value in self.left.items() if value is not None}
