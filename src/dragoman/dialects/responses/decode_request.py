"""A Responses request to the hub. Types: `openai.types.responses.response_create_params`. What the hub has no field for stays
in `extras`, so that nothing is lost on the way."""

from __future__ import annotations

from typing import Any, cast

import msgspec

from dragoman.dialects.openai_parts import cache_policy_of, mark_of
from dragoman.dialects.raw import RawObject, decoded, raw_object, raw_objects, schema_of
from dragoman.dialects.responses.decode_items import Conversation
from dragoman.dialects.responses.namespaces import Names
from dragoman.dialects.shape import Fields, wrong
from dragoman.errors import MalformedBody
from dragoman.ir.request import (
    Format,
    Namespace,
    Path,
    ReasoningAsk,
    Request,
    Sampling,
    Text,
    Tool,
    ToolChoice,
    path_text,
)
from dragoman.wire.body import fields_of, malformed

_decode = msgspec.json.Decoder().decode

# Where fields stand whose name here is not the hub's.
_PATHS: dict[str, Path] = {
    "messages": (None, "input"),
    "max_tokens": (None, "max_output_tokens"),
    "cache_key": (None, "prompt_cache_key"),
    "parallel": (None, "parallel_tool_calls"),
    "verbosity": ((None, "text"), "verbosity"),
    "format": ((None, "text"), "format"),
    "schema": ((None, "text"), "format"),
    "effort": ((None, "reasoning"), "effort"),
    "logprobs": (None, "include"),
}
_SEALED = "reasoning.encrypted_content"
_LOGPROBS = "message.output_text.logprobs"
_SUMMARIES = {"auto": "summarized", "concise": "concise", "detailed": "detailed"}


def decode_request(body: bytes) -> Request:
    raw = fields_of(body)
    try:
        # These hold JSON Schemas, which must arrive byte for byte.
        tools = raw_objects(raw.pop("tools", None), (None, "tools"))
        text = raw.pop("text", None)
        fields = Fields({key: _decode(value) for key, value in raw.items()}, None)
        request = Request(model=_model(fields), dialect="responses", include_usage=True, paths=dict(_PATHS))
        _text(text, fields, request)
        given = _input(fields)
        names = _tools([(tools, (None, "tools")), *_later_tools(given)], request)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise malformed(body, error) from None
    instructions = fields.text("instructions")
    if instructions:
        request.system.append(Text(text=instructions, at=(None, "instructions")))
    conversation = Conversation(given, names)
    request.system += conversation.system
    request.messages = conversation.messages
    request.tool_choice = _tool_choice(fields, names)
    request.reasoning = _reasoning(fields, request)
    _include(fields, request)
    _labels(fields, request)
    if fields.left.get("prompt") is not None:
        request.template = "prompt"
    request.extras = {**request.extras, **fields.rest(), **conversation.extras}
    return request


def _model(fields: Fields) -> str:
    # With a stored `prompt` the model may be the prompt's.
    model = fields.text("model")
    if model is None and "prompt" not in fields.left:
        raise MalformedBody("model: a string is required here", param="model")
    return model or ""


def _input(fields: Fields) -> str | list[Any]:
    native = fields.any("input")
    match native:
        case str() | list():
            return native
        case None:
            if any(fields.left.get(key) for key in ("prompt", "previous_response_id", "conversation")):
                return []
            raise MalformedBody("input: a string or an array of items is required here", param="input")
        case _:
            raise wrong((None, "input"), "a string or an array of items", native)


# ---------------------------------------------------------------- scalars


def _labels(fields: Fields, request: Request) -> None:
    request.stream = fields.flag("stream") or False
    request.sampling = Sampling(temperature=fields.number("temperature"), top_p=fields.number("top_p"))
    request.max_tokens = fields.integer("max_output_tokens")
    request.top_logprobs = fields.integer("top_logprobs")
    request.parallel = fields.flag("parallel_tool_calls")
    request.store = fields.flag("store")
    request.metadata = fields.object("metadata") or {}
    request.service_tier = fields.text("service_tier")
    request.cache_key = fields.text("prompt_cache_key")
    request.cache_policy = cache_policy_of(fields)
    user, identifier = fields.text("user"), fields.text("safety_identifier")
    if user is None and identifier is not None:
        request.paths["user"] = (None, "safety_identifier")
    elif identifier is not None and identifier != user:
        fields.left["safety_identifier"] = identifier
    request.user = user if user is not None else identifier


