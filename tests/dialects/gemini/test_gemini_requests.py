"""Requests: what is read in a caller's body, and what a Gemini upstream is sent."""

from __future__ import annotations

import base64
import json
from typing import Any

import msgspec
import pytest

from dragoman.dialects.base import Reply, Target
from dragoman.dialects.gemini import GEMINI, seals
from dragoman.dialects.messages import MESSAGES
from dragoman.errors import MalformedBody
from dragoman.ir.events import fold
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
    path_text,
)
from dragoman.testing import SCENARIOS, VOICES, Ask
from dragoman.wire.sse import SseParser

SIGNATURE = base64.b64encode(b"\x0a\x24\x01a thought signature\xff\xfe").decode()
OLD = Profile(
    thinking_config="budget", json_schema=False, signed_calls=False, media_results=False, media_resolution=False,
    format_with_tools=False,
)  # fmt: skip


def decoded(**body: Any) -> Request:
    body.setdefault("contents", [{"role": "user", "parts": [{"text": "hi"}]}])
    return GEMINI.decode_request(json.dumps(body).encode())


def parts_of(*parts: Any, role: str = "user") -> list[Part]:
    return decoded(contents=[{"role": role, "parts": list(parts)}]).messages[0].parts


def sent(request: Request, profile: Profile | None = None, issuer: str = "gemini") -> tuple[Any, list[tuple[str, str]]]:
    """The body, and the ledger as (path, severity)."""
    ledger = Ledger()
    body = GEMINI.encode_request(request, Target("m", issuer, profile or Profile()), ledger)
    return json.loads(body), [(loss.path, loss.severity) for loss in ledger.losses]


def foreign(*messages: Message, **fields: Any) -> Request:
    return Request(model="m", dialect="chat", messages=list(messages) or [user(Text(text="hi"))], **fields)


def user(*parts: Part) -> Message:
    return Message(role="user", parts=list(parts), at=(None, "messages"))


def assistant(*parts: Part) -> Message:
    return Message(role="assistant", parts=list(parts), at=(None, "messages"))


def contents(*messages: Message, profile: Profile | None = None) -> Any:
    return sent(foreign(*messages), profile)[0]["contents"]


# ---------------------------------------------------------------- decode


@pytest.mark.parametrize(
    ("body", "path"),
    [
        (b"", None),
        (b"[]", None),
        (b"{}", "contents"),
        (b'{"contents":[]}', "contents"),
        (b'{"contents":"hi"}', "contents"),
        (b'{"contents":[1]}', "contents[0]"),
        (b'{"contents":[{"role":"wizard","parts":[]}]}', "contents[0].role"),
        (b'{"contents":[{"parts":"x"}]}', "contents[0].parts"),
        (b'{"contents":[{"parts":[{"text":7}]}]}', "contents[0].parts[0].text"),
        (b'{"contents":[{"parts":[{"functionCall":{"args":{}}}]}]}', "contents[0].parts[0].functionCall.name"),
        (b'{"contents":[{"parts":[{"inlineData":{"data":"***"}}]}]}', "contents[0].parts[0].inlineData.data"),
        (b'{"contents":[{"parts":[{"inline_data":{"mime_type":"image/png"}}]}]}', "contents[0].parts[0].inline_data.data"),
        (b'{"contents":[{"parts":[{"functionResponse":{"response":[]}}]}]}', "contents[0].parts[0].functionResponse.response"),
        (b'{"contents":[{"parts":[]}],"generationConfig":{"temperature":"hot"}}', "generationConfig.temperature"),
        (b'{"contents":[{"parts":[]}],"generation_config":{"max_output_tokens":1.5}}', "generation_config.max_output_tokens"),
        (b'{"contents":[{"parts":[]}],"generationConfig":[]}', "generationConfig"),
        (b'{"contents":[{"parts":[]}],"tools":[1]}', "tools[0]"),
        (b'{"contents":[{"parts":[]}],"tools":[{"functionDeclarations":[{}]}]}', "tools[0].functionDeclarations[0].name"),
        (b'{"contents":[{"parts":[]}],"systemInstruction":7}', "systemInstruction"),
        (b'{"contents":[{"parts":[]}],"labels":[]}', "labels"),
    ],
)  # fmt: skip
def test_a_wrong_body_is_refused_by_the_path_of_what_is_wrong(body: bytes, path: str | None) -> None:
    with pytest.raises(MalformedBody) as raised:
        GEMINI.decode_request(body)
    assert raised.value.param == path


