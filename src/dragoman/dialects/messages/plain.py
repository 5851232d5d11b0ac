"""A Messages request as nearly all are, read in one pass: texts, calls with their results, thinking, tools of the caller's own.

Every value goes from the bytes to where it stays, and schemas are not looked into. Whatever else stands in a body, and whatever
is wrong with it, is not for here: `decode_request.py` reads it anew with every question asked, so this may give up at any time
and answers nothing on its own. Both make the same of the same body.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias, assert_never

import msgspec

from dragoman.dialects.raw import schema_of
from dragoman.ir import carrier
from dragoman.ir.request import CacheMark, Message, Part, Path, Reasoning, Seal, Text, Tool, ToolCall, ToolResult

_encode = msgspec.json.Encoder().encode


class _Mark(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    type: Any = None
    ttl: str | None = None


class PlainTool(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A tool of the caller's own as nearly all are: nothing in it that the hub has no field for."""

    name: str
    description: str | None = None
    input_schema: msgspec.Raw = msgspec.Raw(b"")
    type: Literal["custom"] | None = None
    strict: bool | None = None
    cache_control: _Mark | None = None


class _Text(msgspec.Struct, forbid_unknown_fields=True, gc=False, tag="text"):
    text: str
    cache_control: _Mark | None = None
    citations: None = None


class _Thinking(msgspec.Struct, forbid_unknown_fields=True, gc=False, tag="thinking"):
    thinking: str = ""
    signature: str | None = None


class _Call(msgspec.Struct, forbid_unknown_fields=True, tag="tool_use"):
    id: str
    name: str
    input: dict[str, Any]
    cache_control: _Mark | None = None


class _Result(msgspec.Struct, forbid_unknown_fields=True, tag="tool_result"):
    tool_use_id: str
    content: str | list[_Text] | None = None
    is_error: bool | None = None
    cache_control: _Mark | None = None


_Block: TypeAlias = _Text | _Thinking | _Call | _Result


class _Message(msgspec.Struct, forbid_unknown_fields=True):
    role: Literal["user", "assistant", "system"]
    content: str | list[_Block]


class _Metadata(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    user_id: str | None = None


class Plain(msgspec.Struct, forbid_unknown_fields=True):
    """Behind `metadata` stand the members that are seldom said: they are read one by one."""

    model: str
    messages: list[_Message]
    system: str | list[_Text] | None = None
    tools: list[PlainTool] | None = None
    max_tokens: int | None = None
    stream: bool | None = None
    temperature: int | float | None = None
    top_p: int | float | None = None
    top_k: int | None = None
    stop_sequences: list[str] | None = None
    service_tier: str | None = None
    metadata: _Metadata | None = None
    cache_control: Any = None
    thinking: Any = None
    output_config: Any = None
    output_format: Any = None
    tool_choice: Any = None
    context_management: Any = None
    container: Any = None
    inference_geo: Any = None
    mcp_servers: Any = None
    speed: Any = None

    def seldom(self) -> dict[str, Any] | None:
        """None, as nearly always, where nothing of the kind is said."""
        values = msgspec.structs.astuple(self)[_OFTEN:]
        if values == _NOTHING:
            return None
        return {name: value for name, value in zip(_SELDOM, values, strict=True) if value is not None}


_OFTEN = Plain.__struct_fields__.index("metadata") + 1
_SELDOM = Plain.__struct_fields__[_OFTEN:]
_NOTHING = (None,) * len(_SELDOM)
_decode = msgspec.json.Decoder(Plain).decode


def read(body: bytes) -> Plain | None:
    """None where it is not so plain."""
    try:
        if not body.isascii():
            body.decode()  # also what is not looked into
        plain = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return plain if plain.messages else None


def system_of(plain: Plain) -> list[Text]:
    at: Path = (None, "system")
    if not plain.system:
        return []
    if isinstance(plain.system, str):
        return [Text(text=plain.system, at=at)]
    return _texts(plain.system, at)


def messages_of(natives: list[_Message], before: int) -> list[Message]:
    """Calls have the ids that came; what rode in them is still there. `before`: how many messages stand before these."""
    root: Path = (None, "messages")
    messages: list[Message] = []
    for index, message in enumerate(natives, before):
        at: Path = (root, index)
        content: Path = (at, "content")
        said = message.content
        parts: list[Part] = (
            [Text(text=said, at=content)]
            if isinstance(said, str)
            else [_part(block, (content, number)) for number, block in enumerate(said)]
        )
        messages.append(Message(role=message.role, parts=parts, at=at))
    return messages


def tools_of(tools: list[PlainTool]) -> list[Tool]:
    root: Path = (None, "tools")
    found: list[Tool] = []
    for index, tool in enumerate(tools):
        at: Path = (root, index)
        schema = tool.input_schema
        mark = tool.cache_control
        found.append(
            Tool(
                name=tool.name,
                description=tool.description,
                schema=schema_of(schema, (at, "input_schema")) if schema else schema,
                strict=tool.strict,
                dialect="messages",
                cache=None if mark is None else CacheMark(mark.ttl),
                at=at,
            )
        )
    return found


def _texts(blocks: list[_Text], at: Path) -> list[Text]:
    return [Text(text=one.text, cache=_cache(one.cache_control), at=(at, number)) for number, one in enumerate(blocks)]


def _part(block: _Block, at: Path) -> Part:
    match block:
        case _Text():
            return Text(text=block.text, cache=_cache(block.cache_control), at=at)
        case _Call():
            arguments = _encode(block.input).decode()
            return ToolCall(id=block.id, name=block.name, arguments=arguments, cache=_cache(block.cache_control), at=at)
        case _Result():
            said = block.content
            inner: Path = (at, "content")
            if said is None:
                parts: list[Part] = []
            else:
                parts = [Text(text=said, at=inner)] if isinstance(said, str) else [*_texts(said, inner)]
            return ToolResult(
                call_id=_own_id(block.tool_use_id),
                parts=parts,
                is_error=block.is_error or False,
                error_at=(at, "is_error") if block.is_error else None,
                cache=_cache(block.cache_control),
                at=at,
            )
        case _Thinking():
            return thought(block.thinking, block.signature, at)
        case _:
            assert_never(block)


def thought(text: str, signature: str | None, at: Path) -> Reasoning:
    if carrier.is_token(signature):
        held = carrier.unpack(signature or "") or []
        seal = held[0].seal if held else Seal("", "?", "")
        return Reasoning(text=text, seal=seal, summary=bool(held and held[0].summary), at=at)
    return Reasoning(text=text, seal=Seal(signature, None, "messages") if signature else None, at=at)


def _cache(mark: _Mark | None) -> CacheMark | None:
    return None if mark is None else CacheMark(mark.ttl)


def _own_id(call_id: str) -> str:
    return carrier.original_id(carrier.detach(call_id)[0]) if carrier.is_changed(call_id) else call_id
