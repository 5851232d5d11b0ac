"""Whole answers, errors, and what is looked at in passing."""

from __future__ import annotations

import json
from typing import Any, TypeAlias

import pytest
from openai.types.responses import Response as SdkResponse

from dragoman.dialects.base import ModelCard, Reply, Sniff, Target
from dragoman.dialects.responses import RESPONSES
from dragoman.errors import DragomanError, MalformedBody, UnknownModel, UpstreamError, UpstreamGarbled, UpstreamRefused
from dragoman.ir import carrier
from dragoman.ir.events import Choice, Finish, Response
from dragoman.ir.losses import Ledger
from dragoman.ir.profile import Profile
from dragoman.ir.request import Message, Part, Reasoning, Refusal, Request, Seal, Text, ToolCall, ToolResult, Unknown
from dragoman.ir.usage import Usage
from dragoman.testing import read_responses
from dragoman.wire.sse import Frame

Json: TypeAlias = dict[str, Any]


def answer(*output: Json, **more: Any) -> bytes:
    body = {"id": "resp_1", "object": "response", "model": "m", "status": "completed", "error": None, "output": list(output)}
    return json.dumps({**body, **more}).encode()


def reply(request: Request | None = None) -> Reply:
    return Reply(request or Request(model="m", dialect="responses"), "m", 1, "resp_own", 5, "me", Ledger())


SAID: Json = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
              "content": [{"type": "output_text", "text": "Hi.", "annotations": []}]}  # fmt: skip
CALL: Json = {
    "type": "function_call",
    "id": "fc_1",
    "call_id": "c",
    "name": "go",
    "arguments": '{"a":1}',
    "status": "completed",
}

# ---------------------------------------------------------------- from an upstream

ITEMS: list[tuple[str, Json, list[Part]]] = [
    ("a text", SAID, [Text(text="Hi.")]),
    ("an empty text", {**SAID, "content": [{"type": "output_text", "text": ""}]}, []),
    ("a refusal", {**SAID, "content": [{"type": "refusal", "refusal": "No."}]}, [Refusal(text="No.")]),
    ("a call", CALL, [ToolCall(id="c", name="go", arguments='{"a":1}')]),
    (
        "a free-text call",
        {"type": "custom_tool_call", "call_id": "c", "name": "p", "input": "x"},
        [ToolCall(id="c", name="p", arguments="x", kind="custom")],
    ),
    (
        "sealed reasoning",
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "s"}], "encrypted_content": "gA"},
        [Reasoning(text="s", summary=True, seal=Seal("gA", "me", "responses"))],
    ),
    (
        "reasoning in its own words",
        {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "t"}]},
        [Reasoning(text="t")],
    ),
    ("reasoning that says nothing", {"type": "reasoning", "summary": []}, []),
    ("an item of its own tools", {"type": "web_search_call", "id": "ws"},
     [Unknown(native={"type": "web_search_call", "id": "ws"}, dialect="responses")]),
    ("an item without a type", {"id": "x"}, []),
]  # fmt: skip


@pytest.mark.parametrize(("native", "parts"), [case[1:] for case in ITEMS], ids=[case[0] for case in ITEMS])
def test_an_item_becomes_parts(native: Json, parts: list[Part]) -> None:
    assert RESPONSES.decode_response(answer(native), "me").choices[0].parts == parts


REASONS: list[tuple[list[Json], Json, str]] = [
    ([SAID], {}, "stop"),
    ([SAID, CALL], {}, "tool_calls"),
    ([{**SAID, "content": [{"type": "refusal", "refusal": "No."}]}], {}, "refusal"),
    ([SAID], {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}, "length"),
    ([SAID], {"status": "incomplete", "incomplete_details": {"reason": "content_filter"}}, "content_filter"),
    ([CALL], {"status": "incomplete"}, "length"),
    ([{**CALL, "arguments": '{"a'}], {}, "length"),
    ([{**CALL, "status": "incomplete"}], {}, "length"),
    ([SAID], {"status": None}, "stop"),
]


@pytest.mark.parametrize(("output", "more", "reason"), REASONS)
def test_why_an_answer_ended(output: list[Json], more: Json, reason: str) -> None:
    assert RESPONSES.decode_response(answer(*output, **more), "me").choices[0].finish.reason == reason


