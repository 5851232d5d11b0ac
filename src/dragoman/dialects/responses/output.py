"""The items of an answer's `output`, to the hub and back. Types: `openai.types.responses.response_output_item`.

To a client, reasoning that is not this dialect's own goes as a reasoning item whose summary is the text and whose
`encrypted_content` is a carrier token: clients replay such items unread, and the token says whose thinking it is.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

import msgspec

from dragoman.dialects.base import Reply
from dragoman.dialects.responses.citations import decode_citation, encode_citation
from dragoman.dialects.responses.ids import legal_id
from dragoman.dialects.responses.namespaces import Callees, qualified
from dragoman.ir import carrier
from dragoman.ir.request import Image, Part, Reasoning, Refusal, Seal, Text, ToolCall, Unknown

Block = dict[str, Any]

CALLS = {"function_call": "function", "custom_tool_call": "custom"}

_encode = msgspec.json.Encoder().encode


class CallIds:
    """The ids of an answer's calls: as given, or made of the answer's id and the call's number where none or a used one
    was given."""

    def __init__(self, answer_id: str) -> None:
        self._stem = legal_id("call_" + answer_id.removeprefix("resp_")[-40:])
        self._used: set[str] = set()

    def take(self, item: Block) -> str:
        own = text_of(item.get("call_id")) or text_of(item.get("id"))
        if not own:
            own = f"{self._stem}_{len(self._used)}"
        elif own in self._used:
            own = f"{own}_{len(self._used) + 1}"
        self._used.add(own)
        return own


# ---------------------------------------------------------------- from an upstream


def text_of(value: object) -> str:
    return value if isinstance(value, str) else ""


def blocks(value: object) -> Iterable[Block]:
    return (item for item in cast("list[Any]", value) if isinstance(item, dict)) if isinstance(value, list) else ()


def as_arguments(value: object) -> str:
    """Arguments are JSON in a string; some servers send the JSON itself."""
    if value is None:
        return ""
    return value if isinstance(value, str) else _encode(value).decode()


def call_arguments(item: Block) -> str:
    return as_arguments(item.get("input" if item.get("type") == "custom_tool_call" else "arguments"))


def call_of(item: Block, ids: CallIds) -> ToolCall:
    """The call, without its arguments."""
    space, name = text_of(item.get("namespace")) or None, text_of(item.get("name"))
    return ToolCall(
        id=ids.take(item),
        name=qualified(space, name) if space else name,
        kind="custom" if item.get("type") == "custom_tool_call" else "function",
        namespace=space,
    )


def content_part(native: Block) -> Part | None:
    """A part of a message's content; None for what says nothing."""
    match native.get("type"):
        case "output_text" | "text":
            text = text_of(native.get("text"))
            citations = [decode_citation(item) for item in blocks(native.get("annotations"))]
            return Text(text=text, citations=citations) if text or citations else None
        case "refusal":
            return Refusal(text=text_of(native.get("refusal")))
        case str():
            # It stands in a message, and nowhere else.
            native = {"type": "message", "role": "assistant", "status": "completed", "content": [native]}
            return Unknown(native=native, dialect="responses")
        case _:
            return None


def reasoning_text(item: Block) -> tuple[str, bool]:
    """What a reasoning item tells, and whether that is a summary."""
    summary = "\n\n".join(text_of(part.get("text")) for part in blocks(item.get("summary")))
    if summary:
        return summary, True
    return "".join(text_of(part.get("text")) for part in blocks(item.get("content"))), False


def seal_of(item: Block, issuer: str) -> Seal | None:
    encrypted = text_of(item.get("encrypted_content"))
    return Seal(encrypted, issuer, "responses") if encrypted else None


def reasoning_part(item: Block, issuer: str) -> Reasoning | None:
    text, summary = reasoning_text(item)
    seal = seal_of(item, issuer)
    return Reasoning(text=text, seal=seal, summary=summary) if text or seal is not None else None


# ---------------------------------------------------------------- to a client


def text_part(text: str, annotations: list[Block], logprobs: list[object]) -> Block:
    return {"type": "output_text", "annotations": annotations, "logprobs": logprobs, "text": text}


def refusal_part(text: str) -> Block:
    return {"type": "refusal", "refusal": text}


def message_item(own_id: str, content: list[Block], status: str) -> Block:
    return {"id": own_id, "type": "message", "status": status, "content": content, "role": "assistant"}


def reasoning_item(own_id: str, part: Reasoning, reply: Reply) -> Block:
    summary = [{"type": "summary_text", "text": part.text}] if part.text else []
    return {"id": own_id, "type": "reasoning", "summary": summary, "encrypted_content": encrypted(part, reply)}


def encrypted(part: Reasoning, reply: Reply) -> str | None:
    """What this dialect's own provider sealed stays as it is; everything else travels in a token of ours."""
    seal = part.seal or Seal("", reply.issuer, "")
    if seal.dialect == "responses":
        return seal.value
    carried = Reasoning(text=part.text, seal=seal, redacted=part.redacted, summary=part.summary)
    return carrier.pack([carried])


def call_item(own_id: str, call: ToolCall, arguments: str, status: str, callees: Callees, *, free: bool) -> Block:
    names = callees.names(call)
    if free:
        kind, key = "custom_tool_call", "input"
    else:
        kind, key = "function_call", "arguments"
    return {"id": own_id, "type": kind, "status": status, "call_id": legal_id(call.id), **names, key: arguments}


def image_item(own_id: str, part: Image, data: str) -> Block:
    """A picture that the model made."""
    form = part.media_type.rpartition("/")[2] or "png"
    native: Block = {"id": own_id, "type": "image_generation_call", "status": "completed", "result": data}
    return native | ({"output_format": form} if form in {"png", "webp", "jpeg", "gif", "svg"} else {})


def foreign_item(native: Block, fallback_id: str, used: set[str]) -> Block:
    """An item of a kind that is given on as it came, with an id of its own."""
    own = text_of(native.get("id"))
    if own and own not in used:
        used.add(own)
        return native
    return {**native, "id": fallback_id}


def annotations_of(part: Text, length: int, reply: Reply) -> list[Block]:
    found = [encode_citation(citation, length) for citation in part.citations]
    if None in found:
        reply.ledger.add(None, "output", "citations of sources without a URL have no form in Responses", "info")
    return [block for block in found if block is not None]


def not_said(part: Part, reply: Reply) -> None:
    kind = str(part.native.get("type", "part")) if isinstance(part, Unknown) else type(part).__name__.lower()
    reply.ledger.add(None, "output", f"an answer's {kind} has no place in Responses", "lost")
