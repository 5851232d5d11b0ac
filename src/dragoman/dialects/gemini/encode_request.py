"""The hub's request as a `generateContent` body. What Gemini cannot be told goes in the ledger.

The order of keys is fixed, so that the same request is the same bytes. Model and verb are in the URL (`paths.upstream_url`).
"""

from __future__ import annotations

import msgspec

from dragoman.dialects import freetext
from dragoman.dialects.base import Target
from dragoman.dialects.gemini.encode_contents import Block, ContentsEncoding
from dragoman.dialects.gemini.names import merge
from dragoman.dialects.gemini.schema import compile_schema, enter
from dragoman.dialects.memory import Repeated
from dragoman.dialects.thinking import effort_of
from dragoman.ir.losses import Ledger, Severity
from dragoman.ir.request import Format, ReasoningAsk, Request, Tool, ToolChoice

_MOST_STOP = 5
_LEVELS = {"none": "MINIMAL", "minimal": "MINIMAL", "low": "LOW", "medium": "MEDIUM", "high": "HIGH"}
_BUDGETS = {"minimal": 512, "low": 1024, "medium": 8192, "high": 24_576, "xhigh": 24_576, "max": 24_576}
_MOST_BUDGET, _MOST_BUDGET_ALWAYS_ON = 24_576, 32_768
_LEAST_BUDGET = 128
_TIERS = {"flex": "flex", "standard": "standard", "priority": "priority", "default": "standard", "standard_only": "standard"}
_NEUTRAL = {"min_p": 0, "repetition_penalty": 1}


def encode_request(request: Request, target: Target, ledger: Ledger) -> bytes:
    return msgspec.json.encode(request_body(request, target, ledger))


def request_body(request: Request, target: Target, ledger: Ledger) -> Block:
    """The body before it is JSON, for requests that hold one (`countTokens`)."""
    return _Encoding(request, target, ledger).body()


