"""Chat Completions streams to events: everything that servers are known to do."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, TypeAlias

import msgspec
import pytest

from dragoman.dialects.chat import CHAT
from dragoman.errors import UpstreamGarbled, UpstreamRefused
from dragoman.ir.events import (
    Choice,
    Cited,
    Close,
    Delta,
    Event,
    Fault,
    Finish,
    FinishReason,
    Open,
    Response,
    Sealed,
    Start,
    fold,
)
from dragoman.ir.request import Image, Part, Reasoning, Refusal, Seal, Text, ToolCall, Unknown
from dragoman.ir.usage import Usage
from dragoman.wire.sse import Frame

Json: TypeAlias = dict[str, Any]
DONE = Frame("", b"[DONE]")


def chunk(delta: Json | None = None, finish: str | None = None, **more: Any) -> Frame:
    choice = {"index": more.pop("index", 0), "delta": delta or {}, "finish_reason": finish, **more.pop("choice", {})}
    return frame({"id": "chatcmpl-1", "model": "m", "choices": [choice], **more})


def frame(body: Any) -> Frame:
    return Frame("", json.dumps(body).encode())


def calls(*deltas: Json) -> Frame:
    return chunk({"tool_calls": list(deltas)})


def opening(index: int | None, call_id: str | None, name: str | None, arguments: Any = "") -> Json:
    delta: Json = {"type": "function", "function": {"name": name, "arguments": arguments}}
    if index is not None:
        delta["index"] = index
    if call_id is not None:
        delta["id"] = call_id
    return delta


def more(index: int | None, arguments: Any) -> Json:
    delta: Json = {"function": {"arguments": arguments}}
    return delta if index is None else {"index": index, **delta}


def events_of(frames: Iterable[Frame], *, end: bool = True) -> list[Event]:
    decoder = CHAT.stream_decoder("me")
    events = [event for item in frames for event in decoder.feed(item)]
    return [*events, *decoder.end()] if end else events


def legal(events: list[Event]) -> None:
    """The hub's own rules (`ir/events.py`)."""
    opened: set[int] = set()
    closed: set[int] = set()
    assert isinstance(events[0], Start | Fault)
    for position, event in enumerate(events):
        match event:
            case Open(index):
                assert index == len(opened)
                opened.add(index)
            case Delta(index) | Sealed(index) | Cited(index):
                assert index in opened - closed
            case Close(index):
                assert index in opened - closed
                closed.add(index)
            case Fault():
                assert position == len(events) - 1
            case Finish():
                assert opened == closed
            case _:
                assert position == 0


def answer(*frames: Frame) -> Response:
    events = events_of(frames)
    legal(events)
    return fold(events)


def parts(*frames: Frame) -> list[Part]:
    return answer(*frames).choices[0].parts


def call(call_id: str, name: str = "f", arguments: str = "{}", kind: Any = "function") -> ToolCall:
    return ToolCall(id=call_id, name=name, arguments=arguments, kind=kind)


STOP = chunk(finish="stop")
TOOLS = chunk(finish="tool_calls")

