"""Events to Responses streams. The judges are the official SDK (its models, its accumulator) and the kit's strict reader."""

from __future__ import annotations

import json
from typing import Any, TypeAlias

import msgspec
import pytest
from openai import omit
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.responses import Response as SdkResponse
from openai.types.responses import ResponseStreamEvent
from pydantic import TypeAdapter

from dragoman.dialects.base import Reply
from dragoman.dialects.responses import RESPONSES
from dragoman.errors import UpstreamGarbled, UpstreamRefused
from dragoman.ir import carrier
from dragoman.ir.events import Cited, Close, Delta, Event, Fault, Finish, Open, Ping, Sealed, Start, fold, unfold
from dragoman.ir.losses import Ledger
from dragoman.ir.request import (
    Citation,
    Image,
    Namespace,
    Part,
    Reasoning,
    Refusal,
    Request,
    Seal,
    Text,
    Tool,
    ToolCall,
    Unknown,
)
from dragoman.ir.usage import Usage
from dragoman.testing import Block, fold_responses, read_responses

Json: TypeAlias = dict[str, Any]
START = Start("resp_up", "up")
_event: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)


def reply(**fields: Any) -> Reply:
    given: dict[str, Any] = {"model": "alias", "dialect": "responses", "stream": True, **fields}
    return Reply(Request(**given), "alias", 1_700_000_000, "resp_fallback", 42, "me", Ledger())


def encoded(*events: Event, to: Reply | None = None) -> bytes:
    encoder = RESPONSES.stream_encoder(to or reply())
    return b"".join(encoder.feed(event) for event in events)


def told(*events: Event, to: Reply | None = None) -> list[Json]:
    """The stream's events: legal by the kit's judge, each valid by the SDK's models, and adding up in its accumulator."""
    body = encoded(*events, to=to)
    view = fold_responses(body)
    found = [json.loads(block.partition(b"data: ")[2]) for block in body.split(b"\n\n") if block]
    state: Any = ResponseStreamState(input_tools=omit, text_format=omit)
    for native in found:
        state.handle_event(_event.validate_python(native))
    if view.finish is not None:
        SdkResponse.model_validate(found[-1]["response"])
        # Streamed and whole are the same answer.
        whole = json.loads(RESPONSES.encode_response(fold(events), to or reply()))
        assert {**whole, "usage": None} == {**found[-1]["response"], "usage": None}
    return found


def kinds(events: list[Json]) -> list[str]:
    return [event["type"].removeprefix("response.") for event in events]


def text(index: int, *pieces: str, choice: int = 0) -> list[Event]:
    return [Open(index, Text(text=""), choice), *(Delta(index, piece) for piece in pieces), Close(index)]


def opened(index: int, part: Part, *pieces: str, complete: bool = True) -> list[Event]:
    return [Open(index, part), *(Delta(index, piece) for piece in pieces), Close(index, complete)]


def call(index: int, call_id: str, name: str, *pieces: str, complete: bool = True, **more: Any) -> list[Event]:
    return opened(index, ToolCall(id=call_id, name=name, **more), *pieces, complete=complete)


USAGE = Usage(input=10, cache_read=3, cache_write=1, output=5, reasoning=2)


def test_a_text_stream_to_the_byte() -> None:
    body = encoded(START, *text(0, "Hé", "\n"), Finish("stop", USAGE))
    lines = body.decode().split("\n\n")
    at = '"item_id":"msg_up_0","output_index":0,"content_index":0'
    assert lines[2:-2] == [
        "event: response.output_item.added\n"
        'data: {"type":"response.output_item.added","sequence_number":2,"output_index":0,"item":{"id":"msg_up_0",'
        '"type":"message","status":"in_progress","content":[],"role":"assistant"}}',
        "event: response.content_part.added\n"
        f'data: {{"type":"response.content_part.added","sequence_number":3,{at},'
        '"part":{"type":"output_text","annotations":[],"logprobs":[],"text":""}}',
        "event: response.output_text.delta\n"
        f'data: {{"type":"response.output_text.delta","sequence_number":4,{at},"delta":"Hé","logprobs":[]}}',
        "event: response.output_text.delta\n"
        f'data: {{"type":"response.output_text.delta","sequence_number":5,{at},"delta":"\\n","logprobs":[]}}',
        "event: response.output_text.done\n"
        f'data: {{"type":"response.output_text.done","sequence_number":6,{at},"text":"Hé\\n","logprobs":[]}}',
        "event: response.content_part.done\n"
        f'data: {{"type":"response.content_part.done","sequence_number":7,{at},'
        '"part":{"type":"output_text","annotations":[],"logprobs":[],"text":"Hé\\n"}}',
        "event: response.output_item.done\n"
        'data: {"type":"response.output_item.done","sequence_number":8,"output_index":0,"item":{"id":"msg_up_0",'
        '"type":"message","status":"completed","content":[{"type":"output_text","annotations":[],"logprobs":[],'
        '"text":"Hé\\n"}],"role":"assistant"}}',
    ]
    assert [line.partition("\n")[0] for line in lines[:2]] == ["event: response.created", "event: response.in_progress"]
    assert lines[-2].startswith("event: response.completed\n")


