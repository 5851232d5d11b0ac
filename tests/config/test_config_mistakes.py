"""Every mistake is named with its place, its value and what is allowed, and all of them at once."""
# ruff: noqa: E501  a message stands on one line, as it is read

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dragoman.config import Config, load, render
from dragoman.errors import ConfigError


def mistakes(text: str, env: dict[str, str] | None = None, suffix: str = ".yaml") -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(text, suffix, env or {}, "gateway" + suffix)
    first, *rest = str(caught.value).splitlines()
    return [line.strip() for line in rest] or [first]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "server:\n  prot: 1",
            "gateway.yaml:2: server.prot: there is no such setting; did you mean 'port'? "
            "allowed: host, port, max_body, strict, open, ping, driver, workers, drain, tls, limits, log",
        ),
        ("port: 1", "gateway.yaml:1: port: there is no such setting; did you mean 'server.port'? allowed: server, keys"),
        ("server: {port: abc}", "gateway.yaml:1: server.port: 'abc' is not a whole number; allowed: a port from 0 (any free one) to 65535"),
        ("server: {port: 70000}", "gateway.yaml:1: server.port: 70000 is out of range; allowed: a port"),
        ("server: {port: true}", "gateway.yaml:1: server.port: true is not a whole number; allowed: a port"),
        ("server: {strict: perhaps}", "server.strict: 'perhaps' is neither true nor false; allowed: true or false"),
        ("server: {max_body: lots}", "server.max_body: 'lots' is not a size; allowed: bytes"),
        ("server: {max_body: -1}", "server.max_body: -1 is not a size; allowed: bytes"),
        ("server: {ping: 60}", "server.ping: 60 is too long: clients give up on a silent stream soon after; allowed: seconds above 0 and at most 15"),
        ("server: {workers: 0}", "server.workers: 0 is out of range; allowed: a number of processes from 1 to 256"),
        ("server: {driver: fast}", "server.driver: 'fast' is not one of the words; allowed: native, asgi"),
        ("server: {drain: never}", "server.drain: 'never' is not a time; allowed: seconds"),
        ("server: {tls: {key: k.pem}}", "server.tls: there is a key and no `cert`; name the file of the certificate"),
        ("server: {limits: {max_headers: 5}}", "gateway.yaml:1: server.limits.max_headers: 5 is out of range; allowed: a whole number from 10 to 10000"),
        ("server: {limits: {max_header_size: 1GB}}", "server.limits.max_header_size: '1GB' is too large; allowed: bytes from 1024 to 16 MiB, or text"),
        ("server: {limits: {write_buffer: 1}}", "server.limits.write_buffer: 1 is too small; allowed: bytes from 1024"),
        ("server: {limits: {idle_timeout: 0}}", "server.limits.idle_timeout: 0 is not a time; allowed: seconds from 0.1 to 86400, or text such as 500ms"),
        ("server: {limits: {idle_timeout: 1ms}}", "server.limits.idle_timeout: '1ms' is too short; allowed: seconds from 0.1"),
        ("server: {limits: {idle_timeout: 2d}}", "server.limits.idle_timeout: '2d' is too long; allowed: seconds from 0.1"),
        ("server: {limits: {max_connections: 0}}", "server.limits.max_connections: 0 is out of range; allowed: a whole number from 1"),
        ("server: {limits: {header_timout: 5}}", "server.limits.header_timout: there is no such setting; did you mean 'header_timeout'?"),
        ("server: {limits: {max_body: 5}}", "server.limits.max_body: there is no such setting;"),
        ("server: {idle_timeout: 5}", "server.idle_timeout: there is no such setting; did you mean 'server.limits.idle_timeout'?"),
        ("server: {host: 5}", "server.host: 5 is not text; put it in quotes; allowed: an IP address, or the name of this host"),
        ("server: {host: '127.0.0.1:80'}", "server.host: '127.0.0.1:80' is not an address; the port is a setting of its own; allowed: an IP address"),
        ("server: {host: /run/dragoman.sock}", "server.host: '/run/dragoman.sock' is not an address (there are no Unix sockets here); allowed: an IP"),
        ("server: {host: 'a b'}", "server.host: 'a b' is not an address; allowed: an IP address, or the name of this host"),
        ("server: {log: {level: loud}}", "server.log.level: 'loud' is not one of the words; allowed: debug, info, warning, error"),
        ("server: 4000", "server: 4000 is not a section; allowed: settings by name: host, port"),
        ("timeouts: {connect: soon}", "timeouts.connect: 'soon' is not a time; allowed: seconds as a number above 0, or text such as 30s"),
        ("timeouts: {connect: 0}", "timeouts.connect: 0 is not a time; allowed: seconds"),
        ("timeouts: {connect: 5 fortnights}", "timeouts.connect: '5 fortnights' is not a time; allowed: seconds"),
        ("providers: {groq: {dialect: klingon}}", "providers.groq.dialect: 'klingon' is not one of the words; allowed: messages, chat, responses, gemini"),
        ("providers: {groq: {credentials: mine}}", "providers.groq.credentials: 'mine' is not one of the words; allowed: auto, gateway, caller"),
        ("providers: {groq: {headers: {'a b': c}}}", "providers.groq.headers: … holds 'a b', which is not the name of a header; allowed: header names"),
        ("providers: {groq: {headers: {a: \"x\\ny\"}}}", "providers.groq.headers: … holds a value for 'a' that no header can carry"),
        ("providers: {groq: {api_key: k, headers: {Authorization: Basic x}}}", "providers.groq.headers: hold 'authorization', and there is an `api_key` as well"),
        ("providers: {groq: {headers: 5}}", "providers.groq.headers: 5 is not a mapping; allowed: header names"),
        ("providers: {groq: {base_url: 'ftp://x'}}", "providers.groq.base_url: 'ftp://x' is not a URL; allowed: an http:// or https:// URL"),
        ("providers: {groq: {base_url: 'https://x:port/'}}", "providers.groq.base_url: 'https://x:port/' is not a URL"),
        ("providers: {groq: {base_url: 'https://x/?a=1'}}", "has a query or fragment, which a base URL cannot have"),
        ("providers: {corp: {dialect: chat}}", "gateway.yaml:1: providers.corp: is no built-in provider, so it needs a `base_url`;"),
        ("providers: {opnai: {}}", "gateway.yaml:1: providers.opnai: is no built-in provider, so it needs a `base_url`; did you mean 'openai'?"),
        ("providers: {corp: {like: antropic}}", "providers.corp.like: there is no built-in provider 'antropic'; did you mean 'anthropic'?"),
        ("providers: {'a b': {base_url: 'https://x/v1'}}", 'providers["a b"]: cannot be a provider\'s name; allowed: letters, digits'),
        ("providers: {groq: {version: '1'}}", "providers.groq.version: Groq has no version; leave it out"),
        ("providers: {groq: {profile: {max_stop: many}}}", "providers.groq.profile.max_stop: 'many' is not a whole number; allowed: a whole number from 0"),
        ("providers: {groq: {url: 'https://a/v1', api_base: 'https://b/v1'}}", "providers.groq.api_base: says the same as 'url'; keep one of them"),
        ("providers: 5", "providers: 5 is not a mapping; allowed: names with their settings, or a list of objects with `name`"),
        ("providers: [{base_url: 'https://x/v1'}]", "providers[0]: has no name; allowed: an object with `name`"),
        ("providers: [{name: groq}, {name: groq}]", "providers[1]: there are two of the name 'groq'; keep one of them"),
        ("providers:\n  groq: {}\n  groq: {}", "gateway.yaml:3: providers.groq: there are two of the name 'groq'; keep one of them"),
        ("models: {a: []}", "models.a: is empty; allowed: at least one provider/model"),
        ("models: {a: {strict: true}}", "models.a: has no targets; allowed: provider/model, a list of them, or {targets: [...]}"),
        ("models: {a: {targets: [{provider: groq}]}}", "models.a.targets[0]: has no model; allowed: provider/model, or {provider, model}"),
        ("models: {a: zzz/x}", "gateway.yaml:1: models.a: 'zzz/x' names no provider: there is no 'zzz'; there are: local and the built-in ones"),
        ("models: {a: opnai/x}", "models.a: 'opnai/x' names no provider: there is no 'opnai'; did you mean 'openai'?"),
        ("models: {a: {provider: grok2, model: x}}", "there is no 'grok2'"),
        ("models: {a: whatever}", "models.a: 'whatever' leads nowhere. No model 'whatever' here."),
        ("models: {a: b, b: c, c: a}", "models.a: leads back to itself: a -> b -> c -> a"),
        ("models: {a: a}", "models.a: 'a' stands for itself; allowed: provider/model"),
        ("models: {a: openai/*}", "models.a: 'openai/*' has a star, but the name 'a' has none to fill it with"),
        ("models: {'*a*': openai/*}", 'models["*a*"]: a pattern has one star'),
        ("models: {5: openai/x}", "models.5: the name 5 is not text; put it in quotes"),
        ("models: {'gpt-5.4': zzz/x}", 'models["gpt-5.4"]: \'zzz/x\' names no provider'),
        ("aliases: {a: b, b: a}", "aliases.a: leads back to itself: a -> b -> a"),
        ("aliases: {a: a}", "aliases.a: leads back to itself: a -> a"),
        ("aliases: {a: whatever}", "aliases.a: 'whatever' leads nowhere."),
        ("aliases: {'a*': openai/x}", "an alias has no star; allowed: patterns stand under `models`"),
        ("models: {a: openai/x}\naliases: {a: openai/y}", "aliases.a: there is a model of the name 'a' under `models` as well; keep one of them"),
        ("keys: [{name: a}]", "keys[0]: has no key; allowed: a key, or {name, key}"),
        ("keys: ['sha256:abc']", "is not a digest; allowed: a key, or sha256: with 64 hexadecimal digits"),
        ("keys: [{name: a, key: kkkkkkkkkkkkkkkk1}, {name: a, key: kkkkkkkkkkkkkkkk2}]", "keys[1]: there are two keys of the name 'a'; keep one"),
        ("keys: [kkkkkkkkkkkkkkkk1, kkkkkkkkkkkkkkkk1]", "keys[1]: the key kkkk…k1 stands here twice; keep one of them"),
        ("keys: [123456]", "keys[0].key: … is not text; put it in quotes; allowed: a key"),
        ("- a\n- b", "gateway.yaml: the file is a list; allowed: settings by name, such as `server:` or `providers:`"),
        ("just text", "gateway.yaml: the file is a text; allowed: settings by name"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_place_value_and_what_is_allowed(text: str, message: str) -> None:
    found = mistakes(text)
    assert len(found) == 1, found
    assert message in found[0]


def test_all_mistakes_are_reported_at_once() -> None:
    found = mistakes(
        "server:\n  port: x\n  pong: 1\nproviders:\n  groq: {timeout: soon}\nmodels:\n  a: zzz/x\n",
        {"DRAGOMAN_SERVER__STRICT": "maybe"},
    )
    assert [line.split(": ")[0] + ": " + line.split(": ")[1] for line in found] == [
        "gateway.yaml:2: server.port",
        "gateway.yaml:3: server.pong",
        "gateway.yaml:5: providers.groq.timeout",
        "environment variable DRAGOMAN_SERVER__STRICT: 'maybe' is neither true nor false; allowed",
        "gateway.yaml:7: models.a",
    ]


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("keys: [{name: a}, 5, {key: 'sha256:zz'}]", "keys[2]: … is not a digest"),
        ("keys: ['', {name: a, key: k1-k1-k1}, {name: a, key: k2-k2-k2}]", "keys[2]: there are two keys of the name 'a'"),
        ("models: {m: [{provider: openai}, openai/a, nowhere/b]}", "models.m[2]: 'nowhere/b' names no provider"),
    ],
)
def test_what_stands_behind_a_wrong_entry_of_a_list_is_called_by_its_own_place(text: str, place: str) -> None:
    assert any(place in mistake for mistake in mistakes(text))


