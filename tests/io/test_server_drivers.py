"""Both server drivers, byte by byte: ASGI under uvicorn, and the native one.

Everything here holds for both, but for what the two tables say.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

import pytest

from dragoman.config import ServerLimits
from dragoman.wire.http import Inbound, Outbound
from tests.io.authority import Authority
from tests.io.scripted_peer import Run, until
from tests.io.server_drivers import PIECE, Echo, chunked, get, on_all_drivers, post, serving

UVICORN_ANSWERS: dict[str, tuple[int, str]] = {
    "no-host": (200, "uvicorn does not ask for a host"),
    "two-hosts": (200, "uvicorn does not count hosts"),
    "space-in-host": (200, "uvicorn does not look at hosts"),
    "path-in-host": (200, "uvicorn does not look at hosts"),
    "user-in-host": (200, "uvicorn does not look at hosts"),
    "http-2.0-in-the-line": (200, "uvicorn takes any version for 1.1"),
    "http-0.9": (200, "uvicorn takes any version for 1.1"),
    "chunked-in-http-1.0": (200, "uvicorn reads chunks whatever the version; RFC 9112 calls it a sign of smuggling"),
    "gzip-chunked": (200, "uvicorn passes the body on with its coding undone by nobody"),
    "too-many-fields": (200, "uvicorn has no limit on header fields"),
    "long-field": (200, "uvicorn has no limit on the head"),
    "long-target": (200, "uvicorn has no limit on the target"),
    "websocket": (200, "uvicorn ignores an upgrade that it does not know and answers the request"),
    "asterisk": (200, "uvicorn hands `*` over as a path"),
    "unknown-expectation": (200, "uvicorn ignores what it does not know"),
}
"""What uvicorn answers to a request that the native driver refuses, and why."""

UVICORN_CANNOT: dict[str, str] = {
    "slow-head": "uvicorn has no timeout for a head",
    "silent-client": "uvicorn's keep-alive timeout begins with the first answer",
    "stalled-reader": "uvicorn waits for a client that takes nothing for ever",
    "http-1.0-stream": "uvicorn sends chunks to HTTP/1.0, which does not know them",
    "upgrade-with-body": "uvicorn loses the body of a request that offers an upgrade (Java's client does with h2c)",
    "lingering": "uvicorn closes upon unread data, so that the refusal may be lost in a reset",
    "absolute-target-without-path": "uvicorn cannot read a URL without a path",
    "leaving-with-requests-in-line": "uvicorn does not read while a request waits for its turn, and so misses the end",
    "endless-framing": "uvicorn has no limit on chunk extensions and trailers",
    "first-piece": "uvicorn waits for the first piece of a body before it says that there is one",
    "broken-head-behind": "uvicorn writes its 400 at once, before or into the answer to the request before it",
}
"""What it does not do at all. Its half of the test shows what it does instead."""

SMALL = ServerLimits(max_headers=20, max_header_size=8192, max_url_size=1024)
QUICK = 0.15


# ---------------------------------------------------------------- what is one request


@on_all_drivers
def test_answers_one_request_after_another_on_a_connection(driver: str, run: Run) -> None:
    async def scenario() -> None:
        async with serving(driver) as served, served.client() as client:
            for number in range(5):
                await client.send(post(f"/echo?n={number}", b"%d" % number))
                got = await client.answer()
                assert (got.status, got.body, got.header(b"x-query")) == (200, b"%d" % number, b"n=%d" % number)
                assert got.header(b"connection") is None
            assert served.open() == 1

    run(scenario())


@on_all_drivers
@pytest.mark.parametrize(
    "raw", [post("/echo", b"hello"), chunked("/echo", b"he", b"llo", trailer=b"x-t: 1\r\n"), post("/echo", b"a\r\n\r\nb\r\n\r")]
)
def test_a_request_may_come_byte_by_byte(driver: str, run: Run, raw: bytes) -> None:
    async def scenario() -> None:
        async with serving(driver) as served, served.client() as client:
            for _ in range(2):
                await client.send_bytewise(raw)
                got = await client.answer()
                assert got.status == 200
                assert got.body in {b"hello", b"a\r\n\r\nb\r\n\r"}
            assert len(served.handler.seen) == 2

    run(scenario())


@on_all_drivers
def test_requests_may_be_split_at_every_byte(driver: str, run: Run) -> None:
    raw = post("/echo", b"one") + chunked("/echo", b"t\r\n\r\nw", b"o") + get("/echo") + post("/echo?last", b"\r\n\r\n")

    async def scenario() -> None:
        async with serving(driver) as served:
            for at in range(1, len(raw)):
                async with served.client() as client:
                    await client.send(raw[:at])
                    for _ in range(3):
                        await asyncio.sleep(0)
                    await client.send(raw[at:])
                    bodies = [(await client.answer()).body for _ in range(4)]
                    assert bodies == [b"one", b"t\r\n\r\nwo", b"", b"\r\n\r\n"], at

    run(scenario())


@on_all_drivers
def test_chunks_may_have_extensions_and_hosts_may_have_any_form(driver: str, run: Run) -> None:
    async def scenario() -> None:
        async with serving(driver) as served, served.client() as client:
            head = b"POST /echo HTTP/1.1\r\nhost: %b\r\nTransfer-Encoding:\tCHUNKED \r\n\r\n"
            for host in (b"", b"a.test:80", b"[::1]", b"[::1]:8080", b"127.0.0.1:1", b"a_b.test", b"xn--a.test."):
                await client.send(head % host + b'3;a=b\r\nabc\r\n003;c="d;e"\r\ndef\r\n000;last\r\n\r\n')
                assert (await client.answer()).body == b"abcdef"

    run(scenario())


@on_all_drivers
def test_what_the_handler_gets_is_what_was_sent(driver: str, run: Run) -> None:
    async def scenario() -> None:
        async with serving(driver) as served, served.client() as client:
            await client.send(get("/%65cho?a=%20b&c", b"X-Mixed: A b", b"x-twice: 1", b"x-twice: 2", b"x-empty:"))
            assert (await client.answer()).status == 200
            [seen] = served.handler.seen
            assert (seen.method, seen.path, seen.raw_path, seen.query) == ("GET", "/echo", b"/%65cho", b"a=%20b&c")
            assert seen.headers == [
                (b"host", b"test"), (b"x-mixed", b"A b"), (b"x-twice", b"1"), (b"x-twice", b"2"), (b"x-empty", b""),
            ]  # fmt: skip
            assert seen.client == "127.0.0.1"

    run(scenario())


@on_all_drivers
@pytest.mark.parametrize(
    ("target", "path", "query"),
    [("http://test/echo?x=1", "/echo", b"x=1"), ("http://test", "/", b""), ("https://u@h:1/echo", "/echo", b"")],
)
def test_an_absolute_target_is_read_as_its_path(driver: str, run: Run, target: str, path: str, query: bytes) -> None:
    async def scenario() -> None:
        async with serving(driver) as served, served.client() as client:
            await client.send(get(target))
            got = await client.answer()
            if driver == "asgi" and target == "http://test":
                assert got.status == 400, UVICORN_CANNOT["absolute-target-without-path"]
                return
            assert got.status == 200
            assert (served.handler.seen[0].path or "/", served.handler.seen[0].query) == (path, query)

    run(scenario())


@on_all_drivers
def test_a_large_body_arrives_whole(driver: str, run: Run) -> None:
    body = PIECE * 12
    ones = [body[at : at + 1] for at in range(3000)]

    async def scenario() -> None:
        async with serving(driver) as served, served.client() as client:
            for raw, expected in [
                (post("/echo", body), body),
                (chunked("/echo", body[:1000], body[1000:500_000], body[500_000:]), body),
                (chunked("/echo", *ones), b"".join(ones)),
                (chunked("/echo", *[b"\r\n\r\n"] * 2000), b"\r\n\r\n" * 2000),
            ]:
                sending = asyncio.ensure_future(client.send(raw))
                got = await client.answer()
                await sending
                assert got.body == expected

    run(scenario())


# ---------------------------------------------------------------- what is not


@dataclass
class Refused:
    name: str
    raw: bytes
    status: int = 400


_HEAD = b"POST /echo HTTP/1.1\r\nhost: test\r\n"
_CHUNKED = _HEAD + b"transfer-encoding: chunked\r\n\r\n"
_LONG = b"a" * 9000

REFUSED = [
    Refused("length-and-chunks", _HEAD + b"content-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
    Refused("chunks-and-length", _HEAD + b"transfer-encoding: chunked\r\ncontent-length: 3\r\n\r\n0\r\n\r\n"),
    Refused("two-lengths", _HEAD + b"content-length: 3\r\ncontent-length: 4\r\n\r\nabcd"),
    Refused("list-of-lengths", _HEAD + b"content-length: 3, 3\r\n\r\nabc"),
    Refused("signed-length", _HEAD + b"content-length: +3\r\n\r\nabc"),
    Refused("negative-length", _HEAD + b"content-length: -3\r\n\r\nabc"),
    Refused("hex-length", _HEAD + b"content-length: 0x3\r\n\r\nabc"),
    Refused("empty-length", _HEAD + b"content-length:\r\n\r\n"),
    Refused("overflowing-length", _HEAD + b"content-length: 18446744073709551617\r\n\r\na"),
    Refused("identical-lengths", _HEAD + b"content-length: 3\r\ncontent-length: 3\r\n\r\nabc"),
    Refused("vertical-tab-in-coding", _HEAD + b"transfer-encoding: \x0bchunked\r\n\r\n0\r\n\r\n"),
    Refused("quoted-coding", _HEAD + b'transfer-encoding: "chunked"\r\n\r\n0\r\n\r\n'),
    Refused("space-before-colon-of-coding", _HEAD + b"content-length: 5\r\ntransfer-encoding : chunked\r\n\r\n0\r\n\r\n"),
    Refused("two-codings", _HEAD + b"transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
    Refused("chunked-not-last", _HEAD + b"transfer-encoding: chunked, gzip\r\n\r\n0\r\n\r\n"),
    Refused("identity", _HEAD + b"transfer-encoding: identity\r\n\r\n0\r\n\r\n"),
    Refused("xchunked", _HEAD + b"transfer-encoding: xchunked\r\n\r\n0\r\n\r\n"),
    Refused("gzip-chunked", _HEAD + b"transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
    Refused("chunked-in-http-1.0", b"POST /echo HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
    Refused("space-after-chunk-size", _CHUNKED + b"3 \r\nabc\r\n0\r\n\r\n"),
    Refused("chunk-size-not-hex", _CHUNKED + b"xyz\r\nabc\r\n0\r\n\r\n"),
    Refused("negative-chunk-size", _CHUNKED + b"-3\r\nabc\r\n0\r\n\r\n"),
    Refused("hex-prefix-in-chunk-size", _CHUNKED + b"0x3\r\nabc\r\n0\r\n\r\n"),
    Refused("overflowing-chunk-size", _CHUNKED + b"fffffffffffffffff\r\nabc\r\n0\r\n\r\n"),
    Refused("bare-lf-after-chunk-size", _CHUNKED + b"3\nabc\r\n0\r\n\r\n"),
    Refused("bare-cr-after-chunk-size", _CHUNKED + b"3\rabc\r\n0\r\n\r\n"),
    Refused("bare-lf-in-chunk-extension", _CHUNKED + b"3;a\nb\r\nabc\r\n0\r\n\r\n"),
    Refused("bare-cr-in-chunk-extension", _CHUNKED + b"3;a\rb\r\nabc\r\n0\r\n\r\n"),
    Refused("bare-lf-after-chunk", _CHUNKED + b"3\r\nabc\n0\r\n\r\n"),
    Refused("no-line-end-after-chunk", _CHUNKED + b"3\r\nabc0\r\n\r\n"),
    Refused("coding-in-a-trailer", _CHUNKED + b"0\r\ntransfer-encoding: chunked\r\n\r\n"),
    Refused("folded-trailer", _CHUNKED + b"0\r\nx: 1\r\n y\r\n\r\n"),
    Refused("chunk-longer-than-its-size", _CHUNKED + b"3\r\nabcd\r\n0\r\n\r\n"),
    Refused("space-before-colon", b"POST /echo HTTP/1.1\r\nhost: test\r\ncontent-length : 3\r\n\r\nabc"),
    Refused("folded-field", get("/echo", b"x-a: 1\r\n b")),
    Refused("space-before-first-field", b"GET /echo HTTP/1.1\r\n x: 1\r\nhost: test\r\n\r\n"),
    Refused("bare-lf", b"GET /echo HTTP/1.1\nhost: test\n\n"),
    Refused("bare-lf-after-field", b"GET /echo HTTP/1.1\r\nhost: test\n\r\n"),
    Refused("bare-cr-in-field", get("/echo", b"x-a: 1\r2")),
    Refused("nul-in-field", get("/echo", b"x-a: 1\x002")),
    Refused("nul-in-target", get("/echo\x00")),
    Refused("control-in-field", get("/echo", b"x-a: 1\x012")),
    Refused("field-without-name", get("/echo", b": 1")),
    Refused("field-without-colon", get("/echo", b"x-a")),
    Refused("unknown-method", get("/echo", method=b"BREW")),
    Refused("method-in-lower-case", get("/echo", method=b"get")),
    Refused("target-without-slash", get("echo")),
    Refused("target-with-umlaut", "GET /ech\u00f6 HTTP/1.1\r\nhost: test\r\n\r\n".encode()),
    Refused("authority-as-target", get("test:443", method=b"CONNECT")),
    Refused("asterisk", get("*", method=b"OPTIONS")),
    Refused("http-2-preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    Refused("http-2.0-in-the-line", get("/echo", version=b"2.0"), 505),
    Refused("http-0.9", b"GET /echo\r\n\r\n", 505),
    Refused("tls-hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64)),
    Refused("no-host", b"GET /echo HTTP/1.1\r\n\r\n"),
    Refused("two-hosts", get("/echo", b"host: test")),
    Refused("space-in-host", b"GET /echo HTTP/1.1\r\nhost: a b\r\n\r\n"),
    Refused("path-in-host", b"GET /echo HTTP/1.1\r\nhost: a/b\r\n\r\n"),
    Refused("user-in-host", b"GET /echo HTTP/1.1\r\nhost: a@b\r\n\r\n"),
    Refused("only-carriage-returns", b"GET /echo HTTP/1.1\rhost: test\r\r"),
    Refused("tabs-in-the-line", b"GET\t/echo\tHTTP/1.1\r\nhost: test\r\n\r\n"),
    Refused("too-many-fields", get("/echo", *[b"x-%d: 1" % n for n in range(20)]), 431),
    Refused("long-field", get("/echo", b"x-a: " + _LONG), 431),
    Refused("long-target", get("/echo?" + "a" * 1100), 414),
    Refused("websocket", get("/echo", b"upgrade: websocket", b"connection: Upgrade", b"sec-websocket-key: eA=="), 501),
    Refused("unknown-expectation", post("/echo", b"abc", b"expect: 200-ok"), 417),
]


@on_all_drivers
@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.name)
@pytest.mark.parametrize("bytewise", [False, True], ids=["whole", "bytewise"])
def test_refuses_what_is_not_one_plain_request(driver: str, run: Run, case: Refused, bytewise: bool) -> None:
    if bytewise and len(case.raw) > 1000:
        pieces = [case.raw[at : at + 100] for at in range(0, len(case.raw), 100)]
    else:
        pieces = [case.raw[at : at + 1] for at in range(len(case.raw))] if bytewise else [case.raw]
    expected = case.status if driver == "native" else UVICORN_ANSWERS.get(case.name, (case.status, ""))[0]

    async def scenario() -> None:
        async with serving(driver, limits=SMALL) as served, served.client() as client:
            answer = asyncio.ensure_future(client.answer())
            for piece in pieces:
                if answer.done():
                    break
                client.writer.write(piece)
                await asyncio.sleep(0)
            got = await answer
            assert got.status == expected
            if expected != 200:
                assert got.header(b"connection") == b"close"
                assert served.handler.seen == []
                # What follows on such a connection is nobody's request.
                if not client.writer.is_closing():
                    client.writer.write(get("/echo?smuggled"))
                assert await client.rest() == b""
                assert served.handler.seen == []

    run(scenario())


def test_each_known_divergence_is_tested() -> None:
    assert set(UVICORN_ANSWERS) <= {case.name for case in REFUSED}
    source = Path(__file__).read_text()
    assert all(source.count(f'"{name}"') > 1 for name in UVICORN_CANNOT)


@on_all_drivers
def test_a_bad_request_behind_a_good_one_is_refused_in_its_turn(driver: str, run: Run) -> None:
    async def scenario() -> None:
        async with serving(driver) as served, served.client() as client:
            await client.send(post("/wait", b"abc") + b"GARBAGE\x01 not http")
            await served.handler.entered.wait()
            if driver == "native":
                served.handler.gate.set()
                assert (await client.answer()).body == b"abc"
            else:
                assert "broken-head-behind" in UVICORN_CANNOT
            assert (await client.answer()).status == 400
            assert await client.rest() == b""

    run(scenario())


@on_all_drivers
def test_the_response_cannot_be_split_by_a_header(driver: str, run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        async with serving(driver) as served:
            for path in ("/inject", "/inject-newline"):
                async with served.client() as client:
                    await client.send(get(path))
                    got = await client.rest()
                    assert b"x-evil" not in got
                    # uvicorn takes an answer for begun before it has looked at its headers.
                    assert got.startswith(b"HTTP/1.1 500 ") if driver == "native" else got == b""

    run(scenario())
    assert "ValueError" in caplog.text or "RuntimeError" in caplog.text


# ---------------------------------------------------------------- how an answer ends


@on_all_drivers
def test_an_answer_without_a_length_goes_in_chunks(driver: str, run: Run) -> None:
    async def scenario() -> None:
        async with serving(driver) as served, served.client() as client:
            for _ in range(2):
                await client.send(get("/stream"))
                got = await client.answer()
                assert got.header(b"transfer-encoding") == b"chunked"
                assert got.chunks[:3] == [b"data: 0\n\n", b"data: 1\n\n", b"data: 2\n\n"]
                assert b"".join(got.chunks[3:]) == PIECE

    run(scenario())


@on_all_drivers
def test_the_head_of_a_stream_does_not_wait_for_its_body(driver: str, run: Run) -> None:
    async def scenario() -> None:
        async with serving(driver) as served, served.client() as client:
            await client.send(get("/begin-and-wait"))
            assert (await client.head()).status == 200
            served.handler.gate.set()
            assert await client.chunk() == b"late"
            assert await client.chunk() == b""

    run(scenario())


@on_all_drivers
@pytest.mark.parametrize("path", ["/echo", "/stream", "/no-content", "/not-modified"])
def test_head_and_bodiless_statuses_have_no_body(driver: str, run: Run, path: str) -> None:
    method = "HEAD" if path in {"/echo", "/stream"} else "GET"

    async def scenario() -> None:
        async with serving(driver) as served, served.client() as client:
            await client.send(get(path, method=method.encode()) + get("/echo?next"))
            got = await client.answer(method)
            assert got.header(b"transfer-encoding") is None
            assert (await client.answer()).header(b"x-query") == b"next"

    run(scenario())


@on_all_drivers
@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
def test_a_connection_ends_when_the_client_says_so(driver: str, run: Run, version: bytes) -> None:
    async def scenario() -> None:
        async with serving(driver) as served, served.client() as client:
            fields = [b"connection: close"] if version == b"1.1" else [b"connection: keep-alive"]
            await client.send(get("/echo?1", *fields, version=version))
            got = await client.answer()
            assert got.header(b"connection") == b"close"
            assert await client.rest() == b""
            assert len(served.handler.seen) == 1

    run(scenario())


@on_all_drivers
def test_http_1_0_gets_no_chunks(driver: str, run: Run) -> None:
    async def scenario() -> None:
        async with serving(driver) as served, served.client() as client:
            await client.send(get("/stream", version=b"1.0"))
            got = await client.answer()
            assert got.body == b"data: 0\n\ndata: 1\n\ndata: 2\n\n" + PIECE
            assert got.header(b"connection") == b"close"
            assert (got.header(b"transfer-encoding") == b"chunked") == (driver == "asgi"), UVICORN_CANNOT["http-1.0-stream"]

    run(scenario())


@on_all_drivers
@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
def test_an_answer_that_is_broken_off_does_not_look_whole(driver: str, run: Run, version: bytes) -> None:
    async def scenario() -> None:
        async with serving(driver) as served, served.client() as client:
            await client.send(get("/break-off", version=version))
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await client.answer()

    run(scenario())


@on_all_drivers
@pytest.mark.parametrize("path", ["/too-short", "/too-long"])
def test_an_answer_of_another_length_than_announced_does_not_look_whole(driver: str, run: Run, path: str) -> None:
    async def scenario() -> None:
        async with serving(driver) as served, served.client() as client:
            await client.send(get(path) + get("/echo"))
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await client.answer()
            assert await client.rest() == b""

    run(scenario())


@on_all_drivers
@pytest.mark.parametrize("path", ["/say-nothing", "/fail"])
def test_a_handler_that_says_nothing_makes_a_500(driver: str, run: Run, path: str) -> None:
    async def scenario() -> None:
        async with serving(driver) as served, served.client() as client:
            await client.send(get(path))
            assert (await client.answer()).status == 500
            assert await client.rest() == b""

    run(scenario())


# ---------------------------------------------------------------- bodies that are not wanted, or not whole


@on_all_drivers
def test_a_client_that_asks_is_told_to_go_on(driver: str, run: Run) -> None:
    async def scenario() -> None:
        async with serving(driver) as served, served.client() as client:
            for raw, body in [(post("/echo", b"abc", b"expect: 100-continue"), b"abc"), (get("/echo"), b"")]:
                head, _, rest = raw.partition(b"\r\n\r\n")
                await client.send(head + b"\r\n\r\n")
                if body:
                    assert (await client.answer()).status == 100
                    assert served.handler.seen == []
                    await client.send(rest)
                got = await client.answer()
                assert (got.status, got.body) == (200, body)

    run(scenario())


@on_all_drivers
@pytest.mark.parametrize("expects", [True, False])
def test_a_body_that_is_announced_as_too_large_is_refused_unread(driver: str, run: Run, expects: bool) -> None:
    async def scenario() -> None:
        fields = [b"expect: 100-continue"] if expects else []
        async with serving(driver, Echo(max_body=1000)) as served, served.client() as client:
            await client.send(get("/echo", b"content-length: 1001", *fields, method=b"POST"))
            got = await client.answer()
            assert got.status == 413
            assert got.body.startswith(b"refused /echo: ")
            assert served.handler.seen == []

    run(scenario())


@on_all_drivers
def test_a_body_in_chunks_is_refused_when_it_has_become_too_large(driver: str, run: Run) -> None:
    async def scenario() -> None:
        async with serving(driver, Echo(max_body=1000)) as served, served.client() as client:
            await client.send(chunked("/echo", b"x" * 1000))
            assert (await client.answer()).status == 200
            await client.send(get("/echo", b"transfer-encoding: chunked", method=b"POST"), b"3e8\r\n" + b"x" * 1000 + b"\r\n")
            await client.send(b"1\r\nx\r\n")
            assert (await client.answer()).status == 413
            assert len(served.handler.seen) == 1

    run(scenario())


@on_all_drivers
def test_a_refused_client_that_goes_on_sending_still_reads_why(driver: str, run: Run) -> None:
    async def scenario() -> None:
        async with serving(driver, Echo(max_body=1000)) as served, served.client() as client:
            await client.send(post("/echo", b"")[:-4].replace(b"length: 0", b"length: 9999999") + b"\r\n\r\n")
            if driver == "native":
                for _ in range(150):
                    await client.send(PIECE)
                await until(lambda: served.handler.seen == [])
                got = await client.answer()
                assert got.header(b"connection") == b"close"
                assert await client.rest() == b""
            else:
                got = await client.answer()
                assert got.header(b"connection") is None, UVICORN_CANNOT["lingering"]
            assert got.status == 413

    run(scenario())


@on_all_drivers
@pytest.mark.parametrize(
    "raw",
    [post("/echo", b"hello")[:-1], chunked("/echo", b"hello")[:-2], get("/echo")[:-2], b"GET"],
    ids=["length", "chunks", "head", "line"],
)
@pytest.mark.parametrize("end", ["close", "reset"])
def test_an_upload_that_is_given_up_never_reaches_the_handler(driver: str, run: Run, raw: bytes, end: str) -> None:
    async def scenario() -> None:
        async with serving(driver) as served:
            async with served.client() as client:
                await client.send(raw)
                await until(lambda: served.open() == 1)
                if end == "reset":
                    client.reset()
            await until(lambda: served.open() == 0)
            assert served.handler.seen == []

    run(scenario())


@on_all_drivers
@pytest.mark.parametrize("raw", [get("/echo"), post("/echo", b"abc"), chunked("/echo", b"a\r\n\r\n", b"bc")])
def test_an_offer_to_upgrade_is_declined(driver: str, run: Run, raw: bytes) -> None:
    head, _, body = raw.partition(b"\r\n\r\n")
    raw = head + b"\r\nconnection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n\r\n" + body

    async def scenario() -> None:
        async with serving(driver) as served:
            for pieces in ([raw], [raw[at : at + 1] for at in range(len(raw))]):
                async with served.client() as client:
                    for piece in pieces:
                        if not client.writer.is_closing():
                            client.writer.write(piece)
                        await asyncio.sleep(0)
                    if driver == "asgi" and body:
                        assert "upgrade-with-body" in UVICORN_CANNOT
                        continue
                    assert (await client.answer()).status == 200
                    await client.send(post("/echo", b"next"))
                    assert (await client.answer()).body == b"next"
            if driver == "native":
                assert [each.body for each in served.handler.seen[::2]] == [b"a\r\n\r\nbc" if b"chunked" in raw else body] * 2

    run(scenario())


_STRANGER = b"x-key: wrong"


@on_all_drivers
@pytest.mark.parametrize(
    "raw",
    [
        get("/echo", b"content-length: 900000", _STRANGER, method=b"POST"),
        get("/echo", b"content-length: 900000", _STRANGER, method=b"POST") + b"x" * 1000,
        get("/echo", b"transfer-encoding: chunked", _STRANGER, method=b"POST") + b"3\r\nabc\r\n",
        get("/echo", b"content-length: 900000", b"expect: 100-continue", _STRANGER, method=b"POST"),
    ],
    ids=["head", "beginning", "chunks", "expecting"],
)
def test_a_stranger_is_refused_before_the_body_has_come(driver: str, run: Run, raw: bytes) -> None:
    async def scenario() -> None:
        async with serving(driver, limits=ServerLimits(linger_timeout=QUICK)) as served, served.client() as client:
            await client.send(raw)
            if driver == "asgi" and raw.endswith(b"\r\n\r\n") and b"expect" not in raw:
                assert "first-piece" in UVICORN_CANNOT
                await client.send(b"x")
            got = await client.answer()
            assert (got.status, got.body) == (401, b"refused /echo: a stranger")
            assert served.handler.seen == []
            if driver == "native":
                assert got.header(b"connection") == b"close"
                client.writer.write(b"x" * 1000)
                assert await client.rest() == b""

    run(scenario())


@on_all_drivers
def test_a_request_that_comes_in_one_piece_is_not_screened_first(driver: str, run: Run) -> None:
    """The handler sees it anyway, and would do the work twice."""

    async def scenario() -> None:
        async with serving(driver) as served, served.client() as client:
            for raw in (post("/echo", b"abc"), chunked("/echo", b"abc"), get("/echo"), post("/echo", b"x" * 60_000)):
                await client.send(raw)
                assert (await client.answer()).status == 200
            assert len(served.handler.screened) <= (0 if driver == "native" else 1)

    run(scenario())


@on_all_drivers
@pytest.mark.parametrize("at", [200, -1])
def test_whoever_may_send_a_body_is_screened_once(driver: str, run: Run, at: int) -> None:
    raw = post("/echo", b"x" * 1000)

    async def scenario() -> None:
        async with serving(driver) as served, served.client() as client:
            for number in range(1, 3):
                await client.send(raw[:at])
                await until(lambda number=number: len(served.handler.screened) == number)
                await client.send(raw[at:])
                assert (await client.answer()).body == b"x" * 1000
            assert served.handler.screened == [0, 0]

    run(scenario())


# ---------------------------------------------------------------- pipelining


@on_all_drivers
def test_requests_sent_ahead_are_answered_in_order(driver: str, run: Run) -> None:
    raw = b"".join(
        [get(f"/echo?{n}"), post(f"/stream?{n}", b"x" * n), chunked(f"/echo?{n}", b"y" * n)][n % 3] for n in range(1, 61)
    )

    async def scenario() -> None:
        async with serving(driver) as served, served.client() as client:
            sending = asyncio.ensure_future(client.send(raw))
            for number in range(1, 61):
                got = await client.answer()
                assert got.status == 200
                if number % 3 != 1:
                    assert got.header(b"x-query") == b"%d" % number
            await sending
            assert [each.query for each in served.handler.seen] == [b"%d" % n for n in range(1, 61)]

    run(scenario())


@on_all_drivers
def test_only_one_request_of_a_connection_is_at_work(driver: str, run: Run) -> None:
    async def scenario() -> None:
        async with serving(driver) as served, served.client() as client:
            await client.send(get("/wait?1") + get("/wait?2") + get("/echo?3"))
            await served.handler.entered.wait()
            assert len(served.handler.seen) == 1
            served.handler.gate.set()
            assert [(await client.answer()).header(b"x-query") for _ in range(3)] == [b"1", b"2", b"3"]

    run(scenario())


@on_all_drivers
def test_a_client_that_sends_ahead_without_end_is_not_read(driver: str, run: Run) -> None:
    async def scenario() -> None:
        async with serving(driver, patience=1, buffers=8192) as served, served.client(buffers=8192) as client:
            await client.send(get("/wait"))
            await served.handler.entered.wait()
            # More than the sockets and the server hold, or this would not wait.
            flood = get("/echo?ahead") * 20_000
            sending = asyncio.ensure_future(client.send(flood))
            while True:
                before = client.writer.transport.get_write_buffer_size()
                for _ in range(50):
                    await asyncio.sleep(0)
                if before == client.writer.transport.get_write_buffer_size() > 0:
                    break
            assert len(served.handler.seen) == 1
            served.handler.gate.set()
            for _ in range(500):
                assert (await client.answer()).status == 200
            client.reset()
            sending.cancel()
            await asyncio.wait([sending])
            await until(lambda: served.open() == 0)

    run(scenario())


# ---------------------------------------------------------------- clients that leave


@on_all_drivers
@pytest.mark.parametrize("end", ["close", "half", "reset"])
@pytest.mark.parametrize("path", ["/wait", "/begin-and-wait"])
def test_the_handler_of_a_client_that_left_is_cancelled(driver: str, run: Run, end: str, path: str) -> None:
    """`half`: only the sending side is closed. That counts as leaving, as it does for nginx as a proxy and for uvicorn."""

    async def scenario() -> None:
        async with serving(driver) as served, served.client() as client:
            await client.send(get(path))
            await served.handler.entered.wait()
            if end == "reset":
                client.reset()
            elif end == "half":
                client.writer.write_eof()
            else:
                client.writer.close()
            await served.handler.left.wait()
            assert served.handler.cancelled == [path]
            await until(lambda: served.open() == 0)
            assert len(served.handler.seen) == 1

    run(scenario())


@on_all_drivers
def test_so_is_that_of_one_that_had_sent_more(driver: str, run: Run) -> None:
    async def scenario() -> None:
        async with serving(driver) as served, served.client() as client:
            await client.send(get("/wait") + get("/echo?next"))
            await served.handler.entered.wait()
            client.writer.close()
            if driver == "asgi":
                assert "leaving-with-requests-in-line" in UVICORN_CANNOT
                served.handler.gate.set()
            await served.handler.left.wait()
            assert served.handler.cancelled == ([] if driver == "asgi" else ["/wait"])
            await until(lambda: served.open() == 0)

    run(scenario())


@on_all_drivers
def test_a_handler_that_tidies_up_after_its_answer_is_left_alone(driver: str, run: Run) -> None:
    class Tidy(Echo):
        async def do_echo(self, inbound: Inbound, out: Outbound) -> None:
            await super().do_echo(inbound, out)
            await self.gate.wait()
            self.pieces += 1

    async def scenario() -> None:
        handler = Tidy()
        async with serving(driver, handler) as served:
            async with served.client() as client:
                await client.send(get("/echo?1"))
                assert (await client.answer()).status == 200
                await client.send(get("/echo?2"))  # and it holds nobody up
                assert (await client.answer()).status == 200
            await until(lambda: served.open() == 0)
            handler.gate.set()
            await until(lambda: handler.pieces == 2)
            assert handler.cancelled == []

    run(scenario())


# ---------------------------------------------------------------- clients that are slow


@on_all_drivers
def test_the_handler_waits_for_a_client_that_does_not_read(driver: str, run: Run) -> None:
    async def scenario() -> None:
        async with serving(driver) as served, served.client(buffers=4096) as client:
            client.reader._transport.pause_reading()  # pyright: ignore[reportAttributeAccessIssue]
            await client.send(get("/flood"))
            await served.handler.entered.wait()
            while True:
                before = served.handler.pieces
                for _ in range(100):
                    await asyncio.sleep(0)
                if before == served.handler.pieces > 0:
                    break
            assert served.handler.pieces < 200  # what sockets and buffers hold
            client.reader._transport.resume_reading()  # pyright: ignore[reportAttributeAccessIssue]
            await client.head()
            for _ in range(before + 20):
                assert await client.chunk() == PIECE
            assert served.handler.pieces > before
            client.reset()
            await served.handler.left.wait()
            assert served.handler.cancelled == ["/flood"]

    run(scenario())


@on_all_drivers
def test_a_client_that_takes_nothing_is_given_up(driver: str, run: Run) -> None:
    async def scenario() -> None:
        limits = ServerLimits(send_timeout=QUICK)
        async with serving(driver, limits=limits, patience=1) as served, served.client(buffers=4096) as client:
            client.reader._transport.pause_reading()  # pyright: ignore[reportAttributeAccessIssue]
            await client.send(get("/flood"))
            if driver == "native":
                await served.handler.left.wait()
                assert served.handler.cancelled == ["/flood"]
                assert served.open() == 0
            else:
                await served.handler.entered.wait()
                assert served.open() == 1, UVICORN_CANNOT["stalled-reader"]

    run(scenario())


@on_all_drivers
def test_a_client_that_takes_its_answer_too_slowly_is_given_up_when_its_time_is_over(driver: str, run: Run) -> None:
    async def scenario() -> None:
        async with serving(driver, patience=1) as served, served.client(buffers=4096) as client:
            client.reader._transport.pause_reading()  # pyright: ignore[reportAttributeAccessIssue]
            await client.send(get("/bounded-flood"))
            await served.handler.left.wait()
            assert served.handler.cancelled == ["/bounded-flood"]
            # What it has not taken does not look like a whole answer.
            client.reader._transport.resume_reading()  # pyright: ignore[reportAttributeAccessIssue]
            assert not (await client.rest()).endswith(b"0\r\n\r\n")

    run(scenario())


@on_all_drivers
def test_a_client_that_takes_everything_is_not_timed_by_that(driver: str, run: Run) -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        limits = ServerLimits(header_timeout=0.03)
        async with serving(driver, limits=limits) as served, served.client() as client:
            await client.send(get("/bounded-wait"))
            loop.call_later(0.1, served.handler.gate.set)
            assert (await client.answer()).status == 200

    run(scenario())


@on_all_drivers
@pytest.mark.parametrize("sent", [b"G", get("/echo")[:-2]])
def test_a_head_that_does_not_come_is_not_waited_for(driver: str, run: Run, sent: bytes) -> None:
    async def scenario() -> None:
        limits = ServerLimits(header_timeout=QUICK)
        async with serving(driver, limits=limits) as served, served.client() as client:
            await client.send(sent)
            if driver == "native":
                assert (await client.answer()).status == 408
                assert await client.rest() == b""
                assert served.handler.seen == []
            else:
                await client.send(get("/echo")[len(sent) :])
                assert (await client.answer()).status == 200, UVICORN_CANNOT["slow-head"]

    run(scenario())


@on_all_drivers
def test_a_head_that_trickles_in_has_no_more_time(driver: str, run: Run) -> None:
    """The slow loris: a field now and then, and never the end."""

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        async with serving(driver, limits=ServerLimits(header_timeout=QUICK)) as served, served.client() as client:
            begun = loop.time()
            await client.send(b"GET /echo HTTP/1.1\r\nhost: test\r\n")
            answer = asyncio.ensure_future(client.answer())
            while not answer.done() and loop.time() < begun + 3 * QUICK:
                client.writer.write(b"x-a: 1\r\n")
                await asyncio.wait([answer], timeout=QUICK / 10)
            if driver == "native":
                assert (await answer).status == 408
                assert loop.time() >= begun + QUICK - 0.01
            else:
                await client.send(b"\r\n")
                assert (await answer).status == 200, UVICORN_CANNOT["slow-head"]

    run(scenario())


@on_all_drivers
@pytest.mark.parametrize("raw", [post("/echo", b"hello"), chunked("/echo", b"hello")], ids=["length", "chunks"])
def test_a_body_that_stops_coming_is_not_waited_for(driver: str, run: Run, raw: bytes) -> None:
    async def scenario() -> None:
        limits = ServerLimits(body_timeout=QUICK)
        async with serving(driver, limits=limits) as served, served.client() as client:
            await client.send(raw[:-5])
            got = await client.answer()
            assert (got.status, got.header(b"connection")) == (408, b"close")
            assert got.body.startswith(b"refused /echo: ")  # the head is known, and so is the dialect
            assert await client.rest() == b""
            assert served.handler.seen == []

    run(scenario())


@on_all_drivers
def test_a_body_that_keeps_coming_may_take_its_time(driver: str, run: Run) -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        async with serving(driver, limits=ServerLimits(body_timeout=QUICK)) as served, served.client() as client:
            head, _, body = post("/echo", b"x" * 12).partition(b"\r\n\r\n")
            begun = loop.time()
            await client.send(head + b"\r\n\r\n")
            for at in range(len(body)):
                await client.send(body[at : at + 1])
                await asyncio.wait([asyncio.ensure_future(served.handler.entered.wait())], timeout=QUICK / 5)
            assert (await client.answer()).body == body
            assert loop.time() - begun > QUICK
            served.handler.entered.set()

    run(scenario())


@on_all_drivers
@pytest.mark.parametrize("requests", [0, 1])
def test_an_idle_connection_is_closed(driver: str, run: Run, requests: int) -> None:
    async def scenario() -> None:
        limits = ServerLimits(idle_timeout=QUICK)
        async with serving(driver, limits=limits) as served, served.client() as client:
            for _ in range(requests):
                await client.send(get("/echo"))
                assert (await client.answer()).status == 200
            if driver == "native":
                assert await client.rest() == b""
                await until(lambda: served.open() == 0)
            else:
                # uvicorn's own, of five seconds, is uvicorn's to test; before the first request there is none.
                await until(lambda: served.open() == 1)
                assert "silent-client" in UVICORN_CANNOT

    run(scenario())


@on_all_drivers
def test_a_handler_at_work_is_not_timed_by_the_server(driver: str, run: Run) -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        limits = ServerLimits(idle_timeout=0.03, header_timeout=0.03, body_timeout=0.03, send_timeout=0.03)
        async with serving(driver, limits=limits) as served, served.client() as client:
            await client.send(get("/wait"))
            loop.call_later(4 * 0.03, served.handler.gate.set)
            assert (await client.answer()).status == 200

    run(scenario())


@on_all_drivers
@pytest.mark.parametrize("kind", ["extension", "trailer"])
def test_framing_without_content_has_an_end(driver: str, run: Run, kind: str) -> None:
    async def scenario() -> None:
        async with serving(driver, limits=SMALL) as served, served.client() as client:
            await client.send(_CHUNKED, b"1;" if kind == "extension" else b"1\r\nx\r\n0\r\n")
            answer = asyncio.ensure_future(client.answer())
            for _ in range(100):
                if not answer.done():
                    client.writer.write(b"a" * 1000 if kind == "extension" else b"a: " + b"b" * 1000 + b"\r\n")
                    await asyncio.sleep(0)
            if driver == "asgi":
                assert not answer.done(), UVICORN_CANNOT["endless-framing"]
                client.writer.write(b"\r\nx\r\n0\r\n\r\n" if kind == "extension" else b"\r\n")
            assert (await answer).status == (400 if driver == "native" else 200)

    run(scenario())


# ---------------------------------------------------------------- the end, TLS


@on_all_drivers
def test_a_drain_lets_answers_end_and_closes_what_is_idle(driver: str, run: Run) -> None:
    async def scenario() -> None:
        async with serving(driver) as served, served.client() as busy, served.client() as streaming, served.client() as idle:
            await idle.send(get("/echo"))
            assert (await idle.answer()).status == 200
            await streaming.send(get("/begin-and-wait"))
            assert (await streaming.head()).status == 200
            await busy.send(get("/wait"))
            await until(lambda: len(served.handler.seen) == 3)
            draining = asyncio.ensure_future(served.drain())
            assert await idle.rest() == b""
            async with served.client() as late:
                await late.send(get("/echo"))
                got = await late.answer()
                assert (got.status, got.header(b"connection")) == (200, b"close")
                assert await late.rest() == b""
            assert not draining.done()
            served.handler.gate.set()
            got = await busy.answer()
            assert (got.status, got.header(b"connection")) == (200, b"close")
            assert [await streaming.chunk(), await streaming.chunk()] == [b"late", b""]
            assert await busy.rest() == await streaming.rest() == b""
            await draining
            assert served.handler.cancelled == []

    run(scenario())


@on_all_drivers
def test_a_drain_breaks_off_what_takes_too_long(driver: str, run: Run) -> None:
    async def scenario() -> None:
        async with serving(driver, patience=1) as served, served.client() as client:
            await client.send(get("/begin-and-wait"))
            assert (await client.head()).status == 200
            draining = asyncio.ensure_future(served.drain())
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await client.chunk()
            await draining
            assert served.handler.cancelled == ["/begin-and-wait"]

    run(scenario())


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@on_all_drivers
def test_speaks_tls(driver: str, run: Run, authority: Authority) -> None:
    ours, theirs = authority.serving("localhost"), authority.trusting()

    async def scenario() -> None:
        async with serving(driver, server_tls=ours, client_tls=theirs) as served, served.client() as client:
            await client.send(post("/echo", PIECE) + chunked("/echo", b"abc"))
            assert (await client.answer()).body == PIECE
            assert (await client.answer()).body == b"abc"
            await client.send(get("/stream"))
            assert (await client.answer()).body.endswith(PIECE)
            await client.send(b"GARBAGE\r\n\r\n")
            assert (await client.answer()).status == 400
            assert await client.rest() == b""

    run(scenario())


@on_all_drivers
def test_a_client_that_leaves_over_tls_while_it_is_not_read_is_let_go_in_silence(
    driver: str, run: Run, authority: Authority
) -> None:
    ours, theirs = authority.serving("localhost"), authority.trusting()

    """Its farewell waits behind what it has sent, and is found together with the end of the connection. `run` fails if the
    loop complains."""

    async def turns(number: int) -> None:
        for _ in range(number):
            await asyncio.sleep(0)

    class Stuck(Echo):
        async def do_stuck(self, inbound: Inbound, out: Outbound) -> None:
            await asyncio.get_running_loop().create_future()

    async def scenario() -> None:
        handler = Stuck()
        async with serving(driver, handler, server_tls=ours, client_tls=theirs) as served, served.client() as client:
            await client.send(get("/wait"))
            await handler.entered.wait()
            client.writer.write(post("/stuck", PIECE * 3))
            client.writer.close()
            await turns(100)
            client.writer.transport.abort()
            await turns(100)
            handler.gate.set()
            await until(lambda: served.open() == 0)

    run(scenario())


@on_all_drivers
def test_a_small_answer_leaves_in_one_piece(driver: str, run: Run) -> None:
    async def scenario() -> None:
        async with serving(driver) as served, served.client() as client:
            await client.send(post("/echo", b"abc"))
            first = await client.reader.read(65536)
            if driver == "asgi":  # head and body are two messages there, and may be two segments
                first += await client.reader.readexactly(3) if first.endswith(b"\r\n\r\n") else b""
            assert first.endswith(b"\r\n\r\nabc")
            assert served.nodelay()

    run(scenario())


@on_all_drivers
def test_what_is_ready_at_once_leaves_at_once(driver: str, run: Run) -> None:
    async def scenario() -> None:
        async with serving(driver) as served, served.client() as client:
            await client.send(get("/stream"))
            first = await client.reader.read(1000)
            assert b"data: 2\n\n" in first or driver == "asgi"  # it has a system call for each event

    run(scenario())
