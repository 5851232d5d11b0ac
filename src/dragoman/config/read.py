"""One layer of configuration (a file, the environment, the command line) to the shapes of `schema.py`.

The result is a plain dict that holds only what the layer says, under proper names, so that layers can be laid over one
another. A value that is wrong becomes a problem and is left out; reading goes on.
"""

from __future__ import annotations

import re
import types
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import msgspec

from dragoman.config import schema
from dragoman.config.parse import At
from dragoman.config.problems import Problems, closest, path_text, shown
from dragoman.config.schema import SYNONYMS, Kind

_MISSING: Any = msgspec.UNSET
_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
_WHOLE_REFERENCE = re.compile(r"(?:env:|os\.environ/|env\.)([A-Za-z_][A-Za-z0-9_]*)")
_SWITCHES = frozenset({"true", "yes", "on", "1", "false", "no", "off", "0"})
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


class Reader:
    """`place(at)` is what the layer calls the setting at `at`. `env` resolves references; None (in the environment
    layer itself) leaves them alone, and lets a list be written with commas."""

    def __init__(self, problems: Problems, place: Callable[[At], str], env: Mapping[str, str] | None) -> None:
        self.problems = problems
        self.place = place
        self.env = env
        self.lenient = False
        """Inside something that is switched off: a reference to a variable that is not set is no mistake."""

    # ------------------------------------------------------------ shapes

    def section(self, kind: type[msgspec.Struct], raw: Any, path: At, at: At) -> dict[str, Any]:
        """The fields of `kind` that `raw` sets."""
        if not isinstance(raw, Mapping):
            return self.wrong(raw, path, at, "is not a section", "settings by name: " + ", ".join(_hints(kind)))
        found: dict[str, Any] = {}
        written: dict[str, str] = {}
        for key, value in raw.items():
            name = self.field_name(kind, key, path, at)
            if name is None:
                continue
            if name in written:
                self.problem((*path, name), (*at, str(key)), f"says the same as {written[name]!r}; keep one of them")
                continue
            written[name] = str(key)
            if value is None:
                continue
            here, there = (*path, name), (*at, str(key))
            self.problems.labels[here] = self.place(there)
            special = _SPECIAL.get((kind, name))
            result = special(self, value, here, there) if special else self.value(_hints(kind)[name], value, here, there)
            if result is not _MISSING:
                found[name] = result
        return found

    def field_name(self, kind: type[msgspec.Struct], key: Any, path: At, at: At) -> str | None:
        names, synonyms = _hints(kind), SYNONYMS.get(kind, {})
        word = _CAMEL.sub("_", str(key)).lower().replace("-", "_")
        word = synonyms.get(word, word)
        if word in names:
            return word
        hint = closest(word, [*names, *synonyms]) or _elsewhere(kind, word)
        self.problem((*path, str(key)), (*at, str(key)), f"there is no such setting;{hint} allowed: {', '.join(names)}")
        return None

    def value(self, hint: Any, raw: Any, path: At, at: At) -> Any:
        self.problems.labels[path] = self.place(at)
        hint = _without_none(hint)
        match get_origin(hint):
            case origin if origin is Annotated:
                return self.leaf(_kind(hint), raw, path, at)
            case origin if origin is dict:
                return self.mapping(get_args(hint)[1], raw, path, at)
            case origin if origin is list:
                return self.items(get_args(hint)[0], raw, path, at)
            case _:
                return self.section(hint, raw, path, at)

    def mapping(self, hint: Any, raw: Any, path: At, at: At) -> Any:
        if not isinstance(raw, Mapping):
            return self.wrong(raw, path, at, "is not a mapping", "names with their values")
        found: dict[str, Any] = {}
        for key, value in raw.items():
            if not isinstance(key, str) or not key.strip():
                self.problem(path, at, f"the name {shown(key)} is not text; put it in quotes")
            elif value is not None:
                result = self.value(hint, value, (*path, key), (*at, key))
                if result is not _MISSING:
                    found[key] = result
        return found

    def items(self, hint: Any, raw: Any, path: At, at: At) -> list[Any]:
        raw = self.listed(raw)
        if not isinstance(raw, list):
            value = self.value(hint, raw, path, at)
            return [] if value is _MISSING else [value]
        found = [self.value(hint, value, (*path, index), (*at, index)) for index, value in enumerate(raw)]
        return [value for value in found if value is not _MISSING]

    def listed(self, raw: Any) -> Any:
        """In a variable, a list is written with commas."""
        if isinstance(raw, str) and self.env is None:
            return [part.strip() for part in raw.split(",") if part.strip()]
        return raw

    def leaf(self, kind: Kind, raw: Any, path: At, at: At) -> Any:
        if isinstance(raw, str) and self.env is not None:
            raw = self.expanded(raw, kind, path, at)
            if raw is _MISSING:
                return _MISSING
        elif isinstance(raw, Mapping) and self.env is not None:
            raw = {key: self.expanded(value, kind, path, at) if isinstance(value, str) else value for key, value in raw.items()}
            if _MISSING in raw.values():
                return _MISSING
        try:
            return kind.parse(raw)
        except ValueError as error:
            secret = kind.secret or isinstance(raw, Mapping)
            return self.wrong(raw, path, at, str(error), kind.allowed, secret=secret)

    def expanded(self, text: str, kind: Kind, path: At, at: At) -> Any:
        """With the environment variables that it names."""
        assert self.env is not None
        missing: list[str] = []

        def variable(name: str, default: str | None) -> str:
            value = self.env.get(name) if self.env is not None else None
            if value:
                return value
            if default is None:
                missing.append(name)
            return default or ""

        whole = _WHOLE_REFERENCE.fullmatch(text.strip()) if kind.references else None
        if whole is not None:
            text = variable(whole[1], None)
        else:
            text = _REFERENCE.sub(lambda found: variable(found[1], found[2]), text)
        if not missing:
            return text
        if not self.lenient:
            names = ", ".join(dict.fromkeys(missing))
            self.problem(path, at, f"names the environment variable {names}, which is not set; set it, or write the value here")
        return _MISSING

    # ------------------------------------------------------------ settings that people write in more than one way

    def keys(self, raw: Any, path: At, at: At) -> list[dict[str, Any]]:
        if isinstance(raw, Mapping) and not {"name", "key"} & set(raw):  # {alice: sk-..., bob: sk-...}
            raw = [{"name": name, "key": key} for name, key in raw.items()]
        return self.objects(schema.KeySection, "key", raw, path, at, without="has no key; allowed: a key, or {name, key}")

    def objects(
        self, kind: type[msgspec.Struct], main: str, raw: Any, path: At, at: At, *, without: str
    ) -> list[dict[str, Any]]:
        """A list of sections, of which each may be just its `main` setting; `without` says what is wrong with one that has
        none."""
        raw = self.listed(raw)
        values: list[Any] = raw if isinstance(raw, list) else [raw]
        found: list[dict[str, Any]] = []
        for index, value in enumerate(values):
            # A wrong one is left out, and those behind it move up.
            here, there = (*path, len(found)), (*at, index)
            self.problems.labels[here] = self.place(there)
            entry = self.section(kind, value if isinstance(value, Mapping) else {main: value}, here, there)
            if main in entry:
                found.append(entry)
            elif isinstance(value, Mapping) and not any(_is(main, kind, key) for key in value):
                self.problem(here, there, without)
        return found

    def providers(self, raw: Any, path: At, at: At) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, value, here, there in self.named(raw, path, at, "name"):
            lenient, self.lenient = self.lenient, isinstance(value, Mapping) and value.get("enabled") is False
            section = self.section(schema.ProviderSection, _provider_section(value), here, there)
            if section is not _MISSING:
                found[name] = section
            self.lenient = lenient
        return found

    def models(self, raw: Any, path: At, at: At) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, value, here, there in self.named(raw, path, at, "name", "model_name"):
            if not isinstance(value, Mapping):
                found[name] = {"targets": self.targets(value, (*here, "targets"), there)}
                continue
            own = {key: item for key, item in value.items() if key not in _OF_TARGET}
            if len(own) < len(value):  # {provider: openai, model: gpt-5, ...} without `targets`
                own["targets"] = [{key: item for key, item in value.items() if key in _OF_TARGET}]
            found[name] = self.section(schema.ModelSection, own, here, there)
            if "targets" not in found[name] and not any(_is("targets", schema.ModelSection, key) for key in own):
                self.problem(here, there, "has no targets; allowed: provider/model, a list of them, or {targets: [...]}")
        return found

    def named(self, raw: Any, path: At, at: At, *name_keys: str) -> list[tuple[str, Any, At, At]]:
        """The entries of a mapping, or of a list of objects that bring their name along: (name, value, path, at)."""
        entries: list[tuple[Any, Any, At]] = []
        if isinstance(raw, list):
            for index, value in enumerate(raw):
                name_key = next((key for key in name_keys if isinstance(value, Mapping) and key in value), None)
                if name_key is None:
                    self.problem(path, (*at, index), "has no name; allowed: an object with `name`")
                else:
                    rest = {key: item for key, item in value.items() if key != name_key}
                    entries.append((value[name_key], rest, (*at, index)))
        elif isinstance(raw, Mapping):
            entries = [(name, value, (*at, str(name))) for name, value in raw.items()]
        else:
            self.wrong(raw, path, at, "is not a mapping", "names with their settings, or a list of objects with `name`")
        found: list[tuple[str, Any, At, At]] = []
        names: set[str] = set()
        for name, value, there in entries:
            if not isinstance(name, str) or not name.strip():
                self.problem(path, there, f"the name {shown(name)} is not text; put it in quotes")
            elif name in names:
                self.problem(path, there, f"there are two of the name {name!r}; keep one of them")
            else:
                names.add(name)
                self.problems.labels[(*path, name)] = self.place(there)
                found.append((name, value, (*path, name), there))
        return found

    def targets(self, raw: Any, path: At, at: At) -> list[dict[str, Any]]:
        raw = self.listed(raw)
        values: list[Any] = raw if isinstance(raw, list) else [raw]
        self.problems.labels[path] = self.place(at)
        if not values:
            self.problem(path, at, "is empty; allowed: at least one provider/model")
        found: list[dict[str, Any]] = []
        for index, value in enumerate(values):
            here, there = (*path, len(found)), ((*at, index) if isinstance(raw, list) else at)
            self.problems.labels[here] = self.place(there)
            if isinstance(value, Mapping):
                entry = self.section(schema.TargetSection, value, here, there)
                if "model" not in entry:
                    self.problem(here, there, "has no model; allowed: provider/model, or {provider, model}")
                    continue
            else:
                text = self.leaf(_TARGET, value, here, there)
                if text is _MISSING:
                    continue
                entry = {"model": text}
            found.append(entry)
        return found

    def timeouts(self, raw: Any, path: At, at: At) -> Any:
        if isinstance(raw, Mapping):
            return self.section(schema.TimeoutsSection, raw, path, at)
        total = self.value(schema.Seconds, raw, (*path, "total"), at)
        return _MISSING if total is _MISSING else {"total": total}

    def switched(self, kind: type[msgspec.Struct], raw: Any, path: At, at: At) -> Any:
        """A section for which `true` or `false` may stand."""
        return self.section(kind, {"enabled": raw} if isinstance(raw, bool | str) else raw, path, at)

    def store(self, raw: Any, path: At, at: At) -> Any:
        if isinstance(raw, str) and raw.strip().lower() not in _SWITCHES:
            raw = {"url" if "://" in raw or _WHOLE_REFERENCE.fullmatch(raw.strip()) else "path": raw}
        return self.switched(schema.StoreSection, raw, path, at)

    def listed_models(self, raw: Any, path: At, at: At) -> list[dict[str, Any]]:
        if isinstance(raw, Mapping):  # {id: {display_name: ...}}
            raw = [{"id": name, **(value if isinstance(value, Mapping) else {})} for name, value in raw.items()]
        without = "has no id; allowed: a model's name, or {id, display_name, context}"
        return self.objects(schema.ListedModel, "id", raw, path, at, without=without)

    def dialect_urls(self, raw: Any, path: At, at: At) -> Any:
        """`{messages: URL, responses: false}`: false takes a built-in one away."""
        if not isinstance(raw, Mapping):
            return self.wrong(raw, path, at, "is not a mapping", "dialects with their URLs")
        found: dict[str, Any] = {}
        for key, value in raw.items():
            dialect = self.leaf(_DIALECT, key, (*path, str(key)), (*at, str(key)))
            if dialect is _MISSING:
                continue
            url = None if value is False else self.value(schema.Url, value, (*path, dialect), (*at, str(key)))
            if url is not _MISSING:
                found[dialect] = url
        return found

    # ------------------------------------------------------------ problems

    def wrong(self, raw: Any, path: At, at: At, what: str, allowed: str, *, secret: bool = False) -> Any:
        self.problem(path, at, f"{shown(raw, secret=secret)} {what}; allowed: {allowed}")
        return _MISSING

    def problem(self, path: At, at: At, what: str) -> None:
        self.problems.labels[path] = self.place(at)
        self.problems.add(path, what)