CALLS: list[tuple[str, list[Frame], list[Part]]] = [
    (
        "two whole calls in one chunk",
        [calls(opening(0, "a", "f", '{"x":1}'), opening(1, "b", "g", '{"y":2}')), TOOLS],
        [call("a", "f", '{"x":1}'), call("b", "g", '{"y":2}')],
    ),
    (
        "interleaved arguments",
        [
            calls(opening(0, "a", "f"), opening(1, "b", "g")),
            calls(more(0, '{"x":')),
            calls(more(1, '{"y":')),
            calls(more(0, "1}")),
            calls(more(1, "2}")),
            TOOLS,
        ],
        [call("a", "f", '{"x":1}'), call("b", "g", '{"y":2}')],
    ),
    (
        "calls in sequence",
        [calls(opening(0, "a", "f")), calls(more(0, "{}")), calls(opening(1, "b", "g")), calls(more(1, "{}")), TOOLS],
        [call("a"), call("b", "g")],
    ),
    ("no arguments ever", [calls(opening(0, "a", "f")), TOOLS], [call("a")]),
    ("arguments that are null", [calls(opening(0, "a", "f", None)), TOOLS], [call("a")]),
    ("arguments as an object", [calls(opening(0, "a", "f", {"x": 1})), TOOLS], [call("a", "f", '{"x":1}')]),
    ("arguments as an empty object", [calls(opening(0, "a", "f", {})), TOOLS], [call("a")]),
    (
        "id and name in every chunk",
        [calls(opening(0, "a", "f", '{"x"')), calls(opening(0, "a", "f", ":1}")), TOOLS],
        [call("a", "f", '{"x":1}')],
    ),
    (
        "name null and empty after the first",
        [calls(opening(0, "a", "f")), calls(opening(0, None, None, '{"x"')), calls(opening(0, "", "", ":1}")), TOOLS],
        [call("a", "f", '{"x":1}')],
    ),
    (
        "the same index for each call, told apart by id",
        [calls(opening(0, "a", "f", "{}")), calls(opening(0, "b", "g", "{}")), TOOLS],
        [call("a"), call("b", "g")],
    ),
    (
        "the same index and another id, but no name: still the same call",
        [calls(opening(0, "a", "f", '{"x"')), calls({**more(0, ":1}"), "id": "zzz"}), TOOLS],
        [call("a", "f", '{"x":1}')],
    ),
    (
        "the same index and no ids at all",
        [calls(opening(0, None, "f", "{}")), calls(opening(0, None, "f", "{}")), TOOLS],
        [call("call_chatcmpl-1_0"), call("call_chatcmpl-1_1")],
    ),
    (
        "no index, but ids",
        [
            calls(opening(None, "a", "f", '{"x"')),
            calls({"id": "a", **more(None, ":1}")}),
            calls(opening(None, "b", "g", "{}")),
            TOOLS,
        ],
        [call("a", "f", '{"x":1}'), call("b", "g")],
    ),
    (
        "neither index nor later ids",
        [calls(opening(None, "a", "f")), calls(more(None, '{"x":')), calls(more(None, "1}")), TOOLS],
        [call("a", "f", '{"x":1}')],
    ),
    (
        "neither index nor ids, whole calls one after the other",
        [
            calls(opening(None, None, "f", {})),
            calls(opening(None, None, "f", {})),
            calls(opening(None, None, "g", '{"a":1}')),
            TOOLS,
        ],
        [call("call_chatcmpl-1_0"), call("call_chatcmpl-1_1"), call("call_chatcmpl-1_2", "g", '{"a":1}')],
    ),
    (
        "neither index nor ids, side by side",
        [
            calls(opening(None, None, "f", '{"x"'), opening(None, None, "g", '{"y"')),
            calls(more(None, ":1}"), more(None, ":2}")),
            TOOLS,
        ],
        [call("call_chatcmpl-1_0", "f", '{"x":1}'), call("call_chatcmpl-1_1", "g", '{"y":2}')],
    ),
    (
        "an index that begins at one",
        [calls(opening(1, "a", "f", "{}")), calls(opening(2, "b", "g", "{}")), TOOLS],
        [call("a"), call("b", "g")],
    ),
    (
        "arguments for an index that nobody opened",
        [calls(opening(0, "a", "f", '{"x"')), calls(more(1, ":1}")), TOOLS],
        [call("a", "f", '{"x":1}')],
    ),
    (
        "an empty call beside a real one",
        [calls(opening(0, "a", "f", "{}")), calls(opening(1, None, "", "")), TOOLS],
        [call("a")],
    ),
    (
        "arguments before the name",
        [calls(more(0, '{"x":')), calls(opening(0, "a", "f", "1}")), TOOLS],
        [call("a", "f", '{"x":1}')],
    ),
    ("a repeated id", [calls(opening(0, "a", "f", "{}"), opening(1, "a", "g", "{}")), TOOLS], [call("a"), call("a_2", "g")]),
    (
        "white space after the arguments were whole",
        [calls(opening(0, "a", "f", "{}")), calls(opening(1, "b", "g", "{}")), calls(more(0, "\n")), TOOLS],
        [call("a"), call("b", "g")],
    ),
    (
        "a custom call",
        [
            calls({"index": 0, "id": "a", "type": "custom", "custom": {"name": "c", "input": "SEL"}}),
            calls({"index": 0, "custom": {"input": "ECT {"}}),
            TOOLS,
        ],
        [call("a", "c", "SELECT {", "custom")],
    ),
    (
        "a legacy call",
        [
            chunk({"function_call": {"name": "f", "arguments": ""}}),
            chunk({"function_call": {"arguments": "{}"}}),
            chunk(finish="function_call"),
        ],
        [call("call_chatcmpl-1_0")],
    ),
    (
        "something hung on a call",
        [calls({**opening(0, "a", "f", "{}"), "extra_content": {"google": {"thought_signature": "s"}}}), TOOLS],
        [
            Reasoning(seal=Seal('{"extra_content":{"google":{"thought_signature":"s"}}}', "me", "chat"), redacted=True),
            call("a"),
        ],
    ),
    (
        "a name in pieces",
        [
            calls(opening(0, "a", "get_")),
            calls({"index": 0, "function": {"name": "wea", "arguments": ""}}),
            calls({"index": 0, "id": "a", "function": {"name": "ther", "arguments": "{"}}),
            calls({"index": 0, "function": {"name": "", "arguments": "}"}}),
            TOOLS,
        ],
        [call("a", "get_weather")],
    ),
    (
        "a name that grows",
        [
            calls(opening(0, "a", "get_")),
            calls(opening(0, "a", "get_weather")),
            calls({"index": 0, "function": {"arguments": "{}"}}),
            TOOLS,
        ],
        [call("a", "get_weather")],
    ),
    (
        "names alone",
        [calls(opening(0, "a", "f")), calls(opening(1, "b", "g")), TOOLS],
        [call("a", "f"), call("b", "g")],
    ),
    (
        "a legacy name in pieces",
        [
            chunk({"function_call": {"name": "get_"}}),
            chunk({"function_call": {"name": "weather", "arguments": "{}"}}),
            chunk(finish="function_call"),
        ],
        [call("call_chatcmpl-1_0", "get_weather")],
    ),
    (
        "text, call, text",
        [chunk({"content": "a"}), calls(opening(0, "x", "f", "{}")), chunk({"content": "b"}), TOOLS],
        [Text(text="a"), call("x"), Text(text="b")],
    ),
]


