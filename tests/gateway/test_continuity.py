"""A conversation that goes from one provider to another and back: each gets what it has sealed itself, nobody else's.

Four clients by hand, each in two habits: `keeps` sends back an answer as it came; `bare` sends back what was said and called,
with ids of its own, as clients do that put conversations together from their own records.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest

from dragoman.testing import Finish, HttpError, Text, Thinking, ThreadedUpstream, ToolCall, Usage, scenario
from tests.gateway.talking import JSON, Reports, Said, say
from tests.serving import PATIENCE, Served, serving

Habit = Literal["keeps", "bare"]
CLIENTS = ("chat", "messages", "responses", "gemini")
ISSUERS = ("messages", "responses", "gemini")
"""The dialects of providers that seal."""
SEALS = [f"c2VhbCBudW1iZXIg{letter * 8}" for letter in "ABCDEF"]
"""Base64, as all of them are."""


@pytest.fixture(scope="module")
def gateway(scripted: ThreadedUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    place = tmp_path_factory.mktemp("state")
    with serving({"providers": providers(scripted), "store": {"path": str(place / "d.db")}, "keys": KEYS}) as served:
        yield served


KEYS = [{"name": "alice", "key": "sk-alice-0123456789"}, {"name": "bob", "key": "sk-bob-0123456789"}]


def providers(scripted: ThreadedUpstream) -> dict[str, Any]:
    """Two of each dialect: `a-messages` and `b-messages` are different issuers."""
    return {
        f"{side}-{dialect}": {
            "dialect": dialect,
            "base_url": scripted.url if dialect in {"messages", "gemini"} else f"{scripted.url}/v1",
            "api_key": f"sk-{side}-0123456789",
        }
        for side in "ab"
        for dialect in (*ISSUERS, "chat")
    }


class Conversation:
    """One client's, told to whichever provider is named. `name` is in its words, so that no two are alike."""

    def __init__(self, gateway: Served, scripted: ThreadedUpstream, client: str, habit: Habit, name: str) -> None:
        self.gateway, self.scripted, self.client, self.name = gateway, scripted, client, name
        self.habit: Habit = habit
        self.history: list[Any] = []
        self.turns = 0
        self.key = "sk-alice-0123456789"
        self.heard: bytes = b""
        """What the provider was last sent."""

    def ask(self, provider: str, *answer: Any, stream: bool = False) -> Said:
        """The next question. The provider answers with these; what it was sent is in `heard`."""
        self.turns += 1
        reason = "tool_calls" if any(isinstance(step, ToolCall) for step in answer) else "stop"
        self.scripted.script(scenario(f"turn-{self.turns}", *answer, Usage(input=9, output=5), Finish(reason)))
        return self.send(provider, f"question {self.turns} of {self.name}", stream=stream)

    def send(self, provider: str, question: str | None, *, stream: bool = False) -> Said:
        if question is not None:
            self.history += _question(self.client, question)
        model = f"{provider}/m"
        body = _body(self.client, self.history, model, stream=stream)
        said = say(self.gateway, "POST", _path(self.client, model, stream=stream), [JSON, ("x-dragoman-key", self.key)], body)
        assert said.status == 200, said.body
        assert not said.view(self.client).error
        self.heard = self.scripted.requests[-1].body
        self.history += _streamed(self.client, said) if stream else _answer(self.client, said, self.habit, self.turns)
        return said

    def holds(self, seal: str) -> bool:
        return seal.encode() in self.heard


def _path(client: str, model: str, *, stream: bool) -> str:
    if client == "gemini":
        return f"/v1beta/models/{model}:" + ("streamGenerateContent?alt=sse" if stream else "generateContent")
    return {"chat": "/v1/chat/completions", "messages": "/v1/messages", "responses": "/v1/responses"}[client]


def _question(client: str, text: str) -> list[Any]:
    if client == "gemini":
        return [{"role": "user", "parts": [{"text": text}]}]
    return [{"role": "user", "content": text}]


