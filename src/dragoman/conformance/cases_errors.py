"""Cases of failures: an error is the client's own error, of the right kind, and a broken answer is never a whole one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

from dragoman.conformance.case import Case, Difference, Differs, Group, Judge, Mode, demand, expect, shown
from dragoman.conformance.prompt import Prompt, Tool, User
from dragoman.conformance.seat import Raised, Said, Seat
from dragoman.conformance.titles import title_of
from dragoman.testing import SCENARIOS, Finish, HttpError, Scenario, Stall, Text, View, scenario
from dragoman.testing.library_faults import QUOTA_BODY
from dragoman.testing.library_text import HELLO, U, says, text

QUESTION = Prompt(turns=(User("Tell me a story."),), tools=(Tool("get_weather"), Tool("write")))

SERVER = (500, 502, 503, 504, 520, 529)
STATUSES: dict[str, tuple[int, ...]] = {
    "invalid_request": (400, 422),
    "authentication": (401, 403, *SERVER),
    "billing": (402, 400, 403, 429),
    "permission": (403, 401, *SERVER),
    "not_found": (404,),
    "too_large": (413, 400),
    "rate_limit": (429,),
    "overloaded": SERVER,
    "timeout": (408, *SERVER),
    "unavailable": SERVER,
    "internal": SERVER,
    "cut": SERVER,
}
"""The HTTP statuses that say this. Whose key was refused is for the gateway to say: its own is no fault of the client's."""

CLASSES: dict[str, dict[int, str]] = {
    "messages": {
        400: "BadRequestError",
        401: "AuthenticationError",
        403: "PermissionDeniedError",
        404: "NotFoundError",
        413: "ContentTooLargeError",
        422: "UnprocessableEntityError",
        429: "RateLimitError",
    },
    "chat": {
        400: "BadRequestError",
        401: "AuthenticationError",
        403: "PermissionDeniedError",
        404: "NotFoundError",
        422: "UnprocessableEntityError",
        429: "RateLimitError",
    },
    "gemini": {},
}
CLASSES["responses"] = CLASSES["chat"]
"""The SDK's class for a status, where it has one; else `_other_class`."""


def _other_class(client: str, status: int) -> str:
    if client == "gemini":
        return "ClientError" if status < 500 else "ServerError"
    return "APIStatusError" if status < 500 else "InternalServerError"


RETRYABLE = ("rate_limit", "overloaded", "timeout", "unavailable", "internal", "cut")


def _refused(seat: Seat, said: Said, word: str) -> Raised:
    """The SDK raised on an HTTP error that means this. Raises `Differs`."""
    allowed = STATUSES[word]
    if said.raised is None:
        raise Differs(Difference("the outcome", f"an error of status {_either(allowed)}", "an answer: " + _shown(said)))
    raised = said.raised
    demand(raised.status in allowed, "the HTTP status", expected=_either(allowed), got=raised.shown)
    assert raised.status is not None
    wanted = CLASSES[seat.dialect].get(raised.status) or _other_class(seat.dialect, raised.status)
    demand(wanted in raised.names, "the SDK's exception", expected=wanted, got=raised.names[0])
    return raised


def _either(statuses: tuple[int, ...]) -> str:
    return " or ".join(map(str, statuses[:3])) + ("..." if len(statuses) > 3 else "")


def _shown(said: Said) -> str:
    view = said.view or said.judged or View()
    return shown(f"{view.text!r}, finish {view.finish}")


def _http(name: str, word: str) -> Case:
    one = SCENARIOS[name]
    error = one.expected.error if one.expected else None

    async def judge(seat: Seat) -> None:
        raised = _refused(seat, await seat.ask(QUESTION, one), word)
        if error is not None and error.message and word not in ("authentication", "permission"):
            demand(
                error.message in raised.message, "the message", expected=f"the provider's: {error.message}", got=raised.message
            )

    status = error.status if error else None
    return Case(id=name, group="errors", title=_HTTP[name], judge=judge, why=_WHY_HTTP.get(status or 0, ""))


