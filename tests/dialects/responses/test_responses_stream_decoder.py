"""Responses streams to events, exactly. What the kit's scenarios script is in `tests/dialects/test_vectors.py` as well."""

from __future__ import annotations

import json
from typing import Any, TypeAlias

import pytest

from dragoman.dialects.responses import RESPONSES
from dragoman.errors import UpstreamError, UpstreamGarbled
from dragoman.ir.events import Cited, Close, Delta, Event, Fault, Finish, Open, Ping, Sealed, Start
from dragoman.ir.request import Part, Reasoning, Refusal, Seal, Text, ToolCall, Unknown
from dragoman.ir.usage import Usage
from dragoman.testing import SCENARIOS, VOICES, Ask
from dragoman.wire.sse import Frame, SseParser

Json: TypeAlias = dict[str, Any]
START = Start("resp_1", "m")
CREATED: Json = {"type": "response.created", "response": {"id": "resp_1", "model": "m", "output": []}}


def decoded(*natives: Json | bytes, ends: bool = True) -> list[Event]:
    decoder = RESPONSES.stream_decoder("me")
    events: list[Event] = []
    for native in natives:
        events += decoder.feed(Frame("", native if isinstance(native, bytes) else json.dumps(native).encode()))
    return events + (decoder.end() if ends else [])


def event(kind: str, **data: Any) -> Json:
    return {"type": f"response.{kind}", **data}


def completed(*output: Json, **more: Any) -> Json:
    return event("completed", response={"id": "resp_1", "status": "completed", "output": list(output), **more})


def added(item: Json, index: int = 0) -> Json:
    return event("output_item.added", output_index=index, item=item)


def done(item: Json, index: int = 0) -> Json:
    return event("output_item.done", output_index=index, item=item)


def said(piece: str, item_id: str = "i", index: int = 0, part: int = 0) -> Json:
    return event("output_text.delta", item_id=item_id, output_index=index, content_index=part, delta=piece, logprobs=[])


def message(*texts: str, item_id: str = "i") -> Json:
    content = [{"type": "output_text", "text": text, "annotations": []} for text in texts]
    return {"type": "message", "id": item_id, "role": "assistant", "content": content}


def function(arguments: str, item_id: str = "f", call_id: str = "c", **more: Any) -> Json:
    return {"type": "function_call", "id": item_id, "call_id": call_id, "name": "go", "arguments": arguments, **more}


def whole(index: int, part: Part, *pieces: str, complete: bool = True) -> list[Event]:
    return [Open(index, part), *(Delta(index, piece) for piece in pieces), Close(index, complete)]


CALL = ToolCall(id="c", name="go")
STOP = Finish("stop")
CALLS = Finish("tool_calls")


def test_a_text_comes_piece_by_piece() -> None:
    events = decoded(CREATED, added(message()), said("Hel"), said("lo"), done(message("Hello")), completed(message("Hello")))
    assert events == [START, *whole(0, Text(text=""), "Hel", "lo"), STOP]


def test_the_parts_of_a_message_are_parts_of_the_answer() -> None:
    refusal = {"type": "refusal", "refusal": "No."}
    events = decoded(
        CREATED,
        said("One.", part=0),
        event("output_text.done", item_id="i", output_index=0, content_index=0, text="One."),
        event("content_part.done", item_id="i", output_index=0, content_index=0, part=message("One.")["content"][0]),
        event("refusal.delta", item_id="i", output_index=0, content_index=1, delta="N"),
        event("refusal.done", item_id="i", output_index=0, content_index=1, refusal="No."),
        done({**message("One."), "content": [*message("One.")["content"], refusal]}),
        completed(),
    )
    assert events == [START, *whole(0, Text(text=""), "One."), *whole(1, Refusal(text=""), "N", "o."), Finish("refusal")]


