# ruff: noqa: E501 - tables of what others might send, one to a line
"""What is four times as large takes about four times as long, and not sixteen: measured as the ratio of two sizes, in the
thread's own time, so that neither a slow machine nor a busy one matters."""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import pytest

from dragoman.errors import UpstreamGarbled
from dragoman.wire.jsonarray import JsonArrayReader
from dragoman.wire.partial import mended_object
from dragoman.wire.sse import SseParser
from tests.fuzz.targets import TARGETS

SIZE = 150
MOST_RATIO = 9.0
"""Between a line (4) and a square (16)."""
NOTHING = 0.01
"""Seconds below which nobody can tell."""

Make = Callable[[int], bytes]


def j(value: Any) -> bytes:
    return json.dumps(value).encode()


def each(n: int, make: Callable[[int], Any]) -> list[Any]:
    return [make(number) for number in range(n)]


HI = {"role": "user", "content": "Hi"}
GEMINI_HI = {"role": "user", "parts": [{"text": "Hi"}]}


def messages(*turns: Any, **more: Any) -> bytes:
    return j({"model": "m", "max_tokens": 5, "messages": list(turns), **more})


def chat(*turns: Any, **more: Any) -> bytes:
    return j({"model": "m", "messages": list(turns), **more})


def use(number: int) -> Any:
    return {"type": "tool_use", "id": f"t{number}", "name": "a", "input": {}}


def call(number: int) -> Any:
    return {"id": f"t{number}", "type": "function", "function": {"name": "a", "arguments": "{}"}}


def result(number: int) -> Any:
    return {"role": "tool", "tool_call_id": f"t{number}", "content": "x"}


def schema(n: int) -> Any:
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": {f"p{number}": {"type": "string", "pattern": "x"} for number in range(n)},
        "required": each(n, lambda number: f"p{number}"),
    }


REQUESTS: dict[str, tuple[str, Make]] = {
    "many messages": ("messages-request", lambda n: messages(*[HI] * n)),
    "many parts": ("messages-request", lambda n: messages({"role": "user", "content": [{"type": "text", "text": "x"}] * n})),
    "many calls": ("messages-request", lambda n: messages({"role": "assistant", "content": each(n, use)}, HI)),
    "many thoughts": (
        "messages-request",
        lambda n: messages(
            {"role": "assistant", "content": each(n, lambda k: {"type": "thinking", "thinking": "t", "signature": f"s{k}"})}, HI
        ),
    ),
    "many tools": ("messages-request", lambda n: messages(HI, tools=each(n, lambda k: {"name": f"{'n' * 70}{k}", "input_schema": {}}))),
    "many unknown members": ("messages-request", lambda n: messages(HI, **{f"x{k}": 1 for k in range(n)})),
    "a wide schema": ("messages-request", lambda n: messages(HI, tools=[{"name": "a", "input_schema": schema(n)}])),
    "a wide strict format": (
        "messages-request",
        lambda n: messages(HI, output_config={"format": {"type": "json_schema", "schema": schema(n)}}),
    ),
    "many calls in chat": ("chat-request", lambda n: chat({"role": "assistant", "tool_calls": each(n, call)}, *each(n, result))),
    "results the other way round": (
        "chat-request",
        lambda n: chat({"role": "assistant", "tool_calls": each(n, call)}, *reversed(each(n, result))),
    ),
    "one id for all calls": (
        "chat-request",
        lambda n: chat({"role": "assistant", "tool_calls": [call(1)] * n}, *[result(1)] * n),
    ),
    "results without calls": ("chat-request", lambda n: chat(HI, *each(n, result))),
    "many instructions": ("chat-request", lambda n: chat(*[{"role": "system", "content": "x", "name": "n"}] * n, HI)),
    "many items": (
        "responses-request",
        lambda n: j({"model": "m", "input": [HI, *each(n, lambda k: {"type": "function_call", "call_id": f"t{k}", "name": "a", "arguments": "{}"}), *each(n, lambda k: {"type": "function_call_output", "call_id": f"t{k}", "output": "x"})]}),
    ),
    "many contents": ("gemini-request", lambda n: j({"contents": [GEMINI_HI] * n})),
    "many signed calls": (
        "gemini-request",
        lambda n: j({"contents": [GEMINI_HI, {"role": "model", "parts": each(n, lambda k: {"functionCall": {"name": "a", "args": {}}, "thoughtSignature": "AAAA"})}]}),
    ),
}  # fmt: skip


def stream(*events: Any, done: bytes = b"") -> bytes:
    return b"\0" + b"".join(b"data: " + j(event) + b"\n\n" for event in events) + done


def chunk(delta: Any, choice: int = 0) -> Any:
    return {"id": "a", "model": "m", "choices": [{"index": choice, "delta": delta, "finish_reason": None}]}


def chunks(n: int, delta: Callable[[int], Any]) -> bytes:
    return stream(*each(n, lambda k: chunk(delta(k))), done=b"data: [DONE]\n\n")


def tool_delta(index: int, arguments: str) -> Any:
    return {"tool_calls": [{"index": index, "id": f"c{index}", "function": {"name": "f", "arguments": arguments}}]}


