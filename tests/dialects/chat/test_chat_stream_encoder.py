"""Events to Chat Completions streams. The judge is the official SDK: its types for a chunk, its accumulator for the whole."""

from __future__ import annotations

import json
from typing import Any, TypeAlias

import pytest
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletion, ChatCompletionChunk, ParsedChatCompletion

from dragoman.dialects.base import Reply
from dragoman.dialects.chat import CHAT
from dragoman.errors import UpstreamGarbled
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
from dragoman.ir.request import Citation, Image, Part, Reasoning, Refusal, Request, Seal, Text, Tool, ToolCall, Unknown
from dragoman.ir.usage import Usage
from dragoman.wire.sse import Frame

Json: TypeAlias = dict[str, Any]
START = Start("msg_1", "up")


def reply(**fields: Any) -> Reply:
    given: dict[str, Any] = {"model": "alias", "dialect": "chat", "stream": True, **fields}
    return Reply(Request(**given), "alias", 1_700_000_000, "chatcmpl-fallback", 42, "me", Ledger())


def encoded(*events: Event, to: Reply | None = None) -> bytes:
    encoder = CHAT.stream_encoder(to or reply())
    return b"".join(encoder.feed(event) for event in events)


def frames(body: bytes) -> list[bytes]:
    assert body.endswith(b"\n\n")
    pieces = body[:-2].split(b"\n\n")
    assert all(piece.startswith(b"data: ") for piece in pieces)
    return [piece[6:] for piece in pieces]


def chunks(body: bytes) -> list[Json]:
    """The chunks of a whole stream, each legal for the SDK, the same in what never changes, and `[DONE]` at the end."""
    *datas, last = frames(body)
    assert last == b"[DONE]"
    found = [json.loads(data) for data in datas]
    for chunk in found:
        assert (chunk["id"], chunk["created"], chunk["model"]) == tuple(found[0][key] for key in ("id", "created", "model"))
        assert chunk["object"] == "chat.completion.chunk"
        custom = any(
            call.get("type") == "custom" for choice in chunk["choices"] for call in choice["delta"].get("tool_calls", ())
        )
        if not custom:  # the SDK's type of a streamed call knows functions only
            ChatCompletionChunk.model_validate(chunk)
        for choice in chunk["choices"]:
            assert "finish_reason" in choice
    return found


def deltas(body: bytes, index: int = 0) -> list[Json]:
    return [choice["delta"] for chunk in chunks(body) for choice in chunk["choices"] if choice["index"] == index]


def added_up(body: bytes) -> ChatCompletion:
    """What the SDK makes of the stream."""
    state: ChatCompletionStreamState[None] = ChatCompletionStreamState()
    for chunk in chunks(body):
        state.handle_chunk(ChatCompletionChunk.model_validate(chunk))
    snapshot = state.current_completion_snapshot
    ChatCompletion.model_validate(snapshot.to_dict())
    return snapshot


def text(index: int, *pieces: str, choice: int = 0) -> list[Event]:
    return [Open(index, Text(text=""), choice), *(Delta(index, piece) for piece in pieces), Close(index)]


def test_a_text_stream_to_the_byte() -> None:
    usage = Usage(input=10, output=5)
    body = encoded(START, *text(0, "Hé", "\n"), Finish("stop", usage), to=reply(include_usage=True))
    head = '{"id":"msg_1","object":"chat.completion.chunk","created":1700000000,"model":"up","choices":['
    lines = [
        head + '{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}],"usage":null}',
        head + '{"index":0,"delta":{"content":"Hé"},"logprobs":null,"finish_reason":null}],"usage":null}',
        head + '{"index":0,"delta":{"content":"\\n"},"logprobs":null,"finish_reason":null}],"usage":null}',
        head + '{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}],"usage":null}',
        head + '],"usage":{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15,'
        '"prompt_tokens_details":{"cached_tokens":0},"completion_tokens_details":{"reasoning_tokens":0}}}',
        "[DONE]",
    ]
    assert body.decode() == "".join(f"data: {line}\n\n" for line in lines)


def test_usage_is_sent_only_where_it_was_asked_for() -> None:
    found = chunks(encoded(START, *text(0, "a"), Finish("stop", Usage(input=10))))
    assert all("usage" not in chunk for chunk in found)
    assert found[-1]["choices"][0]["finish_reason"] == "stop"


def test_a_usage_that_nobody_counted_is_estimated() -> None:
    found = chunks(encoded(START, *text(0, "x" * 40), Finish("stop"), to=reply(include_usage=True)))
    assert found[-1]["choices"] == []
    assert (found[-1]["usage"]["prompt_tokens"], found[-1]["usage"]["completion_tokens"]) == (42, 10)


