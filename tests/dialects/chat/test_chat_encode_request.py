"""The hub's requests as Chat Completions requests: what is written, and what goes in the ledger."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, TypeAlias

import msgspec
import pytest
from openai.types.chat import completion_create_params
from pydantic import TypeAdapter

from dragoman.dialects import DIALECTS
from dragoman.dialects.base import Target
from dragoman.dialects.chat import CHAT
from dragoman.ir.losses import Ledger
from dragoman.ir.profile import DEFAULT, Profile
from dragoman.ir.request import (
    Audio,
    CacheMark,
    Citation,
    Document,
    Format,
    Image,
    Message,
    Part,
    Path,
    Reasoning,
    ReasoningAsk,
    Refusal,
    Request,
    Sampling,
    Seal,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    Unknown,
)

Json: TypeAlias = dict[str, Any]
HERE: Path = ((None, "messages"), 0)
OPENAI: Json = {"custom_tools": True, "allowed_tools": True}
USER = Message(role="user", parts=[Text(text="hi", at=(HERE, "content"))], at=HERE)


def raw(schema: str) -> msgspec.Raw:
    return msgspec.Raw(schema.encode())


def request_of(*messages: Message, **fields: Any) -> Request:
    given: dict[str, Any] = {"model": "m", "dialect": "messages", "messages": list(messages) or [USER], **fields}
    return Request(**given)


def encode(request: Request, **profile: Any) -> tuple[Json, list[tuple[str, str]]]:
    """The body, and path and severity of each loss."""
    ledger = Ledger()
    target = Target("up", "me", Profile(**(OPENAI | profile)))
    body = json.loads(CHAT.encode_request(request, target, ledger))
    return body, [(loss.path, loss.severity) for loss in ledger.losses]


def told(*messages: Message, **profile: Any) -> tuple[list[Json], list[tuple[str, str]]]:
    body, losses = encode(request_of(*messages), **profile)
    return body["messages"], losses


def user(*parts: Part, **fields: Any) -> Message:
    return Message(role="user", parts=list(parts), at=HERE, **fields)


def assistant(*parts: Part, **fields: Any) -> Message:
    return Message(role="assistant", parts=list(parts), at=HERE, **fields)


AT: Path = ((HERE, "content"), 0)
AT_TEXT = "messages[0].content[0]"


# ---------------------------------------------------------------- system and user content


def test_one_instruction_is_a_string_and_several_are_parts() -> None:
    body, _ = encode(request_of(system=[Text(text="one")]))
    assert body["messages"][0] == {"role": "system", "content": "one"}
    body, _ = encode(request_of(system=[Text(text="one"), Text(text=""), Text(text="two")]))
    assert body["messages"][0] == {
        "role": "system",
        "content": [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}],
    }


def test_instructions_between_turns_stay_in_place() -> None:
    messages, losses = told(USER, Message(role="system", parts=[Text(text="now")]), assistant(Text(text="ok")))
    assert [message["role"] for message in messages] == ["user", "system", "assistant"]
    assert losses == []


CONTENT: list[tuple[str, list[Part], Any, list[tuple[str, str]]]] = [
    ("one text", [Text(text="a")], "a", []),
    ("no part at all", [], "", []),
    ("two texts", [Text(text="a"), Text(text="b")], [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], []),
    (
        "an image in the body",
        [Image(media_type="image/png", data="QQ==")],
        [{"type": "image_url", "image_url": {"url": "data:image/png;base64,QQ=="}}],
        [],
    ),
    (
        "an image by URL",
        [Image(url="https://x", detail="low")],
        [{"type": "image_url", "image_url": {"url": "https://x", "detail": "low"}}],
        [],
    ),
    ("an image in a store", [Image(file="f", at=AT)], "[omitted: image]", [(AT_TEXT, "lost")]),
    (
        "audio",
        [Audio(data="QQ==", format="wav")],
        [{"type": "input_audio", "input_audio": {"data": "QQ==", "format": "wav"}}],
        [],
    ),
    (
        "a PDF",
        [Document(media_type="application/pdf", data="QQ==", title="a.pdf")],
        [{"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,QQ=="}}],
        [],
    ),
    (
        "a document without a name",
        [Document(media_type="text/plain", data="QQ==")],
        [{"type": "file", "file": {"filename": "document.txt", "file_data": "data:text/plain;base64,QQ=="}}],
        [],
    ),
    (
        "a PDF with a context",
        [Document(media_type="application/pdf", data="QQ==", title="T", context="C")],
        [
            {"type": "text", "text": "[document: T]\nC"},
            {"type": "file", "file": {"filename": "T", "file_data": "data:application/pdf;base64,QQ=="}},
        ],
        [],
    ),
    ("a text document", [Document(text="body", title="T", context="C")], "[document: T]\nC\n\nbody", []),
    (
        "a document of parts",
        [Document(parts=[Text(text="a"), Image(url="https://x")], title="T")],
        [
            {"type": "text", "text": "[document: T]"},
            {"type": "text", "text": "a"},
            {"type": "image_url", "image_url": {"url": "https://x"}},
        ],
        [],
    ),
    ("a document by URL", [Document(url="https://x", at=AT)], "[document: https://x]", [(AT_TEXT, "degraded")]),
    ("a document in a store", [Document(file="f", at=AT)], "[omitted: document]", [(AT_TEXT, "lost")]),
    ("a document to be cited", [Document(text="a", cite=True, at=AT)], "a", [(AT_TEXT + ".citations", "degraded")]),
    (
        "a reference to a tool",
        [Unknown(native={"type": "tool_reference", "tool_name": "grep"}, dialect="messages", at=AT)],
        "[tool: grep]",
        [(AT_TEXT, "degraded")],
    ),
    (
        "a search result",
        [
            Unknown(
                native={"type": "search_result", "title": "T", "source": "S", "content": [{"type": "text", "text": "a"}]},
                dialect="messages",
                at=AT,
            )
        ],
        "T\nS\na",
        [(AT_TEXT, "degraded")],
    ),
    (
        "a block that says nothing to a reader",
        [Unknown(native={"type": "container_upload", "file_id": "f"}, dialect="messages", at=AT)],
        "[omitted: container_upload]",
        [(AT_TEXT, "lost")],
    ),
    (
        "extras of another dialect",
        [Text(text="a", at=AT, extras={"x": 1})],
        "a",
        [(AT_TEXT + ".x", "lost")],
    ),
    (
        "a cache mark that the target does not take",
        [Text(text="a", at=AT, cache=CacheMark())],
        "a",
        [(AT_TEXT + ".cache_control", "info")],
    ),
    (
        "citations",
        [Text(text="a", at=AT, citations=[Citation(at=((AT, "citations"), 0))])],
        "a",
        [(AT_TEXT + ".citations[0]", "info")],
    ),
]


@pytest.mark.parametrize(("parts", "expected", "losses"), [case[1:] for case in CONTENT], ids=[case[0] for case in CONTENT])
def test_a_user_s_parts(parts: list[Part], expected: Any, losses: list[tuple[str, str]]) -> None:
    messages, entered = told(user(*parts))
    assert messages == [{"role": "user", "content": expected}]
    assert entered == losses


# ---------------------------------------------------------------- cache marks


def marked(count: int) -> list[Message]:
    return [user(Text(text=f"t{number}", cache=CacheMark("1h" if number else None))) for number in range(count)]


def test_the_last_four_cache_marks_are_kept() -> None:
    body, losses = encode(request_of(*marked(6), system=[Text(text="s", cache=CacheMark())]), cache_marks="cache_control")
    kept = ["cache_control" in part for message in body["messages"][3:] for part in message["content"]]
    assert kept == [True] * 4
    assert [message["content"] for message in body["messages"][:3]] == ["s", "t0", "t1"]
    assert len(losses) == 3
    assert body["messages"][-1]["content"][0]["cache_control"] == {"type": "ephemeral", "ttl": "1h"}


def test_a_mark_is_written_as_the_target_wants_it() -> None:
    messages, losses = told(user(Text(text="a", at=AT, cache=CacheMark("1h"))), cache_marks="breakpoint")
    assert messages[0]["content"] == [{"type": "text", "text": "a", "prompt_cache_breakpoint": {"mode": "explicit"}}]
    assert losses == [(AT_TEXT + ".cache_control.ttl", "info")]


def test_a_mark_on_a_result_is_on_its_text() -> None:
    result = ToolResult(call_id="1", parts=[Text(text="a"), Text(text="b")], cache=CacheMark())
    messages, _ = told(assistant(ToolCall(id="1", name="f")), user(result), cache_marks="cache_control")
    assert messages[1]["content"] == [
        {"type": "text", "text": "a"},
        {"type": "text", "text": "b", "cache_control": {"type": "ephemeral"}},
    ]


def test_a_marked_text_of_the_assistant_stays_a_part() -> None:
    messages, _ = told(assistant(Text(text="a", cache=CacheMark())), cache_marks="cache_control")
    assert messages[0]["content"] == [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}]


def test_marks_without_a_place_are_in_the_ledger() -> None:
    tool = Tool(name="f", cache=CacheMark(), at=((None, "tools"), 0))
    messages = [assistant(ToolCall(id="1", name="f", cache=CacheMark(), at=AT)), user(ToolResult(call_id="1", parts=[]))]
    _, losses = encode(request_of(*messages, tools=[tool], cache=CacheMark()), cache_marks="cache_control")
    assert losses == [(AT_TEXT + ".cache_control", "info"), ("tools[0].cache_control", "info"), ("cache_control", "info")]


# ---------------------------------------------------------------- assistant turns


def function(call_id: str, name: str = "f", arguments: str = "{}") -> Json:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


TURNS: list[tuple[str, list[Part], Json, list[tuple[str, str]]]] = [
    ("a text", [Text(text="a")], {"content": "a"}, []),
    ("several texts are one string", [Text(text="a"), Text(text="b")], {"content": "ab"}, []),
    ("nothing", [], {"content": ""}, []),
    (
        "a call alone",
        [ToolCall(id="1", name="f", arguments='{"a": 1}')],
        {"content": None, "tool_calls": [function("1", arguments='{"a": 1}')]},
        [],
    ),
    ("a call without arguments", [ToolCall(id="1", name="f")], {"content": None, "tool_calls": [function("1")]}, []),
    ("a call without an id", [ToolCall(id="", name="f")], {"content": None, "tool_calls": [function("call_m0_0")]}, []),
    (
        "an id of any form",
        [ToolCall(id="functions.Bash:0", name="f")],
        {"content": None, "tool_calls": [function("functions.Bash:0")]},
        [],
    ),
    (
        "a custom call",
        [ToolCall(id="1", name="f", arguments="x", kind="custom")],
        {"content": None, "tool_calls": [{"id": "1", "type": "custom", "custom": {"name": "f", "input": "x"}}]},
        [],
    ),
    ("a refusal", [Refusal(text="no")], {"content": None, "refusal": "no"}, []),
    (
        "a text after a call",
        [Text(text="a"), ToolCall(id="1", name="f"), Text(text="b", at=AT)],
        {"content": "ab", "tool_calls": [function("1")]},
        [(AT_TEXT, "info")],
    ),
    ("an image of the assistant's", [Image(url="https://x", at=AT)], {"content": "[omitted: image]"}, [(AT_TEXT, "lost")]),
]


@pytest.mark.parametrize(("parts", "expected", "losses"), [case[1:] for case in TURNS], ids=[case[0] for case in TURNS])
def test_an_assistant_s_parts(parts: list[Part], expected: Json, losses: list[tuple[str, str]]) -> None:
    messages, entered = told(assistant(*parts))
    assert messages == [{"role": "assistant", **expected}]
    assert entered == losses


def seal(item: Json, issuer: str | None) -> Seal:
    return Seal(json.dumps(item), issuer, "chat")


ITEM = {"type": "reasoning.text", "text": "t", "signature": "s"}
OTHERS = "reasoning of another provider"

REPLAY: list[tuple[str, str, Reasoning, Json]] = [
    ("plain thinking, wanted", "reasoning_content", Reasoning(text="t"), {"reasoning_content": "t"}),
    (
        "plain thinking of this provider, wanted",
        "reasoning_content",
        Reasoning(text="t", seal=Seal("", "me", "")),
        {"reasoning_content": "t"},
    ),
    (
        "sealed thinking of this provider, wanted as text",
        "reasoning_content",
        Reasoning(text="t", seal=seal(ITEM, "me")),
        {"reasoning_content": "t"},
    ),
    ("thinking of another provider", "reasoning_content", Reasoning(text="t", seal=Seal("sig", "other", "messages")), {}),
    ("plain thinking of another provider", "reasoning_content", Reasoning(text="t", seal=Seal("", "other", "")), {}),
    ("a bare signature of another dialect", "reasoning_content", Reasoning(text="t", seal=Seal("sig", None, "messages")), {}),
    ("plain thinking, not wanted", "none", Reasoning(text="t"), {}),
    (
        "an item of this provider",
        "reasoning_details",
        Reasoning(text="t", seal=seal(ITEM, "me")),
        {"reasoning_details": [ITEM]},
    ),
    ("an item that came bare", "reasoning_details", Reasoning(text="t", seal=seal(ITEM, None)), {"reasoning_details": [ITEM]}),
    ("an item of another provider", "reasoning_details", Reasoning(text="t", seal=seal(ITEM, "other")), {}),
    (
        "plain thinking as an item",
        "reasoning_details",
        Reasoning(text="t"),
        {"reasoning_details": [{"type": "reasoning.text", "text": "t"}]},
    ),
    ("a signature of another dialect", "reasoning_details", Reasoning(text="t", seal=Seal("sig", "me", "messages")), {}),
]


@pytest.mark.parametrize(("replay", "part", "expected"), [case[1:] for case in REPLAY], ids=[case[0] for case in REPLAY])
def test_thinking_goes_back_only_to_its_own_provider(replay: str, part: Reasoning, expected: Json) -> None:
    part = msgspec.structs.replace(part, at=AT)
    messages, losses = told(assistant(part, Text(text="a")), reasoning_replay=replay)
    assert messages == [{"role": "assistant", "content": "a", **expected}]
    assert losses == ([] if expected else [(AT_TEXT, "info")])


@pytest.mark.parametrize("replay", ["none", "reasoning_content", "reasoning_details"])
@pytest.mark.parametrize("dialect", ["chat", "messages", ""])
def test_a_seal_of_another_issuer_is_never_sent(replay: str, dialect: str) -> None:
    secret = json.dumps({"type": "reasoning.encrypted", "data": "SECRET", "extra_content": {"SECRET": 1}})
    part = Reasoning(text="SECRET thought", seal=Seal(secret, "other", dialect))
    messages, _ = told(assistant(part, ToolCall(id="1", name="f")), reasoning_replay=replay)
    assert "SECRET" not in json.dumps(messages)


def test_what_a_provider_hung_on_a_call_goes_back_on_it() -> None:
    extra = {"extra_content": {"google": {"thought_signature": "s"}}}
    part = Reasoning(seal=seal(extra, "me"), redacted=True)
    messages, losses = told(assistant(part, ToolCall(id="1", name="f"), ToolCall(id="2", name="f")))
    assert messages[0]["tool_calls"] == [{**function("1"), **extra}, function("2")]
    assert losses == []


# ---------------------------------------------------------------- results


def test_results_come_first_and_each_in_its_own_message() -> None:
    messages, losses = told(
        assistant(ToolCall(id="1", name="f"), ToolCall(id="2", name="f")),
        user(
            Text(text="so?"),
            ToolResult(call_id="2", parts=[]),
            ToolResult(call_id="1", parts=[Text(text="a"), Text(text="b")]),
        ),
    )
    assert messages[1:] == [
        {"role": "tool", "tool_call_id": "2", "content": ""},
        {"role": "tool", "tool_call_id": "1", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {"role": "user", "content": "so?"},
    ]
    assert losses == []


def test_results_stand_directly_after_the_calls_whatever_came_between() -> None:
    messages, _ = told(
        assistant(ToolCall(id="1", name="f"), ToolCall(id="2", name="f")),
        user(ToolResult(call_id="1", parts=[Text(text="a")])),
        Message(role="system", parts=[Text(text="note")]),
        user(ToolResult(call_id="2", parts=[Text(text="b")])),
    )
    assert [message["role"] for message in messages] == ["assistant", "tool", "tool", "system"]


def test_an_image_in_a_result_follows_in_the_next_message() -> None:
    image = Image(media_type="image/png", data="QQ==", at=AT)
    messages, losses = told(
        assistant(ToolCall(id="1", name="f")),
        user(ToolResult(call_id="1", parts=[Text(text="see"), image]), Text(text="well?")),
    )
    assert messages[1:] == [
        {
            "role": "tool",
            "tool_call_id": "1",
            "content": [{"type": "text", "text": "see"}, {"type": "text", "text": "[image: see the next message]"}],
        },
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "From the result of the call 1:"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,QQ=="}},
                {"type": "text", "text": "well?"},
            ],
        },
    ]
    assert losses == [(AT_TEXT, "info")]


@pytest.mark.parametrize(
    ("parts", "content"),
    [
        ([Text(text="no such file")], "Error: no such file"),
        ([Text(text="ERROR: no such file")], "ERROR: no such file"),
        ([Text(text="<error>x</error>")], "<error>x</error>"),
        ([], "Error"),
    ],
)
def test_a_failed_result_says_so_in_words(parts: list[Part], content: str) -> None:
    result = ToolResult(call_id="1", parts=parts, is_error=True, at=AT)
    messages, losses = told(assistant(ToolCall(id="1", name="f")), user(result))
    assert messages[1] == {"role": "tool", "tool_call_id": "1", "content": content}
    assert losses == [(AT_TEXT, "degraded")]


def test_a_result_of_a_reference_to_a_tool_is_still_one_message() -> None:
    reference = Unknown(native={"type": "tool_reference", "tool_name": "grep"}, dialect="messages", at=AT)
    messages, losses = told(assistant(ToolCall(id="1", name="f")), user(ToolResult(call_id="1", parts=[reference])))
    assert messages[1:] == [{"role": "tool", "tool_call_id": "1", "content": "[tool: grep]"}]
    assert losses == [(AT_TEXT, "degraded")]


def test_calls_and_results_without_ids_are_paired() -> None:
    messages, _ = told(
        assistant(ToolCall(id="", name="f"), ToolCall(id="", name="g")),
        user(ToolResult(call_id="", parts=[]), ToolResult(call_id="", parts=[])),
    )
    assert [call["id"] for call in messages[0]["tool_calls"]] == [message["tool_call_id"] for message in messages[1:]]


# ---------------------------------------------------------------- tools, choice, format

SCHEMA = '{ "type":"object" , "properties":{} , "additionalProperties":false }'
TOOL = Tool(name="f", description="d", schema=raw(SCHEMA), strict=True)


def test_a_schema_keeps_its_bytes() -> None:
    body = CHAT.encode_request(request_of(tools=[TOOL]), Target("up", "me", DEFAULT), Ledger())
    assert f'"parameters":{SCHEMA}'.encode() in body


def test_tools_of_every_kind() -> None:
    form = {"type": "text"}
    tools = [
        TOOL,
        Tool(name="g"),
        Tool(name="c", kind="custom", native={"format": form}),
        Tool(name="web_search", kind="hosted", dialect="chat", native={"type": "web_search", "x": 1}),
        Tool(name="bash", kind="hosted", dialect="messages", native={"type": "bash_20250124"}, at=((None, "tools"), 4)),
        Tool(name="h", extras={"input_examples": [{}]}, at=((None, "tools"), 5)),
    ]
    body, losses = encode(request_of(tools=tools))
    empty = {"type": "object", "properties": {}}
    assert body["tools"] == [
        {"type": "function", "function": {"name": "f", "description": "d", "parameters": json.loads(SCHEMA), "strict": True}},
        {"type": "function", "function": {"name": "g", "parameters": empty}},
        {"type": "custom", "custom": {"name": "c", "format": form}},
        {"type": "web_search", "x": 1},
        {"type": "function", "function": {"name": "h", "parameters": empty}},
    ]
    assert losses == [("tools[4]", "lost"), ("tools[5].input_examples", "lost")]


def test_where_only_functions_are_known_a_free_text_tool_is_one_with_a_single_text() -> None:
    tool = Tool(name="patch", kind="custom", description="d", native={"format": {"type": "grammar"}}, at=((None, "tools"), 0))
    call = assistant(ToolCall(id="1", name="patch", arguments='*** "x"', kind="custom"))
    choice = ToolChoice(mode="tool", names=["patch"])
    body, losses = encode(request_of(call, tools=[tool], tool_choice=choice), custom_tools=False)
    function = body["tools"][0]["function"]
    assert (body["tools"][0]["type"], function["name"]) == ("function", "patch")
    assert function["description"] == 'd\nThe input must follow this format: {"type":"grammar"}'
    assert function["parameters"]["required"] == ["input"]
    assert json.loads(body["messages"][0]["tool_calls"][0]["function"]["arguments"]) == {"input": '*** "x"'}
    assert body["tool_choice"] == {"type": "function", "function": {"name": "patch"}}
    assert losses == [("tools[0]", "degraded")]


def test_where_a_choice_cannot_be_a_list_the_other_tools_are_left_out() -> None:
    tools = [Tool(name=name, at=((None, "tools"), at)) for at, name in enumerate("fgh")]
    choice = ToolChoice(mode="allowed", names=["f", "h"], required=True, at=(None, "tool_choice"))
    body, losses = encode(request_of(tools=tools, tool_choice=choice), allowed_tools=False)
    assert [tool["function"]["name"] for tool in body["tools"]] == ["f", "h"]
    assert body["tool_choice"] == "required"
    assert losses == [("tools[1]", "info"), ("tool_choice", "info")]


def test_what_the_endpoint_refuses_is_not_sent() -> None:
    fields: dict[str, Any] = {"n": 2, "user": "u", "cache_key": "k", "verbosity": "low", "sampling": Sampling(seed=3)}
    body, losses = encode(request_of(**fields), refused=frozenset({"n", "user", "verbosity"}), seed_field="random_seed")
    assert body.keys() == {"model", "messages", "random_seed", "prompt_cache_key"}
    assert losses == [("n", "degraded"), ("verbosity", "degraded"), ("user", "info")]
    assert encode(request_of(n=1), refused=frozenset({"n"}))[0]["n"] == 1


def test_ids_of_calls_get_the_form_that_the_endpoint_wants_and_stay_paired() -> None:
    turns = [
        assistant(ToolCall(id="toolu_01AbC", name="f", arguments="{}"), ToolCall(id="abcDEF123", name="f", arguments="{}")),
        user(
            ToolResult(call_id="toolu_01AbC", parts=[Text(text="1")]), ToolResult(call_id="abcDEF123", parts=[Text(text="2")])
        ),
    ]
    messages, _ = told(*turns, call_ids="nine")
    first, second = (call["id"] for call in messages[0]["tool_calls"])
    assert [message["tool_call_id"] for message in messages[1:]] == [first, second]
    assert len(first) == 9
    assert first.isalnum()
    assert first.isascii()
    assert second == "abcDEF123"
    assert told(*turns, call_ids="nine")[0] == messages


def test_an_id_of_a_call_that_is_too_long_becomes_a_short_one_and_stays_paired() -> None:
    calls = (ToolCall(id="c" * 41, name="f", arguments="{}"), ToolCall(id="d" * 40, name="f", arguments="{}"))
    turns = [assistant(*calls), user(*(ToolResult(call_id=call.id, parts=[Text(text="1")]) for call in calls))]
    messages, _ = told(*turns, call_ids="short")
    first, second = (call["id"] for call in messages[0]["tool_calls"])
    assert [message["tool_call_id"] for message in messages[1:]] == [first, second]
    assert (len(first), second) == (29, "d" * 40)
    assert told(*turns, call_ids="short")[0] == messages
    assert told(*turns)[0][0]["tool_calls"][0]["id"] == "c" * 41


CUSTOM = Tool(name="c", kind="custom")
CHOICES: list[tuple[ToolChoice, dict[str, Any], Any, list[tuple[str, str]]]] = [
    (ToolChoice(mode="auto"), {}, "auto", []),
    (ToolChoice(mode="none"), {}, "none", []),
    (ToolChoice(mode="required"), {}, "required", []),
    (ToolChoice(mode="tool", names=["f"]), {}, {"type": "function", "function": {"name": "f"}}, []),
    (ToolChoice(mode="tool", names=["c"]), {}, {"type": "custom", "custom": {"name": "c"}}, []),
    (ToolChoice(mode="tool", names=["gone"]), {}, "auto", [("tool_choice", "degraded")]),
    (ToolChoice(mode="required"), {"forced_tools": False}, "auto", [("tool_choice", "degraded")]),
    (ToolChoice(mode="tool", names=["f"]), {"forced_tools": False}, "auto", [("tool_choice", "degraded")]),
    (
        ToolChoice(mode="allowed", names=["f", "c"], required=True),
        {},
        {
            "type": "allowed_tools",
            "allowed_tools": {
                "mode": "required",
                "tools": [{"type": "function", "function": {"name": "f"}}, {"type": "custom", "custom": {"name": "c"}}],
            },
        },
        [],
    ),
]


@pytest.mark.parametrize(("choice", "profile", "expected", "losses"), CHOICES)
def test_every_choice(choice: ToolChoice, profile: Json, expected: Any, losses: list[tuple[str, str]]) -> None:
    choice = msgspec.structs.replace(choice, at=(None, "tool_choice"))
    body, entered = encode(request_of(tools=[TOOL, CUSTOM], tool_choice=choice, parallel=False), **profile)
    assert body["tool_choice"] == expected
    assert body["parallel_tool_calls"] is False
    assert entered == losses


def test_a_choice_without_tools_is_left_out() -> None:
    choice = ToolChoice(mode="required", at=(None, "tool_choice"))
    body, losses = encode(request_of(tool_choice=choice, parallel=True, paths={"parallel": (choice.at, "serial")}))
    assert "tool_choice" not in body
    assert "parallel_tool_calls" not in body
    assert losses == [("tool_choice", "info"), ("tool_choice.serial", "info")]


STRICT = '{"type":"object","properties":{"a":{"type":"string"}},"required":["a"],"additionalProperties":false}'
FORMATS: list[tuple[Format, str, dict[str, Any], Any, list[tuple[str, str]]]] = [
    (Format(kind="text"), "messages", {}, {"type": "text"}, []),
    (Format(kind="json"), "messages", {}, {"type": "json_object"}, []),
    (
        Format(kind="schema", schema=raw(STRICT)),
        "messages",
        {},
        {"type": "json_schema", "json_schema": {"name": "response", "schema": json.loads(STRICT), "strict": True}},
        [],
    ),
    (
        Format(kind="schema", schema=raw('{"type":"object","properties":{"a":{}},"additionalProperties":false}')),
        "messages",
        {},
        {
            "type": "json_schema",
            "json_schema": {
                "name": "response",
                "schema": {"type": "object", "properties": {"a": {}}, "additionalProperties": False},
                "strict": False,
            },
        },
        [("f", "degraded")],
    ),
    (
        Format(kind="schema", schema=raw("{}"), name="my name", description="d"),
        "chat",
        {},
        {"type": "json_schema", "json_schema": {"name": "my_name", "description": "d", "schema": {}}},
        [("f.name", "info")],
    ),
    (Format(kind="schema", schema=raw("{}")), "messages", {"structured": False}, {"type": "json_object"}, [("f", "degraded")]),
]


@pytest.mark.parametrize(("wanted", "dialect", "profile", "expected", "losses"), FORMATS)
def test_every_format(wanted: Format, dialect: str, profile: Json, expected: Any, losses: list[tuple[str, str]]) -> None:
    wanted = msgspec.structs.replace(wanted, at=(None, "f"))
    body, entered = encode(request_of(format=wanted, dialect=dialect), **profile)
    assert body["response_format"] == expected
    assert entered == losses


def test_a_schema_that_is_not_enforced_is_told_in_words() -> None:
    request = request_of(format=Format(kind="schema", schema=raw(STRICT)), system=[Text(text="Be brief.")])
    body, _ = encode(request, structured=False)
    first, second = body["messages"][0]["content"]
    assert first["text"] == "Be brief."
    assert STRICT in second["text"]


# ---------------------------------------------------------------- parameters

ASKS: list[tuple[str, ReasoningAsk, Json, list[str]]] = [
    ("effort", ReasoningAsk(effort="xhigh"), {"reasoning_effort": "xhigh"}, []),
    ("effort", ReasoningAsk(mode="off"), {"reasoning_effort": "none"}, []),
    ("effort", ReasoningAsk(mode="on", budget=1024), {"reasoning_effort": "low"}, ["degraded"]),
    ("effort", ReasoningAsk(mode="on", budget=4096), {"reasoning_effort": "medium"}, ["degraded"]),
    ("effort", ReasoningAsk(mode="on", budget=8192), {"reasoning_effort": "high"}, ["degraded"]),
    ("effort", ReasoningAsk(mode="on"), {"reasoning_effort": "medium"}, ["info"]),
    ("effort", ReasoningAsk(mode="adaptive"), {}, ["info"]),
    ("effort", ReasoningAsk(mode="adaptive", effort="high"), {"reasoning_effort": "high"}, []),
    ("effort", ReasoningAsk(effort="low", display="summarized"), {"reasoning_effort": "low"}, ["info"]),
    ("reasoning", ReasoningAsk(effort="high"), {"reasoning": {"effort": "high"}}, []),
    ("reasoning", ReasoningAsk(mode="on", budget=9000), {"reasoning": {"max_tokens": 9000}}, []),
    ("reasoning", ReasoningAsk(mode="off"), {"reasoning": {"enabled": False}}, []),
    ("reasoning", ReasoningAsk(mode="on"), {"reasoning": {"enabled": True}}, []),
    ("reasoning", ReasoningAsk(mode="adaptive"), {}, ["info"]),
    ("thinking", ReasoningAsk(mode="on"), {"thinking": {"type": "enabled"}}, []),
    ("thinking", ReasoningAsk(mode="off"), {"thinking": {"type": "disabled"}}, []),
    ("thinking", ReasoningAsk(mode="on", budget=9), {"thinking": {"type": "enabled"}}, ["degraded"]),
    (
        "thinking",
        ReasoningAsk(mode="adaptive", effort="high"),
        {"thinking": {"type": "enabled"}, "reasoning_effort": "high"},
        [],
    ),
    ("none", ReasoningAsk(effort="high"), {}, ["degraded"]),
    ("none", ReasoningAsk(mode="off"), {}, ["info"]),
]


@pytest.mark.parametrize(("profile", "ask", "expected", "severities"), ASKS)
def test_how_much_to_think(profile: str, ask: ReasoningAsk, expected: Json, severities: list[str]) -> None:
    ask = msgspec.structs.replace(ask, at=(None, "thinking"))
    request = request_of(reasoning=ask, paths={"display": ((None, "thinking"), "display")})
    body, losses = encode(request, reasoning=profile)
    written = {key: body[key] for key in ("reasoning_effort", "reasoning", "thinking") if key in body}
    assert written == expected
    assert [severity for _, severity in losses] == severities
    assert all(path.startswith("thinking") for path, _ in losses)


def test_an_effort_said_elsewhere_is_lost_there() -> None:
    ask = ReasoningAsk(mode="on", effort="high", at=(None, "thinking"))
    effort: Path = ((None, "output_config"), "effort")
    _, losses = encode(request_of(reasoning=ask, paths={"effort": effort}), reasoning="none")
    assert [path for path, _ in losses] == ["thinking", "output_config.effort"]


def test_parameters_that_the_target_takes_are_written() -> None:
    sampling = Sampling(temperature=0.5, top_p=0.9, top_k=3, seed=7, logit_bias={"1": 2})
    request = request_of(
        sampling=sampling,
        max_tokens=9,
        stop=["a", "b"],
        n=2,
        logprobs=True,
        top_logprobs=3,
        user="u",
        service_tier="standard_only",
        cache_key="ck",
        verbosity="low",
        store=True,
        stream=True,
    )
    body, losses = encode(request, extra_sampling=True, max_tokens_field="max_completion_tokens")
    del body["messages"]
    assert body == {
        "model": "up",
        "max_completion_tokens": 9,
        "stop": ["a", "b"],
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 3,
        "seed": 7,
        "logit_bias": {"1": 2},
        "n": 2,
        "logprobs": True,
        "top_logprobs": 3,
        "verbosity": "low",
        "store": True,
        "user": "u",
        "prompt_cache_key": "ck",
        "service_tier": "default",
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    assert losses == []


PARAMETERS: list[tuple[str, Json, Json, list[tuple[str, str]]]] = [
    ("no limit is made up", {}, {}, []),
    (
        "stop sequences beyond the most",
        {"stop": ["a", "b", "c"], "paths": {"stop": (None, "stop_sequences")}},
        {"max_stop": 2},
        [("stop_sequences[2]", "degraded")],
    ),
    ("a refused temperature", {"sampling": Sampling(temperature=0.1)}, {"sampling": False}, [("temperature", "degraded")]),
    ("a refused default", {"sampling": Sampling(temperature=1)}, {"sampling": False}, [("temperature", "info")]),
    ("an unknown top_k", {"sampling": Sampling(top_k=3)}, {}, [("top_k", "degraded")]),
    (
        "temperature and top_p",
        {"sampling": Sampling(temperature=0.1, top_p=0.5)},
        {"temperature_or_top_p": True},
        [("top_p", "degraded")],
    ),
    ("metadata of another dialect", {"metadata": {"k": "v"}}, {}, [("metadata.k", "info")]),
    ("an unknown tier", {"service_tier": "best"}, {}, [("service_tier", "info")]),
    ("extras of another dialect", {"extras": {"context_management": {}}}, {}, [("context_management", "lost")]),
    (
        "a user too long",
        {"user": "u" * 65, "paths": {"user": ((None, "metadata"), "user_id")}},
        {},
        [("metadata.user_id", "info")],
    ),
]


@pytest.mark.parametrize(("fields", "profile", "losses"), [case[1:] for case in PARAMETERS], ids=[c[0] for c in PARAMETERS])
def test_what_is_not_written_is_in_the_ledger(fields: Json, profile: Json, losses: list[tuple[str, str]]) -> None:
    _, entered = encode(request_of(**fields), **profile)
    assert entered == losses


def test_a_long_user_goes_as_a_hash_of_64_characters() -> None:
    body, _ = encode(request_of(user="u" * 100))
    assert len(body["user"]) == 64


def test_a_stream_without_usage_options_asks_for_none() -> None:
    body, _ = encode(request_of(stream=True), stream_usage=False)
    assert body["stream"] is True
    assert "stream_options" not in body


def test_the_same_request_is_the_same_bytes_and_model_and_messages_come_first() -> None:
    request = request_of(tools=[TOOL], user="u", stream=True)
    first, second = (CHAT.encode_request(request, Target("up", "me", DEFAULT), Ledger()) for _ in range(2))
    assert first == second
    assert list(json.loads(first))[:2] == ["model", "messages"]


# ---------------------------------------------------------------- the same dialect on both sides

WHOLE: Json = {
    "model": "m",
    "messages": [
        {"role": "developer", "content": [{"type": "text", "text": "sys-a"}, {"type": "text", "text": "sys-b", "x_a": 11}]},
        {
            "role": "user",
            "name": "ann",
            "x_b": 12,
            "content": [
                {"type": "text", "text": "user-a", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
                {"type": "image_url", "image_url": {"url": "https://img", "detail": "high", "x_c": 13}},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD"}},
                {"type": "input_audio", "input_audio": {"data": "REVG", "format": "wav"}},
                {"type": "file", "file": {"filename": "f.pdf", "file_data": "data:application/pdf;base64,R0hJ"}},
                {"type": "file", "file": {"file_id": "file-77"}},
                {"type": "video_url", "video_url": {"url": "https://video"}},
            ],
        },
        {
            "role": "assistant",
            "content": "asst-a",
            "name": "bob",
            "reasoning_details": [{"type": "reasoning.text", "text": "think-a", "signature": "sig-a", "index": 0}],
            "tool_calls": [
                {
                    "id": "c1",
                    "type": "function",
                    "function": {"name": "fn", "arguments": '{"q": 1}'},
                    "extra_content": {"g": {"s": "tsig"}},
                },
                {"id": "c2", "type": "custom", "custom": {"name": "cu", "input": "free text"}},
            ],
            "audio": {"id": "aud-1"},
        },
        {"role": "tool", "tool_call_id": "c1", "content": "res-a", "x_d": 14},
        {
            "role": "tool",
            "tool_call_id": "c2",
            "content": [{"type": "text", "text": "res-b"}, {"type": "text", "text": "res-c"}],
        },
        {"role": "system", "content": "mid-sys"},
        {"role": "assistant", "content": None, "refusal": "refused-a"},
        {"role": "user", "content": "last"},
    ],
    "tools": [
        {
            "type": "function",
            "function": {
                "name": "fn",
                "description": "desc",
                "parameters": {"type": "object", "properties": {"q": {"const": 5}}},
                "strict": False,
            },
        },
        {
            "type": "custom",
            "custom": {"name": "cu", "format": {"type": "grammar", "grammar": {"syntax": "regex", "definition": "a+"}}},
        },
        {"type": "web_search", "filters": {"d": ["e"]}},
    ],
    "tool_choice": {
        "type": "allowed_tools",
        "allowed_tools": {
            "mode": "auto",
            "tools": [{"type": "function", "function": {"name": "fn"}}, {"type": "mcp", "server_label": "lab"}],
        },
    },
    "parallel_tool_calls": True,
    "response_format": {
        "type": "json_schema",
        "json_schema": {"name": "shape", "schema": {"type": "object"}, "x_e": 15},
        "x_f": 16,
    },
    "temperature": 0.25,
    "max_completion_tokens": 321,
    "max_tokens": 322,
    "stop": ["st-a", "st-b"],
    "top_k": 17,
    "n": 2,
    "seed": 99,
    "logit_bias": {"5": -7},
    "user": "user-id",
    "safety_identifier": "safe-id",
    "metadata": {"mk": "mv"},
    "service_tier": "flex",
    "prompt_cache_key": "pck",
    "prompt_cache_retention": "24h",
    "reasoning": {"effort": "high", "exclude": True, "x_g": 18},
    "verbosity": "low",
    "store": False,
    "stream": True,
    "stream_options": {"include_usage": True, "include_obfuscation": False},
    "web_search_options": {"search_context_size": "low"},
    "modalities": ["text"],
    "prediction": {"type": "content", "content": "pred"},
    "provider": {"order": ["p1"]},
}


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from leaves(inner, f"{path}[{index}]")
    elif value is not None:
        yield path, value


def covered(path: str, losses: list[str]) -> bool:
    return any(path == loss or (path.startswith(loss) and path[len(loss)] in ".[") for loss in losses)


# Said by where it stands, or the same in another word.
STRUCTURE = {
    "model",
    "messages[0].role",
    "messages[1].content[0].cache_control.type",
    "messages[2].tool_calls[1].type",
    "stream_options.include_usage",
}

PROFILES: list[dict[str, Any]] = [
    OPENAI
    | {
        "extra_sampling": True,
        "cache_marks": "cache_control",
        "reasoning": "reasoning",
        "reasoning_replay": "reasoning_details",
        "max_tokens_field": "max_completion_tokens",
    },
    {},
    {
        "sampling": False,
        "structured": False,
        "forced_tools": False,
        "max_stop": 1,
        "reasoning": "none",
        "stream_usage": False,
        "cache_marks": "breakpoint",
    },
    {"reasoning": "thinking", "reasoning_replay": "reasoning_content"},
    {"refused": frozenset({"logit_bias", "metadata", "n", "prompt_cache_key", "seed", "store", "user", "verbosity"})},
]


@pytest.mark.parametrize("profile", PROFILES)
def test_every_leaf_of_a_chat_request_is_in_the_output_or_in_the_ledger(profile: dict[str, Any]) -> None:
    request = CHAT.decode_request(json.dumps(WHOLE).encode())
    ledger = Ledger()
    out = CHAT.encode_request(request, Target("up", "me", Profile(**profile)), ledger)
    values = [value for _, value in leaves(json.loads(out))]
    texts = "\n".join(value for value in values if isinstance(value, str))
    losses = [loss.path for loss in ledger.losses]
    missing = [
        path
        for path, value in leaves(WHOLE)
        if path not in STRUCTURE
        and value not in values
        and not (isinstance(value, str) and value in texts)
        and not covered(path, losses)
    ]
    assert missing == []


def test_a_request_through_the_hub_to_a_target_that_takes_all_of_it_is_unchanged() -> None:
    request = CHAT.decode_request(json.dumps(WHOLE).encode())
    ledger = Ledger()
    out = json.loads(CHAT.encode_request(request, Target("m", "me", Profile(**PROFILES[0])), ledger))
    expected = json.loads(json.dumps(WHOLE))
    expected["messages"][0]["role"] = "system"
    assert out == expected
    assert ledger.losses == []


PARAMS: TypeAdapter[Any] = TypeAdapter(completion_create_params.CompletionCreateParamsNonStreaming)


def test_what_goes_out_is_what_the_sdk_s_types_say() -> None:
    messages = [
        user(Text(text="a"), Image(url="https://x"), Document(media_type="application/pdf", data="QQ==")),
        assistant(Text(text="b"), ToolCall(id="1", name="f"), ToolCall(id="2", name="c", kind="custom", arguments="x")),
        user(ToolResult(call_id="1", parts=[Text(text="c"), Image(url="https://y")]), ToolResult(call_id="2", parts=[])),
    ]
    request = request_of(
        *messages,
        system=[Text(text="s"), Text(text="t")],
        tools=[TOOL, CUSTOM],
        tool_choice=ToolChoice(mode="tool", names=["c"]),
        format=Format(kind="schema", schema=raw(STRICT)),
        reasoning=ReasoningAsk(effort="high"),
        service_tier="auto",
        max_tokens=5,
    )
    body, losses = encode(request)
    PARAMS.validate_python(body)
    assert [severity for _, severity in losses] == ["info"]


@pytest.mark.parametrize(
    ("ask", "efforts", "expected", "losses"),
    [
        (ReasoningAsk(effort="xhigh"), {"low", "medium", "high"}, "high", [("reasoning_effort", "info")]),
        (ReasoningAsk(effort="minimal"), {"none", "low", "medium"}, "low", [("reasoning_effort", "info")]),
        (ReasoningAsk(mode="off"), {"low", "medium", "high"}, "low", [("reasoning_effort", "degraded")]),
        (ReasoningAsk(mode="off"), {"none", "low"}, "none", []),
        (ReasoningAsk(effort="medium"), {"high"}, "high", [("reasoning_effort", "info")]),
        (ReasoningAsk(effort="max"), set[str](), "max", []),
        (ReasoningAsk(effort="huge"), {"low"}, "huge", []),
    ],
)
def test_an_effort_that_the_model_does_not_know_is_told_as_the_nearest(
    ask: ReasoningAsk, efforts: set[str], expected: str, losses: list[tuple[str, str]]
) -> None:
    asked = msgspec.structs.replace(ask, at=(None, "reasoning_effort"))
    body, lost = encode(request_of(reasoning=asked), efforts=frozenset(efforts))
    assert (body["reasoning_effort"], lost) == (expected, losses)


def test_stop_sequences_that_the_endpoint_refuses_are_left_out() -> None:
    body, lost = encode(request_of(stop=["END"]), refused=frozenset({"stop"}))
    assert "stop" not in body
    assert lost == [("stop", "degraded")]


CLOSED = b'{"type":"object","properties":{"a":{"type":"string"}},"required":["a"],"additionalProperties":false}'
OPTIONAL = b'{"type":"object","properties":{"a":{"type":"string"}},"additionalProperties":false}'


@pytest.mark.parametrize("name", ["chat", "responses"])
@pytest.mark.parametrize(("schema", "strict", "losses"), [(CLOSED, True, []), (OPTIONAL, False, ["tools[0] degraded"])])
def test_a_tool_is_held_to_its_schema_where_the_schema_is_in_the_strict_subset(
    name: str, schema: bytes, strict: bool, losses: list[str]
) -> None:
    ledger = Ledger()
    tool = Tool(name="f", schema=msgspec.Raw(schema), strict=True, at=((None, "tools"), 0))
    request = Request(model="m", dialect="messages", messages=[user(Text(text="x"))], tools=[tool])
    body = json.loads(DIALECTS[name].encode_request(request, Target("m", "p", Profile()), ledger))
    assert body["tools"][0].get("function", body["tools"][0])["strict"] is strict
    assert [f"{loss.path} {loss.severity}" for loss in ledger.losses] == losses
