"""The hub's request as a Messages request. What Messages cannot say goes in the ledger, and stays readable
to the model as a short text where it was content.

What the API insists on, beyond its types (https://platform.claude.com/docs/en/api/errors):
- text blocks hold something other than white space;
- the results of a turn's calls come first in the user turn right after it;
- with thinking on, no call may be forced, and temperature and top_k stay unset;
- with a thinking budget, a turn that calls tools and is being answered must begin with its own thinking.
"""

from __future__ import annotations

from base64 import b64decode
from binascii import Error as Base64Error
from typing import Any

import msgspec

from dragoman.dialects import freetext
from dragoman.dialects.base import Target
from dragoman.dialects.blocks import NO_TEXT, BlocksEncoding, object_schema
from dragoman.dialects.enforced import enforced, report, strict_tool
from dragoman.dialects.thinking import (
    adaptive_effort,
    answers_unthought_call,
    budget_wished,
    budget_within,
    effort_lost,
    effort_told,
    native_thinking,
    show_thinking,
)
from dragoman.ir import carrier
from dragoman.ir.losses import Ledger
from dragoman.ir.request import (
    Audio,
    CacheMark,
    Document,
    Format,
    Image,
    Message,
    Node,
    Reasoning,
    ReasoningAsk,
    Request,
    Text,
    Tool,
    ToolCall,
    ToolResult,
)

Block = dict[str, Any]

_MOST_MARKS = 4


def encode_request(request: Request, target: Target, ledger: Ledger) -> bytes:
    return msgspec.json.encode(_Encoding(request, target, ledger).body())