def _body(client: str, history: list[Any], model: str, *, stream: bool) -> bytes:
    match client:
        case "gemini":
            body: dict[str, Any] = {"contents": history}
        case "responses":
            body = {"model": model, "input": history, "stream": stream, "store": False}
        case "messages":
            thinking = {"type": "enabled", "budget_tokens": 1024}
            body = {"model": model, "max_tokens": 4096, "messages": history, "stream": stream, "thinking": thinking}
        case _:
            body = {"model": model, "messages": history, "stream": stream}
    return json.dumps(body).encode()


def _answer(client: str, said: Said, habit: Habit, turn: int) -> list[Any]:
    """What the client puts into its history: the answer, and the result of each call."""
    match client:
        case "chat":
            message = said.json["choices"][0]["message"]
            calls = message.get("tool_calls") or []
            if habit == "bare":
                message = {"role": "assistant", "content": message["content"]}
                if calls:
                    calls = [{**call, "id": f"own_{turn}_{number}"} for number, call in enumerate(calls)]
                    message["tool_calls"] = calls
            return [message, *({"role": "tool", "tool_call_id": call["id"], "content": "sunny"} for call in calls)]
        case "messages":
            content = said.json["content"]
            if habit == "bare":
                content = [block for block in content if "thinking" not in block["type"]]
                content = [{**one, "id": f"own_{turn}"} if one["type"] == "tool_use" else one for one in content]
            results = [
                {"type": "tool_result", "tool_use_id": block["id"], "content": "sunny"}
                for block in content
                if block["type"] == "tool_use"
            ]
            return [{"role": "assistant", "content": content}, *([{"role": "user", "content": results}] if results else [])]
        case "responses":
            items = said.json["output"]
            if habit == "bare":
                items = [item for item in items if item["type"] != "reasoning"]
                items = [{**one, "call_id": f"own_{turn}"} if one["type"] == "function_call" else one for one in items]
            results = [
                {"type": "function_call_output", "call_id": item["call_id"], "output": "sunny"}
                for item in items
                if item["type"] == "function_call"
            ]
            return [*items, *results]
        case _:
            content = said.json["candidates"][0]["content"]
            parts = content["parts"]
            if habit == "bare":
                parts = [{key: value for key, value in part.items() if key != "thoughtSignature"} for part in parts]
                parts = [part for part in parts if not part.get("thought") and any(part.values())]
            results = [
                {"functionResponse": {"name": part["functionCall"]["name"], "response": {"output": "sunny"}}}
                for part in parts
                if "functionCall" in part
            ]
            return [{"role": "model", "parts": parts}, *([{"role": "user", "parts": results}] if results else [])]


def _streamed(client: str, said: Said) -> list[Any]:
    """The words alone, as a client keeps them that shows a stream."""
    text = said.view(client).text
    if client == "gemini":
        return [{"role": "model", "parts": [{"text": text}]}]
    return [{"role": "assistant", "content": text}]


def sealed(seal: str) -> Thinking:
    return Thinking("I look.", seal)


CALL = ToolCall("look", {"at": 1, "why": "x"}, id="call_1")


# ---------------------------------------------------------------- carriers


@pytest.mark.parametrize("other", ["b-messages", "b-responses", "b-gemini", "b-chat"])
@pytest.mark.parametrize("issuer", ISSUERS)
@pytest.mark.parametrize("client", CLIENTS)
def test_each_gets_back_what_it_sealed_and_nothing_of_the_other(
    gateway: Served, scripted: ThreadedUpstream, client: str, issuer: str, other: str
) -> None:
    mine, its = SEALS[0], SEALS[1]
    talk = Conversation(gateway, scripted, client, "keeps", f"carried {client} {issuer} {other}")
    first = f"a-{issuer}"
    talk.ask(first, sealed(mine), CALL)
    talk.ask(other, *([] if other == "b-chat" else [sealed(its)]), Text("It is sunny."))
    assert not talk.holds(mine)
    assert b"dgm1" not in talk.heard
    talk.ask(first, sealed(SEALS[2]), Text("And warm."))
    assert talk.holds(mine)
    assert not talk.holds(its)
    assert b"dgm1" not in talk.heard
    talk.ask(other, Text("Indeed."))
    assert not talk.holds(mine)
    assert not talk.holds(SEALS[2])
    assert talk.holds(its) == (other != "b-chat")