class _Encoding:
    """One request on its way out."""

    def __init__(self, request: Request, target: Target, ledger: Ledger) -> None:
        self.request = request
        self.target = target
        self.profile = target.profile
        self.ledger = ledger
        self.native = request.dialect == "gemini"

    def body(self) -> Block:
        request = self.request
        conversation = ContentsEncoding(request, self.target, self.ledger)
        body: Block = {"contents": conversation.contents()}
        if isinstance(request.tools, Repeated):
            key = "gemini", self.profile.json_schema, self.native
            tools, calls = request.tools.form(key, self.ledger, self.written_tools)
        else:
            tools, calls = self.tools()
        config: Block = {}
        self.sampling(config)
        words = self.format(config, calls=calls)
        self.reasoning(config)
        system = conversation.system + ([{"text": words}] if words else [])
        if system:
            body["systemInstruction"] = {"parts": system}
        if tools:
            body["tools"] = tools
        self.tool_choice(body)
        if config:
            body["generationConfig"] = config
        self.labels(body)
        if self.native:
            for key in merge(body, request.extras):
                self.ledger.add(None, key, "said already in other words", "info")
        else:
            self.ledger.extras(request)
        return body

    def lost(self, field: str, what: str, severity: Severity = "lost") -> None:
        self.ledger.add(self.request.path_of(field), None, what, severity)

    # ------------------------------------------------------------ tools

    def written_tools(self) -> tuple[msgspec.Raw | None, bool]:
        tools, calls = self.tools()
        return (msgspec.Raw(msgspec.json.encode(tools)) if tools else None), calls

    def tools(self) -> tuple[list[Block], bool]:
        """And whether there is a function among them."""
        tools: list[Block] = []
        functions: list[Block] = []
        for tool in self.request.tools:
            if tool.kind == "hosted":
                if tool.dialect == "gemini":
                    tools.append(tool.native)
                else:
                    self.ledger.add(tool.at, None, "a tool that only its own provider runs", "lost")
                continue
            if not functions:
                tools.append({"functionDeclarations": functions})
            functions.append(self.function(tool))
        return tools, bool(functions)

    def function(self, tool: Tool) -> Block:
        native: Block = {"name": tool.name}
        free = tool.kind == "custom"
        description = freetext.described(tool, self.ledger) if free else tool.description
        schema = freetext.SCHEMA if free else tool.schema
        if description is not None:
            native["description"] = description
        if bytes(schema).strip():
            self.parameters(native, schema, tool)
        if tool.strict:
            self.ledger.add(tool.at, None, "arguments are not held to their schema by the provider", "degraded")
        if tool.cache is not None:
            self.ledger.add(tool.cache.spot(tool.at), None, "Gemini caches by itself", "info")
        if self.native:
            merge(native, tool.extras)
        else:
            self.ledger.extras(tool)
        return native

    def parameters(self, native: Block, schema: msgspec.Raw, tool: Tool) -> None:
        if self.profile.json_schema and self.native:
            native["parametersJsonSchema"] = schema
            return
        compiled = compile_schema(schema, openapi=not self.profile.json_schema)
        enter(compiled, tool.at, self.ledger)
        if self.profile.json_schema:
            native["parametersJsonSchema"] = {"type": "object", **compiled.schema}
        elif compiled.schema.get("properties"):
            # This form refuses an object without members.
            native["parameters"] = {**compiled.schema, "type": "OBJECT"}

    def tool_choice(self, body: Block) -> None:
        request, choice = self.request, self.request.tool_choice
        callable_ = any(tool.kind != "hosted" for tool in request.tools)
        if request.parallel is not None:
            severity = "info" if request.parallel or not callable_ else "degraded"
            self.lost("parallel", "how many calls it makes at once is the model's choice", severity)
        if choice is None:
            return
        if not callable_ and not self.native:
            self.ledger.add(choice.at, None, "there is no tool to choose", "info")
            return
        native = self.calling(choice)
        if self.native:
            native |= choice.extras
        else:
            self.ledger.extras(choice)
        body["toolConfig"] = {"functionCallingConfig": native}

    def calling(self, choice: ToolChoice) -> Block:
        forced = choice.mode in {"required", "tool"} or (choice.mode == "allowed" and choice.required)
        if forced and not self.profile.forced_tools:
            self.ledger.add(choice.at, None, "this model cannot be forced to call a tool", "degraded")
            return {"mode": "AUTO"}
        match choice.mode:
            case "auto":
                return {"mode": "AUTO"}
            case "none":
                return {"mode": "NONE"}
            case "required":
                return {"mode": "ANY"}
            case "tool":
                return {"mode": "ANY", "allowedFunctionNames": choice.names}
            case "allowed":
                return {"mode": "ANY" if choice.required else "VALIDATED", "allowedFunctionNames": choice.names}

    # ------------------------------------------------------------ format

    def format(self, config: Block, *, calls: bool) -> str:
        """Writes the format; gives what has to be said in words instead."""
        wanted = self.request.format
        if wanted is None:
            return ""
        if not self.native:
            self.ledger.extras(wanted)
        if wanted.kind == "text":
            if self.native:
                config["responseMimeType"] = "text/plain"
            return ""
        if (calls and not self.profile.format_with_tools) or (wanted.kind == "schema" and not self.profile.structured):
            if not calls:
                config["responseMimeType"] = "application/json"
            self.ledger.add(wanted.at, None, "told to the model in words, not enforced", "degraded")
            order = "Answer with one JSON value and nothing else."
            return order + (f" It must match this JSON Schema:\n{bytes(wanted.schema).decode()}" if wanted.schema else "")
        config["responseMimeType"] = "application/json"
        if wanted.kind == "schema":
            self.schema(config, wanted)
        return ""

    def schema(self, config: Block, wanted: Format) -> None:
        for key in ("name", "description"):
            if getattr(wanted, key) is not None:
                self.ledger.add(wanted.at, None, "a schema has no name or description here", "info")
        if wanted.strict is False:
            self.ledger.add(wanted.at, None, "Gemini always holds the answer to its schema", "info")
        if not bytes(wanted.schema).strip():
            return
        if self.native and self.profile.json_schema:
            config["responseJsonSchema"] = wanted.schema
            return
        compiled = compile_schema(wanted.schema, openapi=not self.profile.json_schema)
        enter(compiled, wanted.at, self.ledger)
        config["responseJsonSchema" if self.profile.json_schema else "responseSchema"] = compiled.schema

    # ------------------------------------------------------------ reasoning

    def reasoning(self, config: Block) -> None:
        ask = self.request.reasoning
        if ask is None:
            return
        if self.profile.thinking_config == "none":
            off = ask.mode == "off" or ask.effort == "none"
            self.ledger.add(ask.at, None, "this model does not think", "info" if off else "degraded")
            if "effort" in self.request.paths and ask.effort is not None:
                self.lost("effort", "this model does not think", "info" if off else "degraded")
            return
        off = ask.mode == "off" or ask.effort == "none"
        native: Block = {}
        if ask.display is not None or not (self.native or off):
            native["includeThoughts"] = not off and ask.display != "omitted"
            if ask.display not in {None, "summarized", "omitted"}:
                self.lost("display", "thoughts are shown as summaries", "info")
        if self.profile.thinking_config == "level":
            self.level(ask, native, off=off)
        else:
            self.budget(ask, native, off=off)
        if self.native:
            merge(native, ask.extras)
        else:
            self.ledger.extras(ask)
        if native:
            config["thinkingConfig"] = native

    def level(self, ask: ReasoningAsk, native: Block, *, off: bool) -> None:
        lowest = "LOW" if self.profile.thinking_off == "never" else "MINIMAL"
        if off and self.native and ask.effort is None:
            native["thinkingBudget"] = 0
        elif off:
            native["thinkingLevel"] = lowest
            self.ledger.add(ask.at, None, f"thinking cannot be turned off: told as {lowest}", "degraded")
        elif ask.effort is not None:
            level = ask.effort.upper() if self.native else _LEVELS.get(ask.effort, "HIGH")
            native["thinkingLevel"] = lowest if level == "MINIMAL" else level
            if native["thinkingLevel"].lower() != ask.effort:
                self.lost("effort", f"effort {ask.effort} is told as {native['thinkingLevel']}", "degraded")
            if ask.budget is not None:
                self.lost("budget", "a budget of tokens beside an effort cannot be told", "info")
        elif ask.budget is not None:
            if self.native:
                native["thinkingBudget"] = ask.budget
                return
            native["thinkingLevel"] = effort_of(ask.budget).upper()
            self.ledger.add(ask.at, None, f"the budget of tokens is told as {native['thinkingLevel']}", "degraded")
        elif ask.mode is not None:
            # To think as much as it sees fit is what the model does anyway.
            if self.native and ask.mode == "adaptive":
                native["thinkingBudget"] = -1
            else:
                self.ledger.add(ask.at, None, "how much to think is left to the model", "info")

    def budget(self, ask: ReasoningAsk, native: Block, *, off: bool) -> None:
        always_on = self.profile.thinking_off == "never"
        most = _MOST_BUDGET_ALWAYS_ON if always_on else _MOST_BUDGET
        if off:
            native["thinkingBudget"] = _LEAST_BUDGET if always_on else 0
            if always_on:
                self.ledger.add(ask.at, None, "thinking cannot be turned off: told to think the least", "degraded")
        elif ask.budget is not None:
            native["thinkingBudget"] = min(ask.budget, most)
            if ask.budget > most:
                self.ledger.add(ask.at, None, f"the budget is told as {most} tokens, the most", "degraded")
            if ask.effort is not None:
                self.lost("effort", "an effort beside a budget cannot be told", "info")
        elif ask.effort is not None:
            native["thinkingBudget"] = min(_BUDGETS.get(ask.effort, most), most)
            self.lost("effort", f"effort {ask.effort} is told as a budget of {native['thinkingBudget']} tokens", "info")
        elif ask.mode is not None:
            native["thinkingBudget"] = -1

    # ------------------------------------------------------------ scalars

    def sampling(self, config: Block) -> None:
        request, sampling = self.request, self.request.sampling
        for key, own in (("temperature", "temperature"), ("top_p", "topP"), ("top_k", "topK")):
            value = getattr(sampling, key)
            if value is None:
                continue
            if self.profile.sampling:
                config[own] = value
            else:
                self.lost(key, "this model takes no sampling parameters", "degraded")
        if request.n is not None and (request.n != 1 or self.native):
            config["candidateCount"] = request.n
        if request.max_tokens is not None:
            config["maxOutputTokens"] = request.max_tokens
        self.stop(config)
        for value, own in (
            (sampling.presence_penalty, "presencePenalty"),
            (sampling.frequency_penalty, "frequencyPenalty"),
            (sampling.seed, "seed"),
            (request.logprobs or (request.logprobs if self.native else None), "responseLogprobs"),
            (request.top_logprobs, "logprobs"),
        ):
            if value is not None:
                config[own] = value
        for key, neutral in _NEUTRAL.items():
            value = getattr(sampling, key)
            if value is not None:
                self.lost(key, "Gemini has no such parameter", "info" if value == neutral else "lost")
        if sampling.logit_bias is not None:
            self.lost("logit_bias", "Gemini has no such parameter", "lost" if sampling.logit_bias else "info")

    def stop(self, config: Block) -> None:
        stop = [text for text in self.request.stop if text]
        if len(stop) < len(self.request.stop):
            self.lost("stop", "an empty text cannot stop an answer", "info")
        most = min(self.profile.max_stop, _MOST_STOP) if self.profile.max_stop is not None else _MOST_STOP
        if len(stop) > most:
            self.lost("stop", f"only the first {most} are taken", "degraded")
            stop = stop[:most]
        if stop:
            config["stopSequences"] = stop

    def labels(self, body: Block) -> None:
        request = self.request
        if request.service_tier is not None:
            tier = _TIERS.get(request.service_tier, request.service_tier if self.native else None)
            if tier is not None:
                body["serviceTier"] = tier
            else:
                self.lost("service_tier", "Gemini has no such tier", "info")
        if self.native:
            if request.metadata:
                body["labels"] = request.metadata
            if request.store is not None:
                body["store"] = request.store
        else:
            if request.metadata:
                self.lost("metadata", "Gemini keeps no metadata", "info")
            if request.store is not None:
                self.lost("store", "said in the caller's own dialect only", "info")
        for key in request.cache_policy:
            self.ledger.add((None, key), None, "how long a prompt is kept is Gemini's own affair", "info")
        for field in ("user", "cache_key", "cache", "verbosity"):
            if getattr(request, field) is not None:
                at = request.paths.get(field) or (None, request.cache.key if field == "cache" and request.cache else field)
                self.ledger.add(at, None, "Gemini has no such parameter", "degraded" if field == "verbosity" else "info")