ARGUMENTS: list[tuple[str, list[Json], list[str]]] = [
    (
        "in deltas",
        [event("function_call_arguments.delta", item_id="f", output_index=0, delta=p) for p in ('{"a"', ":1}")],
        ['{"a"', ":1}"],
    ),
    (
        "only at their end",
        [event("function_call_arguments.done", item_id="f", output_index=0, arguments='{"a":1}')],
        ['{"a":1}'],
    ),
    (
        "begun, and longer at their end",
        [
            event("function_call_arguments.delta", item_id="f", output_index=0, delta='{"a"'),
            event("function_call_arguments.done", item_id="f", output_index=0, arguments='{"a":1}'),
        ],
        ['{"a"', ":1}"],
    ),
    ("only with the item", [], ['{"a":1}']),
    (
        "as an object instead of a text",
        [event("function_call_arguments.done", item_id="f", output_index=0, arguments={"a": 1})],
        ['{"a":1}'],
    ),
    (
        "begun, and other at their end",
        [
            event("function_call_arguments.delta", item_id="f", output_index=0, delta='{"a":1}'),
            event("function_call_arguments.done", item_id="f", output_index=0, arguments='{"b":2}'),
        ],
        ['{"a":1}'],
    ),
]


@pytest.mark.parametrize(("natives", "pieces"), [case[1:] for case in ARGUMENTS], ids=[case[0] for case in ARGUMENTS])
def test_arguments_are_told_once_and_whole(natives: list[Json], pieces: list[str]) -> None:
    events = decoded(CREATED, added(function("")), *natives, done(function('{"a":1}')), completed(function('{"a":1}')))
    assert events == [START, *whole(0, CALL, *pieces), CALLS]


def test_a_call_without_arguments_has_an_empty_object() -> None:
    assert decoded(CREATED, done(function("")), completed()) == [START, *whole(0, CALL, "{}"), CALLS]


def test_a_free_text_call_is_told_as_it_is() -> None:
    item: Json = {"type": "custom_tool_call", "id": "f", "call_id": "c", "name": "go", "input": ""}
    events = decoded(
        CREATED,
        added(item),
        event("custom_tool_call_input.delta", item_id="f", output_index=0, delta="*** "),
        event("custom_tool_call_input.done", item_id="f", output_index=0, input="*** Begin"),
        done({**item, "input": "*** Begin"}),
        completed(),
    )
    assert events == [START, *whole(0, ToolCall(id="c", name="go", kind="custom"), "*** ", "Begin"), CALLS]


def test_a_tool_of_a_group_has_one_name_in_the_hub() -> None:
    events = decoded(
        CREATED, done(function("{}", namespace="crm")), done(function("{}", "g", "d", namespace="mcp__x__"), 1), completed()
    )
    names = [(e.part.name, e.part.namespace) for e in events if isinstance(e, Open) and isinstance(e.part, ToolCall)]
    assert names == [("crm__go", "crm"), ("mcp__x__go", "mcp__x__")]


def test_ids_are_made_where_none_or_a_used_one_is_given() -> None:
    bare: Json = {"type": "function_call", "name": "go", "arguments": "{}"}
    events = decoded(
        CREATED, done(function("{}")), done(function("{}", "g"), 1), done(bare, 2), done({**bare, "id": "x"}, 3), completed()
    )
    ids = [e.part.id for e in events if isinstance(e, Open) and isinstance(e.part, ToolCall)]
    assert ids == ["c", "c_2", "call_1_2", "x"]


# ---------------------------------------------------------------- reasoning

RS: Json = {"type": "reasoning", "id": "r", "summary": []}
SEAL = Seal("gAAA", "me", "responses")


def thought(kind: str, section: int, text: str) -> Json:
    key = "delta" if kind.endswith("delta") else "text"
    return event(kind, item_id="r", output_index=0, summary_index=section, content_index=section, **{key: text})


