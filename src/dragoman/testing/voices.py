"""The dialects that the kit speaks, as a table. A further one is a renderer, a judge and a row here."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from dragoman.testing import (
    judge_chat,
    judge_completions,
    judge_converse,
    judge_gemini,
    judge_messages,
    judge_responses,
    speak_chat,
    speak_completions,
    speak_converse,
    speak_gemini,
    speak_messages,
    speak_responses,
)
from dragoman.testing.scenario import Ask, Rendered, Scenario
from dragoman.testing.view import View


class Voice(msgspec.Struct, frozen=True):
    """`hears(method, path, body)` gives what is asked when the request is for this dialect, else None.
    `body` is parsed JSON, or None."""

    name: str
    hears: Callable[[str, str, Mapping[str, Any] | None], Ask | None]
    render: Callable[[Scenario, Ask], Rendered]
    fold: Callable[[bytes], View]
    read: Callable[[bytes], View]


def _model_of(body: Mapping[str, Any]) -> str:
    model = body.get("model")
    return model if isinstance(model, str) else ""


def _hears_chat(method: str, path: str, body: Mapping[str, Any] | None) -> Ask | None:
    if method != "POST" or not path.endswith("/chat/completions") or body is None:
        return None
    options = body.get("stream_options")
    wants = isinstance(options, Mapping) and options.get("include_usage") is True
    return Ask(_model_of(body), body.get("stream") is True, wants)


def _hears_messages(method: str, path: str, body: Mapping[str, Any] | None) -> Ask | None:
    if method != "POST" or not path.endswith("/messages") or body is None:
        return None
    return Ask(_model_of(body), body.get("stream") is True)


def _hears_completions(method: str, path: str, body: Mapping[str, Any] | None) -> Ask | None:
    if path.endswith("/chat/completions") or not path.endswith("/completions"):
        return None
    return _hears_chat(method, "/chat/completions", body)


_GEMINI_PATH = re.compile(r"/v1[a-z0-9]*/(?:models/)?(.+):(generateContent|streamGenerateContent)$")


def _hears_gemini(method: str, path: str, body: Mapping[str, Any] | None) -> Ask | None:
    """The model and whether to stream stand in the path."""
    found = _GEMINI_PATH.search(path)
    if method != "POST" or found is None or body is None:
        return None
    return Ask(found[1], found[2].startswith("stream"))


def _hears_responses(method: str, path: str, body: Mapping[str, Any] | None) -> Ask | None:
    if method != "POST" or not path.endswith("/responses") or body is None:
        return None
    return Ask(_model_of(body), body.get("stream") is True)


_CONVERSE_PATH = re.compile(r"/model/(.+)/(converse|converse-stream)$")


def _hears_converse(method: str, path: str, body: Mapping[str, Any] | None) -> Ask | None:
    """The model and whether to stream stand in the path."""
    found = _CONVERSE_PATH.search(path)
    if method != "POST" or found is None or body is None:
        return None
    return Ask(found[1], found[2] == "converse-stream")


VOICES: dict[str, Voice] = {
    "chat": Voice("chat", _hears_chat, speak_chat.render, judge_chat.fold_chat, judge_chat.read_chat),
    "messages": Voice(
        "messages", _hears_messages, speak_messages.render, judge_messages.fold_messages, judge_messages.read_messages
    ),
    "gemini": Voice("gemini", _hears_gemini, speak_gemini.render, judge_gemini.fold_gemini, judge_gemini.read_gemini),
    "responses": Voice(
        "responses", _hears_responses, speak_responses.render, judge_responses.fold_responses, judge_responses.read_responses
    ),
    "converse": Voice(
        "converse", _hears_converse, speak_converse.render, judge_converse.fold_converse, judge_converse.read_converse
    ),
    "completions": Voice(
        "completions",
        _hears_completions,
        speak_completions.render,
        judge_completions.fold_completion,
        judge_completions.read_completion,
    ),
}


def heard(method: str, path: str, body: Mapping[str, Any] | None) -> tuple[Voice, Ask] | None:
    """Which dialect a request speaks, and what it asks; None for any other request."""
    for voice in VOICES.values():
        ask = voice.hears(method, path, body)
        if ask is not None:
            return voice, ask
    return None


def models_body(names: list[str], headers: Mapping[str, str]) -> bytes:
    """The list of models, in the dialect of the one who asks: Anthropic's clients send `anthropic-version`, Google's
    `x-goog-api-key`."""
    if "anthropic-version" in headers:
        data = [{"type": "model", "id": n, "display_name": n, "created_at": "2026-10-21T00:00:00Z"} for n in names]
        edges = {"first_id": names[0] if names else None, "last_id": names[-1] if names else None}
        return json.dumps({"data": data, "has_more": False, **edges}).encode()
    if "x-goog-api-key" in headers:
        methods = ["generateContent", "countTokens"]
        listed = [{"name": f"models/{n}", "displayName": n, "supportedGenerationMethods": methods} for n in names]
        return json.dumps({"models": listed}).encode()
    models = [{"id": n, "object": "model", "created": 1_793_000_000, "owned_by": "scripted"} for n in names]
    return json.dumps({"object": "list", "data": models}).encode()
