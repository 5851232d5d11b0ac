"""The hub's request as a Converse request. What Converse cannot say goes in the ledger.

Beside its own parameters (`inferenceConfig`, `outputConfig`) the API hands `additionalModelRequestFields` on to the model, in
the words of the model's vendor: which those are, the profile says.
"""

from __future__ import annotations

from typing import Any

import msgspec

from dragoman.dialects import freetext
from dragoman.dialects.base import Target
from dragoman.dialects.blocks import object_schema
from dragoman.dialects.converse.encode_messages import MessagesEncoding, tool_point
from dragoman.dialects.converse.names import legal_metadata
from dragoman.dialects.enforced import enforced, report, strict_tool
from dragoman.dialects.thinking import (
    adaptive_effort,
    answers_unthought_call,
    budget_within,
    effort_asked,
    effort_lost,
    effort_told,
    native_thinking,
    show_thinking,
)
from dragoman.ir.losses import Ledger
from dragoman.ir.request import Format, ReasoningAsk, Request, Tool, ToolCall, ToolChoice

Block = dict[str, Any]

_TIERS = {"default": "default", "flex": "flex", "priority": "priority"}
_STOP_SEQUENCE = "/stop_sequence"


def encode_request(request: Request, target: Target, ledger: Ledger) -> bytes:
    return msgspec.json.encode(_Encoding(request, target, ledger).body())