def test_bytes_come_in_either_alphabet_padded_or_not() -> None:
    raw = bytes(range(248, 256))
    standard = base64.b64encode(raw).decode()
    for given in (standard, standard.rstrip("="), base64.urlsafe_b64encode(raw).decode(), standard[:4] + "\n" + standard[4:]):
        (image,) = parts_of({"inlineData": {"mimeType": "image/png", "data": given}})
        assert isinstance(image, Image)
        assert image.data == standard


def test_media_become_what_they_are_by_their_type() -> None:
    found = parts_of(
        {"inlineData": {"mimeType": "image/png", "data": "AAAA"}},
        {"inlineData": {"mimeType": "audio/mpeg", "data": "AAAA"}},
        {"inlineData": {"mimeType": "application/pdf", "data": "AAAA", "displayName": "a.pdf"}},
        {"inlineData": {"mimeType": "video/mp4", "data": "AAAA"}},
        {"fileData": {"mimeType": "image/png", "fileUri": "https://x.org/a.png"}},
        {"fileData": {"mimeType": "image/png", "fileUri": "gs://bucket/a.png"}},
        {"fileData": {"mimeType": "application/pdf", "fileUri": "https://x.org/a.pdf"}},
        {"fileData": {"fileUri": "https://youtu.be/abc"}},
        {"fileData": {"mimeType": "video/mp4", "fileUri": "https://x.org/a.mp4"}},
    )
    kinds = [type(part).__name__ for part in found]
    assert kinds == ["Image", "Audio", "Document", "Unknown", "Image", "Image", "Document", "Unknown", "Unknown"]
    assert isinstance(found[1], Audio)
    assert found[1].format == "mp3"
    assert isinstance(found[2], Document)
    assert found[2].title == "a.pdf"
    assert [getattr(found[i], "url", None) for i in (4, 5, 6)] == ["https://x.org/a.png", None, "https://x.org/a.pdf"]
    assert isinstance(found[5], Image)
    assert found[5].file == "gs://bucket/a.png"


def test_calls_without_ids_get_the_same_ids_on_every_turn_and_results_find_them() -> None:
    calls = [{"functionCall": {"name": name, "args": {"n": n}}} for n, name in enumerate(("f", "f", "g"))]
    turns = [
        {"role": "user", "parts": [{"text": "go"}]},
        {"role": "model", "parts": calls},
        {
            "role": "user",
            "parts": [{"functionResponse": {"name": name, "response": {"output": name}}} for name in ("g", "f", "f")],
        },
    ]
    first = decoded(contents=turns)
    ids = [part.id for part in first.messages[1].parts if isinstance(part, ToolCall)]
    assert len(set(ids)) == 3
    results = [part.call_id for part in first.messages[2].parts if isinstance(part, ToolResult)]
    assert results == [ids[2], ids[0], ids[1]]
    again = decoded(contents=[*turns, {"role": "model", "parts": calls}])
    assert [part.id for part in again.messages[1].parts if isinstance(part, ToolCall)] == ids
    later = [part.id for part in again.messages[3].parts if isinstance(part, ToolCall)]
    assert not set(later) & set(ids)
    body, _ = sent(first)
    assert all("id" not in part["functionCall"] for part in body["contents"][1]["parts"])
    assert all("id" not in part["functionResponse"] for part in body["contents"][2]["parts"])


@pytest.mark.parametrize(
    ("response", "text", "error"),
    [
        ({"output": "x"}, "x", False),
        ({"output": {"a": [1]}}, '{"a":[1]}', False),
        ({"error": "no"}, "no", True),
        ({"result": "x"}, "x", False),
        ({"return_value": 5}, "5", False),
        ({"name": "f", "content": "x"}, "x", False),
        ({"name": "other", "content": "x"}, '{"name":"other","content":"x"}', False),
        ({"temperature": 20}, '{"temperature":20}', False),
        ({"output": "x", "error": "y"}, '{"output":"x","error":"y"}', False),
    ],
)
def test_a_result_is_read_under_whatever_key_it_comes(response: Any, text: str, error: bool) -> None:
    (result,) = parts_of({"functionResponse": {"name": "f", "response": response}})
    assert isinstance(result, ToolResult)
    (part,) = result.parts
    assert isinstance(part, Text)
    assert (part.text, result.is_error) == (text, error)


def test_media_of_a_result_stand_in_it() -> None:
    image = {"inlineData": {"mimeType": "image/png", "data": "AAAA"}}
    (result,) = parts_of({"functionResponse": {"name": "f", "response": {}, "parts": [image]}})
    assert isinstance(result, ToolResult)
    assert [type(part) for part in result.parts] == [Image]


