"""Scenarios that only Responses can say, and those that bend its rules as real servers do: whatever the grammar says twice,
some server says once, and most things it says three times."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from dragoman.testing.library_faults import fails
from dragoman.testing.library_text import HELLO, T, U, says, text, thinking
from dragoman.testing.library_tools import LONG_ID, PARIS, ROME, call
from dragoman.testing.scenario import (
    Begin,
    Citation,
    ErrorEvent,
    Finish,
    Interruption,
    Native,
    RawFrame,
    Refusal,
    Scenario,
    Text,
    Thinking,
    ToolCall,
    UnknownEvent,
    Usage,
    scenario,
)
from dragoman.testing.view import Block, Cite, Tokens, View

ONLY = ("responses",)
SEALED = "gAAAAABpScriptedEncryptedReasoning0123456789abcdefghijklmnopqrstuvwxyz=="
_LIMITS = {"type": "codex.rate_limits", "rate_limits": {"primary": {"used_percent": 12.5, "window_minutes": 300}}}

# ---------------------------------------------------------------- events, by hand


def event(kind: str, **data: Any) -> Native:
    return Native("responses", {"type": f"response.{kind}", **data})


def created() -> Native:
    return event("created", response={})


def completed(*output: Mapping[str, Any]) -> Native:
    return event("completed", response={"output": list(output)})


def message(said: str, item_id: str = "msg_1", status: str = "completed") -> dict[str, Any]:
    part = {"type": "output_text", "annotations": [], "logprobs": [], "text": said}
    content = [part] if status == "completed" else []
    return {"id": item_id, "type": "message", "status": status, "role": "assistant", "content": content}


def function(
    name: str, arguments: str, call_id: str | None = "call_1", item_id: str = "fc_1", status: str = "completed"
) -> dict[str, Any]:
    item = {"id": item_id, "type": "function_call", "status": status, "name": name, "arguments": arguments}
    return item if call_id is None else {**item, "call_id": call_id}


def begun(item: dict[str, Any], index: int = 0) -> Native:
    return event("output_item.added", output_index=index, item=item)


def done(item: dict[str, Any], index: int = 0) -> Native:
    return event("output_item.done", output_index=index, item=item)


def delta(kind: str, piece: str, item_id: str = "msg_1", index: int = 0, **more: Any) -> Native:
    more = {"content_index": 0, "logprobs": []} | more if kind == "output_text" else more
    return event(f"{kind}.delta", item_id=item_id, output_index=index, delta=piece, **more)


_ARGUMENTS = json.dumps(PARIS)
_WHOLE = function("get_weather", _ARGUMENTS)
_OPENED = function("get_weather", "", status="in_progress")
_SECOND = function("get_forecast", json.dumps(ROME), "call_2", "fc_2")
_ARGS = "function_call_arguments"
_ONE = says(call("get_weather", PARIS), finish="tool_calls")
_TWO = says(call("get_weather", PARIS), call("get_forecast", ROME, "call_2"), finish="tool_calls")
_SAID = says(text(HELLO))
_PART = event(
    "content_part.added",
    item_id="msg_1",
    output_index=0,
    content_index=0,
    part={"type": "output_text", "annotations": [], "logprobs": [], "text": ""},
)

# ---------------------------------------------------------------- by the book

_SEARCH = {
    "id": "ws_1",
    "type": "web_search_call",
    "status": "completed",
    "action": {"type": "search", "query": "weather in Paris"},
}
_SEARCHING: tuple[Native, ...] = (
    begun({**_SEARCH, "status": "in_progress"}),
    event("web_search_call.in_progress", item_id="ws_1", output_index=0),
    event("web_search_call.searching", item_id="ws_1", output_index=0),
    event("web_search_call.completed", item_id="ws_1", output_index=0),
    done(_SEARCH),
)
_GROUPED = {**function("get_customer", '{"id": 7}'), "namespace": "crm"}


def _summary(index: int, said: str) -> tuple[Native, ...]:
    at: dict[str, Any] = {"item_id": "rs_1", "output_index": 0, "summary_index": index}
    part = {"type": "summary_text", "text": ""}
    return (
        event("reasoning_summary_part.added", **at, part=part),
        event("reasoning_summary_text.delta", **at, delta=said[:5]),
        event("reasoning_summary_text.delta", **at, delta=said[5:]),
        event("reasoning_summary_text.done", **at, text=said),
        event("reasoning_summary_part.done", **at, part={**part, "text": said}),
    )


_THOUGHT: dict[str, Any] = {
    "id": "rs_1",
    "type": "reasoning",
    "summary": [{"type": "summary_text", "text": said} for said in ("First this.", "Then that.")],
    "encrypted_content": SEALED,
}

_REGULAR: tuple[Scenario, ...] = (
    scenario(
        "reasoning-sealed",
        Thinking("I greet back.", SEALED),
        Text(HELLO),
        Usage(input=12, output=7, reasoning=5),
        Finish(),
        expected=says(thinking("I greet back.", SEALED), text(HELLO), tokens=Tokens(12, 7, reasoning=5)),
    ),
    scenario(
        "reasoning-sealed-only",
        Thinking((), SEALED),
        Text(HELLO),
        U,
        Finish(),
        expected=says(thinking("", SEALED), text(HELLO)),
        about="no summary was asked for: the sealed form must be kept all the same",
    ),
    scenario(
        "reasoning-unsealed",
        Thinking("I greet back."),
        Text(HELLO),
        U,
        Finish(),
        expected=says(thinking("I greet back."), text(HELLO)),
    ),
    scenario(
        "reasoning-between-calls",
        Thinking("First I look.", SEALED + "1"),
        Text("Looking."),
        ToolCall("get_weather", PARIS, id="call_1"),
        Thinking("Then I compare.", SEALED + "2"),
        ToolCall("get_weather", {"city": "Rome"}, id="call_2"),
        U,
        Finish("tool_calls"),
        expected=says(
            thinking("First I look.", SEALED + "1"),
            text("Looking."),
            call("get_weather", PARIS),
            thinking("Then I compare.", SEALED + "2"),
            call("get_weather", {"city": "Rome"}, "call_2"),
            finish="tool_calls",
        ),
    ),
    scenario(
        "reasoning-two-summaries",
        Begin(),
        begun({"id": "rs_1", "type": "reasoning", "summary": []}),
        *_summary(0, "First this."),
        *_summary(1, "Then that."),
        done(_THOUGHT),
        U,
        Finish(),
        unary=False,
        expected=says(thinking("First this.\n\nThen that.", SEALED)),
        about="a summary in two parts",
    ),
    scenario(
        "text-then-refusal",
        Text("Well. "),
        Refusal("I can't help with that."),
        U,
        Finish("refusal"),
        expected=says(text("Well. "), Block("refusal", "I can't help with that."), finish="refusal"),
        about="two parts of one message",
    ),
    scenario(
        "web-search",
        Begin(),
        *_SEARCHING,
        Text("It is sunny."),
        Citation("Paris weather", "https://example.org/paris"),
        Usage(input=500, output=60, searches=1),
        Finish(),
        unary=False,
        expected=says(
            Block("unknown", _SEARCH, name="web_search_call"),
            text("It is sunny.", Cite("Paris weather", "https://example.org/paris")),
            tokens=Tokens(500, 60, searches=1),
        ),
        about="a tool that the provider runs, and what it found, cited",
    ),
    scenario(
        "call-in-namespace",
        Begin(),
        begun({**_GROUPED, "arguments": "", "status": "in_progress"}),
        delta(_ARGS, '{"id": 7}', "fc_1"),
        event(f"{_ARGS}.done", item_id="fc_1", output_index=0, arguments='{"id": 7}'),
        done(_GROUPED),
        U,
        Finish("tool_calls"),
        unary=False,
        expected=says(call("crm__get_customer", {"id": 7}), finish="tool_calls"),
        about="a tool of a group",
    ),
    scenario(
        "informational-events",
        Text(("Hel", UnknownEvent("codex.rate_limits", _LIMITS), UnknownEvent("response.mood", {"mood": "fine"}), "lo")),
        U,
        Finish(),
        unary=False,
        expected=View((text("Hello"),), "stop", T, unknown=({**_LIMITS}, {"type": "response.mood", "mood": "fine"})),
        about="events that say nothing of the answer must not end it",
    ),
    scenario(
        "keepalive",
        Text(("Hel", UnknownEvent("keepalive"), "lo")),
        U,
        Finish(),
        unary=False,
        expected=View((text("Hello"),), "stop", T, unknown=({"type": "keepalive"},)),
    ),
    scenario(
        "error-event-nested",
        ErrorEvent(
            "rate_limit",
            payload={"type": "error", "error": {"type": "requests", "code": "rate_limit_exceeded", "message": "Slow down."}},
        ),
        unary=False,
        expected=fails("rate_limit", "Slow down."),
        about="as the API really sends it: the types have these fields at the top",
    ),
)

# ---------------------------------------------------------------- bent


def _bent(name: str, expected: View, about: str, *steps: Interruption) -> Scenario:
    return Scenario(name, (*steps, U), expected, about, ONLY, regular=False, unary=False)


_BENT: tuple[Scenario, ...] = (
    _bent(
        "arguments-only-in-done",
        _ONE,
        "no delta: all arguments come with their end",
        created(),
        begun(_OPENED),
        event(f"{_ARGS}.done", item_id="fc_1", output_index=0, arguments=_ARGUMENTS),
        done(_WHOLE),
        completed(_WHOLE),
    ),
    _bent(
        "arguments-longer-in-done",
        _ONE,
        "the deltas break off, and the end says all",
        created(),
        begun(_OPENED),
        delta(_ARGS, _ARGUMENTS[:9], "fc_1"),
        event(f"{_ARGS}.done", item_id="fc_1", output_index=0, arguments=_ARGUMENTS),
        done(_WHOLE),
        completed(_WHOLE),
    ),
    _bent(
        "arguments-only-in-item",
        _ONE,
        "all arguments come with the whole item",
        created(),
        begun(_OPENED),
        done(_WHOLE),
        completed(_WHOLE),
    ),
    _bent(
        "arguments-from-the-start",
        _ONE,
        "the item begins with its arguments, and nothing follows",
        created(),
        begun(function("get_weather", _ARGUMENTS, status="in_progress")),
        completed(),
    ),
    _bent("call-only-in-response", _ONE, "nothing but the last event", created(), completed(_WHOLE)),
    _bent(
        "arguments-before-item",
        _ONE,
        "no added event: the call's name comes with its item",
        created(),
        delta(_ARGS, _ARGUMENTS[:9], "fc_1"),
        delta(_ARGS, _ARGUMENTS[9:], "fc_1"),
        done(_WHOLE),
        completed(_WHOLE),
    ),
    _bent(
        "calls-interleaved",
        _TWO,
        "two calls are open at once",
        created(),
        begun(_OPENED),
        begun(function("get_forecast", "", "call_2", "fc_2", "in_progress"), 1),
        delta(_ARGS, _ARGUMENTS[:9], "fc_1"),
        delta(_ARGS, _SECOND["arguments"][:9], "fc_2", 1),
        delta(_ARGS, _ARGUMENTS[9:], "fc_1"),
        delta(_ARGS, _SECOND["arguments"][9:], "fc_2", 1),
        done(_WHOLE),
        done(_SECOND, 1),
        completed(_WHOLE, _SECOND),
    ),
    _bent(
        "calls-one-index",
        _TWO,
        "every item has the output_index 0, and only its id tells which is meant",
        created(),
        begun(_OPENED),
        delta(_ARGS, _ARGUMENTS, "fc_1"),
        begun(function("get_forecast", "", "call_2", "fc_2", "in_progress")),
        delta(_ARGS, _SECOND["arguments"], "fc_2"),
        done(_WHOLE),
        done(_SECOND),
        completed(_WHOLE, _SECOND),
    ),
    _bent(
        "ids-change",
        says(text("Hello"), call("get_weather", PARIS), finish="tool_calls"),
        "an item has another id in each event, and only its output_index tells which is meant",
        created(),
        begun(message("", "a", "in_progress")),
        delta("output_text", "Hel", "b"),
        delta("output_text", "lo", "c"),
        done(message("Hello", "d")),
        begun(function("get_weather", "", item_id="e", status="in_progress"), 1),
        delta(_ARGS, _ARGUMENTS, "f", 1),
        done(function("get_weather", _ARGUMENTS, item_id="g"), 1),
        completed(message("Hello", "h"), function("get_weather", _ARGUMENTS, item_id="i")),
    ),
    _bent(
        "call-without-id",
        says(call("get_weather", PARIS, ""), finish="tool_calls"),
        "no call_id: a gateway makes one, and keeps call and result paired",
        created(),
        done(function("get_weather", _ARGUMENTS, None, "")),
        completed(),
    ),
    _bent(
        "call-long-id",
        says(call("get_weather", PARIS, LONG_ID), finish="tool_calls"),
        "an id of 94 characters, which the API itself refuses",
        created(),
        done(function("get_weather", _ARGUMENTS, LONG_ID)),
        completed(function("get_weather", _ARGUMENTS, LONG_ID)),
    ),
    _bent(
        "text-only-in-done",
        _SAID,
        "no delta: the text comes with its end",
        created(),
        begun(message("", status="in_progress")),
        _PART,
        event("output_text.done", item_id="msg_1", output_index=0, content_index=0, text=HELLO, logprobs=[]),
        done(message(HELLO)),
        completed(message(HELLO)),
    ),
    _bent("text-only-in-item", _SAID, "the whole item is all there is of it", created(), done(message(HELLO)), completed()),
    _bent("text-only-in-response", _SAID, "nothing but the last event", created(), completed(message(HELLO))),
    _bent(
        "deltas-alone",
        _SAID,
        "no added, no done, and an empty output at the end",
        created(),
        delta("output_text", HELLO[:5]),
        delta("output_text", HELLO[5:]),
        completed(),
    ),
    _bent(
        "output-left-out",
        says(text(HELLO), call("get_weather", PARIS), finish="tool_calls"),
        "text and call are done, and the last event says nothing of them",
        created(),
        begun(message("", status="in_progress")),
        delta("output_text", HELLO),
        done(message(HELLO)),
        begun(_OPENED, 1),
        delta(_ARGS, _ARGUMENTS, "fc_1", 1),
        done(_WHOLE, 1),
        completed(),
    ),
    _bent(
        "everything-twice",
        _SAID,
        "events are repeated",
        created(),
        created(),
        begun(message("", status="in_progress")),
        begun(message("", status="in_progress")),
        delta("output_text", HELLO),
        done(message(HELLO)),
        done(message(HELLO)),
        completed(message(HELLO)),
    ),
    _bent(
        "reasoning-in-full",
        says(thinking("The user greets me."), text(HELLO)),
        "an open model: the thinking itself instead of a summary",
        created(),
        begun({"id": "rs_1", "type": "reasoning", "summary": [], "content": []}),
        delta("reasoning_text", "The user ", "rs_1", content_index=0),
        delta("reasoning_text", "greets me.", "rs_1", content_index=0),
        event("reasoning_text.done", item_id="rs_1", output_index=0, content_index=0, text="The user greets me."),
        done(
            {
                "id": "rs_1",
                "type": "reasoning",
                "summary": [],
                "content": [{"type": "reasoning_text", "text": "The user greets me."}],
            }
        ),
        done(message(HELLO), 1),
        completed(),
    ),
    _bent(
        "summaries-only-in-done",
        says(thinking("First this.\n\nThen that.", SEALED), text(HELLO)),
        "no deltas of a summary in two parts",
        created(),
        begun({"id": "rs_1", "type": "reasoning", "summary": []}),
        event("reasoning_summary_text.done", item_id="rs_1", output_index=0, summary_index=0, text="First this."),
        event("reasoning_summary_text.done", item_id="rs_1", output_index=0, summary_index=1, text="Then that."),
        done(_THOUGHT),
        done(message(HELLO), 1),
        completed(),
    ),
    _bent(
        "unnumbered-events",
        _SAID,
        "an event of another kind has no number, and [DONE] follows the end",
        created(),
        RawFrame(f"event: codex.rate_limits\ndata: {json.dumps(_LIMITS)}\n\n".encode()),
        done(message(HELLO)),
        completed(message(HELLO)),
        RawFrame(b"data: [DONE]\n\n"),
    ),
    _bent(
        "failed-at-once",
        fails("rate_limit", "Slow down."),
        "the response fails before it was created",
        event("failed", response={"status": "failed", "error": {"code": "rate_limit_exceeded", "message": "Slow down."}}),
    ),
)


def _only(one: Scenario) -> Scenario:
    return Scenario(f"responses-{one.name}", one.steps, one.expected, one.about, ONLY, one.regular, one.unary)


RESPONSES: tuple[Scenario, ...] = tuple(_only(one) for one in (*_REGULAR, *_BENT))
