"""The load of `dragoman bench`: as many connections as wanted, each with its next request as soon as it has its answer.

Requests go by the gateway's own upstream client. What is measured contains this process: on one machine with the
gateway it takes part of the processor, so that the figures are those of the pair.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Literal, assert_never

import msgspec

from dragoman.errors import DragomanError, UpstreamTimeout
from dragoman.io.upstream import HttpTransport
from dragoman.wire.http import RawHeaders, Timeouts, Transport, UpstreamRequest
from dragoman.wire.sse import SseParser

Api = Literal["chat", "messages", "responses", "gemini"]
APIS: tuple[Api, ...] = ("chat", "messages", "responses", "gemini")
_VERSION_PATH = ("/v1", "/v1beta")


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked again and again. `base_url` with or without `/v1`; `patience` in seconds, for the whole of an answer."""

    api: Api
    base_url: str
    model: str
    key: str
    prompt: str
    max_tokens: int
    stream: bool
    patience: float = 120.0

    def request(self) -> UpstreamRequest:
        patience = Timeouts(connect=10, first_byte=self.patience, idle=self.patience, total=self.patience)
        body = msgspec.json.encode(_body(self))
        return UpstreamRequest(method="POST", url=_url(self), headers=_headers(self), body=body, timeouts=patience)


def _body(question: Question) -> dict[str, Any]:
    said = {"role": "user", "content": question.prompt}
    tree: dict[str, Any] = {"model": question.model, "stream": question.stream}
    match question.api:
        case "chat":
            tree |= {"messages": [said], "max_tokens": question.max_tokens}
            return tree | ({"stream_options": {"include_usage": True}} if question.stream else {})
        case "messages":
            return tree | {"messages": [said], "max_tokens": question.max_tokens}
        case "responses":
            return tree | {"input": question.prompt, "max_output_tokens": question.max_tokens, "store": False}
        case "gemini":
            contents = [{"role": "user", "parts": [{"text": question.prompt}]}]
            return {"contents": contents, "generationConfig": {"maxOutputTokens": question.max_tokens}}
        case _:
            assert_never(question.api)


def _url(question: Question) -> str:
    root = question.base_url.rstrip("/")
    for version in _VERSION_PATH:
        root = root.removesuffix(version)
    match question.api:
        case "chat":
            return f"{root}/v1/chat/completions"
        case "messages":
            return f"{root}/v1/messages"
        case "responses":
            return f"{root}/v1/responses"
        case "gemini":
            verb = "streamGenerateContent?alt=sse" if question.stream else "generateContent"
            return f"{root}/v1beta/models/{question.model}:{verb}"
        case _:
            assert_never(question.api)


def _headers(question: Question) -> RawHeaders:
    headers: RawHeaders = [(b"content-type", b"application/json"), (b"user-agent", b"dragoman-bench")]
    key = question.key.encode()
    if question.api == "messages":
        headers.append((b"anthropic-version", b"2023-06-01"))
    if key:
        match question.api:
            case "chat" | "responses":
                headers.append((b"authorization", b"Bearer " + key))
            case "messages":
                headers.append((b"x-api-key", key))
            case "gemini":
                headers.append((b"x-goog-api-key", key))
            case _:
                assert_never(question.api)
    return headers


# ---------------------------------------------------------------- what came


class Tally(msgspec.Struct):
    """What all connections saw together. Times in seconds; one entry for each whole answer. `first_token` is that of the first
    event that shows something, `first_byte` that of the first byte of the body; both are of streams alone."""

    seconds: float = 0.0
    answered: int = 0
    events: int = 0
    tokens: int = 0
    """Of output, as the answers' own usage says."""
    latency: list[float] = []
    first_byte: list[float] = []
    first_token: list[float] = []
    errors: Counter[str] = msgspec.field(default_factory=Counter[str])

    @property
    def failed(self) -> int:
        return sum(self.errors.values())


class Wrong(Exception):
    """An answer that does not count: a few words, the same for the same fault."""


async def measured(
    question: Question, *, connections: int, seconds: float, requests: int = 0, transport: Transport | None = None
) -> Tally:
    """Asks until the time is up, or `requests` (0: no end) were sent; what is under way then is waited for. `transport` is the
    caller's to close."""
    own = HttpTransport(per_host=connections) if transport is None else None
    tally = Tally()
    started = time.monotonic()
    ticket = _Tickets(started + seconds, requests)
    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(connections):
                group.create_task(_connection(question, transport or own, ticket, tally))
    finally:
        tally.seconds = time.monotonic() - started
        if own is not None:
            await own.aclose()
    return tally


class _Tickets:
    """Who may send another."""

    def __init__(self, until: float, most: int) -> None:
        self._until = until
        self._most = most
        self._sent = 0

    def take(self) -> bool:
        if time.monotonic() >= self._until or (self._most and self._sent >= self._most):
            return False
        self._sent += 1
        return True


_REST = 0.05
"""Seconds before the next request after one that failed: whoever is down need not be asked thousands of times a second."""


async def _connection(question: Question, transport: Transport | None, tickets: _Tickets, tally: Tally) -> None:
    assert transport is not None
    request = question.request()
    while tickets.take():
        try:
            await _once(question, transport, request, tally)
        except Wrong as error:
            tally.errors[str(error)] += 1
            await asyncio.sleep(_REST)
        except UpstreamTimeout as error:
            tally.errors[f"timeout ({error.phase})"] += 1
        except DragomanError as error:
            tally.errors[str(error)] += 1
            await asyncio.sleep(_REST)


