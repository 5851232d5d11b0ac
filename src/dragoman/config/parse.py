"""Text to a plain tree, by the ending of its file; syntax errors with their line.

YAML keeps the line of every key, so that a later complaint about a value can say where it stands.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, cast

import yaml

from dragoman.errors import ConfigError

At = tuple[str | int, ...]
"""A place in the file as its author wrote it: `("providers", "openai", "timeout")`."""

_MOST_LINES = 100_000
"""Settings in one file. An alias stands for all it names, and aliases of aliases grow without end in few bytes."""

SUFFIXES = (".yaml", ".yml", ".toml", ".json")


class Parsed(NamedTuple):
    tree: dict[Any, Any]
    lines: dict[At, int]
    duplicates: list[tuple[At, str]]
    """Names that stand twice in one mapping: where, and the name."""


def parse(text: str, suffix: str, source: str) -> Parsed:
    text = text.removeprefix("\ufeff")
    lines: dict[At, int] = {}
    duplicates: list[tuple[At, str]] = []
    match suffix.lower() if suffix.startswith(".") or not suffix else "." + suffix.lower():
        case ".yaml" | ".yml" | "":
            tree = _yaml(text, source, lines, duplicates)
        case ".json":
            tree = _json(text, source, duplicates)
        case ".toml":
            tree = _toml(text, source)
        case other:
            raise ConfigError(f"{source}: a configuration cannot end in {other!r}; allowed: {', '.join(SUFFIXES)}")
    if tree is None:
        tree = {}
    if not isinstance(tree, dict):
        raise ConfigError(
            f"{source}: the file is a {_kind(tree)}; allowed: settings by name, such as `server:` or `providers:`"
        )
    return Parsed(tree, lines, duplicates)


def _yaml(text: str, source: str, lines: dict[At, int], duplicates: list[tuple[At, str]]) -> Any:
    try:
        loader = yaml.SafeLoader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            _walk(node, (), lines, duplicates, set())
            if len(lines) > _MOST_LINES:
                raise ConfigError(
                    f"{source}: the file has more than {_MOST_LINES} settings (aliases count wherever they stand)"
                )
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        column = f" (column {mark.column + 1})" if mark else ""
        raise ConfigError(f"{source}{line}: not valid YAML: {error.problem or error.context}{column}") from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ConfigError(f"{source}:{line}: not valid YAML: it holds the character {error.character:#04x}") from error
    except RecursionError:
        raise ConfigError(f"{source}: not valid YAML: it is nested too deeply") from None
    except ValueError as error:  # a date or a number that is none
        raise ConfigError(f"{source}: not valid YAML: {error}") from error


def _walk(node: yaml.Node, at: At, lines: dict[At, int], duplicates: list[tuple[At, str]], above: set[int]) -> None:
    if id(node) in above or len(lines) > _MOST_LINES:  # an anchor that contains itself, or others by the million
        return
    above = above | {id(node)}
    if isinstance(node, yaml.MappingNode):
        names: set[str] = set()
        for key, value in node.value:
            name = str(key.value)
            lines[(*at, name)] = key.start_mark.line + 1
            if name in names and name != "<<":
                duplicates.append(((*at, name), name))
            names.add(name)
            _walk(value, (*at, name), lines, duplicates, above)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            lines[(*at, index)] = value.start_mark.line + 1
            _walk(value, (*at, index), lines, duplicates, above)


def _json(text: str, source: str, duplicates: list[tuple[At, str]]) -> Any:
    twice: dict[int, list[str]] = {}
    held: list[object] = []  # or another one might get the identity of one that is gone

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(items)
        if len(found) < len(items):
            count = Counter(name for name, _ in items)
            held.append(found)
            twice[id(found)] = [name for name in found if count[name] > 1]
        return found

    if not text.strip():
        return None
    try:
        tree = json.loads(text, object_pairs_hook=pairs)
        if twice:
            duplicates += _places(tree, (), twice)
        return tree
    except json.JSONDecodeError as error:
        raise ConfigError(f"{source}:{error.lineno}: not valid JSON: {error.msg} (column {error.colno})") from error
    except (ValueError, RecursionError) as error:
        what = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise ConfigError(f"{source}: not valid JSON: {what}") from error


def _places(tree: Any, at: At, twice: Mapping[int, list[str]]) -> Iterator[tuple[At, str]]:
    """Where the mappings stand that hold a name more than once: by their identity, as they were read from the inside out."""
    if isinstance(tree, dict):
        mapping = cast("dict[str, Any]", tree)
        yield from (((*at, name), name) for name in twice.get(id(mapping), ()))
        for name, value in mapping.items():
            yield from _places(value, (*at, name), twice)
    elif isinstance(tree, list):
        for index, value in enumerate(cast("list[Any]", tree)):
            yield from _places(value, (*at, index), twice)


def _toml(text: str, source: str) -> Any:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        what = str(error)
        where = re.search(r"\s*\(at line (\d+), column (\d+)\)", what)
        if where is None:
            raise ConfigError(f"{source}: not valid TOML: {what}") from error
        what = what.replace(where.group(0), "")
        raise ConfigError(f"{source}:{where.group(1)}: not valid TOML: {what} (column {where.group(2)})") from error
    except (ValueError, RecursionError) as error:
        what = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise ConfigError(f"{source}: not valid TOML: {what}") from error


def _kind(value: object) -> str:
    match value:
        case list():
            return "list"
        case str():
            return "text"
        case _:
            return type(value).__name__
