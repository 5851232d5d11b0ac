"""What an upstream was told, in no dialect's words: a reader of requests for each dialect that upstreams speak.

A further dialect of upstreams is a function and a row in `READERS`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

import msgspec

from dragoman.testing.http1 import Request

Json = Mapping[str, Any]


class Bit(msgspec.Struct, frozen=True):
    """One part of a turn. `value` is the text, a call's parsed arguments, or a result's text; of an image its base64 or URL.
    `images` are those that stand within a result. `seal` is a signature or encrypted state that stands on it."""

    kind: Literal["text", "image", "call", "result", "thinking", "other"]
    value: Any = ""
    id: str = ""
    name: str = ""
    images: tuple[str, ...] = ()
    seal: str = ""


class Spoken(msgspec.Struct, frozen=True):
    role: Literal["user", "assistant", "system"]
    bits: tuple[Bit, ...]


class Declared(msgspec.Struct, frozen=True):
    description: str
    schema: Any


class Heard(msgspec.Struct):
    """`choice` is `auto`, `none`, `required` or a tool's name; empty where nothing was said. `raw` is the body as it came."""

    raw: str
    body: Any
    turns: list[Spoken] = []
    system: str = ""
    tools: dict[str, Declared] = {}
    choice: str = ""
    parallel: bool = True
    max_tokens: int | None = None
    temperature: float | None = None
    stop: tuple[str, ...] = ()
    schema: Any = None
    thinking: bool = False

    def bits(self, kind: str) -> list[Bit]:
        return [bit for turn in self.turns for bit in turn.bits if bit.kind == kind]

    @property
    def images(self) -> list[str]:
        """Every image, wherever it stands."""
        found = [bit.value for bit in self.bits("image")]
        return found + [image for bit in self.bits("result") for image in bit.images]

    def said(self, role: str) -> str:
        return "\n".join(str(bit.value) for turn in self.turns if turn.role == role for bit in turn.bits if bit.kind == "text")


def heard(dialect: str, request: Request) -> Heard:
    body = request.json
    return READERS[dialect](body if isinstance(body, dict) else {}, request.body.decode("utf-8", "replace"))


