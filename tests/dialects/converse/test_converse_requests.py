"""Requests: to Converse, judged by AWS's own service model, and from it."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import botocore.session
import msgspec
import pytest
from botocore.validate import ParamValidator

from dragoman.dialects import DIALECTS
from dragoman.dialects.base import Target
from dragoman.dialects.converse import CONVERSE
from dragoman.dialects.converse.formats import document_format, image_format
from dragoman.dialects.converse.sealed import SEALING
from dragoman.errors import MalformedBody
from dragoman.ir.losses import Ledger
from dragoman.ir.names import fit
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
)

CORPUS = Path(__file__).parent.parent.parent / "corpus"
PROFILES = {
    "plain": Profile(),
    "adaptive": Profile(thinking="adaptive", inline_system=True, temperature_or_top_p=True),
    "nova": Profile(model_fields="nova", structured=False),
    "effort": Profile(model_fields="effort", forced_tools=False),
    "poor": Profile(model_fields="none", cache_points=False, sampling=False, forced_tools=False, structured=False, max_stop=1),
}


@cache
def model() -> Any:
    session: Any = botocore.session.get_session()
    return session.get_service_model("bedrock-runtime").operation_model("Converse").input_shape


def encoded(request: Request, profile: Profile | None = None, ledger: Ledger | None = None) -> dict[str, Any]:
    fitting, _ = fit(request, CONVERSE.tool_names)
    said = Ledger() if ledger is None else ledger
    return json.loads(CONVERSE.encode_request(fitting, Target("m", "bedrock", profile or Profile()), said))


def asking(*messages: Message, **more: Any) -> Request:
    return Request(model="m", dialect="chat", messages=list(messages), **more)


def user(*parts: Part) -> Message:
    return Message(role="user", parts=list(parts))


def assistant(*parts: Part) -> Message:
    return Message(role="assistant", parts=list(parts))


HI = user(Text(text="Hi"))


# ---------------------------------------------------------------- what AWS's model says


def wrong(shape: Any, value: Any, path: str = "$") -> Iterator[str]:
    """What botocore leaves to the service: enumerations, patterns, longest lengths, unions of one."""
    kind = shape.type_name
    limits = shape.metadata
    if kind == "structure" and not getattr(shape, "is_document_type", False):
        if getattr(shape, "is_tagged_union", False) and len(value) != 1:
            yield f"{path}: a union of {sorted(value)}"
        for key, inner in value.items():
            yield from wrong(shape.members[key], inner, f"{path}.{key}")
    elif kind == "list":
        if len(value) > limits.get("max", len(value)):
            yield f"{path}: {len(value)} elements"
        for index, inner in enumerate(value):
            yield from wrong(shape.member, inner, f"{path}[{index}]")
    elif kind == "map":
        for key, inner in value.items():
            yield from wrong(shape.key, key, f"{path}.{key}")
            yield from wrong(shape.value, inner, f"{path}.{key}")
    elif kind == "string":
        if shape.enum and value not in shape.enum:
            yield f"{path}: {value!r} is none of {shape.enum}"
        if len(value) > limits.get("max", len(value)) or len(value) < limits.get("min", 0):
            yield f"{path}: {len(value)} characters"
        if "pattern" in limits and not re.fullmatch(limits["pattern"], value):
            yield f"{path}: {value!r} does not match {limits['pattern']}"
    elif kind in {"float", "integer"} and not limits.get("min", value) <= value <= limits.get("max", value):
        yield f"{path}: {value}"


def check(body: dict[str, Any]) -> None:
    """What the API insists on, in its model and beyond."""
    report: Any = ParamValidator().validate({"modelId": "m", **body}, model())  # pyright: ignore[reportUnknownMemberType]
    assert not report.has_errors(), report.generate_report()
    assert not list(wrong(model(), body))
    turns = [turn for turn in body["messages"] if turn["role"] != "system"]
    assert [turn["role"] for turn in turns] == ["user", "assistant"] * (len(turns) // 2) + ["user"] * (len(turns) % 2)
    names: list[str] = []
    calls: set[str] = set()
    for turn in turns:
        blocks = turn["content"]
        assert blocks
        results = {block["toolResult"]["toolUseId"] for block in blocks if "toolResult" in block}
        if turn["role"] == "user":
            assert results == calls
        calls = {block["toolUse"]["toolUseId"] for block in blocks if "toolUse" in block}
        documents = [block["document"]["name"] for block in blocks if "document" in block]
        assert not documents or any("text" in block for block in blocks)
        names += documents
        assert all(block["text"].strip() for block in blocks if "text" in block)
    assert not calls
    assert len(names) == len(set(names))
    assert all(re.fullmatch(r"[A-Za-z0-9()\[\]-]+(\s[A-Za-z0-9()\[\]-]+)*", name) for name in names)
    assert json.dumps(body).count('"cachePoint"') <= 4
    if any("toolUse" in block or "toolResult" in block for turn in turns for block in turn["content"]):
        assert body["toolConfig"]["tools"]


CASES = [
    (source, path.parent.name)
    for source in DIALECTS
    for path in sorted((CORPUS / source).glob("*/request.json"))
    if source != "converse" and path.parent.name != "future-fields"
]


@pytest.mark.parametrize(("source", "case"), CASES)
def test_whatever_a_client_asks_is_what_aws_takes(source: str, case: str) -> None:
    body = (CORPUS / source / case / "request.json").read_bytes()
    for profile in PROFILES.values():
        request = DIALECTS[source].decode_request(body)
        check(encoded(request, profile))


@pytest.mark.parametrize("path", sorted((CORPUS / "converse").glob("*/request.json")), ids=lambda path: path.parent.name)
def test_a_request_in_its_own_dialect_keeps_all_it_says(path: Path) -> None:
    if path.parent.name in {"future-fields", "reasoning", "documents"}:
        return  # one is refused; the others say the same in other words
    # That a call went well is what a result says that does not say otherwise.
    body = json.loads(path.read_bytes().replace(b', "status": "success"', b""))
    profile = Profile(structured=True, inline_system=True)
    ledger = Ledger()
    request = CONVERSE.decode_request(path.read_bytes())
    again = json.loads(CONVERSE.encode_request(request, Target("m", "bedrock", profile), ledger))
    more = body.get("additionalModelRequestFields", {})
    if "reasoning_effort" in more:
        more.clear()
        body = {key: value for key, value in body.items() if value} | {"outputConfig": {"effort": "low"}}
    assert {key: again.get(key) for key in body} == body


# ---------------------------------------------------------------- rules


def test_turns_of_one_speaker_become_one_and_the_first_is_the_users() -> None:
    ledger = Ledger()
    body = encoded(
        asking(assistant(Text(text="Yes?")), HI, user(Text(text="And?")), Message(role="assistant", parts=[])), None, ledger
    )
    check(body)
    assert body["messages"][2]["content"] == [{"text": "Hi"}, {"text": "And?"}]
    assert {loss.what for loss in ledger.losses} == {
        "a user turn was put before the first assistant turn",
        "an empty assistant turn is left out",
    }


def test_each_call_gets_a_result_and_each_result_has_a_call() -> None:
    ledger = Ledger()
    calls = [ToolCall(id=one, name="f", arguments="{}") for one in ("a", "b c/" * 30)]
    results: list[Part] = [ToolResult(call_id="b c/" * 30, parts=[]), ToolResult(call_id="z", parts=[Text(text="orphan")])]
    tools = [Tool(name="f")]
    body = encoded(
        asking(HI, assistant(*calls), user(Text(text="so"), *results), assistant(calls[0]), tools=tools), None, ledger
    )
    check(body)
    first, second, *others = body["messages"][2]["content"]
    assert first["toolResult"]["content"] == [{"text": "(no result)"}]
    assert re.fullmatch(r"call_[0-9a-f]{40}", first["toolResult"]["toolUseId"])
    assert second["toolResult"] == {"toolUseId": "a", "content": [{"text": "(no result)"}], "status": "error"}
    assert others == [{"text": "orphan"}, {"text": "so"}]
    assert body["messages"][4]["content"][0]["toolResult"]["status"] == "error"
    assert sum("a call without a result" in loss.what for loss in ledger.losses) == 2
    assert sum("a result without its call" in loss.what for loss in ledger.losses) == 1


def test_tools_are_declared_where_the_conversation_has_calls() -> None:
    called = [HI, assistant(ToolCall(id="a", name="f", arguments="{}")), user(ToolResult(call_id="a", parts=[]))]
    assert encoded(asking(*called))["toolConfig"]["tools"] == [
        {"toolSpec": {"name": "f", "inputSchema": {"json": {"type": "object"}}}}
    ]
    ledger = Ledger()
    choice = ToolChoice(mode="none")
    body = encoded(asking(*called, tools=[Tool(name="f")], tool_choice=choice), None, ledger)
    assert "toolChoice" not in body["toolConfig"]
    assert "cannot forbid calls" in ledger.losses[0].what
    assert "toolConfig" not in encoded(asking(HI, tools=[Tool(name="f")], tool_choice=choice))


def test_long_names_of_tools_fit() -> None:
    name = "mcp__github__" + "x" * 70
    body = encoded(asking(HI, tools=[Tool(name=name)], tool_choice=ToolChoice(mode="tool", names=[name])))
    check(body)
    assert body["toolConfig"]["toolChoice"]["tool"]["name"] == body["toolConfig"]["tools"][0]["toolSpec"]["name"]


def test_cache_marks_are_points_behind_what_they_mark_and_the_latest_four_count() -> None:
    mark, hour = CacheMark(), CacheMark("1h")
    ledger = Ledger()
    body = encoded(
        asking(
            user(Text(text="a", cache=mark), Text(text="b")),
            assistant(Text(text="c", cache=mark)),
            user(Text(text="d", cache=hour)),
            system=[Text(text="s", cache=mark)],
            tools=[Tool(name="f", cache=mark), Tool(name="g", cache=mark)],
        ),
        None,
        ledger,
    )
    check(body)
    assert body["system"] == [{"text": "s"}, {"cachePoint": {"type": "default"}}]
    assert body["messages"][0]["content"] == [{"text": "a"}, {"cachePoint": {"type": "default"}}, {"text": "b"}]
    assert body["messages"][2]["content"][-1] == {"cachePoint": {"type": "default", "ttl": "1h"}}
    assert ["cachePoint" in tool for tool in body["toolConfig"]["tools"]] == [False, False]
    assert len(ledger.losses) == 2
    assert "cachePoint" not in json.dumps(encoded(asking(user(Text(text="a", cache=mark))), PROFILES["poor"]))


def test_media_are_bytes_and_documents_have_legal_names() -> None:
    data = b64encode(b"%PDF").decode()
    ledger = Ledger()
    body = encoded(
        asking(
            user(
                Image(media_type="image/jpg", data="AAAA"),
                Image(url="https://example.org/a.png"),
                Image(media_type="image/tiff", data="AAAA"),
                Document(media_type="application/pdf", data=data, title="Q3/2026: report_final.pdf"),
                Document(media_type="application/pdf", data=data, title="Q3/2026: report_final.pdf"),
                Document(text="plain"),
                Document(media_type="application/zip", data=data),
                Document(media_type="application/json", text='{"a":1}', title="  "),
                Audio(data="AAAA", format="wav"),
                Audio(data="AAAA", format="midi"),
            )
        ),
        None,
        ledger,
    )
    check(body)
    content = body["messages"][0]["content"]
    assert content[0] == {"image": {"format": "jpeg", "source": {"bytes": "AAAA"}}}
    assert [block["document"]["name"] for block in content if "document" in block] == [
        "Q3 2026 report final pdf",
        "Q3 2026 report final pdf 2",
        "document",
        "document 2",
    ]
    assert [block["document"]["format"] for block in content if "document" in block] == ["pdf", "pdf", "txt", "txt"]
    assert [block["text"] for block in content if "text" in block] == [
        "[image omitted]",
        "[image omitted]",
        "[document omitted]",
        "[audio omitted]",
    ]
    assert len([loss for loss in ledger.losses if loss.severity == "lost"]) == 4


def test_what_a_result_or_an_instruction_cannot_hold_is_in_the_ledger() -> None:
    ledger = Ledger()
    wav = Audio(data="UklGRg==", format="wav", at=((None, "messages"), 7))
    call = assistant(ToolCall(id="c", name="f", arguments="{}"))
    told = encoded(asking(user(Text(text="x")), call, user(ToolResult(call_id="c", parts=[wav]))), ledger=ledger)
    assert {"text": "[audio omitted]"} in told["messages"][2]["content"][0]["toolResult"]["content"]
    picture = Image(data="iVBORw0KGgo=", media_type="image/png", at=((None, "messages"), 8))
    encoded(asking(user(Text(text="x")), Message(role="system", parts=[Text(text="y"), picture])), ledger=ledger)
    lost = [loss.path for loss in ledger.losses if loss.severity == "lost"]
    assert lost == ["messages[7]", "messages[8]"]


def test_a_turn_of_another_providers_reasoning_alone_stays_a_turn() -> None:
    sealed = {"reasoningContent": {"reasoningText": {"text": "t", "signature": "c2ln"}}}
    turns = [("user", [{"text": "a"}]), ("assistant", [sealed]), ("user", [{"text": "b"}])]
    body = json.dumps({"messages": [{"role": role, "content": content} for role, content in turns]}).encode()
    without, taken = SEALING.without(body, lambda _: True)
    assert taken == 1
    assert [turn["role"] for turn in json.loads(without)["messages"]] == ["user", "assistant", "user"]


def test_only_its_issuer_gets_sealed_reasoning_back() -> None:
    def kept(seal: Seal | None, *, redacted: bool = False) -> list[Any]:
        thought = Reasoning(text="" if redacted else "Hm.", seal=seal, redacted=redacted)
        body = encoded(asking(HI, assistant(thought, Text(text="Yes.")), user(Text(text="Why?"))))
        return [block for block in body["messages"][1]["content"] if "reasoningContent" in block]

    assert kept(Seal("sig", "bedrock", "converse")) == [
        {"reasoningContent": {"reasoningText": {"text": "Hm.", "signature": "sig"}}}
    ]
    assert kept(Seal("c2VhbA==", "bedrock", "converse"), redacted=True) == [
        {"reasoningContent": {"redactedContent": "c2VhbA=="}}
    ]
    assert kept(Seal("sig", "other", "converse")) == []
    assert kept(Seal("sig", "bedrock", "messages")) == []
    assert kept(None) == []


@pytest.mark.parametrize(
    ("profile", "ask", "fields", "output"),
    [
        ("plain", ReasoningAsk(mode="on", budget=2000), {"thinking": {"type": "enabled", "budget_tokens": 2000}}, None),
        ("plain", ReasoningAsk(effort="high"), {"thinking": {"type": "enabled", "budget_tokens": 16384}}, None),
        ("plain", ReasoningAsk(mode="off"), {"thinking": {"type": "disabled"}}, None),
        ("adaptive", ReasoningAsk(effort="xhigh"), {"thinking": {"type": "adaptive"}}, {"effort": "xhigh"}),
        ("adaptive", ReasoningAsk(budget=3000), {"thinking": {"type": "adaptive"}}, {"effort": "medium"}),
        ("nova", ReasoningAsk(effort="max"), {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "high"}}, None),
        ("nova", ReasoningAsk(effort="none"), {"reasoningConfig": {"type": "disabled"}}, None),
        ("effort", ReasoningAsk(effort="low"), {"reasoning_effort": "low"}, None),
        ("poor", ReasoningAsk(effort="low"), None, None),
    ],
)
def test_thinking_is_asked_for_in_the_models_own_words(profile: str, ask: ReasoningAsk, fields: Any, output: Any) -> None:
    body = encoded(asking(HI, reasoning=ask), PROFILES[profile])
    check(body)
    assert body.get("additionalModelRequestFields") == fields
    assert body.get("outputConfig") == output


@pytest.mark.parametrize(
    ("fields", "lost"),
    [
        ({"reasoning_effort": "high"}, ["additionalModelRequestFields.reasoning_effort"]),
        (
            {"reasoning_config": {"type": "enabled", "budget_tokens": 3000}},
            ["additionalModelRequestFields.reasoning_config.budget_tokens"],
        ),
        ({"thinking": {"type": "enabled", "budget_tokens": 3000}}, ["additionalModelRequestFields.thinking.budget_tokens"]),
    ],
)
def test_what_is_said_of_thinking_stands_where_the_caller_said_it(fields: Any, lost: list[str]) -> None:
    body: dict[str, Any] = {"messages": [{"role": "user", "content": [{"text": "a"}]}], "additionalModelRequestFields": fields}
    ledger = Ledger()
    profile = Profile(thinking="budget") if "reasoning_effort" in fields else Profile(thinking="adaptive")
    if "reasoning_effort" in fields:
        body["inferenceConfig"] = {"maxTokens": 500}  # too little to think
    DIALECTS["messages"].encode_request(CONVERSE.decode_request(json.dumps(body).encode()), Target("m", "i", profile), ledger)
    assert [loss.path for loss in ledger.losses] == lost


@pytest.mark.parametrize(
    ("media_type", "image", "document"),
    [
        ("image/PJPEG", "jpeg", None),
        ("image/tiff", None, None),
        ("application/x-pdf", None, "pdf"),
        ("text/csv; header=present", None, "csv"),
        ("application/toml", None, "txt"),
        ("application/ld+json", None, "txt"),
        ("application/zip", None, None),
        ("", None, "pdf"),
    ],
)
def test_a_media_type_has_the_name_that_the_api_gives_it(media_type: str, image: str | None, document: str | None) -> None:
    assert (image_format(media_type), document_format(media_type)) == (image, document)


def test_parameters_find_their_places() -> None:
    ledger = Ledger()
    schema = b'{"type":"object","properties":{"a":{"type":"string"}},"additionalProperties":false}'
    body = encoded(
        asking(
            HI,
            max_tokens=50,
            stop=["END", " "],
            sampling=Sampling(temperature=1.5, top_p=0.9, top_k=5, seed=7),
            format=Format(kind="schema", schema=msgspec.Raw(schema), name="n", strict=True),
            service_tier="flex",
            metadata={"team": "red"},
            parallel=False,
            tools=[Tool(name="f", strict=True, schema=msgspec.Raw(schema))],
        ),
        None,
        ledger,
    )
    check(body)
    assert body["inferenceConfig"] == {"maxTokens": 50, "temperature": 1, "topP": 0.9, "stopSequences": ["END"]}
    assert body["additionalModelRequestFields"] == {"top_k": 5}
    assert body["additionalModelResponseFieldPaths"] == ["/stop_sequence"]
    assert body["outputConfig"]["textFormat"]["structure"]["jsonSchema"] == {"schema": schema.decode(), "name": "n"}
    assert body["serviceTier"] == {"type": "flex"}
    assert body["requestMetadata"] == {"team": "red"}
    assert {loss.path for loss in ledger.losses} == {"temperature", "stop", "seed", "parallel"}


def test_a_forced_call_leaves_thinking_out() -> None:
    choice, ledger = ToolChoice(mode="required", at=(None, "tool_choice")), Ledger()
    ask = ReasoningAsk(mode="on", budget=2000, at=(None, "thinking"))
    body = encoded(asking(HI, tools=[Tool(name="f")], tool_choice=choice, reasoning=ask), None, ledger)
    assert body["toolConfig"]["toolChoice"] == {"any": {}}
    assert "additionalModelRequestFields" not in body
    assert [loss.path for loss in ledger.losses] == ["thinking"]


# ---------------------------------------------------------------- from Converse


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (b"{", "not a valid JSON object"),
        (b'{"messages":[]}', "messages: at least one"),
        (b'{"messages":[{"role":"user","content":"hi"}]}', r"messages\[0\]\.content: expected an array of content blocks"),
        (b'{"messages":[{"role":"user","content":[{"text":7}]}]}', r"content\[0\]\.text: expected a string, got an integer"),
        (
            b'{"messages":[{"role":"user","content":[{"image":{"source":{"bytes":"AA"}}}]}]}',
            r"image\.format: a string is required",
        ),
        (b'{"messages":[{"role":"user","content":[{"toolUse":{"name":"f"}}]}]}', "toolUse.toolUseId: a string is required"),
        (
            b'{"messages":[{"role":"user","content":[]}],"toolConfig":{"tools":[{"toolSpec":7}]}}',
            r"tools\[0\]\.toolSpec: expected an object",
        ),
        (b'{"messages":[{"role":"user","content":[]}],"toolConfig":{"toolChoice":{"one":{}}}}', "expected auto, any or tool"),
        (
            b'{"messages":[{"role":"user","content":[]}],"outputConfig":{"textFormat":{"structure":{"jsonSchema":{"schema":"["}}}}}',
            "expected a JSON Schema, an object, as text",
        ),
    ],
)
def test_a_body_that_is_none_is_refused_with_its_place(body: bytes, complaint: str) -> None:
    with pytest.raises(MalformedBody, match=complaint):
        CONVERSE.decode_request(body)


def test_a_cache_point_marks_what_stands_before_it() -> None:
    request = CONVERSE.decode_request((CORPUS / "converse" / "cache-points" / "request.json").read_bytes())
    assert [part.cache and part.cache.ttl for part in request.system] == ["1h", None]
    assert request.tools[0].cache is not None
    first = request.messages[0].parts[0]
    assert isinstance(first, Text)
    assert first.cache is not None
    ledger = Ledger()
    DIALECTS["gemini"].encode_request(request, Target("m", "i", Profile()), ledger)
    assert {"messages[0].content[1].cachePoint", "system[1].cachePoint", "toolConfig.tools[1].cachePoint"} <= {
        loss.path for loss in ledger.losses
    }
