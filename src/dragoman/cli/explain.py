"""`dragoman explain`: what would become of a request, without sending it."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import msgspec

from dragoman.cli.models import with_local_listed
from dragoman.cli.setting import Failure, add_config, local_model, read_config, warn
from dragoman.dialects import EVERY
from dragoman.io.engine import Engine
from dragoman.wire.http import Inbound, Outbound


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("explain", help="show what would become of a request, without sending it")
    add_config(parser)
    parser.add_argument("file", metavar="FILE", help="the body of a request; - reads it from the standard input")
    parser.add_argument("--dialect", "-d", choices=sorted(EVERY), default="chat", help="of the request (chat)")
    parser.add_argument("--model", "-m", help="instead of the model that the request names")
    parser.add_argument("--strict", action="store_true", help="as in strict mode: losses are refused")
    parser.add_argument("--json", action="store_true", help="as POST /v1/explain answers")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    body = _body(options)
    config = read_config(options)
    warn(config)
    # Whoever can read the keys in the configuration need not show one.
    engine = Engine(msgspec.structs.replace(config, keys=()))
    engine.config = with_local_listed(engine.config, local_model(config)[0] is not None)
    status, answer = asyncio.run(_asked(engine, options, body))
    told = json.loads(answer)
    if status != 200:
        raise Failure(told["error"]["message"])
    if options.json:
        print(json.dumps(told, indent=2, ensure_ascii=False))
    else:
        _show(told)
    return 0 if any(target["verdict"] == "sent" for target in told["targets"]) else 1


def _body(options: argparse.Namespace) -> bytes:
    try:
        body = sys.stdin.buffer.read() if options.file == "-" else Path(options.file).read_bytes()
    except OSError as error:
        raise Failure(f"{options.file} cannot be read: {error.strerror}", 2) from None
    if not options.model or _in_path(options):
        return body
    try:
        return json.dumps(json.loads(body) | {"model": options.model}).encode()
    except (ValueError, TypeError):
        raise Failure(f"{options.file} is not a JSON object", 2) from None


def _in_path(options: argparse.Namespace) -> bool:
    """Whether the model stands in the path of such a request, and not in its body."""
    return EVERY[options.dialect].locate is not None


async def _asked(engine: Engine, options: argparse.Namespace, body: bytes) -> tuple[int, bytes]:
    headers = [(b"content-type", b"application/json")]
    if options.strict:
        headers.append((b"x-dragoman-strict", b"true"))
    path, query = "/v1/explain", b"dialect=" + options.dialect.encode()
    if options.model and _in_path(options):
        dialect = EVERY[options.dialect]
        path, query = dialect.address(path + dialect.path, options.model, False), b""
    out = _Kept()
    try:
        inbound = Inbound(method="POST", path=unquote(path), raw_path=path.encode(), query=query, headers=headers, body=body)
        await engine.gateway.handle(inbound, out)
    finally:
        await engine.aclose()
    return out.status, out.body


class _Kept(Outbound):
    """An `Outbound` that keeps what it is given."""

    def __init__(self) -> None:
        self.status = 0
        self.body = b""

    async def start(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:  # noqa: ARG002
        self.status = status

    async def write(self, data: bytes) -> None:
        self.body += data

    async def finish(self, data: bytes = b"") -> None:
        self.body += data

    def bound(self, seconds: float) -> None: ...

    def abort(self) -> None:
        raise Failure("the explanation broke off")


def _show(told: dict[str, Any]) -> None:
    mode = ", strict" if told["strict"] else ""
    print(f"{told['model']}: a request in {told['dialect']}{mode}")
    for target in told["targets"]:
        print(
            f"\n{target['number']}. {target['provider']}/{target['model']}"
            + (f", key {target['key']}" if target["key"] > 1 else "")
        )
        if target["tier"]:
            print(f"   {target['tier']}, in {target['dialect']}: {target['verdict']}")
        if target["error"]:
            print(f"   {target['error']}")
        if target["url"]:
            print(f"   POST {target['url']}")
        for name, value in (target["headers"] or {}).items():
            print(f"   {name}: {value}")
        print(f"   {_counted(target)}")
        for loss in target["losses"]:
            print(f"   {loss['severity']}: {loss['path']}: {loss['what']}")
        if target["body"] is not None:
            text = json.dumps(target["body"], indent=2, ensure_ascii=False)
            print("   " + text.replace("\n", "\n   "))


def _counted(target: dict[str, Any]) -> str:
    tokens, cost = target["tokens"], target["cost"]
    if tokens["input"] is None:
        return "its tokens cannot be counted"
    most = "" if tokens["output_most"] is None else f", at most {tokens['output_most']} of output"
    price = "price unknown"
    if cost is not None:
        price = f"about ${cost['input']:.6f}" + ("" if cost["most"] is None else f", at most ${cost['most']:.6f}")
    return f"about {tokens['input']} tokens of input{most}; {price}"
