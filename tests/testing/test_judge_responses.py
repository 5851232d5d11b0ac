"""The strict reader of Responses refuses what breaks a rule, one rule at a time, and says which."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from dragoman.testing import Block, Cite, IllegalStream, Tokens, View, fold_responses, read_responses

Events = list[dict[str, Any]]

USAGE: dict[str, Any] = {
    "input_tokens": 3,
    "input_tokens_details": {"cached_tokens": 1, "cache_write_tokens": 0},
    "output_tokens": 9,
    "output_tokens_details": {"reasoning_tokens": 2},
    "total_tokens": 12,
}
NOTE = {"type": "url_citation", "url": "https://x", "title": "X", "start_index": 0, "end_index": 2}


def response(status: str = "in_progress", *output: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "model": "m",
        "status": status,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "temperature": 1.0,
        "top_p": 1.0,
        "text": {"format": {"type": "text"}},
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "output": list(output),
        "usage": USAGE if status == "completed" else None,
    }


def event(kind: str, **data: Any) -> dict[str, Any]:
    return {"type": f"response.{kind}", **data}


def legal() -> Events:
    """Reasoning, a cited text, a call: indices into this list are used below."""
    thought = {"id": "rs_1", "type": "reasoning", "summary": []}
    said = {"id": "msg_1", "type": "message", "status": "in_progress", "role": "assistant", "content": []}
    call = {"id": "fc_1", "type": "function_call", "status": "in_progress", "call_id": "c1", "name": "f", "arguments": ""}
    first = {"item_id": "rs_1", "output_index": 0, "summary_index": 0}
    second = {"item_id": "msg_1", "output_index": 1, "content_index": 0}
    third = {"item_id": "fc_1", "output_index": 2}
    part = {"type": "output_text", "annotations": [], "logprobs": [], "text": ""}
    whole = [
        {**thought, "summary": [{"type": "summary_text", "text": "Hm."}], "encrypted_content": "gA"},
        {**said, "status": "completed", "content": [{**part, "text": "Hi.", "annotations": [NOTE]}]},
        {**call, "status": "completed", "arguments": '{"a":1}'},
    ]
    events = [
        event("created", response=response()),
        event("in_progress", response=response()),
        event("output_item.added", output_index=0, item=thought),
        event("reasoning_summary_part.added", **first, part={"type": "summary_text", "text": ""}),
        event("reasoning_summary_text.delta", **first, delta="Hm."),
        event("reasoning_summary_text.done", **first, text="Hm."),
        event("reasoning_summary_part.done", **first, part={"type": "summary_text", "text": "Hm."}),
        event("output_item.done", output_index=0, item=whole[0]),
        event("output_item.added", output_index=1, item=said),
        event("content_part.added", **second, part=part),
        event("output_text.delta", **second, delta="Hi.", logprobs=[]),
        event("output_text.annotation.added", **second, annotation_index=0, annotation=NOTE),
        event("output_text.done", **second, text="Hi.", logprobs=[]),
        event("content_part.done", **second, part={**part, "text": "Hi.", "annotations": [NOTE]}),
        event("output_item.done", output_index=1, item=whole[1]),
        event("output_item.added", output_index=2, item=call),
        event("function_call_arguments.delta", **third, delta='{"a"'),
        event("function_call_arguments.delta", **third, delta=":1}"),
        event("function_call_arguments.done", **third, arguments='{"a":1}'),
        event("output_item.done", output_index=2, item=whole[2]),
        event("completed", response=response("completed", *whole)),
    ]
    return copy.deepcopy(events)


def sse(events: Events) -> bytes:
    numbered = [{"sequence_number": number, **one} for number, one in enumerate(events)]
    return b"".join(f"event: {e['type']}\ndata: {json.dumps(e)}\n\n".encode() for e in numbered)


def test_the_legal_stream_is_legal() -> None:
    assert fold_responses(sse(legal())) == View(
        (
            Block("thinking", "Hm.", signature="gA"),
            Block("text", "Hi.", citations=(Cite("X", "https://x"),)),
            Block("tool_call", {"a": 1}, "f", "c1"),
        ),
        "tool_calls",
        Tokens(input=2, cache_read=1, output=7, reasoning=2),
    )


Change = Callable[[Events], Any]


def put(path: str, value: Any) -> Change:
    """Sets the value at a path like `3.item.type`."""

    def change(events: Events) -> None:
        *way, last = path.split(".")
        at: Any = events
        for key in way:
            at = at[int(key)] if isinstance(at, list) else at[key]
        at[int(last) if isinstance(at, list) else last] = value

    return change


def drop(path: str) -> Change:
    def change(events: Events) -> None:
        *way, last = path.split(".")
        at: Any = events
        for key in way:
            at = at[int(key)] if isinstance(at, list) else at[key]
        del at[int(last) if isinstance(at, list) else last]

    return change


def insert(at: int, one: dict[str, Any]) -> Change:
    return lambda events: events.insert(at, one)


def again(at: int) -> Change:
    return lambda events: events.insert(at, copy.deepcopy(events[at]))


def swap(one: int, other: int) -> Change:
    def change(events: Events) -> None:
        events[one], events[other] = events[other], events[one]

    return change


def cut(at: int) -> Change:
    return lambda events: events.__delitem__(slice(at, None))


BROKEN: dict[str, tuple[Change, str]] = {
    "no beginning": (drop("0"), "before response.created"),
    "two beginnings": (again(0), "second time"),
    "a number that is not next": (put("4.sequence_number", 7), "4 is next"),
    "a response without an id": (put("0.response.id", ""), "wrong"),
    "a response without tools": (drop("0.response.tools"), "response.tools"),
    "a response without its instructions": (drop("0.response.instructions"), "lacks"),
    "a beginning with content": (put("0.response.output", [{}]), "not empty"),
    "another id at the end": (put("20.response.id", "resp_2"), "changed"),
    "another status at the end": (put("20.response.status", "failed"), "status"),
    "an item that skips a number": (put("8.output_index", 2), "1 is next"),
    "an item within another": (drop("7"), "still open"),
    "an item without an id": (drop("8.item.id"), "no id"),
    "an item without a type": (drop("8.item.type"), "no type"),
    "an item under another's id": (put("8.item.id", "rs_1"), "another item"),
    "a message of a user": (put("8.item.role", "user"), "role"),
    "an item that begins full": (put("15.item.arguments", "{}"), "begins with arguments"),
    "an item that begins completed": (put("15.item.status", "completed"), "begins completed"),
    "a call with an id that is not taken back": (put("15.item.call_id", "functions.Bash:0"), "not take back"),
    "a call with an id that is too long": (put("15.item.call_id", "c" * 65), "not take back"),
    "a call without a name": (put("15.item.name", ""), "without a name"),
    "an item that is done as another": (put("19.item.name", "g"), "name was 'f'"),
    "an item that is done under another id": (put("19.item.id", "fc_2"), "item_id"),
    "a delta for another item": (put("16.item_id", "fc_9"), "is open"),
    "a delta with another index": (put("16.output_index", 1), "is open"),
    "a delta without an item": (drop("16.item_id"), "is open"),
    "a delta that is no text": (put("16.delta", 5), "not a string"),
    "arguments for a text": (put("10.type", "response.function_call_arguments.delta"), "does not fit"),
    "text for a call": (put("16.type", "response.output_text.delta"), "no part"),
    "a text outside a part": (drop("9"), "no part"),
    "a part in a reasoning": (put("3.type", "response.content_part.added"), "no such parts"),
    "a part that skips a number": (put("9.content_index", 1), "0 is next"),
    "a part within another": (again(9), "still open"),
    "a part that begins full": (put("9.part.text", "x"), "begin empty"),
    "a delta for another part": (put("10.content_index", 1), "is open"),
    "a text without log probabilities": (drop("10.logprobs"), "logprobs"),
    "a text that is not what was said": (put("12.text", "Ho."), "the deltas make"),
    "a text that goes on": (swap(10, 12), "deltas make|told whole"),
    "a source that skips a number": (put("11.annotation_index", 1), "annotation_index"),
    "a part that is not what was said": (put("13.part.text", "Ho."), "what was said"),
    "a part without its sources": (put("13.part.annotations", []), "what was said"),
    "a part whose text was never whole": (drop("12"), "not told whole"),
    "a part that is never done": (drop("13"), "still open"),
    "an item that is not what was said": (put("14.item.content", []), "not what was said"),
    "a summary that is not what was said": (put("7.item.summary", []), "not what was said"),
    "arguments that are not what was said": (put("18.arguments", "{}"), "the deltas make"),
    "arguments that are no JSON": (put("17.delta", ":1"), "deltas make"),
    "arguments that go on": (swap(17, 18), "the deltas make"),
    "arguments that were never whole": (drop("18"), "told whole"),
    "a call that is whole and not completed": (put("19.item.status", "incomplete"), "told whole"),
    "an item that is never done": (drop("19"), "still open"),
    "an output that is not what was done": (put("20.response.output", []), "not what was done"),
    "an end without usage": (put("20.response.usage", None), "usage"),
    "usage without details": (drop("20.response.usage.input_tokens_details"), "input_tokens_details"),
    "usage that does not add up": (put("20.response.usage.total_tokens", 99), "parts make"),
    "usage with details larger than their total": (
        put("20.response.usage.output_tokens_details.reasoning_tokens", 10),
        "larger",
    ),
    "an end that says an error": (put("20.response.error", {"code": "x"}), "says an error"),
    "an end that says why it is incomplete": (
        put("20.response.incomplete_details", {"reason": "max_output_tokens"}),
        "says why",
    ),
    "no end": (cut(20), "broke off"),
    "an event after the end": (again(20), "after the end"),
    "an error after the beginning": (insert(5, {"type": "error", "code": "x", "message": "m"}), "response.failed"),
    "an incomplete answer without a reason": (put("20.type", "response.incomplete"), "status"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_stream_is_refused(name: str) -> None:
    change, reason = BROKEN[name]
    events = legal()
    change(events)
    with pytest.raises(IllegalStream, match=reason):
        fold_responses(sse(events))


def test_a_name_that_is_not_the_type_is_refused() -> None:
    with pytest.raises(IllegalStream, match=r"of type 'response\.created'"):
        fold_responses(sse(legal()).replace(b"event: response.created", b"event: response.begun", 1))


def test_events_that_nobody_knows_may_stand_between() -> None:
    for at in range(1, 20):
        events = legal()
        events.insert(at, {"type": "codex.rate_limits", "x": 1})
        assert fold_responses(b": hello\n\n" + sse(events)).unknown == ({"type": "codex.rate_limits", "x": 1},)


def test_a_failure_keeps_what_was_said_and_leaves_it_open() -> None:
    failed = {**response("failed"), "error": {"code": "server_is_overloaded", "message": "Busy."}}
    view = fold_responses(sse([*legal()[:11], event("failed", response=failed)]))
    assert view.error is not None
    assert (view.error.word, view.error.message) == ("overloaded", "Busy.")
    assert view.text == "Hi."


@pytest.mark.parametrize("nested", [True, False])
def test_an_error_event_instead_of_an_answer(nested: bool) -> None:
    inner = {"code": "rate_limit_exceeded", "message": "Slow."}
    view = fold_responses(sse([{"type": "error", **({"error": inner} if nested else inner)}]))
    assert view.error is not None
    assert (view.error.word, view.error.message) == ("rate_limit", "Slow.")


def test_a_call_may_break_off_where_the_answer_was_cut_short() -> None:
    events = legal()
    del events[17:19]
    item = {**events[17]["item"], "status": "incomplete", "arguments": '{"a"'}
    last = {**response("completed", *events[18]["response"]["output"][:2], item), "status": "incomplete"}
    events[17]["item"] = item
    events[18] = event("incomplete", response={**last, "incomplete_details": {"reason": "max_output_tokens"}})
    view = fold_responses(sse(events))
    assert view.finish == "length"
    assert view.blocks[2] == Block("tool_call", '{"a"', "f", "c1", whole=False)


def test_a_whole_answer_is_held_to_the_same_rules() -> None:
    whole = legal()[-1]["response"]
    assert read_responses(json.dumps(whole).encode()).gist == fold_responses(sse(legal())).gist
    wrong: list[tuple[dict[str, Any], str]] = [
        ({**whole, "status": "in_progress"}, "status"),
        ({**whole, "output": [{"type": "message", "id": "m", "role": "assistant"}]}, "not a list"),
        ({**whole, "output": [{**whole["output"][2], "arguments": "{"}]}, "not JSON"),
        ({**whole, "output": [{**whole["output"][1], "content": [{"type": "hologram"}]}]}, "unknown shape"),
        ({**whole, "status": "incomplete"}, "incomplete_details"),
    ]
    for body, reason in wrong:
        with pytest.raises(IllegalStream, match=reason):
            read_responses(body)
    with pytest.raises(IllegalStream, match="not a JSON object"):
        read_responses(b"[]")
    assert read_responses({"error": {"message": "m", "code": "invalid_api_key"}}).error is not None
