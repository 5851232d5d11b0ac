"""Whatever anybody sends gives an answer or a typed error, never a traceback."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dragoman.dialects.base import Reply, Target
from dragoman.dialects.gemini import GEMINI, array_encoder, embeddings, tokens
from dragoman.dialects.gemini.schema import openapi_to_json
from dragoman.errors import DragomanError, MalformedBody, UpstreamGarbled
from dragoman.ir.events import Fault, Finish
from dragoman.ir.losses import Ledger
from dragoman.ir.profile import Profile
from dragoman.ir.request import ReasoningAsk, Request
from dragoman.testing import fold_gemini
from dragoman.wire.sse import Frame

KEYS = """
candidates content parts text thought thoughtSignature functionCall name id args finishReason index groundingMetadata
groundingChunks groundingSupports segment startIndex endIndex partIndex groundingChunkIndices web uri title error code
message status details promptFeedback blockReason usageMetadata promptTokenCount totalTokenCount inlineData mimeType data
logprobsResult chosenCandidates topCandidates token citationMetadata citationSources responseId modelVersion
contents role functionResponse response systemInstruction tools functionDeclarations parameters parametersJsonSchema type
properties toolConfig functionCallingConfig mode allowedFunctionNames generationConfig temperature topK stopSequences
maxOutputTokens thinkingConfig includeThoughts thinkingBudget thinkingLevel
responseMimeType responseSchema fileData fileUri
    requests generateContentRequest embedding embeddings values labels serviceTier executableCode code language
""".split()  # noqa: SIM905 - eighty words
WORDS = [
    "",
    "user",
    "model",
    "function",
    "STOP",
    "SAFETY",
    "application/json",
    "image/png",
    "AAAA",
    "ZGdtMS1hYmM",
    "7",
    "OBJECT",
    "ANY",
]
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


REQUESTS = JSON | shaped("contents") | shaped("contents", "*", "parts", "*") | shaped("tools") | shaped("contents", "*")
ANSWERS = JSON | shaped("candidates", "*") | shaped("candidates", "*", "content", "parts", "*") | shaped("promptFeedback")
REPLY = Reply(
    Request(model="m", dialect="gemini", reasoning=ReasoningAsk(display="summarized")), "m", 1, "id", 7, "upstream", Ledger()
)


@given(REQUESTS, JSON)
@settings(max_examples=300, deadline=None)
def test_a_request_is_decoded_and_encoded_or_refused(body: Any, config: Any) -> None:
    if isinstance(body, dict):
        body = {"contents": [{"parts": [{"text": "x"}]}], "generationConfig": config, **body}
    raw = json.dumps(body).encode("utf-8", "surrogatepass")
    try:
        request = GEMINI.decode_request(raw)
    except MalformedBody:
        return
    for profile in (Profile(), Profile(json_schema=False, thinking_config="budget", media_results=False, structured=False)):
        json.loads(GEMINI.encode_request(request, Target("m", "gemini", profile), Ledger()))
    request.dialect = "chat"
    json.loads(GEMINI.encode_request(request, Target("m", "gemini", Profile()), Ledger()))


@given(st.lists(ANSWERS, max_size=4))
@settings(max_examples=300, deadline=None)
def test_a_stream_gives_events_that_make_a_legal_stream(chunks: list[Any]) -> None:
    decoder = GEMINI.stream_decoder("up")
    events = [
        event for chunk in chunks for event in decoder.feed(Frame("", json.dumps(chunk).encode("utf-8", "surrogatepass")))
    ]
    events += decoder.end()
    assert isinstance(events[-1], Finish | Fault)
    encoder, array = GEMINI.stream_encoder(REPLY), array_encoder(REPLY)
    body = b"".join(encoder.feed(event) for event in events)
    json.loads(b"".join(array.feed(event) for event in events))
    if not any(b"inlineData" in json.dumps(chunk).encode() or b"fileData" in json.dumps(chunk).encode() for chunk in chunks):
        assert b"data: " in body


@given(ANSWERS | st.lists(ANSWERS, max_size=3))
@settings(max_examples=300, deadline=None)
def test_a_whole_answer_is_read_or_garbled(body: Any) -> None:
    try:
        response = GEMINI.decode_response(json.dumps(body).encode("utf-8", "surrogatepass"), "up")
    except DragomanError:
        return
    assert response.choices
    json.loads(GEMINI.encode_response(response, REPLY))


@given(st.binary(max_size=80))
def test_any_bytes_do(data: bytes) -> None:
    frame = Frame("", data)
    decoder = GEMINI.stream_decoder("up")
    decoder.feed(frame)
    decoder.end()
    GEMINI.sniff(frame)
    GEMINI.error_in_body(data)
    GEMINI.usage_of(data, data)
    GEMINI.scrub(data, "up")
    GEMINI.ends(data, closed=True)
    for decode in (GEMINI.decode_request, tokens.decode_count, embeddings.decode_embed, embeddings.decode_batch):
        with contextlib.suppress(MalformedBody):
            decode(data)


@given(REQUESTS | ANSWERS)
@settings(max_examples=200, deadline=None)
def test_any_json_does(value: Any) -> None:
    data = json.dumps(value).encode("utf-8", "surrogatepass")
    frame = Frame("", data)
    GEMINI.sniff(frame)
    GEMINI.error_in_body(data)
    GEMINI.usage_of(data, data)
    GEMINI.ends(b"\ndata: " + data + b"\n\n", closed=False)
    GEMINI.decode_error(0, {}, data, "up")
    json.loads(GEMINI.scrub(data, "up"))
    openapi_to_json(value)
    for read in (lambda: tokens.decode_counted(data, "up"), lambda: embeddings.decode_embedded(data, "up")):
        with contextlib.suppress(UpstreamGarbled):
            read()


def test_nesting_beyond_all_reason_is_refused() -> None:
    deep = b'{"contents":' + b"[" * 100_000
    with pytest.raises(MalformedBody):
        GEMINI.decode_request(deep)
    decoder = GEMINI.stream_decoder("up")
    assert isinstance(decoder.feed(Frame("", deep))[-1], Fault)


def test_an_empty_stream_is_no_answer() -> None:
    assert fold_gemini(b"data: " + json.dumps({"error": {"code": 500, "message": "x"}}).encode() + b"\n\n").error is not None
