"""HTTP itself: how requests come in over real connections, and what stays on them."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx
import pytest

from dragoman.testing import ThreadedUpstream
from tests.gateway.talking import DIALECTS, JSON, PATHS, Reports, ask, question, raw, say
from tests.serving import PATIENCE, Served, serving, upstream

HELLO = "Hello! How can I help you today?"


@pytest.fixture(scope="module")
def gateway(scripted: ThreadedUpstream) -> Iterator[Served]:
    with serving({"providers": {dialect: upstream(scripted.url, dialect) for dialect in DIALECTS}}) as served:
        yield served


def body(model: str = "chat/scenario:text", *, stream: bool = False) -> bytes:
    return json.dumps(question(model, stream=stream)).encode()


def request(data: bytes, *headers: str, path: str = PATHS["chat"], method: str = "POST") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "host: gateway", *headers, f"content-length: {len(data)}", "", ""]
    return "\r\n".join(lines).encode() + data


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_a_chunked_body_is_put_together(gateway: Served, scripted: ThreadedUpstream, size: int) -> None:
    data = body("chat/m")
    chunks = b"".join(b"%x;ext=1\r\n%b\r\n" % (len(data[i : i + size]), data[i : i + size]) for i in range(0, len(data), size))
    head = f"POST {PATHS['chat']} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n".encode()
    answer = raw(gateway, head + chunks + b"0\r\ntrailer: x\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert scripted.requests[-1].body == data.replace(b"chat/m", b"m")
    assert scripted.requests[-1].header("transfer-encoding") is None


def test_one_connection_takes_one_request_after_the_other(gateway: Served) -> None:
    parts = urlsplit(gateway.url)
    with socket.create_connection((parts.hostname, parts.port), timeout=PATIENCE) as connection:
        ours = connection.getsockname()
        with httpx.Client(base_url=gateway.url) as client:
            streams: set[object] = set()
            for stream in (True, False, True):
                answer = client.post(PATHS["messages"], content=body(stream=stream))
                assert answer.status_code == 200
                streams.add(answer.extensions["network_stream"].get_extra_info("client_addr"))
            missing = client.post(PATHS["messages"], content=body("nothing"))
            streams.add(missing.extensions["network_stream"].get_extra_info("client_addr"))
            assert missing.status_code == 404
            broken = client.post(PATHS["messages"], content=b"{")
            streams.add(broken.extensions["network_stream"].get_extra_info("client_addr"))
        assert len(streams) == 1
        assert ours not in streams


def test_pipelined_requests_are_answered_in_turn(gateway: Served) -> None:
    answer = raw(
        gateway,
        request(body("messages/scenario:text", stream=True))
        + request(b"", path="/health", method="GET")
        + request(body("nothing"))
        + request(body("chat/scenario:text"), "connection: close"),
    )
    assert re.findall(rb"HTTP/1\.1 (\d+)", answer) == [b"200", b"200", b"404", b"200"]
    assert answer.index(b"[DONE]") < answer.index(b'"status":"ok"') < answer.index(b"model_not_found")


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/messages", 200),
        ("/messages", 200),
        ("/v1/messages/", 200),
        ("/v1/m%65ssages", 200),
        ("/v1/messages?beta=true", 200),
        ("/v1/messages?", 200),
        ("//v1/messages", 200),
        ("/v1/v1/messages", 200),
        ("/v1//v1/messages?beta=true", 200),
        ("/v1/x/v1/messages", 404),
        ("/v1/v1", 404),
        ("/v1/../v1/messages", 404),
        ("/V1/messages", 404),
    ],
)
def test_a_path_is_read_as_it_is_meant(gateway: Served, path: str, status: int) -> None:
    assert say(gateway, "POST", path, [JSON], body("messages/scenario:text")).status == status


def test_a_request_with_an_absolute_target_is_understood(gateway: Served) -> None:
    answer = raw(gateway, request(body(), "connection: close", path=gateway.url + PATHS["chat"]))
    assert answer.startswith(b"HTTP/1.1 200 ")


def test_a_client_that_waits_for_leave_gets_it(gateway: Served) -> None:
    parts = urlsplit(gateway.url)
    data = body()
    with socket.create_connection((parts.hostname, parts.port), timeout=PATIENCE) as connection:
        head = f"POST {PATHS['chat']} HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: {len(data)}\r\n\r\n"
        connection.sendall(head.encode())
        assert connection.recv(1000).startswith(b"HTTP/1.1 100 ")
        connection.sendall(data)
        assert connection.recv(100_000).startswith(b"HTTP/1.1 200 ")


def test_a_client_that_leaves_within_its_own_request_is_no_request(gateway: Served, scripted: ThreadedUpstream) -> None:
    asked, reports = len(scripted.requests), Reports(gateway)
    parts = urlsplit(gateway.url)
    with socket.create_connection((parts.hostname, parts.port), timeout=PATIENCE) as connection:
        connection.sendall(request(body())[:-5])
    assert ask(gateway, "chat", "chat/scenario:text").whole
    reports.last(1)
    assert len(reports) == 1
    assert len(scripted.requests) == asked + 1


@pytest.mark.parametrize("data", [b"GARBAGE\r\n\r\n", b"POST /v1/messages HTTP/1.1\r\nhost: x\r\ncontent-length: x\r\n\r\n"])
def test_what_is_no_http_is_a_400(gateway: Served, data: bytes) -> None:
    assert raw(gateway, data).startswith(b"HTTP/1.1 400 ")


def test_an_old_client_is_answered(gateway: Served) -> None:
    answer = raw(gateway, request(body()).replace(b"HTTP/1.1", b"HTTP/1.0", 1))
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["choices"][0]["message"]["content"] == HELLO


def test_every_answer_names_its_request(gateway: Served) -> None:
    seen: set[str] = set()
    for dialect in DIALECTS:
        for up in DIALECTS:
            for stream in (True, False):
                said = ask(gateway, dialect, f"{up}/scenario:text", stream=stream)
                own = said.header("x-dragoman-request-id") or ""
                assert own.startswith("req_")
                assert own not in seen
                seen.add(own)
                if dialect != up:
                    # What the SDKs read. In one dialect the provider's own are kept.
                    assert (said.header("request-id"), said.header("x-request-id")) == (own, own)
                if stream:
                    assert said.header("x-accel-buffering") == "no"


def test_many_clients_at_once_each_get_their_own(gateway: Served, scripted: ThreadedUpstream) -> None:
    """Answers of many shapes, at the same time, over shared connections."""
    parts = urlsplit(gateway.url)
    names = ["text", "tools-two", "unicode", "text-length"] * 10
    connections: list[tuple[str, socket.socket]] = []
    try:
        for name in names:
            connection = socket.create_connection((parts.hostname, parts.port), timeout=PATIENCE)
            connections.append((name, connection))
            model = f"{'messages' if len(connections) % 2 else 'chat'}/scenario:{name}"
            connection.sendall(request(body(model), "connection: close"))
        answers: dict[str, set[str]] = {}
        for name, connection in connections:
            answer = b"".join(iter(lambda connection=connection: connection.recv(65536), b""))
            choice = json.loads(answer.partition(b"\r\n\r\n")[2])["choices"][0]
            message = choice["message"]
            said = [message["content"], [call["function"]["arguments"] for call in message.get("tool_calls") or ()]]
            answers.setdefault(name, set()).add(json.dumps([said[0] or "", [json.loads(one) for one in said[1]]]))
    finally:
        for _, connection in connections:
            connection.close()
    assert {name: len(different) for name, different in answers.items()} == dict.fromkeys(names, 1)
    assert len({next(iter(different)) for different in answers.values()}) == 4