def test_a_summary_is_the_thinking_and_is_sealed_at_its_end() -> None:
    events = decoded(
        CREATED,
        added({**RS, "encrypted_content": "not yet"}),
        thought("reasoning_summary_text.delta", 0, "One."),
        thought("reasoning_summary_text.done", 0, "One."),
        thought("reasoning_summary_text.delta", 1, "Tw"),
        thought("reasoning_summary_text.done", 1, "Two."),
        done({**RS, "summary": [{"type": "summary_text", "text": "One."}, {"text": "Two."}], "encrypted_content": "gAAA"}),
        completed(),
    )
    assert events == [
        START,
        Open(0, Reasoning(summary=True)),
        *(Delta(0, piece) for piece in ("One.", "\n\n", "Tw", "o.")),
        Sealed(0, SEAL),
        Close(0),
        STOP,
    ]


def test_what_was_sealed_at_the_beginning_alone_is_no_seal() -> None:
    events = decoded(
        CREATED, added({**RS, "encrypted_content": "not yet"}), thought("reasoning_summary_text.delta", 0, "One."), completed()
    )
    assert events == [START, *whole(0, Reasoning(summary=True), "One."), STOP]


def test_sealed_reasoning_without_a_word_is_kept() -> None:
    events = decoded(CREATED, added(RS), done({**RS, "encrypted_content": "gAAA"}), completed())
    assert events == [START, Open(0, Reasoning()), Sealed(0, SEAL), Close(0), STOP]


def test_reasoning_with_neither_text_nor_seal_is_nothing() -> None:
    assert decoded(CREATED, added(RS), done(RS), completed(RS)) == [START, STOP]


def test_the_thinking_itself_is_told_where_there_is_no_summary() -> None:
    item = {**RS, "content": [{"type": "reasoning_text", "text": "Hm. So."}]}
    events = decoded(
        CREATED,
        thought("reasoning_text.delta", 0, "Hm."),
        thought("reasoning_text.done", 0, "Hm. So."),
        done(item),
        completed(),
    )
    assert events == [START, *whole(0, Reasoning(), "Hm.", " So."), STOP]


def test_of_two_kinds_of_thinking_the_first_is_told() -> None:
    events = decoded(
        CREATED, thought("reasoning_text.delta", 0, "Hm."), thought("reasoning_summary_text.delta", 0, "Short."), completed()
    )
    assert events == [START, *whole(0, Reasoning(), "Hm."), STOP]


# ---------------------------------------------------------------- which item


def test_several_items_may_be_open_at_once() -> None:
    events = decoded(
        CREATED,
        added(function("")),
        added(function("", "g", "d"), 1),
        event("function_call_arguments.delta", item_id="f", output_index=0, delta='{"a"'),
        event("function_call_arguments.delta", item_id="g", output_index=1, delta="{}"),
        event("function_call_arguments.delta", item_id="f", output_index=0, delta=":1}"),
        done(function("{}", "g", "d"), 1),
        done(function('{"a":1}')),
        completed(),
    )
    assert events == [
        START,
        Open(0, CALL),
        Open(1, ToolCall(id="d", name="go")),
        Delta(0, '{"a"'),
        Delta(1, "{}"),
        Delta(0, ":1}"),
        Close(1),
        Close(0),
        CALLS,
    ]


def test_an_index_that_every_item_has_means_the_item_of_that_id() -> None:
    events = decoded(
        CREATED, added(message()), said("Hi."), done(message("Hi.")), added(function("")), done(function("{}")), completed()
    )
    assert events == [START, *whole(0, Text(text=""), "Hi."), *whole(1, CALL, "{}"), CALLS]


def test_an_id_that_changes_means_the_item_of_that_index() -> None:
    events = decoded(
        CREATED,
        added(message(item_id="a")),
        said("Hel", "b"),
        said("lo", "c"),
        done(message("Hello", item_id="d")),
        completed(message("Hello", item_id="e")),
    )
    assert events == [START, *whole(0, Text(text=""), "Hel", "lo"), STOP]


def test_two_messages_with_the_same_words_are_two() -> None:
    one, two = message("Hi.", item_id="a"), message("Hi.", item_id="b")
    assert decoded(CREATED, done(one), done(two, 1), completed(one, two)) == [
        START,
        *whole(0, Text(text=""), "Hi."),
        *whole(1, Text(text=""), "Hi."),
        STOP,
    ]


