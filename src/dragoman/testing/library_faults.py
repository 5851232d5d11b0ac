"""Scenarios in which something goes wrong: before the answer, within it, or by its never coming.

The stalls wait at gates (`upstream.open_gate("stall")`), so that a test decides how long they last.
"""

from __future__ import annotations

import json

from dragoman.testing.library_text import CHAT, HELLO, MESSAGES, NOT_GEMINI, U, says, text
from dragoman.testing.library_tools import PARIS, call
from dragoman.testing.scenario import (
    Begin,
    Cut,
    Endless,
    ErrorEvent,
    Finish,
    HttpError,
    Reset,
    Scenario,
    SlowHead,
    Stall,
    Text,
    ToolCall,
    Usage,
    scenario,
)
from dragoman.testing.view import Block, Tokens, Trouble, TroubleWord, View

GATE = "stall"
"""The gate at which the library's stalls wait."""


def fails(word: TroubleWord, message: str = "", status: int | None = None, *blocks: Block) -> View:
    return View(blocks, error=Trouble(word, message, status))


QUOTA_BODY = json.dumps(
    {
        "type": "error",
        "error": {
            "type": "rate_limit_error",
            "message": "This request would exceed your account's rate limit. Please try again later.",
        },
        "request_id": "req_011CScripted",
    }
).encode()
QUOTA_HEADERS = (
    ("retry-after", "287441"),
    ("anthropic-ratelimit-unified-status", "rejected"),
    ("anthropic-ratelimit-unified-reset", "1793287441"),
    ("anthropic-ratelimit-unified-representative-claim", "seven_day"),
    ("x-should-retry", "true"),
)
HTML = (
    b"<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n"
    b"<body>\r\n<center><h1>502 Bad Gateway</h1></center>\r\n</body>\r\n</html>\r\n"
)


def _status(name: str, status: int, word: TroubleWord, message: str, *headers: tuple[str, str]) -> Scenario:
    return scenario(name, HttpError(status, message, headers), expected=fails(word, message, status))


_STATUSES: tuple[Scenario, ...] = (
    _status("http-400", 400, "invalid_request", "messages: at least one message is required"),
    _status("http-401", 401, "authentication", "invalid x-api-key"),
    _status("http-402", 402, "billing", "Your credit balance is too low."),
    _status("http-403", 403, "permission", "Your key may not use this model."),
    _status("http-404", 404, "not_found", "model: no-such-model"),
    _status("http-413", 413, "too_large", "Request exceeds the maximum size"),
    _status("http-429", 429, "rate_limit", "Too many requests.", ("retry-after", "2"), ("retry-after-ms", "1500")),
    _status("http-500", 500, "internal", "Internal server error"),
    _status("http-503", 503, "overloaded", "The engine is overloaded.", ("retry-after", "1")),
    _status("http-504", 504, "timeout", "The request timed out."),
    _status("http-529", 529, "overloaded", "Overloaded"),
    scenario(
        "http-429-quota",
        HttpError(429, headers=QUOTA_HEADERS, body=QUOTA_BODY),
        dialects=MESSAGES,
        expected=fails("rate_limit", "This request would exceed your account's rate limit. Please try again later.", 429),
        about="a subscription's limit: all of it must reach the client unchanged",
    ),
    scenario(
        "http-502-html",
        HttpError(502, body=HTML, content_type="text/html"),
        expected=fails("unavailable", "", 502),
        about="a proxy's own page instead of JSON",
    ),
    scenario("http-500-empty", HttpError(500, body=b"", content_type="text/plain"), expected=fails("internal", "", 500)),
    scenario(
        "http-200-html",
        HttpError(200, body=HTML, content_type="text/html"),
        regular=False,
        expected=fails("unavailable"),
        about="status 200, and no answer in it",
    ),
    scenario(
        "http-200-empty",
        HttpError(200, body=b""),
        regular=False,
        expected=fails("unavailable"),
        about="status 200, and nothing in it",
    ),
    scenario(
        "error-in-200",
        ErrorEvent(
            "unavailable", "Provider returned error", "in_200", {"error": {"code": 502, "message": "Provider returned error"}}
        ),
        dialects=CHAT,
        expected=fails("unavailable", "Provider returned error"),
        about="an error as the body of a 200, or as its only event",
    ),
)