def _texts(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(str(part.get("text", "")) for part in content or () if isinstance(part, dict) and part.get("text"))


def _parsed(arguments: Any) -> Any:
    try:
        return json.loads(arguments)
    except (TypeError, ValueError):
        return arguments


# ---------------------------------------------------------------- Messages


def read_messages(body: Json, raw: str) -> Heard:
    found = Heard(raw, body, system=_texts(body.get("system")))
    for message in body.get("messages") or ():
        content = message.get("content")
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content or []
        if message.get("role") == "system":
            found.system += "\n" + _texts(content)
            continue
        found.turns.append(Spoken(message["role"], tuple(_messages_bit(block) for block in blocks)))
    for tool in body.get("tools") or ():
        found.tools[tool.get("name", "")] = Declared(tool.get("description", ""), tool.get("input_schema"))
    choice = body.get("tool_choice") or {}
    said = str(choice.get("type") or "")
    found.choice = str(choice.get("name") or {"any": "required"}.get(said, said))
    found.parallel = not choice.get("disable_parallel_tool_use")
    found.max_tokens, found.temperature = body.get("max_tokens"), body.get("temperature")
    found.stop = tuple(body.get("stop_sequences") or ())
    asked = (body.get("output_config") or {}).get("format") or body.get("output_format") or {}
    found.schema = asked.get("schema")
    effort = (body.get("output_config") or {}).get("effort")
    found.thinking = bool(effort) or (body.get("thinking") or {}).get("type") in ("enabled", "adaptive")
    return found


def _messages_bit(block: Json) -> Bit:
    match block.get("type"):
        case "text":
            return Bit("text", block.get("text", ""))
        case "image":
            return Bit("image", _source(block))
        case "tool_use":
            return Bit("call", block.get("input"), block.get("id", ""), block.get("name", ""))
        case "tool_result":
            content = block.get("content")
            parts = content if isinstance(content, list) else []
            images = tuple(_source(part) for part in parts if part.get("type") == "image")
            named = [str(part.get("tool_name")) for part in parts if part.get("type") == "tool_reference"]
            return Bit("result", "\n".join([_texts(content), *named]), block.get("tool_use_id", ""), images=images)
        case "thinking":
            return Bit("thinking", block.get("thinking", ""), seal=block.get("signature") or "")
        case "redacted_thinking":
            return Bit("thinking", "", seal=block.get("data") or "")
        case _:
            return Bit("other", block)


def _source(block: Json) -> str:
    source = block.get("source") or {}
    return source.get("data") or source.get("url") or ""


# ---------------------------------------------------------------- Chat Completions


def read_chat(body: Json, raw: str) -> Heard:
    found = Heard(raw, body)
    system: list[str] = []
    for message in body.get("messages") or ():
        role, content = message.get("role"), message.get("content")
        if role in ("system", "developer"):
            system.append(_texts(content))
        elif role == "tool":
            images = (
                tuple(_url(part) for part in content if part.get("type") == "image_url") if isinstance(content, list) else ()
            )
            bit = Bit("result", _texts(content), message.get("tool_call_id", ""), images=images)
            found.turns.append(Spoken("user", (bit,)))
        else:
            found.turns.append(Spoken("assistant" if role == "assistant" else "user", tuple(_chat_bits(message))))
    found.system = "\n".join(system)
    for tool in body.get("tools") or ():
        told = tool.get(tool.get("type", "")) or {}
        found.tools[told.get("name", "")] = Declared(told.get("description", ""), told.get("parameters"))
    choice = body.get("tool_choice")
    named = choice.get("function") or {} if isinstance(choice, dict) else {}
    found.choice = choice if isinstance(choice, str) else str(named.get("name") or "")
    found.parallel = body.get("parallel_tool_calls") is not False
    found.max_tokens = body.get("max_completion_tokens") or body.get("max_tokens")
    found.temperature = body.get("temperature")
    stop = body.get("stop")
    found.stop = (stop,) if isinstance(stop, str) else tuple(stop or ())
    found.schema = ((body.get("response_format") or {}).get("json_schema") or {}).get("schema")
    found.thinking = any(body.get(key) for key in ("reasoning_effort", "reasoning", "thinking"))
    return found


def _chat_bits(message: Json) -> Iterator[Bit]:
    thought = message.get("reasoning_content") or message.get("reasoning")
    if thought:
        yield Bit("thinking", thought)
    for detail in message.get("reasoning_details") or ():
        yield Bit("thinking", detail.get("text", ""), seal=detail.get("signature") or detail.get("data") or "")
    content = message.get("content")
    for part in [{"type": "text", "text": content}] if isinstance(content, str) else content or ():
        if part.get("type") == "image_url":
            yield Bit("image", _url(part))
        elif part.get("type") in ("text", "refusal"):
            yield Bit("text", part.get("text") or part.get("refusal") or "")
        else:
            yield Bit("other", part)
    for call in message.get("tool_calls") or ():
        function = call.get("function") or call.get("custom") or {}
        yield Bit("call", _parsed(function.get("arguments")), call.get("id", ""), function.get("name", ""))


def _url(part: Json) -> str:
    image = part.get("image_url")
    return _bare(image.get("url", "") if isinstance(image, dict) else image or "")


def _bare(url: str) -> str:
    """The base64 of a data URL, any other URL as it is."""
    return url.partition("base64,")[2] if url.startswith("data:") else url


# ---------------------------------------------------------------- Responses


def read_responses(body: Json, raw: str) -> Heard:
    found = Heard(raw, body, system=body.get("instructions") or "")
    items = body.get("input")
    for item in [{"type": "message", "role": "user", "content": items}] if isinstance(items, str) else items or ():
        role = item.get("role", "")
        if role in ("system", "developer"):
            found.system += "\n" + _texts(item.get("content"))
        else:
            found.turns.append(_item(item))
    for tool in body.get("tools") or ():
        found.tools[tool.get("name", "")] = Declared(tool.get("description", ""), tool.get("parameters"))
    choice = body.get("tool_choice")
    found.choice = choice if isinstance(choice, str) else (choice or {}).get("name", "")
    found.parallel = body.get("parallel_tool_calls") is not False
    found.max_tokens, found.temperature = body.get("max_output_tokens"), body.get("temperature")
    found.schema = ((body.get("text") or {}).get("format") or {}).get("schema")
    found.thinking = bool(body.get("reasoning"))
    return found


def _item(item: Json) -> Spoken:
    match item.get("type") or "message":
        case "message":
            content = item.get("content")
            parts = [{"type": "input_text", "text": content}] if isinstance(content, str) else content or []
            return Spoken("assistant" if item.get("role") == "assistant" else "user", tuple(map(_response_part, parts)))
        case "function_call" | "custom_tool_call":
            value = _parsed(item.get("arguments") or item.get("input"))
            return Spoken("assistant", (Bit("call", value, item.get("call_id", ""), item.get("name", "")),))
        case "function_call_output" | "custom_tool_call_output":
            output = item.get("output")
            parts = output if isinstance(output, list) else []
            images = tuple(_bare(part.get("image_url") or "") for part in parts if part.get("type") == "input_image")
            return Spoken("user", (Bit("result", _texts(output), item.get("call_id", ""), images=images),))
        case "reasoning":
            text = "\n".join(part.get("text", "") for part in item.get("summary") or ())
            return Spoken("assistant", (Bit("thinking", text, seal=item.get("encrypted_content") or ""),))
        case _:
            return Spoken("assistant", (Bit("other", item),))


def _response_part(part: Json) -> Bit:
    if part.get("type") == "input_image":
        return Bit("image", _bare(part.get("image_url") or ""))
    return Bit("text", part.get("text") or part.get("refusal") or "")


# ---------------------------------------------------------------- Gemini


def read_gemini(body: Json, raw: str) -> Heard:
    system = _either(body, "systemInstruction") or {}
    found = Heard(raw, body, system=_texts(system.get("parts") if isinstance(system, dict) else system))
    for content in body.get("contents") or ():
        role = "assistant" if content.get("role") == "model" else "user"
        found.turns.append(Spoken(role, tuple(_gemini_bit(part) for part in content.get("parts") or ())))
    for tool in body.get("tools") or ():
        for function in _either(tool, "functionDeclarations") or ():
            schema = _either(function, "parametersJsonSchema") or function.get("parameters")
            found.tools[function.get("name", "")] = Declared(function.get("description", ""), schema)
    calling = _either(_either(body, "toolConfig") or {}, "functionCallingConfig") or {}
    mode, names = str(calling.get("mode", "")).upper(), _either(calling, "allowedFunctionNames") or []
    found.choice = {"ANY": names[0] if len(names) == 1 else "required"}.get(mode, mode.lower())
    config = _either(body, "generationConfig") or {}
    found.max_tokens, found.temperature = _either(config, "maxOutputTokens"), config.get("temperature")
    found.stop = tuple(_either(config, "stopSequences") or ())
    found.schema = _either(config, "responseJsonSchema") or _either(config, "responseSchema")
    found.thinking = bool(_either(config, "thinkingConfig"))
    return found


def _either(body: Json, camel: str) -> Any:
    """A field of Gemini's, which takes both spellings."""
    snake = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in camel)
    return body.get(camel, body.get(snake))


