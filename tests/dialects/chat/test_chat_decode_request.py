"""Chat Completions requests to the hub."""

from __future__ import annotations

import json
from typing import Any, TypeAlias

import msgspec
import pytest

from dragoman.dialects.chat import CHAT
from dragoman.errors import MalformedBody
from dragoman.ir import carrier
from dragoman.ir.request import (
    Audio,
    CacheMark,
    Citation,
    Document,
    Image,
    Message,
    Part,
    Reasoning,
    Refusal,
    Request,
    Seal,
    Text,
    ToolCall,
    ToolResult,
    Unknown,
    path_text,
)

Json: TypeAlias = dict[str, Any]
HI: Json = {"role": "user", "content": "hi"}


def decode(body: Json) -> Request:
    return CHAT.decode_request(json.dumps(body).encode())


def of(*messages: Json, **fields: Any) -> Request:
    return decode({"model": "m", "messages": list(messages), **fields})


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


PARTS: list[tuple[str, Json, Part]] = [
    ("text", {"type": "text", "text": "a"}, Text(text="a")),
    (
        "text marked as OpenRouter does",
        {"type": "text", "text": "a", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
        Text(text="a", cache=CacheMark("1h")),
    ),
    (
        "text marked as OpenAI does",
        {"type": "text", "text": "a", "prompt_cache_breakpoint": {"mode": "explicit", "ttl": "30m"}},
        Text(
            text="a",
            cache=CacheMark(key="prompt_cache_breakpoint"),
            extras={"prompt_cache_breakpoint": {"ttl": "30m"}},
        ),
    ),
    ("a field nobody knows", {"type": "text", "text": "a", "x": 1}, Text(text="a", extras={"x": 1})),
    (
        "an image by URL",
        {"type": "image_url", "image_url": {"url": "https://x/a.png", "detail": "high"}},
        Image(url="https://x/a.png", detail="high"),
    ),
    ("an image whose URL is bare", {"type": "image_url", "image_url": "https://x/a.png"}, Image(url="https://x/a.png")),
    (
        "an image in the body",
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
        Image(media_type="image/png", data="AAAA"),
    ),
    (
        "an image in the body, percent-encoded",
        {"type": "image_url", "image_url": {"url": "data:image/svg+xml,%3Csvg%2F%3E"}},
        Image(media_type="image/svg+xml", data="PHN2Zy8+"),
    ),
    (
        "an image with more to it",
        {"type": "image_url", "image_url": {"url": "u", "y": 2}, "x": 1},
        Image(url="u", extras={"x": 1, "image_url": {"y": 2}}),
    ),
    ("audio", {"type": "input_audio", "input_audio": {"data": "QQ==", "format": "mp3"}}, Audio(data="QQ==", format="mp3")),
    (
        "a file as a data URL",
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,QQ=="}},
        Document(media_type="application/pdf", data="QQ==", title="a.pdf"),
    ),
    (
        "a file as bare base64",
        {"type": "file", "file": {"filename": "a.csv", "file_data": "QQ=="}},
        Document(media_type="text/csv", data="QQ==", title="a.csv"),
    ),
    ("a file by URL", {"type": "file", "file": {"file_data": "https://x/a.pdf"}}, Document(url="https://x/a.pdf")),
    ("a file by its id", {"type": "file", "file": {"file_id": "file-1"}}, Document(file="file-1")),
    (
        "a part of the future",
        {"type": "video_url", "video_url": {"url": "u"}},
        Unknown(native={"type": "video_url", "video_url": {"url": "u"}}, dialect="chat"),
    ),
]


@pytest.mark.parametrize(("native", "expected"), [case[1:] for case in PARTS], ids=[case[0] for case in PARTS])
def test_a_content_part_becomes_a_part(native: Json, expected: Part) -> None:
    [message] = of({"role": "user", "content": [native]}).messages
    assert said(message) == [expected]
    assert path_text(message.parts[0].at) == "messages[0].content[0]"


def test_leading_instructions_are_the_system_and_later_ones_stay_in_place() -> None:
    request = of(
        {"role": "system", "content": "one"},
        {"role": "developer", "content": [{"type": "text", "text": "two"}, {"type": "text", "text": "three"}]},
        HI,
        {"role": "developer", "content": "four", "name": "boss"},
    )
    assert [text.text for text in request.system] == ["one", "two", "three"]
    assert [path_text(text.at) for text in request.system] == [
        "messages[0].content",
        "messages[1].content[0]",
        "messages[1].content[1]",
    ]
    assert [message.role for message in request.messages] == ["user", "system"]
    assert request.messages[1].name == "boss"


def test_a_name_on_leading_instructions_is_kept_under_its_path() -> None:
    request = of({"role": "system", "content": "one", "name": "boss"}, HI)
    assert request.extras == {"messages[0].name": "boss"}


def test_a_cache_mark_on_a_message_is_its_last_text_part_s() -> None:
    request = of({"role": "user", "content": "hi", "cache_control": {"type": "ephemeral"}})
    part = request.messages[0].parts[0]
    assert isinstance(part, Text)
    assert part.cache == CacheMark()
    assert path_text(part.at) == "messages[0]"


# ---------------------------------------------------------------- assistant turns


def call(call_id: str | None, name: str = "f", arguments: Any = "{}", **more: Any) -> Json:
    native = {"type": "function", "function": {"name": name, "arguments": arguments}, **more}
    return native if call_id is None else {"id": call_id, **native}


ASSISTANT: list[tuple[str, Json, list[Part]]] = [
    ("text", {"content": "a"}, [Text(text="a")]),
    ("nothing", {"content": None}, []),
    ("empty text beside a call", {"content": "", "tool_calls": [call("1")]}, [ToolCall(id="1", name="f", arguments="{}")]),
    ("a refusal", {"content": None, "refusal": "no"}, [Refusal(text="no")]),
    ("a refusal as a part", {"content": [{"type": "refusal", "refusal": "no"}]}, [Refusal(text="no")]),
    ("reasoning_content", {"content": "a", "reasoning_content": "t"}, [Reasoning(text="t"), Text(text="a")]),
    ("reasoning", {"content": "a", "reasoning": "t"}, [Reasoning(text="t"), Text(text="a")]),
    (
        "both names for one thinking",
        {"content": "a", "reasoning": "t", "reasoning_content": "t"},
        [Reasoning(text="t"), Text(text="a")],
    ),
    (
        "arguments as an object",
        {"tool_calls": [call("1", arguments={"a": 1})]},
        [ToolCall(id="1", name="f", arguments='{"a":1}')],
    ),
    ("no arguments", {"tool_calls": [call("1", arguments=None)]}, [ToolCall(id="1", name="f")]),
    ("a call without an id", {"tool_calls": [call(None)]}, [ToolCall(id="call_m1_0", name="f", arguments="{}")]),
    (
        "a custom call",
        {"tool_calls": [{"id": "1", "type": "custom", "custom": {"name": "f", "input": "x"}}]},
        [ToolCall(id="1", name="f", arguments="x", kind="custom")],
    ),
    (
        "a legacy call",
        {"content": None, "function_call": {"name": "f", "arguments": "{}"}},
        [ToolCall(id="call_m1_0", name="f", arguments="{}")],
    ),
    (
        "what a provider hung on a call",
        {"tool_calls": [call("1", extra_content={"google": {"thought_signature": "s"}}, index=0)]},
        [ToolCall(id="1", name="f", arguments="{}", extras={"extra_content": {"google": {"thought_signature": "s"}}})],
    ),
    (
        "a call of the future",
        {"tool_calls": [{"id": "1", "type": "shell", "shell": {}}]},
        [Unknown(native={"id": "1", "type": "shell", "shell": {}}, dialect="chat")],
    ),
    (
        "native reasoning details",
        {"content": "a", "reasoning": "t", "reasoning_details": [{"type": "reasoning.text", "text": "t", "signature": "s"}]},
        [Reasoning(text="t", seal=Seal('{"type":"reasoning.text","text":"t","signature":"s"}', None, "chat")), Text(text="a")],
    ),
    (
        "encrypted reasoning beside a summary",
        {
            "reasoning_details": [
                {"type": "reasoning.summary", "summary": "s"},
                {"type": "reasoning.encrypted", "data": "d"},
            ]
        },
        [
            Reasoning(text="s", seal=Seal('{"type":"reasoning.summary","summary":"s"}', None, "chat"), summary=True),
            Reasoning(seal=Seal('{"type":"reasoning.encrypted","data":"d"}', None, "chat"), redacted=True),
        ],
    ),
]


@pytest.mark.parametrize(("native", "expected"), [case[1:] for case in ASSISTANT], ids=[case[0] for case in ASSISTANT])
def test_an_assistant_message_becomes_parts(native: Json, expected: list[Part]) -> None:
    request = of(HI, {"role": "assistant", **native})
    assert said(request.messages[1]) == expected


def test_annotations_of_an_earlier_answer_belong_to_its_text() -> None:
    native = {"type": "url_citation", "url_citation": {"url": "u", "title": "t", "start_index": 0, "end_index": 1}}
    [message] = of({"role": "assistant", "content": "a", "annotations": [native], "audio": {"id": "x"}}).messages
    citation = Citation(kind="url_citation", url="u", title="t", start=0, end=1, native=native, dialect="chat")
    assert said(message) == [Text(text="a", citations=[citation])]
    assert message.extras == {"audio": {"id": "x"}}


# ---------------------------------------------------------------- carriers

SEALED = Reasoning(text="I think.", seal=Seal("sig", "anthropic", "messages"))


def test_thinking_that_rode_in_a_call_s_id_stands_at_the_head_of_its_turn_again() -> None:
    riding = carrier.attach("toolu_1", [SEALED])
    request = of(
        HI,
        {"role": "assistant", "content": "Let me see.", "tool_calls": [call(riding), call("toolu_2")]},
        {"role": "tool", "tool_call_id": riding, "content": "x"},
        {"role": "tool", "tool_call_id": "toolu_2", "content": "y"},
    )
    assert said(request.messages[1]) == [
        SEALED,
        Text(text="Let me see."),
        ToolCall(id="toolu_1", name="f", arguments="{}"),
        ToolCall(id="toolu_2", name="f", arguments="{}"),
    ]
    assert [part.call_id for part in request.messages[2].parts if isinstance(part, ToolResult)] == ["toolu_1", "toolu_2"]


def test_interleaved_thinking_returns_to_its_own_call() -> None:
    other = Reasoning(text="Then.", seal=Seal("sig2", "anthropic", "messages"))
    calls = [call(carrier.attach("1", [SEALED])), call(carrier.attach("2", [other]))]
    [message] = of({"role": "assistant", "tool_calls": calls}).messages
    assert said(message) == [
        SEALED,
        ToolCall(id="1", name="f", arguments="{}"),
        other,
        ToolCall(id="2", name="f", arguments="{}"),
    ]


def test_the_same_thinking_carried_in_two_places_comes_back_once() -> None:
    token = carrier.pack([SEALED])
    [message] = of(
        {
            "role": "assistant",
            "content": "a",
            "reasoning_content": "I think.",
            "reasoning_details": [{"type": "reasoning.text", "text": "I think.", "signature": token, "format": "dragoman-v1"}],
            "tool_calls": [call(carrier.attach("1", [SEALED]))],
        }
    ).messages
    assert said(message) == [SEALED, Text(text="a"), ToolCall(id="1", name="f", arguments="{}")]


def test_plain_thinking_beside_a_carrier_keeps_what_the_carrier_does_not_say() -> None:
    [message] = of(
        {
            "role": "assistant",
            "reasoning_content": "Before.I think.",
            "tool_calls": [call(carrier.attach("1", [SEALED]))],
        }
    ).messages
    assert said(message) == [Reasoning(text="Before."), SEALED, ToolCall(id="1", name="f", arguments="{}")]


def test_a_damaged_token_leaves_its_text_without_a_seal() -> None:
    items = [{"type": "reasoning.text", "text": "t", "signature": "dgm1-broken"}]
    [message] = of({"role": "assistant", "content": "a", "reasoning_details": items}).messages
    assert said(message) == [Reasoning(text="t"), Text(text="a")]


def test_an_id_escaped_for_another_dialect_gets_its_own_form_back() -> None:
    escaped = carrier.safe_id("functions.Bash:0")
    request = of({"role": "assistant", "tool_calls": [call(escaped)]}, {"role": "tool", "tool_call_id": escaped, "content": ""})
    assert said(request.messages[0]) == [ToolCall(id="functions.Bash:0", name="f", arguments="{}")]
    assert said(request.messages[1]) == [ToolResult(call_id="functions.Bash:0", parts=[])]


# ---------------------------------------------------------------- results


def result(call_id: str, content: Any = "r", **more: Any) -> Json:
    return {"role": "tool", "tool_call_id": call_id, "content": content, **more}


def test_results_in_a_row_become_one_user_turn() -> None:
    request = of(
        HI,
        {"role": "assistant", "tool_calls": [call("a"), call("b")]},
        result("a", [{"type": "text", "text": "1"}, {"type": "text", "text": "2"}]),
        result("b", "3", name="f", cache_control={"type": "ephemeral"}),
        HI,
    )
    assert [message.role for message in request.messages] == ["user", "assistant", "user", "user"]
    assert said(request.messages[2]) == [
        ToolResult(call_id="a", parts=[Text(text="1"), Text(text="2")]),
        ToolResult(call_id="b", parts=[Text(text="3")], name="f", cache=CacheMark()),
    ]
    assert [path_text(part.at) for part in request.messages[2].parts] == ["messages[2]", "messages[3]"]


def ids(request: Request) -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    for message in request.messages:
        for part in message.parts:
            if isinstance(part, ToolCall):
                pairs.append(("call", part.id))
            elif isinstance(part, ToolResult):
                pairs.append(("result", part.call_id))
    return pairs


IDS: list[tuple[str, list[Json], list[tuple[str, str]]]] = [
    (
        "the same id on every turn",
        [{"role": "assistant", "tool_calls": [call("c")]}, result("c")] * 3,
        [("call", "c"), ("result", "c"), ("call", "c_2"), ("result", "c_2"), ("call", "c_3"), ("result", "c_3")],
    ),
    (
        "the same id twice in a turn",
        [{"role": "assistant", "tool_calls": [call("c"), call("c")]}, result("c"), result("c")],
        [("call", "c"), ("call", "c_2"), ("result", "c"), ("result", "c_2")],
    ),
    (
        "a call that was never answered, and then its id again",
        [{"role": "assistant", "tool_calls": [call("c")]}, HI, {"role": "assistant", "tool_calls": [call("c")]}, result("c")],
        [("call", "c"), ("call", "c_2"), ("result", "c_2")],
    ),
    (
        "a number that is taken",
        [{"role": "assistant", "tool_calls": [call("c"), call("c_2"), call("c")]}, result("c"), result("c_2"), result("c")],
        [("call", "c"), ("call", "c_2"), ("call", "c_3"), ("result", "c"), ("result", "c_2"), ("result", "c_3")],
    ),
    (
        "no ids at all",
        [{"role": "assistant", "tool_calls": [call(None), call("")]}, result(""), {"role": "tool", "content": "x"}],
        [("call", "call_m0_0"), ("call", "call_m0_1"), ("result", "call_m0_0"), ("result", "call_m0_1")],
    ),
    (
        "legacy functions, paired by name",
        [
            {"role": "assistant", "function_call": {"name": "f", "arguments": "{}"}},
            {"role": "function", "name": "f", "content": "x"},
        ],
        [("call", "call_m0_0"), ("result", "call_m0_0")],
    ),
    ("a result of nothing", [result("lost")], [("result", "lost")]),
]


@pytest.mark.parametrize(("messages", "expected"), [case[1:] for case in IDS], ids=[case[0] for case in IDS])
def test_every_call_has_its_own_id_and_every_result_its_call(messages: list[Json], expected: list[tuple[str, str]]) -> None:
    assert ids(of(*messages)) == expected


# ---------------------------------------------------------------- everything beside the messages


def test_every_known_field_has_its_place() -> None:
    request = of(
        HI,
        stream=True,
        stream_options={"include_usage": True, "include_obfuscation": False},
        temperature=0.5,
        top_p=1,
        top_k=3,
        min_p=0.1,
        frequency_penalty=0.2,
        presence_penalty=0.3,
        repetition_penalty=1.1,
        seed=7,
        logit_bias={"50256": -100},
        max_completion_tokens=10,
        stop="x",
        n=2,
        logprobs=True,
        top_logprobs=4,
        user="u",
        metadata={"k": "v"},
        service_tier="flex",
        prompt_cache_key="ck",
        verbosity="low",
        store=False,
        parallel_tool_calls=False,
    )
    sampling = msgspec.to_builtins(request.sampling)
    assert sampling == {
        "temperature": 0.5,
        "top_p": 1,
        "top_k": 3,
        "min_p": 0.1,
        "frequency_penalty": 0.2,
        "presence_penalty": 0.3,
        "repetition_penalty": 1.1,
        "seed": 7,
        "logit_bias": {"50256": -100},
    }
    assert (request.stream, request.include_usage, request.max_tokens, request.stop) == (True, True, 10, ["x"])
    assert (request.n, request.logprobs, request.top_logprobs, request.user) == (2, True, 4, "u")
    assert (request.metadata, request.service_tier, request.cache_key) == ({"k": "v"}, "flex", "ck")
    assert (request.verbosity, request.store, request.parallel) == ("low", False, False)
    assert request.extras == {"stream_options": {"include_obfuscation": False}}
    assert path_text(request.path_of("max_tokens")) == "max_completion_tokens"
    assert path_text(request.path_of("stop")) == "stop"


def test_how_a_prompt_is_cached_is_kept_in_the_words_of_openais_dialects() -> None:
    policy: Json = {"prompt_cache_retention": "24h", "prompt_cache_options": {"mode": "explicit"}}
    request = of(HI, **policy, prompt_cache_key="k")
    assert (request.cache_policy, request.cache_key, request.extras) == (policy, "k", {})


def test_what_the_hub_has_no_field_for_stays_in_extras() -> None:
    unknown: Json = {
        "audio": {"voice": "a", "format": "wav"},
        "modalities": ["text"],
        "moderation": {"model": "m"},
        "prediction": {"type": "content", "content": "x"},
        "web_search_options": {},
        "provider": {"order": ["a"]},
        "future": 1.5,
    }
    assert of(HI, **unknown).extras == unknown


def test_null_means_not_said() -> None:
    request = of(HI, temperature=None, stop=None, tools=None, tool_choice=None, response_format=None, audio=None, user=None)
    assert request == of(HI)


def test_the_newer_limit_wins_and_the_other_is_kept() -> None:
    request = of(HI, max_tokens=5, max_completion_tokens=10)
    assert (request.max_tokens, request.extras) == (10, {"max_tokens": 5})
    assert of(HI, max_tokens=10, max_completion_tokens=10).extras == {}


def test_a_safety_identifier_is_a_user_unless_there_is_another() -> None:
    assert of(HI, safety_identifier="s").user == "s"
    request = of(HI, user="u", safety_identifier="s")
    assert (request.user, request.extras) == ("u", {"safety_identifier": "s"})


REASONING: list[tuple[Json, tuple[Any, ...], Json]] = [
    ({"reasoning_effort": "high"}, (None, "high", None, None), {}),
    ({"reasoning_effort": "none"}, ("off", "none", None, None), {}),
    ({"reasoning": {"effort": "low", "exclude": True}}, (None, "low", None, "omitted"), {}),
    ({"reasoning": {"max_tokens": 2000, "exclude": False}}, (None, None, 2000, None), {"reasoning": {"exclude": False}}),
    ({"reasoning": {"enabled": True}}, ("on", None, None, None), {}),
    ({"reasoning": {"enabled": False}}, ("off", None, None, None), {}),
    ({"thinking": {"type": "enabled", "budget_tokens": 9}, "reasoning_effort": "low"}, ("on", "low", 9, None), {}),
    ({"thinking": {"type": "disabled"}}, ("off", None, None, None), {}),
    (
        {"thinking": {"type": "disabled"}, "reasoning": {"enabled": True}},
        ("off", None, None, None),
        {"reasoning": {"enabled": True}},
    ),
    (
        {"reasoning": {"effort": "low"}, "reasoning_effort": "high"},
        (None, "high", None, None),
        {"reasoning": {"effort": "low"}},
    ),
]


@pytest.mark.parametrize(("fields", "expected", "extras"), REASONING)
def test_the_words_for_thinking_mean_one_thing(fields: Json, expected: tuple[Any, ...], extras: Json) -> None:
    request = of(HI, **fields)
    ask = request.reasoning
    assert ask is not None
    assert (ask.mode, ask.effort, ask.budget, ask.display) == expected
    assert request.extras == extras


@pytest.mark.parametrize("fields", [{"reasoning": {}}, {"reasoning": {"exclude": False}}, {"thinking": {"type": "new"}}])
def test_no_word_on_thinking_is_no_ask(fields: Json) -> None:
    request = of(HI, **fields)
    assert request.reasoning is None
    assert request.extras == {key: value for key, value in fields.items() if value}


# ---------------------------------------------------------------- tools and format

SCHEMA = b'{ "type" : "object", "$schema":"x", "properties":{"a":{"const": 1.50}} ,"z":[ ] }'


def test_a_function_s_schema_arrives_byte_for_byte() -> None:
    body = b'{"model":"m","messages":[{"role":"user","content":"hi"}],"tools":[{"type":"function","function":{"name":"f",'
    body += b'"description":"d","strict":true,"x":1,"parameters":' + SCHEMA + b'},"cache_control":{"type":"ephemeral"}}]}'
    [tool] = CHAT.decode_request(body).tools
    assert bytes(tool.schema) == SCHEMA
    assert (tool.name, tool.description, tool.strict, tool.kind, tool.cache) == ("f", "d", True, "function", CacheMark())
    assert tool.extras == {"function": {"x": 1}}


def test_a_tool_without_parameters_has_an_empty_schema() -> None:
    request = of(HI, tools=[{"type": "function", "function": {"name": "f"}}, {"function": {"name": "g", "parameters": None}}])
    assert [(tool.name, bytes(tool.schema)) for tool in request.tools] == [("f", b""), ("g", b"")]


def test_custom_and_hosted_tools_keep_their_native_form() -> None:
    form = {"type": "grammar", "grammar": {"syntax": "regex", "definition": "a+"}}
    hosted = {"type": "web_search", "filters": {"x": 1}}
    request = of(HI, tools=[{"type": "custom", "custom": {"name": "c", "description": "d", "format": form}}, hosted])
    custom, search = request.tools
    assert (custom.kind, custom.name, custom.description, custom.native) == ("custom", "c", "d", {"format": form})
    assert (search.kind, search.dialect, search.native) == ("hosted", "chat", hosted)


TOOLS = [{"type": "function", "function": {"name": "f"}}, {"type": "custom", "custom": {"name": "c"}}]
CHOICES: list[tuple[Any, tuple[str, list[str], bool]]] = [
    ("none", ("none", [], False)),
    ("auto", ("auto", [], False)),
    ("required", ("required", [], False)),
    ("any", ("required", [], False)),
    ({"type": "function", "function": {"name": "f"}}, ("tool", ["f"], False)),
    ({"type": "custom", "custom": {"name": "c"}}, ("tool", ["c"], False)),
    (
        {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [TOOLS[0], TOOLS[1]]}},
        ("allowed", ["f", "c"], True),
    ),
]