def test_chunks_of_one_answer_are_one_turn() -> None:
    model = [{"role": "model", "parts": [part]} for part in ({"text": "Hel"}, {"text": "lo"}, {"functionCall": {"name": "f"}})]
    request = decoded(contents=[{"role": "user", "parts": [{"text": "x"}]}, *model, {"role": "model", "parts": []}])
    (_, turn) = request.messages
    assert [part.text for part in turn.parts if isinstance(part, Text)] == ["Hello"]
    assert isinstance(turn.parts[-1], ToolCall)
    assert path_text(turn.parts[-1].at) == "contents[3].parts[0]"


def test_texts_of_one_content_stay_apart() -> None:
    assert len(parts_of({"text": "a"}, {"text": "b"}, role="model")) == 2


def test_a_signature_becomes_a_part_that_knows_where_it_stood() -> None:
    found = parts_of(
        {"text": "I think.", "thought": True, "thoughtSignature": SIGNATURE},
        {"text": "Hello.", "thoughtSignature": SIGNATURE},
        {
            "functionCall": {"id": "c1", "name": "f"},
            "thought_signature": SIGNATURE.replace("+", "-").replace("/", "_").rstrip("="),
        },
        {"text": "", "thoughtSignature": SIGNATURE},
        role="model",
    )
    kinds = [type(part).__name__ for part in found]
    assert kinds == ["Reasoning", "Text", "Reasoning", "Reasoning", "ToolCall", "Reasoning"]
    values = [part.seal.value for part in found if isinstance(part, Reasoning) and part.seal]
    assert values == [SIGNATURE, f"part {SIGNATURE}", f"call c1 {SIGNATURE}", SIGNATURE]


def test_tools_and_their_choice() -> None:
    raw = '{"type":"object",  "properties":{"a":{"type":"string"}}}'
    body = (
        '{"contents":[{"parts":[{"text":"x"}]}],"tools":[{"functionDeclarations":[{"name":"f","description":"d",'
        f'"parametersJsonSchema":{raw}}},{{"name":"g","parameters":{{"type":"OBJECT","properties":{{"b":{{"type":"STRING"}}}}}}}}]}},'
        '{"googleSearch":{},"codeExecution":{}}],"toolConfig":{"functionCallingConfig":{"mode":"ANY","allowedFunctionNames":["f"]},'
        '"retrievalConfig":{"languageCode":"de"}}}'
    )
    request = GEMINI.decode_request(body.encode())
    assert [(tool.name, tool.kind) for tool in request.tools] == [
        ("f", "function"),
        ("g", "function"),
        ("googleSearch", "hosted"),
        ("codeExecution", "hosted"),
    ]
    assert bytes(request.tools[0].schema).decode() == raw
    assert json.loads(bytes(request.tools[1].schema)) == {"type": "object", "properties": {"b": {"type": "string"}}}
    assert path_text(request.tools[1].at) == "tools[0].functionDeclarations[1]"
    assert request.tool_choice is not None
    assert (request.tool_choice.mode, request.tool_choice.names) == ("tool", ["f"])
    assert request.extras == {"toolConfig": {"retrievalConfig": {"languageCode": "de"}}}


@pytest.mark.parametrize(
    ("config", "mode", "required"),
    [
        ({"mode": "AUTO"}, "auto", False),
        ({"mode": "any"}, "required", False),
        ({"mode": "ANY", "allowedFunctionNames": ["f", "g"]}, "allowed", True),
        ({"mode": "VALIDATED", "allowedFunctionNames": ["f"]}, "allowed", False),
        ({"mode": "VALIDATED"}, "auto", False),
        ({"mode": "NONE"}, "none", False),
        ({"mode": "MODE_UNSPECIFIED"}, "auto", False),
    ],
)
def test_modes_of_calling(config: Any, mode: str, required: bool) -> None:
    choice = decoded(toolConfig={"functionCallingConfig": config}).tool_choice
    assert choice is not None
    assert (choice.mode, choice.required) == (mode, required)


