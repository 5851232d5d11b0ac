from __future__ import annotations

import json
import time
from typing import Any

import pytest

from dragoman.dialects.base import ModelCard, Reply
from dragoman.dialects.messages import MESSAGES
from dragoman.errors import BodyTooLarge, Category, DragomanError, MalformedBody, UpstreamGarbled, UpstreamRefused
from dragoman.ir import carrier
from dragoman.ir.events import Choice, Close, Delta, Event, Fault, Finish, Open, Response, fold
from dragoman.ir.losses import Ledger
from dragoman.ir.request import Citation, Reasoning, Refusal, Request, Seal, Text, ToolCall
from dragoman.ir.usage import Usage
from dragoman.wire.sse import Frame, SseParser


def encoded(*parts: Any, reason: str = "stop", usage: Usage | None = None, issuer: str = "deepseek") -> dict[str, Any]:
    reply = Reply(Request(model="m", dialect="messages"), "m", 0, "msg_x", 9, issuer, Ledger())
    choice = Choice(list(parts), Finish(reason))  # type: ignore[arg-type]
    return json.loads(MESSAGES.encode_response(Response("", "", [choice], usage), reply))


def test_an_answer_has_the_full_shape() -> None:
    assert encoded(Text(text="hi"), usage=Usage(input=3, cache_read=2, cache_write=1, output=4, reasoning=5)) == {
        "id": "msg_x",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [{"type": "text", "text": "hi"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": 3,
            "cache_creation_input_tokens": 1,
            "cache_read_input_tokens": 2,
            "cache_creation": {"ephemeral_5m_input_tokens": 1, "ephemeral_1h_input_tokens": 0},
            "output_tokens": 9,
            "output_tokens_details": {"thinking_tokens": 5},
            "server_tool_use": None,
            "service_tier": None,
        },
    }


def test_where_nobody_counted_there_is_an_estimate() -> None:
    usage = encoded(Text(text="x" * 40))["usage"]
    assert (usage["input_tokens"], usage["output_tokens"]) == (9, 10)


def test_thinking_of_another_provider_is_signed_with_a_token_that_says_whose() -> None:
    block = encoded(Reasoning(text="hm"), Text(text="a"))["content"][0]
    assert block["type"] == "thinking"
    held = carrier.unpack(block["signature"])
    assert held is not None
    assert held[0].seal == Seal("", "deepseek", "")
    own = encoded(Reasoning(text="hm", seal=Seal("sig", "anthropic", "messages")))["content"][0]
    assert own["signature"] == "sig"


def test_a_refusal_is_a_text_and_a_reason() -> None:
    message = encoded(Refusal(text="I won't."))
    assert message["content"] == [{"type": "text", "text": "I won't."}]
    assert message["stop_reason"] == "refusal"
    assert message["stop_details"]["type"] == "refusal"


def test_a_cited_page_is_a_citation() -> None:
    block = encoded(Text(text="It rains.", citations=[Citation(url="https://w", title="W", start=0, end=2)]))["content"][0]
    assert block["citations"] == [
        {"type": "web_search_result_location", "cited_text": "It", "encrypted_index": "", "title": "W", "url": "https://w"}
    ]


def test_an_input_keeps_its_bytes_on_the_way_to_other_dialects() -> None:
    body = b'{"type":"message","id":"i","model":"m","content":[{"type":"tool_use","id":"t","name":"f","input":{ "a": 1.0}}],' \
           b'"stop_reason":"end_turn","usage":{"input_tokens":1,"output_tokens":2}}'  # fmt: skip
    answer = MESSAGES.decode_response(body, "anthropic")
    call = answer.choices[0].parts[0]
    assert isinstance(call, ToolCall)
    assert call.arguments == '{ "a": 1.0}'
    assert answer.choices[0].finish.reason == "tool_calls"


def test_half_a_character_does_not_cost_the_whole_answer() -> None:
    body = b'{"type":"message","content":[{"type":"text","text":"a\\ud83d b"},{"type":"tool_use","id":"t","name":"f",' \
           b'"input":{"x":"\\ud83d\\ude00\\udc00"}}],"usage":{"input_tokens":1,"output_tokens":2,"score":NaN}}'  # fmt: skip
    text, call = MESSAGES.decode_response(body, "anthropic").choices[0].parts
    assert text == Text(text="a\ufffd b")
    assert isinstance(call, ToolCall)
    assert json.loads(call.arguments) == {"x": "\U0001f600\ufffd"}


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b"{}", b'{"type":"error"}', b'{"content":3}', b'{"content":[{"type":"tool_use"}]}']
)
def test_what_is_no_message_is_garbled(body: bytes) -> None:
    with pytest.raises(UpstreamGarbled):
        MESSAGES.decode_response(body, "anthropic")


