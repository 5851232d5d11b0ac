"""The anthropic SDK."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, assert_never

import anthropic
import httpx2

from dragoman.conformance.prompt import Again, Image, Model, Prompt, Result, Results, Tool, User
from dragoman.testing import Block, Cite, Tokens, View
from dragoman.testing.view import FinishWord

FINISHES: dict[str, FinishWord] = {
    "end_turn": "stop",
    "stop_sequence": "stop_sequence",
    "max_tokens": "length",
    "model_context_window_exceeded": "context_length",
    "tool_use": "tool_calls",
    "refusal": "refusal",
    "pause_turn": "pause",
}


class MessagesClient:
    dialect = "messages"
    sdk = f"anthropic {anthropic.__version__}"

    def __init__(self, base_url: str, key: str, http: httpx2.AsyncClient) -> None:
        self._sdk = anthropic.AsyncAnthropic(base_url=base_url, api_key=key, http_client=http, max_retries=0)

    def body(self, prompt: Prompt, model: str) -> dict[str, Any]:
        body: dict[str, Any] = {"model": model, "max_tokens": prompt.max_tokens, "messages": []}
        for turn in prompt.turns:
            body["messages"] += _turn(turn)
        if prompt.system:
            body["system"] = prompt.system
        if prompt.tools:
            body["tools"] = [_tool(tool) for tool in prompt.tools]
        choice = {"auto": {"type": "auto"}, "none": {"type": "none"}, "required": {"type": "any"}, "": None}.get(
            prompt.choice, {"type": "tool", "name": prompt.choice}
        )
        if not prompt.parallel:
            choice = {**(choice or {"type": "auto"}), "disable_parallel_tool_use": True}
        if choice:
            body["tool_choice"] = choice
        if prompt.stop:
            body["stop_sequences"] = list(prompt.stop)
        if prompt.schema is not None:
            body["output_config"] = {"format": {"type": "json_schema", "schema": prompt.schema}}
        if prompt.thinking:
            body["thinking"] = {"type": "adaptive", "display": "summarized"}
        if prompt.effort:
            body["output_config"] = {**body.get("output_config", {}), "effort": prompt.effort}
        extra = dict(prompt.native)
        if prompt.temperature is not None:
            extra["temperature"] = prompt.temperature
        if extra:
            body["extra_body"] = extra
        if prompt.headers:
            body["extra_headers"] = dict(prompt.headers)
        return body

    async def create(self, body: Mapping[str, Any]) -> Any:
        return await self._sdk.messages.create(**body)

    async def stream(self, body: Mapping[str, Any]) -> Any:
        async with self._sdk.messages.stream(**body) as stream:
            return await stream.get_final_message()

    def read(self, said: Any) -> View:
        blocks = (*map(_block, said.content), *_declined(said))
        usage = said.usage
        finish = FINISHES.get(said.stop_reason or "")
        return View(blocks, finish, _tokens(usage) if usage else None, stop_sequence=said.stop_sequence)

    def replay(self, said: Any) -> Any:
        return said.content

    async def count(self, prompt: Prompt, model: str) -> int:
        body = {key: value for key, value in self.body(prompt, model).items() if key != "max_tokens"}
        return (await self._sdk.messages.count_tokens(**body)).input_tokens

    async def models(self) -> list[str]:
        return [model.id async for model in self._sdk.models.list(limit=1000)]


def _turn(turn: User | Model | Again | Results) -> list[dict[str, Any]]:
    match turn:
        case User(text, images):
            return [{"role": "user", "content": [*map(_image, images), {"type": "text", "text": text}] if images else text}]
        case Model(text, calls):
            said = [{"type": "text", "text": text}] if text else []
            used = [{"type": "tool_use", "id": call.id, "name": call.name, "input": call.arguments} for call in calls]
            return [{"role": "assistant", "content": [*said, *used]}]
        case Again(history):
            return [{"role": "assistant", "content": history}]
        case Results(results):
            return [{"role": "user", "content": [_result(result) for result in results]}]
        case _:
            assert_never(turn)


def _image(image: Image) -> dict[str, Any]:
    if image.url:
        return {"type": "image", "source": {"type": "url", "url": image.url}}
    return {"type": "image", "source": {"type": "base64", "media_type": image.mime, "data": image.data}}


def _result(result: Result) -> dict[str, Any]:
    content: Any = result.text
    if result.images:
        content = [*([{"type": "text", "text": result.text}] if result.text else []), *map(_image, result.images)]
    elif result.reference:
        content = [{"type": "tool_reference", "tool_name": result.reference}]
    block = {"type": "tool_result", "tool_use_id": result.id, "content": content}
    return {**block, "is_error": True} if result.failed else block


def _tool(tool: Tool) -> dict[str, Any]:
    schema = tool.schema or {"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]}
    return {"name": tool.name, "description": tool.description, "input_schema": schema}


def _block(block: Any) -> Block:
    match block.type:
        case "text":
            cites = tuple(
                Cite(
                    getattr(cite, "title", None) or getattr(cite, "document_title", None) or "",
                    getattr(cite, "url", None) or "",
                    getattr(cite, "cited_text", None) or "",
                )
                for cite in getattr(block, "citations", None) or ()
            )
            return Block("text", block.text, citations=cites)
        case "thinking":
            return Block("thinking", block.thinking, signature=getattr(block, "signature", None) or "")
        case "redacted_thinking":
            return Block("redacted_thinking", block.data)
        case "tool_use":
            return Block("tool_call", block.input, block.name, block.id)
        case "server_tool_use":
            return Block("server_tool_call", block.input, block.name, block.id)
        case _ if getattr(block, "tool_use_id", None):
            native = block.to_dict(mode="json", exclude_none=False)
            return Block("server_tool_result", native, block.type, block.tool_use_id)
        case _:
            return Block("unknown", block.to_dict(mode="json"), str(block.type))


def _declined(said: Any) -> tuple[Block, ...]:
    """The words in which the model declined, where they stand beside the content."""
    details = getattr(said, "stop_details", None)
    why = getattr(details, "explanation", None)
    told = any(why in block.text for block in said.content if block.type == "text") if why else True
    return () if told else (Block("refusal", why),)


def _tokens(usage: Any) -> Tokens:
    written = usage.cache_creation_input_tokens or 0
    hour = getattr(getattr(usage, "cache_creation", None), "ephemeral_1h_input_tokens", None) or 0
    return Tokens(
        usage.input_tokens or 0,
        usage.output_tokens or 0,
        usage.cache_read_input_tokens or 0,
        written - hour,
        hour,
    )
