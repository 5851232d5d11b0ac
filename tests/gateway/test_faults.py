"""Faults of the gateway itself, and what remains of a request in its report."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from dragoman.ir.events import Event
from dragoman.testing import (
    VOICES,
    Ask,
    Finish,
    RawFrame,
    Scenario,
    ScriptedUpstream,
    Stall,
    Text,
    ThreadedUpstream,
    Usage,
    scenario,
)
from dragoman.wire.sse import Frame
from tests.gateway.talking import DIALECTS, Reports, ask, asking, logging_to
from tests.serving import Served, serving, upstream

PAIRS = [(up, client) for up in DIALECTS for client in DIALECTS]


@pytest.fixture
def scripted() -> Iterator[ThreadedUpstream]:
    with ScriptedUpstream.in_thread() as server:
        yield server


@pytest.fixture
def gateway(scripted: ThreadedUpstream) -> Iterator[Served]:
    with serving({"providers": {dialect: upstream(scripted.url, dialect) for dialect in DIALECTS}}) as served:
        yield served


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_fault_is_a_500_in_the_callers_dialect_and_a_traceback_in_the_log(gateway: Served, dialect: str) -> None:
    def broken(model: str) -> Any:
        raise ZeroDivisionError(f"while looking for {model}")

    gateway.engine.gateway.core.route = broken
    reports, lines = Reports(gateway), list[dict[str, Any]]()
    with logging_to(lines):
        said = ask(gateway, dialect, "anything")
    assert said.status == 500
    assert "ZeroDivision" not in said.message
    error = VOICES[dialect].read(said.body).error
    assert error is not None
    assert error.word == "internal"
    assert reports.last(1).status == 500
    assert any("ZeroDivisionError: while looking for anything" in str(line) for line in lines)


def test_a_fault_in_the_middle_is_told_where_the_answer_stops(gateway: Served, scripted: ThreadedUpstream) -> None:
    core = gateway.engine.gateway.core
    chat = core.dialects["chat"]
    faulty = threading.Event()

    class Faulty:
        def __init__(self, issuer: str) -> None:
            self._decoder = chat.stream_decoder(issuer)

        def feed(self, frame: Frame) -> list[Event]:
            if faulty.is_set():
                raise ZeroDivisionError
            return self._decoder.feed(frame)

        def end(self) -> list[Event]:
            return self._decoder.end()

    core.dialects = {**core.dialects, "chat": msgspec.structs.replace(chat, stream_decoder=Faulty)}
    scripted.script(scenario("middle", Text(("Hello", Stall("fault"), "more", Stall("never")))))
    lines: list[dict[str, Any]] = []
    with logging_to(lines), asking(gateway, "messages", "chat/m") as stream:
        stream.until(b"Hello")
        faulty.set()
        scripted.open_gate("fault")
        said = stream.rest()
        scripted.closed_early()
    assert (said.status, said.whole) == (200, True)
    assert b"event: error" in said.body
    assert b"message_stop" not in said.body
    assert b"ZeroDivisionError" not in said.body
    assert any("ZeroDivisionError" in str(line) for line in lines)


@pytest.mark.parametrize(("up", "client"), PAIRS)
def test_no_more_than_a_megabyte_waits_for_the_first_content(
    gateway: Served, scripted: ThreadedUpstream, up: str, client: str
) -> None:
    filler = RawFrame(b": " + b"x" * 10_000 + b"\n\n")
    one = Scenario("preface", (*[filler] * 150, Text("Hello"), Usage(input=1, output=1), Finish()))
    scripted.script(one)
    said = ask(gateway, client, f"{up}/m")
    assert said.view(client).text == "Hello"
    if up == client:
        assert said.body == VOICES[up].render(one, Ask("m", True, include_usage=False)).body


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(("up", "client"), PAIRS)
def test_the_report_has_who_where_and_how_much(
    gateway: Served, scripted: ThreadedUpstream, up: str, client: str, stream: bool
) -> None:
    reports = Reports(gateway)
    scripted.script(scenario("usage", Text("Hello"), Usage(input=5, output=7, cache_read=2000, where="always"), Finish()))
    said = ask(gateway, client, f"{up}/m", stream=stream)
    report = reports.of(said.header("x-dragoman-request-id") or "")
    assert (report.status, report.error, report.stream, report.model) == (200, None, stream, f"{up}/m")
    assert (report.provider, report.target, report.dialect, report.upstream_dialect) == (up, "m", client, up)
    assert report.tier == ("verbatim" if up == client else "translated")
    assert report.trail == [f"{up}/m: ok"]
    assert report.first_byte is not None
    assert report.started <= report.first_byte <= report.ended
    assert report.usage is not None
    assert (report.usage.input, report.usage.cache_read, report.usage.output) == (5, 2000, 7)
    assert not report.usage.estimated


def test_what_nobody_counted_is_estimated_and_says_so(gateway: Served, scripted: ThreadedUpstream) -> None:
    reports = Reports(gateway)
    ask(gateway, "messages", "chat/scenario:usage-absent")
    usage = reports.last(1).usage
    assert usage is not None
    assert usage.estimated
    assert usage.output == pytest.approx(len("Hello! How can I help you today?") / 4, abs=1)