def test_usage_is_counted_once() -> None:
    native = {
        "input_tokens": 100,
        "input_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 10},
        "output_tokens": 30,
        "output_tokens_details": {"reasoning_tokens": 20},
        "total_tokens": 130,
    }
    found = RESPONSES.decode_response(answer(SAID, usage=native, tool_usage={"web_search": {"num_requests": 2}}), "me").usage
    assert found == Usage(input=30, cache_read=60, cache_write=10, output=10, reasoning=20, searches=2)
    beside = {**native, "total_tokens": 150}
    assert RESPONSES.decode_response(answer(SAID, usage=beside), "me").usage == Usage(
        input=30, cache_read=60, cache_write=10, output=30, reasoning=20
    )
    assert RESPONSES.decode_response(answer(SAID), "me").usage is None


BAD: list[tuple[bytes, type[UpstreamError], str]] = [
    (b"<html>", UpstreamGarbled, "unavailable"),
    (b"[]", UpstreamGarbled, "unavailable"),
    (b"{}", UpstreamGarbled, "unavailable"),
    (answer(status="in_progress"), UpstreamGarbled, "unavailable"),
    (answer(status="queued"), UpstreamGarbled, "unavailable"),
    (answer({**CALL, "name": ""}), UpstreamGarbled, "unavailable"),
    (answer(status="failed", error={"code": "rate_limit_exceeded", "message": "Slow."}), UpstreamRefused, "rate_limit"),
    (b'{"error":{"message":"Busy.","code":"server_is_overloaded"}}', UpstreamRefused, "overloaded"),
]


@pytest.mark.parametrize(("body", "kind", "category"), BAD)
def test_what_is_no_answer_is_refused(body: bytes, kind: type[UpstreamError], category: str) -> None:
    with pytest.raises(kind) as raised:
        RESPONSES.decode_response(body, "me")
    assert raised.value.category == category
    assert raised.value.provider == "me"


def test_halves_of_characters_do_not_survive() -> None:
    body = answer(SAID).replace(b"Hi.", rb"a\ud83d\ude00b\ud83d")
    assert RESPONSES.decode_response(body, "me").choices[0].parts == [Text(text="a😀b\ufffd")]


# ---------------------------------------------------------------- to a client


def test_a_whole_answer_is_valid_by_the_sdk() -> None:
    parts: list[Part] = [Reasoning(text="t"), Text(text="Hi."), ToolCall(id="c", name="go", arguments="{}")]
    response = Response("chatcmpl-1", "up", [Choice(parts, Finish("tool_calls"))], Usage(input=3, output=4))
    body = RESPONSES.encode_response(response, reply())
    native = SdkResponse.model_validate_json(body)
    assert (native.id, native.model, native.status, native.output_text) == ("resp_own", "up", "completed", "Hi.")
    assert [item.type for item in native.output] == ["reasoning", "message", "function_call"]
    assert read_responses(body).finish == "tool_calls"


def test_of_several_answers_the_first_is_told() -> None:
    to = reply()
    response = Response("", "", [Choice([Text(text="a")], Finish("stop")), Choice([Text(text="b")], Finish("stop"))])
    assert read_responses(RESPONSES.encode_response(response, to)).text == "a"
    assert [loss.path for loss in to.ledger.losses] == ["choices"]


def test_an_answer_without_any_choice_is_an_empty_one() -> None:
    assert read_responses(RESPONSES.encode_response(Response("", "", []), reply())).blocks == ()


# ---------------------------------------------------------------- A -> B -> A


