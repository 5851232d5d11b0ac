"""A Converse request to the hub. Types: `ConverseRequest` of `bedrock-runtime` in `botocore`."""

from __future__ import annotations

from typing import Any

import msgspec

from dragoman.dialects.converse.decode_content import decode_message, decode_system, mark
from dragoman.dialects.raw import RawObject, decoded, raw_object, raw_objects, schema_of
from dragoman.dialects.shape import Fields
from dragoman.dialects.thinking import read_thinking
from dragoman.errors import MalformedBody
from dragoman.ir.request import Format, Path, ReasoningAsk, Request, Sampling, Tool, ToolChoice
from dragoman.wire.body import fields_of, malformed

Block = dict[str, Any]

_INFERENCE: Path = (None, "inferenceConfig")
_MODEL_FIELDS: Path = (None, "additionalModelRequestFields")
_TOOLS: Path = (None, "toolConfig")
_OUTPUT: Path = (None, "outputConfig")

# Where fields stand whose name here is not the hub's.
_PATHS: dict[str, Path] = {
    "max_tokens": (_INFERENCE, "maxTokens"),
    "temperature": (_INFERENCE, "temperature"),
    "top_p": (_INFERENCE, "topP"),
    "stop": (_INFERENCE, "stopSequences"),
    "top_k": (_MODEL_FIELDS, "top_k"),
    "budget": ((_MODEL_FIELDS, "thinking"), "budget_tokens"),
    "display": ((_MODEL_FIELDS, "thinking"), "display"),
    "effort": (_OUTPUT, "effort"),
    "format": (_OUTPUT, "textFormat"),
    "schema": (((_OUTPUT, "textFormat"), "structure"), "jsonSchema"),
    "tools": (_TOOLS, "tools"),
    "service_tier": ((None, "serviceTier"), "type"),
    "metadata": (None, "requestMetadata"),
}


def decode_request(body: bytes) -> Request:
    raw = fields_of(body)
    tools = raw.pop("toolConfig", None)
    try:
        fields = Fields({key: msgspec.json.decode(value) for key, value in raw.items()}, None)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise malformed(body, error) from None
    messages = fields.array("messages")
    if not messages:
        raise MalformedBody("messages: at least one message is required", param="messages")
    system, extras = decode_system(fields.array("system") or [])
    inference = Fields(fields.object("inferenceConfig") or {}, _INFERENCE)
    more = Fields(fields.object("additionalModelRequestFields") or {}, _MODEL_FIELDS)
    output = Fields(fields.object("outputConfig") or {}, _OUTPUT)
    tier = Fields(fields.object("serviceTier") or {}, (None, "serviceTier"))
    request = Request(
        model=fields.text("modelId") or "",
        dialect="converse",
        include_usage=True,
        system=system,
        messages=[decode_message(native, ((None, "messages"), index)) for index, native in enumerate(messages)],
        sampling=Sampling(temperature=inference.number("temperature"), top_p=inference.number("topP"), top_k=_top_k(more)),
        max_tokens=inference.integer("maxTokens"),
        stop=inference.texts("stopSequences") or [],
        format=_format(output),
        service_tier=tier.text("type"),
        metadata=fields.object("requestMetadata") or {},
        paths=_PATHS,
    )
    request.reasoning = _reasoning(more, output, request)
    try:
        left = _tool_config(tools, request)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise malformed(body, error) from None
    request.extras = {**fields.rest(), **extras}
    for name, rest in (
        ("inferenceConfig", inference.rest()),
        ("additionalModelRequestFields", more.rest()),
        ("outputConfig", output.rest()),
        ("serviceTier", tier.rest()),
        ("toolConfig", left),
    ):
        if rest:
            request.extras[name] = rest
    return request


def _top_k(more: Fields) -> int | None:
    """In Anthropic's words; another vendor's stay where they are."""
    return more.integer("top_k") if type(more.left.get("top_k")) in {int, float} else None


