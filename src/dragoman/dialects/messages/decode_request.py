"""A Messages request to the hub. Types: `anthropic.types.message_create_params`."""

from __future__ import annotations

from typing import Any, cast

import msgspec

from dragoman.dialects.messages import plain
from dragoman.dialects.messages.own_tools import stand_in
from dragoman.dialects.pairing import unpacked
from dragoman.dialects.raw import raw_objects, schema_of
from dragoman.dialects.shape import Fields, wrong
from dragoman.dialects.thinking import read_thinking
from dragoman.errors import MalformedBody
from dragoman.ir import carrier
from dragoman.ir.request import (
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
from dragoman.wire.body import fields_of, malformed

_plain_tools = msgspec.json.Decoder(list[plain.PlainTool])
_encode = msgspec.json.Encoder().encode

# Where fields stand whose name here is not the hub's.
_PATHS: dict[str, Path] = {
    "stop": (None, "stop_sequences"),
    "user": ((None, "metadata"), "user_id"),
    "effort": ((None, "output_config"), "effort"),
    "budget": ((None, "thinking"), "budget_tokens"),
    "display": ((None, "thinking"), "display"),
    "format": ((None, "output_config"), "format"),
    "cache": (None, "cache_control"),
    "parallel": ((None, "tool_choice"), "disable_parallel_tool_use"),
}


def decode_request(body: bytes) -> Request:
    read = plain.read(body)
    return of_plain(read) if read is not None else with_every_question(body)


def of_plain(read: plain.Plain, before: int = 0) -> Request:
    """`before`: how many messages stand in the body before these."""
    metadata = read.metadata
    request = Request(
        model=read.model,
        dialect="messages",
        stream=read.stream or False,
        include_usage=True,
        system=plain.system_of(read) if read.system else [],
        messages=plain.messages_of(read.messages, before),
        tools=plain.tools_of(read.tools) if read.tools else [],
        sampling=Sampling(temperature=read.temperature, top_p=read.top_p, top_k=read.top_k),
        max_tokens=read.max_tokens,
        stop=read.stop_sequences or [],
        user=metadata.user_id if metadata is not None else None,
        service_tier=read.service_tier,
        paths=_PATHS,
    )
    for message in request.messages:
        if message.role == "assistant":
            message.parts = unpacked(message.parts, "id")
    seldom = read.seldom()
    if seldom is not None:
        fields = Fields(seldom, None)
        output = _output_of(fields)
        _add_seldom(fields, output, request)
        if left := output.rest():
            request.extras["output_config"] = left
    return request


def with_every_question(body: bytes) -> Request:
    """With every question asked."""
    raw = fields_of(body)
    tools_raw = raw.pop("tools", None)
    try:
        fields = Fields({key: msgspec.json.decode(value) for key, value in raw.items()}, None)
        tools = _tools(tools_raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise malformed(body, error) from None
    messages = fields.array("messages")
    if not messages:
        raise MalformedBody("messages: at least one message is required", param="messages")
    request = _request(
        fields,
        model=fields.text("model") or "",
        system=_system(fields.any("system"), (None, "system")),
        messages=[_message(native, ((None, "messages"), index)) for index, native in enumerate(messages)],
        tools=tools,
    )
    request.stand_ins = any(tool.stand_in is not None for tool in tools)
    return request


def _request(fields: Fields, *, model: str, system: list[Text], messages: list[Message], tools: list[Tool]) -> Request:
    """`fields`: the other members."""
    metadata = Fields(fields.object("metadata") or {}, (None, "metadata"))
    output = _output_of(fields)
    request = Request(
        model=model,
        dialect="messages",
        stream=fields.flag("stream") or False,
        include_usage=True,
        system=system,
        messages=messages,
        tools=tools,
        sampling=Sampling(
            temperature=fields.number("temperature"), top_p=fields.number("top_p"), top_k=fields.integer("top_k")
        ),
        max_tokens=fields.integer("max_tokens"),
        stop=fields.texts("stop_sequences") or [],
        user=metadata.text("user_id"),
        service_tier=fields.text("service_tier"),
        paths=_PATHS,
    )
    _add_seldom(fields, output, request)
    for name, inner in (("metadata", metadata), ("output_config", output)):
        if left := inner.rest():
            request.extras[name] = left
    return request


def _output_of(fields: Fields) -> Fields:
    return Fields(fields.object("output_config") or {}, (None, "output_config"))


def _add_seldom(fields: Fields, output: Fields, request: Request) -> None:
    """What is not said in most requests. `fields`: the members that have not been taken yet."""
    request.cache = _cache(fields.any("cache_control"), (None, "cache_control"))
    request.format = _format(output, fields)
    request.reasoning = _reasoning(fields, output)
    _tool_choice(fields, request)
    _thread(fields, request)
    request.extras = fields.rest()


def _thread(fields: Fields, request: Request) -> None:
    """State that the provider holds. It stays among the extras: only its own dialect has a word for it."""
    native = fields.left.get("thread")
    if isinstance(native, dict) and native.get("type") == "continue":
        request.goes_on_from = str(native.get("previous_message_id") or "")


def _system(native: Any, at: Path) -> list[Text]:
    if native is None or native == "":
        return []
    if isinstance(native, str):
        return [Text(text=native, at=at)]
    if not isinstance(native, list):
        raise wrong(at, "a string or an array of text blocks", native)
    return [_text(Fields(block, (at, index))) for index, block in enumerate(cast("list[Any]", native))]


def _message(native: Any, at: Path) -> Message:
    fields = Fields(native, at)
    role = fields.any("role")
    if role not in ("user", "assistant", "system"):  # whatever it is: a set would ask for its hash
        path = path_text((at, "role"))
        raise MalformedBody(f"{path}: expected user, assistant or system, got {role!r}", param=path)
    parts = _content(fields.any("content"), (at, "content"))
    if role == "assistant":
        parts = unpacked(parts, "id")
    return Message(role=role, parts=parts, at=at, extras=fields.rest())


def _content(native: Any, at: Path) -> list[Part]:
    if isinstance(native, str):
        return [Text(text=native, at=at)]
    if not isinstance(native, list):
        raise wrong(at, "a string or an array of content blocks", native)
    parts: list[Part] = []
    for index, block in enumerate(cast("list[Any]", native)):
        parts.extend(decode_block(block, (at, index)))
    return parts


def decode_block(native: Any, at: Path) -> list[Part]:
    """The part of one content block of a request; two where a carrier rode in it, none never."""
    fields = Fields(native, at)
    match fields.any("type"):
        case "text":
            return [_text(fields)]
        case "image":
            return [_image(fields)]
        case "document":
            return [_document(fields)]
        case "tool_use":
            call_id = fields.need_text("id")
            return [
                ToolCall(
                    id=call_id,
                    name=fields.need_text("name"),
                    arguments=_encode(fields.object("input") or {}).decode(),
                    cache=_cache(fields.any("cache_control"), (at, "cache_control")),
                    at=at,
                    extras=fields.rest(),
                )
            ]
        case "tool_result":
            return [_tool_result(fields)]
        case "thinking":
            return _thinking(fields)
        case "redacted_thinking":
            data = fields.need_text("data")
            held = carrier.unpack(data) if carrier.is_token(data) else None
            if held:
                return [msgspec.structs.replace(part, at=at) for part in held]
            return [Reasoning(seal=Seal(data, None, "messages"), redacted=True, at=at, extras=fields.rest())]
        case str():
            return [Unknown(native=native, dialect="messages", at=at)]
        case other:
            raise wrong((at, "type"), "a string", other)


def _text(fields: Fields) -> Text:
    fields.left.pop("type", None)
    text = fields.need_text("text")
    citations = fields.array("citations") or []
    return Text(
        text=text,
        citations=[decode_citation(item, ((fields.at, "citations"), index)) for index, item in enumerate(citations)],
        cache=_cache(fields.any("cache_control"), (fields.at, "cache_control")),
        at=fields.at,
        extras=fields.rest(),
    )


def decode_citation(native: Any, at: Path) -> Citation:
    fields = Fields(native, at)
    return Citation(
        kind=fields.text("type") or "",
        url=fields.text("url"),
        title=fields.text("title") or fields.text("document_title"),
        cited_text=fields.text("cited_text"),
        native=native,
        dialect="messages",
        at=at,
    )


def _thinking(fields: Fields) -> list[Part]:
    text = fields.text("thinking") or ""
    signature = fields.text("signature")
    at = fields.at
    part = plain.thought(text, signature, at)
    if not carrier.is_token(signature):
        part.extras = fields.rest()
    return [part]


def _image(fields: Fields) -> Image:
    at = fields.at
    source = Fields(fields.any("source"), (at, "source"))
    image = Image(at=at, cache=_cache(fields.any("cache_control"), (at, "cache_control")))
    match source.any("type"):
        case "base64":
            image.media_type, image.data = source.text("media_type") or "", source.need_text("data")
        case "url":
            image.url = source.need_text("url")
        case "file":
            image.file = source.need_text("file_id")
        case other:
            raise wrong(((at, "source"), "type"), "base64, url or file", other)
    image.extras = fields.rest() | ({"source": left} if (left := source.rest()) else {})
    return image


def _document(fields: Fields) -> Document:
    at = fields.at
    source = Fields(fields.any("source"), (at, "source"))
    citations = Fields(fields.object("citations") or {}, (at, "citations"))
    document = Document(
        title=fields.text("title"),
        context=fields.text("context"),
        cite=citations.flag("enabled"),
        cache=_cache(fields.any("cache_control"), (at, "cache_control")),
        at=at,
    )
    match source.any("type"):
        case "base64":
            document.media_type, document.data = source.text("media_type") or "application/pdf", source.need_text("data")
        case "text":
            document.media_type, document.text = source.text("media_type") or "text/plain", source.need_text("data")
        case "url":
            document.url = source.need_text("url")
        case "file":
            document.file = source.need_text("file_id")
        case "content":
            document.parts = _content(source.any("content"), ((at, "source"), "content"))
        case other:
            raise wrong(((at, "source"), "type"), "base64, text, url, file or content", other)
    document.extras = fields.rest() | ({"source": left} if (left := source.rest()) else {})
    return document


def _tool_result(fields: Fields) -> ToolResult:
    at = fields.at
    content = fields.any("content")
    bare, _ = carrier.detach(fields.need_text("tool_use_id"))
    is_error = fields.flag("is_error") or False
    return ToolResult(
        call_id=carrier.original_id(bare),
        parts=[] if content is None else _content(content, (at, "content")),
        is_error=is_error,
        error_at=(at, "is_error") if is_error else None,
        cache=_cache(fields.any("cache_control"), (at, "cache_control")),
        at=at,
        extras=fields.rest(),
    )


def _cache(native: Any, at: Path) -> CacheMark | None:
    if native is None:
        return None
    return CacheMark(Fields(native, at).text("ttl"))


def _tools(raw: msgspec.Raw | None) -> list[Tool]:
    if raw is None or bytes(raw) == b"null":
        return []
    try:
        return plain.tools_of(_plain_tools.decode(raw))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass  # and now with every question asked
    return [_tool(native, ((None, "tools"), index)) for index, native in enumerate(raw_objects(raw, (None, "tools")))]


def _tool(native: dict[str, msgspec.Raw], at: Path) -> Tool:
    schema = native.pop("input_schema", None)
    fields = Fields({key: msgspec.json.decode(value) for key, value in native.items()}, at)
    kind = fields.text("type")
    if kind is not None and kind != "custom":
        whole = {"type": kind, **fields.left}
        if schema is not None:
            whole["input_schema"] = schema
        name = str(whole.get("name", kind))
        other = stand_in(kind, name, at)
        if other is not None:
            other.strict = fields.flag("strict")
            other.cache = _cache(fields.any("cache_control"), (at, "cache_control"))
            other.extras = {key: value for key, value in fields.rest().items() if key != "name"}
        return Tool(name=name, kind="hosted", native=whole, dialect="messages", stand_in=other, at=at)
    return Tool(
        name=fields.need_text("name"),
        description=fields.text("description"),
        schema=schema_of(schema, (at, "input_schema")),
        strict=fields.flag("strict"),
        dialect="messages",
        cache=_cache(fields.any("cache_control"), (at, "cache_control")),
        at=at,
        extras=fields.rest(),
    )


def _tool_choice(fields: Fields, request: Request) -> None:
    native = fields.object("tool_choice")
    if native is None:
        return
    at: Path = (None, "tool_choice")
    choice = Fields(native, at)
    serial = choice.flag("disable_parallel_tool_use")
    request.parallel = None if serial is None else not serial
    match choice.any("type"):
        case "auto":
            found = ToolChoice(mode="auto", at=at)
        case "none":
            found = ToolChoice(mode="none", at=at)
        case "any":
            found = ToolChoice(mode="required", at=at)
        case "tool":
            found = ToolChoice(mode="tool", names=[choice.need_text("name")], at=at)
        case other:
            raise wrong((at, "type"), "auto, any, tool or none", other)
    found.extras = choice.rest()
    request.tool_choice = found


def _format(output: Fields, fields: Fields) -> Format | None:
    """`output_config.format`, or its older place `output_format` at the top."""
    at: Path = (output.at, "format")
    native = output.object("format")
    if native is None:
        at = (None, "output_format")
        native = fields.object("output_format")
    if native is None:
        return None
    inner = Fields(native, at)
    kind = inner.text("type")
    if kind != "json_schema":
        raise wrong((at, "type"), "json_schema", kind)
    schema = inner.object("schema")
    return Format(kind="schema", schema=msgspec.Raw(_encode(schema or {})), at=at, extras=inner.rest())


def _reasoning(fields: Fields, output: Fields) -> ReasoningAsk | None:
    native = fields.object("thinking")
    effort = output.text("effort")
    if native is None and effort is None:
        return None
    thinking = Fields(native or {}, (None, "thinking"))
    ask = ReasoningAsk(effort=effort, at=(None, "thinking") if native is not None else output.at)
    read_thinking(thinking, ask)
    return ask