# ---------------------------------------------------------------- the vault


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("issuer", ISSUERS)
def test_a_client_that_keeps_only_words_has_its_providers_state_kept_for_it(
    gateway: Served, scripted: ThreadedUpstream, issuer: str, stream: bool
) -> None:
    talk = Conversation(gateway, scripted, "chat", "bare", f"words {issuer} {stream}")
    first, other = f"a-{issuer}", "b-messages"
    talk.ask(first, sealed(SEALS[0]), Text("It is sunny."), stream=stream)
    talk.ask(other, sealed(SEALS[1]), Text("And warm."), stream=stream)
    assert not talk.holds(SEALS[0])
    talk.ask(first, Text("Indeed."), stream=stream)
    assert talk.holds(SEALS[0])
    assert not talk.holds(SEALS[1])
    talk.ask(other, Text("So it is."), stream=stream)
    assert talk.holds(SEALS[1])
    assert not talk.holds(SEALS[0])


@pytest.mark.parametrize("issuer", ISSUERS)
def test_calls_whose_ids_a_client_makes_up_anew_keep_their_state_and_their_own_ids(
    gateway: Served, scripted: ThreadedUpstream, issuer: str
) -> None:
    talk = Conversation(gateway, scripted, "chat", "bare", f"ids {issuer}")
    talk.ask(f"a-{issuer}", sealed(SEALS[0]), Text("Let me look."), CALL)
    talk.send("b-messages", None)
    assert not talk.holds(SEALS[0])
    talk.ask(f"a-{issuer}", Text("It is sunny."))
    assert talk.holds(SEALS[0])
    assert b"own_1" not in talk.heard
    if issuer != "gemini":
        assert b"call_1" in talk.heard


@pytest.mark.parametrize("issuer", ISSUERS)
@pytest.mark.parametrize("client", ["messages", "responses", "gemini"])
def test_a_client_that_leaves_out_what_its_api_would_carry_is_found_out(
    gateway: Served, scripted: ThreadedUpstream, client: str, issuer: str
) -> None:
    """From the second answer on: the first time, it is trusted to send back what it was given."""
    if client == issuer:
        return  # verbatim: what a client leaves out of its provider's own words is its own affair
    talk = Conversation(gateway, scripted, client, "bare", f"found out {client} {issuer}")
    talk.ask(f"a-{issuer}", Text("Hello."))
    talk.ask(f"a-{issuer}", sealed(SEALS[0]), Text("It is sunny."))
    talk.ask("b-chat", Text("And warm."))
    talk.ask(f"a-{issuer}", Text("Indeed."))
    assert talk.holds(SEALS[0])


def entries(gateway: Served) -> int:
    """What is in the vault."""
    store = gateway.engine.store
    assert store is not None
    return len(asyncio.run_coroutine_threadsafe(store.page("sealed", None, limit=1000), gateway.loop).result(PATIENCE))


def test_what_a_carrier_carries_is_not_kept_as_well(gateway: Served, scripted: ThreadedUpstream) -> None:
    """A client that has once sent back what rides in a call's id is known to keep ids."""
    talk = Conversation(gateway, scripted, "chat", "keeps", "carried alone")
    talk.ask("a-messages", sealed(SEALS[0]), CALL)
    before = entries(gateway)
    talk.ask("a-messages", sealed(SEALS[1]), Text("It is sunny."))
    talk.ask("a-messages", sealed(SEALS[2]), CALL)
    assert entries(gateway) == before


