"""Tier T0, where completions go to a completions endpoint untouched: what may be looked at in passing."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from dragoman.dialects.base import Sniff
from dragoman.dialects.completions.response import is_broken
from dragoman.dialects.completions.stream import read_chunk
from dragoman.dialects.openai_usage import decode_usage
from dragoman.ir.usage import Usage
from dragoman.wire.sse import Frame, SseParser


class _Counted(msgspec.Struct):
    usage: Any = None


_counted = msgspec.json.Decoder(_Counted)
_DONE = re.compile(rb"[\r\n]data: ?\[DONE\]")
_FINISH = re.compile(rb'"finish_reason"\s*:\s*"')


def sniff(frame: Frame) -> Sniff:
    if frame.event == "error":
        return "error"
    data = frame.data.strip()
    if not data or data.startswith(b"[DONE]"):
        return "wait"
    try:
        chunk = read_chunk(data)
    except ValueError:
        return "error"
    if chunk.error or chunk.object == "error":
        return "error"
    found: Sniff = "wait"
    for choice in chunk.choices or ():
        if is_broken(choice.finish_reason):
            return "error"
        if choice.text or choice.finish_reason or choice.logprobs:
            found = "content"
    return found


def ends(events: bytes, *, closed: bool) -> bool:
    """`[DONE]`, or at a proper end a reason to finish. In a text both would stand within a line, or with escaped quotes."""
    if b"[DONE]" in events and _DONE.search(events):
        return True
    return closed and _FINISH.search(events) is not None


def usage_of(head: bytes, tail: bytes) -> Usage | None:
    """Of a whole body (`head` is it), or of the last events of a stream."""
    try:
        if head.lstrip()[:1] == b"{":
            return decode_usage(_counted.decode(head).usage)
        # The first event may lack its beginning.
        for frame in reversed(SseParser().feed(tail + b"\n\n")):
            if (
                b'"usage"' in frame.data
                and frame.data[:1] == b"{"
                and (usage := decode_usage(_counted.decode(frame.data).usage))
            ):
                return usage
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    return None


def scrub(body: bytes, issuer: str) -> bytes:
    """There are no ids and no thinking in a prompt, so nothing of ours either."""
    del issuer
    return body
