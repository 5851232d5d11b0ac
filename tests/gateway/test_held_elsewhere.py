"""What only a provider of the caller's own API has: a conversation whose state it holds (`thread` of Messages), a stored
prompt. Another is not asked, and of a conversation the caller is told so in the words that Anthropic's SDKs act upon: they
then send all of it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import anthropic
import pytest

from dragoman.testing import ScriptedUpstream, ThreadedUpstream
from tests.gateway.talking import JSON, PATHS, Said, say
from tests.serving import PATIENCE, Served, serving, upstream

THREAD = {"type": "continue", "previous_message_id": "msg_1"}


@pytest.fixture(scope="module")
def scripted() -> Iterator[ThreadedUpstream]:
    with ScriptedUpstream.in_thread() as server:
        yield server


@pytest.fixture(scope="module")
def gateway(scripted: ThreadedUpstream) -> Iterator[Served]:
    providers = {"messages": upstream(scripted.url, "messages"), "chat": upstream(scripted.url, "chat")}
    models = {"chain": ["messages/scenario:error-529", "chat/scenario:text"]}
    with serving({"providers": providers, "models": models}) as served:
        yield served


def going_on(gateway: Served, model: str) -> Said:
    body = {"model": model, "max_tokens": 50, "messages": [{"role": "user", "content": "and then?"}], "thread": THREAD}
    return say(gateway, "POST", PATHS["messages"], [JSON], json.dumps(body).encode())


def test_a_provider_of_the_same_api_goes_on_with_what_it_holds(gateway: Served, scripted: ThreadedUpstream) -> None:
    assert going_on(gateway, "messages/scenario:text").status == 200
    assert scripted.requests[-1].json["thread"] == THREAD


@pytest.mark.parametrize("model", ["chat/scenario:text", "chain"])
def test_whoever_does_not_hold_a_conversation_is_not_asked_to_go_on_with_it(
    gateway: Served, scripted: ThreadedUpstream, model: str
) -> None:
    count = len([request for request in scripted.requests if "chat" in request.target])
    said = going_on(gateway, model)
    assert said.status == 400
    assert said.json["error"]["type"] == "invalid_request_error"
    assert said.json["error"]["details"] == {"error_code": "thread_not_found"}
    assert len([request for request in scripted.requests if "chat" in request.target]) == count


def test_the_sdks_tool_runner_says_everything_again(gateway: Served, scripted: ThreadedUpstream) -> None:
    @anthropic.beta_tool
    def get_weather(city: str) -> str:
        """The weather.

        Args:
            city: where
        """
        return f"sunny in {city}"

    with anthropic.Anthropic(base_url=gateway.url, api_key="x", max_retries=0, timeout=PATIENCE) as client:
        runner = client.beta.messages.tool_runner(
            model="chat/scenario:tools-one",
            max_tokens=50,
            messages=[{"role": "user", "content": "the first question"}],
            tools=[get_weather],
            max_iterations=2,
        )
        runner.until_done()
    body = json.dumps(scripted.requests[-1].json)
    assert "the first question" in body
    assert '"role": "tool"' in body
    assert "get_weather" in json.dumps(scripted.requests[-1].json["tools"])


def test_a_prompt_that_only_its_own_provider_has_is_not_asked_of_another(gateway: Served, scripted: ThreadedUpstream) -> None:
    count = len(scripted.requests)
    body = {"model": "chat/scenario:text", "prompt": {"id": "pmpt_1"}, "store": False}
    said = say(gateway, "POST", "/v1/responses", [JSON], json.dumps(body).encode())
    assert (said.status, said.json["error"]["code"]) == (400, "unsupported_parameter")
    assert said.message.startswith("prompt: ")
    assert len(scripted.requests) == count