def test_nothing_is_kept_of_an_answer_without_seals(gateway: Served, scripted: ThreadedUpstream) -> None:
    before = entries(gateway)
    talk = Conversation(gateway, scripted, "chat", "bare", "plain")
    talk.ask("a-messages", Text("Hello."))
    talk.ask("a-messages", Text("Hello again."), stream=True)
    assert entries(gateway) == before


def test_one_keys_conversation_is_not_found_with_another(gateway: Served, scripted: ThreadedUpstream) -> None:
    alice = Conversation(gateway, scripted, "chat", "bare", "whose")
    alice.ask("a-messages", sealed(SEALS[3]), Text("It is sunny."))
    bob = Conversation(gateway, scripted, "chat", "bare", "whose")
    bob.key = "sk-bob-0123456789"
    bob.history, bob.turns = list(alice.history), alice.turns
    bob.ask("a-messages", Text("Indeed."))
    assert not bob.holds(SEALS[3])
    alice.ask("a-messages", Text("Indeed."))
    assert alice.holds(SEALS[3])


def test_the_same_words_in_answer_to_others_are_another_turn(gateway: Served, scripted: ThreadedUpstream) -> None:
    one = Conversation(gateway, scripted, "chat", "bare", "this")
    one.ask("a-messages", sealed(SEALS[3]), Text("Yes."))
    other = Conversation(gateway, scripted, "chat", "bare", "that")
    other.ask("a-messages", Text("Yes."))
    other.ask("a-messages", Text("Indeed."))
    assert not other.holds(SEALS[3])


def test_what_would_be_sent_is_explained_with_what_is_kept(gateway: Served, scripted: ThreadedUpstream) -> None:
    talk = Conversation(gateway, scripted, "chat", "bare", "explained")
    talk.ask("a-messages", sealed(SEALS[3]), Text("Yes."))
    body = _body("chat", [*talk.history, {"role": "user", "content": "?"}], "a-messages/m", stream=False)
    said = say(gateway, "POST", "/v1/explain/v1/chat/completions", [JSON, ("x-dragoman-key", talk.key)], body)
    assert said.status == 200
    assert SEALS[3].encode() in said.body


def test_without_a_store_the_ledger_says_what_is_lost(scripted: ThreadedUpstream, tmp_path: Path) -> None:
    broken = tmp_path / "no folder"
    broken.write_text("")
    config = {"providers": providers(scripted), "store": {"path": str(broken / "d.db")}, "keys": KEYS}
    with serving({**config, "vault": {"key": "ab" * 32}}) as served:
        talk = Conversation(served, scripted, "chat", "bare", "no store")
        said = talk.ask("a-messages", sealed(SEALS[0]), Text("It is sunny."))
        assert "$ degraded" in (said.header("x-dragoman-losses") or "")
        talk.ask("a-messages", Text("And warm."))
        assert not talk.holds(SEALS[0])


# ---------------------------------------------------------------- verbatim


REFUSALS: dict[str, Any] = {
    "messages": {
        "type": "error",
        "error": {"type": "invalid_request_error", "message": "messages.1.content.0: Invalid `signature` in `thinking` block"},
    },
    "responses": {
        "error": {"message": "It could not be verified.", "type": "invalid_request_error", "code": "invalid_encrypted_content"}
    },
    "gemini": {"error": {"code": 400, "message": "Thought signature is not valid.", "status": "INVALID_ARGUMENT"}},
}


@pytest.mark.parametrize("dialect", ISSUERS)
def test_a_seal_that_a_provider_refuses_is_left_out_of_a_verbatim_body_too_and_the_trail_says_so(
    gateway: Served, scripted: ThreadedUpstream, dialect: str
) -> None:
    talk = Conversation(gateway, scripted, dialect, "keeps", f"stale {dialect}")
    talk.ask(f"a-{dialect}", sealed(SEALS[4]), CALL)
    reports = Reports(gateway)
    scripted.script(scenario("stale", HttpError(400, body=json.dumps(REFUSALS[dialect]).encode())))
    asked = len(scripted.requests)
    said = talk.ask(f"a-{dialect}", Text("It is sunny."))
    bodies = [request.body for request in scripted.requests[asked:]]
    assert [SEALS[4].encode() in body for body in bodies] == [True, False]
    assert said.header("x-dragoman-losses")
    report = reports.last(1)
    assert report.tier == "verbatim"
    assert "without what is sealed in the request, which it refused: 400" in report.trail[-1]
    assert [loss.severity for loss in report.ledger.losses] == ["degraded"]