def test_what_follows_from_a_mistake_is_not_reported_as_well() -> None:
    found = mistakes("providers: {corp: {base_url: 'htp://x'}}\nmodels: {a: corp/x}")
    assert len(found) == 1
    assert "'htp://x' is not a URL" in found[0]


@pytest.mark.parametrize(
    ("suffix", "text", "message"),
    [
        (".yaml", "server:\n  port: [1\n", "gateway.yaml:3: not valid YAML: expected ',' or ']'"),
        (".yaml", "a: b: c", "gateway.yaml:1: not valid YAML: mapping values are not allowed here (column 5)"),
        (".yaml", "a: !!python/object:os.system x", "gateway.yaml:1: not valid YAML: could not determine a constructor"),
        (".yaml", "a: \x00", "gateway.yaml:1: not valid YAML: it holds the character 0x00"),
        (".json", '{"server":\n {"port": 1,}}', "gateway.json:2: not valid JSON"),
        (".json", "[1]", "gateway.json: the file is a list"),
        (".json", '{"auto": true, "auto": false}', "auto: there are two of the name 'auto'"),
        (
            ".json",
            '{"providers": {"a": {"models": [{"id": "x", "id": "y"}]}}}',
            "providers.a.models[0].id: there are two of the name",
        ),
        (".toml", "[server]\nport = \n", "gateway.toml:2: not valid TOML: Invalid value (column 8)"),
        (".toml", "[server]\nport = 1\nport = 2\n", "gateway.toml:3: not valid TOML"),
    ],
)
def test_broken_syntax_is_reported_with_its_line(suffix: str, text: str, message: str) -> None:
    found = mistakes(text, suffix=suffix)
    assert found[0].startswith("gateway" + suffix)
    assert message in found[0]