@pytest.mark.parametrize(
    ("config", "ask"),
    [
        ({"includeThoughts": True}, (None, None, None, "summarized")),
        ({"thinkingBudget": 0, "includeThoughts": False}, ("off", None, None, "omitted")),
        ({"thinkingBudget": -1}, ("adaptive", None, None, None)),
        ({"thinkingBudget": 512}, ("on", None, 512, None)),
        ({"thinkingLevel": "HIGH"}, (None, "high", None, None)),
        ({"thinking_level": "low"}, (None, "low", None, None)),
    ],
)
def test_thinking_is_read(config: Any, ask: Any) -> None:
    found = decoded(generationConfig={"thinkingConfig": config}).reasoning
    assert found is not None
    assert (found.mode, found.effort, found.budget, found.display) == ask


@pytest.mark.parametrize(
    ("config", "kind", "path"),
    [
        ({"responseMimeType": "application/json"}, "json", "generationConfig.responseMimeType"),
        ({"responseMimeType": "text/plain"}, "text", "generationConfig.responseMimeType"),
        ({"responseSchema": {"type": "OBJECT"}}, "schema", "generationConfig.responseSchema"),
        ({"responseJsonSchema": {"type": "object"}}, "schema", "generationConfig.responseJsonSchema"),
        ({"_responseJsonSchema": {"type": "object"}}, "schema", "generationConfig._responseJsonSchema"),
        ({"responseFormat": {"text": {"schema": {}}}}, "schema", "generationConfig.responseFormat.text"),
    ],
)  # fmt: skip
def test_formats_are_read(config: Any, kind: str, path: str) -> None:
    found = decoded(generationConfig=config).format
    assert found is not None
    assert (found.kind, path_text(found.at)) == (kind, path)


def test_what_the_hub_has_no_word_for_stays_among_the_extras() -> None:
    request = decoded(
        safetySettings=[{"category": "X"}],
        cachedContent="cachedContents/a",
        generationConfig={
            "speechConfig": {"languageCode": "de"},
            "responseMimeType": "text/x.enum",
            "responseSchema": {"enum": ["A"]},
        },
        labels={"team": "a"},
    )
    assert request.metadata == {"team": "a"}
    assert request.extras == {
        "safetySettings": [{"category": "X"}],
        "cachedContent": "cachedContents/a",
        "generationConfig": {
            "speechConfig": {"languageCode": "de"},
            "responseMimeType": "text/x.enum",
            "responseSchema": {"enum": ["A"]},
        },
    }


# ---------------------------------------------------------------- encode: the conversation


def test_a_conversation_of_another_dialect_keeps_the_apis_rules() -> None:
    found = contents(
        user(Text(text="weather?")),
        assistant(Text(text="Let me look."), ToolCall(id="a", name="f", arguments='{"x":1}'), ToolCall(id="b", name="g")),
        user(ToolResult(call_id="b", parts=[Text(text="B")]), ToolResult(call_id="a", parts=[Text(text="A")], is_error=True)),
        user(Text(text="and?")),
        assistant(Text(text="One.")),
        assistant(Text(text="Two.")),
    )
    assert found == [
        {"role": "user", "parts": [{"text": "weather?"}]},
        {
            "role": "model",
            "parts": [
                {"text": "Let me look."},
                {
                    "functionCall": {"id": "a", "name": "f", "args": {"x": 1}},
                    "thoughtSignature": "skip_thought_signature_validator",
                },
                {"functionCall": {"id": "b", "name": "g", "args": {}}},
            ],
        },
        {
            "role": "user",
            "parts": [
                {"functionResponse": {"id": "b", "name": "g", "response": {"output": "B"}}},
                {"functionResponse": {"id": "a", "name": "f", "response": {"error": "A"}}},
                {"text": "and?"},
            ],
        },
        {"role": "model", "parts": [{"text": "One."}, {"text": "Two."}]},
    ]


def test_a_call_without_a_result_is_told_so_and_a_result_without_a_call_is_text() -> None:
    call = ToolCall(id="a", name="f", at=((None, "messages"), 1))
    orphan = ToolResult(call_id="zzz", parts=[Text(text="late")], at=((None, "messages"), 2))
    body, losses = sent(foreign(user(Text(text="x")), assistant(call), user(orphan, Text(text="never mind"))))
    response, heading, text, said = body["contents"][2]["parts"]
    assert response["functionResponse"]["response"] == {"error": "There is no result of this call."}
    assert (heading["text"], text["text"], said["text"]) == ("The result of an earlier call of function:", "late", "never mind")
    assert losses == [("messages[1]", "degraded"), ("messages[2]", "degraded")]


