"""Responses requests to the hub."""

from __future__ import annotations

import json
from typing import Any, TypeAlias

import msgspec
import pytest

from dragoman.dialects.responses import RESPONSES
from dragoman.errors import MalformedBody
from dragoman.ir import carrier
from dragoman.ir.request import (
    Audio,
    CacheMark,
    Citation,
    Document,
    Image,
    Message,
    Namespace,
    Part,
    Reasoning,
    Refusal,
    Request,
    Seal,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    Unknown,
    path_text,
)

Json: TypeAlias = dict[str, Any]


def decode(body: Json) -> Request:
    return RESPONSES.decode_request(json.dumps(body).encode())


def of(*items: Json, **fields: Any) -> Request:
    return decode({"model": "m", "input": list(items), **fields})


def bare(part: Part) -> Part:
    """The part without its path, for comparison."""
    held: dict[str, Any] = {"at": None}
    if isinstance(part, ToolResult):
        held["parts"] = [bare(inner) for inner in part.parts]
    if isinstance(part, Text):
        held["citations"] = [msgspec.structs.replace(citation, at=None) for citation in part.citations]
    return msgspec.structs.replace(part, **held)


def said(message: Message) -> list[Part]:
    return [bare(part) for part in message.parts]


def user(*content: Json) -> Json:
    return {"type": "message", "role": "user", "content": list(content)}


HI = user({"type": "input_text", "text": "hi"})


def test_an_input_that_is_a_text_is_the_users_turn() -> None:
    [message] = decode({"model": "m", "input": "hi"}).messages
    assert (message.role, said(message)) == ("user", [Text(text="hi")])
    assert path_text(message.parts[0].at) == "input"


