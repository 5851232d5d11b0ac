"""The scripted upstream as a server: framing, splitting, stalls, resets, and what it remembers."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import gzip
import ipaddress
import json
import ssl
import time
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from dragoman.testing import (
    SCENARIOS,
    Endless,
    Finish,
    Flaky,
    HttpError,
    Request,
    ScriptedUpstream,
    Stall,
    Text,
    ThreadedUpstream,
    fold_chat,
    fold_messages,
    render_chat,
    render_messages,
    scenario,
)

WAIT = 20.0
Run = Callable[[Coroutine[Any, Any, None]], None]


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    factory = asyncio.new_event_loop if request.param == "asyncio" else uvloop.new_event_loop

    def running(test: Coroutine[Any, Any, None]) -> None:
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(asyncio.wait_for(test, WAIT))

    return running


class Client:
    """A raw connection: what was read is what came."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def to(cls, upstream: ScriptedUpstream, context: ssl.SSLContext | None = None) -> Client:
        return cls(*await asyncio.open_connection("127.0.0.1", upstream.port, ssl=context))

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.transport.abort()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()

    def send(self, path: str, body: dict[str, Any] | None, *headers: str, method: str = "POST") -> None:
        data = b"" if body is None else json.dumps(body).encode()
        lines = [f"{method} {path} HTTP/1.1", "Host: x", f"Content-Length: {len(data)}", *headers, "", ""]
        self.writer.write("\r\n".join(lines).encode() + data)

    async def head(self) -> tuple[int, dict[str, str]]:
        raw = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in raw[1:] if line)
        return int(raw[0].split(" ")[1]), headers

    async def chunk(self) -> bytes:
        size = int(await self.reader.readuntil(b"\r\n"), 16)
        data = await self.reader.readexactly(size)
        assert await self.reader.readexactly(2) == b"\r\n"
        return data

    async def chunks(self) -> list[bytes]:
        held: list[bytes] = []
        while data := await self.chunk():
            held.append(data)
        return held


def chat(model: str = "m", *, stream: bool = True) -> dict[str, Any]:
    return {"model": model, "stream": stream, "stream_options": {"include_usage": True}, "messages": []}


async def stream(upstream: ScriptedUpstream, path: str, body: dict[str, Any]) -> bytes:
    """A streamed answer's whole body."""
    async with await Client.to(upstream) as client:
        client.send(path, body)
        assert (await client.head())[0] == 200
        return b"".join(await client.chunks())


CHAT = "/v1/chat/completions"
MESSAGES = "/v1/messages"

# ---------------------------------------------------------------- what it answers


@pytest.mark.parametrize("path", [CHAT, "/chat/completions", "/openai/v1/chat/completions", "/a/b/c/chat/completions?x=1"])
def test_any_path_that_ends_in_chat_completions_speaks_chat(run: Run, path: str) -> None:
    async def test() -> None:
        async with ScriptedUpstream() as upstream:
            body = await stream(upstream, path, chat())
            assert body == render_chat(SCENARIOS["text"], model="m").body
            assert fold_chat(body).text

    run(test())


@pytest.mark.parametrize("path", [MESSAGES, "/messages", "/anthropic/v1/messages?beta=true"])
def test_any_path_that_ends_in_messages_speaks_messages(run: Run, path: str) -> None:
    async def test() -> None:
        async with ScriptedUpstream() as upstream:
            body = await stream(upstream, path, chat())
            assert body == render_messages(SCENARIOS["text"], model="m").body
            assert fold_messages(body).text

    run(test())


def test_the_queue_comes_before_the_model_and_the_model_before_the_default(run: Run) -> None:
    async def test() -> None:
        async with ScriptedUpstream() as upstream:
            upstream.script("tools-one", SCENARIOS["thinking-reasoning"])
            upstream.script("refusal", model="m")
            upstream.script("text-empty", default=True)
            for model in ("m", "m", "m", "n", "scenario:text-length", "logprobs"):
                await stream(upstream, CHAT, chat(model))
            assert [r.scenario for r in upstream.requests] == [
                "tools-one",
                "thinking-reasoning",
                "refusal",
                "text-empty",
                "text-length",
                "logprobs",
            ]

    run(test())


