"""The corpus of requests: legal by the official SDKs' types, and together holding every field that these have."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from anthropic.types import message_create_params
from anthropic.types.beta import message_create_params as beta_message_create_params
from openai.types.chat import completion_create_params
from openai.types.responses import response_create_params

from tests.testing.typed_json import Field, Misfit, all_fields, used_fields

CORPUS = Path(__file__).parent.parent / "corpus"
CASES = {dialect: sorted(p.name for p in (CORPUS / dialect).iterdir()) for dialect in ("messages", "chat", "responses")}
EACH = [(dialect, name) for dialect, names in CASES.items() for name in names]

CHAT: Any = completion_create_params.CompletionCreateParams
RESPONSES: Any = response_create_params.ResponseCreateParams
MESSAGES: Any = message_create_params.MessageCreateParams
BETA: Any = beta_message_create_params.MessageCreateParams

# Sent by clients, unknown to the types: sampling went to `extra_body`, and the Claude Code recordings hold it.
EXTRAS: frozenset[Field] = frozenset(
    ("message_create_params.MessageCreateParams", key) for key in ("temperature", "top_p", "top_k")
)
# These are arguments of the SDK that become headers.
HEADERS = {"betas", "user_profile_id", "workspace_id"}
# Beyond the types on purpose.
UNTYPED = ("future-", "extension-", "codex")


def request_of(dialect: str, name: str) -> Any:
    return json.loads((CORPUS / dialect / name / "request.json").read_bytes())


@pytest.mark.parametrize(("dialect", "name"), EACH)
def test_a_case_is_a_request_and_a_word_on_where_it_comes_from(dialect: str, name: str) -> None:
    folder = CORPUS / dialect / name
    assert {p.name for p in folder.iterdir()} <= {"request.json", "provenance.md", "headers.json"}
    body = request_of(dialect, name)
    assert isinstance(body["model"], str)
    assert body["messages" if "messages" in body else "input"] or body.keys() & {"prompt", "previous_response_id"}
    assert len((folder / "provenance.md").read_text().strip()) > 20
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name)
    if (folder / "headers.json").exists():
        headers = json.loads((folder / "headers.json").read_text())
        assert all(isinstance(value, str) and key == key.lower() for key, value in headers.items())


@pytest.mark.parametrize(("dialect", "name"), [case for case in EACH if not case[1].startswith(UNTYPED)])
def test_a_case_is_legal_by_the_sdks_types(dialect: str, name: str) -> None:
    body = request_of(dialect, name)
    if dialect == "chat":
        used_fields(body, CHAT, EXTRAS)
    elif dialect == "responses":
        used_fields(body, RESPONSES, EXTRAS)
    elif is_beta(body):
        used_fields(body, BETA, EXTRAS)
    else:
        used_fields(body, MESSAGES, EXTRAS)
        used_fields(body, BETA, EXTRAS)


def is_beta(body: Any) -> bool:
    try:
        used_fields(body, MESSAGES, EXTRAS)
    except Misfit:
        return True
    return False


@pytest.mark.parametrize("name", [name for name in CASES["messages"] if name.startswith("beta-")])
def test_the_beta_cases_need_the_beta(name: str) -> None:
    body = request_of("messages", name)
    assert is_beta(body) or name == "beta-short-forms"


@pytest.mark.parametrize(
    ("dialect", "hint"),
    [("chat", CHAT), ("messages", MESSAGES), ("messages", BETA), ("responses", RESPONSES)],
    ids=["chat", "messages", "beta", "responses"],
)
def test_the_corpus_holds_every_field_of_the_sdks_types(dialect: str, hint: Any) -> None:
    used: set[Field] = set()
    for name in CASES[dialect]:
        if name.startswith(UNTYPED):
            continue
        body = request_of(dialect, name)
        if hint is MESSAGES and is_beta(body):
            continue
        used |= used_fields(body, hint, EXTRAS)
    missing = {field for field in all_fields(hint) - used if field[1] not in HEADERS}
    assert not missing, sorted(missing)


@pytest.mark.parametrize("dialect", CASES)
def test_there_are_twenty_cases_and_more(dialect: str) -> None:
    assert len(CASES[dialect]) >= 20


def test_the_coding_agents_request_has_all_that_was_recorded() -> None:
    body = request_of("messages", "claude-code")
    assert len(body["tools"]) == 24
    assert len(body["system"]) == 3
    assert "cache_control" not in body["system"][0]
    assert all("cache_control" in block for block in body["system"][1:])
    assert "system" in [message["role"] for message in body["messages"]]
    assert (body["thinking"], body["stream"]) == ({"type": "adaptive"}, True)
    assert {"output_config", "context_management"} <= set(body)
    assert isinstance(json.loads(body["metadata"]["user_id"]), dict)
    assert "cache_control" in body["messages"][-1]["content"][-1]
    text = json.dumps(body)
    for word in ("$schema", "additionalProperties", "const", "propertyNames", "exclusiveMinimum", "pattern", "format"):
        assert f'"{word}"' in json.dumps(body["tools"]), word
    for word in ('"signature"', '"redacted_thinking"', '"is_error": true', '"image"'):
        assert word in text
    assert 60_000 < len((CORPUS / "messages/claude-code/request.json").read_bytes()) < 90_000


def test_the_other_coding_agents_request_has_all_that_was_recorded() -> None:
    body = request_of("responses", "codex")
    assert (body["stream"], body["store"], body["parallel_tool_calls"]) == (True, False, True)
    assert "instructions" not in body
    assert body["input"][0]["role"] == "developer"
    assert {"prompt_cache_key", "client_metadata"} <= set(body)
    assert body["include"] == ["reasoning.encrypted_content"]
    assert {tool["type"] for tool in body["tools"]} == {"function", "custom", "namespace", "web_search"}
    assert all(tool["strict"] is False for tool in body["tools"] if tool["type"] == "function")
    replayed = [item for item in body["input"] if item["type"] == "reasoning"]
    assert replayed
    assert all(item["content"] is None and item["encrypted_content"] for item in replayed)


def media(value: Any) -> Iterator[bytes]:
    """Everything in base64 within a request."""
    match value:
        case {"type": "base64", "data": str(data)} if value.get("media_type") not in {"model/gltf", "application/zip"}:
            yield base64.b64decode(data, validate=True)
        case {"data": str(data), "format": "wav" | "mp3"}:
            yield base64.b64decode(data, validate=True)
        case dict():
            for inner in value.values():
                yield from media(inner)
        case list():
            for inner in value:
                yield from media(inner)
        case str() if value.startswith("data:"):
            yield base64.b64decode(value.partition(";base64,")[2], validate=True)
        case _:
            pass


def test_images_documents_and_sounds_are_what_they_say() -> None:
    starts = {b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF8", b"RIFF", b"%PDF-1.4", b"\xff\xfb"}
    seen = {start for case in EACH for data in media(request_of(*case)) for start in starts if data.startswith(start)}
    everything = [data for case in EACH for data in media(request_of(*case))]
    assert seen == starts
    assert all(any(data.startswith(start) for start in starts) for data in everything)