ERRORS: list[tuple[Category, int, str]] = [
    ("invalid_request", 400, "invalid_request_error"), ("authentication", 401, "authentication_error"),
    ("permission", 403, "permission_error"), ("not_found", 404, "not_found_error"), ("too_large", 413, "request_too_large"),
    ("rate_limit", 429, "rate_limit_error"), ("internal", 500, "api_error"), ("unavailable", 502, "api_error"),
    ("timeout", 504, "timeout_error"), ("overloaded", 529, "overloaded_error"),
]  # fmt: skip


@pytest.mark.parametrize(("category", "status", "kind"), ERRORS)
def test_each_kind_of_error_has_its_status_and_type(category: Category, status: int, kind: str) -> None:
    told = MESSAGES.encode_error(DragomanError("why", category=category, retry_after=1.2), "req_1")
    assert told.status == status
    assert json.loads(told.body) == {"type": "error", "error": {"type": kind, "message": "why"}, "request_id": "req_1"}
    assert dict(told.headers)["retry-after"] == "2"


def test_a_too_large_body_is_413() -> None:
    assert MESSAGES.encode_error(BodyTooLarge("big"), "r").status == 413


@pytest.mark.parametrize(
    ("status", "body", "category", "words"),
    [
        (429, b'{"type":"error","error":{"type":"rate_limit_error","message":"slow"}}', "rate_limit", "slow"),
        (529, b'{"type":"error","error":{"type":"overloaded_error","message":"busy"}}', "overloaded", "busy"),
        (0, b'{"type":"error","error":{"type":"overloaded_error","message":"busy"}}', "overloaded", "busy"),
        (0, b'{"type":"error","error":{"type":"api_error","message":"oops"}}', "internal", "oops"),
        (400, b'{"error":{"type":"billing_error","message":"pay"}}', "billing", "pay"),
        (404, b'{"error":{"type":"invalid_request_error","message":"gone"}}', "not_found", "gone"),
        (502, b"<html>Bad Gateway</html>", "unavailable", "Bad Gateway"),
        (500, b"", "internal", "status 500"),
        (503, b'{"message":"later"}', "overloaded", "later"),
    ],
)
def test_a_providers_error_is_understood(status: int, body: bytes, category: str, words: str) -> None:
    error = MESSAGES.decode_error(status, {"retry-after": "7"}, body, "p")
    assert isinstance(error, UpstreamRefused)
    assert error.category == category
    assert words in str(error)
    assert error.retry_after == 7
    assert error.status >= 400


@pytest.mark.parametrize(
    ("frame", "verdict"),
    [
        (Frame("message_start", b"{}"), "wait"),
        (Frame("ping", b"{}"), "wait"),
        (Frame("brand_new", b"{}"), "wait"),
        (Frame("content_block_start", b'{"content_block":{"type":"text","text":""}}'), "wait"),
        (Frame("content_block_start", b'{"content_block":{"type":"tool_use","id":"1"}}'), "content"),
        (Frame("content_block_delta", b"{}"), "content"),
        (Frame("", b'{"type":"content_block_delta"}'), "content"),
        (Frame("message_stop", b"{}"), "content"),
        (Frame("error", b"{}"), "error"),
        (Frame("", b"not json"), "content"),
    ],
)
def test_a_frame_tells_whether_there_is_something_to_see(frame: Frame, verdict: str) -> None:
    assert MESSAGES.sniff(frame) == verdict


def test_usage_is_read_off_both_ends_of_a_verbatim_stream() -> None:
    head = b'event: message_start\ndata: {"type":"message_start","message":{"usage":{"input_tokens":5,"cache_read_input_tokens":2,"output_tokens":1}}}\n\n'  # noqa: E501
    tail = b'garbage"}\n\nevent: message_delta\ndata: {"type":"message_delta","usage":{"output_tokens":9}}\n\n'
    assert MESSAGES.usage_of(head, tail) == Usage(input=5, cache_read=2, output=9)
    assert MESSAGES.usage_of(b'{"usage":{"input_tokens":1,"output_tokens":2}}', b"") == Usage(input=1, output=2)
    assert MESSAGES.usage_of(b"{broken", b"") is None


