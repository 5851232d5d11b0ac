"""The allow-list: whatever goes in, only what Gemini takes comes out, soon and bounded, and what is left out is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from google.genai import types
from hypothesis import given, settings
from hypothesis import strategies as st

from dragoman.dialects.gemini.schema import JSON_KEYWORDS, OPENAPI_KEYWORDS, compile_schema, enter, openapi_to_json
from dragoman.ir.losses import Ledger

CORPUS = Path(__file__).parents[2] / "corpus"


def compiled(schema: Any, *, openapi: bool = False) -> Any:
    return compile_schema(msgspec.Raw(json.dumps(schema).encode()), openapi=openapi).schema


def notes(schema: Any, *, openapi: bool = False) -> list[str]:
    found = compile_schema(msgspec.Raw(json.dumps(schema).encode()), openapi=openapi).notes
    return [".".join(map(str, where)) for where, _ in found]


def nodes(schema: Any) -> list[dict[str, Any]]:
    """Every schema within a compiled one."""
    found = [schema]
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            found += nodes(schema[key])
    for key in ("anyOf", "prefixItems"):
        for one in schema.get(key, []):
            found += nodes(one)
    for one in schema.get("properties", {}).values():
        found += nodes(one)
    return found


def check(schema: Any, *, openapi: bool) -> None:
    allowed = OPENAPI_KEYWORDS if openapi else JSON_KEYWORDS
    every = nodes(schema)
    assert len(every) < 10_000
    for node in every:
        assert set(node) <= allowed
        for name in node.get("required", []):
            assert name in node["properties"]
        if openapi:
            assert node.get("type") or node.get("anyOf")
            assert all(isinstance(value, str) for value in node.get("enum", []))
            if "anyOf" not in node:
                assert node["type"] in {"OBJECT", "ARRAY", "STRING", "NUMBER", "INTEGER", "BOOLEAN"}
                assert node["type"] != "ARRAY" or "items" in node


# ---------------------------------------------------------------- any schema

WORDS = sorted(
    JSON_KEYWORDS
    | OPENAPI_KEYWORDS
    | {"$ref", "$defs", "$schema", "allOf", "oneOf", "not", "if", "const", "uniqueItems", "propertyNames", "multipleOf"}
    | {"exclusiveMinimum", "patternProperties", "examples", "$comment", "definitions", "dependentRequired", "x-other"}
)
LEAVES: Any = (
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(
        ["string", "object", "array", "integer", "null", "#", "#/$defs/a", "#/properties/b", "x", "date-time", "uri"]
    )
)
ANYTHING: Any = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from([*WORDS, "a", "b"]), inner, max_size=6),
    max_leaves=40,
)


@given(ANYTHING, st.booleans())
@settings(max_examples=400, deadline=None)
def test_any_json_gives_a_schema_of_allowed_keywords(schema: Any, openapi: bool) -> None:
    check(compiled(schema, openapi=openapi), openapi=openapi)


@given(ANYTHING)
@settings(max_examples=200, deadline=None)
def test_the_apis_own_form_is_what_the_sdk_takes_for_a_schema(schema: Any) -> None:
    types.Schema.model_validate(compiled(schema, openapi=True))


@given(ANYTHING)
@settings(max_examples=200, deadline=None)
def test_the_way_back_never_raises(schema: Any) -> None:
    openapi_to_json(schema)


@pytest.mark.parametrize("openapi", [False, True])
def test_a_schema_that_grows_without_bound_is_cut(openapi: bool) -> None:
    """Each definition names the next one twice: written out it would have 2^40 nodes."""
    definitions: dict[str, Any] = {
        f"d{i}": {"type": "object", "properties": {key: {"$ref": f"#/$defs/d{i + 1}"} for key in "ab"}} for i in range(40)
    }
    definitions["d40"] = {"type": "string"}
    schema = compiled({"$ref": "#/$defs/d0", "$defs": definitions}, openapi=openapi)
    check(schema, openapi=openapi)
    assert any("left out" in node.get("description", "") for node in nodes(schema))


@pytest.mark.parametrize("openapi", [False, True])
def test_deep_nesting_is_cut(openapi: bool) -> None:
    schema: Any = {"type": "string"}
    for _ in range(300):
        schema = {"type": "object", "properties": {"a": schema}}
    check(compiled(schema, openapi=openapi), openapi=openapi)


def test_what_is_no_schema_at_all_gives_an_empty_one() -> None:
    for text in (b"", b"nonsense", b"[1]", b"7", b"[" * 5000):
        assert compile_schema(msgspec.Raw(text), openapi=False).schema == {}


# ---------------------------------------------------------------- what becomes of what


def test_what_is_taken_stays_as_it_is() -> None:
    schema = {
        "type": "object",
        "title": "T",
        "description": "D",
        "properties": {
            "s": {"type": ["string", "null"], "format": "date-time", "enum": ["a", "b"]},
            "n": {"type": "number", "minimum": 0.5, "maximum": 9, "enum": [1, 2]},
            "l": {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 3},
            "p": {"type": "array", "prefixItems": [{"type": "string"}, {"type": "integer"}]},
            "u": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        },
        "required": ["s"],
        "additionalProperties": False,
        "propertyOrdering": ["s", "n"],
    }
    assert compiled(schema) == schema
    assert notes(schema) == []


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "string", "pattern": "^a+$"}, "Matches the regular expression ^a+$"),
        ({"type": "string", "minLength": 2, "description": "A name."}, "A name. (at least 2 characters)"),
        ({"type": "array", "uniqueItems": True}, "The items are unique: true"),
        ({"type": "number", "multipleOf": 5, "exclusiveMaximum": 10.5}, "A multiple of 5; less than 10.5"),
        ({"type": "string", "format": "uri"}, "Format: uri"),
        ({"type": "boolean", "const": True}, "Always true"),
        ({"type": "string", "default": ""}, "Default: "),
        ({"type": "object", "propertyNames": {"pattern": "^x-"}}, 'Names of properties: {"pattern":"^x-"}'),
        ({"not": {"type": "string"}}, 'Not: {"type":"string"}'),
        ({"type": "string", "x-secret-sauce": 7}, "X-secret-sauce: 7"),
        ({"enum": [1, "a", True]}, 'One of [1,"a",true]'),
    ],
)
def test_what_is_not_taken_is_told_in_the_description(schema: Any, words: str) -> None:
    found = compiled(schema)
    assert found["description"] == words
    assert set(found) <= JSON_KEYWORDS
    assert notes(schema)


def test_a_long_value_is_told_in_part() -> None:
    assert len(compiled({"type": "string", "examples": ["x" * 5000]})["description"]) < 400


def test_names_and_comments_are_not_told_to_the_model() -> None:
    schema = {"$schema": "s", "$id": "i", "$comment": "c", "type": "string"}
    assert compiled(schema) == {"type": "string"}
    assert notes(schema) == ["$schema", "$id", "$comment"]


def test_references_are_put_in_place_with_what_stands_beside_them() -> None:
    schema = {
        "properties": {"a": {"$ref": "#/$defs/A", "description": "mine"}, "b": {"$ref": "#/definitions/B~1C"}},
        "$defs": {"A": {"type": "string", "description": "theirs"}},
        "definitions": {"B/C": {"type": "integer"}},
    }
    assert compiled(schema)["properties"] == {
        "a": {"type": "string", "description": "mine"},
        "b": {"type": "integer"},
    }


def test_a_definition_that_comes_back_to_itself_is_cut_with_a_word() -> None:
    schema = {
        "$ref": "#/$defs/Tree",
        "$defs": {"Tree": {"type": "object", "properties": {"kids": {"type": "array", "items": {"$ref": "#/$defs/Tree"}}}}},
    }
    assert compiled(schema)["properties"]["kids"]["items"] == {
        "type": "object",
        "description": "The same shape again as Tree, and so on",
    }
    assert notes(schema) == ["properties.kids.items"]


def test_the_root_may_be_named_by_its_own_members() -> None:
    schema = {"type": "object", "properties": {"self": {"$ref": "#"}}}
    inner = compiled(schema)["properties"]["self"]["properties"]["self"]
    assert inner == {"type": "object", "description": "The same shape again as the whole, and so on"}


def test_a_reference_to_nowhere_is_left_out() -> None:
    assert compiled({"$ref": "#/$defs/no", "type": "string"}) == {"type": "string"}
    assert notes({"$ref": "http://elsewhere/x"}) == ["$ref"]


def test_parts_of_an_all_of_become_one() -> None:
    schema = {
        "allOf": [
            {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]},
            {"$ref": "#/$defs/B"},
        ],
        "$defs": {"B": {"properties": {"b": {"type": "integer"}}, "required": ["b"]}},
    }
    assert compiled(schema) == {
        "type": "object",
        "properties": {"a": {"type": "string"}, "b": {"type": "integer"}},
        "required": ["a", "b"],
    }


def test_one_of_is_any_of() -> None:
    assert compiled({"oneOf": [{"type": "string"}, {"const": 1}]}) == {
        "anyOf": [{"type": "string"}, {"enum": [1], "type": "number"}]
    }


def test_an_exclusive_bound_of_an_integer_is_a_bound() -> None:
    assert compiled({"type": "integer", "exclusiveMinimum": 0, "exclusiveMaximum": 10}) == {
        "type": "integer",
        "minimum": 1,
        "maximum": 9,
    }


def test_a_required_member_that_is_not_there_is_told() -> None:
    assert compiled({"type": "object", "properties": {"a": {}}, "required": ["a", "b"]}) == {
        "type": "object",
        "properties": {"a": {}},
        "required": ["a"],
        "description": "Required: b",
    }


# ---------------------------------------------------------------- the API's own form


def test_the_apis_own_form_has_types_in_capitals_and_nullable() -> None:
    schema = {
        "properties": {
            "a": {"type": ["string", "null"], "minLength": 1},
            "b": {"type": ["string", "integer"]},
            "c": {"anyOf": [{"type": "object", "properties": {"x": {"type": "number"}}}, {"type": "null"}]},
            "d": {"type": "array"},
            "e": {},
            "f": {"type": "integer", "enum": [1, 2]},
            "g": {"type": "object", "properties": {}, "additionalProperties": False},
        },
        "additionalProperties": False,
    }
    assert compiled(schema, openapi=True) == {
        "type": "OBJECT",
        "properties": {
            "a": {"type": "STRING", "minLength": 1, "nullable": True},
            "b": {"anyOf": [{"type": "STRING"}, {"type": "INTEGER"}]},
            "c": {"type": "OBJECT", "properties": {"x": {"type": "NUMBER"}}, "nullable": True},
            "d": {"type": "ARRAY", "items": {"type": "STRING"}},
            "e": {"type": "STRING", "description": "Any JSON value"},
            "f": {"type": "INTEGER", "description": "One of [1,2]"},
            "g": {"type": "OBJECT"},
        },
    }


def test_the_apis_own_form_reads_back_as_json_schema() -> None:
    native = {
        "type": "OBJECT",
        "properties": {
            "b": {"type": "STRING", "nullable": True, "maxLength": "9"},
            "a": {"any_of": [{"type": "INTEGER"}], "nullable": True},
            "c": {"type": "ARRAY", "items": {"type": "TYPE_UNSPECIFIED"}, "min_items": "1"},
            "d": {"ref": "#/defs/D"},
        },
        "defs": {"D": {"type": "STRING", "format": "enum", "enum": ["X"], "example": "X"}},
        "propertyOrdering": ["a", "b"],
    }
    found = openapi_to_json(native)
    assert found == {
        "type": "object",
        "properties": {
            "a": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
            "b": {"type": ["string", "null"], "maxLength": 9},
            "c": {"type": "array", "items": {}, "minItems": 1},
            "d": {"$ref": "#/$defs/D"},
        },
        "$defs": {"D": {"type": "string", "enum": ["X"], "examples": ["X"]}},
    }
    assert list(found["properties"]) == ["a", "b", "c", "d"]


# ---------------------------------------------------------------- of real clients


def tools_of_claude_code() -> list[Any]:
    body = json.loads((CORPUS / "messages/claude-code/request.json").read_bytes())
    return [pytest.param(tool["input_schema"], id=tool["name"]) for tool in body["tools"]]


@pytest.mark.parametrize("openapi", [False, True])
@pytest.mark.parametrize("schema", tools_of_claude_code())
def test_the_tools_of_a_coding_agent_compile(schema: Any, openapi: bool) -> None:
    found = compiled(schema, openapi=openapi)
    check(found, openapi=openapi)
    assert set(found.get("properties", {})) == set(schema["properties"])
    assert found.get("required", []) == schema.get("required", [])


def test_all_that_was_left_out_of_a_schema_is_one_entry_of_the_ledger() -> None:
    ledger = Ledger()
    raw = msgspec.Raw(json.dumps({"$schema": "x", "properties": {"a": {"pattern": "b"}, "c": {"pattern": "d"}}}).encode())
    enter(compile_schema(raw, openapi=False), ((None, "tools"), 0), ledger)
    (loss,) = ledger.losses
    assert (loss.path, loss.severity) == ("tools[0]", "info")
    assert "$schema, pattern" in loss.what
    enter(compile_schema(msgspec.Raw(b"{}"), openapi=False), None, ledger)
    assert len(ledger.losses) == 1