@pytest.mark.parametrize(
    "text",
    [
        "providers: {groq: {api_key: 'sk-secret-secret secret'}}",
        "providers: {groq: {api_key: [[sk-secret-secret-secret]]}}",
        'providers: {groq: {headers: {authorization: "Bearer sk-secret-secret\\n"}, port: 5}}',
        "providers: {groq: {base_url: 'https://me:sk-secret-secret@x/v1'}}",
        "providers: {groq: {base_url: 'https://x/v1?api-key=sk-secret-secret'}}",
        "providers: {groq: {base_url: 'https://x/v1?a=1&subscription.key=sk-secret-secret'}}",
        "keys: ['sha256:sk-secret-secret-secret']",
        "keys: [sk-secret-secret-secret, sk-secret-secret-secret]",
    ],
)
def test_no_message_shows_a_secret(text: str) -> None:
    assert "secret-secret" not in " ".join(mistakes(text))


def test_a_variable_that_is_not_set_is_named() -> None:
    assert mistakes("providers: {groq: {api_key: '${NOT_THERE}'}}") == [
        "gateway.yaml:1: providers.groq.api_key: names the environment variable NOT_THERE, which is not set; "
        "set it, or write the value here"
    ]
    assert "NOT_THERE" in mistakes("providers: {groq: {api_key: env:NOT_THERE}}", {"NOT_THERE": ""})[0]


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "gateway.example.com"])
def test_listening_to_the_world_without_keys_is_refused(host: str) -> None:
    assert mistakes(f"server: {{host: '{host}'}}") == [
        f"gateway.yaml:1: server.host: '{host}' can be reached from elsewhere, and there are no `keys`; allowed: 127.0.0.1, "
        "or keys for the clients, or `server.open: true` to let everybody use your providers"
    ]
    assert load(f"server: {{host: '{host}', open: true}}", ".yaml", {}, "x").server.host == host
    assert load(f"server: {{host: '{host}'}}\nkeys: [kkkkkkkkkkkkkkkk]", ".yaml", {}, "x").server.host == host


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.0.0.9"])
def test_the_loopback_needs_no_keys(host: str) -> None:
    assert load(f"server: {{host: '{host}'}}", ".yaml", {}, "x").server.host == host


def test_a_provider_that_is_the_gateway_itself_is_refused() -> None:
    assert (
        "is this gateway's own address: it would call itself"
        in mistakes("providers: {corp: {base_url: 'http://localhost:4000/v1'}}")[0]
    )


_names = st.sampled_from(
    ["server", "keys", "providers", "models", "aliases", "timeouts", "local", "auto", "port", "name", "openai"]
)
_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8) | _names,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_names | st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


def outcome(text: str, suffix: str) -> Config | str:
    try:
        return load(text, suffix, {}, "garbage")
    except ConfigError as error:
        return str(error)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(_names, _values, max_size=5))
def test_any_tree_is_a_configuration_or_a_config_error(tree: dict[str, object]) -> None:
    found = outcome(json.dumps(tree), ".json")
    if isinstance(found, str):
        assert "garbage" in found
    else:
        render(found)
        found.served_models()


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60), st.sampled_from([".yaml", ".toml", ".json"]))
def test_any_text_is_a_configuration_or_a_config_error(text: str, suffix: str) -> None:
    found = outcome(text, suffix)
    assert isinstance(found, Config) or "garbage" in found
