"""Whole answers: a `text_completion` to the hub and back. Types: `openai.types.completion`."""

from __future__ import annotations

from typing import Any

import msgspec

from dragoman.dialects import ratings
from dragoman.dialects.base import Reply
from dragoman.dialects.completions.logprobs import decode_logprobs, encode_logprobs
from dragoman.dialects.openai_completions import answer_of
from dragoman.dialects.openai_usage import decode_usage, encode_usage
from dragoman.errors import UpstreamGarbled
from dragoman.ir.events import Choice, Finish, FinishReason, Response
from dragoman.ir.request import Part, Reasoning, Refusal, Request, Text, Unknown

Block = dict[str, Any]

_REASONS: dict[str, FinishReason] = {"length": "length", "max_tokens": "length", "content_filter": "content_filter"}
"""Every other word (`stop`, `eos`, nothing) is a `stop`."""

_BROKEN = ("error", "abort")
"""Words of vLLM and SGLang for an answer that broke off."""

FINISH_OF_REASON: dict[FinishReason, str] = {
    "stop": "stop",
    "stop_sequence": "stop",
    "length": "length",
    "context_length": "length",
    "tool_calls": "stop",
    "refusal": "content_filter",
    "content_filter": "content_filter",
    "pause": "stop",
}

_encode = msgspec.json.Encoder().encode


# ---------------------------------------------------------------- from an upstream


def decode_response(body: bytes, issuer: str) -> Response:
    answer, choices = answer_of(body, issuer)
    held = [item for item in choices if isinstance(item, dict)]
    if not held:
        raise UpstreamGarbled("no choice of the answer is an object", provider=issuer)
    held.sort(key=lambda item: item["index"] if isinstance(item.get("index"), int) else 0)
    found = [_choice(item, number, issuer) for number, item in enumerate(held)]
    return Response(text_of(answer.get("id")), text_of(answer.get("model")), found, decode_usage(answer.get("usage")))


def _choice(native: Block, number: int, issuer: str) -> Choice:
    if is_broken(native.get("finish_reason")):
        raise UpstreamGarbled(f"the provider broke the answer off: {native['finish_reason']}", provider=issuer)
    text = text_of(native.get("text"))
    parts: list[Part] = [Text(text=text)] if text else []
    return Choice(parts, finish_of(native, number), logprobs=decode_logprobs(native.get("logprobs")) or None)


def is_broken(word: object) -> bool:
    return word in _BROKEN


def finish_of(native: Block, number: int) -> Finish:
    word, matched = native.get("finish_reason"), native.get("stop_reason")
    reason = _REASONS.get(word, "stop") if isinstance(word, str) else "stop"
    if reason == "stop" and isinstance(matched, str) and matched:
        # vLLM tells which one it was.
        return Finish("stop_sequence", stop_sequence=matched, choice=number)
    return Finish(reason, choice=number)


def text_of(value: object) -> str:
    return value if isinstance(value, str) else ""


# ---------------------------------------------------------------- to a client


def encode_response(response: Response, reply: Reply) -> bytes:
    echoed = echo_of(reply.request)
    choices: list[Block] = []
    characters = 0
    for number, choice in enumerate(response.choices or [Choice([], Finish("stop"))]):
        text = "".join(said for part in choice.parts if (said := said_of(part, reply)) is not None)
        characters += len(text)
        not_said_of(choice.finish, reply)
        written: Block = {
            "text": echoed + text,
            "index": number,
            "logprobs": encode_logprobs(choice.logprobs, len(echoed)) if choice.logprobs else None,
            "finish_reason": FINISH_OF_REASON[choice.finish.reason],
        }
        if choice.finish.stop_sequence is not None:
            written["stop_reason"] = choice.finish.stop_sequence
        choices.append(written)
    return _encode(
        {
            "id": response.id or reply.fallback_id,
            "object": "text_completion",
            "created": reply.created,
            "model": response.model or reply.model,
            "choices": choices,
            "usage": encode_usage(response.usage or reply.estimated_usage(characters)),
        }
    )


def echo_of(request: Request) -> str:
    """The prompt, where the answer is to begin with it."""
    if not request.echo:
        return ""
    return "".join(part.text for message in request.messages for part in message.parts if isinstance(part, Text))


def said_of(part: Part, reply: Reply) -> str | None:
    """The text of a part; None for one that has no place in a completion, which is entered in the ledger."""
    match part:
        case Text():
            if part.citations:
                reply.ledger.add(None, "choices", "a completion has no citations", "info")
            return part.text
        case Refusal():
            return part.text
        case Reasoning():
            reply.ledger.add(None, "choices", "a completion does not show thinking", "info")
        case _:
            kind = str(part.native.get("type", "part")) if isinstance(part, Unknown) else type(part).__name__.lower()
            reply.ledger.add(None, "choices", f"an answer's {kind} has no place in a completion", "lost")
    return None


def not_said_of(finish: Finish, reply: Reply) -> None:
    ratings.unsaid(finish, reply.ledger)
    if finish.reason == "pause":
        reply.ledger.add(None, "finish_reason", "the provider paused a long turn; a completion cannot go on with it", "lost")
