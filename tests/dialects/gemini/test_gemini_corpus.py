"""The corpus of requests: legal by the official SDK's types, written as its converters write them, and together holding every
field that these have on the wire of the Gemini API."""

from __future__ import annotations

import base64
import enum
import json
import re
import typing
from pathlib import Path
from typing import Any

import pytest
from google.genai import models, types
from pydantic import BaseModel

from dragoman.dialects.base import Target
from dragoman.dialects.gemini import GEMINI
from dragoman.dialects.gemini.paths import locate
from dragoman.ir.losses import Ledger
from dragoman.ir.profile import Profile

CORPUS = Path(__file__).parents[2] / "corpus" / "gemini"
CASES = sorted(path.name for path in CORPUS.iterdir())
TYPED = [name for name in CASES if not name.startswith(("future-", "extension-", "snake-case", "null-fields"))]

# Arguments of the SDK that are not sent.
LOCAL = {"httpOptions", "shouldReturnHttpResponse", "automaticFunctionCalling", "automaticContinuation"}
# Of the enterprise platform: `models.py` refuses to send them to the Gemini API.
ELSEWHERE = {
    "GenerateContentConfig": {
        "routingConfig",
        "modelSelectionConfig",
        "audioTimestamp",
        "modelArmorConfig",
        "generationOutputConfig",
    },
    "Tool": {"retrieval", "enterpriseWebSearch", "parallelAiSearch", "exaAiSearch"},
    "GoogleSearch": {"blockingConfidence", "excludeDomains"},
    "GoogleMaps": {"groundingTypes"},
    "AuthConfig": {
        "apiKeyConfig",
        "authType",
        "googleServiceAccountConfig",
        "httpBasicAuthConfig",
        "oauthConfig",
        "oidcConfig",
    },
    "FunctionCall": {"partialArgs", "willContinue"},
    "FunctionCallingConfig": {"streamFunctionCallArguments"},
    "ImageConfig": {
        "personGeneration",
        "prominentPeople",
        "outputMimeType",
        "outputCompressionQuality",
        "imageOutputOptions",
    },
    "SafetySetting": {"method"},
}
TOP = {
    "systemInstruction",
    "tools",
    "toolConfig",
    "safetySettings",
    "cachedContent",
    "labels",
    "serviceTier",
    "store",
    "continuationToken",
}

Field = tuple[str, str]


def request_of(name: str) -> Any:
    return json.loads((CORPUS / name / "request.json").read_bytes())


def config_of(body: dict[str, Any]) -> types.GenerateContentConfig:
    """What a caller of the SDK says to send this body."""
    held = {key: value for key, value in body.items() if key != "contents" and key != "generationConfig"}
    assert set(held) <= TOP
    return types.GenerateContentConfig.model_validate({**body.get("generationConfig", {}), **held})


@pytest.mark.parametrize("name", CASES)
def test_a_case_is_a_request_and_a_word_on_where_it_comes_from(name: str) -> None:
    folder = CORPUS / name
    assert {path.name for path in folder.iterdir()} == {"request.json", "provenance.md"}
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name)
    provenance = (folder / "provenance.md").read_text()
    line = re.match(r"`POST (/\S+)`\n\n.{20,}", provenance)
    assert line is not None
    located = locate(line[1].partition("?")[0])
    assert located is not None
    assert located.stream == line[1].endswith("?alt=sse")


@pytest.mark.parametrize("name", TYPED)
def test_a_case_is_legal_by_the_sdks_types(name: str) -> None:
    body = request_of(name)
    for content in body["contents"]:
        types.Content.model_validate(content)
    config_of(body)


WRITTEN_OTHERWISE = {
    "sampling-as-protobuf": "numbers in strings, on purpose",
    "no-role": "the SDK always says the role",
    "tool-results-by-library": "the SDK knows no role `function`",
    "system-parts": "the SDK says `user` there",
    "tools-json-schema": "the SDK puts all functions into one tool",
}


@pytest.mark.parametrize("name", [name for name in TYPED if name not in WRITTEN_OTHERWISE])
def test_a_case_is_written_as_the_sdk_writes_it(name: str) -> None:
    body = request_of(name)
    parameters = types._GenerateContentParameters(
        model="m", contents=[types.Content.model_validate(one) for one in body["contents"]], config=config_of(body)
    )
    client: Any = type("Client", (), {"vertexai": False, "enterprise": False})()
    sent = models._GenerateContentParameters_to_mldev(client, parameters)
    sent.pop("_url")
    if not sent.get("generationConfig"):
        sent.pop("generationConfig", None)
    assert plain(sent) == plain(body)


