"""Events to a Chat Completions stream. Rules, some of them only in the clients:

- `id`, `created` and `model` are the same in every chunk; every choice has the key `finish_reason` (mistralai insists).
- the OpenAI SDK adds deltas up: lists by the `index` of their entries, strings by joining. So an entry of
  `reasoning_details` goes out once, whole, and `annotations`, which have no index, all at once at the end.
- the index of a call counts the calls of its choice.
- usage has a chunk of its own, without choices, after the last finish, where it was asked for; then `[DONE]`.
- an error is a frame of its own, with neither finish nor `[DONE]` after it: the SDK raises on it.
"""

from __future__ import annotations

from typing import Any

import msgspec

from dragoman.dialects.base import Reply
from dragoman.dialects.chat.errors import stream_error
from dragoman.dialects.chat.reasoning import item_for_client
from dragoman.dialects.chat.response import annotations_of, finish_of, image_block, is_wrapped, not_said, refusal_of
from dragoman.dialects.freetext import unwrapped
from dragoman.dialects.openai_usage import encode_usage
from dragoman.ir import carrier
from dragoman.ir.events import Cited, Close, Delta, Event, Fault, Finish, Open, Ping, Sealed, Start
from dragoman.ir.request import Image, Part, Reasoning, Refusal, Text, ToolCall, Unknown
from dragoman.ir.usage import Usage

Block = dict[str, Any]

PING = b": ping\n\n"
DONE = b"data: [DONE]\n\n"

_encode = msgspec.json.Encoder().encode


class _Choice:
    """What of one choice is remembered. `front` is a chunk of it up to the delta."""

    __slots__ = ("annotations", "calls", "details", "finished", "front", "images", "refused", "riding", "said")

    def __init__(self, front: bytes) -> None:
        self.front = front
        self.annotations: list[Block] = []
        self.calls = 0
        self.details = 0
        self.images = 0
        self.refused = False
        self.finished = False
        self.riding: list[Reasoning] = []
        """Sealed thinking that the next call's id will carry."""
        self.said = 0
        """Characters of content so far, for the offsets of citations."""


class _Part:
    """An open part. `head` and `tail` enclose the JSON of a delta's text; without a head nothing goes out. `text` holds
    what was said, where it is needed when the part closes; `offset` is where in the content a text began."""

    __slots__ = ("choice", "head", "offset", "part", "tail", "text")

    def __init__(self, part: Part, choice: _Choice) -> None:
        self.part = part
        self.choice = choice
        self.head = b""
        self.tail = b""
        self.text: list[str] | None = None
        self.offset = -1


