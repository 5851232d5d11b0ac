"""Whole answers: a Response object to the hub and back."""

from __future__ import annotations

from typing import Any, cast

import msgspec

from dragoman.dialects import ratings
from dragoman.dialects.base import Reply
from dragoman.dialects.freetext import unwrapped
from dragoman.dialects.responses.echo import Shell
from dragoman.dialects.responses.errors import fault_of
from dragoman.dialects.responses.ids import item_id
from dragoman.dialects.responses.namespaces import Callees
from dragoman.dialects.responses.output import (
    CALLS,
    CallIds,
    annotations_of,
    blocks,
    call_arguments,
    call_item,
    call_of,
    content_part,
    foreign_item,
    image_item,
    message_item,
    not_said,
    reasoning_item,
    reasoning_part,
    refusal_part,
    text_of,
    text_part,
)
from dragoman.dialects.responses.usage import decode_usage, encode_usage
from dragoman.errors import UpstreamGarbled
from dragoman.ir.events import Choice, Finish, FinishReason, Response, settled
from dragoman.ir.request import Image, Part, Reasoning, Refusal, Text, ToolCall, Unknown
from dragoman.wire.json import clean, loads
from dragoman.wire.partial import whole

Block = dict[str, Any]

_encode = msgspec.json.Encoder().encode


# ---------------------------------------------------------------- from an upstream


def decode_response(body: bytes, issuer: str) -> Response:
    try:
        native = loads(body)
        answer = cast("Block", clean(native) if b"\\u" in body else native)
    except ValueError as error:
        raise UpstreamGarbled(f"the answer is not JSON: {error}", provider=issuer) from None
    if not isinstance(answer, dict):
        raise UpstreamGarbled("the answer is not a JSON object", provider=issuer)
    if is_error(answer):
        raise fault_of(answer, issuer)
    status = answer.get("status")
    if status in ("queued", "in_progress", "cancelled") or not isinstance(answer.get("output"), list):
        raise UpstreamGarbled(f"the answer is not a whole Response: its status is {status!r}", provider=issuer)
    choice = Choice([], Finish("stop"))
    ids = CallIds(text_of(answer.get("id")))
    for item in blocks(answer["output"]):
        _item(item, choice, ids, issuer)
    reason = reason_of(answer, refused=any(isinstance(part, Refusal) for part in choice.parts))
    _settle(choice, reason)
    usage = decode_usage(answer.get("usage"), answer.get("tool_usage"))
    return Response(text_of(answer.get("id")), text_of(answer.get("model")), [choice], usage)


def is_error(answer: Block) -> bool:
    return bool(answer.get("error")) or answer.get("status") == "failed" or answer.get("type") == "error"


def reason_of(answer: Block, *, refused: bool) -> FinishReason:
    """The reason as the Response gives it, before the calls are looked at."""
    if answer.get("status") != "incomplete":
        return "refusal" if refused else "stop"
    details = answer.get("incomplete_details")
    reason = cast("Block", details).get("reason") if isinstance(details, dict) else None
    return "content_filter" if reason == "content_filter" else "length"


def _item(item: Block, choice: Choice, ids: CallIds, issuer: str) -> None:
    kind = text_of(item.get("type"))
    if kind == "message":
        for native in blocks(item.get("content")):
            part = content_part(native)
            if part is not None:
                choice.parts.append(part)
            probs = native.get("logprobs")
            if isinstance(part, Text) and isinstance(probs, list) and probs:
                choice.logprobs = [*(choice.logprobs or ()), *cast("list[object]", probs)]
    elif kind == "reasoning":
        part = reasoning_part(item, issuer)
        if part is not None:
            choice.parts.append(part)
    elif kind in CALLS:
        call = call_of(item, ids)
        call.arguments = call_arguments(item)
        if not text_of(item.get("name")):
            raise UpstreamGarbled("a tool call of the answer has no name", provider=issuer)
        if item.get("status") == "incomplete":
            choice.incomplete.add(len(choice.parts))
        choice.parts.append(call)
    elif kind:
        choice.parts.append(Unknown(native=item, dialect="responses"))


def _settle(choice: Choice, reason: FinishReason) -> None:
    for position, part in enumerate(choice.parts):
        if isinstance(part, ToolCall) and part.kind == "function":
            blank = not part.arguments.strip()
            if not whole(part.arguments) or (blank and reason == "length"):
                choice.incomplete.add(position)
            elif blank:
                part.arguments = "{}"
    calls = any(isinstance(part, ToolCall) for part in choice.parts)
    choice.finish = Finish(settled(reason, calls=calls, broken=bool(choice.incomplete)))


