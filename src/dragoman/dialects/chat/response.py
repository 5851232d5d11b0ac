"""Whole answers: a `chat.completion` to the hub and back. Types: `openai.types.chat.chat_completion`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, cast

import msgspec

from dragoman.dialects import ratings
from dragoman.dialects.base import Reply
from dragoman.dialects.chat import plain
from dragoman.dialects.chat.citations import decode_citation, encode_citation
from dragoman.dialects.chat.reasoning import answered, call_extra, item_for_client, seal_of
from dragoman.dialects.freetext import unwrapped
from dragoman.dialects.openai_completions import answer_of
from dragoman.dialects.openai_parts import data_url
from dragoman.dialects.openai_usage import decode_usage, encode_usage, usage_of
from dragoman.errors import UpstreamGarbled
from dragoman.ir import carrier
from dragoman.ir.events import Choice, Finish, FinishReason, Response, settled
from dragoman.ir.request import Image, Part, Reasoning, Refusal, Text, ToolCall, Unknown
from dragoman.wire.partial import whole

Block = dict[str, Any]

REASONS: dict[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "max_tokens": "length",
    "model_length": "context_length",
    "model_context_window_exceeded": "context_length",
    "tool_calls": "tool_calls",
    "tool_call": "tool_calls",
    "tool_use": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
    "content_filtered": "content_filter",
    "safety": "content_filter",
    "recitation": "content_filter",
    "sensitive": "content_filter",
    "refusal": "refusal",
}
"""In small letters: servers in front of Gemini leave its capitals. Every other word (`eos`, nothing) is a `stop`."""

BROKEN = frozenset({"error", "abort", "insufficient_system_resource", "network_error"})
"""Words that say that the answer was broken off: OpenRouter; vLLM and SGLang; DeepSeek; Z.ai."""

FINISH_OF_REASON: dict[FinishReason, str] = {
    "stop": "stop",
    "stop_sequence": "stop",
    "length": "length",
    "context_length": "length",
    "tool_calls": "tool_calls",
    "refusal": "content_filter",
    "content_filter": "content_filter",
    "pause": "stop",
}


_UNSAFE = re.compile(r"[^A-Za-z0-9_-]")
_encode = msgspec.json.Encoder().encode


def is_broken(word: object) -> bool:
    return isinstance(word, str) and word.lower() in BROKEN


class CallIds:
    """The ids of one choice's calls: as given, or made of the answer's id and the call's number where none or a
    used one was given."""

    def __init__(self, answer_id: str, choice: int) -> None:
        self._stem = "call_" + "_".join(filter(None, (_UNSAFE.sub("_", answer_id)[-24:], str(choice) if choice else "")))
        self._used: set[str] = set()

    def take(self, given: object) -> str:
        own = given if isinstance(given, str) else ""
        if not own:
            own = f"{self._stem.rstrip('_')}_{len(self._used)}"
        elif own in self._used:
            own = f"{own}_{len(self._used) + 1}"
        self._used.add(own)
        return own


# ---------------------------------------------------------------- from an upstream


def decode_response(body: bytes, issuer: str) -> Response:
    read = plain.read(body)
    return _of_plain(read) if read is not None else with_every_question(body, issuer)


def _of_plain(answer: plain.Answer) -> Response:
    answer_id = answer.id or ""
    [native] = answer.choices
    message = native.message
    parts: list[Part] = [Text(text=message.content)] if message.content else []
    if message.tool_calls:
        ids = CallIds(answer_id, 0)
        for call in message.tool_calls:
            function = call.function
            parts.append(ToolCall(id=ids.take(call.id), name=function.name, arguments=function.arguments))
    usage = usage_of(answer.usage) if answer.usage is not None else None
    return Response(answer_id, answer.model or "", [_finished(parts, native.finish_reason, None, 0)], usage)


def with_every_question(body: bytes, issuer: str) -> Response:
    answer, choices = answer_of(body, issuer)
    answer_id = _text(answer.get("id"))
    held: list[tuple[int, Choice]] = []
    for position, item in enumerate(choices):
        if not isinstance(item, dict):
            raise UpstreamGarbled("a choice of the answer is not an object", provider=issuer)
        native_choice = cast("Block", item)
        index = native_choice.get("index")
        number = index if isinstance(index, int) else position
        held.append((number, _choice(native_choice, number, answer_id, issuer)))
    held.sort(key=lambda entry: entry[0])
    found = [choice for _, choice in held]
    for position, choice in enumerate(found):
        choice.finish.choice = position
    return Response(answer_id, _text(answer.get("model")), found, decode_usage(answer.get("usage")))


def _choice(native: Block, number: int, answer_id: str, issuer: str) -> Choice:
    message = native.get("message")
    word = native.get("finish_reason")
    if is_broken(word):
        raise UpstreamGarbled(f"the provider broke the answer off: {word}", provider=issuer)
    parts = _parts(cast("Block", message) if isinstance(message, dict) else {}, CallIds(answer_id, number), issuer)
    probs = native.get("logprobs")
    content = cast("Block", probs).get("content") if isinstance(probs, dict) else None
    reason, stop_sequence = reason_of(native, refused=any(isinstance(part, Refusal) for part in parts))
    choice = _finished(parts, reason, stop_sequence, number)
    if isinstance(content, list) and content:
        choice.logprobs = cast("list[object]", content)
    return choice


def _finished(parts: list[Part], reason: FinishReason, stop_sequence: str | None, number: int) -> Choice:
    """With the reason that agrees with the parts, and the calls among them that broke off."""
    calls = False
    incomplete: set[int] = set()
    for position, part in enumerate(parts):
        if not isinstance(part, ToolCall):
            continue
        calls = True
        if part.kind == "function":
            blank = not part.arguments.strip()
            if not whole(part.arguments) or (blank and reason == "length"):
                incomplete.add(position)
            elif blank:
                part.arguments = "{}"
    reason = settled(reason, calls=calls, broken=bool(incomplete))
    finish = Finish(reason, stop_sequence=stop_sequence if reason == "stop_sequence" else None, choice=number)
    return Choice(parts, finish, incomplete)


def reason_of(native: Block, *, refused: bool) -> tuple[FinishReason, str | None]:
    """The reason as the provider gives it, and the stop sequence, which vLLM and SGLang tell."""
    word = native.get("finish_reason")
    reason = REASONS.get(word.lower(), "stop") if isinstance(word, str) else "stop"
    if reason != "stop":
        return reason, None
    if refused:
        return "refusal", None
    for key in ("stop_reason", "matched_stop"):
        matched = native.get(key)
        if isinstance(matched, str) and matched and matched not in REASONS:
            return "stop_sequence", matched
    return "stop", None


def _parts(message: Block, ids: CallIds, issuer: str) -> list[Part]:
    content = content_parts(message.get("content"))
    thinking = [part for part in content if isinstance(part, Reasoning)]
    plain = _text(message.get("reasoning_content")) or _text(message.get("reasoning"))
    parts: list[Part] = [*answered(plain, list(_blocks(message.get("reasoning_details"))), issuer)]
    parts += thinking if not plain else []
    body = [part for part in content if not isinstance(part, Reasoning)]
    cited = next((part for part in body if isinstance(part, Text)), None)
    if cited is not None:
        cited.citations = [decode_citation(item) for item in _blocks(message.get("annotations"))]
    parts += body
    parts += [image_of(item) for item in _blocks(message.get("images"))]
    if refusal := _text(message.get("refusal")):
        parts.append(Refusal(text=refusal))
    if isinstance(message.get("audio"), dict):
        parts.append(Unknown(native={"type": "audio", "audio": message["audio"]}, dialect="chat"))
    for native in _blocks(message.get("tool_calls")):
        parts += _call(native, ids, issuer)
    legacy = message.get("function_call")
    if isinstance(legacy, dict) and legacy:
        parts += _call({"function": legacy}, ids, issuer)
    return parts


def _call(native: Block, ids: CallIds, issuer: str) -> list[Part]:
    kind, inner = call_body(native)
    name = _text(inner.get("name"))
    arguments = arguments_text(inner.get("input" if kind == "custom" else "arguments"))
    if not name:
        if arguments.strip():
            raise UpstreamGarbled("a tool call of the answer has no name", provider=issuer)
        return []
    parts: list[Part] = []
    if extra := call_extra(native):
        parts.append(Reasoning(seal=seal_of(extra, issuer), redacted=True))
    call = ToolCall(id=ids.take(native.get("id")), name=name, arguments=arguments)
    call.kind = "custom" if kind == "custom" else "function"
    return [*parts, call]


def call_body(native: Block) -> tuple[str, Block]:
    """Which kind of call an entry of `tool_calls` is, and the object that has its name."""
    kind = "custom" if isinstance(native.get("custom"), dict) else "function"
    inner = native.get(kind)
    return kind, cast("Block", inner) if isinstance(inner, dict) else {}


def arguments_text(value: object) -> str:
    """Arguments are JSON in a string; some servers send the JSON itself."""
    if value is None:
        return ""
    return value if isinstance(value, str) else _encode(value).decode()


def content_parts(content: object) -> list[Part]:
    """Content is a string, or a list of parts (Mistral, among them its thinking)."""
    if isinstance(content, str):
        return [Text(text=content)] if content else []
    parts: list[Part] = []
    for native in _blocks(content):
        match native.get("type"):
            case "text":
                parts.append(Text(text=_text(native.get("text"))))
            case "thinking":
                inner = native.get("thinking")
                text = inner if isinstance(inner, str) else "".join(_text(item.get("text")) for item in _blocks(inner))
                parts.append(Reasoning(text=text))
            case "refusal":
                parts.append(Refusal(text=_text(native.get("refusal"))))
            case "image_url":
                parts.append(image_of(native))
            case _:
                parts.append(Unknown(native=native, dialect="chat"))
    return parts


def image_of(native: Block) -> Image:
    inner = native.get("image_url")
    url = inner if isinstance(inner, str) else _text(cast("Block", inner).get("url")) if isinstance(inner, dict) else ""
    split = data_url(url)
    return Image(url=url) if split is None else Image(media_type=split[0], data=split[1])


def _blocks(value: object) -> Iterable[Block]:
    return (item for item in cast("list[Any]", value) if isinstance(item, dict)) if isinstance(value, list) else ()


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


# ---------------------------------------------------------------- to a client


def encode_response(response: Response, reply: Reply) -> bytes:
    choices = response.choices or [Choice([], Finish("stop"))]
    written = [_WrittenChoice(choice, reply) for choice in choices]
    usage = response.usage or reply.estimated_usage(sum(choice.characters for choice in written))
    return _encode(
        {
            "id": response.id or reply.fallback_id or f"chatcmpl-{reply.created}",
            "object": "chat.completion",
            "created": reply.created,
            "model": response.model or reply.model,
            "choices": [choice.body(position) for position, choice in enumerate(written)],
            "usage": encode_usage(usage),
        }
    )


class _WrittenChoice:
    """One choice on its way out."""

    def __init__(self, choice: Choice, reply: Reply) -> None:
        self.choice = choice
        self.reply = reply
        self.characters = 0
        self._texts: list[str] = []
        self._refusals: list[str] = []
        self._thoughts: list[str] = []
        self._details: list[Block] = []
        self._calls: list[Block] = []
        self._annotations: list[Block] = []
        self._images: list[Block] = []
        self._audio: Block | None = None
        self._riding: list[Reasoning] = []
        self._said = 0
        for part in choice.parts:
            self._add(part)

    def _add(self, part: Part) -> None:
        match part:
            case Text():
                self._texts.append(part.text)
                self._annotations += annotations_of(part, self._said, len(part.text), self.reply)
                self._said += len(part.text)
                self.characters += len(part.text)
            case Refusal():
                self._refusals.append(part.text)
                self.characters += len(part.text)
            case Reasoning():
                self._thoughts.append(part.text)
                self.characters += len(part.text)
                if part.seal is not None:
                    self._riding.append(part)
                    item = item_for_client(part, len(self._details))
                    if item is not None:
                        self._details.append(item)
            case ToolCall():
                self.characters += len(part.name) + len(part.arguments)
                if self.reply.request.legacy_functions and self._calls:
                    self.reply.ledger.add(None, "content", "only one call fits in function_call", "lost")
                    return
                call_id = carrier.attach(part.id, self._riding) if self._riding else part.id
                self._riding = []
                self._calls.append(encode_call(part, call_id, self.reply))
            case Image():
                self._images.append(image_block(part, len(self._images)))
            case Unknown() if part.dialect == "chat" and part.native.get("type") == "audio":
                self._audio = part.native["audio"]
            case _:
                not_said(part, self.reply)

    def body(self, index: int) -> Block:
        refusal = refusal_of(self.choice.finish, "".join(self._refusals) or None)
        finish = finish_of(self.choice.finish, refusal is not None, self.reply)
        empty = None if self._calls or refusal or self._audio else ""
        message: Block = {
            "role": "assistant",
            "content": "".join(self._texts) if self._texts else empty,
            "refusal": refusal,
        }
        if thoughts := "".join(self._thoughts):
            message["reasoning_content"] = thoughts
        for key, value in (
            ("reasoning_details", self._details),
            ("annotations", self._annotations),
            ("images", self._images),
            ("audio", self._audio),
        ):
            if value:
                message[key] = value
        if self._calls and self.reply.request.legacy_functions:
            message["function_call"] = self._calls[0]["function"]
        elif self._calls:
            message["tool_calls"] = self._calls
        probs = self.choice.logprobs
        written: Block = {
            "index": index,
            "message": message,
            "logprobs": {"content": probs, "refusal": None} if probs else None,
            "finish_reason": finish,
        }
        if self.choice.finish.stop_sequence is not None:
            written["stop_reason"] = self.choice.finish.stop_sequence
        return written


def refusal_of(finish: Finish, said: str | None) -> str | None:
    """The refusal's text: what the model said, or else the provider's explanation."""
    return said or (finish.explanation if finish.reason == "refusal" else None) or None


def finish_of(finish: Finish, refused: bool, reply: Reply) -> str:
    ratings.unsaid(finish, reply.ledger)
    if finish.reason == "refusal" and refused:
        return "stop"
    if finish.reason == "pause":
        reply.ledger.add(
            None, "finish_reason", "the provider paused a long turn; Chat Completions cannot go on with it", "lost"
        )
    elif finish.reason == "tool_calls" and reply.request.legacy_functions:
        return "function_call"
    return FINISH_OF_REASON[finish.reason]


def is_wrapped(call: ToolCall, reply: Reply) -> bool:
    """Whether this is a call of one of the caller's free-text tools, which went out as a function with one text."""
    return call.kind == "function" and any(tool.kind == "custom" and tool.name == call.name for tool in reply.request.tools)


