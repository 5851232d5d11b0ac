"""One file, in three formats, to one configuration."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from dragoman.config import Config, load
from dragoman.errors import ConfigError

KEY = "sk-gateway-0123456789abcdef"


def yaml_config(text: str, env: dict[str, str] | None = None, **options: Any) -> Config:
    return load(text, ".yaml", env or {}, "gateway.yaml", **options)


def test_nothing_at_all_is_a_configuration() -> None:
    config = load("", "", {}, "(no file)")
    assert (config.server.host, config.server.port, config.server.max_body) == ("127.0.0.1", 4000, 64_000_000)
    assert config.keys == ()
    assert config.server.log.level == "info"
    assert config.timeouts.total == 3600.0
    assert config.warnings == ()


@pytest.mark.parametrize("empty", ["", "\n", "# only a comment\n", "\ufeff"])
def test_an_empty_file_says_nothing(empty: str) -> None:
    assert yaml_config(empty).server.port == 4000


@pytest.mark.parametrize(
    ("suffix", "text"),
    [
        (
            ".yaml",
            "server: {port: 5000, max_body: 1MB}\n"
            "providers:\n  corp:\n    base_url: https://llm.corp.example/v1\n    api_key: sk-corp-0123456789\n"
            "models: {best: [corp/large, openai/gpt-5.5]}\n",
        ),
        (
            "toml",
            '[server]\nport = 5000\nmax_body = "1MB"\n'
            '[providers.corp]\nbase_url = "https://llm.corp.example/v1"\napi_key = "sk-corp-0123456789"\n'
            '[models]\nbest = ["corp/large", "openai/gpt-5.5"]\n',
        ),
        (
            ".JSON",
            '{"server": {"port": 5000, "max_body": "1MB"},'
            '"providers": {"corp": {"base_url": "https://llm.corp.example/v1", "api_key": "sk-corp-0123456789"}},'
            '"models": {"best": ["corp/large", "openai/gpt-5.5"]}}',
        ),
    ],
)
def test_yaml_toml_and_json_say_the_same(suffix: str, text: str) -> None:
    config = load(text, suffix, {}, "gateway")
    assert (config.server.port, config.server.max_body) == (5000, 1_000_000)
    assert [target.name for target in config.route("best")] == ["corp/large", "openai/gpt-5.5"]
    assert config.providers["corp"].credentials[0].secret.reveal() == "sk-corp-0123456789"


def test_another_ending_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"gateway\.ini.*'\.ini'.*\.yaml, \.yml, \.toml, \.json"):
        load("", ".ini", {}, "gateway.ini")


@pytest.mark.parametrize(
    "spelling",
    ["base_url", "url", "api_base", "api-base", "apiBase", "baseUrl", "endpoint", "Base_URL"],
)
def test_the_usual_other_words_for_a_setting_are_understood(spelling: str) -> None:
    config = yaml_config(f"providers: {{corp: {{{spelling}: 'https://llm.corp.example/v1', key: sk-corp-0123456789}}}}")
    assert config.providers["corp"].row.base_url == "https://llm.corp.example/v1"
    assert config.providers["corp"].ready


@pytest.mark.parametrize(
    ("word", "dialect"),
    [("messages", "messages"), ("anthropic", "messages"), ("openai", "chat"), ("OpenAI", "chat"), ("google", "gemini")],
)
def test_a_dialect_may_be_called_by_its_makers_name(word: str, dialect: str) -> None:
    config = yaml_config(f"providers: {{corp: {{type: {word}, url: 'https://llm.corp.example'}}}}")
    assert config.providers["corp"].dialect == dialect


@pytest.mark.parametrize(
    ("text", "seconds"), [("30", 30.0), ("30s", 30.0), ("5m", 300.0), ("1h", 3600.0), ("500ms", 0.5), ("'1.5 min'", 90.0)]
)
def test_times_may_have_units(text: str, seconds: float) -> None:
    assert yaml_config(f"timeouts: {{connect: {text}}}").timeouts.connect == seconds


@pytest.mark.parametrize(("text", "size"), [("1000", 1000), ("100MB", 100_000_000), ("64MiB", 64 * 2**20), ("'1.5 kb'", 1500)])
def test_sizes_may_have_units(text: str, size: int) -> None:
    assert yaml_config(f"server: {{max_body: {text}}}").server.max_body == size


def test_a_bare_number_for_timeouts_is_the_total() -> None:
    config = yaml_config("timeouts: 90\nproviders: {groq: {timeout: 20}}")
    assert config.timeouts.total == 90.0
    assert config.timeouts.first_byte == 90.0
    assert config.providers["groq"].timeouts.total == 20.0
    assert config.warnings == ()


def test_a_wait_longer_than_the_total_is_lowered_with_a_warning() -> None:
    config = yaml_config("timeouts: {first_byte: 100, total: 60}")
    assert config.timeouts.first_byte == 60.0
    assert config.warnings == ("gateway.yaml:1: timeouts.first_byte: 100 s is longer than the total of 60 s; lowered to that",)


def test_more_idle_connections_than_connections_are_lowered_with_a_warning() -> None:
    config = yaml_config("providers: {groq: {max_connections: 10, max_keepalive: 50}}")
    assert config.providers["groq"].max_keepalive == 10
    assert "50 is more than the 10 connections" in config.warnings[0]


def test_providers_and_models_may_be_lists_of_objects_with_a_name() -> None:
    config = yaml_config(
        "providers:\n"
        "- {name: corp, base_url: https://llm.corp.example/v1, key: sk-corp-0123456789}\n"
        "models:\n"
        "- {name: best, targets: corp/large}\n"
        "- {model_name: second, provider: corp, model: small}\n"
    )
    assert [target.name for name in ("best", "second") for target in config.route(name)] == ["corp/large", "corp/small"]


def test_a_provider_may_be_only_its_key_or_only_its_url() -> None:
    config = yaml_config("providers: {openai: sk-openai-0123456789, ollama: 'http://gpu:11434/v1', groq: }")
    assert config.providers["openai"].credentials[0].secret.reveal() == "sk-openai-0123456789"
    assert config.providers["ollama"].url("messages") == "http://gpu:11434/v1/messages"
    assert not config.providers["groq"].ready


def test_a_key_without_a_name_is_called_the_same_wherever_it_stands() -> None:
    """What is stored for it stands under that name, and must not become another's when the list changes."""
    among, alone = yaml_config(f"keys: [sk-another-0123456789abc, {KEY}]"), yaml_config(f"keys: [{KEY}]")
    assert among.keys[1] == alone.keys[0]
    assert among.keys[0].name != among.keys[1].name