@pytest.mark.parametrize(("frames", "expected"), [case[1:] for case in CALLS], ids=[case[0] for case in CALLS])
def test_calls_come_out_whole(frames: list[Frame], expected: list[Part]) -> None:
    choice = answer(*frames, DONE).choices[0]
    assert choice.parts == expected
    assert choice.finish.reason == "tool_calls"
    assert choice.incomplete == set()


def test_an_earlier_call_closes_when_the_next_one_opens_if_it_is_whole() -> None:
    events = events_of([calls(opening(0, "a", "f", "{}")), calls(opening(1, "b", "g", "{"))], end=False)
    assert [type(event) for event in events] == [Start, Open, Delta, Close, Open, Delta]


def test_an_unfinished_call_stays_open_beside_the_next() -> None:
    events = events_of([calls(opening(0, "a", "f", '{"x"')), calls(opening(1, "b", "g", "{"))], end=False)
    assert [type(event) for event in events] == [Start, Open, Delta, Open, Delta]


def test_a_call_opens_before_anything_that_comes_after_its_name() -> None:
    frames = [calls(opening(0, "a", "f")), calls(opening(1, "b", "g")), chunk({"content": "c"})]
    events = events_of(frames, end=False)
    assert [event.part for event in events if isinstance(event, Open)] == [
        call("a", "f", ""),
        call("b", "g", ""),
        Text(text=""),
    ]


ITEM = {"type": "reasoning.text", "text": "t1t2", "format": "x", "index": 0, "signature": "s"}
SECRET = {"type": "reasoning.encrypted", "data": "d1d2", "index": 1}


