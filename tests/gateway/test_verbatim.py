"""Tier T0: the same dialect on both sides, and not a byte of it changes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from dragoman.testing import (
    SCENARIOS,
    VOICES,
    Ask,
    Finish,
    RawFrame,
    Request,
    Scenario,
    ScriptedUpstream,
    Text,
    ThreadedUpstream,
    Usage,
    scenario,
)
from tests.gateway.talking import DIALECTS, JSON, PATHS, Said, ask, say
from tests.serving import Served, serving, upstream

SPLITS = ("bytes:1", "bytes:7", "event", "whole")
KEY = "gw-key-0123456789"
SHOWN = ("authorization", f"Bearer {KEY}")


@pytest.fixture(scope="module")
def upstreams() -> Iterator[dict[str, ThreadedUpstream]]:
    servers = {split: ScriptedUpstream.in_thread(split=split) for split in SPLITS}
    with servers["bytes:1"], servers["bytes:7"], servers["event"], servers["whole"]:
        yield servers


@pytest.fixture(scope="module")
def gateway(upstreams: dict[str, ThreadedUpstream]) -> Iterator[Served]:
    providers = {
        f"{dialect}-{split.replace(':', '-')}": upstream(server.url, dialect)
        for dialect in DIALECTS
        for split, server in upstreams.items()
    }
    targets = {"scripted": "messages-event/scripted", "scripted-chat": "chat-event/scripted-chat"}
    models = {**targets, "big": targets["scripted"], "big-chat": targets["scripted-chat"]}
    with serving({"providers": providers, "models": models, "keys": [KEY]}) as served:
        yield served


@pytest.fixture
def scripted(upstreams: dict[str, ThreadedUpstream]) -> ThreadedUpstream:
    return upstreams["event"]


def sent(scripted: ThreadedUpstream) -> Request:
    return scripted.requests[-1]


# ---------------------------------------------------------------- requests

ODD = (
    b'\r\n{ "future" : {"b":1,"a" :[ 1.0, 1e5, 1E+05, -0.0, 123456789012345678901234567890, 0.1000 ] },\t"model":"%s" ,\n'
    b' "messages":[ {"role":"user","content":[{"type":"text","t":"\\u00e9 \\ud83d\\ude00 \xc3\xa9 \\/ \\"model\\":\\"%s\\""},'
    b'{"type":"future_block","z":null,"model":"%s"}]} ] ,"top_k":5,"metadata":{"model":"%s"},"stream":false,\t"a":[ ] }\n'
)


@pytest.mark.parametrize(("dialect", "model"), [("messages", b"scripted"), ("chat", b"scripted-chat")])
def test_a_request_body_goes_through_byte_for_byte(
    gateway: Served, scripted: ThreadedUpstream, dialect: str, model: bytes
) -> None:
    body = ODD % (model, model, model, model)
    assert say(gateway, "POST", PATHS[dialect], [JSON, SHOWN], body).status == 200
    assert sent(scripted).body == body


@pytest.mark.parametrize(
    ("dialect", "alias", "model"), [("messages", b"big", b"scripted"), ("chat", b"big-chat", b"scripted-chat")]
)
def test_under_an_alias_only_the_value_of_the_model_changes(
    gateway: Served, scripted: ThreadedUpstream, dialect: str, alias: bytes, model: bytes
) -> None:
    assert say(gateway, "POST", PATHS[dialect], [JSON, SHOWN], ODD % (alias, alias, alias, alias)).status == 200
    assert sent(scripted).body == ODD % (model, alias, alias, alias)


def test_request_headers_are_an_open_list(gateway: Served, scripted: ThreadedUpstream) -> None:
    kept = [
        ("anthropic-version", "2023-06-01"),
        ("anthropic-beta", "one-2026-01-01,two-2026-02-02"),
        ("anthropic-beta", "three-2026-03-03"),
        ("user-agent", "claude-cli/3.1.4 (external, cli)"),
        ("x-app", "cli"),
        ("x-stainless-retry-count", "0"),
        ("x-unknown", 'späte  Werte, "quoted"'.encode().decode("latin-1")),
        ("accept", "application/json"),
        ("cookie", "a=1; b=2"),
    ]
    dropped = [
        SHOWN,
        ("connection", "keep-alive, x-hop"),
        ("x-hop", "ends here"),
        ("keep-alive", "timeout=5"),
        ("te", "trailers"),
        ("proxy-authorization", "Basic eDp5"),
        ("accept-encoding", "gzip, br"),
        ("x-dragoman-strict", "false"),
    ]
    body = b'{"model":"scripted","max_tokens":5,"messages":[]}'
    say(gateway, "POST", PATHS["messages"], [JSON, *kept, *dropped], body)
    request = sent(scripted)
    own = {"host", "content-length", "accept-encoding", "x-api-key", "connection", "authorization"}
    assert [pair for pair in request.headers if pair[0].lower() not in own] == [JSON, *kept]
    assert request.header("host") == f"127.0.0.1:{scripted.port}"
    assert request.header("accept-encoding") == "identity"
    credentials = [pair for pair in request.headers if pair[0].lower() in {"authorization", "x-api-key"}]
    assert credentials == [("x-api-key", "sk-upstream")]
    assert KEY not in str(request.headers)


def test_the_query_goes_along_in_the_callers_own_dialect_only(gateway: Served, scripted: ThreadedUpstream) -> None:
    body = b'{"model":"scripted","max_tokens":5,"messages":[{"role":"user","content":"x"}]}'
    say(gateway, "POST", "/v1/messages?beta=true&x=%41+b&x", [JSON, SHOWN], body)
    assert sent(scripted).target == "/v1/messages?beta=true&x=%41+b&x"
    say(gateway, "POST", "/v1/messages?beta=true", [JSON, SHOWN], body.replace(b"scripted", b"scripted-chat"))
    assert sent(scripted).target == "/v1/chat/completions"


# ---------------------------------------------------------------- answers

LONG = ("text-long", "tools-large-arguments", "endless-10k", "text-large-event")


def rendered(dialect: str, one: Scenario, *, stream: bool) -> bytes:
    return VOICES[dialect].render(one, Ask(f"scenario:{one.name}", stream, include_usage=False)).body


def whole(dialect: str, one: Scenario, *, stream: bool) -> bool:
    """An answer with status 200, in which nothing goes wrong."""
    answer = VOICES[dialect].render(one, Ask(stream=stream))
    return (
        answer.status == 200
        and answer.head is None
        and all(isinstance(part, bytes) for part in answer.parts)
        and one.expected is not None
        and one.expected.error is None
    )


STREAMS = [
    (d, one.name)
    for d in DIALECTS
    for one in SCENARIOS.values()
    if d in one.dialects and whole(d, one, stream=True) and one.name != "tools-large-arguments"  # slow, and nothing new
]
BODIES = [
    (d, one.name)
    for d in DIALECTS
    for one in SCENARIOS.values()
    if d in one.dialects and one.unary and whole(d, one, stream=False)
]


@pytest.mark.parametrize(("dialect", "name"), STREAMS)
def test_a_streamed_answer_goes_through_byte_for_byte(gateway: Served, dialect: str, name: str) -> None:
    body = rendered(dialect, SCENARIOS[name], stream=True)
    for split in ("bytes-7", "event", "whole") if name not in LONG else ("event",):
        said = ask(gateway, dialect, f"{dialect}-{split}/scenario:{name}", headers=[SHOWN])
        assert (said.status, said.whole) == (200, True)
        assert said.body == body


@pytest.mark.parametrize("name", ["text", "style-crlf", "style-cr", "style-no-last-blank", "comments", "unicode", "tools-two"])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_stream_that_comes_byte_by_byte_goes_through_byte_for_byte(gateway: Served, dialect: str, name: str) -> None:
    said = ask(gateway, dialect, f"{dialect}-bytes-1/scenario:{name}", headers=[SHOWN])
    assert said.body == rendered(dialect, SCENARIOS[name], stream=True)


@pytest.mark.parametrize(("dialect", "name"), BODIES)
def test_a_whole_answer_goes_through_byte_for_byte(gateway: Served, dialect: str, name: str) -> None:
    split = "event" if name in LONG else "bytes-7"
    said = ask(gateway, dialect, f"{dialect}-{split}/scenario:{name}", stream=False, headers=[SHOWN])
    assert said.status == 200
    assert said.body == rendered(dialect, SCENARIOS[name], stream=False)


STRANGE = scenario(
    "strange",
    RawFrame(b": a comment before anything\n\n"),
    RawFrame(b"retry: 3000\r\nid: 7\r\n\r\n"),
    RawFrame(b'event: from_the_future\ndata: {"type" : "from_the_future",  "n": 1.0 }\nid: 8\n\n'),
    Text("Hello"),
    RawFrame(b"data:\ndata\n\n:\n\nunknown: field\n\n"),
    RawFrame(b"data: {}\r\r"),
    Usage(input=1, output=1),
    Finish(),
)


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_comments_unknown_events_ids_and_line_ends_are_kept(
    gateway: Served, upstreams: dict[str, ThreadedUpstream], dialect: str, split: str
) -> None:
    upstreams[split].script(STRANGE)
    said = ask(gateway, dialect, f"{dialect}-{split.replace(':', '-')}/m", headers=[SHOWN])
    assert said.whole
    assert said.body == VOICES[dialect].render(STRANGE, Ask("m", True, include_usage=False)).body


AFTER = scenario("after", Text("Hello"), Usage(input=1, output=1), Finish())


@pytest.mark.parametrize("dialect", DIALECTS)
def test_what_follows_the_last_event_is_kept(gateway: Served, scripted: ThreadedUpstream, dialect: str) -> None:
    body = VOICES[dialect].render(AFTER, Ask("m", True, include_usage=False)).body + b": cost 0.1\n\n: half a comment"
    path = "/after" + PATHS[dialect]
    scripted.on(path, 200, body, [("content-type", "text/event-stream")])
    config = {"providers": {"after": upstream(f"{scripted.url}/after", dialect)}}
    with serving(config) as served:
        assert ask(served, dialect, "after/m").body == body


def answered(gateway: Served, scripted: ThreadedUpstream, one: Scenario, *, stream: bool) -> Said:
    scripted.script(one)
    return ask(gateway, "messages", "messages-event/m", stream=stream, headers=[SHOWN])


HEADERS = (
    ("request-id", "req_011CUpstream"),
    ("anthropic-ratelimit-requests-remaining", "41"),
    ("anthropic-ratelimit-unified-status", "allowed"),
    ("x-ratelimit-limit-tokens", "1000"),
    ("set-cookie", "a=1; Path=/"),
    ("set-cookie", "b=2"),
    ("x-unknown", 'w/ "quotes", commas'),
    ("cf-ray", "88-FRA"),
    ("openai-processing-ms", "12"),
)


@pytest.mark.parametrize("stream", [True, False])
def test_answer_headers_are_an_open_list(gateway: Served, scripted: ThreadedUpstream, stream: bool) -> None:
    hop = (("keep-alive", "timeout=9"), ("x-hop", "gone"), ("connection", "keep-alive, x-hop"), ("x-dragoman-model", "theirs"))
    one = scenario("headers", Text("Hello"), Usage(input=1, output=1), Finish(), headers=(*HEADERS, *hop))
    said = answered(gateway, scripted, one, stream=stream)
    rendered_headers = VOICES["messages"].render(one, Ask(stream=stream)).headers
    passed = [pair for pair in rendered_headers if pair not in hop]
    assert [pair for pair in said.headers if pair in rendered_headers] == passed
    assert said.header("x-hop") is None
    assert said.header("x-dragoman-model") == "m"
    assert [value for name, value in said.headers if name == "request-id"].count("req_011CUpstream") == 1


# ---------------------------------------------------------------- errors

ERRORS = [(d, one.name) for d in DIALECTS for one in SCENARIOS.values() if d in one.dialects and one.name.startswith("http-")
          and VOICES[d].render(one, Ask()).status >= 400 and one.name != "http-401"]  # fmt: skip


@pytest.mark.parametrize(("dialect", "name"), ERRORS)
@pytest.mark.parametrize("stream", [True, False])
def test_an_error_goes_through_with_its_status_its_headers_and_its_bytes(
    gateway: Served, dialect: str, name: str, stream: bool
) -> None:
    said = ask(gateway, dialect, f"{dialect}-event/scenario:{name}", stream=stream, headers=[SHOWN])
    wanted = VOICES[dialect].render(SCENARIOS[name], Ask(f"scenario:{name}", stream))
    assert said.status == wanted.status
    assert said.body == wanted.body
    assert [pair for pair in said.headers if pair in wanted.headers] == list(wanted.headers)


def test_a_subscriptions_limit_reaches_the_client_unchanged(gateway: Served) -> None:
    said = ask(gateway, "messages", "messages-event/scenario:http-429-quota", headers=[SHOWN])
    assert said.status == 429
    assert said.header("retry-after") == "287441"
    assert said.header("anthropic-ratelimit-unified-status") == "rejected"
    assert said.header("x-should-retry") == "true"
    assert said.json["error"]["type"] == "rate_limit_error"
    assert said.json["request_id"] == "req_011CScripted"
