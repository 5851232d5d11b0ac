"""Whole Chat Completions answers, from an upstream and to a client. The judge of what clients get is the official SDK."""

from __future__ import annotations

import json
from typing import Any, TypeAlias

import msgspec
import pytest
from openai.types.chat import ChatCompletion
from pydantic import TypeAdapter

from dragoman.dialects.base import Reply
from dragoman.dialects.chat import CHAT
from dragoman.errors import UpstreamGarbled, UpstreamRefused
from dragoman.ir import carrier
from dragoman.ir.events import Choice, Finish, FinishReason, Response
from dragoman.ir.losses import Ledger
from dragoman.ir.request import Citation, Image, Part, Reasoning, Refusal, Request, Seal, Text, Tool, ToolCall, Unknown
from dragoman.ir.usage import Usage

Json: TypeAlias = dict[str, Any]
STRICT: TypeAdapter[ChatCompletion] = TypeAdapter(ChatCompletion)


def answer(message: Json | None = None, finish: Any = "stop", **choice: Any) -> Response:
    native = {
        "index": 0,
        "message": {"role": "assistant", "content": "a", **(message or {})},
        "finish_reason": finish,
        **choice,
    }
    return decode({"id": "chatcmpl-1", "model": "m", "choices": [native]})


def decode(body: Json) -> Response:
    return CHAT.decode_response(json.dumps(body).encode(), "me")


def call(call_id: str | None = "1", name: str = "f", arguments: Any = "{}", **more: Any) -> Json:
    native = {"type": "function", "function": {"name": name, "arguments": arguments}, **more}
    return native if call_id is None else {"id": call_id, **native}


def seal(item: Json) -> Seal:
    return Seal(msgspec.json.encode(item).decode(), "me", "chat")


# ---------------------------------------------------------------- from an upstream

TEXT_ITEM = {"type": "reasoning.text", "text": "t", "signature": "s", "format": "x", "index": 0}
SECRET_ITEM = {"type": "reasoning.encrypted", "data": "d", "id": "r1", "index": 1}
EXTRA = {"extra_content": {"google": {"thought_signature": "s"}}}