def test_another_providers_thinking_comes_back_to_it_and_reaches_nobody_else() -> None:
    """A Messages provider's signed thinking, through a Responses client, back to the hub: only its issuer gets it."""
    held = Reasoning(text="I think.", seal=Seal("sig", "anthropic", "messages"))
    call = ToolCall(id="toolu_1", name="go", arguments="{}")
    response = Response("msg_1", "claude", [Choice([held, Text(text="Let me."), call], Finish("tool_calls"))])
    output = json.loads(RESPONSES.encode_response(response, reply()))["output"]
    result = {"type": "function_call_output", "call_id": "toolu_1", "output": "r"}
    body = json.dumps({"model": "m", "input": [{"role": "user", "content": "q"}, *output, result]}).encode()
    request = RESPONSES.decode_request(body)
    turn = request.messages[1].parts
    assert isinstance(turn[0], Reasoning)
    assert (turn[0].text, turn[0].seal) == (held.text, held.seal)
    ledger = Ledger()
    sent = json.loads(RESPONSES.encode_request(request, Target("gpt", "openai", Profile()), ledger))
    assert "reasoning" not in [item["type"] for item in sent["input"]]
    assert b"dgm1-" not in RESPONSES.scrub(body, "openai")
    assert "reasoning" not in [item.get("type") for item in json.loads(RESPONSES.scrub(body, "openai"))["input"]]


def test_its_own_sealed_reasoning_survives_a_client_of_another_dialect() -> None:
    [part] = (
        RESPONSES.decode_response(
            answer({"type": "reasoning", "summary": [{"type": "summary_text", "text": "s"}], "encrypted_content": "gA"}),
            "openai",
        )
        .choices[0]
        .parts
    )
    assert isinstance(part, Reasoning)
    back = carrier.unpack(carrier.pack([part]) or "")
    assert back is not None
    request = Request(model="m", dialect="chat", messages=[Message(role="assistant", parts=[*back, Text(text="a")])])
    sent = json.loads(RESPONSES.encode_request(request, Target("gpt", "openai", Profile()), Ledger()))
    assert sent["input"][0] == {
        "type": "reasoning",
        "summary": [{"type": "summary_text", "text": "s"}],
        "encrypted_content": "gA",
    }
    assert sent["store"] is False


# ---------------------------------------------------------------- errors

ERRORS: list[tuple[DragomanError, int, str, str | None]] = [
    (MalformedBody("input: wrong", param="input"), 400, "invalid_request_error", None),
    (UnknownModel("no such model"), 404, "not_found_error", "model_not_found"),
    (UpstreamRefused("Slow.", category="rate_limit", retry_after=1.2), 429, "rate_limit_error", None),
    (UpstreamGarbled("cut"), 502, "server_error", None),
]


@pytest.mark.parametrize(("error", "status", "kind", "code"), ERRORS)
def test_an_error_with_its_status(error: DragomanError, status: int, kind: str, code: str | None) -> None:
    told = RESPONSES.encode_error(error, "req_1")
    native = json.loads(told.body)["error"]
    assert (told.status, native["type"], native["code"], native["message"]) == (status, kind, code, error.message)
    assert ("x-request-id", "req_1") in told.headers
    assert (("retry-after", "2") in told.headers) == (error.retry_after is not None)


TOLD: list[tuple[int, Json | bytes, str, str]] = [
    (429, {"error": {"message": "Slow.", "type": "requests", "code": "rate_limit_exceeded"}}, "rate_limit", "Slow."),
    (400, {"error": {"message": "Bad.", "code": "invalid_encrypted_content"}}, "invalid_request", "Bad."),
    (403, {"error": {"code": "usage_not_included", "message": "Plan."}}, "billing", "Plan."),
    (0, {"type": "error", "code": "server_is_overloaded", "message": "Busy.", "param": None}, "overloaded", "Busy."),
    (0, {"type": "error", "error": {"code": "insufficient_quota", "message": "Pay."}}, "billing", "Pay."),
    (0, {"type": "response.failed", "response": {"error": {"code": "server_error", "message": "Oops."}}}, "internal", "Oops."),
    (0, {"type": "response.failed", "response": {"status": "failed"}}, "unavailable", "failed"),
    (
        0,
        {"object": "response", "status": "failed", "error": {"code": "invalid_prompt", "message": "No."}},
        "invalid_request",
        "No.",
    ),
    (503, b"<html><title>Down</title></html>", "overloaded", "Down"),
]


@pytest.mark.parametrize(("status", "native", "category", "message"), TOLD)
def test_a_providers_error_is_understood(status: int, native: Json | bytes, category: str, message: str) -> None:
    body = native if isinstance(native, bytes) else json.dumps(native).encode()
    error = RESPONSES.decode_error(status, {"retry-after": "3"}, body, "me")
    assert error.category == category
    assert message in error.message
    assert (error.provider, error.retry_after) == ("me", 3.0)
    assert error.status >= 400