_OVERLOADED = ErrorEvent("overloaded", "Overloaded")
_IN_STREAM: tuple[Scenario, ...] = (
    scenario(
        "error-first", _OVERLOADED, U, expected=fails("overloaded", "Overloaded"), about="the error is the first event of a 200"
    ),
    scenario(
        "error-second",
        Begin(),
        _OVERLOADED,
        U,
        expected=fails("overloaded", "Overloaded"),
        about="after the opening, before any content",
    ),
    scenario(
        "error-midway",
        Text(("Once upon ", "a time ", _OVERLOADED)),
        U,
        expected=fails("overloaded", "Overloaded", None, text("Once upon a time ")),
        unary=False,
        about="after content",
    ),
    scenario(
        "error-in-arguments",
        ToolCall("get_weather", ('{"ci', ErrorEvent("internal", "Internal server error"))),
        U,
        unary=False,
        dialects=NOT_GEMINI,
        expected=fails(
            "internal", "Internal server error", None, Block("tool_call", '{"ci', name="get_weather", id="call_1", whole=False)
        ),
    ),
    scenario(
        "error-rate-limit-first",
        ErrorEvent("rate_limit", "Too many requests."),
        U,
        expected=fails("rate_limit", "Too many requests."),
    ),
)

_CUT_SHORT: tuple[Scenario, ...] = (
    scenario(
        "cut-before-head", Cut(before_head=True), Text(HELLO), U, Finish(), expected=fails("cut"), about="closed without a byte"
    ),
    scenario("cut-empty", Cut(), U, expected=fails("cut"), about="status 200, then closed"),
    scenario("cut-after-start", Begin(), Cut(), U, expected=fails("cut")),
    scenario("cut-midway", Text(("Once upon ", "a time", Cut())), U, expected=fails("cut", "", None, text("Once upon a time"))),
    scenario(
        "cut-before-finish",
        Text(HELLO),
        Cut(),
        U,
        expected=fails("cut", "", None, text(HELLO)),
        about="all text came, the finish did not",
    ),
    scenario(
        "reset-before-head",
        Reset(before_head=True),
        Text(HELLO),
        U,
        Finish(),
        expected=fails("cut"),
        about="reset without a byte",
    ),
    scenario("reset-after-start", Begin(), Reset(), U, expected=fails("cut")),
    scenario(
        "reset-midway", Text(("Once upon ", "a time", Reset())), U, expected=fails("cut", "", None, text("Once upon a time"))
    ),
)

_SLOW: tuple[Scenario, ...] = (
    scenario(
        "slow-head",
        SlowHead(GATE),
        Text(HELLO),
        U,
        Finish(),
        expected=says(text(HELLO)),
        about="no status line until the gate opens",
    ),
    scenario(
        "slow-first-byte",
        Stall(GATE),
        Text(HELLO),
        U,
        Finish(),
        expected=says(text(HELLO)),
        about="a status line, then nothing",
    ),
    scenario("stall-after-start", Begin(), Stall(GATE), Text(HELLO), U, Finish(), expected=says(text(HELLO))),
    scenario(
        "stall-midway",
        Text(("Hel", Stall(GATE), "lo")),
        U,
        Finish(),
        expected=says(text("Hello")),
        about="silence within a block",
    ),
    scenario(
        "stall-in-arguments",
        ToolCall("get_weather", ('{"city": "Paris", ', Stall(GATE), '"unit": "celsius"}')),
        U,
        Finish("tool_calls"),
        expected=says(call("get_weather", PARIS), finish="tool_calls"),
    ),
    scenario("stall-before-finish", Text(HELLO), Stall(GATE), U, Finish(), expected=says(text(HELLO))),
    scenario(
        "endless", Endless("All work and no play makes Jack a dull boy. " * 20), unary=False, about="until the client leaves"
    ),
    scenario(
        "endless-10k",
        Endless("again ", 10_000),
        Usage(input=12, output=10_000),
        Finish(),
        unary=False,
        expected=says(text("again " * 10_000), tokens=Tokens(12, 10_000)),
        about="10 000 events as fast as the client takes them",
    ),
)

FAULTS: tuple[Scenario, ...] = (*_STATUSES, *_IN_STREAM, *_CUT_SHORT, *_SLOW)
