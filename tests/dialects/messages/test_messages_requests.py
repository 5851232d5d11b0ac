from __future__ import annotations

import base64
import json
from typing import Any

import msgspec
import pytest

from dragoman.dialects import DIALECTS
from dragoman.dialects.base import Target
from dragoman.dialects.messages import MESSAGES
from dragoman.errors import MalformedBody
from dragoman.ir import carrier
from dragoman.ir.losses import Ledger
from dragoman.ir.profile import Profile
from dragoman.ir.request import (
    Audio,
    CacheMark,
    Document,
    Format,
    Image,
    Message,
    Part,
    Reasoning,
    ReasoningAsk,
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


def asked(**fields: Any) -> Request:
    """A request that came from another dialect."""
    fields.setdefault("messages", [Message(role="user", parts=[Text(text="hi")])])
    return Request(model="m", dialect="chat", **fields)


def sent(request: Request, **profile: Any) -> tuple[dict[str, Any], list[str]]:
    ledger = Ledger()
    body = MESSAGES.encode_request(request, Target("claude", "anthropic", Profile(**profile)), ledger)
    return json.loads(body), [f"{loss.path} {loss.severity}" for loss in ledger.losses]


def turn(*parts: Part, role: str = "user") -> Message:
    return Message(role=role, parts=list(parts))  # type: ignore[arg-type]


def content(*parts: Part, role: str = "user", **profile: Any) -> tuple[list[dict[str, Any]], list[str]]:
    messages = [turn(Text(text="hi")), turn(*parts, role=role)] if role == "assistant" else [turn(*parts)]
    body, losses = sent(asked(messages=messages), **profile)
    return body["messages"][-1]["content"], losses


FUNCTION = Tool(name="f", description="d", schema=msgspec.Raw(b'{"type": "object",  "x": 1.0}'))


def test_a_plain_request() -> None:
    body, losses = sent(asked(system=[Text(text="be brief")], max_tokens=5, stop=["a"], user="u", stream=True))
    assert body == {
        "model": "claude",
        "max_tokens": 5,
        "system": [{"type": "text", "text": "be brief"}],
        "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}],
        "stop_sequences": ["a"],
        "metadata": {"user_id": "u"},
        "stream": True,
    }
    assert losses == []


def test_a_limit_is_sent_even_where_none_was_asked_for() -> None:
    assert sent(asked(), max_output_tokens=777)[0]["max_tokens"] == 777


PARTS: list[tuple[str, Part, dict[str, Any], list[str]]] = [
    ("text with a cache mark", Text(text="a", cache=CacheMark("1h")),
     {"type": "text", "text": "a", "cache_control": {"type": "ephemeral", "ttl": "1h"}}, []),
    ("image data", Image(media_type="image/png", data="QQ=="),
     {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "QQ=="}}, []),
    ("image url", Image(url="https://x/y.png", detail="high"),
     {"type": "image", "source": {"type": "url", "url": "https://x/y.png"}}, ["$ info"]),
    ("image in another store", Image(file="file-1"), {"type": "text", "text": "[image omitted]"}, ["$ lost"]),
    ("pdf", Document(media_type="application/pdf", data="QQ==", title="t"),
     {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "QQ=="}, "title": "t"}, []),
    ("a text file", Document(media_type="text/csv", data=base64.b64encode(b"a,b").decode()),
     {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "a,b"}}, []),
    ("a file of another kind", Document(media_type="application/zip", data="QQ=="),
     {"type": "text", "text": "[document omitted]"}, ["$ lost"]),
    ("audio", Audio(data="QQ==", format="wav"), {"type": "text", "text": "[audio omitted]"}, ["$ lost"]),
    ("an unknown part", Unknown(native={"type": "hologram"}, dialect="chat"),
     {"type": "text", "text": "[hologram omitted]"}, ["$ lost"]),
    ("a result", ToolResult(call_id="c", parts=[Text(text="42")], is_error=True),
     {"type": "tool_result", "tool_use_id": "c", "content": "42", "is_error": True}, []),
    ("a result with an image", ToolResult(call_id="c", parts=[Text(text="see"), Image(media_type="image/png", data="QQ==")]),
     {"type": "tool_result", "tool_use_id": "c", "content": [
         {"type": "text", "text": "see"},
         {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "QQ=="}}]}, []),
    ("an empty result", ToolResult(call_id="functions.Bash:0", parts=[]),
     {"type": "tool_result", "tool_use_id": carrier.safe_id("functions.Bash:0")}, []),
]  # fmt: skip


