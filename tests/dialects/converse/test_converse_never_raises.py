"""Whatever anybody sends gives an answer or a typed error, never a traceback."""

from __future__ import annotations

import contextlib
import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from dragoman.dialects.base import Reply, Target
from dragoman.dialects.converse import CONVERSE
from dragoman.dialects.converse.counting import COUNTING
from dragoman.errors import DragomanError, MalformedBody, UpstreamGarbled
from dragoman.ir.events import Fault, Finish
from dragoman.ir.losses import Ledger
from dragoman.ir.profile import Profile
from dragoman.ir.request import Request
from dragoman.testing import SCENARIOS, fold_converse, render_converse
from dragoman.wire.eventstream import EventStreamParser
from dragoman.wire.sse import Frame

KEYS = """
messages role content text image format source bytes s3Location uri document name context citations enabled video
audio toolUse toolUseId input type toolResult status json guardContent cachePoint ttl reasoningContent reasoningText
signature redactedContent citationsContent sourceContent location web url searchResult title system inferenceConfig
maxTokens temperature topP stopSequences toolConfig tools toolSpec inputSchema description strict toolChoice auto any
tool thinking additionalModelRequestFields budget_tokens top_k outputConfig textFormat structure jsonSchema schema
effort requestMetadata serviceTier output message stopReason usage inputTokens cacheDetails contentBlockIndex delta
start citation additionalModelResponseFields stop_sequence
""".split()  # noqa: SIM905 - eighty words
WORDS = [
    "",
    "user",
    "assistant",
    "system",
    "default",
    "png",
    "txt",
    "AAAA",
    "ZGdtMS1hYmM=",
    "dgm1-abc",
    "enabled",
    "tool_use",
    "{",
]
EVENTS = ["messageStart", "contentBlockStart", "contentBlockDelta", "contentBlockStop", "messageStop", "metadata", "!X", "!"]
JSON: Any = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 10**20)
    | st.floats(allow_nan=False)
    | st.sampled_from(WORDS)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5),
    max_leaves=25,
)


def shaped(*path: str) -> Any:
    """Anything at all, within the objects that lead to it."""

    def wrap(value: Any) -> Any:
        for key in reversed(path):
            value = [value] if key == "*" else {key: value}
        return value

    return JSON.map(wrap)


REQUESTS = (
    JSON | shaped("messages", "*", "content", "*") | shaped("toolConfig") | shaped("toolConfig", "tools", "*", "toolSpec")
)
ANSWERS = JSON | shaped("output", "message", "content", "*") | shaped("usage")
DELTAS = JSON | JSON.map(lambda value: {"contentBlockIndex": 0, "delta": value, "start": value})
REPLY = Reply(Request(model="m", dialect="converse"), "m", 1, "id", 7, "upstream", Ledger())
PROFILES = (
    Profile(),
    Profile(thinking="adaptive", model_fields="nova", structured=False, cache_points=False, inline_system=True),
)


@given(REQUESTS, JSON)
@settings(max_examples=150, deadline=None)
def test_a_request_is_decoded_and_encoded_or_refused(body: Any, more: Any) -> None:
    if isinstance(body, dict):
        body = {"messages": [{"role": "user", "content": [{"text": "x"}]}], "additionalModelRequestFields": more, **body}
        for message in body["messages"] if isinstance(body["messages"], list) else ():
            if isinstance(message, dict):
                message.setdefault("role", "user")
    raw = json.dumps(body).encode("utf-8", "surrogatepass")
    CONVERSE.scrub(raw, "bedrock")
    try:
        request = CONVERSE.decode_request(raw)
    except MalformedBody:
        return
    for profile in PROFILES:
        json.loads(CONVERSE.encode_request(request, Target("m", "i", profile), Ledger()))
    with contextlib.suppress(MalformedBody):
        COUNTING.decode(json.dumps({"input": body}).encode("utf-8", "surrogatepass"))


@given(ANSWERS)
@settings(max_examples=100, deadline=None)
def test_an_answer_is_decoded_and_encoded_or_garbled(body: Any) -> None:
    raw = json.dumps(body).encode("utf-8", "surrogatepass")
    CONVERSE.error_in_body(raw)
    CONVERSE.usage_of(raw, b"")
    CONVERSE.decode_error(0, {}, raw, "p")
    try:
        response = CONVERSE.decode_response(raw, "bedrock")
    except UpstreamGarbled:
        return
    json.loads(CONVERSE.encode_response(response, REPLY))


@given(st.lists(st.tuples(st.sampled_from(EVENTS), DELTAS), max_size=8))
@settings(max_examples=150, deadline=None)
def test_a_stream_ends_in_a_finish_or_a_fault_and_what_is_told_of_it_is_legal(told: list[tuple[str, Any]]) -> None:
    decoder = CONVERSE.stream_decoder("bedrock")
    events: list[Any] = []
    for name, data in told:
        frame = Frame(name, json.dumps(data).encode("utf-8", "surrogatepass"))
        CONVERSE.sniff(frame)
        events += decoder.feed(frame)
    events += decoder.end()
    assert isinstance(events[-1], Finish | Fault)
    encoder = CONVERSE.stream_encoder(REPLY)
    fold_converse(b"".join(encoder.feed(event) for event in events))


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_a_damaged_stream_never_passes_for_a_whole_one(data: st.DataObject) -> None:
    body = bytearray(render_converse(SCENARIOS["converse-signed-call"]).body)
    at = data.draw(st.integers(0, len(body) - 1))
    body[at] ^= data.draw(st.integers(1, 255))
    parser, decoder = EventStreamParser(), CONVERSE.stream_decoder("bedrock")
    events = [event for frame in [*parser.feed(bytes(body)), *parser.end()] for event in decoder.feed(frame)]
    events += decoder.end()
    assert isinstance(events[-1], Fault)
    assert isinstance(events[-1].error, DragomanError)
