"""`/<provider>/*`: any path and method of a provider, forwarded without being read."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Iterator
from typing import Any

import pytest

from dragoman.testing import VOICES, Ask, Request, ScriptedUpstream, Stall, Text, ThreadedUpstream, scenario
from dragoman.testing.library import SCENARIOS
from tests.gateway.talking import JSON, Reports, Tasks, say, sending, streaming
from tests.serving import Served, serving

KEY = "gw-key-0123456789"
SHOWN = ("authorization", f"Bearer {KEY}")


@pytest.fixture(scope="module")
def scripted() -> Iterator[ThreadedUpstream]:
    with ScriptedUpstream.in_thread() as server:
        server.on("/moved", 307, b"elsewhere", [("location", "https://elsewhere.example/x"), ("x-one", "1"), ("x-one", "2")])
        server.on("/teapot", 418, b"\x00\xffshort and stout", [("content-type", "application/x-tea"), ("retry-after", "7")])
        server.on("/echo", 401, b'{"error": "bad key sk-upstream"}', [("x-seen", "Bearer sk-upstream")])
        server.on("/packed-echo", 401, gzip.compress(b'{"error": "bad key sk-upstream"}'), [("content-encoding", "gzip")])
        server.on("/packed-teapot", 418, gzip.compress(b"short and stout"), [("content-encoding", "gzip")])
        long = gzip.compress(random.Random(0).randbytes(400_000) + b"sk-upstream" * 9)
        server.on("/long-echo", 401, gzip.compress(b"bad key sk-upstream") + long, [("content-encoding", "gzip")])
        server.on("/nothing", 204)
        server.on("/unchanged", 304, b"", [("etag", '"x"')])
        server.on("/packed", 200, gzip.compress(b"packed"), [("content-encoding", "gzip")])
        yield server


def config(scripted: ThreadedUpstream) -> dict[str, Any]:
    return {
        "server": {"ping": "20ms"},
        "providers": {
            "own": {"dialect": "messages", "base_url": f"{scripted.url}/base", "api_key": "sk-upstream"},
            "openai": {"base_url": f"{scripted.url}/v1", "api_key": "sk-upstream"},
            "theirs": {"dialect": "chat", "base_url": f"{scripted.url}/v1"},
            "always-theirs": {"base_url": f"{scripted.url}/v1", "api_key": "sk-upstream", "credentials": "caller"},
            "gone": {"dialect": "messages", "base_url": "http://127.0.0.1:9", "api_key": "sk-upstream"},
            "slow": {"base_url": f"{scripted.url}/v1", "api_key": "x", "timeouts": {"total": 0.1}},
        },
    }


@pytest.fixture(scope="module")
def gateway(scripted: ThreadedUpstream) -> Iterator[Served]:
    with serving(config(scripted) | {"keys": [KEY]}) as served:
        yield served


@pytest.fixture(scope="module")
def reports(gateway: Served) -> Reports:
    return Reports(gateway)


def sent(scripted: ThreadedUpstream) -> Request:
    return scripted.requests[-1]


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"])
def test_every_method_is_forwarded_with_its_body(gateway: Served, scripted: ThreadedUpstream, method: str) -> None:
    body = bytes(range(256)) * 40 if method != "GET" else None
    said = say(gateway, method, "/own/v1/files/x", [SHOWN, ("content-type", "application/octet-stream")], body)
    assert said.status == 200
    request = sent(scripted)
    assert (request.method, request.target) == (method, "/base/v1/files/x")
    assert request.body == (body or b"")
    assert request.header("content-type") == "application/octet-stream"


@pytest.mark.parametrize(
    ("target", "arrives"),
    [
        ("/own/v1/a%2Fb%20c/%C3%A9?x=%41&y=a+b&empty=&flag", "/base/v1/a%2Fb%20c/%C3%A9?x=%41&y=a+b&empty=&flag"),
        ("/own/v1beta/models/m:generateContent?alt=sse", "/base/v1beta/models/m:generateContent?alt=sse"),
        ("/own/", "/base/"),
        ("/own", "/base/"),
        ("/own/v1/trailing/", "/base/v1/trailing/"),
        ("/own//double//slash", "/base//double//slash"),
        ("/%6Fwn/v1/x", "/base/v1/x"),
        ("/own/base/v1/files", "/base/v1/files"),
        ("/own/base", "/base/base"),
        ("/own/based/v1/files", "/base/based/v1/files"),
        ("/openai/v1/files", "/v1/files"),
        ("/openai/v1/responses/resp_1?include[]=a", "/v1/responses/resp_1?include[]=a"),
    ],
)
def test_the_path_and_the_query_stay_as_they_stood_on_the_wire(
    gateway: Served, scripted: ThreadedUpstream, target: str, arrives: str
) -> None:
    assert say(gateway, "GET", target, [SHOWN]).status == 200
    assert sent(scripted).target == arrives


def test_headers_are_open_lists_in_both_directions(gateway: Served, scripted: ThreadedUpstream) -> None:
    kept = [
        ("accept", "*/*"),
        ("accept-encoding", "br, gzip"),
        ("content-encoding", "gzip"),
        ("x-unknown", "1"),
        ("x-unknown", "2"),
        ("openai-beta", "assistants=v2"),
        ("user-agent", "codex/1.0"),
    ]
    body = gzip.compress(b'{"input": 1}')
    hop = [("connection", "keep-alive, x-hop"), ("x-hop", "1"), ("te", "trailers"), ("x-dragoman-strict", "true")]
    said = say(gateway, "POST", "/openai/v1/anything", [SHOWN, JSON, *kept, *hop], body)
    request = sent(scripted)
    own = {"host", "content-length", "connection"}
    assert [pair for pair in request.headers if pair[0].lower() not in own] == [
        JSON, *kept, ("authorization", "Bearer sk-upstream"),
    ]  # fmt: skip
    assert said.header("x-dragoman-provider") == "openai"


def test_an_answer_comes_back_with_its_status_its_headers_and_its_bytes(gateway: Served) -> None:
    said = say(gateway, "GET", "/own/teapot", [SHOWN])
    assert (said.status, said.body) == (418, b"\x00\xffshort and stout")
    assert said.header("content-type") == "application/x-tea"
    assert said.header("retry-after") == "7"
    assert said.header("content-length") == "17"


@pytest.mark.parametrize("method", ["TRACE", "CONNECT"])
def test_what_would_show_our_key_by_its_nature_is_not_passed_on(
    gateway: Served, scripted: ThreadedUpstream, method: str
) -> None:
    asked = len(scripted.requests)
    assert say(gateway, method, "/own/v1/x", [SHOWN]).status == 405
    assert len(scripted.requests) == asked


@pytest.mark.parametrize("path", ["/own/echo", "/own/packed-echo"])
def test_a_key_of_ours_that_a_refusal_repeats_is_not_passed_on(gateway: Served, path: str) -> None:
    said = say(gateway, "GET", path, [SHOWN, ("accept-encoding", "gzip")])
    assert (said.status, said.whole, said.header("content-encoding")) == (401, True, None)
    assert said.body.startswith(b'{"error": "bad key ')
    assert b"sk-upstream" not in said.body
    assert "sk-upstream" not in str(said.headers)


def test_a_packed_refusal_without_our_key_stays_as_it_is(gateway: Served) -> None:
    said = say(gateway, "GET", "/own/packed-teapot", [SHOWN, ("accept-encoding", "gzip")])
    assert (said.status, said.header("content-encoding")) == (418, "gzip")
    assert gzip.decompress(said.body) == b"short and stout"


def test_a_packed_refusal_with_our_key_that_is_too_long_to_be_looked_at_breaks_off(gateway: Served) -> None:
    said = say(gateway, "GET", "/own/long-echo", [SHOWN, ("accept-encoding", "gzip")])
    assert (said.status, said.whole) == (401, False)
    assert b"sk-upstream" not in said.body


def test_redirects_are_passed_on_and_not_followed(gateway: Served, scripted: ThreadedUpstream) -> None:
    asked = len(scripted.requests)
    said = say(gateway, "POST", "/own/moved", [SHOWN], b"x")
    assert (said.status, said.body) == (307, b"elsewhere")
    assert said.header("location") == "https://elsewhere.example/x"
    assert [value for name, value in said.headers if name == "x-one"] == ["1", "2"]
    assert len(scripted.requests) == asked + 1


def test_what_is_compressed_stays_so(gateway: Served) -> None:
    said = say(gateway, "GET", "/own/packed", [SHOWN, ("accept-encoding", "gzip")])
    assert said.header("content-encoding") == "gzip"
    assert gzip.decompress(said.body) == b"packed"


@pytest.mark.parametrize(("path", "status"), [("nothing", 204), ("unchanged", 304)])
def test_answers_without_a_body_are_answers(gateway: Served, path: str, status: int) -> None:
    for _ in range(2):
        said = say(gateway, "GET", f"/own/{path}", [SHOWN])
        assert (said.status, said.body, said.whole) == (status, b"", True)


def test_head_gives_the_length_and_no_body(gateway: Served, scripted: ThreadedUpstream) -> None:
    said = say(gateway, "HEAD", "/own/teapot", [SHOWN])
    assert (said.status, said.header("content-length"), said.body) == (418, "17", b"")
    assert sent(scripted).method == "HEAD"


def test_a_stream_is_forwarded_as_it_comes(gateway: Served, scripted: ThreadedUpstream) -> None:
    """And with no pings of ours in it: nothing here is known to be a stream of events."""
    slow = scenario("slow", Text(("Hel", Stall("half"), "lo")))
    scripted.script(slow)
    body = json.dumps({"model": "m", "stream": True, "messages": []}).encode()
    with streaming(gateway, "POST", "/own/v1/messages", [JSON, SHOWN], body) as stream:
        stream.until(b"Hel")
        scripted.open_gate("half")
        said = stream.rest()
    assert said.body == VOICES["messages"].render(slow, Ask("m")).body


@pytest.mark.parametrize("name", ["http-429", "http-401", "http-502-html"])
def test_a_providers_error_is_its_own(gateway: Served, name: str) -> None:
    body = json.dumps({"model": f"scenario:{name}", "messages": []}).encode()
    said = say(gateway, "POST", "/own/v1/messages", [JSON, SHOWN], body)
    wanted = VOICES["messages"].render(SCENARIOS[name], Ask())
    assert (said.status, said.body) == (wanted.status, wanted.body)


@pytest.mark.parametrize("name", ["cut-midway", "reset-midway"])
def test_an_answer_that_breaks_off_is_broken_off(gateway: Served, reports: Reports, name: str) -> None:
    count = len(reports)
    body = json.dumps({"model": f"scenario:{name}", "stream": True, "messages": []}).encode()
    said = say(gateway, "POST", "/own/v1/messages", [JSON, SHOWN], body)
    assert (said.status, said.whole) == (200, False)
    report = reports.last(count + 1)
    assert report.error is not None
    assert (report.tier, report.provider, report.status) == ("passed", "own", 200)


def test_what_takes_longer_than_the_total_is_broken_off(gateway: Served, scripted: ThreadedUpstream) -> None:
    body = json.dumps({"model": "scenario:stall-midway", "stream": True, "messages": []}).encode()
    assert not say(gateway, "POST", "/slow/v1/chat/completions", [JSON, SHOWN], body).whole
    body = body.replace(b"stall-midway", b"slow-head")
    assert say(gateway, "POST", "/slow/v1/chat/completions", [JSON, SHOWN], body).status == 504


def test_a_provider_that_cannot_be_reached_is_an_error_in_its_dialect(gateway: Served) -> None:
    said = say(gateway, "POST", "/gone/v1/anything", [SHOWN], b"{}")
    assert said.status == 502
    assert said.json["error"]["type"] == "api_error"
    assert said.json["type"] == "error"


def test_a_client_that_leaves_ends_it(gateway: Served, scripted: ThreadedUpstream, reports: Reports) -> None:
    count, left, tasks = len(reports), len(scripted.connections.closed_early), Tasks(gateway)
    body = json.dumps({"model": "scenario:endless", "stream": True, "messages": []}).encode()
    with sending(gateway, "POST", "/own/v1/messages", [JSON, SHOWN], body) as connection:
        connection.getresponse().read(1000)
    scripted.closed_early(count=left + 1)
    # A refusal is told before it is reported, so that of an earlier test may still have been under way.
    report = reports.last(count + 1)
    assert (report if report.status == 499 else reports.last(count + 2)).status == 499
    assert tasks.settled()


# ---------------------------------------------------------------- whose key


def test_the_providers_key_takes_the_place_of_the_gateways(gateway: Served, scripted: ThreadedUpstream) -> None:
    for shown in (SHOWN, ("x-api-key", KEY), ("x-goog-api-key", KEY), ("x-dragoman-key", KEY)):
        assert say(gateway, "GET", "/own/v1/models", [shown]).status == 200
        request = sent(scripted)
        assert request.header("x-api-key") == "sk-upstream"
        assert KEY not in str(request.headers)
        assert say(gateway, "GET", "/openai/v1/models", [shown]).status == 200
        assert sent(scripted).header("authorization") == "Bearer sk-upstream"
        assert KEY not in str(sent(scripted).headers)
    assert say(gateway, "GET", f"/own/v1/x?a=1&key={KEY}&b=2").status == 200
    assert sent(scripted).target == "/base/v1/x?a=1&b=2"


def test_a_callers_own_token_passes_beside_the_gateways_key(gateway: Served, scripted: ThreadedUpstream) -> None:
    own = [("x-dragoman-key", KEY), ("authorization", "Bearer sk-ant-oat-theirs")]
    for provider in ("own", "theirs", "always-theirs"):
        assert say(gateway, "GET", f"/{provider}/v1/x", own).status == 200
        request = sent(scripted)
        assert request.header("authorization") == "Bearer sk-ant-oat-theirs"
        assert request.header("x-api-key") is None
        assert KEY not in str(request.headers)


def test_a_provider_that_takes_only_the_callers_key_never_gets_ours(gateway: Served, scripted: ThreadedUpstream) -> None:
    asked = len(scripted.requests)
    said = say(gateway, "GET", "/always-theirs/v1/x", [SHOWN])
    assert said.status == 502
    assert "the caller's own key only" in said.message
    assert say(gateway, "GET", "/theirs/v1/x", [SHOWN]).status == 502
    assert len(scripted.requests) == asked


def test_without_keys_of_the_gateway_a_callers_token_reaches_providers_without_one(scripted: ThreadedUpstream) -> None:
    env = {"GROQ_BASE_URL": f"{scripted.url}/groq", "GEMINI_BASE_URL": f"{scripted.url}/gemini/v1beta/openai"}
    with serving(config(scripted), env) as served:
        assert say(served, "GET", "/groq/v1/models", [("authorization", "Bearer gsk_theirs")]).status == 200
        assert sent(scripted).header("authorization") == "Bearer gsk_theirs"
        # A provider with a key of its own gets that one, whatever the caller shows.
        assert say(served, "GET", "/openai/v1/models", [("authorization", "Bearer sk-dummy")]).status == 200
        assert sent(scripted).header("authorization") == "Bearer sk-upstream"


def test_a_key_in_the_query_is_a_key_too(scripted: ThreadedUpstream) -> None:
    google = {"like": "gemini", "base_url": f"{scripted.url}/v1beta/openai"}
    providers = {"theirs": google, "ours": google | {"api_key": "AIza-upstream-0123"}}
    with serving({"providers": providers}) as served:
        target = "v1beta/models/m:countTokens?alt=json&key=AIza-theirs"
        assert say(served, "POST", f"/theirs/{target}", [], b"{}").status == 200
        assert sent(scripted).target.endswith("?alt=json&key=AIza-theirs")
        assert sent(scripted).header("x-goog-api-key") is None
        assert say(served, "POST", f"/ours/{target}", [], b"{}").status == 200
        assert sent(scripted).target.endswith("/v1beta/models/m:countTokens?alt=json")
        assert sent(scripted).header("x-goog-api-key") == "AIza-upstream-0123"


# ---------------------------------------------------------------- health


def test_each_provider_says_whether_it_has_a_key(gateway: Served, scripted: ThreadedUpstream) -> None:
    asked = len(scripted.requests)
    assert say(gateway, "GET", "/own/health", [SHOWN]).json == {"status": "ok", "provider": "own", "credential": True}
    assert say(gateway, "GET", "/theirs/health", [SHOWN]).json["credential"] is False
    assert say(gateway, "GET", "/own/health").status == 401
    assert say(gateway, "GET", "/no-such-provider/health", [SHOWN]).status == 404
    assert len(scripted.requests) == asked
