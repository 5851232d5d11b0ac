"""Completions at their edges: what servers of the dialect bend, and what nobody may choke on."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from dragoman.dialects.completions import COMPLETIONS
from dragoman.errors import DragomanError, UpstreamGarbled
from dragoman.ir.events import Close, Delta, Event, Fault, Finish, Open, Start, fold
from dragoman.ir.request import Text
from dragoman.wire.sse import Frame


def decoded(*chunks: Any, end: bool = True) -> list[Event]:
    decoder = COMPLETIONS.stream_decoder("up")
    events: list[Event] = []
    for chunk in chunks:
        data = chunk if isinstance(chunk, bytes) else json.dumps(chunk).encode()
        events += decoder.feed(Frame("", data))
    return events + (decoder.end() if end else [])


def chunk(text: str = "", index: int = 0, finish: str | None = None, **more: Any) -> dict[str, Any]:
    return {"id": "c", "model": "m", "choices": [{"index": index, "text": text, "finish_reason": finish, **more}]}


def test_a_stream_is_a_text_of_each_choice() -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    events = decoded(chunk("a"), chunk("b", 1), chunk("c"), chunk(finish="stop"), chunk(finish="length", index=1),
                     {"choices": [], "usage": usage}, b"[DONE]")  # fmt: skip
    assert isinstance(events[0], Start)
    answer = fold(events)
    assert [[part.text for part in choice.parts if isinstance(part, Text)] for choice in answer.choices] == [["ac"], ["b"]]
    assert [choice.finish.reason for choice in answer.choices] == ["stop", "length"]
    assert answer.usage is not None
    assert (answer.usage.input, answer.usage.output) == (3, 2)


def test_a_stop_sequence_is_told_where_the_server_tells_it() -> None:
    events = decoded(chunk("a", finish="stop", stop_reason="END"), b"[DONE]")
    assert events[-1] == Finish("stop_sequence", stop_sequence="END")


def test_what_was_cut_is_no_end() -> None:
    events = decoded(chunk("a"))
    assert isinstance(events[-1], Fault)
    assert isinstance(decoded()[-1], Fault)
    assert isinstance(decoded(b"[DONE]")[-1], Fault)


def test_a_proper_end_needs_no_done() -> None:
    assert isinstance(decoded(chunk("a", finish="stop"))[-1], Finish)
    assert not isinstance(decoded(chunk("a"), b"[DONE]")[-1], Fault)


@pytest.mark.parametrize("word", ["error", "abort"])
def test_an_answer_that_its_server_gave_up_is_no_answer(word: str) -> None:
    assert isinstance(decoded(chunk("a", finish=word))[-1], Fault)
    with pytest.raises(UpstreamGarbled):
        COMPLETIONS.decode_response(json.dumps(chunk("a", finish=word)).encode(), "up")


def test_half_a_character_waits_for_its_other_half() -> None:
    first = b'{"choices":[{"index":0,"text":"\\ud83d"}]}'
    second = b'{"choices":[{"index":0,"text":"\\ude00","finish_reason":"stop"}]}'
    events = decoded(first, second)
    assert [event.text for event in events if isinstance(event, Delta)] == ["\U0001f600"]
    assert [type(event) for event in events].count(Open) == [type(event) for event in events].count(Close) == 1


def test_llama_cpp_writes_log_probabilities_as_chat_does() -> None:
    content = [{"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": []}]
    body = json.dumps(chunk("a", finish="stop", logprobs={"content": content})).encode()
    assert COMPLETIONS.decode_response(body, "up").choices[0].logprobs == content


VALUES: list[Any] = [None, 1, -1, 1.5, True, "x", [], {}, [[]], [None], [{}], ["a", 1], [[1], "a"], {"a": {}}]
FIELDS = ("model", "prompt", "suffix", "max_tokens", "n", "best_of", "logprobs", "stop", "echo", "stream", "stream_options",
          "logit_bias", "user", "temperature", "metadata", "seed")  # fmt: skip


@pytest.mark.parametrize("field", FIELDS)
def test_whatever_stands_in_a_request_it_is_read_or_refused(field: str) -> None:
    for value in VALUES:
        body = json.dumps({"model": "m", "prompt": "p", field: value}).encode()
        try:
            COMPLETIONS.decode_request(body)
            if COMPLETIONS.apart is not None:
                COMPLETIONS.apart(body)
        except DragomanError as error:
            refused = error.status, field in error.message
            assert refused == (400, True)


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"model": "m"', b'"x"', b"\xff", b"[" * 5000])
def test_what_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(DragomanError):
        COMPLETIONS.decode_request(body)
    for frame in (body, b'{"choices": ' + (body or b"0") + b"}"):
        assert COMPLETIONS.sniff(Frame("", frame)) in {"wait", "error"}
        decoded(frame)


@pytest.mark.parametrize("value", VALUES)
def test_whatever_stands_in_an_answer_it_is_read_or_garbled(value: Any) -> None:
    choice = {"text": "a", "index": 0, "finish_reason": "stop", "logprobs": None}
    for answer in (
        {"choices": value},
        *({"choices": [{**choice, key: value}]} for key in choice),
        {"choices": [choice], "usage": value},
    ):
        body = msgspec.json.encode(answer)
        try:
            COMPLETIONS.decode_response(body, "up")
        except DragomanError as error:
            assert error.status == 502  # noqa: PT017 - it may as well be read
        decoded(body, b"[DONE]")
        COMPLETIONS.sniff(Frame("", body))
        COMPLETIONS.error_in_body(body)
        COMPLETIONS.usage_of(body, b"")
        COMPLETIONS.usage_of(b"data: {}\n\n", b"data: " + body + b"\n\n")