def detail(**item: Any) -> Frame:
    return chunk({"reasoning": item.get("text"), "reasoning_details": [item]})


def seal(item: Json) -> Seal:
    return Seal(msgspec.json.encode(item).decode(), "me", "chat")


CONTENT: list[tuple[str, list[Frame], list[Part]]] = [
    (
        "text",
        [chunk({"role": "assistant", "content": ""}), chunk({"content": "a"}), chunk({"content": "b"})],
        [Text(text="ab")],
    ),
    (
        "reasoning_content, then content",
        [chunk({"reasoning_content": "t", "content": None}), chunk({"content": "a", "reasoning_content": None})],
        [Reasoning(text="t"), Text(text="a")],
    ),
    ("reasoning", [chunk({"reasoning": "t"}), chunk({"content": "a"})], [Reasoning(text="t"), Text(text="a")]),
    ("both names at once", [chunk({"reasoning": "t", "reasoning_content": "t"})], [Reasoning(text="t")]),
    ("thinking and text in one chunk", [chunk({"reasoning": "t", "content": "a"})], [Reasoning(text="t"), Text(text="a")]),
    (
        "thinking, text, thinking",
        [chunk({"reasoning": "t"}), chunk({"content": "a"}), chunk({"reasoning": "u"}), chunk({"content": "b"})],
        [Reasoning(text="t"), Text(text="a"), Reasoning(text="u"), Text(text="b")],
    ),
    (
        "details that grow, with a signature at the end",
        [
            detail(type="reasoning.text", text="t1", format="x", index=0),
            detail(type="reasoning.text", text="t2", format="x", index=0),
            chunk({"reasoning_details": [{"type": "reasoning.text", "signature": "s", "index": 0}]}),
            chunk({"content": "a"}),
        ],
        [Reasoning(text="t1t2", seal=seal(ITEM)), Text(text="a")],
    ),
    (
        "encrypted data in pieces, beside text",
        [
            detail(type="reasoning.text", text="t", index=0),
            chunk({"reasoning_details": [{"type": "reasoning.encrypted", "data": "d1", "index": 1}]}),
            chunk({"reasoning_details": [{"type": "reasoning.encrypted", "data": "d2", "index": 1}]}),
            chunk({"content": "a"}),
        ],
        [
            Reasoning(text="t", seal=seal({"type": "reasoning.text", "text": "t", "index": 0})),
            Reasoning(seal=seal(SECRET), redacted=True),
            Text(text="a"),
        ],
    ),
    (
        "a summary",
        [chunk({"reasoning_details": [{"type": "reasoning.summary", "summary": "s"}]}), chunk({"content": "a"})],
        [Reasoning(text="s", seal=seal({"type": "reasoning.summary", "summary": "s"}), summary=True), Text(text="a")],
    ),
    (
        "two items",
        [detail(type="reasoning.text", text="t", index=0), detail(type="reasoning.text", text="u", index=1)],
        [
            Reasoning(text="t", seal=seal({"type": "reasoning.text", "text": "t", "index": 0})),
            Reasoning(text="u", seal=seal({"type": "reasoning.text", "text": "u", "index": 1})),
        ],
    ),
    (
        "plain thinking, then its item with all of the text again",
        [
            chunk({"reasoning": "t1"}),
            chunk({"reasoning": "t2"}),
            chunk({"reasoning_details": [ITEM]}),
            chunk({"content": "a"}),
        ],
        [Reasoning(text="t1t2", seal=seal(ITEM)), Text(text="a")],
    ),
    (
        "a signature after the text has begun",
        [
            chunk({"content": "a"}),
            chunk({"reasoning_details": [{"type": "reasoning.text", "signature": "s"}]}),
            chunk({"content": "b"}),
        ],
        [Text(text="ab"), Reasoning(seal=seal({"type": "reasoning.text", "signature": "s"}))],
    ),
    (
        "parts instead of text",
        [
            chunk({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "t"}]}]}),
            chunk({"content": [{"type": "text", "text": "a"}]}),
            chunk({"content": "b"}),
        ],
        [Reasoning(text="t"), Text(text="ab")],
    ),
    (
        "an image",
        [chunk({"content": "a"}), chunk({"images": [{"type": "image_url", "image_url": {"url": "https://x"}}]})],
        [Text(text="a"), Image(url="https://x")],
    ),
    (
        "audio in pieces",
        [chunk({"audio": {"id": "x", "transcript": "a"}}), chunk({"audio": {"data": "QQ==", "transcript": "b"}})],
        [Unknown(native={"type": "audio", "audio": {"id": "x", "transcript": "ab", "data": "QQ=="}}, dialect="chat")],
    ),
    (
        "a message where a delta should be",
        [frame({"choices": [{"index": 0, "message": {"content": "a"}, "finish_reason": None}]})],
        [Text(text="a")],
    ),
    (
        "a cumulative message beside the delta",
        [frame({"choices": [{"index": 0, "delta": {"content": "b"}, "message": {"content": "ab"}}]})],
        [Text(text="b")],
    ),
    (
        "frames that are no chunks",
        [
            frame({"id": "x"}),
            frame([]),
            frame({"choices": []}),
            frame({"type": "rate_limits"}),
            Frame("", b""),
            chunk({"content": "a"}),
        ],
        [Text(text="a")],
    ),
    (
        "a character in two halves",
        [
            Frame("", b'{"choices":[{"delta":{"content":"x\\ud83d"}}]}'),
            Frame("", b'{"choices":[{"delta":{"content":"\\ude00y"}}]}'),
        ],
        [Text(text="x\U0001f600y")],
    ),
    (
        "half a character",
        [Frame("", b'{"choices":[{"delta":{"content":"x\\ud83d"}}]}'), chunk({"content": "y"})],
        [Text(text="x\ufffdy")],
    ),
]