def test_a_script_may_be_chosen_by_a_function_of_the_request(run: Run) -> None:
    async def test() -> None:
        async with ScriptedUpstream() as upstream:

            def choose(request: Request) -> str:
                return "text-one-piece" if request.json["temperature"] > 1 else "text"

            upstream.script(choose, default=True)
            for temperature in (0, 2):
                await stream(upstream, CHAT, {**chat(), "temperature": temperature})
            assert [r.scenario for r in upstream.requests] == ["text", "text-one-piece"]

    run(test())


def test_a_name_that_no_scenario_has_is_refused_at_once_with_names_like_it() -> None:
    with pytest.raises(LookupError, match="tools-interleaved"):
        ScriptedUpstream().script("tools-interleave")


def test_a_model_that_names_no_scenario_is_a_404_in_the_dialect(run: Run) -> None:
    async def test() -> None:
        async with ScriptedUpstream() as upstream, await Client.to(upstream) as client:
            client.send(MESSAGES, chat("scenario:nothing"))
            status, headers = await client.head()
            body = json.loads(await client.reader.readexactly(int(headers["content-length"])))
            assert (status, body["error"]["type"]) == (404, "not_found_error")

    run(test())


@pytest.mark.parametrize("queued", [True, False])
def test_a_flaky_upstream_fails_at_first_and_then_answers(run: Run, queued: bool) -> None:
    async def test() -> None:
        async with ScriptedUpstream() as upstream:
            flaky = Flaky(2, HttpError(529, "Overloaded"), "text-one-piece")
            upstream.script(flaky, default=not queued)
            seen: list[int] = []
            for _ in range(4):
                async with await Client.to(upstream) as client:
                    client.send(CHAT, chat())
                    seen.append((await client.head())[0])
            assert seen == [529, 529, 200, 200]
            assert upstream.requests[3].scenario == ("text" if queued else "text-one-piece")

    run(test())


def test_a_fixed_answer_goes_before_any_scenario(run: Run) -> None:
    async def test() -> None:
        async with ScriptedUpstream() as upstream, await Client.to(upstream) as client:
            upstream.on("/embeddings", 201, b'{"data":[]}', [("x-a", "b")])
            client.send("/v1/embeddings", {"input": "x"})
            status, headers = await client.head()
            assert (status, headers["x-a"]) == (201, "b")
            assert await client.reader.readexactly(11) == b'{"data":[]}'

    run(test())


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "PATCH"])
def test_any_other_request_is_answered_with_a_description_of_itself(run: Run, method: str) -> None:
    async def test() -> None:
        async with ScriptedUpstream() as upstream, await Client.to(upstream) as client:
            client.send("/v1/files/a%20b?limit=2&x=%C3%A9", {"k": "v"}, "X-Mixed-Case: One", "x-mixed-case: two", method=method)
            status, headers = await client.head()
            assert status == 200
            if method != "HEAD":
                seen = json.loads(await client.reader.readexactly(int(headers["content-length"])))
                assert seen["target"] == "/v1/files/a%20b?limit=2&x=%C3%A9"
                assert (seen["method"], seen["path"], seen["query"]) == (method, "/v1/files/a b", "limit=2&x=%C3%A9")
                assert seen["headers"][2:] == [["X-Mixed-Case", "One"], ["x-mixed-case", "two"]]
                assert seen["body"] == '{"k": "v"}'
            # The connection goes on: a HEAD has no body, whatever its length says.
            client.send(CHAT, chat())
            assert (await client.head())[0] == 200

    run(test())


# ---------------------------------------------------------------- what it remembers


def test_a_request_is_recorded_as_it_came(run: Run) -> None:
    async def test() -> None:
        async with ScriptedUpstream() as upstream:
            before = time.monotonic()
            await stream(upstream, CHAT + "?a=b%20c", chat("gpt"))
            (request,) = await upstream.wait_for_requests(1)
            assert (request.method, request.path, request.target) == ("POST", CHAT, CHAT + "?a=b%20c")
            assert request.query == "a=b%20c"
            assert request.headers[:2] == [("Host", "x"), ("Content-Length", str(len(request.body)))]
            assert request.header("content-length") == str(len(request.body))
            assert request.json == chat("gpt") == json.loads(request.body)
            assert before <= request.at <= time.monotonic()
            assert request.sent == upstream.bytes_written == len(render_chat(SCENARIOS["text"], model="gpt").body)
            assert request.connection == 1

    run(test())