_WHY_HTTP = {
    429: "A client that is told of another error does not wait.",
    503: "Overload is worth another try; a bad request is not.",
}
_HTTP: dict[str, str] = {
    "http-400": "A refused request is a 400, with the provider's words",
    "http-403": "What the provider forbids is an error that says so, or a bad gateway",
    "http-404": "An unknown model at the provider is a 404",
    "http-413": "A body that is too large for the provider is a 413 or 400",
    "http-429": "A rate limit is a 429, with the provider's words",
    "http-500": "An error of the provider's is a 5xx",
    "http-503": "Overload is a 5xx, worth another try",
    "http-504": "A timeout of the provider's is a 5xx",
    "http-529": "Anthropic's 529 is a 5xx in every dialect",
    "http-401": "The gateway's key is refused: an error that does not pass for an answer",
    "http-402": "Credit that is used up is an error that no client repeats for ever",
    "http-502-html": "A proxy's HTML page instead of JSON is a 5xx that the SDK can read",
    "http-500-empty": "An empty 500 is a 5xx that the SDK can read",
    "http-200-html": "An HTML page with status 200 is no answer",
    "http-200-empty": "An empty body with status 200 is no answer",
}
_VERBATIM_IS_FINE = ("http-200-html", "http-200-empty", "http-502-html", "http-500-empty")


def _statuses() -> Iterator[Case]:
    for name in _HTTP:
        one = SCENARIOS[name]
        assert one.expected is not None
        assert one.expected.error is not None
        if name in _VERBATIM_IS_FINE:
            yield _odd(name)
        else:
            yield _http(name, one.expected.error.word)


def _odd(name: str) -> Case:
    """Something that is no answer: the client must be told of an error, whichever."""
    one = SCENARIOS[name]

    async def judge(seat: Seat) -> None:
        said = await seat.ask(QUESTION, one)
        if said.raised is None:
            raise Differs(Difference("the outcome", "an error", "an answer: " + _shown(said)))
        demand("APIError" in said.raised.names, "the SDK's exception", expected="one of its own", got=said.raised.shown)

    return Case(id=name, group="errors", title=_HTTP[name], judge=judge, elsewhere=True)


# ---------------------------------------------------------------- inside a 200, before any content


def _before_content(name: str, title: str, sources: tuple[str, ...] = (), upstreams: frozenset[str] | None = None) -> Case:
    one = SCENARIOS[name]
    assert one.expected is not None
    assert one.expected.error is not None
    word = one.expected.error.word

    async def judge(seat: Seat) -> None:
        said = await seat.ask(QUESTION, one)
        if seat.dialect == seat.upstream or (said.recorded.status == 200 and seat.streams):
            # It may also be told as it came, within the stream.
            _failed(said)
            return
        _refused(seat, said, word)

    return Case(
        id=name,
        group="errors",
        title=title,
        why="A client that retries looks at the status; an error that is called an answer is shown to the user as one.",
        sources=sources,
        judge=judge,
        modes=("unary", "stream") if one.unary else ("stream",),
        upstreams=upstreams or frozenset(one.dialects),
    )


def _failed(said: Said) -> None:
    """The client knows that the answer failed, and not by its own fault. Raises `Differs`."""
    error = said.judged.error if said.judged else None
    if said.raised is None and (said.view is None or said.view.error is None) and error is None:
        raise Differs(Difference("the end of the broken answer", "an error", f"a clean end: {_shown(said)}"))
    if error is not None:
        demand(
            error.word in RETRYABLE, "the kind of error", expected="one worth another try", got=f"{error.word}: {error.message}"
        )