def _kind(hint: Any) -> Kind:
    return next(meta for meta in get_args(hint)[1:] if isinstance(meta, Kind))


_TARGET = Kind("provider/model, or the name of another model", _kind(schema.Text).parse)
_DIALECT = _kind(schema.Dialect)
_OF_TARGET = frozenset({"provider", "model"})

_SPECIAL: dict[tuple[type[msgspec.Struct], str], Callable[[Reader, Any, At, At], Any]] = {
    (schema.File, "keys"): Reader.keys,
    (schema.File, "providers"): Reader.providers,
    (schema.File, "models"): Reader.models,
    (schema.File, "timeouts"): Reader.timeouts,
    (schema.File, "local"): lambda reader, *where: reader.switched(schema.LocalSection, *where),
    (schema.File, "store"): Reader.store,
    (schema.File, "vault"): lambda reader, *where: reader.switched(schema.VaultSection, *where),
    (schema.File, "fetch"): lambda reader, *where: reader.switched(schema.FetchSection, *where),
    (schema.File, "documents"): lambda reader, *where: reader.switched(schema.DocumentsSection, *where),
    (schema.ProviderSection, "models"): Reader.listed_models,
    (schema.ProviderSection, "timeouts"): Reader.timeouts,
    (schema.ProviderSection, "dialects"): Reader.dialect_urls,
    (schema.ModelSection, "targets"): Reader.targets,
    (schema.ModelSection, "timeouts"): Reader.timeouts,
    (schema.TargetSection, "timeouts"): Reader.timeouts,
}