def _gemini_bit(part: Json) -> Bit:
    seal = _either(part, "thoughtSignature") or ""
    call, result = _either(part, "functionCall"), _either(part, "functionResponse")
    if call:
        return Bit("call", call.get("args") or {}, call.get("id", ""), call.get("name", ""), seal=seal)
    if result:
        answer = result.get("response")
        images = tuple(filter(None, (_media(inner) for inner in result.get("parts") or ())))
        return Bit("result", json.dumps(answer, ensure_ascii=False), result.get("id", ""), result.get("name", ""), images, seal)
    media = _media(part)
    if media:
        return Bit("image", media, seal=seal)
    if "text" in part:
        return Bit("thinking" if part.get("thought") else "text", part["text"], seal=seal)
    return Bit("other", part, seal=seal)


def _media(part: Json) -> str:
    inline, filed = _either(part, "inlineData") or {}, _either(part, "fileData") or {}
    # URL-safe base64 is base64 too: Google's own SDK sends it.
    data = str(inline.get("data") or "").replace("-", "+").replace("_", "/")
    return data or str(_either(filed, "fileUri") or "")


# ---------------------------------------------------------------- Converse


def read_converse(body: Json, raw: str) -> Heard:
    found = Heard(raw, body, system=_texts(body.get("system")))
    for message in body.get("messages") or ():
        found.turns.append(Spoken(message["role"], tuple(_converse_bit(block) for block in message.get("content") or ())))
    config = body.get("toolConfig") or {}
    for tool in config.get("tools") or ():
        told = tool.get("toolSpec") or {}
        found.tools[told.get("name", "")] = Declared(told.get("description", ""), (told.get("inputSchema") or {}).get("json"))
    choice = config.get("toolChoice") or {}
    named = (choice.get("tool") or {}).get("name", "")
    found.choice = named or ("required" if "any" in choice else "auto" if "auto" in choice else "")
    asked = body.get("inferenceConfig") or {}
    found.max_tokens, found.temperature = asked.get("maxTokens"), asked.get("temperature")
    found.stop = tuple(asked.get("stopSequences") or ())
    more = body.get("additionalModelRequestFields") or {}
    found.thinking = any(key in more for key in ("thinking", "reasoning_config", "reasoningConfig"))
    formatted = ((body.get("outputConfig") or {}).get("textFormat") or {}).get("structure") or {}
    found.schema = _parsed((formatted.get("jsonSchema") or {}).get("schema"))
    return found


def _converse_bit(block: Json) -> Bit:
    if "text" in block:
        return Bit("text", block["text"])
    if "image" in block:
        return Bit("image", (block["image"].get("source") or {}).get("bytes", ""))
    if "toolUse" in block:
        used = block["toolUse"]
        return Bit("call", used.get("input"), used.get("toolUseId", ""), used.get("name", ""))
    if "toolResult" in block:
        told = block["toolResult"]
        parts = told.get("content") or ()
        texts = [part["text"] if "text" in part else json.dumps(part.get("json")) for part in parts if "image" not in part]
        images = tuple((part["image"].get("source") or {}).get("bytes", "") for part in parts if "image" in part)
        return Bit("result", "\n".join(texts), told.get("toolUseId", ""), images=images)
    if "reasoningContent" in block:
        thought = block["reasoningContent"]
        text = thought.get("reasoningText") or {}
        seal = text.get("signature") or thought.get("redactedContent") or ""
        return Bit("thinking", text.get("text", ""), seal=seal)
    return Bit("other", block)


READERS: dict[str, Callable[[Json, str], Heard]] = {
    "messages": read_messages,
    "chat": read_chat,
    "responses": read_responses,
    "gemini": read_gemini,
    "converse": read_converse,
}