class _Encoding(BlocksEncoding):
    api = "Messages"
    dialect = "messages"

    def __init__(self, request: Request, target: Target, ledger: Ledger) -> None:
        super().__init__(request, target, ledger)
        self.marks: list[tuple[Block, Node, CacheMark]] = []

    def body(self) -> Block:
        request, ledger = self.request, self.ledger
        messages = self.messages()
        in_messages = len(self.marks)
        system = self.blocks(self.system)
        in_system = len(self.marks)
        body: Block = {"model": self.target.model, "max_tokens": self.limit()}
        if system:
            body["system"] = system
        body["messages"] = messages
        tools = self.tools()
        if tools:
            body["tools"] = tools
        # The prompt's order is another: https://platform.claude.com/docs/en/build-with-claude/prompt-caching
        self.clamp([*self.marks[in_system:], *self.marks[in_messages:in_system], *self.marks[:in_messages]])
        self.format(body)
        self.thinking(body, messages)
        self.tool_choice(body)
        if request.reasoning is not None and not self.native and "budget_tokens" in body.get("thinking", {}):
            effort_told(body["thinking"]["budget_tokens"], request, request.reasoning, ledger)
        self.sampling(body)
        self.rest(body)
        if request.stream:
            body["stream"] = True
        if self.native:
            for key, value in request.extras.items():
                held = body.get(key)
                body[key] = {**held, **value} if isinstance(held, dict) and isinstance(value, dict) else value
        else:
            ledger.extras(request)
        return body

    def limit(self) -> int:
        """Required here. Nought is a limit too: it fills the cache and says nothing."""
        asked = self.request.max_tokens
        return self.profile.max_output_tokens if asked is None else asked

    def clamp(self, marks: list[tuple[Block, Node, CacheMark]]) -> None:
        """More marks than the API takes are a 400. The latest are worth the most: a cache is looked up from the end of the
        prompt backwards. Caching by itself (`cache_control` of the whole request) takes one."""
        most = _MOST_MARKS - (self.request.cache is not None)
        for block, part, cache in marks[:-most]:
            del block["cache_control"]
            self.ledger.add(cache.spot(part.at), None, f"only the last {_MOST_MARKS} marks are taken", "info")

    # ------------------------------------------------------------ messages

    def messages(self) -> list[Block]:
        out: list[Block] = []
        last = len(self.request.messages) - 1
        turns = self.request.messages
        for number, message in enumerate(turns):
            self.node(message)
            if message.name is not None:
                self.ledger.add(message.at, "name", "Messages has no names for speakers", "info")
            match message.role:
                case "system":
                    # The API takes instructions between turns only after a user's and before an assistant's.
                    fits = bool(out) and out[-1]["role"] == "user" and (number == last or turns[number + 1].role == "assistant")
                    self.system_turn(message, out, fits=fits)
                case "user":
                    blocks = self.blocks(message.parts)
                    results = [block for block in blocks if block["type"] == "tool_result"]
                    others = [block for block in blocks if block["type"] != "tool_result"]
                    if results and out and _said_in(out[-1]) and not self.native:
                        # The API joins turns of one speaker, and wants all results before anything else in them.
                        held = out[-1]["content"]
                        at = next(index for index, block in enumerate(held) if block["type"] != "tool_result")
                        held[at:at] = results
                        results = []
                        if not others:
                            continue
                    out.append({"role": "user", "content": [*results, *others] or [self.said(NO_TEXT)]})
                    if not blocks:
                        self.ledger.add(message.at, "content", "an empty turn is told as (no text)", "info")
                case "assistant":
                    blocks = self.blocks(message.parts) if self.native else self.spoken(message.parts)
                    if number == last and blocks and blocks[-1]["type"] == "text":
                        # A prefill must not end in white space.
                        blocks[-1]["text"] = blocks[-1]["text"].rstrip() or NO_TEXT
                    if blocks:
                        out.append({"role": "assistant", "content": blocks})
                    else:
                        self.ledger.add(message.at, None, "an empty assistant turn is left out", "info")
        if not out or out[0]["role"] == "assistant":
            out.insert(0, self.opening())
        return out

    def system_turn(self, message: Message, out: list[Block], *, fits: bool) -> None:
        texts = [part for part in message.parts if isinstance(part, Text) and part.text.strip()]
        for part in message.parts:
            if not isinstance(part, Text):
                self.ledger.add(part.at, None, "instructions hold only text", "lost")
        if texts and (self.native or (self.profile.inline_system and fits)):
            out.append({"role": "system", "content": self.blocks(texts)})
            return
        self.system += texts
        self.ledger.add(message.at, None, "moved to the end of the instructions before the conversation", "degraded")

    def said(self, text: str) -> Block:
        return {"type": "text", "text": text}

    def text(self, part: Text) -> list[Block]:
        block: Block = {"type": "text", "text": part.text}
        if part.citations:
            if self.native:
                block["citations"] = [citation.native for citation in part.citations]
            else:
                self.replayed_not(part)
        return [self.finish(block, part, part.cache)]

    def reasoning(self, part: Reasoning) -> list[Block]:
        seal = part.seal
        if seal is None or seal.dialect != "messages" or seal.issuer not in {None, self.target.issuer}:
            self.ledger.add(part.at, None, "reasoning of another provider is not replayed", "info")
            return []
        self.node(part)
        if part.redacted:
            return [{"type": "redacted_thinking", "data": seal.value}]
        return [{"type": "thinking", "thinking": part.text, "signature": seal.value}]

    def image(self, part: Image) -> list[Block]:
        if part.detail not in {None, "auto"}:
            self.ledger.add(part.at, None, "Messages has no level of detail for images", "info")
        if part.data is not None:
            source: Block = {"type": "base64", "media_type": part.media_type or "image/png", "data": part.data}
        elif part.url is not None:
            source = {"type": "url", "url": part.url}
        elif self.native and part.file is not None:
            source = {"type": "file", "file_id": part.file}
        else:
            return self.omitted(part, "image", "a file in another provider's store")
        return [self.finish({"type": "image", "source": source}, part, part.cache)]

    def document(self, part: Document) -> list[Block]:
        source = self.document_source(part)
        if source is None:
            return self.omitted(part, "document", f"Messages takes no document of type {part.media_type or 'unknown'}")
        block: Block = {"type": "document", "source": source}
        if part.title is not None:
            block["title"] = part.title
        if part.context is not None:
            block["context"] = part.context
        if part.cite is not None:
            block["citations"] = {"enabled": part.cite}
        return [self.finish(block, part, part.cache)]

    def document_source(self, part: Document) -> Block | None:
        media = part.media_type.partition(";")[0].strip().lower()
        if part.text is not None:
            return {"type": "text", "media_type": "text/plain", "data": part.text}
        if part.parts is not None:
            return {"type": "content", "content": self.blocks(part.parts)}
        if part.url is not None:
            return {"type": "url", "url": part.url}
        if part.file is not None:
            return {"type": "file", "file_id": part.file} if self.native else None
        if media in {"application/pdf", ""}:
            return {"type": "base64", "media_type": "application/pdf", "data": part.data}
        if media.startswith("text/") or media in {"application/json", "application/xml", "application/yaml"}:
            try:
                text = b64decode(part.data or "").decode()
            except (Base64Error, ValueError):
                return None
            return {"type": "text", "media_type": "text/plain", "data": text}
        return None

    def audio(self, part: Audio) -> list[Block]:
        return self.omitted(part, "audio", "Messages takes no audio")

    def call(self, part: ToolCall) -> list[Block]:
        block: Block = {"type": "tool_use", "id": carrier.safe_id(part.id), "name": part.name, "input": self.input_of(part)}
        return [self.finish(block, part, part.cache)]

    def result(self, part: ToolResult) -> list[Block]:
        block: Block = {"type": "tool_result", "tool_use_id": carrier.safe_id(part.call_id)}
        blocks = self.blocks(part.parts)
        if len(blocks) == 1 and blocks[0].keys() == {"type", "text"} and not self.native:
            block["content"] = blocks[0]["text"]
        elif blocks:
            block["content"] = blocks
        if part.is_error:
            block["is_error"] = True
        if part.name is not None:
            self.ledger.add(part.at, "name", "a result is known by its call's id alone", "info")
        return [self.finish(block, part, part.cache)]

    def finish(self, block: Block, part: Node, cache: CacheMark | None) -> Block:
        if cache is not None:
            block["cache_control"] = _mark(cache)
            self.marks.append((block, part, cache))
        if part.extras:
            if self.native:
                for key, value in part.extras.items():
                    held = block.get(key)
                    block[key] = {**held, **value} if isinstance(held, dict) and isinstance(value, dict) else value
            else:
                self.ledger.extras(part)
        return block

    # ------------------------------------------------------------ tools

    def tools(self) -> list[Block]:
        tools: list[Block] = []
        choice = self.request.tool_choice
        allowed = set(choice.names) if choice is not None and choice.mode == "allowed" else None
        for tool in self.request.tools:
            if allowed is not None and tool.name not in allowed:
                self.ledger.add(tool.at, None, "left out, as tool_choice does not allow it", "info")
                continue
            block = self.tool(tool)
            if block is not None:
                tools.append(block)
        return tools

    def tool(self, tool: Tool) -> Block | None:
        if tool.kind == "hosted":
            if tool.dialect == "messages":
                return tool.native
            self.ledger.add(tool.at, None, "a tool that only its own provider runs", "lost")
            return None
        block: Block = {"name": tool.name}
        description = freetext.described(tool, self.ledger) if tool.kind == "custom" else tool.description
        if description is not None:
            block["description"] = description
        block["input_schema"] = freetext.SCHEMA if tool.kind == "custom" else object_schema(tool.schema)
        if tool.strict is not None and (self.native or not tool.strict or strict_tool(tool, self.ledger)):
            block["strict"] = tool.strict
        return self.finish(block, tool, tool.cache)

    def tool_choice(self, body: Block) -> None:
        request = self.request
        choice = request.tool_choice
        if "tools" not in body:
            if choice is not None and choice.mode != "none":
                self.ledger.add(choice.at, None, "there is no tool to choose", "info")
            if request.parallel is not None:
                self.ledger.add(request.path_of("parallel"), None, "there is no tool to call", "info")
            return
        native: Block | None = None
        if choice is not None:
            self.node(choice)
            native = self.choice_of(choice.mode, choice.names, choice.required)
            if native["type"] in {"any", "tool"} and not self.profile.forced_tools:
                self.ledger.add(choice.at, None, "this model cannot be forced to call a tool", "degraded")
                native = {"type": "auto"}
            elif native["type"] in {"any", "tool"} and body.get("thinking", {}).get("type") in {"enabled", "adaptive"}:
                # The two exclude each other. A call that the program relies on matters more than thinking.
                asked = request.reasoning
                at = (asked.at if asked is not None else None) or choice.at or (None, "tool_choice")
                self.ledger.add(at, None, "a forced call excludes thinking, which was left out", "degraded")
                thinking = body.pop("thinking")
                if asked is not None and not self.native and "budget_tokens" in thinking:
                    effort_lost(request, asked, self.ledger, "left out with the thinking")
        if request.parallel is False:
            native = native or {"type": "auto"}
            if native["type"] != "none":
                native["disable_parallel_tool_use"] = True
        elif request.parallel and self.native and native is not None and native["type"] != "none":
            native["disable_parallel_tool_use"] = False
        if native is not None:
            if choice is not None and self.native:
                native.update(choice.extras)
            body["tool_choice"] = native

    def choice_of(self, mode: str, names: list[str], required: bool) -> Block:
        if mode == "tool":
            return {"type": "tool", "name": names[0]}
        if mode == "allowed":
            return {"type": "any" if required else "auto"}
        return {"type": {"auto": "auto", "none": "none", "required": "any"}[mode]}

    # ------------------------------------------------------------ output, thinking, sampling

    def format(self, body: Block) -> None:
        wanted = self.request.format
        if wanted is None or wanted.kind == "text":
            return
        self.node(wanted)
        schema = self.held_to(wanted) if wanted.kind == "schema" and self.profile.structured else None
        if schema is not None:
            body["output_config"] = {"format": {"type": "json_schema", "schema": schema}}
            for key, value in (("name", wanted.name), ("description", wanted.description)):
                if value is not None:
                    self.ledger.add(self.request.path_of("schema"), key, "a schema has no such label here", "info")
            if wanted.strict is False:
                self.ledger.add(
                    self.request.path_of("schema"), "strict", "Messages always holds the answer to its schema", "info"
                )
            return
        order = "Answer with one JSON object and nothing else: no prose, no code fence."
        if wanted.kind == "schema" and wanted.schema:
            order += " It must match this JSON Schema: " + bytes(wanted.schema).decode()
        body.setdefault("system", []).append({"type": "text", "text": order})
        self.ledger.add(wanted.at, None, "told to the model in words, not enforced", "degraded")

    def held_to(self, wanted: Format) -> msgspec.Raw | Block | None:
        """The schema that the answer is held to; None where none can be enforced."""
        if self.native:
            return wanted.schema or {}
        found = enforced(wanted.schema)
        if found is None:
            return None
        report(found, wanted, self.ledger)
        return found.schema

    def thinking(self, body: Block, messages: list[Block]) -> None:
        ask = self.request.reasoning
        if ask is None:
            return
        if self.native:
            self.thinking_native(body)
            return
        self.node(ask)
        if ask.mode == "off" or ask.effort == "none":
            if self.profile.thinking_off == "never":
                self.ledger.add(ask.at, None, "this model's thinking cannot be turned off", "degraded")
            elif self.profile.thinking != "none":
                body["thinking"] = {"type": self.profile.thinking_off}
            else:
                self.ledger.add(ask.at, None, "this model does not think anyway", "info")
            self.display(ask, body)
            return
        if self.profile.thinking == "none":
            self.ledger.add(ask.at, None, "this model does not think", "degraded")
            effort_lost(self.request, ask, self.ledger, "this model does not think")
        elif self.profile.thinking == "adaptive":
            body["thinking"] = {"type": "adaptive"}
            effort = adaptive_effort(self.request, ask, self.ledger)
            if effort is not None:
                body.setdefault("output_config", {})["effort"] = effort
        else:
            self.budget(body, messages)
        self.display(ask, body)

    def display(self, ask: ReasoningAsk, body: Block) -> None:
        if not show_thinking(body.get("thinking", {}), ask):
            at = self.request.path_of("display")
            self.ledger.add(at, None, "how thinking is shown cannot be chosen here in these words", "info")

    def thinking_native(self, body: Block) -> None:
        ask = self.request.reasoning
        assert ask is not None
        native = native_thinking(ask)
        if native:
            body["thinking"] = native
        if ask.effort is not None:
            body.setdefault("output_config", {})["effort"] = ask.effort

    def budget(self, body: Block, messages: list[Block]) -> None:
        ask = self.request.reasoning
        assert ask is not None
        if answers_unthought_call(messages, _is_result, _is_thinking):
            self.ledger.add(ask.at, None, "off for this turn: the call being answered came without its thinking", "degraded")
            effort_lost(self.request, ask, self.ledger, "left out with the thinking")
            return
        if self.request.max_tokens is None:
            body["max_tokens"] = max(body["max_tokens"], budget_wished(ask) + 4096)
        budget = budget_within(body["max_tokens"], self.request, ask, self.ledger)
        if budget is not None:
            body["thinking"] = {"type": "enabled", "budget_tokens": budget}

    def sampling(self, body: Block) -> None:
        request, sampling, ledger = self.request, self.request.sampling, self.ledger
        given = {"temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": sampling.top_k}
        thinks = not self.native and body.get("thinking", {}).get("type") in {"enabled", "adaptive"}
        for key, value in given.items():
            if value is None:
                continue
            if not self.profile.sampling:
                ledger.add(request.path_of(key), None, "this model takes no sampling parameters", "degraded")
            elif thinks and not (key == "temperature" and value == 1) and not (key == "top_p" and value >= 0.95):
                ledger.add(request.path_of(key), None, "fixed while the model thinks", "degraded")
            elif key == "temperature" and value > 1:
                ledger.add(request.path_of(key), None, "temperature ends at 1 here", "degraded")
                body[key] = 1
            elif key == "top_p" and "temperature" in body and self.profile.temperature_or_top_p:
                ledger.add(request.path_of(key), None, "this model takes temperature or top_p, not both", "degraded")
            else:
                body[key] = value
        for key in ("min_p", "frequency_penalty", "presence_penalty", "repetition_penalty", "seed", "logit_bias"):
            value = getattr(sampling, key)
            if value is not None:
                neutral = value in (0, {}) and key != "seed"
                ledger.add(request.path_of(key), None, "Messages has no such parameter", "info" if neutral else "lost")

    def rest(self, body: Block) -> None:
        request, ledger = self.request, self.ledger
        stop = [text for text in request.stop if text.strip()]
        if len(stop) < len(request.stop):
            ledger.add(request.path_of("stop"), None, "white space alone cannot stop an answer here", "lost")
        if self.profile.max_stop is not None and len(stop) > self.profile.max_stop:
            ledger.add(request.path_of("stop"), None, f"only the first {self.profile.max_stop} are taken", "degraded")
            stop = stop[: self.profile.max_stop]
        if stop:
            body["stop_sequences"] = stop
        if request.user is not None:
            body["metadata"] = {"user_id": request.user}
        if request.cache is not None:
            body["cache_control"] = _mark(request.cache)
        elif self.profile.auto_cache and not self.native and not self.marks:
            body["cache_control"] = {"type": "ephemeral"}
        if request.service_tier is not None:
            tier = (
                request.service_tier if self.native else {"auto": "auto", "default": "standard_only"}.get(request.service_tier)
            )
            if tier is not None:
                body["service_tier"] = tier
            else:
                ledger.add(request.path_of("service_tier"), None, "Anthropic has no such tier", "info")
        if request.metadata:
            ledger.add(request.path_of("metadata"), None, "Messages keeps no metadata but the user", "info")
        if request.cache_key is not None:
            ledger.add(request.path_of("cache_key"), None, "the cache is keyed by content here", "info")
        for key in request.cache_policy:
            ledger.add((None, key), None, "how long a prompt is kept, each mark says here", "info")
        if request.verbosity is not None:
            ledger.add(request.path_of("verbosity"), None, "Messages has no such parameter", "degraded")
        if request.store is not None:
            ledger.add(request.path_of("store"), None, "Messages stores nothing", "info")
        if request.n is not None and request.n != 1:
            ledger.add(request.path_of("n"), None, "one answer only", "lost")
        if request.logprobs:
            ledger.add(request.path_of("logprobs"), None, "Messages has no log probabilities", "lost")
        if request.top_logprobs is not None:
            ledger.add(request.path_of("top_logprobs"), None, "Messages has no log probabilities", "lost")


def _mark(cache: CacheMark) -> Block:
    return {"type": "ephemeral"} if cache.ttl is None else {"type": "ephemeral", "ttl": cache.ttl}


def _is_result(block: Block) -> bool:
    return block["type"] == "tool_result"


def _is_thinking(block: Block) -> bool:
    return block["type"] in {"thinking", "redacted_thinking"}


def _said_in(turn: Block) -> bool:
    """Whether the user says something in this turn that is no result."""
    return turn["role"] == "user" and any(block["type"] != "tool_result" for block in turn["content"])
