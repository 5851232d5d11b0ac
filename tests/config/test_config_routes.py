"""Where a model's name leads."""

from __future__ import annotations

from decimal import Decimal

import pytest

from dragoman.config import Config, load
from dragoman.errors import ConfigError, UnknownModel
from dragoman.ir.usage import Usage

KEYS = {
    "anthropic": {"ANTHROPIC_API_KEY": "sk-ant-0123456789abc"},
    "openai": {"OPENAI_API_KEY": "sk-0123456789abcdef"},
    "openrouter": {"OPENROUTER_API_KEY": "sk-or-0123456789abc"},
    "groq": {"GROQ_API_KEY": "gsk-0123456789abcd"},
    "gemini": {"GEMINI_API_KEY": "AIza0123456789abcdef"},
}


def config_with(*names: str, text: str = "") -> Config:
    env = {key: value for name in names for key, value in KEYS[name].items()}
    return load(text, ".yaml", env, "gateway.yaml")


def names(config: Config, model: str) -> list[str]:
    return [target.name for target in config.route(model)]


@pytest.mark.parametrize(
    ("model", "target"),
    [
        ("openai/gpt-9-unheard-of", "openai/gpt-9-unheard-of"),
        ("openai:gpt-5.5", "openai/gpt-5.5"),
        ("groq/openai/gpt-oss-20b", "groq/openai/gpt-oss-20b"),
        ("groq:openai/gpt-oss-20b", "groq/openai/gpt-oss-20b"),
        ("ollama/llama3.2:3b", "ollama/llama3.2:3b"),
        ("OpenAI/gpt-5.5", "openai/gpt-5.5"),
        ("google/gemini-x", "gemini/gemini-x"),
        ("  openai/gpt-5.5 ", "openai/gpt-5.5"),
    ],
)
def test_provider_and_model_always_reach_that_provider_as_that_model(model: str, target: str) -> None:
    assert names(config_with("openai", "groq", "gemini"), model) == [target]


BEDROCKS = "us.anthropic.claude-haiku-4-5-20251001-v1:0"


@pytest.mark.parametrize(
    ("text", "model", "target"),
    [
        ("", BEDROCKS, "anthropic/claude-haiku-4-5-20251001"),
        ("", "claude-haiku-4-5@20251001", "anthropic/claude-haiku-4-5-20251001"),
        ("", "arn:aws:bedrock:us-east-1:1:inference-profile/" + BEDROCKS, "anthropic/claude-haiku-4-5-20251001"),
        ("models: {claude-haiku-4-5-20251001: openai/x}", BEDROCKS, "openai/x"),
        ("models: {claude-*: openai/*}", BEDROCKS, "openai/claude-haiku-4-5-20251001"),
        ("models: {'*': anthropic/*}", BEDROCKS, "anthropic/claude-haiku-4-5-20251001"),
        ("models: {us.anthropic.*: openai/*}", BEDROCKS, "openai/claude-haiku-4-5-20251001-v1:0"),
        (f"models: {{'{BEDROCKS}': openai/exact, claude-*: openai/*}}", BEDROCKS, "openai/exact"),
    ],
)
def test_a_clouds_name_leads_where_its_makers_does_unless_it_is_named_itself(text: str, model: str, target: str) -> None:
    assert names(config_with("anthropic", "openai", text=text), model) == [target]


def test_a_clouds_name_stays_with_that_cloud_where_it_is_ready() -> None:
    keys = {"AWS_BEARER_TOKEN_BEDROCK": "bedrock-api-key-0123456789", "DASHSCOPE_API_KEY": "sk-0123456789abc"}
    env = {**keys, **KEYS["anthropic"]}
    config = load("", ".yaml", env, "gateway.yaml")
    arn = "arn:aws:bedrock:us-east-1:1:application-inference-profile/abc123"
    for name in (BEDROCKS, arn, "qwen.qwen3-32b-v1:0", "global.anthropic.claude-opus-5-5"):
        assert names(config, name) == [f"bedrock/{name}"]
    assert names(config, "claude-haiku-4-5@20251001") == ["anthropic/claude-haiku-4-5-20251001"]
    caught = load("models: {'*': bedrock/*}", ".yaml", env, "gateway.yaml")
    assert names(caught, BEDROCKS) == [f"bedrock/{BEDROCKS}"]