MESSAGES: list[tuple[str, Json, list[Part]]] = [
    ("text", {}, [Text(text="a")]),
    ("empty text", {"content": ""}, []),
    ("parts", {"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}, [Text(text="a"), Text(text="b")]),
    (
        "thinking among the parts",
        {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "t"}]}, {"type": "text", "text": "a"}]},
        [Reasoning(text="t"), Text(text="a")],
    ),
    ("reasoning_content", {"reasoning_content": "t"}, [Reasoning(text="t"), Text(text="a")]),
    ("reasoning", {"reasoning": "t"}, [Reasoning(text="t"), Text(text="a")]),
    (
        "details with their text repeated",
        {"reasoning": "t", "reasoning_details": [TEXT_ITEM, SECRET_ITEM]},
        [Reasoning(text="t", seal=seal(TEXT_ITEM)), Reasoning(seal=seal(SECRET_ITEM), redacted=True), Text(text="a")],
    ),
    (
        "details alone",
        {"reasoning_details": [{"type": "reasoning.summary", "summary": "s"}]},
        [Reasoning(text="s", seal=seal({"type": "reasoning.summary", "summary": "s"}), summary=True), Text(text="a")],
    ),
    (
        "details whose text is told otherwise",
        {"reasoning": "other", "reasoning_details": [TEXT_ITEM]},
        [Reasoning(text="other"), Reasoning(seal=seal(TEXT_ITEM)), Text(text="a")],
    ),
    (
        "a signature on its own",
        {"reasoning": "t", "reasoning_details": [{"type": "reasoning.text", "signature": "s"}]},
        [Reasoning(text="t", seal=seal({"type": "reasoning.text", "signature": "s", "text": "t"})), Text(text="a")],
    ),
    ("a refusal", {"content": None, "refusal": "no"}, [Refusal(text="no")]),
    (
        "an image",
        {"images": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,QQ=="}}]},
        [Text(text="a"), Image(media_type="image/png", data="QQ==")],
    ),
    (
        "audio",
        {"content": None, "audio": {"id": "x"}},
        [Unknown(native={"type": "audio", "audio": {"id": "x"}}, dialect="chat")],
    ),
    ("a call", {"content": None, "tool_calls": [call()]}, [ToolCall(id="1", name="f", arguments="{}")]),
    (
        "arguments as an object",
        {"content": None, "tool_calls": [call(arguments={"a": [1]})]},
        [ToolCall(id="1", name="f", arguments='{"a":[1]}')],
    ),
    (
        "no arguments",
        {"content": None, "tool_calls": [call(arguments=None), call("2", arguments="")]},
        [ToolCall(id="1", name="f", arguments="{}"), ToolCall(id="2", name="f", arguments="{}")],
    ),
    (
        "missing and repeated ids",
        {"content": None, "tool_calls": [call(None), call("x"), call("x")]},
        [
            ToolCall(id="call_chatcmpl-1_0", name="f", arguments="{}"),
            ToolCall(id="x", name="f", arguments="{}"),
            ToolCall(id="x_3", name="f", arguments="{}"),
        ],
    ),
    (
        "a custom call",
        {"content": None, "tool_calls": [{"id": "1", "type": "custom", "custom": {"name": "c", "input": "x"}}]},
        [ToolCall(id="1", name="c", arguments="x", kind="custom")],
    ),
    (
        "a legacy call",
        {"content": None, "function_call": {"name": "f", "arguments": "{}"}},
        [ToolCall(id="call_chatcmpl-1_0", name="f", arguments="{}")],
    ),
    (
        "a call with something hung on it",
        {"content": None, "tool_calls": [{**call(), **EXTRA}]},
        [Reasoning(seal=seal(EXTRA), redacted=True), ToolCall(id="1", name="f", arguments="{}")],
    ),
    ("an empty call", {"tool_calls": [{"index": 0}]}, [Text(text="a")]),
]


@pytest.mark.parametrize(("message", "expected"), [case[1:] for case in MESSAGES], ids=[case[0] for case in MESSAGES])
def test_a_message_becomes_parts(message: Json, expected: list[Part]) -> None:
    assert answer(message).choices[0].parts == expected


def test_an_annotation_is_a_citation_of_the_text() -> None:
    native = {"type": "url_citation", "url_citation": {"url": "u", "title": "t", "start_index": 1, "end_index": 2}}
    [text] = answer({"annotations": [native]}).choices[0].parts
    expected = Citation(kind="url_citation", url="u", title="t", start=1, end=2, native=native, dialect="chat")
    assert text == Text(text="a", citations=[expected])


CALLS = {"content": None, "tool_calls": [call()]}
BROKEN = {"content": None, "tool_calls": [call(), call("2", arguments='{"a": "b')]}
FINISHES: list[tuple[str, Json, Json, tuple[FinishReason, str | None], set[int]]] = [
    ("stop", {}, {"finish": "stop"}, ("stop", None), set()),
    ("nothing", {}, {"finish": None}, ("stop", None), set()),
    ("an unknown word", {}, {"finish": "eos"}, ("stop", None), set()),
    ("length", {}, {"finish": "length"}, ("length", None), set()),
    ("a filter", {}, {"finish": "content_filter"}, ("content_filter", None), set()),
    ("a context that is full", {}, {"finish": "model_length"}, ("context_length", None), set()),
    ("a stop sequence at vLLM", {}, {"finish": "stop", "stop_reason": "END"}, ("stop_sequence", "END"), set()),
    ("a stop token at vLLM", {}, {"finish": "stop", "stop_reason": 128009}, ("stop", None), set()),
    ("a stop sequence at SGLang", {}, {"finish": "stop", "matched_stop": "END"}, ("stop_sequence", "END"), set()),
    ("calls", CALLS, {"finish": "tool_calls"}, ("tool_calls", None), set()),
    ("calls, but stop", CALLS, {"finish": "stop"}, ("tool_calls", None), set()),
    ("the legacy word", CALLS, {"finish": "function_call"}, ("tool_calls", None), set()),
    ("a call that was announced only", {}, {"finish": "tool_calls"}, ("stop", None), set()),
    ("a call that broke off", BROKEN, {"finish": "length"}, ("length", None), {1}),
    ("a call that broke off unnoticed", BROKEN, {"finish": "tool_calls"}, ("length", None), {1}),
    ("whole calls at the limit", CALLS, {"finish": "length"}, ("length", None), set()),
    ("a call cut before its arguments", {"tool_calls": [call(arguments="")]}, {"finish": "length"}, ("length", None), {1}),
    ("a refusal", {"content": None, "refusal": "no"}, {"finish": "stop"}, ("refusal", None), set()),
]