@pytest.mark.parametrize("coding", ["plain", "chunked", "gzip"])
def test_a_body_is_read_however_it_is_sent(run: Run, coding: str) -> None:
    async def test() -> None:
        async with ScriptedUpstream() as upstream, await Client.to(upstream) as client:
            body = json.dumps({**chat(), "padding": "x" * 300_000}).encode()
            sent = gzip.compress(body) if coding == "gzip" else body
            lines = [f"POST {CHAT} HTTP/1.1", "host: x"]
            if coding == "chunked":
                cut = [sent[i : i + 70_000] for i in range(0, len(sent), 70_000)]
                sent = b"".join(b"%x;ext=1\r\n%b\r\n" % (len(piece), piece) for piece in cut) + b"0\r\n\r\n"
                lines.append("transfer-encoding: chunked")
            else:
                lines.append(f"content-length: {len(sent)}")
            if coding == "gzip":
                lines.append("content-encoding: gzip")
            client.writer.write("\r\n".join([*lines, "", ""]).encode())
            # A byte, then the rest.
            client.writer.write(sent[:1])
            await client.writer.drain()
            client.writer.write(sent[1:])
            assert (await client.head())[0] == 200
            assert upstream.requests[0].body == body

    run(test())


def test_a_client_that_waits_for_100_continue_gets_it(run: Run) -> None:
    async def test() -> None:
        async with ScriptedUpstream() as upstream, await Client.to(upstream) as client:
            body = json.dumps(chat()).encode()
            head = f"POST {CHAT} HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: {len(body)}\r\n\r\n"
            client.writer.write(head.encode())
            assert await client.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            client.writer.write(body)
            assert (await client.head())[0] == 200

    run(test())


@pytest.mark.parametrize("raw", [b"nonsense\r\n\r\n", b"GET / HTTP/3\r\n\r\n", b"GET / HTTP/1.1\r\nno colon\r\n\r\n"])
def test_what_is_not_http_is_a_400(run: Run, raw: bytes) -> None:
    async def test() -> None:
        async with ScriptedUpstream() as upstream, await Client.to(upstream) as client:
            client.writer.write(raw)
            assert (await client.head())[0] == 400
            await client.reader.read()

    run(test())


def test_only_so_many_requests_are_kept(run: Run) -> None:
    async def test() -> None:
        async with ScriptedUpstream(keep=3) as upstream:
            for number in range(5):
                await stream(upstream, CHAT, chat(f"m{number}"))
            assert [r.json["model"] for r in upstream.requests] == ["m2", "m3", "m4"]

    run(test())


# ---------------------------------------------------------------- how it writes


def test_a_scenario_may_be_cut_otherwise_than_all_others(run: Run) -> None:
    one = scenario("cut", Text("naïve 漢字"), Finish(), split="bytes:3")

    async def test() -> None:
        async with ScriptedUpstream(split="whole") as upstream, await Client.to(upstream) as client:
            upstream.script(one, "text")
            for scripted, sizes in ((one, {3}), (SCENARIOS["text"], None)):
                client.send(CHAT, chat("m"))
                await client.head()
                chunks = await client.chunks()
                assert b"".join(chunks) == render_chat(scripted, model="m").body
                assert len(chunks) == 1 if sizes is None else {len(chunk) for chunk in chunks[:-1]} == sizes

    run(test())


@pytest.mark.parametrize("split", ["whole", "event", "bytes:1", "bytes:7", "bytes:100000"])
def test_an_answer_is_cut_as_asked_and_is_the_same_answer(run: Run, split: str) -> None:
    async def test() -> None:
        async with ScriptedUpstream(split=split) as upstream, await Client.to(upstream) as client:
            client.send(CHAT, chat("scenario:unicode"))
            await client.head()
            chunks = await client.chunks()
            rendered = render_chat(SCENARIOS["unicode"], model="scenario:unicode")
            assert b"".join(chunks) == rendered.body
            match split:
                case "event":
                    assert chunks == list(rendered.parts)
                case "bytes:1" | "bytes:7":
                    size = int(split[6:])
                    assert {len(c) for c in chunks[:-1]} == {size}
                case _:
                    assert len(chunks) == 1

    run(test())


