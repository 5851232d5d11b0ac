"""Whatever an upstream sends, the decoder keeps the hub's rules and raises nothing; and what it says can be encoded."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from dragoman.dialects.base import Reply, Target
from dragoman.dialects.responses import RESPONSES
from dragoman.errors import MalformedBody, UpstreamError
from dragoman.ir.events import Cited, Close, Delta, Event, Fault, Finish, Open, Ping, Sealed, Start, fold, unfold
from dragoman.ir.losses import Ledger
from dragoman.ir.profile import Profile
from dragoman.ir.request import Part, Request, Unknown
from dragoman.testing import fold_responses, read_responses
from dragoman.wire.sse import Frame

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 3),
    st.sampled_from(["", "a", "b", '{"a"', ":1}", "{}", "completed", "failed", "message", "text", "\ud83d", "\ude00"]),
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=2),
        st.dictionaries(st.sampled_from(["type", "text", "url", "id", "name", "error", "status", "output"]), inner, max_size=3),
    ),
    max_leaves=4,
)
TEXT = st.sampled_from([None, "", "a", "ab", "abc", "\ud83d", "\ude00", "{}", '{"a":1}', '{"a'])
IDS = st.sampled_from([None, "", "x", "y", "z"])
INDEX = st.sampled_from([None, 0, 0, 1, 2])
PART = st.one_of(
    st.fixed_dictionaries({"type": st.just("output_text")}, optional={"text": TEXT, "annotations": JSON, "logprobs": JSON}),
    st.fixed_dictionaries({"type": st.just("refusal")}, optional={"refusal": TEXT}),
    st.fixed_dictionaries({"type": st.sampled_from(["summary_text", "reasoning_text", "hologram"])}, optional={"text": TEXT}),
    JSON,
)
PARTS = st.one_of(st.lists(PART, max_size=2), JSON)
ITEM = st.one_of(
    st.fixed_dictionaries({"type": st.just("message")}, optional={"id": IDS, "content": PARTS, "status": TEXT}),
    st.fixed_dictionaries(
        {"type": st.sampled_from(["function_call", "custom_tool_call"])},
        optional={
            "id": IDS,
            "call_id": IDS,
            "name": st.sampled_from([None, "", "f", "g"]),
            "namespace": st.sampled_from([None, "", "crm"]),
            "arguments": st.one_of(TEXT, JSON),
            "input": st.one_of(TEXT, JSON),
            "status": st.sampled_from([None, "completed", "incomplete"]),
        },
    ),
    st.fixed_dictionaries(
        {"type": st.just("reasoning")}, optional={"id": IDS, "summary": PARTS, "content": PARTS, "encrypted_content": TEXT}
    ),
    st.fixed_dictionaries({"type": st.just("web_search_call")}, optional={"id": IDS, "status": TEXT}),
    JSON,
)
WHERE: dict[str, Any] = {"item_id": IDS, "output_index": INDEX, "content_index": INDEX, "summary_index": INDEX}
EVENT = st.one_of(
    st.fixed_dictionaries(
        {
            "type": st.sampled_from(
                [
                    f"response.{kind}.{last}"
                    for kind in (
                        "output_text",
                        "refusal",
                        "function_call_arguments",
                        "custom_tool_call_input",
                        "reasoning_summary_text",
                        "reasoning_text",
                    )
                    for last in ("delta", "done")
                ]
            )
        },
        optional={
            **WHERE,
            "delta": st.one_of(TEXT, JSON),
            **dict.fromkeys(("text", "refusal", "arguments", "input", "name"), TEXT),
            "logprobs": JSON,
        },
    ),
    st.fixed_dictionaries(
        {"type": st.sampled_from(["response.output_item.added", "response.output_item.done"]), "item": ITEM},
        optional={"output_index": INDEX},
    ),
    st.fixed_dictionaries(
        {
            "type": st.sampled_from(
                [
                    "response.content_part.added",
                    "response.content_part.done",
                    "response.reasoning_summary_part.added",
                    "response.reasoning_summary_part.done",
                ]
            )
        },
        optional={**WHERE, "part": PART},
    ),
    st.fixed_dictionaries({"type": st.just("response.output_text.annotation.added"), "annotation": JSON}, optional=WHERE),
    st.fixed_dictionaries({"type": st.sampled_from(["codex.rate_limits", "keepalive", "", "response.new"])}),
    JSON,
)
RESPONSE = st.one_of(
    st.fixed_dictionaries(
        {},
        optional={
            "id": st.sampled_from([None, "", "resp_1"]),
            "model": TEXT,
            "status": st.sampled_from([None, "completed", "incomplete", "failed", "in_progress"]),
            "output": st.one_of(st.lists(ITEM, max_size=3), JSON),
            "usage": JSON,
            "error": JSON,
            "incomplete_details": JSON,
        },
    ),
    JSON,
)
LIFE = st.fixed_dictionaries(
    {"type": st.sampled_from([f"response.{kind}" for kind in ("created", "in_progress", "completed", "incomplete", "failed")])},
    optional={"response": RESPONSE},
)
FRAMES = st.lists(st.one_of(EVENT, EVENT, EVENT, EVENT, LIFE), max_size=7)
END = st.sampled_from(
    [
        None,
        {"type": "response.completed", "response": {"status": "completed", "output": []}},
        {"type": "response.incomplete", "response": {"status": "incomplete"}},
    ]
)


def reply() -> Reply:
    return Reply(Request(model="m", dialect="responses"), "m", 1, "resp_1", 1, "me", Ledger())


def legal(events: list[Event]) -> None:
    opened: set[int] = set()
    closed: set[int] = set()
    for position, event in enumerate(event for event in events if not isinstance(event, Ping)):
        match event:
            case Start():
                assert position == 0
            case Open(index):
                assert position
                assert index == len(opened)
                opened.add(index)
            case Delta(index) | Sealed(index) | Cited(index):
                assert index in opened - closed
            case Close(index):
                assert index in opened - closed
                closed.add(index)
            case Finish():
                assert opened == closed
                assert event is events[-1]
            case _:
                assert isinstance(event, Fault)
                assert event is events[-1]


def is_odd(part: Part) -> bool:
    """A part of a message of a kind that nobody knows: the judge refuses it."""
    return isinstance(part, Unknown) and part.native["type"] in {"message", "reasoning", "function_call", "custom_tool_call"}


@settings(max_examples=400, deadline=None, database=None)
@given(frames=FRAMES, end=END)
def test_any_stream_is_legal_events_or_a_fault(frames: list[Any], end: Any) -> None:
    decoder = RESPONSES.stream_decoder("me")
    events: list[Event] = []
    for native in [*frames, *([end] if end else [])]:
        data = json.dumps(native).encode()
        events += decoder.feed(Frame("", data))
        RESPONSES.sniff(Frame("", data))
    events += decoder.end()
    legal(events)
    assert isinstance(events[-1], Finish | Fault)
    encoder = RESPONSES.stream_encoder(reply())
    out = b"".join(encoder.feed(event) for event in events)
    if any(is_odd(event.part) for event in events if isinstance(event, Open)):
        return
    view = fold_responses(out)
    assert (view.error is not None) == isinstance(events[-1], Fault)
    if isinstance(events[-1], Finish):
        whole = read_responses(RESPONSES.encode_response(fold(events), reply()))
        assert whole.gist == view.gist


@settings(max_examples=300, deadline=None, database=None)
@given(native=RESPONSE)
def test_any_whole_answer_is_read_or_refused(native: Any) -> None:
    try:
        response = RESPONSES.decode_response(json.dumps(native).encode(), "me")
    except UpstreamError:
        return
    body = RESPONSES.encode_response(response, reply())
    if any(is_odd(part) for part in response.choices[0].parts):
        return
    whole = read_responses(body)
    encoder = RESPONSES.stream_encoder(reply())
    assert fold_responses(b"".join(encoder.feed(event) for event in unfold(response))).gist == whole.gist


@settings(max_examples=300, deadline=None, database=None)
@given(status=st.sampled_from([0, 200, 400, 429, 503]), body=st.one_of(st.binary(max_size=40), JSON.map(json.dumps)))
def test_any_error_is_read(status: int, body: bytes | str) -> None:
    data = body if isinstance(body, bytes) else body.encode()
    error = RESPONSES.decode_error(status, {}, data, "me")
    assert error.message
    assert error.status >= 400
    json.loads(RESPONSES.encode_error(error, "r").body)
    RESPONSES.stream_error(error, "r")
    RESPONSES.error_in_body(data)
    RESPONSES.sniff(Frame("", data))
    RESPONSES.usage_of(data, data)
    RESPONSES.scrub(data, "me")
    RESPONSES.ends(data, closed=True)


INPUT = st.one_of(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["user", "assistant", "system", "developer", "tool"]), "content": st.one_of(TEXT, PARTS)},
        optional={"type": st.just("message"), "phase": TEXT, "id": IDS},
    ),
    st.fixed_dictionaries(
        {"type": st.sampled_from(["function_call_output", "custom_tool_call_output", "shell_call_output"])},
        optional={"call_id": IDS, "output": st.one_of(TEXT, PARTS), "name": TEXT, "content": JSON, "status": JSON},
    ),
    ITEM,
)


@settings(max_examples=300, deadline=None, database=None)
@given(
    items=st.lists(INPUT, max_size=4),
    more=st.dictionaries(
        st.sampled_from(
            ["tools", "tool_choice", "text", "reasoning", "include", "instructions", "metadata", "store", "prompt", "user"]
        ),
        JSON,
        max_size=2,
    ),
)
def test_any_request_is_read_or_refused_with_a_reason(items: list[Any], more: dict[str, Any]) -> None:
    body = json.dumps({"model": "m", "input": items, **more}).encode()
    try:
        request = RESPONSES.decode_request(body)
    except MalformedBody:
        return
    assert request.dialect == "responses"
    target = Target("m", "me", Profile())
    again = RESPONSES.decode_request(RESPONSES.encode_request(request, target, Ledger()))
    assert len(again.tools) == len(request.tools)
    answer = Reply(request, "m", 1, "resp_1", 1, "me", Ledger())
    encoder = RESPONSES.stream_encoder(answer)
    assert b"response.completed" in encoder.feed(Finish("stop"))
