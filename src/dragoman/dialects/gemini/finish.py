"""Why an answer ended, and log probabilities: Gemini's words and the hub's. Types: `google.genai.types.FinishReason`,
`LogprobsResult`."""

from __future__ import annotations

from typing import Any, cast

from dragoman.errors import DragomanError, UpstreamGarbled, UpstreamRefused
from dragoman.ir.events import Finish, FinishReason

Block = dict[str, Any]

REASONS: dict[str, FinishReason] = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "CONTINUATION": "length",
    "TOO_MANY_TOOL_CALLS": "pause",
    "SAFETY": "content_filter",
    "RECITATION": "content_filter",
    "LANGUAGE": "content_filter",
    "BLOCKLIST": "content_filter",
    "PROHIBITED_CONTENT": "content_filter",
    "SPII": "content_filter",
    "MODEL_ARMOR": "content_filter",
    "ESCALATION": "content_filter",
    "IMAGE_SAFETY": "content_filter",
    "IMAGE_PROHIBITED_CONTENT": "content_filter",
    "IMAGE_RECITATION": "content_filter",
}
"""Every other word is a `stop`, but for those in `BROKEN`."""

BROKEN = frozenset(
    {
        "MALFORMED_FUNCTION_CALL",
        "MALFORMED_RESPONSE",
        "UNEXPECTED_TOOL_CALL",
        "MISSING_THOUGHT_SIGNATURE",
        "OTHER",
        "IMAGE_OTHER",
        "NO_IMAGE",
    }
)
"""Words that say that what came is not the answer that it should have been. Another try may well give one."""

WORD_OF: dict[FinishReason, str] = {
    "stop": "STOP",
    "stop_sequence": "STOP",
    "length": "MAX_TOKENS",
    "context_length": "MAX_TOKENS",
    "tool_calls": "STOP",
    "refusal": "SAFETY",
    "content_filter": "SAFETY",
    "pause": "STOP",
}


def word_of(candidate: Block) -> str:
    """The finish reason in capitals; empty where none has been given yet."""
    word = candidate.get("finishReason")
    word = word.upper() if isinstance(word, str) else ""
    return "" if word == "FINISH_REASON_UNSPECIFIED" else word


def broken(word: str, candidate: Block, issuer: str) -> DragomanError | None:
    """The error that a finish reason amounts to, where it does."""
    message = candidate.get("finishMessage")
    said = f": {message}" if isinstance(message, str) and message else ""
    if word == "PUP_LIMITED_DISABLED":
        return UpstreamRefused(f"the provider has limited the account{said}", provider=issuer, category="permission", code=word)
    if word in BROKEN:
        return UpstreamGarbled(f"the provider broke the answer off ({word}){said}", provider=issuer, code=word)
    return None


def blocked(answer: Block) -> str | None:
    """Why the prompt was blocked, in words; None where it was not."""
    feedback = answer.get("promptFeedback")
    reason = cast("Block", feedback).get("blockReason") if isinstance(feedback, dict) else None
    if not isinstance(reason, str) or not reason or reason.endswith("_UNSPECIFIED"):
        return None
    message = cast("Block", feedback).get("blockReasonMessage")
    return message if isinstance(message, str) and message else f"The prompt was blocked ({reason})."


def finish_fields(finish: Finish, *, refused: bool) -> Block:
    reason: FinishReason = "refusal" if refused else finish.reason
    fields: Block = {"finishReason": WORD_OF[reason]}
    if finish.explanation and reason in {"refusal", "content_filter"}:
        fields["finishMessage"] = finish.explanation
    if finish.ratings:
        fields["safetyRatings"] = finish.ratings
    return fields


# ---------------------------------------------------------------- log probabilities


def decode_logprobs(candidate: Block) -> list[object] | None:
    """As Chat Completions has them, one entry for each token."""
    result = candidate.get("logprobsResult")
    if not isinstance(result, dict):
        return None
    tops = _objects(cast("Block", result).get("topCandidates"))
    entries: list[object] = []
    for index, chosen in enumerate(_objects(cast("Block", result).get("chosenCandidates"))):
        others = _objects(tops[index].get("candidates")) if index < len(tops) else []
        entries.append({**_entry(chosen), "top_logprobs": [_entry(other) for other in others]})
    return entries or None


def _entry(native: Block) -> Block:
    token = native.get("token")
    token = token if isinstance(token, str) else ""
    return {"token": token, "logprob": native.get("logProbability"), "bytes": list(token.encode("utf-8", "replace"))}


def encode_logprobs(entries: list[object]) -> Block:
    known = [cast("Block", entry) for entry in entries if isinstance(entry, dict)]
    chosen = [_native(entry) for entry in known]
    tops = [{"candidates": [_native(other) for other in _objects(entry.get("top_logprobs"))]} for entry in known]
    result: Block = {"chosenCandidates": chosen}
    if any(top["candidates"] for top in tops):
        result["topCandidates"] = tops
    return result


def _native(entry: Block) -> Block:
    return {"token": entry.get("token"), "logProbability": entry.get("logprob")}


def _objects(value: object) -> list[Block]:
    return [cast("Block", one) for one in cast("list[Any]", value) if isinstance(one, dict)] if isinstance(value, list) else []