def test_pieces_are_flushed_one_by_one(run: Run) -> None:
    async def test() -> None:
        async with ScriptedUpstream(split="bytes:5", framing="close") as upstream, await Client.to(upstream) as client:
            client.send(CHAT, chat())
            await client.head()
            reads: list[bytes] = []
            while data := await client.reader.read(65536):
                reads.append(data)
            # Some may be read together, but by far the most are read as they were written.
            body = render_chat(SCENARIOS["text"], model="m").body
            assert b"".join(reads) == body
            assert len(reads) > len(body) / 5 / 2

    run(test())


def test_a_split_that_is_none_is_refused() -> None:
    for split in ("bytes", "bytes:0", "bytes:x", "line"):
        with pytest.raises(ValueError, match="split is"):
            ScriptedUpstream(split=split)


@pytest.mark.parametrize("framing", ["auto", "chunked", "close"])
@pytest.mark.parametrize("streamed", [True, False])
def test_a_body_is_framed_as_asked(run: Run, framing: Any, streamed: bool) -> None:
    async def test() -> None:
        async with ScriptedUpstream(framing=framing) as upstream, await Client.to(upstream) as client:
            client.send(CHAT, chat(stream=streamed))
            _, headers = await client.head()
            rendered = render_chat(SCENARIOS["text"], streamed, model="m")
            if framing == "close":
                assert headers["connection"] == "close"
                assert not {"content-length", "transfer-encoding"} & set(headers)
                assert await client.reader.read() == rendered.body
            elif streamed or framing == "chunked":
                assert headers["transfer-encoding"] == "chunked"
                assert b"".join(await client.chunks()) == rendered.body
            else:
                assert await client.reader.readexactly(int(headers["content-length"])) == rendered.body

    run(test())


def test_connections_are_kept_or_not_as_asked(run: Run) -> None:
    async def twice(upstream: ScriptedUpstream) -> bool:
        async with await Client.to(upstream) as client:
            for _ in range(2):
                client.send(CHAT, chat())
                try:
                    await client.head()
                    await client.chunks()
                except (asyncio.IncompleteReadError, OSError):
                    return False
        return True

    async def test() -> None:
        async with ScriptedUpstream() as upstream:
            assert await twice(upstream)
            assert upstream.connections.opened == 1
            await upstream.all_closed()
            assert upstream.connections.closed == 1
        async with ScriptedUpstream(keep_alive=False) as upstream:
            assert not await twice(upstream)
        async with ScriptedUpstream(requests_per_connection=1) as upstream:
            assert not await twice(upstream)
            assert len(upstream.requests) == 1

    run(test())


def test_gzip_is_for_those_who_accept_it(run: Run) -> None:
    async def test() -> None:
        async with ScriptedUpstream(gzip=True) as upstream:
            for accepts in (True, False):
                for streamed in (True, False):
                    async with await Client.to(upstream) as client:
                        client.send(CHAT, chat(stream=streamed), *(["Accept-Encoding: gzip, br"] if accepts else []))
                        _, headers = await client.head()
                        if accepts or streamed:
                            body = b"".join(await client.chunks())
                        else:
                            body = await client.reader.readexactly(int(headers["content-length"]))
                        assert (headers.get("content-encoding") == "gzip") == accepts
                        plain = gzip.decompress(body) if accepts else body
                        assert plain == render_chat(SCENARIOS["text"], streamed, model="m").body

    run(test())


# ---------------------------------------------------------------- what happens on the way


def test_a_stall_lasts_until_its_gate_is_opened(run: Run) -> None:
    async def test() -> None:
        async with ScriptedUpstream() as upstream, await Client.to(upstream) as client:
            client.send(CHAT, chat("scenario:stall-midway"))
            await client.head()
            await client.chunk()
            assert b'"Hel"' in await client.chunk()
            await upstream.reached()
            rest = asyncio.ensure_future(client.chunks())
            assert not rest.done()
            upstream.open_gate()
            assert b'"lo"' in (await rest)[0]

    run(test())


