"""JSON Schema compiled to what Gemini takes, by an allow-list: a keyword that is not known to be taken is never sent.

Two forms. `parametersJsonSchema` and `responseJsonSchema` take a subset of JSON Schema, `parameters` and `responseSchema`
the API's own `Schema`, a subset of OpenAPI 3.0 with types in capitals:
https://ai.google.dev/api/generate-content#v1beta.GenerationConfig (`responseJsonSchema`), https://ai.google.dev/api/caching#Schema.

What is left out is told in the nearest description, so that the model still knows it, and in the ledger. `$ref` is
resolved in place, because a reference may have no neighbours there and a cycle is refused in a required property; where
a definition comes back to itself it is cut. Depth and size are bounded, so any schema gives a schema, soon.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, cast
from urllib.parse import unquote

import msgspec

from dragoman.ir.losses import Ledger
from dragoman.ir.request import Path

Schema = dict[str, Any]
Note = tuple[tuple[str | int, ...], str]
"""Where in the schema, and what became of it."""

TYPES = ("object", "array", "string", "number", "integer", "boolean", "null")

JSON_KEYWORDS = frozenset(
    {
        "type",
        "format",
        "title",
        "description",
        "enum",
        "items",
        "prefixItems",
        "minItems",
        "maxItems",
        "minimum",
        "maximum",
        "anyOf",
        "properties",
        "additionalProperties",
        "required",
        "propertyOrdering",
    }
)
"""Sent as JSON Schema. The API also takes `$ref`, `$defs`, `$id`, `$anchor` and `oneOf`, which are not needed here."""

OPENAPI_KEYWORDS = frozenset(
    {
        "type",
        "format",
        "title",
        "description",
        "nullable",
        "enum",
        "items",
        "minItems",
        "maxItems",
        "minimum",
        "maximum",
        "minLength",
        "maxLength",
        "minProperties",
        "maxProperties",
        "pattern",
        "anyOf",
        "properties",
        "required",
        "propertyOrdering",
    }
)

_JSON_FORMATS = frozenset({"date-time", "date", "time", "int32", "int64", "float", "double"})
_OPENAPI_FORMATS = frozenset({"date-time", "int32", "int64", "float", "double"})
_DEEPEST = 24
_MOST_NODES = 4000
_MOST_BRANCHES = 64
_LONGEST_NOTE = 240
_CACHED_UP_TO = 64 * 1024
_MOST_TOLD = 6

# No model needs to know of these.
_SILENT = frozenset(
    {"$schema", "$id", "id", "$anchor", "$comment", "$vocabulary", "$dynamicAnchor", "$recursiveAnchor", "$defs", "definitions"}
)
_MEANINGLESS_DEFINITIONS = frozenset({"$defs", "definitions"})

_WORDS: dict[str, str] = {
    "pattern": "matches the regular expression {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minProperties": "at least {} properties",
    "maxProperties": "at most {} properties",
    "multipleOf": "a multiple of {}",
    "exclusiveMinimum": "greater than {}",
    "exclusiveMaximum": "less than {}",
    "uniqueItems": "the items are unique: {}",
    "default": "default: {}",
    "const": "always {}",
    "enum": "one of {}",
    "format": "format: {}",
    "propertyNames": "names of properties: {}",
    "patternProperties": "properties by pattern: {}",
    "not": "not: {}",
    "contains": "contains: {}",
    "examples": "examples: {}",
    "example": "example: {}",
    "additionalProperties": "other properties: {}",
    "required": "required: {}",
}

_encode = msgspec.json.Encoder().encode


class Compiled(msgspec.Struct, frozen=True):
    """`schema` is an object of allowed keywords."""

    schema: Schema
    notes: tuple[Note, ...]


def compile_schema(raw: msgspec.Raw, *, openapi: bool) -> Compiled:
    """The schema for Gemini. It may be shared between calls: nobody changes it."""
    body = bytes(raw)
    return _cached(body, openapi) if len(body) <= _CACHED_UP_TO else _compile(body, openapi)


def enter(compiled: Compiled, at: Path, ledger: Ledger) -> None:
    """One entry for all that was left out of a schema that stands at, or within, `at`."""
    if not compiled.notes:
        return
    told = list(dict.fromkeys(str(where[-1]) if where else "the schema" for where, _ in compiled.notes))
    more = f" and {len(told) - _MOST_TOLD} more" if len(told) > _MOST_TOLD else ""
    cut = any(how for _, how in compiled.notes if "cut" in how)
    what = f"of its schema {', '.join(told[:_MOST_TOLD])}{more} are told in descriptions, or not needed"
    ledger.add(at, None, what + "; it is cut where it goes too deep or in circles" if cut else what, "info")


def _compile(body: bytes, openapi: bool) -> Compiled:
    try:
        native = msgspec.json.decode(body) if body.strip() else {}
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Compiled({}, (((), "not a schema that can be read"),))
    compiling = _Compiling(native, openapi)
    return Compiled(compiling.node(native, (), 0, ()), tuple(compiling.notes))


_cached = lru_cache(maxsize=512)(_compile)


class _Compiling:
    """One schema on its way."""

    def __init__(self, root: Any, openapi: bool) -> None:
        self.root = root
        self.openapi = openapi
        self.notes: list[Note] = []
        self._nodes = 0
        self._handlers: dict[str, Callable[[Any, _Node], None]] = {
            "type": self._type,
            "format": self._format,
            "title": self._text("title"),
            "description": self._text("description"),
            "nullable": self._nullable,
            "enum": self._enum,
            "const": self._const,
            "items": self._items,
            "prefixItems": self._prefix,
            "minItems": self._bound("minItems", whole=True),
            "maxItems": self._bound("maxItems", whole=True),
            "minimum": self._bound("minimum"),
            "maximum": self._bound("maximum"),
            "exclusiveMinimum": self._exclusive("minimum", 1),
            "exclusiveMaximum": self._exclusive("maximum", -1),
            "anyOf": self._any_of,
            "oneOf": self._any_of,
            "properties": self._properties,
            "additionalProperties": self._additional,
            "required": self._required,
            "propertyOrdering": self._ordering,
        }
        if openapi:
            self._handlers |= {
                key: self._bound(key, whole=True) for key in ("minLength", "maxLength", "minProperties", "maxProperties")
            }
            self._handlers["pattern"] = self._text("pattern")

    # ------------------------------------------------------------ one node

    def node(self, native: Any, where: tuple[str | int, ...], depth: int, seen: tuple[str, ...]) -> Schema:
        self._nodes += 1
        if native is False:
            return self._finished(_Node(where, depth, seen, {}, ["nothing is allowed here"]))
        if not isinstance(native, dict):
            return self._finished(_Node(where, depth, seen, {}, []))
        schema, seen, cut = self._resolved(cast("Schema", native), where, seen)
        node = _Node(where, depth, seen, schema, [])
        if cut is not None:
            node.words.append(f"the same shape again as {cut}, and so on")
            self.notes.append((where, "a recursive schema is cut here"))
            _copy_words(schema, node)
            return self._finished(node)
        if depth >= _DEEPEST or self._nodes > _MOST_NODES:
            node.words.append("further detail is left out")
            self.notes.append((where, "the schema is too deep or too large: cut here"))
            _copy_words(schema, node)
            return self._finished(node)
        for key, value in schema.items():
            handler = self._handlers.get(key)
            if handler is not None:
                handler(value, node)
            elif key not in _SILENT:
                self._told(key, value, node)
            elif key not in _MEANINGLESS_DEFINITIONS:
                self.notes.append(((*where, key), "not taken, and of no use to the model"))
        return self._finished(node)

    def _resolved(
        self, native: Schema, where: tuple[str | int, ...], seen: tuple[str, ...]
    ) -> tuple[Schema, tuple[str, ...], str | None]:
        """The schema with its `$ref` and `allOf` put in place; the references that led here; and the one that leads
        back, where one does."""
        merged = native
        for _ in range(16):
            if "$ref" in merged or "$dynamicRef" in merged:
                rest = {key: value for key, value in merged.items() if key not in {"$ref", "$dynamicRef"}}
                name = merged.get("$ref", merged.get("$dynamicRef"))
                if not isinstance(name, str):
                    merged = rest
                    continue
                target = self._lookup(name)
                if name in seen:
                    kind = {key: value for key, value in (target or {}).items() if key in {"type", "title"}}
                    return kind | rest, seen, name.rpartition("/")[2].strip("#") or "the whole"
                if target is None:
                    self.notes.append(((*where, "$ref"), "the definition it names is not there"))
                    merged = rest
                    continue
                seen = (*seen, name)
                merged = target | rest
            elif isinstance(merged.get("allOf"), list):
                rest = {key: value for key, value in merged.items() if key != "allOf"}
                merged = self._all_of(cast("list[Any]", merged["allOf"]), rest, where, seen)
            else:
                break
        return merged, seen, None

    def _lookup(self, name: str) -> Schema | None:
        if not name.startswith("#"):
            return None
        found = self.root
        for step in name[1:].split("/")[1:]:
            key = unquote(step).replace("~1", "/").replace("~0", "~")
            if isinstance(found, dict):
                found = cast("Schema", found).get(key)
            elif isinstance(found, list) and key.isdecimal() and len(key) < _LONGEST_NUMBER and int(key) < len(found):
                found = cast("list[Any]", found)[int(key)]
            else:
                return None
        return cast("Schema", found) if isinstance(found, dict) else None

    def _all_of(self, parts: list[Any], into: Schema, where: tuple[str | int, ...], seen: tuple[str, ...]) -> Schema:
        merged = dict(into)
        for index, part in enumerate(parts[:_MOST_BRANCHES]):
            if not isinstance(part, dict):
                continue
            one = cast("Schema", part)
            name = one.get("$ref")
            if isinstance(name, str):
                target = None if name in seen else self._lookup(name)
                if target is None:
                    self.notes.append(((*where, "allOf", index), "a recursive schema is cut here"))
                one = {**(target or {}), **{key: value for key, value in one.items() if key != "$ref"}}
            for key, value in one.items():
                held = merged.get(key)
                if held is None:
                    merged[key] = value
                elif isinstance(held, dict) and isinstance(value, dict) and key == "properties":
                    merged[key] = {**held, **value}
                elif isinstance(held, list) and isinstance(value, list) and key == "required":
                    merged[key] = list(dict.fromkeys(map(_hashable, [*held, *value])))
                elif held != value:
                    self.notes.append(((*where, "allOf", index, key), "said twice with different values: the first is sent"))
        return merged

    def _finished(self, node: _Node) -> Schema:
        out = node.out
        if self.openapi:
            self._as_openapi(node)
        elif node.nullable and "type" in out:
            kinds = out["type"] if isinstance(out["type"], list) else [out["type"]]
            out["type"] = kinds if "null" in kinds else [*kinds, "null"]
        if isinstance(out.get("required"), list):
            there = out.get("properties")
            known = [name for name in out["required"] if isinstance(there, dict) and name in there]
            missing = [name for name in out["required"] if not isinstance(there, dict) or name not in there]
            if missing:
                node.words.append(f"required: {', '.join(missing)}")
            if known:
                out["required"] = known
            else:
                del out["required"]
        if node.words:
            words = "; ".join(node.words)
            out["description"] = f"{out['description']} ({words})" if out.get("description") else words[0].upper() + words[1:]
        return out

    def _as_openapi(self, node: _Node) -> None:
        out = node.out
        kinds = out.get("type")
        if isinstance(kinds, list):
            named = [kind for kind in cast("list[str]", kinds) if kind != "null"]
            node.nullable = node.nullable or len(named) < len(kinds)
            if len(named) > 1 and "anyOf" not in out:
                out["anyOf"] = [{"type": kind.upper()} for kind in named]
                del out["type"]
            else:
                out["type"] = named[0] if named else "string"
        if "anyOf" not in out:
            kind = out.get("type") or _implied(out)
            if kind is None:
                kind = "string"
                node.words.append("any JSON value")
            if kind == "null":
                kind, node.nullable = "string", True
            out["type"] = kind.upper()
            if kind == "array":
                out.setdefault("items", {"type": "STRING"})
            if "enum" in out and kind != "string":
                node.words.append(f"one of {_shown(out.pop('enum'))}")
        else:
            # Beside `anyOf` nothing else may stand there but a description.
            if (given := out.get("type")) and isinstance(given, str):
                out["type"] = given.upper()
            alone = {key: out.pop(key) for key in list(out) if key not in {"anyOf", "description", "title"}}
            if "properties" in alone or "enum" in alone:
                out["anyOf"] = [{**alone, **branch} for branch in out["anyOf"]]
        if node.nullable:
            out["nullable"] = True

    def _told(self, key: str, value: Any, node: _Node) -> None:
        """A keyword that is not taken, in words."""
        if value in (None, False, [], {}) and key not in {"const", "default", "enum"}:
            return
        words = _WORDS.get(key)
        node.words.append(words.format(_shown(value)) if words is not None else f"{_shown(key)}: {_shown(value)}")
        self.notes.append(((*node.where, key), ""))

    # ------------------------------------------------------------ keywords

    def _text(self, key: str) -> Callable[[Any, _Node], None]:
        def handle(value: Any, node: _Node) -> None:
            if isinstance(value, str):
                node.out[key] = value

        return handle

    def _bound(self, key: str, *, whole: bool = False) -> Callable[[Any, _Node], None]:
        def handle(value: Any, node: _Node) -> None:
            if isinstance(value, bool) or not isinstance(value, int | float) or (whole and (value < 0 or value != int(value))):
                self._told(key, value, node)
            else:
                node.out[key] = int(value) if whole else value

        return handle

    def _exclusive(self, key: str, step: int) -> Callable[[Any, _Node], None]:
        def handle(value: Any, node: _Node) -> None:
            number = isinstance(value, int) and not isinstance(value, bool)
            if number and node.schema.get("type") == "integer" and key not in node.schema:
                node.out[key] = value + step
            elif value is not False:
                self._told("exclusiveMinimum" if step > 0 else "exclusiveMaximum", value, node)

        return handle

    def _type(self, value: Any, node: _Node) -> None:
        kinds = [value] if isinstance(value, str) else cast("list[Any]", value) if isinstance(value, list) else []
        known = [kind.lower() for kind in kinds if isinstance(kind, str) and kind.lower() in TYPES]
        if len(known) < len(kinds) or not kinds:
            self._told("type", value, node)
        known = list(dict.fromkeys(known))
        if known:
            node.out["type"] = known[0] if len(known) == 1 else known

    def _format(self, value: Any, node: _Node) -> None:
        formats = _OPENAPI_FORMATS if self.openapi else _JSON_FORMATS
        if isinstance(value, str) and value in formats:
            node.out["format"] = value
        elif value != "enum":
            self._told("format", value, node)

    def _nullable(self, value: Any, node: _Node) -> None:
        node.nullable = value is True

    def _enum(self, value: Any, node: _Node) -> None:
        values = cast("list[Any]", value) if isinstance(value, list) else []
        if any(one is None for one in values):
            node.nullable = True
        plain = [one for one in values if isinstance(one, str | int | float) and not isinstance(one, bool)]
        numbers = any(not isinstance(one, str) for one in plain)
        others = len(plain) < sum(one is not None for one in values)
        if not plain or others or (self.openapi and numbers):
            self._told("enum", value, node)
        else:
            node.out["enum"] = plain

    def _const(self, value: Any, node: _Node) -> None:
        if isinstance(value, str) or (isinstance(value, int | float) and not isinstance(value, bool) and not self.openapi):
            node.out["enum"] = [value]
            node.out.setdefault("type", "string" if isinstance(value, str) else "number")
        else:
            self._told("const", value, node)

    def _items(self, value: Any, node: _Node) -> None:
        if isinstance(value, list):
            self._prefix(cast("list[Any]", value), node)
        elif isinstance(value, dict) or value is False:
            node.out["items"] = self.node(value, (*node.where, "items"), node.depth + 1, node.seen)
        elif self.openapi:
            node.out["items"] = {"type": "STRING"}

    def _prefix(self, value: Any, node: _Node) -> None:
        if not isinstance(value, list) or not value:
            self._told("prefixItems", value, node)
            return
        parts = self._branches(cast("list[Any]", value), "prefixItems", node)
        if self.openapi:
            node.out.setdefault("items", parts[0] if len(parts) == 1 else {"anyOf": parts})
            node.words.append("the items are of these kinds, in this order")
            self.notes.append(((*node.where, "prefixItems"), ""))
        else:
            node.out["prefixItems"] = parts

    def _any_of(self, value: Any, node: _Node) -> None:
        if not isinstance(value, list) or not value:
            return
        parts = self._branches(cast("list[Any]", value), "anyOf", node)
        if self.openapi:
            named = [part for part in parts if not _is_null(part)]
            if len(named) < len(parts):
                node.nullable = True
            parts = named
        if "anyOf" in node.out:
            self._told("oneOf", value, node)
        elif self.openapi and len(parts) == 1:
            node.out = parts[0] | node.out
        elif parts:
            node.out["anyOf"] = parts

    def _branches(self, value: list[Any], key: str, node: _Node) -> list[Schema]:
        if len(value) > _MOST_BRANCHES:
            self.notes.append(((*node.where, key), f"only the first {_MOST_BRANCHES} are sent"))
        nulls = self.openapi and key == "anyOf"
        return [
            {"type": "NULL"}
            if nulls and isinstance(part, dict) and cast("Schema", part).get("type") == "null"
            else self.node(part, (*node.where, key, index), node.depth + 1, node.seen)
            for index, part in enumerate(value[:_MOST_BRANCHES])
        ]

    def _properties(self, value: Any, node: _Node) -> None:
        if not isinstance(value, dict):
            self._told("properties", value, node)
            return
        members: Schema = {}
        for name, member in cast("Schema", value).items():
            if self._nodes > _MOST_NODES:
                self.notes.append(((*node.where, "properties", name), "the schema is too large: cut here"))
                continue
            members[name] = self.node(member, (*node.where, "properties", name), node.depth + 1, node.seen)
        if members or not self.openapi:
            node.out["properties"] = members

    def _additional(self, value: Any, node: _Node) -> None:
        if self.openapi:
            if isinstance(value, dict) and value:
                self._told("additionalProperties", value, node)
            elif value is False:
                self.notes.append(((*node.where, "additionalProperties"), "not taken in this form"))
        elif isinstance(value, bool):
            node.out["additionalProperties"] = value
        elif isinstance(value, dict):
            node.out["additionalProperties"] = self.node(
                value, (*node.where, "additionalProperties"), node.depth + 1, node.seen
            )

    def _required(self, value: Any, node: _Node) -> None:
        if isinstance(value, list):
            node.out["required"] = [name for name in cast("list[Any]", value) if isinstance(name, str)]
        elif value is not None and not isinstance(value, bool):
            self._told("required", value, node)

    def _ordering(self, value: Any, node: _Node) -> None:
        if isinstance(value, list) and all(isinstance(name, str) for name in cast("list[Any]", value)):
            node.out["propertyOrdering"] = value


class _Node:
    """A schema being compiled: `schema` what it says, `out` what is sent, `words` what is told instead. `seen` holds the
    references that led here."""

    __slots__ = ("depth", "nullable", "out", "schema", "seen", "where", "words")

    def __init__(
        self, where: tuple[str | int, ...], depth: int, seen: tuple[str, ...], schema: Schema, words: list[str]
    ) -> None:
        self.where = where
        self.depth = depth
        self.seen = seen
        self.schema = schema
        self.out: Schema = {}
        self.words = words
        self.nullable = False


def _copy_words(schema: Schema, node: _Node) -> None:
    for key in ("type", "title", "description"):
        value = schema.get(key)
        if isinstance(value, str) and (key != "type" or value in TYPES):
            node.out[key] = value


def _is_null(part: Schema) -> bool:
    return part.get("type") in {"null", "NULL"} and len(part) == 1


def _implied(out: Schema) -> str | None:
    """The type of a schema that does not say it."""
    if "properties" in out:
        return "object"
    if "items" in out:
        return "array"
    if "enum" in out or "pattern" in out or "minLength" in out or "maxLength" in out:
        return "string"
    return "number" if "minimum" in out or "maximum" in out else None


def _hashable(value: Any) -> str:
    return value if isinstance(value, str) else _shown(value)


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else _encode(value).decode()
    return text if len(text) <= _LONGEST_NOTE else text[: _LONGEST_NOTE - 3] + "..."


# ---------------------------------------------------------------- the other way

_LONGEST_NUMBER = 19
"""Digits. Python refuses to read numbers of thousands."""

_AS_NUMBER = frozenset({"minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"})
_ONE_SCHEMA = frozenset({"items", "additionalProperties"})
_NAMED_SCHEMAS = frozenset({"properties", "defs", "$defs"})
_CAMEL = {
    "any_of": "anyOf",
    "min_items": "minItems",
    "max_items": "maxItems",
    "min_length": "minLength",
    "max_length": "maxLength",
    "min_properties": "minProperties",
    "max_properties": "maxProperties",
    "property_ordering": "propertyOrdering",
    "additional_properties": "additionalProperties",
}


def openapi_to_json(native: Any, depth: int = 0) -> Any:
    """A `Schema` of the API as JSON Schema: types in lower case, `nullable` as a type, int64 as numbers."""
    if not isinstance(native, dict) or depth > 100:
        return native
    out: Schema = {}
    order: list[str] = []
    nullable = False
    for said, value in cast("Schema", native).items():
        key = _CAMEL.get(said, said)
        if key == "type" and isinstance(value, str):
            if not value.upper().endswith("_UNSPECIFIED"):
                out["type"] = value.lower()
        elif key == "nullable":
            nullable = value is True
        elif key == "format" and value == "enum":
            continue
        elif key in _AS_NUMBER and isinstance(value, str) and value.isdecimal() and len(value) < _LONGEST_NUMBER:
            out[key] = int(value)
        elif key in _ONE_SCHEMA:
            out[key] = openapi_to_json(value, depth + 1)
        elif key in _NAMED_SCHEMAS and isinstance(value, dict):
            members = {name: openapi_to_json(one, depth + 1) for name, one in cast("Schema", value).items()}
            out["$defs" if key == "defs" else key] = members
        elif key == "anyOf" and isinstance(value, list):
            out[key] = [openapi_to_json(one, depth + 1) for one in cast("list[Any]", value)]
        elif key == "ref" and isinstance(value, str):
            out["$ref"] = value.replace("#/defs/", "#/$defs/")
        elif key == "example":
            out["examples"] = [value]
        elif key == "propertyOrdering":
            order = [str(name) for name in cast("list[Any]", value)] if isinstance(value, list) else []
        else:
            out[key] = value
    members = out.get("properties")
    if order and isinstance(members, dict):
        first = {name: members[name] for name in order if name in members}
        out["properties"] = first | cast("Schema", members)
    if nullable:
        if isinstance(out.get("type"), str):
            out["type"] = [out["type"], "null"]
        elif isinstance(out.get("anyOf"), list):
            out["anyOf"] = [*out["anyOf"], {"type": "null"}]
    return out