def _provider_section(value: Any) -> Any:
    """Only a key, or only a URL, may stand for the section; so may nothing at all."""
    if isinstance(value, str):
        return {"base_url" if value.startswith(("http://", "https://")) else "api_key": value}
    return {} if value is None or value is True else value


def _is(name: str, kind: type[msgspec.Struct], key: Any) -> bool:
    """Whether a key of the layer means this setting."""
    word = str(key).lower()
    return SYNONYMS.get(kind, {}).get(word, word) == name


def _elsewhere(kind: type[msgspec.Struct], word: str) -> str:
    """` did you mean 'server.port'?`: the right word in the wrong section."""
    sections = {
        "server": schema.ServerSection,
        "server.log": schema.LogSection,
        "server.limits": schema.LimitsSection,
        "local": schema.LocalSection,
        "store": schema.StoreSection,
        "vault": schema.VaultSection,
        "fetch": schema.FetchSection,
        "documents": schema.DocumentsSection,
    }
    for name, section in sections.items():
        if section is not kind and word in _hints(section):
            return f" did you mean {name + '.' + word!r}?"
    return ""


@lru_cache(maxsize=64)
def _hints(kind: type[msgspec.Struct]) -> dict[str, Any]:
    return get_type_hints(kind, include_extras=True)


def _without_none(hint: Any) -> Any:
    if get_origin(hint) in {Union, types.UnionType}:
        return next(arg for arg in get_args(hint) if arg is not type(None))
    return hint


def layered(*layers: dict[str, Any]) -> dict[str, Any]:
    """Later layers over earlier ones; sections are merged, everything else is replaced."""
    merged: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            before = merged.get(key)
            merged[key] = layered(before, value) if isinstance(before, dict) and isinstance(value, dict) else value
    return merged


def place_in(source: str, lines: Mapping[At, int]) -> Callable[[At], str]:
    """`gateway.yaml:12: providers.openai.timeout`."""

    def place(at: At) -> str:
        line = next((lines[at[:end]] for end in range(len(at), 0, -1) if at[:end] in lines), None)
        where = f"{source}:{line}" if line is not None else source
        return f"{where}: {path_text(at)}" if at else where

    return place
