"""A conversation in an official SDK, kept as its documentation shows: one provider, another, and the first again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import anthropic
import openai
import pytest
from google import genai
from google.genai import types

from dragoman.testing import Finish, Text, Thinking, ThreadedUpstream, ToolCall, Usage, scenario
from tests.serving import Served, serving

MINE, ITS = "c2VhbGVkIGJ5IG1lIQAA", "c2VhbGVkIGJ5IGl0IQAA"
CALLS = scenario(
    "calls", Thinking("I look.", MINE), ToolCall("look", {"at": 1}, id="call_1"), Usage(input=9, output=5), Finish("tool_calls")
)
SAYS = scenario("says", Thinking("It is.", ITS), Text("It is sunny."), Usage(input=9, output=5), Finish("stop"))
ENDS = scenario("ends", Text("Indeed."), Usage(input=9, output=5), Finish("stop"))
SCHEMA = {"type": "object", "properties": {"at": {"type": "integer"}}, "required": ["at"]}


@pytest.fixture(scope="module")
def gateway(scripted: ThreadedUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    providers = {
        f"{side}-{dialect}": {
            "dialect": dialect,
            "base_url": f"{scripted.url}/v1" if dialect == "responses" else scripted.url,
            "api_key": f"sk-{side}-0123456789",
        }
        for side in "ab"
        for dialect in ("messages", "responses", "gemini")
    }
    store = {"path": str(tmp_path_factory.mktemp("state") / "d.db")}
    with serving({"providers": providers, "store": store}) as served:
        yield served


def with_anthropic(gateway: Served, models: list[str]) -> None:
    tools: Any = [{"name": "look", "input_schema": SCHEMA}]
    with anthropic.Anthropic(api_key="any", base_url=gateway.url, max_retries=0) as client:
        history: list[Any] = [{"role": "user", "content": "Weather?"}]
        for model in models:
            message = client.messages.create(
                model=model,
                max_tokens=4096,
                messages=history,
                thinking={"type": "enabled", "budget_tokens": 1024},
                tools=tools,
            )
            history.append({"role": "assistant", "content": message.content})
            calls = [block for block in message.content if block.type == "tool_use"]
            results = [{"type": "tool_result", "tool_use_id": call.id, "content": "sunny"} for call in calls]
            history.append({"role": "user", "content": results or "And?"})


def with_openai(gateway: Served, models: list[str]) -> None:
    with openai.OpenAI(api_key="any", base_url=gateway.base, max_retries=0) as client:
        tool: Any = {"type": "function", "function": {"name": "look", "parameters": SCHEMA}}
        history: list[Any] = [{"role": "user", "content": "Weather?"}]
        for model in models:
            message = client.chat.completions.create(model=model, messages=history, tools=[tool]).choices[0].message
            calls = message.tool_calls or []
            kept: dict[str, Any] = {"role": "assistant", "content": message.content}
            history.append(kept | ({"tool_calls": [call.model_dump() for call in calls]} if calls else {}))
            results = [{"role": "tool", "tool_call_id": call.id, "content": "sunny"} for call in calls]
            history += results or [{"role": "user", "content": "And?"}]


def with_openai_responses(gateway: Served, models: list[str]) -> None:
    with openai.OpenAI(api_key="any", base_url=gateway.base, max_retries=0) as client:
        tool: Any = {"type": "function", "name": "look", "parameters": SCHEMA, "strict": False}
        history: list[Any] = [{"role": "user", "content": "Weather?"}]
        for model in models:
            response = client.responses.create(
                model=model, input=history, tools=[tool], store=False, include=["reasoning.encrypted_content"]
            )
            history += response.output
            calls = [item for item in response.output if item.type == "function_call"]
            results = [{"type": "function_call_output", "call_id": call.call_id, "output": "sunny"} for call in calls]
            history += results or [{"role": "user", "content": "And?"}]


def with_google(gateway: Served, models: list[str]) -> None:
    with genai.Client(api_key="any", http_options=types.HttpOptions(base_url=gateway.url)) as client:
        declared = types.FunctionDeclaration(name="look", parameters_json_schema=SCHEMA)
        config = types.GenerateContentConfig(tools=[types.Tool(function_declarations=[declared])])
        history: list[Any] = [types.UserContent(parts=[types.Part(text="Weather?")])]
        for model in models:
            answer = client.models.generate_content(model=model, contents=history, config=config)
            assert answer.candidates
            assert answer.candidates[0].content
            history.append(answer.candidates[0].content)
            calls = answer.function_calls or []
            results = [
                types.Part(function_response=types.FunctionResponse(id=call.id, name=call.name, response={"output": "sunny"}))
                for call in calls
            ]
            history.append(types.UserContent(parts=results or [types.Part(text="And?")]))


CLIENTS = [with_anthropic, with_openai, with_openai_responses, with_google]


@pytest.mark.parametrize("other", ["b-messages", "b-responses", "b-gemini"])
@pytest.mark.parametrize("issuer", ["a-messages", "a-responses", "a-gemini"])
@pytest.mark.parametrize("client", CLIENTS)
def test_each_provider_gets_its_own_back_and_nothing_of_the_other(
    gateway: Served, scripted: ThreadedUpstream, client: Callable[[Served, list[str]], None], issuer: str, other: str
) -> None:
    asked = len(scripted.requests)
    for answer in (CALLS, SAYS, ENDS, ENDS):
        scripted.script(answer)
    client(gateway, [f"{issuer}/m", f"{other}/m", f"{issuer}/m", f"{other}/m"])
    bodies = [request.body for request in scripted.requests[asked:]]
    assert [MINE.encode() in body for body in bodies] == [False, False, True, False]
    assert [ITS.encode() in body for body in bodies] == [False, False, False, True]
    assert not any(b"dgm1-" in body or b"ZGdtMS" in body for body in bodies)