class StreamEncoder:
    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        self._front = b""
        usage = b',"usage":null' if reply.request.include_usage else b""
        self._after = b',"logprobs":null,"finish_reason":null}]' + usage + b"}\n\n"
        self._after_reason = b"}]" + usage + b"}\n\n"
        self._choices: dict[int, _Choice] = {}
        self._open: dict[int, _Part] = {}
        self._characters = 0
        self._over = False

    def feed(self, event: Event) -> bytes:
        if self._over:
            return b""
        match event:
            case Delta():
                return self._delta(event)
            case Open():
                return self._opened(event)
            case Close():
                part = self._open.pop(event.index, None)
                return self._closed(part) if part is not None else b""
            case Sealed():
                part = self._open.get(event.index)
                if part is not None and isinstance(part.part, Reasoning):
                    part.part = msgspec.structs.replace(part.part, seal=event.seal)
                return b""
            case Cited():
                part = self._open.get(event.index)
                if part is not None and isinstance(part.part, Text):
                    part.part = msgspec.structs.replace(part.part, citations=[*part.part.citations, event.citation])
                return b""
            case Start():
                return self._start(event)
            case Finish():
                return self._finish(event)
            case Ping():
                return PING
            case Fault():
                self._over = True
                return stream_error(event.error, self._reply.request_id)

    # ------------------------------------------------------------ chunks

    def _start(self, event: Start) -> bytes:
        if self._front:
            return b""
        reply = self._reply
        head = _encode(
            {
                "id": event.id or reply.fallback_id or f"chatcmpl-{reply.created}",
                "object": "chat.completion.chunk",
                "created": reply.created,
                "model": event.model or reply.model,
            }
        )
        self._front = b"data: " + head[:-1] + b',"choices":['
        return self._begin(0)

    def _begin(self, number: int) -> bytes:
        """The first chunk of a choice, and of those before it: clients number them as they come."""
        out = b"" if self._front else self._start(Start("", ""))
        for missing in range(len(self._choices), number + 1):
            front = self._front + b'{"index":%d,"delta":' % missing
            self._choices[missing] = _Choice(front)
            out += front + b'{"role":"assistant","content":""}' + self._after
        return out

    def _chunk(self, choice: _Choice, delta: Block) -> bytes:
        return choice.front + _encode(delta) + self._after

    # ------------------------------------------------------------ parts

    def _opened(self, event: Open) -> bytes:
        out = b"" if event.choice in self._choices else self._begin(event.choice)
        choice = self._choices[event.choice]
        part = event.part
        held = self._open[event.index] = _Part(part, choice)
        match part:
            case Text():
                self._enclose(held, b'{"content":', b"}")
                held.offset = choice.said
                return out + (self._delta(Delta(event.index, part.text)) if part.text else b"")
            case Refusal():
                choice.refused = True
                self._enclose(held, b'{"refusal":', b"}")
                return out + (self._delta(Delta(event.index, part.text)) if part.text else b"")
            case Reasoning():
                self._enclose(held, b'{"reasoning_content":', b"}")
                held.text = []
                return out + (self._delta(Delta(event.index, part.text)) if part.text else b"")
            case ToolCall():
                return out + self._call_opened(held, part) + self._first_arguments(event.index, part)
            case Image():
                block = image_block(part, choice.images)
                choice.images += 1
                return out + self._chunk(choice, {"images": [block]})
            case Unknown() if part.dialect == "chat" and part.native.get("type") == "audio":
                return out + self._chunk(choice, {"audio": part.native["audio"]})
            case _:
                not_said(part, self._reply)
                return out

    def _enclose(self, held: _Part, head: bytes, tail: bytes) -> None:
        held.head = held.choice.front + head
        held.tail = tail + self._after

    def _first_arguments(self, index: int, part: ToolCall) -> bytes:
        return self._delta(Delta(index, part.arguments)) if part.arguments else b""

    def _call_opened(self, held: _Part, part: ToolCall) -> bytes:
        choice = held.choice
        number = choice.calls
        self._characters += len(part.name)
        if self._reply.request.legacy_functions:
            choice.calls += 1
            if number:
                self._reply.ledger.add(None, "content", "only one call fits in function_call", "lost")
                return b""
            self._enclose(held, b'{"function_call":{"arguments":', b"}}")
            return self._chunk(choice, {"function_call": {"name": part.name, "arguments": ""}})
        choice.calls += 1
        call_id = carrier.attach(part.id, choice.riding) if choice.riding else part.id
        choice.riding = []
        entry: Block = {"index": number, "id": call_id}
        if part.kind == "custom" or is_wrapped(part, self._reply):
            entry |= {"type": "custom", "custom": {"name": part.name, "input": ""}}
            self._enclose(held, b'{"tool_calls":[{"index":%d,"custom":{"input":' % number, b"}}]}")
            if part.kind != "custom":
                # The text is inside the JSON of the arguments: it can be taken out only when they are whole.
                held.text = []
        else:
            entry |= {"type": "function", "function": {"name": part.name, "arguments": ""}}
            self._enclose(held, b'{"tool_calls":[{"index":%d,"function":{"arguments":' % number, b"}}]}")
        return self._chunk(choice, {"tool_calls": [entry]})

    def _delta(self, event: Delta) -> bytes:
        held = self._open.get(event.index)
        if held is None:
            return b""
        text = event.text
        self._characters += len(text)
        if held.offset >= 0:
            held.choice.said += len(text)
        elif held.text is not None:
            held.text.append(text)
            if type(held.part) is ToolCall:
                return b""
        if not held.head or not (text or event.logprobs):
            return b""
        if event.logprobs:
            return self._with_probs(held, text, event.logprobs)
        return held.head + _encode(text) + held.tail

    def _with_probs(self, held: _Part, text: str, probs: list[object]) -> bytes:
        tail = held.tail.removesuffix(self._after)
        told = b',"logprobs":' + _encode({"content": probs, "refusal": None}) + b',"finish_reason":null'
        return held.head + _encode(text) + tail + told + self._after_reason

    def _closed(self, held: _Part) -> bytes:
        part, choice = held.part, held.choice
        match part:
            case Text() if part.citations:
                choice.annotations += annotations_of(part, held.offset, choice.said - held.offset, self._reply)
            case Reasoning() if part.seal is not None:
                whole = msgspec.structs.replace(part, text="".join(held.text or ()))
                choice.riding.append(whole)
                item = item_for_client(whole, choice.details)
                if item is not None:
                    choice.details += 1
                    # The text has gone out already, and clients that read both fields would show it twice.
                    item.pop("text", None)
                    return self._chunk(choice, {"reasoning_details": [item]})
            case ToolCall() if held.text is not None:
                return held.head + _encode(unwrapped("".join(held.text))) + held.tail
            case _:
                pass
        return b""

    # ------------------------------------------------------------ the end

    def _finish(self, event: Finish) -> bytes:
        out = b"" if event.choice in self._choices else self._begin(event.choice)
        choice = self._choices[event.choice]
        if choice.finished:
            return out
        choice.finished = True
        refusal = None if choice.refused else refusal_of(event, None)
        if refusal is not None:
            out += self._chunk(choice, {"refusal": refusal})
        reason = finish_of(event, choice.refused or refusal is not None, self._reply)
        if choice.annotations:
            out += self._chunk(choice, {"annotations": choice.annotations})
        told = b'{},"logprobs":null,"finish_reason":' + _encode(reason)
        if event.stop_sequence is not None:
            told += b',"stop_reason":' + _encode(event.stop_sequence)
        out += choice.front + told + self._after_reason
        if all(held.finished for held in self._choices.values()):
            out += self._last(event.usage)
        return out

    def _last(self, usage: Usage | None) -> bytes:
        self._over = True
        if not self._reply.request.include_usage:
            return DONE
        counted = usage or self._reply.estimated_usage(self._characters)
        return self._front + b'],"usage":' + _encode(encode_usage(counted)) + b"}\n\n" + DONE
