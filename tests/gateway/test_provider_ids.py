"""What a provider keeps itself, asked with one key for everybody: to each of the gateway's callers only its own is there."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from dragoman.testing import Finish, HttpError, ScriptedUpstream, Text, Thinking, ThreadedUpstream, ToolCall, Usage, scenario
from tests.gateway.talking import JSON, Pairs, Said, say, streaming
from tests.serving import PATIENCE, Served, serving, upstream

ALICE, BOB = "gw-key-alice-0123456789", "gw-key-bob-0123456789"
SENT = "/v1/responses"
PASSED = "/there/v1/responses"
ENDING = (Usage(input=1, output=1), Finish())
CONVERSATIONS = "/there/v1/conversations"
GZIPPED = ("content-encoding", "gzip")


@pytest.fixture(scope="module")
def config(scripted: ThreadedUpstream, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return {
        "providers": {
            "there": upstream(scripted.url, "responses"),
            "again": upstream(scripted.url, "responses"),
            "chat": upstream(scripted.url, "chat"),
        },
        "models": {"chain": ["chat/m", "there/m"]},
        "keys": [{"name": "alice", "key": ALICE}, {"name": "bob", "key": BOB}],
        "store": {"path": str(tmp_path_factory.mktemp("state") / "store.db")},
    }


@pytest.fixture(scope="module")
def gateway(config: dict[str, Any]) -> Iterator[Served]:
    with serving(config) as served:
        yield served


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """One of its own for each test: the scripted provider makes its ids of it."""
    return f"{zlib.crc32(request.node.name.encode()):08x}"


def shown(key: str) -> tuple[str, str]:
    return ("x-dragoman-key", key)


def call(served: Served, key: str, method: str, path: str, body: Any = None, *headers: tuple[str, str]) -> Said:
    sent = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    return say(served, method, path, [shown(key), *headers, *([JSON] if sent is not None else [])], sent)


def made(served: Served, scripted: ThreadedUpstream, name: str, *, path: str = SENT, key: str = ALICE, **more: Any) -> Any:
    """A response with a thought, a text and a call, kept by its provider."""
    answer = (Thinking("Hm.", signature="c2lnMQ=="), Text("A secret."), ToolCall("look", {"at": 1}, id="call_1"))
    scripted.script(scenario(name, *answer, Usage(input=1, output=1), Finish("tool_calls")))
    model = "m" if path == PASSED else "there/m"
    said = call(served, key, "POST", path, {"model": model, "input": "x", **more})
    assert said.status == 200, said.body
    if more.get("stream"):
        last = next(event for event in said.body.split(b"\n\n") if event.startswith(b"event: response.completed"))
        return json.loads(last.partition(b"data: ")[2])["response"]
    return said.json


def naming(item: Any) -> list[dict[str, Any]]:
    """The ways to lean on an earlier item by its id."""
    own_id = item["id"]
    ways: list[dict[str, Any]] = [{"id": own_id}, {"type": "item_reference", "id": own_id}, {"id": own_id, "type": None}]
    ways.append({"type": "item_reference", "id": own_id, "role": "user"})
    if item["type"] == "reasoning":
        ways += [{"type": "reasoning", "id": own_id, "summary": [], "encrypted_content": said} for said in (None, "")]
    return ways


def refused(scripted: ThreadedUpstream, ask: Callable[[], Said], *statuses: int) -> None:
    asked = len(scripted.requests)
    said = ask()
    assert said.status in statuses, said.body
    assert "not found" in said.message
    assert len(scripted.requests) == asked, "and nobody else is asked"


# ---------------------------------------------------------------- responses and their items


@pytest.mark.parametrize("path", [SENT, PASSED])
@pytest.mark.parametrize("stream", [False, True])
def test_an_item_of_another_is_not_there(
    gateway: Served, scripted: ThreadedUpstream, name: str, path: str, stream: bool
) -> None:
    first = made(gateway, scripted, name, path=path, stream=stream)
    assert [item["type"] for item in first["output"]] == ["reasoning", "message", "function_call"]
    for item in first["output"]:
        for named in naming(item):
            for store in (True, False):
                body = {"input": [{"role": "user", "content": "x"}, named], "store": store}
                refused(scripted, lambda body=body: call(gateway, BOB, "POST", SENT, {"model": "there/m", **body}), 404)
                refused(scripted, lambda body=body: call(gateway, BOB, "POST", SENT, {"model": "again/m", **body}), 404)
                refused(scripted, lambda body=body: call(gateway, BOB, "POST", PASSED, {"model": "m", **body}), 404)
        for to, model in ((SENT, "there/m"), (PASSED, "m")):
            assert call(gateway, ALICE, "POST", to, {"model": model, "input": [{"id": item["id"]}]}).status == 200
            assert item["id"].encode() in scripted.requests[-1].body


@pytest.mark.parametrize("path", [SENT, PASSED])
@pytest.mark.parametrize("stream", [False, True])
def test_a_response_of_another_is_not_there_whichever_way_it_was_made_or_is_asked_for(
    gateway: Served, scripted: ThreadedUpstream, name: str, path: str, stream: bool
) -> None:
    own_id = made(gateway, scripted, name, path=path, stream=stream)["id"]
    for method, ending in (("GET", ""), ("GET", "/input_items"), ("POST", "/cancel"), ("DELETE", "")):
        for root in (SENT, PASSED, "/there/v1//responses", "/there/v1/files/../Responses", "/there/v1/%72esponses"):
            refused(scripted, lambda to=f"{root}/{own_id}{ending}", by=method: call(gateway, BOB, by, to), 404)
    body = {"input": "And?", "previous_response_id": own_id}
    refused(scripted, lambda: call(gateway, BOB, "POST", SENT, {"model": "there/m", **body}), 400)
    for packed in (json.dumps(body).encode(), json.dumps(body).replace("resp", r"\u0072esp").encode()):
        refused(scripted, lambda sent=packed: call(gateway, BOB, "POST", PASSED, sent), 404)
        refused(scripted, lambda sent=packed: call(gateway, BOB, "POST", PASSED, gzip.compress(sent), GZIPPED), 404)
    assert call(gateway, ALICE, "POST", SENT, {"model": "there/m", **body}).status == 200
    assert scripted.requests[-1].json["previous_response_id"] == own_id  # type: ignore[index, call-overload]
    assert call(gateway, ALICE, "POST", PASSED, {"model": "m", **body}).status == 200
    assert call(gateway, ALICE, "GET", f"{PASSED}/{own_id}").status == 200


@pytest.mark.parametrize("path", [SENT, PASSED])
@pytest.mark.parametrize("last", [b"\n\n", b"\r\n\r\n", b"\n", b""])
def test_ids_are_found_in_events_of_any_size_and_at_an_end_of_any_form(name: str, path: str, last: bytes) -> None:
    end = last[: len(last) // 2] or b"\n"
    whole = {"id": f"resp_{name}", "object": "response", "status": "completed", "output": [], "instructions": "x" * 700_000}
    item = {"id": f"ig_{name}", "type": "image_generation_call", "status": "completed", "result": "aGk=" * 250_000}
    events = [
        {"type": "response.created", "sequence_number": 0, "response": whole | {"status": "in_progress"}},
        {"type": "response.output_item.done", "sequence_number": 1, "output_index": 0, "item": item},
        {"type": "response.completed", "sequence_number": 2, "response": whole | {"output": [item]}},
    ]
    lines = [b"event: %b%bdata: %b" % (str(one["type"]).encode(), end, json.dumps(one).encode()) for one in events]
    sent = (end + end).join(lines) + last
    keys = [{"name": "alice", "key": ALICE}, {"name": "bob", "key": BOB}]
    with (
        ScriptedUpstream.in_thread() as odd,
        serving({"providers": {"there": upstream(odd.url, "responses")}, "keys": keys}) as served,
    ):
        odd.on("/responses", 200, sent, [("content-type", "text/event-stream")])
        model = "m" if path == PASSED else "there/m"
        assert call(served, ALICE, "POST", path, {"model": model, "input": "x", "stream": True}).body == sent
        picture = {"type": "image_generation_call", "id": item["id"]}
        refused(odd, lambda: call(served, BOB, "POST", SENT, {"model": "there/m", "input": [picture]}), 404)
        refused(odd, lambda: call(served, BOB, "GET", f"{PASSED}/resp_{name}"), 404)
        assert call(served, ALICE, "POST", SENT, {"model": "there/m", "input": [picture], "stream": True}).status == 200


def test_what_is_listed_of_a_response_is_its_callers_too(gateway: Served, scripted: ThreadedUpstream, name: str) -> None:
    """The items of a request get their ids at the provider, and those of work in the background later."""
    own_id = made(gateway, scripted, name, background=True)["id"]
    listed = {"object": "list", "data": [{"id": f"msg_in_{name}", "type": "message", "role": "user", "content": []}]}
    whole = {"id": own_id, "object": "response", "output": [{"id": f"msg_out_{name}", "type": "message"}]}
    for ending, body in (("/input_items", listed), ("", whole)):
        scripted.on(f"/responses/{own_id}{ending}", 200, json.dumps(body).encode(), [JSON])
        assert call(gateway, ALICE, "GET", f"{SENT}/{own_id}{ending}").json == body
    for item in (f"msg_in_{name}", f"msg_out_{name}"):
        refused(
            scripted, lambda item=item: call(gateway, BOB, "POST", SENT, {"model": "there/m", "input": [{"id": item}]}), 404
        )


def test_what_a_provider_packs_unasked_is_read_all_the_same(gateway: Served, scripted: ThreadedUpstream, name: str) -> None:
    own_id = made(gateway, scripted, name, background=True)["id"]
    whole = {"id": own_id, "object": "response", "output": [{"id": f"msg_packed_{name}", "type": "message"}]}
    refusal = {"error": {"message": "sk-upstream is not good for that"}}
    for status, body in ((200, whole), (404, refusal)):
        packed = gzip.compress(json.dumps(body).encode())
        scripted.on(f"/responses/{own_id}", status, packed, [JSON, GZIPPED])
        said = call(gateway, ALICE, "GET", f"{SENT}/{own_id}")
        assert (said.status, said.header("content-encoding")) == (status, None)
        assert said.body != packed
        assert b"sk-upstream" not in said.body
    naming_it = {"model": "there/m", "input": [{"id": f"msg_packed_{name}"}]}
    refused(scripted, lambda: call(gateway, BOB, "POST", SENT, naming_it), 404)


def test_an_item_that_says_all_of_itself_may_have_any_id(gateway: Served, scripted: ThreadedUpstream, name: str) -> None:
    """A conversation that one has written down and another goes on with."""
    items = made(gateway, scripted, name)["output"]
    items[0]["encrypted_content"] = "c2lnMQ=="
    done = {"type": "function_call_output", "call_id": "call_1", "output": "x"}
    assert call(gateway, BOB, "POST", SENT, {"model": "there/m", "input": [*items, done]}).status == 200


def test_ids_that_a_provider_counts_are_those_of_everybody_for_whom_they_were_made(
    gateway: Served, scripted: ThreadedUpstream, name: str
) -> None:
    for key in (ALICE, BOB):
        item = made(gateway, scripted, name, key=key)["output"][1]
    for key in (ALICE, BOB):
        assert call(gateway, key, "POST", SENT, {"model": "there/m", "input": [{"id": item["id"]}]}).status == 200


def test_unknown_items_are_the_providers_own_affair_and_nobody_goes_on_from_an_unknown_response(
    gateway: Served, scripted: ThreadedUpstream, name: str
) -> None:
    for key in (ALICE, BOB):
        said = call(gateway, key, "POST", SENT, {"model": "there/m", "input": [{"id": f"msg_elsewhere_{name}"}]})
        assert said.status == 200
        body = {"model": "there/m", "input": "x", "previous_response_id": f"resp_elsewhere_{name}"}
        refused(scripted, lambda key=key, body=body: call(gateway, key, "POST", SENT, body), 400)


def test_who_comes_with_a_key_of_the_providers_is_told_apart_by_the_provider(
    gateway: Served, scripted: ThreadedUpstream, name: str
) -> None:
    first = made(gateway, scripted, name)
    own: Pairs = [("authorization", "Bearer sk-of-bobs-own-0123")]
    for path, model in ((SENT, "there/m"), (PASSED, "m")):
        for body in ({"input": "x", "previous_response_id": first["id"]}, {"input": [{"id": first["output"][0]["id"]}]}):
            assert call(gateway, BOB, "POST", path, {"model": model, **body}, *own).status == 200
            assert dict(scripted.requests[-1].headers)["authorization"] == "Bearer sk-of-bobs-own-0123"


# ---------------------------------------------------------------- conversations


def talking(conversation: Any, **more: Any) -> dict[str, Any]:
    return {"model": "there/m", "input": "x", "conversation": conversation, **more}


@pytest.mark.parametrize("first", ["a text", "an object", "a path", "a body that is passed on"])
def test_a_conversation_belongs_to_the_first_who_uses_it(
    gateway: Served, scripted: ThreadedUpstream, name: str, first: str
) -> None:
    own_id = f"conv_{name}"
    uses = {
        "a text": lambda key: call(gateway, key, "POST", SENT, talking(own_id)),
        "an object": lambda key: call(gateway, key, "POST", SENT, talking({"id": own_id})),
        "a path": lambda key: call(gateway, key, "GET", f"{CONVERSATIONS}/{own_id}/items"),
        "a body that is passed on": lambda key: call(gateway, key, "POST", PASSED, talking({"id": own_id})),
    }
    assert uses[first](ALICE).status == 200
    for use in uses.values():
        refused(scripted, lambda use=use: use(BOB), 404)
        assert use(ALICE).status == 200
    for method, ending in (("GET", ""), ("POST", ""), ("DELETE", ""), ("POST", "/items"), ("DELETE", "/items/msg_1")):
        body = {} if method == "POST" else None
        refused(scripted, lambda to=f"{CONVERSATIONS}/{own_id}{ending}", by=method, b=body: call(gateway, BOB, by, to, b), 404)


def test_a_conversation_that_is_made_through_the_gateway_is_its_makers(
    gateway: Served, scripted: ThreadedUpstream, name: str
) -> None:
    own_id = f"conv_{name}"
    answer = json.dumps({"id": own_id, "object": "conversation", "created_at": 1, "metadata": {}}).encode()
    scripted.on("/conversations", 200, answer, [JSON])
    with openai.OpenAI(base_url=f"{gateway.url}/there/v1", api_key=ALICE, max_retries=0, timeout=PATIENCE) as alice:
        assert alice.conversations.create().id == own_id
        sent = dict(scripted.requests[-1].headers)
        assert (sent["authorization"], sent["accept-encoding"]) == ("Bearer sk-upstream", "identity")
    refused(scripted, lambda: call(gateway, BOB, "GET", f"{CONVERSATIONS}/{own_id}"), 404)
    refused(scripted, lambda: call(gateway, BOB, "POST", SENT, talking(own_id)), 404)
    assert call(gateway, ALICE, "POST", SENT, talking(own_id)).status == 200


def test_nobody_puts_anothers_items_into_a_conversation(gateway: Served, scripted: ThreadedUpstream, name: str) -> None:
    item = made(gateway, scripted, name)["output"][1]["id"]
    for path in (CONVERSATIONS, f"{CONVERSATIONS}/conv_bobs_{name}/items"):
        refused(scripted, lambda path=path: call(gateway, BOB, "POST", path, {"items": [{"id": item}]}), 404)
    refused(scripted, lambda: call(gateway, BOB, "POST", SENT, talking(f"conv_bobs_{name}", input=[{"id": item}])), 404)


@pytest.mark.parametrize("stream", [False, True])
def test_what_is_made_in_a_conversation_is_its_callers_even_if_the_response_is_not_stored(
    gateway: Served, scripted: ThreadedUpstream, name: str, stream: bool
) -> None:
    first = made(gateway, scripted, name, conversation=f"conv_{name}", store=False, stream=stream)
    for item in first["output"]:
        body = {"model": "there/m", "input": [{"id": item["id"]}]}
        refused(scripted, lambda body=body: call(gateway, BOB, "POST", SENT, body), 404)


def test_to_count_or_explain_takes_no_conversation_and_tells_nothing_of_anothers(
    gateway: Served, scripted: ThreadedUpstream, name: str
) -> None:
    paths = ("/v1/explain/v1/responses", "/v1/responses/input_tokens")
    for path in paths:
        assert call(gateway, BOB, "POST", path, talking(f"conv_{name}")).status == 200
    assert call(gateway, ALICE, "POST", SENT, talking(f"conv_{name}")).status == 200
    for path in paths:
        refused(scripted, lambda path=path: call(gateway, BOB, "POST", path, talking(f"conv_{name}")), 404)


@pytest.mark.parametrize("word", ["input_items", "cancel", "items", "compact", "input_tokens"])
def test_nobody_bars_others_from_a_path_by_calling_a_conversation_so(
    gateway: Served, scripted: ThreadedUpstream, name: str, word: str
) -> None:
    call(gateway, ALICE, "POST", PASSED, {"model": "m", "input": "x", "conversation": word})
    asked = len(scripted.requests)
    for path in (f"{PASSED}/resp_{name}/{word}", f"{PASSED}/{word}", f"{CONVERSATIONS}/conv_{name}/{word}"):
        assert "not found" not in call(gateway, BOB, "POST", path, {"model": "m", "input": "x"}).body.decode()
    assert len(scripted.requests) == asked + 3


def test_of_many_who_use_a_conversation_first_at_once_one_has_it(
    config: dict[str, Any], gateway: Served, scripted: ThreadedUpstream, name: str
) -> None:
    """In two gateways with one store."""

    async def race(other: Served) -> None:
        def use(served: Served, key: str) -> int:
            return call(served, key, "POST", SENT, talking(f"conv_{name}")).status

        each = [(served, key) for served in (gateway, other) for key in (ALICE, BOB)] * 2
        statuses = await asyncio.gather(*(asyncio.to_thread(use, *one) for one in each))
        won = {key for (_, key), status in zip(each, statuses, strict=True) if status == 200}
        lost = {key for (_, key), status in zip(each, statuses, strict=True) if status == 404}
        assert won | lost == {ALICE, BOB}
        assert not won & lost

    with serving(config) as other:
        asyncio.run(race(other))


# ---------------------------------------------------------------- how it is remembered


@pytest.mark.parametrize("part", ["response", "item"])
@pytest.mark.parametrize("kept", ["there", "here"])
@pytest.mark.parametrize("odd", ["x" * 3000, "x\n\x07"])
def test_an_answer_whose_ids_nothing_can_be_kept_by_is_given_all_the_same(
    scripted: ThreadedUpstream, name: str, part: str, kept: str, odd: str
) -> None:
    """Some providers make an id of all that an item says, encrypted."""
    ids = {"response": f"resp_{name}", "item": f"msg_{name}"}
    ids[part] += odd
    text = {"type": "output_text", "text": "Hi.", "annotations": []}
    item = {"id": ids["item"], "type": "message", "role": "assistant", "status": "completed", "content": [text]}
    answer = {"id": ids["response"], "object": "response", "status": "completed", "model": "m", "output": [item]}
    scripted.script(scenario(name, HttpError(200, body=json.dumps(answer).encode())))
    provider = upstream(scripted.url, "responses") | {"profile": {"keeps_responses": kept == "there"}}
    keys = [{"name": "alice", "key": ALICE}, {"name": "bob", "key": BOB}]
    with serving({"providers": {"there": provider}, "keys": keys, "store": {"path": ":memory:"}}) as served:
        said = call(served, ALICE, "POST", SENT, {"model": "there/m", "input": "x"})
        assert said.status == 200, said.body
        assert said.json["output"][0]["content"][0]["text"] == "Hi."
        naming_it = {"model": "there/m", "input": [{"id": ids["item"]}]}
        assert call(served, BOB, "POST", SENT, naming_it).status == 404
        if part == "item":
            on = {"model": "there/m", "input": "y", "previous_response_id": ids["response"]}
            assert call(served, ALICE, "POST", SENT, on).status == 200


def test_it_is_still_known_after_a_restart(
    config: dict[str, Any], scripted: ThreadedUpstream, tmp_path: Path, name: str
) -> None:
    config = {**config, "store": {"path": str(tmp_path / "store.db"), "ttl": "1h"}}
    with serving(config) as served:
        item = made(served, scripted, name, stream=True)["output"][0]["id"]
        assert call(served, ALICE, "POST", SENT, talking(f"conv_{name}")).status == 200
    with serving(config) as served:
        refused(scripted, lambda: call(served, BOB, "POST", SENT, {"model": "there/m", "input": [{"id": item}]}), 404)
        refused(scripted, lambda: call(served, BOB, "POST", SENT, talking(f"conv_{name}")), 404)
        assert call(served, ALICE, "POST", SENT, talking(f"conv_{name}")).status == 200


def test_a_stream_goes_out_untouched_while_its_ids_are_read(gateway: Served, scripted: ThreadedUpstream, name: str) -> None:
    for path, model in ((SENT, "there/text"), (PASSED, "text")):
        body = json.dumps({"model": model, "input": "x", "stream": True}).encode()
        with streaming(gateway, "POST", path, [JSON, shown(ALICE)], body) as stream:
            through = stream.rest().body
        direct = say(gateway, "POST", path, [JSON, shown(ALICE)], body)
        assert through == direct.body
        assert through.count(b"event: response.completed\n") == 1
        assert through.startswith(b"event: response.created\n")


def test_where_the_gateway_has_no_keys_nobody_is_told_apart(
    config: dict[str, Any], scripted: ThreadedUpstream, name: str
) -> None:
    with serving({**config, "keys": [], "store": {"path": ":memory:"}}) as served:
        item = made(served, scripted, name)["output"][0]["id"]
        for key in (ALICE, BOB):
            assert call(served, key, "POST", SENT, talking(f"conv_{name}")).status == 200
            assert call(served, key, "POST", SENT, {"model": "there/m", "input": [{"id": item}]}).status == 200
        store = served.engine.store
        assert store is not None
        kept = asyncio.run_coroutine_threadsafe(store.page("whose", None), served.loop).result(PATIENCE)
        assert kept == [], "and nothing is written for it"


def test_a_gateway_that_remembers_nothing_says_why_it_goes_on_with_no_conversation(
    config: dict[str, Any], scripted: ThreadedUpstream, name: str
) -> None:
    with serving({**config, "store": False}) as served:
        said = call(served, ALICE, "POST", SENT, talking(f"conv_{name}"))
        assert said.status == 400
        assert "store.enabled is false" in said.message
        own = ("authorization", "Bearer sk-of-alices-own-0123")
        assert call(served, ALICE, "POST", SENT, talking(f"conv_{name}"), own).status == 200
    with serving({**config, "store": False, "keys": []}) as served:
        assert call(served, ALICE, "POST", SENT, talking(f"conv_{name}")).status == 200


def test_a_store_that_cannot_be_used_lets_nobody_at_what_may_be_anothers(
    config: dict[str, Any], tmp_path: Path, name: str
) -> None:
    (tmp_path / "file").write_text("")
    with serving({**config, "store": {"path": str(tmp_path / "file" / "store.db")}}) as served:
        for path, body in ((SENT, talking(f"conv_{name}")), (PASSED, talking(f"conv_{name}")), (SENT, None)):
            way = ("POST", path) if body else ("GET", f"/there/v1/responses/resp_{name}")
            assert call(served, ALICE, *way, body).status == 503


@pytest.mark.parametrize(
    ("sent", "headers", "status"),
    [(b"{", (), 400), (b"[]", (), 400), (b"x", (("content-encoding", "br"),), 415), (b'{"input":"\\ud83d"}', (), 200)],
)
def test_a_body_in_which_nobody_can_look_for_ids_is_not_passed_on(
    gateway: Served, sent: bytes, headers: Any, status: int
) -> None:
    assert call(gateway, BOB, "POST", "/there/v1/conversations", sent, *headers).status == status
    own = ("authorization", "Bearer sk-of-bobs-own-0123")
    assert call(gateway, BOB, "POST", "/there/v1/conversations", sent, own, *headers).status == 200
