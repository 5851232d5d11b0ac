"""What is remembered for one caller is never another's, by whatever key the gateway tells them apart, wherever it stands."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import msgspec
import pytest

from dragoman.testing import Finish, Text, Thinking, ThreadedUpstream, ToolCall, Usage, scenario
from tests.gateway.talking import JSON, Said, say
from tests.serving import PATIENCE, Served, serving

ALICE, BOB = "gw-key-alice-0123456789", "gw-key-bob-0123456789"
CAROL, DAVE = "sk-of-carol-0123456789", "sk-of-dave-0123456789"
SEAL = "c2VhbCBvZiB0aGUgZmlyc3Qgb2YgdHdv"


class Who(msgspec.Struct, frozen=True):
    """What a caller shows of itself."""

    headers: tuple[tuple[str, str], ...] = ()
    query: str = ""


def bearer(key: str) -> tuple[str, str]:
    return ("authorization", f"Bearer {key}")


PAIRS: dict[str, tuple[Who, Who]] = {
    "keys of the gateway": (Who((bearer(ALICE),)), Who((bearer(BOB),))),
    "keys of the gateway in the query": (Who(query=f"?key={ALICE}"), Who(query=f"?key={BOB}")),
    "keys of the provider": (Who((bearer(CAROL),)), Who((bearer(DAVE),))),
    "keys of the provider in the query": (Who(query=f"?key={CAROL}"), Who(query=f"?key={DAVE.replace('-', '%2D')}")),
    "keys of the provider, one beside another": (
        Who(
            (
                ("x-api-key", CAROL),
                bearer(DAVE),
            )
        ),
        Who((bearer(DAVE),)),
    ),
    "one key of the gateway, keys of the provider": (
        Who(
            (
                ("x-dragoman-key", ALICE),
                bearer(CAROL),
            )
        ),
        Who(
            (
                ("x-dragoman-key", ALICE),
                bearer(DAVE),
            )
        ),
    ),
    "one key of the gateway, keys of the provider in the query": (
        Who((("x-dragoman-key", ALICE),), f"?key={CAROL}"),
        Who((("x-dragoman-key", ALICE),), f"?key={DAVE}"),
    ),
}


@pytest.fixture(scope="module")
def providers(scripted: ThreadedUpstream) -> dict[str, Any]:
    """`here` keeps nothing itself, `there` keeps its answers."""
    there: dict[str, Any] = {"dialect": "responses", "base_url": f"{scripted.url}/v1"}
    return {
        "there": there,
        "here": there | {"profile": {"keeps_responses": False}},
        "messages": {"dialect": "messages", "base_url": scripted.url, "api_key": "sk-upstream-0123"},
    }


@pytest.fixture(scope="module")
def keyed(providers: dict[str, Any]) -> Iterator[Served]:
    """Where the gateway has keys, and providers a key for all, unless a caller brings its own beside."""
    ours = {name: provider | {"api_key": "sk-upstream-0123"} for name, provider in providers.items()}
    keys = [{"name": "alice", "key": ALICE}, {"name": "bob", "key": BOB}]
    with serving({"providers": ours, "keys": keys, "vault": {"key": "ab" * 32}}) as served:
        yield served


@pytest.fixture(scope="module")
def bare(providers: dict[str, Any]) -> Iterator[Served]:
    """Where the gateway has no keys, and every caller brings a provider's."""
    with serving({"providers": providers, "vault": {"key": "ab" * 32}}) as served:
        yield served


@pytest.fixture(params=list(PAIRS))
def pair(request: pytest.FixtureRequest) -> tuple[Served, Who, Who]:
    one, other = PAIRS[request.param]
    return request.getfixturevalue("keyed" if "gateway" in request.param else "bare"), one, other


def call(served: Served, who: Who, method: str, path: str, body: Any = None) -> Said:
    sent = json.dumps(body).encode() if body is not None else None
    return say(served, method, path + who.query, [*who.headers, *([JSON] if sent else [])], sent)


