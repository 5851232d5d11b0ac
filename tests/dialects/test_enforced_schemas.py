"""JSON Schemas for constrained decoding that knows no limits."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from dragoman.dialects.enforced import enforced

CLOSED = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False}


def found(schema: Any) -> tuple[Any, list[str]] | None:
    raw = msgspec.Raw(json.dumps(schema).encode())
    result = enforced(raw)
    if result is None:
        return None
    assert result.changed == (result.schema is not raw)
    return json.loads(bytes(result.schema)) if isinstance(result.schema, msgspec.Raw) else result.schema, result.told


@pytest.mark.parametrize(
    "schema",
    [
        CLOSED,
        {"type": "string", "enum": ["a", "b"], "description": "d"},
        {"enum": ["a", 1, None]},
        {"const": 5},
        {"type": ["string", "null"]},
        {"type": "string", "format": "date-time"},
        {"type": "array", "items": CLOSED, "minItems": 1},
        {"anyOf": [CLOSED, {"type": "null"}]},
        {"$ref": "#/$defs/A", "$defs": {"A": CLOSED, "B": {"type": "array", "items": {"$ref": "#/$defs/A"}}}},
    ],
)
def test_what_can_be_enforced_stays_byte_for_byte(schema: Any) -> None:
    assert found(schema) == (schema, [])


@pytest.mark.parametrize(
    ("schema", "expected", "told"),
    [
        ({**CLOSED, "additionalProperties": True}, CLOSED, []),
        ({key: value for key, value in CLOSED.items() if key != "additionalProperties"}, CLOSED, []),
        ({"$schema": "x", **CLOSED}, CLOSED, []),
        ({"oneOf": [CLOSED]}, {"anyOf": [CLOSED]}, []),
        (
            {"$ref": "#/$defs/A", "description": "d", "$defs": {"A": CLOSED}},
            {"anyOf": [{"$ref": "#/$defs/A"}], "description": "d", "$defs": {"A": CLOSED}},
            [],
        ),
        (
            {"$ref": "#/$defs/A", "default": 1, "$defs": {"A": {"const": 1}}},
            {"anyOf": [{"$ref": "#/$defs/A"}], "description": "{default: 1}", "$defs": {"A": {"const": 1}}},
            ["default"],
        ),
        ({"type": "integer", "minimum": 1}, {"type": "integer", "description": "{minimum: 1}"}, ["minimum"]),
        (
            {"type": "string", "description": "d", "maxLength": 3, "pattern": "^x"},
            {"type": "string", "description": 'd\n\n{maxLength: 3, pattern: "^x"}'},
            ["maxLength", "pattern"],
        ),
        (
            {"type": "array", "items": {"type": "string"}, "minItems": 2},
            {"type": "array", "items": {"type": "string"}, "description": "{minItems: 2}"},
            ["minItems"],
        ),
        ({"type": "string", "format": ["date"]}, {"type": "string", "description": '{format: ["date"]}'}, ["format"]),
        (
            {"anyOf": [{"type": "string"}], "oneOf": [{"type": "null"}]},
            {"anyOf": [{"type": "string"}], "description": '{oneOf: [{"type":"null"}]}'},
            ["oneOf"],
        ),
        (
            {"anyOf": [CLOSED], "properties": {"a": {"const": "x"}}},
            {"anyOf": [CLOSED], "description": '{properties: {"a":{"const":"x"}}}'},
            ["properties"],
        ),
    ],
)
def test_objects_are_closed_and_limits_are_told_in_words(schema: Any, expected: Any, told: list[str]) -> None:
    assert found(schema) == (expected, told)


@pytest.mark.parametrize(
    "schema",
    [
        {},
        True,
        {"type": "object"},
        {"type": "object", "additionalProperties": {"type": "string"}},
        {"type": "object", "properties": {"any": {}}, "additionalProperties": False},
        {"$ref": "https://elsewhere.example/schema"},
        {"$ref": "#/$defs/A", "anyOf": [CLOSED], "$defs": {"A": CLOSED}},
        {"$ref": "#/$defs/A", "$defs": {"A": {"type": "array", "items": {"$ref": "#/$defs/A"}}}},
        {"$ref": "#/$defs/A", "$defs": {"A": {"anyOf": [{"$ref": "#/$defs/B"}]}, "B": {"anyOf": [{"$ref": "#/$defs/A"}]}}},
        {"enum": [{"a": 1}]},
    ],
)
def test_what_may_be_anything_or_refers_to_itself_cannot_be_enforced(schema: Any) -> None:
    assert found(schema) is None


@pytest.mark.parametrize("raw", [b"", b"null", b"{", b"[" * 5000])
def test_what_is_no_schema_cannot_be_enforced(raw: bytes) -> None:
    assert enforced(msgspec.Raw(raw)) is None


def test_a_schema_of_many_references_is_read_in_no_time() -> None:
    wide = {f"D{n}": {"anyOf": [{"$ref": f"#/$defs/D{n + 1}"}, {"$ref": f"#/$defs/D{n + 2}"}]} for n in range(200)}
    ends = {"D200": {"type": "null"}, "D201": {"type": "null"}}
    assert found({"$ref": "#/$defs/D0", "$defs": wide | ends}) is not None
