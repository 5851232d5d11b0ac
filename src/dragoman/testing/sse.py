"""Server-sent events, read strictly and written in any style.

Shares no code with `dragoman.wire.sse`, on purpose: a kit that used the parser under test could not find its faults.
"""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec

from dragoman.testing.scenario import Style
from dragoman.testing.view import IllegalStream

_LINE_END = re.compile(rb"\r\n|\n|\r")


class SseEvent(msgspec.Struct, frozen=True):
    """`number` counts from 1, for messages. `name` is empty where the event names none."""

    number: int
    name: str
    data: str

    def json(self) -> dict[str, Any]:
        """The data as a JSON object. Raises `IllegalStream` when it is none."""
        value = strict_json(self.data, f"event {self.number}")
        if not isinstance(value, dict):
            raise IllegalStream(f"event {self.number}: the data is not a JSON object: {self.data[:80]!r}")
        return value


def read_events(stream: bytes) -> list[SseEvent]:
    """All events of a whole stream. Raises `IllegalStream` for what a careful client may stumble over: bytes that are
    not UTF-8, a field that the standard does not know, an event without data, an end without a blank line."""
    body = stream.removeprefix(b"\xef\xbb\xbf")
    try:
        body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise IllegalStream(f"not UTF-8 at byte {error.start}") from None
    lines = _LINE_END.split(body)
    if lines[-1]:
        raise IllegalStream(f"the stream ends within a line: {lines[-1][:80]!r}")
    events: list[SseEvent] = []
    name = ""
    data: list[str] = []
    open_fields = False
    for line in (raw.decode("utf-8") for raw in lines[:-1]):
        if not line:
            if open_fields:
                if not data:
                    raise IllegalStream(f"event {len(events) + 1} has no data")
                events.append(SseEvent(len(events) + 1, name, "\n".join(data)))
            name, data, open_fields = "", [], False
            continue
        field, colon, value = line.partition(":")
        value = value.removeprefix(" ")
        if not field and colon:
            continue  # a comment
        open_fields = True
        if field == "data":
            data.append(value)
        elif field == "event":
            if name:
                raise IllegalStream(f"event {len(events) + 1} is named twice")
            name = value
        elif field not in ("id", "retry"):
            raise IllegalStream(f"event {len(events) + 1} has an unknown field {field[:40]!r}")
    if open_fields:
        raise IllegalStream("the last event is not ended by a blank line")
    return events


def strict_json(text: str | bytes, where: str) -> Any:
    """Parsed JSON. Raises `IllegalStream` also for what lenient parsers let through: a key that stands twice, NaN,
    half a surrogate pair."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        held = dict(pairs)
        if len(held) != len(pairs):
            raise IllegalStream(f"{where}: a key stands twice in one object: {[k for k, _ in pairs]}")
        return held

    def no_constant(word: str) -> Any:
        raise IllegalStream(f"{where}: {word} is not JSON")

    try:
        value = json.loads(text, object_pairs_hook=unique, parse_constant=no_constant)
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        raise IllegalStream(f"{where}: half a surrogate pair") from None
    except ValueError as error:
        raise IllegalStream(f"{where}: not JSON: {error}") from None
    return value


def write_json(value: Any, style: Style) -> str:
    if style.lines:
        return json.dumps(value, ensure_ascii=style.ascii, indent=1)
    text = json.dumps(value, ensure_ascii=style.ascii, separators=(",", ":"))
    if style.pad and text.endswith("}"):
        text = text[:-1] + " " * style.pad + "}"
    return text


def write_event(name: str, data: str, style: Style) -> bytes:
    gap = " " if style.space else ""
    lines = [*(f"data:{gap}{line}" for line in data.split("\n")), "", ""]
    if name:
        lines.insert(0, f"event:{gap}{name}")
    return _encoded(style.newline.join(lines))


def write_comment(text: str, style: Style) -> bytes:
    return _encoded(f": {text}{style.newline}{style.newline}")


def _encoded(text: str) -> bytes:
    return text.encode("utf-8")
