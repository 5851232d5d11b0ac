"""A conversation made short, `POST /v1/responses/compact`, where no provider does it. Types: `compacted_response`.

A provider's own `compaction` item is sealed for it alone. Ours holds a summary, in a token that clients replay unread like any
other; every provider is told it in words.
"""

from __future__ import annotations

from typing import Any, cast

import msgspec

from dragoman.dialects.responses.output import blocks, text_of
from dragoman.ir import carrier
from dragoman.ir.request import Reasoning

Block = dict[str, Any]

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode

_INTRODUCTION = "The conversation so far was long. This is a summary of it:\n\n"
INSTRUCTIONS = (
    "You summarise a conversation between a user and an assistant, so that the assistant can go on from the summary alone. "
    "Keep everything it will need: what the user wants and has decided, what was found out and done, names, numbers, paths, "
    "code and results that still matter, and what is left to do. Leave out what is settled and of no more use. "
    "Write the summary and nothing else."
)


def request(model: str, items: list[msgspec.Raw], instructions: str | None) -> bytes:
    """The body that asks a model for the summary. `instructions`: those under which the conversation stood."""
    told = transcript(items)
    if instructions:
        told = f"Instructions to the assistant:\n{instructions}\n\n{told}"
    return _encode(
        {"model": model, "instructions": INSTRUCTIONS, "input": f"<conversation>\n{told}\n</conversation>", "store": False}
    )


def compacted(own_id: str, created: int, items: list[msgspec.Raw], answer: bytes) -> bytes:
    """The conversation made short: all that the user said, and a summary. `answer` is the Response that holds it."""
    native = cast("Block", _decode(answer))
    said = [cast("Block", item) for item in map(_decode, items) if isinstance(item, dict)]
    users = [
        {"id": f"msg_{own_id.removeprefix('resp_')}_{number}", "type": "message", "status": "completed", **item}
        for number, item in enumerate(item for item in said if item.get("role") == "user")
    ]
    for item in users:
        if isinstance(item["content"], str):
            item["content"] = [{"type": "input_text", "text": item["content"]}]
    token = carrier.pack([Reasoning(text=summary(native), summary=True)])
    item = {"id": f"cmp_{own_id.removeprefix('resp_')}", "type": "compaction", "encrypted_content": token}
    told = {"id": own_id, "object": "response.compaction", "created_at": created, "output": [*users, item]}
    return _encode({**told, "usage": native.get("usage")})


def summary(response: Block) -> str:
    """All that a Response says."""
    messages = (item for item in blocks(response.get("output")) if item.get("type") == "message")
    return "".join(text_of(part.get("text")) for item in messages for part in blocks(item.get("content")))


def told(item: Block) -> str | None:
    """What a `compaction` item of ours says to a model; None for a provider's own."""
    token = item.get("encrypted_content")
    if not (isinstance(token, str) and carrier.is_token(token)):
        return None
    return _INTRODUCTION + "".join(part.text for part in carrier.unpack(token) or ())


def transcript(items: list[msgspec.Raw]) -> str:
    """A conversation as one text. A model asked for a summary need not be given the tools that were called."""
    return "\n\n".join(line for item in items if (line := _line(_decode(item))))


def _line(native: Any) -> str:
    if not isinstance(native, dict):
        return ""
    item = cast("Block", native)
    kind = item.get("type") or "message"
    match kind:
        case "message":
            return f"{item.get('role')}: {_words(item.get('content'))}"
        case "function_call" | "custom_tool_call":
            return f"assistant calls {item.get('name')}: {_words(item.get('arguments', item.get('input')))}"
        case "function_call_output" | "custom_tool_call_output":
            return f"result: {_words(item.get('output'))}"
        case "reasoning":
            return ""
        case "compaction":
            return told(item) or ""
        case _:
            return f"{kind}: {_encode(item).decode()}"


def _words(content: Any) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return "" if content is None else _encode(content).decode()
    return "".join(text_of(part.get("text")) or f"[{part.get('type')}]" for part in blocks(content))