def test_an_error_event_says_its_code_at_the_top_and_within() -> None:
    body = RESPONSES.stream_error(UpstreamRefused("Slow.", category="rate_limit"), "req_1")
    assert body.startswith(b"event: error\ndata: ")
    native = json.loads(body.partition(b"data: ")[2])
    assert native["type"] == "error"
    assert native["code"] == native["error"]["code"] == "rate_limit_exceeded"
    again = RESPONSES.decode_error(0, {}, json.dumps(native).encode(), "me")
    assert (again.category, again.message) == ("rate_limit", "Slow.")


# ---------------------------------------------------------------- verbatim


def event(kind: str, **data: Any) -> bytes:
    return json.dumps({"type": kind, **data}).encode()


SNIFFED: list[tuple[str, bytes, Sniff]] = [
    ("", event("response.created", response={}), "wait"),
    ("", event("response.in_progress", response={}), "wait"),
    ("", event("response.queued", response={}), "wait"),
    ("", event("codex.rate_limits"), "wait"),
    ("", event("keepalive"), "wait"),
    ("", event("response.output_item.added", item={"type": "message"}), "wait"),
    ("", event("response.output_item.added", item={"type": "reasoning"}), "wait"),
    ("", event("response.output_item.added", item={"type": "function_call"}), "content"),
    ("", event("response.content_part.added"), "wait"),
    ("", event("response.output_text.delta", delta="a"), "content"),
    ("", event("response.reasoning_summary_text.delta", delta="a"), "content"),
    ("", event("response.web_search_call.searching"), "content"),
    ("", event("response.completed", response={"status": "completed", "error": None}), "content"),
    ("", event("response.completed", response={"status": "failed"}), "error"),
    ("", event("response.incomplete", response={}), "content"),
    ("", event("response.failed", response={"error": {"message": "m"}}), "error"),
    ("", event("error", code="x", message="m"), "error"),
    ("", b'{"error":{"message":"m"}}', "error"),
    ("error", b'{"message":"m"}', "error"),
    ("error", b"boom", "error"),
    ("", b"<html>", "error"),
    ("", b'{"type":"response.output_text.delta","delta":"\\ud83d"}', "content"),
    ("", b"[DONE]", "wait"),
    ("", b"", "wait"),
    ("", b"[]", "wait"),
]


@pytest.mark.parametrize(("name", "data", "expected"), SNIFFED)
def test_a_frame_shows_content_an_error_or_nothing_yet(name: str, data: bytes, expected: Sniff) -> None:
    assert RESPONSES.sniff(Frame(name, data)) == expected


ENDS: list[tuple[bytes, bool]] = [
    (b'\nevent: response.completed\ndata: {"type":"response.completed"}\n\n', True),
    (b'\ndata: {"type":"response.incomplete","response":{}}\n\n', True),
    (b'\ndata: {"type": "response.failed"}\n\n', False),
    (b"\nevent: response.output_text.done\ndata: {}\n\n", False),
    (b'\ndata: {"type":"response.output_text.delta","delta":"event: response.completed"}\n\n', False),
    (b'\ndata: {"delta":"{\\"type\\":\\"response.completed\\"}"}\n\n', False),
    (b"", False),
]


@pytest.mark.parametrize(("events", "expected"), ENDS)
def test_a_stream_ends_with_its_last_event_and_not_before(events: bytes, expected: bool) -> None:
    for closed in (True, False):
        assert RESPONSES.ends(events, closed=closed) == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (answer(SAID), False),
        (answer(status="failed", error={"message": "m"}), True),
        (answer(status="failed"), True),
        (answer(SAID, status="incomplete"), False),
        (b'{"error":{"message":"m"}}', True),
        (b'{"type":"error","message":"m"}', True),
        (b"<html>", False),
        (b"[]", False),
    ],
)
def test_an_error_in_a_body_is_known(body: bytes, expected: bool) -> None:
    assert RESPONSES.error_in_body(body) == expected


