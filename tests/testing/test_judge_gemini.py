"""The strict reader of Gemini refuses one broken rule at a time."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from dragoman.testing import IllegalStream, fold_gemini, fold_gemini_array, read_gemini, render_gemini
from dragoman.testing.library import SCENARIOS
from dragoman.testing.voices import heard, models_body

Change = Callable[[list[Any]], None]
COUNTS = {"promptTokenCount": 3, "candidatesTokenCount": 2, "thoughtsTokenCount": 1, "totalTokenCount": 6}


def chunk(*parts: Any, **more: Any) -> Any:
    return {
        "candidates": [{"content": {"parts": list(parts), "role": "model"}, "index": 0, **more}],
        "responseId": "r",
        "modelVersion": "m",
    }


def legal() -> list[Any]:
    call = {"functionCall": {"id": "a", "name": "f", "args": {"x": 1}}, "thoughtSignature": "AAAA"}
    last = chunk({"text": ""}, finishReason="STOP") | {"usageMetadata": dict(COUNTS)}
    return [chunk({"text": "Hm.", "thought": True}), chunk({"text": "Hi."}), chunk(call), last]


def sse(chunks: list[Any]) -> bytes:
    return b"".join(b"data: " + json.dumps(one).encode() + b"\n\n" for one in chunks)


def at(path: str, value: Any) -> Change:
    def change(chunks: list[Any]) -> None:
        place: Any = chunks
        *way, last = path.split(".")
        for step in way:
            place = place[int(step)] if isinstance(place, list) else place[step]
        if value is ...:
            del place[int(last) if isinstance(place, list) else last]
        else:
            place[int(last) if isinstance(place, list) else last] = value

    return change


CONTENT = "1.candidates.0.content"
BROKEN: dict[str, tuple[Change, str]] = {
    "no id": (at("0.responseId", ...), "responseId is missing"),
    "another id": (at("2.responseId", "x"), "has changed"),
    "another model": (at("2.modelVersion", "x"), "has changed"),
    "no candidates": (at("1.candidates", []), "no candidates"),
    "a candidate that is none": (at("1.candidates.0", 7), "not an object"),
    "a wrong index": (at("1.candidates.0.index", -1), "index is -1"),
    "another candidate that never ends": (at("1.candidates.0.index", 1), "broke off"),
    "no content": (at(CONTENT, ...), "no content of the model"),
    "another role": (at(CONTENT + ".role", "user"), "no content of the model"),
    "no parts": (at(CONTENT + ".parts", []), "without parts"),
    "a part that says nothing": (at(CONTENT + ".parts.0", {}), "says 0 things"),
    "a part that says two things": (at(CONTENT + ".parts.0.functionCall", {}), "says 2 things"),
    "a text that is none": (at(CONTENT + ".parts.0.text", 7), "wrong type"),
    "a call without a name": (at("2.candidates.0.content.parts.0.functionCall.name", ""), "without a name"),
    "arguments that are text": (at("2.candidates.0.content.parts.0.functionCall.args", "{}"), "not an object"),
    "an empty id": (at("2.candidates.0.content.parts.0.functionCall.id", ""), "the id of 'f'"),
    "a signature that is no base64": (at("2.candidates.0.content.parts.0.thoughtSignature", "dgm1-x"), "not base64"),
    "a word that the API has not": (at("3.candidates.0.finishReason", "end_turn"), "finishReason is 'end_turn'"),
    "no finish": (at("3.candidates.0.finishReason", ...), "broke off"),
    "counts that do not add up": (at("3.usageMetadata.totalTokenCount", 7), "its parts make 6"),
    "a count that is none": (at("3.usageMetadata.promptTokenCount", "3"), "not a count"),
    "more cached than there was": (at("3.usageMetadata.cachedContentTokenCount", 9), "than there was"),
    "something after the finish": (lambda chunks: chunks.append(chunk({"text": "x"})), "after its finish"),
    "nothing after the finish": (lambda chunks: chunks.append({"responseId": "r", "modelVersion": "m"}), "says nothing"),
    "something after an error": (at("1", {"error": {"code": 500, "message": "x"}}), "after an error"),
    "an error without a message": (at("1", {"error": {"code": 500}}), "without a message"),
    "an error with a status of 200": (at("1", {"error": {"code": 200, "message": "x"}}), "code is 200"),
    "a blocked prompt after an answer": (at("1.promptFeedback", {"blockReason": "SAFETY"}), "after candidates"),
    "a source that is not there": (
        at("3.candidates.0.groundingMetadata", {"groundingSupports": [{"groundingChunkIndices": [0]}]}),
        "no grounding chunk 0",
    ),
}


def test_a_legal_stream_is_read() -> None:
    for view in (fold_gemini(sse(legal())), fold_gemini_array(json.dumps(legal()).encode())):
        assert [(block.kind, block.value) for block in view.blocks] == [
            ("thinking", "Hm."),
            ("text", "Hi."),
            ("tool_call", {"x": 1}),
        ]
        assert (view.finish, view.calls[0].signature) == ("tool_calls", "AAAA")
        assert view.tokens is not None
        assert (view.tokens.input, view.tokens.output, view.tokens.reasoning) == (3, 2, 1)


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_stream_is_refused(name: str) -> None:
    change, reason = BROKEN[name]
    chunks = copy.deepcopy(legal())
    change(chunks)
    for fold in (lambda: fold_gemini(sse(chunks)), lambda: fold_gemini_array(json.dumps(chunks).encode())):
        with pytest.raises(IllegalStream) as raised:
            fold()
        assert reason in raised.value.reason


@pytest.mark.parametrize("line", [b": ping\n\n", b"event: x\n", b"data:{}\n\n", b"{}\n\n", b"id: 1\n"])
def test_a_line_that_the_sdk_would_take_for_json_is_refused(line: bytes) -> None:
    with pytest.raises(IllegalStream, match="no data"):
        fold_gemini(line + sse(legal()))


def test_what_is_no_answer_at_all_is_refused() -> None:
    for body in (b"", b"<html>", b"[]", b'"x"', b"{}"):
        with pytest.raises(IllegalStream):
            read_gemini(body)
    with pytest.raises(IllegalStream):
        fold_gemini_array(b"{}")
    with pytest.raises(IllegalStream):
        fold_gemini_array(b"[7]")


def test_an_array_has_the_same_chunks_as_a_stream() -> None:
    for name in ("text", "tools-two", "style-crlf", "style-multiline"):
        stream, array = render_gemini(SCENARIOS[name]), render_gemini(SCENARIOS[name], array=True)
        assert fold_gemini_array(array.body) == fold_gemini(stream.body)
        assert array.headers[0][1].startswith("application/json")
    empty = render_gemini(SCENARIOS["cut-empty"], array=True)
    assert empty.body == b""


@pytest.mark.parametrize(
    ("path", "model", "stream"),
    [
        ("/v1beta/models/m:generateContent", "m", False),
        ("/v1/models/scenario:text:streamGenerateContent", "scenario:text", True),
        ("/v1beta/prefix/m:generateContent", "prefix/m", False),
    ],
)
def test_model_and_stream_are_heard_in_the_path(path: str, model: str, stream: bool) -> None:
    found = heard("POST", path, {"contents": []})
    assert found is not None
    voice, ask = found
    assert (voice.name, ask.model, ask.stream) == ("gemini", model, stream)
    assert heard("GET", path, None) is None


def test_googles_clients_get_their_own_list_of_models() -> None:
    body = json.loads(models_body(["a"], {"x-goog-api-key": "k"}))
    assert body["models"][0]["name"] == "models/a"
