"""A Chat Completions request to the hub. Types: `openai.types.chat.completion_create_params`, and what OpenRouter, vLLM
and others add to them. What the hub has no field for stays in `extras`, so that nothing is lost on the way."""

from __future__ import annotations

from typing import Any

import msgspec

from dragoman.dialects.chat.decode_messages import Conversation
from dragoman.dialects.openai_completions import sampling_of, stops_of
from dragoman.dialects.openai_parts import cache_policy_of, mark_of, rest_with
from dragoman.dialects.raw import RawObject, decoded, raw_object, raw_objects, schema_of
from dragoman.dialects.shape import Fields, wrong
from dragoman.errors import MalformedBody
from dragoman.ir.request import Format, Path, ReasoningAsk, Request, Tool, ToolChoice, path_text
from dragoman.wire.body import fields_of, malformed

_decode = msgspec.json.Decoder().decode


def decode_request(body: bytes) -> Request:
    raw = fields_of(body)
    try:
        # These hold JSON Schemas, which must arrive byte for byte.
        tools = raw_objects(raw.pop("tools", None), (None, "tools"))
        functions = raw_objects(raw.pop("functions", None), (None, "functions"))
        response_format = raw.pop("response_format", None)
        wanted = _format(response_format)
        fields = Fields({key: _decode(value) for key, value in raw.items()}, None)
        if response_format is not None and wanted is None:
            fields.left["response_format"] = _decode(response_format)
        messages = fields.array("messages")
        if not messages:
            raise MalformedBody("messages: at least one message is required", param="messages")
        request = Request(model=_model(fields), dialect="chat", format=wanted)
        request.tools = [_tool(native, ((None, "tools"), index)) for index, native in enumerate(tools)]
        request.tools += [_function(native, ((None, "functions"), index)) for index, native in enumerate(functions)]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise malformed(body, error) from None
    conversation = Conversation(messages)
    request.system, request.messages = conversation.system, conversation.messages
    request.tool_choice = _tool_choice(fields)
    _legacy_choice(fields, request, told=bool(functions) and not tools)
    request.reasoning = _reasoning(fields, request)
    _numbers(fields, request)
    _labels(fields, request)
    request.extras = {**fields.rest(), **conversation.extras}
    return request


def _model(fields: Fields) -> str:
    model = fields.text("model")
    if model is None:
        raise MalformedBody("model: a string is required here", param="model")
    return model


# ---------------------------------------------------------------- scalars


def _numbers(fields: Fields, request: Request) -> None:
    request.sampling = sampling_of(fields)
    newer, older = fields.integer("max_completion_tokens"), fields.integer("max_tokens")
    if newer is not None:
        request.paths["max_tokens"] = (None, "max_completion_tokens")
        if older is not None and older != newer:
            fields.left["max_tokens"] = older
    request.max_tokens = newer if newer is not None else older
    request.n = fields.integer("n")
    request.logprobs = fields.flag("logprobs")
    request.top_logprobs = fields.integer("top_logprobs")
    request.stop = stops_of(fields)


def _labels(fields: Fields, request: Request) -> None:
    request.stream = fields.flag("stream") or False
    options = Fields(fields.object("stream_options") or {}, (None, "stream_options"))
    request.include_usage = options.flag("include_usage") or False
    if rest := options.rest():
        fields.left["stream_options"] = rest
    user, identifier = fields.text("user"), fields.text("safety_identifier")
    if user is None and identifier is not None:
        request.paths["user"] = (None, "safety_identifier")
    elif identifier is not None and identifier != user:
        fields.left["safety_identifier"] = identifier
    request.user = user if user is not None else identifier
    request.metadata = fields.object("metadata") or {}
    request.service_tier = fields.text("service_tier")
    request.cache_key = fields.text("prompt_cache_key")
    request.paths["cache_key"] = (None, "prompt_cache_key")
    request.cache_policy = cache_policy_of(fields)
    request.verbosity = fields.text("verbosity")
    request.store = fields.flag("store")
    request.parallel = fields.flag("parallel_tool_calls")
    request.paths["parallel"] = (None, "parallel_tool_calls")
    request.paths["schema"] = ((None, "response_format"), "json_schema")


