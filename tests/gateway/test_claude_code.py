"""The contract of Claude Code with a gateway (https://code.claude.com/docs/en/llm-gateway-protocol), by its own requests."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dragoman.testing import (
    VOICES,
    Ask,
    HttpError,
    Scenario,
    ScriptedUpstream,
    Text,
    Thinking,
    ThreadedUpstream,
    ToolCall,
    Usage,
    scenario,
)
from dragoman.testing import Finish as End
from tests.gateway.talking import JSON, Reports, Said, say
from tests.serving import Served, serving, upstream

CORPUS = Path(__file__).parent.parent / "corpus" / "messages"
KEY = "gw-key-0123456789"
BODY = (CORPUS / "claude-code" / "request.json").read_bytes()
HEADERS: list[tuple[str, str]] = [
    pair for pair in json.loads((CORPUS / "claude-code" / "headers.json").read_text()).items() if pair[0] != "x-api-key"
]
TITLE = (CORPUS / "title-generation" / "request.json").read_bytes()
TURN = scenario(
    "turn",
    Thinking("I look at the file first.", signature="EqQBCkYIBxgCKkDq"),
    Text("Let me look."),
    ToolCall("Read", {"file_path": "/a"}, id="toolu_01A"),
    ToolCall("Read", {"file_path": "/b"}, id="toolu_01B"),
    Usage(input=5, output=50, cache_read=18_000, cache_write=300),
    End("tool_calls"),
)


@pytest.fixture(scope="module")
def scripted() -> Iterator[ThreadedUpstream]:
    with ScriptedUpstream.in_thread() as server:
        server.script(TURN, default=True)
        server.on("/no-count/v1/messages/count_tokens", 404, b'{"detail":"Not Found"}', [("content-type", "application/json")])
        server.on(
            "/bad-key/v1/messages/count_tokens", 401, b'{"type":"error","error":{"type":"authentication_error","message":"no"}}'
        )
        yield server


@pytest.fixture(scope="module")
def gateway(scripted: ThreadedUpstream) -> Iterator[Served]:
    providers: dict[str, Any] = {
        "anthropic": {"base_url": scripted.url, "api_key": "sk-ant-upstream-0123"},
        "other": upstream(scripted.url, "chat"),
        "no-count": upstream(f"{scripted.url}/no-count", "messages"),
        "bad-key": upstream(f"{scripted.url}/bad-key", "messages"),
    }
    with serving({"providers": providers, "models": {"claude-haiku-*": "other/gpt-small"}, "keys": [KEY]}) as served:
        yield served


@pytest.fixture(scope="module")
def reports(gateway: Served) -> Reports:
    return Reports(gateway)


def model_of(body: bytes, model: str) -> bytes:
    return body.replace(
        b'"model":' + json.dumps(json.loads(body)["model"]).encode(), b'"model":' + json.dumps(model).encode(), 1
    )


def post(gateway: Served, body: bytes, path: str = "/v1/messages?beta=true") -> Said:
    return say(gateway, "POST", path, [*HEADERS, ("authorization", f"Bearer {KEY}")], body)


@pytest.mark.parametrize("path", ["/", "/api/hello"])
def test_it_first_asks_whether_anybody_is_there(gateway: Served, path: str) -> None:
    said = say(gateway, "HEAD", path)
    assert (said.status, said.body) == (200, b"")


@pytest.mark.parametrize("body", [BODY, TITLE], ids=["a turn", "a title"])
def test_to_anthropic_its_request_goes_byte_for_byte(gateway: Served, scripted: ThreadedUpstream, body: bytes) -> None:
    body = model_of(body, "claude-opus-5-5")
    said = post(gateway, body)
    request = scripted.requests[-1]
    assert request.body == body
    assert request.target == "/v1/messages?beta=true"
    assert [pair for pair in request.headers if pair in HEADERS] == HEADERS
    assert request.header("x-api-key") == "sk-ant-upstream-0123"
    assert KEY not in str(request.headers)
    asked = Ask("claude-opus-5-5", json.loads(body).get("stream", False))
    assert said.body == VOICES["messages"].render(TURN, asked).body


def test_to_another_provider_its_request_is_translated_whole(gateway: Served, scripted: ThreadedUpstream) -> None:
    said = post(gateway, model_of(BODY, "claude-haiku-5-5"))
    request = scripted.requests[-1].json
    assert request["model"] == "gpt-small"
    asked = json.loads(BODY)
    assert [tool["function"]["name"] for tool in request["tools"]] == [tool["name"] for tool in asked["tools"]]
    calls = [call for message in request["messages"] for call in message.get("tool_calls") or ()]
    results = [message for message in request["messages"] if message["role"] == "tool"]
    uses = [b for m in asked["messages"] if isinstance(m["content"], list) for b in m["content"] if b["type"] == "tool_use"]
    assert [call["function"]["name"] for call in calls] == [use["name"] for use in uses]
    assert [json.loads(call["function"]["arguments"]) for call in calls] == [use["input"] for use in uses]
    assert [result["tool_call_id"] for result in results] == [call["id"] for call in calls][: len(results)]
    system = json.dumps(request["messages"][:4], ensure_ascii=False)
    for block in asked["system"]:
        assert json.dumps(block["text"], ensure_ascii=False)[1:-1] in system
    view = said.view("messages")
    assert [call.value for call in view.calls] == [{"file_path": "/a"}, {"file_path": "/b"}]
    assert view.finish == "tool_calls"
    losses = said.header("x-dragoman-losses") or ""
    assert losses.isascii()
    assert 0 < len(losses) <= 1024


def test_its_conversation_is_known_by_its_own_names(gateway: Served, reports: Reports) -> None:
    count = len(reports)
    more = [("x-claude-code-agent-id", "agent-7"), ("x-claude-code-parent-agent-id", "agent-1")]
    say(gateway, "POST", "/v1/messages", [*HEADERS, *more, ("authorization", f"Bearer {KEY}")], BODY)
    session = dict(HEADERS)["x-claude-code-session-id"]
    assert reports.last(count + 1).session == {"session": session, "agent": "agent-7", "parent_agent": "agent-1"}
    say(gateway, "POST", "/v1/messages", [("x-claude-code-session-id", "s" * 9000), ("authorization", f"Bearer {KEY}")], BODY)
    assert reports.last(count + 2).session == {"session": "s" * 200}


@pytest.mark.parametrize("status", [400, 413, 429, 529])
def test_the_words_of_a_refusal_reach_it_unmodified(gateway: Served, scripted: ThreadedUpstream, status: int) -> None:
    """It matches the wording to decide what to do next."""
    words = b'{ "type":"error", "error":{"type":"invalid_request_error","message":"prompt is too long: 1 > 0"},\n"x":1.0 }'
    scripted.script(Scenario("refused", (HttpError(status, body=words, headers=(("x-should-retry", "false"),)),)))
    said = post(gateway, model_of(BODY, "claude-opus-5-5"))
    assert (said.status, said.body, said.header("x-should-retry")) == (status, words, "false")


# ---------------------------------------------------------------- counting


def test_the_provider_counts_where_it_can(gateway: Served, scripted: ThreadedUpstream) -> None:
    body = model_of(TITLE, "claude-opus-5-5")
    said = post(gateway, body, "/v1/messages/count_tokens?beta=true")
    request = scripted.requests[-1]
    assert (request.target, request.body) == ("/v1/messages/count_tokens?beta=true", body)
    assert request.header("x-api-key") == "sk-ant-upstream-0123"
    assert said.json == {"input_tokens": len(body) // 4}
    assert said.header("x-dragoman-estimate") is None


@pytest.mark.parametrize("model", ["claude-haiku-5-5", "other/m", "no-count/m"])
def test_where_nobody_can_count_there_is_an_estimate_that_says_so(gateway: Served, model: str) -> None:
    said = post(gateway, model_of(BODY, model), "/v1/messages/count_tokens")
    assert said.status == 200
    assert said.header("x-dragoman-estimate") == "true"
    assert 10_000 < said.json["input_tokens"] < 30_000


def test_a_count_that_is_refused_is_an_error_like_any_other(gateway: Served) -> None:
    said = post(gateway, model_of(BODY, "bad-key/m"), "/v1/messages/count_tokens")
    assert (said.status, said.json["error"]["message"]) == (502, "no")
    assert post(gateway, model_of(BODY, "nothing"), "/v1/messages/count_tokens").status == 404
    assert post(gateway, b"{", "/v1/messages/count_tokens").status == 400
    assert say(gateway, "POST", "/v1/messages/count_tokens", [JSON], BODY).status == 401


def test_it_finds_its_models(gateway: Served) -> None:
    said = say(gateway, "GET", "/v1/models?limit=1000", [*HEADERS, ("authorization", f"Bearer {KEY}")])
    assert said.status == 200
    assert any("claude" in model["id"] for model in said.json["data"])
    assert all(model["display_name"] for model in said.json["data"])
    state = say(gateway, "GET", "/health/claude-code-readiness").json
    assert state["ready"] is True


@pytest.mark.parametrize("path", ["/v1/messages", "/messages", "/v1/messages/", "//v1/messages", "/v1/v1/messages?beta=true"])
def test_its_base_url_may_be_written_in_several_ways(gateway: Served, path: str) -> None:
    assert post(gateway, model_of(BODY, "claude-opus-5-5"), path).status == 200