@pytest.mark.parametrize(
    ("message", "choice", "expected", "incomplete"), [case[1:] for case in FINISHES], ids=[case[0] for case in FINISHES]
)
def test_why_it_ended(message: Json, choice: Json, expected: tuple[FinishReason, str | None], incomplete: set[int]) -> None:
    held = answer(message, **choice).choices[0]
    assert (held.finish.reason, held.finish.stop_sequence) == expected
    assert held.incomplete == incomplete


USAGES: list[tuple[str, Json, Usage | None]] = [
    ("none", {}, None),
    ("plain", {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}, Usage(input=10, output=5)),
    (
        "cached and reasoning within",
        {
            "prompt_tokens": 100,
            "completion_tokens": 50,
            "prompt_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 30},
            "completion_tokens_details": {"reasoning_tokens": 20},
        },
        Usage(input=10, cache_read=60, cache_write=30, output=30, reasoning=20),
    ),
    (
        "DeepSeek",
        {"prompt_tokens": 100, "completion_tokens": 5, "prompt_cache_hit_tokens": 40, "prompt_cache_miss_tokens": 60},
        Usage(input=60, cache_read=40, output=5),
    ),
    ("Moonshot", {"prompt_tokens": 100, "completion_tokens": 5, "cached_tokens": 40}, Usage(input=60, cache_read=40, output=5)),
    (
        "cached beside",
        {"prompt_tokens": 10, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 40}},
        Usage(input=10, cache_read=40, output=5),
    ),
    (
        "reasoning beside",
        {"prompt_tokens": 10, "completion_tokens": 5, "completion_tokens_details": {"reasoning_tokens": 20}},
        Usage(input=10, output=5, reasoning=20),
    ),
    (
        "reasoning beside, by the total",
        {
            "prompt_tokens": 10,
            "completion_tokens": 50,
            "total_tokens": 80,
            "completion_tokens_details": {"reasoning_tokens": 20},
        },
        Usage(input=10, output=50, reasoning=20),
    ),
    ("nonsense", {"prompt_tokens": "many", "completion_tokens": -4, "prompt_tokens_details": None}, Usage()),
]


@pytest.mark.parametrize(("native", "expected"), [case[1:] for case in USAGES], ids=[case[0] for case in USAGES])
def test_tokens_are_counted_once(native: Json, expected: Usage | None) -> None:
    body: Json = {"choices": [{"message": {"content": "a"}, "finish_reason": "stop"}], "usage": native or None}
    assert decode(body).usage == expected


def test_several_choices_keep_their_order_and_their_log_probabilities() -> None:
    probs = [{"token": "b", "logprob": -0.1, "bytes": None, "top_logprobs": []}]
    body: Json = {
        "choices": [
            {
                "index": 1,
                "message": {"content": "b"},
                "finish_reason": "length",
                "logprobs": {"content": probs, "refusal": None},
            },
            {"index": 0, "message": {"content": "a"}, "finish_reason": "stop", "logprobs": None},
        ]
    }
    first, second = decode(body).choices
    assert (first.parts, first.logprobs) == ([Text(text="a")], None)
    assert (second.parts, second.logprobs, second.finish.reason, second.finish.choice) == ([Text(text="b")], probs, "length", 1)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>busy</html>",
        b"[]",
        b"{}",
        b'{"choices":[]}',
        b'{"choices":null}',
        b'{"choices":["x"]}',
        b'{"choices":[{"message":{"content":"a"},"finish_reason":"error"}]}',
        b'{"choices":[{"message":{"tool_calls":[{"function":{"arguments":"{1}"}}]}}]}',
    ],
)
def test_an_answer_that_is_none_is_garbled(body: bytes) -> None:
    with pytest.raises(UpstreamGarbled) as caught:
        CHAT.decode_response(body, "me")
    assert caught.value.retryable
    assert caught.value.provider == "me"


