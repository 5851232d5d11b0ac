"""The providers, as data. A new OpenAI-compatible provider is one more row; nothing else knows its name.

A row says where a provider is, which dialects it speaks, where people keep its key, and what its endpoint
understands (`profile`; what a single *model* can do is in `models/profiles.py`). URLs and fields were checked
against the providers' own documentation in November 2026; `docs` says where to look again.

How the URLs are put together:

    base_url + path of the dialect      where requests go: https://api.openai.com/v1 + /chat/completions
    also[dialect] + path of it          other dialects the same provider serves natively
    root + whatever the caller asked    the verbatim pass-through: /openai/v1/files -> https://api.openai.com/v1/files
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec

from dragoman.ir.profile import Profile

DialectName = Literal["messages", "chat", "responses", "gemini", "completions", "converse"]
Auth = Literal["bearer", "x-api-key", "x-goog-api-key", "none"]

PATHS: dict[DialectName, str] = {
    "messages": "/v1/messages",
    "chat": "/chat/completions",
    "responses": "/responses",
    "gemini": "/v1beta/models",
    "completions": "/completions",
    "converse": "/model",
}

ANTHROPIC_VERSION = "2023-06-01"
"""Of the requests we write ourselves. Version 2026-10-21 answers 400 to temperature, top_p and top_k, which other
dialects' clients send as a matter of course; 2023-06-01 takes them. A caller's own header passes verbatim."""


class Model(msgspec.Struct, frozen=True):
    """`context` and `output` in tokens; None where nobody says."""

    id: str
    name: str
    context: int | None = None
    output: int | None = None


class Provider(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    title: str
    dialect: DialectName
    base_url: str
    also: dict[DialectName, str] = {}
    paths: dict[DialectName, str] = {}
    """Where a path is not the dialect's usual one."""

    region: str = ""
    """The region that stands in `base_url`, where it does."""

    region_env: tuple[str, ...] = ()
    """Customary variables that name another region, the first that is set counts."""

    root: str = ""
    """Of the pass-through. Empty: `base_url` without a closing `/v1`."""

    root_auth: Auth | None = None
    """Where the pass-through wants another header than `auth`."""

    auth: Auth = "bearer"
    env: tuple[str, ...] = ()
    """Customary variables of the key, the first that is set counts. `NAME_API_KEY` always works as well."""

    token_env: tuple[str, ...] = ()
    """Variables of a token that goes as `Authorization: Bearer`, whatever `auth` says; read after `env`."""

    headers: tuple[tuple[str, str], ...] = ()
    version_header: str = ""
    """The header that `NAME_VERSION` and `version` set."""

    profile: Profile = Profile()
    quirks: tuple[tuple[str, dict[str, Any]], ...] = ()
    """What single models take differently here than elsewhere: rows like those of `models/profiles.py`."""

    counts: tuple[DialectName, ...] | None = None
    """The dialects in which it counts tokens, the preferred one first. None: those whose own makers do, as long as it does not
    say that it has no such endpoint."""

    models: tuple[Model, ...] = ()
    """A starter list, so that a client has something to choose from; any other name works as well."""

    embedders: tuple[Model, ...] = ()
    """The same of models that make vectors and no text."""

    big: str = ""
    small: str = ""
    """The models behind the aliases of these names, when this is the first provider that has a key."""

    local: bool = False
    """Runs beside the gateway: needs no key, and is listed only when it is configured."""

    health: str | None = "/models"
    """The model list, relative to `base_url`; a cheap question whose answer proves the key."""

    docs: str = ""
    aka: tuple[str, ...] = ()
    """Other names that people and other gateways use for it."""

    family: str = ""
    """A regular expression on the beginning of a bare model name (lower case) that belongs to this provider."""

    vendor: str = ""
    """This provider's models at an aggregator: `google/...`."""

    aggregator: bool = False
    """Serves other vendors' models under `vendor/model`, and stands in for a provider without a key."""

    renames: tuple[tuple[str, str], ...] = ()
    """An aggregator's own spelling of other vendors' names, as (pattern, replacement) on `vendor/model`."""

    def __repr__(self) -> str:
        """Not every field: a configured header may hold a key."""
        return f"Provider({self.name!r}, {self.dialect!r}, {self.base_url!r})"

    def dialects(self) -> tuple[DialectName, ...]:
        """Every dialect it speaks natively, its main one first."""
        return (self.dialect, *(name for name in self.also if name != self.dialect))

    def counting(self) -> tuple[DialectName, ...]:
        """The dialects in which it may be asked for the tokens of a request."""
        # OpenAI's Chat Completions cannot; one server's can, and its row says so.
        return tuple(name for name in self.dialects() if name != "chat") if self.counts is None else self.counts

    def url(self, dialect: DialectName) -> str | None:
        """Where requests of this dialect go, or None when it does not speak it."""
        base = self.base_url if dialect == self.dialect else self.also.get(dialect)
        return None if base is None else base + self.paths.get(dialect, PATHS[dialect])

    def native_root(self) -> str:
        """Without a closing slash."""
        return self.root or self.base_url.removesuffix("/v1")

    def renamed(self, vendor: str, model: str) -> str:
        """`vendor/model` as this aggregator spells it."""
        name = f"{vendor}/{model}"
        for pattern, replacement in self.renames:
            name = re.sub(pattern, replacement, name)
        return name

    def at(self, base_url: str) -> Provider:
        """The same provider somewhere else: a proxy, another host, another port.

        Its other URLs move along when they are related to the old one as prefix or as extension; on the same host
        they stay; otherwise they are dropped, because a key must not be sent to a guess."""
        base_url = base_url.rstrip("/")
        also = {name: moved for name, url in self.also.items() if (moved := _moved(url, self.base_url, base_url)) is not None}
        root = _moved(self.native_root(), self.base_url, base_url)
        return msgspec.structs.replace(self, base_url=base_url, also=also, root=base_url if root is None else root)