def test_a_stall_may_wait_for_an_event_or_for_a_time(run: Run) -> None:
    async def test() -> None:
        event = asyncio.Event()
        async with ScriptedUpstream() as upstream:
            upstream.script(scenario("s", Text(("a", Stall(event), "b", Stall(0.01), "c")), Finish()))
            answer = asyncio.ensure_future(stream(upstream, CHAT, chat()))
            await upstream.wait_for_requests(1)
            assert not answer.done()
            event.set()
            assert fold_chat(await answer).text == "abc"

    run(test())


def test_a_slow_head_sends_not_even_a_status(run: Run) -> None:
    async def test() -> None:
        async with ScriptedUpstream() as upstream, await Client.to(upstream) as client:
            client.send(CHAT, chat("scenario:slow-head"))
            await upstream.reached()
            head = asyncio.ensure_future(client.head())
            await asyncio.sleep(0)
            assert not head.done()
            upstream.open_gate()
            assert (await head)[0] == 200

    run(test())


@pytest.mark.parametrize(
    ("name", "error"), [("cut-midway", asyncio.IncompleteReadError), ("reset-midway", ConnectionResetError)]
)
def test_a_cut_ends_the_connection_and_a_reset_breaks_it(run: Run, name: str, error: type[Exception]) -> None:
    async def test() -> None:
        async with ScriptedUpstream() as upstream, await Client.to(upstream) as client:
            client.send(CHAT, chat(f"scenario:{name}"))
            await client.head()
            with pytest.raises(error):
                await client.chunks()

    run(test())


@pytest.mark.parametrize("name", ["cut-before-head", "reset-before-head"])
def test_an_answer_may_end_before_its_first_byte(run: Run, name: str) -> None:
    async def test() -> None:
        async with ScriptedUpstream() as upstream, await Client.to(upstream) as client:
            client.send(CHAT, chat(f"scenario:{name}"))
            with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)) as raised:
                await client.head()
            assert isinstance(raised.value, ConnectionResetError) == name.startswith("reset")
            assert not isinstance(raised.value, asyncio.IncompleteReadError) or raised.value.partial == b""

    run(test())


def test_a_whole_answer_that_is_cut_is_shorter_than_it_said(run: Run) -> None:
    async def test() -> None:
        async with ScriptedUpstream() as upstream, await Client.to(upstream) as client:
            client.send(CHAT, chat("scenario:cut-midway", stream=False))
            _, headers = await client.head()
            with pytest.raises(asyncio.IncompleteReadError) as raised:
                await client.reader.readexactly(int(headers["content-length"]))
            assert raised.value.partial.startswith(b'{"id":')

    run(test())


@pytest.mark.parametrize("name", ["endless", "stall-midway", "slow-head"])
def test_a_client_that_leaves_early_is_noticed_at_once(run: Run, name: str) -> None:
    async def test() -> None:
        async with ScriptedUpstream() as upstream:
            async with await Client.to(upstream) as client:
                client.send(CHAT, chat(f"scenario:{name}"))
                if name == "endless":
                    await client.head()
                else:
                    await upstream.reached()
                assert not upstream.connections.closed_early
                left_at = time.monotonic()
            event = await upstream.closed_early()
            assert left_at <= event.at < left_at + 1
            assert event.request.scenario == name
            await upstream.all_closed()

    run(test())


def test_a_client_that_has_its_answer_does_not_leave_early(run: Run) -> None:
    async def test() -> None:
        async with ScriptedUpstream() as upstream:
            await stream(upstream, CHAT, chat())
            await upstream.all_closed()
            assert upstream.connections.closed_early == []
            with pytest.raises(TimeoutError):
                await upstream.closed_early(0.01)

    run(test())


def test_a_client_that_does_not_read_stops_an_endless_answer(run: Run) -> None:
    async def test() -> None:
        async with ScriptedUpstream(send_buffer=65_536) as upstream, await Client.to(upstream) as client:
            client.writer.transport.pause_reading()  # pyright: ignore[reportAttributeAccessIssue]
            upstream.script(scenario("flood", Endless("x" * 10_000)))
            client.send(CHAT, chat())
            await upstream.wait_for_requests(1)
            written = await upstream.settled()
            assert 0 < written < 64 * 1024 * 1024
            assert upstream.requests[0].sent == written
            client.writer.transport.resume_reading()  # pyright: ignore[reportAttributeAccessIssue]
            while upstream.bytes_written == written:
                await client.reader.read(65_536)

    run(test())


