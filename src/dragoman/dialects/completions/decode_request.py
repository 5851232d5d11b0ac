"""A completion request to the hub. Types: `openai.types.completion_create_params`, and what vLLM and others add to them.

The prompt becomes what the user says. What a chat model has no way to be told stays in the extras, and so in the ledger;
without which the request would be another one (token ids for a text, nothing at all) is refused.
"""

from __future__ import annotations

from typing import Any, cast

import msgspec

from dragoman.dialects.openai_completions import sampling_of, stops_of
from dragoman.dialects.shape import Fields, wrong
from dragoman.errors import LossRefused, MalformedBody
from dragoman.ir.request import Message, Path, Request, Text
from dragoman.wire.body import malformed

DEFAULT_MAX_TOKENS = 16
"""What the API does where nobody says how long the completion may be."""

_PROMPT: Path = (None, "prompt")
_decode = msgspec.json.Decoder().decode


def decode_request(body: bytes) -> Request:
    """Raises `LossRefused` for a prompt that only a model's own completions endpoint can take."""
    try:
        native = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise malformed(body, error) from None
    fields = Fields(native, None)
    model = fields.text("model")
    if model is None:
        raise MalformedBody("model: a string is required here", param="model")
    said, at = _prompt(fields.any("prompt"))
    request = Request(model=model, dialect="completions")
    request.messages = [Message(role="user", parts=[Text(text=said, at=at)], at=at)]
    _numbers(fields, request)
    request.stream = fields.flag("stream") or False
    options = Fields(fields.object("stream_options") or {}, (None, "stream_options"))
    request.include_usage = options.flag("include_usage") or False
    if rest := options.rest():
        fields.left["stream_options"] = rest
    request.user = fields.text("user")
    request.metadata = fields.object("metadata") or {}
    request.echo = fields.flag("echo") or False
    if fields.left.get("best_of") in (1, request.n):
        # As many as there are answers: nothing to choose from.
        fields.left.pop("best_of", None)
    if fields.left.get("suffix") == "":
        del fields.left["suffix"]
    request.extras = fields.rest()
    return request


def prompts_of(prompt: object) -> list[Any] | None:
    """The prompts of a request with several; None where there is one, whatever it is."""
    if type(prompt) is not list:
        return None
    several = cast("list[Any]", prompt)
    # An array of whole numbers is one prompt: its tokens.
    return None if len(several) < 2 or all(type(item) is int for item in several) else several


def _prompt(prompt: object) -> tuple[str, Path]:
    """The text, and where it stands."""
    at = _PROMPT
    if prompts_of(prompt) is not None:
        raise LossRefused("prompt: this target takes one prompt at a time", param="prompt")
    if type(prompt) is list:
        held = cast("list[Any]", prompt)
        if len(held) == 1 and type(held[0]) is not int:
            prompt, at = held[0], (_PROMPT, 0)
        elif not held:
            raise MalformedBody("prompt: the array is empty; a text is expected", param="prompt")
    if type(prompt) is list:
        raise LossRefused(
            "prompt: token ids mean something to the model's own tokenizer alone, and this target is given text; send the "
            "prompt as text, or ask a provider that has a completions endpoint of its own",
            param="prompt",
        )
    if prompt is None or prompt == "":
        raise LossRefused("prompt: a text is required, as this target cannot begin from nothing", param="prompt")
    if type(prompt) is not str:
        raise wrong(at, "a string, an array of strings or token ids", prompt)
    return prompt, at


def _numbers(fields: Fields, request: Request) -> None:
    request.sampling = sampling_of(fields)
    most = fields.integer("max_tokens")
    request.max_tokens = DEFAULT_MAX_TOKENS if most is None else most
    request.n = fields.integer("n")
    # How many alternatives to tell beside each token; there may be none, and then the tokens are told all the same.
    probs = fields.any("logprobs")
    if type(probs) is bool:
        request.logprobs = probs or None
    elif probs is not None:
        if type(probs) is not int:
            raise wrong((None, "logprobs"), "an integer", probs)
        request.logprobs, request.top_logprobs = True, probs
        request.paths["top_logprobs"] = (None, "logprobs")
    request.stop = stops_of(fields)