def _moved(url: str, old: str, new: str) -> str | None:
    if _origin(old) == _origin(new):
        return url
    if url.startswith(old):
        return new + url[len(old) :]
    if old.startswith(url) and new.endswith(old[len(url) :]):
        return new.removesuffix(old[len(url) :])
    return None


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc


def normalised(url: str, dialect: DialectName) -> str:
    """A base URL as people paste it, without what the dialect's path brings along."""
    url = url.rstrip("/").removesuffix(PATHS[dialect]).rstrip("/")
    if dialect == "gemini":
        return url.removesuffix("/v1beta").removesuffix("/v1")
    return url.removesuffix("/v1") if dialect == "messages" else url


_OPENAI_LIKE = Profile(max_stop=4)

# The order is that of preference: `big` and `small` come from the first row that has a key.
_ROWS: tuple[Provider, ...] = (
    Provider(
        name="anthropic",
        title="Anthropic",
        dialect="messages",
        base_url="https://api.anthropic.com",
        auth="x-api-key",
        env=("ANTHROPIC_API_KEY",),
        token_env=("ANTHROPIC_AUTH_TOKEN",),
        headers=(("anthropic-version", ANTHROPIC_VERSION),),
        version_header="anthropic-version",
        # A model of tomorrow is more like the newest than like the oldest.
        profile=Profile(max_output_tokens=64_000, thinking="adaptive", sampling=False),
        health="/v1/models",
        docs="https://platform.claude.com/docs",
        aka=("claude",),
        family=r"claude-",
        vendor="anthropic",
        models=(
            Model("claude-opus-5-5", "Claude Opus 5.5", 1_000_000, 128_000),
            Model("claude-sonnet-5-5", "Claude Sonnet 5.5", 1_000_000, 128_000),
            Model("claude-haiku-5-5", "Claude Haiku 5.5", 1_000_000, 128_000),
            Model("claude-fable-5-2", "Claude Fable 5.2", 1_000_000, 128_000),
        ),
        big="claude-opus-5-5",
        small="claude-haiku-5-5",
    ),
    Provider(
        name="openai",
        title="OpenAI",
        dialect="chat",
        base_url="https://api.openai.com/v1",
        also={"responses": "https://api.openai.com/v1", "completions": "https://api.openai.com/v1"},
        env=("OPENAI_API_KEY",),
        profile=Profile(
            embed_most=2048,
            max_tokens_field="max_completion_tokens",
            max_stop=4,
            # "Expected a string with maximum length 40": https://github.com/vercel/ai/issues/8132
            call_ids="short",
            custom_tools=True,
            allowed_tools=True,
            audio_formats=frozenset({"wav", "mp3"}),
            completions=False,
        ),
        quirks=(
            # Of what is still there, only these: https://developers.openai.com/api/reference/resources/completions
            ("gpt-3.5-turbo-instruct*", {"completions": True, "max_output_tokens": 2048}),
            ("davinci-002", {"completions": True, "max_output_tokens": 8192}),
            ("babbage-002", {"completions": True, "max_output_tokens": 8192}),
            # Free-text tools came with GPT-5: https://developers.openai.com/api/docs/guides/function-calling#custom-tools
            ("gpt-[34]*", {"custom_tools": False}),
            ("chatgpt-*", {"custom_tools": False}),
            ("o[1-9]*", {"custom_tools": False}),
            # "Not supported with latest reasoning models": `stop` in openai.types.chat.completion_create_params
            ("o3*", {"refused": frozenset({"stop", "logprobs", "top_logprobs"})}),
            ("o4*", {"refused": frozenset({"stop", "logprobs", "top_logprobs"})}),
            # Explicit breakpoints: https://developers.openai.com/api/docs/guides/prompt-caching
            ("gpt-5.[6-9]*", {"cache_marks": "breakpoint"}),
            ("gpt-[6-9]*", {"cache_marks": "breakpoint"}),
            # "Function tools with reasoning_effort are not supported ... in /v1/chat/completions": openai-openapi#541
            ("gpt-5.[4-9]*", {"effort_with_tools": False}),
            ("gpt-[6-9]*", {"effort_with_tools": False}),
        ),
        docs="https://developers.openai.com/api/docs",
        family=(
            r"(gpt-(?!oss)|o[1-9](-|$)|chatgpt-|codex-|text-embedding-(3|ada)"
            r"|dall-e-|tts-1|whisper-1$|omni-moderation-|text-moderation-)"
        ),
        vendor="openai",
        models=(
            Model("gpt-6.2-astra", "GPT-6.2 Astra", 1_050_000, 128_000),
            Model("gpt-6.2-sol", "GPT-6.2 Sol", 1_050_000, 128_000),
            Model("gpt-6.1-terra", "GPT-6.1 Terra", 1_050_000, 128_000),
            Model("gpt-6-luna", "GPT-6 Luna", 1_050_000, 128_000),
        ),
        embedders=(
            Model("text-embedding-3-large", "text-embedding-3-large", 8_191),
            Model("text-embedding-3-small", "text-embedding-3-small", 8_191),
        ),
        # Not Astra or Sol: over Chat Completions those refuse function tools altogether, these take them unthinking.
        big="gpt-6.1-terra",
        small="gpt-6-luna",
    ),
    Provider(
        name="gemini",
        title="Google Gemini",
        # Not by its endpoint in OpenAI's dialect, which knows neither thought signatures on parts nor safety ratings.
        dialect="gemini",
        base_url="https://generativelanguage.googleapis.com",
        auth="x-goog-api-key",
        health="/v1beta/models",
        env=("GEMINI_API_KEY", "GOOGLE_API_KEY"),
        profile=Profile(embed_most=100, max_output_tokens=65_536, max_stop=5),
        docs="https://ai.google.dev/api/generate-content",
        aka=("google", "google-ai"),
        family=r"(gemini-|gemma-|text-embedding-0\d)",
        vendor="google",
        models=(
            Model("gemini-4-argon", "Gemini 4 Argon", 1_048_576, 65_536),
            Model("gemini-3.8-flash", "Gemini 3.8 Flash", 1_048_576, 65_536),
            Model("gemini-3.5-flash-lite", "Gemini 3.5 Flash-Lite", 1_048_576, 65_536),
        ),
        embedders=(
            Model("gemini-embedding-2", "Gemini Embedding 2", 8_192),
            Model("gemini-embedding-001", "Gemini Embedding", 2_048),
        ),
        big="gemini-4-argon",
        small="gemini-3.8-flash",
    ),
    Provider(
        name="openrouter",
        title="OpenRouter",
        dialect="chat",
        base_url="https://openrouter.ai/api/v1",
        also={
            "messages": "https://openrouter.ai/api",
            "responses": "https://openrouter.ai/api/v1",
            "completions": "https://openrouter.ai/api/v1",
        },
        root="https://openrouter.ai/api",
        env=("OPENROUTER_API_KEY",),
        profile=Profile(
            keeps_responses=False,
            cache_marks="cache_control",
            reasoning="reasoning",
            reasoning_replay="reasoning_details",
            extra_sampling=True,
            max_stop=4,
            call_ids="short",  # the model may be OpenAI's: https://github.com/openclaw/openclaw/pull/875
            # It reads them for models that do not: https://openrouter.ai/docs/features/multimodal/pdfs
            pdfs="bytes",
        ),
        docs="https://openrouter.ai/docs",
        aggregator=True,
        renames=((r"^(anthropic/claude-[a-z]+)-(\d+)-(\d{1,2})(?:-\d{8})?$", r"\1-\2.\3"),),
        models=(
            Model("anthropic/claude-opus-5.5", "Claude Opus 5.5 (OpenRouter)", 1_000_000, 128_000),
            Model("anthropic/claude-haiku-5.5", "Claude Haiku 5.5 (OpenRouter)", 1_000_000, 128_000),
            Model("openai/gpt-6.2-astra", "GPT-6.2 Astra (OpenRouter)", 1_050_000, 128_000),
            Model("z-ai/glm-5.3", "GLM 5.3 (OpenRouter)", 1_048_576, 131_072),
        ),
        big="anthropic/claude-opus-5.5",
        small="anthropic/claude-haiku-5.5",
    ),
    Provider(
        name="mistral",
        title="Mistral AI",
        dialect="chat",
        base_url="https://api.mistral.ai/v1",
        env=("MISTRAL_API_KEY",),
        # It answers 422 to fields it does not know, `stream_options` among them; usage comes in the last chunk anyway.
        profile=Profile(
            stream_usage=False,
            # Documents have a form of its own here (`document_url`), and go only to its own reader.
            pdfs="none",
            seed_field="random_seed",
            call_ids="nine",
            extra_sampling=True,
            # What `ChatCompletionRequest` of https://github.com/mistralai/client-python (3.7) does not have.
            refused=frozenset(
                {"prompt_cache_retention", "prompt_cache_options"}
                | {"logit_bias", "min_p", "modalities", "safety_identifier", "service_tier", "store", "user", "verbosity"}
            ),
        ),
        docs="https://docs.mistral.ai/api",
        aka=("mistralai",),
        family=r"(open-)?(mistral|mixtral|ministral|magistral|codestral|devstral|pixtral|voxtral)-",
        vendor="mistralai",
        models=(
            Model("mistral-large-latest", "Mistral Large", 262_144),
            Model("mistral-medium-latest", "Mistral Medium", 262_144),
            Model("mistral-small-latest", "Mistral Small", 262_144),
            Model("codestral-latest", "Codestral"),
        ),
        embedders=(Model("mistral-embed", "Mistral Embed", 8_192),),
        big="mistral-large-latest",
        small="mistral-small-latest",
    ),
    Provider(
        name="groq",
        title="Groq",
        dialect="chat",
        base_url="https://api.groq.com/openai/v1",
        also={"responses": "https://api.groq.com/openai/v1"},
        root="https://api.groq.com",
        env=("GROQ_API_KEY",),
        profile=Profile(
            keeps_responses=False,
            max_tokens_field="max_completion_tokens",
            max_stop=4,
            # "Will result in a 400 error": https://console.groq.com/docs/openai#currently-unsupported-openai-features
            refused=frozenset(
                {"logit_bias", "logprobs", "n", "prompt_cache_options", "prompt_cache_retention", "top_logprobs"}
            ),
            pdfs="none",
        ),
        docs="https://console.groq.com/docs/openai",
        models=(
            Model("openai/gpt-oss-120b", "GPT-OSS 120B (Groq)", 131_072, 65_536),
            Model("openai/gpt-oss-20b", "GPT-OSS 20B (Groq)", 131_072, 65_536),
            Model("qwen/qwen3.8-27b", "Qwen 3.8 27B (Groq)", 131_072, 16_384),
        ),
        big="openai/gpt-oss-120b",
        small="openai/gpt-oss-20b",
    ),
    Provider(
        name="deepseek",
        title="DeepSeek",
        dialect="chat",
        base_url="https://api.deepseek.com",
        also={"messages": "https://api.deepseek.com/anthropic"},
        env=("DEEPSEEK_API_KEY",),
        # Thinking is on unless `thinking` says otherwise; with tools, earlier thinking must come back; while it thinks
        # a forced tool is refused. https://api-docs.deepseek.com/guides/thinking_mode
        profile=Profile(
            reasoning="thinking",
            reasoning_replay="reasoning_content",
            forced_tools=False,
            structured=False,
            pdfs="none",
            max_stop=16,
            max_output_tokens=32_768,
        ),
        docs="https://api-docs.deepseek.com",
        family=r"deepseek-",
        vendor="deepseek",
        models=(
            Model("deepseek-v4-pro", "DeepSeek V4 Pro", 1_000_000, 393_216),
            Model("deepseek-flash", "DeepSeek Flash", 1_000_000, 393_216),
        ),
        big="deepseek-v4-pro",
        small="deepseek-flash",
    ),
    Provider(
        name="xai",
        title="xAI",
        dialect="chat",
        base_url="https://api.x.ai/v1",
        also={"responses": "https://api.x.ai/v1"},
        env=("XAI_API_KEY",),
        profile=Profile(max_tokens_field="max_completion_tokens"),
        docs="https://docs.x.ai",
        aka=("x-ai", "grok"),
        family=r"grok-",
        vendor="x-ai",
        models=(
            Model("grok-4.7", "Grok 4.7", 500_000),
            Model("grok-4.3", "Grok 4.3", 1_000_000),
            Model("grok-build-0.1", "Grok Build 0.1", 256_000),
        ),
        big="grok-4.7",
        small="grok-4.3",
    ),
    Provider(
        name="moonshot",
        title="Moonshot AI (Kimi)",
        dialect="chat",
        base_url="https://api.moonshot.ai/v1",
        also={"messages": "https://api.moonshot.ai/anthropic", "responses": "https://api.moonshot.ai/v1"},
        env=("MOONSHOT_API_KEY", "MOONSHOTAI_API_KEY"),
        # Kimi K3 takes an effort at the top level; the K2 models a `thinking` object. Sampling is fixed: any other
        # temperature is a 400. https://platform.kimi.ai/docs/guide/use-reasoning-effort
        profile=Profile(
            keeps_responses=False,
            reasoning_replay="reasoning_content",
            forced_tools=False,
            max_stop=5,
            max_output_tokens=32_768,
        ),
        quirks=(
            ("kimi-*", {"sampling": False}),
            ("kimi-k2*", {"reasoning": "thinking"}),
            ("moonshot-v1*", {"reasoning": "none", "reasoning_replay": "none", "max_output_tokens": 8192}),
        ),
        docs="https://platform.kimi.ai/docs",
        aka=("moonshotai", "kimi"),
        family=r"(kimi-|moonshot-)",
        vendor="moonshotai",
        models=(
            Model("kimi-k3.1-pro", "Kimi K3.1 Pro", 1_048_576),
            Model("kimi-k3", "Kimi K3", 1_048_576),
            Model("kimi-k2.7-code", "Kimi K2.7 Code", 262_144),
        ),
        big="kimi-k3.1-pro",
        small="kimi-k3",
    ),
    Provider(
        name="zai",
        title="Z.ai (GLM)",
        dialect="chat",
        base_url="https://api.z.ai/api/paas/v4",
        also={"messages": "https://api.z.ai/api/anthropic"},
        root="https://api.z.ai/api",
        env=("ZAI_API_KEY", "Z_AI_API_KEY"),
        # `tool_choice` is `auto` only, one stop word, JSON objects without a schema. https://docs.z.ai/api-reference
        profile=Profile(
            embed_base64=False,
            embed_most=64,
            reasoning="thinking",
            reasoning_replay="reasoning_content",
            forced_tools=False,
            structured=False,
            max_stop=1,
            max_output_tokens=32_768,
        ),
        docs="https://docs.z.ai",
        aka=("z-ai", "z.ai", "zhipu"),
        family=r"glm-",
        vendor="z-ai",
        models=(
            Model("glm-5.3", "GLM 5.3", 1_048_576, 131_072),
            Model("glm-5.3-flash", "GLM 5.3 Flash", 1_048_576, 128_000),
            Model("glm-5v-turbo", "GLM 5V Turbo", 200_000, 128_000),
        ),
        big="glm-5.3",
        small="glm-5.3-flash",
    ),
    Provider(
        name="qwen",
        title="Qwen (Alibaba Cloud Model Studio)",
        dialect="chat",
        base_url="https://dashscope-intl.aliyuncs.com/compatible-mode/v1",
        also={"messages": "https://dashscope-intl.aliyuncs.com/apps/anthropic"},
        root="https://dashscope-intl.aliyuncs.com",
        env=("DASHSCOPE_API_KEY", "ALIBABA_API_KEY"),
        # Of its embedding models: https://www.alibabacloud.com/help/en/model-studio/embedding
        profile=Profile(embed_base64=False, embed_most=10, extra_sampling=True, forced_tools=False),
        docs="https://www.alibabacloud.com/help/en/model-studio",
        aka=("dashscope", "alibaba"),
        family=r"(qwen|qwq-|qvq-|text-embedding-v\d)",
        vendor="qwen",
        models=(
            Model("qwen3.8-max", "Qwen 3.8 Max", 991_808, 131_072),
            Model("qwen3.8-flash", "Qwen 3.8 Flash", 991_808, 131_072),
        ),
        big="qwen3.8-max",
        small="qwen3.8-flash",
    ),
    Provider(
        name="together",
        title="Together AI",
        dialect="chat",
        base_url="https://api.together.xyz/v1",
        also={"completions": "https://api.together.xyz/v1"},
        env=("TOGETHER_API_KEY", "TOGETHERAI_API_KEY", "TOGETHER_AI_API_KEY"),
        profile=Profile(extra_sampling=True),
        docs="https://docs.together.ai",
        aka=("together_ai", "together-ai", "togetherai"),
        models=(
            Model("zai-org/GLM-5.3", "GLM 5.3 (Together)", 1_048_576),
            Model("zai-org/GLM-5.3-Flash", "GLM 5.3 Flash (Together)", 1_048_576),
            Model("moonshotai/Kimi-K2.7-Code", "Kimi K2.7 Code (Together)", 262_144),
        ),
        big="zai-org/GLM-5.3",
        small="zai-org/GLM-5.3-Flash",
    ),
    Provider(
        name="fireworks",
        title="Fireworks AI",
        dialect="chat",
        base_url="https://api.fireworks.ai/inference/v1",
        also={
            "messages": "https://api.fireworks.ai/inference",
            "responses": "https://api.fireworks.ai/inference/v1",
            "completions": "https://api.fireworks.ai/inference/v1",
        },
        root="https://api.fireworks.ai",
        env=("FIREWORKS_API_KEY", "FIREWORKS_AI_API_KEY"),
        profile=Profile(extra_sampling=True, max_stop=4),
        docs="https://docs.fireworks.ai",
        aka=("fireworks_ai", "fireworks-ai"),
        models=(
            Model("accounts/fireworks/models/glm-5p3", "GLM 5.3 (Fireworks)", 1_048_576, 128_000),
            Model("accounts/fireworks/models/kimi-k3", "Kimi K3 (Fireworks)", 1_048_576, 131_072),
            Model("accounts/fireworks/models/glm-5p3-flash", "GLM 5.3 Flash (Fireworks)", 1_048_576),
        ),
        big="accounts/fireworks/models/glm-5p3",
        small="accounts/fireworks/models/glm-5p3-flash",
    ),
    Provider(
        name="cerebras",
        title="Cerebras",
        dialect="chat",
        base_url="https://api.cerebras.ai/v1",
        also={"completions": "https://api.cerebras.ai/v1"},
        env=("CEREBRAS_API_KEY",),
        profile=Profile(max_tokens_field="max_completion_tokens", max_stop=4),
        docs="https://inference-docs.cerebras.ai",
        models=(
            Model("gpt-oss-120b", "GPT-OSS 120B (Cerebras)", 131_072, 32_768),
            Model("qwen-3.8-27b", "Qwen 3.8 27B (Cerebras)", 65_536, 32_768),
            Model("gemma-4-31b", "Gemma 4 31B (Cerebras)", 131_072, 40_960),
        ),
        big="gpt-oss-120b",
        small="qwen-3.8-27b",
    ),
    Provider(
        name="perplexity",
        title="Perplexity",
        dialect="chat",
        # The Orchestrator: support for the older Sonar chat endpoint ended in September 2026.
        base_url="https://api.perplexity.ai/orchestrator/v1",
        also={
            "messages": "https://api.perplexity.ai/orchestrator",
            "responses": "https://api.perplexity.ai/orchestrator/v1",
        },
        root="https://api.perplexity.ai",
        env=("PERPLEXITY_API_KEY", "PERPLEXITYAI_API_KEY", "PPLX_API_KEY"),
        docs="https://docs.perplexity.ai/docs/orchestrator/quickstart",
        aka=("pplx",),
        vendor="perplexity",
        models=(
            Model("anthropic/claude-opus-5-5", "Claude Opus 5.5 (Perplexity)"),
            Model("perplexity/glm-5.3", "GLM 5.3 (Perplexity)"),
            Model("perplexity/glm-5.3-flash", "GLM 5.3 Flash (Perplexity)"),
        ),
        big="anthropic/claude-opus-5-5",
        small="perplexity/glm-5.3-flash",
    ),
    Provider(
        name="cohere",
        title="Cohere",
        dialect="chat",
        base_url="https://api.cohere.ai/compatibility/v1",
        root="https://api.cohere.ai",
        env=("COHERE_API_KEY", "CO_API_KEY"),
        profile=Profile(embed_most=96, max_stop=5),
        health=None,
        docs="https://docs.cohere.com/docs/compatibility-api",
        family=r"(command-|c4ai-|embed-)",
        vendor="cohere",
        models=(
            Model("command-a-plus-05-2026", "Command A+", 128_000, 64_000),
            Model("command-a-03-2025", "Command A", 256_000, 8_000),
            Model("command-r7b-12-2024", "Command R7B", 128_000, 4_096),
        ),
        embedders=(Model("embed-v5.0-pro", "Embed v5.0 Pro", 128_000),),
        big="command-a-plus-05-2026",
        small="command-r7b-12-2024",
    ),
    Provider(
        name="minimax",
        title="MiniMax",
        dialect="chat",
        base_url="https://api.minimax.io/v1",
        also={"messages": "https://api.minimax.io/anthropic"},
        env=("MINIMAX_API_KEY",),
        profile=Profile(structured=False),
        docs="https://platform.minimax.io/docs",
        family=r"minimax-",
        vendor="minimax",
        models=(
            Model("MiniMax-M3", "MiniMax M3", 1_000_000, 128_000),
            Model("MiniMax-M3.1-Flash", "MiniMax M3.1 Flash", 1_000_000),
        ),
        big="MiniMax-M3",
        small="MiniMax-M3.1-Flash",
    ),
    Provider(
        name="meta",
        title="Meta",
        dialect="chat",
        base_url="https://api.meta.ai/v1",
        env=("META_API_KEY",),
        docs="https://dev.meta.ai/docs",
        family=r"muse-",
        models=(
            Model("muse-wonder-1.0", "Muse Wonder 1.0", 1_048_576, 131_072),
            Model("muse-spark-1.3", "Muse Spark 1.3", 1_048_576, 131_072),
        ),
        big="muse-wonder-1.0",
        small="muse-spark-1.3",
    ),
    Provider(
        name="sambanova",
        title="SambaNova",
        dialect="chat",
        base_url="https://api.sambanova.ai/v1",
        env=("SAMBANOVA_API_KEY",),
        docs="https://docs.sambanova.ai",
        models=(
            Model("MiniMax-M2.7", "MiniMax M2.7 (SambaNova)", 196_608, 131_072),
            Model("gpt-oss-120b", "GPT-OSS 120B (SambaNova)", 131_072),
        ),
        big="MiniMax-M2.7",
        small="gpt-oss-120b",
    ),
    Provider(
        name="nebius",
        title="Nebius Token Factory",
        dialect="chat",
        base_url="https://api.tokenfactory.nebius.com/v1",
        also={"completions": "https://api.tokenfactory.nebius.com/v1"},
        env=("NEBIUS_API_KEY",),
        profile=Profile(extra_sampling=True),
        docs="https://docs.tokenfactory.nebius.com",
        models=(
            Model("zai-org/GLM-5.3", "GLM 5.3 (Nebius)", 1_024_000),
            Model("zai-org/GLM-5.3-Flash", "GLM 5.3 Flash (Nebius)", 1_024_000),
            Model("openai/gpt-oss-120b", "GPT-OSS 120B (Nebius)", 131_072),
        ),
        big="zai-org/GLM-5.3",
        small="zai-org/GLM-5.3-Flash",
    ),
    Provider(
        name="novita",
        title="Novita AI",
        dialect="chat",
        base_url="https://api.novita.ai/openai/v1",
        also={"messages": "https://api.novita.ai/anthropic", "completions": "https://api.novita.ai/openai/v1"},
        root="https://api.novita.ai",
        env=("NOVITA_API_KEY",),
        profile=Profile(extra_sampling=True),
        docs="https://novita.ai/docs",
        models=(
            Model("deepseek/deepseek-v4-pro", "DeepSeek V4 Pro (Novita)", 1_048_576, 393_216),
            Model("minimax/minimax-m3", "MiniMax M3 (Novita)", 1_000_000, 131_072),
            Model("zai-org/glm-5.3-flash", "GLM 5.3 Flash (Novita)", 1_048_576),
        ),
        big="deepseek/deepseek-v4-pro",
        small="zai-org/glm-5.3-flash",
    ),
    Provider(
        name="deepinfra",
        title="DeepInfra",
        dialect="chat",
        base_url="https://api.deepinfra.com/v1/openai",
        also={"completions": "https://api.deepinfra.com/v1/openai"},
        root="https://api.deepinfra.com",
        env=("DEEPINFRA_API_KEY", "DEEPINFRA_TOKEN"),
        profile=Profile(extra_sampling=True, max_stop=16),
        docs="https://deepinfra.com/docs",
        models=(
            Model("moonshotai/Kimi-K3", "Kimi K3 (DeepInfra)", 1_048_576),
            Model("deepseek-ai/DeepSeek-V4-Pro", "DeepSeek V4 Pro (DeepInfra)", 1_048_576),
            Model("deepseek-ai/DeepSeek-V4.1-Flash", "DeepSeek V4.1 Flash (DeepInfra)", 1_048_576, 131_072),
        ),
        big="moonshotai/Kimi-K3",
        small="deepseek-ai/DeepSeek-V4.1-Flash",
    ),
    Provider(
        name="baseten",
        title="Baseten",
        dialect="chat",
        base_url="https://inference.baseten.co/v1",
        env=("BASETEN_API_KEY",),
        profile=Profile(extra_sampling=True),
        docs="https://docs.baseten.co",
        models=(
            Model("zai-org/GLM-5.3", "GLM 5.3 (Baseten)", 1_048_576, 262_144),
            Model("zai-org/GLM-5.3-Flash", "GLM 5.3 Flash (Baseten)", 1_048_576, 131_072),
        ),
        big="zai-org/GLM-5.3",
        small="zai-org/GLM-5.3-Flash",
    ),
    Provider(
        name="hyperbolic",
        title="Hyperbolic",
        dialect="chat",
        base_url="https://api.hyperbolic.xyz/v1",
        env=("HYPERBOLIC_API_KEY",),
        profile=Profile(extra_sampling=True, structured=False),
        docs="https://docs.hyperbolic.xyz",
        models=(
            Model("Qwen/Qwen3-235B-A22B", "Qwen3 235B (Hyperbolic)", 131_072),
            Model("meta-llama/Llama-3.3-70B-Instruct", "Llama 3.3 70B (Hyperbolic)", 131_072),
        ),
        big="Qwen/Qwen3-235B-A22B",
        small="meta-llama/Llama-3.3-70B-Instruct",
    ),
    Provider(
        name="nvidia",
        title="NVIDIA NIM",
        dialect="chat",
        base_url="https://integrate.api.nvidia.com/v1",
        env=("NVIDIA_API_KEY", "NVIDIA_NIM_API_KEY"),
        docs="https://docs.api.nvidia.com",
        aka=("nvidia_nim", "nim"),
        vendor="nvidia",
        models=(
            Model("moonshotai/kimi-k2.6", "Kimi K2.6 (NVIDIA)", 262_144),
            Model("openai/gpt-oss-120b", "GPT-OSS 120B (NVIDIA)", 131_072),
        ),
        big="moonshotai/kimi-k2.6",
        small="openai/gpt-oss-120b",
    ),
    Provider(
        name="vercel",
        title="Vercel AI Gateway",
        dialect="chat",
        base_url="https://ai-gateway.vercel.sh/v1",
        also={"messages": "https://ai-gateway.vercel.sh"},
        env=("AI_GATEWAY_API_KEY",),
        docs="https://vercel.com/docs/ai-gateway",
        aka=("vercel_ai_gateway", "ai-gateway"),
        models=(
            Model("openai/gpt-6.2-astra", "GPT-6.2 Astra (Vercel)", 1_050_000, 128_000),
            Model("google/gemini-4-argon", "Gemini 4 Argon (Vercel)", 1_000_000),
        ),
        big="openai/gpt-6.2-astra",
        small="google/gemini-4-argon",
    ),
    Provider(
        name="huggingface",
        title="Hugging Face Inference Providers",
        dialect="chat",
        base_url="https://router.huggingface.co/v1",
        env=("HF_TOKEN", "HUGGINGFACE_API_KEY"),
        docs="https://huggingface.co/docs/inference-providers",
        aka=("hf",),
        models=(
            Model("zai-org/GLM-5.3", "GLM 5.3 (Hugging Face)"),
            Model("moonshotai/Kimi-K3", "Kimi K3 (Hugging Face)"),
            Model("openai/gpt-oss-120b", "GPT-OSS 120B (Hugging Face)", 131_072),
        ),
        big="zai-org/GLM-5.3",
        small="openai/gpt-oss-120b",
    ),
    Provider(
        name="bedrock",
        title="Amazon Bedrock",
        dialect="converse",
        base_url="https://bedrock-runtime.us-east-1.amazonaws.com",
        region="us-east-1",
        region_env=("AWS_REGION", "AWS_DEFAULT_REGION"),
        # An API key of Bedrock's own: https://docs.aws.amazon.com/bedrock/latest/userguide/api-keys.html
        env=("AWS_BEARER_TOKEN_BEDROCK",),
        health=None,
        # What a model nobody knows takes is what Converse itself has parameters for.
        profile=Profile(model_fields="none", cache_points=False),
        quirks=(
            ("*anthropic.claude-*", {"model_fields": "claude", "cache_points": True}),
            # https://docs.aws.amazon.com/nova/latest/nova2-userguide/extended-thinking.html
            ("*amazon.nova-*", {"model_fields": "nova", "cache_points": True, "structured": False}),
            ("*amazon.nova-[lmp]*", {"thinking": "none"}),
            ("*openai.gpt-*", {"model_fields": "effort"}),
            ("*openai.gpt-[5-9]*", {"sampling": False}),
            ("*meta.llama*", {"structured": False, "forced_tools": False}),
            ("*deepseek.r1*", {"structured": False, "forced_tools": False}),
        ),
        docs="https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html",
        aka=("aws", "aws-bedrock", "amazon-bedrock", "amazon_bedrock"),
        family=(
            r"(arn:aws[a-z-]*:bedrock:|((global|us|eu|apac|au|jp|ca|us-gov)\.)?"
            r"(ai21|amazon|anthropic|cohere|deepseek|google|meta|minimax|mistral|moonshotai|nvidia|openai|qwen|writer|zai)\.[a-z])"
        ),
        models=(
            Model("global.anthropic.claude-opus-5-5", "Claude Opus 5.5 (Bedrock)", 1_000_000, 128_000),
            Model("global.anthropic.claude-sonnet-5-5", "Claude Sonnet 5.5 (Bedrock)", 1_000_000, 128_000),
            Model("global.anthropic.claude-haiku-5-5", "Claude Haiku 5.5 (Bedrock)", 1_000_000, 128_000),
            Model("global.amazon.nova-2-lite-v1:0", "Nova 2 Lite (Bedrock)", 1_000_000),
        ),
        big="global.anthropic.claude-opus-5-5",
        small="global.anthropic.claude-haiku-5-5",
    ),
    Provider(
        name="ollama",
        title="Ollama",
        dialect="chat",
        base_url="http://127.0.0.1:11434/v1",
        also={
            "messages": "http://127.0.0.1:11434",
            "responses": "http://127.0.0.1:11434/v1",
            "completions": "http://127.0.0.1:11434/v1",
        },
        local=True,
        env=("OLLAMA_API_KEY",),
        # `tool_choice` is not among the fields it reads. https://docs.ollama.com/api/openai-compatibility
        # https://docs.ollama.com/api/openai-compatibility: images as base64 only, no documents
        profile=Profile(keeps_responses=False, forced_tools=False, images="bytes", pdfs="none"),
        docs="https://docs.ollama.com",
    ),
    Provider(
        name="vllm",
        title="vLLM",
        dialect="chat",
        base_url="http://127.0.0.1:8000/v1",
        also={
            "messages": "http://127.0.0.1:8000",
            "responses": "http://127.0.0.1:8000/v1",
            "completions": "http://127.0.0.1:8000/v1",
        },
        local=True,
        env=("VLLM_API_KEY",),
        profile=Profile(keeps_responses=False, extra_sampling=True, pdfs="none"),
        docs="https://docs.vllm.ai",
        aka=("hosted_vllm",),
    ),
    Provider(
        name="lmstudio",
        title="LM Studio",
        dialect="chat",
        base_url="http://127.0.0.1:1234/v1",
        also={
            "messages": "http://127.0.0.1:1234",
            "responses": "http://127.0.0.1:1234/v1",
            "completions": "http://127.0.0.1:1234/v1",
        },
        local=True,
        env=("LM_STUDIO_API_KEY", "LM_API_TOKEN"),
        profile=Profile(extra_sampling=True, images="bytes", pdfs="none"),
        docs="https://lmstudio.ai/docs/developer",
        aka=("lm_studio", "lm-studio"),
    ),
    Provider(
        name="llamacpp",
        title="llama.cpp",
        dialect="chat",
        base_url="http://127.0.0.1:8080/v1",
        also={
            "messages": "http://127.0.0.1:8080",
            "responses": "http://127.0.0.1:8080/v1",
            "completions": "http://127.0.0.1:8080/v1",
        },
        local=True,
        env=("LLAMACPP_API_KEY",),
        profile=Profile(keeps_responses=False, extra_sampling=True, reasoning_replay="reasoning_content", pdfs="none"),
        counts=("chat", "messages", "responses"),
        docs="https://github.com/ggml-org/llama.cpp/tree/master/tools/server",
        aka=("llama.cpp", "llama-cpp", "llama_cpp"),
    ),
    Provider(
        name="sglang",
        title="SGLang",
        dialect="chat",
        base_url="http://127.0.0.1:30000/v1",
        also={
            "messages": "http://127.0.0.1:30000",
            "responses": "http://127.0.0.1:30000/v1",
            "completions": "http://127.0.0.1:30000/v1",
        },
        local=True,
        env=("SGLANG_API_KEY",),
        profile=Profile(keeps_responses=False, extra_sampling=True, pdfs="none"),
        docs="https://docs.sglang.io",
    ),
)

TABLE: Mapping[str, Provider] = {row.name: row for row in _ROWS}


def find(name: str, table: Mapping[str, Provider] = TABLE) -> Provider | None:
    """A row by its name or one of the other names people use for it."""
    name = name.lower()
    row = table.get(name)
    if row is not None:
        return row
    return next((row for row in table.values() if name in row.aka), None)