@pytest.mark.parametrize("dialect", ISSUERS)
def test_the_second_refusal_reaches_the_client_as_it_was_said(
    gateway: Served, scripted: ThreadedUpstream, dialect: str
) -> None:
    talk = Conversation(gateway, scripted, dialect, "keeps", f"stale twice {dialect}")
    talk.ask(f"a-{dialect}", sealed(SEALS[4]), CALL)
    refusal = json.dumps(REFUSALS[dialect]).encode()
    asked = len(scripted.requests)
    for _ in range(2):
        scripted.script(scenario("stale", HttpError(400, body=refusal)))
    model = f"a-{dialect}/m"
    body = _body(dialect, [*talk.history, *_question(dialect, "?")], model, stream=False)
    said = say(gateway, "POST", _path(dialect, model, stream=False), [JSON, ("x-dragoman-key", talk.key)], body)
    assert (said.status, said.body) == (400, refusal)
    assert len(scripted.requests) == asked + 2


def test_only_what_is_sealed_goes_when_a_body_is_verbatim(gateway: Served, scripted: ThreadedUpstream) -> None:
    """Every other byte of a body keeps its place, but white space around what changed."""
    talk = Conversation(gateway, scripted, "messages", "keeps", "bytes")
    talk.ask("a-messages", sealed(SEALS[5]), Text("It is sunny."))
    odd = b'{"model":"b-messages/m",  "future": {"b":1e3, "a":[ ]}, "max_tokens":9,"messages":'
    body = odd + json.dumps([*talk.history, {"role": "user", "content": "?"}]).encode() + b"}"
    scripted.script(scenario("fine", Text("Yes."), Usage(input=1, output=1), Finish("stop")))
    said = say(gateway, "POST", "/v1/messages", [JSON, ("x-dragoman-key", talk.key)], body)
    assert said.status == 200
    sent = scripted.requests[-1].body
    assert SEALS[5].encode() not in sent
    assert b'"future":{"b":1e3, "a":[ ]}' in sent
    assert json.loads(sent)["messages"][1]["content"] == [{"type": "text", "text": "It is sunny."}]


# ---------------------------------------------------------------- beyond one process


@pytest.fixture
def config(scripted: ThreadedUpstream, tmp_path: Path) -> dict[str, Any]:
    return {"providers": providers(scripted), "store": {"path": str(tmp_path / "d.db")}, "keys": KEYS}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("dialect", ISSUERS)
def test_whose_a_seal_is_that_went_through_verbatim_is_known_after_a_restart(
    config: dict[str, Any], scripted: ThreadedUpstream, dialect: str, stream: bool
) -> None:
    with serving(config) as served:
        talk = Conversation(served, scripted, dialect, "keeps", f"restarted {dialect}")
        if stream:
            scripted.script(scenario("seen", sealed(SEALS[0]), Text("Sunny."), Usage(input=9, output=5), Finish("stop")))
            body = _body(dialect, _question(dialect, "?"), f"a-{dialect}/m", stream=True)
            path = _path(dialect, f"a-{dialect}/m", stream=True)
            assert SEALS[0].encode() in say(served, "POST", path, [JSON, ("x-dragoman-key", talk.key)], body).body
        talk.ask(f"a-{dialect}", sealed(SEALS[0]), Text("It is sunny."))
    for provider in (f"b-{dialect}", f"a-{dialect}", f"b-{dialect}"):
        with serving(config) as served:
            talk.gateway = served
            talk.ask(provider, Text("And warm."))
            assert talk.holds(SEALS[0]) == (provider == f"a-{dialect}")


