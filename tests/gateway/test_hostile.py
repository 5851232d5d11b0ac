"""What no friendly client sends: a 400 that says what is wrong, in the caller's dialect, and a gateway that goes on."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from dragoman.testing import Finish, ScriptedUpstream, Text, ThreadedUpstream, Usage, scenario
from tests.gateway.talking import JSON, Said, say
from tests.serving import PATIENCE, Served, serving

CLIENTS = ("chat", "messages", "responses", "gemini")
FINE = scenario("fine", Text("It is."), Usage(input=1, output=1), Finish("stop"))


@pytest.fixture(scope="module")
def scripted() -> Iterator[ThreadedUpstream]:
    with ScriptedUpstream.in_thread() as server:
        server.script(FINE, default=True)
        yield server


@pytest.fixture(scope="module", params=["asgi", "native"])
def gateway(scripted: ThreadedUpstream, request: pytest.FixtureRequest) -> Iterator[Served]:
    bases = {name: scripted.url if name in {"messages", "gemini"} else f"{scripted.url}/v1" for name in CLIENTS}
    providers = {name: {"dialect": name, "base_url": base, "api_key": "sk-upstream-0123"} for name, base in bases.items()}
    with serving({"providers": providers, "store": False, "server": {"max_body": "8MB"}}, driver=request.param) as served:
        yield served


def send(gateway: Served, client: str, upstream: str, body: bytes) -> Said:
    path = {"chat": "/v1/chat/completions", "messages": "/v1/messages", "responses": "/v1/responses"}
    target = path.get(client) or f"/v1beta/models/{upstream}/m:generateContent"
    return say(gateway, "POST", target, [JSON], body)


def other(client: str) -> str:
    """A provider that `client` is translated for."""
    return "messages" if client != "messages" else "chat"


def body(client: str, model: str, more: bytes = b"", *, text: bytes = b'"Hi"') -> bytes:
    """A question; `more` are further members, `text` is what is said, both as JSON."""
    said = b'{"role":"user","content":' + text + b"}"
    match client:
        case "gemini":
            inner = b'"contents":[{"role":"user","parts":[{"text":' + text + b"}]}]"
        case "responses":
            inner = b'"model":"' + model.encode() + b'","input":[' + said + b"]"
        case _:
            inner = b'"model":"' + model.encode() + b'","max_tokens":9,"messages":[' + said + b"]"
    return b"{" + inner + more + b"}"


def told(client: str, said: Said) -> str:
    """The sentence of a refusal in the shape of that dialect."""
    error: Any = said.json["error"]
    match client:
        case "messages":
            assert said.json["type"] == "error"
            assert error["type"] == "invalid_request_error"
        case "gemini":
            assert error["code"] == said.status
            assert error["status"] == "INVALID_ARGUMENT"
        case _:
            assert error["type"] == "invalid_request_error"
    assert isinstance(error["message"], str)
    assert error["message"]
    return error["message"]


MALFORMED: dict[str, bytes] = {
    "nothing": b"",
    "white space": b" \r\n\t " * 100,
    "a number": b"7",
    "null": b"null",
    "a list": b"[]",
    "half an object": b'{"model":"messages/m"',
    "a hundred thousand brackets": b"[" * 100_000,
    "a hundred thousand braces": b'{"a":' * 100_000,
    "a zero byte": b'{"model":"\0"}',
    "a byte order mark of another encoding": '{"model":"m"}'.encode("utf-16"),
    "trailing words": b'{"model":"m"} and more',
    "single quotes": b"{'model':'m'}",
    "binary": bytes(range(256)) * 40,
}


@pytest.mark.parametrize("client", CLIENTS)
def test_what_is_no_request_is_a_400_in_the_callers_dialect(gateway: Served, client: str) -> None:
    for name, data in MALFORMED.items():
        said = send(gateway, client, other(client), data)
        assert said.status == 400, (name, said.status, said.body[:200])
        assert told(client, said), name
    assert send(gateway, client, other(client), body(client, f"{other(client)}/m")).status == 200


DEEP = [150, 300, 600, 900, 1000, 1500, 10_000]
ODD: dict[str, bytes] = {
    "not a number": b',"x":NaN',
    "infinity": b',"temperature":-Infinity',
    "a number beyond floats": b',"temperature":1e400',
    "an integer beyond floats": b',"seed":1' + b"0" * 400,
    "an integer that Python does not print": b',"x":' + b"9" * 10_000,
    "half a character": b',"user":"\\ud83d"',
    "the other half": b',"metadata":{"\\ude00":"\\ude00"}',
    "bytes that are not UTF-8": b',"user":"\xff\xfe"',
    "a name twice": b',"model":"messages/other","model":7',
    "a name of a million letters": b',"' + b"k" * 1_000_000 + b'":1',
    "twenty thousand names": b"".join(b',"k%d":%d' % (n, n) for n in range(20_000)),
    "two hundred thousand entries": b',"x":[' + b"0," * 200_000 + b"0]",
    "every field of a wrong type": b',"stream":"yes","tools":7,"tool_choice":[],"stop":{"a":1},"temperature":"hot","n":[1]',
    "tools that are none": b',"tools":[null,7,"x",[],{}]',
    "a schema that is no object": b',"tools":[{"type":"function","name":"a","input_schema":[1],'
    b'"function":{"name":"a","parameters":"x"}}]',
}


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("name", ODD)
def test_what_is_odd_is_read_or_refused_and_never_a_fault(gateway: Served, client: str, name: str) -> None:
    for upstream in (client, other(client)):
        said = send(gateway, client, upstream, body(client, f"{upstream}/m", ODD[name]))
        assert said.status in {200, 400, 404}, (said.status, said.body[:300])
        if said.status == 400:
            told(client, said)


@pytest.mark.parametrize("client", CLIENTS)
def test_nesting_of_any_depth_anywhere_is_read_or_refused(gateway: Served, client: str) -> None:
    for depth in DEEP:
        lists = b"[" * depth + b"]" * depth
        objects = b'{"a":' * depth + b"1" + b"}" * depth
        schema = b'{"type":"object","properties":{"a":' * depth + b"{}" + b"}}" * depth
        places = [
            b',"x":' + lists,
            b',"metadata":' + objects,
            b',"tools":[{"type":"function","name":"a","input_schema":%b,"function":{"name":"a","parameters":%b},"parameters":%b,'
            b'"functionDeclarations":[{"name":"a","parametersJsonSchema":%b}]}]' % (schema, schema, schema, schema),
            b',"response_format":{"type":"json_schema","json_schema":{"name":"a","strict":true,"schema":%b}},"text":{"format":'
            b'{"type":"json_schema","name":"a","schema":%b}},"output_config":{"format":{"type":"json_schema","schema":%b}},'
            b'"generationConfig":{"responseMimeType":"application/json","responseJsonSchema":%b}'
            % (schema, schema, schema, schema),
        ]
        for place in places:
            for upstream in (client, other(client), "gemini"):
                said = send(gateway, client, upstream, body(client, f"{upstream}/m", place))
                assert said.status in {200, 400}, (depth, upstream, place[:30], said.status, said.body[:200])
    for depth in (*DEEP, 100_000):
        for text in (b"[" * depth + b"]" * depth, b'{"a":' * depth + b"1" + b"}" * depth):
            said = send(gateway, client, other(client), body(client, f"{other(client)}/m", text=text))
            assert said.status == 400
            told(client, said)


def test_a_body_beyond_the_limit_is_refused_before_it_is_kept(gateway: Served) -> None:
    for client in CLIENTS:
        said = send(gateway, client, other(client), body(client, f"{other(client)}/m", text=b'"' + b"x" * 9_000_000 + b'"'))
        assert said.status == 413
        assert "8" in json.dumps(said.json["error"]["message"])


def test_many_messages_and_many_calls_are_read(gateway: Served) -> None:
    turns = b",".join([b'{"role":"user","content":"Hi"},{"role":"assistant","content":"Ho"}'] * 5_000)
    data = b'{"model":"messages/m","messages":[' + turns + b',{"role":"user","content":"?"}]}'
    assert send(gateway, "chat", "messages", data).status == 200


def wait_for(port: int, child: subprocess.Popen[bytes]) -> None:
    """Until it listens there."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            assert child.poll() is None, "the gateway ended"
            assert time.monotonic() < until, "the gateway did not start"
        else:
            return


