"""Answers, errors, paths, and what may be looked at where Converse goes to Converse untouched."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any

import pytest

from dragoman.dialects.base import Reply
from dragoman.dialects.converse import CONVERSE, paths
from dragoman.dialects.converse.errors import decode_error, encode_error, stream_error
from dragoman.errors import (
    BodyTooLarge,
    Category,
    DragomanError,
    MalformedBody,
    UpstreamGarbled,
    UpstreamRefused,
    UpstreamTimeout,
)
from dragoman.ir import carrier
from dragoman.ir.events import Close, Delta, Event, Fault, Finish, Open, Sealed, Start, fold
from dragoman.ir.losses import Ledger
from dragoman.ir.request import Image, Reasoning, Request, Seal, Text, ToolCall, Unknown
from dragoman.ir.usage import Usage
from dragoman.testing import SCENARIOS, fold_converse, render_converse
from dragoman.wire.eventstream import EventStreamParser, write_event, write_exception
from dragoman.wire.http import Inbound


def reply(**extras: Any) -> Reply:
    request = Request(model="m", dialect="converse", extras=extras)
    return Reply(request, "m", 1, "fallback", 7, "upstream", Ledger())


def event(name: str, data: Any) -> bytes:
    return write_event(name, json.dumps(data).encode())


def decoded(*messages: bytes) -> list[Event]:
    parser, decoder = EventStreamParser(), CONVERSE.stream_decoder("bedrock")
    events = [one for message in messages for frame in parser.feed(message) for one in decoder.feed(frame)]
    for frame in parser.end():
        events += decoder.feed(frame)
    return events + decoder.end()


def delta(index: int, **said: Any) -> bytes:
    return event("contentBlockDelta", {"contentBlockIndex": index, "delta": said})


def stop(index: int) -> bytes:
    return event("contentBlockStop", {"contentBlockIndex": index})


BEGIN = event("messageStart", {"role": "assistant"})
END = event("messageStop", {"stopReason": "end_turn"})
COUNTS = event(
    "metadata",
    {
        "usage": {"inputTokens": 5, "outputTokens": 9, "totalTokens": 2417, "cacheReadInputTokens": 2000,
                  "cacheWriteInputTokens": 403, "cacheDetails": [{"ttl": "1h", "inputTokens": 3}]},
        "metrics": {"latencyMs": 7},
    },
)  # fmt: skip


# ---------------------------------------------------------------- streams in


def test_counts_are_disjoint() -> None:
    finish = decoded(BEGIN, delta(0, text="x"), stop(0), END, COUNTS)[-1]
    assert isinstance(finish, Finish)
    assert finish.usage == Usage(input=5, cache_read=2000, cache_write=400, cache_write_1h=3, output=9)


def test_a_stream_that_ends_without_its_counts_is_whole_and_one_without_its_end_is_not() -> None:
    assert isinstance(decoded(BEGIN, delta(0, text="x"), stop(0), END)[-1], Finish)
    cut = decoded(BEGIN, delta(0, text="x"), stop(0))[-1]
    assert isinstance(cut, Fault)
    assert isinstance(cut.error, UpstreamGarbled)
    torn = decoded(BEGIN, delta(0, text="x"), END, COUNTS[:-5])[-1]
    assert isinstance(torn, Fault)
    assert "within a message" in torn.error.message


def test_servers_that_bend_the_grammar_are_understood() -> None:
    """No start of the message, two kinds of content under one number, blocks that are never closed."""
    response = fold(decoded(delta(3, reasoningContent={"text": "Hm."}), delta(3, text="Yes"), delta(7, text="No"), END, COUNTS))
    assert response.choices[0].parts == [Reasoning(text="Hm."), Text(text="Yes"), Text(text="No")]


def test_a_signature_in_pieces_is_one_and_comes_last() -> None:
    thought = [delta(0, reasoningContent={"text": "Hm."}), delta(0, reasoningContent={"signature": "ab"})]
    events = decoded(BEGIN, *thought, delta(0, reasoningContent={"signature": "cd"}), stop(0), END, COUNTS)
    assert events[3:5] == [Sealed(0, Seal("abcd", "bedrock", "converse")), Close(0)]


def test_what_is_only_sealed_is_put_together_from_its_bytes() -> None:
    pieces = [b64encode(piece).decode() for piece in (b"one", b"two!")]
    sealed = [delta(0, reasoningContent={"redactedContent": piece}) for piece in pieces]
    (part,) = fold(decoded(BEGIN, *sealed, stop(0), END, COUNTS)).choices[0].parts
    assert part == Reasoning(seal=Seal(b64encode(b"onetwo!").decode(), "bedrock", "converse"), redacted=True)


def test_a_call_without_arguments_has_an_empty_object_and_one_cut_short_is_not_whole() -> None:
    start = event("contentBlockStart", {"contentBlockIndex": 0, "start": {"toolUse": {"toolUseId": "1", "name": "f"}}})
    assert fold(decoded(BEGIN, start, stop(0), END, COUNTS)).choices[0].parts == [ToolCall(id="1", name="f", arguments="{}")]
    broken = fold(decoded(BEGIN, start, delta(0, toolUse={"input": '{"a":'}), stop(0), END, COUNTS)).choices[0]
    assert broken.incomplete == {0}
    assert broken.finish.reason == "length"


def test_a_tool_of_bedrocks_own_and_an_image_come_whole() -> None:
    run = {"toolUse": {"toolUseId": "1", "name": "search", "type": "server_tool_use"}}
    parts = (
        fold(
            decoded(
                BEGIN,
                event("contentBlockStart", {"contentBlockIndex": 0, "start": run}),
                delta(0, toolUse={"input": '{"q":"x"}'}),
                stop(0),
                event("contentBlockStart", {"contentBlockIndex": 1, "start": {"image": {"format": "png"}}}),
                delta(1, image={"source": {"bytes": "AAAA"}}),
                stop(1),
                END,
                COUNTS,
            )
        )
        .choices[0]
        .parts
    )
    assert parts == [
        Unknown(native={"toolUse": {**run["toolUse"], "input": {"q": "x"}}}, dialect="converse"),
        Image(media_type="image/png", data="AAAA"),
    ]


@pytest.mark.parametrize("word", ["malformed_model_output", "malformed_tool_use"])
def test_an_answer_that_the_model_spoiled_is_a_failure(word: str) -> None:
    spoiled = event("messageStop", {"stopReason": word})
    fault = decoded(BEGIN, delta(0, text="{"), stop(0), spoiled, COUNTS)[-1]
    assert isinstance(fault, Fault)
    body = {"output": {"message": {"role": "assistant", "content": []}}, "stopReason": word}
    with pytest.raises(UpstreamGarbled, match=word):
        CONVERSE.decode_response(json.dumps(body).encode(), "bedrock")


@pytest.mark.parametrize(
    ("name", "category"),
    [
        ("throttlingException", "rate_limit"),
        ("serviceUnavailableException", "overloaded"),
        ("modelStreamErrorException", "unavailable"),
        ("internalServerException", "internal"),
        ("validationException", "invalid_request"),
        ("modelTimeoutException", "timeout"),
        ("someDayException", "unavailable"),
    ],
)
def test_an_exception_in_the_stream_is_a_fault_of_its_kind(name: str, category: str) -> None:
    fault = decoded(BEGIN, write_exception(name, b'{"message":"Nope."}'))[-1]
    assert isinstance(fault, Fault)
    assert (fault.error.category, fault.error.message) == (category, "Nope.")


@pytest.mark.parametrize(
    "message",
    [
        event("contentBlockDelta", {"delta": {"text": "x"}}),
        event("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": 7}}),
        event("contentBlockDelta", []),
        write_event("contentBlockStart", b"{"),
        event("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"citation": 7}}),
    ],
)
def test_an_event_of_a_wrong_shape_is_a_fault(message: bytes) -> None:
    fault = decoded(BEGIN, message)[-1]
    assert isinstance(fault, Fault)
    assert isinstance(fault.error, UpstreamGarbled)


# ---------------------------------------------------------------- streams out


def spoken(*events: Event, **extras: Any) -> bytes:
    encoder = CONVERSE.stream_encoder(reply(**extras))
    return b"".join(encoder.feed(one) for one in events)


def test_a_foreign_signature_is_a_token_and_comes_off_again() -> None:
    thought = Reasoning(seal=Seal("opaque", "openai", "responses"), redacted=True)
    body = spoken(Start("", ""), Open(0, thought), Close(0), Open(1, Text(text="x")), Close(1), Finish("stop", Usage()))
    token = fold_converse(body).blocks[0].value
    assert carrier.is_token(token)
    redacted = b64encode(token.encode()).decode()
    message = {"role": "assistant", "content": [{"reasoningContent": {"redactedContent": redacted}}, {"text": "x"}]}
    sent = json.dumps({"messages": [message]}).encode()
    part = CONVERSE.decode_request(sent).messages[0].parts[0]
    assert isinstance(part, Reasoning)
    assert part.seal == Seal("opaque", "openai", "responses")
    assert carrier.carries(sent)
    assert json.loads(CONVERSE.scrub(sent, "bedrock"))["messages"][0]["content"] == [{"text": "x"}]


def test_which_text_stopped_it_is_told_to_who_asked() -> None:
    said = (Start("", ""), Open(0, Text(text="x")), Close(0), Finish("stop_sequence", Usage(), "END"))
    assert fold_converse(spoken(*said)).stop_sequence is None
    asked = spoken(*said, additionalModelResponseFieldPaths=["/stop_sequence"])
    assert fold_converse(asked).stop_sequence == "END"


def test_calls_that_come_interleaved_leave_one_after_the_other() -> None:
    first, second = ToolCall(id="a", name="f"), ToolCall(id="b", name="g")
    view = fold_converse(
        spoken(
            Start("", ""),
            Open(0, first),
            Open(1, second),
            Delta(1, '{"y":'),
            Delta(0, '{"x":1}'),
            Delta(1, "2}"),
            Close(1),
            Close(0),
            Finish("tool_calls", Usage()),
        )
    )
    assert [(block.name, block.value) for block in view.blocks] == [("f", {"x": 1}), ("g", {"y": 2})]


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("status", "headers", "body", "category", "code"),
    [
        (429, {"x-amzn-errortype": "ThrottlingException"}, b'{"message":"Slow"}', "rate_limit", "ThrottlingException"),
        (400, {"x-amzn-errortype": "ValidationException:http://internal.amazon.com/coral/com.amazon.bedrock/"},
         b'{"message":"Bad"}', "invalid_request", "ValidationException"),
        (403, {"x-amzn-errortype": "AccessDeniedException"}, b'{"message":"No"}', "permission", "AccessDeniedException"),
        (403, {}, b'{"__type":"com.amazon.coral.service#ExpiredTokenException","message":"Old"}', "authentication",
         "ExpiredTokenException"),
        (424, {"x-amzn-errortype": "ModelErrorException"}, b'{"message":"Oops"}', "unavailable", "ModelErrorException"),
        (429, {"x-amzn-errortype": "ModelNotReadyException"}, b'{"message":"Wait"}', "overloaded", "ModelNotReadyException"),
        (408, {"x-amzn-errortype": "ModelTimeoutException"}, b'{"message":"Late"}', "timeout", "ModelTimeoutException"),
        (503, {}, b"<html>busy</html>", "overloaded", None),
        (404, {}, b'{"Output":{"__type":"com.amazon.coral.service#UnknownOperationException"}}', "not_found",
         "UnknownOperationException"),
        (424, {}, b"", "unavailable", None),
    ],
)  # fmt: skip
def test_an_error_is_known_by_its_name(
    status: int, headers: dict[str, str], body: bytes, category: str, code: str | None
) -> None:
    error = decode_error(status, headers, body, "bedrock")
    assert (error.category, error.code, error.status) == (category, code, status)
    assert error.message


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (UpstreamRefused("x", category="rate_limit", retry_after=2.5), "ThrottlingException"),
        (UpstreamRefused("x", category="overloaded"), "ServiceUnavailableException"),
        (UpstreamTimeout("x", phase="idle"), "ModelTimeoutException"),
        (BodyTooLarge("x"), "ValidationException"),
        (DragomanError("x"), "InternalServerException"),
    ],
)
def test_an_error_is_named_in_the_header(error: DragomanError, name: str) -> None:
    told = encode_error(error, "req_1")
    assert dict(told.headers)["x-amzn-errortype"] == name
    assert dict(told.headers)["x-amzn-requestid"] == "req_1"
    assert dict(told.headers).get("retry-after") == ("3" if error.retry_after else None)
    assert json.loads(told.body) == {"message": "x"}
    assert decode_error(told.status, dict(told.headers), told.body, "p").category in {error.category, "invalid_request"}


@pytest.mark.parametrize("category", ["rate_limit", "overloaded", "internal", "invalid_request", "unavailable", "timeout"])
def test_an_error_in_the_stream_is_one_of_those_that_its_clients_know(category: Category) -> None:
    known = {"internalServerException", "modelStreamErrorException", "validationException", "throttlingException",
             "serviceUnavailableException"}  # fmt: skip
    (frame,) = EventStreamParser().feed(stream_error(DragomanError("Nope.", category=category), "req_1"))
    name = frame.event.removeprefix("!")
    assert name[0].lower() + name[1:] in known
    assert json.loads(frame.data)["message"] == "Nope."


# ---------------------------------------------------------------- untouched


def test_the_end_of_a_stream_is_seen_in_its_last_bytes_and_not_in_somebodys_text() -> None:
    whole = BEGIN + delta(0, text="metadata messageStop") + stop(0) + END + COUNTS
    assert CONVERSE.ends(whole, closed=False)
    assert CONVERSE.ends(b"\n" + whole[len(BEGIN) + 20 :], closed=False)
    assert not CONVERSE.ends(whole[: -len(COUNTS)], closed=False)
    assert CONVERSE.ends(whole[: -len(COUNTS)], closed=True)
    assert not CONVERSE.ends(BEGIN + delta(0, text="metadata messageStop"), closed=True)
    assert not CONVERSE.ends(b"", closed=True)
    usage = Usage(input=5, cache_read=2000, cache_write=400, cache_write_1h=3, output=9)
    assert CONVERSE.usage_of(BEGIN, whole[10:]) == usage
    assert CONVERSE.usage_of(render_converse(SCENARIOS["text"], False).body, b"") == Usage(input=12, output=7)


def test_the_first_content_is_noticed() -> None:
    assert CONVERSE.framing.media == b"application/vnd.amazon.eventstream"
    told = BEGIN + delta(0, text="") + delta(0, reasoningContent={"text": ""}) + stop(0) + delta(1, text="x") + END
    told += write_exception("throttlingException", b"{}")
    seen = [CONVERSE.sniff(frame) for frame in EventStreamParser().feed(told)]
    assert seen[:2] == ["wait", "wait"] or seen[0] == "wait"
    assert seen[-3:] == ["content", "content", "error"]


def test_an_error_with_status_200_is_one_all_the_same() -> None:
    assert CONVERSE.error_in_body(b'{"Output":{"__type":"com.amazon.coral.service#UnknownOperationException"},"Version":"1.0"}')
    assert CONVERSE.error_in_body(b'{"message":"Too many"}')
    assert not CONVERSE.error_in_body(b'{"output":{},"message":"x"}')
    assert not CONVERSE.error_in_body(b"nonsense")


# ---------------------------------------------------------------- paths


@pytest.mark.parametrize(
    ("path", "model", "verb"),
    [
        ("/model/anthropic.claude-3-haiku-20240307-v1%3A0/converse", "anthropic.claude-3-haiku-20240307-v1:0", "converse"),
        ("/model/a%2Fb/converse-stream", "a/b", "converse-stream"),
        ("/model/a/b/converse-stream/", "a/b", "converse-stream"),
        ("/model/arn%3Aaws%3Abedrock%3A%3A1%3Ap%2Fx/count-tokens", "arn:aws:bedrock::1:p/x", "count-tokens"),
    ],
)
def test_the_model_and_the_verb_stand_in_the_path(path: str, model: str, verb: str) -> None:
    found = paths.locate(path)
    assert found is not None
    assert found == paths.Located(model, verb)  # pyright: ignore[reportArgumentType]
    again = paths.upstream_url("https://x/model", model, found.verb)
    assert paths.locate(again.removeprefix("https://x")) == found


def test_a_name_cannot_lead_out_of_its_place_in_the_path() -> None:
    with pytest.raises(MalformedBody):
        paths.upstream_url("https://x/model", "..", "converse")
    assert paths.upstream_url("https://x/model", "../a", "converse") == "https://x/model/..%2Fa/converse"


@pytest.mark.parametrize("path", ["/model/x/invoke", "/model/converse", "/models/x/converse", "/model/x/converses", "/"])
def test_other_paths_are_none_of_them(path: str) -> None:
    assert paths.locate(path) is None
    assert CONVERSE.locate is not None
    inbound = Inbound(method="POST", path=path, raw_path=path.encode(), query=b"", headers=[], body=b"{}")
    assert CONVERSE.locate(inbound) is None