def test_a_clouds_name_of_nobody_knows_what_is_told_as_it_was_said() -> None:
    with pytest.raises(UnknownModel, match=r"eu\.meta\.llama9-v1:0"):
        config_with("openai").route("eu.meta.llama9-v1:0")


def test_a_provider_without_a_key_can_be_named_for_a_caller_who_brings_one() -> None:
    (target,) = config_with().route("anthropic/claude-opus-5-5")
    assert target.provider.credentials == ()
    assert target.provider.mode == "auto"
    assert not target.provider.ready


def test_the_exact_name_comes_first_then_alias_then_provider_then_pattern_then_list_then_family() -> None:
    text = (
        "models:\n"
        "  openai/gpt-5.5: groq/exact\n"
        "  gpt-*: groq/pattern\n"
        "aliases: {groq/x: openai/alias, gpt-6-luna: openai/aliased}\n"
    )
    config = config_with("openai", "groq", "anthropic", text=text)
    assert names(config, "openai/gpt-5.5") == ["groq/exact"]
    assert names(config, "groq/x") == ["openai/alias"]
    assert names(config, "gpt-6-luna") == ["openai/aliased"]
    assert names(config, "openai/gpt-5.4") == ["openai/gpt-5.4"]
    assert names(config, "gpt-6.1-terra") == ["groq/pattern"], "a pattern before a provider's list"
    assert names(config, "claude-haiku-5-5") == ["anthropic/claude-haiku-5-5"]
    assert names(config, "claude-never-heard-of") == ["anthropic/claude-never-heard-of"]


def test_a_chain_keeps_its_order_and_may_contain_chains() -> None:
    text = (
        "models:\n"
        "  best: [anthropic/claude-opus-5-5, second]\n"
        "  second: [openai/gpt-6.1-terra, third]\n"
        "aliases: {third: groq/openai/gpt-oss-120b}\n"
    )
    config = config_with("anthropic", "openai", "groq", text=text)
    expected = ["anthropic/claude-opus-5-5", "openai/gpt-6.1-terra", "groq/openai/gpt-oss-120b"]
    assert names(config, "best") == expected


def test_a_name_within_its_own_chain_has_its_plain_meaning() -> None:
    text = "models: {gpt-5.5: [gpt-5.5, openrouter/openai/gpt-5.5], openai/x: [openai/x, groq/y]}"
    config = config_with("openai", "openrouter", "groq", text=text)
    assert names(config, "gpt-5.5") == ["openai/gpt-5.5", "openrouter/openai/gpt-5.5"]
    assert names(config, "openai/x") == ["openai/x", "groq/y"]


@pytest.mark.parametrize(
    ("pattern", "target", "asked", "leads_to"),
    [
        ("house-*", "openai/*", "house-gpt-5.5", "openai/gpt-5.5"),
        ("*-fast", "groq/*", "qwen-fast", "groq/qwen"),
        ("vendor/*", "groq/*", "vendor/a/b", "groq/a/b"),
        ("claude-*", "openrouter/anthropic/*", "claude-haiku-5-5", "openrouter/anthropic/claude-haiku-5.5"),
        ("claude-*", "openai/claude-*", "claude-x", "openai/claude-x"),
        ("claude-*", "openai/gpt-5.5", "claude-x", "openai/gpt-5.5"),
        ("gpt-*", "groq/openai/*", "gpt-oss-20b", "groq/openai/gpt-oss-20b"),
        ("*", "openai/*", "anything", "openai/anything"),
    ],
)
def test_a_star_in_a_target_is_what_the_star_of_the_name_stood_for(
    pattern: str, target: str, asked: str, leads_to: str
) -> None:
    config = config_with("openai", "groq", "openrouter", text=f"models: {{'{pattern}': '{target}'}}")
    assert names(config, asked) == [leads_to]


def test_the_longest_pattern_wins() -> None:
    text = "models: {'claude-*': groq/a, 'claude-haiku-*': groq/b, '*': groq/c}"
    config = config_with("groq", text=text)
    assert [names(config, name)[0] for name in ("claude-opus", "claude-haiku-9", "whatever")] == ["groq/a", "groq/b", "groq/c"]


