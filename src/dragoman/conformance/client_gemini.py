"""The google-genai SDK."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, assert_never

import httpx2
from google import genai
from google.genai import types

from dragoman.conformance.prompt import Again, Image, Model, Prompt, Result, Results, Tool, User
from dragoman.testing import Block, Cite, Tokens, Trouble, View
from dragoman.testing.view import FinishWord, OtherChoice

FINISHES: dict[str, FinishWord] = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "SAFETY": "content_filter",
    "RECITATION": "content_filter",
    "BLOCKLIST": "content_filter",
    "PROHIBITED_CONTENT": "content_filter",
    "SPII": "content_filter",
    "LANGUAGE": "content_filter",
    "OTHER": "content_filter",
}


class GeminiClient:
    dialect = "gemini"
    sdk = f"google-genai {genai.__version__}"

    def __init__(self, base_url: str, key: str, http: httpx2.AsyncClient) -> None:
        options = types.HttpOptions(base_url=base_url, api_version="v1beta", httpx_async_client=http)
        self._sdk = genai.Client(api_key=key, http_options=options).aio

    def body(self, prompt: Prompt, model: str) -> dict[str, Any]:
        contents: list[types.Content] = []
        for turn in prompt.turns:
            contents += _turn(turn)
        config: dict[str, Any] = {"max_output_tokens": prompt.max_tokens}
        if prompt.system:
            config["system_instruction"] = prompt.system
        if prompt.tools:
            config["tools"] = [types.Tool(function_declarations=[_tool(tool) for tool in prompt.tools])]
            config["automatic_function_calling"] = types.AutomaticFunctionCallingConfig(disable=True)
        if prompt.choice:
            modes = {"auto": types.FunctionCallingConfigMode.AUTO, "none": types.FunctionCallingConfigMode.NONE}
            named = None if prompt.choice in ("auto", "none", "required") else [prompt.choice]
            mode = modes.get(prompt.choice, types.FunctionCallingConfigMode.ANY)
            calling = types.FunctionCallingConfig(mode=mode, allowed_function_names=named)
            config["tool_config"] = types.ToolConfig(function_calling_config=calling)
        if prompt.temperature is not None:
            config["temperature"] = prompt.temperature
        if prompt.stop:
            config["stop_sequences"] = list(prompt.stop)
        if prompt.schema is not None:
            config |= {"response_mime_type": "application/json", "response_json_schema": dict(prompt.schema)}
        if prompt.thinking:
            level = types.ThinkingLevel(prompt.effort.upper()) if prompt.effort else None
            config["thinking_config"] = types.ThinkingConfig(include_thoughts=True, thinking_level=level)
        config |= prompt.native.get("config", {})
        extra = {key: value for key, value in prompt.native.items() if key != "config"}
        if extra or prompt.headers:
            config["http_options"] = types.HttpOptions(extra_body=extra or None, headers=dict(prompt.headers) or None)
        return {"model": model, "contents": contents, "config": types.GenerateContentConfig(**config)}

    async def create(self, body: Mapping[str, Any]) -> Any:
        return [await self._sdk.models.generate_content(**body)]

    async def stream(self, body: Mapping[str, Any]) -> Any:
        return [chunk async for chunk in await self._sdk.models.generate_content_stream(**body)]

    def read(self, said: Any) -> View:
        """`said` is the list of chunks: one for a whole answer."""
        parts: dict[int, list[Block]] = {}
        finishes: dict[int, FinishWord | None] = {}
        usage: Any = None
        logprobs: list[Any] = []
        error: Trouble | None = None
        for chunk in said:
            usage = chunk.usage_metadata or usage
            blocked = chunk.prompt_feedback.block_reason if chunk.prompt_feedback else None
            if blocked:
                message = chunk.prompt_feedback.block_reason_message or ""
                parts.setdefault(0, []).append(Block("refusal", message))
                finishes[0] = "refusal"
            for candidate in chunk.candidates or ():
                index = candidate.index or 0
                _grow(parts.setdefault(index, []), candidate)
                if candidate.finish_reason:
                    finishes[index] = _finish(candidate.finish_reason, parts[index])
                if candidate.logprobs_result:
                    logprobs += candidate.logprobs_result.chosen_candidates or []
        first = tuple(parts.get(0, ()))
        others = tuple(OtherChoice(tuple(parts[i]), finishes.get(i)) for i in sorted(parts) if i)
        tokens = _tokens(usage) if usage else None
        return View(first, finishes.get(0), tokens, error, others=others)

    def replay(self, said: Any) -> Any:
        """As the SDK's own chats keep a streamed turn: the content of every chunk."""
        contents = [chunk.candidates[0].content for chunk in said if chunk.candidates and chunk.candidates[0].content]
        return [content for content in contents if content.parts]

    async def count(self, prompt: Prompt, model: str) -> int:
        body = self.body(prompt, model)
        return (await self._sdk.models.count_tokens(model=model, contents=body["contents"])).total_tokens or 0

    async def models(self) -> list[str]:
        return [(model.name or "").removeprefix("models/") async for model in await self._sdk.models.list()]