@pytest.mark.parametrize(("frames", "expected"), [case[1:] for case in CONTENT], ids=[case[0] for case in CONTENT])
def test_content_comes_out_in_order(frames: list[Frame], expected: list[Part]) -> None:
    assert parts(*frames, STOP, DONE) == expected


def test_a_refusal_is_one_also_in_the_reason() -> None:
    choice = answer(chunk({"refusal": "no"}), chunk({"refusal": "pe"}), STOP, DONE).choices[0]
    assert (choice.parts, choice.finish.reason) == ([Refusal(text="nope")], "refusal")


def test_annotations_cite_the_text() -> None:
    native = {"type": "url_citation", "url_citation": {"url": "u", "title": "t", "start_index": 0, "end_index": 1}}
    [text] = parts(chunk({"content": "a"}), chunk({"annotations": [native]}), STOP, DONE)
    assert isinstance(text, Text)
    assert [citation.url for citation in text.citations] == ["u"]


def test_log_probabilities_go_with_their_text() -> None:
    def probs(token: str) -> Json:
        return {"logprobs": {"content": [{"token": token, "logprob": -0.5}], "refusal": None}}

    choice = answer(
        chunk({"role": "assistant"}, choice=probs("<s>")),
        chunk({"content": "a"}, choice=probs("a")),
        chunk({"content": ""}, choice=probs("</s>")),
        STOP,
        DONE,
    ).choices[0]
    assert [entry["token"] for entry in choice.logprobs or [] if isinstance(entry, dict)] == ["<s>", "a", "</s>"]


# ---------------------------------------------------------------- how it ends

