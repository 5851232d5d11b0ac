"""A gateway that is broken on purpose: a proxy before a sound one, which changes what it is told to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import httpx2
import msgspec

Change = Callable[[str, bytes], bytes]
"""Path and body, to the body that goes on instead."""


class Broken(msgspec.Struct, frozen=True):
    """What the proxy does to questions and to answers, which headers it hides, and which paths it has not."""

    question: Change | None = None
    answer: Change | None = None
    hidden: frozenset[str] = frozenset()
    missing: tuple[str, ...] = ()


_HOP = {"connection", "transfer-encoding", "content-length", "host", "keep-alive"}


@asynccontextmanager
async def breaking(url: str, broken: Broken | None) -> AsyncGenerator[str]:
    """The base URL of the broken gateway; of the sound one where nothing is broken."""
    if broken is None:
        yield url
        return
    async with httpx2.AsyncClient(base_url=url, timeout=20, trust_env=False) as client:
        proxy = _Proxy(client, broken)
        server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
        async with server:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            await proxy.finish()


class _Proxy:
    def __init__(self, client: httpx2.AsyncClient, broken: Broken) -> None:
        self._client = client
        self._broken = broken
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._one(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError, httpx2.HTTPError):
            pass  # somebody left
        finally:
            writer.close()
            self._tasks.discard(task)

    async def finish(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request for each connection: enough here."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, target, _ = head[0].split(" ")
        headers = [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in head[1:] if line)]
        length = next((int(value) for name, value in headers if name == "content-length"), 0)
        body = await reader.readexactly(length)
        path = target.partition("?")[0]
        if any(path.startswith(missing) for missing in self._broken.missing):
            writer.write(b"HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}")
            return
        if self._broken.question is not None and body:
            body = self._broken.question(path, body)
        kept = [(name, value) for name, value in headers if name not in _HOP]
        answer = await self._client.request(method, target, headers=kept, content=body)
        said = answer.content
        if self._broken.answer is not None and answer.status_code == 200:
            said = self._broken.answer(path, said)
        lines = [f"HTTP/1.1 {answer.status_code} X", f"content-length: {len(said)}", "connection: close"]
        lines += [f"{name}: {value}" for name, value in answer.headers.items() if name not in _HOP | self._broken.hidden]
        writer.write("\r\n".join([*lines, "", ""]).encode("latin-1") + said)
        await writer.drain()