@pytest.mark.parametrize(("part", "block", "losses"), [case[1:] for case in PARTS], ids=[case[0] for case in PARTS])
def test_a_users_part_becomes_a_block(part: Part, block: dict[str, Any], losses: list[str]) -> None:
    assert content(part) == ([block], losses)


def test_results_come_before_what_else_the_user_says() -> None:
    blocks, _ = content(Text(text="look:"), ToolResult(call_id="c", parts=[Text(text="1")]))
    assert [block["type"] for block in blocks] == ["tool_result", "text"]


def test_results_come_right_after_their_calls_whatever_was_said_in_between() -> None:
    calls = turn(ToolCall(id="c", name="f"), ToolCall(id="d", name="f"), role="assistant")
    said = [
        turn(Text(text="wait")),
        turn(ToolResult(call_id="c", parts=[])),
        turn(ToolResult(call_id="d", parts=[]), Text(text="go")),
    ]
    body, _ = sent(asked(messages=[turn(Text(text="hi")), calls, *said]))
    assert [[block["type"] for block in message["content"]] for message in body["messages"][2:]] == [
        ["tool_result", "tool_result", "text"],
        ["text"],
    ]
    assert [block.get("tool_use_id") for block in body["messages"][2]["content"]] == ["c", "d", None]


def test_an_image_that_the_assistant_made_leaves_a_word_behind() -> None:
    blocks, losses = content(Text(text="a"), Image(media_type="image/png", data="AA=="), role="assistant")
    assert blocks == [{"type": "text", "text": "a"}, {"type": "text", "text": "[image omitted]"}]
    assert any("lost" in loss for loss in losses)


def test_a_calls_arguments_become_an_object() -> None:
    call = ToolCall(id="c", name="f", arguments='{"a": [1, 2.0]}')
    assert content(call, role="assistant")[0] == [{"type": "tool_use", "id": "c", "name": "f", "input": {"a": [1, 2.0]}}]
    broken, losses = content(ToolCall(id="c", name="f", arguments='{"a": 1, "b'), role="assistant")
    assert broken[0]["input"] == {"a": 1}
    assert losses == ["$ degraded"]


def test_white_space_is_no_text_block_and_no_end_of_a_prefill() -> None:
    assert content(Text(text=" \n"), Text(text="a"))[0] == [{"type": "text", "text": "a"}]
    assert content(Text(text="So: "), role="assistant")[0] == [{"type": "text", "text": "So:"}]


def test_the_conversation_begins_with_the_user() -> None:
    body, losses = sent(asked(messages=[turn(Text(text="hello"), role="assistant")]))
    assert [message["role"] for message in body["messages"]] == ["user", "assistant"]
    assert losses == ["messages degraded"]
    body, losses = sent(asked(system=[Text(text="say hi")], messages=[]))
    assert body["messages"] == [{"role": "user", "content": [{"type": "text", "text": "say hi"}]}]
    assert "system" not in body


def test_instructions_between_turns_stay_where_the_model_takes_them() -> None:
    turns = [turn(Text(text="a")), turn(Text(text="now in French"), role="system"), turn(Text(text="b"), role="assistant")]
    inline, losses = sent(asked(messages=turns), inline_system=True)
    assert [message["role"] for message in inline["messages"]] == ["user", "system", "assistant"]
    assert losses == []
    moved, losses = sent(asked(messages=turns))
    assert moved["system"] == [{"type": "text", "text": "now in French"}]
    assert losses == ["$ degraded"]


def test_only_the_issuer_gets_its_sealed_thinking_back() -> None:
    own = Reasoning(text="hm", seal=Seal("sig", "anthropic", "messages"))
    bare = Reasoning(text="hm", seal=Seal("sig", None, "messages"))
    hidden = Reasoning(seal=Seal("opaque", "anthropic", "messages"), redacted=True)
    block = {"type": "thinking", "thinking": "hm", "signature": "sig"}
    assert content(own, Text(text="a"), role="assistant")[0][0] == block
    assert content(bare, Text(text="a"), role="assistant")[0][0] == block
    assert content(hidden, Text(text="a"), role="assistant")[0][0] == {"type": "redacted_thinking", "data": "opaque"}
    for foreign in (
        Reasoning(text="hm"),
        Reasoning(text="hm", seal=Seal("sig", "elsewhere", "messages")),
        Reasoning(text="hm", seal=Seal("{}", "anthropic", "chat")),
    ):
        blocks, losses = content(foreign, Text(text="a"), role="assistant")
        assert blocks == [{"type": "text", "text": "a"}]
        assert losses == ["$ info"]


