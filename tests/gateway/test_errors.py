"""Errors arrive in the caller's dialect, with the right status, and the official SDKs raise their own right class for them."""

from __future__ import annotations

import gzip
import json
import re
import socket
import sys
import zlib
from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest

from dragoman.testing import (
    SCENARIOS,
    VOICES,
    Ask,
    ErrorEvent,
    HttpError,
    Scenario,
    Text,
    ThreadedUpstream,
)
from tests.gateway.talking import DIALECTS, JSON, PATHS, Said, ask, logging_to, question, raw, say
from tests.serving import Served, serving, upstream

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

PAIRS = [(up, client) for up in DIALECTS for client in DIALECTS]
CROSS = [pair for pair in PAIRS if pair[0] != pair[1]]
KEY = "gw-key-0123456789"
SHOWN = ("authorization", f"Bearer {KEY}")
MOST = 100_000
WIDE = bytes.fromhex("28b52ffd00a0") + b"\x01\0\0"  # a frame of zstd: its magic, a window of 2 ** 30, an empty last block


@pytest.fixture(scope="module")
def gateway(scripted: ThreadedUpstream) -> Iterator[Served]:
    providers: dict[str, Any] = {dialect: upstream(scripted.url, dialect) for dialect in DIALECTS}
    providers |= {f"nowhere-{dialect}": upstream("http://127.0.0.1:9", dialect) for dialect in DIALECTS}
    providers["keyless"] = {"dialect": "chat", "base_url": f"{scripted.url}/v1"}
    config = {"providers": providers, "keys": [KEY], "server": {"max_body": MOST}}
    with serving(config) as served:
        yield served


def check(said: Said, dialect: str, status: int, kind: str) -> None:
    """An error that a client of this dialect can read."""
    assert said.status == status
    assert said.header("content-type") == "application/json"
    body = said.json
    assert body["error"]["message"]
    if dialect == "messages":
        assert (body["type"], body["error"]["type"]) == ("error", kind)
        assert body["request_id"] == said.header("request-id")
        assert body["request_id"].startswith("req_")
    else:
        names = {
            "not_found_error": "not_found_error",
            "request_too_large": "invalid_request_error",
            "api_error": "server_error",
        }
        assert body["error"]["type"] == names.get(kind, kind)
        assert set(body["error"]) == {"message", "type", "param", "code"}
        assert (said.header("x-request-id") or "").startswith("req_")


def post(gateway: Served, dialect: str, body: bytes, *headers: tuple[str, str]) -> Said:
    return say(gateway, "POST", PATHS[dialect], [JSON, SHOWN, *headers], body)


# ---------------------------------------------------------------- the request itself


@pytest.mark.parametrize("dialect", DIALECTS)
def test_an_unknown_model_is_a_404_that_names_what_there_is(gateway: Served, dialect: str) -> None:
    said = ask(gateway, dialect, "no-such-model", headers=[SHOWN])
    check(said, dialect, 404, "not_found_error")
    assert "no-such-model" in said.message
    assert "There are:" in said.message or "provider/model" in said.message or "Nothing is configured" in said.message


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "empty"),
        (b" \n ", "empty"),
        (b'{"model": "m",\n "messages": [}', "line 2 column 15"),
        (b'{"model": "m"', "truncated"),
        (b"[1, 2]", "object"),
        (b'"text"', "object"),
        (b"NaN", "line 1 column 1"),
        (b'{"model": NaN}', "line 1 column 11"),
        (b'{"model": "m", "temperature": NaN}', "column 31"),
        (b"\xef\xbb\xbf{}", "line 1 column 1"),
        (b'{"model": "\xff"}', "(?i)utf-8|invalid"),
        (b"{}", "model: the name of a model is required"),
        (b'{"model": ""}', "model"),
        (b'{"model": "chat/%b"}' % (b"m" * 2044), "model: a name has at most 2048 characters"),
        (b'{"model": ["m"]}', "model"),
        (b'{"model": null, "messages": []}', "model"),
        (b'{"a":' * 16_000, "deep|truncated"),
    ],
)
def test_a_body_that_is_no_request_is_told_why_and_where(gateway: Served, dialect: str, body: bytes, words: str) -> None:
    said = post(gateway, dialect, body)
    check(said, dialect, 400, "invalid_request_error")
    assert re.search(words, said.message)


