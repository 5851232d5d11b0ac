"""A `generateContent` request to the hub. Types: `google.genai.types`, written as `google.genai.models` does.

Model and verb stand in the path (`paths.locate`): `model` is empty and `stream` false until the gateway has set them.
"""

from __future__ import annotations

from typing import Any, cast

import msgspec

from dragoman.dialects.gemini.decode_contents import Conversation
from dragoman.dialects.gemini.names import Names, inner, keep_rest
from dragoman.dialects.gemini.parts import decode_part
from dragoman.dialects.gemini.paths import bare_model
from dragoman.dialects.gemini.schema import openapi_to_json
from dragoman.dialects.raw import raw_objects
from dragoman.dialects.shape import Fields, wrong
from dragoman.errors import MalformedBody
from dragoman.ir.request import Format, Message, Path, ReasoningAsk, Request, Sampling, Text, Tool, ToolChoice
from dragoman.wire.body import fields_of, malformed

RawObject = dict[str, msgspec.Raw]

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode
_object = msgspec.json.Decoder(RawObject)

_SCHEMAS = ("parametersJsonSchema", "parameters_json_schema")
_JSON = "application/json"


def decode_request(body: bytes) -> Request:
    raw = fields_of(body)
    try:
        # These hold JSON Schemas, which must arrive byte for byte.
        tools_raw = raw.pop("tools", None)
        config_key = "generation_config" if "generation_config" in raw and "generationConfig" not in raw else "generationConfig"
        config_raw = _raw_object(raw.pop(config_key, None), (None, config_key))
        schemas = {key: config_raw.pop(key) for key in list(config_raw) if "chema" in key}
        fields = Names({key: _decode(value) for key, value in raw.items()}, None)
        config = Names({key: _decode(value) for key, value in config_raw.items()}, (None, config_key))
        request = Request(model=bare_model(fields.text("model") or ""), dialect="gemini", include_usage=True)
        request.tools = _tools(tools_raw)
        request.format = _format(config, schemas)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise malformed(body, error) from None
    return _decoded(fields, config, request)


def _decoded(fields: Names, config: Names, request: Request) -> Request:
    at = fields.path("contents")
    natives = fields.any("contents")
    if type(natives) is dict:
        natives = [natives]
    if natives is not None and type(natives) is not list:
        raise wrong(at, "an array of contents", natives)
    if not natives:
        raise MalformedBody("contents: at least one content is required", param="contents")
    conversation = Conversation(cast("list[Any]", natives), at)
    request.messages = conversation.messages
    _system(fields, request)
    _numbers(config, request)
    _reasoning(config, request)
    _tool_choice(fields, request)
    _labels(fields, request)
    keep_rest(fields, "generationConfig", config)
    request.extras = fields.rest()
    return request


def _system(fields: Names, request: Request) -> None:
    at = fields.path("systemInstruction")
    native = fields.any("systemInstruction")
    if native is None:
        return
    if type(native) is str:
        request.system = [Text(text=native, at=at)] if native else []
        return
    content = Names(native, at)
    content.text("role")  # it has none, whatever stands there
    parts_at = content.path("parts")
    natives = content.any("parts")
    natives = [natives] if type(natives) is dict else natives
    if natives is not None and type(natives) is not list:
        raise wrong(parts_at, "an array of parts", natives)
    parts = [
        part
        for index, one in enumerate(cast("list[Any]", natives or []))
        for part in decode_part(one, (parts_at, index), None, lambda given, name: given or name)
    ]
    texts = [part for part in parts if isinstance(part, Text)]
    if len(texts) == len(parts):
        request.system = [text for text in texts if text.text]
    else:
        request.messages.insert(0, Message(role="system", parts=parts, at=at))
    keep_rest(fields, "systemInstruction", content)


# ---------------------------------------------------------------- scalars