class _Encoding:
    """One request on its way out."""

    def __init__(self, request: Request, target: Target, ledger: Ledger) -> None:
        self.request = request
        self.profile = target.profile
        self.ledger = ledger
        self.native = request.dialect == "converse"
        self.conversation = MessagesEncoding(request, target, ledger)

    def body(self) -> Block:
        request, conversation = self.request, self.conversation
        messages = conversation.messages()
        system = conversation.blocks(conversation.system)
        body: Block = {}
        if system:
            body["system"] = system
        body["messages"] = messages
        more: Block = {}
        self.tools(body)
        self.format(body)
        self.reasoning(body, more)
        self.sampling(body, more)
        self.rest(body)
        if more:
            body["additionalModelRequestFields"] = more
        if self.native:
            for key, value in request.extras.items():
                if "[" not in key:
                    held = body.get(key)
                    body[key] = {**held, **value} if isinstance(held, dict) and isinstance(value, dict) else value
        else:
            self.ledger.extras(request)
        return body

    def lost(self, field: str, what: str, severity: Any = "lost") -> None:
        self.ledger.add(self.request.path_of(field), None, what, severity)

    # ------------------------------------------------------------ tools

    def tools(self, body: Block) -> None:
        request, choice = self.request, self.request.tool_choice
        called = [part.name for message in request.messages for part in message.parts if isinstance(part, ToolCall)]
        allowed = set(choice.names) if choice is not None and choice.mode == "allowed" else None
        # There is no word for that no tool may be called. Where the conversation shows no call, they can be left out.
        unsaid = choice is not None and choice.mode == "none" and not called
        tools: list[Block] = []
        for tool in request.tools:
            if unsaid or (allowed is not None and tool.name not in allowed):
                self.ledger.add(tool.at, None, "left out, as tool_choice does not allow it", "info")
                continue
            tools += self.tool(tool)
        named = {tool["toolSpec"]["name"] for tool in tools if "toolSpec" in tool}
        if called and not tools:
            # The API insists on them where there are calls, even if no more are wanted.
            for name in dict.fromkeys(called):
                if name not in named:
                    tools.append({"toolSpec": {"name": name, "inputSchema": {"json": {"type": "object"}}}})
        config: Block = {"tools": tools} if tools else {}
        self.choice(config, callable_=bool(named))
        if config:
            body["toolConfig"] = config

    def tool(self, tool: Tool) -> list[Block]:
        if tool.kind == "hosted":
            if tool.dialect == "converse":
                return [tool.native]
            self.ledger.add(tool.at, None, "a tool that only its own provider runs", "lost")
            return []
        spec: Block = {"name": tool.name}
        description = freetext.described(tool, self.ledger) if tool.kind == "custom" else tool.description
        if description and description.strip():
            spec["description"] = description
        spec["inputSchema"] = {"json": freetext.SCHEMA if tool.kind == "custom" else object_schema(tool.schema)}
        if tool.strict is not None:
            if self.native:
                spec["strict"] = tool.strict
            elif self.profile.structured:
                if not tool.strict or strict_tool(tool, self.ledger):
                    spec["strict"] = tool.strict
            else:
                severity = "degraded" if tool.strict else "info"
                self.ledger.add(tool.at, None, "arguments are not held to their schema by this model", severity)
        if self.native:
            spec.update(tool.extras)
        else:
            self.ledger.extras(tool)
        return [{"toolSpec": spec}, *tool_point(tool, self.conversation)]

    def choice(self, config: Block, *, callable_: bool) -> None:
        request, choice = self.request, self.request.tool_choice
        if request.parallel is not None:
            severity = "info" if request.parallel or not callable_ else "degraded"
            self.lost("parallel", "how many calls it makes at once is the model's choice", severity)
        if choice is None:
            return
        if not self.native:
            self.ledger.extras(choice)
        if not callable_:
            what = "told by leaving the tools out" if choice.mode == "none" else "there is no tool to choose"
            self.ledger.add(choice.at, None, what, "info")
            return
        native = self.choice_of(choice)
        if native is not None:
            config["toolChoice"] = native

    def choice_of(self, choice: ToolChoice) -> Block | None:
        forced = choice.mode in {"required", "tool"} or (choice.mode == "allowed" and choice.required)
        if forced and not self.profile.forced_tools:
            self.ledger.add(choice.at, None, "this model cannot be forced to call a tool", "degraded")
            return {"auto": {}}
        match choice.mode:
            case "none":
                self.ledger.add(choice.at, None, "Converse cannot forbid calls, and the conversation has some", "degraded")
                return None
            case "tool":
                return {"tool": {"name": choice.names[0]}}
            case "required":
                return {"any": {}}
            case "allowed":
                return {"any": {}} if choice.required else {"auto": {}}
            case "auto":
                return {"auto": {}}

    # ------------------------------------------------------------ format

    def format(self, body: Block) -> None:
        wanted = self.request.format
        if wanted is None or wanted.kind == "text":
            return
        if not self.native:
            self.ledger.extras(wanted)
        text = self.held_to(wanted) if wanted.kind == "schema" else None
        if text is not None:
            schema: Block = {"schema": text}
            if wanted.name is not None:
                schema["name"] = wanted.name
            if wanted.description is not None:
                schema["description"] = wanted.description
            body["outputConfig"] = {"textFormat": {"type": "json_schema", "structure": {"jsonSchema": schema}}}
            if wanted.strict is False:
                at = self.request.path_of("schema")
                self.ledger.add(at, "strict", "Converse always holds the answer to its schema", "info")
            return
        order = "Answer with one JSON object and nothing else: no prose, no code fence."
        if wanted.kind == "schema" and wanted.schema:
            order += " It must match this JSON Schema: " + bytes(wanted.schema).decode()
        body.setdefault("system", []).append({"text": order})
        self.ledger.add(wanted.at, None, "told to the model in words, not enforced", "degraded")

    def held_to(self, wanted: Format) -> str | None:
        """The schema that the answer is held to; None where none can be enforced."""
        if self.native:
            return bytes(wanted.schema).decode() or "{}"
        found = enforced(wanted.schema) if self.profile.structured else None
        if found is None:
            return None
        report(found, wanted, self.ledger)
        return bytes(found.schema if isinstance(found.schema, msgspec.Raw) else msgspec.json.encode(found.schema)).decode()

    # ------------------------------------------------------------ reasoning

    def reasoning(self, body: Block, more: Block) -> None:
        ask = self.request.reasoning
        if ask is None:
            return
        if self.native:
            self.reasoning_native(ask, body, more)
            return
        self.ledger.extras(ask)
        off = ask.mode == "off" or ask.effort == "none"
        if self.profile.model_fields == "none" or self.profile.thinking == "none":
            self.ledger.add(ask.at, None, "this model is not told how to think", "info" if off else "degraded")
            effort_lost(self.request, ask, self.ledger, "this model is not told how to think")
        elif self.profile.model_fields == "claude":
            self.thinking(ask, body, more, off=off)
        else:
            self.effort(ask, more, off=off)
        self.display(ask, more)

    def thinking(self, ask: ReasoningAsk, body: Block, more: Block, *, off: bool) -> None:
        """Claude's: `thinking` is Anthropic's own object, the effort Converse's own parameter."""
        if off:
            if self.profile.thinking_off == "never":
                self.ledger.add(ask.at, None, "this model's thinking cannot be turned off", "degraded")
            else:
                more["thinking"] = {"type": self.profile.thinking_off}
            if ask.effort != "none":
                effort_lost(self.request, ask, self.ledger, "without thinking there is no effort")
            return
        if "toolChoice" in body.get("toolConfig", {}) and "auto" not in body["toolConfig"]["toolChoice"]:
            # The two exclude each other. A call that the program relies on matters more than thinking.
            self.ledger.add(ask.at, None, "a forced call excludes thinking, which was left out", "degraded")
            effort_lost(self.request, ask, self.ledger, "left out with the thinking")
            return
        if self.profile.thinking == "budget":
            self.budget(ask, body, more)
            return
        more["thinking"] = {"type": "adaptive"}
        effort = adaptive_effort(self.request, ask, self.ledger)
        if effort is not None:
            body.setdefault("outputConfig", {})["effort"] = effort

    def budget(self, ask: ReasoningAsk, body: Block, more: Block) -> None:
        if answers_unthought_call(body["messages"], _is_result, _is_thinking):
            self.ledger.add(ask.at, None, "off for this turn: the call being answered came without its thinking", "degraded")
            effort_lost(self.request, ask, self.ledger, "left out with the thinking")
            return
        budget = budget_within(self.request.max_tokens, self.request, ask, self.ledger)
        if budget is not None:
            more["thinking"] = {"type": "enabled", "budget_tokens": budget}
            effort_told(budget, self.request, ask, self.ledger)

    def effort(self, ask: ReasoningAsk, more: Block, *, off: bool) -> None:
        """Nova's and OpenAI's open models: an effort of three."""
        nova = self.profile.model_fields == "nova"
        if off and nova:
            more["reasoningConfig"] = {"type": "disabled"}
            return
        wished = "low" if off else effort_asked(ask)
        if wished is None and not nova:
            self.ledger.add(ask.at, None, "how much to think is left to the model", "info")
            return
        told = {"minimal": "low", "xhigh": "high", "max": "high"}.get(wished or "", wished or "medium")
        if off or ask.effort is None or told != ask.effort:
            self.ledger.add(ask.at, None, f"told as effort {told}", "degraded" if off or ask.budget is not None else "info")
        if nova:
            more["reasoningConfig"] = {"type": "enabled", "maxReasoningEffort": told}
        else:
            more["reasoning_effort"] = told

    def display(self, ask: ReasoningAsk, more: Block) -> None:
        if not show_thinking(more.get("thinking", {}), ask):
            self.lost("display", "how thinking is shown cannot be chosen here in these words", "info")

    def reasoning_native(self, ask: ReasoningAsk, body: Block, more: Block) -> None:
        if ask.effort is not None:
            body.setdefault("outputConfig", {})["effort"] = ask.effort
        native = native_thinking(ask)
        if native:
            more["thinking"] = native

    # ------------------------------------------------------------ scalars

    def sampling(self, body: Block, more: Block) -> None:
        request, sampling = self.request, self.request.sampling
        config: Block = {}
        if request.max_tokens is not None:
            if request.max_tokens < 1:
                self.lost("max_tokens", "an answer has at least one token here", "degraded")
            config["maxTokens"] = max(1, request.max_tokens)
        thinks = not self.native and more.get("thinking", {}).get("type") in {"enabled", "adaptive"}
        for key, own in (("temperature", "temperature"), ("top_p", "topP"), ("top_k", "")):
            value = getattr(sampling, key)
            if value is None:
                continue
            if not self.profile.sampling and not self.native:
                self.lost(key, "this model takes no sampling parameters", "degraded")
            elif thinks and not (key == "temperature" and value == 1) and not (key == "top_p" and value >= 0.95):
                self.lost(key, "fixed while the model thinks", "degraded")
            elif not own:
                self.top_k(value, more)
            elif value > 1:
                self.lost(key, f"{key} ends at 1 here", "degraded")
                config[own] = 1
            elif key == "top_p" and "temperature" in config and self.profile.temperature_or_top_p:
                self.lost(key, "this model takes temperature or top_p, not both", "degraded")
            else:
                config[own] = value
        for key in ("min_p", "frequency_penalty", "presence_penalty", "repetition_penalty", "seed", "logit_bias"):
            value = getattr(sampling, key)
            if value is not None:
                self.lost(key, "Converse has no such parameter", "info" if value in (0, {}) and key != "seed" else "lost")
        self.stop(config, body)
        if config:
            body["inferenceConfig"] = config

    def top_k(self, value: int, more: Block) -> None:
        if self.profile.model_fields == "claude" or self.native:
            more["top_k"] = value
        elif self.profile.model_fields == "nova":
            more["inferenceConfig"] = {"topK": value}
        else:
            self.lost("top_k", "this model takes no such parameter")

    def stop(self, config: Block, body: Block) -> None:
        request = self.request
        stop = [text for text in request.stop if text.strip()]
        if len(stop) < len(request.stop):
            self.lost("stop", "white space alone cannot stop an answer here")
        if self.profile.max_stop is not None and len(stop) > self.profile.max_stop:
            self.lost("stop", f"only the first {self.profile.max_stop} are taken", "degraded")
            stop = stop[: self.profile.max_stop]
        if not stop:
            return
        config["stopSequences"] = stop
        if self.profile.model_fields == "claude" and not self.native:
            # Or nobody would tell which of them it was.
            body["additionalModelResponseFieldPaths"] = [_STOP_SEQUENCE]

    def rest(self, body: Block) -> None:
        request = self.request
        if request.service_tier is not None:
            tier = request.service_tier if self.native else _TIERS.get(request.service_tier)
            if tier is not None:
                body["serviceTier"] = {"type": tier}
            else:
                self.lost("service_tier", "Bedrock has no such tier", "info")
        if request.metadata:
            metadata = request.metadata if self.native else legal_metadata(request.metadata)
            if metadata is not None:
                body["requestMetadata"] = metadata
            else:
                self.lost("metadata", "Bedrock takes at most 16 short texts of few kinds of characters", "info")
        if request.cache is not None:
            self.cache(body)
        for key in request.cache_policy:
            self.ledger.add((None, key), None, "how long a prompt is kept, each cache point says here", "info")
        for field, what, severity in (
            ("user", "Converse is not told who asks", "info"),
            ("cache_key", "the cache is keyed by content here", "info"),
            ("verbosity", "Converse has no such parameter", "degraded"),
            ("store", "Converse stores nothing", "info"),
            ("top_logprobs", "Converse has no log probabilities", "lost"),
        ):
            if getattr(request, field) is not None:
                self.lost(field, what, severity)
        if request.n is not None and request.n != 1:
            self.lost("n", "one answer only")
        if request.logprobs:
            self.lost("logprobs", "Converse has no log probabilities")

    def cache(self, body: Block) -> None:
        """To cache as far as it goes is to mark the end of the conversation."""
        mark = self.request.cache
        assert mark is not None
        content = body["messages"][-1]["content"]
        if not self.profile.cache_points or "cachePoint" in content[-1] or len(self.conversation.marked) >= 4:
            at = self.request.paths.get("cache") or (None, mark.key)
            self.ledger.add(at, None, "no further cache point is taken", "info")
            return
        content.append({"cachePoint": {"type": "default"} if mark.ttl is None else {"type": "default", "ttl": mark.ttl}})


def _is_result(block: Block) -> bool:
    return "toolResult" in block


def _is_thinking(block: Block) -> bool:
    return "reasoningContent" in block
