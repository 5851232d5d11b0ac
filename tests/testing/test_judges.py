"""The strict readers refuse what breaks a rule, one rule at a time, and say which."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from dragoman.testing import Block, IllegalStream, Tokens, View, fold_chat, fold_messages, read_chat, read_events, read_messages

Events = list[dict[str, Any]]

# ---------------------------------------------------------------- messages

USAGE = {"input_tokens": 3, "output_tokens": 1, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0}


def legal_messages() -> Events:
    """Thinking, text, a call: indices into this list are used below."""
    opening = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": []}
    return [
        {"type": "message_start", "message": {**opening, "stop_reason": None, "stop_sequence": None, "usage": dict(USAGE)}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": "", "signature": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "Hm."}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": "sig"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "Hi."}},
        {"type": "content_block_stop", "index": 1},
        {
            "type": "content_block_start",
            "index": 2,
            "content_block": {"type": "tool_use", "id": "t1", "name": "f", "input": {}},
        },
        {"type": "content_block_delta", "index": 2, "delta": {"type": "input_json_delta", "partial_json": '{"a":1}'}},
        {"type": "content_block_stop", "index": 2},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "tool_use", "stop_sequence": None},
            "usage": {**USAGE, "output_tokens": 9},
        },
        {"type": "message_stop"},
    ]


def sse(events: Events) -> bytes:
    return b"".join(f"event: {e['type']}\ndata: {json.dumps(e)}\n\n".encode() for e in events)


def put(path: str, value: Any) -> Callable[[Events], None]:
    """Sets the value at a path like `3.delta.type`."""

    def change(events: Events) -> None:
        *way, last = path.split(".")
        at: Any = events
        for key in way:
            at = at[int(key)] if isinstance(at, list) else at[key]
        at[int(last) if isinstance(at, list) else last] = value

    return change


def drop(path: str) -> Callable[[Events], None]:
    def change(events: Events) -> None:
        *way, last = path.split(".")
        at: Any = events
        for key in way:
            at = at[int(key)] if isinstance(at, list) else at[key]
        del at[int(last) if isinstance(at, list) else last]

    return change


def insert(at: int, event: dict[str, Any]) -> Callable[[Events], None]:
    return lambda events: events.insert(at, event)


def again(at: int, to: int | None = None) -> Callable[[Events], None]:
    return lambda events: events.insert(at if to is None else to, copy.deepcopy(events[at]))


def swap(one: int, other: int) -> Callable[[Events], None]:
    def change(events: Events) -> None:
        events[one], events[other] = events[other], events[one]

    return change


def test_the_legal_messages_stream_is_legal() -> None:
    assert fold_messages(sse(legal_messages())) == View(
        (Block("thinking", "Hm.", signature="sig"), Block("text", "Hi."), Block("tool_call", {"a": 1}, "f", "t1")),
        "tool_calls",
        Tokens(input=3, output=9),
    )


BROKEN_MESSAGES: dict[str, tuple[Callable[[Events], None], str]] = {
    "no start": (drop("0"), "before message_start"),
    "two starts": (again(0), "second time"),
    "start not first": (swap(0, 1), "before message_start"),
    "start with content": (put("0.message.content", [{"type": "text", "text": "x"}]), "not empty"),
    "start with a stop reason": (put("0.message.stop_reason", "end_turn"), "as null"),
    "start without the key stop_sequence": (drop("0.message.stop_sequence"), "as null"),
    "start without an id": (put("0.message.id", ""), "id is missing"),
    "start without a model": (drop("0.message.model"), "model is missing"),
    "start as another role": (put("0.message.role", "user"), "role"),
    "start without usage": (drop("0.message.usage"), "usage is missing"),
    "start with partial usage": (drop("0.message.usage.cache_read_input_tokens"), "cache_read_input_tokens"),
    "delta with partial usage": (drop("11.usage.input_tokens"), "input_tokens"),
    "delta without usage": (drop("11.usage"), "usage is missing"),
    "index that skips": (put("5.index", 2), "1 is next"),
    "index used again": (put("5.index", 0), "1 is next"),
    "blocks nested": (drop("4"), "still open"),
    "delta to a closed block": (put("6.index", 0), "not open"),
    "delta to a block that never opened": (put("6.index", 7), "not open"),
    "delta before any block": (swap(1, 2), "not open"),
    "stop of another block": (put("7.index", 0), "not open"),
    "block stopped twice": (again(7), "not open"),
    "block left open": (drop("10"), "still open"),
    "text in thinking": (put("2.delta", {"type": "text_delta", "text": "x"}), "does not fit"),
    "thinking in text": (put("6.delta", {"type": "thinking_delta", "thinking": "x"}), "does not fit"),
    "signature in text": (put("6.delta", {"type": "signature_delta", "signature": "x"}), "does not fit"),
    "text in a call": (put("9.delta", {"type": "text_delta", "text": "x"}), "does not fit"),
    "input in text": (put("6.delta", {"type": "input_json_delta", "partial_json": "x"}), "does not fit"),
    "delta without its text": (put("6.delta", {"type": "text_delta"}), "not a string"),
    "delta without a type": (put("6.delta", {}), "no type"),
    "thinking after the signature": (swap(2, 3), "after the signature"),
    "two signatures": (again(3), "second signature"),
    "block without a type": (put("5.content_block", {"text": ""}), "no type"),
    "thinking without its signature key": (drop("1.content_block.signature"), "not a string"),
    "call without an id": (drop("8.content_block.id"), "not a string"),
    "call with an id that is not taken back": (put("8.content_block.id", "functions.Bash:0"), "not take back"),
    "call without a name": (put("8.content_block.name", ""), "no name"),
    "call with input at the start": (put("8.content_block.input", {"a": 1}), "not empty at the start"),
    "input that is text": (put("8.content_block.input", "{}"), "not an object"),
    "input that is no JSON": (put("9.delta.partial_json", '{"a":'), "not a JSON object"),
    "input that is a list": (put("9.delta.partial_json", "[1]"), "not a JSON object"),
    "input with a key twice": (put("9.delta.partial_json", '{"a":1,"a":2}'), "not a JSON object"),
    "no stop reason": (put("11.delta.stop_reason", None), "stop_reason is None"),
    "a stop reason of another dialect": (put("11.delta.stop_reason", "tool_calls"), "stop_reason is 'tool_calls'"),
    "end_turn after a call": (put("11.delta.stop_reason", "end_turn"), "after a call"),
    "no key stop_sequence": (drop("11.delta.stop_sequence"), "stop_sequence is missing"),
    "a stop sequence without the reason": (put("11.delta.stop_sequence", "x"), "stop_sequence 'x'"),
    "two message_deltas": (again(11), "after message_delta"),
    "a block after message_delta": (swap(10, 11), "still open"),
    "no message_delta": (drop("11"), "no message_delta"),
    "no message_stop": (drop("12"), "broke off"),
    "an event after message_stop": (insert(13, {"type": "ping"}), "after message_stop"),
    "an event after an error": (
        insert(6, {"type": "error", "error": {"type": "api_error", "message": "x"}}),
        "after an error",
    ),
    "an error without a type": (insert(6, {"type": "error", "error": {"message": "x"}}), "without a type"),
}


@pytest.mark.parametrize("name", BROKEN_MESSAGES)
def test_a_broken_messages_stream_is_refused(name: str) -> None:
    change, reason = BROKEN_MESSAGES[name]
    events = legal_messages()
    change(events)
    with pytest.raises(IllegalStream) as raised:
        fold_messages(sse(events))
    assert reason in raised.value.reason


def test_tool_use_without_a_call_is_refused() -> None:
    events = [e for e in legal_messages() if e.get("index") != 2]
    with pytest.raises(IllegalStream, match="without a call"):
        fold_messages(sse(events))


def test_two_calls_under_one_id_are_refused() -> None:
    events = legal_messages()
    second = copy.deepcopy(events[8:11])
    for event in second:
        event["index"] = 3
    with pytest.raises(IllegalStream, match="another block has the id"):
        fold_messages(sse([*events[:11], *second, *events[11:]]))


def test_an_event_whose_name_is_not_its_type_is_refused() -> None:
    with pytest.raises(IllegalStream, match="of type 'message_start'"):
        fold_messages(sse(legal_messages()).replace(b"event: message_start", b"event: message_begin", 1))


def test_pings_comments_and_unknown_events_may_stand_anywhere_before_the_end() -> None:
    plain = fold_messages(sse(legal_messages()))
    for at in range(13):
        events = legal_messages()
        events.insert(at, {"type": "ping"})
        assert fold_messages(b": hello\n\n" + sse(events)) == plain
        events[at] = {"type": "telemetry", "x": 1}
        assert fold_messages(sse(events)).unknown == ({"type": "telemetry", "x": 1},)


def test_an_error_event_ends_a_messages_stream_and_keeps_what_was_said() -> None:
    events = [*legal_messages()[:7], {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}]
    view = fold_messages(sse(events))
    assert view.error is not None
    assert (view.error.word, view.error.message) == ("overloaded", "Overloaded")
    assert view.text == "Hi."


def test_arguments_may_break_off_where_the_answer_was_cut_short() -> None:
    events = legal_messages()
    put("9.delta.partial_json", '{"a":')(events)
    put("11.delta.stop_reason", "max_tokens")(events)
    assert fold_messages(sse(events)).blocks[2] == Block("tool_call", '{"a":', "f", "t1", whole=False)


def test_less_usage_is_taken_where_it_is_said() -> None:
    events = legal_messages()
    put("11.usage", {"output_tokens": 9})(events)
    put("0.message.usage", {"input_tokens": 3, "output_tokens": 1})(events)
    assert fold_messages(sse(events), full_usage=False).tokens == Tokens(3, 9)


# ---------------------------------------------------------------- chat


def chunk(delta: dict[str, Any] | None, finish: str | None = None, **more: Any) -> dict[str, Any]:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    return {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": choices, **more}


def opened(index: int, call_id: str, name: str) -> dict[str, Any]:
    return {"tool_calls": [{"index": index, "id": call_id, "type": "function", "function": {"name": name, "arguments": ""}}]}


def argued(index: int, text: str) -> dict[str, Any]:
    return {"tool_calls": [{"index": index, "function": {"arguments": text}}]}


CHAT_USAGE = {"prompt_tokens": 3, "completion_tokens": 9, "total_tokens": 12}


def legal_chat() -> Events:
    """Thinking, text, two calls: indices into this list are used below."""
    return [
        chunk({"role": "assistant", "content": ""}),
        chunk({"reasoning_content": "Hm."}),
        chunk({"content": "Hi."}),
        chunk(opened(0, "t1", "f")),
        chunk(argued(0, '{"a":1}')),
        chunk(opened(1, "t2", "g")),
        chunk(argued(1, "{}")),
        chunk({}, "tool_calls"),
        chunk(None, usage=dict(CHAT_USAGE)),
    ]


def chat_sse(events: Events, done: bytes = b"data: [DONE]\n\n") -> bytes:
    return b"".join(f"data: {json.dumps(e)}\n\n".encode() for e in events) + done


def test_the_legal_chat_stream_is_legal() -> None:
    assert fold_chat(chat_sse(legal_chat()), usage=True) == View(
        (
            Block("thinking", "Hm."),
            Block("text", "Hi."),
            Block("tool_call", {"a": 1}, "f", "t1"),
            Block("tool_call", {}, "g", "t2"),
        ),
        "tool_calls",
        Tokens(input=3, output=9),
    )


_DELTA = "choices.0.delta"
BROKEN_CHAT: dict[str, tuple[Callable[[Events], None], str]] = {
    "no role": (drop(f"0.{_DELTA}.role"), "does not begin with the role"),
    "role not first": (swap(0, 1), "does not begin with the role"),
    "role again": (put(f"2.{_DELTA}.role", "assistant"), "role again"),
    "another object": (put("2.object", "chat.completion"), "object is"),
    "another id": (put("2.id", "c2"), "changed"),
    "another model": (put("2.model", "m2"), "changed"),
    "another time": (put("2.created", 2), "changed"),
    "no id": (put("0.id", ""), "missing"),
    "no key finish_reason": (drop("2.choices.0.finish_reason"), "lacks the key finish_reason"),
    "no delta": (drop("2.choices.0.delta"), "no delta"),
    "no index": (drop("2.choices.0.index"), "no index"),
    "no choices": (drop("2.choices"), "choices is missing"),
    "neither choices nor usage": (put("2.choices", []), "neither choices nor usage"),
    "content that is no string": (put(f"2.{_DELTA}.content", ["Hi"]), "not a string"),
    "call without an index": (drop(f"3.{_DELTA}.tool_calls.0.index"), "no index"),
    "call numbered from one": (put(f"3.{_DELTA}.tool_calls.0.index", 1), "0 is next"),
    "call that skips a number": (put(f"5.{_DELTA}.tool_calls.0.index", 2), "1 is next"),
    "call without an id": (drop(f"3.{_DELTA}.tool_calls.0.id"), "without an id"),
    "call without a type": (drop(f"3.{_DELTA}.tool_calls.0.type"), "begins with type"),
    "call without a name": (drop(f"3.{_DELTA}.tool_calls.0.function.name"), "without a name"),
    "call that says its id again": (put(f"4.{_DELTA}.tool_calls.0.id", "t1"), "id again"),
    "call that says its name again": (put(f"4.{_DELTA}.tool_calls.0.function.name", "f"), "name again"),
    "two calls under one id": (put(f"5.{_DELTA}.tool_calls.0.id", "t1"), "id of another"),
    "arguments to a call that never began": (put(f"4.{_DELTA}.tool_calls.0.index", 3), "1 is next"),
    "arguments that are an object": (put(f"4.{_DELTA}.tool_calls.0.function.arguments", {}), "not a string"),
    "arguments that are no JSON": (put(f"4.{_DELTA}.tool_calls.0.function.arguments", '{"a":'), "not JSON"),
    "arguments that are nothing": (put(f"6.{_DELTA}.tool_calls.0.function.arguments", ""), "not JSON"),
    "finish stop after a call": (put("7.choices.0.finish_reason", "stop"), "after a call"),
    "a finish of another dialect": (put("7.choices.0.finish_reason", "tool_use"), "finish_reason is 'tool_use'"),
    "no finish": (drop("7"), "has not finished"),
    "two finishes": (again(7), "after it has finished"),
    "content after the finish": (again(2, 8), "after it has finished"),
    "usage with choices": (put("2.usage", CHAT_USAGE), "with choices"),
    "usage before the finish": (swap(7, 8), "has not finished"),
    "usage twice": (again(8), "after the usage chunk"),
    "usage that does not add up": (put("8.usage.total_tokens", 13), "parts make 12"),
    "usage without a count": (drop("8.usage.prompt_tokens"), "prompt_tokens is not a count"),
    "usage with more read than there was": (put("8.usage.prompt_tokens_details", {"cached_tokens": 4}), "larger than"),
    "an event after an error": (insert(3, {"error": {"message": "x"}}), "after an error"),
}


@pytest.mark.parametrize("name", BROKEN_CHAT)
def test_a_broken_chat_stream_is_refused(name: str) -> None:
    change, reason = BROKEN_CHAT[name]
    events = legal_chat()
    change(events)
    with pytest.raises(IllegalStream) as raised:
        fold_chat(chat_sse(events))
    assert reason in raised.value.reason


def test_a_finish_that_promises_a_call_needs_one() -> None:
    with pytest.raises(IllegalStream, match="without a call"):
        fold_chat(chat_sse([*legal_chat()[:3], chunk({}, "tool_calls")]))


def test_done_comes_once_and_last() -> None:
    stream = chat_sse(legal_chat(), done=b"")
    for tail, reason in (
        (b"", "broke off"),
        (b"data: [DONE]\n\ndata: [DONE]\n\n", "after [DONE]"),
        (b"data: [DONE]\n\ndata: {}\n\n", "after [DONE]"),
    ):
        with pytest.raises(IllegalStream) as raised:
            fold_chat(stream + tail)
        assert reason in raised.value.reason


def test_a_named_event_is_refused_in_chat() -> None:
    with pytest.raises(IllegalStream, match="named 'message'"):
        fold_chat(b"event: message\n" + chat_sse(legal_chat()))


def test_a_missing_usage_chunk_is_missed() -> None:
    with pytest.raises(IllegalStream, match="no usage chunk"):
        fold_chat(chat_sse(legal_chat()[:-1]), usage=True)


def test_an_error_ends_a_chat_stream_and_keeps_what_was_said() -> None:
    view = fold_chat(chat_sse([*legal_chat()[:3], {"error": {"message": "busy", "code": 529}}], done=b""))
    assert view.error is not None
    assert (view.error.word, view.error.message, view.text) == ("overloaded", "busy", "Hi.")


def test_arguments_may_be_interleaved_in_chat() -> None:
    events = [chunk({"role": "assistant", "content": None}), chunk(opened(0, "t1", "f")), chunk(opened(1, "t2", "g"))]
    events += [chunk(argued(i, text)) for text in ('{"a"', ":1}") for i in (1, 0)]
    events.append(chunk({}, "tool_calls"))
    assert [block.value for block in fold_chat(chat_sse(events)).calls] == [{"a": 1}, {"a": 1}]


# ---------------------------------------------------------------- whole answers


def test_a_whole_chat_answer_is_held_to_the_same_rules() -> None:
    message = {"role": "assistant", "content": "Hi."}
    body = {
        "id": "c1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
    }
    assert read_chat(body).gist == ((("text", "", "Hi.", True),), "stop", None)
    for change, reason in (
        (put("0.choices", []), "choices is empty"),
        (put("0.object", "x"), "object is"),
        (drop("0.id"), "id is missing"),
        (drop("0.choices.0.message.content"), "lacks the key content"),
        (put("0.choices.0.finish_reason", None), "finish_reason is None"),
        (put("0.choices.0.index", 1), "with its index"),
        (
            put("0.choices.0.message.tool_calls", [{"type": "function", "function": {"name": "f", "arguments": "{}"}}]),
            "without an id",
        ),
    ):
        broken = [copy.deepcopy(body)]
        change(broken)
        with pytest.raises(IllegalStream) as raised:
            read_chat(json.dumps(broken[0]).encode())
        assert reason in raised.value.reason


def test_a_whole_messages_answer_is_held_to_the_same_rules() -> None:
    body = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [{"type": "tool_use", "id": "t1", "name": "f", "input": {}}],
        "stop_reason": "tool_use",
        "stop_sequence": None,
        "usage": USAGE,
    }
    assert read_messages(body).gist == ((("tool_call", "f", {}, True),), "tool_calls", None)
    for change, reason in (
        (put("0.content", None), "not a list"),
        (put("0.content", []), "without a call"),
        (put("0.content.0.input", "{}"), "not an object"),
        (put("0.stop_reason", None), "stop_reason is None"),
        (drop("0.usage.output_tokens"), "output_tokens"),
    ):
        broken = [copy.deepcopy(body)]
        change(broken)
        with pytest.raises(IllegalStream) as raised:
            read_messages(json.dumps(broken[0]).encode())
        assert reason in raised.value.reason


def test_what_is_no_answer_at_all_is_refused() -> None:
    for body in (b"", b"<html>", b"[]", b'"x"', b"{}"):
        for read in (read_chat, read_messages):
            with pytest.raises(IllegalStream):
                read(body)


# ---------------------------------------------------------------- server-sent events


@pytest.mark.parametrize(
    ("stream", "reason"),
    [
        (b"data: {}\n", "not ended by a blank line"),
        (b"data: {}", "ends within a line"),
        (b"data: \xff\n\n", "not UTF-8 at byte 6"),
        (b"data: {}\n\ndata: \xf0\x9f\x98\n\n", "not UTF-8"),
        (b"event: x\n\n", "no data"),
        (b"event: x\nevent: y\ndata: 1\n\n", "named twice"),
        (b"dato: 1\n\n", "unknown field"),
        (b'{"error": "x"}\n\n', "unknown field"),
    ],
)
def test_a_stream_that_is_no_proper_sse_is_refused(stream: bytes, reason: str) -> None:
    with pytest.raises(IllegalStream) as raised:
        read_events(stream)
    assert reason in raised.value.reason


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_every_line_end_of_the_standard_is_read(end: str) -> None:
    stream = end.join((": hello", "", "event: a", "id: 7", "data: 1", "data:2", "", "data: 3", "", "")).encode()
    assert [(e.name, e.data) for e in read_events(stream)] == [("a", "1\n2"), ("", "3")]


def test_json_that_lenient_parsers_let_through_is_refused() -> None:
    for data in ('{"a":1,"a":2}', '{"a":NaN}', '{"a":"\\ud83d"}', "[1]", "{"):
        with pytest.raises(IllegalStream):
            read_events(f"data: {data}\n\n".encode())[0].json()
