"""JSON against the type hints of an SDK's request: does it fit, and which fields does it use?"""

from __future__ import annotations

import os
import types
import typing
from collections.abc import Iterable
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import typing_extensions

Field = tuple[str, str]
"""The name of a TypedDict, and one of its keys."""


class Misfit(Exception):
    """The value is not of this type. Says where, and why."""


def is_typed_dict(hint: Any) -> bool:
    return typing.is_typeddict(hint) or typing_extensions.is_typeddict(hint)


def all_fields(hint: Any) -> set[Field]:
    """Every field of every TypedDict that can be reached from here."""
    seen: dict[Any, set[str]] = {}

    def visit(hint: Any) -> None:
        if is_typed_dict(hint):
            if hint not in seen:
                hints = get_type_hints(hint)
                seen[hint] = set(hints)
                for inner in hints.values():
                    visit(inner)
            return
        for inner in get_args(hint):
            visit(inner)

    visit(hint)
    return {(name_of(one), key) for one, keys in seen.items() for key in keys}


def name_of(hint: Any) -> str:
    """With its module, to tell the many `Function` and `Custom` apart. The streaming and the other request are one."""
    own = hint.__name__.removesuffix("Streaming").removesuffix("Non")
    return f"{hint.__module__.rpartition('.')[2]}.{own}"


def used_fields(value: Any, hint: Any, extras: frozenset[Field], path: str = "$") -> set[Field]:
    """The fields that the value uses. Raises `Misfit`. `extras` are keys that the types do not know, but clients send."""
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return _one_of(value, get_args(hint), extras, path)
    if origin is Literal:
        if value not in get_args(hint):
            raise Misfit(f"{path}: {value!r} is none of {get_args(hint)}")
        return set()
    if is_typed_dict(hint):
        return _typed_dict(value, hint, extras, path)
    if origin is dict:
        if not isinstance(value, dict):
            raise Misfit(f"{path}: not an object")
        inner = get_args(hint)[1]
        return {field for key, item in value.items() for field in used_fields(item, inner, extras, f"{path}.{key}")}
    if origin is not None and issubclass(origin, Iterable):
        if not isinstance(value, list):
            raise Misfit(f"{path}: not a list")
        inner = get_args(hint)[0]
        return {field for i, item in enumerate(value) for field in used_fields(item, inner, extras, f"{path}[{i}]")}
    return _plain(value, hint, path)


def _plain(value: Any, hint: Any, path: str) -> set[Field]:
    fits = {
        str: isinstance(value, str),
        bool: isinstance(value, bool),
        int: (isinstance(value, int) and not isinstance(value, bool)) or (isinstance(value, float) and value.is_integer()),
        float: isinstance(value, int | float) and not isinstance(value, bool),
        object: True,
        type(None): value is None,
    }
    if hint in (os.PathLike, typing.IO) or get_origin(hint) in (os.PathLike, typing.IO):
        raise Misfit(f"{path}: JSON has no files")
    if not fits[hint]:
        raise Misfit(f"{path}: {value!r} is not {hint.__name__}")
    return set()


def _one_of(value: Any, hints: tuple[Any, ...], extras: frozenset[Field], path: str) -> set[Field]:
    """The fields of the first that fits; of the misfits, the one that came furthest."""
    misfits: list[Misfit] = []
    for hint in hints:
        try:
            return used_fields(value, hint, extras, path)
        except Misfit as misfit:
            misfits.append(misfit)
    raise max(misfits, key=lambda misfit: len(str(misfit).partition(":")[0]))


def _typed_dict(value: Any, hint: Any, extras: frozenset[Field], path: str) -> set[Field]:
    if not isinstance(value, dict):
        raise Misfit(f"{path}: not an object")
    hints = get_type_hints(hint)
    name = name_of(hint)
    missing = hint.__required_keys__ - set(value)
    if missing:
        raise Misfit(f"{path}: {name} needs {sorted(missing)}")
    used: set[Field] = set()
    for key, item in value.items():
        if key in hints:
            used |= {(name, key)} | used_fields(item, hints[key], extras, f"{path}.{key}")
        elif (name, key) not in extras:
            raise Misfit(f"{path}.{key}: unknown to {name}")
    return used
