"""How gateways are set up for the battery, as data: `dragoman conformance --setup NAME` prints it."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

KEY = "conformance-key-0123456789"
"""The key that the battery shows to the gateway, unless told otherwise."""

PORT = 9100
"""Where the scripted upstream listens for a gateway that is running already, unless told otherwise."""


def model_of(upstream: str) -> str:
    """The customary name of the model on an upstream that speaks this dialect."""
    return f"conformance-{upstream}"


def chain_of(upstream: str) -> str:
    """The customary name of a model that has a second target."""
    return f"conformance-chain-{upstream}"


def base_of(upstream: str, url: str) -> str:
    """The base URL as OpenAI's and Anthropic's own are written."""
    return f"{url}/v1" if upstream in ("chat", "responses") else url


class Setup(msgspec.Struct, frozen=True):
    """`text` is a configuration with `{url}` (the upstream) and `{key}` to be filled in, `file` its customary name, `start` the
    command that starts the gateway with it, `judge` what to add to `dragoman conformance`. `tried`: with which version."""

    title: str
    file: str
    text: str
    start: str
    judge: str
    notes: str = ""
    tried: str = ""
    models: Mapping[str, str] = {}


_LITELLM = """\
# LiteLLM for `dragoman conformance`. One model for each dialect of the upstream, and one with a fallback for each. The names
# are of models that it knows, since what it passes on depends on them.
model_list:
{models}
general_settings:
  master_key: {key}

litellm_settings:
  drop_params: true
  telemetry: false
  num_retries: 0
  request_timeout: 60
  # The upstream of the Chat models speaks Chat only.
  use_chat_completions_url_for_anthropic_messages: true
  fallbacks:
{fallbacks}
router_settings:
  num_retries: 0
  # The battery makes every model fail on purpose, again and again: none may be taken out of service for it.
  disable_cooldowns: true
"""
_LITELLM_ROWS = {
    "chat": ("hosted_vllm/conformance-chat", "{url}/v1"),
    "messages": ("anthropic/claude-sonnet-4-5", "{url}"),
    "responses": ("openai/responses/gpt-5", "{url}/v1"),
    "gemini": ("gemini/gemini-2.5-pro", "{url}/v1beta"),
}


def _litellm() -> str:
    row = (
        "  - model_name: {name}\n    litellm_params:\n      model: {model}\n"
        "      api_base: {base}\n      api_key: sk-upstream-0123456789\n"
    )
    chat = (
        "      # Its upstream speaks Chat Completions only, and its model thinks.\n"
        "      use_chat_completions_api: true\n      allowed_openai_params: [reasoning_effort]\n"
    )
    models: list[str] = []
    for upstream, (model, base) in _LITELLM_ROWS.items():
        names = (model_of(upstream), chain_of(upstream), f"{model_of(upstream)}-second")
        more = chat if upstream == "chat" else ""
        models += [row.format(name=name, model=model, base=base) + more for name in names]
    fallbacks = [f'    - {{"{chain_of(name)}": ["{model_of(name)}-second"]}}\n' for name in _LITELLM_ROWS]
    return _LITELLM.replace("{models}\n", "".join(models) + "\n").replace("{fallbacks}\n", "".join(fallbacks) + "\n")


_BIFROST = """\
{
  "client": {"enable_logging": false, "drop_excess_requests": false},
  "providers": {
    "openai": {
      "keys": [{"name": "k", "value": "sk-upstream-0123456789", "models": [], "weight": 1.0}],
      "network_config": {"base_url": "{url}", "max_retries": 0}
    },
    "anthropic": {
      "keys": [{"name": "k", "value": "sk-upstream-0123456789", "models": [], "weight": 1.0}],
      "network_config": {"base_url": "{url}", "max_retries": 0}
    },
    "gemini": {
      "keys": [{"name": "k", "value": "sk-upstream-0123456789", "models": [], "weight": 1.0}],
      "network_config": {"base_url": "{url}/v1beta", "max_retries": 0}
    }
  }
}
"""
_ROUTER = """\
{
  "LOG": false,
  "APIKEY": "{key}",
  "Providers": [
    {
      "name": "chat",
      "api_base_url": "{url}/v1/chat/completions",
      "api_key": "sk-upstream-0123456789",
      "models": ["conformance-chat"]
    },
    {
      "name": "gemini",
      "api_base_url": "{url}/v1beta/models/",
      "api_key": "sk-upstream-0123456789",
      "models": ["conformance-gemini"],
      "transformer": {"use": ["gemini"]}
    }
  ],
  "Router": {"default": "chat,conformance-chat"}
}
"""

SETUPS: dict[str, Setup] = {
    "litellm": Setup(
        "LiteLLM proxy",
        "litellm.yaml",
        _litellm(),
        "litellm --config litellm.yaml --host 127.0.0.1 --port 4100 --num_workers 1",
        "--base-url http://127.0.0.1:4100 --name LiteLLM",
        "`hosted_vllm` is its provider for servers of Chat Completions; `openai` would use `/responses` for some clients.",
        "1.106.2",
    ),
    "bifrost": Setup(
        "Bifrost",
        "config.json",
        _BIFROST,
        "npx -y @maximhq/bifrost -app-dir . -port 4100",
        "--base-url http://127.0.0.1:4100 --upstreams chat,messages,gemini --model chat=openai/conformance-chat "
        "--model messages=anthropic/conformance-messages --model gemini=gemini/conformance-gemini",
        "Its APIs stand under prefixes (/openai, /anthropic, /genai): judge one client at a time with its base URL.",
    ),
    "claude-code-router": Setup(
        "claude-code-router",
        "~/.claude-code-router/config.json",
        _ROUTER,
        "ccr start",
        "--base-url http://127.0.0.1:3456 --clients messages --upstreams chat,gemini --model chat=chat,conformance-chat "
        "--model gemini=gemini,conformance-gemini",
        "It offers Messages to clients and nothing else.",
    ),
}


def setup_text(name: str, url: str, key: str) -> str:
    """The configuration of a known gateway for an upstream at this URL."""
    return SETUPS[name].text.replace("{url}", url).replace("{key}", key)
