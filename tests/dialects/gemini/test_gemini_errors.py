from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dragoman.dialects.gemini import GEMINI
from dragoman.errors import STATUS_OF, Category, DragomanError, MalformedBody, UnknownModel, UpstreamRefused


def told(status: int, error: Any, **headers: str) -> UpstreamRefused:
    found = GEMINI.decode_error(status, headers, json.dumps({"error": error}).encode(), "google")
    assert isinstance(found, UpstreamRefused)
    return found


@pytest.mark.parametrize(
    ("status", "word", "category"),
    [
        (400, "INVALID_ARGUMENT", "invalid_request"),
        (400, "FAILED_PRECONDITION", "invalid_request"),
        (401, "UNAUTHENTICATED", "authentication"),
        (403, "PERMISSION_DENIED", "permission"),
        (404, "NOT_FOUND", "not_found"),
        (429, "RESOURCE_EXHAUSTED", "rate_limit"),
        (499, "CANCELLED", "timeout"),
        (500, "INTERNAL", "internal"),
        (502, "UNAVAILABLE", "unavailable"),
        (503, "UNAVAILABLE", "overloaded"),
        (504, "DEADLINE_EXCEEDED", "timeout"),
        (413, "INVALID_ARGUMENT", "too_large"),
    ],
)
def test_status_and_word_say_what_went_wrong(status: int, word: str, category: str) -> None:
    error = told(status, {"code": status, "message": "m", "status": word})
    assert (error.category, error.status, error.message, error.code, error.provider) == (category, status, "m", word, "google")


@pytest.mark.parametrize(
    ("error", "category", "status"),
    [
        ({"code": 429, "message": "m", "status": "RESOURCE_EXHAUSTED"}, "rate_limit", 429),
        ({"message": "m", "status": "UNAVAILABLE"}, "overloaded", 503),
        ({"message": "m"}, "unavailable", 502),
        ({"code": 7, "message": "m", "status": "PERMISSION_DENIED"}, "permission", 403),
    ],
)
def test_an_error_within_a_stream_is_known_by_its_words(error: Any, category: str, status: int) -> None:
    found = told(0, error)
    assert (found.category, found.status) == (category, status)


def test_a_wrong_key_is_told_by_its_reason_alone() -> None:
    details = [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID", "domain": "googleapis.com"}]
    error = told(400, {"code": 400, "message": "API key not valid.", "status": "INVALID_ARGUMENT", "details": details})
    assert (error.category, error.code, error.status) == ("authentication", "API_KEY_INVALID", 400)


def test_when_to_come_back_stands_in_the_details_or_in_a_header() -> None:
    details = [{"@type": "x/google.rpc.QuotaFailure"}, {"@type": "x/google.rpc.RetryInfo", "retryDelay": "34.07s"}]
    assert told(429, {"message": "m", "details": details}, **{"retry-after": "5"}).retry_after == 34.07
    assert told(429, {"message": "m"}, **{"retry-after": "5"}).retry_after == 5
    assert told(429, {"message": "m"}, **{"retry-after-ms": "1500"}).retry_after == 1.5
    assert told(429, {"message": "m", "details": [{"retryDelay": "soon"}, 7]}, **{"retry-after": "-1"}).retry_after is None


def test_the_field_is_named() -> None:
    violations = [{"field": "contents[0].parts", "description": "empty"}]
    error = told(400, {"message": "m", "status": "INVALID_ARGUMENT", "details": [{"fieldViolations": violations}]})
    assert error.param == "contents[0].parts"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'[{"error":{"code":400,"message":"in a list"}}]', "in a list"),
        (b'{"error":"a word"}', "a word"),
        (b'{"error":"code","message":"told"}', "told"),
        (b'{"message":"bare"}', "bare"),
        (b'"text"', "text"),
        (b"<html><style>x{}</style><h1>502 Bad Gateway</h1></html>", "502 Bad Gateway"),
        (b"plain words", "plain words"),
        (b"", "google answered with status 502 and no message"),
        (b"{}", "google answered with status 502 and no message"),
    ],
)
def test_the_message_is_found_whatever_the_body(body: bytes, message: str) -> None:
    assert GEMINI.decode_error(502, {}, body, "google").message == message


@given(st.sampled_from([0, 200, 400, 429, 500, 599]), st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_no_body_makes_it_raise(status: int, body: bytes) -> None:
    assert GEMINI.decode_error(status, {}, body, "google").status >= 400


CATEGORIES: list[Category] = list(STATUS_OF)


@pytest.mark.parametrize("category", CATEGORIES)
def test_what_is_told_is_understood_again(category: Category) -> None:
    error = UpstreamRefused("m", category=category, retry_after=2.5, code="WHY", param="contents[0]")
    http = GEMINI.encode_error(error, "req_1")
    again = GEMINI.decode_error(http.status, dict(http.headers), http.body, "p")
    assert (again.message, again.retry_after, again.code, again.param, again.status) == (
        "m",
        2.5,
        "WHY",
        "contents[0]",
        error.status,
    )
    if category not in {"capability", "billing"}:
        assert again.category == category


def test_an_error_of_the_gateway_has_the_apis_shape() -> None:
    http = GEMINI.encode_error(MalformedBody("contents: missing", param="contents"), "req_1")
    assert http.status == 400
    assert ("x-request-id", "req_1") in http.headers
    body = json.loads(http.body)
    assert list(body) == ["error"]
    assert {key: body["error"][key] for key in ("code", "message", "status")} == {
        "code": 400,
        "message": "contents: missing",
        "status": "INVALID_ARGUMENT",
    }
    assert body["error"]["details"][0]["fieldViolations"][0]["field"] == "contents"
    assert json.loads(GEMINI.encode_error(UnknownModel("no such model"), "r").body)["error"]["status"] == "NOT_FOUND"


def test_an_error_in_a_stream_is_an_event_of_its_own() -> None:
    frame = GEMINI.stream_error(DragomanError("m"), "req_1")
    assert frame.startswith(b'data: {"error":{"code":500,')
    assert frame.endswith(b"\n\n")
