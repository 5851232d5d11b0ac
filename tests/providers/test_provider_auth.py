from __future__ import annotations

import pytest

from dragoman.providers.auth import Credential, auth_headers, headers_for
from dragoman.providers.table import TABLE
from dragoman.secret import Secret, mask

KEY = "sk-0123456789abcdef"


@pytest.mark.parametrize(
    ("name", "native", "expected"),
    [
        ("anthropic", False, (b"x-api-key", KEY.encode())),
        ("openai", False, (b"authorization", b"Bearer " + KEY.encode())),
        ("gemini", False, (b"x-goog-api-key", KEY.encode())),
        ("gemini", True, (b"x-goog-api-key", KEY.encode())),
        ("openrouter", True, (b"authorization", b"Bearer " + KEY.encode())),
    ],
)
def test_the_key_goes_into_the_header_that_the_provider_wants(name: str, native: bool, expected: tuple[bytes, bytes]) -> None:
    headers = headers_for(TABLE[name], Credential(Secret(KEY)), native=native)
    assert headers[-1] == expected
    assert sum(KEY.encode() in value for _, value in headers) == 1


def test_a_credential_may_know_better_how_it_is_sent() -> None:
    headers = headers_for(TABLE["anthropic"], Credential(Secret(KEY), "bearer"))
    assert headers == [(b"anthropic-version", b"2023-06-01"), (b"authorization", b"Bearer " + KEY.encode())]


def test_without_a_credential_only_the_providers_own_headers_are_sent() -> None:
    assert headers_for(TABLE["anthropic"], None) == [(b"anthropic-version", b"2023-06-01")]
    assert auth_headers("none", Secret(KEY)) == []


def test_a_secret_is_masked_wherever_it_is_printed() -> None:
    secret = Secret(KEY)
    credential = Credential(secret, source="here")
    for text in (repr(secret), str(secret), f"{secret}", f"{secret:>30}", repr(credential), f"{[secret]}", "%s" % secret):  # noqa: UP031
        assert KEY not in text
        assert "sk-0…ef" in text
    assert secret.reveal() == KEY
    assert secret == Secret(KEY)
    assert secret != Secret(KEY + "x")
    assert secret != KEY
    assert len({secret, Secret(KEY)}) == 1
    assert not Secret("")


@pytest.mark.parametrize("short", ["", "a", "abcdefgh", "abcdefghijklmno"])
def test_nothing_of_a_short_secret_is_shown(short: str) -> None:
    assert mask(short) == "…"
