"""Whose key opens the gateway, and whose key goes to which provider."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import pytest

from dragoman.testing import Request, ThreadedUpstream
from tests.gateway.talking import DIALECTS, JSON, PATHS, Pairs, Reports, Said, ask, logging_to, question, say
from tests.serving import Served, serving, upstream

ALICE, BOB = "gw-alice-0123456789", "gw-bob-0123456789"
PLACES: list[tuple[Pairs, str]] = [
    ([("authorization", f"Bearer {ALICE}")], ""),
    ([("authorization", f"bearer  {ALICE} ")], ""),
    ([("authorization", ALICE)], ""),
    ([("x-api-key", ALICE)], ""),
    ([("x-goog-api-key", ALICE)], ""),
    ([("api-key", ALICE)], ""),
    ([("x-dragoman-key", ALICE)], ""),
    ([("x-dragoman-key", f"Bearer {ALICE}")], ""),
    ([], f"?key={ALICE}"),
    ([], f"?beta=true&key={ALICE.replace('-', '%2D')}"),
]
TOKEN = "Bearer sk-ant-oat01-the-callers-own"
APART = [("x-dragoman-key", ALICE), ("authorization", TOKEN)]
CREDENTIALS = {"authorization", "x-api-key", "x-goog-api-key", "api-key"}


@pytest.fixture(scope="module")
def gateway(scripted: ThreadedUpstream) -> Iterator[Served]:
    providers: dict[str, Any] = {dialect: upstream(scripted.url, dialect) for dialect in DIALECTS}
    providers["bare-chat"] = {"dialect": "chat", "base_url": f"{scripted.url}/v1"}
    providers["bare-messages"] = {"dialect": "messages", "base_url": scripted.url}
    providers["ours"] = upstream(scripted.url, "messages", credentials="gateway")
    providers["theirs"] = upstream(scripted.url, "messages", credentials="caller")
    providers["two"] = upstream(scripted.url, "messages") | {"api_key": ["sk-first-of-two", "sk-second-of-two"]}
    providers["open"] = {"dialect": "chat", "base_url": f"{scripted.url}/v1", "auth": "none"}
    models = {
        "own-then-other": ["messages/scenario:http-529", "ours/m"],
        "own-then-auto": ["messages/scenario:http-529", "two/m"],
        "own-then-bare": ["messages/scenario:http-529", "bare-messages/m"],
        "own-then-theirs": ["messages/scenario:http-529", "theirs/m"],
        "same-twice": ["messages/scenario:http-529", "messages/m"],
    }
    digest = hashlib.sha256(BOB.encode()).hexdigest()
    keys = [{"name": "alice", "key": ALICE}, {"name": "bob", "key": f"sha256:{digest}"}]
    with serving({"providers": providers, "models": models, "keys": keys}) as served:
        yield served


@pytest.fixture(scope="module")
def reports(gateway: Served) -> Reports:
    return Reports(gateway)


def sent(scripted: ThreadedUpstream) -> Request:
    return scripted.requests[-1]


def credentials(request: Request) -> list[tuple[str, str]]:
    return [pair for pair in request.headers if pair[0].lower() in CREDENTIALS]


OURS = {"messages": [("x-api-key", "sk-upstream")], "chat": [("authorization", "Bearer sk-upstream")]}


def post(gateway: Served, dialect: str, model: str, headers: Pairs, query: str = "") -> Said:
    return say(gateway, "POST", PATHS[dialect] + query, [JSON, *headers], json.dumps(question(model, stream=False)).encode())


# ---------------------------------------------------------------- the gateway's keys


@pytest.mark.parametrize(("headers", "query"), PLACES)
@pytest.mark.parametrize("up", DIALECTS)
@pytest.mark.parametrize("client", DIALECTS)
def test_a_key_is_taken_in_every_customary_place_and_goes_no_further(
    gateway: Served, scripted: ThreadedUpstream, reports: Reports, up: str, client: str, headers: Pairs, query: str
) -> None:
    count = len(reports)
    assert post(gateway, client, f"{up}/m", headers, query).status == 200
    request = sent(scripted)
    assert credentials(request) == OURS[up]
    assert "gw-alice" not in str(request.headers) + request.target
    assert "%2D" not in request.target
    assert ("beta=true" in request.target) == ("beta" in query and up == client)
    assert reports.last(count + 1).caller.name == "alice"


def test_nothing_is_unpacked_for_a_stranger(gateway: Served) -> None:
    garbled = [JSON, ("content-encoding", "gzip")]
    assert say(gateway, "POST", PATHS["chat"], garbled, b"no gzip").status == 401
    assert say(gateway, "POST", PATHS["chat"], [*garbled, ("authorization", ALICE)], b"no gzip").status == 400


def test_a_key_may_be_configured_as_its_digest(gateway: Served, reports: Reports) -> None:
    count = len(reports)
    assert post(gateway, "chat", "chat/m", [("authorization", f"Bearer {BOB}")]).status == 200
    assert reports.last(count + 1).caller.name == "bob"


@pytest.mark.parametrize(
    ("headers", "query"),
    [
        ([], ""),
        ([("authorization", "Bearer wrong")], ""),
        ([("authorization", f"Basic {ALICE}")], ""),
        ([("x-api-key", ALICE + "x")], ""),
        ([("x-api-key", ALICE.upper())], ""),
        ([("x-api-key", "")], ""),
        ([], f"?Key={ALICE}"),
        ([("cookie", f"key={ALICE}")], ""),
        # Who says that the key is in its own header must have it there.
        ([("x-dragoman-key", "wrong"), ("authorization", f"Bearer {ALICE}")], ""),
    ],
)
def test_nothing_else_opens_the_gateway(gateway: Served, scripted: ThreadedUpstream, headers: Pairs, query: str) -> None:
    asked = len(scripted.requests)
    for dialect in DIALECTS:
        assert post(gateway, dialect, f"{dialect}/m", headers, query).status == 401
    for path in ("/v1/models", "/v1/models/x", "/messages/v1/models", "/v1/anything", "/health/detailed"):
        assert say(gateway, "GET", path + query, headers).status == 401
    assert len(scripted.requests) == asked


def test_without_keys_everybody_is_let_in(scripted: ThreadedUpstream) -> None:
    with serving({"providers": {"chat": upstream(scripted.url, "chat")}}) as served:
        for headers in ([], [("authorization", "Bearer whatever")], [("x-api-key", "dummy")]):
            assert post(served, "messages", "chat/m", headers).status == 200
            assert credentials(sent(scripted)) == OURS["chat"]


# ---------------------------------------------------------------- the provider's


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_token_beside_the_gateways_key_reaches_the_provider_untouched(
    gateway: Served, scripted: ThreadedUpstream, dialect: str
) -> None:
    assert post(gateway, dialect, f"{dialect}/m", APART).status == 200
    assert credentials(sent(scripted)) == [("authorization", TOKEN)]
    assert "x-dragoman-key" not in str(sent(scripted).headers)


@pytest.mark.parametrize(("up", "client"), [("chat", "messages"), ("messages", "chat")])
def test_a_token_never_goes_to_a_provider_of_another_dialect(
    gateway: Served, scripted: ThreadedUpstream, up: str, client: str
) -> None:
    assert post(gateway, client, f"{up}/m", APART).status == 200
    assert credentials(sent(scripted)) == OURS[up]
    asked = len(scripted.requests)
    assert post(gateway, client, f"bare-{up}/m", APART).status == 502
    assert len(scripted.requests) == asked


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_provider_without_a_key_gets_the_callers(gateway: Served, scripted: ThreadedUpstream, dialect: str) -> None:
    shown = [("x-api-key", ALICE), ("authorization", TOKEN)]
    assert post(gateway, dialect, f"bare-{dialect}/m", shown).status == 200
    assert credentials(sent(scripted)) == [("authorization", TOKEN)]


def test_a_second_credential_stays_behind_where_ours_is_used(gateway: Served, scripted: ThreadedUpstream) -> None:
    shown = [("x-api-key", ALICE), ("authorization", TOKEN)]
    assert post(gateway, "messages", "messages/m", shown, "?key=another").status == 200
    assert credentials(sent(scripted)) == OURS["messages"]
    assert sent(scripted).target == "/v1/messages"


def test_the_configuration_may_decide_whose_key_it_is(gateway: Served, scripted: ThreadedUpstream) -> None:
    assert post(gateway, "messages", "ours/m", APART).status == 200
    assert credentials(sent(scripted)) == OURS["messages"]
    assert post(gateway, "messages", "theirs/m", APART).status == 200
    assert credentials(sent(scripted)) == [("authorization", TOKEN)]
    said = post(gateway, "messages", "theirs/m", [("x-api-key", ALICE)])
    assert said.status == 502
    assert "the caller's own key only" in said.message


def test_a_provider_that_needs_no_key_gets_none(gateway: Served, scripted: ThreadedUpstream) -> None:
    for headers in ([("x-api-key", ALICE)], APART):
        assert post(gateway, "chat", "open/m", headers).status == 200
        assert credentials(sent(scripted)) == []


@pytest.mark.parametrize("model", ["own-then-other", "own-then-auto"])
def test_down_a_chain_a_token_goes_to_no_second_provider_that_has_a_key(
    gateway: Served, scripted: ThreadedUpstream, model: str
) -> None:
    assert post(gateway, "messages", model, APART).status == 200
    first, second = scripted.requests[-2:]
    assert credentials(first) == [("authorization", TOKEN)]
    assert credentials(second)[0][0] == "x-api-key"
    assert TOKEN not in str(second.headers)


def test_down_a_chain_a_token_goes_to_no_second_provider_without_a_key(gateway: Served, scripted: ThreadedUpstream) -> None:
    asked = len(scripted.requests)
    said = post(gateway, "messages", "own-then-bare", APART)
    assert said.status == 529
    assert "no key for the provider bare-messages" in said.message
    assert len(scripted.requests) == asked + 1


@pytest.mark.parametrize("model", ["same-twice", "own-then-theirs"])
def test_down_a_chain_a_token_goes_where_it_belongs(gateway: Served, scripted: ThreadedUpstream, model: str) -> None:
    """To the provider that it is for, and to one that is configured to be used with the callers' own."""
    assert post(gateway, "messages", model, APART).status == 200
    assert [credentials(one) for one in scripted.requests[-2:]] == [[("authorization", TOKEN)]] * 2


