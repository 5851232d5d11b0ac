"""Whole answers: a `ConverseResponse` to the hub and back. Types: `ConverseResponse` of `bedrock-runtime` in `botocore`."""

from __future__ import annotations

from base64 import b64encode
from typing import Any, cast

import msgspec

from dragoman.dialects import ratings
from dragoman.dialects.answers import call_input, cited_text, length_of, only_choice, signature_of
from dragoman.dialects.base import Reply
from dragoman.dialects.converse.decode_content import decode_cited, decode_reasoning
from dragoman.dialects.converse.formats import image_format
from dragoman.dialects.converse.usage import decode_usage, encode_usage
from dragoman.errors import MalformedBody, UpstreamGarbled
from dragoman.ir import carrier
from dragoman.ir.events import Choice, Finish, FinishReason, Response, settled
from dragoman.ir.request import Citation, Image, Part, Reasoning, Refusal, Text, ToolCall, Unknown
from dragoman.ir.usage import Usage

Block = dict[str, Any]

REASON_OF_STOP: dict[str, FinishReason] = {
    "end_turn": "stop",
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "stop_sequence": "stop_sequence",
    "guardrail_intervened": "content_filter",
    "content_filtered": "content_filter",
    "model_context_window_exceeded": "context_length",
    # Words of Anthropic's, should they come through.
    "refusal": "refusal",
    "pause_turn": "pause",
}

BROKEN = frozenset({"malformed_model_output", "malformed_tool_use"})
"""What came is not the answer that it should have been. Another try may well give one."""

STOP_OF_REASON: dict[FinishReason, str] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "stop_sequence": "stop_sequence",
    "tool_calls": "tool_use",
    "pause": "end_turn",
    "refusal": "content_filtered",
    "content_filter": "content_filtered",
    "context_length": "model_context_window_exceeded",
}

_answer = msgspec.json.Decoder(dict[str, msgspec.Raw])
_encode = msgspec.json.Encoder().encode


class _Call(msgspec.Struct):
    toolUseId: str = ""  # noqa: N815 - the API's own name
    name: str = ""
    input: msgspec.Raw = msgspec.Raw(b"{}")
    type: str | None = None


class _Message(msgspec.Struct):
    content: list[dict[str, msgspec.Raw]]


class _Output(msgspec.Struct):
    message: _Message


_output = msgspec.json.Decoder(_Output)
_call = msgspec.json.Decoder(_Call)


def decode_response(body: bytes, issuer: str) -> Response:
    try:
        raw = _answer.decode(body)
        parts = [_part(block, issuer) for block in _output.decode(raw.pop("output")).message.content]
        answer: Block = {key: msgspec.json.decode(value) for key, value in raw.items()}
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, KeyError, MalformedBody) as error:
        raise UpstreamGarbled(f"the answer is not a Converse response: {error}") from None
    stop = answer.get("stopReason")
    finish = finish_of(stop, answer, parts, issuer, broken=False)
    return Response("", "", [Choice(parts, finish)], decode_usage(answer.get("usage")))


def finish_of(stop: object, said: Block, parts: list[Part], issuer: str, *, broken: bool) -> Finish:
    """`said` may hold which text stopped the answer. Raises `UpstreamGarbled` where the model failed."""
    word = stop if isinstance(stop, str) else ""
    if word in BROKEN:
        raise UpstreamGarbled(f"the model broke its answer off ({word})", provider=issuer, code=word)
    calls = any(isinstance(part, ToolCall) for part in parts)
    more = said.get("additionalModelResponseFields")
    sequence = cast("Block", more).get("stop_sequence") if isinstance(more, dict) else None
    reason = settled(REASON_OF_STOP.get(word, "stop"), calls=calls, broken=broken)
    return Finish(reason, stop_sequence=sequence if isinstance(sequence, str) else None)


def _part(raw: dict[str, msgspec.Raw], issuer: str) -> Part:
    if "toolUse" in raw:
        # A call's input keeps its bytes: they become the arguments text of other dialects.
        call = _call.decode(raw["toolUse"])
        if call.type is None:
            return ToolCall(id=call.toolUseId, name=call.name, arguments=bytes(call.input).decode())
    block: Block = {key: msgspec.json.decode(value) for key, value in raw.items()}
    kind = next(iter(block), "")
    held = block.get(kind)
    match kind:
        case "text":
            return Text(text=held if isinstance(held, str) else "")
        case "reasoningContent":
            return decode_reasoning(held, None, issuer) or Unknown(native=block, dialect="converse")
        case "citationsContent":
            return decode_cited(held, None)
        case "image":
            return _image(held) or Unknown(native=block, dialect="converse")
        case _:
            return Unknown(native=block, dialect="converse")


