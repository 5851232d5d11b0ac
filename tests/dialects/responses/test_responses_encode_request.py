"""The hub's requests to Responses: what is written, and what goes in the ledger."""

from __future__ import annotations

import base64
import json
from pathlib import Path as File
from typing import Any, TypeAlias

import msgspec
import pytest
from openai.types.responses import response_create_params

from dragoman.dialects.base import Target
from dragoman.dialects.responses import RESPONSES
from dragoman.ir.losses import Ledger
from dragoman.ir.profile import Profile
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
from tests.testing.typed_json import used_fields

Json: TypeAlias = dict[str, Any]
PARAMS: Any = response_create_params.ResponseCreateParams
CORPUS = File(__file__).parent.parent.parent / "corpus" / "responses"


def encode(request: Request, **profile: Any) -> tuple[Json, list[str]]:
    """The body, which fits the SDK's types, and the losses as `path severity`."""
    ledger = Ledger()
    body = json.loads(RESPONSES.encode_request(request, Target("gpt", "me", Profile(**profile)), ledger))
    return body, [f"{loss.path} {loss.severity}" for loss in ledger.losses]


def asked(*messages: Message, **fields: Any) -> Request:
    """A request that came from another dialect."""
    given = list(messages) or [Message(role="user", parts=[Text(text="hi")])]
    return Request(model="m", dialect="chat", messages=given, **fields)


def user(*parts: Part) -> Message:
    return Message(role="user", parts=list(parts))


def assistant(*parts: Part) -> Message:
    return Message(role="assistant", parts=list(parts))


def test_a_plain_request_is_the_least_that_can_be_said() -> None:
    body, losses = encode(asked())
    assert body == {
        "model": "gpt",
        "input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]}],
        "include": ["reasoning.encrypted_content"],
        "store": False,
    }
    assert losses == []
    used_fields(body, PARAMS, frozenset())


def test_where_nothing_comes_sealed_nothing_is_asked_for() -> None:
    assert "include" not in encode(asked(), reasoning="none")[0]
    assert "include" not in encode(asked(), sealed=False)[0]


# ---------------------------------------------------------------- instructions


def test_instructions_are_one_text() -> None:
    body, _ = encode(asked(system=[Text(text="One."), Text(text="Two.")]))
    assert body["instructions"] == "One.\n\nTwo."


def test_instructions_that_are_marked_for_the_cache_are_parts_of_a_message() -> None:
    system = [Text(text="One.", cache=CacheMark("5m"), at=(None, "system")), Text(text="Two.")]
    body, losses = encode(asked(system=system), cache_marks="breakpoint")
    assert "instructions" not in body
    assert body["input"][0] == {
        "type": "message",
        "role": "developer",
        "content": [
            {"type": "input_text", "text": "One.", "prompt_cache_breakpoint": {"mode": "explicit"}},
            {"type": "input_text", "text": "Two."},
        ],
    }
    assert losses == ["system.cache_control.ttl info"]
    assert encode(asked(system=system))[1] == ["system.cache_control info"]


def test_instructions_alone_are_the_users_turn() -> None:
    body, losses = encode(Request(model="m", dialect="chat", system=[Text(text="Go.", at=(None, "messages"))]))
    assert body["input"] == [{"type": "message", "role": "user", "content": "Go."}]
    assert losses == ["messages degraded"]


def test_instructions_between_turns_stay_there() -> None:
    later = Message(role="system", parts=[Text(text="Now.")])
    body, _ = encode(asked(user(Text(text="a")), later, user(Text(text="b"))))
    assert [item["role"] for item in body["input"]] == ["user", "system", "user"]


# ---------------------------------------------------------------- parts of a user's turn