def _reasoning(more: Fields, output: Fields, request: Request) -> ReasoningAsk | None:
    """In the words of the vendor whose model it is: Anthropic's `thinking` (once `reasoning_config`), or OpenAI's effort.
    Enters in the request's `paths` what stands elsewhere than most of them have it."""
    effort = output.text("effort")
    ask = ReasoningAsk(effort=effort, at=(_OUTPUT, "effort")) if effort is not None else None
    key = next((key for key in ("thinking", "reasoning_config") if isinstance(more.left.get(key), dict)), None)
    if key is None:
        if ask is None and isinstance(more.left.get("reasoning_effort"), str):
            request.paths = {**_PATHS, "effort": (_MODEL_FIELDS, "reasoning_effort")}
            return ReasoningAsk(effort=more.text("reasoning_effort"), at=request.paths["effort"])
        return ask
    native = Fields(more.object(key), (_MODEL_FIELDS, key))
    if key != "thinking":
        request.paths = {**_PATHS, "budget": (native.at, "budget_tokens"), "display": (native.at, "display")}
    found = ReasoningAsk(effort=effort, at=native.at)
    read_thinking(native, found)
    return found


def _format(output: Fields) -> Format | None:
    native = output.object("textFormat")
    if native is None:
        return None
    at: Path = (_OUTPUT, "textFormat")
    fields = Fields(native, at)
    fields.any("type")
    structure = Fields(fields.object("structure") or {}, (at, "structure"))
    schema = Fields(structure.object("jsonSchema") or {}, ((at, "structure"), "jsonSchema"))
    text = schema.need_text("schema")
    try:
        msgspec.json.decode(text.encode(), type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        where = "outputConfig.textFormat.structure.jsonSchema.schema"
        raise MalformedBody(f"{where}: expected a JSON Schema, an object, as text", param=where) from None
    return Format(
        kind="schema",
        schema=msgspec.Raw(text.encode()),
        name=schema.text("name"),
        description=schema.text("description"),
        strict=True,
        at=at,
        extras={**fields.rest(), **structure.rest(), **schema.rest()},
    )


# ---------------------------------------------------------------- tools


def _tool_config(raw: msgspec.Raw | None, request: Request) -> Block:
    """Puts the tools and what is said of their choice into the request; gives what is left."""
    if raw is None or bytes(raw) == b"null":
        return {}
    config = raw_object(raw, _TOOLS)
    at: Path = (_TOOLS, "tools")
    extras: Block = {}
    for index, native in enumerate(raw_objects(config.pop("tools", None), at)):
        where: Path = (at, index)
        if "cachePoint" in native:
            fields = decoded(native, where)
            if not mark(request.tools, fields):
                extras[f"tools[{index}]"] = {"cachePoint": msgspec.json.decode(native["cachePoint"])}
        else:
            request.tools.append(_tool(native, where))
    fields = decoded(config, _TOOLS)
    request.tool_choice = _choice(fields)
    return {**fields.rest(), **extras}


def _tool(native: RawObject, at: Path) -> Tool:
    if "toolSpec" not in native:
        # One that Bedrock runs itself, or a kind that is not known yet.
        whole = {key: msgspec.json.decode(value) for key, value in native.items()}
        held = next(iter(whole.values()), None)
        name = held.get("name") if isinstance(held, dict) else None
        return Tool(name=str(name or next(iter(whole), "tool")), kind="hosted", native=whole, dialect="converse", at=at)
    inner: Path = (at, "toolSpec")
    spec = raw_object(native.pop("toolSpec"), inner)
    schema = raw_object(spec.pop("inputSchema", msgspec.Raw(b"{}")), (inner, "inputSchema"))
    fields = decoded(spec, inner)
    return Tool(
        name=fields.need_text("name"),
        description=fields.text("description"),
        schema=schema_of(schema.pop("json", None), ((inner, "inputSchema"), "json")),
        strict=fields.flag("strict"),
        dialect="converse",
        at=inner,
        extras={**fields.rest(), **({"inputSchema": decoded(schema, None).rest()} if schema else {})},
    )


def _choice(fields: Fields) -> ToolChoice | None:
    native = fields.object("toolChoice")
    if native is None:
        return None
    at: Path = (_TOOLS, "toolChoice")
    choice = Fields(native, at)
    match next(iter(native), ""):
        case "auto":
            choice.any("auto")
            return ToolChoice(mode="auto", at=at, extras=choice.rest())
        case "any":
            choice.any("any")
            return ToolChoice(mode="required", at=at, extras=choice.rest())
        case "tool":
            forced = Fields(choice.any("tool"), (at, "tool"))
            return ToolChoice(mode="tool", names=[forced.need_text("name")], at=at, extras=choice.rest())
        case other:
            where = "toolConfig.toolChoice"
            raise MalformedBody(f"{where}: expected auto, any or tool, got {other!r}", param=where)