def test_no_content_is_empty_and_the_user_begins() -> None:
    assert contents(assistant(Text(text="Hello."))) == [
        {"role": "user", "parts": [{"text": "(no text)"}]},
        {"role": "model", "parts": [{"text": "Hello."}]},
    ]
    assert contents(user(Text(text="")), assistant(Text(text=""))) == [{"role": "user", "parts": [{"text": "(no text)"}]}]
    body, _ = sent(Request(model="m", dialect="chat", system=[Text(text="Say hi.")]))
    assert body == {"contents": [{"role": "user", "parts": [{"text": "Say hi."}]}]}


def test_instructions_between_turns_move_to_the_front() -> None:
    middle = Message(role="system", parts=[Text(text="Be brief.")], at=((None, "messages"), 1))
    body, losses = sent(foreign(user(Text(text="a")), middle, user(Text(text="b")), system=[Text(text="Be kind.")]))
    assert body["systemInstruction"] == {"parts": [{"text": "Be kind."}, {"text": "Be brief."}]}
    assert body["contents"] == [{"role": "user", "parts": [{"text": "a"}, {"text": "b"}]}]
    assert losses == [("messages[1]", "degraded")]


def test_media_go_as_bytes_or_by_address() -> None:
    found = contents(
        user(
            Image(media_type="image/jpeg", data="AAAA", detail="low"),
            Image(url="https://x.org/a.webp?x=1"),
            Image(url="https://x.org/picture"),
            Document(media_type="application/pdf", data="AAAA", title="a.pdf"),
            Document(text="words", title="notes"),
            Document(parts=[Text(text="one")], context="c"),
            Audio(data="AAAA", format="mp3"),
            Image(file="file-123"),
        )
    )[0]["parts"]
    assert found == [
        {"inlineData": {"mimeType": "image/jpeg", "data": "AAAA"}, "mediaResolution": {"level": "MEDIA_RESOLUTION_LOW"}},
        {"fileData": {"mimeType": "image/webp", "fileUri": "https://x.org/a.webp?x=1"}},
        {"fileData": {"mimeType": "image/png", "fileUri": "https://x.org/picture"}},
        {"text": "[document: a.pdf]"},
        {"inlineData": {"mimeType": "application/pdf", "data": "AAAA"}},
        {"text": "[document: notes]\n\nwords"},
        {"text": "c"},
        {"text": "one"},
        {"inlineData": {"mimeType": "audio/mp3", "data": "AAAA"}},
        {"text": "[image omitted]"},
    ]


def test_media_of_a_result_stand_in_the_response_or_beside_it() -> None:
    turns = (
        user(Text(text="x")),
        assistant(ToolCall(id="a", name="f")),
        user(ToolResult(call_id="a", parts=[Text(text="here"), Image(media_type="image/png", data="AAAA")])),
    )
    blob = {"inlineData": {"mimeType": "image/png", "data": "AAAA"}}
    (within,) = contents(*turns)[2]["parts"]
    assert within["functionResponse"] == {"id": "a", "name": "f", "response": {"output": "here"}, "parts": [blob]}
    assert contents(*turns, profile=OLD)[2]["parts"] == [
        {"functionResponse": {"id": "a", "name": "f", "response": {"output": "here"}}},
        {"text": "From the result of f:"},
        blob,
    ]


def test_what_has_no_form_leaves_a_word_and_an_entry() -> None:
    odd = Unknown(native={"type": "hologram"}, dialect="messages", at=(None, "x"))
    body, losses = sent(foreign(user(odd)))
    assert body["contents"][0]["parts"] == [{"text": "[hologram omitted]"}]
    assert losses == [("x", "lost")]


def test_arguments_that_broke_off_are_sent_as_far_as_they_are() -> None:
    call = ToolCall(id="a", name="f", arguments='{"x":1,"y":"hal', at=(None, "call"))
    body, losses = sent(foreign(user(Text(text="x")), assistant(call), user(ToolResult(call_id="a", parts=[]))))
    assert body["contents"][1]["parts"][0]["functionCall"]["args"] == {"x": 1}
    assert losses == [("call", "degraded")]


# ---------------------------------------------------------------- encode: signatures


def signed(call_id: str, issuer: str | None = "gemini") -> Reasoning:
    return seals.on_call(SIGNATURE, call_id, issuer)


def test_a_signature_comes_back_on_its_call_and_no_other() -> None:
    found = contents(
        user(Text(text="x")),
        assistant(signed("b"), ToolCall(id="a", name="f"), ToolCall(id="b", name="g")),
        user(ToolResult(call_id="a", parts=[]), ToolResult(call_id="b", parts=[])),
    )[1]["parts"]
    assert [part.get("thoughtSignature") for part in found] == ["skip_thought_signature_validator", SIGNATURE]