@pytest.mark.parametrize("provider", ["here", "there"])
def test_nobody_reads_stops_or_goes_on_from_the_response_of_another(
    scripted: ThreadedUpstream, pair: tuple[Served, Who, Who], provider: str
) -> None:
    served, one, other = pair
    scripted.script(scenario("first", ToolCall("look", {"at": 1}, id="call_1"), Usage(input=1, output=1), Finish("tool_calls")))
    first = call(served, one, "POST", "/v1/responses", {"model": f"{provider}/m", "input": "A secret."}).json
    path = f"/v1/responses/{first['id']}"
    for method, ending in (("GET", ""), ("GET", "/input_items"), ("POST", "/cancel"), ("DELETE", "")):
        asked = len(scripted.requests)
        refused = call(served, other, method, path + ending)
        assert (refused.status, refused.json["error"]["code"]) == (404, "response_not_found"), ending
        assert len(scripted.requests) == asked, "and no provider is asked"
    if provider == "here":
        for more, status in (
            ({"input": "And?", "previous_response_id": first["id"]}, 400),
            ({"input": [{"id": first["output"][0]["id"]}]}, 404),
        ):
            assert call(served, other, "POST", "/v1/responses", {"model": "messages/m", **more}).status == status
    assert call(served, one, "GET", path).status == 200
    assert call(served, one, "DELETE", path).status == 200


def test_callers_who_share_a_connection_are_told_apart(scripted: ThreadedUpstream, pair: tuple[Served, Who, Who]) -> None:
    """As those behind a proxy do: whatever is kept of a head is kept of that head alone."""
    served, one, other = pair
    parts = urlsplit(served.url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=PATIENCE)

    def ask(who: Who, method: str, path: str, body: bytes | None = None) -> tuple[int, Any]:
        connection.request(method, path + who.query, body, {**dict([*who.headers, JSON]), "connection": "keep-alive"})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())

    try:
        for _ in range(2):
            made: dict[Who, str] = {}
            for who in (one, other):
                scripted.script(scenario(uuid4().hex, Text("Hi."), Finish()))  # its name is in the answer's id
                made[who] = ask(who, "POST", "/v1/responses", b'{"model":"here/m","input":"x"}')[1]["id"]
            for who, own_id in made.items():
                stranger = other if who is one else one
                assert ask(who, "GET", f"/v1/responses/{own_id}")[0] == 200
                assert ask(stranger, "GET", f"/v1/responses/{own_id}")[0] == 404
                body = json.dumps({"model": "here/text", "input": "x", "previous_response_id": own_id}).encode()
                assert ask(stranger, "POST", "/v1/responses", body)[0] == 400
                assert ask(who, "POST", "/v1/responses", body)[0] == 200
    finally:
        connection.close()


def test_one_credential_is_one_caller_wherever_it_stands(bare: Served, scripted: ThreadedUpstream) -> None:
    places = [Who((bearer(CAROL),)), Who((("x-api-key", CAROL),)), Who(query=f"?key={CAROL.replace('-', '%2D')}")]
    for place in places:
        own_id = call(bare, place, "POST", "/v1/responses", {"model": "here/text", "input": "x"}).json["id"]
        assert [call(bare, other, "GET", f"/v1/responses/{own_id}").status for other in places] == [200] * 3


def test_what_is_sealed_in_the_answer_to_one_is_not_put_into_the_conversation_of_another(
    scripted: ThreadedUpstream, pair: tuple[Served, Who, Who], request: pytest.FixtureRequest
) -> None:
    """The same words, said by both: only its caller's key tells whose thoughts they were."""
    served, one, other = pair
    history = [{"role": "user", "content": f"Whose is this? {request.node.name}"}]
    ending = (Usage(input=1, output=1), Finish())

    def ask(who: Who, *answer: Any) -> bytes:
        scripted.script(scenario("next", *answer, *ending))
        said = call(served, who, "POST", "/v1/chat/completions", {"model": "messages/m", "messages": history})
        assert said.status == 200, said.body
        return scripted.requests[-1].body

    ask(one, Thinking("Hm.", SEAL), Text("It is yours."))
    history += [{"role": "assistant", "content": "It is yours."}, {"role": "user", "content": "Sure?"}]
    assert SEAL.encode() not in ask(other, Text("Yes."))
    assert SEAL.encode() in ask(one, Text("Yes."))