@pytest.mark.parametrize("dialect", ISSUERS)
def test_two_processes_with_one_store_know_the_same(config: dict[str, Any], scripted: ThreadedUpstream, dialect: str) -> None:
    with serving(config) as one, serving(config) as other:
        talk = Conversation(one, scripted, dialect, "keeps", f"two {dialect}")
        talk.ask(f"a-{dialect}", sealed(SEALS[0]), Text("It is sunny."))
        assert one.engine.seals is not None
        asyncio.run_coroutine_threadsafe(one.engine.seals.aclose(), one.loop).result(PATIENCE)
        talk.gateway = other
        talk.ask(f"b-{dialect}", sealed(SEALS[1]), Text("And warm."))
        assert not talk.holds(SEALS[0])
        assert other.engine.seals is not None
        asyncio.run_coroutine_threadsafe(other.engine.seals.aclose(), other.loop).result(PATIENCE)
        talk.gateway = one
        talk.ask(f"a-{dialect}", Text("Indeed."))
        assert talk.holds(SEALS[0])
        assert not talk.holds(SEALS[1])
        if dialect == "messages":
            body = _body(dialect, [*talk.history, *_question(dialect, "?")], "b-messages/m", stream=False)
            say(other, "POST", "/v1/messages/count_tokens", [JSON, ("x-dragoman-key", talk.key)], body)
            counted = scripted.requests[-1]
            assert counted.path.endswith("/count_tokens")
            assert SEALS[1].encode() in counted.body
            assert SEALS[0].encode() not in counted.body


@pytest.mark.parametrize("dialect", ISSUERS)
def test_a_seal_of_unknown_origin_is_shown_once_to_who_refuses_it(
    config: dict[str, Any], scripted: ThreadedUpstream, dialect: str
) -> None:
    """A history from elsewhere: nobody can know whose it is before it is tried."""
    with serving({**config, "store": False}) as served:
        talk = Conversation(served, scripted, dialect, "keeps", f"elsewhere {dialect}")
        talk.ask(f"a-{dialect}", sealed(SEALS[0]), Text("It is sunny."))
    with serving({**config, "store": False}) as served:
        talk.gateway = served
        asked = len(scripted.requests)
        scripted.script(scenario("stale", HttpError(400, body=json.dumps(REFUSALS[dialect]).encode())))
        talk.ask(f"b-{dialect}", Text("And warm."))
        talk.ask(f"b-{dialect}", Text("Indeed."))
        assert [SEALS[0].encode() in one.body for one in scripted.requests[asked:]] == [True, False, False]
        talk.ask(f"a-{dialect}", Text("So it is."))
        assert talk.holds(SEALS[0]), "whoever else may know it is shown it"


def test_where_one_issuer_alone_speaks_an_api_nothing_is_written_and_no_store_is_opened(
    config: dict[str, Any], scripted: ThreadedUpstream, tmp_path: Path
) -> None:
    alone = {"a-messages": config["providers"]["a-messages"], "b-responses": config["providers"]["b-responses"]}
    with serving({**config, "providers": alone}) as served:
        talk = Conversation(served, scripted, "messages", "keeps", "alone")
        for _ in range(2):
            talk.ask("a-messages", sealed(SEALS[0]), Text("It is sunny."))
    assert not (tmp_path / "d.db").exists()


def test_a_store_that_cannot_be_used_holds_up_no_conversation(
    config: dict[str, Any], scripted: ThreadedUpstream, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with serving({**config, "store": {"path": str(tmp_path / "file" / "d.db")}}) as served:
        talk = Conversation(served, scripted, "messages", "keeps", "broken")
        talk.ask("a-messages", sealed(SEALS[0]), Text("It is sunny."))
        talk.ask("b-messages", Text("And warm."))
        assert not talk.holds(SEALS[0]), "this process knows"
        talk.history[1]["content"][0]["signature"] = SEALS[3]
        talk.ask("b-messages", Text("Indeed."))
        assert talk.holds(SEALS[3]), "nobody knows"