def test_an_answer_without_id_and_start_is_whole_all_the_same() -> None:
    for events in ([Start("", ""), Finish("stop")], [*text(0, "a"), Finish("stop")], [Finish("stop")]):
        first = chunks(encoded(*events))[0]
        assert (first["id"], first["model"]) == ("chatcmpl-fallback", "alias")
        assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}


def opened(index: int, call_id: str, name: str, *pieces: str, choice: int = 0) -> list[Event]:
    return [Open(index, ToolCall(id=call_id, name=name), choice), *(Delta(index, piece) for piece in pieces), Close(index)]


def test_calls_are_numbered_among_themselves() -> None:
    body = encoded(START, *text(0, "a"), *opened(1, "x", "f", '{"a"', ":1}"), *opened(2, "y", "g", "{}"), Finish("tool_calls"))
    assert deltas(body)[2:] == [
        {"tool_calls": [{"index": 0, "id": "x", "type": "function", "function": {"name": "f", "arguments": ""}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"a"'}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": ":1}"}}]},
        {"tool_calls": [{"index": 1, "id": "y", "type": "function", "function": {"name": "g", "arguments": ""}}]},
        {"tool_calls": [{"index": 1, "function": {"arguments": "{}"}}]},
        {},
    ]
    message = added_up(body).choices[0].message
    assert [(call.id, call.function.arguments) for call in message.tool_calls or [] if call.type == "function"] == [
        ("x", '{"a":1}'),
        ("y", "{}"),
    ]


def test_interleaved_calls_stay_interleaved_and_whole() -> None:
    events: list[Event] = [
        START,
        Open(0, ToolCall(id="x", name="f")),
        Open(1, ToolCall(id="y", name="g")),
        Delta(1, '{"b"'),
        Delta(0, '{"a"'),
        Delta(1, ":2}"),
        Delta(0, ":1}"),
        Close(0),
        Close(1),
        Finish("tool_calls"),
    ]
    message = added_up(encoded(*events)).choices[0].message
    assert [call.function.arguments for call in message.tool_calls or [] if call.type == "function"] == ['{"a":1}', '{"b":2}']


SEAL = Seal("sig", "anthropic", "messages")
SEALED = Reasoning(text="I think.", seal=SEAL)
HIDDEN = Reasoning(seal=Seal("data", "anthropic", "messages"), redacted=True)
THINKING: list[Event] = [
    START,
    Open(0, Reasoning()),
    Delta(0, "I "),
    Delta(0, "think."),
    Sealed(0, SEAL),
    Close(0),
    Open(1, HIDDEN),
    Close(1),
    *text(2, "a"),
    *opened(3, "toolu_1", "f", "{}"),
    *opened(4, "toolu_2", "f", "{}"),
    Finish("tool_calls"),
]


def test_sealed_thinking_travels_in_the_details_and_in_the_next_call_s_id() -> None:
    message = added_up(encoded(*THINKING)).choices[0].message.to_dict()
    assert message["reasoning_content"] == "I think."
    details: Any = message["reasoning_details"]
    assert [(item["type"], item["index"], item["format"]) for item in details] == [
        ("reasoning.text", 0, "dragoman-v1"),
        ("reasoning.encrypted", 1, "dragoman-v1"),
    ]
    assert carrier.unpack(details[0]["signature"]) == [SEALED]
    assert carrier.unpack(details[1]["data"]) == [HIDDEN]
    calls: Any = message["tool_calls"]
    assert [carrier.detach(call["id"]) for call in calls] == [("toolu_1", [SEALED, HIDDEN]), ("toolu_2", [])]


def test_a_client_that_replays_what_the_sdk_added_up_brings_everything_back() -> None:
    message = added_up(encoded(*THINKING)).choices[0].message.to_dict()
    request = CHAT.decode_request(json.dumps({"model": "m", "messages": [message]}).encode())
    kinds = [type(part) for part in request.messages[0].parts]
    assert kinds == [Reasoning, Reasoning, Text, ToolCall, ToolCall]
    first, second = request.messages[0].parts[:2]
    assert isinstance(first, Reasoning)
    assert isinstance(second, Reasoning)
    assert (first.text, first.seal, second.seal) == ("I think.", SEAL, HIDDEN.seal)


def test_plain_thinking_needs_no_details() -> None:
    body = encoded(START, Open(0, Reasoning()), Delta(0, "t"), Close(0), *text(1, "a"), Finish("stop"))
    assert deltas(body)[1:] == [{"reasoning_content": "t"}, {"content": "a"}, {}]


def test_annotations_come_at_once_at_their_place_in_the_content() -> None:
    events: list[Event] = [
        START,
        *text(0, "ab"),
        Open(1, Text(text="")),
        Delta(1, "c"),
        Cited(1, Citation(url="u", title="t")),
        Delta(1, "d"),
        Cited(1, Citation(url="v", start=0, end=1)),
        Cited(1, Citation(title="no url")),
        Close(1),
        Finish("stop"),
    ]
    to = reply()
    message = added_up(encoded(*events, to=to)).choices[0].message
    assert message.content == "abcd"
    found = [
        (note.url_citation.url, note.url_citation.start_index, note.url_citation.end_index)
        for note in message.annotations or []
    ]
    assert found == [("u", 2, 4), ("v", 2, 3)]
    assert [loss.severity for loss in to.ledger.losses] == ["info"]


def test_log_probabilities_stand_beside_their_text() -> None:
    probs: list[object] = [{"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": []}]
    body = encoded(START, Open(0, Text(text="")), Delta(0, "a", probs), Delta(0, "", probs), Close(0), Finish("stop"))
    held = added_up(body).choices[0].logprobs
    assert held is not None
    assert [entry.token for entry in held.content or []] == ["a", "a"]


def test_a_refusal_has_its_own_field() -> None:
    body = encoded(START, Open(0, Refusal(text="")), Delta(0, "no"), Close(0), Finish("refusal", explanation="because"))
    choice = added_up(body).choices[0]
    assert (choice.message.refusal, choice.finish_reason) == ("no", "stop")


def test_a_refusal_without_words_takes_the_explanation_or_is_a_filter() -> None:
    choice = added_up(encoded(START, Finish("refusal", explanation="because"))).choices[0]
    assert (choice.message.refusal, choice.finish_reason) == ("because", "stop")
    choice = added_up(encoded(START, *text(0, "a"), Finish("refusal"))).choices[0]
    assert (choice.message.refusal, choice.finish_reason) == (None, "content_filter")


def test_a_stop_sequence_is_told_as_vllm_tells_it() -> None:
    last = chunks(encoded(START, *text(0, "a"), Finish("stop_sequence", stop_sequence="END")))[-1]
    assert (last["choices"][0]["finish_reason"], last["choices"][0]["stop_reason"]) == ("stop", "END")


def test_a_legacy_caller_gets_a_function_call() -> None:
    to = reply(legacy_functions=True)
    body = encoded(START, *opened(0, "x", "f", '{"a":1}'), *opened(1, "y", "g", "{}"), Finish("tool_calls"), to=to)
    choice = added_up(body).choices[0]
    assert choice.finish_reason == "function_call"
    assert choice.message.function_call is not None
    assert (choice.message.function_call.name, choice.message.function_call.arguments) == ("f", '{"a":1}')
    assert choice.message.tool_calls is None
    assert [loss.severity for loss in to.ledger.losses] == ["lost"]


CUSTOM_OPEN = {"tool_calls": [{"index": 0, "id": "x", "type": "custom", "custom": {"name": "c", "input": ""}}]}


def test_a_free_text_call_streams_its_text() -> None:
    part = ToolCall(id="x", name="c", kind="custom")
    body = encoded(START, Open(0, part), Delta(0, "SEL"), Delta(0, "ECT"), Close(0), Finish("tool_calls"))
    assert deltas(body)[1:-1] == [
        CUSTOM_OPEN,
        {"tool_calls": [{"index": 0, "custom": {"input": "SEL"}}]},
        {"tool_calls": [{"index": 0, "custom": {"input": "ECT"}}]},
    ]


def test_a_free_text_call_that_went_out_wrapped_comes_back_unwrapped() -> None:
    to = reply(tools=[Tool(name="c", kind="custom")])
    body = encoded(START, *opened(0, "x", "c", '{"input":"SEL', 'ECT"}'), Finish("tool_calls"), to=to)
    assert deltas(body)[1:-1] == [CUSTOM_OPEN, {"tool_calls": [{"index": 0, "custom": {"input": "SELECT"}}]}]


def test_choices_have_their_own_chunks_and_the_stream_ends_after_the_last() -> None:
    body = encoded(
        START,
        *text(0, "a"),
        *text(1, "b", choice=1),
        *opened(2, "x", "f", "{}", choice=1),
        Finish("stop"),
        Finish("tool_calls", Usage(input=1, output=2), choice=1),
        to=reply(n=2, include_usage=True),
    )
    found = added_up(body)
    assert [(choice.index, choice.message.content, choice.finish_reason) for choice in found.choices] == [
        (0, "a", "stop"),
        (1, "b", "tool_calls"),
    ]
    assert found.usage is not None
    assert found.usage.total_tokens == 3
    assert body.count(b"[DONE]") == 1


def test_choices_are_announced_in_order() -> None:
    body = encoded(START, *text(0, "c", choice=2), Finish("stop", choice=0), Finish("stop", choice=1), Finish("stop", choice=2))
    assert [choice.message.content for choice in added_up(body).choices] == ["", "", "c"]


def test_a_fault_is_an_error_frame_and_nothing_after_it() -> None:
    fault = Fault(UpstreamGarbled("the stream broke off"))
    body = encoded(START, Open(0, Text(text="")), Delta(0, "a"), fault, Delta(0, "b"), Finish("stop"))
    last = json.loads(frames(body)[-1])
    assert last == {"error": {"message": "the stream broke off", "type": "server_error", "param": None, "code": None}}
    assert b"[DONE]" not in body
    assert b'"finish_reason":"' not in body


def test_a_ping_is_a_comment() -> None:
    assert encoded(Ping()) == CHAT.ping == b": ping\n\n"


def test_what_has_no_place_is_a_loss_and_no_chunk() -> None:
    to = reply()
    part = Unknown(native={"type": "server_tool_use"}, dialect="messages")
    body = encoded(START, Open(0, part), Close(0), *text(1, "a"), Finish("pause"), to=to)
    assert deltas(body)[1:] == [{"content": "a"}, {}]
    assert [loss.path for loss in to.ledger.losses] == ["content", "finish_reason"]


def test_a_delta_for_a_part_that_is_not_open_is_nothing() -> None:
    assert encoded(START, Delta(7, "x"), Close(7), Sealed(7, SEAL)) == encoded(START)


WHOLE: list[tuple[str, list[Part], Finish]] = [
    ("text", [Text(text="a"), Text(text="b", citations=[Citation(url="u")])], Finish("stop")),
    ("nothing", [], Finish("length")),
    ("thinking", [SEALED, HIDDEN, Reasoning(text="plain"), Text(text="a")], Finish("stop")),
    (
        "calls",
        [SEALED, Text(text="a"), ToolCall(id="x", name="f", arguments="{}"), ToolCall(id="y", name="g", arguments='{"a":1}')],
        Finish("tool_calls"),
    ),
    ("an image", [Image(url="https://x"), Image(media_type="image/png", data="QQ==")], Finish("stop")),
    (
        "audio",
        [
            Unknown(
                native={"type": "audio", "audio": {"id": "x", "data": "QQ==", "expires_at": 1, "transcript": "t"}},
                dialect="chat",
            )
        ],
        Finish("stop"),
    ),
    ("a refusal", [Refusal(text="no")], Finish("refusal")),
]


@pytest.mark.parametrize(("parts", "finish"), [case[1:] for case in WHOLE], ids=[case[0] for case in WHOLE])
def test_a_stream_adds_up_to_the_whole_answer(parts: list[Part], finish: Finish) -> None:
    usage = Usage(input=10, output=5)
    response = Response("msg_1", "up", [Choice(parts, finish)], usage)
    streamed = added_up(encoded(*unfold(response), to=reply(include_usage=True)))
    whole: ChatCompletion = ParsedChatCompletion[None].model_validate_json(CHAT.encode_response(response, reply()))
    assert shape_of(streamed) == shape_of(whole)


def shape_of(answer: ChatCompletion) -> tuple[Any, ...]:
    """The answer, without the difference between null, empty and absent, what the SDK adds, and the text of sealed thinking,
    which a stream has sent already."""
    [choice] = answer.choices
    message = {key: value for key, value in choice.message.model_dump().items() if value}
    for item in message.get("reasoning_details", ()):
        item.pop("text", None)
    for call in message.get("tool_calls", ()):
        del call["function"]["parsed_arguments"]
        call.pop("index", None)
    return message, choice.finish_reason, answer.usage, answer.id, answer.model, answer.created


def test_a_stream_decoded_again_is_the_same_answer() -> None:
    parts: list[Part] = [Reasoning(text="t"), Text(text="a"), ToolCall(id="x", name="f", arguments='{"a":1}')]
    response = Response("msg_1", "up", [Choice(parts, Finish("tool_calls"))], Usage(input=10, output=5))
    decoder = CHAT.stream_decoder("me")
    body = encoded(*unfold(response), to=reply(include_usage=True))
    again = fold([event for data in frames(body) for event in decoder.feed(Frame("", data))])
    assert again.choices[0].parts == parts
    assert again.usage == response.usage
