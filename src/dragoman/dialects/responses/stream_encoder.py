"""Events to a Responses stream. Its grammar, of which every client relies on some part:

    created in_progress item* (completed | incomplete | failed)

    item       output_item.added  body  output_item.done
    message    (content_part.added (output_text.delta* annotation.added* output_text.done | refusal.delta* refusal.done)
                content_part.done)*
    reasoning  (reasoning_summary_part.added summary_text.delta* summary_text.done reasoning_summary_part.done)?
    call       function_call_arguments.delta* function_call_arguments.done      (or custom_tool_call_input)

- every event has a `sequence_number`, from 0 and without gaps; every `added` has its `done`, with all that was said between.
- items come one after the other: of what a provider interleaves, the first is written through and the others are held back.
  Texts and refusals in a row are parts of one message, so a message ends when something else begins.
- the SDK refuses a stream whose id changes, or an item whose id, type or call id is another when it is done.
- a call that broke off gets no `arguments.done` and the status `incomplete`: it must not be run.
- a failure is an `error` event before the answer has begun, and `response.failed` after that. What was open then stays open:
  clients keep what is done, and ask again.
"""

from __future__ import annotations

from typing import Any

import msgspec

from dragoman.dialects.base import Reply
from dragoman.dialects.freetext import unwrapped
from dragoman.dialects.responses.echo import Shell
from dragoman.dialects.responses.errors import failure, stream_error
from dragoman.dialects.responses.ids import item_id
from dragoman.dialects.responses.namespaces import Callees
from dragoman.dialects.responses.output import (
    annotations_of,
    call_item,
    foreign_item,
    image_item,
    message_item,
    not_said,
    reasoning_item,
    refusal_part,
    text_part,
)
from dragoman.dialects.responses.response import finish_lost, status_of
from dragoman.dialects.responses.usage import encode_usage
from dragoman.dialects.serial import Growth, LivePart, SerialEncoder
from dragoman.errors import DragomanError
from dragoman.ir.events import Cited, Delta, Finish, Sealed, Start
from dragoman.ir.request import Image, Part, Reasoning, Refusal, Text, ToolCall, Unknown
from dragoman.ir.usage import Usage

Block = dict[str, Any]

PING = b": ping\n\n"

_encode = msgspec.json.Encoder().encode


class _Live(LivePart):
    """`head` and `tail` enclose a delta between its number and its end; `begun`: it has been announced. `wrapped`: a free-text
    tool's call that came as a function's, whose text is told when it is whole."""

    __slots__ = ("free", "head", "item", "logprobs", "tail", "wrapped")

    def __init__(self, key: int, part: Part) -> None:
        super().__init__(key, part)
        self.wrapped = False
        self.free = False
        self.item = ""
        self.head = b""
        self.tail = b""
        self.logprobs: list[object] = []


