"""`dragoman chat`: talk to a model from the terminal. The gateway's own way of a request, without a server."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Iterable
from typing import Any

import msgspec

from dragoman.cli.setting import add_config, local_model, read_config, warn
from dragoman.io.engine import Engine
from dragoman.wire.http import Inbound, Outbound
from dragoman.wire.sse import SseParser

Conversation = list[dict[str, str]]


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("chat", help="talk to a model")
    add_config(parser)
    parser.add_argument("prompt", nargs="*", help="one question; without it, a conversation until Ctrl-D")
    parser.add_argument("--model", "-m", default="big", help="the model (big)")
    parser.add_argument("--system", "-s", help="instructions")
    parser.add_argument("--max-tokens", type=int, help="the longest answer, in tokens")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    config = read_config(options)
    warn(config)
    model, _ = local_model(config)
    chain = config.with_local("http://127.0.0.1:1/v1" if model is not None else None).route(options.model)
    if model is not None and any(target.provider.name == config.local.name for target in chain):
        model.start()
    else:
        model = None
    # Whoever can read the keys in the configuration need not show one.
    return asyncio.run(_talk(options, Engine(msgspec.structs.replace(config, keys=()), local=model)))


async def _talk(options: argparse.Namespace, engine: Engine) -> int:
    said: Conversation = [{"role": "system", "content": options.system}] if options.system else []
    try:
        if options.prompt:
            return await _turn(options, engine, said, " ".join(options.prompt))
        if not sys.stdin.isatty():
            return await _turn(options, engine, said, sys.stdin.read())
        while True:
            try:
                line = await asyncio.to_thread(input, "> ")
            except EOFError:
                print()
                return 0
            if line.strip():
                await _turn(options, engine, said, line)
    finally:
        await engine.aclose()


async def _turn(options: argparse.Namespace, engine: Engine, said: Conversation, prompt: str) -> int:
    said.append({"role": "user", "content": prompt})
    body: dict[str, Any] = {"model": options.model, "stream": True, "messages": said}
    if options.max_tokens:
        body["max_tokens"] = options.max_tokens
    own_key = [(b"content-type", b"application/json")]
    inbound = Inbound(
        method="POST",
        path="/v1/chat/completions",
        raw_path=b"/v1/chat/completions",
        query=b"",
        headers=own_key,
        body=json.dumps(body).encode(),
    )
    out = _Terminal()
    await engine.gateway.handle(inbound, out)
    if out.error:
        print(f"dragoman: {out.error}", file=sys.stderr)
        said.pop()
        return 1
    print()
    said.append({"role": "assistant", "content": "".join(out.text)})
    return 0


class _Terminal(Outbound):
    """An `Outbound` that prints what the model says as it says it."""

    def __init__(self) -> None:
        self.text: list[str] = []
        self.error = ""
        self._parser = SseParser()
        self._whole = b""
        self._stream = False

    async def start(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        self._stream = status == 200 and any(
            value.startswith(b"text/event-stream") for name, value in headers if name == b"content-type"
        )

    async def write(self, data: bytes) -> None:
        if not self._stream:
            self._whole += data
            return
        for frame in self._parser.feed(data):
            if frame.data != b"[DONE]":
                self._show(json.loads(frame.data))

    async def finish(self, data: bytes = b"") -> None:
        await self.write(data)
        if self._whole:
            self._show(json.loads(self._whole))

    def bound(self, seconds: float) -> None: ...

    def abort(self) -> None:
        self.error = "the answer broke off"

    def _show(self, chunk: dict[str, Any]) -> None:
        if chunk.get("error"):
            self.error = str(chunk["error"].get("message"))
        for choice in chunk.get("choices", ()):
            text = (choice.get("delta") or choice.get("message") or {}).get("content")
            if text:
                self.text.append(text)
                print(text, end="", flush=True)