@pytest.mark.parametrize(("up", "client"), CROSS)
def test_a_body_of_the_wrong_shape_is_told_its_path(gateway: Served, up: str, client: str) -> None:
    body = json.dumps(question(f"{up}/m") | {"messages": [{"role": "user", "content": 7}]}).encode()
    said = post(gateway, client, body)
    check(said, client, 400, "invalid_request_error")
    assert "messages[0]" in said.message


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_body_that_is_too_large_is_refused_by_its_length(gateway: Served, dialect: str) -> None:
    said = post(gateway, dialect, b"x" * (MOST + 1))
    check(said, dialect, 413, "request_too_large")
    assert str(MOST) in said.message


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_body_that_is_too_large_is_refused_when_its_length_was_not_told(gateway: Served, dialect: str) -> None:
    chunk = b"2710\r\n" + b" " * 10_000 + b"\r\n"
    head = f"POST {PATHS[dialect]} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n"
    answer = raw(gateway, head.encode() + chunk * 11 + b"0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize("coding", ["gzip", "x-gzip", "deflate", "zstd", "identity", "GZIP"])
@pytest.mark.parametrize(("up", "client"), PAIRS)
def test_a_compressed_body_is_understood(
    gateway: Served, scripted: ThreadedUpstream, up: str, client: str, coding: str
) -> None:
    body = json.dumps(question(f"{up}/scenario:text", stream=False)).encode()
    packed = {"gzip": gzip.compress, "deflate": zlib.compress, "zstd": zstd.compress}.get(
        coding.lower().removeprefix("x-"), bytes
    )(body)
    said = post(gateway, client, packed, ("content-encoding", coding))
    assert said.status == 200
    assert scripted.requests[-1].header("content-encoding") is None
    if up == client:
        assert scripted.requests[-1].body == body.replace(f"{up}/".encode(), b"", 1)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(
    ("coding", "body", "status", "kind"),
    [
        ("br", b"x", 415, "invalid_request_error"),
        ("gzip", b"this is not gzip", 400, "invalid_request_error"),
        ("gzip", gzip.compress(b'{"model": "m"}')[:-9], 400, "invalid_request_error"),
        ("gzip", gzip.compress(b"x" * (MOST + 1)), 413, "request_too_large"),
        ("zstd", b"this is not zstd", 400, "invalid_request_error"),
        ("zstd", zstd.compress(b'{"model": "m"}')[:-3], 400, "invalid_request_error"),
        ("zstd", zstd.compress(b"x" * (MOST + 1)), 413, "request_too_large"),
        ("zstd", WIDE, 400, "invalid_request_error"),
    ],
    ids=["unknown", "not gzip", "cut short", "a bomb", "not zstd", "cut short too", "another bomb", "a window of 1 GB"],
)
def test_a_compressed_body_that_cannot_be_read_is_refused(
    gateway: Served, dialect: str, coding: str, body: bytes, status: int, kind: str
) -> None:
    said = post(gateway, dialect, body, ("content-encoding", coding))
    check(said, dialect, status, kind)
    assert said.header("accept-encoding") == ("gzip, deflate, zstd" if status == 415 else None)


# ---------------------------------------------------------------- keys, paths, methods


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("headers", [[], [("authorization", "Bearer wrong")], [("x-api-key", "wrong")]])
def test_who_shows_no_key_of_the_gateway_is_told_401(gateway: Served, dialect: str, headers: list[tuple[str, str]]) -> None:
    said = ask(gateway, dialect, f"{dialect}/m", headers=headers)
    check(said, dialect, 401, "authentication_error")
    assert "x-dragoman-key" in said.message
    assert "wrong" not in said.message


@pytest.mark.parametrize(
    ("path", "headers", "dialect"),
    [
        ("/v1/nothing", [], "chat"),
        ("/v1/nothing", [("anthropic-version", "2023-06-01")], "messages"),
        ("/v1/messages/nothing", [], "messages"),
        ("/unknown-provider/v1/x", [], "chat"),
    ],
)
def test_an_unknown_path_is_a_404_in_the_callers_dialect(
    gateway: Served, path: str, headers: list[tuple[str, str]], dialect: str
) -> None:
    check(say(gateway, "POST", path, [SHOWN, *headers], b"{}"), dialect, 404, "not_found_error")


@pytest.mark.parametrize(
    ("method", "path", "dialect", "allowed"),
    [
        ("GET", "/v1/messages", "messages", "POST"),
        ("PUT", "/v1/chat/completions", "chat", "POST"),
        ("GET", "/v1/messages/count_tokens", "messages", "POST"),
        ("DELETE", "/v1/models", "chat", "GET, HEAD"),
        ("POST", "/v1/models/a/b", "chat", "GET, HEAD"),
        ("POST", "/health", "chat", "GET, HEAD"),
        ("POST", "/", "chat", "GET, HEAD"),
    ],
)
def test_a_wrong_method_is_a_405_that_names_the_right_one(
    gateway: Served, method: str, path: str, dialect: str, allowed: str
) -> None:
    said = say(gateway, method, path, [SHOWN], b"")
    check(said, dialect, 405, "not_found_error")
    assert said.header("allow") == allowed


def test_a_method_that_may_not_be_used_is_told_so_without_a_body_to_head(gateway: Served) -> None:
    said = say(gateway, "HEAD", "/v1/messages", [SHOWN])
    assert (said.status, said.header("allow"), said.body) == (405, "POST", b"")


# ---------------------------------------------------------------- the provider's


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(("up", "client"), PAIRS)
@pytest.mark.parametrize(
    ("name", "chat", "messages"),
    [
        ("http-400", 400, 400),
        ("http-401", 502, 502),  # our own key is refused: no fault of the caller's
        ("http-402", 402, 402),
        ("http-403", 403, 403),
        ("http-404", 404, 404),
        ("http-413", 413, 413),
        ("http-429", 429, 429),
        ("http-500", 500, 500),
        ("http-502-html", 502, 502),
        ("http-503", 503, 529),
        ("http-504", 504, 504),
        ("http-529", 503, 529),
        ("http-500-empty", 500, 500),
        ("http-200-html", 502, 502),
        ("http-200-empty", 502, 502),
    ],
)
def test_a_providers_error_keeps_its_meaning(
    gateway: Served, up: str, client: str, name: str, chat: int, messages: int, stream: bool
) -> None:
    said = ask(gateway, client, f"{up}/scenario:{name}", stream=stream, headers=[SHOWN])
    if up == client and not name.startswith(("http-401", "http-200")):
        assert said.status == VOICES[up].render(SCENARIOS[name], Ask()).status
        return
    assert said.status == (chat if client == "chat" else messages)
    expected = SCENARIOS[name].expected
    assert expected is not None
    assert expected.error is not None
    assert expected.error.message in said.message
    assert said.message
    assert (said.header("retry-after") is not None) == (name in {"http-429", "http-503"})


@pytest.mark.parametrize(("up", "client"), CROSS)
def test_the_time_to_wait_is_told_in_whole_seconds(gateway: Served, up: str, client: str) -> None:
    said = ask(gateway, client, f"{up}/scenario:http-429", headers=[SHOWN])
    assert said.header("retry-after") == "2"  # 1500 ms, and not too soon


@pytest.mark.parametrize("client", DIALECTS)
def test_an_upstream_that_cannot_be_reached_is_a_502_that_says_so(gateway: Served, client: str) -> None:
    for up in DIALECTS:
        said = ask(gateway, client, f"nowhere-{up}/m", headers=[SHOWN])
        check(said, client, 502, "api_error")
        assert "127.0.0.1:9" in said.message
        assert "refused" in said.message


@pytest.mark.parametrize(("up", "client"), PAIRS)
@pytest.mark.parametrize("status", [201, 204, 301, 307])
def test_what_is_neither_answer_nor_error_is_a_502(
    gateway: Served, scripted: ThreadedUpstream, up: str, client: str, status: int
) -> None:
    scripted.script(Scenario("odd", (HttpError(status, headers=(("location", "http://169.254.169.254/"),), body=b""),)))
    asked = len(scripted.requests)
    said = ask(gateway, client, f"{up}/m", headers=[SHOWN])
    check(said, client, 502, "api_error")
    assert len(scripted.requests) == asked + 1
    assert ("169.254.169.254" in said.message) == (status >= 300)


@pytest.mark.parametrize("client", DIALECTS)
def test_a_provider_without_a_key_is_a_502_that_says_where_to_put_one(gateway: Served, client: str) -> None:
    said = ask(gateway, client, "keyless/m", headers=[SHOWN])
    check(said, client, 502, "api_error")
    assert "providers.keyless.api_key" in said.message


@pytest.mark.parametrize(("up", "client"), PAIRS)
def test_our_key_refused_is_a_502_with_the_providers_words(gateway: Served, up: str, client: str) -> None:
    said = ask(gateway, client, f"{up}/scenario:http-401", headers=[SHOWN])
    assert said.status == 502
    assert said.message == "invalid x-api-key"


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_callers_own_key_refused_is_their_401_verbatim(gateway: Served, dialect: str) -> None:
    own = [("x-dragoman-key", KEY), ("authorization", "Bearer their-own-token")]
    said = ask(gateway, dialect, f"{dialect}/scenario:http-401", headers=own)
    assert said.status == 401
    assert said.body == VOICES[dialect].render(SCENARIOS["http-401"], Ask()).body


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(("up", "client"), PAIRS)
def test_a_key_that_a_provider_repeats_is_not_passed_on(
    gateway: Served, scripted: ThreadedUpstream, up: str, client: str, stream: bool
) -> None:
    words = json.dumps({"type": "error", "error": {"type": "authentication_error", "message": "bad key sk-upstream!"}}).encode()
    lines: list[dict[str, Any]] = []
    with logging_to(lines):
        for status in (401, 400, 500):
            scripted.script(Scenario("echo", (HttpError(status, body=words),)))
            said = ask(gateway, client, f"{up}/m", stream=stream, headers=[SHOWN])
            assert said.status in {502, 400, 500}
            assert b"sk-upstream" not in said.body
            assert "bad key" in said.message
    assert len(lines) >= 3
    assert "sk-upstream" not in str(lines)
    assert KEY not in str(lines)


@pytest.mark.parametrize("at", [(), (Text(("Hello",)),)])
@pytest.mark.parametrize(("up", "client"), CROSS)
def test_a_key_that_a_provider_repeats_within_a_stream_is_not_passed_on(
    gateway: Served, scripted: ThreadedUpstream, up: str, client: str, at: tuple[Text, ...]
) -> None:
    lines: list[dict[str, Any]] = []
    with logging_to(lines):
        scripted.script(Scenario("echo", (*at, ErrorEvent("internal", "bad key sk-upstream!"))))
        said = ask(gateway, client, f"{up}/m", stream=True, headers=[SHOWN])
    assert b"bad key" in said.body
    assert b"sk-upstream" not in said.body
    assert "sk-upstream" not in str(lines)


def test_a_key_among_the_configured_headers_is_a_key_too(scripted: ThreadedUpstream) -> None:
    basic = {"dialect": "chat", "base_url": f"{scripted.url}/v1", "headers": {"authorization": "Basic c2VjcmV0LXNlY3JldA=="}}
    echo = Scenario("echo", (HttpError(400, body=b'{"error":{"message":"bad: c2VjcmV0LXNlY3JldA=="}}'),))
    with serving({"providers": {"basic": basic}}) as served:
        scripted.script(echo)
        said = ask(served, "chat", "basic/m")
        scripted.script(echo)
        passed = say(served, "POST", "/basic/v1/chat/completions", [JSON], json.dumps(question("m")).encode())
    assert scripted.requests[-2].header("authorization") == "Basic c2VjcmV0LXNlY3JldA=="
    for one in (said, passed):
        assert one.message.startswith("bad: ")
        assert b"c2VjcmV0" not in one.body


def test_a_key_that_a_provider_repeats_in_a_header_of_its_refusal_is_not_passed_on(
    gateway: Served, scripted: ThreadedUpstream
) -> None:
    asks = (("www-authenticate", 'Bearer error="sk-upstream"'), ("x-seen", "sk-upstream"))
    scripted.script(Scenario("echo", (HttpError(400, body=b'{"error":{"message":"no"}}', headers=asks),)))
    said = ask(gateway, "chat", "chat/m", headers=[SHOWN])
    assert said.status == 400
    assert said.header("x-seen") is not None
    assert "sk-upstream" not in str(said.headers)


def test_when_every_target_fails_each_ones_reason_is_told(scripted: ThreadedUpstream) -> None:
    config = {
        "providers": {
            "a": upstream(scripted.url, "chat"),
            "b": upstream(scripted.url, "messages"),
            "c": upstream("http://127.0.0.1:9", "chat"),
            "d": {"dialect": "chat", "base_url": scripted.url},
        },
        "models": {"all": ["a/scenario:http-429", "b/scenario:error-second", "c/m", "d/m"]},
    }
    with serving(config) as served:
        for dialect in DIALECTS:
            said = ask(served, dialect, "all")
            check(said, dialect, 502, "api_error")
            assert "all 4 targets failed" in said.message
            for reason in ("1. a/scenario:http-429: 429 Too many requests.", "2. b/", "Overloaded", "refused", "no key"):
                assert reason in said.message
            assert said.header("retry-after") == "2"


# ---------------------------------------------------------------- what the SDKs raise

CLAUDE: list[tuple[str, type[anthropic.APIStatusError]]] = [
    ("scenario:http-400", anthropic.BadRequestError),
    ("scenario:http-403", anthropic.PermissionDeniedError),
    ("scenario:http-404", anthropic.NotFoundError),
    ("scenario:http-429", anthropic.RateLimitError),
    ("scenario:http-500", anthropic.InternalServerError),
    ("scenario:http-529", anthropic.OverloadedError),
    ("scenario:error-first", anthropic.OverloadedError),
    ("scenario:error-rate-limit-first", anthropic.RateLimitError),
    ("scenario:cut-after-start", anthropic.InternalServerError),
]
GPT: list[tuple[str, type[openai.APIStatusError]]] = [
    ("scenario:http-400", openai.BadRequestError),
    ("scenario:http-403", openai.PermissionDeniedError),
    ("scenario:http-404", openai.NotFoundError),
    ("scenario:http-429", openai.RateLimitError),
    ("scenario:http-500", openai.InternalServerError),
    ("scenario:http-529", openai.InternalServerError),
    ("scenario:error-first", openai.InternalServerError),
    ("scenario:error-rate-limit-first", openai.RateLimitError),
    ("scenario:cut-after-start", openai.InternalServerError),
]
ASK: Any = [{"role": "user", "content": "Hi"}]


@pytest.fixture(scope="module")
def claude(gateway: Served) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=gateway.url, api_key=KEY, max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def gpt(gateway: Served) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=gateway.base, api_key=KEY, max_retries=0) as client:
        yield client


