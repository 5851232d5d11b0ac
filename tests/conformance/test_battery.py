"""The battery is green against this gateway, and red, in the right cases, against one that is broken on purpose."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dragoman.conformance import battery, peers
from dragoman.conformance.case import Check
from dragoman.conformance.own import configuration
from dragoman.conformance.report import Report, from_json
from dragoman.conformance.script import TicketedUpstream
from tests.conformance.breaking import Broken, breaking
from tests.serving import serving

# Of every group something; all of it is `make conformance`.
PART = (
    "text", "refusal", "unicode", "usage-told", "usage-cached", "usage-at-start", "citations", "server-tool", "tools-two*",
    "tools-length", "tools-finish-*", "thinking-*", "turn-in-order", "responses-arguments-*", "cut-every-byte", "cut-midway",
    "error-second", "error-midway", "http-429", "retry-after", "quota-untouched", "overload-moves-on", "leaving-cancels",
    "tools-told", "foreign-ids-told", "image-in-result-told", "schema-told", "unknown-fields-pass", "stable-bytes",
    "state-stays-home", "there-and-back", "stale-state-dropped", "one-id", "counted", "listed", "grammar",
)  # fmt: skip


def test_this_gateway_passes_in_every_cell(tmp_path: Path) -> None:
    """As a user runs it: the gateway is a process of its own, the result is in the terminal and in two files."""
    files = {"--json": tmp_path / "result.json", "--html": tmp_path / "board.html"}
    arguments = [word for name in PART for word in ("--only", name)]
    arguments += [word for option, path in files.items() for word in (option, str(path))]
    done = subprocess.run(
        [sys.executable, "-m", "dragoman", "conformance", *arguments], capture_output=True, text=True, timeout=110, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    report = from_json(files["--json"].read_bytes())
    assert report.passed == report.total > 900
    assert {cell.passed for cell in report.cells} != {0}
    assert all(cell.offered and cell.passed == cell.total for cell in report.cells)
    assert len(report.cells) == 20
    assert f"{report.total} of {report.total} passed" in done.stdout
    assert "provider speaks" in done.stdout
    assert done.stderr == ""
    assert str(report.total) in files["--html"].read_text().replace(",", "")


# ---------------------------------------------------------------- a gateway that is broken on purpose


class Silent:
    """Nobody watches."""

    def begin(self, total: int) -> None: ...
    def done(self, check: Check) -> None: ...


@pytest.fixture(scope="module")
def gateway() -> Iterator[tuple[str, int]]:
    """This gateway, and the port on which it expects the upstream."""
    with free_port() as port, serving(configuration(f"http://127.0.0.1:{port}", battery.CUSTOMARY)) as served:
        yield served.url, port


class free_port:  # noqa: N801
    """A port that nobody listens on, as far as can be known."""

    def __enter__(self) -> int:
        async def found() -> int:
            server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
            async with server:
                return int(server.sockets[0].getsockname()[1])

        return asyncio.run(found())

    def __exit__(self, *_: object) -> None: ...


def judged(gateway: tuple[str, int], broken: Broken | None, client: str, upstream: str, *only: str) -> Report:
    url, port = gateway

    async def run() -> Report:
        async with TicketedUpstream(port=port) as scripted, breaking(url, broken) as broken_url:
            plan = battery.Plan(
                base_url=broken_url,
                key=peers.KEY,
                clients=(client,),
                upstreams=(upstream,),
                models={name: peers.model_of(name) for name in battery.CUSTOMARY},
                chains={name: peers.chain_of(name) for name in battery.CUSTOMARY},
                gateway="broken",
                only=only,
            )
            return await asyncio.wait_for(battery.run(plan, scripted, Silent()), 60)

    return asyncio.run(run())


def failures(report: Report) -> dict[str, set[str]]:
    """By case, the modes in which it failed."""
    return {case.id: {one.mode for one in case.failures} for case in report.failed}


def lose_second_call(path: str, body: bytes) -> bytes:
    """Chat: of two calls in one answer, the second is gone."""
    if b'"tool_calls"' not in body:
        return body
    if not body.startswith(b"data:"):
        answer = json.loads(body)
        message = answer["choices"][0]["message"]
        message["tool_calls"] = message["tool_calls"][:1]
        return json.dumps(answer).encode()
    events = [event for event in body.split(b"\n\n") if event]
    return b"".join(event + b"\n\n" for event in events if not re.search(rb'"tool_calls":\[\{"index":1', event))


CLEAN = (
    b'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},'
    b'"usage":{"output_tokens":7}}\n\nevent: message_stop\ndata: {"type":"message_stop"}\n\n'
)


def end_cleanly(path: str, body: bytes) -> bytes:
    """Messages: an error in the stream becomes the end of the turn."""
    head, error, _ = body.partition(b"event: error")
    return head + CLEAN if error and head else body


def end_turn(path: str, body: bytes) -> bytes:
    return re.sub(rb'"stop_reason":\s*"tool_use"', b'"stop_reason":"end_turn"', body)


def lose_signature(path: str, body: bytes) -> bytes:
    body = re.sub(rb'event: content_block_delta\ndata: \{[^\n]*"signature_delta"[^\n]*\n\n', b"", body)
    return re.sub(rb'"signature":\s*"[^"]+"', b'"signature":""', body)


def halve_characters(path: str, body: bytes) -> bytes:
    return body.replace("漢".encode(), "\ufffd".encode())


def count_cache_twice(path: str, body: bytes) -> bytes:
    return re.sub(rb'"input_tokens":\s*5\b', b'"input_tokens":2105', body)


def arguments_empty(path: str, body: bytes) -> bytes:
    return re.sub(rb'"partial_json":\s*"(?:[^"\\]|\\.)*"', b'"partial_json":""', body)


def drop_images(path: str, body: bytes) -> bytes:
    said = json.loads(body)
    for message in said.get("messages", ()):
        for block in message["content"] if isinstance(message["content"], list) else ():
            if isinstance(block.get("content"), list):
                block["content"] = [part for part in block["content"] if part["type"] != "image"]
    return json.dumps(said).encode()


def set_a_default(path: str, body: bytes) -> bytes:
    return json.dumps({**json.loads(body), "top_k": 40}).encode()


BREAKS: dict[str, tuple[Broken, str, str, dict[str, set[str]]]] = {
    "loses the second of two calls": (
        Broken(answer=lose_second_call),
        "chat",
        "messages",
        {"tools-two-in-one-chunk": {"unary", "stream"}, "tools-one": set()},
    ),
    "ends cleanly after a cut": (
        Broken(answer=end_cleanly),
        "messages",
        "chat",
        {"cut-midway": {"stream"}, "cut-before-finish": {"stream"}},
    ),
    "calls the end of a tool turn the end": (
        Broken(answer=end_turn),
        "messages",
        "chat",
        {"tools-one": {"unary", "stream"}, "tools-finish-stop": {"unary", "stream"}, "text": set()},
    ),
    "drops a signature": (
        Broken(answer=lose_signature),
        "messages",
        "messages",
        {"state-comes-back": {"unary", "stream"}, "replay-stable": {"unary", "stream"}, "tools-one": set()},
    ),
    "cuts a character in two": (
        Broken(answer=halve_characters),
        "messages",
        "chat",
        {"cut-every-byte": {"unary", "stream"}, "text": set()},
    ),
    "counts cached tokens as fresh": (
        Broken(answer=count_cache_twice),
        "messages",
        "chat",
        {"usage-cached": {"unary", "stream"}, "text": set()},
    ),
    "loses streamed arguments": (
        Broken(answer=arguments_empty),
        "messages",
        "responses",
        {"responses-arguments-only-in-done": {"stream"}, "tools-one": {"stream"}},
    ),
    "drops images in results": (
        Broken(question=drop_images),
        "messages",
        "chat",
        {"image-in-result-told": {"unary", "stream"}, "results-told": set()},
    ),
    "sets a default": (
        Broken(question=set_a_default),
        "messages",
        "messages",
        {"nothing-added": {"unary", "stream"}, "text": set()},
    ),
    "keeps retry-after for itself": (
        Broken(hidden=frozenset({"retry-after"})),
        "chat",
        "messages",
        {"retry-after": {"unary", "stream"}, "http-429": set()},
    ),
}


@pytest.mark.parametrize("name", BREAKS)
def test_a_broken_gateway_is_caught_by_the_case_that_says_so(gateway: tuple[str, int], name: str) -> None:
    broken, client, upstream, expected = BREAKS[name]
    sound = judged(gateway, None, client, upstream, *expected)
    assert failures(sound) == {}
    assert sound.total > 0
    found = failures(judged(gateway, broken, client, upstream, *expected))
    assert found == {case: modes for case, modes in expected.items() if modes}


def test_a_breach_of_grammar_is_one_failure_and_not_many(gateway: tuple[str, int]) -> None:
    broken = Broken(answer=lambda _, body: body.replace(b'"finish_reason":null', b'"finished":null'))
    report = judged(gateway, broken, "chat", "messages", "text", "tools-one", "tools-two", "unicode", "grammar")
    assert failures(report) == {"grammar": {"stream"}}
    [case] = report.failed
    assert "finish_reason" in case.failures[0].differences[0].got
    assert case.failures[0].differences[0].what.startswith("4 of 4 answers")


def test_an_api_that_is_not_there_is_not_offered_and_no_failure(gateway: tuple[str, int]) -> None:
    broken = Broken(missing=("/v1/messages",))
    report = judged(gateway, broken, "messages", "chat", "text", "tools-one")
    assert [(cell.passed, cell.total, cell.offered) for cell in report.cells] == [(0, 0, False)]
    assert failures(report) == {}


def test_a_client_that_gets_no_answer_is_told_what_came_instead(gateway: tuple[str, int]) -> None:
    broken = Broken(answer=lambda _, __: b'{"choices": []}')
    report = judged(gateway, broken, "chat", "messages", "text")
    [failure] = [one for one in report.failed[0].failures if one.mode == "unary"]
    assert failure.differences[0].what == "the parts of the answer"
    assert (failure.differences[0].expected, failure.differences[0].got) == ("text", "none")


def test_json_of_another_shape_is_a_finding_and_no_crash(gateway: tuple[str, int]) -> None:
    broken = Broken(
        answer=lambda _, __: b'{"id": 7, "object": [], "usage": "none", "output": {"a": 1}, "candidates": 3, "content": 5}'
    )
    for client in battery.CLIENTS:
        report = judged(
            gateway, broken, client, "chat", "text", "one-id", "usage-shape", "same-events", "results-told", "grammar"
        )
        assert report.failed, client
        assert report.passed < report.total
