"""Whole answers: a Messages `message` object to the hub and back. Types: `anthropic.types.message`."""

from __future__ import annotations

from typing import Any, cast

import msgspec

from dragoman.dialects import ratings
from dragoman.dialects.answers import call_input, cited_text, length_of, only_choice, signature_of
from dragoman.dialects.base import Reply
from dragoman.dialects.counts import count_in
from dragoman.dialects.messages.decode_request import decode_citation
from dragoman.errors import MalformedBody, UpstreamGarbled
from dragoman.ir import carrier
from dragoman.ir.events import Choice, Finish, FinishReason, Response, settled
from dragoman.ir.request import Citation, Part, Reasoning, Refusal, Seal, Text, ToolCall, Unknown
from dragoman.ir.usage import Usage
from dragoman.wire.json import clean, loads

Block = dict[str, Any]

REASON_OF_STOP: dict[str, FinishReason] = {
    "end_turn": "stop",
    "max_tokens": "length",
    "stop_sequence": "stop_sequence",
    "tool_use": "tool_calls",
    "pause_turn": "pause",
    "refusal": "refusal",
    "model_context_window_exceeded": "context_length",
}

STOP_OF_REASON: dict[FinishReason, str] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "stop_sequence": "stop_sequence",
    "tool_calls": "tool_use",
    "pause": "pause_turn",
    "refusal": "refusal",
    "content_filter": "refusal",
    "context_length": "model_context_window_exceeded",
}

_blocks = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])
_message = msgspec.json.Decoder(dict[str, msgspec.Raw])
_encode = msgspec.json.Encoder().encode


def decode_response(body: bytes, issuer: str) -> Response:
    try:
        message, parts = _read(body, issuer)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        message, parts = _read_nearly(body, issuer, error)
    except (RecursionError, KeyError, MalformedBody) as error:
        raise _garbled(error) from None
    if message.get("type", "message") != "message":
        raise UpstreamGarbled(f"the answer is of type {message['type']!r}, not a message")
    calls = [index for index, part in enumerate(parts) if isinstance(part, ToolCall)]
    reason = REASON_OF_STOP.get(text_of(message.get("stop_reason")) or "", "stop")
    details = message.get("stop_details") or {}
    finish = Finish(
        settled(reason, calls=bool(calls), broken=False),
        stop_sequence=text_of(message.get("stop_sequence")),
        explanation=text_of(details.get("explanation")) if isinstance(details, dict) else None,
    )
    usage = decode_usage(message.get("usage"))
    return Response(str(message.get("id") or ""), str(message.get("model") or ""), [Choice(parts, finish)], usage)


def _read(body: bytes, issuer: str) -> tuple[Block, list[Part]]:
    """The message without its content, and that."""
    raw = _message.decode(body)
    blocks = _blocks.decode(raw.pop("content"))
    message: Block = {key: msgspec.json.decode(value) for key, value in raw.items()}
    return message, [_part(block, issuer) for block in blocks]


def _read_nearly(body: bytes, issuer: str, first: Exception) -> tuple[Block, list[Part]]:
    """The same of what is nearly JSON: half a character, NaN. `first`: what is wrong with it."""
    try:
        return _read(_encode(clean(loads(body))), issuer)
    except (ValueError, RecursionError, KeyError, MalformedBody):
        raise _garbled(first) from None


def _garbled(error: Exception) -> UpstreamGarbled:
    return UpstreamGarbled(f"the answer is not a Messages response: {error}")