def test_what_the_stream_left_out_the_last_event_tells() -> None:
    events = decoded(CREATED, said("Hel"), completed(message("Hello"), function("{}")))
    assert events == [START, *whole(0, Text(text=""), "Hel", "lo"), *whole(1, CALL, "{}"), CALLS]


def test_nothing_is_told_twice() -> None:
    natives = [CREATED, CREATED, added(message()), added(message()), said("Hi."), done(message("Hi.")), done(message("Hi."))]
    assert decoded(*natives, completed(message("Hi."))) == [START, *whole(0, Text(text=""), "Hi."), STOP]


# ---------------------------------------------------------------- other things in a stream


def test_sources_and_log_probabilities_belong_to_their_text() -> None:
    note = {"type": "url_citation", "url": "https://x", "title": "X", "start_index": 0, "end_index": 2}
    probe = {"token": "Hi", "logprob": -0.5}
    events = decoded(
        CREATED,
        {**said("Hi"), "logprobs": [probe]},
        event(
            "output_text.annotation.added", item_id="i", output_index=0, content_index=0, annotation_index=0, annotation=note
        ),
        done(
            {
                **message("Hi"),
                "content": [{"type": "output_text", "text": "Hi", "annotations": [note, {**note, "url": "https://y"}]}],
            }
        ),
        completed(),
    )
    assert [e.logprobs for e in events if isinstance(e, Delta)] == [[probe]]
    assert [e.citation.url for e in events if isinstance(e, Cited)] == ["https://x", "https://y"]


def test_an_item_of_the_providers_own_tools_is_given_on_when_it_is_done() -> None:
    item: Json = {"type": "web_search_call", "id": "ws", "status": "completed", "action": {"type": "search", "query": "q"}}
    natives = [
        added({**item, "status": "in_progress"}),
        event("web_search_call.searching", item_id="ws", output_index=0),
        done(item),
    ]
    assert decoded(CREATED, *natives, completed(item)) == [START, *whole(0, Unknown(native=item, dialect="responses")), STOP]


@pytest.mark.parametrize(
    "native", [{"type": "codex.rate_limits"}, event("mcp_call.failed", error="x"), {"x": 1}, [], b"", b"[DONE]"]
)
def test_what_says_nothing_of_the_answer_passes(native: Any) -> None:
    assert decoded(CREATED, said("Hi"), native, completed()) == [START, *whole(0, Text(text=""), "Hi"), STOP]


def test_a_sign_of_life_is_a_ping() -> None:
    assert decoded({"type": "keepalive"}, ends=False) == [Ping()]


def test_halves_of_a_character_in_two_events_are_one() -> None:
    natives = [b'{"type":"response.output_text.delta","item_id":"i","output_index":0,"content_index":0,"delta":"%b"}' % half
               for half in (rb"a\ud83d", rb"\ude00b")]  # fmt: skip
    assert decoded(CREATED, *natives, completed()) == [START, *whole(0, Text(text=""), "a", "😀b"), STOP]


def test_half_a_character_that_stays_alone_is_replaced() -> None:
    native = b'{"type":"response.output_text.delta","item_id":"i","output_index":0,"content_index":0,"delta":"a\\ud83d"}'
    assert decoded(CREATED, native, completed()) == [START, *whole(0, Text(text=""), "a", "\ufffd"), STOP]


# ---------------------------------------------------------------- the end

ENDS: list[tuple[str, Json, Any]] = [
    ("completed", {}, "stop"),
    ("incomplete", {"incomplete_details": {"reason": "max_output_tokens"}}, "length"),
    ("incomplete", {"incomplete_details": {"reason": "content_filter"}}, "content_filter"),
    ("incomplete", {"incomplete_details": {"reason": "steered"}}, "length"),
    ("incomplete", {}, "length"),
]


@pytest.mark.parametrize(("kind", "more", "reason"), ENDS)
def test_why_an_answer_ended(kind: str, more: Json, reason: Any) -> None:
    usage = {"input_tokens": 9, "output_tokens": 3, "input_tokens_details": {"cached_tokens": 4}}
    last = event(kind, response={"id": "resp_1", "output": [], "usage": usage, **more})
    assert decoded(CREATED, last) == [START, Finish(reason, Usage(input=5, cache_read=4, output=3))]