def encode_call(call: ToolCall, call_id: str, reply: Reply) -> Block:
    if call.kind == "custom" or is_wrapped(call, reply):
        text = call.arguments if call.kind == "custom" else unwrapped(call.arguments)
        return {"id": call_id, "type": "custom", "custom": {"name": call.name, "input": text}}
    return {"id": call_id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


def annotations_of(part: Text, offset: int, length: int, reply: Reply) -> list[Block]:
    """The annotations of a text of `length` characters that begins `offset` characters into the answer."""
    found = [encode_citation(citation, offset, length) for citation in part.citations]
    if None in found:
        reply.ledger.add(None, "content", "citations of sources without a URL have no form in Chat Completions", "info")
    return [block for block in found if block is not None]


def image_block(part: Image, index: int) -> Block:
    """As OpenRouter gives the images that a model made."""
    url = part.url if part.data is None else f"data:{part.media_type or 'image/png'};base64,{part.data}"
    return {"type": "image_url", "image_url": {"url": url or ""}, "index": index}


def not_said(part: Part, reply: Reply) -> None:
    kind = str(part.native.get("type", "part")) if isinstance(part, Unknown) else type(part).__name__.lower()
    reply.ledger.add(None, "content", f"an answer's {kind} has no place in Chat Completions", "lost")