def test_a_signature_whose_call_goes_by_another_id_now_goes_to_the_first_that_has_none() -> None:
    found = contents(user(Text(text="x")), assistant(signed("gone"), ToolCall(id="a", name="f")))[1]["parts"]
    assert found[0]["thoughtSignature"] == SIGNATURE


def test_only_the_first_call_of_a_turn_gets_the_documented_stand_in_and_only_where_it_is_wanted() -> None:
    turn = assistant(ToolCall(id="a", name="f"), ToolCall(id="b", name="f"))
    results = user(ToolResult(call_id="a", parts=[]), ToolResult(call_id="b", parts=[]))
    assert [p.get("thoughtSignature") for p in contents(user(Text(text="x")), turn, results)[1]["parts"]] == [
        "skip_thought_signature_validator",
        None,
    ]
    assert all("thoughtSignature" not in p for p in contents(user(Text(text="x")), turn, results, profile=OLD)[1]["parts"])


@pytest.mark.parametrize(
    "seal",
    [
        Seal(SIGNATURE, "another-provider", "gemini"),
        Seal("EqQB", "gemini", "messages"),
        Seal("EqQB", None, "messages"),
        Seal('{"type":"x"}', "gemini", "chat"),
    ],
)
def test_no_foreign_seal_reaches_gemini(seal: Seal) -> None:
    for value in (
        seal,
        msgspec.structs.replace(seal, value=f"call a {seal.value}"),
        msgspec.structs.replace(seal, value=f"part {seal.value}"),
    ):
        turn = assistant(Reasoning(text="hm", seal=value, at=(None, "r")), Text(text="y"), ToolCall(id="a", name="f"))
        body, losses = sent(foreign(user(Text(text="x")), turn, user(ToolResult(call_id="a", parts=[]))))
        assert value.value not in json.dumps(body)
        assert SIGNATURE not in json.dumps(body)
        assert losses == [("r", "info")]


def test_signatures_on_thoughts_and_texts_come_back_where_they_stood() -> None:
    turn = [
        {"text": "I think.", "thought": True, "thoughtSignature": SIGNATURE},
        {"text": "Hello.", "thoughtSignature": "AAAA"},
        {"text": "", "thoughtSignature": "BBBB"},
        {"executableCode": {"code": "1", "language": "PYTHON"}, "thoughtSignature": "CCCC"},
    ]
    request = decoded(contents=[{"role": "user", "parts": [{"text": "x"}]}, {"role": "model", "parts": turn}])
    assert sent(request)[0]["contents"][1]["parts"] == turn


def through(client: Any, scenario: str) -> Any:
    """What a client of another dialect is told of a Gemini answer, and what it says on its next turn, in the hub."""
    rendered = VOICES["gemini"].render(SCENARIOS[scenario], Ask(stream=False))
    parser, decoder = SseParser(), GEMINI.stream_decoder("gemini")
    whole = VOICES["gemini"].render(SCENARIOS[scenario], Ask()).body
    events = [event for frame in parser.feed(whole) for event in decoder.feed(frame)] + decoder.end()
    assert rendered.status == 200
    request = Request(model="m", dialect=client.name, messages=[user(Text(text="x"))])
    return client.encode_response(fold(events), Reply(request, "m", 1, "id", 7, "gemini", Ledger()))


def test_a_signature_survives_a_messages_client_and_reaches_its_issuer_alone() -> None:
    answer = json.loads(through(MESSAGES, "gemini-signed-call"))
    assert [block["type"] for block in answer["content"]] == ["thinking", "redacted_thinking", "tool_use", "tool_use"]
    results = [
        {"type": "tool_result", "tool_use_id": block["id"], "content": "ok"}
        for block in answer["content"]
        if block["type"] == "tool_use"
    ]
    body = {
        "model": "m",
        "max_tokens": 10,
        "messages": [
            {"role": "user", "content": "x"},
            {"role": "assistant", "content": answer["content"]},
            {"role": "user", "content": results},
        ],
    }
    request = MESSAGES.decode_request(json.dumps(body).encode())
    found, _ = sent(request)
    signatures = [part.get("thoughtSignature") for part in found["contents"][1]["parts"]]
    expected = SCENARIOS["gemini-signed-call"].expected
    assert expected is not None
    assert signatures == [expected.calls[0].signature, None]
    elsewhere, _ = sent(request, issuer="another")
    assert [part.get("thoughtSignature") for part in elsewhere["contents"][1]["parts"]] == [
        "skip_thought_signature_validator",
        None,
    ]