def _turn(turn: User | Model | Again | Results) -> list[types.Content]:
    match turn:
        case User(text, images):
            return [types.Content(role="user", parts=[types.Part(text=text), *map(_image, images)])]
        case Model(text, calls):
            said = [types.Part(text=text)] if text else []
            called = [
                types.Part(function_call=types.FunctionCall(id=call.id, name=call.name, args=dict(call.arguments)))
                for call in calls
            ]
            return [types.Content(role="model", parts=[*said, *called])]
        case Again(history):
            return history
        case Results(results):
            return [types.Content(role="user", parts=[_result(result) for result in results])]
        case _:
            assert_never(turn)


def _image(image: Image) -> types.Part:
    if image.url:
        return types.Part.from_uri(file_uri=image.url, mime_type=image.mime)
    return types.Part.from_bytes(data=base64.b64decode(image.data), mime_type=image.mime)


def _result(result: Result) -> types.Part:
    told = types.FunctionResponse(id=result.id or None, name=result.name, response={"output": result.text})
    return types.Part(function_response=told)


def _tool(tool: Tool) -> types.FunctionDeclaration:
    schema = dict(tool.schema or {"type": "object", "properties": {"input": {"type": "string"}}})
    return types.FunctionDeclaration(name=tool.name, description=tool.description, parameters_json_schema=schema)


def _grow(blocks: list[Block], candidate: Any) -> None:
    for part in (candidate.content.parts if candidate.content else None) or ():
        blocks += _blocks(part)
    grounding = candidate.grounding_metadata
    for chunk in (grounding.grounding_chunks if grounding else None) or ():
        texts = [i for i, block in enumerate(blocks) if block.kind == "text"]
        if chunk.web and texts:
            held = blocks[texts[-1]]
            cite = Cite(chunk.web.title or "", chunk.web.uri or "")
            blocks[texts[-1]] = Block("text", held.value, signature=held.signature, citations=(*held.citations, cite))


def _blocks(part: Any) -> list[Block]:
    signature = base64.b64encode(part.thought_signature).decode() if part.thought_signature else ""
    if part.function_call is not None:
        call = part.function_call
        return [Block("tool_call", call.args or {}, call.name or "", call.id or "", signature)]
    if part.text is not None:
        return [Block("thinking" if part.thought else "text", part.text, signature=signature)]
    native = part.model_dump(mode="json", by_alias=True, exclude_none=True)
    return [Block("unknown", native, next(iter(native), ""))]


def _finish(reason: types.FinishReason, blocks: list[Block]) -> FinishWord | None:
    finish = FINISHES.get(reason.name)
    called = any(block.kind == "tool_call" for block in blocks)
    return "tool_calls" if finish == "stop" and called else finish


def _tokens(usage: Any) -> Tokens:
    read = usage.cached_content_token_count or 0
    return Tokens(
        (usage.prompt_token_count or 0) + (usage.tool_use_prompt_token_count or 0) - read,
        usage.candidates_token_count or 0,
        read,
        reasoning=usage.thoughts_token_count or 0,
    )