# ---------------------------------------------------------------- to a client


def encode_response(response: Response, reply: Reply) -> bytes:
    choice = response.choices[0] if response.choices else Choice([], Finish("stop"))
    if len(response.choices) > 1:
        reply.ledger.add(None, "choices", "only the first of several answers fits", "lost")
    shell = Shell(reply, response.id, response.model)
    writer = _Items(choice, shell.id, reply)
    status, incomplete = status_of(choice.finish, refused=writer.refused)
    usage = response.usage or reply.estimated_usage(writer.characters)
    finish_lost(choice.finish, reply)
    output = [_encode(item) for item in writer.items]
    return shell.body(status, output, usage=encode_usage(usage), incomplete=incomplete)


def status_of(finish: Finish, *, refused: bool) -> tuple[str, str | None]:
    """A Response's status, and why it is incomplete. `refused`: the refusal stands in the answer, in words."""
    match finish.reason:
        case "length" | "context_length":
            return "incomplete", "max_output_tokens"
        case "content_filter":
            return "incomplete", "content_filter"
        case "refusal" if not refused:
            return "incomplete", "content_filter"
        case _:
            return "completed", None


def finish_lost(finish: Finish, reply: Reply) -> None:
    ratings.unsaid(finish, reply.ledger)
    if finish.reason == "pause":
        reply.ledger.add(None, "status", "the provider paused a long turn; Responses cannot go on with it", "lost")


class _Items:
    """The items of a whole answer. Texts and refusals in a row are the parts of one message."""

    def __init__(self, choice: Choice, answer_id: str, reply: Reply) -> None:
        self.items: list[Block] = []
        self.refused = False
        self.characters = 0
        self._reply = reply
        self._answer_id = answer_id
        self._callees = Callees(reply.request.tools)
        self._used: set[str] = set()
        self._content: list[Block] | None = None
        self._probs = choice.logprobs or []
        for position, part in enumerate(choice.parts):
            self._add(part, complete=position not in choice.incomplete)
        if choice.finish.reason == "refusal" and choice.finish.explanation and not self.refused:
            self._add(Refusal(text=choice.finish.explanation), complete=True)
        cut = status_of(choice.finish, refused=self.refused)[0] == "incomplete"
        if cut and self.items and self.items[-1]["type"] == "message":
            self.items[-1]["status"] = "incomplete"

    def _add(self, part: Part, *, complete: bool) -> None:
        match part:
            case Text():
                if not (part.text or part.citations or self._probs):
                    return
                probs, self._probs = self._probs, []
                self._say(text_part(part.text, annotations_of(part, len(part.text), self._reply), probs))
                self.characters += len(part.text)
            case Refusal():
                if not part.text:
                    return
                self.refused = True
                self._say(refusal_part(part.text))
                self.characters += len(part.text)
            case Reasoning():
                if part.text or part.seal is not None:
                    self._item(reasoning_item(self._id("reasoning"), part, self._reply))
                    self.characters += len(part.text)
            case ToolCall():
                self._call(part, complete=complete)
            case Unknown() if part.dialect == "responses":
                self._item(foreign_item(part.native, self._id(str(part.native.get("type"))), self._used))
            case Image() if part.data is not None:
                self._item(image_item(self._id("image_generation_call"), part, part.data))
            case _:
                not_said(part, self._reply)

    def _id(self, kind: str) -> str:
        return item_id(kind, self._answer_id, len(self.items))

    def _item(self, item: Block) -> None:
        self._content = None
        self.items.append(item)

    def _say(self, part: Block) -> None:
        if self._content is None:
            content: list[Block] = []
            self._item(message_item(self._id("message"), content, "completed"))
            self._content = content
        self._content.append(part)

    def _call(self, call: ToolCall, *, complete: bool) -> None:
        wrapped = self._callees.wrapped(call)
        free = call.kind == "custom" or wrapped
        arguments = unwrapped(call.arguments) if wrapped else call.arguments
        status = "completed" if complete else "incomplete"
        own_id = self._id("custom_tool_call" if free else "function_call")
        self._item(call_item(own_id, call, arguments, status, self._callees, free=free))
        self.characters += len(call.name) + len(call.arguments)