@pytest.mark.parametrize("up", DIALECTS)
@pytest.mark.parametrize(("model", "kind"), CLAUDE)
def test_the_anthropic_sdk_raises_its_own(
    claude: anthropic.Anthropic, up: str, model: str, kind: type[anthropic.APIStatusError]
) -> None:
    with pytest.raises(kind) as whole:
        claude.messages.create(model=f"{up}/{model}", max_tokens=9, messages=ASK)
    with pytest.raises(kind) as streamed, claude.messages.stream(model=f"{up}/{model}", max_tokens=9, messages=ASK) as stream:
        stream.until_done()
    for raised in (whole.value, streamed.value):
        assert isinstance(raised.body, dict)
        assert raised.body["type"] == "error"
        assert raised.request_id


@pytest.mark.parametrize("up", DIALECTS)
@pytest.mark.parametrize(("model", "kind"), GPT)
def test_the_openai_sdk_raises_its_own(gpt: openai.OpenAI, up: str, model: str, kind: type[openai.APIStatusError]) -> None:
    with pytest.raises(kind) as whole:
        gpt.chat.completions.create(model=f"{up}/{model}", messages=ASK)
    with pytest.raises(kind) as streamed:
        gpt.chat.completions.create(model=f"{up}/{model}", messages=ASK, stream=True)
    for raised in (whole.value, streamed.value):
        assert isinstance(raised.body, dict)
        assert raised.body["message"]
        assert raised.request_id


