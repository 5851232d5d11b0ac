"""Whatever an upstream sends, the decoder keeps the hub's rules and raises nothing; and what it says can be encoded."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from dragoman.dialects.base import Reply, Target
from dragoman.dialects.chat import CHAT
from dragoman.errors import MalformedBody, UpstreamError
from dragoman.ir.events import Cited, Close, Delta, Event, Fault, Finish, Open, Sealed, Start, fold
from dragoman.ir.losses import Ledger
from dragoman.ir.profile import Profile
from dragoman.ir.request import Request
from dragoman.wire.sse import Frame

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 3),
    st.sampled_from(["", "a", "b", '{"a"', ":1}", "{}", "stop", "error", "length", "text", "function", "\ud83d", "\ude00"]),
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=2),
        st.dictionaries(st.sampled_from(["type", "text", "url", "id", "index", "name", "error"]), inner, max_size=3),
    ),
    max_leaves=4,
)
TEXT = st.sampled_from([None, "", "a", "b c", "\ud83d", "\ude00"])
CALL = st.fixed_dictionaries(
    {},
    optional={
        "index": st.one_of(st.none(), st.integers(0, 2)),
        "id": st.sampled_from([None, "", "x", "y"]),
        "type": st.just("function"),
        "function": st.fixed_dictionaries(
            {},
            optional={
                "name": st.sampled_from([None, "", "f", "g"]),
                "arguments": st.one_of(st.sampled_from([None, "", '{"a"', ":1}", "{}"]), JSON),
            },
        ),
        "custom": JSON,
        "extra_content": JSON,
    },
)
DETAIL = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["reasoning.text", "reasoning.summary", "reasoning.encrypted", "x"]),
        "text": TEXT,
        "summary": TEXT,
        "data": TEXT,
        "signature": TEXT,
        "index": st.sampled_from([None, 0, 1]),
    },
)
DELTA = st.fixed_dictionaries(
    {},
    optional={
        "content": st.one_of(TEXT, JSON),
        "reasoning_content": TEXT,
        "reasoning": st.one_of(TEXT, JSON),
        "reasoning_details": st.one_of(st.lists(DETAIL, max_size=2), JSON),
        "refusal": TEXT,
        "tool_calls": st.one_of(st.lists(CALL, max_size=3), JSON),
        "function_call": JSON,
        "annotations": JSON,
        "audio": JSON,
        "images": JSON,
    },
)
CHOICE = st.fixed_dictionaries(
    {"delta": st.one_of(DELTA, DELTA, DELTA, JSON)},
    optional={
        "index": st.sampled_from([0, 0, 0, 1, None, "0"]),
        "finish_reason": st.sampled_from(
            [None, None, None, "", "stop", "length", "tool_calls", "content_filter", "error", 5, []]
        ),
        "logprobs": st.one_of(st.just({"content": [{"token": "a"}]}), JSON),
        "stop_reason": JSON,
        "usage": JSON,
    },
)
CHUNK = st.fixed_dictionaries(
    {"choices": st.lists(CHOICE, max_size=2)}, optional={"id": JSON, "model": JSON, "usage": JSON, "x_groq": JSON}
)
FRAMES = st.lists(st.one_of(CHUNK, CHUNK, CHUNK, JSON), max_size=6)


def legal(events: list[Event]) -> None:
    opened: set[int] = set()
    closed: set[int] = set()
    finished: set[int] = set()
    for position, event in enumerate(events):
        match event:
            case Start():
                assert position == 0
            case Open(index):
                assert index == len(opened)
                assert not finished
                opened.add(index)
            case Delta(index) | Sealed(index) | Cited(index):
                assert index in opened - closed
            case Close(index):
                assert index in opened - closed
                closed.add(index)
            case Finish():
                assert opened == closed
                assert event.choice not in finished
                finished.add(event.choice)
            case _:
                assert isinstance(event, Fault)
                assert position == len(events) - 1


@settings(max_examples=250, deadline=None, database=None)
@given(frames=FRAMES, done=st.booleans())
def test_any_stream_is_legal_events_or_a_fault(frames: list[Any], done: bool) -> None:
    decoder = CHAT.stream_decoder("me")
    events: list[Event] = []
    for native in frames:
        events += decoder.feed(Frame("", json.dumps(native).encode()))
    if done:
        events += decoder.feed(Frame("", b"[DONE]"))
    events += decoder.end()
    legal(events)
    assert isinstance(events[-1], Finish | Fault)
    reply = Reply(Request(model="m", dialect="chat", include_usage=True), "m", 1, "chatcmpl-1", 1, "me", Ledger())
    encoder = CHAT.stream_encoder(reply)
    out = b"".join(encoder.feed(event) for event in events)
    assert out.endswith(b"data: [DONE]\n\n") == isinstance(events[-1], Finish)
    if isinstance(events[-1], Finish):
        json.loads(CHAT.encode_response(fold(events), reply))


@settings(max_examples=250, deadline=None, database=None)
@given(
    native=st.one_of(
        JSON,
        st.fixed_dictionaries(
            {"choices": st.lists(st.fixed_dictionaries({"message": DELTA}, optional={"finish_reason": JSON}), max_size=2)},
            optional={"usage": JSON, "id": JSON},
        ),
    )
)
def test_any_whole_answer_is_read_or_refused(native: Any) -> None:
    body = json.dumps(native).encode()
    try:
        response = CHAT.decode_response(body, "me")
    except UpstreamError:
        return
    reply = Reply(Request(model="m", dialect="chat"), "m", 1, "chatcmpl-1", 1, "me", Ledger())
    json.loads(CHAT.encode_response(response, reply))


@settings(max_examples=250, deadline=None, database=None)
@given(status=st.sampled_from([0, 200, 400, 429, 503]), body=st.one_of(st.binary(max_size=40), JSON.map(json.dumps)))
def test_any_error_is_read(status: int, body: bytes | str) -> None:
    data = body if isinstance(body, bytes) else body.encode()
    error = CHAT.decode_error(status, {}, data, "me")
    assert error.message
    assert error.status >= 400
    json.loads(CHAT.encode_error(error, "r").body)
    CHAT.error_in_body(data)
    CHAT.sniff(Frame("", data))
    CHAT.usage_of(data, data)
    CHAT.scrub(data, "me")


PROFILES = [
    Profile(),
    Profile(cache_marks="cache_control", reasoning="reasoning", reasoning_replay="reasoning_details", extra_sampling=True),
    Profile(cache_marks="breakpoint", reasoning="thinking", reasoning_replay="reasoning_content", max_stop=1),
    Profile(reasoning="none", structured=False, forced_tools=False, sampling=False, stream_usage=False),
]
ROLE = st.sampled_from(["system", "user", "assistant", "tool", "function", "developer"])
MESSAGE = st.fixed_dictionaries(
    {"role": ROLE, "content": st.one_of(TEXT, JSON, st.lists(JSON, max_size=2))},
    optional={
        "tool_calls": st.one_of(st.lists(CALL, max_size=2), JSON),
        "tool_call_id": TEXT,
        "name": TEXT,
        "reasoning_details": st.one_of(st.lists(DETAIL, max_size=2), JSON),
        "reasoning_content": JSON,
        "annotations": JSON,
        "cache_control": JSON,
    },
)


@settings(max_examples=250, deadline=None, database=None)
@given(
    messages=st.lists(MESSAGE, max_size=3),
    more=st.dictionaries(
        st.sampled_from(
            ["tools", "tool_choice", "functions", "function_call", "response_format", "stop", "reasoning", "thinking"]
        ),
        JSON,
        max_size=2,
    ),
    profile=st.sampled_from(PROFILES),
)
def test_any_request_is_read_and_written_or_refused(messages: list[Any], more: dict[str, Any], profile: Profile) -> None:
    try:
        request = CHAT.decode_request(json.dumps({"model": "m", "messages": messages, **more}).encode())
    except MalformedBody:
        return
    target = Target("up", "me", profile)
    for dialect in ("chat", "another"):
        request.dialect = dialect
        json.loads(CHAT.encode_request(request, target, Ledger()))
