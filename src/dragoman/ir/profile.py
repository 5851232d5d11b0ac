"""What one model at one provider can take, as data: the third axis, beside provider and dialect.

An encoder reads it instead of asking who the provider is. Rows come from `providers/table.py` (what
a provider's endpoint understands) and `models/profiles.py` (what a model can do); a configuration may add to both.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Reach = Literal["none", "bytes", "urls"]
"""How a target takes images or documents: not at all, only as bytes within the request, or also by a URL that it fetches."""


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """The defaults describe a plain, recent server of the dialect."""

    max_output_tokens: int = 8192
    """Sent where the dialect demands a limit and the caller gave none."""

    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    """Chat: the name under which the limit goes."""

    max_stop: int | None = None
    """Most stop sequences the endpoint accepts."""

    sampling: bool = True
    """False: the model refuses temperature, top_p, top_k (the newest reasoning models)."""

    temperature_or_top_p: bool = False
    """The model refuses to be given both."""

    inline_system: bool = False
    """Messages: instructions may stand between turns as `role: "system"`."""

    cache_marks: Literal["none", "cache_control", "breakpoint"] = "none"
    """Chat: how a part is marked for the prompt cache: Anthropic's field (OpenRouter), OpenAI's, or not at all."""

    reasoning: Literal["effort", "reasoning", "thinking", "none"] = "effort"
    """Chat: how thinking is asked for: `reasoning_effort`, OpenRouter's `reasoning` object, a `thinking`
    object with `type` (DeepSeek, Z.ai, Moonshot), or not at all."""

    efforts: frozenset[str] = frozenset()
    """Chat, Responses: the words for how much to think that are taken, where not all of them are."""

    effort_with_tools: bool = True
    """Chat: False: beside function tools `reasoning_effort` must be there and be `none` (OpenAI's newer models)."""

    reasoning_replay: Literal["none", "reasoning_content", "reasoning_details"] = "none"
    """Chat: under which field earlier thinking goes back to the provider that thought it."""

    thinking: Literal["adaptive", "budget", "none"] = "budget"
    """Messages: `thinking: {type: adaptive}` with an effort, `{type: enabled, budget_tokens}`, or no thinking."""

    thinking_off: Literal["disabled", "between_tools", "never"] = "disabled"
    """Messages: the `thinking.type` that turns thinking off. `never`: it cannot be, and both words are a 400."""

    custom_tools: bool = False
    """Chat: free-text tools (`type: custom`) are taken. Elsewhere they go as functions with one text."""

    allowed_tools: bool = False
    """Chat: `tool_choice` may be a list of the tools that may be called. Elsewhere the others are left out."""

    refused: frozenset[str] = frozenset()
    """Chat: parameters that are a 400 or 422 here, by their names in the body (`n`: more than one choice)."""

    seed_field: str = "seed"
    """Chat: the name under which the seed goes."""

    call_ids: Literal["any", "short", "nine"] = "any"
    """Chat: `short`: ids of calls have at most 40 characters (OpenAI); `nine`: they are nine letters and digits (Mistral)."""

    structured: bool = True
    """JSON Schema outputs are enforced by the provider."""

    forced_tools: bool = True
    """`tool_choice` may demand a call."""

    call_opening: str = ""
    """Chat: with this at the end, as the beginning of its answer, a model calls a tool for certain (the built-in one,
    which otherwise may talk first). A provider with one is never spoken to verbatim."""

    stream_usage: bool = True
    """Chat: `stream_options.include_usage` is understood."""

    thinking_config: Literal["level", "budget", "none"] = "level"
    """Gemini: thinking is asked for by `thinkingLevel`, by `thinkingBudget` (before Gemini 3), or not at all."""

    json_schema: bool = True
    """Gemini: schemas go as JSON Schema (`parametersJsonSchema`), not as the API's own OpenAPI subset (`parameters`)."""

    signed_calls: bool = True
    """Gemini: the first function call of each of the model's turns must be signed (since Gemini 3)."""

    media_results: bool = True
    """Gemini: images and documents may stand within a function's response (since Gemini 3), not only beside it."""

    media_resolution: bool = True
    """Gemini: a single part may say how closely it is looked at (since Gemini 3)."""

    format_with_tools: bool = True
    """Gemini: an answer's format and function tools may be asked for together (since Gemini 3)."""

    model_fields: Literal["claude", "nova", "effort", "none"] = "claude"
    """Converse: in whose words the model takes what Converse has no parameter for (`thinking`, `top_k`): Claude's, Nova's,
    a bare `reasoning_effort`, or not at all."""

    cache_points: bool = True
    """Converse: the model takes marks for the prompt cache."""

    sealed: bool = True
    """Responses: reasoning comes sealed, to be replayed, where that is asked for (`reasoning.encrypted_content`)."""

    completions: bool = True
    """Completions: the model is served at that endpoint too, where its provider has one."""

    keeps_responses: bool = True
    """Responses: the provider keeps its answers (`store`, `previous_response_id`). Elsewhere the gateway does."""

    extra_sampling: bool = False
    """Chat: `top_k`, `min_p`, `repetition_penalty` are taken beside OpenAI's own parameters (vLLM, OpenRouter ...)."""

    auto_cache: bool = False
    """Messages: a request of another dialect without any cache mark asks to be cached by itself (`cache_control` of the whole
    request), as it would be at the caller's own provider."""

    images: Reach | None = None
    """How images are taken. None: as the dialect puts them, unless the catalogue knows that the model sees none."""

    image_types: frozenset[str] = frozenset()
    """Media types of images; empty: whatever the caller sends."""

    image_bytes: int | None = None
    """The largest image, in bytes before base64."""

    image_sides: tuple[tuple[int, int], ...] = ()
    """Rows of (images in the request, pixels): with up to so many images, no side may be longer. The last row's number is
    the most images that are taken."""

    pdfs: Reach | None = None
    """How PDF documents are taken; `none`: they are read here, and their text is sent."""

    pdf_bytes: int | None = None
    """The largest PDF, in bytes before base64."""

    audio: bool | None = None
    """Whether sound is taken. None: as the dialect can, unless the catalogue knows that the model hears none."""

    audio_formats: frozenset[str] = frozenset()
    """Formats of sound, as in `wav`, `mp3`; empty: whatever the caller sends."""

    embed_dimensions: bool = True
    """Embeddings: the length of the vectors can be asked for. False: longer ones come, and are cut to it here."""

    embed_base64: bool = True
    """Embeddings in OpenAI's shape: vectors can be asked for as base64, which OpenAI's own SDK does by itself. False: they are
    asked for as numbers, and made into base64 here."""

    embed_most: int | None = None
    """Embeddings: most inputs that one request may have; more go in several."""


DEFAULT = Profile()