# ---------------------------------------------------------------- reasoning


def _reasoning(fields: Fields, request: Request) -> ReasoningAsk | None:
    """`reasoning_effort` (OpenAI), `reasoning` (OpenRouter) and `thinking` (DeepSeek, Z.ai, Moonshot) say one thing."""
    ask = ReasoningAsk()
    _thinking(fields, ask)
    _reasoning_object(fields, ask, request)
    effort = fields.text("reasoning_effort")
    if effort is not None:
        if ask.effort is not None and ask.effort != effort:
            fields.left["reasoning"] = {**(fields.left.get("reasoning") or {}), "effort": ask.effort}
        ask.effort = effort
        request.paths["effort"] = (None, "reasoning_effort")
        ask.at = ask.at or (None, "reasoning_effort")
    if ask.effort == "none":
        ask.mode = "off"
    said = (ask.mode, ask.effort, ask.budget, ask.display)
    return ask if any(value is not None for value in said) else None


def _thinking(fields: Fields, ask: ReasoningAsk) -> None:
    native = fields.left.get("thinking")
    if type(native) is not dict:
        return
    inner = Fields(fields.any("thinking"), (None, "thinking"))
    match inner.left.get("type"):
        case "enabled":
            ask.mode = "on"
        case "disabled":
            ask.mode = "off"
        case "adaptive" | "auto":
            ask.mode = "adaptive"
        case _:
            fields.left["thinking"] = native
            return
    inner.left.pop("type")
    ask.budget = inner.integer("budget_tokens")
    ask.at = inner.at
    if rest := inner.rest():
        fields.left["thinking"] = rest


def _reasoning_object(fields: Fields, ask: ReasoningAsk, request: Request) -> None:
    if type(fields.left.get("reasoning")) is not dict:
        return
    inner = Fields(fields.any("reasoning"), (None, "reasoning"))
    ask.effort = inner.text("effort")
    budget = inner.integer("max_tokens")
    if ask.budget is None:
        ask.budget = budget
    elif budget is not None:
        inner.left["max_tokens"] = budget
    enabled = inner.left.get("enabled")
    if type(enabled) is bool and (ask.mode is None or (ask.mode == "off") is not enabled):
        ask.mode = ask.mode or ("on" if enabled else "off")
        inner.left.pop("enabled")
    if inner.left.get("exclude") is True:
        inner.left.pop("exclude")
        ask.display = "omitted"
        request.paths["display"] = (inner.at, "exclude")
    if ask.at is None:
        ask.at = inner.at
    elif ask.effort is not None:
        request.paths["effort"] = (inner.at, "effort")
    if rest := inner.rest():
        fields.left["reasoning"] = rest


# ---------------------------------------------------------------- tools


def _tool(native: RawObject, at: Path) -> Tool:
    raw_kind = native.pop("type", None)
    kind = _decode(raw_kind) if raw_kind is not None else "function" if "function" in native else None
    if type(kind) is not str:
        raise wrong((at, "type"), "a string", kind)
    if kind == "function":
        here: Path = (at, "function")
        inner_raw = raw_object(native.pop("function", None), here)
        schema = schema_of(inner_raw.pop("parameters", None), (here, "parameters"))
        inner, outer = decoded(inner_raw, here), decoded(native, at)
        tool = Tool(name=inner.need_text("name"), description=inner.text("description"), schema=schema, dialect="chat", at=at)
        tool.strict = inner.flag("strict")
    elif kind == "custom":
        inner, outer = decoded(raw_object(native.pop("custom", None), (at, "custom")), (at, "custom")), decoded(native, at)
        tool = Tool(name=inner.need_text("name"), description=inner.text("description"), kind="custom", dialect="chat", at=at)
        form = inner.object("format")
        tool.native = {} if form is None else {"format": form}
    else:
        outer = decoded(native, at)
        name = outer.left.get("name")
        whole = {"type": kind, **outer.left}
        return Tool(name=name if type(name) is str else kind, kind="hosted", native=whole, dialect="chat", at=at)
    tool.cache = mark_of(outer)
    tool.extras = rest_with(outer, kind, inner)
    return tool