def test_usage_is_read_off_the_ends_of_what_passes() -> None:
    usage = {"input_tokens": 5, "output_tokens": 7}
    last = event("response.completed", response={"output": [], "usage": usage})
    said = event("response.output_text.delta", delta='"usage": {"input_tokens": 99, "output_tokens": 1}')
    tail = b"data: " + said + b"\n\ndata: " + last + b"\n\n"
    assert RESPONSES.usage_of(b"data: {}\n\n", tail) == Usage(input=5, output=7)
    assert RESPONSES.usage_of(answer(SAID, usage=usage), b"") == Usage(input=5, output=7)
    assert RESPONSES.usage_of(b"data: {}", b"") is None


def test_what_holds_no_carrier_keeps_its_bytes() -> None:
    body = b'{ "model" : "m",  "input": [ {"role": "user", "content": "caf\\u00e9"} ] }'
    assert RESPONSES.scrub(body, "me") == body


def test_carriers_are_taken_out_of_what_passes() -> None:
    mine = carrier.pack([Reasoning(text="s", seal=Seal("gA", "me", "responses"))])
    theirs = carrier.pack([Reasoning(text="t", seal=Seal("sig", "you", "messages"))])
    riding = carrier.attach("call_1", [Reasoning(text="t", seal=Seal("sig", "you", "messages"))])
    items = [
        {"role": "user", "content": "q"},
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": mine},
        {"type": "reasoning", "id": "rs_2", "summary": [], "encrypted_content": theirs},
        {"type": "reasoning", "id": "rs_3", "summary": [], "encrypted_content": "dgm1-damaged"},
        {"type": "reasoning", "id": "rs_4", "summary": [], "encrypted_content": "gNative"},
        {"type": "function_call", "call_id": riding, "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": riding, "output": "r"},
        {"type": "function_call_output", "call_id": carrier.safe_id("functions.Bash:0"), "output": "r"},
    ]
    body = RESPONSES.scrub(json.dumps({"model": "m", "input": items, "x": 1}).encode(), "me")
    native = json.loads(body)
    assert [item.get("id") for item in native["input"]] == [None, "rs_1", "rs_4", None, None, None]
    assert [item.get("encrypted_content") for item in native["input"][1:3]] == ["gA", "gNative"]
    assert [item["call_id"] for item in native["input"][3:5]] == ["call_1", "call_1"]
    assert native["input"][5]["call_id"].startswith("call_")
    assert b"dgm" not in body
    assert native["x"] == 1


def test_tokens_are_counted_of_a_request_with_and_without_input() -> None:
    counting = RESPONSES.counting
    assert counting is not None
    assert counting.decode(b'{"model":"m","input":"Hi."}').messages
    assert [text.text for text in counting.decode(b'{"model":"m","instructions":"Be kind."}').system] == ["Be kind."]
    assert json.loads(counting.encode(7)) == {"object": "response.input_tokens", "input_tokens": 7}
    assert counting.address("https://x/v1/responses", "m") == "https://x/v1/responses/input_tokens"


def test_a_model_is_listed_as_in_all_of_these_apis() -> None:
    card = ModelCard(id="m", display_name="M", owner="o", created=7)
    assert json.loads(RESPONSES.encode_model(card)) == {"id": "m", "object": "model", "created": 7, "owned_by": "o"}
    assert [entry["id"] for entry in json.loads(RESPONSES.encode_models([card], {}))["data"]] == ["m"]


def test_a_result_of_a_call_that_was_renamed_is_still_its_result() -> None:
    """What a Responses client got as a hash it sends back as a hash: to every provider, the same for both."""
    call = ToolCall(id="functions.Bash:0", name="f", arguments="{}")
    output = json.loads(RESPONSES.encode_response(Response("", "", [Choice([call], Finish("tool_calls"))]), reply()))["output"]
    result = {"type": "function_call_output", "call_id": output[0]["call_id"], "output": "r"}
    request = RESPONSES.decode_request(json.dumps({"model": "m", "input": [*output, result]}).encode())
    [found], [back] = request.messages[0].parts, request.messages[1].parts
    assert isinstance(found, ToolCall)
    assert isinstance(back, ToolResult)
    assert found.id == back.call_id == output[0]["call_id"]
