"""The openai SDK, Chat Completions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, assert_never

import httpx2
import openai

from dragoman.conformance.prompt import Again, Image, Model, Prompt, Results, Tool, User
from dragoman.testing import Block, Cite, Tokens, View
from dragoman.testing.view import FinishWord, Kind, OtherChoice

FINISHES: dict[str, FinishWord] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}


class ChatClient:
    dialect = "chat"
    sdk = f"openai {openai.__version__}"

    def __init__(self, base_url: str, key: str, http: httpx2.AsyncClient) -> None:
        self._sdk = openai.AsyncOpenAI(base_url=f"{base_url}/v1", api_key=key, http_client=http, max_retries=0)

    def body(self, prompt: Prompt, model: str) -> dict[str, Any]:
        messages: list[Any] = [{"role": "system", "content": prompt.system}] if prompt.system else []
        for turn in prompt.turns:
            messages += _turn(turn)
        body: dict[str, Any] = {"model": model, "messages": messages, "max_tokens": prompt.max_tokens}
        if prompt.tools:
            body["tools"] = [_tool(tool) for tool in prompt.tools]
        if prompt.choice in ("auto", "none", "required"):
            body["tool_choice"] = prompt.choice
        elif prompt.choice:
            body["tool_choice"] = {"type": "function", "function": {"name": prompt.choice}}
        if not prompt.parallel:
            body["parallel_tool_calls"] = False
        if prompt.temperature is not None:
            body["temperature"] = prompt.temperature
        if prompt.stop:
            body["stop"] = list(prompt.stop)
        if prompt.schema is not None:
            asked = {"name": "answer", "schema": prompt.schema, "strict": True}
            body["response_format"] = {"type": "json_schema", "json_schema": asked}
        if prompt.thinking:
            body["reasoning_effort"] = prompt.effort or "medium"
        if prompt.native:
            body["extra_body"] = dict(prompt.native)
        if prompt.headers:
            body["extra_headers"] = dict(prompt.headers)
        return body

    async def create(self, body: Mapping[str, Any]) -> Any:
        return await self._sdk.chat.completions.create(**body)

    async def stream(self, body: Mapping[str, Any]) -> Any:
        options: Any = {"include_usage": True}
        if any(tool["type"] == "custom" for tool in body.get("tools", ())):
            # The SDK's accumulator knows no free-text tools; its plain stream does.
            async for _ in await self._sdk.chat.completions.create(**body, stream=True, stream_options=options):
                pass
            return None
        async with self._sdk.chat.completions.stream(**body, stream_options=options) as stream:
            async for _ in stream:
                pass
            return stream.current_completion_snapshot  # the final one is refused when the answer was cut short

    def read(self, said: Any) -> View:
        choices = said.choices
        first, finish = _choice(choices[0]) if choices else ((), None)
        others = tuple(OtherChoice(*_choice(choice)) for choice in choices[1:])
        probabilities = getattr(choices[0], "logprobs", None) if choices else None
        logprobs = tuple(entry.to_dict(mode="json") for entry in (probabilities.content or ())) if probabilities else ()
        return View(first, finish, _tokens(said.usage) if said.usage else None, others=others, logprobs=logprobs)

    def replay(self, said: Any) -> Any:
        return said.choices[0].message.model_dump(mode="json", exclude_none=True)

    async def count(self, prompt: Prompt, model: str) -> int:
        raise NotImplementedError

    async def models(self) -> list[str]:
        return [model.id async for model in self._sdk.models.list()]


def _turn(turn: User | Model | Again | Results) -> list[Any]:
    match turn:
        case User(text, _, True):
            part = {"type": "text", "text": text, "cache_control": {"type": "ephemeral"}}
            return [{"role": "user", "content": [part]}]
        case User(text, images):
            return [{"role": "user", "content": [{"type": "text", "text": text}, *map(_image, images)] if images else text}]
        case Model(text, calls):
            message: dict[str, Any] = {"role": "assistant", "content": text or None}
            if calls:
                message["tool_calls"] = [
                    {
                        "id": call.id,
                        "type": "function",
                        "function": {"name": call.name, "arguments": json.dumps(call.arguments)},
                    }
                    for call in calls
                ]
            return [message]
        case Again(history):
            return [history]
        case Results(results):
            return [{"role": "tool", "tool_call_id": result.id, "content": result.text} for result in results]
        case _:
            assert_never(turn)


def _image(image: Image) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": image.url or f"data:{image.mime};base64,{image.data}"}}


def _tool(tool: Tool) -> dict[str, Any]:
    if tool.schema is None:
        return {"type": "custom", "custom": {"name": tool.name, "description": tool.description}}
    function = {"name": tool.name, "description": tool.description, "parameters": tool.schema}
    return {"type": "function", "function": function}


def _choice(choice: Any) -> tuple[tuple[Block, ...], FinishWord | None]:
    message = choice.message
    blocks: list[Block] = []
    thought = getattr(message, "reasoning_content", None) or getattr(message, "reasoning", None)
    said: tuple[tuple[Kind, Any], ...] = (
        ("thinking", thought),
        ("text", message.content),
        ("refusal", getattr(message, "refusal", None)),
    )
    for kind, text in said:
        if text:
            cites = _cites(message) if kind == "text" else ()
            blocks.append(Block(kind, text, citations=cites))
    for call in message.tool_calls or ():
        if call.type == "custom":
            blocks.append(Block("custom_tool_call", call.custom.input, call.custom.name, call.id or ""))
        else:
            blocks.append(function_call(call.function.name, call.function.arguments, call.id))
    legacy = getattr(message, "function_call", None)
    if legacy:
        blocks.append(function_call(legacy.name, legacy.arguments, ""))
    finish = FINISHES.get(choice.finish_reason or "")
    if finish == "stop" and getattr(message, "refusal", None):
        finish = "refusal"
    return tuple(blocks), finish


def function_call(name: str | None, arguments: str | None, call_id: str | None) -> Block:
    """A call whose arguments are JSON text, parsed as an application would."""
    try:
        value = json.loads(arguments or "")
    except ValueError:
        return Block("tool_call", arguments, name or "", call_id or "", whole=False)
    return Block("tool_call", value, name or "", call_id or "", whole=isinstance(value, dict))


def _cites(message: Any) -> tuple[Cite, ...]:
    found: list[Cite] = []
    for note in getattr(message, "annotations", None) or ():
        cited = note["url_citation"] if isinstance(note, dict) else note.url_citation
        title, url = (cited["title"], cited["url"]) if isinstance(cited, dict) else (cited.title, cited.url)
        found.append(Cite(title or "", url or ""))
    return tuple(found)


def _tokens(usage: Any) -> Tokens:
    asked, told = usage.prompt_tokens_details, usage.completion_tokens_details
    read = (asked.cached_tokens if asked else 0) or 0
    thought = (told.reasoning_tokens if told else 0) or 0
    return Tokens(usage.prompt_tokens - read, usage.completion_tokens - thought, read, reasoning=thought)
