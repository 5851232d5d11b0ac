"""What may be looked at, and what is taken out, where Chat goes to Chat untouched."""

from __future__ import annotations

import json
from typing import Any, TypeAlias

import msgspec
import pytest

from dragoman.dialects.base import Sniff
from dragoman.dialects.chat import CHAT
from dragoman.ir import carrier
from dragoman.ir.request import Reasoning, Seal
from dragoman.ir.usage import Usage
from dragoman.wire.sse import Frame

Json: TypeAlias = dict[str, Any]


def delta(**fields: Any) -> bytes:
    return json.dumps({"choices": [{"index": 0, "delta": fields, "finish_reason": None}]}).encode()


SNIFFED: list[tuple[str, bytes, Sniff]] = [
    ("", delta(role="assistant", content=""), "wait"),
    ("", delta(role="assistant", content=None, tool_calls=None), "wait"),
    ("", delta(content="a"), "content"),
    ("", delta(reasoning_content="t"), "content"),
    ("", delta(reasoning="t"), "content"),
    ("", delta(refusal="no"), "content"),
    ("", delta(tool_calls=[{"index": 0}]), "content"),
    ("", delta(audio={"id": "x"}), "content"),
    ("", b'{"choices":[{"delta":{},"finish_reason":"stop"}]}', "content"),
    ("", b'{"choices":[]}', "wait"),
    ("", b'{"choices":[],"usage":{}}', "wait"),
    ("", b"[DONE]", "wait"),
    ("", b"", "wait"),
    ("", b"[]", "wait"),
    ("", b'{"error":{"message":"m"}}', "error"),
    ("", b'{"error":{"message":"m"},"choices":[{"delta":{"content":""},"finish_reason":"error"}]}', "error"),
    ("", b'{"choices":[{"delta":{},"finish_reason":"error"}]}', "error"),
    ("", b'{"object":"error","message":"m"}', "error"),
    ("", b"<html>", "error"),
    ("error", b'{"message":"m"}', "error"),
]


@pytest.mark.parametrize(("event", "data", "expected"), SNIFFED)
def test_a_frame_shows_content_an_error_or_nothing_yet(event: str, data: bytes, expected: Sniff) -> None:
    assert CHAT.sniff(Frame(event, data)) == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"error":{"message":"m"}}', True),
        (b'{"error":"m","choices":null}', True),
        (b'{"error":{"message":"m"},"choices":[]}', True),
        (b'{"object":"error","message":"m"}', True),
        (b'{"error":null,"choices":[{"message":{"content":"a"}}]}', False),
        (b'{"choices":[{"message":{"content":"a"}}]}', False),
        (b'{"error":{"message":"m"},"choices":[{"message":{"content":"a"}}]}', False),
        (b"{}", False),
        (b"[]", False),
        (b"", False),
    ],
)
def test_an_error_in_a_200_is_seen(body: bytes, expected: bool) -> None:
    assert CHAT.error_in_body(body) is expected


USED = b'{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15}'
COUNTED = Usage(input=10, output=5)
BODY = b'{"id":"1","choices":[{"message":{"content":"say \\"usage\\": {\\"prompt_tokens\\": 9}"}}],"usage":' + USED + b"}"


@pytest.mark.parametrize(
    ("head", "tail", "expected"),
    [
        (BODY, BODY, COUNTED),
        (BODY[:30], BODY[-120:], COUNTED),
        (b'{"usage": ' + USED + b',"choices":[', b'"}}]}', COUNTED),
        (b"", b'data: {"choices":[],"usage":' + USED + b"}\n\ndata: [DONE]\n\n", COUNTED),
        (b"", b'data: {"usage":' + USED + b'}\n\ndata: {"usage":null}\n\n', COUNTED),
        (b"", b'{"usage":{"prompt_tokens":1,"completion_tokens":1}}\n{"usage":' + USED + b"}", COUNTED),
        (b"", b'{"x_groq":{"id":"r","usage":' + USED + b"}}", COUNTED),
        (b"", b'{"usage":{"prompt_tok', None),
        (b"", b'{"usage":{}}', None),
        (b"", b"", None),
    ],
)
def test_usage_is_read_off_the_ends(head: bytes, tail: bytes, expected: Usage | None) -> None:
    assert CHAT.usage_of(head, tail) == expected