def test_a_schema_arrives_byte_for_byte() -> None:
    ledger = Ledger()
    body = MESSAGES.encode_request(asked(tools=[FUNCTION]), Target("c", "a", Profile()), ledger)
    assert b'"input_schema":{"type": "object",  "x": 1.0}' in body


@pytest.mark.parametrize(
    ("choice", "parallel", "native"),
    [
        (ToolChoice(mode="auto"), None, {"type": "auto"}),
        (ToolChoice(mode="none"), False, {"type": "none"}),
        (ToolChoice(mode="required"), None, {"type": "any"}),
        (ToolChoice(mode="tool", names=["f"]), False, {"type": "tool", "name": "f", "disable_parallel_tool_use": True}),
        (None, False, {"type": "auto", "disable_parallel_tool_use": True}),
        (None, True, None),
        (ToolChoice(mode="allowed", names=["f"], required=True), None, {"type": "any"}),
    ],
)
def test_every_choice_of_tools(choice: ToolChoice | None, parallel: bool | None, native: dict[str, Any] | None) -> None:
    body, _ = sent(asked(tools=[FUNCTION], tool_choice=choice, parallel=parallel))
    assert body.get("tool_choice") == native


def test_allowed_tools_are_the_only_ones_sent() -> None:
    tools = [FUNCTION, Tool(name="g")]
    body, losses = sent(asked(tools=tools, tool_choice=ToolChoice(mode="allowed", names=["g"])))
    assert [tool["name"] for tool in body["tools"]] == ["g"]
    assert losses == ["$ info"]


def test_a_free_text_tool_becomes_one_with_a_text_field() -> None:
    body, losses = sent(asked(tools=[Tool(name="sql", kind="custom", description="Run.")]))
    assert body["tools"][0]["input_schema"]["required"] == ["input"]
    assert losses == ["$ degraded"]


def test_a_hosted_tool_of_another_provider_is_lost() -> None:
    body, losses = sent(asked(tools=[Tool(name="web", kind="hosted", native={"type": "web"}, dialect="chat")]))
    assert "tools" not in body
    assert losses == ["$ lost"]


def test_a_schema_for_the_answer_is_enforced_or_told_in_words() -> None:
    schema = b'{"type": "object", "properties": {}, "additionalProperties": false}'
    wanted = Format(kind="schema", schema=msgspec.Raw(schema), name="n", at=(None, "response_format"))
    inner = ((None, "response_format"), "json_schema")
    body, losses = sent(asked(format=wanted, paths={"schema": inner}))
    assert body["output_config"] == {"format": {"type": "json_schema", "schema": json.loads(schema)}}
    assert losses == ["response_format.json_schema.name info"]
    body, losses = sent(asked(format=wanted), structured=False)
    assert schema.decode() in body["system"][0]["text"]
    assert losses == ["response_format degraded"]


def test_a_schema_that_cannot_be_enforced_as_it_stands() -> None:
    at = (None, "response_format")
    limited = b'{"type":"object","properties":{"a":{"type":"integer","minimum":1}}}'
    body, losses = sent(asked(format=Format(kind="schema", schema=msgspec.Raw(limited), at=at)))
    assert body["output_config"]["format"]["schema"] == {
        "type": "object",
        "properties": {"a": {"type": "integer", "description": "{minimum: 1}"}},
        "additionalProperties": False,
    }
    assert losses == ["response_format degraded"]
    free = b'{"type":"object","additionalProperties":{"type":"string"}}'
    body, losses = sent(asked(format=Format(kind="schema", schema=msgspec.Raw(free), at=at)))
    assert "output_config" not in body
    assert free.decode() in body["system"][0]["text"]
    assert losses == ["response_format degraded"]
    tool = Tool(name="f", schema=msgspec.Raw(limited), strict=True, at=((None, "tools"), 0))
    body, losses = sent(asked(tools=[tool]))
    assert body["tools"] == [{"name": "f", "input_schema": json.loads(limited)}]
    assert losses == ["tools[0] degraded"]


def test_a_limit_of_nought_is_one() -> None:
    assert sent(asked(max_tokens=0))[0]["max_tokens"] == 0