def post(port: int, data: bytes) -> http.client.HTTPResponse:
    """The answer, read to its end; whoever refuses a body need not read all of it."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.putrequest("POST", "/v1/chat/completions")
        connection.putheader("content-type", "application/json")
        connection.putheader("content-length", str(len(data)))
        connection.endheaders()
        with suppress(ConnectionError):
            connection.send(data)
        response = connection.getresponse()
        response.read()
        return response
    finally:
        connection.close()


def resident(pid: int) -> int:
    """Bytes of memory that a process holds."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_a_hundred_megabytes_come_and_go(scripted: ThreadedUpstream, tmp_path: Path) -> None:
    """In a process of its own, whose memory is nobody else's. It answers all the while, and gives the memory back."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = tmp_path / "d.json"
    provider = {"dialect": "messages", "base_url": scripted.url, "api_key": "sk-upstream-0123"}
    server = {"port": port, "max_body": "150MB"}
    config.write_text(json.dumps({"providers": {"up": provider}, "server": server, "store": False, "auto": False}))
    command = [sys.executable, "-m", "dragoman", "serve", "--config", str(config), "--quiet", "--no-local"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as child:
        try:
            wait_for(port, child)
            small = body("chat", "up/m")
            assert post(port, small).status == 200
            before = resident(child.pid)
            for text in (b"[" * 100_000_000, b"[" + b"0," * 2_000_000 + b"0]", b'"' + b"x" * 20_000_000 + b'"'):
                assert post(port, body("chat", "up/m", text=text)).status in {200, 400}
            assert post(port, b"\xff" * 100_000_000).status == 400
            assert post(port, b"{" * 160_000_000).status == 413
            assert post(port, small).status == 200
            assert resident(child.pid) - before < 60_000_000
        finally:
            child.terminate()
            said = child.communicate(timeout=PATIENCE)[0]
    assert b"Traceback" not in said, said