async def _once(question: Question, transport: Transport, request: UpstreamRequest, tally: Tally) -> None:
    began = time.monotonic()
    patience = question.patience
    exchange = await transport.open(request)
    try:
        head = await exchange.head(patience)
        if head is None:
            raise Wrong("timeout (first_byte)")
        answer = _Answer(question.api) if question.stream and head.status == 200 else None
        whole = bytearray()
        first_byte: float | None = None
        first_token: float | None = None
        while (data := await exchange.read(patience)) != b"":
            if data is None:
                raise Wrong("timeout (idle)")
            now = time.monotonic()
            first_byte = first_byte or now
            if answer is None:
                whole += data
            elif answer.feed(data):
                first_token = first_token or now
    finally:
        exchange.close()
    ended = time.monotonic()
    if head.status != 200:
        raise Wrong(f"status {head.status}: {_reason(bytes(whole))}")
    tokens = answer.finished() if answer is not None else _tokens_of(question.api, _tree(bytes(whole)))
    tally.answered += 1
    tally.tokens += tokens
    tally.latency.append(ended - began)
    if answer is not None:
        tally.events += answer.events
        tally.first_byte.append((first_byte or ended) - began)
        if first_token is not None:
            tally.first_token.append(first_token - began)


class _Answer:
    """A stream as it comes: how many events, whether it came to its end, and what it says of its own tokens."""

    def __init__(self, api: Api) -> None:
        self._api: Api = api
        self._parser = SseParser()
        self._over = False
        self._tokens = 0
        self.events = 0

    def feed(self, data: bytes) -> bool:
        """Whether something is shown in it. Raises `Wrong` for an error in the stream."""
        shown = False
        for frame in self._parser.feed(data):
            self.events += 1
            if frame.data == b"[DONE]":
                self._over = True
                continue
            event = _tree(frame.data)
            if event.get("type") == "error" or event.get("error"):
                raise Wrong(f"an error in the stream: {_reason(frame.data)}")
            self._tokens = max(self._tokens, _tokens_of(self._api, event))
            self._over = self._over or _ends(self._api, event)
            shown = shown or _shows(self._api, event)
        return shown

    def finished(self) -> int:
        """Its tokens. Raises `Wrong` for one that broke off."""
        if not self._over:
            raise Wrong("a stream broke off before its end")
        return self._tokens


def _tree(data: bytes) -> dict[str, Any]:
    try:
        tree = msgspec.json.decode(data)
    except msgspec.DecodeError:
        raise Wrong("an answer is not JSON") from None
    if not isinstance(tree, dict):
        raise Wrong("an answer is no JSON object")
    return tree


def _reason(data: bytes) -> str:
    """What the body of an error says, shortly."""
    try:
        tree = msgspec.json.decode(data)
    except msgspec.DecodeError:
        return "no reason given"
    error = tree.get("error", tree) if isinstance(tree, dict) else {}
    said = error.get("message") if isinstance(error, dict) else error
    return str(said or "no reason given")[:160]


def _ends(api: Api, event: dict[str, Any]) -> bool:
    match api:
        case "chat":
            return any(choice.get("finish_reason") for choice in _list(event, "choices"))
        case "messages":
            return event.get("type") == "message_stop"
        case "responses":
            return event.get("type") in {"response.completed", "response.incomplete"}
        case "gemini":
            return any(candidate.get("finishReason") for candidate in _list(event, "candidates"))
        case _:
            assert_never(api)


def _shows(api: Api, event: dict[str, Any]) -> bool:
    """Whether there is anything of the answer in it: text, thoughts, a call."""
    match api:
        case "chat":
            deltas = [choice.get("delta") or {} for choice in _list(event, "choices")]
            return any(value for delta in deltas for name, value in delta.items() if name != "role")
        case "messages":
            return event.get("type") == "content_block_delta"
        case "responses":
            return str(event.get("type")).endswith(".delta")
        case "gemini":
            return any((candidate.get("content") or {}).get("parts") for candidate in _list(event, "candidates"))
        case _:
            assert_never(api)


_USAGE: dict[Api, Callable[[dict[str, Any]], Any]] = {
    "chat": lambda tree: (tree.get("usage") or {}).get("completion_tokens"),
    "messages": lambda tree: (tree.get("usage") or {}).get("output_tokens"),
    "responses": lambda tree: ((tree.get("response") or tree).get("usage") or {}).get("output_tokens"),
    "gemini": lambda tree: (tree.get("usageMetadata") or {}).get("candidatesTokenCount"),
}


def _tokens_of(api: Api, tree: dict[str, Any]) -> int:
    found = _USAGE[api](tree)
    return found if isinstance(found, int) else 0


def _list(tree: dict[str, Any], name: str) -> Sequence[dict[str, Any]]:
    return [one for one in tree.get(name) or () if isinstance(one, dict)]


def quantile(times: Sequence[float], share: float) -> float | None:
    """Of times in any order: the smallest that `share` (0 to 1) of them do not exceed."""
    if not times:
        return None
    ordered = sorted(times)
    return ordered[min(len(ordered) - 1, max(0, -int(-share * len(ordered) // 1) - 1))]
