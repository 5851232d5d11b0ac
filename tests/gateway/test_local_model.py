"""The built-in model, in both dialects. llama.cpp speaks Messages too: a second, independent implementation to compare with."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import httpx
import openai
import pytest
from pydantic import BaseModel

from dragoman.io.local import LocalModel
from dragoman.testing import fold_chat, fold_messages
from tests.serving import Served, serving

PATIENCE = 60


@pytest.fixture(scope="module")
def model() -> Iterator[LocalModel]:
    found = LocalModel.find()
    found.start()
    yield found
    found.stop()


@pytest.fixture(scope="module")
def gateway(model: LocalModel) -> Iterator[Served]:
    native = {"dialect": "messages", "base_url": model.base_url, "api_key": model.api_key.reveal()}
    with serving({"providers": {"native": native}}, local=model) as served:
        yield served


CONVERSATIONS: dict[str, dict[str, Any]] = {
    "a question": {"messages": [{"role": "user", "content": "What is 2+2?"}], "max_tokens": 30},
    "cut off at the limit": {"messages": [{"role": "user", "content": "Tell me a story."}], "max_tokens": 5},
    "instructions": {
        "system": "You answer in French.",
        "messages": [{"role": "user", "content": "Good morning!"}],
        "max_tokens": 16,
    },
    "several turns": {
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "My name is Ada."}]},
            {"role": "assistant", "content": [{"type": "text", "text": "Hello Ada!"}]},
            {"role": "user", "content": "What is my name?"},
        ],
        "max_tokens": 16,
    },
    "a stop sequence that does not come": {
        "messages": [{"role": "user", "content": "What is 2+2?"}],
        "stop_sequences": ["zebra"],
        "max_tokens": 30,
    },
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", CONVERSATIONS)
def test_the_translation_means_what_the_native_endpoint_means(gateway: Served, name: str, stream: bool) -> None:
    """Same text at temperature 0, same stop reason, same usage."""
    said: list[tuple[str, str, int, int]] = []
    with httpx.Client(timeout=PATIENCE) as client:
        for target in ("local", "native/x"):
            body = {"model": target, "temperature": 0, "stream": stream, **CONVERSATIONS[name]}
            answer = client.post(f"{gateway.url}/v1/messages", json=body)
            assert answer.status_code == 200
            said.append(meaning(answer, stream))
    assert said[0] == said[1]


def meaning(answer: httpx.Response, stream: bool) -> tuple[str, str, int, int]:
    """Text, stop reason, tokens of the whole prompt (what was cached of it depends on what was asked before), tokens said."""
    if stream:
        # llama.cpp leaves its usage partial, and verbatim it stays.
        view = fold_messages(answer.content, full_usage=False)
        assert view.tokens is not None
        tokens = view.tokens
        return view.text, view.finish or "", tokens.input + tokens.cache_read, tokens.output
    message = answer.json()
    usage = message["usage"]
    text = "".join(block["text"] for block in message["content"])
    stop = {"end_turn": "stop", "max_tokens": "length"}[message["stop_reason"]]
    return text, stop, usage["input_tokens"] + usage["cache_read_input_tokens"], usage["output_tokens"]


def test_both_dialects_get_the_same_text(gateway: Served) -> None:
    body = {
        "model": "local",
        "temperature": 0,
        "max_tokens": 20,
        "stream": True,
        "messages": [{"role": "user", "content": "Hi!"}],
    }
    with httpx.Client(timeout=PATIENCE) as client:
        messages = fold_messages(client.post(f"{gateway.url}/v1/messages", json=body).content)
        chat = fold_chat(client.post(f"{gateway.base}/chat/completions", json=body).content)
    assert messages.text == chat.text != ""


class Person(BaseModel):
    name: str
    age: int


def test_structured_output_in_both_sdks(gateway: Served) -> None:
    ask: Any = [{"role": "user", "content": "Ada Lovelace is 36 years old."}]
    with anthropic.Anthropic(base_url=gateway.url, api_key="any", max_retries=0) as claude:
        message = claude.messages.parse(
            model="local", max_tokens=60, messages=ask, output_format=Person, extra_body={"temperature": 0}
        )
        assert isinstance(message.parsed_output, Person)
    with openai.OpenAI(base_url=gateway.base, api_key="any", max_retries=0) as gpt:
        completion = gpt.chat.completions.parse(
            model="local", max_tokens=60, messages=ask, response_format=Person, temperature=0
        )
        assert isinstance(completion.choices[0].message.parsed, Person)


def test_tokens_are_counted(gateway: Served) -> None:
    with anthropic.Anthropic(base_url=gateway.url, api_key="any", max_retries=0) as claude:
        counted = claude.messages.count_tokens(model="native/x", messages=[{"role": "user", "content": "What is 2+2?"}])
        assert counted.input_tokens == 37
        assert (
            claude.messages.count_tokens(model="local", messages=[{"role": "user", "content": "What is 2+2?"}]).input_tokens > 0
        )


# An enumeration, as a model this small may never end a free text.
CITY: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"enum": ["Paris", "Rome"]}},
    "required": ["city"],
    "additionalProperties": False,
}
ASK: Any = [{"role": "user", "content": "What is the weather in Paris?"}]


def test_the_anthropic_sdk_forces_a_call(gateway: Served) -> None:
    tools: Any = [
        {"name": "get_time", "description": "Tells the time", "input_schema": {"type": "object"}},
        {"name": "get_weather", "description": "Tells the weather", "input_schema": CITY},
    ]
    with anthropic.Anthropic(base_url=gateway.url, api_key="any", max_retries=0) as claude:
        choice: Any = {"type": "tool", "name": "get_weather", "disable_parallel_tool_use": True}
        message = claude.messages.create(model="local", max_tokens=60, messages=ASK, tools=tools, tool_choice=choice)
        assert message.stop_reason == "tool_use"
        (call,) = [block for block in message.content if block.type == "tool_use"]
        assert call.name == "get_weather"
        assert call.input["city"] in {"Paris", "Rome"}
        with claude.messages.stream(model="local", max_tokens=60, messages=ASK, tools=tools, tool_choice=choice) as stream:
            assert stream.get_final_message().stop_reason == "tool_use"


def test_the_openai_sdk_forces_a_call(gateway: Served) -> None:
    function: Any = {
        "type": "function",
        "function": {"name": "get_weather", "description": "Tells the weather", "parameters": CITY},
    }
    with openai.OpenAI(base_url=gateway.base, api_key="any", max_retries=0) as gpt:
        completion = gpt.chat.completions.create(
            model="local", max_tokens=60, messages=ASK, tools=[function], tool_choice="required", parallel_tool_calls=False
        )
        (call,) = completion.choices[0].message.tool_calls or []
        assert call.type == "function"
        assert call.function.name == "get_weather"
        assert json.loads(call.function.arguments)["city"] in {"Paris", "Rome"}
        assert completion.choices[0].finish_reason == "tool_calls"


def test_a_text_is_gone_on_with_by_its_own_endpoint(gateway: Served) -> None:
    """As it is, and not as what a user says: token ids, too."""
    with openai.OpenAI(base_url=gateway.base, api_key="any", max_retries=0, timeout=PATIENCE) as client:
        answers = client.completions.create(
            model="local", prompt=["The capital of France is", "One, two, three,"], max_tokens=4, temperature=0
        )
        assert [choice.index for choice in answers.choices] == [0, 1]
        assert "Paris" in answers.choices[0].text
        assert "four" in answers.choices[1].text
        stream = client.completions.create(model="local", prompt="One, two, three,", max_tokens=4, temperature=0, stream=True)
        assert "".join(chunk.choices[0].text for chunk in stream if chunk.choices) == answers.choices[1].text
        counted = client.completions.create(model="local", prompt=[504, 2240, 282], max_tokens=2, temperature=0)
        assert counted.usage
        assert counted.usage.prompt_tokens == 3
