"""Several prompts in one request, for targets that take one at a time: the request taken apart, the answers put together.

The choices of the first prompt come first, as they do where a server takes them all: https://docs.vllm.ai and the API
reference ("prompts" times `n` choices, in that order).
"""

from __future__ import annotations

from typing import Any, cast

import msgspec

from dragoman.dialects.completions.decode_request import prompts_of
from dragoman.dialects.completions.stream import DONE, PING
from dragoman.errors import MalformedBody, UpstreamGarbled
from dragoman.wire.body import fields_of, malformed
from dragoman.wire.sse import SseParser

Block = dict[str, Any]

MOST = 256
"""Prompts of one request. Each is a request of its own to the provider, and is paid for."""


class _Options(msgspec.Struct):
    include_usage: Any = None


_options = msgspec.json.Decoder(_Options | None)
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


def apart(body: bytes) -> tuple[list[bytes], Joiner] | None:
    """A body for each prompt with everything else as it is, and what puts the answers together; None where there is only
    one prompt. Raises `MalformedBody`."""
    fields = fields_of(body)
    raw = bytes(fields.get("prompt", b""))
    if not raw.startswith(b"["):
        return None
    try:
        prompts = prompts_of(_decode(raw))
        options = _options.decode(fields.get("stream_options", b"null"))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise malformed(body, error) from None
    if prompts is None:
        return None
    if len(prompts) > MOST:
        raise MalformedBody(f"prompt: at most {MOST} prompts at once, not {len(prompts)}", param="prompt")
    bodies = [_encode({**fields, "prompt": prompt}) for prompt in prompts]
    return bodies, Joiner(usage=options is not None and options.include_usage is True)


class Joiner:
    """See `base.Joiner`. `usage`: it was asked for of a stream."""

    def __init__(self, *, usage: bool) -> None:
        self._wants_usage = usage
        self._first: Block = {}
        self._choices: list[Any] = []
        self._usage: Block = {}
        self._offset = 0
        self._seen = 0
        self._parser = SseParser()

    def add(self, body: bytes) -> None:
        answer = _object(body)
        self._counted(answer.pop("usage", None))
        self._choices += self._renumbered(answer)
        self._first = self._first or answer
        self.next()

    def whole(self) -> bytes:
        return _encode({**self._first, "choices": self._choices, "usage": self._usage})

    def next(self) -> None:
        """The next prompt's answer follows."""
        self._offset = self._seen
        self._parser = SseParser()

    def feed(self, data: bytes) -> bytes:
        """The same events for the caller. The last of all answers is told at the end."""
        if data == PING:
            return data
        return b"".join(self._event(frame.data) for frame in self._parser.feed(data))

    def end(self) -> bytes:
        if not (self._wants_usage and self._usage):
            return DONE
        return b"data: %b\n\n" % _encode({**self._first, "choices": [], "usage": self._usage}) + DONE

    def _event(self, data: bytes) -> bytes:
        if data.startswith(b"[DONE]"):
            return b""
        chunk = _object(data)
        if "choices" not in chunk:
            return b"data: %b\n\n" % data
        # One request has one answer, of one name.
        self._first = self._first or {key: value for key, value in chunk.items() if key not in {"choices", "usage"}}
        self._counted(chunk.get("usage"))
        choices = self._renumbered(chunk)
        if not choices:
            return b""
        told: Block = {**self._first, "choices": choices}
        if "usage" in chunk:
            told["usage"] = None
        return b"data: %b\n\n" % _encode(told)

    def _renumbered(self, answer: Block) -> list[Any]:
        choices: list[Any] = answer.pop("choices", None) or []
        for choice in choices:
            choice["index"] = self._offset + (choice.get("index") or 0)
            self._seen = max(self._seen, choice["index"] + 1)
        return choices

    def _counted(self, usage: object) -> None:
        if isinstance(usage, dict):
            self._usage = _sum(self._usage, cast("Block", usage))


def _object(data: bytes) -> Block:
    try:
        return msgspec.json.decode(data, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UpstreamGarbled(f"an answer to one of the prompts is not a JSON object: {error}") from None


def _sum(one: Block, other: Block) -> Block:
    """Numbers are added, objects member by member; anything else is as it was first."""
    total = dict(one)
    for key, value in other.items():
        held = total.get(key)
        if isinstance(value, dict):
            total[key] = _sum(cast("Block", held) if isinstance(held, dict) else {}, cast("Block", value))
        elif isinstance(value, int | float) and isinstance(held, int | float):
            total[key] = held + value
        elif held is None:
            total[key] = value
    return total