def test_keys_come_in_every_customary_shape() -> None:
    digest = hashlib.sha256(b"sk-carol-0123456789abcdef").hexdigest()
    config = yaml_config(
        f"keys:\n- {KEY}\n- {{name: bob, key: sk-bob-0123456789abcdef}}\n- {{name: carol, key: 'sha256:{digest}'}}\n"
    )
    assert [key.name for key in config.keys] == [f"key-{hashlib.sha256(KEY.encode()).hexdigest()[:8]}", "bob", "carol"]
    assert config.client(KEY) is config.keys[0]
    carol = config.client("sk-carol-0123456789abcdef")
    assert carol is not None
    assert carol.name == "carol"
    assert config.client("sk-somebody-else") is None
    assert config.client(f"sha256:{digest}") is None, "the digest is not the key"
    by_name = yaml_config(f"keys: {{alice: {KEY}}}")
    assert by_name.keys[0].name == "alice"


def test_a_key_is_held_as_its_digest_only() -> None:
    config = yaml_config(f"keys: [{KEY}]")
    assert KEY not in repr(config)
    assert config.keys[0].digest == hashlib.sha256(KEY.encode()).digest()


def test_a_key_that_can_be_guessed_is_warned_of() -> None:
    assert "short enough to be guessed" in yaml_config("keys: [abc]").warnings[0]


def test_several_keys_of_one_provider_stay_in_order() -> None:
    config = yaml_config("providers: {groq: {api_keys: [gsk-1111111111, gsk-2222222222]}}")
    assert [one.secret.reveal() for one in config.providers["groq"].credentials] == ["gsk-1111111111", "gsk-2222222222"]


@pytest.mark.parametrize(
    "reference", ["${CORP_KEY}", "env:CORP_KEY", "os.environ/CORP_KEY", "env.CORP_KEY", "${NOT_SET:-sk-of-corp-0123456789}"]
)
def test_a_key_may_be_in_a_variable(reference: str) -> None:
    config = yaml_config(f"providers: {{groq: {{key: '{reference}'}}}}", {"CORP_KEY": "sk-of-corp-0123456789"})
    assert config.providers["groq"].credentials[0].secret.reveal() == "sk-of-corp-0123456789"


def test_references_work_within_any_text() -> None:
    text = "providers: {corp: {url: 'https://${HOST}/v1', headers: {x-team: 'team ${TEAM}'}}}"
    row = yaml_config(text, {"HOST": "llm.corp.example", "TEAM": "red"}).providers["corp"].row
    assert row.base_url == "https://llm.corp.example/v1"
    assert row.headers == (("x-team", "team red"),)


def test_a_disabled_provider_is_not_there_and_its_variables_need_not_be() -> None:
    config = yaml_config("providers: {groq: {enabled: false, api_key: '${NOT_SET}'}}", {"GROQ_API_KEY": "gsk_0123456789"})
    assert "groq" not in config.providers


def test_auto_false_leaves_only_what_is_configured() -> None:
    config = yaml_config("auto: false\nlocal: false\nproviders: {groq: gsk_0123456789}", {"OPENAI_API_KEY": "sk-0123456789abc"})
    assert list(config.providers) == ["groq"]


def test_a_date_in_yaml_is_a_version_all_the_same() -> None:
    row = yaml_config("providers: {anthropic: {version: 2026-10-21}}").providers["anthropic"].row
    assert ("anthropic-version", "2026-10-21") in row.headers


def test_the_command_line_prevails_over_everything() -> None:
    config = yaml_config(
        "server: {port: 1}", {"DRAGOMAN_SERVER__PORT": "2"}, overrides={"server": {"port": 3, "log": {"level": "debug"}}}
    )
    assert config.server.port == 3
    assert config.server.log.level == "debug"
    with pytest.raises(ConfigError, match=r"command line: server\.port: 70000 is out of range"):
        yaml_config("", overrides={"server": {"port": 70000}})


def test_the_configuration_of_the_local_model_is_read() -> None:
    local = yaml_config("local: {path: /models/x.gguf, n_threads: 4, n_ctx: 8192}").local
    assert (local.enabled, local.model, local.threads, local.context) == (None, "/models/x.gguf", 4, 8192)
    assert yaml_config("local: false").local.enabled is False
    assert yaml_config("local: true").local.enabled is True


def test_a_configuration_cannot_be_changed() -> None:
    config = yaml_config("")
    with pytest.raises(AttributeError):
        config.source = "other"  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(AttributeError):
        config.server.port = 1  # pyright: ignore[reportAttributeAccessIssue]
