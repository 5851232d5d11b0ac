"""An answer that is read in one pass becomes what it becomes when every question is asked."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from dragoman.dialects.chat import plain
from dragoman.dialects.chat.response import decode_response, with_every_question
from dragoman.errors import UpstreamGarbled

USAGE = {
    "prompt_tokens": 100,
    "completion_tokens": 20,
    "total_tokens": 120,
    "prompt_tokens_details": {"cached_tokens": 30, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 5},
}
TEXT = {"role": "assistant", "content": "Hello", "refusal": None, "annotations": []}
CALL = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": '{"a":1}'}}


def answer(message: Any = TEXT, finish: Any = "stop", **members: Any) -> bytes:
    choice = {"index": 0, "message": message, "finish_reason": finish, "logprobs": None, **members.pop("choice", {})}
    return msgspec.json.encode({"id": "a", "object": "chat.completion", "model": "m", "choices": [choice], **members})


def calls(*found: Any, finish: str = "tool_calls", content: str | None = None) -> bytes:
    return answer({"role": "assistant", "content": content, "tool_calls": list(found)}, finish)


PLAIN = {
    "text": answer(usage=USAGE),
    "no usage": answer(),
    "usage null": answer(usage=None),
    "bare usage": answer(usage={"prompt_tokens": 1, "completion_tokens": 2}),
    "thinking beside the output": answer(
        usage={**USAGE, "total_tokens": 145, "completion_tokens_details": {"reasoning_tokens": 25}}
    ),
    "cached beside the prompt": answer(usage={**USAGE, "prompt_tokens_details": {"cached_tokens": 300}}),
    "nothing said": answer({"role": "assistant", "content": ""}),
    "cut": answer(finish="length"),
    "a call": calls(CALL),
    "text and calls": calls(CALL, {**CALL, "id": "call_2"}, content="I look"),
    "the same id twice": calls(CALL, CALL),
    "no id": calls({"function": {"name": "look", "arguments": ""}}),
    "a call that stopped": calls(CALL, finish="stop"),
    "a call that broke off": calls({**CALL, "function": {"name": "look", "arguments": '{"a":'}}),
    "a call cut before it began": calls({**CALL, "function": {"name": "look", "arguments": ""}}, finish="length"),
    "calls without a call": answer(finish="tool_calls"),
    "no model": answer(model=None, id=None),
    "fields of its own": answer({**TEXT, "new": 1}, new={"a": 1}, choice={"new": 2}),
}

UNUSUAL = {
    "refusal": answer({**TEXT, "refusal": "No"}),
    "thinking": answer({**TEXT, "reasoning_content": "Hm"}),
    "thinking by another name": answer({**TEXT, "reasoning": "Hm"}),
    "items of thinking": answer({**TEXT, "reasoning_details": [{"type": "reasoning.text", "text": "Hm"}]}),
    "citation": answer({**TEXT, "annotations": [{"type": "url_citation", "url_citation": {"url": "u"}}]}),
    "content in parts": answer({**TEXT, "content": [{"type": "text", "text": "a"}]}),
    "stop sequence": answer(choice={"stop_reason": "END"}),
    "log probabilities": answer(choice={"logprobs": {"content": [{"token": "a"}]}}),
    "two choices": msgspec.json.encode({"choices": [{"index": 1, "message": TEXT}, {"index": 0, "message": TEXT}]}),
    "custom call": calls({"id": "c", "type": "custom", "custom": {"name": "n", "input": "x"}}),
    "legacy call": answer({"content": None, "function_call": {"name": "n", "arguments": "{}"}}),
    "call with more": calls({**CALL, "extra_content": {"google": {"thought_signature": "s"}}}),
    "arguments as JSON": calls({**CALL, "function": {"name": "n", "arguments": {"a": 1}}}),
    "other word": answer(finish="eos"),
    "usage of another server": answer(usage={**USAGE, "prompt_cache_hit_tokens": 7}),
    "negative usage": answer(usage={**USAGE, "prompt_tokens": -1}),
    "not quite JSON": answer(choice={"logprobs": "~"}).replace(b'"~"', b"NaN"),
    "half a character": answer().replace(b"Hello", b"\\ud83d\\ude00 \\ud800"),
}

WRONG = {
    "error": b'{"error":{"message":"no"}}',
    "no choices": b'{"choices":[]}',
    "broken off": answer(finish="error"),
    "a call without a name": calls({"function": {"name": "", "arguments": "{}"}}),
    "no JSON": b"<html>",
}


@pytest.mark.parametrize("given", PLAIN.values(), ids=PLAIN.keys())
def test_a_plain_answer_is_read_in_one_pass_and_becomes_the_same(given: bytes) -> None:
    assert plain.read(given) is not None
    assert decode_response(given, "p") == with_every_question(given, "p")


@pytest.mark.parametrize("given", UNUSUAL.values(), ids=UNUSUAL.keys())
def test_anything_unusual_is_left_to_the_other_reader(given: bytes) -> None:
    assert plain.read(given) is None
    assert decode_response(given, "p") == with_every_question(given, "p")


@pytest.mark.parametrize("given", WRONG.values(), ids=WRONG.keys())
def test_what_is_no_answer_is_refused_as_before(given: bytes) -> None:
    with pytest.raises(Exception) as asked:  # noqa: PT011  both in the same words
        with_every_question(given, "p")
    with pytest.raises(type(asked.value)) as told:
        decode_response(given, "p")
    assert str(told.value) == str(asked.value)
    assert isinstance(told.value, UpstreamGarbled) or given == WRONG["error"]
