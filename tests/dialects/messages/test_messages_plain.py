"""A body that is read in one pass becomes what it becomes when every question is asked."""

from __future__ import annotations

import msgspec
import pytest

from dragoman.dialects.messages import plain
from dragoman.dialects.messages.decode_request import decode_request, with_every_question
from dragoman.errors import MalformedBody

MARK = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
CALL = {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"b": [1, 2.5, None], "a": "ü"}}
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}
USER = {"role": "user", "content": "Hello"}


def body(**members: object) -> bytes:
    return msgspec.json.encode({"model": "m", "max_tokens": 10, "messages": [USER], **members})


def turns(*blocks: object) -> bytes:
    results = [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "found"}]
    return body(messages=[USER, {"role": "assistant", "content": list(blocks)}, {"role": "user", "content": results}])


PLAIN = {
    "one text": body(),
    "system as text": body(system="Be brief"),
    "empty system": body(system=""),
    "system in blocks": body(system=[{"type": "text", "text": "A"}, {"type": "text", "text": "B", **MARK}]),
    "system between turns": body(messages=[USER, {"role": "system", "content": "Mind the gap"}]),
    "blocks with marks": body(messages=[{"role": "user", "content": [{"type": "text", "text": "A", **MARK}]}]),
    "calls and results": turns({"type": "text", "text": "I look"}, CALL),
    "a marked call": turns({**CALL, **MARK}),
    "a call that carries": turns({**CALL, "id": "toolu_1-dgm1-AAAA"}),
    "an escaped id": turns({**CALL, "id": "dgmid-YTpi"}),
    "thinking": turns({"type": "thinking", "thinking": "Hm", "signature": "c2ln"}, CALL),
    "thinking without a signature": turns({"type": "thinking", "thinking": "Hm"}, CALL),
    "results in blocks": body(
        messages=[
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "a", "content": [{"type": "text", "text": "x", **MARK}], **MARK},
                    {"type": "tool_result", "tool_use_id": "b", "is_error": True},
                ],
            }
        ]
    ),
    "tools": body(tools=[{"name": "look", "description": "d", "input_schema": SCHEMA, **MARK}, {"name": "bare"}]),
    "no tools": body(tools=[]),
    "null": body(tools=None, system=None, temperature=None, stop_sequences=None, thinking=None),
    "numbers": body(temperature=1, top_p=0.5, top_k=5, max_tokens=7, stream=True),
    "a large number": body(temperature=10**30, top_p=2**63, max_tokens=2**64),
    "a user": body(metadata={"user_id": "u"}, stream=False, stop_sequences=[]),
    "no user": body(metadata={"user_id": None}),
    "settings": body(
        metadata={"user_id": "u"}, stop_sequences=["a"], service_tier="auto", thinking={"type": "adaptive"},
        output_config={"effort": "high", "x": 1}, tool_choice={"type": "auto", "disable_parallel_tool_use": True},
    ),
    "for Anthropic alone": body(context_management={"edits": []}, container="c", mcp_servers=[{"name": "n"}], speed="fast"),
    "twice the same key": b'{"model":"a","messages":[],"model":"b","messages":[{"role":"user","content":"x"}]}',
}  # fmt: skip

UNUSUAL = {
    "whole numbers with a point": body(top_k=5.0, max_tokens=7.0),
    "more metadata": body(metadata={"user_id": "u", "more": 1}, output_config={"x": 1}),
    "image": turns({"type": "image", "source": {"type": "url", "url": "https://a.test/b.png"}}),
    "citations": turns({"type": "text", "text": "a", "citations": [{"type": "web_search_result_location", "url": "u"}]}),
    "unknown block": turns({"type": "new_thing", "a": 1}),
    "unknown field of a block": turns({"type": "text", "text": "a", "new": 1}),
    "unknown field of a message": body(messages=[{**USER, "new": 1}]),
    "unknown member": body(new=1),
    "hosted tool": body(tools=[{"type": "web_search_20250305", "name": "web_search"}]),
}

WRONG = {
    "no messages": body(messages=[]),
    "no text": body(messages=[{"role": "user", "content": [{"type": "text"}]}]),
    "role": body(messages=[{"role": "tool", "content": "a"}]),
    "temperature": body(temperature="hot"),
    "max_tokens": body(max_tokens=1.5),
    "metadata": body(metadata="u"),
    "user": body(metadata={"user_id": 1}),
    "stream": body(stream="yes"),
    "tier": body(service_tier=1),
    "stop": body(stop_sequences=["a", 1]),
    "not UTF-8": body(tools=[{"name": "a", "input_schema": {"a": "~"}}]).replace(b"~", b"\xff"),
    "half a character": b'{"model":"m","messages":[{"role":"user","content":"\\ud800"}]}',
    "schema": body(tools=[{"name": "a", "input_schema": "b"}]),
    "not JSON": b"{",
}


@pytest.mark.parametrize("given", PLAIN.values(), ids=PLAIN.keys())
def test_a_plain_body_is_read_in_one_pass_and_becomes_the_same(given: bytes) -> None:
    assert plain.read(given) is not None
    assert decode_request(given) == with_every_question(given)


@pytest.mark.parametrize("given", UNUSUAL.values(), ids=UNUSUAL.keys())
def test_anything_unusual_is_left_to_the_other_reader(given: bytes) -> None:
    assert plain.read(given) is None
    assert decode_request(given) == with_every_question(given)


@pytest.mark.parametrize("given", WRONG.values(), ids=WRONG.keys())
def test_a_mistake_is_told_in_the_same_words(given: bytes) -> None:
    with pytest.raises(MalformedBody) as asked:
        with_every_question(given)
    with pytest.raises(MalformedBody) as told:
        decode_request(given)
    assert (told.value.message, told.value.param) == (asked.value.message, asked.value.param)
