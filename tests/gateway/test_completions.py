"""The OpenAI SDK's `completions`, as unchanged as ever, on upstreams that only chat and on one that has the endpoint."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest

from dragoman.dialects import DIALECTS
from dragoman.providers.table import PATHS
from dragoman.testing import (
    VOICES,
    Cut,
    ErrorEvent,
    Finish,
    HttpError,
    ScriptedUpstream,
    Stall,
    Text,
    ThreadedUpstream,
    Usage,
    scenario,
)
from tests.gateway.talking import Reports
from tests.serving import Served, serving

KEY = "gw-key-0123456789"
ONCE = scenario("once", Text("Once upon a time."), Usage(input=7, output=5), Finish("stop"))
SHORT = scenario("short", Text("Once upon"), Usage(input=7, output=2), Finish("length"))
PROBS = scenario("probs", Text(("Once", " upon"), logprobs=True), Usage(input=7, output=2), Finish("stop"))
BREAKS = scenario("breaks", Text(("Once ", "upon ", ErrorEvent("overloaded", "Busy."))), Usage(input=1, output=1))
CUT = scenario("cut-here", Text(("Once ", "upon ", Cut())), Usage(input=1, output=1))
FULL = scenario("full", HttpError(429, "Slow down.", headers=(("retry-after", "7"),)))
SCENARIOS = (ONCE, SHORT, PROBS, BREAKS, CUT, FULL)
UPSTREAMS = [name for name in DIALECTS if name in VOICES and name in PATHS]


@pytest.fixture(scope="module")
def scripted() -> Iterator[ThreadedUpstream]:
    with ScriptedUpstream.in_thread() as server:
        server.script(ONCE, default=True)
        for one in SCENARIOS:
            server.script(one, model=one.name)
        yield server


@pytest.fixture(scope="module")
def gateway(scripted: ThreadedUpstream) -> Iterator[Served]:
    def provider(dialect: str, **more: Any) -> dict[str, Any]:
        base = f"{scripted.url}/v1" if dialect in {"chat", "responses", "completions"} else scripted.url
        return {"dialect": dialect, "base_url": base, "api_key": "sk-upstream-0123", **more}

    providers = {name: provider(name) for name in UPSTREAMS}
    providers["native"] = provider("chat", dialects={"completions": f"{scripted.url}/v1"})
    providers["only"] = provider("completions")
    models = {"mixed": {"targets": ["chat/once", "native/once"]}}
    with serving({"providers": providers, "models": models, "keys": [KEY]}) as served:
        yield served


@pytest.fixture
def gpt(gateway: Served) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=gateway.base, api_key=KEY, max_retries=0) as client:
        yield client


def sent(scripted: ThreadedUpstream) -> Any:
    return scripted.requests[-1].json


def post(gateway: Served, body: dict[str, Any], **headers: str) -> httpx.Response:
    url = f"{gateway.url}/v1/completions"
    return httpx.post(url, json=body, headers={"authorization": f"Bearer {KEY}", **headers}, timeout=20)


@pytest.mark.parametrize("up", [*UPSTREAMS, "native", "only"])
def test_a_text_is_gone_on_with(gpt: openai.OpenAI, up: str) -> None:
    answer = gpt.completions.create(model=f"{up}/once", prompt="Tell me a story", max_tokens=50)
    assert answer.object == "text_completion"
    assert answer.id
    assert [(choice.index, choice.text, choice.finish_reason) for choice in answer.choices] == [
        (0, "Once upon a time.", "stop")
    ]
    assert answer.usage
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (7, 5, 12)


@pytest.mark.parametrize("up", [*UPSTREAMS, "native", "only"])
def test_it_streams(gateway: Served, gpt: openai.OpenAI, up: str) -> None:
    chunks = list(
        gpt.completions.create(
            model=f"{up}/once", prompt="Tell me", max_tokens=50, stream=True, stream_options={"include_usage": True}
        )
    )
    assert "".join(chunk.choices[0].text for chunk in chunks if chunk.choices) == "Once upon a time."
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert chunks[-1].choices == []
    assert chunks[-1].usage
    assert chunks[-1].usage.total_tokens == 12
    body = {"model": f"{up}/once", "prompt": "Tell me", "stream": True}
    view = VOICES["completions"].fold(post(gateway, body).content)
    assert view.tokens is None
    assert [block.value for block in view.blocks] == ["Once upon a time."]


def test_it_streams_asynchronously(gateway: Served) -> None:
    async def talk() -> str:
        async with openai.AsyncOpenAI(base_url=gateway.base, api_key=KEY, max_retries=0) as client:
            stream = await client.completions.create(model="messages/once", prompt="Tell me", stream=True)
            return "".join([chunk.choices[0].text async for chunk in stream])

    assert asyncio.run(talk()) == "Once upon a time."


def test_the_prompt_is_what_the_user_says(gpt: openai.OpenAI, scripted: ThreadedUpstream) -> None:
    gpt.completions.create(
        model="chat/once", prompt=["Tell me"], temperature=0.5, top_p=0.9, stop=["\n"], seed=3, user="u", presence_penalty=0.1
    )
    assert sent(scripted) == {
        "model": "once", "messages": [{"role": "user", "content": "Tell me"}], "max_tokens": 16, "temperature": 0.5,
        "top_p": 0.9, "stop": ["\n"], "seed": 3, "user": "u", "presence_penalty": 0.1,
    }  # fmt: skip


def test_without_a_limit_there_are_sixteen_tokens(gpt: openai.OpenAI, scripted: ThreadedUpstream) -> None:
    answer = gpt.completions.create(model="messages/short", prompt="Tell me")
    assert sent(scripted)["max_tokens"] == 16
    assert answer.choices[0].finish_reason == "length"


def test_an_endpoint_of_its_own_gets_the_body_untouched(gateway: Served, scripted: ThreadedUpstream) -> None:
    body = {
        "model": "native/once",
        "prompt": [[1, 2], [3]],
        "suffix": "The end.",
        "best_of": 3,
        "echo": True,
        "own": {"a": None},
    }
    assert post(gateway, body).status_code == 200
    assert sent(scripted) == {**body, "model": "once"}
    assert scripted.requests[-1].path == "/v1/completions"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("up", ["chat", "messages", "only"])
def test_an_echo_begins_with_the_prompt(gateway: Served, up: str, stream: bool, scripted: ThreadedUpstream) -> None:
    body = {"model": f"{up}/once", "prompt": "Tell me: ", "echo": True, "stream": stream}
    answer = post(gateway, body).content
    if up == "only":
        assert sent(scripted)["echo"] is True  # and the provider sees to it
        return
    view = VOICES["completions"].fold(answer) if stream else VOICES["completions"].read(answer)
    assert [block.value for block in view.blocks] == ["Tell me: Once upon a time."]


def test_log_probabilities_come_in_four_arrays(gpt: openai.OpenAI, scripted: ThreadedUpstream) -> None:
    told = [
        gpt.completions.create(model=f"{up}/probs", prompt="Tell me", logprobs=2).choices[0].logprobs
        for up in ("chat", "native")
    ]
    assert sent(scripted)["logprobs"] == 2
    for one in told:
        assert one
        assert one.tokens == ["Once", " upon"]
        assert one.text_offset == [0, 4]
        assert len(one.token_logprobs or []) == len(one.top_logprobs or []) == 2
    stream = gpt.completions.create(model="chat/probs", prompt="Tell me", logprobs=0, stream=True)
    offsets = [chunk.choices[0].logprobs.text_offset for chunk in stream if chunk.choices[0].logprobs]
    assert offsets == [[0], [4]]
    asked = sent(scripted)
    assert (asked["logprobs"], asked["top_logprobs"]) == (True, 0)


@pytest.mark.parametrize("up", ["chat", "messages", "gemini", "mixed"])
def test_several_prompts_are_asked_one_after_another(gpt: openai.OpenAI, scripted: ThreadedUpstream, up: str) -> None:
    before = len(scripted.requests)
    model = up if up == "mixed" else f"{up}/once"
    answer = gpt.completions.create(model=model, prompt=["One", "Two", "Three"], max_tokens=20)
    assert [(choice.index, choice.text) for choice in answer.choices] == [(n, "Once upon a time.") for n in range(3)]
    assert answer.usage
    assert (answer.usage.prompt_tokens, answer.usage.total_tokens) == (21, 36)
    said = [json.dumps(request.json) for request in scripted.requests[before:]]
    assert [prompt in body for prompt, body in zip(("One", "Two", "Three"), said, strict=True)] == [True] * 3


def test_several_prompts_stream_into_one_answer(gateway: Served, gpt: openai.OpenAI) -> None:
    body = {"model": "messages/once", "prompt": ["One", "Two"], "stream": True, "stream_options": {"include_usage": True}}
    view = VOICES["completions"].fold(post(gateway, body).content)
    assert [block.value for block in view.blocks] == ["Once upon a time."]
    assert [block.value for other in view.others for block in other.blocks] == ["Once upon a time."]
    assert view.tokens is not None
    assert (view.tokens.input, view.tokens.output) == (14, 10)
    texts = ["", ""]
    for chunk in gpt.completions.create(model="chat/once", prompt=["One", "Two"], stream=True):
        texts[chunk.choices[0].index] += chunk.choices[0].text
    assert texts == ["Once upon a time."] * 2


def test_several_prompts_are_one_request_in_the_report(gateway: Served) -> None:
    reports = Reports(gateway)
    post(gateway, {"model": "messages/once", "prompt": ["One", "Two"], "suffix": "The end."})
    report = reports.last(1)
    assert report.usage is not None
    assert (report.usage.input, report.usage.output) == (14, 10)
    assert [loss.path for loss in report.ledger.losses] == ["suffix", "suffix"]
    assert len(report.trail) == 2
    assert len(reports) == 1


def test_who_waits_for_several_prompts_hears_pings(scripted: ThreadedUpstream) -> None:
    silent = scenario("silent", Stall(0.3), Text("Once."), Usage(input=7, output=5), Finish())
    scripted.script(silent, silent)
    provider = {"dialect": "messages", "base_url": scripted.url, "api_key": "sk-upstream-0123"}
    with serving({"providers": {"up": provider}, "server": {"ping": 0.1}, "keys": [KEY]}) as served:
        body = post(served, {"model": "up/m", "prompt": ["One", "Two"], "stream": True}).content
    assert body.count(b": ping\n\n") >= 2
    view = VOICES["completions"].fold(body)
    assert [view.blocks[0].value, view.others[0].blocks[0].value] == ["Once.", "Once."]


def test_one_prompt_of_several_that_fails_is_the_answer_to_all(gateway: Served, scripted: ThreadedUpstream) -> None:
    scripted.script(ONCE, FULL)
    said = post(gateway, {"model": "chat/once", "prompt": ["One", "Two"]})
    assert (said.status_code, said.headers["retry-after"]) == (429, "7")
    assert said.json()["error"]["message"] == "Slow down."


@pytest.mark.parametrize("prompt", [[1, 2, 3], [[1, 2, 3]], None, "", [[1], [2]]])
def test_what_only_a_models_own_endpoint_can_take_is_refused(gateway: Served, prompt: Any) -> None:
    said = post(gateway, {"model": "chat/once", "prompt": prompt})
    assert said.status_code == 400
    assert said.json()["error"]["param"] == "prompt"
    assert said.json()["error"]["message"].startswith("prompt: ")
    mixed = post(gateway, {"model": "mixed", "prompt": prompt})
    assert mixed.status_code == 200  # by the target that has one


def test_what_a_chat_cannot_be_told_stands_in_the_ledger(gateway: Served) -> None:
    body = {"model": "chat/once", "prompt": "Tell me", "suffix": "The end.", "best_of": 3}
    said = post(gateway, body)
    assert said.headers["x-dragoman-losses"] == "2; suffix lost; best_of lost"
    strict = post(gateway, body, **{"x-dragoman-strict": "true"})
    assert strict.status_code == 400
    neutral = post(gateway, {"model": "chat/once", "prompt": "Tell me", "suffix": "", "best_of": 1, "n": 1})
    assert "x-dragoman-losses" not in neutral.headers


def test_errors_are_openais(gpt: openai.OpenAI) -> None:
    with pytest.raises(openai.RateLimitError, match="Slow down"):
        gpt.completions.create(model="messages/full", prompt="Tell me")
    with pytest.raises(openai.NotFoundError):
        gpt.completions.create(model="nobody-knows", prompt="Tell me")
    with pytest.raises(openai.BadRequestError, match="stop"):
        gpt.completions.create(model="chat/once", prompt="Tell me", extra_body={"stop": 3})


@pytest.mark.parametrize("up", ["chat", "messages", "native", "only"])
@pytest.mark.parametrize("name", ["breaks", "cut-here"])
def test_a_stream_that_breaks_off_does_not_end(gpt: openai.OpenAI, up: str, name: str) -> None:
    said = ""
    with pytest.raises(openai.APIError):  # noqa: PT012 - it breaks off on the way
        for chunk in gpt.completions.create(model=f"{up}/{name}", prompt="Tell me", stream=True):
            said += chunk.choices[0].text
    assert said == "Once upon "


def test_a_conversation_reaches_a_completions_endpoint_as_a_transcript(gateway: Served, scripted: ThreadedUpstream) -> None:
    with openai.OpenAI(base_url=gateway.base, api_key=KEY, max_retries=0) as client:
        answer = client.chat.completions.with_raw_response.create(
            model="only/once",
            messages=[
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "Hi"},
                {"role": "assistant", "content": "Hello"},
                {"role": "user", "content": "A story"},
            ],
            max_tokens=9,
        )
        assert answer.parse().choices[0].message.content == "Once upon a time."
        assert answer.headers["x-dragoman-losses"] == "1; messages degraded"
        stream = client.chat.completions.create(model="only/once", messages=[{"role": "user", "content": "Hi"}], stream=True)
        assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == "Once upon a time."
    transcript = "Be brief.\n\nUser: Hi\n\nAssistant: Hello\n\nUser: A story\n\nAssistant:"
    assert scripted.requests[-2].json == {"model": "once", "prompt": transcript, "max_tokens": 9, "stop": ["\nUser:"]}
    assert sent(scripted)["prompt"] == "Hi"
