"""What becomes of an answer where something on its way to the caller fails."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import pytest

from dragoman.dialects import DIALECTS
from dragoman.errors import Internal
from dragoman.flow.answer import Answer
from dragoman.wire.http import Outbound, Tap
from tests.hands import Hands


class Page(Outbound):
    """All that a caller gets."""

    def __init__(self) -> None:
        self.status = 0
        self.body = b""

    async def start(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        assert not self.status
        self.status = status

    async def write(self, data: bytes) -> None:
        self.body += data

    async def finish(self, data: bytes = b"") -> None:
        self.body += data

    def bound(self, seconds: float) -> None: ...

    def abort(self) -> None: ...


class Stumbling(Tap):
    """Fails once, before anything has gone on."""

    failed = False

    async def start(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        if not self.failed:
            self.failed = True
            raise RuntimeError("stumbled")
        await self._out.start(status, headers)

    async def write(self, data: bytes) -> None:
        await self._out.write(data)

    async def finish(self, data: bytes = b"") -> None:
        await self._out.finish(data)


@pytest.mark.parametrize("dialect", ["messages", "responses"])
def test_an_answer_in_one_piece_that_did_not_get_through_is_told_as_an_error(dialect: str) -> None:
    async def run() -> None:
        page = Page()
        answer = Answer(page, DIALECTS[dialect], "req_1", Hands())
        answer.through(Stumbling)
        with pytest.raises(RuntimeError):
            await answer.whole(200, [], b"{}")
        assert not answer.complete
        await answer.error(Internal("the gateway failed"))
        assert (page.status, answer.status, answer.complete) == (500, 500, True)
        assert b"the gateway failed" in page.body

    asyncio.run(run())
