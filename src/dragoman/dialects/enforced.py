"""JSON Schemas as constrained decoding takes them, at Anthropic and in Bedrock. It knows the shape of a value, and no limits:
objects must be closed, a limit on a number, a text or a list is a 400, and so is a schema that refers to itself.

https://platform.claude.com/docs/en/build-with-claude/structured-outputs#json-schema-limitations, and what Anthropic's SDKs make
of the schemas of programs (`anthropic.lib._parse._transform`): objects are closed, and limits go into the description, where
the model reads them. What would mean something else when it is closed (an object of any members) cannot be enforced at all.
"""

from __future__ import annotations

from typing import Any, cast

import msgspec

from dragoman.ir.losses import Ledger
from dragoman.ir.request import Format, Tool

Block = dict[str, Any]

_FORMATS = frozenset({"date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"})
_KEPT = frozenset({"type", "enum", "const", "title", "description", "default", "required"})
_DEFINITIONS = ("$defs", "definitions")
_SILENT = frozenset({"$schema", "$id", "$comment", "examples", "additionalProperties"})
"""What says nothing about a value, or is said in another way."""
_CHOICES = ("anyOf", "oneOf", "allOf")
_PRIMITIVE = (str, int, float, bool, type(None))

_encode = msgspec.json.Encoder().encode


class Enforced(msgspec.Struct):
    """`schema` is as it came where nothing had to be `changed`. `told`: what is not enforced, by its keyword; it stands in
    descriptions."""

    schema: msgspec.Raw | Block
    changed: bool
    told: list[str]


def enforced(schema: msgspec.Raw) -> Enforced | None:
    """The schema as it can be enforced; None where it cannot."""
    try:
        native = msgspec.json.decode(schema)
        walk = _Walk()
        found = walk.node(native)
        if walk.circles():
            return None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, _Open):
        return None
    changed = found != native
    return Enforced(found if changed else schema, changed, walk.told)


class _Open(Exception):
    """Something in the schema may be anything."""


class _Walk:
    def __init__(self) -> None:
        self.told: list[str] = []
        self._refs: dict[str, set[str]] = {}
        self._in = ""

    def node(self, schema: Any) -> Block:
        if not isinstance(schema, dict) or not schema:
            raise _Open
        native = cast("Block", schema)
        out: Block = {}
        for key in _DEFINITIONS:
            if isinstance(native.get(key), dict):
                out[key] = {name: self.definition(f"#/{key}/{name}", inner) for name, inner in native[key].items()}
        if "$ref" in native:
            self._refs.setdefault(self._in, set()).add(str(native["$ref"]))
            if not str(native["$ref"]).startswith(("#/$defs/", "#/definitions/")):
                raise _Open
            return self.reference(native, out)
        out |= {key: value for key, value in native.items() if key in _KEPT}
        kinds = native.get("type")
        kinds = kinds if isinstance(kinds, list) else [kinds]
        choices = self.choices(native, out)
        literal = self.is_literal(native)
        if not literal and not choices and not all(isinstance(kind, str) for kind in kinds):
            raise _Open
        if "object" in kinds and not literal:
            self.object(native, out, choices=choices)
        if "array" in kinds and "items" in native and not literal:
            out["items"] = self.node(native["items"])
        if native.get("minItems") in (0, 1):
            out["minItems"] = native["minItems"]
        if isinstance(native.get("format"), str) and native["format"] in _FORMATS:
            out["format"] = native["format"]
        return self.described(native, out)

    def reference(self, native: Block, out: Block) -> Block:
        """Nothing may stand beside a reference; as Pydantic writes it, a description does."""
        reference = {"$ref": native["$ref"]}
        beside = {key: value for key, value in native.items() if key not in {*reference, "title", *_DEFINITIONS, *_SILENT}}
        if not beside:
            return {**out, **reference}
        if not beside.keys().isdisjoint(_CHOICES):
            raise _Open
        said = {"description": beside["description"]} if "description" in beside else {}
        return self.described(beside, {**out, "anyOf": [reference], **said})

    def definition(self, name: str, schema: Any) -> Block:
        before, self._in = self._in, name
        found = self.node(schema)
        self._in = before
        return found

    def choices(self, native: Block, out: Block) -> bool:
        for key, own in (("anyOf", "anyOf"), ("oneOf", "anyOf"), ("allOf", "allOf")):
            if isinstance(native.get(key), list) and native[key]:
                out[own] = [self.node(inner) for inner in cast("list[Any]", native[key])]
                return True
        return False

    @staticmethod
    def is_literal(native: Block) -> bool:
        values = native.get("enum")
        values = cast("list[Any]", values) if isinstance(values, list) else []
        if "const" in native:
            values = [*values, native["const"]]
        if not all(isinstance(value, _PRIMITIVE) for value in values):
            raise _Open
        return bool(values)

    def object(self, native: Block, out: Block, *, choices: bool) -> None:
        members = native.get("properties")
        members = cast("Block", members) if isinstance(members, dict) else {}
        more = native.get("additionalProperties")
        if isinstance(more, dict) or "patternProperties" in native or (not members and more is not False and not choices):
            raise _Open
        if members or not choices:
            out["properties"] = {name: self.node(inner) for name, inner in members.items()}
        out["additionalProperties"] = False

    def described(self, native: Block, out: Block) -> Block:
        known = {*out, *_SILENT, *_DEFINITIONS}
        if "anyOf" not in native:
            known.add("oneOf")  # it is told as that
        rest = {key: value for key, value in native.items() if key not in known}
        if rest:
            self.told += [key for key in rest if key not in self.told]
            limits = ", ".join(f"{key}: {_encode(value).decode()}" for key, value in rest.items())
            told = out.get("description")
            out["description"] = f"{told}\n\n{{{limits}}}" if isinstance(told, str) and told else f"{{{limits}}}"
        return out

    def circles(self) -> bool:
        """Whether a definition leads back to itself."""
        done: set[str] = set()

        def leads_back(name: str, way: frozenset[str]) -> bool:
            if name in way:
                return True
            if name in done:
                return False
            found = any(leads_back(other, way | {name}) for other in self._refs.get(name, ()))
            done.add(name)
            return found

        return any(leads_back(name, frozenset()) for name in list(self._refs))


def report(found: Enforced, wanted: Format, ledger: Ledger) -> None:
    """What became of the format of an answer."""
    if found.told:
        what = f"told to the model in descriptions, not enforced: {', '.join(found.told)}"
        ledger.add(wanted.at, None, what, "degraded")
    elif found.changed:
        ledger.add(wanted.at, None, "the objects of the schema have no other members here", "info")


def strict_tool(tool: Tool, ledger: Ledger) -> bool:
    """Whether a tool that wants its arguments held to its schema can have that here, where the schema stays as it is."""
    found = enforced(tool.schema)
    if found is not None and not found.changed:
        return True
    ledger.add(tool.at, None, "arguments are not held to a schema with limits, open objects or circles here", "degraded")
    return False