def _function(native: RawObject, at: Path) -> Tool:
    schema = schema_of(native.pop("parameters", None), (at, "parameters"))
    fields = decoded(native, at)
    name = fields.need_text("name")
    return Tool(name=name, description=fields.text("description"), schema=schema, dialect="chat", at=at, extras=fields.rest())


def _tool_choice(fields: Fields) -> ToolChoice | None:
    at: Path = (None, "tool_choice")
    native = fields.any("tool_choice")
    match native:
        case None:
            return None
        case "auto" | "none" | "required":
            return ToolChoice(mode=native, at=at)
        case "any":  # Mistral's word
            return ToolChoice(mode="required", at=at)
        case str():
            raise MalformedBody(f"tool_choice: expected none, auto, required or an object, got {native!r}", param="tool_choice")
        case _:
            outer = Fields(native, at)
    kind = outer.any("type")
    if kind in ("function", "custom"):
        inner = Fields(outer.any(kind), (at, kind))
        choice = ToolChoice(mode="tool", names=[inner.need_text("name")], at=at)
        choice.extras = rest_with(outer, kind, inner)
        return choice
    if kind == "allowed_tools":
        return _allowed(outer, at)
    if type(kind) is not str:
        raise wrong((at, "type"), "a string", kind)
    # A tool that the provider runs. The hub has no word for choosing one.
    fields.left["tool_choice"] = native
    return None


def _allowed(outer: Fields, at: Path) -> ToolChoice:
    inner = Fields(outer.any("allowed_tools"), (at, "allowed_tools"))
    mode = inner.text("mode") or "auto"
    if mode not in {"auto", "required"}:
        path = path_text((inner.at, "mode"))
        raise MalformedBody(f"{path}: expected auto or required, got {mode!r}", param=path)
    choice = ToolChoice(mode="allowed", required=mode == "required", at=at)
    others: list[Any] = []
    for index, native in enumerate(inner.array("tools") or []):
        entry = Fields(native, ((inner.at, "tools"), index))
        kind = entry.any("type")
        if kind in ("function", "custom"):
            choice.names.append(Fields(entry.any(kind), (entry.at, kind)).need_text("name"))
        else:
            others.append(native)
    if others:
        inner.left["tools"] = others
    choice.extras = rest_with(outer, "allowed_tools", inner)
    return choice


def _legacy_choice(fields: Fields, request: Request, *, told: bool) -> None:
    """`function_call`, in the words of before `tools`."""
    at: Path = (None, "function_call")
    native = fields.any("function_call")
    request.legacy_functions = told
    if native is None:
        return
    request.legacy_functions = told or not request.tools
    if native in ("auto", "none"):
        choice = ToolChoice(mode=native, at=at)
    elif type(native) is str:
        raise MalformedBody(f"function_call: expected none, auto or an object, got {native!r}", param="function_call")
    else:
        inner = Fields(native, at)
        choice = ToolChoice(mode="tool", names=[inner.need_text("name")], at=at, extras=inner.rest())
    if request.tool_choice is None:
        request.tool_choice = choice
    else:
        fields.left["function_call"] = native


# ---------------------------------------------------------------- format


def _format(raw: msgspec.Raw | None) -> Format | None:
    """None also for a type that the hub has no word for: it then stays among the extras."""
    if raw is None or bytes(raw) == b"null":
        return None
    at: Path = (None, "response_format")
    native = raw_object(raw, at)
    kind = _decode(native.pop("type", b"null"))
    if kind == "json_schema":
        here: Path = (at, "json_schema")
        inner_raw = raw_object(native.pop("json_schema", None), here)
        schema = schema_of(inner_raw.pop("schema", None), (here, "schema"))
        inner, outer = decoded(inner_raw, here), decoded(native, at)
        wanted = Format(kind="schema", schema=schema, name=inner.text("name"), description=inner.text("description"), at=at)
        wanted.strict = inner.flag("strict")
        wanted.extras = rest_with(outer, "json_schema", inner)
        return wanted
    if kind in ("text", "json_object"):
        return Format(kind="text" if kind == "text" else "json", at=at, extras=decoded(native, at).rest())
    if type(kind) is not str:
        raise wrong((at, "type"), "a string", kind)
    return None