def test_a_call_that_broke_off_must_not_be_run() -> None:
    partial = event("function_call_arguments.delta", item_id="f", output_index=0, delta='{"a')
    events = decoded(CREATED, added(function("")), partial, event("incomplete", response={"output": []}))
    assert events == [START, *whole(0, CALL, '{"a', complete=False), Finish("length")]


def test_a_call_that_never_got_arguments_is_broken_where_the_answer_was_cut() -> None:
    assert decoded(CREATED, added(function("")), event("incomplete", response={"output": []}))[-2:] == [
        Close(0, complete=False),
        Finish("length"),
    ]


FAULTS: list[tuple[str, list[Json | bytes], str, str]] = [
    ("no end", [CREATED, said("Hi")], "unavailable", "broke off"),
    ("nothing", [], "unavailable", "broke off"),
    ("not JSON", [CREATED, b"<html>"], "unavailable", "not JSON"),
    (
        "failed",
        [CREATED, event("failed", response={"status": "failed", "error": {"code": "rate_limit_exceeded", "message": "Slow."}})],
        "rate_limit",
        "Slow.",
    ),
    ("failed without a word", [CREATED, event("failed", response={})], "unavailable", "no reason"),
    ("cancelled", [CREATED, event("cancelled", response={"status": "cancelled"})], "unavailable", "cancelled"),
    ("a completed failure", [CREATED, completed(error={"code": "server_error", "message": "Oops."})], "internal", "Oops."),
    ("an error event", [{"type": "error", "code": "server_is_overloaded", "message": "Busy."}], "overloaded", "Busy."),
    (
        "an error event as it is really sent",
        [{"type": "error", "error": {"type": "tokens", "code": "rate_limit_exceeded", "message": "Slow."}}],
        "rate_limit",
        "Slow.",
    ),
    ("an error without a type", [{"error": {"message": "Bad key.", "code": "invalid_api_key"}}], "authentication", "Bad key."),
    ("a call without a name", [CREATED, done(function("{}", name=""))], "unavailable", "no name"),
]


@pytest.mark.parametrize(("natives", "category", "words"), [case[1:] for case in FAULTS], ids=[case[0] for case in FAULTS])
def test_what_is_no_answer_is_a_fault(natives: list[Json | bytes], category: str, words: str) -> None:
    last = decoded(*natives)[-1]
    assert isinstance(last, Fault)
    assert isinstance(last.error, UpstreamError)
    assert last.error.category == category
    assert words in last.error.message
    assert last.error.provider == "me"


def test_after_the_end_nothing_comes() -> None:
    decoder = RESPONSES.stream_decoder("me")
    decoder.feed(Frame("", json.dumps(completed()).encode()))
    assert decoder.feed(Frame("", json.dumps(said("late")).encode())) == []
    assert decoder.end() == []


def test_an_event_that_is_named_outside_its_data_is_known() -> None:
    decoder = RESPONSES.stream_decoder("me")
    [fault] = decoder.feed(Frame("error", b'{"message":"Busy.","code":"slow_down"}'))
    assert isinstance(fault, Fault)
    assert fault.error.category == "overloaded"


def test_a_long_stream_takes_no_more_than_linear_time() -> None:
    """20 000 deltas are decoded well within the patience of a test; a quadratic decoder would take minutes."""
    body = VOICES["responses"].render(SCENARIOS["endless-10k"], Ask(stream=True)).body
    decoder = RESPONSES.stream_decoder("me")
    deltas = sum(isinstance(e, Delta) for frame in SseParser().feed(body) for e in decoder.feed(frame))
    assert deltas == 10_000


def test_garbage_is_named_with_its_provider() -> None:
    [*_, fault] = decoded(CREATED, b"{")
    assert isinstance(fault, Fault)
    assert isinstance(fault.error, UpstreamGarbled)