def test_scrubbing_takes_out_our_carriers_and_nothing_else() -> None:
    token = carrier.pack([Reasoning(seal=Seal("", "deepseek", ""))])
    loaded = carrier.attach("t1", [Reasoning(seal=Seal("x", "openai", "chat"))])
    body = {
        "model": "m",
        "messages": [
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "hm", "signature": token},
                {"type": "thinking", "thinking": "own", "signature": "sig"},
                {"type": "tool_use", "id": loaded, "name": "f", "input": {}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": loaded, "content": "1"}]},
            {"role": "assistant", "content": [{"type": "thinking", "thinking": "only", "signature": token}]},
            {"role": "user", "content": "more"},
        ],
    }  # fmt: skip
    scrubbed = json.loads(MESSAGES.scrub(json.dumps(body).encode(), "anthropic"))
    assert scrubbed["messages"] == [
        {"role": "assistant", "content": [
            {"type": "thinking", "thinking": "own", "signature": "sig"},
            {"type": "tool_use", "id": "t1", "name": "f", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "1"}]},
        {"role": "user", "content": "more"},
    ]  # fmt: skip


CARDS = [ModelCard(id=f"m{number}", display_name=f"M {number}", owner="o", created=1_700_000_000) for number in range(5)]


@pytest.mark.parametrize(
    ("query", "ids", "more"),
    [
        ({}, ["m0", "m1", "m2", "m3", "m4"], False),
        ({"limit": "2"}, ["m0", "m1"], True),
        ({"limit": "2", "after_id": "m1"}, ["m2", "m3"], True),
        ({"limit": "2", "after_id": "m2"}, ["m3", "m4"], False),
        ({"limit": "2", "before_id": "m3"}, ["m1", "m2"], True),
        ({"limit": "1000"}, ["m0", "m1", "m2", "m3", "m4"], False),
    ],
)
def test_model_lists_come_in_pages(query: dict[str, str], ids: list[str], more: bool) -> None:
    page = json.loads(MESSAGES.encode_models(CARDS, query))
    assert [model["id"] for model in page["data"]] == ids
    assert (page["has_more"], page["first_id"], page["last_id"]) == (more, ids[0], ids[-1])


def test_a_wrong_limit_is_refused() -> None:
    with pytest.raises(MalformedBody, match="1 to 1000"):
        MESSAGES.encode_models(CARDS, {"limit": "0"})


# ---------------------------------------------------------------- streams of servers that imitate the API


def streamed(*events: dict[str, Any]) -> list[Event]:
    decoder = MESSAGES.stream_decoder("p")
    return [one for event in events for one in decoder.feed(Frame("", json.dumps(event).encode()))] + decoder.end()


def test_nothing_instead_of_a_text_is_an_empty_one() -> None:
    events = streamed(
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": None}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": None}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello"}},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}},
        {"type": "message_stop"},
    )
    assert fold(events).choices[0].parts == [Text(text="Hello")]


def test_an_error_in_another_apis_form_is_one_in_a_stream_too() -> None:
    error = {"error": {"message": "the router failed", "code": 503}}
    *_, fault = streamed({"type": "message_start", "message": {"id": "m"}}, error)
    assert isinstance(fault, Fault)
    assert (fault.error.message, fault.error.status) == ("the router failed", 503)
    assert MESSAGES.sniff(Frame("", json.dumps(error).encode())) == "error"


# ---------------------------------------------------------------- streams to clients


def inputs(*pieces: str, complete: bool = True) -> list[str]:
    """The pieces of a call's input, as they are streamed."""
    encoder = MESSAGES.stream_encoder(Reply(Request(model="m", dialect="messages"), "m", 0, "msg_x", 9, "p", Ledger()))
    events = [
        Open(0, ToolCall(id="c", name="f")),
        *(Delta(0, piece) for piece in pieces),
        Close(0, complete),
        Finish("tool_calls"),
    ]
    frames = SseParser().feed(b"".join(encoder.feed(event) for event in events))
    natives = [json.loads(frame.data) for frame in frames if frame.event == "content_block_delta"]
    return [native["delta"]["partial_json"] for native in natives]


@pytest.mark.parametrize(
    ("pieces", "complete", "expected"),
    [
        (['{"a"', ":1}"], True, ['{"a"', ":1}"]),
        ([" ", ' {"a"', ":1}"], True, ['  {"a"', ":1}"]),
        (['{"a"'], False, ['{"a"']),
        (["not", " JSON"], False, ["{}"]),
        (["x", '{"a":1}'], True, ["{}"]),
        (["[1, 2]"], True, ["{}"]),
        (["null"], True, ["{}"]),
        ([], True, []),
    ],
)
def test_an_input_that_can_become_no_object_is_not_streamed(pieces: list[str], complete: bool, expected: list[str]) -> None:
    assert inputs(*pieces, complete=complete) == expected


def test_an_input_that_is_held_back_costs_no_more_with_every_piece() -> None:
    before = time.process_time()
    assert inputs('"', *["word"] * 60_000) == ["{}"]
    assert time.process_time() - before < 2