PARTS: list[tuple[str, Json, Part]] = [
    ("text", {"type": "input_text", "text": "a"}, Text(text="a")),
    (
        "marked text",
        {"type": "input_text", "text": "a", "prompt_cache_breakpoint": {"mode": "explicit", "ttl": "12h"}},
        Text(text="a", cache=CacheMark(key="prompt_cache_breakpoint"), extras={"prompt_cache_breakpoint": {"ttl": "12h"}}),
    ),
    (
        "an image by URL",
        {"type": "input_image", "image_url": "https://x", "detail": "high"},
        Image(url="https://x", detail="high"),
    ),
    (
        "an image in the body",
        {"type": "input_image", "image_url": "data:image/png;base64,QQ=="},
        Image(media_type="image/png", data="QQ=="),
    ),
    ("an image by its id", {"type": "input_image", "file_id": "file-1", "detail": "auto"}, Image(file="file-1", detail="auto")),
    ("an image as in Chat", {"type": "input_image", "image_url": {"url": "https://x"}}, Image(url="https://x")),
    (
        "a file in the body",
        {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,QQ=="},
        Document(media_type="application/pdf", data="QQ==", title="a.pdf"),
    ),
    (
        "a file as bare base64",
        {"type": "input_file", "filename": "a.csv", "file_data": "QQ=="},
        Document(media_type="text/csv", data="QQ==", title="a.csv"),
    ),
    ("a file by URL", {"type": "input_file", "file_url": "https://x"}, Document(url="https://x")),
    (
        "a file by its id",
        {"type": "input_file", "file_id": "file-1", "detail": "low"},
        Document(file="file-1", extras={"detail": "low"}),
    ),
    ("audio", {"type": "input_audio", "input_audio": {"data": "QQ==", "format": "mp3"}}, Audio(data="QQ==", format="mp3")),
    (
        "a part of the future",
        {"type": "input_hologram", "x": 1},
        Unknown(native={"type": "input_hologram", "x": 1}, dialect="responses"),
    ),
]


@pytest.mark.parametrize(("native", "expected"), [case[1:] for case in PARTS], ids=[case[0] for case in PARTS])
def test_a_content_part_becomes_a_part(native: Json, expected: Part) -> None:
    [message] = of(user(native)).messages
    assert said(message) == [expected]
    assert path_text(message.parts[0].at) == "input[0].content[0]"


def test_instructions_come_first_and_leading_items_follow() -> None:
    request = of(
        {"role": "developer", "content": "two"},
        {"type": "message", "role": "system", "content": [{"type": "input_text", "text": "three"}], "status": "completed"},
        HI,
        {"role": "system", "content": "later", "x": 1},
        instructions="one",
    )
    assert [(text.text, path_text(text.at)) for text in request.system] == [
        ("one", "instructions"),
        ("two", "input[0].content"),
        ("three", "input[1].content[0]"),
    ]
    assert [message.role for message in request.messages] == ["user", "system"]
    assert request.messages[1].extras == {"x": 1}
    assert request.extras == {"input[1].status": "completed"}


# ---------------------------------------------------------------- turns

RS: Json = {
    "type": "reasoning",
    "id": "rs_1",
    "summary": [{"type": "summary_text", "text": "Hm."}],
    "encrypted_content": "gAAA",
}
SAID: Json = {"type": "message", "role": "assistant", "id": "msg_1", "status": "completed", "phase": "commentary",
              "content": [{"type": "output_text", "text": "Let me look.", "annotations": [], "logprobs": []}]}  # fmt: skip
CALL: Json = {
    "type": "function_call",
    "id": "fc_1",
    "call_id": "c1",
    "name": "go",
    "arguments": '{"a": 1}',
    "status": "completed",
}
RESULT: Json = {"type": "function_call_output", "call_id": "c1", "output": "done"}


def test_reasoning_message_and_calls_in_a_row_are_one_turn() -> None:
    custom = {"type": "custom_tool_call", "call_id": "c2", "name": "patch", "input": "*** Begin"}
    request = of(HI, RS, SAID, CALL, custom, RESULT, {"type": "custom_tool_call_output", "call_id": "c2", "output": "ok"}, HI)
    assert [message.role for message in request.messages] == ["user", "assistant", "user", "user"]
    assert said(request.messages[1]) == [
        Reasoning(text="Hm.", seal=Seal("gAAA", None, "responses"), summary=True, extras={"id": "rs_1"}),
        Text(text="Let me look."),
        ToolCall(id="c1", name="go", arguments='{"a": 1}', extras={"id": "fc_1", "status": "completed"}),
        ToolCall(id="c2", name="patch", arguments="*** Begin", kind="custom"),
    ]
    assert said(request.messages[2]) == [
        ToolResult(call_id="c1", parts=[Text(text="done")]),
        ToolResult(call_id="c2", parts=[Text(text="ok")]),
    ]
    assert [path_text(part.at) for part in request.messages[2].parts] == ["input[5]", "input[6]"]
    # A merged turn has no place for what stood on one of its items.
    assert request.extras == {"input[2].id": "msg_1", "input[2].status": "completed", "input[2].phase": "commentary"}


def test_each_step_of_a_loop_is_a_turn() -> None:
    second = {**CALL, "call_id": "c2"}
    request = of(HI, CALL, RESULT, second, {**RESULT, "call_id": "c2"})
    assert [message.role for message in request.messages] == ["user", "assistant", "user", "assistant", "user"]


def test_sources_and_refusals_of_earlier_answers_are_kept() -> None:
    note = {"type": "url_citation", "url": "u", "title": "t", "start_index": 0, "end_index": 1}
    content = [{"type": "output_text", "text": "a", "annotations": [note]}, {"type": "refusal", "refusal": "no"}]
    [message] = of({"role": "assistant", "content": content}).messages
    cited = Citation(kind="url_citation", url="u", title="t", start=0, end=1, native=note, dialect="responses")
    assert said(message) == [Text(text="a", citations=[cited]), Refusal(text="no")]


REASONING: list[tuple[str, Json, list[Part]]] = [
    ("a summary alone", {"summary": [{"type": "summary_text", "text": "s"}]}, [Reasoning(text="s", summary=True)]),
    (
        "content that is null",
        {"summary": [], "content": None, "encrypted_content": "gA"},
        [Reasoning(seal=Seal("gA", None, "responses"), summary=True)],
    ),
    ("its own words", {"summary": [], "content": [{"type": "reasoning_text", "text": "t"}]}, [Reasoning(text="t")]),
    (
        "a summary in two parts",
        {"summary": [{"type": "summary_text", "text": "a"}, {"type": "summary_text", "text": "b"}]},
        [
            Reasoning(
                text="a\n\nb",
                summary=True,
                extras={"summary": [{"type": "summary_text", "text": "a"}, {"type": "summary_text", "text": "b"}]},
            )
        ],
    ),
    ("a place in the store", {"id": "rs_1", "summary": []}, [Reasoning(summary=True, extras={"id": "rs_1"})]),
]


@pytest.mark.parametrize(("native", "expected"), [case[1:] for case in REASONING], ids=[case[0] for case in REASONING])
def test_reasoning_is_sealed_for_whoever_made_it(native: Json, expected: list[Part]) -> None:
    assert said(of({"type": "reasoning", **native}).messages[0]) == expected


def test_a_token_brings_another_providers_thinking_back() -> None:
    held = Reasoning(text="I think.", seal=Seal("sig", "anthropic", "messages"))
    item = {**RS, "encrypted_content": carrier.pack([held]), "summary": [{"type": "summary_text", "text": "I think."}]}
    [message] = of(item).messages
    assert said(message) == [msgspec.structs.replace(held, extras={"id": "rs_1"})]


def test_a_damaged_token_leaves_its_summary() -> None:
    [message] = of({**RS, "encrypted_content": "dgm1-damaged"}).messages
    assert said(message) == [Reasoning(text="Hm.", summary=True, extras={"id": "rs_1"})]


def test_what_rode_in_a_calls_id_stands_before_the_call() -> None:
    held = Reasoning(text="t", seal=Seal("sig", "anthropic", "messages"))
    riding = carrier.attach("c1", [held])
    request = of(HI, {**CALL, "call_id": riding}, {**RESULT, "call_id": riding})
    assert said(request.messages[1])[0] == held
    assert [part.call_id for part in request.messages[2].parts if isinstance(part, ToolResult)] == ["c1"]


# ---------------------------------------------------------------- results and ids

RESULTS: list[tuple[str, Json, list[Part]]] = [
    ("a text", {"output": "r"}, [Text(text="r")]),
    ("nothing", {"output": ""}, []),
    (
        "parts",
        {"output": [{"type": "input_text", "text": "r"}, {"type": "input_image", "image_url": "u"}]},
        [Text(text="r"), Image(url="u")],
    ),
    ("an object", {"output": {"a": 1}}, [Text(text='{"a":1}')]),
    ("a list of values", {"output": [1, "b"]}, [Text(text='[1,"b"]')]),
    ("under another key", {"return_value": "r"}, [Text(text="r")]),
    ("as content, with a name", {"content": "r", "name": "go"}, [Text(text="r")]),
]


@pytest.mark.parametrize(("native", "parts"), [case[1:] for case in RESULTS], ids=[case[0] for case in RESULTS])
def test_a_result_in_any_shape_is_one(native: Json, parts: list[Part]) -> None:
    request = of(HI, CALL, {"type": "function_call_output", "call_id": "c1", **native})
    [result] = request.messages[2].parts
    assert isinstance(result, ToolResult)
    assert [bare(part) for part in result.parts] == parts


def ids(request: Request) -> list[str]:
    parts = [part for message in request.messages for part in message.parts]
    return [
        part.id if isinstance(part, ToolCall) else part.call_id for part in parts if isinstance(part, ToolCall | ToolResult)
    ]


def test_the_same_id_on_every_turn_is_one_of_each() -> None:
    assert ids(of(HI, CALL, RESULT, HI, CALL, RESULT)) == ["c1", "c1", "c1_2", "c1_2"]


def test_a_call_without_an_id_is_paired_with_its_result() -> None:
    lonely = {"type": "function_call", "name": "go", "arguments": "{}"}
    assert ids(of(HI, lonely, {"type": "function_call_output", "name": "go", "output": "x"})) == ["call_m1", "call_m1"]


# ---------------------------------------------------------------- items that only this API has

ITEMS: list[tuple[str, str]] = [
    ("web_search_call", "assistant"),
    ("computer_call", "assistant"),
    ("computer_call_output", "user"),
    ("shell_call_output", "user"),
    ("mcp_approval_request", "assistant"),
    ("mcp_approval_response", "user"),
    ("compaction", "assistant"),
    ("compaction_trigger", "user"),
    ("dream", "assistant"),
]


@pytest.mark.parametrize(("kind", "role"), ITEMS)
def test_an_item_without_a_word_in_the_hub_stands_in_somebodys_turn(kind: str, role: str) -> None:
    native = {"type": kind, "id": "x"}
    [message] = of(native).messages
    assert message.role == role
    assert said(message) == [Unknown(native=native, dialect="responses")]


def test_a_reference_needs_no_type() -> None:
    [message] = of({"id": "msg_1"}).messages
    assert said(message) == [Unknown(native={"id": "msg_1"}, dialect="responses")]


# ---------------------------------------------------------------- tools


def test_functions_keep_their_schema_to_the_byte() -> None:
    tool = b'{"type":"function","name":"f","parameters": {"type" : "object"},"strict":null,"cost":2}'
    body = b'{"model":"m","input":"x","tools":[' + tool + b"]}"
    [found] = RESPONSES.decode_request(body).tools
    schema = msgspec.Raw(b'{"type" : "object"}')
    assert found == Tool(name="f", schema=schema, dialect="responses", at=found.at, extras={"cost": 2})
    assert found.strict is None


def test_a_free_text_tools_grammar_is_written_as_in_the_hub() -> None:
    form = {"type": "grammar", "syntax": "lark", "definition": "start: /.+/"}
    [tool] = of(HI, tools=[{"type": "custom", "name": "patch", "format": form}]).tools
    assert tool.native == {"format": {"type": "grammar", "grammar": {"syntax": "lark", "definition": "start: /.+/"}}}


def test_the_tools_of_a_group_come_one_by_one() -> None:
    inner = [{"type": "function", "name": "get", "description": "Gets.", "parameters": {}}, {"type": "custom", "name": "ask"}]
    request = of(
        HI,
        {**CALL, "namespace": "crm", "name": "get"},
        tools=[
            {"type": "namespace", "name": "crm", "description": "Customers.", "tools": inner, "x": 1},
            {"type": "function", "name": "get"},
        ],
        tool_choice={"type": "custom", "name": "ask"},
    )
    first, second, third = request.tools
    assert first.name == "crm__get"
    assert first.description == "Gets.\n\n(One of the tools of crm: Customers.)"
    assert first.namespace == Namespace(
        name="crm", description="Customers.", tool="get", tool_description="Gets.", at=((None, "tools"), 0)
    )
    assert path_text(first.at) == "tools[0].tools[0]"
    assert (second.name, second.kind, second.description) == ("crm__ask", "custom", None)
    assert (third.name, third.namespace) == ("get", None)
    [call] = [part for part in request.messages[1].parts if isinstance(part, ToolCall)]
    assert (call.name, call.namespace) == ("crm__get", "crm")
    assert request.tool_choice is not None
    assert request.tool_choice.names == ["crm__ask"]
    assert request.extras == {"tools[0].x": 1}


def test_a_tool_of_a_group_never_takes_the_name_of_another() -> None:
    tools = [
        {"type": "function", "name": "crm__get"},
        {"type": "namespace", "name": "crm", "tools": [{"type": "function", "name": "get"}]},
    ]
    request = of({**CALL, "namespace": "crm", "name": "get"}, tools=tools)
    assert [tool.name for tool in request.tools] == ["crm__get", "crm__get_"]
    [call] = request.messages[0].parts
    assert isinstance(call, ToolCall)
    assert call.name == "crm__get_"


def test_a_tool_of_the_providers_own_is_kept_whole() -> None:
    native = {"type": "web_search", "filters": {"allowed_domains": ["x"]}}
    [tool] = of(HI, tools=[native]).tools
    assert (tool.kind, tool.name, tool.native, tool.dialect) == ("hosted", "web_search", native, "responses")


CHOICES: list[tuple[Any, ToolChoice | None, Json]] = [
    ("auto", ToolChoice(mode="auto"), {}),
    ("none", ToolChoice(mode="none"), {}),
    ("required", ToolChoice(mode="required"), {}),
    ({"type": "function", "name": "f"}, ToolChoice(mode="tool", names=["f"]), {}),
    ({"type": "custom", "name": "f"}, ToolChoice(mode="tool", names=["f"]), {}),
    (
        {
            "type": "allowed_tools",
            "mode": "required",
            "tools": [{"type": "function", "name": "f"}, {"type": "image_generation"}],
        },
        ToolChoice(mode="allowed", names=["f"], required=True, extras={"tools": [{"type": "image_generation"}]}),
        {},
    ),
    ({"type": "file_search"}, None, {"tool_choice": {"type": "file_search"}}),
    ({"type": "mcp", "server_label": "w"}, None, {"tool_choice": {"type": "mcp", "server_label": "w"}}),
]


@pytest.mark.parametrize(("native", "expected", "extras"), CHOICES)
def test_a_tool_choice_in_every_form(native: Any, expected: ToolChoice | None, extras: Json) -> None:
    request = of(HI, tool_choice=native)
    choice = request.tool_choice
    assert (choice and msgspec.structs.replace(choice, at=None)) == expected
    assert request.extras == extras


# ---------------------------------------------------------------- everything beside the items


def test_every_known_field_has_its_place() -> None:
    request = of(
        HI,
        stream=True,
        temperature=0.5,
        top_p=1,
        max_output_tokens=10,
        top_logprobs=4,
        parallel_tool_calls=False,
        store=False,
        metadata={"k": "v"},
        service_tier="flex",
        prompt_cache_key="ck",
        safety_identifier="s",
        text={"verbosity": "low", "format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True}},
        reasoning={"effort": "high", "summary": "detailed", "mode": "pro"},
        include=["reasoning.encrypted_content", "message.output_text.logprobs", "file_search_call.results"],
    )
    assert (request.stream, request.include_usage, request.max_tokens, request.top_logprobs) == (True, True, 10, 4)
    assert (request.sampling.temperature, request.sampling.top_p) == (0.5, 1)
    assert (request.parallel, request.store, request.metadata, request.service_tier) == (False, False, {"k": "v"}, "flex")
    assert (request.cache_key, request.user, request.verbosity) == ("ck", "s", "low")
    assert request.format is not None
    assert (request.format.kind, request.format.name, request.format.strict) == ("schema", "n", True)
    ask = request.reasoning
    assert ask is not None
    assert (ask.effort, ask.display, ask.extras) == ("high", "detailed", {"mode": "pro"})
    assert (request.sealed_reasoning, request.logprobs) == (True, True)
    assert request.extras == {"include": ["file_search_call.results"]}
    paths = {
        name: path_text(request.path_of(name)) for name in ("max_tokens", "user", "effort", "display", "verbosity", "logprobs")
    }
    assert paths == {
        "max_tokens": "max_output_tokens",
        "user": "safety_identifier",
        "effort": "reasoning.effort",
        "display": "reasoning.summary",
        "verbosity": "text.verbosity",
        "logprobs": "include[1]",
    }


def test_how_a_prompt_is_cached_is_kept_in_the_words_of_openais_dialects() -> None:
    policy: Json = {"prompt_cache_retention": "24h", "prompt_cache_options": {"mode": "explicit"}}
    request = of(HI, **policy)
    assert (request.cache_policy, request.extras) == (policy, {})


def test_what_the_hub_has_no_field_for_stays_in_extras() -> None:
    unknown: Json = {
        "background": True,
        "conversation": "conv_1",
        "client_metadata": {"a": "b"},
        "max_tool_calls": 3,
        "moderation": {"model": "m"},
        "previous_response_id": "resp_1",
        "prompt": {"id": "p"},
        "stream_options": {"include_obfuscation": False},
        "truncation": "auto",
        "text": {"format": {"type": "yaml"}, "tone": "dry"},
        "reasoning": {"context": "all_turns"},
        "future": 1.5,
    }
    assert of(HI, **unknown).extras == unknown


def test_null_means_not_said() -> None:
    fields: Json = dict.fromkeys(
        ("temperature", "tools", "tool_choice", "text", "reasoning", "include", "store", "metadata", "user")
    )
    assert of(HI, **fields) == of(HI)


@pytest.mark.parametrize(
    ("reasoning", "expected"),
    [
        ({"effort": "none"}, ("off", "none", None)),
        ({"summary": "auto"}, (None, None, "summarized")),
        ({"effort": "low", "generate_summary": "concise"}, (None, "low", "concise")),
    ],
)
def test_how_to_think(reasoning: Json, expected: tuple[Any, ...]) -> None:
    ask = of(HI, reasoning=reasoning).reasoning
    assert ask is not None
    assert (ask.mode, ask.effort, ask.display) == expected


def test_a_stored_prompt_or_response_needs_no_input() -> None:
    assert decode({"prompt": {"id": "p"}}).messages == []
    assert decode({"model": "m", "previous_response_id": "resp_1"}).messages == []


WRONG: list[tuple[Json, str, str]] = [
    ({"input": "x"}, "model", "required"),
    ({"model": "m"}, "input", "required"),
    ({"model": "m", "input": 5}, "input", "expected a string or an array of items, got an integer"),
    ({"model": "m", "input": [5]}, "input[0]", "expected an object, got an integer"),
    ({"model": "m", "input": [{"type": 5}]}, "input[0].type", "expected a string"),
    ({"model": "m", "input": [{"role": "observer", "content": "x"}]}, "input[0].role", "got 'observer'"),
    ({"model": "m", "input": [{"role": "user", "content": [{"type": "input_text"}]}]}, "input[0].content[0].text", "required"),
    (
        {"model": "m", "input": [{"role": "user", "content": [{"type": "input_image"}]}]},
        "input[0].content[0]",
        "image_url or file_id",
    ),
    ({"model": "m", "input": [{"role": "user", "content": [{"type": "input_file"}]}]}, "input[0].content[0]", "file_data"),
    ({"model": "m", "input": [{"type": "function_call", "call_id": "c"}]}, "input[0].name", "required"),
    ({"model": "m", "input": "x", "tools": [5]}, "tools[0]", "expected an object"),
    ({"model": "m", "input": "x", "tools": [{"name": "f"}]}, "tools[0].type", "expected a string, got null"),
    ({"model": "m", "input": "x", "tools": [{"type": "function"}]}, "tools[0].name", "required"),
    (
        {"model": "m", "input": "x", "tools": [{"type": "namespace", "name": "n", "tools": [{"type": "custom"}]}]},
        "tools[0].tools[0].name",
        "required",
    ),
    ({"model": "m", "input": "x", "tool_choice": "maybe"}, "tool_choice", "got 'maybe'"),
    (
        {"model": "m", "input": "x", "tool_choice": {"type": "allowed_tools", "mode": "x"}},
        "tool_choice.mode",
        "expected auto or required",
    ),
    ({"model": "m", "input": "x", "include": [1]}, "include[0]", "expected a string"),
    (
        {"model": "m", "input": "x", "text": {"format": {"type": "json_schema", "schema": []}}},
        "text.format.schema",
        "expected an object",
    ),
    ({"model": "m", "input": "x", "temperature": "hot"}, "temperature", "expected a number, got a string"),
]


@pytest.mark.parametrize(("body", "param", "words"), WRONG)
def test_a_mistake_is_named_with_its_place(body: Json, param: str, words: str) -> None:
    with pytest.raises(MalformedBody) as raised:
        decode(body)
    assert raised.value.param == param
    assert words in raised.value.message