def test_the_last_event_holds_the_answer_and_the_full_usage() -> None:
    last = told(START, *text(0, "a"), Finish("stop", USAGE))[-1]["response"]
    assert (last["id"], last["status"], last["model"], last["created_at"]) == ("resp_up", "completed", "up", 1_700_000_000)
    assert last["usage"] == {
        "input_tokens": 14,
        "input_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 1},
        "output_tokens": 7,
        "output_tokens_details": {"reasoning_tokens": 2},
        "total_tokens": 21,
    }


def test_a_usage_that_nobody_counted_is_estimated() -> None:
    usage = told(START, *text(0, "x" * 40), Finish("stop"))[-1]["response"]["usage"]
    assert (usage["input_tokens"], usage["output_tokens"]) == (42, 10)


@pytest.mark.parametrize("given", ["", "chatcmpl-1", "msg_1"])
def test_an_id_of_another_dialect_is_no_response_id(given: str) -> None:
    events = told(Start(given, ""), *text(0, "a"), Finish("stop"))
    assert {event["response"]["id"] for event in events if "response" in event} == {"resp_fallback"}
    assert events[0]["response"]["model"] == "alias"


def test_an_answer_without_start_or_parts_is_whole_all_the_same() -> None:
    assert kinds(told(Finish("stop"))) == ["created", "in_progress", "completed"]
    assert kinds(told(START, *text(0, ""), *opened(1, Reasoning()), Finish("stop"))) == ["created", "in_progress", "completed"]


def test_texts_and_refusals_in_a_row_are_one_message() -> None:
    events = told(START, *text(0, "One."), *text(1, "Two."), *opened(2, Refusal(text=""), "No."), Finish("refusal"))
    [item] = events[-1]["response"]["output"]
    assert [part.get("text") or part["refusal"] for part in item["content"]] == ["One.", "Two.", "No."]
    assert [event["content_index"] for event in events if event["type"] == "response.content_part.added"] == [0, 1, 2]
    assert events[-1]["response"]["status"] == "completed"


def test_other_items_end_a_message() -> None:
    events = told(
        START, *text(0, "a"), *call(1, "c1", "f", "{}"), *text(2, "b"), *call(3, "c2", "g", "{}"), Finish("tool_calls")
    )
    output = events[-1]["response"]["output"]
    assert [item["type"] for item in output] == ["message", "function_call", "message", "function_call"]
    assert [item["id"] for item in output] == ["msg_up_0", "fc_up_1", "msg_up_2", "fc_up_3"]


def test_a_call_is_announced_filled_and_done() -> None:
    events = told(START, *call(0, "call_1", "f", '{"a"', ":1}"), Finish("tool_calls"))
    assert kinds(events)[2:-1] == [
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
    ]
    assert events[2]["item"] == {
        "id": "fc_up_0",
        "type": "function_call",
        "status": "in_progress",
        "call_id": "call_1",
        "name": "f",
        "arguments": "",
    }
    assert events[-2]["item"] == {**events[2]["item"], "status": "completed", "arguments": '{"a":1}'}


