"""The way in: layers, later ones over earlier ones.

built-in rows < the environment's NAME_... variables < the file < DRAGOMAN_... variables < the command line
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from dragoman.config.parse import At, parse
from dragoman.config.problems import Problems, closest, path_text
from dragoman.config.read import Reader, layered, place_in
from dragoman.config.resolve import resolve
from dragoman.config.resolved import Config
from dragoman.config.schema import SYNONYMS, File
from dragoman.providers.table import TABLE, Provider

PREFIX = "DRAGOMAN_"

# Read by others: the command line finds the file, the clients find the gateway.
_NOT_SETTINGS = frozenset({"CONFIG", "API_KEY", "BASE_URL", "URL", "VAULT_KEY"})
# Kubernetes sets these in every pod beside a service of that name.
_OF_KUBERNETES = re.compile(r"SERVICE_(HOST|PORT.*)|PORT(_\d+_.*)?")


def load(
    text: str,
    suffix: str,
    env: Mapping[str, str],
    source_name: str,
    *,
    overrides: Mapping[str, Any] | None = None,
    table: Mapping[str, Provider] = TABLE,
    notes: Sequence[str] = (),
) -> Config:
    """A configuration out of the text of its file (`""` for none), the environment, and what the command line says.

    `suffix` is the file's ending; `source_name` is how messages call it. `overrides` has the shape of a file.
    `table` holds the built-in providers with those of plugins, `notes` what to warn of besides.
    Raises `ConfigError` naming every mistake: file, line, path, the value (masked if it is a secret), what is allowed."""
    problems = Problems(source_name)
    problems.warnings.extend(notes)
    parsed = parse(text, suffix, source_name)
    for at, name in parsed.duplicates:
        problems.errors.append(
            f"{place_in(source_name, parsed.lines)(at)}: there are two of the name {name!r}; keep one of them"
        )
    layers = [Reader(problems, place_in(source_name, parsed.lines), env).section(File, parsed.tree, (), ())]

    variables = _variables(env, problems)
    if variables:
        said = Reader(problems, _variable_place, None).section(File, variables, (), ())
        layers.append(_matched(said, [layers[0], {"providers": table}]))
    if overrides:
        layers.append(Reader(problems, _option_place, None).section(File, dict(overrides), (), ()))

    config = resolve(layered(*layers), env, table, problems)
    problems.raise_if_any()
    return config


def _variables(env: Mapping[str, str], problems: Problems) -> dict[str, Any]:
    """`DRAGOMAN_SERVER__PORT=5000` -> `{"server": {"port": "5000"}}`."""
    tree: dict[str, Any] = {}
    for key in sorted(env):
        if not key.startswith(PREFIX):
            continue
        rest = key.removeprefix(PREFIX)
        steps = [step for step in rest.lower().split("__") if step]
        if rest in _NOT_SETTINGS or not steps or _OF_KUBERNETES.fullmatch(rest):
            if rest == "PORT" and env[key].isdigit():
                problems.warnings.append(f"{key} is not a setting; did you mean DRAGOMAN_SERVER__PORT?")
            continue
        names = File.__struct_fields__
        if steps[0] not in names and steps[0] not in SYNONYMS[File]:
            hint = closest(steps[0], names).upper().replace("DID YOU MEAN", "did you mean")
            problems.warnings.append(f"{key} is not a setting and has no effect;{hint or ' see the reference of settings'}")
            continue
        _put(tree, steps, _value(env[key]))
    return tree


def _put(tree: dict[str, Any], steps: Sequence[str], value: Any) -> None:
    for step in steps[:-1]:
        below = tree.get(step)
        if not isinstance(below, dict):
            below = tree[step] = {}
        tree = below
    tree[steps[-1]] = value


def _value(text: str) -> Any:
    """JSON where it begins like a list or an object; anything else is text, and read as what the setting wants."""
    if text.lstrip()[:1] in {"[", "{"}:
        try:
            return json.loads(text)
        except ValueError:
            return text
    return text


def _matched(said: dict[str, Any], existing: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Variables cannot hold dashes, dots or capitals: `MY_CORP` means the provider `my-corp` where there is one."""
    for group in ("providers", "models", "aliases"):
        names = {_plain(name): name for layer in reversed(existing) for name in layer.get(group, {})}
        if group in said:
            said[group] = {names.get(_plain(name), name): value for name, value in said[group].items()}
    return said


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.lower())


def _variable_place(at: At) -> str:
    steps = "__".join(str(step).upper() for step in at if isinstance(step, str))
    indexes = path_text(tuple(step for step in at if isinstance(step, int)))
    return f"environment variable {PREFIX}{steps}{indexes}"


def _option_place(at: At) -> str:
    return f"command line: {path_text(at)}"


def settings() -> dict[str, tuple[str, ...]]:
    """Every section with its settings, for the documentation's test."""
    return {kind.__name__: _names(kind) for kind in SYNONYMS}


def _names(kind: type[msgspec.Struct]) -> tuple[str, ...]:
    return kind.__struct_fields__