def _image(held: Any) -> Image | None:
    image = cast("Block", held) if isinstance(held, dict) else {}
    source = image.get("source")
    data = cast("Block", source).get("bytes") if isinstance(source, dict) else None
    return Image(media_type=f"image/{image.get('format')}", data=data) if isinstance(data, str) else None


# ---------------------------------------------------------------- to the client


def encode_response(response: Response, reply: Reply) -> bytes:
    choice = only_choice(response, reply)
    content: list[Block] = []
    characters = 0
    for position, part in enumerate(choice.parts):
        block = encode_part(part, reply, complete=position not in choice.incomplete)
        if block is not None:
            content.append(block)
            characters += length_of(part)
    refused = any(isinstance(part, Refusal) for part in choice.parts)
    if choice.finish.explanation and not refused:
        content.append({"text": choice.finish.explanation})
    usage = response.usage or reply.estimated_usage(characters)
    return _encode(
        {
            "output": {"message": {"role": "assistant", "content": content}},
            **stop_fields(choice.finish, reply, refused=refused),
            **count_fields(usage),
        }
    )


def stop_fields(finish: Finish, reply: Reply, *, refused: bool) -> Block:
    ratings.unsaid(finish, reply.ledger)
    fields: Block = {"stopReason": "content_filtered" if refused else STOP_OF_REASON[finish.reason]}
    asked = reply.request.extras.get("additionalModelResponseFieldPaths")
    if finish.stop_sequence is not None and isinstance(asked, list) and "/stop_sequence" in asked:
        fields["additionalModelResponseFields"] = {"stop_sequence": finish.stop_sequence}
    return fields


def count_fields(usage: Usage) -> Block:
    """How long it took is not known where an answer is put together; the field is required."""
    return {"usage": encode_usage(usage), "metrics": {"latencyMs": 0}}


def encode_part(part: Part, reply: Reply, *, complete: bool = True) -> Block | None:
    """The content block of one part of an answer; None where it has nothing to say here."""
    match part:
        case Text():
            if not part.text:
                return None
            if part.citations:
                cited = [encode_citation(citation, part.text) for citation in part.citations]
                return {"citationsContent": {"content": [{"text": part.text}], "citations": cited}}
            return {"text": part.text}
        case Refusal():
            return {"text": part.text} if part.text else None
        case Reasoning():
            if not part.text and part.seal is None:
                return None
            if part.redacted:
                return {"reasoningContent": {"redactedContent": redacted_of(part, reply)}}
            inner: Block = {"text": part.text, "signature": signature_of(part, reply, "converse")}
            return {"reasoningContent": {"reasoningText": inner}}
        case ToolCall():
            return {"toolUse": {**call_head(part), "input": call_input(part, complete)}}
        case Image() if part.data is not None and image_format(part.media_type):
            return {"image": {"format": image_format(part.media_type), "source": {"bytes": part.data}}}
        case Unknown() if part.dialect == "converse":
            return part.native
        case _:
            reply.ledger.add(None, "content", f"an answer's {type(part).__name__.lower()} has no place in Converse", "lost")
            return None


def call_head(part: ToolCall) -> Block:
    return {"toolUseId": carrier.safe_id(part.id), "name": part.name}


def redacted_of(part: Reasoning, reply: Reply) -> str:
    """The same for thinking that is only sealed, whose field is bytes, and so base64 here."""
    native = part.seal is not None and part.seal.dialect == "converse"
    value = signature_of(part, reply, "converse")
    return value if native else b64encode(value.encode()).decode()


def encode_citation(citation: Citation, text: str) -> Block:
    if citation.dialect == "converse":
        return citation.native
    cited = cited_text(citation, text)
    native: Block = {}
    if citation.title is not None:
        native["title"] = citation.title
    if cited:
        native["sourceContent"] = [{"text": cited}]
    if citation.url is not None:
        native["location"] = {"web": {"url": citation.url}}
    return native
