"""Answers that come wrapped although the gateway does not ask for it: packed, or behind a byte order mark."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from typing import Any

import pytest

from dragoman.testing import SCENARIOS, VOICES, Ask, ScriptedUpstream, ThreadedUpstream
from tests.gateway.talking import DIALECTS, PATHS, ask
from tests.serving import Served, serving, upstream

PAIRS = [(up, client) for up in DIALECTS for client in DIALECTS]
ERROR = b'{"type": "error", "error": {"type": "invalid_request_error", "message": "packed words"}}'
SSE = ("content-type", "text/event-stream")
JSON = ("content-type", "application/json")
TEXT = SCENARIOS["text"]
BOMB = b"\0" * 40_000_000


@pytest.fixture(scope="module")
def gateway() -> Iterator[Served]:
    with ScriptedUpstream.in_thread() as server:
        providers: dict[str, Any] = {}
        for up in DIALECTS:
            whole, events = (VOICES[up].render(TEXT, Ask(stream=stream)).body for stream in (False, True))
            put(server, providers, "whole", up, 200, gzip.compress(whole), JSON)
            put(server, providers, "events", up, 200, gzip.compress(events), SSE)
            members = b"".join(gzip.compress(events[at : at + 100]) for at in range(0, len(events), 100))
            put(server, providers, "members", up, 200, members + b"\0" * 9, SSE)
            put(server, providers, "zlib", up, 200, zlib.compress(whole), JSON, "deflate")
            put(server, providers, "marked", up, 200, b"\xef\xbb\xbf" + whole, JSON, "identity")
            put(server, providers, "error", up, 400, gzip.compress(ERROR), JSON)
            put(server, providers, "torn", up, 200, gzip.compress(whole)[:-9], JSON)
            put(server, providers, "bomb", up, 400, gzip.compress(BOMB), JSON)
        with serving({"providers": providers}) as served:
            yield served


def put(
    server: ThreadedUpstream,
    providers: dict[str, Any],
    name: str,
    up: str,
    status: int,
    body: bytes,
    kind: tuple[str, str],
    coding: str = "gzip",
) -> None:
    server.on(f"/{name}{PATHS[up]}", status, body, [kind, ("content-encoding", coding)])
    providers[f"{name}-{up}"] = upstream(f"{server.url}/{name}", up)


@pytest.mark.parametrize(("up", "client"), PAIRS)
@pytest.mark.parametrize(("name", "stream"), [("whole", False), ("zlib", False), ("events", True)])
def test_a_packed_answer_is_unpacked(gateway: Served, up: str, client: str, name: str, stream: bool) -> None:
    said = ask(gateway, client, f"{name}-{up}/m", stream=stream)
    assert (said.status, said.header("content-encoding")) == (200, None)
    assert said.view(client).text == "Hello! How can I help you today?"


@pytest.mark.parametrize("dialect", DIALECTS)
def test_an_answer_whose_pieces_were_packed_one_by_one_is_whole(gateway: Served, dialect: str) -> None:
    said = ask(gateway, dialect, f"members-{dialect}/m", stream=True)
    assert said.view(dialect).text == "Hello! How can I help you today?"


@pytest.mark.parametrize(("up", "client"), PAIRS)
def test_a_byte_order_mark_is_no_part_of_an_answer(gateway: Served, up: str, client: str) -> None:
    said = ask(gateway, client, f"marked-{up}/m", stream=False)
    assert said.view(client).text == "Hello! How can I help you today?"


@pytest.mark.parametrize(("up", "client"), PAIRS)
def test_a_packed_error_is_read(gateway: Served, up: str, client: str) -> None:
    said = ask(gateway, client, f"error-{up}/m", stream=False)
    assert (said.status, said.message) == (400, "packed words")


@pytest.mark.parametrize(("up", "client"), PAIRS)
def test_a_packed_answer_that_broke_off_is_an_error(gateway: Served, up: str, client: str) -> None:
    said = ask(gateway, client, f"torn-{up}/m", stream=False)
    assert said.status == 502
    assert "broke off" in said.message


def test_a_small_body_that_unpacks_to_a_large_one_stays_an_error(gateway: Served) -> None:
    assert ask(gateway, "chat", "bomb-messages/m", stream=False).status == 400