@pytest.mark.parametrize("up", DIALECTS)
@pytest.mark.parametrize("model", ["scenario:error-midway", "scenario:cut-midway", "scenario:reset-midway"])
def test_the_sdks_raise_within_a_stream(claude: anthropic.Anthropic, gpt: openai.OpenAI, up: str, model: str) -> None:
    with (
        pytest.raises(anthropic.APIStatusError) as raised,
        claude.messages.stream(model=f"{up}/{model}", max_tokens=9, messages=ASK) as stream,
    ):
        stream.until_done()
    assert isinstance(raised.value.body, dict)
    assert raised.value.body["error"]["type"] == ("overloaded_error" if "error" in model else "api_error")
    with pytest.raises(openai.APIError) as failed:
        for _ in gpt.chat.completions.create(model=f"{up}/{model}", messages=ASK, stream=True):
            pass
    assert not isinstance(failed.value, openai.APIConnectionError)
    assert isinstance(failed.value.body, dict)


def test_the_sdks_raise_for_what_the_gateway_refuses(gateway: Served, claude: anthropic.Anthropic, gpt: openai.OpenAI) -> None:
    with pytest.raises(anthropic.NotFoundError):
        claude.messages.create(model="nothing", max_tokens=9, messages=ASK)
    with pytest.raises(openai.NotFoundError) as missing:
        gpt.chat.completions.create(model="nothing", messages=ASK)
    assert missing.value.code == "model_not_found"
    with pytest.raises(anthropic.AuthenticationError):
        claude.with_options(api_key="wrong").messages.create(model="messages/m", max_tokens=9, messages=ASK)
    with pytest.raises(openai.AuthenticationError):
        gpt.with_options(api_key="wrong").chat.completions.create(model="chat/m", messages=ASK)
    huge: Any = [{"role": "user", "content": "x" * MOST}]
    with pytest.raises(anthropic.ContentTooLargeError):
        claude.messages.create(model="messages/m", max_tokens=9, messages=huge)
    with pytest.raises(openai.APIStatusError, match="larger than"):
        gpt.chat.completions.create(model="chat/m", messages=huge)


def test_a_target_that_is_no_path_is_an_error_like_any_other() -> None:
    with serving({}) as gateway:
        host, port = gateway.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=20) as connection:
            connection.sendall(b"OPTIONS * HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.split(b" ")[1] in {b"400", b"404"}