def test_a_pattern_that_can_never_be_reached_is_warned_of() -> None:
    config = config_with("openai", text="models: {'openai/*': 'openai/*'}")
    assert "is never reached: names that begin with openai/ go to that provider" in config.warnings[0]


@pytest.mark.parametrize(
    ("model", "provider"),
    [
        ("claude-opus-9", "anthropic"),
        ("gpt-5.5", "openai"),
        ("o3-mini", "openai"),
        ("o1", "openai"),
        ("chatgpt-4o-latest", "openai"),
        ("gemini-2.5-pro", "gemini"),
        ("mistral-large-2512", "mistral"),
        ("codestral-2508", "mistral"),
        ("open-mistral-7b", "mistral"),
        ("grok-4", "xai"),
        ("deepseek-chat", "deepseek"),
        ("kimi-k2.6", "moonshot"),
        ("glm-4.6", "zai"),
        ("qwen3-max", "qwen"),
        ("command-r-08-2024", "cohere"),
        ("MiniMax-M2", "minimax"),
    ],
)
def test_a_bare_name_of_a_known_family_goes_to_its_provider(model: str, provider: str) -> None:
    env = {f"{provider.upper()}_API_KEY": "key-0123456789"}
    assert names(load("", "", env, "x"), model) == [f"{provider}/{model}"]


def test_a_family_without_a_key_goes_to_openrouter_with_its_prefix_and_spelling() -> None:
    config = config_with("openrouter")
    assert names(config, "claude-opus-4-5-20251101") == ["openrouter/anthropic/claude-opus-4.5"]
    assert names(config, "gemini-2.5-pro") == ["openrouter/google/gemini-2.5-pro"]
    assert names(config, "grok-4.7") == ["openrouter/x-ai/grok-4.7"]
    assert names(config, "anthropic/claude-haiku-5-5") == ["openrouter/anthropic/claude-haiku-5.5"]
    assert names(config, "meta-llama/llama-4") == ["openrouter/meta-llama/llama-4"]
    assert names(config, "openrouter/anthropic/claude-haiku-5-5") == ["openrouter/anthropic/claude-haiku-5-5"], "named is named"
    with_key = config_with("openrouter", "anthropic")
    assert names(with_key, "claude-haiku-5-5") == ["anthropic/claude-haiku-5-5"]
    assert names(with_key, "anthropic/claude-haiku-5-5") == ["anthropic/claude-haiku-5-5"]


def test_a_vendors_model_that_another_ready_provider_lists_goes_there() -> None:
    assert names(config_with("groq"), "openai/gpt-oss-120b") == ["groq/openai/gpt-oss-120b"]
    assert names(config_with("groq", "openai"), "openai/gpt-oss-120b") == ["openai/gpt-oss-120b"]


def test_a_listed_name_is_only_taken_when_one_provider_lists_it() -> None:
    text = (
        "providers:\n"
        "  a: {url: 'https://a.example/v1', key: ka-0123456789, models: [same, own]}\n"
        "  b: {url: 'https://b.example/v1', key: kb-0123456789, models: [same]}\n"
    )
    config = config_with(text=text)
    assert names(config, "own") == ["a/own"]
    with pytest.raises(UnknownModel):
        config.route("same")


def test_big_and_small_come_from_the_file_then_the_table_then_the_local_model() -> None:
    assert names(config_with("groq", "openai"), "big") == ["openai/gpt-6.1-terra"]
    assert names(config_with("groq", "openai"), "small") == ["openai/gpt-6-luna"]
    corp = "providers: {corp: {url: 'https://c.example/v1', key: kc-0123456789, models: [large, medium, tiny]}}"
    assert names(config_with("openai", text=corp), "big") == ["corp/large"]
    assert names(config_with("openai", text=corp), "small") == ["corp/tiny"]
    given = config_with("openai", text="aliases: {small: groq/x}")
    assert names(given, "small") == ["groq/x"]
    alone = config_with().with_local("http://127.0.0.1:9999/v1")
    assert names(alone, "big") == ["local/local"]
    assert names(config_with("groq").with_local("http://127.0.0.1:9999/v1"), "big") == ["groq/openai/gpt-oss-120b"]
    with pytest.raises(UnknownModel):
        config_with().route("big")