PDF = base64.b64encode(b"%PDF").decode()
PARTS: list[tuple[str, Part, Json, list[str]]] = [
    ("text", Text(text="a"), {"type": "input_text", "text": "a"}, []),
    ("a refusal", Refusal(text="no"), {"type": "input_text", "text": "no"}, []),
    ("an image by URL", Image(url="u", detail="low"), {"type": "input_image", "image_url": "u", "detail": "low"}, []),
    (
        "an image in the body",
        Image(media_type="image/gif", data="QQ=="),
        {"type": "input_image", "image_url": "data:image/gif;base64,QQ==", "detail": "auto"},
        [],
    ),
    ("an image elsewhere", Image(file="f"), {"type": "input_text", "text": "[omitted: image]"}, ["$ lost"]),
    (
        "a document",
        Document(media_type="application/pdf", data=PDF, title="a.pdf"),
        {"type": "input_file", "filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PDF}"},
        [],
    ),
    (
        "a document without a name",
        Document(media_type="text/plain", data="QQ=="),
        {"type": "input_file", "filename": "document.txt", "file_data": "data:text/plain;base64,QQ=="},
        [],
    ),
    ("a document by URL", Document(url="u", title="t"), {"type": "input_file", "file_url": "u", "filename": "t"}, []),
    ("a document that is a text", Document(text="x", title="t"), {"type": "input_text", "text": "[document: t]\n\nx"}, []),
    ("a document elsewhere", Document(file="f"), {"type": "input_text", "text": "[omitted: document]"}, ["$ lost"]),
    ("a cited document", Document(text="x", cite=True), {"type": "input_text", "text": "x"}, ["citations degraded"]),
    ("audio", Audio(data="QQ==", format="wav"), {"type": "input_text", "text": "[omitted: audio]"}, ["$ lost"]),
    (
        "a part with words",
        Unknown(native={"type": "search_result", "title": "T", "content": "c"}, dialect="messages"),
        {"type": "input_text", "text": "T\nc"},
        ["$ degraded"],
    ),
    (
        "a part without",
        Unknown(native={"type": "hologram"}, dialect="messages"),
        {"type": "input_text", "text": "[omitted: hologram]"},
        ["$ lost"],
    ),
]


@pytest.mark.parametrize(("part", "expected", "losses"), [case[1:] for case in PARTS], ids=[case[0] for case in PARTS])
def test_a_users_part_becomes_a_content_part(part: Part, expected: Json, losses: list[str]) -> None:
    body, entered = encode(asked(user(part)))
    assert body["input"][0]["content"] == [expected]
    assert entered == losses
    used_fields(body, PARAMS, frozenset())


def test_of_the_cache_marks_the_last_four_are_taken() -> None:
    parts: list[Part] = [Text(text=str(number), cache=CacheMark(), at=((None, "x"), number)) for number in range(5)]
    body, losses = encode(asked(user(*parts)), cache_marks="breakpoint")
    assert ["prompt_cache_breakpoint" in part for part in body["input"][0]["content"]] == [False, True, True, True, True]
    assert losses == ["x[0].cache_control info"]


def test_a_marked_result_is_marked_at_its_end() -> None:
    result = ToolResult(call_id="c", parts=[Text(text="r")], cache=CacheMark())
    body, losses = encode(asked(user(result)), cache_marks="breakpoint")
    assert body["input"][0]["output"] == [{"type": "input_text", "text": "r", "prompt_cache_breakpoint": {"mode": "explicit"}}]
    assert losses == []


# ---------------------------------------------------------------- the assistant's turns


def test_a_turn_is_items_in_its_order() -> None:
    body, losses = encode(
        asked(
            user(Text(text="q")),
            assistant(
                Reasoning(text="s", summary=True, seal=Seal("gAAA", "me", "responses")),
                Text(text="a"),
                Text(text="b"),
                ToolCall(id="c1", name="f", arguments='{"x":1}'),
                ToolCall(id="c2", name="g", arguments="text", kind="custom"),
                ToolCall(id="c3", name="h"),
            ),
            user(ToolResult(call_id="c1", parts=[Text(text="r")]), ToolResult(call_id="c2", parts=[]), Text(text="next")),
        )
    )
    assert body["input"][1:] == [
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "s"}], "encrypted_content": "gAAA"},
        {"type": "message", "role": "assistant", "content": "ab"},
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": '{"x":1}'},
        {"type": "custom_tool_call", "call_id": "c2", "name": "g", "input": "text"},
        {"type": "function_call", "call_id": "c3", "name": "h", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "r"},
        {"type": "custom_tool_call_output", "call_id": "c2", "output": ""},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "next"}]},
    ]
    assert losses == []


