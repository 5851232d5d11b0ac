"""The hub's request as a completion request. A single message of the user's goes as it is; a conversation is written out as
a transcript, which is the best that a model without turns can be given, and stands in the ledger as such."""

from __future__ import annotations

from typing import Any

import msgspec

from dragoman.dialects.base import Target
from dragoman.dialects.openai_completions import NEUTRAL, stops_for
from dragoman.dialects.openai_parts import merge
from dragoman.ir.losses import Ledger
from dragoman.ir.request import Document, Message, Part, Reasoning, Refusal, Request, Text, ToolCall, ToolResult

Block = dict[str, Any]

_SPEAKER = {"user": "User", "assistant": "Assistant", "system": "System"}
_NEXT_TURN = "\nUser:"
_SAME_NAMES = ("n", "user")
_NOT_HERE = ("parallel", "top_logprobs", "service_tier", "cache_key", "verbosity", "store")


def encode_request(request: Request, target: Target, ledger: Ledger) -> bytes:
    return msgspec.json.encode(_Encoding(request, target, ledger).body())


class _Encoding:
    def __init__(self, request: Request, target: Target, ledger: Ledger) -> None:
        self.request = request
        self.profile = target.profile
        self.model = target.model
        self.ledger = ledger
        self.native = request.dialect == "completions"

    def body(self) -> Block:
        request = self.request
        prompt, transcript = self.prompt()
        body: Block = {"model": self.model, "prompt": prompt}
        body["max_tokens"] = self.profile.max_output_tokens if request.max_tokens is None else request.max_tokens
        self.stop(body, transcript=transcript)
        self.sampling(body)
        for key in _SAME_NAMES:
            value = getattr(request, key)
            if value is not None:
                body[key] = value
        if request.logprobs:
            body["logprobs"] = request.top_logprobs or 0
        if request.echo:
            body["echo"] = True
        if request.stream:
            body["stream"] = True
            if self.profile.stream_usage:
                body["stream_options"] = {"include_usage": True}
        self.tools()
        self.rest(body)
        return body

    def lost(self, field: str, what: str, severity: Any = "lost") -> None:
        self.ledger.add(self.request.path_of(field), None, what, severity)

    # ------------------------------------------------------------ the prompt

    def prompt(self) -> tuple[str, bool]:
        """The text, and whether it is a transcript."""
        request = self.request
        messages = request.messages
        if not request.system and len(messages) == 1 and messages[0].role == "user":
            return self.text_of(messages[0]), False
        blocks = ["\n\n".join(part.text for part in request.system)] if request.system else []
        blocks += [f"{_SPEAKER[message.role]}: {self.text_of(message)}" for message in messages]
        # What the assistant has begun, the model goes on with.
        if not messages or messages[-1].role != "assistant":
            blocks.append("Assistant:")
        at = messages[0].at[0] if messages and messages[0].at is not None else (None, "messages")
        self.ledger.add(at, None, "turns are written out in one prompt", "degraded")
        return "\n\n".join(blocks), True

    def text_of(self, message: Message) -> str:
        if not self.native:
            self.ledger.extras(message)
        if message.name is not None:
            self.ledger.add(message.at, "name", "a prompt has no names", "info")
        return "\n".join(text for part in message.parts if (text := self.part(part)))

    def part(self, part: Part) -> str:
        if not self.native:
            self.ledger.extras(part)
        match part:
            case Text() | Refusal():
                return part.text
            case Reasoning():
                self.ledger.add(part.at, None, "earlier thinking has no place in a prompt", "info")
            case ToolCall():
                self.ledger.add(part.at, None, "a call is told in words", "degraded")
                return f"[calls {part.name}: {part.arguments}]"
            case ToolResult():
                self.ledger.add(part.at, None, "a result is told in words", "degraded")
                said = "\n".join(text for inner in part.parts if (text := self.part(inner)))
                return f"[{'error' if part.is_error else 'result'}: {said}]"
            case Document(text=str(text)):
                return text
            case _:
                self.ledger.add(part.at, None, "a prompt is text alone", "lost")
        return ""

    # ------------------------------------------------------------ what it cannot be told

    def tools(self) -> None:
        request = self.request
        for tool in request.tools:
            self.ledger.add(tool.at, None, "a completion calls no tools", "lost")
        if request.tool_choice is not None:
            self.ledger.add(request.tool_choice.at, None, "a completion calls no tools", "info")
        if request.format is not None and request.format.kind != "text":
            self.ledger.add(request.format.at, None, "the form of a completion cannot be asked for", "lost")
        ask = request.reasoning
        if ask is not None:
            off = ask.mode == "off" or ask.effort == "none"
            self.ledger.add(ask.at, None, "this target takes no word on thinking", "info" if off else "degraded")
            self.ledger.extras(ask)
        for key in request.cache_policy:
            self.ledger.add((None, key), None, "caching is the target's own affair", "info")
        if request.cache is not None:
            at = request.paths.get("cache") or (None, request.cache.key)
            self.ledger.add(at, None, "caching is the target's own affair", "info")

    def rest(self, body: Block) -> None:
        request = self.request
        for key in _NOT_HERE:
            if key == "top_logprobs" and request.logprobs:
                continue
            if getattr(request, key) is not None:
                self.lost(key, "the target has no such parameter", "info")
        for key, value in request.metadata.items():
            if self.native:
                body.setdefault("metadata", {})[key] = value
            else:
                self.ledger.add(request.path_of("metadata"), key, "the target takes no metadata", "info")
        if not self.native:
            self.ledger.extras(request)
            return
        for key in merge(body, request.extras):
            self.ledger.add(None, key, "said already in other words", "info")

    # ------------------------------------------------------------ scalars

    def stop(self, body: Block, *, transcript: bool) -> None:
        stop, most = stops_for(self.request, self.profile, self.ledger), self.profile.max_stop
        if transcript and (most is None or len(stop) < most):
            # Or it would write both sides of the conversation.
            stop.append(_NEXT_TURN)
        if stop:
            body["stop"] = stop

    def sampling(self, body: Block) -> None:
        sampling = self.request.sampling
        for key in sampling.__struct_fields__:
            value = getattr(sampling, key)
            if value is None:
                continue
            neutral = NEUTRAL.get(key) == value
            if key in {"top_k", "min_p", "repetition_penalty"} and not self.profile.extra_sampling:
                self.lost(key, "the target has no such parameter", "info" if neutral else "degraded")
            else:
                body[key] = value