CUT = calls(opening(0, "a", "f", '{"x": "y'))
WHOLE = calls(opening(0, "a", "f", '{"x": 1}'))
ENDS: list[tuple[str, list[Frame], tuple[FinishReason, str | None], set[int]]] = [
    ("stop", [chunk({"content": "a"}), STOP, DONE], ("stop", None), set()),
    ("stop without [DONE]", [chunk({"content": "a"}), STOP], ("stop", None), set()),
    ("[DONE] without a reason", [chunk({"content": "a"}), DONE], ("stop", None), set()),
    ("[DONE] without a reason, after a call", [WHOLE, DONE], ("tool_calls", None), set()),
    ("stop after a call", [WHOLE, STOP, DONE], ("tool_calls", None), set()),
    ("a call that was announced only", [chunk({"content": "a"}), TOOLS, DONE], ("stop", None), set()),
    ("a reason and nothing else", [STOP, DONE], ("stop", None), set()),
    ("the reason in the last chunk of text", [chunk({"content": "a"}, "length"), DONE], ("length", None), set()),
    ("a reason that is an empty string", [chunk({"content": "a"}, ""), STOP, DONE], ("stop", None), set()),
    ("two reasons", [chunk({"content": "a"}, "length"), STOP, DONE], ("length", None), set()),
    ("an unknown reason", [chunk({"content": "a"}, "eos"), DONE], ("stop", None), set()),
    ("a reason in capitals", [chunk({"content": "a"}, "MAX_TOKENS"), DONE], ("length", None), set()),
    ("another word for a filter", [chunk({"content": "a"}, "SAFETY"), DONE], ("content_filter", None), set()),
    ("stop, and then why", [chunk({"content": "a"}, "stop"), chunk(finish="length"), DONE], ("length", None), set()),
    ("why, and then stop", [chunk({"content": "a"}, "length"), chunk(finish="stop"), DONE], ("length", None), set()),
    (
        "a stop sequence",
        [chunk({"content": "a"}, "stop", choice={"stop_reason": "END"}), DONE],
        ("stop_sequence", "END"),
        set(),
    ),
    ("cut at the limit within a call", [CUT, chunk(finish="length"), DONE], ("length", None), {0}),
    ("cut within a call, and called whole", [CUT, TOOLS, DONE], ("length", None), {0}),
    ("cut within a call, and called a stop", [CUT, STOP, DONE], ("length", None), {0}),
    ("cut within a call, with [DONE] alone", [CUT, DONE], ("length", None), {0}),
    ("cut before the arguments", [calls(opening(0, "a", "f")), chunk(finish="length"), DONE], ("length", None), {0}),
    ("whole calls at the limit", [WHOLE, chunk(finish="length"), DONE], ("length", None), set()),
    ("a filter", [chunk({"content": "a"}), chunk(finish="content_filter"), DONE], ("content_filter", None), set()),
]


@pytest.mark.parametrize(("frames", "expected", "incomplete"), [case[1:] for case in ENDS], ids=[case[0] for case in ENDS])
def test_why_it_ended(frames: list[Frame], expected: tuple[FinishReason, str | None], incomplete: set[int]) -> None:
    choice = answer(*frames).choices[0]
    assert (choice.finish.reason, choice.finish.stop_sequence) == expected
    assert choice.incomplete == incomplete


def fault_of(*frames: Frame) -> tuple[list[Event], Exception]:
    events = events_of(frames)
    legal(events)
    last = events[-1]
    assert isinstance(last, Fault)
    return events, last.error


BROKEN: list[tuple[str, list[Frame]]] = [
    ("nothing at all", []),
    ("the role alone", [chunk({"role": "assistant", "content": ""})]),
    ("the role and [DONE]", [chunk({"role": "assistant", "content": ""}), DONE]),
    ("[DONE] alone", [DONE]),
    ("text that broke off", [chunk({"content": "a"})]),
    ("a call that broke off", [CUT]),
    ("a whole call without an end", [WHOLE]),
    ("one of two choices without an end", [chunk({"content": "a"}), chunk({"content": "b"}, index=1), STOP]),
    ("a frame that is not JSON", [chunk({"content": "a"}), Frame("", b"<html>"), STOP, DONE]),
    ("half a frame", [chunk({"content": "a"}), Frame("", b'{"choices":[{"delta":{"conte')]),
    ("choices of a wrong shape", [Frame("", b'{"choices":[{"delta":"a"}]}')]),
    ("a reason that says so", [chunk({"content": "a"}), chunk(finish="error"), DONE]),
    ("DeepSeek out of resources", [chunk({"content": "a"}), chunk(finish="insufficient_system_resource"), DONE]),
    ("a call without a name", [calls(more(0, '{"x":1}')), TOOLS, DONE]),
]