@pytest.mark.parametrize(
    ("events", "closed", "expected"),
    [
        (b"\ndata: [DONE]\n\n", False, True),
        (b"\r\ndata:[DONE]\r\n\r\n", False, True),
        (b'\ndata: {"choices":[{"finish_reason":"stop"}]}\n\n', True, True),
        (b'\ndata: {"choices":[{"finish_reason" : "stop"}]}\n\n', True, True),
        (b'\ndata: {"choices":[{"finish_reason":"stop"}]}\n\n', False, False),
        (b'\ndata: {"choices":[{"delta":{"content":"data: [DONE]"},"finish_reason":null}]}\n\n', True, False),
        (b'\ndata: {"choices":[{"delta":{"content":"\\"finish_reason\\":\\"stop\\""}}]}\n\n', True, False),
    ],
)
def test_the_end_of_a_whole_stream_is_known(events: bytes, closed: bool, expected: bool) -> None:
    assert CHAT.ends(events, closed=closed) is expected


# ---------------------------------------------------------------- scrub

FOREIGN = Reasoning(text="t", seal=Seal("sig", "anthropic", "messages"))
ITEM = {"type": "reasoning.text", "text": "t", "signature": "native", "index": 0}
OWN = Reasoning(text="t", seal=Seal(msgspec.json.encode(ITEM).decode(), "openrouter", "chat"))


def scrubbed(message: Json, issuer: str = "openrouter") -> Json:
    out = CHAT.scrub(json.dumps({"model": "m", "messages": [message]}).encode(), issuer)
    assert b"dgm1-" not in out
    return json.loads(out)["messages"][0]


def test_a_body_without_carriers_is_the_same_object() -> None:
    body = b'{ "model" : "m", "messages": [ {"role":"user","content":"dgm"} ] }'
    assert CHAT.scrub(body, "x") is body


def test_ids_lose_what_rode_in_them_and_every_other_byte_stays() -> None:
    riding = carrier.attach("toolu_1", [FOREIGN])
    body = b'{ "messages": [ {"tool_calls":[{"id":"%s"}]} , {"tool_call_id" : "%s"} ], "x":1.50 }'
    out = CHAT.scrub(body % (riding.encode(), riding.encode()), "openai")
    assert out == body % (b"toolu_1", b"toolu_1")


def test_an_escaped_id_gets_its_own_form_back() -> None:
    body = b'{ "tool_call_id" : "%s" , "x": "\\"dgmid-no\\"" }'
    out = CHAT.scrub(body % carrier.safe_id('functions.Bash:0"').encode(), "openai")
    assert out == body % b'functions.Bash:0\\"'


def item(part: Reasoning) -> Json:
    return {"type": "reasoning.text", "text": part.text, "signature": carrier.pack([part]), "format": "dragoman-v1", "index": 0}


def test_another_provider_s_thinking_is_taken_out() -> None:
    message = {"role": "assistant", "content": "a", "reasoning_content": "t", "reasoning_details": [item(FOREIGN)]}
    assert scrubbed(message) == {"role": "assistant", "content": "a", "reasoning_content": "t"}


def test_thinking_goes_back_to_its_own_provider_as_it_was() -> None:
    message = {"role": "assistant", "content": "a", "reasoning_details": [item(FOREIGN), item(OWN), {"type": "other"}]}
    assert scrubbed(message)["reasoning_details"] == [ITEM, {"type": "other"}]
    assert scrubbed(message, "somebody")["reasoning_details"] == [{"type": "other"}]


def test_messages_without_carriers_keep_their_bytes() -> None:
    plain = b'{ "role":"user" , "content": 1.50 }'
    carrying = json.dumps({"role": "assistant", "reasoning_details": [item(FOREIGN)]}).encode()
    out = CHAT.scrub(b'{"z": {"k" : 1 }, "messages":[' + plain + b"," + carrying + b"]}", "x")
    assert out == b'{"z":{"k" : 1 },"messages":[' + plain + b',{"role":"assistant"}]}'


@pytest.mark.parametrize("body", [b'{"messages":"dgm1-', b'{"messages":["dgm1-x"]}', b'{"x":"dgm1-x"}', b'"dgm1-'])
def test_what_cannot_be_read_is_left_alone(body: bytes) -> None:
    assert CHAT.scrub(body, "x") == body


def test_the_dialect_says_who_it_is() -> None:
    assert (CHAT.name, CHAT.path, CHAT.id_prefix) == ("chat", "/v1/chat/completions", "chatcmpl-")