class StreamEncoder(SerialEncoder[_Live]):
    ping = PING

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply)
        self._callees = Callees(reply.request.tools)
        self._shell: Shell | None = None
        self._number = 0
        self._output: list[bytes] = []
        self._used: set[str] = set()
        self._message: tuple[str, list[Block]] | None = None
        """The message that is open: its id, and its content so far."""

    # ------------------------------------------------------------ events

    def _event(self, kind: str, data: Block) -> bytes:
        number = self._number
        self._number += 1
        body = _encode({"type": kind, "sequence_number": number, **data})
        return b"event: %b\ndata: %b\n\n" % (kind.encode(), body)

    def _lifecycle(self, kind: str, response: bytes) -> bytes:
        number = self._number
        self._number += 1
        name = b"response." + kind.encode()
        return b'event: %b\ndata: {"type":"%b","sequence_number":%d,"response":%b}\n\n' % (name, name, number, response)

    def _head(self, event: Start) -> bytes:
        self._shell = Shell(self._reply, event.id, event.model)
        begun = self._shell.body("in_progress", [])
        return self._lifecycle("created", begun) + self._lifecycle("in_progress", begun)

    def _begin_item(self, item: Block) -> bytes:
        return self._event("response.output_item.added", {"output_index": len(self._output), "item": item})

    def _end_item(self, item: Block) -> bytes:
        out = self._event("response.output_item.done", {"output_index": len(self._output), "item": item})
        self._output.append(_encode(item))
        return out

    def _id(self, kind: str) -> str:
        assert self._shell is not None
        return item_id(kind, self._shell.id, len(self._output))

    def _place(self, live: _Live) -> Block:
        """Which item an event is about, and for a message which of its parts."""
        place: Block = {"item_id": live.item, "output_index": len(self._output)}
        if isinstance(live.part, Text | Refusal) and self._message is not None:
            place["content_index"] = len(self._message[1])
        elif isinstance(live.part, Reasoning):
            place["summary_index"] = 0
        return place

    def _deltas(self, live: _Live, kind: str, tail: bytes = b"") -> None:
        """Prepare for many events of one kind, which differ in their number and their text only."""
        name = kind.encode()
        live.head = b'event: %b\ndata: {"type":"%b","sequence_number":' % (name, name)
        live.tail = b"," + _encode(self._place(live))[1:-1] + tail + b',"delta":'

    def _delta(self, live: _Live, text: str, more: bytes = b"") -> bytes:
        number = self._number
        self._number += 1
        return b"%b%d%b%b%b}\n\n" % (live.head, number, live.tail, _encode(text), more)

    # ------------------------------------------------------------ parts

    def _part(self, key: int, part: Part) -> _Live:
        return _Live(key, part)

    def _begin(self, live: _Live) -> bytes:
        """What can be written when a part opens. A text or a thinking that is still empty waits: many never fill."""
        part = live.part
        match part:
            case Text() | Refusal() | Reasoning():
                out = b""
                if isinstance(part, Reasoning) and part.seal is not None:
                    out += self._begin_reasoning(live)
                if part.text:
                    live.part = msgspec.structs.replace(part, text="")
                    out += self._grow(live, Delta(live.key, part.text))
                return out
            case ToolCall():
                return self._begin_call(live, part)
            case Unknown() if part.dialect == "responses":
                out = self._end_message("completed")
                return out + self._whole_item(foreign_item(part.native, self._id(str(part.native.get("type"))), self._used))
            case Image() if part.data is not None:
                out = self._end_message("completed")
                return out + self._whole_item(image_item(self._id("image_generation_call"), part, part.data))
            case _:
                not_said(part, self._reply)
                return b""

    def _whole_item(self, item: Block) -> bytes:
        begun = {**item, "status": "in_progress"} if item.get("status") == "completed" else item
        if item.get("type") == "message":
            begun = {**begun, "content": []}
        return self._begin_item(begun) + self._end_item(item)

    def _begin_said(self, live: _Live) -> bytes:
        """The announcement of a text or a refusal, and of its message where none is open."""
        out = b""
        if self._message is None:
            own_id = self._id("message")
            self._message = (own_id, [])
            out = self._begin_item(message_item(own_id, [], "in_progress"))
        live.begun = True
        live.item = self._message[0]
        if isinstance(live.part, Refusal):
            self._refused = True
            part = refusal_part("")
            self._deltas(live, "response.refusal.delta")
        else:
            part = text_part("", [], [])
            self._deltas(live, "response.output_text.delta")
        return out + self._event("response.content_part.added", {**self._place(live), "part": part})

    def _begin_reasoning(self, live: _Live) -> bytes:
        if live.item:
            return b""
        out = self._end_message("completed")
        live.item = self._id("reasoning")
        return out + self._begin_item({"id": live.item, "type": "reasoning", "summary": []})

    def _begin_summary(self, live: _Live) -> bytes:
        out = self._begin_reasoning(live)
        live.begun = True
        self._deltas(live, "response.reasoning_summary_text.delta")
        empty = {"type": "summary_text", "text": ""}
        return out + self._event("response.reasoning_summary_part.added", {**self._place(live), "part": empty})

    def _begin_call(self, live: _Live, call: ToolCall) -> bytes:
        out = self._end_message("completed")
        live.wrapped = self._callees.wrapped(call)
        live.free = live.wrapped or call.kind == "custom"
        live.begun = True
        live.item = self._id("custom_tool_call" if live.free else "function_call")
        kind = "custom_tool_call_input" if live.free else "function_call_arguments"
        self._deltas(live, f"response.{kind}.delta")
        self._characters += len(call.name)
        out += self._begin_item(call_item(live.item, call, "", "in_progress", self._callees, free=live.free))
        return out + (self._grow(live, Delta(live.key, call.arguments)) if call.arguments else b"")

    def _grow(self, live: _Live, event: Growth) -> bytes:
        match event:
            case Delta(text=text):
                return self._more(live, text, event.logprobs)
            case Sealed():
                if not isinstance(live.part, Reasoning):
                    return b""
                live.part = msgspec.structs.replace(live.part, seal=event.seal)
                return self._begin_reasoning(live)
            case Cited():
                if not isinstance(live.part, Text):
                    return b""
                live.part = msgspec.structs.replace(live.part, citations=[*live.part.citations, event.citation])
                return b""

    def _more(self, live: _Live, text: str, logprobs: list[object] | None) -> bytes:
        if not isinstance(live.part, Text):
            logprobs = None
        if not text and not logprobs:
            return b""
        out = b""
        if not live.begun:
            match live.part:
                case Text() | Refusal():
                    out = self._begin_said(live)
                case Reasoning():
                    out = self._begin_summary(live)
                case _:
                    return b""
        live.text.append(text)
        if live.wrapped:
            return out
        more = b""
        if isinstance(live.part, Text):
            live.logprobs += logprobs or ()
            more = b',"logprobs":' + (_encode(logprobs) if logprobs else b"[]")
        return out + self._delta(live, text, more)

    # ------------------------------------------------------------ their ends

    def _end(self, live: _Live, *, complete: bool) -> bytes:
        out = b""
        text = "".join(live.text)
        match live.part:
            case Text() | Refusal():
                if isinstance(live.part, Text) and live.part.citations and not live.begun:
                    out = self._begin_said(live)
                if live.begun:
                    out += self._end_said(live, live.part, text)
            case Reasoning():
                if live.item:
                    out = self._end_reasoning(live, live.part, text)
            case ToolCall():
                out = self._end_call(live, live.part, text, complete)
            case _:
                pass
        return out

    def _end_said(self, live: _Live, part: Text | Refusal, text: str) -> bytes:
        assert self._message is not None
        place = self._place(live)
        out = b""
        if isinstance(part, Text):
            annotations = annotations_of(part, len(text), self._reply)
            for number, annotation in enumerate(annotations):
                told = {**place, "annotation_index": number, "annotation": annotation}
                out += self._event("response.output_text.annotation.added", told)
            native = text_part(text, annotations, live.logprobs)
            out += self._event("response.output_text.done", {**place, "text": text, "logprobs": live.logprobs})
        else:
            native = refusal_part(text)
            out += self._event("response.refusal.done", {**place, "refusal": text})
        out += self._event("response.content_part.done", {**place, "part": native})
        self._message[1].append(native)
        return out

    def _end_message(self, status: str) -> bytes:
        if self._message is None:
            return b""
        own_id, content = self._message
        self._message = None
        return self._end_item(message_item(own_id, content, status))

    def _end_reasoning(self, live: _Live, part: Reasoning, text: str) -> bytes:
        out = b""
        if live.begun:
            place = self._place(live)
            out += self._event("response.reasoning_summary_text.done", {**place, "text": text})
            whole = {"type": "summary_text", "text": text}
            out += self._event("response.reasoning_summary_part.done", {**place, "part": whole})
        return out + self._end_item(reasoning_item(live.item, msgspec.structs.replace(part, text=text), self._reply))

    def _end_call(self, live: _Live, call: ToolCall, arguments: str, complete: bool) -> bytes:
        out = b""
        if live.wrapped and complete:
            arguments = unwrapped(arguments)
            out += self._delta(live, arguments)
        if complete:
            kind, key = ("custom_tool_call_input", "input") if live.free else ("function_call_arguments", "arguments")
            names = {} if live.free else {"name": self._callees.names(call)["name"]}
            out += self._event(f"response.{kind}.done", {**self._place(live), **names, key: arguments})
        status = "completed" if complete else "incomplete"
        return out + self._end_item(call_item(live.item, call, arguments, status, self._callees, free=live.free))

    # ------------------------------------------------------------ the end

    def _tail(self, event: Finish) -> bytes:
        out = b""
        if event.reason == "refusal" and event.explanation and not self._refused:
            out = self._whole(Refusal(text=event.explanation))
        status, incomplete = status_of(event, refused=self._refused)
        finish_lost(event, self._reply)
        out += self._end_message("completed" if incomplete is None else "incomplete")
        return out + self._terminal(status, incomplete, event.usage)

    def _terminal(self, status: str, incomplete: str | None, usage: Usage | None) -> bytes:
        assert self._shell is not None
        counted = encode_usage(usage or self._reply.estimated_usage(self._characters))
        return self._lifecycle(status, self._shell.body(status, self._output, usage=counted, incomplete=incomplete))

    def _fault(self, error: DragomanError) -> bytes:
        if self._shell is None:
            return stream_error(error, self._reply.request_id)
        return self._lifecycle("failed", self._shell.body("failed", self._output, error=failure(error)))
