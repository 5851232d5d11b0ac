"""An answer as nearly all are, read in one pass: one choice, with text, calls of functions, or both.

Whatever else may stand in an answer has `None` for its type here: where it is said after all, and where anything is wrong,
`response.py` reads the answer anew with every question asked. Both make the same of the same answer.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

import msgspec

from dragoman.dialects.openai_usage import PlainUsage

_Nothing: TypeAlias = Annotated[list[Any], msgspec.Meta(max_length=0)] | None


class Function(msgspec.Struct, gc=False):
    name: Annotated[str, msgspec.Meta(min_length=1)]
    arguments: str


class Call(msgspec.Struct, gc=False):
    function: Function
    id: str | None = None
    custom: None = None
    extra_content: None = None


class Message(msgspec.Struct, gc=False):
    content: str | None = None
    tool_calls: list[Call] | None = None
    refusal: None = None
    annotations: _Nothing = None
    reasoning_content: None = None
    reasoning: None = None
    reasoning_details: _Nothing = None
    images: _Nothing = None
    audio: None = None
    function_call: None = None


class Choice(msgspec.Struct, gc=False):
    message: Message
    finish_reason: Literal["stop", "length", "tool_calls"]
    logprobs: None = None
    stop_reason: None = None
    matched_stop: None = None


class Answer(msgspec.Struct, gc=False):
    choices: Annotated[list[Choice], msgspec.Meta(min_length=1, max_length=1)]
    id: str | None = None
    model: str | None = None
    usage: PlainUsage | None = None


_decode = msgspec.json.Decoder(Answer).decode


def read(body: bytes) -> Answer | None:
    """None where it is not so plain."""
    try:
        answer = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return None if answer.usage is not None and answer.usage.others else answer