def _include(fields: Fields, request: Request) -> None:
    """Two of the extra outputs have a word in the hub; the rest only this API's own tools have."""
    wanted = fields.texts("include")
    if not wanted:
        return
    request.sealed_reasoning = _SEALED in wanted
    if _LOGPROBS in wanted:
        request.logprobs = True
        request.paths["logprobs"] = ((None, "include"), wanted.index(_LOGPROBS))
    if rest := [word for word in wanted if word not in {_SEALED, _LOGPROBS}]:
        fields.left["include"] = rest


def _reasoning(fields: Fields, request: Request) -> ReasoningAsk | None:
    native = fields.object("reasoning")
    if native is None:
        return None
    inner = Fields(native, (None, "reasoning"))
    ask = ReasoningAsk(effort=inner.text("effort"), at=inner.at)
    for key in ("summary", "generate_summary"):
        word = inner.left.get(key)
        if ask.display is None and type(word) is str and word in _SUMMARIES:
            ask.display = _SUMMARIES[word]
            request.paths["display"] = (inner.at, key)
            inner.left.pop(key)
    if ask.effort == "none":
        ask.mode = "off"
    if ask.effort is None and ask.display is None:
        if rest := inner.rest():
            fields.left["reasoning"] = rest
        return None
    ask.extras = inner.rest()
    return ask


# ---------------------------------------------------------------- format


def _text(raw: msgspec.Raw | None, fields: Fields, request: Request) -> None:
    """`text`: how long, and in which form."""
    if raw is None or bytes(raw) == b"null":
        return
    at: Path = (None, "text")
    native = raw_object(raw, at)
    wanted = native.pop("format", None)
    inner = decoded(native, at)
    request.verbosity = inner.text("verbosity")
    if wanted is not None and bytes(wanted) != b"null":
        request.format = _format(wanted, (at, "format"))
        if request.format is None:
            inner.left["format"] = _decode(wanted)
    if rest := inner.rest():
        fields.left["text"] = rest


def _format(raw: msgspec.Raw, at: Path) -> Format | None:
    """None for a type that the hub has no word for: it then stays among the extras."""
    native = raw_object(raw, at)
    kind = _decode(native.pop("type", b"null"))
    match kind:
        case "json_schema":
            schema = schema_of(native.pop("schema", None), (at, "schema"))
            inner = decoded(native, at)
            wanted = Format(kind="schema", schema=schema, name=inner.text("name"), description=inner.text("description"), at=at)
            wanted.strict = inner.flag("strict")
            wanted.extras = inner.rest()
            return wanted
        case "text" | "json_object":
            return Format(kind="text" if kind == "text" else "json", at=at, extras=decoded(native, at).rest())
        case str():
            return None
        case _:
            raise wrong((at, "type"), "a string", kind)


# ---------------------------------------------------------------- tools


Lists = list[tuple[list[RawObject], Path]]
"""Lists of tools and where they stand."""


def _later_tools(given: str | list[Any]) -> Lists:
    """The tools that items of the input bring along (`additional_tools`), which is how Codex sends all of its own. Elsewhere
    tools are there from the start or not at all."""
    lists: Lists = []
    for index, item in enumerate(given if isinstance(given, list) else ()):
        if type(item) is dict and item.get("type") == "additional_tools":
            at: Path = (((None, "input"), index), "tools")
            lists.append((raw_objects(msgspec.Raw(msgspec.json.encode(cast("Any", item).get("tools"))), at), at))
    return lists


def _tools(lists: Lists, request: Request) -> Names:
    """The request's tools; those of a group come one by one, under names of their own."""
    names = Names(_name_of(native) for natives, _ in lists for native in natives if _kind_of(native) in {"function", "custom"})
    for natives, there in lists:
        for index, native in enumerate(natives):
            at: Path = (there, index)
            if _kind_of(native) == "namespace":
                request.tools += _grouped(native, at, names, request)
            else:
                request.tools.append(_tool(native, at))
    return names


def _kind_of(native: RawObject) -> Any:
    kind = _decode(native.get("type", b"null"))
    return kind if type(kind) is str else None


