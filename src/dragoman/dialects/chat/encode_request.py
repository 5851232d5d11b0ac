"""The hub's request as a Chat Completions request. What the target cannot be told goes in the ledger.

The order of keys is fixed, and nothing is written that the caller did not say, but for what streams need: the same request
is the same bytes, which prompt caches rely on.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from dragoman.dialects import freetext
from dragoman.dialects.base import Target
from dragoman.dialects.chat.encode_messages import Block, MessagesEncoding
from dragoman.dialects.memory import Repeated
from dragoman.dialects.openai_completions import NEUTRAL, stops_for
from dragoman.dialects.openai_parts import CACHE_POLICY, effort_for, fits_strict, merge, short_user, strict_tool
from dragoman.ir.losses import Ledger
from dragoman.ir.request import Format, Path, ReasoningAsk, Request, Sampling, Tool, ToolChoice

_NO_PARAMETERS = msgspec.Raw(b'{"type":"object","properties":{}}')
_TIERS = frozenset({"auto", "default", "flex", "scale", "priority", "fast"})
_UNSAFE = re.compile(r"[^a-zA-Z0-9_-]")
_MOST_NAME = 64
_LABELS = frozenset({"metadata", "prompt_cache_key", *CACHE_POLICY, "safety_identifier", "service_tier", "store", "user"})
"""What changes nothing in the answer."""
_SAMPLING = Sampling.__struct_fields__
_NO_LABELS = (None,) * 5
_encode = msgspec.json.Encoder().encode


def encode_request(request: Request, target: Target, ledger: Ledger) -> bytes:
    return _encode(_Encoding(request, target, ledger).body())


class _Encoding:
    """One request on its way out."""

    def __init__(self, request: Request, target: Target, ledger: Ledger) -> None:
        self.request = request
        self.target = target
        self.profile = target.profile
        self.ledger = ledger
        self.native = request.dialect == "chat"

    def body(self) -> Block:
        request, profile = self.request, self.profile
        more_system: list[str] = []
        wanted = self.format(more_system) if request.format is not None else None
        body: Block = {
            "model": self.target.model,
            "messages": MessagesEncoding(request, self.target, self.ledger).messages(more_system),
        }
        if request.tools or request.tool_choice is not None or request.parallel is not None:
            self.tools(body)
        if wanted is not None:
            body["response_format"] = wanted
        if request.reasoning is not None:
            self.reasoning(request.reasoning, body)
        if not profile.effort_with_tools:
            self.effort_beside_tools(body)
        if profile.call_opening:
            self.open_call(body)
        if request.max_tokens is not None:
            body[profile.max_tokens_field] = request.max_tokens
        if request.stop:
            self.stop(body)
        self.sampling(body)
        self.labels(body)
        if request.stream:
            body["stream"] = True
            if profile.stream_usage:
                body["stream_options"] = {"include_usage": True}
        if request.cache is not None:
            at = request.paths.get("cache") or (None, request.cache.key)
            self.ledger.add(at, None, "caching is the target's own affair", "info")
        if request.extras:
            self.extras(body)
        return body

    def put(self, body: Block, key: str, value: Any, field: str) -> None:
        """Where the endpoint takes this parameter. `field`: its name in the hub."""
        if key not in self.profile.refused or (key == "n" and value == 1):
            body[key] = value
        else:
            self.lost(field, "the target refuses this parameter", "info" if key in _LABELS else "degraded")

    def lost(self, field: str, what: str, severity: Any = "lost") -> None:
        self.ledger.add(self.request.path_of(field), None, what, severity)

    def extras(self, body: Block) -> None:
        if not self.native:
            self.ledger.extras(self.request)
            return
        # Of a leading system message, which is merged with the others: these are paths, not keys.
        inner = {key: value for key, value in self.request.extras.items() if key.startswith("messages[")}
        for key in inner:
            self.ledger.add(None, key, "instructions are merged into one message", "info")
        options = self.request.extras.get("stream_options")
        for key in merge(body, {key: value for key, value in self.request.extras.items() if key not in inner}):
            self.ledger.add(None, key, "said already in other words", "info")
        if options is not None and not self.request.stream:
            body.pop("stream_options")
            self.ledger.add(None, "stream_options", "there is no stream", "info")

    # ------------------------------------------------------------ tools

    def tools(self, body: Block) -> None:
        request = self.request
        choice = request.tool_choice
        only = set(choice.names) if choice is not None and choice.mode == "allowed" and not self.profile.allowed_tools else None
        if isinstance(request.tools, Repeated) and only is None and not self.profile.call_opening:
            tools = request.tools.form(("chat", self.profile.custom_tools, self.native), self.ledger, self.written_tools)
        else:
            tools = self.all_tools(only)
        if tools:
            body["tools"] = tools
        if choice is not None:
            if not self.native:
                self.ledger.extras(choice)
            if tools:
                body["tool_choice"] = self.tool_choice(choice)
            else:
                self.ledger.add(choice.at, None, "there is no tool to choose", "info")
        if request.parallel is not None:
            if tools:
                self.put(body, "parallel_tool_calls", request.parallel, "parallel")
            else:
                self.lost("parallel", "there is no tool to call", "info")

    def all_tools(self, only: set[str] | None) -> list[Block]:
        return [native for tool in self.request.tools if self.allowed(tool, only) and (native := self.tool(tool)) is not None]

    def written_tools(self) -> msgspec.Raw | None:
        tools = self.all_tools(None)
        return msgspec.Raw(_encode(tools)) if tools else None

    def allowed(self, tool: Tool, only: set[str] | None) -> bool:
        if only is None or tool.name in only:
            return True
        self.ledger.add(tool.at, None, "left out, as tool_choice does not allow it", "info")
        return False

    def tool(self, tool: Tool) -> Block | None:
        if tool.kind == "hosted":
            if tool.dialect == "chat":
                return tool.native
            self.ledger.add(tool.at, None, "a tool that only its own provider runs", "lost")
            return None
        kind = tool.kind if self.profile.custom_tools else "function"
        free = tool.kind == "custom" and kind == "function"
        inner: Block = {"name": tool.name}
        description = freetext.described(tool, self.ledger) if free else tool.description
        if description is not None:
            inner["description"] = description
        if kind == "custom":
            inner.update(tool.native)
        elif free:
            inner["parameters"] = freetext.SCHEMA
        else:
            inner["parameters"] = tool.schema if bytes(tool.schema) else _NO_PARAMETERS
            if tool.strict is not None:
                inner["strict"] = tool.strict and (self.native or strict_tool(tool, self.ledger))
        native: Block = {"type": kind, kind: inner}
        if tool.cache is not None:
            self.ledger.add(tool.cache.spot(tool.at), None, "this target takes no cache mark here", "info")
        if not self.native:
            self.ledger.extras(tool)
        else:
            # A legacy function has no object around it.
            legacy = tool.at is not None and tool.at[0] == (None, "functions")
            for key in merge(inner if legacy else native, tool.extras):
                self.ledger.add(tool.at, key, "said already in other words", "info")
        return native

    def tool_choice(self, choice: ToolChoice) -> str | Block:
        known = {tool.name: tool.kind for tool in self.request.tools if tool.kind != "hosted" or tool.dialect == "chat"}
        forced = choice.mode in {"required", "tool"} or (choice.mode == "allowed" and choice.required)
        if forced and not self.profile.forced_tools:
            self.ledger.add(choice.at, None, "this model cannot be forced to call a tool", "degraded")
            return "auto"
        if not self.profile.custom_tools:
            known = {name: "function" if kind == "custom" else kind for name, kind in known.items()}
        if choice.mode == "tool":
            kind = known.get(choice.names[0]) if choice.names else None
            if kind in {"function", "custom"}:
                return self.choice_with_extras({"type": kind, kind: {"name": choice.names[0]}}, choice)
            self.ledger.add(choice.at, None, "the tool to be called is not there", "degraded")
            return "auto"
        if choice.mode == "allowed":
            if not self.profile.allowed_tools:
                self.ledger.add(choice.at, None, "said by leaving out the other tools", "info")
                return "required" if choice.required else "auto"
            tools = [{"type": kind, kind: {"name": name}} for name in choice.names if (kind := known.get(name, "function"))]
            inner = {"mode": "required" if choice.required else "auto", "tools": tools}
            return self.choice_with_extras({"type": "allowed_tools", "allowed_tools": inner}, choice)
        return choice.mode

    def open_call(self, body: Block) -> None:
        """A model that may talk before the call that it owes is begun for: its turn starts with the words of a call.
        It knows no names either, so the one function that is wanted is the only one sent."""
        choice = body.get("tool_choice")
        if choice in (None, "auto", "none"):
            return
        if isinstance(choice, dict):
            name = choice.get("function", {}).get("name")
            body["tools"] = [tool for tool in body["tools"] if tool.get("function", {}).get("name") == name] or body["tools"]
            body["tool_choice"] = "required"
        body["messages"].append({"role": "assistant", "content": self.profile.call_opening})

    def choice_with_extras(self, native: Block, choice: ToolChoice) -> Block:
        if self.native:
            for key in merge(native, choice.extras):
                self.ledger.add(choice.at, key, "said already in other words", "info")
        return native

    # ------------------------------------------------------------ format

    def format(self, more_system: list[str]) -> Block | None:
        wanted = self.request.format
        if wanted is None:
            return None
        if wanted.kind == "schema" and not self.profile.structured:
            schema = bytes(wanted.schema).decode() or "{}"
            more_system.append(f"Answer with one JSON value and nothing else. It must match this JSON Schema:\n{schema}")
            self.ledger.add(wanted.at, None, "told to the model in words, not enforced", "degraded")
            return {"type": "json_object"}
        native: Block = {"type": "text" if wanted.kind == "text" else "json_object"}
        if wanted.kind == "schema":
            native = {"type": "json_schema", "json_schema": self.json_schema(wanted)}
        if not self.native:
            self.ledger.extras(wanted)
        else:
            for key in merge(native, wanted.extras):
                self.ledger.add(wanted.at, key, "said already in other words", "info")
        return native

    def json_schema(self, wanted: Format) -> Block:
        name = wanted.name if wanted.name is not None else "response"
        legal = _UNSAFE.sub("_", name)[:_MOST_NAME] or "response"
        if legal != name:
            self.ledger.add(wanted.at, "name", f"the name of the schema is sent as {legal}", "info")
        inner: Block = {"name": legal}
        if wanted.description is not None:
            inner["description"] = wanted.description
        if bytes(wanted.schema):
            inner["schema"] = wanted.schema
        strict = wanted.strict
        if strict is None and not self.native:
            # Dialects without this flag always hold the answer to the schema; this one refuses schemas beyond its subset.
            strict = fits_strict(wanted.schema)
            if not strict:
                self.ledger.add(wanted.at, None, "the schema is outside the strict subset, so it is only asked for", "degraded")
        if strict is not None:
            inner["strict"] = strict
        return inner

    # ------------------------------------------------------------ reasoning

    def reasoning(self, ask: ReasoningAsk, body: Block) -> None:
        self.ledger.extras(ask)
        off = ask.mode == "off" or ask.effort == "none"
        shown = ask.display is None
        match self.profile.reasoning:
            case "effort":
                self.effort(ask, body, off=off)
            case "reasoning":
                native = self.reasoning_object(ask, off=off)
                if self.native and ask.display == "omitted":
                    native["exclude"] = True
                    shown = True
                if native:
                    body["reasoning"] = native
            case "thinking":
                self.thinking(ask, body, off=off)
            case "none":
                self.whole_ask_lost(ask, off=off)
        if not shown:
            self.lost("display", "how thinking is shown cannot be chosen here", "info")

    def whole_ask_lost(self, ask: ReasoningAsk, *, off: bool) -> None:
        self.ledger.add(ask.at, None, "this target takes no word on thinking", "info" if off else "degraded")
        if "effort" in self.request.paths and ask.effort is not None:
            self.lost("effort", "this target takes no word on thinking", "info" if off else "degraded")

    def effort(self, ask: ReasoningAsk, body: Block, *, off: bool) -> None:
        effort = effort_for(ask, frozenset() if self.native else self.profile.efforts, self.ledger, off=off)
        if effort is not None:
            body["reasoning_effort"] = effort

    def effort_beside_tools(self, body: Block) -> None:
        """Some models refuse function tools unless they are told in so many words not to think."""
        if "tools" not in body or body.get("reasoning_effort") == "none":
            return
        if "reasoning_effort" in body:
            self.lost("effort", "this model does not think beside tools in Chat Completions", "degraded")
        body["reasoning_effort"] = "none"

    def reasoning_object(self, ask: ReasoningAsk, *, off: bool) -> Block:
        if off:
            return {"effort": "none"} if ask.effort == "none" else {"enabled": False}
        if ask.effort is not None:
            if ask.budget is not None:
                self.ledger.add(ask.at, None, "effort and budget exclude each other here; the effort was sent", "info")
            return {"effort": ask.effort}
        if ask.budget is not None:
            return {"max_tokens": ask.budget}
        if ask.mode == "on":
            return {"enabled": True}
        if ask.mode == "adaptive":
            self.ledger.add(ask.at, None, "how much to think is left to the model", "info")
        return {}

    def thinking(self, ask: ReasoningAsk, body: Block, *, off: bool) -> None:
        if off:
            body["thinking"] = {"type": "disabled"}
            return
        if ask.mode == "on" or ask.budget is not None or (ask.mode == "adaptive" and ask.effort is not None):
            body["thinking"] = {"type": "enabled"}
        elif ask.mode == "adaptive":
            self.ledger.add(ask.at, None, "how much to think is left to the model", "info")
        if ask.budget is not None:
            self.ledger.add(ask.at, None, "the budget of tokens cannot be told here", "degraded")
        if ask.effort is not None:
            body["reasoning_effort"] = ask.effort

    # ------------------------------------------------------------ scalars

    def stop(self, body: Block) -> None:
        stop = stops_for(self.request, self.profile, self.ledger)
        if stop:
            self.put(body, "stop", stop, "stop")

    def sampling(self, body: Block) -> None:
        for key, value in zip(_SAMPLING, msgspec.structs.astuple(self.request.sampling), strict=True):
            if value is None:
                continue
            neutral = NEUTRAL.get(key) == value
            if not self.profile.sampling and key != "seed":
                self.lost(key, "this model takes no sampling parameters", "info" if neutral else "degraded")
            elif key in {"top_k", "min_p", "repetition_penalty"} and not self.profile.extra_sampling:
                self.lost(key, "the target has no such parameter", "info" if neutral else "degraded")
            elif key == "top_p" and "temperature" in body and self.profile.temperature_or_top_p:
                self.lost(key, "this model takes temperature or top_p, not both", "degraded")
            elif key == "seed":
                self.put(body, self.profile.seed_field, value, key)
            else:
                self.put(body, key, value, key)

    def labels(self, body: Block) -> None:
        request = self.request
        said = (request.n, request.logprobs, request.top_logprobs, request.verbosity, request.store)
        if said != _NO_LABELS:
            for key, value in zip(("n", "logprobs", "top_logprobs", "verbosity", "store"), said, strict=True):
                if value is not None:
                    self.put(body, key, value, key)
        if request.user is not None:
            named = request.paths.get("user") == (None, "safety_identifier") and self.native
            field = "safety_identifier" if named else "user"
            self.put(body, field, request.user if field in self.profile.refused else self.user(request.user), "user")
        if request.cache_key is not None:
            self.put(body, "prompt_cache_key", request.cache_key, "cache_key")
        for key, value in request.cache_policy.items():
            self.put(body, key, value, key)
        if request.metadata:
            self.metadata(body)
        tier = request.service_tier
        if tier is not None:
            tier = "default" if tier == "standard_only" else tier
            if tier in _TIERS or self.native:
                self.put(body, "service_tier", tier, "service_tier")
            else:
                self.lost("service_tier", "the target has no such tier", "info")

    def user(self, user: str) -> str:
        short = user if self.native else short_user(user)
        if short != user:
            self.lost("user", "too long here; its hash is sent", "info")
        return short

    def metadata(self, body: Block) -> None:
        at: Path = self.request.path_of("metadata")
        texts = {key: value for key, value in self.request.metadata.items() if isinstance(value, str) and self.native}
        for key in self.request.metadata:
            if key not in texts:
                self.ledger.add(at, key, "metadata are the caller's own, and texts", "info")
        if texts:
            self.put(body, "metadata", texts, "metadata")