@pytest.mark.parametrize("frames", [case[1] for case in BROKEN], ids=[case[0] for case in BROKEN])
def test_what_broke_off_is_a_fault_that_another_target_may_mend(frames: list[Frame]) -> None:
    events, error = fault_of(*frames)
    assert isinstance(error, UpstreamGarbled)
    assert error.retryable
    assert error.provider == "me"
    assert not any(isinstance(event, Finish) for event in events)


ERRORS: list[tuple[str, Frame, str, int]] = [
    ("OpenAI", frame({"error": {"message": "boom", "type": "server_error", "code": None}}), "internal", 500),
    (
        "OpenRouter",
        frame(
            {
                "id": "x",
                "error": {"code": 429, "message": "boom"},
                "choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": "error"}],
            }
        ),
        "rate_limit",
        429,
    ),
    ("vLLM", frame({"object": "error", "message": "boom", "type": "BadRequestError", "code": 400}), "invalid_request", 400),
    ("a named event", Frame("error", b'{"message":"boom"}'), "unavailable", 502),
    ("a named event in plain text", Frame("error", b"boom"), "unavailable", 502),
    ("a text", frame({"error": "boom"}), "unavailable", 502),
]


@pytest.mark.parametrize(("item", "category", "status"), [case[1:] for case in ERRORS], ids=[case[0] for case in ERRORS])
@pytest.mark.parametrize("before", [0, 1, 2])
def test_an_error_within_a_stream_is_what_it_says(item: Frame, category: str, status: int, before: int) -> None:
    head = [chunk({"role": "assistant", "content": ""}), chunk({"content": "a"})][:before]
    _, error = fault_of(*head, item, STOP, DONE)
    assert isinstance(error, UpstreamRefused)
    assert (error.category, error.status, error.message, error.provider) == (category, status, "boom", "me")


def test_after_the_end_nothing_comes() -> None:
    for ending in (DONE, Frame("error", b"{}")):
        decoder = CHAT.stream_decoder("me")
        decoder.feed(chunk({"content": "a"}, "stop"))
        decoder.feed(ending)
        assert decoder.feed(chunk({"content": "b"})) == []
        assert decoder.end() == []


# ---------------------------------------------------------------- usage, start, choices

USED = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
COUNTED = Usage(input=10, output=5)
EARLY = {"prompt_tokens": 10, "completion_tokens": 1}
USAGES: list[tuple[str, list[Frame], Usage | None]] = [
    ("in a chunk of its own", [chunk({"content": "a"}), STOP, frame({"choices": [], "usage": USED}), DONE], COUNTED),
    ("without [DONE]", [chunk({"content": "a"}), STOP, frame({"choices": [], "usage": USED})], COUNTED),
    ("with the reason", [chunk({"content": "a"}), chunk(finish="stop", usage=USED), DONE], COUNTED),
    ("in every chunk", [chunk({"content": "a"}, usage=EARLY), chunk(finish="stop", usage=USED), DONE], COUNTED),
    ("null until it comes", [chunk({"content": "a"}, usage=None), chunk(finish="stop", usage=USED), DONE], COUNTED),
    ("at Groq", [chunk({"content": "a"}), chunk(finish="stop", x_groq={"id": "r", "usage": USED}), DONE], COUNTED),
    ("in the choice", [chunk({"content": "a"}), chunk(finish="stop", choice={"usage": USED}), DONE], COUNTED),
    ("nowhere", [chunk({"content": "a"}), STOP, DONE], None),
]


@pytest.mark.parametrize(("frames", "expected"), [case[1:] for case in USAGES], ids=[case[0] for case in USAGES])
def test_usage_is_found_wherever_it_stands(frames: list[Frame], expected: Usage | None) -> None:
    assert answer(*frames).usage == expected


def test_the_start_is_the_first_chunk_with_a_choice() -> None:
    filtered = frame({"id": "", "model": "", "choices": [], "prompt_filter_results": []})
    assert events_of([filtered, chunk({"role": "assistant"})], end=False) == [Start("chatcmpl-1", "m")]


