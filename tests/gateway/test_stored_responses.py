"""Responses that are kept: by the gateway for providers that keep nothing, by those that do. The OpenAI SDK is the judge."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from dragoman.io.clock import SystemClock
from dragoman.io.store import Store
from dragoman.stored import jobs
from dragoman.testing import (
    ErrorEvent,
    Finish,
    HttpError,
    ScriptedUpstream,
    Stall,
    Text,
    Thinking,
    ThreadedUpstream,
    ToolCall,
    Usage,
    fold_responses,
    scenario,
)
from tests.gateway.talking import JSON, say, streaming
from tests.serving import PATIENCE, Served, serving

ALICE, BOB = "gw-key-alice-0123456789", "gw-key-bob-0123456789"
SHOWN = ("authorization", f"Bearer {ALICE}")
KEPT_HERE = ("messages", "chat", "gemini", "plain")
"""Providers that keep nothing: `plain` speaks Responses, without a store."""

SAY = scenario("say", Text("Hello!"), Usage(input=5, output=2), Finish())
CALL = scenario(
    "call",
    Thinking("I look.", signature="c2lnMQ=="),
    ToolCall("look", {"where": "Paris"}, id="call_1"),
    Usage(input=20, output=9),
    Finish("tool_calls"),
)
SLOW = scenario("slow", Text(("Once ", Stall("slow"), "upon a time")), Usage(input=1, output=1), Finish())
STUCK = scenario("stuck", Text(("Once ", Stall("never"), "upon a time")), Usage(input=1, output=1), Finish())
BREAKS = scenario("breaks", Text(("Once ", "upon ", ErrorEvent("overloaded", "Busy."))), Usage(input=1, output=1))
REFUSED = scenario("refused", HttpError(400, "No such thing."))
TOOL: Any = {"type": "function", "name": "look", "parameters": {"type": "object", "properties": {"where": {"type": "string"}}}}


@pytest.fixture(scope="module")
def scripted() -> Iterator[ThreadedUpstream]:
    with ScriptedUpstream.in_thread() as server:
        for one in (SAY, CALL, SLOW, STUCK, BREAKS, REFUSED):
            server.script(one, model=one.name)
        yield server


@pytest.fixture(scope="module")
def config(scripted: ThreadedUpstream, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    roots = {"messages": scripted.url, "gemini": scripted.url}
    providers: dict[str, Any] = {
        name: {"dialect": name, "base_url": roots.get(name, f"{scripted.url}/v1"), "api_key": "sk-upstream-0123"}
        for name in ("messages", "chat", "gemini", "responses")
    }
    providers["messages"]["profile"] = {"thinking": "adaptive"}
    providers["plain"] = providers["responses"] | {"profile": {"keeps_responses": False}}
    providers["two"] = providers["responses"] | {"api_key": ["sk-first-key-01", "sk-second-key-02"]}
    models = {"both": ["chat/say", "responses/say"], "keys": "two/keys"}
    keys = [{"name": "alice", "key": ALICE}, {"name": "bob", "key": BOB}]
    store = {"path": str(tmp_path_factory.mktemp("state") / "store.db")}
    return {"providers": providers, "models": models, "keys": keys, "store": store}


@pytest.fixture(scope="module")
def gateway(config: dict[str, Any]) -> Iterator[Served]:
    with serving(config) as served:
        yield served


@pytest.fixture(scope="module")
def neighbour(config: dict[str, Any]) -> Iterator[Served]:
    """Another gateway with the same store."""
    with serving(config) as served:
        yield served


def client(served: Served, key: str = ALICE) -> openai.OpenAI:
    return openai.OpenAI(base_url=served.base, api_key=key, max_retries=0, timeout=PATIENCE)


@pytest.fixture
def gpt(gateway: Served) -> Iterator[openai.OpenAI]:
    with client(gateway) as made:
        yield made


@pytest.fixture
def bob(gateway: Served) -> Iterator[openai.OpenAI]:
    with client(gateway, BOB) as made:
        yield made


def told(scripted: ThreadedUpstream) -> str:
    """All that the upstream was told last."""
    return scripted.requests[-1].body.decode()


def in_order(text: str, *pieces: str) -> bool:
    at = 0
    for piece in pieces:
        at = text.find(piece, at) + len(piece)
        if at < len(piece):
            return False
    return True


def until(gpt: openai.OpenAI, own_id: str, *states: str) -> Any:
    """The response, once it is in one of these states."""
    end = time.monotonic() + PATIENCE
    while (response := gpt.responses.retrieve(own_id)).status not in states:
        assert time.monotonic() < end, response.status
    return response


# ---------------------------------------------------------------- kept here


@pytest.mark.parametrize("provider", KEPT_HERE)
def test_a_conversation_goes_on_by_the_id_of_its_last_answer(
    gpt: openai.OpenAI, scripted: ThreadedUpstream, provider: str
) -> None:
    scripted.script(scenario("first", Text("I am one."), Finish()), scenario("second", Text("I am two."), Finish()))
    first = gpt.responses.create(model=f"{provider}/say", input="Question one.", instructions="Be brief.")
    second = gpt.responses.create(model=f"{provider}/say", input="Question two.", previous_response_id=first.id)
    assert in_order(told(scripted), "Question one.", "I am one.", "Question two.")
    assert "Be brief." not in told(scripted), "instructions are not carried over"
    third = gpt.responses.create(model=f"{provider}/say", input="Question three.", previous_response_id=second.id)
    assert in_order(told(scripted), "Question one.", "I am one.", "Question two.", "I am two.", "Question three.")
    assert "previous_response_id" not in told(scripted)
    assert (second.previous_response_id, third.previous_response_id) == (first.id, second.id)
    assert (first.to_dict()["store"], second.to_dict()["store"]) == (True, True)
    assert len({first.id, second.id, third.id}) == 3

    assert gpt.responses.retrieve(second.id).to_dict() == second.to_dict()
    items = gpt.responses.input_items.list(third.id, order="asc").data
    assert [(item.type, getattr(item, "role", "")) for item in items] == [
        ("message", "user"), ("message", "assistant"), ("message", "user"), ("message", "assistant"), ("message", "user"),
    ]  # fmt: skip
    gpt.responses.delete(third.id)
    with pytest.raises(openai.NotFoundError) as gone:
        gpt.responses.retrieve(third.id)
    assert gone.value.type == "invalid_request_error"


@pytest.mark.parametrize("provider", KEPT_HERE)
def test_a_stream_is_kept_under_one_id_before_its_end_is_told(
    gpt: openai.OpenAI, neighbour: Served, gateway: Served, provider: str
) -> None:
    first = gpt.responses.create(model=f"{provider}/say", input="x")
    asked = {"model": f"{provider}/say", "input": "y", "stream": True, "previous_response_id": first.id}
    with streaming(gateway, "POST", "/v1/responses", [JSON, SHOWN], json.dumps(asked).encode()) as stream:
        stream.until(b"event: response.completed\n")
        seen = [
            json.loads(block.partition(b"data: ")[2]) for block in stream.seen.split(b"\n\n") if b"response.created" in block
        ]
        own_id = seen[0]["response"]["id"]
        with client(neighbour) as elsewhere:
            kept = elsewhere.responses.retrieve(own_id)
        body = stream.rest().body
    assert kept.status == "completed"
    assert kept.previous_response_id == first.id
    assert fold_responses(body).text == "Hello!"
    whole = [json.loads(block.partition(b"data: ")[2]) for block in body.split(b"\n\n") if block.startswith(b"event")]
    assert {event["response"]["id"] for event in whole if "response" in event} == {own_id}
    assert whole[-1]["response"]["previous_response_id"] == first.id
    assert whole[-1]["response"]["output"] == kept.to_dict()["output"]


def test_the_helper_and_the_asynchronous_client_go_on_too(gateway: Served, scripted: ThreadedUpstream) -> None:
    async def talk() -> None:
        async with openai.AsyncOpenAI(base_url=gateway.base, api_key=ALICE, max_retries=0) as gpt:
            first = await gpt.responses.create(model="messages/say", input="One.")
            async with gpt.responses.stream(model="chat/say", input="Two.", previous_response_id=first.id) as stream:
                second = await stream.get_final_response()
            assert in_order(told(scripted), "One.", "Hello!", "Two.")
            items = [item async for item in gpt.responses.input_items.list(second.id, limit=1)]
            assert len(items) == 3
            assert (await gpt.responses.retrieve(second.id)).output_text == "Hello!"
            await gpt.responses.delete(second.id)

    asyncio.run(talk())


def test_calls_are_answered_by_their_outputs_alone_and_thinking_goes_back_to_who_signed_it(
    gpt: openai.OpenAI, scripted: ThreadedUpstream
) -> None:
    first = gpt.responses.create(model="messages/call", input="Look.", tools=[TOOL], reasoning={"effort": "low"})
    call = next(item for item in first.output if item.type == "function_call")
    output: Any = [{"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}]
    second = gpt.responses.create(model="messages/say", input=output, previous_response_id=first.id, tools=[TOOL])
    sent: Any = scripted.requests[-1].json
    assert [block["type"] for block in sent["messages"][1]["content"]] == ["thinking", "tool_use"]
    assert sent["messages"][1]["content"][0]["signature"] == "c2lnMQ=="
    assert sent["messages"][2]["content"][0]["type"] == "tool_result"
    gpt.responses.create(model="chat/say", input="And?", previous_response_id=second.id, tools=[TOOL])
    assert "c2lnMQ==" not in told(scripted)
    assert in_order(told(scripted), "Look.", "look", "sunny", "And?")


def test_what_began_here_goes_on_here_with_a_provider_that_has_a_store(gpt: openai.OpenAI, scripted: ThreadedUpstream) -> None:
    first = gpt.responses.create(model="chat/say", input="One.")
    second = gpt.responses.create(model="responses/say", input="Two.", previous_response_id=first.id)
    sent: Any = scripted.requests[-1].json
    assert [item["role"] for item in sent["input"]] == ["user", "assistant", "user"]
    assert sent["store"] is False
    assert second.previous_response_id == first.id
    assert second.to_dict()["store"] is True
    gpt.responses.create(model="gemini/say", input="Three.", previous_response_id=second.id)
    assert in_order(told(scripted), "One.", "Two.", "Hello!", "Three.")


def test_sealed_reasoning_goes_back_to_the_provider_that_sealed_it_and_to_no_other(
    gpt: openai.OpenAI, scripted: ThreadedUpstream
) -> None:
    first = gpt.responses.create(model="plain/call", input="Look.", tools=[TOOL])
    call = next(item for item in first.output if item.type == "function_call")
    output: Any = [{"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}]
    gpt.responses.create(model="plain/say", input=output, previous_response_id=first.id, tools=[TOOL])
    sent: Any = scripted.requests[-1].json
    assert [item["type"] for item in sent["input"]] == ["message", "reasoning", "function_call", "function_call_output"]
    assert sent["input"][1]["encrypted_content"] == "c2lnMQ=="
    gpt.responses.create(model="responses/say", input=output, previous_response_id=first.id, tools=[TOOL])
    assert "c2lnMQ==" not in told(scripted), "another provider, in the same dialect"


def test_with_store_false_nothing_is_kept(gpt: openai.OpenAI, scripted: ThreadedUpstream) -> None:
    first = gpt.responses.create(model="chat/say", input="One.")
    second = gpt.responses.create(model="chat/say", input="Two.", previous_response_id=first.id, store=False)
    assert in_order(told(scripted), "One.", "Two.")
    assert second.to_dict()["store"] is False
    with pytest.raises(openai.NotFoundError):
        gpt.responses.retrieve(second.id)
    with pytest.raises(openai.BadRequestError):
        gpt.responses.create(model="chat/say", input="x", previous_response_id=second.id)


@pytest.mark.parametrize("kind", [{"type": "item_reference"}, {}, {"type": None}])
@pytest.mark.parametrize("store", [True, False])
def test_an_earlier_item_may_be_named_by_its_id_with_or_without_a_type(
    gpt: openai.OpenAI, bob: openai.OpenAI, scripted: ThreadedUpstream, kind: dict[str, Any], store: bool
) -> None:
    first = gpt.responses.create(model="chat/call", input="Look.", tools=[TOOL])
    call = next(item for item in first.output if item.type == "function_call")
    named: Any = [
        {"role": "user", "content": "Look."},
        {**kind, "id": call.id},
        {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"},
    ]
    gpt.responses.create(model="messages/say", input=named, tools=[TOOL], store=store)
    sent: Any = scripted.requests[-1].json
    assert sent["messages"][1]["content"][0]["input"] == {"where": "Paris"}
    with pytest.raises(openai.NotFoundError, match="Item with id") as unknown:
        bob.responses.create(model="messages/say", input=named, tools=[TOOL], store=store)
    assert unknown.value.param == "input"
    bob.responses.create(model="responses/say", input=named, tools=[TOOL], store=store)
    assert str(call.id) in told(scripted), "who keeps answers may know it"


def test_nobody_reads_or_goes_on_from_what_another_key_has_stored(gpt: openai.OpenAI, bob: openai.OpenAI) -> None:
    for model in ("chat/say", "responses/call"):
        own_id = gpt.responses.create(model=model, input="A secret.").id
        asks: list[Callable[[], Any]] = [
            lambda own_id=own_id: bob.responses.retrieve(own_id),
            lambda own_id=own_id: bob.responses.delete(own_id),
            lambda own_id=own_id: bob.responses.cancel(own_id),
            lambda own_id=own_id: bob.responses.input_items.list(own_id),
        ]
        for ask in asks:
            with pytest.raises(openai.NotFoundError):
                ask()
        for other in ("chat/say", "responses/say"):
            with pytest.raises(openai.BadRequestError) as refused:
                bob.responses.create(model=other, input="And?", previous_response_id=own_id)
            assert refused.value.code == "previous_response_not_found"
            assert refused.value.param == "previous_response_id"


def test_an_answer_that_others_go_on_from_can_be_deleted_without_losing_them(
    gpt: openai.OpenAI, scripted: ThreadedUpstream
) -> None:
    first = gpt.responses.create(model="chat/say", input="One.")
    second = gpt.responses.create(model="chat/say", input="Two.", previous_response_id=first.id)
    gpt.responses.delete(first.id)
    with pytest.raises(openai.NotFoundError):
        gpt.responses.retrieve(first.id)
    with pytest.raises(openai.BadRequestError):
        gpt.responses.create(model="chat/say", input="x", previous_response_id=first.id)
    gpt.responses.create(model="chat/say", input="Three.", previous_response_id=second.id)
    assert in_order(told(scripted), "One.", "Two.", "Three.")


def test_input_items_come_in_pages(gpt: openai.OpenAI) -> None:
    given: Any = [
        {"role": "user", "content": f"Number {number}."} if number else {"role": "developer", "content": "Rules."}
        for number in range(5)
    ]
    own_id = gpt.responses.create(model="chat/say", input=given).id
    newest = gpt.responses.input_items.list(own_id, limit=2)
    assert newest.has_more
    texts = [item.content[0].text for item in newest if item.type == "message"]  # type: ignore[union-attr]
    assert texts == ["Number 4.", "Number 3.", "Number 2.", "Number 1.", "Rules."], "the SDK asks for page after page"
    after = gpt.responses.input_items.list(own_id, order="asc", after=newest.data[1].id or "")
    assert [item.content[0].text for item in after.data] == ["Number 4."]  # type: ignore[union-attr]
    for wrong in ({"limit": 0}, {"limit": 101}, {"after": "nope"}, {"order": "up"}):
        with pytest.raises(openai.BadRequestError) as refused:
            gpt.responses.input_items.list(own_id, **wrong)  # type: ignore[arg-type]
        assert refused.value.param == next(iter(wrong))


def test_an_answer_that_failed_is_kept_as_failed(gateway: Served, gpt: openai.OpenAI) -> None:
    body = json.dumps({"model": "chat/breaks", "input": "x", "stream": True}).encode()
    events = say(gateway, "POST", "/v1/responses", [JSON, SHOWN], body).body
    own_id = json.loads(events.split(b"data: ")[1].partition(b"\n")[0])["response"]["id"]
    kept = gpt.responses.retrieve(own_id)
    assert kept.status == "failed"
    assert kept.error is not None
    assert kept.error.message == "Busy."


def test_tokens_are_counted_and_explained_with_all_that_came_before(gateway: Served, gpt: openai.OpenAI) -> None:
    first = gpt.responses.create(model="chat/say", input="One, and a good deal more than that, to be counted.")
    alone = gpt.responses.input_tokens.count(model="chat/say", input="Two.").input_tokens
    both = gpt.responses.input_tokens.count(model="chat/say", input="Two.", previous_response_id=first.id).input_tokens
    assert both > alone + 5
    body = json.dumps({"model": "chat/say", "input": "Two.", "previous_response_id": first.id}).encode()
    shown = say(gateway, "POST", "/v1/explain/v1/responses", [JSON, SHOWN], body).json["targets"][0]
    assert [message["content"] for message in shown["body"]["messages"]][::2] == [
        "One, and a good deal more than that, to be counted.",
        "Two.",
    ]


def test_mistakes_and_losses_are_named_by_their_place_in_the_callers_own_body(gateway: Served, gpt: openai.OpenAI) -> None:
    first = gpt.responses.create(model="chat/say", input="One.")
    with pytest.raises(openai.BadRequestError) as wrong:
        gpt.responses.create(
            model="chat/say", previous_response_id=first.id, input=[{"role": "observer", "content": "x"}]  # type: ignore[list-item]
        )  # fmt: skip
    assert wrong.value.param == "input[0].role"
    item = {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "x"}}
    body = {"model": "messages/say", "previous_response_id": first.id, "input": [{"role": "user", "content": "x"}, item]}
    said = say(gateway, "POST", "/v1/responses", [JSON, SHOWN], json.dumps(body).encode())
    assert said.status == 200
    assert "input[1] " in (said.header("x-dragoman-losses") or "")
    plain = say(gateway, "POST", "/v1/responses", [JSON, SHOWN], json.dumps({**body, "input": "x"}).encode())
    assert plain.header("x-dragoman-losses") is None, "to go on loses nothing"


def test_what_has_expired_is_not_found(config: dict[str, Any]) -> None:
    store = {"path": ":memory:", "ttl": "1ms"}
    with serving({**config, "store": store}) as served, client(served) as gpt:
        own_id = gpt.responses.create(model="chat/say", input="x").id
        with pytest.raises(openai.NotFoundError):
            gpt.responses.retrieve(own_id)


def test_without_keys_everybody_is_one_owner(config: dict[str, Any]) -> None:
    with serving({**config, "keys": [], "store": {"path": ":memory:"}}) as served:
        with client(served, "any") as gpt:
            own_id = gpt.responses.create(model="chat/say", input="x").id
        with client(served, "other") as gpt:
            assert gpt.responses.retrieve(own_id).output_text == "Hello!"


# ---------------------------------------------------------------- kept there


def test_what_the_provider_keeps_goes_there_verbatim(gpt: openai.OpenAI, scripted: ThreadedUpstream, gateway: Served) -> None:
    own_id = gpt.responses.create(model="responses/say", input="One.").id
    body = b'{ "model":"responses/say", "input":"Two.",  "previous_response_id":"%b" }' % own_id.encode()
    assert say(gateway, "POST", "/v1/responses", [JSON, SHOWN], body).status == 200
    assert scripted.requests[-1].body == body.replace(b"responses/say", b"say")
    for ask, method, path in (
        (lambda: gpt.responses.retrieve(own_id, include=["reasoning.encrypted_content"]), "GET", ""),
        (lambda: gpt.responses.input_items.list(own_id, limit=3), "GET", "/input_items"),
        (lambda: gpt.responses.cancel(own_id), "POST", "/cancel"),
        (lambda: gpt.responses.delete(own_id), "DELETE", ""),
    ):
        ask()
        seen = scripted.requests[-1]
        assert (seen.method, seen.path) == (method, f"/v1/responses/{own_id}{path}")
        assert dict(seen.headers)["authorization"] == "Bearer sk-upstream-0123"
    with pytest.raises(openai.NotFoundError):
        gpt.responses.retrieve(own_id)


def test_a_streamed_answer_that_the_provider_keeps_is_remembered(gpt: openai.OpenAI, scripted: ThreadedUpstream) -> None:
    with gpt.responses.stream(model="responses/call", input="One.", tools=[TOOL]) as stream:
        own_id = stream.get_final_response().id
    gpt.responses.retrieve(own_id)
    assert scripted.requests[-1].path == f"/v1/responses/{own_id}"


def test_it_goes_on_where_it_is_kept_also_in_a_chain(gpt: openai.OpenAI, scripted: ThreadedUpstream) -> None:
    own_id = gpt.responses.create(model="responses/say", input="One.").id
    gpt.responses.create(model="both", input="Two.", previous_response_id=own_id)
    assert scripted.requests[-1].path == "/v1/responses"
    assert scripted.requests[-1].json["previous_response_id"] == own_id  # type: ignore[index, call-overload]
    with pytest.raises(openai.BadRequestError) as refused:
        gpt.responses.create(model="chat/say", input="Two.", previous_response_id=own_id)
    assert "is kept by the provider responses" in refused.value.message


def test_it_goes_on_with_the_key_that_it_began_with(gpt: openai.OpenAI, scripted: ThreadedUpstream) -> None:
    scripted.script("http-429", SAY)
    own_id = gpt.responses.create(model="keys", input="One.").id
    scripted.script(SAY)
    gpt.responses.create(model="keys", input="Two.", previous_response_id=own_id)
    assert dict(scripted.requests[-1].headers)["authorization"] == "Bearer sk-second-key-02"
    gpt.responses.retrieve(own_id)
    assert dict(scripted.requests[-1].headers)["authorization"] == "Bearer sk-second-key-02"


def test_a_refusal_of_the_provider_is_handed_on(gpt: openai.OpenAI, scripted: ThreadedUpstream) -> None:
    own_id = gpt.responses.create(model="responses/call", input="x", tools=[TOOL]).id
    body = b'{"error":{"message":"Gone with the wind.","type":"invalid_request_error","param":null,"code":null}}'
    scripted.on(f"/responses/{own_id}/input_items", 404, body, [("content-type", "application/json")])
    with pytest.raises(openai.NotFoundError, match="Gone with the wind"):
        gpt.responses.input_items.list(own_id)


def test_a_conversation_of_openais_goes_only_where_there_are_any(gpt: openai.OpenAI, scripted: ThreadedUpstream) -> None:
    gpt.responses.create(model="both", input="x", conversation="conv_1")
    assert scripted.requests[-1].json["conversation"] == "conv_1"  # type: ignore[index, call-overload]
    with pytest.raises(openai.BadRequestError) as refused:
        gpt.responses.create(model="chat/say", input="x", conversation="conv_1")
    assert refused.value.param == "conversation"
    with pytest.raises(openai.BadRequestError):
        gpt.responses.create(model="chat/say", input="x", conversation="conv_1", previous_response_id="resp_1")


# ---------------------------------------------------------------- in the background


@pytest.mark.parametrize("provider", KEPT_HERE)
def test_work_goes_on_in_the_background(gpt: openai.OpenAI, scripted: ThreadedUpstream, provider: str) -> None:
    scripted.shut_gate("slow")
    begun = gpt.responses.create(model=f"{provider}/slow", input="x", background=True, metadata={"a": "b"})
    assert begun.status == "queued"
    assert begun.background is True
    scripted.reached("slow")
    assert gpt.responses.retrieve(begun.id).status == "in_progress"
    with pytest.raises(openai.BadRequestError):
        gpt.responses.create(model="chat/say", input="x", previous_response_id=begun.id)
    scripted.open_gate("slow")
    ended = until(gpt, begun.id, "completed")
    assert ended.output_text == "Once upon a time"
    assert (ended.id, ended.created_at, ended.background, ended.metadata) == (begun.id, begun.created_at, True, {"a": "b"})
    assert gpt.responses.cancel(begun.id).status == "completed"
    assert gpt.responses.create(model="chat/say", input="And?", previous_response_id=begun.id).status == "completed"
    assert in_order(told(scripted), "Once upon a time", "And?")


def test_cancelling_stops_the_upstream(gpt: openai.OpenAI, scripted: ThreadedUpstream) -> None:
    left = len(scripted.connections.closed_early)
    begun = gpt.responses.create(model="messages/stuck", input="x", background=True)
    scripted.reached("never")
    assert gpt.responses.cancel(begun.id).status == "cancelled"
    scripted.closed_early(count=left + 1)
    assert gpt.responses.retrieve(begun.id).status == "cancelled"
    with pytest.raises(openai.BadRequestError, match="synchronous"):
        gpt.responses.cancel(gpt.responses.create(model="chat/say", input="x").id)


def test_deleting_stops_the_upstream_too(gpt: openai.OpenAI, scripted: ThreadedUpstream) -> None:
    left = len(scripted.connections.closed_early)
    begun = gpt.responses.create(model="chat/stuck", input="x", background=True)
    scripted.reached("never")
    gpt.responses.delete(begun.id)
    scripted.closed_early(count=left + 1)
    with pytest.raises(openai.NotFoundError):
        gpt.responses.retrieve(begun.id)


def test_a_stream_in_the_background_is_taken_up_again(
    gpt: openai.OpenAI, scripted: ThreadedUpstream, neighbour: Served
) -> None:
    scripted.shut_gate("slow")
    stream = gpt.responses.create(model="gemini/slow", input="x", background=True, stream=True)
    seen = [next(stream)]
    while seen[-1].type != "response.output_text.delta":
        seen.append(next(stream))
    own_id = seen[0].response.id  # type: ignore[union-attr]
    stream.close()
    again = gpt.responses.retrieve(own_id, stream=True, starting_after=seen[-1].sequence_number)
    scripted.open_gate("slow")
    rest = list(again)
    assert [event.sequence_number for event in [*seen, *rest]] == list(range(len(seen) + len(rest)))
    assert rest[-1].type == "response.completed"
    assert rest[-1].response.output_text == "Once upon a time"
    with client(neighbour) as elsewhere:
        replayed = list(elsewhere.responses.retrieve(own_id, stream=True))
    assert [event.to_dict() for event in replayed] == [event.to_dict() for event in [*seen, *rest]]


def test_what_fails_in_the_background_says_why(gpt: openai.OpenAI) -> None:
    for model, message in (("chat/refused", "No such thing."), ("chat/breaks", "Busy.")):
        failed = until(gpt, gpt.responses.create(model=model, input="x", background=True).id, "failed")
        assert failed.error is not None
        assert message in failed.error.message
    events = list(gpt.responses.create(model="chat/refused", input="x", background=True, stream=True))
    assert events[-1].type == "response.failed"
    with pytest.raises(openai.BadRequestError) as refused:
        gpt.responses.create(model="chat/say", input="x", background=True, store=False)
    assert refused.value.param == "background"
    with pytest.raises(openai.NotFoundError):
        gpt.responses.create(model="nope", input="x", background=True)


def test_work_in_the_background_tries_the_whole_chain(gpt: openai.OpenAI, scripted: ThreadedUpstream) -> None:
    scripted.script("http-503", SAY)
    begun = gpt.responses.create(model="both", input="x", background=True)
    assert until(gpt, begun.id, "completed", "failed").output_text == "Hello!"
    assert scripted.requests[-1].path == "/v1/responses"


def test_no_more_is_begun_in_the_background_than_the_gateway_can_do(
    gpt: openai.OpenAI, gateway: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway.engine.workshop, "_most", 0)
    with pytest.raises(openai.RateLimitError) as refused:
        gpt.responses.create(model="chat/say", input="x", background=True)
    assert refused.value.response.headers["retry-after"] == "5"
    assert gpt.responses.create(model="responses/say", input="x").status == "completed"


def test_the_provider_works_in_the_background_where_it_can(gpt: openai.OpenAI, scripted: ThreadedUpstream) -> None:
    gpt.responses.create(model="responses/say", input="x", background=True)
    assert scripted.requests[-1].json["background"] is True  # type: ignore[index, call-overload]


def test_another_gateway_sees_and_stops_it(
    gpt: openai.OpenAI, scripted: ThreadedUpstream, neighbour: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "_WATCH", 0.05)
    begun = gpt.responses.create(model="chat/stuck", input="x", background=True)
    scripted.reached("never")
    left = len(scripted.connections.closed_early)
    with client(neighbour) as elsewhere:
        assert elsewhere.responses.retrieve(begun.id).status == "in_progress"
        assert elsewhere.responses.cancel(begun.id).status == "cancelled"
    scripted.closed_early(count=left + 1)


def test_a_gateway_that_stops_says_so_and_one_that_is_gone_is_noticed(
    config: dict[str, Any], scripted: ThreadedUpstream
) -> None:
    with serving(config) as served, client(served) as gpt:
        begun = gpt.responses.create(model="chat/stuck", input="x", background=True)
        scripted.reached("never")
    with serving(config) as served, client(served) as gpt:
        stopped = gpt.responses.retrieve(begun.id)
        assert stopped.status == "failed"
        assert stopped.error is not None
        assert "stopped" in stopped.error.message
        lost = gpt.responses.create(model="chat/stuck", input="x", background=True)
        with serving(config) as other, client(other) as elsewhere:
            asyncio.run(_forget(config["store"]["path"], lost.id))
            assert elsewhere.responses.retrieve(lost.id).status == "failed"


async def _forget(path: str, own_id: str) -> None:
    """As if the process that works on it had died a while ago."""
    store = Store(f"sqlite:///{path}", SystemClock())
    assert await store.delete("running", "alice", own_id) == 1
    await store.aclose()


# ---------------------------------------------------------------- made short


def test_a_conversation_is_made_short(gpt: openai.OpenAI, scripted: ThreadedUpstream) -> None:
    first = gpt.responses.create(model="chat/call", input="Look.", tools=[TOOL])
    call = next(item for item in first.output if item.type == "function_call")
    output: Any = [{"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}]
    second = gpt.responses.create(model="chat/say", input=output, previous_response_id=first.id, tools=[TOOL])
    scripted.script(scenario("summary", Text("Paris was sunny."), Usage(input=30, output=4), Finish()))
    answer = gpt.responses.with_raw_response.compact(model="messages/say", previous_response_id=second.id)
    short = answer.parse()
    assert in_order(told(scripted), "Look.", "look", "Paris", "sunny", "Hello!")
    assert (short.object, short.usage.total_tokens) == ("response.compaction", 34)
    assert [item.type for item in short.output] == ["message", "compaction"]

    history: Any = [*json.loads(answer.content)["output"], {"role": "user", "content": "And now?"}]
    for model in ("messages/say", "chat/say", "gemini/say", "responses/say", "plain/say"):
        gpt.responses.create(model=model, input=history)
        assert in_order(told(scripted), "Look.", "Paris was sunny.", "And now?"), model
        assert "dgm1-" not in told(scripted)


def test_the_provider_makes_it_short_where_it_can(gpt: openai.OpenAI, scripted: ThreadedUpstream) -> None:
    body = {"id": "resp_c", "object": "response.compaction", "created_at": 1, "output": [], "usage": None}
    scripted.on("/responses/compact", 200, json.dumps(body).encode(), [("content-type", "application/json")])
    assert gpt.responses.compact(model="responses/say", input="Long.").id == "resp_c"
    assert scripted.requests[-1].json == {"model": "say", "input": "Long."}


# ---------------------------------------------------------------- without a store


def test_who_needs_the_store_is_told_that_it_cannot_be_used_and_all_others_are_served(
    config: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with serving({**config, "store": {"path": str(tmp_path / "file" / "store.db")}}) as served, client(served) as gpt:
        assert gpt.responses.create(model="chat/say", input="x").output_text == "Hello!"
        assert gpt.responses.create(model="chat/say", input="x", store=False).output_text == "Hello!"
        assert gpt.responses.create(model="responses/say", input="x").output_text == "Hello!"
        with gpt.responses.stream(model="chat/say", input="x") as stream:
            assert stream.get_final_response().output_text == "Hello!"
        asks: list[Callable[[], Any]] = [
            lambda: gpt.responses.create(model="chat/say", input="x", store=True),
            lambda: gpt.responses.create(model="chat/say", input="x", background=True),
            lambda: gpt.responses.create(model="chat/say", input="x", previous_response_id="resp_1"),
            lambda: gpt.responses.retrieve("resp_1"),
        ]
        for ask in asks:
            with pytest.raises(openai.InternalServerError) as refused:
                ask()
            assert refused.value.status_code == 503
            assert "the store cannot be" in refused.value.message
        body = json.dumps({"model": "chat/say", "input": "x", "store": True, "stream": True}).encode()
        view = fold_responses(say(served, "POST", "/v1/responses", [JSON, SHOWN], body).body)
        assert view.finish is None
        assert view.error is not None


def test_a_gateway_that_keeps_nothing_says_so(config: dict[str, Any]) -> None:
    with serving({**config, "store": False}) as served, client(served) as gpt:
        kept = gpt.responses.create(model="chat/say", input="x")
        assert kept.to_dict()["store"] is False
        gpt.responses.create(model="responses/say", input="x", store=True)
        for more in ({"store": True}, {"background": True}, {"previous_response_id": "resp_1"}):
            with pytest.raises(openai.BadRequestError, match="keeps no"):
                gpt.responses.create(model="chat/say", input="x", **more)  # type: ignore[arg-type]
        with pytest.raises(openai.NotFoundError):
            gpt.responses.retrieve(kept.id)


def test_ids_and_methods_that_are_none(gateway: Served, gpt: openai.OpenAI) -> None:
    for own_id in ("resp_nope", "a b", "%00", "%ED%A0%80", "x" * 2000):
        said = say(gateway, "GET", f"/v1/responses/{own_id.replace(' ', '%20')}", [SHOWN])
        assert said.status == 404, own_id
        assert said.json["error"]["type"] == "invalid_request_error"
    put = say(gateway, "PUT", "/v1/responses/resp_1", [SHOWN, JSON], b"{}")
    assert (put.status, put.header("allow")) == (405, "GET, DELETE")
    assert say(gateway, "GET", "/v1/responses/resp_1").status == 401
    assert say(gateway, "GET", "/responses/resp_1", [SHOWN]).status == 404
    for wrong in ({"store": "yes"}, {"background": 1}, {"previous_response_id": 5}):
        body = json.dumps({"model": "chat/say", "input": "x", **wrong}).encode()
        said = say(gateway, "POST", "/v1/responses", [JSON, SHOWN], body)
        assert (said.status, said.json["error"]["param"]) == (400, next(iter(wrong)))


def test_who_brings_a_provider_key_of_their_own_is_an_owner_of_their_own(
    config: dict[str, Any], scripted: ThreadedUpstream
) -> None:
    mine = {"dialect": "responses", "base_url": f"{scripted.url}/v1", "credentials": "caller"}
    providers = {"mine": mine, "bare": mine | {"profile": {"keeps_responses": False}}}
    with serving({"providers": providers, "store": {"path": ":memory:"}}) as served:
        with client(served, "sk-of-carol-0123") as carol:
            own_id = carol.responses.create(model="mine/say", input="x").id
            carol.responses.retrieve(own_id)
            first = carol.responses.create(model="bare/say", input="One.")
            second = carol.responses.create(model="bare/say", input="Two.", previous_response_id=first.id)
            assert in_order(told(scripted), "One.", "Two.")
            assert dict(scripted.requests[-1].headers)["authorization"] == "Bearer sk-of-carol-0123"
            third = carol.responses.create(model="bare/say", input="x", background=True, previous_response_id=second.id)
            fourth = carol.responses.create(model="bare/say", input="x", background=True)
            assert {until(carol, one.id, "completed", "failed").output_text for one in (third, fourth)} == {"Hello!"}
        with client(served, "sk-of-dave-01234") as dave:
            for one in (own_id, first.id, second.id, third.id, fourth.id):
                with pytest.raises(openai.NotFoundError):
                    dave.responses.retrieve(one)


def test_half_a_character_in_an_answer_does_not_keep_it_from_being_kept(config: dict[str, Any]) -> None:
    answer = (
        rb'{"id":"resp_half","object":"response","status":"completed","model":"x","output":[{"type":"message","id":"msg_1",'
    )
    answer += (
        rb'"role":"assistant","content":[{"type":"output_text","text":"Half \ud83d of it","annotations":[]}]}],"usage":null}'
    )
    with ScriptedUpstream.in_thread() as odd:
        odd.on("/responses", 200, answer, [("content-type", "application/json")])
        plain = {"dialect": "responses", "base_url": f"{odd.url}/v1", "api_key": "sk-1", "profile": {"keeps_responses": False}}
        with serving({**config, "providers": {"odd": plain}, "models": {}}) as served:
            body = json.dumps({"model": "odd/x", "input": "x"}).encode()
            assert say(served, "POST", "/v1/responses", [JSON, SHOWN], body).body == answer
            kept = say(served, "GET", "/v1/responses/resp_half", [SHOWN]).json
            assert kept["output"][0]["content"][0]["text"] == "Half \ufffd of it"
            more = json.dumps({"model": "odd/x", "input": "y", "previous_response_id": "resp_half"}).encode()
            assert say(served, "POST", "/v1/responses", [JSON, SHOWN], more).status == 200
            assert "Half \ufffd of it" in told(odd)
