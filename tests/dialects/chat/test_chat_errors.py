"""Errors of Chat Completions: read from whatever providers send, written as the official SDK expects them."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import openai
import pytest

from dragoman.dialects.chat import CHAT
from dragoman.errors import (
    Category,
    DragomanError,
    Forbidden,
    Internal,
    MalformedBody,
    Unauthenticated,
    UnknownModel,
    UpstreamGarbled,
    UpstreamRefused,
    UpstreamTimeout,
)


def body(**error: Any) -> bytes:
    return json.dumps({"error": error}).encode()


READ: list[tuple[int, bytes, Category, int, str, str | None]] = [
    (
        401,
        body(message="m", type="invalid_request_error", code="invalid_api_key"),
        "authentication",
        401,
        "m",
        "invalid_api_key",
    ),
    (
        400,
        body(message="m", type="invalid_request_error", code="context_length_exceeded"),
        "invalid_request",
        400,
        "m",
        "context_length_exceeded",
    ),
    (429, body(message="m", type="insufficient_quota", code="insufficient_quota"), "billing", 429, "m", "insufficient_quota"),
    (429, body(message="m", type="insufficient_quota", code=None), "billing", 429, "m", "insufficient_quota"),
    (429, body(message="m", type="tokens", code="rate_limit_exceeded"), "rate_limit", 429, "m", "rate_limit_exceeded"),
    (402, body(message="Insufficient Balance", type="unknown_error"), "billing", 402, "Insufficient Balance", None),
    (404, body(message="m", type="invalid_request_error", code="model_not_found"), "not_found", 404, "m", "model_not_found"),
    (400, body(message="m", code="model_not_found"), "not_found", 400, "m", "model_not_found"),
    (
        403,
        body(message="m", code="unsupported_country_region_territory"),
        "permission",
        403,
        "m",
        "unsupported_country_region_territory",
    ),
    (413, b"", "too_large", 413, "p answered with status 413 and no message", None),
    (500, body(message="m", type="server_error"), "internal", 500, "m", None),
    (503, body(message="m", type="server_error", code="server_busy"), "overloaded", 503, "m", "server_busy"),
    (529, body(message="m", type="overloaded_error"), "overloaded", 529, "m", "overloaded_error"),
    (400, body(code=400, message="m", status="INVALID_ARGUMENT"), "invalid_request", 400, "m", None),
    (429, b'[{"error":{"code":429,"message":"m","status":"RESOURCE_EXHAUSTED"}}]', "rate_limit", 429, "m", None),
    (
        400,
        body(message="Provider returned error", code=400, metadata={"raw": "too long"}),
        "invalid_request",
        400,
        "Provider returned error: too long",
        None,
    ),
    (422, b'{"detail":[{"loc":["body","n"],"msg":"bad"}]}', "invalid_request", 422, "body.n: bad", None),
    (401, b'{"detail":"Unauthorized"}', "authentication", 401, "Unauthorized", None),
    (
        400,
        b'{"object":"error","message":"m","type":"BadRequestError","param":null,"code":400}',
        "invalid_request",
        400,
        "m",
        None,
    ),
    (400, b'{"error":"m"}', "invalid_request", 400, "m", None),
    (400, b'{"error":"Bad Request","message":"m"}', "invalid_request", 400, "Bad Request: m", None),
    (500, b'{"message":"m"}', "internal", 500, "m", None),
    (400, b'"m"', "invalid_request", 400, "m", None),
    (
        502,
        b"<html><head><title>502 Bad Gateway</title></head><body>x</body></html>",
        "unavailable",
        502,
        "502 Bad Gateway",
        None,
    ),
    (502, b"<p>no <b>good</b></p>", "unavailable", 502, "no good", None),
    (504, b"upstream timeout", "timeout", 504, "upstream timeout", None),
    (418, b"\xff\xfe", "invalid_request", 418, "\ufffd\ufffd", None),
    (500, b"[]", "internal", 500, "p answered with status 500 and no message", None),
    (500, b"[" * 5000, "internal", 500, "[" * 500, None),
    (0, body(message="m", type="rate_limit_error"), "rate_limit", 429, "m", "rate_limit_error"),
    (200, body(message="m", code=503), "overloaded", 503, "m", None),
    (200, body(message="m", code="503"), "overloaded", 503, "m", None),
    (200, body(message="m", status_code=429), "rate_limit", 429, "m", None),
    (200, body(message="m", type="invalid_request_error"), "invalid_request", 400, "m", None),
    (0, body(message="m"), "unavailable", 502, "m", None),
]


@pytest.mark.parametrize(("status", "native", "category", "shown", "message", "code"), READ)
def test_every_shape_of_error_is_read(
    status: int, native: bytes, category: Category, shown: int, message: str, code: str | None
) -> None:
    error = CHAT.decode_error(status, {}, native, "p")
    assert isinstance(error, UpstreamRefused)
    assert (error.category, error.status, error.message, error.code) == (category, shown, message, code)
    assert error.provider == "p"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "287441"}, 287441),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after-ms": "250", "retry-after": "1"}, 0.25),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}, None),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "nan"}, None),
    ],
)
def test_when_to_come_back_is_read_in_seconds(headers: dict[str, str], seconds: float | None) -> None:
    assert CHAT.decode_error(429, headers, b"", "p").retry_after == seconds


def test_the_param_is_kept() -> None:
    assert CHAT.decode_error(400, {}, body(message="m", param="messages[0]"), "p").param == "messages[0]"


WRITTEN: list[tuple[DragomanError, str, str | None, type[openai.APIStatusError]]] = [
    (MalformedBody("m", param="model"), "invalid_request_error", None, openai.BadRequestError),
    (Unauthenticated("m"), "authentication_error", None, openai.AuthenticationError),
    (Forbidden("m"), "permission_error", None, openai.PermissionDeniedError),
    (UnknownModel("m"), "not_found_error", "model_not_found", openai.NotFoundError),
    (UpstreamRefused("m", status=429, category="rate_limit"), "rate_limit_error", None, openai.RateLimitError),
    (UpstreamRefused("m", status=429, category="billing"), "insufficient_quota", "insufficient_quota", openai.RateLimitError),
    (UpstreamRefused("m", category="overloaded"), "server_error", None, openai.InternalServerError),
    (UpstreamGarbled("m"), "server_error", None, openai.InternalServerError),
    (UpstreamTimeout("m", phase="idle"), "timeout", None, openai.InternalServerError),
    (Internal("m"), "server_error", None, openai.InternalServerError),
    (
        UpstreamRefused("m", status=400, category="invalid_request", code="context_length_exceeded"),
        "invalid_request_error",
        "context_length_exceeded",
        openai.BadRequestError,
    ),
]


@pytest.mark.parametrize(("error", "kind", "code", "raised"), WRITTEN)
def test_the_sdk_raises_its_right_exception(
    error: DragomanError, kind: str, code: str | None, raised: type[openai.APIStatusError]
) -> None:
    written = CHAT.encode_error(error, "req_1")

    def answer(_: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(written.status, headers=written.headers, content=written.body)

    with (
        httpx2.Client(transport=httpx2.MockTransport(answer)) as http,
        openai.OpenAI(api_key="k", base_url="http://127.0.0.1:1", http_client=http, max_retries=0) as client,
        pytest.raises(raised) as caught,
    ):
        client.chat.completions.create(model="m", messages=[])
    found = caught.value
    assert (found.type, found.code, found.param, found.request_id) == (kind, code, error.param, "req_1")
    assert found.body == {"message": "m", "type": kind, "param": error.param, "code": code}


def test_when_to_come_back_is_written_in_whole_seconds() -> None:
    error = UpstreamRefused("m", status=429, category="rate_limit", retry_after=1.2)
    headers = dict(CHAT.encode_error(error, "req_1").headers)
    assert headers == {"content-type": "application/json", "x-request-id": "req_1", "retry-after": "2"}


def test_the_sdk_raises_on_an_error_within_a_stream() -> None:
    frame = CHAT.stream_error(UpstreamGarbled("it broke off"), "req_1")

    def answer(_: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=frame)

    with (
        httpx2.Client(transport=httpx2.MockTransport(answer)) as http,
        openai.OpenAI(api_key="k", base_url="http://127.0.0.1:1", http_client=http, max_retries=0) as client,
        client.chat.completions.create(model="m", messages=[], stream=True) as stream,
        pytest.raises(openai.APIError, match="it broke off"),
    ):
        list(stream)
