"""What can be asked for, in the dialect of the one who asks, and how the gateway and its providers are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest

from dragoman import __version__
from dragoman.testing import ThreadedUpstream
from tests.gateway.talking import say
from tests.serving import Served, serving, upstream

KEY = "gw-key-0123456789"
SHOWN = ("authorization", f"Bearer {KEY}")
ANTHROPIC = ("anthropic-version", "2023-06-01")


@pytest.fixture(scope="module")
def gateway(scripted: ThreadedUpstream) -> Iterator[Served]:
    listed = [{"id": "vendor/large", "display_name": "Large", "context": 200_000, "output": 64_000}, "small"]
    providers: dict[str, Any] = {
        "one": upstream(scripted.url, "messages", models=listed),
        "keyless": {"dialect": "chat", "base_url": f"{scripted.url}/v1", "models": ["ghost"]},
    }
    models = {
        "best": {"targets": ["keyless/ghost", "one/small"], "display_name": "The best", "description": "Of two."},
        "dead": "keyless/ghost",
        "claude-*": "one/*",
    }
    with serving({"providers": providers, "models": models, "keys": [KEY]}) as served:
        yield served


def test_openai_clients_get_openais_list(gateway: Served) -> None:
    said = say(gateway, "GET", "/v1/models", [SHOWN])
    assert said.json["object"] == "list"
    ids = [model["id"] for model in said.json["data"]]
    assert {"best", "one/vendor/large", "one/small"} <= set(ids)
    assert all(set(model) >= {"id", "object", "created", "owned_by"} for model in said.json["data"])
    assert say(gateway, "GET", "/models", [SHOWN]).json == said.json


def test_only_what_can_be_served_is_listed(gateway: Served) -> None:
    ids = [model["id"] for model in say(gateway, "GET", "/v1/models", [SHOWN]).json["data"]]
    assert "dead" not in ids
    assert not [one for one in ids if one.startswith("keyless") or "*" in one]


def test_anthropic_clients_get_anthropics_pages(gateway: Served) -> None:
    said = say(gateway, "GET", "/v1/models?limit=1000", [SHOWN, ANTHROPIC])
    data = said.json["data"]
    assert said.json["has_more"] is False
    assert (said.json["first_id"], said.json["last_id"]) == (data[0]["id"], data[-1]["id"])
    best = next(model for model in data if model["id"] == "best")
    assert (best["type"], best["display_name"], best["description"]) == ("model", "The best", "Of two.")
    large = next(model for model in data if model["id"] == "one/vendor/large")
    assert (large["display_name"], large["max_input_tokens"], large["max_tokens"]) == ("Large", 200_000, 64_000)


def test_pages_follow_one_another_both_ways(gateway: Served) -> None:
    ids = [model["id"] for model in say(gateway, "GET", "/v1/models?limit=1000", [SHOWN, ANTHROPIC]).json["data"]]
    forward: list[str] = []
    page: dict[str, Any] = {"has_more": True, "last_id": None}
    while page["has_more"]:
        after = f"&after_id={page['last_id'].replace('/', '%2F')}" if page["last_id"] else ""
        page = say(gateway, "GET", f"/v1/models?limit=1{after}", [SHOWN, ANTHROPIC]).json
        forward += [model["id"] for model in page["data"]]
    assert forward == ids
    before = say(gateway, "GET", f"/v1/models?limit=1&before_id={ids[-1]}", [SHOWN, ANTHROPIC]).json
    assert [model["id"] for model in before["data"]] == [ids[-2]]
    assert before["has_more"] is (len(ids) > 2)
    for limit in ("0", "1001", "x", "-1"):
        said = say(gateway, "GET", f"/v1/models?limit={limit}", [SHOWN, ANTHROPIC])
        assert said.status == 400
        assert said.json["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize("path", ["/v1/models/one/vendor/large", "/v1/models/one%2Fvendor%2Flarge", "/models/one/vendor/large"])
def test_one_model_is_found_by_its_name_slashes_and_all(gateway: Served, path: str) -> None:
    assert say(gateway, "GET", path, [SHOWN]).json["id"] == "one/vendor/large"
    assert say(gateway, "GET", path, [SHOWN, ANTHROPIC]).json["display_name"] == "Large"
    assert say(gateway, "HEAD", path, [SHOWN]).status == 200


def test_a_model_that_is_in_no_list_is_found_where_it_can_be_served(gateway: Served) -> None:
    said = say(gateway, "GET", "/v1/models/one/anything-else", [SHOWN])
    assert (said.status, said.json["owned_by"]) == (200, "one")
    assert say(gateway, "GET", "/v1/models/claude-something", [SHOWN]).json["id"] == "claude-something"
    for name in ("keyless/ghost", "dead", "nothing", "unknown/x"):
        assert say(gateway, "GET", f"/v1/models/{name}", [SHOWN]).status == 404
    # Whoever brings a key of their own can be served there.
    own = [("x-dragoman-key", KEY), ("authorization", "Bearer their-own-token")]
    assert say(gateway, "GET", "/v1/models/keyless/ghost", own).status == 200


def test_the_sdks_list_and_retrieve(gateway: Served) -> None:
    with openai.OpenAI(base_url=gateway.base, api_key=KEY, max_retries=0) as gpt:
        assert "best" in [model.id for model in gpt.models.list()]
        assert gpt.models.retrieve("one/vendor/large").owned_by == "one"
        with pytest.raises(openai.NotFoundError):
            gpt.models.retrieve("nothing")
    with anthropic.Anthropic(base_url=gateway.url, api_key=KEY, max_retries=0) as claude:
        ids = [model.id for model in claude.models.list(limit=1)]  # it asks for one page after the other
        assert {"best", "one/small"} <= set(ids)
        assert claude.models.retrieve("best").display_name == "The best"
        with pytest.raises(anthropic.NotFoundError):
            claude.models.retrieve("nothing")


# ---------------------------------------------------------------- health


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    "path",
    [
        "/", "/api/hello", "/health", "/health/", "/health/live", "/health/liveness", "/health/liveliness", "/health/ready",
        "/health/readiness", "/health/claude-code-readiness", "/v1/cache/health",
    ],
)  # fmt: skip
def test_anybody_may_ask_whether_somebody_is_there(gateway: Served, method: str, path: str) -> None:
    said = say(gateway, method, path)
    assert said.status == 200
    assert said.header("content-type") == "application/json"
    if method == "HEAD":
        assert said.body == b""
    else:
        assert said.json["status"] == "ok"


def test_a_health_that_nobody_knows_is_a_404(gateway: Served) -> None:
    assert say(gateway, "GET", "/health/nothing").status == 404
    assert say(gateway, "GET", "/healthy").status == 404


def test_where_claude_codes_names_lead_is_told_to_holders_of_a_key(gateway: Served) -> None:
    path = "/health/claude-code-readiness"
    assert "models" not in say(gateway, "GET", path).json
    assert "big" in say(gateway, "GET", path, [SHOWN]).json["models"]


@pytest.mark.parametrize("path", ["/health/detailed", "/v1/universal/health"])
def test_the_details_are_for_holders_of_a_key(gateway: Served, path: str) -> None:
    assert say(gateway, "GET", path).status == 401
    state = say(gateway, "GET", path, [SHOWN]).json
    assert state["version"] == __version__
    assert state["providers"]["one"] == {"ready": True, "dialects": ["messages"], "hint": ""}
    keyless = state["providers"]["keyless"]
    assert keyless["ready"] is False
    assert "KEYLESS_API_KEY" in keyless["hint"]
    assert state["models"] == len(say(gateway, "GET", "/v1/models", [SHOWN]).json["data"])


def test_the_details_are_for_everybody_where_no_keys_are_asked_for(scripted: ThreadedUpstream) -> None:
    with serving({"providers": {"one": upstream(scripted.url, "chat")}}) as served:
        assert say(served, "GET", "/health/detailed").json["providers"]["one"]["ready"] is True
