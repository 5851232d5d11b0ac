"""What is asked, what is answered, and whether an answer is right."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from bench.answers import answer_files
from bench.contestant import DIALECTS
from bench.exchanges import (
    CHAT_MODEL,
    KEY,
    MESSAGES_MODEL,
    MODELS,
    STAMP,
    UPSTREAMS,
    Dialect,
    Upstream,
    body,
    request,
    what_is_wrong,
)
from dragoman.wire.eventstream import MessageReader

BENCH = Path(__file__).parents[2] / "bench"


def test_small_requests_are_a_kilobyte() -> None:
    for dialect in DIALECTS:
        assert 900 <= len(body(dialect)) <= 1100


def test_the_large_request_is_sixty_six_kilobytes_with_twenty_tools() -> None:
    large = body("messages", "large")
    assert 64_000 <= len(large) <= 68_000
    tree = json.loads(large)
    assert len({tool["name"] for tool in tree["tools"]}) == 20
    assert len(tree["messages"]) == 9


def test_a_body_is_the_same_each_time() -> None:
    assert body("messages", "large") == body("messages", "large")


def test_a_stream_is_asked_for_with_its_script() -> None:
    asked = body("chat", events=100, pace=10)
    assert json.loads(asked)["stream"] is True
    assert b"events=100 pace=10" in asked
    assert json.loads(body("chat"))["stream"] is False


def test_the_large_request_is_the_same_in_chat() -> None:
    tree = json.loads(body("chat", "large"))
    assert 60_000 <= len(body("chat", "large")) <= 68_000
    assert len(tree["tools"]) == 20
    assert [message["role"] for message in tree["messages"]] == ["system", "user", *["assistant", "tool"] * 4]
    assert tree["messages"][2]["tool_calls"][0]["id"] == tree["messages"][3]["tool_call_id"]


def test_a_request_on_the_wire_says_the_length_of_its_body() -> None:
    head, _, content = request("messages", 4000, body("messages")).partition(b"\r\n\r\n")
    assert f"Content-Length: {len(content)}".encode() in head.split(b"\r\n")


def _text(stream: bytes) -> bytes:
    """The payload of a chunked body."""
    payload = b""
    while stream:
        size, _, rest = stream.partition(b"\r\n")
        payload += rest[: int(size, 16)]
        stream = rest[int(size, 16) + 2 :]
    return payload


def _streamed(events: int, upstream: Upstream = "chat") -> bytes:
    files = answer_files(upstream)
    return _text(files["begin.http"].partition(b"\r\n\r\n")[2] + files["event.http"] * events + files["end.http"])


@pytest.mark.parametrize("upstream", DIALECTS)
def test_the_answers_of_the_upstreams_are_right(upstream: Dialect) -> None:
    whole = answer_files(upstream)["whole.http"].partition(b"\r\n\r\n")[2]
    assert what_is_wrong(upstream, 0, "application/json", whole) == ""
    assert what_is_wrong(upstream, 7, "text/event-stream; charset=utf-8", _streamed(7, upstream)) == ""


def test_the_event_stream_of_converse_has_right_checksums() -> None:
    said = MessageReader().feed(_streamed(3, "converse"))
    kinds = [message.text(":event-type") for message in said]
    assert kinds == ["messageStart", *["contentBlockDelta"] * 3, "contentBlockStop", "messageStop", "metadata"]
    assert json.loads(said[1].payload)["delta"]["text"] == STAMP


@pytest.mark.parametrize("upstream", UPSTREAMS)
def test_each_event_has_one_mark_and_nothing_else_has_any(upstream: Upstream) -> None:
    files = answer_files(upstream)
    assert {name: content.count(b"~") for name, content in files.items()} == {
        "whole.http": 1, "begin.http": 0, "event.http": 1, "end.http": 0,
    }  # fmt: skip


def test_a_stream_that_lacks_an_event_is_wrong() -> None:
    assert "the text is wrong" in what_is_wrong("chat", 8, "text/event-stream", _streamed(7))


def test_a_stream_that_is_no_event_stream_is_wrong() -> None:
    assert "a stream was asked for" in what_is_wrong("chat", 7, "application/json", _streamed(7))


@pytest.mark.parametrize("answer", [b"", b"{}", b"[1]", b"<html>", b'{"choices": []}'])
def test_an_answer_that_cannot_be_read_is_wrong(answer: bytes) -> None:
    assert "cannot be read" in what_is_wrong("chat", 0, "application/json", answer)


def test_a_stream_of_messages_is_read_by_its_text_deltas() -> None:
    deltas = [{"type": "text_delta", "text": STAMP}, {"type": "input_json_delta", "partial_json": "{}"}]
    events = [{"type": "message_start"}, *({"type": "content_block_delta", "delta": delta} for delta in deltas)]
    stream = "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events).encode()
    assert what_is_wrong("messages", 1, "text/event-stream", stream) == ""


def test_every_gateway_is_configured_for_the_key_and_the_model_that_are_sent() -> None:
    ours = yaml.safe_load((BENCH / "dragoman.yaml").read_text())
    assert ours["keys"][0]["key"] == KEY
    assert list(ours["models"]) == list(MODELS.values())
    theirs = yaml.safe_load((BENCH / "peers" / "litellm.yaml").read_text())
    assert theirs["general_settings"]["master_key"] == KEY
    assert [model["model_name"] for model in theirs["model_list"]] == [CHAT_MODEL, MESSAGES_MODEL]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_key_is_sent_where_the_dialect_has_it(dialect: Dialect) -> None:
    assert KEY.encode() in request(dialect, 4000, b"{}")
