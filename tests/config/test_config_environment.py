"""What the environment says: settings of the gateway, and the customary variables of every provider."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dragoman.config import Config, load
from dragoman.errors import ConfigError
from dragoman.providers.auth import headers_for
from dragoman.providers.table import TABLE

KEY = "sk-0123456789abcdef"


def from_env(env: dict[str, str], text: str = "") -> Config:
    return load(text, ".yaml", env, "gateway.yaml")


def test_a_setting_is_a_path_with_double_underscores() -> None:
    config = from_env(
        {
            "DRAGOMAN_SERVER__PORT": "5000",
            "DRAGOMAN_SERVER__STRICT": "yes",
            "DRAGOMAN_SERVER__LOG__LEVEL": "DEBUG",
            "DRAGOMAN_SERVER__MAX_BODY": "1MB",
            "DRAGOMAN_TIMEOUTS__IDLE": "30s",
            "DRAGOMAN_ALIASES__BIG": "groq/openai/gpt-oss-20b",
            "DRAGOMAN_MODELS__BEST": "openai/gpt-5.5,groq/x",
            "DRAGOMAN_AUTO": "true",
            "DRAGOMAN_LOCAL": "off",
        }
    )
    assert (config.server.port, config.server.strict, config.server.log.level) == (5000, True, "debug")
    assert config.server.max_body == 1_000_000
    assert config.timeouts.idle == 30.0
    assert config.route("big")[0].name == "groq/openai/gpt-oss-20b"
    assert [target.name for target in config.route("best")] == ["openai/gpt-5.5", "groq/x"]
    assert "local" not in config.providers


def test_keys_are_written_with_commas() -> None:
    config = from_env({"DRAGOMAN_KEYS": "sk-one-0123456789ab, sk-two-0123456789ab"})
    assert config.client("sk-one-0123456789ab") is not None
    assert config.client("sk-two-0123456789ab") is not None


def test_what_is_deeper_is_written_as_json() -> None:
    config = from_env(
        {
            "DRAGOMAN_PROVIDERS": '{"corp": {"base_url": "https://llm.corp.example/v1"}}',
            "DRAGOMAN_MODELS__BEST": '["corp/a", "corp/b"]',
        }
    )
    assert [target.name for target in config.route("best")] == ["corp/a", "corp/b"]


def test_the_environment_prevails_over_the_file() -> None:
    text = "server: {port: 1, strict: true}\nproviders: {my-corp: {url: 'https://a.example/v1', timeout: 5}}"
    config = from_env(
        {
            "DRAGOMAN_SERVER__PORT": "2",
            "DRAGOMAN_PROVIDERS__MY_CORP__API_BASE": "https://b.example/v1",
            "DRAGOMAN_PROVIDERS__GROQ__TIMEOUT": "7",
        },
        text,
    )
    assert (config.server.port, config.server.strict) == (2, True)
    assert config.providers["my-corp"].row.base_url == "https://b.example/v1"
    assert config.providers["my-corp"].timeouts.total == 5.0
    assert config.providers["groq"].timeouts.total == 7.0


def test_a_mistake_in_a_variable_names_the_variable() -> None:
    with pytest.raises(
        ConfigError, match=r"^environment variable DRAGOMAN_SERVER__PORT: 'abc' is not a whole number; allowed: a port"
    ):
        from_env({"DRAGOMAN_SERVER__PORT": "abc"})
    with pytest.raises(
        ConfigError, match=r"environment variable DRAGOMAN_SERVER__PROT: there is no such setting; did you mean 'port'\?"
    ):
        from_env({"DRAGOMAN_SERVER__PROT": "1"})


def test_variables_that_are_no_settings_are_warned_of_or_somebody_elses() -> None:
    config = from_env({"DRAGOMAN_SERVR__PORT": "1", "DRAGOMAN_CONFIG": "x.yaml", "DRAGOMAN_API_KEY": KEY})
    assert config.warnings == ("DRAGOMAN_SERVR__PORT is not a setting and has no effect; did you mean 'SERVER'?",)


def test_what_kubernetes_sets_for_a_service_of_that_name_is_not_taken_for_settings() -> None:
    config = from_env(
        {
            "DRAGOMAN_PORT": "tcp://10.0.0.1:4000",
            "DRAGOMAN_PORT_4000_TCP_ADDR": "10.0.0.1",
            "DRAGOMAN_SERVICE_HOST": "10.0.0.1",
            "DRAGOMAN_SERVICE_PORT": "4000",
        }
    )
    assert config.warnings == ()
    assert "did you mean DRAGOMAN_SERVER__PORT?" in from_env({"DRAGOMAN_PORT": "5000"}).warnings[0]


# ---------------------------------------------------------------- providers


@pytest.mark.parametrize("name", [name for name, row in TABLE.items() if not row.local])
def test_a_provider_whose_customary_key_is_there_is_ready_and_listed(name: str) -> None:
    row = TABLE[name]
    for variable in (*row.env, name.upper() + "_API_KEY"):
        config = from_env({variable: KEY})
        ready = [one.name for one in config.providers.values() if one.ready]
        assert ready == [name], variable
        assert config.providers[name].credentials[0].source == f"environment variable {variable}"
        served = [model.id for model in config.served_models()]
        assert served[:2] == ["big", "small"]
        assert f"{name}/{row.models[0].id}" in served
        assert config.route("big")[0].name == f"{name}/{row.big}"
        assert config.route("small")[0].name == f"{name}/{row.small}"


def test_without_any_key_nothing_is_listed() -> None:
    config = from_env({"OPENAI_API_KEY": "", "GROQ_API_KEY": "  "})
    assert config.served_models() == []
    assert "set OPENAI_API_KEY" in config.providers["openai"].hint


def test_a_token_for_anthropic_goes_as_a_bearer() -> None:
    config = from_env({"ANTHROPIC_AUTH_TOKEN": KEY})
    provider = config.providers["anthropic"]
    assert (b"authorization", b"Bearer " + KEY.encode()) in headers_for(provider.row, provider.credentials[0])
    both = from_env({"ANTHROPIC_AUTH_TOKEN": "other-0123456789", "ANTHROPIC_API_KEY": KEY}).providers["anthropic"]
    assert [one.secret.reveal() for one in both.credentials] == [KEY], "as Anthropic's own SDK has it: the key comes first"


def test_several_keys_stand_in_one_variable_with_commas() -> None:
    config = from_env({"OPENAI_API_KEY": "sk-11111111, sk-22222222"})
    assert [one.secret.reveal() for one in config.providers["openai"].credentials] == ["sk-11111111", "sk-22222222"]


@pytest.mark.parametrize("name", list(TABLE))
def test_every_provider_is_tuned_by_variables_of_one_pattern(name: str) -> None:
    prefix = name.upper()
    path = {"messages": "/v1/messages", "gemini": "/v1beta/models", "converse": "/model"}.get(
        TABLE[name].dialect, "/chat/completions"
    )
    config = from_env(
        {
            f"{prefix}_API_KEY": KEY,
            f"{prefix}_BASE_URL": "https://proxy.corp.example/llm/v1",
            f"{prefix}_TIMEOUT": "90",
            f"{prefix}_MAX_CONNECTIONS": "20",
            f"{prefix}_MAX_KEEPALIVE": "30",
        }
    )
    provider = config.providers[name]
    base = "https://proxy.corp.example/llm" if path.startswith("/v1") else "https://proxy.corp.example/llm/v1"
    assert provider.url(provider.dialect) == base + path
    assert provider.timeouts.total == 90.0
    assert (provider.max_connections, provider.max_keepalive) == (20, 20)
    assert len(config.warnings) == 1
    assert "30 is more than the 20 connections" in config.warnings[0]


def test_the_region_of_a_cloud_is_the_customary_variable() -> None:
    def url(env: dict[str, str]) -> str | None:
        return from_env({"AWS_BEARER_TOKEN_BEDROCK": KEY, **env}).providers["bedrock"].url("converse")

    assert url({}) == "https://bedrock-runtime.us-east-1.amazonaws.com/model"
    assert url({"AWS_DEFAULT_REGION": "eu-west-1"}) == "https://bedrock-runtime.eu-west-1.amazonaws.com/model"
    assert url({"AWS_REGION": "ap-south-1", "AWS_DEFAULT_REGION": "eu-west-1"}) == (
        "https://bedrock-runtime.ap-south-1.amazonaws.com/model"
    )
    assert (
        url({"AWS_REGION": "eu-west-1", "BEDROCK_BASE_URL": "https://proxy.corp.example"}) == "https://proxy.corp.example/model"
    )
    strange = from_env({"AWS_BEARER_TOKEN_BEDROCK": KEY, "AWS_REGION": "evil.example/"})
    assert strange.providers["bedrock"].url("converse") == "https://bedrock-runtime.us-east-1.amazonaws.com/model"
    assert "AWS_REGION: 'evil.example/' is no name of a region" in strange.warnings[0]


def test_the_api_version_is_a_variable_where_there_is_one() -> None:
    config = from_env({"ANTHROPIC_VERSION": "2026-10-21", "OPENAI_VERSION": "7"})
    assert config.providers["anthropic"].row.headers == (("anthropic-version", "2026-10-21"),)
    assert config.providers["openai"].row.headers == ()


def test_what_the_file_says_prevails_over_the_customary_variables() -> None:
    config = from_env(
        {"GROQ_API_KEY": "gsk-ambient-0123", "GROQ_BASE_URL": "https://ambient.example/v1", "GROQ_TIMEOUT": "1"},
        f"providers: {{groq: {{api_key: {KEY}, base_url: 'https://file.example/v1', timeout: 2}}}}",
    )
    provider = config.providers["groq"]
    assert provider.credentials[0].secret.reveal() == KEY
    assert provider.row.base_url == "https://file.example/v1"
    assert provider.timeouts.total == 2.0


def test_a_provider_of_ones_own_has_its_variables_too() -> None:
    config = from_env(
        {"MY_CORP_API_KEY": KEY, "MY_CORP_BASE_URL": "https://llm.corp.example/v1"}, "providers: {my-corp: {models: [a]}}"
    )
    assert config.providers["my-corp"].ready
    assert config.providers["my-corp"].url("chat") == "https://llm.corp.example/v1/chat/completions"


def test_tunables_of_a_provider_that_is_not_used_are_nobodys_business() -> None:
    assert from_env({"OLLAMA_TIMEOUT": "whenever", "META_MAX_CONNECTIONS": "-1"}).warnings == ()
    with pytest.raises(ConfigError, match="environment variable GROQ_TIMEOUT: 'whenever' is not a time"):
        from_env({"GROQ_TIMEOUT": "whenever", "GROQ_API_KEY": KEY})


def test_a_broken_key_in_the_environment_is_a_mistake_that_does_not_show_it() -> None:
    with pytest.raises(
        ConfigError, match=r"environment variable OPENAI_API_KEY: sk-0…bc holds characters that no key has"
    ) as caught:
        from_env({"OPENAI_API_KEY": "sk-0123456789\nabc"})
    assert "0123456789" not in str(caught.value)
    spaced = from_env({"OPENAI_API_KEY": f" {KEY}\n"}).providers["openai"]
    assert spaced.credentials[0].secret.reveal() == KEY


def test_a_forgotten_path_of_a_known_provider_is_put_behind_its_url() -> None:
    config = from_env({"OLLAMA_BASE_URL": "http://gpu:11434", "OPENAI_BASE_URL": "https://proxy.example/"})
    assert config.providers["ollama"].url("chat") == "http://gpu:11434/v1/chat/completions"
    assert config.providers["ollama"].url("messages") == "http://gpu:11434/v1/messages"
    assert config.providers["openai"].url("chat") == "https://proxy.example/v1/chat/completions"
    assert "OLLAMA_BASE_URL: has no path; '/v1' is put behind it, as Ollama has it" in config.warnings


def test_a_local_server_is_ready_when_somebody_says_where_it_is() -> None:
    assert not from_env({}).providers["ollama"].ready
    assert from_env({"OLLAMA_BASE_URL": "http://gpu:11434/v1"}).providers["ollama"].ready
    assert from_env({}, "providers: {vllm: }").providers["vllm"].ready


# ---------------------------------------------------------------- the shell in which a client is pointed at us


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("http://localhost:4000", ""),
        ("http://127.0.0.1:4000/", ""),
        ("http://[::1]:4000/v1", ""),
        ("http://localhost:5000", "server: {port: 5000}"),
        ("http://127.0.0.1:4000", "server: {host: 0.0.0.0, open: true}"),
        ("http://0.0.0.0:4000", "server: {host: 0.0.0.0, open: true}"),
        ("http://gateway.corp:4000", "server: {host: gateway.corp, open: true}"),
        ("http://localhost", "server: {port: 80}"),
    ],
)
def test_a_base_url_that_is_the_gateway_itself_is_ignored_with_a_warning(url: str, server: str) -> None:
    config = from_env({"ANTHROPIC_BASE_URL": url, "ANTHROPIC_API_KEY": KEY}, server)
    provider = config.providers["anthropic"]
    assert provider.row.base_url == "https://api.anthropic.com"
    assert provider.ready
    assert "is this gateway's own address and is ignored here" in config.warnings[0]


@pytest.mark.parametrize("url", ["http://localhost:4001", "http://10.0.0.7:4000", "https://proxy.example:4000"])
def test_another_address_is_followed(url: str) -> None:
    provider = from_env({"ANTHROPIC_BASE_URL": url, "ANTHROPIC_API_KEY": KEY}).providers["anthropic"]
    assert provider.url("messages") == url + "/v1/messages"
    assert provider.row.native_root() == url


def test_a_token_that_is_meant_for_the_gateway_is_not_sent_to_the_provider() -> None:
    config = from_env({"ANTHROPIC_BASE_URL": "http://localhost:4000", "ANTHROPIC_AUTH_TOKEN": KEY})
    assert config.providers["anthropic"].credentials == ()
    assert not config.providers["anthropic"].ready
    assert "ANTHROPIC_AUTH_TOKEN: is ignored, because ANTHROPIC_BASE_URL points to this gateway" in config.warnings


def test_a_key_of_the_gateway_is_never_sent_to_a_provider() -> None:
    config = from_env({"OPENAI_API_KEY": KEY, "GROQ_API_KEY": "gsk-0123456789abc"}, f"keys: [{KEY}]")
    assert config.providers["openai"].credentials == ()
    assert config.providers["groq"].ready
    assert config.warnings == ("OPENAI_API_KEY: is one of the gateway's own `keys` and is not sent to a provider",)


def test_plain_http_over_a_public_network_is_warned_of() -> None:
    assert "plain http://" in from_env({"GROQ_BASE_URL": "http://proxy.example.com/v1"}).warnings[0]
    assert from_env({"GROQ_BASE_URL": "http://10.1.2.3/v1", "OPENAI_BASE_URL": "http://gpu-1/v1"}).warnings == ()


_words = ["server", "keys", "providers", "models", "aliases", "timeouts", "openai", "corp", "big", "port", "log", "a", "0"]
_settings = st.lists(st.sampled_from(_words), min_size=1, max_size=4)
_variables = st.one_of(
    _settings.map(lambda steps: "DRAGOMAN_" + "__".join(steps).upper()),
    st.sampled_from(["OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_TIMEOUT", "GROQ_MAX_CONNECTIONS", "ANTHROPIC_VERSION"]),
)
_values = st.text(max_size=20) | st.sampled_from(
    ["http://localhost:4000", "1", "[1]", '{"a": {}}', "{", "openai/x", "sk-0123456789"]
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(_variables, _values, max_size=4))
def test_any_environment_gives_a_configuration_or_a_config_error(env: dict[str, str]) -> None:
    try:
        config = from_env(env)
    except ConfigError:
        return
    config.served_models()