def _numbers(config: Names, request: Request) -> None:
    request.paths = {
        "temperature": config.path("temperature"),
        "top_p": config.path("topP"),
        "top_k": config.path("topK"),
        "max_tokens": config.path("maxOutputTokens"),
        "n": config.path("candidateCount"),
        "stop": config.path("stopSequences"),
        "presence_penalty": config.path("presencePenalty"),
        "frequency_penalty": config.path("frequencyPenalty"),
        "seed": config.path("seed"),
        "logprobs": config.path("responseLogprobs"),
        "top_logprobs": config.path("logprobs"),
    }
    top_k = config.number("topK")
    request.sampling = Sampling(
        temperature=config.number("temperature"),
        top_p=config.number("topP"),
        top_k=int(top_k) if top_k is not None else None,
        presence_penalty=config.number("presencePenalty"),
        frequency_penalty=config.number("frequencyPenalty"),
        seed=config.integer("seed"),
    )
    request.max_tokens = config.integer("maxOutputTokens")
    request.n = config.integer("candidateCount")
    request.stop = config.texts("stopSequences") or []
    request.logprobs = config.flag("responseLogprobs")
    request.top_logprobs = config.integer("logprobs")
    modalities = config.own("responseModalities")
    if config.left.get(modalities) in (["TEXT"], ["text"]):
        config.left.pop(modalities)  # what an answer is made of anyway


def _labels(fields: Names, request: Request) -> None:
    request.paths["metadata"] = fields.path("labels")
    request.metadata = fields.object("labels") or {}
    request.paths["service_tier"] = fields.path("serviceTier")
    tier = fields.text("serviceTier")
    request.service_tier = tier.lower() if tier is not None and tier.lower() != "unspecified" else None
    request.paths["store"] = fields.path("store")
    request.store = fields.flag("store")


def _reasoning(config: Names, request: Request) -> None:
    at = config.path("thinkingConfig")
    native = config.object("thinkingConfig")
    if native is None:
        return
    thinking = Names(native, at)
    ask = ReasoningAsk(at=at)
    request.paths["display"] = thinking.path("includeThoughts")
    request.paths["budget"] = thinking.path("thinkingBudget")
    request.paths["effort"] = thinking.path("thinkingLevel")
    shown = thinking.flag("includeThoughts")
    if shown is not None:
        ask.display = "summarized" if shown else "omitted"
    budget = thinking.integer("thinkingBudget")
    if budget is not None:
        ask.mode = "off" if budget == 0 else "adaptive" if budget < 0 else "on"
        ask.budget = budget if budget > 0 else None
    level = thinking.word("thinkingLevel")
    if level is not None:
        ask.effort = level.lower()
    ask.extras = thinking.rest()
    if ask.extras or (shown, budget, level) != (None, None, None):
        request.reasoning = ask


# ---------------------------------------------------------------- tools


def _raw_object(raw: msgspec.Raw | None, at: Path) -> RawObject:
    if raw is None or bytes(raw) == b"null":
        return {}
    try:
        return _object.decode(raw)
    except msgspec.ValidationError:
        raise wrong(at, "an object", _decode(raw)) from None


def _raw_objects(raw: msgspec.Raw | None, at: Path) -> list[RawObject]:
    """One may stand alone."""
    return [_object.decode(raw)] if raw is not None and bytes(raw)[:1] == b"{" else raw_objects(raw, at)


def _tools(raw: msgspec.Raw | None) -> list[Tool]:
    tools: list[Tool] = []
    at: Path = (None, "tools")
    for index, native in enumerate(_raw_objects(raw, at)):
        here: Path = (at, index)
        for key, value in native.items():
            if key in {"functionDeclarations", "function_declarations"}:
                where: Path = (here, key)
                declarations = enumerate(_raw_objects(value, where))
                tools += [_function(declaration, (where, number)) for number, declaration in declarations]
            elif (hosted := _decode(value)) is not None:
                tools.append(Tool(name=key, kind="hosted", native={key: hosted}, dialect="gemini", at=(here, key)))
    return tools