def plain(value: Any) -> Any:
    """Models as the JSON that they become; bytes as base64 of one alphabet; what is never read as if it were not there."""
    if isinstance(value, BaseModel):
        return plain(value.model_dump(mode="json", by_alias=True, exclude_none=True))
    if isinstance(value, enum.Enum):
        return plain(value.value)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    if isinstance(value, str):
        if re.fullmatch(r"[A-Za-z0-9+/_-]{16,}={0,2}", value):
            bare = value.rstrip("=").translate(str.maketrans("-_", "+/"))
            return bare + "=" * (-len(bare) % 4)
        return int(value) if value.isdecimal() else value
    return value


def fields_of(model: type[BaseModel], seen: dict[str, set[str]]) -> dict[str, set[str]]:
    """Every field of every type that can be reached from here, by its name on the wire."""
    name = model.__name__
    if name in seen:
        return seen
    seen[name] = set()
    for key, field in model.model_fields.items():
        wire = field.alias or key
        if wire in LOCAL or wire in ELSEWHERE.get(name, set()):
            continue
        seen[name].add(wire)
        for inner in classes_in(field.annotation):
            fields_of(inner, seen)
    return seen


def classes_in(hint: Any) -> list[type[BaseModel]]:
    if isinstance(hint, type) and issubclass(hint, BaseModel):
        return [] if hint is types.File else [hint]
    return [found for inner in typing.get_args(hint) for found in classes_in(inner)]


def used_in(value: Any, used: set[Field]) -> set[Field]:
    if isinstance(value, BaseModel):
        for key, field in type(value).model_fields.items():
            held = getattr(value, key)
            if held is not None:
                used.add((type(value).__name__, field.alias or key))
                used_in(held, used)
    elif isinstance(value, dict):
        for inner in value.values():
            used_in(inner, used)
    elif isinstance(value, list):
        for inner in value:
            used_in(inner, used)
    return used


def test_the_corpus_holds_every_field_of_the_sdks_types() -> None:
    every: dict[str, set[str]] = {}
    # `tools` is checked by a wrapper of the SDK's own and shows no types.
    for model in (types.GenerateContentConfig, types.Content, types.Tool):
        fields_of(model, every)
    used: set[Field] = set()
    for name in TYPED:
        body = request_of(name)
        for content in body["contents"]:
            used_in(types.Content.model_validate(content), used)
        used_in(config_of(body), used)
    missing = {(name, key) for name, keys in every.items() for key in keys} - used
    assert not missing, sorted(missing)


def test_there_are_more_than_twenty_cases() -> None:
    assert len(CASES) > 20


def test_the_coding_agents_request_has_all_that_was_seen() -> None:
    body = request_of("gemini-cli")
    declared = body["tools"][0]["functionDeclarations"]
    assert all("parametersJsonSchema" in tool and "parameters" not in tool for tool in declared)
    text = json.dumps(declared)
    for word in ("$schema", "additionalProperties", "exclusiveMinimum", "pattern", "default", "$ref", "uniqueItems"):
        assert f'"{word}"' in text, word
    assert body["generationConfig"]["thinkingConfig"]["includeThoughts"] is True
    calls = [part for content in body["contents"] for part in content["parts"] if "functionCall" in part]
    assert any("thoughtSignature" in part for part in calls)
    assert all("id" in part["functionCall"] for part in calls)


SAME = [
    name for name in TYPED if name.startswith(("gemini-cli", "signatures", "hosted", "safety", "cached", "speech", "image-"))
]


@pytest.mark.parametrize("name", SAME)
def test_a_request_that_stays_in_its_dialect_says_the_same_again(name: str) -> None:
    body = request_of(name)
    ledger = Ledger()
    request = GEMINI.decode_request((CORPUS / name / "request.json").read_bytes())
    sent = json.loads(GEMINI.encode_request(request, Target("m", "gemini", Profile()), ledger))
    if isinstance(body.get("systemInstruction"), dict):
        body["systemInstruction"].pop("role", None)
    tools = [{key: value} for tool in body.get("tools", []) for key, value in tool.items()]
    assert sent.pop("tools", []) == tools
    body.pop("tools", None)
    assert sent == body
    assert ledger.losses == []


@pytest.mark.parametrize("name", [name for name in CASES if name != "future-fields"])
def test_a_request_decodes_the_same_after_a_round_trip(name: str) -> None:
    """Through the hub and back nothing that the hub knows is lost."""
    target = Target("m", "gemini", Profile())
    once = GEMINI.encode_request(GEMINI.decode_request((CORPUS / name / "request.json").read_bytes()), target, Ledger())
    again = GEMINI.encode_request(GEMINI.decode_request(once), target, Ledger())
    assert json.loads(again) == json.loads(once)
