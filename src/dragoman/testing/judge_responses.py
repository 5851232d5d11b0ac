"""A strict reader of Responses: judges whether an answer is legal, and says what it says.

    response.created response.in_progress? item* (response.completed | response.incomplete | response.failed)

A stream is legal when
- every event's name is its data's `type`; they are numbered 0, 1, 2, ... by `sequence_number`; there is no `[DONE]`;
- the response has one id from the first event to the last, all its required fields, and the status that the event says;
- items are numbered 0, 1, ... by `output_index`, begin empty, and come one after the other; each ends in `output_item.done`
  with the same id, type, name and call id, and with what was said between; so are the parts of a message and of a summary;
- a delta names the item and the part that are open, and fits them;
- the arguments of a call that is `completed` are told whole before it is done, and are JSON; its id is one the API takes back;
- the last event holds all items as they were done, and the full usage; `incomplete` says why; a `completed` answer has no
  item that is not;
- what was open when the response failed stays open; an `error` event comes instead of everything else.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import msgspec

from dragoman.testing.judge_chat import trouble
from dragoman.testing.sse import SseEvent, read_events, strict_json
from dragoman.testing.view import Block, Cite, FinishWord, IllegalStream, Tokens, Trouble, View

_REASONS: dict[str, FinishWord] = {"max_output_tokens": "length", "content_filter": "content_filter"}
_TERMINAL = ("response.completed", "response.incomplete", "response.failed")
_CALL_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_CALLS = {
    "function_call": ("arguments", "response.function_call_arguments"),
    "custom_tool_call": ("input", "response.custom_tool_call_input"),
}
_REQUIRED: dict[str, type | tuple[type, ...]] = {
    "id": str,
    "object": str,
    "created_at": (int, float),
    "model": str,
    "output": list,
    "parallel_tool_calls": bool,
    "tool_choice": (str, dict),
    "tools": list,
}
_ECHOED = ("error", "incomplete_details", "instructions", "metadata", "temperature", "top_p", "text", "usage")
"""Keys that must be there, be it as null."""


def fold_responses(stream: bytes) -> View:
    """What a whole streamed answer says. Raises `IllegalStream` when it breaks a rule, or ends before it is complete."""
    judge = _Judge()
    try:
        for event in read_events(stream):
            judge.hear(event)
        judge.end()
    except IllegalStream as illegal:
        raise IllegalStream(illegal.reason, judge.view()) from None
    return judge.view()


def read_responses(body: bytes | Mapping[str, Any]) -> View:
    """What a whole (not streamed) answer says, or an error body. Raises `IllegalStream` when it is not one."""
    response = strict_json(body, "the body") if isinstance(body, bytes) else body
    if not isinstance(response, Mapping):
        raise IllegalStream("the body is not a JSON object")
    if response.get("error"):
        return View(error=trouble(response["error"]))
    judge = _Judge()
    status = response.get("status")
    if status not in ("completed", "incomplete"):
        raise IllegalStream(f"status is {status!r}")
    judge.response(response, str(status))
    for number, item in enumerate(response["output"]):
        judge.whole_item(item, f"item {number}")
    judge.finish(response)
    return judge.view()


class _Growing(msgspec.Struct):
    """An item as it grows: how it began, its parts, and the text of the part that is open."""

    native: dict[str, Any]
    parts: list[dict[str, Any]] = []
    part: dict[str, Any] | None = None
    pieces: list[str] = []
    logprobs: list[Any] = []
    told: bool = False
    """A call's arguments, or a part's text, have been told whole."""

    @property
    def kind(self) -> str:
        return str(self.native["type"])

    @property
    def text(self) -> str:
        return "".join(self.pieces)


class _Judge:
    def __init__(self) -> None:
        self.error: Trouble | None = None
        self._at = ""
        self._heard = 0
        self._id: str | None = None
        self._open: _Growing | None = None
        self._items: list[dict[str, Any]] = []
        self._final: Mapping[str, Any] | None = None
        self._unknown: list[Any] = []

    def fail(self, reason: str) -> NoReturn:
        raise IllegalStream(f"{self._at}{reason}")

    # ------------------------------------------------------------ the stream

    def hear(self, event: SseEvent) -> None:
        self._at = f"event {event.number} ({event.name}): "
        if self._final is not None or self.error is not None:
            self.fail("it comes after the end")
        data = event.json()
        if data.get("type") != event.name:
            self.fail(f"its data is of type {data.get('type')!r}")
        if data.get("sequence_number") != self._heard:
            self.fail(f"its sequence_number is {data.get('sequence_number')!r}, {self._heard} is next")
        self._heard += 1
        if event.name == "error":
            self._error(data)
        elif event.name == "response.created":
            if self._id is not None:
                self.fail("it comes a second time")
            self.response(data.get("response"), "in_progress", "queued")
            if data["response"]["output"]:
                self.fail("the response is not empty")
        elif self._id is None:
            self.fail("it comes before response.created")
        elif event.name in ("response.in_progress", "response.queued"):
            self.response(data.get("response"), "in_progress", "queued")
        elif event.name in _TERMINAL:
            self._end(event.name.rpartition(".")[2], data.get("response"))
        else:
            self._within(event.name, data)

    def _error(self, data: Mapping[str, Any]) -> None:
        if self._id is not None:
            self.fail("an answer that has begun ends in response.failed")
        error = data.get("error") or data
        if not isinstance(error, Mapping) or not isinstance(error.get("message"), str):
            self.fail(f"it has no message: {data!r}")
        self.error = trouble(error)

    def _within(self, name: str, data: dict[str, Any]) -> None:
        head, _, last = name.rpartition(".")
        match name:
            case "response.output_item.added":
                self._begin_item(data)
            case "response.output_item.done":
                self._end_item(data)
            case "response.content_part.added":
                self._begin_part(data, "message", "content_index")
            case "response.content_part.done":
                self._end_part(data, "content_index")
            case "response.reasoning_summary_part.added":
                self._begin_part(data, "reasoning", "summary_index")
            case "response.reasoning_summary_part.done":
                self._end_part(data, "summary_index")
            case "response.output_text.annotation.added":
                part = self._part(data, "content_index", "output_text")
                if data.get("annotation_index") != len(part["annotations"]):
                    self.fail(f"its annotation_index is {data.get('annotation_index')!r}")
                part["annotations"].append(data.get("annotation"))
            case _ if head == "response.output_text" and last in ("delta", "done"):
                self._spoken(last, data, "content_index", "output_text", "text")
                if not isinstance(data.get("logprobs"), list):
                    self.fail("logprobs is missing")
                if last == "delta" and self._open is not None:
                    self._open.logprobs += data["logprobs"]
            case _ if head == "response.refusal" and last in ("delta", "done"):
                self._spoken(last, data, "content_index", "refusal", "refusal")
            case _ if head == "response.reasoning_summary_text" and last in ("delta", "done"):
                self._spoken(last, data, "summary_index", "summary_text", "text")
            case _ if any(head == called for _, called in _CALLS.values()) and last in ("delta", "done"):
                self._argued(head, last, data)
            case _:
                self._unknown.append({key: value for key, value in data.items() if key != "sequence_number"})

    def end(self) -> None:
        self._at = "at the end: "
        if self.error is None and self._final is None:
            self.fail("no terminal event came: the answer broke off")

    # ------------------------------------------------------------ the response

    def response(self, response: Any, *statuses: str) -> None:
        if not isinstance(response, Mapping):
            self.fail("it has no response")
        for key, kind in _REQUIRED.items():
            if not isinstance(response.get(key), kind):
                self.fail(f"response.{key} is {response.get(key)!r}")
        missing = [key for key in _ECHOED if key not in response]
        if missing:
            self.fail(f"response lacks {missing}")
        if response["object"] != "response" or not response["id"] or not response["model"]:
            self.fail("object, id or model of the response is wrong")
        if response.get("status") not in statuses:
            self.fail(f"the response's status is {response.get('status')!r}")
        if self._id is not None and response["id"] != self._id:
            self.fail(f"the response's id changed from {self._id!r} to {response['id']!r}")
        self._id = response["id"]

    def _end(self, status: str, response: Any) -> None:
        self.response(response, status)
        if status == "failed":
            if not isinstance(response["error"], Mapping):
                self.fail("it says no error")
            self.error = trouble(response["error"])
            return
        if self._open is not None:
            self.fail(f"item {len(self._items)} is still open")
        if response["output"] != self._items:
            self.fail(f"the output is not what was done: {response['output']!r} instead of {self._items!r}")
        self.finish(response)

    def finish(self, response: Mapping[str, Any]) -> None:
        """The last word on a whole answer."""
        if response["error"] is not None:
            self.fail("it says an error")
        details = response["incomplete_details"]
        if response["status"] == "incomplete":
            reason = details.get("reason") if isinstance(details, Mapping) else None
            if reason not in _REASONS:
                self.fail(f"incomplete_details is {details!r}")
        else:
            if details is not None:
                self.fail("a completed response says why it is incomplete")
            for item in self._items:
                if item["type"] in ("message", *_CALLS) and item.get("status", "completed") != "completed":
                    self.fail(f"an item of a completed response is {item['status']!r}")
        _tokens(response["usage"], response)
        self._final = response

    # ------------------------------------------------------------ items

    def _begin_item(self, data: Mapping[str, Any]) -> None:
        if self._open is not None:
            self.fail(f"item {len(self._items)} is still open")
        if data.get("output_index") != len(self._items):
            self.fail(f"its output_index is {data.get('output_index')!r}, {len(self._items)} is next")
        item = data.get("item")
        self._identity(item)
        assert isinstance(item, dict)
        for key in ("content", "summary", "arguments", "input"):
            if item.get(key):
                self.fail(f"the item begins with {key} {item[key]!r}")
        if item.get("status", "in_progress") == "completed":
            self.fail("the item begins completed")
        self._open = _Growing(item)

    def _identity(self, item: Any) -> None:
        if not isinstance(item, Mapping) or not isinstance(item.get("type"), str):
            self.fail(f"an item has no type: {item!r}")
        if not isinstance(item.get("id"), str) or not item["id"]:
            self.fail("an item has no id")
        if any(item["id"] == other["id"] for other in self._items):
            self.fail(f"another item has the id {item['id']!r}")
        if item["type"] == "message" and item.get("role") != "assistant":
            self.fail(f"a message of role {item.get('role')!r}")
        if item["type"] in _CALLS:
            call_id = item.get("call_id")
            if not isinstance(call_id, str) or not _CALL_ID.fullmatch(call_id):
                self.fail(f"an id that the API would not take back: {call_id!r}")
            if any(call_id == other.get("call_id") and other["type"] in _CALLS for other in self._items):
                self.fail(f"another call has the id {call_id!r}")
            if not isinstance(item.get("name"), str) or not item["name"]:
                self.fail("a call without a name")

    def _current(self, data: Mapping[str, Any], item_id: Any = None) -> _Growing:
        """The item that is open. `item_id` is what the event calls it, where that is not under `item_id`."""
        if self._open is None:
            self.fail("no item is open")
        if data.get("output_index") != len(self._items):
            self.fail(f"its output_index is {data.get('output_index')!r}, {len(self._items)} is open")
        if (item_id or data.get("item_id")) != self._open.native["id"]:
            self.fail(f"its item_id is {item_id or data.get('item_id')!r}, {self._open.native['id']!r} is open")
        return self._open

    def _end_item(self, data: Mapping[str, Any]) -> None:
        item = data.get("item")
        self._identity(item)
        assert isinstance(item, dict)
        growing = self._current(data, item["id"])
        for key in ("id", "type", "call_id", "name", "namespace", "role"):
            if item.get(key) != growing.native.get(key):
                self.fail(f"the item's {key} was {growing.native.get(key)!r} and is {item.get(key)!r}")
        if growing.part is not None:
            self.fail("a part of it is still open")
        if growing.kind == "message" and item.get("content") != growing.parts:
            self.fail(f"its content is not what was said: {item.get('content')!r} instead of {growing.parts!r}")
        if growing.kind == "reasoning" and item.get("summary") != growing.parts:
            self.fail(f"its summary is not what was said: {item.get('summary')!r} instead of {growing.parts!r}")
        if growing.kind in _CALLS:
            key = _CALLS[growing.kind][0]
            if item.get(key) != growing.text:
                self.fail(f"its {key} are not what was said: {item.get(key)!r} instead of {growing.text!r}")
            if growing.told != (item.get("status") == "completed"):
                self.fail(
                    f"its status is {item.get('status')!r}, and its {key} were{'' if growing.told else ' not'} told whole"
                )
        self._open = None
        self.whole_item(item, "the item", again=True)

    def whole_item(self, item: Any, where: str, *, again: bool = False) -> None:
        """An item that has all it will ever have."""
        if not again:
            self._identity(item)
        match item["type"]:
            case "message":
                parts = item.get("content")
                if not isinstance(parts, list):
                    self.fail(f"{where}: content is not a list")
                for part in parts:
                    self._check_part(part, where)
            case "reasoning":
                if not isinstance(item.get("summary"), list):
                    self.fail(f"{where}: summary is not a list")
            case "function_call":
                if item.get("status", "completed") == "completed":
                    self._json(item.get("arguments"), where)
            case _:
                pass
        self._items.append(dict(item))

    def _json(self, arguments: Any, where: str) -> None:
        if not isinstance(arguments, str):
            self.fail(f"{where}: the arguments are not a string: {arguments!r}")
        strict_json(arguments, f"{where}: arguments")

    def _check_part(self, part: Any, where: str) -> None:
        match part:
            case {"type": "output_text", "text": str(), "annotations": list()}:
                pass
            case {"type": "refusal", "refusal": str()}:
                pass
            case _:
                self.fail(f"{where}: a part of an unknown shape: {part!r}")

    # ------------------------------------------------------------ parts

    def _begin_part(self, data: Mapping[str, Any], kind: str, counter: str) -> None:
        growing = self._current(data)
        if growing.kind != kind:
            self.fail(f"a {growing.kind} has no such parts")
        if growing.part is not None:
            self.fail("a part is still open")
        if data.get(counter) != len(growing.parts):
            self.fail(f"its {counter} is {data.get(counter)!r}, {len(growing.parts)} is next")
        match data.get("part"):
            case {"type": "output_text", "text": "", "annotations": []} | {"type": "refusal", "refusal": ""} as part:
                growing.part = dict(part) | ({"annotations": []} if "annotations" in part else {})
            case {"type": "summary_text", "text": ""} as part:
                growing.part = dict(part)
            case part:
                self.fail(f"the part does not begin empty: {part!r}")
        growing.pieces, growing.logprobs, growing.told = [], [], False

    def _part(self, data: Mapping[str, Any], counter: str, kind: str) -> dict[str, Any]:
        growing = self._current(data)
        if growing.part is None or growing.part["type"] != kind:
            self.fail(f"no part of type {kind} is open")
        if data.get(counter) != len(growing.parts):
            self.fail(f"its {counter} is {data.get(counter)!r}, {len(growing.parts)} is open")
        return growing.part

    def _spoken(self, last: str, data: Mapping[str, Any], counter: str, kind: str, key: str) -> None:
        self._part(data, counter, kind)
        growing = self._current(data)
        if growing.told:
            self.fail("its part has been told whole already")
        if last == "delta":
            if not isinstance(data.get("delta"), str):
                self.fail(f"delta is not a string: {data.get('delta')!r}")
            growing.pieces.append(data["delta"])
            return
        if data.get(key) != growing.text:
            self.fail(f"{key} is {data.get(key)!r}, the deltas make {growing.text!r}")
        growing.told = True

    def _end_part(self, data: Mapping[str, Any], counter: str) -> None:
        growing = self._current(data)
        if growing.part is None:
            self.fail("no part is open")
        part = self._part(data, counter, str(growing.part["type"]))
        if not growing.told:
            self.fail("its text was not told whole")
        expected = {**part, "refusal" if part["type"] == "refusal" else "text": growing.text}
        if "logprobs" in part:
            expected["logprobs"] = growing.logprobs
        if data.get("part") != expected:
            self.fail(f"the part is {data.get('part')!r}, what was said is {expected!r}")
        growing.parts.append(expected)
        growing.part = None

    def _argued(self, head: str, last: str, data: Mapping[str, Any]) -> None:
        growing = self._current(data)
        key, called = _CALLS.get(growing.kind, ("", ""))
        if head != called:
            self.fail(f"it does not fit a {growing.kind}")
        if growing.told:
            self.fail("the call has been told whole already")
        if last == "delta":
            if not isinstance(data.get("delta"), str):
                self.fail(f"delta is not a string: {data.get('delta')!r}")
            growing.pieces.append(data["delta"])
            return
        if data.get(key) != growing.text:
            self.fail(f"{key} is {data.get(key)!r}, the deltas make {growing.text!r}")
        if growing.kind == "function_call":
            self._json(data[key], "the call")
        growing.told = True

    # ------------------------------------------------------------ what it says

    def view(self) -> View:
        blocks = [block for item in self._items for block in _blocks(item)]
        logprobs = [probe for item in self._items for part in _parts(item) for probe in part.get("logprobs") or []]
        if self._open is not None:
            blocks += _growing_blocks(self._open)
        finish, tokens = None, None
        if self._final is not None:
            finish = _finish(self._final, blocks)
            tokens = _tokens(self._final["usage"], self._final)
        return View(tuple(blocks), finish, tokens, self.error, logprobs=tuple(logprobs), unknown=tuple(self._unknown))


def _parts(item: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    return item.get("content") or [] if item["type"] == "message" else []


def _finish(response: Mapping[str, Any], blocks: Sequence[Block]) -> FinishWord:
    if response["status"] == "incomplete":
        return _REASONS[response["incomplete_details"]["reason"]]
    if any(block.kind in ("tool_call", "custom_tool_call") for block in blocks):
        return "tool_calls"
    return "refusal" if any(block.kind == "refusal" for block in blocks) else "stop"


def _tokens(usage: Any, response: Mapping[str, Any]) -> Tokens:
    if not isinstance(usage, Mapping):
        raise IllegalStream(f"usage is not an object: {usage!r}")
    groups = {"": usage, "input_tokens_details": None, "output_tokens_details": None}
    for group in ("input_tokens_details", "output_tokens_details"):
        groups[group] = usage.get(group)
        if not isinstance(groups[group], Mapping):
            raise IllegalStream(f"usage.{group} is missing")
    counts: dict[str, int] = {}
    for group, key in (
        ("", "input_tokens"),
        ("", "output_tokens"),
        ("", "total_tokens"),
        ("input_tokens_details", "cached_tokens"),
        ("input_tokens_details", "cache_write_tokens"),
        ("output_tokens_details", "reasoning_tokens"),
    ):
        value = (groups[group] or {}).get(key)
        if not isinstance(value, int) or value < 0:
            raise IllegalStream(f"usage: {key} is not a count: {value!r}")
        counts[key] = value
    prompt, output = counts["input_tokens"], counts["output_tokens"]
    read, written, thought = counts["cached_tokens"], counts["cache_write_tokens"], counts["reasoning_tokens"]
    if counts["total_tokens"] != prompt + output:
        raise IllegalStream(f"usage.total_tokens is {counts['total_tokens']}, the parts make {prompt + output}")
    if read + written > prompt or thought > output:
        raise IllegalStream(f"usage: the details are larger than their total: {usage}")
    searches = ((response.get("tool_usage") or {}).get("web_search") or {}).get("num_requests") or 0
    return Tokens(prompt - read - written, output - thought, read, written, 0, thought, searches)


def _blocks(item: Mapping[str, Any]) -> list[Block]:
    match item["type"]:
        case "message":
            return [_said(part) for part in item["content"]]
        case "reasoning":
            texts = [part.get("text", "") for part in item["summary"] or item.get("content") or []]
            return [Block("thinking", "\n\n".join(texts), signature=item.get("encrypted_content") or "")]
        case "function_call":
            return [_call(item, str(item["arguments"]))]
        case "custom_tool_call":
            whole = item.get("status", "completed") == "completed"
            return [Block("custom_tool_call", item["input"], item["name"], item["call_id"], whole=whole)]
        case other:
            return [Block("unknown", dict(item), name=other)]


def _said(part: Mapping[str, Any]) -> Block:
    if part["type"] == "refusal":
        return Block("refusal", part["refusal"])
    cites = tuple(Cite(note.get("title") or note.get("filename") or "", note.get("url") or "") for note in part["annotations"])
    return Block("text", part["text"], citations=cites)


def _call(item: Mapping[str, Any], text: str) -> Block:
    name = f"{item['namespace']}__{item['name']}" if item.get("namespace") else item["name"]
    try:
        value = strict_json(text, "arguments")
    except IllegalStream:
        return Block("tool_call", text, name, item["call_id"], whole=False)
    return Block("tool_call", value, name, item["call_id"], whole=isinstance(value, dict))


def _growing_blocks(growing: _Growing) -> list[Block]:
    """What an item that broke off has said."""
    native = growing.native
    if growing.kind == "message":
        said = [_said(part) for part in growing.parts]
        if growing.part is not None and growing.text:
            key = "refusal" if growing.part["type"] == "refusal" else "text"
            said.append(_said({**growing.part, key: growing.text}))
        return said
    if growing.kind == "reasoning":
        texts = [part["text"] for part in growing.parts] + ([growing.text] if growing.part is not None else [])
        return [Block("thinking", "\n\n".join(texts))] if texts else []
    if growing.kind == "function_call":
        return [_call(native, growing.text)]
    if growing.kind == "custom_tool_call":
        return [Block("custom_tool_call", growing.text, native["name"], native["call_id"], whole=growing.told)]
    return []
