"""The native driver knows a head again. What a client gets must not depend on it, and neither must what the handler sees."""

from __future__ import annotations

import asyncio

import pytest

from tests.io.scripted_peer import Run
from tests.io.server_drivers import Echo, get, on_all_drivers, post, serving


def head(length: bytes, *more: bytes, path: bytes = b"/echo") -> bytes:
    lines = [b"POST %b HTTP/1.1" % path, b"Host: test", b"Content-Length: %b" % length, b"X-A: 1", *more]
    return b"\r\n".join(lines) + b"\r\n\r\n"


@on_all_drivers
def test_the_same_head_brings_other_bodies_of_other_lengths(driver: str, run: Run) -> None:
    bodies = [b"one", b"two", b"", b"x" * 100_000, b"a\r\n\r\nb", b"x" * 300_000, b"12345678"]

    async def scenario() -> None:
        async with serving(driver) as served, served.client() as client:
            for body in bodies:
                await client.send(head(b"%d" % len(body)) + body)
                assert (await client.answer()).body == body
            seen = served.handler.seen
            assert [one.body for one in seen] == bodies
            assert [one.header(b"content-length") for one in seen] == [b"%d" % len(body) for body in bodies]
            assert {(one.method, one.path, one.header(b"x-a")) for one in seen} == {("POST", "/echo", b"1")}

    run(scenario())


@on_all_drivers
def test_a_known_head_and_its_body_may_be_split_at_every_byte(driver: str, run: Run) -> None:
    raw = head(b"5") + b"he\r\nl"

    async def scenario() -> None:
        async with serving(driver) as served, served.client() as client:
            for at in range(1, len(raw)):
                await client.send(raw)
                assert (await client.answer()).body == b"he\r\nl"
                await client.send(raw[:at])
                for _ in range(3):
                    await asyncio.sleep(0)
                await client.send(raw[at:])
                assert (await client.answer()).body == b"he\r\nl", at

    run(scenario())


@on_all_drivers
def test_requests_with_a_known_head_may_be_sent_ahead(driver: str, run: Run) -> None:
    async def scenario() -> None:
        async with serving(driver) as served, served.client() as client:
            await client.send(head(b"1") + b"a")
            assert (await client.answer()).body == b"a"
            await client.send(head(b"2") + b"bc" + head(b"3") + b"def" + get("/echo") + head(b"1") + b"g")
            assert [(await client.answer()).body for _ in range(4)] == [b"bc", b"def", b"", b"g"]

    run(scenario())


@on_all_drivers
@pytest.mark.parametrize(
    "broken",
    [
        head(b"1x") + b"a",
        head(b"+1") + b"a",
        head(b"1 1") + b"a",
        head(b"") + b"a",
        head(b"1", b"Content-Length: 2") + b"ab",
        head(b"1", b"Transfer-Encoding: chunked") + b"0\r\n\r\n",
        head(b"1\r\n\r\nGET") + b"a",
        head(b"1\nX-B: 2") + b"a",
        head(b"99999999999999999999") + b"a",
    ],
    ids=[
        "letter",
        "sign",
        "space",
        "nothing",
        "two-lengths",
        "chunked-too",
        "second-head",
        "bare-line-feed",
        "too-many-digits",
    ],
)
def test_a_head_that_is_nearly_known_is_read_like_any_other(driver: str, run: Run, broken: bytes) -> None:
    async def scenario() -> None:
        async with serving(driver) as served:
            answers: list[list[int]] = []
            for before in (b"", head(b"1") + b"a"):
                async with served.client() as client:
                    if before:
                        await client.send(before)
                        assert (await client.answer()).body == b"a"
                    await client.send(broken)
                    answers.append([(await client.answer()).status])
            assert answers[0] == answers[1]

    run(scenario())


@on_all_drivers
def test_another_head_between_two_of_a_kind_is_not_taken_for_them(driver: str, run: Run) -> None:
    async def scenario() -> None:
        async with serving(driver) as served, served.client() as client:
            for _ in range(3):
                await client.send(head(b"1") + b"a")
                await client.send(head(b"1", b"X-B: 2", path=b"/echo?other") + b"b")
                await client.send(get("/echo?third"))
                assert [(await client.answer()).header(b"x-query") for _ in range(3)] == [b"", b"other", b"third"]
            assert [one.header(b"x-b") for one in served.handler.seen] == [None, b"2", None] * 3

    run(scenario())


@on_all_drivers
def test_a_known_head_does_not_let_too_large_a_body_in(driver: str, run: Run) -> None:
    async def scenario() -> None:
        async with serving(driver, Echo(max_body=10)) as served, served.client() as client:
            await client.send(head(b"10") + b"0123456789")
            assert (await client.answer()).status == 200
            await client.send(head(b"11") + b"0123456789a")
            assert (await client.answer()).status == 413

    run(scenario())


@on_all_drivers
def test_a_strangers_head_is_refused_again(driver: str, run: Run) -> None:
    wrong = head(b"3", b"X-Key: wrong")

    async def scenario() -> None:
        async with serving(driver) as served, served.client() as client:
            await client.send(wrong + b"abc")
            assert (await client.answer()).status == 200  # whole at once: it is the handler's to refuse
            await client.send(wrong + b"a")
            assert (await client.answer()).status == 401

    run(scenario())


def test_what_follows_from_a_head_is_kept_for_the_same_head_only() -> None:
    async def scenario() -> None:
        async with serving("native") as served, served.client() as client:
            for raw in (head(b"1") + b"a", head(b"2") + b"bc", head(b"1") + b"d", post("/echo", b"x"), head(b"1") + b"e"):
                await client.send(raw)
                await client.answer()
            first, second, third, other, last = (one.same for one in served.handler.seen)
            assert first is None, "nobody can know yet"
            assert second is not None
            assert second is third
            assert other is None
            assert last is None

    asyncio.run(scenario())