def text_of(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _part(raw: dict[str, msgspec.Raw], issuer: str) -> Part:
    # A call's input keeps its bytes: they become the arguments text of other dialects.
    arguments = raw.pop("input", None)
    block: Block = {key: msgspec.json.decode(value) for key, value in raw.items()}
    if block.get("type") == "tool_use":
        return ToolCall(id=str(block["id"]), name=str(block["name"]), arguments=bytes(arguments or b"{}").decode())
    if arguments is not None:
        block["input"] = msgspec.json.decode(arguments)
    return skeleton(block, issuer)


def skeleton(block: Block, issuer: str) -> Part:
    """The part of a content block of an answer, as far as the block tells it."""
    match block.get("type"):
        case "text":
            natives = block.get("citations")
            citations = [decode_citation(item, None) for item in natives] if isinstance(natives, list) else []
            return Text(text=str(block.get("text") or ""), citations=citations)
        case "thinking":
            signature = block.get("signature")
            seal = Seal(signature, issuer, "messages") if isinstance(signature, str) and signature else None
            return Reasoning(text=str(block.get("thinking") or ""), seal=seal)
        case "redacted_thinking":
            return Reasoning(seal=Seal(str(block.get("data") or ""), issuer, "messages"), redacted=True)
        case "tool_use":
            return ToolCall(id=str(block.get("id") or ""), name=str(block.get("name") or ""))
        case _:
            return Unknown(native=block, dialect="messages")


def decode_usage(native: object) -> Usage | None:
    """Anthropic's buckets are disjoint already, but for thinking, which `output_tokens` includes."""
    if not isinstance(native, dict):
        return None
    holder = cast("Block", native)
    written = count_in(holder, "cache_creation_input_tokens")
    hour = min(written, count_in(holder.get("cache_creation"), "ephemeral_1h_input_tokens"))
    output = count_in(holder, "output_tokens")
    thinking = min(output, count_in(holder.get("output_tokens_details"), "thinking_tokens"))
    return Usage(
        input=count_in(holder, "input_tokens"),
        cache_read=count_in(holder, "cache_read_input_tokens"),
        cache_write=written - hour,
        cache_write_1h=hour,
        output=output - thinking,
        reasoning=thinking,
        searches=count_in(holder.get("server_tool_use"), "web_search_requests"),
    )


def encode_usage(usage: Usage) -> Block:
    """The full shape, always: strict clients refuse a partial one."""
    written = usage.cache_write + usage.cache_write_1h
    native: Block = {
        "input_tokens": usage.input,
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": usage.cache_read,
        "cache_creation": {"ephemeral_5m_input_tokens": usage.cache_write, "ephemeral_1h_input_tokens": usage.cache_write_1h},
        "output_tokens": usage.output_total,
        "server_tool_use": {"web_search_requests": usage.searches, "web_fetch_requests": 0} if usage.searches else None,
        "service_tier": None,
    }
    if usage.reasoning:
        native["output_tokens_details"] = {"thinking_tokens": usage.reasoning}
    return native


def encode_response(response: Response, reply: Reply) -> bytes:
    choice = only_choice(response, reply)
    content: list[Block] = []
    characters = 0
    refused = False
    for position, part in enumerate(choice.parts):
        block = encode_part(part, reply, complete=position not in choice.incomplete)
        if block is not None:
            content.append(block)
            if response.usage is None:
                characters += length_of(part)
        refused = refused or isinstance(part, Refusal)
    native = message_head(response.id, response.model, reply)
    native["content"] = content
    native |= stop_fields(choice.finish, reply, refused=refused)
    native["usage"] = encode_usage(response.usage or reply.estimated_usage(characters))
    return _encode(native)


def message_head(answer_id: str, model: str, reply: Reply) -> Block:
    return {"id": answer_id or reply.fallback_id, "type": "message", "role": "assistant", "model": model or reply.model}


def stop_fields(finish: Finish, reply: Reply, *, refused: bool) -> Block:
    ratings.unsaid(finish, reply.ledger)
    reason = "refusal" if refused else STOP_OF_REASON[finish.reason]
    fields: Block = {"stop_reason": reason, "stop_sequence": finish.stop_sequence}
    if reason == "refusal":
        fields["stop_details"] = {"type": "refusal", "category": None, "explanation": finish.explanation}
    return fields


def encode_part(part: Part, reply: Reply, *, complete: bool = True) -> Block | None:
    """The content block of one part of an answer; None where it has nothing to say here."""
    match part:
        case Text():
            if not part.text:
                return None
            block: Block = {"type": "text", "text": part.text}
            if part.citations:
                block["citations"] = [encode_citation(citation, part.text) for citation in part.citations]
            return block
        case Refusal():
            return {"type": "text", "text": part.text} if part.text else None
        case Reasoning():
            if not part.text and part.seal is None:
                return None
            if part.redacted:
                return {"type": "redacted_thinking", "data": signature_of(part, reply, "messages")}
            return {"type": "thinking", "thinking": part.text, "signature": signature_of(part, reply, "messages")}
        case ToolCall():
            return {"type": "tool_use", "id": carrier.safe_id(part.id), "name": part.name, "input": call_input(part, complete)}
        case Unknown() if part.dialect == "messages":
            return part.native
        case _:
            reply.ledger.add(None, "content", f"an answer's {type(part).__name__.lower()} has no place in Messages", "lost")
            return None


def encode_citation(citation: Citation, text: str) -> Block:
    if citation.dialect == "messages":
        return citation.native
    return {
        "type": "web_search_result_location",
        "cited_text": cited_text(citation, text),
        "encrypted_index": "",
        "title": citation.title,
        "url": citation.url or "",
    }