# ---------------------------------------------------------------- encode: parameters


def test_numbers_go_into_the_generation_config() -> None:
    sampling = Sampling(temperature=0.5, top_p=0.9, top_k=5, presence_penalty=0.1, frequency_penalty=0.2, seed=3)
    request = foreign(sampling=sampling, max_tokens=9, n=2, stop=["a", "b"], logprobs=True, top_logprobs=4)
    body, losses = sent(request)
    assert body["generationConfig"] == {
        "temperature": 0.5,
        "topP": 0.9,
        "topK": 5,
        "candidateCount": 2,
        "maxOutputTokens": 9,
        "stopSequences": ["a", "b"],
        "presencePenalty": 0.1,
        "frequencyPenalty": 0.2,
        "seed": 3,
        "responseLogprobs": True,
        "logprobs": 4,
    }
    assert losses == []


def test_what_gemini_has_no_parameter_for_is_in_the_ledger() -> None:
    request = foreign(
        sampling=Sampling(min_p=0.1, repetition_penalty=1, logit_bias={"1": 2}),
        stop=list("abcdefg"), user="u", metadata={"a": "b"}, service_tier="scale", store=True, verbosity="low", cache_key="k",
        cache=CacheMark(), parallel=False, tools=[Tool(name="f", strict=True, at=(None, "tools"))], extras={"odd": 1},
    )  # fmt: skip
    body, losses = sent(request)
    assert body["generationConfig"] == {"stopSequences": list("abcde")}
    assert dict(losses) == {
        "min_p": "lost",
        "repetition_penalty": "info",
        "logit_bias": "lost",
        "stop": "degraded",
        "user": "info",
        "metadata": "info",
        "service_tier": "info",
        "store": "info",
        "verbosity": "degraded",
        "cache_key": "info",
        "cache_control": "info",
        "parallel": "degraded",
        "tools": "degraded",
        "odd": "lost",
    }


@pytest.mark.parametrize(
    ("choice", "config"),
    [
        (ToolChoice(mode="auto"), {"mode": "AUTO"}),
        (ToolChoice(mode="none"), {"mode": "NONE"}),
        (ToolChoice(mode="required"), {"mode": "ANY"}),
        (ToolChoice(mode="tool", names=["f"]), {"mode": "ANY", "allowedFunctionNames": ["f"]}),
        (ToolChoice(mode="allowed", names=["f"], required=True), {"mode": "ANY", "allowedFunctionNames": ["f"]}),
        (ToolChoice(mode="allowed", names=["f"]), {"mode": "VALIDATED", "allowedFunctionNames": ["f"]}),
    ],
)
def test_the_choice_of_tools(choice: ToolChoice, config: Any) -> None:
    body, losses = sent(foreign(tools=[Tool(name="f")], tool_choice=choice))
    assert (body["toolConfig"], losses) == ({"functionCallingConfig": config}, [])
    assert "toolConfig" not in sent(foreign(tool_choice=choice))[0]


def test_a_model_that_cannot_be_forced_is_asked() -> None:
    request = foreign(tools=[Tool(name="f")], tool_choice=ToolChoice(mode="required", at=(None, "tool_choice")))
    body, losses = sent(request, Profile(forced_tools=False))
    assert body["toolConfig"]["functionCallingConfig"] == {"mode": "AUTO"}
    assert losses == [("tool_choice", "degraded")]


SCHEMA = msgspec.Raw(b'{"$schema":"x","type":"object","properties":{"a":{"type":"string","pattern":"b"}}}')


def test_tools_go_as_json_schema_or_in_the_apis_own_form() -> None:
    tools = [
        Tool(name="f", description="d", schema=SCHEMA, at=(None, "t")),
        Tool(name="now"),
        Tool(name="sql", kind="custom", native={"format": {"type": "grammar"}}, at=(None, "c")),
        Tool(name="web", kind="hosted", native={"type": "web"}, dialect="messages", at=(None, "w")),
        Tool(name="googleSearch", kind="hosted", native={"googleSearch": {}}, dialect="gemini"),
    ]
    body, losses = sent(foreign(tools=tools))
    declared, search = body["tools"]
    assert search == {"googleSearch": {}}
    first, second, third = declared["functionDeclarations"]
    assert first["parametersJsonSchema"]["properties"]["a"] == {
        "type": "string",
        "description": "Matches the regular expression b",
    }
    assert second == {"name": "now"}
    assert third["parametersJsonSchema"]["required"] == ["input"]
    assert losses == [("t", "info"), ("c", "degraded"), ("w", "lost")]
    old = sent(foreign(tools=tools), OLD)[0]["tools"][0]["functionDeclarations"]
    assert old[0]["parameters"] == {"type": "OBJECT", "properties": {"a": {"type": "STRING", "pattern": "b"}}}
    assert "parameters" not in old[1]


