"""`POST /v1/explain`: exactly what would be sent, to every target, and nothing is sent."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from dragoman.testing import ThreadedUpstream
from tests.gateway.talking import DIALECTS, JSON, PATHS, Reports, Said, question, say
from tests.serving import Served, serving, upstream

KEY = "gw-key-0123456789"
UPSTREAM_KEY = "sk-upstream-0123456789"
SHOWN = ("authorization", f"Bearer {KEY}")
PAIRS = [(client, up) for client in DIALECTS for up in DIALECTS]


@pytest.fixture(scope="module")
def gateway(scripted: ThreadedUpstream) -> Iterator[Served]:
    providers = {dialect: upstream(scripted.url, dialect) | {"api_key": UPSTREAM_KEY} for dialect in DIALECTS}
    providers["keyless"] = {"dialect": "chat", "base_url": scripted.url}
    providers["two-keys"] = upstream(scripted.url, "chat") | {"api_key": ["sk-one-0123456789", "sk-two-0123456789"]}
    providers["secretive"] = upstream(scripted.url, "chat") | {"headers": {"x-corp-token": "corp-secret-0123456789"}}
    models: dict[str, Any] = {
        "chain": ["chat/one", "messages/two", "keyless/three"],
        "strict": {"targets": ["chat/one", "messages/two"], "strict": True},
        "priced": {"targets": "chat/in-house", "price": {"input": 1, "output": 2}},
        "known": {"targets": {"model": "openai/gpt-6-luna"}},
    }
    said = {"providers": providers, "models": models, "keys": [KEY]}
    with serving(said, {"OPENAI_API_KEY": "sk-openai-0123456789"}) as served:
        yield served


@pytest.fixture(scope="module")
def reports(gateway: Served) -> Reports:
    return Reports(gateway)


def explain(served: Served, dialect: str, body: dict[str, Any], *headers: tuple[str, str], query: str = "") -> Said:
    target = f"/v1/explain{PATHS[dialect]}{query}"
    return say(served, "POST", target, [JSON, SHOWN, *headers], json.dumps(body).encode())


def explained(served: Served, dialect: str, body: dict[str, Any], *headers: tuple[str, str]) -> list[dict[str, Any]]:
    said = explain(served, dialect, body, *headers)
    assert said.status == 200, said.body
    return said.json["targets"]


@pytest.mark.parametrize(("client", "up"), PAIRS)
def test_what_is_shown_is_what_is_then_sent(gateway: Served, scripted: ThreadedUpstream, client: str, up: str) -> None:
    body = json.dumps(question(f"{up}/m", temperature=0.5, stop_sequences=["x"], logit_bias={"1": 2})).encode()
    shown = say(gateway, "POST", f"/v1/explain{PATHS[client]}?beta=true", [JSON, SHOWN, ("x-app", "cli")], body)
    (target,) = json.loads(shown.body)["targets"]
    assert say(gateway, "POST", f"{PATHS[client]}?beta=true", [JSON, SHOWN, ("x-app", "cli")], body).status == 200
    sent = scripted.requests[-1]
    assert target["body"] == json.loads(sent.body)
    assert target["url"].removeprefix(scripted.url) == sent.path + (f"?{sent.query}" if sent.query else "")
    told = {name: value for name, value in target["headers"].items() if name not in {"authorization", "x-api-key"}}
    assert told.items() <= dict(sent.headers).items()
    assert target["tier"] == ("verbatim" if client == up else "translated")
    assert target["dialect"] == up


def test_a_verbatim_body_is_shown_with_every_byte(gateway: Served) -> None:
    body = b'{ "model":"chat/m" ,"messages":[{"role":"user","content":"\\u00e9 1e5"}],"n":1.0, "future":{"b":1,"a":2} }'
    said = say(gateway, "POST", "/v1/explain/v1/chat/completions", [JSON, SHOWN], body)
    assert body.replace(b"chat/m", b"m") in said.body


def test_an_explanation_is_text_even_of_a_body_that_is_not(gateway: Served) -> None:
    body = b'{"model":"chat/m","messages":[{"role":"user","content":"\xff"}]}'
    said = say(gateway, "POST", "/v1/explain/v1/chat/completions", [JSON, SHOWN], body)
    assert said.status in {200, 400}
    json.loads(said.body.decode())


def test_nothing_is_sent(gateway: Served, scripted: ThreadedUpstream) -> None:
    before = len(scripted.requests)
    explained(gateway, "messages", question("chain"))
    assert len(scripted.requests) == before


def test_every_target_of_the_chain_is_shown_in_order(gateway: Served) -> None:
    one, two, three = explained(gateway, "messages", question("chain"))
    assert [(t["number"], t["provider"], t["model"]) for t in (one, two, three)] == [
        (1, "chat", "one"),
        (2, "messages", "two"),
        (3, "keyless", "three"),
    ]
    assert [t["verdict"] for t in (one, two, three)] == ["sent", "sent", "failed"]
    assert "no key for the provider keyless" in three["error"]
    assert three["body"]["model"] == "three"
    assert three["headers"] is None


def test_each_key_of_a_provider_is_an_attempt_of_its_own(gateway: Served) -> None:
    targets = explained(gateway, "chat", question("two-keys/m"))
    assert [target["key"] for target in targets] == [1, 2]
    assert targets[0]["headers"]["authorization"] != targets[1]["headers"]["authorization"]


def test_no_secret_is_shown(gateway: Served) -> None:
    own = ("x-api-key", "sk-the-callers-own-0123456789")
    for model in ("chain", "two-keys/m", "secretive/m", "messages/m"):
        for dialect in DIALECTS:
            headers = [JSON, ("x-dragoman-key", KEY), own, ("cookie", "session=abcdefghijklmnop")]
            body = json.dumps(question(model)).encode()
            said = say(gateway, "POST", f"/v1/explain{PATHS[dialect]}?key=AIza0123456789abcdef", headers, body)
            assert said.status == 200
            secrets = (
                UPSTREAM_KEY,
                "sk-one-0123456789",
                "corp-secret",
                "callers-own",
                "abcdefghijklmnop",
                "0123456789abcdef",
                KEY,
            )
            for secret in secrets:
                assert secret.encode() not in said.body


def test_losses_are_told_with_path_and_severity(gateway: Served) -> None:
    one, two, _ = explained(gateway, "messages", question("chain", top_k=5))
    assert one["losses"] == [{"path": "top_k", "what": "the target has no such parameter", "severity": "degraded"}]
    assert two["losses"] == []


@pytest.mark.parametrize(("model", "headers"), [("strict", ()), ("chain", (("x-dragoman-strict", "true"),))])
def test_strict_mode_shows_which_target_would_be_refused(
    gateway: Served, model: str, headers: tuple[tuple[str, str], ...]
) -> None:
    said = explain(gateway, "messages", question(model, top_k=5), *headers)
    assert said.json["strict"] is True
    one, two = said.json["targets"][:2]
    assert (one["verdict"], two["verdict"]) == ("refused", "sent")
    assert "top_k" in one["error"]
    assert one["body"]["model"] == "one"


def test_tokens_and_cost_are_estimated_by_the_configured_price(gateway: Served) -> None:
    body = question("priced") | {"max_tokens": 1000, "messages": [{"role": "user", "content": "word " * 10_000}]}
    (target,) = explained(gateway, "chat", body)
    tokens = target["tokens"]
    assert tokens["output_most"] == 1000
    assert tokens["input"] == pytest.approx(10_000, rel=0.1)
    price = tokens["input"] / 1_000_000
    assert target["cost"] == {"currency": "USD", "input": pytest.approx(price), "most": pytest.approx(price + 0.002)}


def test_a_listed_model_has_the_price_and_the_limit_of_the_catalogue(gateway: Served) -> None:
    body = question("known")
    del body["max_tokens"]
    (target,) = explained(gateway, "chat", body)
    assert target["tokens"]["output_most"] == 128_000
    assert 0 < target["cost"]["input"] < target["cost"]["most"]


def test_a_model_without_a_known_price_has_no_cost(gateway: Served) -> None:
    assert explained(gateway, "chat", question("chat/gpt-6-luna"))[0]["cost"] is None


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("root", ["/v1/explain", "/explain"])
def test_the_dialect_may_stand_in_the_query_and_goes_no_further(gateway: Served, root: str, dialect: str) -> None:
    body = json.dumps(question(f"{dialect}/m")).encode()
    said = say(gateway, "POST", f"{root}?dialect={dialect}&beta=true", [JSON, SHOWN], body)
    assert said.json["dialect"] == dialect
    assert said.json["targets"][0]["url"].endswith("?beta=true")


@pytest.mark.parametrize("path", ["/v1/explain/chat/completions", "/explain/v1/chat/completions", "/explain/chat/completions"])
def test_the_path_may_be_written_with_and_without_v1(gateway: Served, path: str) -> None:
    said = say(gateway, "POST", path, [JSON, SHOWN], json.dumps(question("chat/m")).encode())
    assert said.json["dialect"] == "chat"


@pytest.mark.parametrize("query", ["", "?dialect=latin"])
def test_an_unknown_dialect_is_a_mistake_that_names_those_there_are(gateway: Served, query: str) -> None:
    said = say(gateway, "POST", f"/v1/explain{query}", [JSON, SHOWN], json.dumps(question("chat/m")).encode())
    assert said.status == 400
    for dialect in DIALECTS:
        assert dialect in said.message


def test_a_body_that_only_its_own_provider_may_understand_is_shown_without_a_count(gateway: Served) -> None:
    body = {"model": "chat/m", "messages": "to be read by nobody"}
    (target,) = explained(gateway, "chat", body)
    assert target["verdict"] == "sent"
    assert target["tokens"]["input"] is None
    assert target["cost"] is None
    (target,) = explained(gateway, "chat", body | {"model": "messages/m"})
    assert target["verdict"] == "failed"
    assert "messages" in target["error"]


def test_a_model_that_stands_in_the_path_is_explained_too(gateway: Served) -> None:
    body = json.dumps({"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]}).encode()
    path = "/v1/explain/v1beta/models/messages/two:streamGenerateContent?alt=sse"
    said = say(gateway, "POST", path, [JSON, SHOWN], body)
    told = said.json
    assert (told["dialect"], told["model"], told["stream"]) == ("gemini", "messages/two", True)
    assert told["targets"][0]["body"]["model"] == "two"
    assert told["targets"][0]["body"]["stream"] is True
    assert told["targets"][0]["url"].endswith("/v1/messages")


@pytest.mark.parametrize("path", ["/v1/messages/count_tokens", "/v1/models", "/health", "/nowhere", "/v1/explain/v1/messages"])
def test_what_infers_nothing_is_not_explained(gateway: Served, path: str) -> None:
    said = say(gateway, "POST", f"/v1/explain{path}", [JSON, SHOWN], json.dumps(question("chain")).encode())
    assert said.status == 404


def test_the_log_says_that_it_was_an_explanation(gateway: Served, reports: Reports) -> None:
    said = explain(gateway, "messages", question("chain"))
    report = reports.of(said.header("x-dragoman-request-id") or "")
    assert (report.status, report.path, report.usage) == (200, "/v1/explain/v1/messages", None)


def test_what_cannot_be_routed_is_an_error_in_the_callers_dialect(gateway: Served) -> None:
    said = explain(gateway, "messages", question("nowhere"))
    assert said.status == 404
    assert said.json["type"] == "error"
    assert explain(gateway, "chat", {"messages": []}).status == 400
    assert say(gateway, "POST", "/v1/explain/v1/messages", [JSON, SHOWN], b"{").status == 400


def test_it_asks_for_a_key_and_a_post_as_inference_does(gateway: Served) -> None:
    assert say(gateway, "POST", "/v1/explain/v1/messages", [JSON], json.dumps(question("chain")).encode()).status == 401
    assert say(gateway, "GET", "/v1/explain", [SHOWN]).status == 405
