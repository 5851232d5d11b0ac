"""Numbers that no server can have counted are none, in whatever dialect they are told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from dragoman.dialects.converse.usage import decode_usage as converse
from dragoman.dialects.gemini.usage import decode_usage as gemini
from dragoman.dialects.messages.response import decode_usage as messages
from dragoman.dialects.openai_usage import decode_usage as chat
from dragoman.dialects.responses.usage import decode_usage as responses
from dragoman.ir.usage import Usage

CASES: dict[str, tuple[Callable[[object], Usage | None], str, str]] = {
    "chat": (chat, "prompt_tokens", "completion_tokens"),
    "messages": (messages, "input_tokens", "output_tokens"),
    "responses": (responses, "input_tokens", "output_tokens"),
    "gemini": (gemini, "promptTokenCount", "candidatesTokenCount"),
    "converse": (converse, "inputTokens", "outputTokens"),
}


@pytest.mark.parametrize("dialect", CASES)
@pytest.mark.parametrize("number", [True, -1, 10**400, 1e300, float("nan"), "5", None, [], {}])
def test_what_is_no_count_is_nought(dialect: str, number: Any) -> None:
    decode, prompt, answer = CASES[dialect]
    assert decode({prompt: number, answer: 7}) == Usage(output=7)


@pytest.mark.parametrize("dialect", CASES)
def test_a_count_may_be_written_with_a_point(dialect: str) -> None:
    decode, prompt, answer = CASES[dialect]
    assert decode({prompt: 3.0, answer: 7}) == Usage(input=3, output=7)
    assert decode("7") is None
