"""What `config check` prints."""

from __future__ import annotations

import yaml

from dragoman.config import load, render

SECRETS = {
    "client": "sk-client-0123456789abcdef",
    "provider": "sk-provider-0123456789abcdef",
    "env": "gsk_env0123456789abcdef",
    "header": "header-0123456789abcdef",
}
TEXT = f"""
keys: [{SECRETS["client"]}]
providers:
  corp:
    url: https://llm.corp.example/v1
    key: {SECRETS["provider"]}
    headers: {{x-corp-token: {SECRETS["header"]}, x-team: red}}
    models: [large, small]
models: {{best: [corp/large, groq/x]}}
timeouts: {{connect: 50, total: 20}}
"""


def test_the_resolved_configuration_is_yaml_with_every_secret_masked() -> None:
    config = load(TEXT, ".yaml", {"GROQ_API_KEY": SECRETS["env"]}, "gateway.yaml")
    text = render(config)
    for secret in SECRETS.values():
        assert secret not in text
        assert secret not in repr(config)
        assert secret not in str(config.providers)
    tree = yaml.safe_load(text)
    assert tree["server"]["port"] == 4000
    assert tree["providers"]["corp"]["api_key"] == ["sk-p…ef (providers.corp.api_key)"]
    assert tree["providers"]["corp"]["headers"] == {"x-corp-token": "head…ef", "x-team": "red"}
    assert tree["providers"]["groq"]["api_key"] == ["gsk_…ef (environment variable GROQ_API_KEY)"]
    assert tree["providers"]["groq"]["dialects"] == {"responses": "https://api.groq.com/openai/v1/responses"}
    assert tree["models"]["best"]["targets"] == ["corp/large", "groq/x"]
    assert tree["aliases"] == {"big": "corp/large", "small": "corp/small"}
    assert tree["timeouts"]["connect"] == 20.0
    assert "mistral" not in tree["providers"], "what nobody uses is not shown"
    assert tree["keys"][0]["key"].startswith("sha256:")


def test_warnings_and_served_models_stand_on_top() -> None:
    lines = render(load(TEXT, ".yaml", {}, "gateway.yaml")).splitlines()
    assert lines[0] == "# gateway.yaml"
    assert lines[1] == "# models that can be served: big, small, best, corp/large, corp/small"
    assert lines[2].startswith("# warning: gateway.yaml:10: timeouts.connect: 50 s is longer than the total of 20 s")


def test_the_secrets_of_a_configuration_can_be_registered_with_the_log() -> None:
    config = load(TEXT, ".yaml", {"GROQ_API_KEY": SECRETS["env"]}, "gateway.yaml")
    held = {secret.reveal() for secret in config.secrets()}
    assert held == {SECRETS["provider"], SECRETS["env"], SECRETS["header"]}


def test_the_limits_of_the_server_are_shown_and_come_from_everywhere() -> None:
    text = "server: {limits: {header-timeout: 5s, keepAliveTimeout: 2m, max_header_size: 32KiB}}"
    config = load(text, ".yaml", {"DRAGOMAN_SERVER__LIMITS__MAX_CONNECTIONS": "9"}, "gateway.yaml")
    tree = yaml.safe_load(render(config))["server"]["limits"]
    assert (tree["header_timeout"], tree["idle_timeout"], tree["max_header_size"], tree["max_connections"]) == (
        5,
        120,
        32768,
        9,
    )
    assert config.server.limits.pace == 5
    assert not config.warnings


def test_a_limit_that_the_driver_does_not_have_is_warned_of() -> None:
    text = "server:\n  driver: asgi\n  limits: {header_timeout: 5, body_timeout: 5}\n"
    [warning] = load(text, ".yaml", {}, "gateway.yaml").warnings
    assert warning == (
        "gateway.yaml:3: server.limits.header_timeout: has no effect: uvicorn (server.driver: asgi) has no such limit"
    )