_IN_200 = (
    _before_content(
        "error-first",
        "An error as the first event of a 200 is an error",
        ("LL#38153", "LL#38606", "LL#28216", "LL#29808", "LL#6957"),
    ),
    _before_content("error-second", "An error after the opening of a stream is an error", ("LL#38153", "LL#28216")),
    _before_content("error-rate-limit-first", "A rate limit inside a 200 is an error"),
    _before_content("error-in-200", "An error as the body of a 200 is an error"),
    _before_content("cut-empty", "A 200 without any body is an error"),
    _before_content("cut-before-head", "A connection closed before the answer is an error"),
    _before_content("cut-after-start", "A connection closed before any content is an error"),
    _before_content("reset-before-head", "A connection reset before the answer is an error"),
    _before_content("reset-after-start", "A connection reset before any content is an error"),
    _before_content("responses-failed-at-once", "A response that fails before it was created is an error"),
)

# ---------------------------------------------------------------- midway

_MIDWAY: dict[str, tuple[str, tuple[str, ...]]] = {
    "error-midway": ("An error after content is an error in the stream", ("LL#38153", "CPA#3055")),
    "error-in-arguments": ("An error within the arguments of a call is an error in the stream", ()),
    "cut-midway": ("An answer cut in its middle is never a clean end", ("CPA#3055", "CPA#4682")),
    "cut-before-finish": ("An answer without its finish is never a clean end", ("CPA#3055", "CPA#4682")),
    "reset-midway": ("An answer reset in its middle is never a clean end", ("CPA#3055",)),
    "tools-cut": ("A call cut in its middle is never a call to run", ("CPA#3055", "CPA#5836")),
    "tools-cut-after-whole": ("A whole call without the answer's finish is never a clean end", ("CPA#3055",)),
    "gemini-no-finish": ("All chunks but the last are never a clean end", ("CPA#3055",)),
    "gemini-error-midway": ("A rate limit after content is an error in the stream", ()),
    "gemini-error-line-by-line": ("An error in a stream without `data:` is an error", ()),
    "responses-error-event-nested": ("An `error` event with its fields nested, as it is really sent, is an error", ()),
}


def _midway() -> Iterator[Case]:
    for name, (title, sources) in _MIDWAY.items():
        one = SCENARIOS[name]
        modes: tuple[Mode, ...] = ("unary", "stream") if one.unary else ("stream",)
        yield Case(
            id=name,
            group="errors",
            title=title,
            why="Half an answer that passes for a whole one is believed, or run. The error must be worth another try.",
            sources=sources,
            judge=_breaks(one),
            modes=modes,
            upstreams=frozenset(one.dialects),
            # A verbatim stream may simply break off where the provider's did.
            elsewhere=not one.regular,
        )


def _breaks(one: Scenario) -> Judge:
    expected = one.expected
    assert expected is not None

    async def judge(seat: Seat) -> None:
        said = await seat.ask(QUESTION, one)
        _failed(said)
        so_far = (said.judged or View()).text
        demand(expected.text.startswith(so_far), "the text before the error", expected=expected.text, got=so_far)

    return judge


# ---------------------------------------------------------------- headers

_LIMITED = scenario("retry-after", HttpError(429, "Slow down.", (("retry-after", "7"),)))


async def _retry_after(seat: Seat) -> None:
    said = await seat.ask(QUESTION, _LIMITED)
    _refused(seat, said, "rate_limit")
    expect("the header retry-after", expected="7", got=said.recorded.headers.get("retry-after"))


async def _quota(seat: Seat) -> None:
    said = await seat.ask(QUESTION, SCENARIOS["http-429-quota"])
    expect("the HTTP status", expected=429, got=said.recorded.status)
    headers = said.recorded.headers
    for name, value in (
        ("retry-after", "287441"),
        ("anthropic-ratelimit-unified-status", "rejected"),
        ("anthropic-ratelimit-unified-reset", "1793287441"),
    ):
        expect(f"the header {name}", expected=value, got=headers.get(name))
    expect("the body", expected=QUOTA_BODY.decode(), got=said.recorded.body.decode("utf-8", "replace"))


# ---------------------------------------------------------------- another target

_OVERLOADED = SCENARIOS["error-second"]
_WHOLE = scenario("whole", Text(HELLO), U, Finish(), expected=says(text(HELLO)))


