"""The hub's request as a Responses request. What the target cannot be told goes in the ledger.

For callers of other dialects, who say the whole conversation each time, nothing is stored (`store: false`) and reasoning comes
sealed in the answer (`include`), to be replayed. The order of keys is fixed, and nothing else is written that the caller did
not say: the same request is the same bytes, which prompt caches rely on.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from dragoman.dialects.base import Target
from dragoman.dialects.memory import Repeated
from dragoman.dialects.openai_parts import effort_for, fits_strict, merge, short_user, strict_tool
from dragoman.dialects.responses.encode_items import Block, ItemsEncoding
from dragoman.dialects.responses.tools import choice_body, format_body, grouped, summary_word, tool_body
from dragoman.ir.losses import Ledger
from dragoman.ir.request import Format, Path, ReasoningAsk, Request, Tool, ToolChoice

_TIERS = frozenset({"auto", "default", "flex", "scale", "priority", "fast", "ultrafast"})
_UNSAFE = re.compile(r"[^a-zA-Z0-9_-]")
_MOST_NAME = 64
_LEAST_TOKENS = 16
"""A smaller limit on the answer is refused."""

# What each parameter is when nobody says it: leaving that out changes nothing.
_NEUTRAL = {"frequency_penalty": 0, "presence_penalty": 0, "repetition_penalty": 1, "min_p": 0, "logit_bias": {}}
_SEALED = "reasoning.encrypted_content"
_LOGPROBS = "message.output_text.logprobs"


def encode_request(request: Request, target: Target, ledger: Ledger) -> bytes:
    return msgspec.json.encode(_Encoding(request, target, ledger).body())


class _Encoding:
    """One request on its way out."""

    def __init__(self, request: Request, target: Target, ledger: Ledger) -> None:
        if request.dialect != "responses" and request.store is None:
            request = msgspec.structs.replace(request, store=False)
        self.request = request
        self.target = target
        self.profile = target.profile
        self.ledger = ledger
        self.native = request.dialect == "responses"

    def body(self) -> Block:
        request = self.request
        more_system: list[str] = []
        text = self.text(more_system)
        conversation = ItemsEncoding(request, self.target, self.ledger)
        body: Block = {"model": self.target.model}
        if instructions := conversation.instructions(more_system):
            body["instructions"] = instructions
        body["input"] = conversation.items()
        self.opening(body)
        self.tools(body)
        if text:
            body["text"] = text
        if request.reasoning is not None:
            self.reasoning(request.reasoning, body)
        self.include(body)
        self.limit(body)
        self.sampling(body)
        self.labels(body)
        if request.stream:
            body["stream"] = True
        if request.cache is not None:
            at = request.paths.get("cache") or (None, request.cache.key)
            self.ledger.add(at, None, "caching is the target's own affair", "info")
        self.extras(body, conversation.item_extras)
        return body

    def opening(self, body: Block) -> None:
        """Without any item a request is refused, unless it goes on from something stored."""
        if body["input"] or self.native or "instructions" not in body or not self.request.system:
            return
        body["input"] = [{"type": "message", "role": "user", "content": body.pop("instructions")}]
        self.ledger.add(self.request.system[-1].at, None, "instructions alone are sent as the user's turn", "degraded")

    def lost(self, field: str, what: str, severity: Any = "lost") -> None:
        self.ledger.add(self.request.path_of(field), None, what, severity)

    def extras(self, body: Block, written: set[str]) -> None:
        if not self.native:
            self.ledger.extras(self.request)
            return
        inner = {key for key in self.request.extras if key.startswith(("input[", "tools["))}
        for key in inner - written:
            self.ledger.add(None, key, "there is no place for it here", "info")
        for key in merge(body, {key: value for key, value in self.request.extras.items() if key not in inner}):
            self.ledger.add(None, key, "said already in other words", "info")

    # ------------------------------------------------------------ tools

    def tools(self, body: Block) -> None:
        request = self.request
        if isinstance(request.tools, Repeated):
            told = request.tools.form(("responses", self.native), self.ledger, self.written_tools)
        else:
            told = self.all_tools()
        if told:
            body["tools"] = told
        choice = request.tool_choice
        if choice is not None:
            if not self.native:
                self.ledger.extras(choice)
            if told:
                body["tool_choice"] = self.tool_choice(choice)
            else:
                self.ledger.add(choice.at, None, "there is no tool to choose", "info")
        if request.parallel is not None:
            if told:
                body["parallel_tool_calls"] = request.parallel
            else:
                self.lost("parallel", "there is no tool to call", "info")

    def all_tools(self) -> list[Block]:
        told = [(tool, native) for tool in self.request.tools if (native := self.tool(tool)) is not None]
        return grouped(told) if told else []

    def written_tools(self) -> msgspec.Raw | None:
        tools = self.all_tools()
        return msgspec.Raw(msgspec.json.encode(tools)) if tools else None

    def tool(self, tool: Tool) -> Block | None:
        if tool.kind == "hosted":
            if tool.dialect == "responses":
                return tool.native
            self.ledger.add(tool.at, None, "a tool that only its own provider runs", "lost")
            return None
        native = tool_body(tool)
        if not self.native and tool.kind == "function":
            # Left out, this API tries to be strict, and makes every member of the schema required.
            native["strict"] = bool(tool.strict) and strict_tool(tool, self.ledger)
        if tool.cache is not None:
            self.ledger.add(tool.cache.spot(tool.at), None, "this target takes no cache mark here", "info")
        if not self.native:
            self.ledger.extras(tool)
        else:
            for key in merge(native, tool.extras):
                self.ledger.add(tool.at, key, "said already in other words", "info")
        return native

    def tool_choice(self, choice: ToolChoice) -> str | Block:
        known = {tool.name for tool in self.request.tools if tool.kind != "hosted"}
        forced = choice.mode in {"required", "tool"} or (choice.mode == "allowed" and choice.required)
        if forced and not self.profile.forced_tools:
            self.ledger.add(choice.at, None, "this model cannot be forced to call a tool", "degraded")
            return "auto"
        if choice.mode == "tool" and not (choice.names and choice.names[0] in known):
            self.ledger.add(choice.at, None, "the tool to be called is not there", "degraded")
            return "auto"
        native = choice_body(choice, self.request.tools)
        if self.native and isinstance(native, dict):
            for key in merge(native, choice.extras):
                self.ledger.add(choice.at, key, "said already in other words", "info")
        return native

    # ------------------------------------------------------------ the answer's form

    def text(self, more_system: list[str]) -> Block:
        text: Block = {}
        wanted = self.request.format
        if wanted is not None:
            text["format"] = self.format(wanted, more_system)
        if self.request.verbosity is not None:
            text["verbosity"] = self.request.verbosity
        return text

    def format(self, wanted: Format, more_system: list[str]) -> Block:
        if wanted.kind == "schema" and not self.profile.structured:
            schema = bytes(wanted.schema).decode() or "{}"
            more_system.append(f"Answer with one JSON value and nothing else. It must match this JSON Schema:\n{schema}")
            self.ledger.add(wanted.at, None, "told to the model in words, not enforced", "degraded")
            return {"type": "json_object"}
        name = wanted.name if wanted.name is not None else "response"
        legal = _UNSAFE.sub("_", name)[:_MOST_NAME] or "response"
        if wanted.kind == "schema" and legal != name:
            self.ledger.add(self.request.path_of("schema"), "name", f"the name of the schema is sent as {legal}", "info")
        native = format_body(wanted, legal)
        strict = wanted.strict
        if strict is None and not self.native and wanted.kind == "schema":
            # Dialects without this flag always hold the answer to the schema; this one refuses schemas beyond its subset.
            strict = fits_strict(wanted.schema)
            if not strict:
                self.ledger.add(wanted.at, None, "the schema is outside the strict subset, so it is only asked for", "degraded")
        if strict is not None:
            native["strict"] = strict
        if not self.native:
            self.ledger.extras(wanted)
        else:
            for key in merge(native, wanted.extras):
                self.ledger.add(wanted.at, key, "said already in other words", "info")
        return native

    def reasoning(self, ask: ReasoningAsk, body: Block) -> None:
        native: Block = {}
        if not self.native:
            self.ledger.extras(ask)
        off = ask.mode == "off" or ask.effort == "none"
        if self.profile.reasoning == "none" and not self.native:
            what = "this target takes no word on thinking"
            self.ledger.add(ask.at, None, what, "info" if off else "degraded")
            for field, value in (("effort", ask.effort), ("display", ask.display)):
                if field in self.request.paths and value is not None:
                    self.lost(field, what, "info" if off else "degraded")
            return
        if (effort := effort_for(ask, frozenset() if self.native else self.profile.efforts, self.ledger, off=off)) is not None:
            native["effort"] = effort
        if (summary := summary_word(ask)) is not None:
            native["summary"] = summary
        elif ask.mode == "on" and ask.display is None:
            native["summary"] = "auto"  # thinking that is turned on is shown
        elif ask.display not in {None, "omitted"}:
            self.lost("display", "how thinking is shown cannot be chosen here in these words", "info")
        if self.native:
            for key in merge(native, ask.extras):
                self.ledger.add(ask.at, key, "said already in other words", "info")
        if native:
            body["reasoning"] = native

    def include(self, body: Block) -> None:
        wanted: list[str] = []
        sealed = self.request.sealed_reasoning if self.native else self.profile.reasoning != "none" and self.profile.sealed
        if sealed:
            wanted.append(_SEALED)
        if self.request.logprobs or (self.request.top_logprobs and not self.native):
            wanted.append(_LOGPROBS)
        if wanted:
            body["include"] = wanted

    # ------------------------------------------------------------ scalars

    def limit(self, body: Block) -> None:
        most = self.request.max_tokens
        if most is None:
            return
        if most < _LEAST_TOKENS and not self.native:
            self.lost("max_tokens", f"no less than {_LEAST_TOKENS} are taken here", "degraded")
            most = _LEAST_TOKENS
        body["max_output_tokens"] = most

    def sampling(self, body: Block) -> None:
        request, sampling = self.request, self.request.sampling
        for key in sampling.__struct_fields__:
            value = getattr(sampling, key)
            if value is None:
                continue
            if key not in {"temperature", "top_p"}:
                self.lost(key, "Responses has no such parameter", "info" if _NEUTRAL.get(key) == value else "lost")
            elif not self.profile.sampling and not self.native:
                self.lost(key, "this model takes no sampling parameters", "info" if value == 1 else "degraded")
            elif key == "top_p" and "temperature" in body and self.profile.temperature_or_top_p:
                self.lost(key, "this model takes temperature or top_p, not both", "degraded")
            else:
                body[key] = value
        if request.stop:
            self.lost("stop", "Responses has no stop sequences")
        if request.n is not None:
            self.lost("n", "one answer only", "info" if request.n == 1 else "lost")
        if request.top_logprobs is not None:
            body["top_logprobs"] = request.top_logprobs

    def labels(self, body: Block) -> None:
        request = self.request
        if request.store is not None:
            body["store"] = request.store
        if request.user is not None:
            named = request.paths.get("user") == (None, "safety_identifier")
            body["safety_identifier" if named else "user"] = self.user(request.user)
        if request.cache_key is not None:
            body["prompt_cache_key"] = request.cache_key
        body |= request.cache_policy
        self.metadata(body)
        tier = request.service_tier
        if tier is not None:
            tier = "default" if tier == "standard_only" else tier
            if tier in _TIERS or self.native:
                body["service_tier"] = tier
            else:
                self.lost("service_tier", "the target has no such tier", "info")

    def user(self, user: str) -> str:
        short = user if self.native else short_user(user)
        if short != user:
            self.lost("user", "too long here; its hash is sent", "info")
        return short

    def metadata(self, body: Block) -> None:
        if self.native and self.request.metadata:
            body["metadata"] = self.request.metadata
            return
        at: Path = self.request.path_of("metadata")
        for key in self.request.metadata:
            self.ledger.add(at, key, "metadata are the caller's own", "info")