def test_the_local_model_is_there_when_it_runs() -> None:
    config = config_with()
    with pytest.raises(UnknownModel):
        config.route("local")
    running = config.with_local("http://127.0.0.1:9999/v1")
    (target,) = running.route("local")
    assert target.provider.url("chat") == "http://127.0.0.1:9999/v1/chat/completions"
    assert target.provider.row.dialects() == ("chat", "completions")
    assert target.profile.extra_sampling
    assert [model.id for model in running.served_models()] == ["big", "small", "local"]
    assert running.with_local(None).served_models() == []
    named = config_with(text="local: {name: smol}").with_local("http://127.0.0.1:9999/v1")
    assert names(named, "smol") == ["smol/smol"]


def test_settings_closer_to_the_target_prevail() -> None:
    text = (
        "server: {strict: false}\n"
        "timeouts: {connect: 1, idle: 10}\n"
        "providers: {openai: {timeouts: {idle: 20}, profile: {structured: false, max_stop: 1}}}\n"
        "models:\n"
        "  a: openai/x\n"
        "  b: {targets: [a, openai/y], timeouts: {idle: 30}, strict: true, profile: {max_stop: 2}}\n"
        "  c: {targets: {model: openai/z, timeouts: {idle: 40}, profile: {max_stop: 3}}, timeouts: {idle: 30, total: 35}}\n"
    )
    config = config_with("openai", text=text)
    (plain,) = config.route("a")
    assert (plain.timeouts.connect, plain.timeouts.idle, plain.strict, plain.profile.max_stop) == (1.0, 20.0, False, 1)
    assert plain.profile.structured is False
    for target in config.route("b"):
        assert (target.timeouts.idle, target.strict, target.profile.max_stop) == (30.0, True, 2)
    (closest,) = config.route("c")
    assert (closest.timeouts.idle, closest.timeouts.total, closest.profile.max_stop) == (35.0, 35.0, 3)


def test_the_profile_of_a_target_is_the_providers_the_models_and_the_configurations() -> None:
    config = config_with("openai", "openrouter", text="providers: {openrouter: {profile: {max_stop: 2}}}")
    (target,) = config.route("openrouter/anthropic/claude-opus-5.5")
    profile = target.profile
    assert (profile.cache_marks, profile.sampling, profile.thinking_off, profile.max_stop) == (
        "cache_control",
        False,
        "never",
        2,
    )
    (native,) = config.route("openai/gpt-6-luna")
    assert (native.profile.cache_marks, native.profile.effort_with_tools) == ("breakpoint", False)


def test_an_unknown_model_is_told_what_is_there() -> None:
    config = config_with("groq", text="models: {best: groq/x}\naliases: {quick: groq/y}")
    with pytest.raises(UnknownModel, match=r"No model 'bset' here\. Did you mean best\?") as caught:
        config.route("bset")
    assert "There are: quick, best, groq/openai/gpt-oss-120b" in caught.value.message
    assert caught.value.status == 404
    with pytest.raises(UnknownModel, match=r"Did you mean groq\?"):
        config.route("groc/x")
    with pytest.raises(UnknownModel, match=r"set a provider's key, such as ANTHROPIC_API_KEY"):
        config_with().route("whatever")


def test_routes_are_remembered_but_not_without_end() -> None:
    config = config_with("openai")
    assert config.route("gpt-5.5") is config.route("gpt-5.5")
    for number in range(3000):
        config.route(f"openai/{number}")
    assert len(config.memo) <= 1024


def test_the_list_holds_what_can_be_served_and_nothing_else() -> None:
    text = (
        "models:\n"
        "  best: {targets: [mistral/x, anthropic/claude-opus-5-5], display_name: The best, description: Try it, context: 5}\n"
        "  dead: mistral/x\n"
        "  'claude-*': anthropic/*\n"
    )
    served = {model.id: model for model in config_with("anthropic", text=text).served_models()}
    assert list(served)[:3] == ["big", "small", "best"]
    assert "dead" not in served
    assert not any("*" in name for name in served)
    best = served["best"]
    assert (best.display_name, best.description, best.provider, best.context) == ("The best", "Try it", "anthropic", 5)
    assert (served["big"].display_name, served["big"].context) == ("big (Claude Opus 5.5)", 1_000_000)
    assert served["anthropic/claude-haiku-5-5"].display_name == "Claude Haiku 5.5"
    assert not any(name.startswith("openai/") for name in served)


