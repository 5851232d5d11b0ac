"""Which proxy the environment asks for."""

from __future__ import annotations

import pytest

from dragoman.errors import ConfigError
from dragoman.io.proxies import Proxies, Proxy, parse_proxy

PROXY = {"HTTPS_PROXY": "http://proxy.test:3128", "HTTP_PROXY": "http://plain.test"}


def chosen(environ: dict[str, str], scheme: str = "https", host: str = "api.test", port: int = 443) -> str | None:
    proxy = Proxies.from_environment(environ).choose(scheme, host, port)
    return proxy.peer if proxy is not None else None


def test_each_scheme_has_its_own_proxy_and_none_without_a_variable() -> None:
    assert chosen(PROXY) == "proxy.test:3128"
    assert chosen(PROXY, "http") == "plain.test:80"
    assert chosen({}) is None


def test_all_proxy_serves_the_schemes_that_have_none_of_their_own() -> None:
    environ = {"ALL_PROXY": "https://all.test", "http_proxy": "plain.test:8080"}
    assert chosen(environ) == "all.test:443"
    assert chosen(environ, "http") == "plain.test:8080"


def test_the_lower_case_name_wins_and_an_empty_value_means_none() -> None:
    assert chosen({"https_proxy": "http://low.test", "HTTPS_PROXY": "http://up.test"}) == "low.test:80"
    assert chosen({"https_proxy": "", "HTTPS_PROXY": "http://up.test"}) is None


@pytest.mark.parametrize(
    ("no_proxy", "host", "port", "spared"),
    [
        ("*", "api.test", 443, True),
        ("api.test", "api.test", 443, True),
        ("API.Test", "api.test", 443, True),
        ("other.test, .test", "api.test", 443, True),
        ("*.test", "api.test", 443, True),
        ("test", "api.test", 443, True),
        ("pi.test", "api.test", 443, False),
        ("api.test:8443", "api.test", 443, False),
        ("api.test:443", "api.test", 443, True),
        ("10.1.2.3", "10.1.2.3", 443, True),
        ("10.1.2.3:80", "10.1.2.3", 443, False),
        ("10.0.0.0/8", "10.1.2.3", 443, True),
        ("10.0.0.0/8", "11.1.2.3", 443, False),
        ("fd00::/8", "fd00::1", 443, True),
        ("[fd00::1]:443", "fd00::1", 443, True),
        ("10.0.0.0/8", "10.test", 443, False),
        ("", "api.test", 443, False),
        (" , ", "api.test", 443, False),
    ],
)
def test_no_proxy_spares_hosts_domains_addresses_and_networks(no_proxy: str, host: str, port: int, spared: bool) -> None:
    assert (chosen({**PROXY, "NO_PROXY": no_proxy}, "https", host, port) is None) is spared


@pytest.mark.parametrize("host", ["localhost", "a.localhost", "127.0.0.1", "127.9.9.9", "::1"])
def test_loopback_hosts_are_reached_directly_unless_told_otherwise(host: str) -> None:
    assert chosen(PROXY, "https", host) is None
    assert Proxies.from_environment(PROXY, loopback=True).choose("https", host, 443) is not None


@pytest.mark.parametrize(
    "url",
    [
        "socks4://user:sk-secret@p.test",
        "socks5://:sk-secret@p.test",
        "http://user:sk-secret@",
        "http://user:p@sk-secret:p:port",
        "http://[sk-secret",
        "http://user:pw@p.test:sk-secret",
    ],
)
def test_a_proxy_that_cannot_be_used_is_told_at_once_and_without_its_password(url: str) -> None:
    with pytest.raises(ConfigError, match=r"^HTTPS_PROXY ") as caught:
        Proxies.from_environment({"HTTPS_PROXY": url})
    assert "sk-secret" not in str(caught.value)


def test_a_socks_proxy_that_nobody_would_use_is_no_error() -> None:
    assert chosen({**PROXY, "ALL_PROXY": "socks4://p.test"}) == "proxy.test:3128"


@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
def test_a_socks_proxy_has_its_own_port_and_login(scheme: str) -> None:
    proxy = Proxies.from_environment({"ALL_PROXY": f"{scheme}://us%40er:p%3Aw@p.test"}).choose("https", "api.test", 443)
    assert proxy is not None
    assert (proxy.scheme, proxy.peer, proxy.authorization, proxy.credentials) == (
        scheme,
        "p.test:1080",
        None,
        (b"us@er", b"p:w"),
    )
    assert "p:w" not in repr(proxy)


def test_user_information_becomes_authorization_and_is_never_shown() -> None:
    proxy = parse_proxy("http://us%40er:p%3Aw@p.test", "test")
    assert proxy.authorization == b"Basic dXNAZXI6cDp3"
    assert "dXNAZXI6cDp3" not in repr(proxy)
    assert proxy == Proxy("http", "p.test", 80, b"Basic dXNAZXI6cDp3")