def test_a_token_is_tried_once_however_many_keys_we_have(gateway: Served, scripted: ThreadedUpstream) -> None:
    asked = len(scripted.requests)
    assert post(gateway, "messages", "two/scenario:http-529", APART).status == 529
    assert len(scripted.requests) == asked + 1
    assert post(gateway, "messages", "two/scenario:http-529", [("x-api-key", ALICE)]).status == 529
    assert len(scripted.requests) == asked + 3


# ---------------------------------------------------------------- secrets


def test_no_key_is_written_down(gateway: Served, scripted: ThreadedUpstream, reports: Reports) -> None:
    """Neither a gateway's, nor a provider's, nor a caller's: not in a log line, an error, a report, or a health answer."""
    secrets = (ALICE, BOB, "sk-upstream", "sk-first-of-two", TOKEN.removeprefix("Bearer "))
    seen: list[str] = []
    count, lines = len(reports), list[dict[str, Any]]()
    models = ("messages/m", "messages/scenario:http-401", "bare-chat/m", "two/scenario:http-401", "nothing", "own-then-bare")
    with logging_to(lines):
        for model in models:
            for headers in (APART, [("x-api-key", ALICE)], [("x-api-key", "gw-alice-0123456789-almost")]):
                said = post(gateway, "messages", model, headers)
                seen.append(f"{said.headers} {said.body!r}")
        for path in ("/health/detailed", "/v1/models", "/messages/health", "/messages/v1/x"):
            said = say(gateway, "GET", path, [("x-api-key", ALICE)])
            if path != "/messages/v1/x":  # which repeats what it was sent
                seen.append(f"{said.headers} {said.body!r}")
        reports.last(count + 3 * len(models) + 1)
    assert len(lines) >= 18
    seen.append(str(lines))
    seen += [repr(reports.last(number + 1)) for number in range(count, len(reports))]
    seen.append(repr(gateway.engine.gateway.core.route("two/m")))
    for secret in secrets:
        assert not [text for text in seen if secret in text]


def test_a_stranger_learns_nothing_about_the_providers(gateway: Served) -> None:
    for path in ("/", "/api/hello", "/health", "/health/live", "/health/ready"):
        said = say(gateway, "GET", path)
        assert said.status == 200
        assert b"127.0.0.1" not in said.body
        assert b"messages" not in said.body
    assert ask(gateway, "messages", "messages/m").status == 401