def test_a_provider_that_takes_the_callers_own_credentials_is_listed_without_ours() -> None:
    text = (
        "providers:\n"
        "  claude-proxy: {dialect: messages, url: 'https://c.example', credentials: caller, api_key: kkkkkkkkkk, models: [m]}\n"
    )
    config = config_with(text=text)
    provider = config.providers["claude-proxy"]
    assert (provider.mode, provider.credentials, provider.ready) == ("caller", (), True)
    assert [model.id for model in config.served_models()] == ["big", "small", "claude-proxy/m"]


def test_only_listed_chains_warn_of_missing_keys() -> None:
    config = config_with("openai", text="models: {a: [openai/x, mistral/y]}")
    assert config.warnings == (
        "gateway.yaml:1: models.a[1]: mistral/y: no key; set MISTRAL_API_KEY, or `providers.mistral.api_key`",
    )


def test_a_name_may_stand_for_the_built_in_model_before_it_runs() -> None:
    config = load("aliases: {small: local}", ".yaml", {}, "test")
    assert [target.name for target in config.with_local("http://127.0.0.1:9/v1").route("small")] == ["local/local"]
    with pytest.raises(UnknownModel, match="does not run here"):
        config.route("small")


def test_without_a_list_of_models_the_error_names_the_providers() -> None:
    config = load(
        "providers: {lab: {dialect: chat, base_url: 'http://127.0.0.1:1/v1', api_key: sk-0123456789abcdef}}", ".yaml", {}, "t"
    )
    with pytest.raises(UnknownModel, match="lab/"):
        config.route("nope")


# ---------------------------------------------------------------- what the catalogue adds


def test_sizes_and_titles_come_from_the_catalogue_where_the_row_says_nothing() -> None:
    models = "[claude-opus-5-5, {id: claude-haiku-4-5, context: 9, title: H}]"
    config = load(f"providers: {{anthropic: {{api_key: sk-0123456789abcdef, models: {models}}}}}", ".yaml", {}, "test")
    served = {model.id: model for model in config.served_models()}
    opus, haiku = served["anthropic/claude-opus-5-5"], served["anthropic/claude-haiku-4-5"]
    assert (opus.display_name, opus.context, opus.output) == ("Claude Opus 5.5", 1_000_000, 128_000)
    assert opus.input == ("text", "image", "pdf")
    assert (haiku.display_name, haiku.context, haiku.output) == ("H", 9, 64_000)


def test_another_host_of_a_model_may_allow_less_so_its_sizes_are_not_guessed() -> None:
    config = load("providers: {gpu: {base_url: 'http://gpu:1/v1', auth: none, models: [zai-org/GLM-5.3]}}", ".yaml", {}, "test")
    served = next(model for model in config.served_models() if model.id == "gpu/zai-org/GLM-5.3")
    assert (served.display_name, served.context, served.output, served.input) == ("GLM 5.3", None, None, None)


PRIVATE = """
providers: {corp: {base_url: 'https://llm.corp.example/v1', api_key: sk-0123456789abcdef}}
models:
  house:
    targets: [corp/one, {model: corp/two, price: {input: 1, output: 2}}]
    context: 200000
    output: 32000
    modalities: [text, vision]
    price: {input: 0.8, output: "2.4", cache_read: 0.08}
  plain: corp/one
"""


def test_a_private_model_has_the_sizes_modalities_and_price_that_are_written() -> None:
    config = load(PRIVATE, ".yaml", {}, "test")
    served = next(model for model in config.served_models() if model.id == "house")
    assert (served.context, served.output, served.input) == (200_000, 32_000, ("text", "image"))
    one, two = config.route("house")
    assert one.price is not None
    assert one.price.cost(Usage(input=1_000_000, cache_read=1_000_000, output=1_000_000)).total == Decimal("3.28")
    assert two.price is not None
    assert two.price.input.base == 1
    assert config.route("plain")[0].price is None


def test_half_a_price_is_a_mistake() -> None:
    with pytest.raises(ConfigError, match=r"models\.house\.price.*incomplete"):
        load("models: {house: {targets: openai/x, price: {input: 1}}}", ".yaml", {}, "test")
    with pytest.raises(ConfigError, match="is not a price"):
        load("models: {house: {targets: openai/x, price: {input: -1, output: cheap}}}", ".yaml", {}, "test")