def test_a_refusal_of_earlier_stays_one() -> None:
    body, _ = encode(asked(user(Text(text="q")), assistant(Refusal(text="no"))))
    assert body["input"][1] == {"type": "message", "role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]}


SEALS: list[tuple[str, Reasoning, bool]] = [
    ("its own", Reasoning(text="s", summary=True, seal=Seal("gA", "me", "responses")), True),
    ("from a client of this dialect", Reasoning(seal=Seal("gA", None, "responses")), True),
    ("another issuer's", Reasoning(text="s", seal=Seal("gA", "you", "responses")), False),
    ("another dialect's", Reasoning(text="s", seal=Seal("sig", "me", "messages")), False),
    ("its own words, unsealed", Reasoning(text="s", seal=Seal("", "me", "")), True),
    ("another's words, unsealed", Reasoning(text="s", seal=Seal("", "you", "")), False),
    ("nobody's", Reasoning(text="s"), False),
    ("a summary without a seal", Reasoning(text="s", summary=True, seal=Seal("", "me", "")), False),
]


@pytest.mark.parametrize(("part", "replayed"), [case[1:] for case in SEALS], ids=[case[0] for case in SEALS])
def test_reasoning_goes_back_only_to_its_issuer(part: Reasoning, replayed: bool) -> None:
    at: Path = (None, "x")
    body, losses = encode(asked(assistant(msgspec.structs.replace(part, at=at), Text(text="a"))))
    assert [item["type"] for item in body["input"]] == (["reasoning"] if replayed else []) + ["message"]
    assert losses == ([] if replayed else ["x info"])


def test_reasoning_that_nothing_follows_is_left_out() -> None:
    part = Reasoning(seal=Seal("gA", "me", "responses"), at=(None, "x"))
    body, losses = encode(asked(assistant(Text(text="a"), part), user(Text(text="b"))))
    assert [item["type"] for item in body["input"]] == ["message", "message"]
    assert losses == ["x info"]


def test_foreign_ids_are_hashed_the_same_for_call_and_result() -> None:
    long = "toolu_" + "x" * 80
    body, losses = encode(
        asked(
            assistant(ToolCall(id=long, name="f", at=(None, "call"))),
            user(ToolResult(call_id=long, parts=[Text(text="r")], at=(None, "result"))),
        )
    )
    first, second = body["input"]
    assert first["call_id"] == second["call_id"]
    assert len(first["call_id"]) <= 64
    assert losses == ["call info", "result info"]


def test_a_failed_result_says_so_in_words() -> None:
    results = [
        ToolResult(call_id="a", parts=[Text(text="no such file")], is_error=True),
        ToolResult(call_id="b", parts=[Text(text="ERROR: no")], is_error=True),
        ToolResult(call_id="c", parts=[], is_error=True),
        ToolResult(call_id="d", parts=[Image(url="u")], is_error=True),
    ]
    body, losses = encode(asked(user(*results)))
    assert [item["output"] for item in body["input"][:3]] == ["Error: no such file", "ERROR: no", "Error"]
    assert [part["type"] for part in body["input"][3]["output"]] == ["input_text", "input_image"]
    assert losses == ["$ degraded"] * 4


def test_citations_and_names_are_losses() -> None:
    cited = Text(text="a", citations=[Citation(at=(None, "cite"))])
    body, losses = encode(asked(Message(role="user", parts=[Text(text="q")], name="Ada"), assistant(cited)))
    assert body["input"][1]["content"] == "a"
    assert losses == ["name info", "cite info"]


def test_what_an_assistant_cannot_say_leaves_a_word() -> None:
    body, losses = encode(asked(assistant(Image(url="u"), Unknown(native={"type": "server_tool_use"}, dialect="messages"))))
    assert [item["content"] for item in body["input"]] == ["[omitted: image]", "[omitted: server_tool_use]"]
    assert losses == ["$ lost", "$ lost"]


# ---------------------------------------------------------------- tools

SCHEMA = msgspec.Raw(b'{"type":"object","properties":{"a":{"type":"string"}}}')


def test_a_function_is_not_strict_unless_it_is_said() -> None:
    closed = {"type": "object", "properties": {}, "additionalProperties": False}
    strict = Tool(name="g", schema=msgspec.Raw(json.dumps(closed).encode()), strict=True)
    tools = [Tool(name="f", description="d", schema=SCHEMA), strict, Tool(name="h", strict=False)]
    body, _ = encode(asked(tools=tools))
    assert body["tools"] == [
        {"type": "function", "name": "f", "description": "d", "parameters": json.loads(bytes(SCHEMA)), "strict": False},
        {"type": "function", "name": "g", "parameters": closed, "strict": True},
        {"type": "function", "name": "h", "parameters": {"type": "object", "properties": {}}, "strict": False},
    ]
    used_fields(body, PARAMS, frozenset())


def test_a_free_text_tools_grammar_is_flat_here() -> None:
    native = {"format": {"type": "grammar", "grammar": {"syntax": "regex", "definition": "a+"}}}
    body, _ = encode(asked(tools=[Tool(name="p", kind="custom", native=native), Tool(name="q", kind="custom")]))
    assert body["tools"][0]["format"] == {"type": "grammar", "syntax": "regex", "definition": "a+"}
    used_fields(body, PARAMS, frozenset())


def test_another_providers_own_tools_are_losses() -> None:
    tool = Tool(name="web", kind="hosted", native={"type": "web_search_20250305"}, dialect="messages", at=((None, "tools"), 0))
    body, losses = encode(asked(tools=[tool], parallel=False, tool_choice=ToolChoice(mode="auto", at=(None, "tool_choice"))))
    assert "tools" not in body
    assert losses == ["tools[0] lost", "tool_choice info", "parallel info"]


CHOICES: list[tuple[ToolChoice, Any]] = [
    (ToolChoice(mode="auto"), "auto"),
    (ToolChoice(mode="none"), "none"),
    (ToolChoice(mode="required"), "required"),
    (ToolChoice(mode="tool", names=["f"]), {"type": "function", "name": "f"}),
    (ToolChoice(mode="tool", names=["p"]), {"type": "custom", "name": "p"}),
    (
        ToolChoice(mode="allowed", names=["f", "p"]),
        {
            "type": "allowed_tools",
            "mode": "auto",
            "tools": [{"type": "function", "name": "f"}, {"type": "custom", "name": "p"}],
        },
    ),
]
TOOLS = [Tool(name="f", schema=SCHEMA), Tool(name="p", kind="custom")]


@pytest.mark.parametrize(("choice", "expected"), CHOICES)
def test_a_tool_choice_in_this_apis_words(choice: ToolChoice, expected: Any) -> None:
    body, losses = encode(asked(tools=TOOLS, tool_choice=choice))
    assert body["tool_choice"] == expected
    assert losses == []
    used_fields(body, PARAMS, frozenset())


def test_a_call_that_cannot_be_forced_is_asked_for() -> None:
    choice = ToolChoice(mode="tool", names=["f"], at=(None, "tool_choice"))
    assert encode(asked(tools=TOOLS, tool_choice=choice), forced_tools=False)[1] == ["tool_choice degraded"]
    missing = ToolChoice(mode="tool", names=["z"], at=(None, "tool_choice"))
    body, losses = encode(asked(tools=TOOLS, tool_choice=missing))
    assert (body["tool_choice"], losses) == ("auto", ["tool_choice degraded"])


# ---------------------------------------------------------------- form and thinking


def test_a_schema_for_the_answer() -> None:
    strict = msgspec.Raw(b'{"type":"object","properties":{},"required":[],"additionalProperties":false}')
    body, losses = encode(asked(format=Format(kind="schema", schema=strict, name="my form!", at=(None, "f"))))
    assert body["text"]["format"] == {
        "type": "json_schema",
        "name": "my_form_",
        "schema": json.loads(bytes(strict)),
        "strict": True,
    }
    assert losses == ["schema.name info"]
    body, losses = encode(asked(format=Format(kind="schema", schema=SCHEMA, at=(None, "f"))))
    assert (body["text"]["format"]["strict"], losses) == (False, ["f degraded"])
    body, losses = encode(asked(format=Format(kind="schema", schema=SCHEMA, at=(None, "f"))), structured=False)
    assert body["text"] == {"format": {"type": "json_object"}}
    assert bytes(SCHEMA).decode() in body["instructions"]
    assert losses == ["f degraded"]
    assert encode(asked(format=Format(kind="json")))[0]["text"] == {"format": {"type": "json_object"}}


ASKS: list[tuple[ReasoningAsk, Json | None, list[str]]] = [
    (ReasoningAsk(effort="high"), {"effort": "high"}, []),
    (ReasoningAsk(effort="high", display="summarized"), {"effort": "high", "summary": "auto"}, []),
    (ReasoningAsk(effort="high", display="omitted"), {"effort": "high"}, []),
    (ReasoningAsk(effort="high", display="updates"), {"effort": "high"}, ["thinking.display info"]),
    (ReasoningAsk(mode="off"), {"effort": "none"}, []),
    (ReasoningAsk(mode="on", budget=9000), {"effort": "high", "summary": "auto"}, ["thinking degraded"]),
    (ReasoningAsk(mode="on"), {"effort": "medium", "summary": "auto"}, ["thinking info"]),
    (ReasoningAsk(mode="adaptive"), None, ["thinking info"]),
    (ReasoningAsk(mode="adaptive", effort="low"), {"effort": "low"}, []),
]


@pytest.mark.parametrize(("ask", "expected", "losses"), ASKS)
def test_how_to_think(ask: ReasoningAsk, expected: Json | None, losses: list[str]) -> None:
    ask = msgspec.structs.replace(ask, at=(None, "thinking"))
    body, entered = encode(asked(reasoning=ask, paths={"display": ((None, "thinking"), "display")}))
    assert body.get("reasoning") == expected
    assert entered == losses


def test_a_model_that_does_not_think_is_told_nothing_of_it() -> None:
    body, losses = encode(asked(reasoning=ReasoningAsk(effort="high", at=(None, "reasoning_effort"))), reasoning="none")
    assert "reasoning" not in body
    assert losses == ["reasoning_effort degraded"]


# ---------------------------------------------------------------- scalars


def test_parameters_that_the_target_takes_are_written() -> None:
    body, losses = encode(
        asked(
            sampling=Sampling(temperature=0.5, top_p=0.9),
            max_tokens=99,
            logprobs=True,
            top_logprobs=3,
            user="u",
            service_tier="standard_only",
            cache_key="k",
            verbosity="low",
            store=True,
            stream=True,
            tools=TOOLS,
            parallel=True,
        )
    )
    assert {
        key: body[key] for key in ("temperature", "top_p", "max_output_tokens", "top_logprobs", "user", "service_tier")
    } == {
        "temperature": 0.5,
        "top_p": 0.9,
        "max_output_tokens": 99,
        "top_logprobs": 3,
        "user": "u",
        "service_tier": "default",
    }
    assert (body["prompt_cache_key"], body["text"], body["store"], body["stream"]) == ("k", {"verbosity": "low"}, True, True)
    assert body["include"] == ["reasoning.encrypted_content", "message.output_text.logprobs"]
    assert body["parallel_tool_calls"] is True
    assert losses == []
    used_fields(body, PARAMS, frozenset())


def test_parameters_that_it_does_not_take_are_losses() -> None:
    sampling = Sampling(top_k=3, seed=7, frequency_penalty=0.5, presence_penalty=0, repetition_penalty=1, logit_bias={})
    _, losses = encode(asked(sampling=sampling, stop=["x"], n=2, metadata={"k": "v"}, service_tier="turbo", max_tokens=3))
    assert losses == [
        "max_tokens degraded",
        "top_k lost",
        "frequency_penalty lost",
        "presence_penalty info",
        "repetition_penalty info",
        "seed lost",
        "logit_bias info",
        "stop lost",
        "n lost",
        "metadata.k info",
        "service_tier info",
    ]


def test_a_model_that_samples_as_it_likes_is_told_nothing_of_it() -> None:
    body, losses = encode(asked(sampling=Sampling(temperature=0.5, top_p=1)), sampling=False)
    assert not {"temperature", "top_p"} & set(body)
    assert losses == ["temperature degraded", "top_p info"]


def test_a_long_user_is_told_as_its_hash() -> None:
    body, losses = encode(asked(user="u" * 65))
    assert len(body["user"]) == 64
    assert losses == ["user info"]


# ---------------------------------------------------------------- its own callers, and the same bytes each time


def again(body: Json, **profile: Any) -> tuple[Json, list[str]]:
    return encode(RESPONSES.decode_request(json.dumps(body).encode()), **profile)


@pytest.mark.parametrize("store", [None, True, False])
def test_ids_of_items_are_said_only_where_something_is_stored(store: bool | None) -> None:
    items: list[Json] = [
        {"role": "user", "content": "q"},
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gA"},
        {
            "type": "message",
            "id": "msg_1",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": "a"}],
        },
        {"type": "function_call", "id": "fc_1", "call_id": "c", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "id": "fco_1", "call_id": "c", "output": "r"},
    ]
    body, losses = again({"model": "m", "input": items, "store": store})
    told = [item.get("id") for item in body["input"]]
    assert told == ([None] * 5 if store is False else [None, "rs_1", "msg_1", "fc_1", "fco_1"])
    assert losses == ([f"input[{n}].id info" for n in (1, 2, 3, 4)] if store is False else [])


def test_reasoning_that_is_only_a_place_in_the_store_goes_back_to_it() -> None:
    items = [{"type": "reasoning", "id": "rs_1", "summary": []}, {"role": "assistant", "content": "a"}]
    assert again({"model": "m", "input": items})[0]["input"][0] == {"type": "reasoning", "id": "rs_1", "summary": []}
    assert [item["type"] for item in again({"model": "m", "input": items, "store": False})[0]["input"]] == ["message"]


def named(case: str) -> Json:
    return json.loads((CORPUS / case / "request.json").read_bytes())


def settled(value: Any) -> Any:
    """Without what is null, and with the words that mean the same."""
    if isinstance(value, dict):
        held = {key: settled(inner) for key, inner in value.items() if inner is not None}
        if "role" in held:
            held.setdefault("type", "message")
            held["role"] = "developer" if held["role"] == "system" else held["role"]
            if held["role"] == "developer" and isinstance(held.get("content"), str):
                held["content"] = [{"type": "input_text", "text": held["content"]}]
        if held.get("type") == "input_image":
            held.setdefault("detail", "auto")
        if held.get("type") == "output_text":
            held.setdefault("annotations", [])
        if held.get("type") == "function" and "parameters" in value:
            held.setdefault("parameters", {"type": "object", "properties": {}})
        return held
    return [settled(inner) for inner in value] if isinstance(value, list) else value


# Told in other words on purpose: ids that are none, results in other shapes, the older name of a field.
OTHERWISE = {"tool-ids", "extension-results", "reasoning-older", "future-fields", "codex", "codex-tools-in-input"}
SAME = sorted(path.name for path in CORPUS.iterdir() if path.name not in OTHERWISE)


@pytest.mark.parametrize("case", SAME)
def test_a_request_of_this_dialect_comes_out_as_it_went_in(case: str) -> None:
    body = named(case)
    sent, losses = again(body, cache_marks="breakpoint")
    expected: Json = {**settled(body), "model": "gpt"}
    if isinstance(expected.get("input"), str):
        expected["input"] = [{"type": "message", "role": "user", "content": expected["input"]}]
    expected = {key: value for key, value in expected.items() if (value != {} and value is not False) or key == "store"}
    sent = {key: value for key, value in sent.items() if value is not False or key == "store"}
    # Tools that an item brings along are there from the start.
    later = [item for item in expected["input"] if item.get("type") == "additional_tools"] if "input" in expected else []
    if later:
        expected["input"] = [item for item in expected["input"] if item not in later]
        expected["tools"] = [*expected.get("tools", []), *(tool for item in later for tool in item["tools"])]
    assert {**sent, "input": settled(sent["input"])} == {"input": [], **expected}
    assert losses == []


def test_the_other_coding_agents_request_comes_out_as_it_went_in() -> None:
    body = named("codex")
    sent, losses = again(body)
    expected = settled(body)
    for item in expected["input"]:
        item.pop("id", None)  # nothing is stored
    assert {**sent, "input": settled(sent["input"])} == {**expected, "model": "gpt"}
    assert losses == ["input[3].id info", "input[9].id info"]


@pytest.mark.parametrize("case", sorted(path.name for path in CORPUS.iterdir() if path.name != "future-fields"))
def test_the_same_request_is_the_same_bytes(case: str) -> None:
    body = (CORPUS / case / "request.json").read_bytes()
    first, second = (
        RESPONSES.encode_request(RESPONSES.decode_request(body), Target("gpt", "me", Profile()), Ledger()) for _ in range(2)
    )
    assert first == second