def _function(native: RawObject, at: Path) -> Tool:
    schema = next((native.pop(key) for key in _SCHEMAS if key in native), None)
    fields = Names({key: _decode(value) for key, value in native.items()}, at)
    tool = Tool(name=fields.need_text("name"), description=fields.text("description"), dialect="gemini", at=at)
    if schema is not None and bytes(schema) != b"null":
        tool.schema = schema
    else:
        parameters = fields.object("parameters")
        if parameters is not None:
            tool.schema = msgspec.Raw(_encode(openapi_to_json(parameters)))
    tool.extras = fields.rest()
    return tool


def _tool_choice(fields: Names, request: Request) -> None:
    outer = inner(fields, "toolConfig")
    at = outer.path("functionCallingConfig")
    native = outer.object("functionCallingConfig")
    if native is not None:
        config = Names(native, at)
        mode = config.word("mode") or "AUTO"
        names = config.texts("allowedFunctionNames") or []
        choice = ToolChoice(at=at, names=names)
        match mode:
            case "NONE":
                choice.mode = "none"
            case "ANY" if len(names) == 1:
                choice.mode = "tool"
            case "ANY":
                choice.mode, choice.required = ("allowed" if names else "required"), bool(names)
            case "AUTO" | "VALIDATED":
                choice.mode = "allowed" if names else "auto"
                if mode == "VALIDATED" and not names:
                    config.left["mode"] = mode
            case _:
                # A mode that this version does not know: its own provider may.
                config.left["mode"] = mode
        choice.extras = config.rest()
        request.tool_choice = choice
    keep_rest(fields, "toolConfig", outer)


# ---------------------------------------------------------------- format


def _format(config: Names, schemas: RawObject) -> Format | None:
    """`responseMimeType` with a schema under one of its three names, or the newer `responseFormat`."""
    mime_at = config.path("responseMimeType")
    mime = config.left.get(config.own("responseMimeType"))
    if mime is not None and type(mime) is not str:
        raise wrong(mime_at, "a string", mime)
    if mime not in {None, _JSON, "text/plain"}:
        # A choice in plain text (`text/x.enum`), or what comes after it: no other dialect has it.
        config.left.update({key: _decode(value) for key, value in schemas.items()})
        return None
    found = _response_schema(config, schemas)
    for key, value in schemas.items():
        config.left[key] = _decode(value)
    if found is not None:
        config.any("responseMimeType")
        return found
    if mime == _JSON:
        config.any("responseMimeType")
        return Format(kind="json", at=mime_at)
    if mime == "text/plain":
        config.any("responseMimeType")
        return Format(kind="text", at=mime_at)
    return _newer_format(config) if mime is None else None


def _response_schema(config: Names, schemas: RawObject) -> Format | None:
    for key in ("responseJsonSchema", "response_json_schema", "_responseJsonSchema", "_response_json_schema"):
        if key in schemas and bytes(schemas[key]) != b"null":
            return Format(kind="schema", schema=schemas.pop(key), at=(config.at, key))
    for key in ("responseSchema", "response_schema"):
        if key in schemas and bytes(schemas[key]) != b"null":
            native = openapi_to_json(_decode(schemas.pop(key)))
            return Format(kind="schema", schema=msgspec.Raw(_encode(native)), at=(config.at, key))
    return None


def _newer_format(config: Names) -> Format | None:
    at = config.path("responseFormat")
    native = config.left.get(config.own("responseFormat"))
    if type(native) is not dict or type(cast("dict[str, Any]", native).get("text")) is not dict:
        return None
    outer = Fields(native, at)
    text = Names(outer.any("text"), (at, "text"))
    mime = text.word("mimeType")
    if mime not in {"APPLICATION_JSON", "TEXT_PLAIN", None} or outer.rest():
        return None
    schema = text.any("schema")
    config.any("responseFormat")
    if mime == "TEXT_PLAIN" and schema is None:
        found = Format(kind="text", at=text.at)
    elif schema is None:
        found = Format(kind="json", at=text.at)
    else:
        found = Format(kind="schema", schema=msgspec.Raw(_encode(schema)), at=text.at)
    found.extras = text.rest()
    return found
