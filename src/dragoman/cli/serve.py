"""`dragoman serve`: the gateway on a port, until it is told to stop."""

from __future__ import annotations

import argparse
import asyncio
import errno
import gc
import logging
import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import uvicorn

from dragoman import __version__, logs
from dragoman.cli.setting import Failure, add_config, local_model, read_config, warn
from dragoman.config import Config
from dragoman.io.asgi import AsgiApp
from dragoman.io.engine import Engine
from dragoman.io.server import Server, serve_until_told

PORT_TAKEN = 3
NOTHING_TO_SERVE = 4
_KEEP_ALIVE = 75
_LAST_WORDS = 10
"""Seconds that answers under way get to end in when the gateway stops."""
_SHOWN = 8
_GARBAGE = (5_000, 20, 20)
"""So many objects are made and not freed before it looks at the young ones (half a millisecond), and then at the older."""


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("serve", help="start the gateway")
    add_config(parser)
    parser.add_argument("--host", help="address to listen on (127.0.0.1)")
    parser.add_argument("--port", "-p", type=int, help="port to listen on (4000; 0 for any free one)")
    parser.add_argument("--driver", choices=("asgi", "native"), default="asgi", help="what speaks HTTP (asgi: uvicorn)")
    parser.add_argument("--no-local", action="store_true", help="without the built-in local model")
    parser.add_argument("--quiet", "-q", action="store_true", help="print nothing but warnings and errors")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    config = read_config(options, _overrides(options))
    warn(config)
    listener = _listen(config)
    with listener:
        close_logs = logs.setup(config.server.log, secrets=config.secrets())
        try:
            return _serve(options, config, listener)
        finally:
            close_logs()


def _overrides(options: argparse.Namespace) -> dict[str, Any]:
    server = {"host": options.host, "port": options.port}
    said: dict[str, Any] = {"server": {key: value for key, value in server.items() if value is not None}}
    if options.quiet:
        said["server"]["log"] = {"level": "warning"}
    if options.no_local:
        said["local"] = {"enabled": False}
    return {key: value for key, value in said.items() if value}


def _listen(config: Config) -> socket.socket:
    """The port is taken first: nothing slow is done for a gateway that cannot listen."""
    host, port = config.server.host, config.server.port
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise Failure(f"no socket can be opened here: {error.strerror}", PORT_TAKEN) from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(2048)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            sentence = f"port {port} on {host} is taken; stop what listens there, or choose another with --port"
        elif error.errno in {errno.EACCES, errno.EPERM}:
            sentence = f"port {port} on {host} may not be used by this user; choose one above 1023 with --port"
        else:
            sentence = f"cannot listen on {host} port {port}: {error.strerror}"
        raise Failure(sentence, PORT_TAKEN) from None
    return listener


def _serve(options: argparse.Namespace, config: Config, listener: socket.socket) -> int:
    model, why_not = local_model(config)
    if model is None and not _serves_without_local(config):
        raise Failure(
            f"there is nothing to serve: no provider's key is in the environment (such as ANTHROPIC_API_KEY or "
            f"OPENAI_API_KEY), none is configured, and the local model is not there: {why_not}",
            NOTHING_TO_SERVE,
        )
    if model is not None:
        model.start()
    engine = Engine(config, local=model)

    async def started() -> None:
        _settle()
        if not options.quiet:
            print(banner(engine, listener.getsockname()[1], why_not), flush=True)

    if options.driver == "native":
        return _serve_natively(engine, listener, started)
    server = uvicorn.Server(
        uvicorn.Config(
            AsgiApp(engine.gateway, on_start=started, on_stop=engine.aclose),
            loop="uvloop" if sys.platform != "win32" else "asyncio",
            http="httptools",
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            proxy_headers=False,
            timeout_keep_alive=_KEEP_ALIVE,
            timeout_graceful_shutdown=_LAST_WORDS,
        )
    )
    logging.getLogger("uvicorn.error").addFilter(_not_our_own_doing)
    server.run(sockets=[listener])
    return 0


def _serve_natively(engine: Engine, listener: socket.socket, started: Callable[[], Awaitable[None]]) -> int:
    async def serve() -> signal.Signals:
        try:
            return await serve_until_told(Server(engine.gateway), listener, on_start=started, patience=_LAST_WORDS)
        finally:
            await engine.aclose()

    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        told = runner.run(serve())
    return 128 + told if told == signal.SIGINT else 0


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    if sys.platform == "win32":
        return asyncio.new_event_loop
    import uvloop

    return uvloop.new_event_loop


def _settle() -> None:
    """What has been made until now stays: the garbage collector need not walk through it again, which is what its long pauses
    are. Requests make few cycles, so it looks for new ones less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GARBAGE)


def _serves_without_local(config: Config) -> bool:
    return any(
        provider.ready or provider.explicit for provider in config.providers.values() if provider.name != config.local.name
    )


def _not_our_own_doing(record: logging.LogRecord) -> bool:
    """An answer that the gateway broke off on purpose is not the server's news."""
    return "without completing response" not in record.getMessage()


def banner(engine: Engine, port: int, why_no_local: str) -> str:
    """What is served, where, and how to point each client at it."""
    config = engine.config
    host = config.server.host
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
    base = f"http://{shown}:{port}"
    ids = [model.id for model in engine.models()]
    listed = ", ".join(ids[:_SHOWN]) + (f" and {len(ids) - _SHOWN} more (dragoman models)" if len(ids) > _SHOWN else "")
    key = "one of the gateway's keys" if config.keys else "any"
    word = "KEY" if config.keys else "any"
    model = "big" if "big" in ids else (ids[0] if ids else "MODEL")
    codex = (
        ("DRAGOMAN_KEY=KEY " if config.keys else "")
        + f"codex --model {model} -c model_provider=dragoman -c 'model_providers.dragoman="
        + f'{{name="Dragoman", base_url="{base}/v1", wire_api="responses"'
        + (', env_key="DRAGOMAN_KEY"' if config.keys else "")
        + "}'"
    )
    lines = [
        f"Dragoman {__version__} listens on {base}",
        "",
        f"  models          {listed or 'none yet: name one as provider/model'}",
        *([f"  no local model  {why_no_local}"] if why_no_local else []),
        f"  OpenAI API      {base}/v1      (key: {key})",
        f"  Anthropic API   {base}         (key: {key})",
        f"  Gemini API      {base}         (key: {key})",
        "",
        f"  Claude Code     ANTHROPIC_BASE_URL={base} ANTHROPIC_AUTH_TOKEN={word} claude --model {model}",
        f"  Codex           {codex}",
        f"  Gemini CLI      GOOGLE_GEMINI_BASE_URL={base} GEMINI_API_KEY={word} gemini --model {model}",
        f'  OpenAI SDK      OpenAI(base_url="{base}/v1", api_key="{word}")',
        f'  Anthropic SDK   Anthropic(base_url="{base}", api_key="{word}")',
        f'  Google SDK      genai.Client(api_key="{word}", http_options={{"base_url": "{base}"}})',
        f"  curl            curl {base}/v1/chat/completions -H 'content-type: application/json'"
        + (" -H 'authorization: Bearer KEY'" if config.keys else "")
        + f' -d \'{{"model": "{model}", "messages": [{{"role": "user", "content": "Hello"}}]}}\'',
        "",
    ]
    return "\n".join(lines)