async def _falls_over(seat: Seat) -> None:
    """The first request of a ticket fails inside a 200, every later one is answered."""
    said = await seat.ask(
        QUESTION, lambda _, before: _WHOLE if before else _OVERLOADED, model=seat.bench.chains.get(seat.upstream, "")
    )
    expect("the text", expected=HELLO, got=said.answered().text)
    demand(len(said.requests) > 1, "the upstream", expected="asked a second time", got=f"asked {len(said.requests)} times")


# ---------------------------------------------------------------- clients that leave

# Never the same line twice, which a gateway may take for a model gone astray; and then silence, as in the middle of a thought.
_LINES = tuple(f"Line {number}: {str(number) * 400}\n" for number in range(60))
_UNFINISHED = scenario("unfinished", Text((*_LINES, Stall(20.0), "The end.")), U, Finish())
_PROMPT_LEAVING = 1.0
_ENOUGH = 20_000
"""Bytes of the answer after which the client leaves."""


async def _leaves(seat: Seat) -> None:
    """The client reads a part of a long answer, and closes the connection."""
    said = await seat.ask(QUESTION, _UNFINISHED, leave_after=_ENOUGH)
    left_at = said.recorded.left_at
    if left_at is None:
        raise Differs(Difference("the answer", "a long one", f"{len(said.recorded.body)} bytes; {_outcome(said)}"))
    request = said.sent()
    while time.monotonic() - left_at < _PROMPT_LEAVING:
        if any(event.request is request for event in seat.bench.upstream.connections.closed_early):
            return
        await asyncio.sleep(0.02)
    raise Differs(
        Difference("the upstream's connection, a second after the client left", "closed", "open: it is still paid for")
    )


def _outcome(said: Said) -> str:
    return said.raised.shown if said.raised else "a whole answer"


def _case(
    name: str,
    group: Group,
    title: str,
    why: str,
    judge: object,
    *sources: str,
    modes: tuple[Mode, ...] = ("unary", "stream"),
    alike: str = "",
) -> Case:
    only = frozenset({alike}) if alike else None
    return Case(
        id=name, group=group, title=title, why=why, sources=sources, judge=judge, modes=modes,  # type: ignore[arg-type]
        clients=only, upstreams=only, patience=30.0,
    )  # fmt: skip


def _others() -> Iterator[Case]:
    """What else of the kit breaks."""
    told = {*_HTTP, *_MIDWAY, *(case.id for case in _IN_200), "http-429-quota"}
    for name, one in SCENARIOS.items():
        if one.expected is not None and one.expected.error is not None and name not in told:
            yield Case(
                id=name,
                group="errors",
                title=title_of(one),
                judge=_breaks(one),
                modes=("unary", "stream") if one.unary else ("stream",),
                upstreams=frozenset(one.dialects),
                elsewhere=not one.regular,
            )


CASES: tuple[Case, ...] = (
    *_statuses(),
    *_IN_200,
    *_midway(),
    *_others(),
    _case(
        "retry-after",
        "errors",
        "How long to wait after a 429 reaches the client",
        "Without it clients retry at once, and for ever.",
        _retry_after,
        "LL#27823",
        "LL#37754",
    ),
    _case(
        "quota-untouched",
        "errors",
        "A subscription's limit reaches its client with status, headers and body unchanged",
        "Claude Code tells a spent week from a busy minute by them.",
        _quota,
        "LL#37754",
        alike="messages",
    ),
    _case(
        "overload-moves-on",
        "errors",
        "An overload inside a 200, before any content, goes to the next target",
        "Fallbacks that look at the status alone never see it.",
        _falls_over,
        "LL#38153",
        "LL#38606",
        "LL#29808",
    ),
    _case(
        "leaving-cancels",
        "service",
        "A client that leaves ends the upstream's work within a second",
        "What nobody reads is generated, and paid for, to its end.",
        _leaves,
        "LL#37558",
        "LL#36008",
        "LL#37140",
        modes=("stream",),
    ),
)
