"""Errors that are not in the dialect's own form: of proxies, routers and servers that imitate an API."""

from __future__ import annotations

import pytest

from dragoman.dialects import DIALECTS

HTML = b"<html><head><title>502 Bad Gateway</title></head><body><center>nginx</center></body></html>"
QUOTA = b'{"error": {"code": 429, "message": "Quota", "details": [{"@type": "x/google.rpc.RetryInfo", "retryDelay": "17.5s"}]}}'


@pytest.mark.parametrize("name", DIALECTS)
@pytest.mark.parametrize(
    ("body", "message"),
    [
        (HTML, "502 Bad Gateway"),
        (b"no healthy upstream", "no healthy upstream"),
        (b'"just a string"', "just a string"),
        (b'{"error": "a string"}', "a string"),
        (b'{"error": {"message": "said"}}', "said"),
        (b'[{"error": {"message": "in an array"}}]', "in an array"),
        (b'{"message": "at the top"}', "at the top"),
        (b'{"detail": "of FastAPI"}', "of FastAPI"),
        (b'{"detail": [{"loc": ["body", "x"], "msg": "field required"}]}', "body.x: field required"),
    ],
)
def test_the_words_of_an_error_are_found_whoever_wrote_it(name: str, body: bytes, message: str) -> None:
    assert DIALECTS[name].decode_error(400, {}, body, "p").message == message


@pytest.mark.parametrize("name", DIALECTS)
@pytest.mark.parametrize("body", [b"", b"{}", b"null", b"[]"])
def test_an_error_without_words_says_so(name: str, body: bytes) -> None:
    found = DIALECTS[name].decode_error(500, {}, body, "p")
    assert "answered with status 500" in found.message
    assert found.category == "internal"


@pytest.mark.parametrize("name", DIALECTS)
@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "Fri, 20 Nov 2026 12:00:30 GMT", "date": "Fri, 20 Nov 2026 12:00:00 GMT"}, 30.0),
        ({"retry-after": "Fri, 20 Nov 2026 12:00:00 GMT", "date": "Fri, 20 Nov 2026 12:00:30 GMT"}, 0.0),
        ({"retry-after": "Fri, 20 Nov 2026 12:00:30 GMT"}, None),
        ({"retry-after": "soon", "date": "Fri, 20 Nov 2026 12:00:00 GMT"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after-ms": "2500", "retry-after": "3"}, 2.5),
        ({}, None),
    ],
)
def test_when_to_come_back_is_understood_in_seconds_and_as_a_date(
    name: str, headers: dict[str, str], seconds: float | None
) -> None:
    assert DIALECTS[name].decode_error(503, headers, b"", "p").retry_after == seconds


@pytest.mark.parametrize("name", DIALECTS)
def test_when_to_come_back_is_found_in_the_body_too(name: str) -> None:
    assert DIALECTS[name].decode_error(429, {}, QUOTA, "p").retry_after == 17.5


@pytest.mark.parametrize("name", DIALECTS)
@pytest.mark.parametrize("body", [b'{"error": {"message": "inside", "code": 500}}', b'{"error": "inside"}'])
def test_an_error_with_status_200_is_one_whoever_wrote_it(name: str, body: bytes) -> None:
    assert DIALECTS[name].error_in_body(body)
    assert DIALECTS[name].decode_error(0, {}, body, "p").message == "inside"


@pytest.mark.parametrize("name", DIALECTS)
def test_no_error_is_none(name: str) -> None:
    whole = b'{"error": null, "type": "message", "content": [], "choices": [1], "output": [1], "candidates": [1]}'
    assert not DIALECTS[name].error_in_body(whole)