@pytest.mark.parametrize(("native", "expected"), CHOICES)
def test_every_tool_choice_is_understood(native: Any, expected: tuple[str, list[str], bool]) -> None:
    choice = of(HI, tools=TOOLS, tool_choice=native).tool_choice
    assert choice is not None
    assert (choice.mode, choice.names, choice.required) == expected


def test_a_choice_that_the_hub_has_no_word_for_is_kept() -> None:
    request = of(HI, tool_choice={"type": "web_search"})
    assert (request.tool_choice, request.extras) == (None, {"tool_choice": {"type": "web_search"}})


@pytest.mark.parametrize(
    ("native", "mode", "names"), [("auto", "auto", []), ("none", "none", []), ({"name": "f"}, "tool", ["f"])]
)
def test_legacy_functions_are_tools(native: Any, mode: str, names: list[str]) -> None:
    request = of(HI, functions=[{"name": "f", "description": "d", "parameters": {"type": "object"}}], function_call=native)
    [tool] = request.tools
    assert (tool.name, tool.description, bytes(tool.schema)) == ("f", "d", b'{"type": "object"}')
    assert request.legacy_functions
    assert request.tool_choice is not None
    assert (request.tool_choice.mode, request.tool_choice.names) == (mode, names)


def test_a_response_schema_arrives_byte_for_byte() -> None:
    body = b'{"model":"m","messages":[{"role":"user","content":"hi"}],"response_format":{"type":"json_schema","json_schema":'
    body += b'{"name":"n","description":"d","strict":false,"schema":' + SCHEMA + b"}}}"
    wanted = CHAT.decode_request(body).format
    assert wanted is not None
    assert bytes(wanted.schema) == SCHEMA
    assert (wanted.kind, wanted.name, wanted.description, wanted.strict) == ("schema", "n", "d", False)