def test_an_error_in_a_200_is_raised_as_one() -> None:
    with pytest.raises(UpstreamRefused) as caught:
        decode({"error": {"message": "busy", "type": "overloaded_error", "code": 529}})
    assert (caught.value.category, caught.value.status, caught.value.message) == ("overloaded", 529, "busy")


def test_json_as_python_servers_write_it_is_read() -> None:
    body = b'{"choices":[{"message":{"content":"half \\ud83d"},"finish_reason":"stop",'
    body += b'"logprobs":{"content":[{"token":"a","logprob":-Infinity}]}}]}'
    choice = CHAT.decode_response(body, "me").choices[0]
    assert choice.parts == [Text(text="half \ufffd")]
    assert choice.logprobs == [{"token": "a", "logprob": None}]


# ---------------------------------------------------------------- to a client


def reply(**fields: Any) -> Reply:
    given: dict[str, Any] = {"model": "alias", "dialect": "chat", **fields}
    return Reply(Request(**given), "alias", 1_700_000_000, "chatcmpl-fallback", 42, "me", Ledger())


def encode(*parts: Part, finish: Finish | None = None, to: Reply | None = None, usage: Usage | None = None) -> Json:
    """The answer as a client gets it, after the SDK has found it legal."""
    response = Response("msg_1", "up", [Choice(list(parts), finish or Finish("stop"))], usage)
    body = CHAT.encode_response(response, to or reply())
    STRICT.validate_json(body)
    return json.loads(body)


def message_of(*parts: Part, **fields: Any) -> Json:
    return encode(*parts, **fields)["choices"][0]["message"]


def test_a_whole_answer_has_every_field_that_clients_rely_on() -> None:
    usage = Usage(input=10, cache_read=60, cache_write=20, cache_write_1h=10, output=30, reasoning=20)
    assert encode(Text(text="a"), Text(text="b"), usage=usage) == {
        "id": "msg_1",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "up",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "ab", "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": 100,
            "completion_tokens": 50,
            "total_tokens": 150,
            "prompt_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 30},
            "completion_tokens_details": {"reasoning_tokens": 20},
        },
    }


def test_what_nobody_gave_is_made_up_honestly() -> None:
    to = reply()
    body = json.loads(CHAT.encode_response(Response("", "", [Choice([Text(text="x" * 40)], Finish("stop"))]), to))
    assert (body["id"], body["model"]) == ("chatcmpl-fallback", "alias")
    assert (body["usage"]["prompt_tokens"], body["usage"]["completion_tokens"]) == (42, 10)


def function(call_id: str, arguments: str = "{}", name: str = "f") -> Json:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


