"""Thinking in Chat Completions, which has no word for it, so that everybody has another.

`reasoning_content` (DeepSeek, vLLM, Moonshot, ...) and `reasoning` (OpenRouter, Groq, ...) are plain text. OpenRouter adds
`reasoning_details`, a list of items that must come back as they were:

    {"type": "reasoning.text", "text", "signature"}   {"type": "reasoning.summary", "summary"}
    {"type": "reasoning.encrypted", "data"}           each with "format", "id", "index"

Gemini's Chat endpoint hangs its thought signature on a tool call as `extra_content`.

A native item becomes a `Seal` of dialect `chat` whose value is the item's JSON. To our own Chat clients a sealed part
goes as an item of the same shape whose `signature` or `data` is a carrier token, `format` `dragoman-v1`.
"""

from __future__ import annotations

from typing import Any, cast

import msgspec

from dragoman.ir import carrier
from dragoman.ir.request import Path, Reasoning, Seal

Block = dict[str, Any]

FORMAT = "dragoman-v1"

_encode = msgspec.json.Encoder().encode


def text_of(item: Block) -> str:
    text = item.get("text") or item.get("summary")
    return text if isinstance(text, str) else ""


def seal_of(item: Block, issuer: str | None) -> Seal:
    return Seal(_encode(item).decode(), issuer, "chat")


def part_of(item: Block, issuer: str | None, at: Path = None) -> Reasoning:
    """The part of one native item."""
    return Reasoning(
        text=text_of(item),
        seal=seal_of(item, issuer),
        redacted=item.get("type") == "reasoning.encrypted",
        summary=item.get("type") == "reasoning.summary",
        at=at,
    )


def token_of(item: Block) -> str | None:
    """The carrier token in an item, where there is one."""
    for key in ("signature", "data"):
        if carrier.is_token(item.get(key)):
            return item[key]
    return None


def answered(text: str, items: list[Block], issuer: str) -> list[Reasoning]:
    """The parts of an answer that gave its thinking as plain text, as items, or as both."""
    parts = [part_of(item, issuer) for item in items]
    told = "".join(part.text for part in parts)
    if not text or told == text:
        return parts
    if not told:
        for position, item in enumerate(items):
            if item.get("type") == "reasoning.text":
                # A signature on its own: the text it signs is the plain one.
                parts[position] = part_of({**item, "text": text}, issuer)
                return parts
    bare = [msgspec.structs.replace(part, text="") for part in parts]
    return [Reasoning(text=text), *bare]


def replayed(items: list[Any], at: Path) -> list[Reasoning]:
    """The parts of the items that a client sends back: our tokens are opened, native items are sealed for whoever made them."""
    parts: list[Reasoning] = []
    for index, item in enumerate(items):
        if not isinstance(item, dict):
            continue
        native = cast("Block", item)
        here: Path = (at, index)
        token = token_of(native)
        if token is not None:
            held = carrier.unpack(token)
            if held is not None:
                parts += [msgspec.structs.replace(part, at=here) for part in held]
            elif text_of(native):
                parts.append(Reasoning(text=text_of(native), at=here))
        elif native.get("format") == FORMAT:
            parts.append(Reasoning(text=text_of(native), at=here))
        else:
            parts.append(part_of(native, None, here))
    return parts


def without(text: str, sealed: list[Reasoning]) -> str:
    """Plain thinking less what the sealed parts say already; nothing where only white space is left."""
    if not sealed:
        return text
    for part in sealed:
        if part.text:
            text = text.replace(part.text, "", 1)
    return text if text.strip() else ""


def item_for_client(part: Reasoning, index: int) -> Block | None:
    """A sealed part as an entry of `reasoning_details`; None where it is too large for a token."""
    token = carrier.pack([part])
    if token is None:
        return None
    if part.redacted:
        return {"type": "reasoning.encrypted", "data": token, "format": FORMAT, "index": index}
    return {"type": "reasoning.text", "text": part.text, "signature": token, "format": FORMAT, "index": index}


def call_extra(native: Block) -> Block | None:
    """What a provider hung on a tool call and wants back with it, as the item of a seal."""
    extra = native.get("extra_content")
    return {"extra_content": extra} if isinstance(extra, dict) and extra else None


def native_item(seal: Seal) -> Block | None:
    """The item that a seal of this dialect holds."""
    if seal.dialect != "chat" or not seal.value:
        return None
    try:
        item = msgspec.json.decode(seal.value)
    except (msgspec.DecodeError, RecursionError):
        return None
    return cast("Block", item) if isinstance(item, dict) else None
