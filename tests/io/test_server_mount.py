"""An ASGI application beside the handler, on both drivers: its own paths, bodies that are streams, clients that leave."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import pytest

from dragoman.config import ServerLimits, load
from dragoman.io.mount import Message, Mount, MountFailed, Receive, Scope, Send
from dragoman.io.serving import serve
from tests.io.process_signals import signals_as_before
from tests.io.scripted_peer import Run, run_on, until
from tests.io.server_drivers import PIECE, Echo, chunked, get, on_all_drivers, post, serving

QUICK = 0.15


class App:
    """What it does is in the path."""

    def __init__(self) -> None:
        self.scopes: list[Scope] = []
        self.got: list[Message] = []
        self.life: list[str] = []
        self.left = asyncio.Event()
        self.gate = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.live(scope, receive, send)
            return
        self.scopes.append(scope)
        try:
            await getattr(self, scope["path"].removeprefix("/app/").replace("-", "_"))(receive, send)
        finally:
            self.left.set()

    async def live(self, scope: Scope, receive: Receive, send: Send) -> None:
        for step in ("startup", "shutdown"):
            self.life.append((await receive())["type"])
            scope["state"]["started"] = True
            await send({"type": f"lifespan.{step}.complete"})

    async def receive(self, receive: Receive) -> Message:
        self.got.append(message := await receive())
        return message

    async def begin(self, send: Send, *headers: tuple[bytes, bytes], status: int = 200) -> None:
        await send({"type": "http.response.start", "status": status, "headers": list(headers)})

    async def echo(self, receive: Receive, send: Send) -> None:
        """Piece by piece, as they come."""
        await self.begin(send)
        while (message := await self.receive(receive))["type"] == "http.request":
            await send({"type": "http.response.body", "body": message.get("body", b""), "more_body": message["more_body"]})
            if not message["more_body"]:
                return

    async def hold(self, receive: Receive, send: Send) -> None:
        """Takes nothing until it may."""
        await self.gate.wait()
        await self.echo(receive, send)

    async def collect(self, receive: Receive, send: Send) -> None:
        """All of the body, then the answer."""
        body = b""
        while (message := await self.receive(receive))["more_body"]:
            body += message["body"]
        await self.begin(send)
        await send({"type": "http.response.body", "body": body + message["body"]})

    async def until_they_leave(self, receive: Receive, send: Send) -> None:
        await self.begin(send, (b"content-type", b"text/event-stream"))
        await send({"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True})
        while (await self.receive(receive))["type"] != "http.disconnect":
            pass
        await send({"type": "http.response.body", "body": b"to nobody", "more_body": True})

    async def flood(self, receive: Receive, send: Send) -> None:
        await self.begin(send)
        for _ in range(200):
            await send({"type": "http.response.body", "body": PIECE, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async def early(self, receive: Receive, send: Send) -> None:
        await self.begin(send, (b"content-length", b"2"), status=403)
        await send({"type": "http.response.body", "body": b"no"})

    async def fail(self, receive: Receive, send: Send) -> None:
        raise LookupError("on purpose")

    async def fail_within(self, receive: Receive, send: Send) -> None:
        await self.begin(send)
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise LookupError("on purpose")

    async def say_nothing(self, receive: Receive, send: Send) -> None: ...


@on_all_drivers
def test_the_application_gets_what_the_handler_does_not_own(driver: str, run: Run) -> None:
    async def scenario() -> None:
        app, handler = App(), Echo()
        mount = Mount(app)
        async with serving(driver, handler, mount=mount) as served, served.client() as client:
            raw = post("/echo", b"ours") + post("/app/echo?a=%20b", b"theirs", b"X-Mixed: A") + get("/echo")
            await client.send(raw)
            assert [(await client.answer()).body for _ in range(3)] == [b"ours", b"theirs", b""]
            assert [each.path for each in handler.seen] == ["/echo", "/echo"]
            [scope] = app.scopes
            assert (scope["method"], scope["path"], scope["raw_path"], scope["query_string"]) == (
                "POST", "/app/echo", b"/app/echo", b"a=%20b",
            )  # fmt: skip
            assert (b"x-mixed", b"A") in list(scope["headers"])
            assert (scope["http_version"], scope["scheme"], scope["client"][0]) == ("1.1", "http", "127.0.0.1")
            assert scope["server"] == ("127.0.0.1", served.port)
            assert scope["state"] == {"started": True}
        assert app.life == ["lifespan.startup", "lifespan.shutdown"]

    run(scenario())


@on_all_drivers
@pytest.mark.parametrize("raw", [post("/app/echo", b"hello"), chunked("/app/echo", b"he", b"l\r\n\r\no", trailer=b"x: 1\r\n")])
def test_its_requests_may_come_byte_by_byte(driver: str, run: Run, raw: bytes) -> None:
    async def scenario() -> None:
        async with serving(driver, mount=Mount(App())) as served, served.client() as client:
            for _ in range(2):
                await client.send_bytewise(raw)
                assert (await client.answer()).body in {b"hello", b"hel\r\n\r\no"}

    run(scenario())


@on_all_drivers
def test_a_body_reaches_it_while_the_client_still_sends(driver: str, run: Run) -> None:
    async def scenario() -> None:
        async with serving(driver, mount=Mount(App())) as served, served.client() as client:
            await client.send(get("/app/echo", b"transfer-encoding: chunked", method=b"POST"))
            await client.send(b"3\r\none\r\n")
            assert (await client.head()).status == 200
            assert await client.chunk() == b"one"
            await client.send(b"3\r\ntwo\r\n")
            assert await client.chunk() == b"two"
            await client.send(b"0\r\n\r\n")
            assert await client.chunk() == b""
            await client.send(get("/echo"))
            assert (await client.answer()).status == 200

    run(scenario())


@on_all_drivers
def test_a_client_that_sends_faster_than_it_takes_is_held_back_and_loses_nothing(driver: str, run: Run) -> None:
    async def scenario() -> None:
        app, handler = App(), Echo(max_body=64 * 1024 * 1024)
        async with serving(driver, handler, mount=Mount(app), buffers=8192) as served, served.client(buffers=8192) as client:
            body = PIECE * 32
            sending = asyncio.ensure_future(client.send(post("/app/hold", body)))
            while True:
                before = client.writer.transport.get_write_buffer_size()
                for _ in range(50):
                    await asyncio.sleep(0)
                if before == client.writer.transport.get_write_buffer_size() > 0:
                    break
            app.gate.set()
            got = await client.answer()
            await sending
            assert got.body == body

    run(scenario())


@on_all_drivers
@pytest.mark.parametrize("end", ["close", "reset"])
@pytest.mark.parametrize(
    "raw", [get("/app/until-they-leave"), post("/app/until-they-leave", b"abc")[:-1]], ids=["get", "upload"]
)
def test_it_is_told_when_the_client_leaves(driver: str, run: Run, end: str, raw: bytes) -> None:
    async def scenario() -> None:
        app = App()
        async with serving(driver, mount=Mount(app)) as served, served.client() as client:
            await client.send(raw)
            assert (await client.head()).status == 200
            assert await client.chunk() == b"data: 1\n\n"
            if end == "reset":
                client.reset()
            else:
                client.writer.close()
            await app.left.wait()
            assert app.got[-1]["type"] == "http.disconnect"
            await until(lambda: served.open() == 0)

    run(scenario())


@on_all_drivers
def test_it_waits_for_a_client_that_does_not_read(driver: str, run: Run) -> None:
    async def scenario() -> None:
        app = App()
        async with serving(driver, mount=Mount(app)) as served, served.client(buffers=4096) as client:
            client.reader._transport.pause_reading()  # pyright: ignore[reportAttributeAccessIssue]
            await client.send(get("/app/flood"))
            for _ in range(500):
                await asyncio.sleep(0)
            assert not app.left.is_set()
            client.reader._transport.resume_reading()  # pyright: ignore[reportAttributeAccessIssue]
            assert len((await client.answer()).body) == 200 * len(PIECE)

    run(scenario())


@on_all_drivers
def test_an_answer_before_the_body_has_come_is_read_and_ends_the_connection(driver: str, run: Run) -> None:
    async def scenario() -> None:
        async with serving(driver, mount=Mount(App())) as served, served.client() as client:
            await client.send(get("/app/early", b"content-length: 100000", method=b"POST"), b"x" * 10)
            got = await client.answer()
            assert (got.status, got.body) == (403, b"no")
            if driver == "native":  # uvicorn reads on to the end of the body
                await client.send(b"x" * 10)
                assert await client.rest() == b""

    run(scenario())


@on_all_drivers
def test_a_client_that_asks_whether_to_go_on_is_told_when_the_body_is_wanted(driver: str, run: Run) -> None:
    async def scenario() -> None:
        async with serving(driver, mount=Mount(App())) as served, served.client() as client:
            head, _, body = post("/app/collect", b"abc", b"expect: 100-continue").partition(b"\r\n\r\n")
            await client.send(head + b"\r\n\r\n")
            assert (await client.answer()).status == 100
            await client.send(body)
            assert (await client.answer()).body == b"abc"
            await client.send(get("/app/early", b"content-length: 3", b"expect: 100-continue", method=b"POST"))
            assert (await client.answer()).status == 403

    run(scenario())


@on_all_drivers
@pytest.mark.parametrize("path", ["/app/fail", "/app/say-nothing"])
def test_an_application_that_fails_makes_a_500(driver: str, run: Run, path: str) -> None:
    async def scenario() -> None:
        async with serving(driver, mount=Mount(App())) as served, served.client() as client:
            await client.send(get(path))
            assert (await client.answer()).status == 500
            assert await client.rest() == b""

    run(scenario())


@on_all_drivers
def test_an_application_that_fails_within_its_answer_breaks_it_off(driver: str, run: Run) -> None:
    async def scenario() -> None:
        async with serving(driver, mount=Mount(App())) as served, served.client() as client:
            await client.send(get("/app/fail-within"))
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await client.answer()

    run(scenario())


@pytest.mark.parametrize(
    ("raw", "limits", "status"),
    [
        (post("/app/hold", b"x" * 10)[:-1], ServerLimits(body_timeout=QUICK, linger_timeout=QUICK), 408),
        (chunked("/app/hold", b"x" * 700, b"x" * 700), ServerLimits(linger_timeout=QUICK), 413),
        (post("/app/hold", b"x" * 1400), ServerLimits(linger_timeout=QUICK), 413),
        (get("/app/hold", b"transfer-encoding: chunked", method=b"POST") + b"xyz\r\n", ServerLimits(linger_timeout=QUICK), 400),
    ],
    ids=["slow", "large-in-chunks", "large", "garbled"],
)
def test_the_native_driver_guards_it_as_it_guards_the_handler(raw: bytes, limits: ServerLimits, status: int) -> None:
    async def scenario() -> None:
        app = App()
        async with serving("native", Echo(max_body=1000), mount=Mount(app), limits=limits) as served, served.client() as client:
            await client.send(raw)
            assert (await client.answer()).status == status
            assert await client.rest() == b""
            app.gate.set()
            await until(lambda: served.open() == 0)

    run_on(asyncio.new_event_loop)(scenario())


# ---------------------------------------------------------------- its life

Lived = Callable[[Receive, Send], Coroutine[Any, Any, None]]


async def _starts(receive: Receive, send: Send) -> None:
    assert await receive() == {"type": "lifespan.startup"}
    await send({"type": "lifespan.startup.complete"})


async def _starts_and_goes(receive: Receive, send: Send) -> None:
    await _starts(receive, send)


async def _starts_and_never_ends(receive: Receive, send: Send) -> None:
    await _starts(receive, send)
    assert await receive() == {"type": "lifespan.shutdown"}
    await asyncio.Event().wait()


async def _starts_and_never_listens(receive: Receive, send: Send) -> None:
    await _starts(receive, send)
    await asyncio.Event().wait()


async def _fails_as_it_stops(receive: Receive, send: Send) -> None:
    await _starts(receive, send)
    await receive()
    await send({"type": "lifespan.shutdown.failed", "message": "the disk is full"})


async def _raises_as_it_stops(receive: Receive, send: Send) -> None:
    await _starts(receive, send)
    await receive()
    raise LookupError("on purpose")


async def _knows_no_lifespan(receive: Receive, send: Send) -> None:
    raise AssertionError("only http")


async def _takes_anything_for_a_request(receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": []})


async def _refuses(receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "no database"})


async def _refuses_without_a_word(receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "lifespan.startup.failed"})


async def _never_starts(receive: Receive, send: Send) -> None:
    await receive()
    await asyncio.Event().wait()


def living(life: Lived) -> Mount:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "lifespan"
        await life(receive, send)

    return Mount(app, start_limit=QUICK, stop_limit=QUICK)


@pytest.mark.parametrize(
    ("life", "said"),
    [
        (_starts_and_goes, ""),
        (_knows_no_lifespan, ""),
        (_takes_anything_for_a_request, "failed in its lifespan, behind lifespan.startup; it is served without"),
        (_starts_and_never_ends, f"failed as it was stopped: it did not answer lifespan.shutdown within {QUICK} s"),
        (_starts_and_never_listens, f"failed as it was stopped: it did not answer lifespan.shutdown within {QUICK} s"),
        (_fails_as_it_stops, "failed as it was stopped: the disk is full"),
        (_raises_as_it_stops, "failed in its lifespan, behind lifespan.shutdown"),
    ],
)
def test_its_life_begins_and_ends_in_time_and_what_goes_wrong_is_said(
    life: Lived, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        mount = living(life)
        await mount.start()
        await mount.stop()
        await mount.stop()

    run_on(asyncio.new_event_loop)(scenario())
    told = [record.getMessage() for record in caplog.records if record.name == "dragoman.server"]
    assert len(told) == bool(said)
    assert said in "".join(told)


@pytest.mark.parametrize(
    ("life", "why"),
    [
        (_refuses, "no database"),
        (_refuses_without_a_word, "no reason given"),
        (_never_starts, f"it did not answer lifespan.startup within {QUICK} s"),
    ],
)
def test_one_that_does_not_start_is_not_served(life: Lived, why: str) -> None:
    async def scenario() -> None:
        mount = living(life)
        with pytest.raises(MountFailed) as caught:
            await mount.start()
        assert str(caught.value) == f"the mounted application did not start: {why}"
        await mount.stop()

    run_on(asyncio.new_event_loop)(scenario())


def test_one_that_cannot_be_cancelled_is_left_to_itself(caplog: pytest.LogCaptureFixture) -> None:
    free = asyncio.Event()

    async def stubborn(receive: Receive, send: Send) -> None:
        await _starts(receive, send)
        while not free.is_set():
            with suppress(asyncio.CancelledError):
                await free.wait()

    async def scenario() -> None:
        mount = living(stubborn)
        await mount.start()
        await mount.stop()
        free.set()

    run_on(asyncio.new_event_loop)(scenario())
    assert "does not end when it is cancelled" in caplog.text


@pytest.mark.parametrize("driver", ["native", "asgi"])
@pytest.mark.parametrize(("life", "why"), [(_refuses, "no database"), (_never_starts, "within 0.15 s")])
def test_a_gateway_whose_application_does_not_start_does_not_either(driver: str, life: Lived, why: str) -> None:
    config = load(json.dumps({"local": False, "store": False, "server": {"driver": driver}}), ".json", {}, "test")
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]

    async def started() -> None:
        pytest.fail("it serves")

    with listener, signals_as_before(), pytest.raises(MountFailed, match=why):
        serve(config, listener, started, mount_of=lambda _: living(life))
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


@on_all_drivers
def test_a_handler_of_the_applications_that_takes_no_notice_of_the_end_does_not_hold_it_up(driver: str, run: Run) -> None:
    async def scenario() -> None:
        app = App()
        async with serving(driver, mount=Mount(app), patience=1) as served:
            async with served.client() as client:
                await client.send(get("/app/hold"))
                await until(lambda: bool(app.scopes))
            await served.drain()
            assert app.left.is_set()

    run(scenario())