def test_ten_thousand_events_arrive_whole(run: Run) -> None:
    async def test() -> None:
        async with ScriptedUpstream() as upstream:
            view = fold_messages(await stream(upstream, MESSAGES, chat("scenario:endless-10k")))
            expected = SCENARIOS["endless-10k"].expected
            assert expected is not None
            assert view.gist == expected.gist

    run(test())


def test_closing_it_ends_answers_that_are_under_way(run: Run) -> None:
    async def test() -> None:
        upstream = ScriptedUpstream()
        await upstream.start()
        async with await Client.to(upstream) as client:
            client.send(CHAT, chat("scenario:endless"))
            await client.head()
            await upstream.aclose()
            await upstream.aclose()
            with pytest.raises((asyncio.IncompleteReadError, OSError)):
                await client.chunks()
            assert upstream.connections.open == 0
            with pytest.raises(OSError):  # noqa: PT011
                await Client.to(upstream)

    run(test())


def certificate(folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's context and the context of a client that trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "scripted upstream")])
    now = datetime.datetime.now(datetime.UTC)
    cert = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = folder / "server.pem"
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(private + cert.public_bytes(serialization.Encoding.PEM))
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(path)
    client = ssl.create_default_context(cadata=cert.public_bytes(serialization.Encoding.PEM).decode())
    return server, client


def test_it_speaks_tls(run: Run, tmp_path: Path) -> None:
    async def test() -> None:
        server, trusting = certificate(tmp_path)
        async with ScriptedUpstream(ssl=server) as upstream:
            assert upstream.url.startswith("https://127.0.0.1:")
            async with await Client.to(upstream, trusting) as client:
                client.send(CHAT, chat())
                await client.head()
                assert fold_chat(b"".join(await client.chunks())).text
            async with await Client.to(upstream, trusting) as client:
                client.send(CHAT, chat("scenario:cut-midway"))
                await client.head()
                with pytest.raises((asyncio.IncompleteReadError, OSError)):
                    await client.chunks()

    run(test())


# ---------------------------------------------------------------- on a thread


def test_on_a_thread_it_has_the_same_names() -> None:
    names = {name for name in dir(ScriptedUpstream) if not name.startswith("_")}
    called_by_connections = {"answer", "connected", "hold", "left", "lost", "wrote"}
    started_by_the_with_statement = {"start", "aclose", "in_thread"}
    assert names - called_by_connections - started_by_the_with_statement <= set(dir(ThreadedUpstream))


def test_on_a_thread_it_serves_code_without_a_loop() -> None:
    with ScriptedUpstream.in_thread() as upstream:
        upstream.script("tools-one")
        upstream.script("stall-midway", default=True)

        async def ask(work: Callable[[Client], Awaitable[None]]) -> None:
            reader, writer = await asyncio.open_connection("127.0.0.1", upstream.port)
            async with Client(reader, writer) as client:
                client.send(CHAT, chat())
                await client.head()
                await work(client)

        async def all_of_it(client: Client) -> None:
            assert fold_chat(b"".join(await client.chunks())).calls

        async def a_little(client: Client) -> None:
            await client.chunk()

        asyncio.run(asyncio.wait_for(ask(all_of_it), WAIT))
        assert upstream.wait_for_requests(1)[0].scenario == "tools-one"
        assert upstream.bytes_written > 0
        asyncio.run(asyncio.wait_for(ask(a_little), WAIT))
        assert upstream.closed_early().request.scenario == "stall-midway"
        upstream.all_closed()
        assert upstream.connections.opened == 2


def test_a_port_that_is_taken_is_an_error_and_leaves_no_thread() -> None:
    with ScriptedUpstream.in_thread() as first, pytest.raises(OSError, match="in use"):
        ScriptedUpstream.in_thread(port=first.port).__enter__()