def test_other_response_formats() -> None:
    for native, kind in (({"type": "text"}, "text"), ({"type": "json_object"}, "json")):
        wanted = of(HI, response_format=native).format
        assert wanted is not None
        assert wanted.kind == kind
    request = of(HI, response_format={"type": "grammar", "grammar": "g"})
    assert (request.format, request.extras) == (None, {"response_format": {"type": "grammar", "grammar": "g"}})


# ---------------------------------------------------------------- wrong shapes

WRONG: list[tuple[Json, str, str]] = [
    ({"messages": []}, "messages", "at least one message"),
    ({"messages": "hi"}, "messages", "an array"),
    ({"model": 3}, "model", "a string"),
    ({"model": None}, "model", "a string"),
    ({"messages": ["hi"]}, "messages[0]", "an object"),
    ({"messages": [{"content": "hi"}]}, "messages[0].role", "system, developer, user"),
    ({"messages": [{"role": "robot", "content": "hi"}]}, "messages[0].role", "system, developer, user"),
    ({"messages": [{"role": "user"}]}, "messages[0].content", "a string or an array"),
    ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content", "a string or an array"),
    ({"messages": [{"role": "user", "content": ["x"]}]}, "messages[0].content[0]", "an object"),
    ({"messages": [{"role": "user", "content": [{"text": "x"}]}]}, "messages[0].content[0].type", "a string"),
    ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text", "a string"),
    ({"messages": [{"role": "user", "content": [{"type": "file", "file": {}}]}]}, "messages[0].content[0].file", "file_data"),
    (
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": 1}}]}]},
        "messages[0].content[0].image_url.url",
        "a string",
    ),
    ({"messages": [{"role": "assistant", "tool_calls": {}}]}, "messages[0].tool_calls", "an array"),
    ({"messages": [{"role": "assistant", "tool_calls": [{"id": "1"}]}]}, "messages[0].tool_calls[0].function", "an object"),
    ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].tool_call_id", "the id of the call"),
    ({"temperature": "hot"}, "temperature", "a number"),
    ({"max_tokens": 1.5}, "max_tokens", "an integer"),
    ({"stream": "yes"}, "stream", "a boolean"),
    ({"stop": 5}, "stop", "a string or an array"),
    ({"stop": ["a", 5]}, "stop[1]", "a string"),
    ({"logit_bias": {"1": "x"}}, "logit_bias.1", "a number"),
    ({"tools": {}}, "tools", "an array"),
    ({"tools": ["f"]}, "tools[0]", "an object"),
    ({"tools": [{"type": "function"}]}, "tools[0].function", "an object"),
    ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name", "a string"),
    (
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": []}}]},
        "tools[0].function.parameters",
        "an object",
    ),
    ({"tools": [{}]}, "tools[0].type", "a string"),
    ({"tool_choice": "maybe"}, "tool_choice", "none, auto, required"),
    ({"tool_choice": {"type": "function"}}, "tool_choice.function", "an object"),
    ({"response_format": "json"}, "response_format", "an object"),
    ({"response_format": {"type": "json_schema"}}, "response_format.json_schema", "an object"),
    ({"stream_options": []}, "stream_options", "an object"),
    ({"metadata": []}, "metadata", "an object"),
]


@pytest.mark.parametrize(("fields", "param", "expected"), WRONG, ids=[str(case[0])[:60] for case in WRONG])
def test_a_wrong_shape_is_refused_with_its_path(fields: Json, param: str, expected: str) -> None:
    with pytest.raises(MalformedBody) as caught:
        decode({"model": "m", "messages": [HI], **fields})
    assert caught.value.param == param
    assert param in caught.value.message
    assert expected in caught.value.message
    assert caught.value.status == 400


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b'{"model":"m","messages":[{"role":"user","content":"\\ud83d x"}]}', b"\xff", b"[" * 100_000]
)
def test_a_body_that_is_not_json_is_refused(body: bytes) -> None:
    with pytest.raises(MalformedBody):
        CHAT.decode_request(body)