@pytest.mark.parametrize(
    ("ask", "profile", "thinking", "effort"),
    [
        (ReasoningAsk(effort="high"), {"thinking": "adaptive"}, {"type": "adaptive"}, "high"),
        (ReasoningAsk(effort="minimal"), {"thinking": "adaptive"}, {"type": "adaptive"}, "low"),
        (ReasoningAsk(budget=9000), {"thinking": "adaptive"}, {"type": "adaptive"}, "high"),
        (ReasoningAsk(effort="medium"), {"thinking": "budget"}, {"type": "enabled", "budget_tokens": 4096}, None),
        (ReasoningAsk(budget=2000), {"thinking": "budget"}, {"type": "enabled", "budget_tokens": 2000}, None),
        (ReasoningAsk(effort="none"), {}, {"type": "disabled"}, None),
        (ReasoningAsk(mode="off"), {"thinking_off": "between_tools"}, {"type": "between_tools"}, None),
        (ReasoningAsk(mode="off"), {"thinking_off": "never"}, None, None),
        (ReasoningAsk(effort="high"), {"thinking": "none"}, None, None),
    ],
)
def test_thinking_is_asked_for_as_the_model_wants_it(
    ask: ReasoningAsk, profile: dict[str, Any], thinking: dict[str, Any] | None, effort: str | None
) -> None:
    body, _ = sent(asked(reasoning=ask), **profile)
    assert body.get("thinking") == thinking
    assert body.get("output_config", {}).get("effort") == effort
    if thinking and "budget_tokens" in thinking:
        assert body["max_tokens"] > thinking["budget_tokens"]


def test_thinking_gives_way_to_a_forced_call_and_to_a_small_limit() -> None:
    forced = asked(tools=[FUNCTION], tool_choice=ToolChoice(mode="required"), reasoning=ReasoningAsk(effort="low"))
    body, losses = sent(forced)
    assert "thinking" not in body
    assert body["tool_choice"] == {"type": "any"}
    assert losses == ["tool_choice degraded"]
    body, losses = sent(asked(reasoning=ReasoningAsk(effort="low"), max_tokens=500))
    assert "thinking" not in body
    assert losses == ["$ degraded"]


def test_a_tool_loop_that_lost_its_thinking_goes_on_without() -> None:
    loop = [
        turn(Text(text="weather?")),
        turn(ToolCall(id="c", name="f"), role="assistant"),
        turn(ToolResult(call_id="c", parts=[])),
    ]
    body, losses = sent(asked(messages=loop, reasoning=ReasoningAsk(effort="low")))
    assert "thinking" not in body
    assert losses == ["$ degraded"]


def test_sampling_is_bent_to_what_the_model_takes() -> None:
    hot = Sampling(temperature=1.5, top_p=0.9, seed=1, presence_penalty=0.0)
    body, losses = sent(asked(sampling=hot))
    assert (body["temperature"], body["top_p"]) == (1, 0.9)
    assert losses == ["temperature degraded", "presence_penalty info", "seed lost"]
    assert sent(asked(sampling=hot), sampling=False)[1][:2] == ["temperature degraded", "top_p degraded"]
    assert "top_p" not in sent(asked(sampling=hot), temperature_or_top_p=True)[0]


def test_what_messages_cannot_say_is_in_the_ledger() -> None:
    request = asked(n=2, logprobs=True, top_logprobs=3, cache_key="k", verbosity="low", store=True, metadata={"a": "b"})
    request.extras = {"prediction": {}}
    losses = sent(request)[1]
    assert losses == [
        "metadata info", "cache_key info", "verbosity degraded", "store info", "n lost", "logprobs lost",
        "top_logprobs lost", "prediction lost",
    ]  # fmt: skip


def decoded(body: dict[str, Any]) -> Request:
    return MESSAGES.decode_request(json.dumps(body).encode())


MINIMAL: dict[str, Any] = {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "hi"}]}


