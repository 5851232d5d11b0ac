"""The estimate of tokens, by kinds of text and families of models. Against llama.cpp's numbers: gateway/test_counting.py."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dragoman.dialects import DIALECTS
from dragoman.ir.estimate import input_tokens
from dragoman.ir.request import Image, Message, Request, Text, Tool
from dragoman.models.tokens import KINDS, family_of, tokens_of_request, tokens_of_text

SAMPLES = Path(__file__).parent / "tokens.json"
"""Texts with the numbers of the families' own tokenizers (those of splintr-rs 0.22.0; of smollm2, llama.cpp's)."""

TRUTH: list[dict[str, object]] = json.loads(SAMPLES.read_text())
MODELS = {
    "o200k": "gpt-6-sol",
    "llama3": "meta-llama/Llama-3.3-70B-Instruct",
    "qwen3": "qwen3.8-max",
    "gemma3": "gemini-4-argon",
    "mistral": "mistral-large-latest",
    "deepseek": "deepseek/deepseek-v4-pro",
    "kimi": "kimi-k3",
    "glm": "zai-org/GLM-5.3",
    "smollm2": "smollm2-135m-instruct",
}


@pytest.mark.parametrize("family", MODELS)
def test_the_estimate_is_near_the_tokenizers_own_number(family: str) -> None:
    errors: dict[str, float] = {}
    for sample in TRUTH:
        truth = sample["tokens"]
        assert isinstance(truth, dict)
        errors[str(sample["name"])] = tokens_of_text(str(sample["text"]), MODELS[family]) / truth[family] - 1
    assert sum(abs(error) for error in errors.values()) / len(errors) < 0.07
    assert all(abs(error) < 0.25 for error in errors.values()), errors


def test_every_family_has_a_price_for_every_kind() -> None:
    for model in (*MODELS.values(), "claude-opus-5-5", "somebody/unheard-of"):
        assert len(family_of(model).prices) == len(KINDS)


def test_a_model_is_known_by_any_spelling() -> None:
    assert family_of("anthropic/claude-opus-5.5") is family_of("claude-haiku-5-5")
    assert family_of("Qwen/Qwen3-235B-A22B") is family_of("qwen3.8-max")
    assert family_of("accounts/fireworks/models/glm-5p3") is family_of("glm-5.3")


def test_anything_has_a_number() -> None:
    for text in ("\0", " ", "\ud800", "é" * 1000, "ế", "a" * 100_000, "=" * 1000, "\U0010ffff"):
        assert tokens_of_text(text, "gpt-6-sol") >= 1
    assert tokens_of_text("", "gpt-6-sol") == 0
    assert tokens_of_request(Request(model="m", dialect="chat"), "m") >= 1


@pytest.mark.parametrize("model", [*MODELS.values(), "claude-opus-5-5", "somebody/unheard-of"])
def test_no_kind_of_text_has_a_price_below_nothing(model: str) -> None:
    assert min(family_of(model).prices) >= 0


PIECES = st.sampled_from(
    ["a", "Zeit", "extraordinarily", "the", "é", "ế", "Việt", "không", "ẞ", "数", "д", "😀", "12", " ", "-", "=", "\n", "."]
)


@given(st.lists(PIECES, min_size=1, max_size=6).map("".join), st.sampled_from([*MODELS.values(), "claude-opus-5-5"]))
@settings(max_examples=300, deadline=None)
def test_any_text_costs_something_and_more_of_it_never_less(text: str, model: str) -> None:
    costs = [tokens_of_text(text * times, model) for times in (1, 2, 3, 10, 40)]
    assert costs[0] >= 1
    assert costs == sorted(costs)
    if any(char.isalnum() for char in text):
        assert costs[-1] > costs[0]


def test_vietnamese_costs_about_a_token_a_syllable_wherever_it_stands() -> None:
    assert tokens_of_text("Tiếng Việt là ngôn ngữ của người Việt", "gpt-6-sol") == 9
    assert tokens_of_text("Tiếng Việt là ngôn ngữ của người Việt. " * 10, "gpt-6-sol") in range(85, 105)
    assert tokens_of_text("ế" * 1000, "gpt-6-sol") > 900
    mixed = tokens_of_text("My name is Nguyễn Văn Trọng and I have lived in Hà Nội for a long time", "gpt-6-sol")
    assert 16 <= mixed <= 20  # 18 by the tokenizer itself


def test_what_a_request_holds_costs_something() -> None:
    def cost(**more: object) -> int:
        request = Request(model="m", dialect="chat", messages=[Message(role="user", parts=[Text(text="Hi")])], **more)  # type: ignore[arg-type]
        return tokens_of_request(request, "gpt-6-sol")

    assert cost() < cost(system=[Text(text="Be kind.")]) < cost(tools=[Tool(name="get_weather", description="Weather now.")])
    with_image = [Message(role="user", parts=[Text(text="Hi"), Image(url="https://x/a.png")])]
    assert tokens_of_request(Request(model="m", dialect="chat", messages=with_image), "gpt-6-sol") > 500


def test_the_quick_estimate_is_of_the_right_size_and_quick() -> None:
    """It is made for every answer that is translated."""
    body = (Path(__file__).parent.parent / "corpus" / "messages" / "claude-code" / "request.json").read_bytes()
    request = DIALECTS["messages"].decode_request(body)
    quick, careful = input_tokens(request), tokens_of_request(request, "gpt-6-sol")
    assert 0.75 < quick / careful < 1.25
    times: list[float] = []
    for _ in range(5):
        start = time.perf_counter()
        input_tokens(request)
        times.append(time.perf_counter() - start)
    start = time.perf_counter()
    tokens_of_request(request, "gpt-6-sol")
    assert min(times) < (time.perf_counter() - start) / 10
    chinese = Request(model="m", dialect="chat", messages=[Message(role="user", parts=[Text(text="数据库的备份" * 100)])])
    assert 200 < input_tokens(chinese) < 600
