"""Answers: whole and streamed, from a Gemini upstream and for a Gemini client."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from dragoman.dialects import EVERY
from dragoman.dialects.base import Reply
from dragoman.dialects.gemini import GEMINI, array_encoder, array_error, seals
from dragoman.dialects.gemini.stream_encoder import PING
from dragoman.errors import DragomanError, UpstreamGarbled, UpstreamRefused
from dragoman.ir import carrier
from dragoman.ir.events import (
    Choice,
    Cited,
    Close,
    Delta,
    Event,
    Fault,
    Finish,
    Open,
    Ping,
    Response,
    Sealed,
    Start,
    fold,
    unfold,
)
from dragoman.ir.losses import Ledger
from dragoman.ir.request import (
    Audio,
    Citation,
    Document,
    Image,
    Part,
    Reasoning,
    ReasoningAsk,
    Refusal,
    Request,
    Seal,
    Text,
    ToolCall,
    Unknown,
)
from dragoman.ir.usage import Usage
from dragoman.testing import SCENARIOS, fold_gemini, fold_gemini_array, read_gemini, render_gemini, scenarios_for
from dragoman.wire.jsonarray import JsonArrayReader
from dragoman.wire.sse import Frame, SseParser

SIGNATURE = base64.b64encode(b"sig\xff\xfe!").decode()


def chunk(*parts: Any, finish: str | None = None, **more: Any) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"parts": list(parts), "role": "model"}, "index": 0}
    if finish is not None:
        candidate["finishReason"] = finish
    candidate |= more.pop("candidate", {})
    return {"candidates": [candidate], "responseId": "r1", "modelVersion": "gm", **more}


def streamed(*chunks: Any, ended: bool = True) -> list[Event]:
    decoder = GEMINI.stream_decoder("gemini")
    events = [event for one in chunks for event in decoder.feed(Frame("", json.dumps(one).encode()))]
    return events + decoder.end() if ended else events


def whole(body: Any) -> Response:
    return GEMINI.decode_response(json.dumps(body).encode(), "gemini")


def reply(*, thoughts: bool = True, **fields: Any) -> Reply:
    ask = ReasoningAsk(display="summarized") if thoughts else None
    request = Request(model="m", dialect="gemini", reasoning=ask, **fields)
    return Reply(request, "m", 1_700_000_000, "fallback", 7, "upstream", Ledger())


def answer(*parts: Part, finish: Finish | None = None, usage: Usage | None = None, **options: Any) -> Any:
    response = Response("r1", "gm", [Choice(list(parts), finish or Finish("stop"))], usage)
    return json.loads(GEMINI.encode_response(response, reply(**options)))


def written(events: list[Event], **options: Any) -> list[Any]:
    """The chunks for a client."""
    encoder = GEMINI.stream_encoder(reply(**options))
    body = b"".join(encoder.feed(event) for event in events)
    return [json.loads(frame.data) for frame in SseParser().feed(body)]


# ---------------------------------------------------------------- from an upstream


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("STOP", "stop"),
        ("MAX_TOKENS", "length"),
        ("SAFETY", "content_filter"),
        ("RECITATION", "content_filter"),
        ("BLOCKLIST", "content_filter"),
        ("PROHIBITED_CONTENT", "content_filter"),
        ("SPII", "content_filter"),
        ("LANGUAGE", "content_filter"),
        ("MODEL_ARMOR", "content_filter"),
        ("IMAGE_SAFETY", "content_filter"),
        ("CONTINUATION", "length"),
        ("TOO_MANY_TOOL_CALLS", "pause"),
        ("SOMETHING_NEW", "stop"),
    ],
)
def test_finish_reasons(word: str, reason: str) -> None:
    body = chunk({"text": "x"}, finish=word)
    assert whole(body).choices[0].finish.reason == reason
    assert fold(streamed(body)).choices[0].finish.reason == reason


@pytest.mark.parametrize(
    "word",
    ["MALFORMED_FUNCTION_CALL", "MALFORMED_RESPONSE", "UNEXPECTED_TOOL_CALL", "MISSING_THOUGHT_SIGNATURE", "OTHER", "NO_IMAGE"],
)
def test_an_answer_that_went_wrong_is_an_error_and_not_an_end(word: str) -> None:
    body = chunk({"text": "x"}, finish=word, candidate={"finishMessage": "because"})
    with pytest.raises(UpstreamGarbled, match=f"{word}.*because") as raised:
        whole(body)
    assert raised.value.retryable
    events = streamed(body)
    assert isinstance(events[-1], Fault)
    assert any(isinstance(event, Delta) for event in events)


def test_an_account_that_was_limited_is_refused() -> None:
    with pytest.raises(UpstreamRefused) as raised:
        whole(chunk(finish="PUP_LIMITED_DISABLED"))
    assert raised.value.category == "permission"


def test_a_blocked_prompt_is_a_refusal_with_its_reason() -> None:
    body: Any = {
        "promptFeedback": {"blockReason": "SAFETY", "blockReasonMessage": "Not that."},
        "responseId": "r",
        "modelVersion": "m",
    }
    body["usageMetadata"] = {"promptTokenCount": 5, "totalTokenCount": 5}
    response = whole(body)
    finish = response.choices[0].finish
    assert (finish.reason, finish.explanation, response.usage) == ("refusal", "Not that.", Usage(input=5))
    assert fold(streamed(body)).choices[0].finish.reason == "refusal"
    unnamed = whole({"promptFeedback": {"blockReason": "OTHER"}})
    assert unnamed.choices[0].finish.explanation == "The prompt was blocked (OTHER)."


RATED = [{"category": "HARM_CATEGORY_HARASSMENT", "probability": "LOW", "probabilityScore": 0.25}]


def test_how_safe_an_answer_was_rated_is_told_or_in_the_ledger() -> None:
    rated = chunk({"text": "hi"}, finish="STOP", candidate={"safetyRatings": RATED})
    response = whole(rated)
    assert (
        fold(streamed(chunk({"text": "h"}, candidate={"safetyRatings": RATED}), chunk({"text": "i"}, finish="STOP")))
        == response
    )
    assert json.loads(GEMINI.encode_response(response, reply()))["candidates"][0]["safetyRatings"] == RATED
    assert written(streamed(rated))[-1]["candidates"][0]["safetyRatings"] == RATED
    for name, dialect in EVERY.items():
        one, another = reply(), reply()
        dialect.encode_response(response, one)
        encoder = dialect.stream_encoder(another)
        for event in streamed(rated):
            encoder.feed(event)
        told = [] if name == "gemini" else [("safety_ratings", "info")]
        assert [(loss.path, loss.severity) for loss in one.ledger.losses] == told, name
        assert [(loss.path, loss.severity) for loss in another.ledger.losses] == told, name


def test_a_call_that_ends_with_stop_is_a_call() -> None:
    response = whole(chunk({"functionCall": {"id": "a", "name": "f", "args": {"x": 1}}}, finish="STOP"))
    (call,) = response.choices[0].parts
    assert isinstance(call, ToolCall)
    assert (call.id, call.name, call.arguments) == ("a", "f", '{"x":1}')
    assert response.choices[0].finish.reason == "tool_calls"


def test_calls_without_ids_get_ids_of_their_own() -> None:
    response = whole(chunk({"functionCall": {"name": "f"}}, {"functionCall": {"name": "f"}}, finish="STOP"))
    ids = [part.id for part in response.choices[0].parts if isinstance(part, ToolCall)]
    assert ids == ["call_gr1_0", "call_gr1_1"]


def test_usage_is_counted_once() -> None:
    counts = {
        "promptTokenCount": 100,
        "cachedContentTokenCount": 60,
        "candidatesTokenCount": 7,
        "thoughtsTokenCount": 30,
        "toolUsePromptTokenCount": 11,
        "totalTokenCount": 148,
    }
    body = chunk({"text": "x"}, finish="STOP", usageMetadata=counts)
    assert whole(body).usage == Usage(input=51, cache_read=60, output=7, reasoning=30)
    within = {"promptTokenCount": 10, "candidatesTokenCount": 40, "thoughtsTokenCount": 30, "totalTokenCount": 50}
    assert whole(chunk(finish="STOP", usageMetadata=within)).usage == Usage(input=10, output=10, reasoning=30)
    assert whole(chunk(finish="STOP")).usage is None


def test_the_start_of_a_stream_tells_the_prompt_and_the_finish_everything() -> None:
    early = {"promptTokenCount": 9, "totalTokenCount": 9}
    late = {"promptTokenCount": 9, "candidatesTokenCount": 4, "totalTokenCount": 13}
    events = streamed(
        chunk({"text": "a"}, usageMetadata=early),
        chunk({"text": "b"}, finish="STOP"),
        {"usageMetadata": late, "responseId": "r1"},
    )
    assert events[0] == Start("r1", "gm", Usage(input=9))
    assert events[-1] == Finish("stop", Usage(input=9, output=4))


def test_signatures_are_seals_of_their_issuer() -> None:
    response = whole(
        chunk(
            {"text": "hm", "thought": True},
            {"text": "I look.", "thoughtSignature": SIGNATURE},
            {"functionCall": {"id": "a", "name": "f"}, "thoughtSignature": SIGNATURE},
            finish="STOP",
        )
    )
    thought, text, on_text, on_call, call = response.choices[0].parts
    assert isinstance(thought, Reasoning)
    assert (thought.text, thought.summary, thought.seal) == ("hm", True, None)
    assert isinstance(text, Text)
    assert isinstance(on_text, Reasoning)
    assert on_text.seal == Seal(f"part {SIGNATURE}", "gemini", "gemini")
    assert isinstance(on_call, Reasoning)
    assert on_call.seal == Seal(f"call a {SIGNATURE}", "gemini", "gemini")
    assert isinstance(call, ToolCall)


def test_everything_that_is_no_text_comes_whole() -> None:
    response = whole(
        chunk(
            {"inlineData": {"mimeType": "image/png", "data": "AAAA"}},
            {"inlineData": {"mimeType": "audio/wav", "data": "AAAA"}},
            {"executableCode": {"language": "PYTHON", "code": "1"}},
            {"hologram": {"x": 1}},
            finish="STOP",
        )
    )
    kinds = [type(part).__name__ for part in response.choices[0].parts]
    assert kinds == ["Image", "Audio", "Unknown", "Unknown"]


def test_sources_are_citations_with_offsets_in_characters() -> None:
    text = "Köln liegt am Rhein. Ja."
    start, end = len("Köln ".encode()), len("Köln liegt am Rhein.".encode())
    grounding = {
        "groundingChunks": [{"web": {"uri": "https://a", "title": "A"}}, {"retrievedContext": {"title": "B", "text": "t"}}],
        "groundingSupports": [{"segment": {"startIndex": start, "endIndex": end}, "groundingChunkIndices": [0]}],
        "webSearchQueries": ["q1", "q2"],
    }
    usage = {"promptTokenCount": 1, "totalTokenCount": 1}
    last = {"groundingMetadata": grounding}
    for response in (
        whole(chunk({"text": text}, finish="STOP", candidate=last, usageMetadata=usage)),
        fold(
            streamed(
                chunk({"text": text[:7]}), chunk({"text": text[7:]}), chunk(finish="STOP", candidate=last, usageMetadata=usage)
            )
        ),
    ):
        (part,) = response.choices[0].parts
        assert isinstance(part, Text)
        found = [(c.kind, c.url, c.title, c.cited_text, c.start, c.end) for c in part.citations]
        assert found == [("web", "https://a", "A", None, 5, 20), ("retrievedContext", None, "B", "t", None, None)]
        assert response.usage is not None
        assert response.usage.searches == 2


def test_sources_that_name_their_part_stand_on_it() -> None:
    support = {"segment": {"partIndex": 2, "startIndex": 0, "endIndex": 3}, "groundingChunkIndices": [0]}
    grounding = {"groundingChunks": [{"web": {"uri": "u", "title": "t"}}], "groundingSupports": [support]}
    code = {"executableCode": {"code": "1", "language": "PYTHON"}}
    body = chunk({"text": "One."}, code, {"text": "Two."}, finish="STOP", candidate={"groundingMetadata": grounding})
    first, _, second = whole(body).choices[0].parts
    assert isinstance(first, Text)
    assert isinstance(second, Text)
    assert (len(first.citations), len(second.citations)) == (0, 1)


def test_recitations_are_citations_too() -> None:
    recited = {
        "citationMetadata": {"citationSources": [{"startIndex": 0, "endIndex": 2, "uri": "https://x", "license": "mit"}]}
    }
    (part,) = whole(chunk({"text": "abc"}, finish="STOP", candidate=recited)).choices[0].parts
    assert isinstance(part, Text)
    assert [(c.url, c.start, c.end) for c in part.citations] == [("https://x", 0, 2)]


@pytest.mark.parametrize(
    ("bodies", "category"),
    [
        ([chunk({"text": "x"})], "unavailable"),
        ([], "unavailable"),
        ([{"usageMetadata": {"promptTokenCount": 1, "totalTokenCount": 1}}], "unavailable"),
        ([{"error": {"code": 429, "message": "slow", "status": "RESOURCE_EXHAUSTED"}}], "rate_limit"),
        ([[{"error": {"code": 503, "message": "busy", "status": "UNAVAILABLE"}}]], "overloaded"),
        ([7], "unavailable"),
        ([{"candidates": [7]}], "unavailable"),
        ([chunk({"functionCall": {"args": {}}})], "unavailable"),
        ([chunk({"inlineData": {"mimeType": "image/png", "data": "*"}})], "unavailable"),
    ],
)
def test_a_stream_that_broke_off_or_is_garbled_never_ends_well(bodies: list[Any], category: str) -> None:
    fault = streamed(*bodies)[-1]
    assert isinstance(fault, Fault)
    assert fault.error.category == category
    assert streamed(*bodies).count(fault) <= 1


def test_half_a_character_waits_for_its_other_half_and_is_replaced_where_none_comes() -> None:
    decoder = GEMINI.stream_decoder("gemini")
    texts = [b'{"candidates":[{"content":{"parts":[{"text":"%b"}]},"index":0}]}' % half for half in (b"a\\ud83d", b"\\ude00b")]
    call = (
        b'{"candidates":[{"content":{"parts":[{"functionCall":{"name":"f","args":{"x":"\\ud83d"}}}]},"finishReason":"STOP"}]}'
    )
    events = [event for data in (*texts, call) for event in decoder.feed(Frame("", data))] + decoder.end()
    text, made = fold(events).choices[0].parts
    assert isinstance(text, Text)
    assert isinstance(made, ToolCall)
    assert (text.text, made.arguments) == ("a😀b", '{"x":"\ufffd"}')


def test_after_a_fault_nothing_more_is_given() -> None:
    decoder = GEMINI.stream_decoder("gemini")
    assert len(decoder.feed(Frame("", b"nonsense"))) == 1
    assert decoder.feed(Frame("", json.dumps(chunk({"text": "x"}, finish="STOP")).encode())) == []
    assert decoder.end() == []


def test_blank_frames_and_a_done_mark_are_passed_over() -> None:
    decoder = GEMINI.stream_decoder("gemini")
    assert decoder.feed(Frame("", b" ")) + decoder.feed(Frame("", b"[DONE]")) == []


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"7", b"{}", b'{"candidates":[]}', b"[" * 9999])
def test_a_body_that_is_no_answer_is_garbled(body: bytes) -> None:
    with pytest.raises(DragomanError):
        GEMINI.decode_response(body, "gemini")


def test_a_whole_answer_need_not_say_why_it_ended() -> None:
    assert whole(chunk({"text": "x"})).choices[0].finish.reason == "stop"


@pytest.mark.parametrize("name", ["text", "gemini-signed-call", "gemini-grounded", "tools-two", "unicode", "text-large-event"])
def test_an_array_says_the_same_as_a_stream_and_as_a_whole_answer(name: str) -> None:
    stream = render_gemini(SCENARIOS[name]).body
    array = render_gemini(SCENARIOS[name], array=True).body
    reader, decoder = JsonArrayReader(), GEMINI.stream_decoder("gemini")
    events: list[Event] = []
    for start in range(0, len(array), 1021):
        for element in reader.feed(array[start : start + 1021]):
            events += decoder.feed(Frame("", element))
    assert reader.end()
    events += decoder.end()
    frames = SseParser().feed(stream)
    other = GEMINI.stream_decoder("gemini")
    assert events == [event for frame in frames for event in other.feed(frame)] + other.end()
    assert GEMINI.decode_response(array, "gemini") == fold(events)


# ---------------------------------------------------------------- for a client


def test_an_answer_has_everything_the_api_gives() -> None:
    body = answer(Text(text="Hi."), usage=Usage(input=3, cache_read=2, cache_write=4, output=5, reasoning=6))
    assert body == {
        "candidates": [{"content": {"parts": [{"text": "Hi."}], "role": "model"}, "finishReason": "STOP", "index": 0}],
        "usageMetadata": {
            "promptTokenCount": 9,
            "candidatesTokenCount": 5,
            "cachedContentTokenCount": 2,
            "thoughtsTokenCount": 6,
            "totalTokenCount": 20,
        },
        "modelVersion": "gm",
        "responseId": "r1",
    }


def test_names_and_counts_are_made_up_where_nobody_gave_them() -> None:
    body = json.loads(GEMINI.encode_response(Response("", "", [Choice([Text(text="x" * 40)], Finish("stop"))]), reply()))
    assert (body["responseId"], body["modelVersion"]) == ("fallback", "m")
    assert body["usageMetadata"] == {"promptTokenCount": 7, "candidatesTokenCount": 10, "totalTokenCount": 17}


@pytest.mark.parametrize(
    ("reason", "word"),
    [
        ("stop", "STOP"),
        ("stop_sequence", "STOP"),
        ("length", "MAX_TOKENS"),
        ("context_length", "MAX_TOKENS"),
        ("tool_calls", "STOP"),
        ("content_filter", "SAFETY"),
        ("refusal", "SAFETY"),
        ("pause", "STOP"),
    ],
)
def test_reasons_become_words_that_the_api_has(reason: Any, word: str) -> None:
    assert answer(Text(text="x"), finish=Finish(reason))["candidates"][0]["finishReason"] == word
    events: list[Event] = [Start("r", "m"), Open(0, Text(text="x")), Close(0), Finish(reason)]
    assert written(events)[-1]["candidates"][0]["finishReason"] == word


def test_a_refusal_is_a_text_or_a_blocked_prompt() -> None:
    told = answer(Refusal(text="No."), finish=Finish("stop"))
    assert told["candidates"][0]["content"]["parts"] == [{"text": "No."}]
    assert told["candidates"][0]["finishReason"] == "SAFETY"
    silent = Finish("refusal", explanation="Never.")
    feedback = {"blockReason": "SAFETY", "blockReasonMessage": "Never."}
    assert answer(finish=silent)["promptFeedback"] == feedback
    (only,) = written([Start("r", "m"), silent])
    assert (only["promptFeedback"], "candidates" in only) == (feedback, False)
    later = written([Start("r", "m"), Open(0, Text(text="x")), Close(0), silent])
    assert later[-1]["candidates"][0]["finishMessage"] == "Never."


def test_thoughts_are_shown_to_who_asked_for_them_and_ride_along_otherwise() -> None:
    thought = Reasoning(text="Hm.", seal=Seal("EqQB", "upstream", "messages"))
    shown = answer(thought, Text(text="Hi."))["candidates"][0]["content"]["parts"]
    hidden = answer(thought, Text(text="Hi."), thoughts=False)["candidates"][0]["content"]["parts"]
    assert shown[0] == {"text": "Hm.", "thought": True}
    assert [part["text"] for part in hidden] == ["Hi."]
    for part in (shown[1], hidden[0]):
        (held,) = seals.opened(part["thoughtSignature"]) or []
        assert (held.text, held.seal) == ("Hm.", Seal("EqQB", "upstream", "messages"))
    events = unfold(Response("r", "m", [Choice([thought, Text(text="Hi.")], Finish("stop"))]))
    streamed_parts = [part for one in written(events) for part in one["candidates"][0]["content"]["parts"]]
    assert streamed_parts == [*shown, {"text": ""}]


def test_the_call_after_a_thought_carries_it_for_clients_that_keep_nothing_else() -> None:
    sealed = Reasoning(text="Hm.", seal=Seal("EqQB", "upstream", "messages"))
    parts = answer(sealed, Text(text="I look."), ToolCall(id="a", name="f"), ToolCall(id="b", name="g"))
    call, other = parts["candidates"][0]["content"]["parts"][2:]
    assert [part.text for part in seals.opened(call["thoughtSignature"]) or []] == ["Hm."]
    assert "thoughtSignature" not in other


def test_a_thought_with_nothing_after_it_gets_an_empty_text() -> None:
    parts = answer(Reasoning(text="Hm."), thoughts=False)["candidates"][0]["content"]["parts"]
    assert [part["text"] for part in parts] == [""]
    assert [part.text for part in seals.opened(parts[0]["thoughtSignature"]) or []] == ["Hm."]


def test_the_first_call_of_another_provider_is_marked_as_such() -> None:
    (call,) = answer(ToolCall(id="a", name="f", arguments='{"x":1}'))["candidates"][0]["content"]["parts"]
    assert call["functionCall"] == {"id": "a", "name": "f", "args": {"x": 1}}
    assert seals.opened(call["thoughtSignature"]) == []
    assert carrier.carries(json.dumps(call).encode())


def test_what_gemini_itself_sealed_stands_where_it_stood() -> None:
    native = [
        {"text": "hm", "thought": True, "thoughtSignature": SIGNATURE},
        {"text": "I look.", "thoughtSignature": SIGNATURE},
        {"functionCall": {"id": "a", "name": "f", "args": {}}, "thoughtSignature": SIGNATURE},
    ]
    response = whole(chunk(*native, finish="STOP"))
    again = json.loads(GEMINI.encode_response(response, reply()))
    assert again["candidates"][0]["content"]["parts"] == native


def test_a_call_that_broke_off_is_not_told() -> None:
    call = ToolCall(id="a", name="f", arguments='{"x":')
    response = Response("r", "m", [Choice([Text(text="x"), call], Finish("length"), {1})])
    told = reply()
    body = json.loads(GEMINI.encode_response(response, told))
    assert body["candidates"][0]["content"]["parts"] == [{"text": "x"}]
    assert [loss.severity for loss in told.ledger.losses] == ["lost"]
    chunks = written(unfold(response))
    assert "functionCall" not in json.dumps(chunks)
    assert chunks[-1]["candidates"][0]["finishReason"] == "MAX_TOKENS"


def test_media_of_an_answer_are_told_and_other_blocks_are_in_the_ledger() -> None:
    told = reply()
    parts: list[Part] = [
        Image(media_type="image/png", data="AAAA"),
        Image(url="https://x.org/a.png"),
        Audio(data="AAAA", format="wav"),
        Document(media_type="application/pdf", data="AAAA"),
        Unknown(native={"executableCode": {"code": "1"}}, dialect="gemini"),
        Unknown(native={"type": "server_tool_use"}, dialect="messages"),
    ]
    response = Response("r", "m", [Choice(parts, Finish("stop"))])
    found = json.loads(GEMINI.encode_response(response, told))["candidates"][0]["content"]["parts"]
    assert [next(iter(part)) for part in found] == ["inlineData", "fileData", "inlineData", "inlineData", "executableCode"]
    assert [loss.severity for loss in told.ledger.losses] == ["lost"]
    assert [part for one in written(unfold(response)) for part in one["candidates"][0]["content"]["parts"]][:-1] == found


def test_citations_are_grounding_with_offsets_in_bytes() -> None:
    cite = Citation(kind="url_citation", url="https://a", title="A", start=5, end=10)
    bare = Citation(kind="char_location", title="Book", cited_text="words")
    text = Text(text="Köln liegt am Rhein.", citations=[cite, bare])
    (candidate,) = answer(text)["candidates"]
    grounding = candidate["groundingMetadata"]
    assert grounding["groundingChunks"] == [
        {"web": {"uri": "https://a", "title": "A"}},
        {"retrievedContext": {"title": "Book", "text": "words"}},
    ]
    assert [support["segment"] for support in grounding["groundingSupports"]] == [
        {"startIndex": 6, "endIndex": 11, "text": "liegt"},
        {"startIndex": 0, "endIndex": 21, "text": "Köln liegt am Rhein."},
    ]
    events: list[Event] = [
        Start("r", "m"),
        Open(0, Text(text="Köln "), 0),
        Delta(0, "liegt am Rhein."),
        Cited(0, cite),
        Close(0),
    ]
    last = written([*events, Finish("stop")])[-1]["candidates"][0]
    assert last["groundingMetadata"]["groundingSupports"][0]["segment"]["startIndex"] == 6


def test_a_second_text_counts_its_offsets_from_the_first() -> None:
    cite = Citation(url="https://a", start=0, end=3)
    events: list[Event] = [
        Open(0, Text(text="äöü ")),
        Close(0),
        Open(1, Text(text="abc", citations=[cite])),
        Close(1),
        Finish("stop"),
    ]
    segment = written(events)[-1]["candidates"][0]["groundingMetadata"]["groundingSupports"][0]["segment"]
    assert (segment["startIndex"], segment["endIndex"]) == (7, 10)


def test_log_probabilities_survive_both_ways() -> None:
    result = {
        "chosenCandidates": [{"token": "H", "logProbability": -0.5}],
        "topCandidates": [{"candidates": [{"token": "H", "logProbability": -0.5}, {"token": "J", "logProbability": -2}]}],
    }
    response = whole(chunk({"text": "H"}, finish="STOP", candidate={"logprobsResult": result}))
    assert response.choices[0].logprobs == [
        {
            "token": "H",
            "logprob": -0.5,
            "bytes": [72],
            "top_logprobs": [
                {"token": "H", "logprob": -0.5, "bytes": [72]},
                {"token": "J", "logprob": -2, "bytes": [74]},
            ],
        }
    ]
    again = json.loads(GEMINI.encode_response(response, reply()))
    assert again["candidates"][0]["logprobsResult"] == result
    assert any("logprobsResult" in one["candidates"][0] for one in written(unfold(response)))


def test_every_choice_is_a_candidate() -> None:
    choices = [Choice([Text(text="a")], Finish("stop")), Choice([Text(text="b")], Finish("length"))]
    body = json.loads(GEMINI.encode_response(Response("r", "m", choices), reply()))
    assert [(one["index"], one["finishReason"]) for one in body["candidates"]] == [(0, "STOP"), (1, "MAX_TOKENS")]
    view = fold_gemini(
        b"".join(b"data: " + json.dumps(one).encode() + b"\n\n" for one in written(unfold(Response("r", "m", choices))))
    )
    assert view.text == "a"
    assert view.others[0].finish == "length"


def test_a_call_comes_when_it_is_whole_and_before_what_opens_after_it() -> None:
    events: list[Event] = [
        Start("r", "m"),
        Open(0, ToolCall(id="a", name="f")),
        Delta(0, '{"x"'),
        Delta(0, ":1}"),
        Open(1, Text(text="")),
        Delta(1, "and"),
        Close(0),
        Close(1),
        Finish("tool_calls"),
    ]
    kinds = [next(iter(part)) for one in written(events) for part in one["candidates"][0]["content"]["parts"]]
    assert kinds == ["functionCall", "text", "text"]


def test_what_is_open_at_the_finish_is_closed() -> None:
    events: list[Event] = [Open(0, ToolCall(id="a", name="f", arguments="{}")), Open(1, Reasoning(text="hm")), Finish("stop")]
    view = fold_gemini(_body(events))
    assert [block.kind for block in view.blocks] == ["tool_call", "thinking"]


def _body(events: list[Event]) -> bytes:
    encoder = GEMINI.stream_encoder(reply())
    return b"".join(encoder.feed(event) for event in events)


def test_a_ping_is_white_space_and_never_content() -> None:
    assert GEMINI.ping == PING
    assert PING.strip() == b""
    body = _body([Ping(), Start("r", "m"), Ping(), Open(0, Text(text="x")), Ping(), Close(0), Finish("stop"), Ping()])
    assert fold_gemini(body).text == "x"


def test_an_error_ends_the_stream() -> None:
    error = UpstreamRefused("busy", category="overloaded", retry_after=3)
    encoder = GEMINI.stream_encoder(reply())
    body = encoder.feed(Open(0, Text(text="x"))) + encoder.feed(Fault(error)) + encoder.feed(Finish("stop"))
    view = fold_gemini(body)
    assert view.error is not None
    assert (view.error.word, view.text) == ("overloaded", "x")


# ---------------------------------------------------------------- as an array


def arrayed(events: list[Event]) -> bytes:
    encoder = array_encoder(reply())
    return b"".join(encoder.feed(event) + PING for event in events)


@pytest.mark.parametrize(
    "name", [one.name for one in scenarios_for("gemini", regular=True) if one.name not in {"endless", "endless-10k"}]
)
def test_an_array_is_the_same_answer(name: str) -> None:
    rendered = render_gemini(SCENARIOS[name])
    if rendered.status != 200 or rendered.head is not None:
        return
    decoder = GEMINI.stream_decoder("gemini")
    events = [event for frame in SseParser().feed(rendered.body) for event in decoder.feed(frame)] + decoder.end()
    stream, array = fold_gemini(_body(events)), fold_gemini_array(arrayed(events))
    assert array == stream


def test_an_error_in_an_array_closes_it() -> None:
    error = UpstreamRefused("busy", category="overloaded")
    view = fold_gemini_array(arrayed([Open(0, Text(text="x")), Fault(error)]))
    assert view.error is not None
    assert json.loads(array_error(error, begun=False))[0]["error"]["code"] == 503
    assert json.loads(b"[{}" + array_error(error, begun=True))[1]["error"]["status"] == "UNAVAILABLE"


def test_a_late_seal_of_a_thought_is_told() -> None:
    events: list[Event] = [
        Open(0, Reasoning()),
        Delta(0, "hm"),
        Sealed(0, Seal("EqQB", "upstream", "messages")),
        Close(0),
        Open(1, ToolCall(id="a", name="f", arguments="{}")),
        Close(1),
        Finish("tool_calls"),
    ]
    call = next(part for one in written(events) for part in one["candidates"][0]["content"]["parts"] if "functionCall" in part)
    (held,) = seals.opened(call["thoughtSignature"]) or []
    assert held.seal == Seal("EqQB", "upstream", "messages")


def test_a_whole_answer_is_legal_for_a_strict_reader() -> None:
    body = GEMINI.encode_response(Response("r", "m", [Choice([], Finish("stop"))]), reply())
    assert read_gemini(body).finish == "stop"
