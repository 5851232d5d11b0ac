"""Log probabilities: the hub holds them as Chat Completions writes them, one object for each token; here they are four
arrays side by side. Types: `openai.types.completion_choice.Logprobs`."""

from __future__ import annotations

from typing import Any, cast

Block = dict[str, Any]


def encode_logprobs(tokens: list[object], offset: int = 0) -> Block:
    """`offset`: where the first token begins, in characters of the choice's text."""
    written: Block = {"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []}
    for native in tokens:
        token = cast("Block", native) if isinstance(native, dict) else {}
        text = token.get("token")
        text = text if isinstance(text, str) else ""
        written["tokens"].append(text)
        written["token_logprobs"].append(token.get("logprob"))
        tops = token.get("top_logprobs")
        tops = cast("list[Any]", tops) if isinstance(tops, list) else []
        named = [cast("Block", top) for top in tops if isinstance(top, dict)]
        alternatives = {str(top["token"]): top.get("logprob") for top in named if "token" in top}
        written["top_logprobs"].append(alternatives or None)
        written["text_offset"].append(offset)
        offset += len(text)
    return written


def decode_logprobs(native: object) -> list[object]:
    """Empty where there are none, or in a form nobody knows."""
    if not isinstance(native, dict):
        return []
    held = cast("Block", native)
    if isinstance(held.get("content"), list):
        # llama.cpp writes them as Chat Completions does.
        return cast("list[object]", held["content"])
    tokens, probs, tops = (held.get(key) for key in ("tokens", "token_logprobs", "top_logprobs"))
    if not isinstance(tokens, list):
        return []
    found: list[object] = []
    for index, token in enumerate(cast("list[Any]", tokens)):
        text = str(token)
        beside = _at(tops, index)
        alternatives = cast("Block", beside).items() if isinstance(beside, dict) else ()
        found.append(_token(text, _at(probs, index)) | {"top_logprobs": [_token(name, prob) for name, prob in alternatives]})
    return found


def _at(values: object, index: int) -> Any:
    held = cast("list[Any]", values) if isinstance(values, list) else []
    return held[index] if index < len(held) else None


def _token(text: str, prob: object) -> Block:
    return {"token": text, "logprob": prob, "bytes": list(text.encode("utf-8", "replace"))}