ANSWERS: list[tuple[str, list[Part], Json]] = [
    ("nothing", [], {"content": ""}),
    (
        "a call",
        [ToolCall(id="functions.f:0", name="f", arguments='{"a": 1}')],
        {"content": None, "tool_calls": [function("functions.f:0", '{"a": 1}')]},
    ),
    (
        "text and calls",
        [Text(text="a"), ToolCall(id="1", name="f", arguments="{}"), Text(text="b")],
        {"content": "ab", "tool_calls": [function("1")]},
    ),
    (
        "a custom call",
        [ToolCall(id="1", name="c", arguments="x", kind="custom")],
        {"content": None, "tool_calls": [{"id": "1", "type": "custom", "custom": {"name": "c", "input": "x"}}]},
    ),
    ("a refusal", [Refusal(text="no")], {"content": None, "refusal": "no"}),
    ("plain thinking", [Reasoning(text="t"), Text(text="a"), Reasoning(text="u")], {"content": "a", "reasoning_content": "tu"}),
    (
        "an image",
        [Image(media_type="image/png", data="QQ==")],
        {"content": "", "images": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,QQ=="}, "index": 0}]},
    ),
]


@pytest.mark.parametrize(("parts", "expected"), [case[1:] for case in ANSWERS], ids=[case[0] for case in ANSWERS])
def test_parts_become_a_message(parts: list[Part], expected: Json) -> None:
    assert message_of(*parts) == {"role": "assistant", "refusal": None, **expected}


SEALED = Reasoning(text="I think.", seal=Seal("sig", "anthropic", "messages"))
HIDDEN = Reasoning(seal=Seal("data", "anthropic", "messages"), redacted=True)


def test_sealed_thinking_travels_in_the_details_and_in_the_next_call_s_id() -> None:
    call_part = ToolCall(id="toolu_1", name="f", arguments="{}")
    message = message_of(SEALED, HIDDEN, Text(text="a"), call_part, msgspec.structs.replace(call_part, id="toolu_2"))
    assert message["reasoning_content"] == "I think."
    first, second = message["reasoning_details"]
    assert (first["type"], first["text"], first["format"], first["index"]) == ("reasoning.text", "I think.", "dragoman-v1", 0)
    assert carrier.unpack(first["signature"]) == [SEALED]
    assert (second["type"], second["index"]) == ("reasoning.encrypted", 1)
    assert carrier.unpack(second["data"]) == [HIDDEN]
    ids = [native["id"] for native in message["tool_calls"]]
    assert carrier.detach(ids[0]) == ("toolu_1", [SEALED, HIDDEN])
    assert ids[1] == "toolu_2"


def test_each_group_of_interleaved_thinking_rides_in_its_own_call() -> None:
    other = Reasoning(text="Then.", seal=Seal("sig2", "anthropic", "messages"))
    message = message_of(SEALED, ToolCall(id="1", name="f"), other, ToolCall(id="2", name="f"))
    assert [carrier.detach(native["id"]) for native in message["tool_calls"]] == [("1", [SEALED]), ("2", [other])]


@pytest.mark.parametrize("keeps", ["everything", "ids", "details"])
def test_a_client_brings_sealed_thinking_back_whatever_it_keeps(keeps: str) -> None:
    parts: list[Part] = [SEALED, HIDDEN, Text(text="a"), ToolCall(id="toolu_1", name="f", arguments="{}")]
    message = message_of(*parts)
    if keeps == "ids":
        message = {"role": "assistant", "content": message["content"], "tool_calls": message["tool_calls"]}
    elif keeps == "details":
        message["tool_calls"][0]["id"] = "toolu_1"
    request = CHAT.decode_request(json.dumps({"model": "m", "messages": [message]}).encode())
    assert [msgspec.structs.replace(part, at=None) for part in request.messages[0].parts] == parts


REASONS: list[tuple[Finish, str, list[str]]] = [
    (Finish("stop"), "stop", []),
    (Finish("stop_sequence", stop_sequence="END"), "stop", []),
    (Finish("length"), "length", []),
    (Finish("context_length"), "length", []),
    (Finish("tool_calls"), "tool_calls", []),
    (Finish("content_filter"), "content_filter", []),
    (Finish("refusal"), "content_filter", []),
    (Finish("pause"), "stop", ["finish_reason"]),
]


@pytest.mark.parametrize(("finish", "expected", "losses"), REASONS)
def test_every_reason_has_a_word(finish: Finish, expected: str, losses: list[str]) -> None:
    to = reply()
    choice = encode(Text(text="a"), finish=finish, to=to)["choices"][0]
    assert choice["finish_reason"] == expected
    assert choice.get("stop_reason") == finish.stop_sequence
    assert [loss.path for loss in to.ledger.losses] == losses


def test_a_refusal_in_words_is_a_stop_with_the_refusal() -> None:
    for parts, finish in (([Refusal(text="no")], Finish("refusal")), ([], Finish("refusal", explanation="no"))):
        choice = encode(*parts, finish=finish)["choices"][0]
        assert (choice["finish_reason"], choice["message"]["refusal"]) == ("stop", "no")


def test_citations_with_a_url_are_annotations_at_their_place_in_the_content() -> None:
    to = reply()
    cited = Text(text="cd", citations=[Citation(url="u", title="t"), Citation(url="v", start=0, end=1), Citation(title="x")])
    annotations = message_of(Text(text="ab"), cited, to=to)["annotations"]
    assert [native["url_citation"] for native in annotations] == [
        {"url": "u", "title": "t", "start_index": 2, "end_index": 4},
        {"url": "v", "title": "", "start_index": 2, "end_index": 3},
    ]
    assert [loss.severity for loss in to.ledger.losses] == ["info"]


def test_what_has_no_place_is_a_loss() -> None:
    to = reply()
    message = message_of(Unknown(native={"type": "server_tool_use"}, dialect="messages"), Text(text="a"), to=to)
    assert message["content"] == "a"
    assert [(loss.path, loss.severity) for loss in to.ledger.losses] == [("content", "lost")]
    assert "server_tool_use" in to.ledger.losses[0].what


def test_a_free_text_tool_that_went_out_wrapped_comes_back_unwrapped() -> None:
    to = reply(tools=[Tool(name="c", kind="custom")])
    wrapped = ToolCall(id="1", name="c", arguments='{"input":"SELECT \\"1\\""}')
    message = message_of(wrapped, to=to, finish=Finish("tool_calls"))
    assert message["tool_calls"] == [{"id": "1", "type": "custom", "custom": {"name": "c", "input": 'SELECT "1"'}}]


def test_a_legacy_caller_gets_a_function_call() -> None:
    to = reply(legacy_functions=True)
    calls: list[Part] = [ToolCall(id="1", name="f", arguments="{}"), ToolCall(id="2", name="g", arguments="{}")]
    choice = encode(*calls, to=to, finish=Finish("tool_calls"))["choices"][0]
    assert choice["finish_reason"] == "function_call"
    assert choice["message"]["function_call"] == {"name": "f", "arguments": "{}"}
    assert "tool_calls" not in choice["message"]
    assert [loss.severity for loss in to.ledger.losses] == ["lost"]


def test_several_choices_are_numbered() -> None:
    probs: list[object] = [{"token": "a", "logprob": -0.1, "bytes": None, "top_logprobs": []}]
    choices = [Choice([Text(text="a")], Finish("stop"), logprobs=probs), Choice([Text(text="b")], Finish("length", choice=1))]
    body = CHAT.encode_response(Response("1", "m", choices), reply())
    found = STRICT.validate_json(body)
    assert [(choice.index, choice.message.content, choice.finish_reason) for choice in found.choices] == [
        (0, "a", "stop"),
        (1, "b", "length"),
    ]
    held = found.choices[0].logprobs
    assert held is not None
    assert held.content is not None
    assert held.content[0].token == "a"


def test_an_answer_of_the_same_dialect_survives_the_hub() -> None:
    message: Json = {
        "role": "assistant",
        "content": "a",
        "refusal": None,
        "reasoning_content": "t",
        "annotations": [{"type": "url_citation", "url_citation": {"url": "u", "title": "t", "start_index": 0, "end_index": 1}}],
        "audio": {"id": "x", "data": "QQ==", "expires_at": 1, "transcript": "hm"},
        "tool_calls": [function("1"), {"id": "2", "type": "custom", "custom": {"name": "c", "input": "x"}}],
    }
    usage = {
        "prompt_tokens": 10,
        "completion_tokens": 5,
        "total_tokens": 15,
        "prompt_tokens_details": {"cached_tokens": 4},
        "completion_tokens_details": {"reasoning_tokens": 2},
    }
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "tool_calls"}
    body = {"id": "1", "object": "chat.completion", "created": 1_700_000_000, "model": "m", "choices": [choice], "usage": usage}
    assert json.loads(CHAT.encode_response(decode(body), reply())) == body