ANSWERS: dict[str, tuple[str, Make]] = {
    "many chunks": ("chat-stream", lambda n: chunks(n, lambda k: {"content": "x"})),
    "many choices": ("chat-stream", lambda n: stream(*each(n, lambda k: chunk({"content": "x"}, k)), done=b"data: [DONE]\n\n")),
    "many calls": ("chat-stream", lambda n: chunks(n, lambda k: tool_delta(k, "{}"))),
    "calls in turns": ("chat-stream", lambda n: chunks(n, lambda k: tool_delta(k % 50, "{"))),
    "arguments without end": ("chat-stream", lambda n: chunks(n, lambda k: tool_delta(0, "[" * 20))),
    "thinking and text in turns": (
        "chat-stream",
        lambda n: chunks(n, lambda k: {"content": "x"} if k % 2 else {"reasoning_content": "y"}),
    ),
    "many blocks": (
        "messages-answer",
        lambda n: j({"type": "message", "content": each(n, lambda k: {"type": "thinking", "thinking": "x", "signature": f"s{k}"})}),
    ),
    "many citations": (
        "chat-answer",
        lambda n: j({"choices": [{"message": {"content": "x" * n, "annotations": each(n, lambda k: {"type": "url_citation", "url_citation": {"url": f"u{k}", "title": "t", "start_index": k, "end_index": k + 1}})}}]}),
    ),
    "many items": (
        "responses-answer",
        lambda n: j({"status": "completed", "output": each(n, lambda k: {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"})}),
    ),
}  # fmt: skip

SCANS: dict[str, tuple[str, Make]] = {
    "names of last events": ("messages-verbatim", lambda n: b"message_stop [DONE] response. " * n),
    "types": ("messages-verbatim", lambda n: b'"type"     ' * n + b"message_stop" * n),
    "usages": ("chat-verbatim", lambda n: b'{"choices":[' + b'"usage": {' * n),
    "usages of Gemini": ("gemini-verbatim", lambda n: b'{"usageMetadata": {' * n + b"}}" * n),
    "models": ("chat-verbatim", lambda n: b'{"a":[' + b'{"model":"m"},' * n + b'1],"model":"m"}'),
    "a page of brackets": ("chat-error", lambda n: b"\2" + b"<" * n * 50),
    "a page of titles": ("chat-error", lambda n: b"\2" + b"<title " * n * 8),
    "a page of scripts": ("gemini-error", lambda n: b"\2" + b"<script>" * n * 8),
    "blank lines": ("sse", lambda n: b"\n" * n * 8),
    "carriage returns": ("sse", lambda n: b"\r" * n * 8),
    "bare JSON": ("sse", lambda n: b"{\n" * n * 4),
    "carriers": ("carriers", lambda n: b"-dgm1-" * n * 8),
    "references": (
        "gemini-schema",
        lambda n: j({"$defs": {f"a{k}": {"properties": {"l": {"$ref": f"#/$defs/a{k + 1}"}, "r": {"$ref": f"#/$defs/a{k + 1}"}}} for k in range(n)}, "$ref": "#/$defs/a0"}),
    ),
    "alternatives": ("gemini-schema", lambda n: j({"anyOf": each(n, lambda k: {"const": k})})),
    "required members": ("gemini-schema", lambda n: j(schema(n))),
    "aliases of the configuration": ("config", lambda n: b"\0aliases:\n" + b"".join(b"  a%d: a%d\n" % (k, k + 1) for k in range(n))),
    "chunks of a body": ("http-request", lambda n: b"\0POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * n),
}  # fmt: skip

ALL = {**{f"request: {k}": v for k, v in REQUESTS.items()}, **{f"answer: {k}": v for k, v in ANSWERS.items()}, **SCANS}


@contextmanager
def without_collector() -> Generator[None]:
    """Whose pauses depend on all that was made before."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def cost(run: Callable[[], object]) -> float:
    start = time.thread_time()
    run()
    return time.thread_time() - start


def grows_by_a_line(small: Callable[[], object], large: Callable[[], object]) -> None:
    with without_collector():
        ratios: list[float] = []
        for _ in range(4):
            much = cost(large)
            if much < NOTHING:
                return
            ratios.append(much / max(cost(small), 1e-6))
            if ratios[-1] < MOST_RATIO:
                return
    pytest.fail(f"four times the size takes {min(ratios):.1f} times as long")


@pytest.mark.parametrize("name", ALL)
def test_work_grows_with_the_size_and_not_with_its_square(name: str) -> None:
    target, make = ALL[name]
    small, large = make(SIZE), make(4 * SIZE)
    grows_by_a_line(lambda: TARGETS[target](small), lambda: TARGETS[target](large))


def test_an_event_in_small_pieces_costs_what_it_weighs() -> None:
    def feed(size: int) -> None:
        parser = SseParser()
        for _ in range(size):
            parser.feed(b"data: " + b"x" * 250)

    grows_by_a_line(lambda: feed(3000), lambda: feed(12_000))


def test_an_element_in_small_pieces_costs_what_it_weighs() -> None:
    def feed(size: int) -> None:
        reader = JsonArrayReader()
        reader.feed(b'[{"a":"')
        for _ in range(size):
            reader.feed(b"x" * 250)

    grows_by_a_line(lambda: feed(3000), lambda: feed(12_000))


def test_what_never_ends_is_given_up() -> None:
    def feed(reader: SseParser | JsonArrayReader) -> None:
        for _ in range(200):
            reader.feed(b'{"a":"' + b"x" * 100)

    for reader in (SseParser(limit=10_000), JsonArrayReader(limit=10_000)):
        with pytest.raises(UpstreamGarbled, match="larger than 10000 bytes"):
            feed(reader)


def test_broken_arguments_of_any_depth_are_mended_in_no_time() -> None:
    grows_by_a_line(lambda: mended_object('{"a":' + "[" * 20_000), lambda: mended_object('{"a":' + "[" * 80_000))
