"""The openai SDK, Responses."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, assert_never

import httpx2
import openai

from dragoman.conformance.client_chat import function_call
from dragoman.conformance.prompt import Again, Image, Model, Prompt, Result, Results, Tool, User
from dragoman.testing import Block, Cite, Tokens, Trouble, View
from dragoman.testing.view import FinishWord


class ResponsesClient:
    dialect = "responses"
    sdk = f"openai {openai.__version__}"

    def __init__(self, base_url: str, key: str, http: httpx2.AsyncClient) -> None:
        self._sdk = openai.AsyncOpenAI(base_url=f"{base_url}/v1", api_key=key, http_client=http, max_retries=0)

    def body(self, prompt: Prompt, model: str) -> dict[str, Any]:
        items: list[Any] = []
        for turn in prompt.turns:
            items += _turn(turn)
        # As Codex and the Agents SDK ask: the client keeps the history, and the sealed reasoning with it.
        body: dict[str, Any] = {"model": model, "input": items, "max_output_tokens": prompt.max_tokens, "store": False}
        body["include"] = ["reasoning.encrypted_content"]
        if prompt.system:
            body["instructions"] = prompt.system
        if prompt.tools:
            body["tools"] = [_tool(tool) for tool in prompt.tools]
        if prompt.choice in ("auto", "none", "required"):
            body["tool_choice"] = prompt.choice
        elif prompt.choice:
            body["tool_choice"] = {"type": "function", "name": prompt.choice}
        if not prompt.parallel:
            body["parallel_tool_calls"] = False
        if prompt.temperature is not None:
            body["temperature"] = prompt.temperature
        if prompt.schema is not None:
            body["text"] = {"format": {"type": "json_schema", "name": "answer", "schema": prompt.schema, "strict": True}}
        if prompt.thinking:
            body["reasoning"] = {"effort": prompt.effort or "medium", "summary": "auto"}
        if prompt.native:
            body["extra_body"] = dict(prompt.native)
        if prompt.headers:
            body["extra_headers"] = dict(prompt.headers)
        return body

    async def create(self, body: Mapping[str, Any]) -> Any:
        return await self._sdk.responses.create(**body)

    async def stream(self, body: Mapping[str, Any]) -> Any:
        last: Any = None
        async with self._sdk.responses.stream(**body) as stream:
            found: Any
            async for found in stream:
                event = found
                if event.type in ("response.completed", "response.incomplete", "response.failed"):
                    last = event.response
                elif event.type == "error":
                    # The SDK hands this event out and raises nothing; an application does.
                    raise openai.APIError(event.message, request=httpx2.Request("POST", "/responses"), body=event.to_dict())
        return last

    def read(self, said: Any) -> View:
        error = None
        if said.status == "failed":
            told = said.error
            error = Trouble("internal", (told.message if told else "") or "")
        blocks = tuple(block for item in said.output for block in _blocks(item))
        return View(blocks, _finish(said, blocks), _tokens(said.usage) if said.usage else None, error)

    def replay(self, said: Any) -> Any:
        return list(said.output)

    async def count(self, prompt: Prompt, model: str) -> int:
        asked = self.body(prompt, model)
        body = {key: asked[key] for key in ("model", "input", "instructions", "tools") if key in asked}
        return (await self._sdk.responses.input_tokens.count(**body)).input_tokens

    async def models(self) -> list[str]:
        return [model.id async for model in self._sdk.models.list()]


def _turn(turn: User | Model | Again | Results) -> list[Any]:
    match turn:
        case User(text, images):
            content: Any = text
            if images:
                content = [{"type": "input_text", "text": text}, *map(_image, images)]
            return [{"type": "message", "role": "user", "content": content}]
        case Model(text, calls):
            said = [{"type": "message", "role": "assistant", "content": text}] if text else []
            called = [
                {"type": "function_call", "call_id": call.id, "name": call.name, "arguments": json.dumps(call.arguments)}
                for call in calls
            ]
            return [*said, *called]
        case Again(history):
            return history
        case Results(results):
            return [{"type": "function_call_output", "call_id": result.id, "output": _output(result)} for result in results]
        case _:
            assert_never(turn)


def _output(result: Result) -> Any:
    if not result.images:
        return result.text
    return [*([{"type": "input_text", "text": result.text}] if result.text else []), *map(_image, result.images)]


def _image(image: Image) -> dict[str, Any]:
    url = image.url or f"data:{image.mime};base64,{image.data}"
    return {"type": "input_image", "detail": "auto", "image_url": url}


def _tool(tool: Tool) -> dict[str, Any]:
    if tool.schema is None:
        return {"type": "custom", "name": tool.name, "description": tool.description}
    return {
        "type": "function",
        "name": tool.name,
        "description": tool.description,
        "parameters": tool.schema,
        "strict": False,
    }


def _blocks(item: Any) -> list[Block]:
    match item.type:
        case "message":
            return [_part(part) for part in item.content]
        case "reasoning":
            summary = [part.text for part in item.summary or ()] or [part.text for part in getattr(item, "content", None) or ()]
            return [Block("thinking", "\n\n".join(summary), signature=getattr(item, "encrypted_content", None) or "")]
        case "function_call":
            space = getattr(item, "namespace", None)
            name = f"{space}__{item.name}" if space else item.name
            return [function_call(name, item.arguments, item.call_id)]
        case "custom_tool_call":
            return [Block("custom_tool_call", item.input, item.name, item.call_id)]
        case _:
            return [Block("unknown", item.to_dict(mode="json"), item.type)]


def _part(part: Any) -> Block:
    if part.type == "refusal":
        return Block("refusal", part.refusal)
    cites = [
        Cite(getattr(note, "title", None) or "", getattr(note, "url", None) or "")
        for note in getattr(part, "annotations", None) or ()
    ]
    return Block("text", part.text, citations=tuple(cites))


def _finish(said: Any, blocks: tuple[Block, ...]) -> FinishWord | None:
    if said.status == "incomplete":
        reason = said.incomplete_details.reason if said.incomplete_details else ""
        return "content_filter" if reason == "content_filter" else "length"
    if said.status != "completed":
        return None
    if any(block.kind == "refusal" for block in blocks):
        return "refusal"
    return "tool_calls" if any(block.kind in ("tool_call", "custom_tool_call") for block in blocks) else "stop"


def _tokens(usage: Any) -> Tokens:
    asked, told = usage.input_tokens_details, usage.output_tokens_details
    read = (asked.cached_tokens if asked else 0) or 0
    thought = (told.reasoning_tokens if told else 0) or 0
    return Tokens(usage.input_tokens - read, usage.output_tokens - thought, read, reasoning=thought)