def test_interleaved_calls_come_one_after_the_other() -> None:
    first, second = ToolCall(id="a", name="f"), ToolCall(id="b", name="g")
    events = told(
        START,
        Open(0, first),
        Open(1, second),
        Delta(0, '{"x"'),
        Delta(1, '{"y"'),
        Delta(0, ":1}"),
        Delta(1, ":2}"),
        Close(1),
        Close(0),
        Finish("tool_calls"),
    )
    assert [(item["call_id"], item["arguments"]) for item in events[-1]["response"]["output"]] == [
        ("a", '{"x":1}'),
        ("b", '{"y":2}'),
    ]


def test_what_is_held_back_is_not_lost_when_the_answer_ends() -> None:
    events = encoded(START, Open(0, Text(text="")), Delta(0, "a"), Open(1, ToolCall(id="b", name="g")), Delta(1, "{}"),
                     Finish("tool_calls"))  # fmt: skip
    assert fold_responses(events).blocks == (Block("text", "a"), Block("tool_call", {}, "g", "b"))


def test_a_broken_call_is_incomplete_and_its_arguments_are_never_said_to_be_done() -> None:
    events = told(START, *call(0, "c", "f", '{"a', complete=False), Finish("length"))
    assert "function_call_arguments.done" not in kinds(events)
    last = events[-1]["response"]
    assert (last["status"], last["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    assert (last["output"][0]["status"], last["output"][0]["arguments"]) == ("incomplete", '{"a')


ENDS: list[tuple[str, str, str | None]] = [
    ("stop", "completed", None),
    ("stop_sequence", "completed", None),
    ("length", "incomplete", "max_output_tokens"),
    ("context_length", "incomplete", "max_output_tokens"),
    ("content_filter", "incomplete", "content_filter"),
    ("refusal", "incomplete", "content_filter"),
    ("pause", "completed", None),
]


@pytest.mark.parametrize(("reason", "status", "why"), ENDS)
def test_how_an_answer_ends(reason: Any, status: str, why: str | None) -> None:
    to = reply()
    events = told(START, *text(0, "a"), Finish(reason), to=to)
    last = events[-1]
    assert last["type"] == f"response.{status}"
    assert last["response"]["status"] == status
    assert (last["response"]["incomplete_details"] or {}).get("reason") == why
    assert last["response"]["output"][0]["status"] == status
    assert bool(to.ledger.losses) == (reason == "pause")


def test_why_the_model_declined_is_told_as_its_refusal() -> None:
    events = told(START, *text(0, "First, "), Finish("refusal", explanation="Too dangerous."))
    [item] = events[-1]["response"]["output"]
    assert item["content"][1] == {"type": "refusal", "refusal": "Too dangerous."}
    assert events[-1]["type"] == "response.completed"


# ---------------------------------------------------------------- reasoning


def test_another_providers_thinking_is_a_summary_and_rides_in_a_token() -> None:
    seal = Seal("sig", "anthropic", "messages")
    events = told(START, Open(0, Reasoning()), Delta(0, "I "), Delta(0, "think."), Sealed(0, seal), Close(0), *text(1, "a"),
                  Finish("stop"))  # fmt: skip
    assert kinds(events)[2:9] == [
        "output_item.added",
        "reasoning_summary_part.added",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
        "output_item.done",
    ]
    item = events[-1]["response"]["output"][0]
    assert item["summary"] == [{"type": "summary_text", "text": "I think."}]
    assert carrier.unpack(item["encrypted_content"]) == [Reasoning(text="I think.", seal=seal)]


def test_unsealed_thinking_remembers_who_thought_it() -> None:
    item = told(START, *opened(0, Reasoning(), "Hm."), Finish("stop"))[-1]["response"]["output"][0]
    assert carrier.unpack(item["encrypted_content"]) == [Reasoning(text="Hm.", seal=Seal("", "me", ""))]


def test_what_this_dialects_own_provider_sealed_stays_as_it_is() -> None:
    seal = Seal("gAAA", "openai", "responses")
    events = told(START, Open(0, Reasoning(summary=True)), Delta(0, "s"), Sealed(0, seal), Close(0), Finish("stop"))
    assert events[-1]["response"]["output"][0]["encrypted_content"] == "gAAA"


def test_thinking_that_shows_nothing_is_kept_for_its_seal() -> None:
    seal = Seal("data", "anthropic", "messages")
    for part in (Reasoning(seal=seal, redacted=True), Reasoning(seal=seal)):
        item = told(START, *opened(0, part), Finish("stop"))[-1]["response"]["output"][0]
        assert item["summary"] == []
        assert carrier.unpack(item["encrypted_content"]) == [part]


# ---------------------------------------------------------------- tools of the caller

GRAMMAR = {"format": {"type": "grammar", "grammar": {"syntax": "lark", "definition": "start: /.+/"}}}
SPACE = Namespace(name="crm", tool="get")
TOOLS = [
    Tool(name="patch", kind="custom", native=GRAMMAR),
    Tool(name="crm__get", namespace=SPACE, schema=msgspec.Raw(b"{}")),
    Tool(name="plain", schema=msgspec.Raw(b'{"type":"object"}'), strict=True),
]


def test_a_free_text_tool_called_as_a_function_is_told_as_free_text() -> None:
    events = told(START, *call(0, "c", "patch", '{"inp', 'ut":"*** Begin"}'), Finish("tool_calls"), to=reply(tools=TOOLS))
    assert kinds(events)[2:-1] == [
        "output_item.added",
        "custom_tool_call_input.delta",
        "custom_tool_call_input.done",
        "output_item.done",
    ]
    item = events[-1]["response"]["output"][0]
    assert (item["type"], item["input"], item["name"]) == ("custom_tool_call", "*** Begin", "patch")


def test_a_free_text_call_stays_one() -> None:
    events = told(START, *call(0, "c", "patch", "*** ", "Begin", kind="custom"), Finish("tool_calls"), to=reply(tools=TOOLS))
    assert kinds(events).count("custom_tool_call_input.delta") == 2
    assert events[-1]["response"]["output"][0]["input"] == "*** Begin"


def test_a_tool_of_a_group_is_called_by_both_its_names() -> None:
    item = told(START, *call(0, "c", "crm__get", "{}"), Finish("tool_calls"), to=reply(tools=TOOLS))[-1]["response"]["output"][
        0
    ]
    assert (item["namespace"], item["name"]) == ("crm", "get")


@pytest.mark.parametrize("given", ["functions.Bash:0", "call_" + "x" * 89, "é"])
def test_an_id_that_is_none_here_is_a_hash_of_it(given: str) -> None:
    ids = {told(START, *call(0, given, "f", "{}"), Finish("tool_calls"))[-1]["response"]["output"][0]["call_id"] for _ in "ab"}
    [own] = ids
    assert own.startswith("call_")
    assert len(own) <= 64


def test_the_request_is_echoed_in_every_response() -> None:
    to = reply(
        tools=TOOLS, system=[Text(text="Be kind.", at=(None, "instructions"))], max_tokens=99, metadata={"k": "v"}, store=False,
        parallel=False, user="u", extras={"truncation": "auto", "previous_response_id": "resp_0"},
    )  # fmt: skip
    events = told(START, Finish("stop"), to=to)
    for event in events:
        response = event["response"]
        assert response["instructions"] == "Be kind."
        assert (response["max_output_tokens"], response["metadata"], response["store"]) == (99, {"k": "v"}, False)
        assert (response["parallel_tool_calls"], response["truncation"]) == (False, "auto")
        assert (response["previous_response_id"], response["user"]) == ("resp_0", "u")
        assert (response["temperature"], response["top_p"], response["tool_choice"]) == (1.0, 1.0, "auto")
        assert [tool["type"] for tool in response["tools"]] == ["custom", "namespace", "function"]
        assert response["tools"][0]["format"] == {"type": "grammar", "syntax": "lark", "definition": "start: /.+/"}
        assert response["tools"][1]["tools"][0]["name"] == "get"


# ---------------------------------------------------------------- sources, log probabilities, other kinds


def test_sources_stand_where_their_text_is_whole() -> None:
    to = reply()
    cited = [
        Cited(0, Citation(url="https://x", title="X")),
        Cited(0, Citation(title="a document")),
        Cited(0, Citation(native={"type": "file_path", "file_id": "f", "index": 1}, dialect="responses")),
    ]
    events = told(START, Open(0, Text(text="")), cited[0], Delta(0, "Blue."), *cited[1:], Close(0), Finish("stop"), to=to)
    [item] = events[-1]["response"]["output"]
    assert item["content"][0]["annotations"] == [
        {"type": "url_citation", "start_index": 0, "end_index": 5, "title": "X", "url": "https://x"},
        {"type": "file_path", "file_id": "f", "index": 1},
    ]
    assert [loss.severity for loss in to.ledger.losses][:1] == ["info"]


def test_log_probabilities_go_with_their_text_and_with_the_whole() -> None:
    probe = {"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": []}
    events = told(START, Open(0, Text(text="")), Delta(0, "a", [probe]), Close(0), Finish("stop"))
    assert next(event for event in events if event["type"] == "response.output_text.delta")["logprobs"] == [probe]
    assert events[-1]["response"]["output"][0]["content"][0]["logprobs"] == [probe]


def test_an_item_of_the_providers_own_tools_is_given_on_whole() -> None:
    native = {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "q"}}
    events = told(START, *text(0, "a"), *opened(1, Unknown(native=native, dialect="responses")), Finish("stop"))
    assert events[-1]["response"]["output"][1] == native
    added = next(event for event in events if event["type"] == "response.output_item.added" and event["output_index"] == 1)
    assert added["item"]["status"] == "in_progress"


def test_a_picture_is_an_item_of_its_own() -> None:
    item = told(START, *text(0, "a"), *opened(1, Image(media_type="image/webp", data="AAAA")), Finish("stop"))[-1]["response"][
        "output"
    ][1]
    assert item == {
        "id": "ig_up_1",
        "type": "image_generation_call",
        "status": "completed",
        "result": "AAAA",
        "output_format": "webp",
    }


def test_what_has_no_form_here_is_a_loss() -> None:
    to = reply()
    told(START, *opened(0, Unknown(native={"type": "server_tool_use"}, dialect="messages")), Finish("stop"), to=to)
    assert [loss.what for loss in to.ledger.losses] == ["an answer's server_tool_use has no place in Responses"] * 2


def test_of_several_answers_the_first_is_told() -> None:
    to = reply()
    events = encoded(START, *text(0, "a"), *text(1, "b", choice=1), Finish("stop"), Finish("stop", USAGE, choice=1), to=to)
    view = fold_responses(events)
    assert view.text == "a"
    assert view.tokens is not None
    assert view.tokens.output == 5
    assert [loss.path for loss in to.ledger.losses] == ["choices"]


# ---------------------------------------------------------------- pings and faults


def test_a_ping_is_a_comment() -> None:
    assert encoded(Ping()) == b": ping\n\n"


def test_a_failure_before_the_beginning_is_an_error_event() -> None:
    error = UpstreamRefused("Slow down.", category="rate_limit")
    body = encoded(Fault(error))
    assert body.startswith(b"event: error\n")
    native = json.loads(body.partition(b"data: ")[2])
    _event.validate_python(native)
    assert (native["code"], native["message"], native["sequence_number"]) == ("rate_limit_exceeded", "Slow down.", 0)
    assert native["error"]["type"] == "rate_limit_error"
    assert encoded(Fault(error), *text(0, "a")) == body


def test_a_failure_after_the_beginning_is_a_failed_response() -> None:
    events = told(
        START, *text(0, "a"), *call(1, "c", "f", "{}"), Open(2, Text(text="")), Delta(2, "b"), Fault(UpstreamGarbled("cut"))
    )
    last = events[-1]
    assert last["type"] == "response.failed"
    assert (last["response"]["status"], last["response"]["error"]["message"]) == ("failed", "cut")
    assert last["response"]["error"]["code"] == "server_error"
    assert [item["type"] for item in last["response"]["output"]] == ["message", "function_call"]
    assert last["sequence_number"] == len(events) - 1


def test_a_whole_answer_unfolds_to_the_same_items() -> None:
    parts: list[Part] = [Reasoning(text="t"), Text(text="a"), ToolCall(id="c", name="f", arguments="{}")]
    events: list[Event] = [
        START,
        *(event for index, part in enumerate(parts) for event in opened(index, part)),
        Finish("tool_calls"),
    ]
    body = encoded(*unfold(fold(events)))
    assert fold_responses(body).gist == read_responses(RESPONSES.encode_response(fold(events), reply())).gist