def _name_of(native: RawObject) -> str:
    return str(_decode(native.get("name", b"null")))


def _tool(native: RawObject, at: Path) -> Tool:
    kind = _decode(native.pop("type", b"null"))
    match kind:
        case "function":
            schema = schema_of(native.pop("parameters", None), (at, "parameters"))
            fields = decoded(native, at)
            tool = Tool(name=fields.need_text("name"), description=fields.text("description"), schema=schema, at=at)
            tool.strict = fields.flag("strict")
        case "custom":
            fields = decoded(native, at)
            tool = Tool(name=fields.need_text("name"), description=fields.text("description"), kind="custom", at=at)
            form = fields.object("format")
            tool.native = {} if form is None else {"format": _nested(form)}
        case str():
            fields = decoded(native, at)
            name = fields.left.get("name")
            whole = {"type": kind, **fields.left}
            return Tool(name=name if type(name) is str else kind, kind="hosted", native=whole, dialect="responses", at=at)
        case _:
            raise wrong((at, "type"), "a string", kind)
    tool.dialect = "responses"
    tool.cache = mark_of(fields)
    tool.extras = fields.rest()
    return tool


def _nested(form: dict[str, Any]) -> dict[str, Any]:
    """The format of a free-text tool as Chat Completions writes it, where a grammar is an object of its own."""
    if form.get("type") != "grammar":
        return form
    return {"type": "grammar", "grammar": {key: value for key, value in form.items() if key != "type"}}


def _grouped(native: RawObject, at: Path, names: Names, request: Request) -> list[Tool]:
    inner = raw_objects(native.pop("tools", None), (at, "tools"))
    fields = decoded(native, at)
    fields.left.pop("type", None)
    space, description = fields.need_text("name"), fields.text("description")
    for key, value in fields.rest().items():
        request.extras[path_text((at, key))] = value
    tools: list[Tool] = []
    for index, one in enumerate(inner):
        tool = _tool(one, ((at, "tools"), index))
        if tool.kind != "hosted":
            tool.namespace = Namespace(
                name=space, description=description, tool=tool.name, tool_description=tool.description, at=at
            )
            tool.name = names.add(space, tool.name)
            if description and not index:
                # Where there are no groups, the model learns of this one here.
                tool.description = f"{tool.description or ''}\n\n(One of the tools of {space}: {description})".lstrip()
        tools.append(tool)
    return tools


def _tool_choice(fields: Fields, names: Names) -> ToolChoice | None:
    at: Path = (None, "tool_choice")
    native = fields.any("tool_choice")
    match native:
        case None:
            return None
        case "auto" | "none" | "required":
            return ToolChoice(mode=native, at=at)
        case str():
            raise MalformedBody(f"tool_choice: expected none, auto, required or an object, got {native!r}", param="tool_choice")
        case _:
            inner = Fields(native, at)
    kind = inner.any("type")
    match kind:
        case "function" | "custom":
            return ToolChoice(mode="tool", names=[_chosen(inner, names)], at=at, extras=inner.rest())
        case "allowed_tools":
            return _allowed(inner, names)
        case str():
            # A tool that the provider runs. The hub has no word for choosing one.
            fields.left["tool_choice"] = native
            return None
        case _:
            raise wrong((at, "type"), "a string", kind)


def _chosen(fields: Fields, names: Names) -> str:
    space = fields.text("namespace")
    name = fields.need_text("name")
    return names.of(space, name) if space is not None else names.meant(name)


def _allowed(inner: Fields, names: Names) -> ToolChoice:
    mode = inner.text("mode") or "auto"
    if mode not in {"auto", "required"}:
        path = path_text((inner.at, "mode"))
        raise MalformedBody(f"{path}: expected auto or required, got {mode!r}", param=path)
    choice = ToolChoice(mode="allowed", required=mode == "required", at=inner.at)
    others: list[Any] = []
    for index, native in enumerate(inner.array("tools") or []):
        entry = Fields(native, ((inner.at, "tools"), index))
        if entry.any("type") in ("function", "custom"):
            choice.names.append(_chosen(entry, names))
        else:
            others.append(native)
    if others:
        inner.left["tools"] = others
    choice.extras = inner.rest()
    return choice