def test_choices_do_not_mix() -> None:
    response = answer(
        chunk({"content": "a"}),
        chunk({"content": "b"}, index=1),
        calls(opening(0, "x", "f", "{}")),
        chunk({"tool_calls": [opening(0, "y", "g", "{}")]}, index=1),
        chunk({"content": "c"}, index=1),
        chunk(finish="length", index=1),
        TOOLS,
        frame({"choices": [], "usage": USED}),
        DONE,
    )
    assert response.choices == [
        Choice([Text(text="a"), call("x")], Finish("tool_calls")),
        Choice([Text(text="b"), call("y", "g"), Text(text="c")], Finish("length", COUNTED, choice=1)),
    ]


def test_a_choice_that_says_nothing_is_heard_of_before_any_ends() -> None:
    events = events_of([chunk({"content": "a"}, "stop"), chunk({}, "stop", index=1), DONE])
    first = next(position for position, event in enumerate(events) if isinstance(event, Finish))
    assert any(isinstance(event, Open) and event.choice == 1 for event in events[:first])


# Chunks that are all alike but for their text are read in a shorter way. What follows must not be taken for one.
ODD_ONES: list[Json | str] = [
    {"content": 'quotes " and \\ and },"finish_reason":null}]} and é \U0001f600'},
    {"content": '"content":"x"'},
    {"content": ""},
    {"content": None},
    {"content": ["x"]},
    {"content": "x", "reasoning_content": "y"},
    {"content": "x", "refusal": "no"},
    {"content": "x", "tool_calls": [opening(0, "c", "f", "{}")]},
    {"reasoning_content": "thought"},
    '{"choices":[{"index":0,"delta":{"content":"x"},"finish_reason":"length"}]}',
    '{"choices":[{"index":1,"delta":{"content":"other"},"finish_reason":null}]}',
    '{"choices":[{"index":0,"delta":{"content":"two"},"finish_reason":null},{"index":1,"delta":{"content":"at once"}}]}',
    '{"choices":[{"index":0,"delta":{"content":"p"},"logprobs":{"content":[{"token":"p"}]},"finish_reason":null}]}',
    '{"choices":[{"index":0,"delta":{"content":"half \\ud83d"},"finish_reason":null}]}',
    '{"choices":[{"index":0,"delta":{"content":"\\ude00 the other"},"finish_reason":null}]}',
    '{"choices":[{"index":0,"delta":{"content":"x","content":"last counts"},"finish_reason":null}]}',
    '{"choices":[{"index":0,"delta":{"content":"x"},"finish_reason":null}],"usage":{"prompt_tokens":7}}',
    '{"choices":[{"index":0,"delta":{"content":"cut},"finish_reason":null}]}',
    '{"choices":[{"index":0,"delta":{"content":"a","b"},"finish_reason":null}]}',
    '{"error":{"message":"no more"}}',
]


@pytest.mark.parametrize("odd", ODD_ONES, ids=str)
def test_how_much_chunks_are_alike_changes_nothing(odd: Json | str) -> None:
    def stream(spaces: Iterable[int]) -> list[Event]:
        space = iter(spaces)
        body = odd if isinstance(odd, str) else json.dumps({"choices": [{"index": 0, "delta": odd, "finish_reason": None}]})
        plain = [f'{{"choices":[{{"index":0,"delta":{{"content":"{text}"}},"finish_reason":null}}]}}' for text in "abcdefgh"]
        bodies = [*plain[:6], body, *plain[6:], body]
        return events_of([*(Frame("", (one + " " * next(space)).encode()) for one in bodies), STOP, DONE])

    assert [repr(event) for event in stream([0] * 10)] == [repr(event) for event in stream(range(10))]


def test_only_the_place_of_the_text_is_taken_for_it() -> None:
    def body(content: str, other: str) -> Frame:
        return Frame("", json.dumps({"note": {"content": other}, "choices": [{"delta": {"content": content}}]}).encode())

    frames = [body("a", "z"), body("b", "z"), body("c", "z"), body("d", "y"), body("e", "z"), STOP, DONE]
    assert "".join(event.text for event in events_of(frames) if isinstance(event, Delta)) == "abcde"