def test_a_request_comes_back_as_it_went_through_the_hub() -> None:
    body: dict[str, Any] = {
        "model": "claude",
        "max_tokens": 10,
        "system": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "hi", "new_field": 1}]},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "", "signature": "sig"},
                {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {"query": "q"}},
                {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": 1}, "caller": {"type": "direct"}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "r"}]}]},  # noqa: E501
            {"role": "system", "content": [{"type": "text", "text": "reminder"}]},
        ],
        "tools": [{"name": "f", "input_schema": {"type": "object"}, "defer_loading": True},
                  {"type": "web_search_20260318", "name": "web_search", "max_uses": 3}],
        "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
        "thinking": {"type": "adaptive", "display": "omitted"},
        "output_config": {"effort": "high", "format": {"type": "json_schema", "schema": {"type": "object"}}},
        "metadata": {"user_id": "u", "extra": 1},
        "context_management": {"edits": []},
        "service_tier": "auto",
    }  # fmt: skip
    ledger = Ledger()
    again = MESSAGES.encode_request(decoded(body), Target("claude", "anthropic", Profile()), ledger)
    assert json.loads(again) == body
    assert ledger.losses == []


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"messages": []}, "messages"),
        ({"messages": 3}, "messages"),
        ({"messages": [{"role": "robot", "content": ""}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": 3}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text"),
        ({"messages": [{"role": "user", "content": [{"text": "x"}]}]}, "messages[0].content[0].type"),
        ({"messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "x"}}]}]},
         "messages[0].content[0].source.type"),
        ({"max_tokens": "many"}, "max_tokens"),
        ({"stream": 1}, "stream"),
        ({"tools": {}}, "tools"),
        ({"tools": [{"input_schema": {}}]}, "tools[0].name"),
        ({"tool_choice": {"type": "maybe"}}, "tool_choice.type"),
        ({"stop_sequences": [1]}, "stop_sequences[0]"),
        ({"temperature": "hot"}, "temperature"),
        ({"output_config": {"format": {"type": "xml"}}}, "output_config.format.type"),
    ],
)  # fmt: skip
def test_a_wrong_shape_is_named_by_its_path(change: dict[str, Any], path: str) -> None:
    with pytest.raises(MalformedBody) as error:
        decoded(MINIMAL | change)
    assert error.value.param == path
    assert path in str(error.value)


def test_what_rode_in_an_id_stands_before_its_call_once() -> None:
    thought = Reasoning(text="hm", seal=Seal("enc", "openai", "chat"))
    call = {"type": "tool_use", "id": carrier.attach("call_1", [thought]), "name": "f", "input": {}}
    request = decoded(MINIMAL | {"messages": [{"role": "assistant", "content": [call, call]}]})
    parts = request.messages[0].parts
    assert isinstance(parts[0], Reasoning)
    assert parts[0].seal == thought.seal
    assert [part.id for part in parts if isinstance(part, ToolCall)] == ["call_1", "call_1"]
    assert len(parts) == 3


def test_thinking_of_another_provider_is_known_by_its_token() -> None:
    token = carrier.pack([Reasoning(seal=Seal("enc", "openrouter", "chat"))])
    block = {"type": "thinking", "thinking": "hm", "signature": token}
    request = decoded(MINIMAL | {"messages": [{"role": "assistant", "content": [block]}]})
    part = request.messages[0].parts[0]
    assert isinstance(part, Reasoning)
    assert (part.text, part.seal) == ("hm", Seal("enc", "openrouter", "chat"))


def test_what_stands_beside_the_type_of_a_tool_goes_with_the_function_that_stands_for_it() -> None:
    tool = {
        "type": "text_editor_20250728",
        "name": "str_replace_based_edit_tool",
        "max_characters": 1000,
        "cache_control": {"type": "ephemeral", "ttl": "1h"},
        "strict": True,
    }
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "x"}], "tools": [tool]}).encode()
    request = MESSAGES.decode_request(body)
    [native] = request.tools
    assert (native.native, native.cache) == (tool, None)
    assert native.stand_in is not None
    functions = msgspec.structs.replace(request, tools=[native.stand_in])
    ledger = Ledger()
    sent = json.loads(DIALECTS["chat"].encode_request(functions, Target("m", "p", Profile()), ledger))
    assert sent["tools"][0]["function"]["strict"] is False
    assert sorted((loss.path, loss.severity) for loss in ledger.losses) == [
        ("tools[0]", "degraded"),
        ("tools[0].cache_control", "info"),
        ("tools[0].max_characters", "lost"),
    ]


@pytest.mark.parametrize(
    ("profile", "choice", "losses"),
    [
        (Profile(thinking="budget"), None, [("output.effort", "told as a budget of 2000 tokens")]),
        (
            Profile(thinking="budget"),
            ToolChoice(mode="required"),
            [
                ("thinking", "a forced call excludes thinking, which was left out"),
                ("output.effort", "left out with the thinking"),
            ],
        ),
        (
            Profile(thinking="none"),
            None,
            [("thinking", "this model does not think"), ("output.effort", "this model does not think")],
        ),
    ],
)
def test_an_effort_beside_a_budget_is_not_lost_in_silence(
    profile: Profile, choice: ToolChoice | None, losses: list[tuple[str, str]]
) -> None:
    request = Request(
        model="m",
        dialect="converse",
        messages=[Message(role="user", parts=[Text(text="x")])],
        tools=[FUNCTION],
        tool_choice=choice,
        max_tokens=9000,
        reasoning=ReasoningAsk(mode="on", budget=2000, effort="high", at=(None, "thinking")),
        paths={"effort": ((None, "output"), "effort")},
    )
    ledger = Ledger()
    MESSAGES.encode_request(request, Target("m", "p", profile), ledger)
    assert [(loss.path, loss.what) for loss in ledger.losses] == losses