def test_a_format_is_enforced_or_told_in_words() -> None:
    wanted = Format(kind="schema", schema=SCHEMA, at=(None, "response_format"))
    body, losses = sent(foreign(format=wanted))
    assert body["generationConfig"]["responseMimeType"] == "application/json"
    assert "$schema" not in body["generationConfig"]["responseJsonSchema"]
    assert losses == [("response_format", "info")]
    body, _ = sent(foreign(format=wanted), OLD)
    assert body["generationConfig"]["responseSchema"]["type"] == "OBJECT"
    body, losses = sent(foreign(format=wanted, tools=[Tool(name="f")]), OLD)
    assert "generationConfig" not in body
    assert "JSON Schema" in body["systemInstruction"]["parts"][0]["text"]
    assert losses == [("response_format", "degraded")]
    body, _ = sent(foreign(format=Format(kind="json")))
    assert body["generationConfig"] == {"responseMimeType": "application/json"}
    assert "generationConfig" not in sent(foreign(format=Format(kind="text")))[0]


@pytest.mark.parametrize(
    ("ask", "profile", "config"),
    [
        (ReasoningAsk(effort="low"), {}, {"includeThoughts": True, "thinkingLevel": "LOW"}),
        (ReasoningAsk(effort="max"), {}, {"includeThoughts": True, "thinkingLevel": "HIGH"}),
        (ReasoningAsk(effort="minimal"), {"thinking_off": "never"}, {"includeThoughts": True, "thinkingLevel": "LOW"}),
        (ReasoningAsk(mode="on", budget=4096), {}, {"includeThoughts": True, "thinkingLevel": "MEDIUM"}),
        (ReasoningAsk(mode="adaptive"), {}, {"includeThoughts": True}),
        (ReasoningAsk(mode="off"), {}, {"thinkingLevel": "MINIMAL"}),
        (ReasoningAsk(effort="high", display="omitted"), {}, {"includeThoughts": False, "thinkingLevel": "HIGH"}),
        (ReasoningAsk(effort="low"), {"thinking_config": "budget"}, {"includeThoughts": True, "thinkingBudget": 1024}),
        (ReasoningAsk(budget=99_999), {"thinking_config": "budget"}, {"includeThoughts": True, "thinkingBudget": 24_576}),
        (ReasoningAsk(mode="adaptive"), {"thinking_config": "budget"}, {"includeThoughts": True, "thinkingBudget": -1}),
        (ReasoningAsk(effort="none"), {"thinking_config": "budget"}, {"thinkingBudget": 0}),
        (ReasoningAsk(mode="off"), {"thinking_config": "budget", "thinking_off": "never"}, {"thinkingBudget": 128}),
        (ReasoningAsk(effort="high"), {"thinking_config": "none"}, None),
    ],
)  # fmt: skip
def test_how_much_to_think(ask: ReasoningAsk, profile: Any, config: Any) -> None:
    body, _ = sent(foreign(reasoning=ask), Profile(**profile))
    assert body.get("generationConfig", {}).get("thinkingConfig") == config


def test_the_same_request_is_the_same_bytes() -> None:
    request = foreign(user(Text(text="x")), tools=[Tool(name="f", schema=SCHEMA)], sampling=Sampling(seed=1))
    target = Target("m", "gemini", Profile())
    assert GEMINI.encode_request(request, target, Ledger()) == GEMINI.encode_request(request, target, Ledger())


def test_a_further_turn_only_adds_to_the_conversation() -> None:
    """Else the prompt cache would find nothing."""
    turns = [
        user(Text(text="x")),
        assistant(ToolCall(id="a", name="f")),
        user(ToolResult(call_id="a", parts=[Text(text="1")])),
        assistant(Text(text="done")),
        user(Text(text="more")),
        assistant(ToolCall(id="b", name="f")),
        user(ToolResult(call_id="b", parts=[Text(text="2")])),
    ]
    early, late = contents(*turns[:3]), contents(*turns)
    assert late[: len(early)] == early
