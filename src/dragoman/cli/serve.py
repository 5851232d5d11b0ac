"""`dragoman serve`: the gateway on a port, until it is told to stop."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import errno
import os
import signal
import socket
import sys
from collections.abc import Callable, Generator
from typing import Any

from dragoman import __version__, logs
from dragoman.cli.setting import Failure, add_config, config_path, local_model, read_source, warn
from dragoman.config import Config
from dragoman.io import serving
from dragoman.io.housekeeping import make_room_for_files, settle
from dragoman.io.local import LocalModel
from dragoman.io.process import Starting
from dragoman.io.reloading import Reread
from dragoman.io.supervising import SharedLock, Source, lock_file
from dragoman.io.supervisor import Plan, Supervisor
from dragoman.io.tls import server_context

PORT_TAKEN = 3
NOTHING_TO_SERVE = 4
_BACKLOG = 2048
_SHOWN = 8


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("serve", help="start the gateway")
    add_config(parser)
    parser.add_argument("--host", help="address to listen on (127.0.0.1)")
    parser.add_argument("--port", "-p", type=int, help="port to listen on (4000; 0 for any free one)")
    parser.add_argument("--workers", "-w", type=int, help="processes that share the port (1)")
    parser.add_argument("--driver", choices=("native", "asgi"), help="what speaks HTTP (native; asgi: uvicorn)")
    parser.add_argument("--drain", metavar="SECONDS", help="what answers under way get to end in when it stops (10)")
    parser.add_argument("--tls-cert", metavar="FILE", help="speak TLS, with this certificate (PEM)")
    parser.add_argument("--tls-key", metavar="FILE", help="its private key, where it is not in the same file")
    parser.add_argument("--no-local", action="store_true", help="without the built-in local model")
    parser.add_argument("--quiet", "-q", action="store_true", help="print nothing but warnings and errors")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    starting = Starting()
    if (path := config_path(options)) is not None:
        options.config = str(path)  # a reload reads this one: without it, the gateway would lose its keys
    source = read_source(options, _overrides(options))
    config = source.load(os.environ)
    warn(config)
    make_room_for_files()
    if config.server.tls is not None:
        server_context(config.server.tls)  # a mistake in it is told before anything is done
    if config.server.workers > 1:
        return _supervise(options, source, config, starting)
    with _listen(config) as listener, _Logs(config) as written:
        return _serve(options, config, listener, written, starting)


class _Logs:
    """The log of this process, which is set up anew when its settings change."""

    def __init__(self, config: Config, lock: logs.Lock | None = None) -> None:
        self._config = config
        self._lock = lock
        self._close = self._open(config)

    def change(self, config: Config) -> None:
        """Raises `ConfigError`, and then goes on as it was."""
        if self._config.server.log == config.server.log:
            logs.register_secret(*config.secrets())
        else:
            after = self._open(config)
            self._close()
            self._close = after
        self._config = config

    def _open(self, config: Config) -> Callable[[], None]:
        return logs.setup(config.server.log, secrets=config.secrets(), lock=self._lock)

    def __enter__(self) -> _Logs:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()


def _overrides(options: argparse.Namespace) -> dict[str, Any]:
    said: dict[str, Any] = {"server": {}}
    for name in ("host", "port", "workers", "driver", "drain"):
        if (value := getattr(options, name)) is not None:
            said["server"][name] = value
    files = {"cert": options.tls_cert, "key": options.tls_key}
    if any(files.values()):
        said["server"]["tls"] = {name: file for name, file in files.items() if file}
    if options.quiet:
        said["server"]["log"] = {"level": "warning"}
    if options.no_local:
        said["local"] = {"enabled": False}
    return {key: value for key, value in said.items() if value}


def _listen(config: Config) -> socket.socket:
    """The port is taken first: nothing slow is done for a gateway that cannot listen."""
    host, port = config.server.host, config.server.port
    with _told(host, port):
        return _bound(host, port)


def _listen_often(config: Config) -> dict[int, socket.socket]:
    """One socket for each worker, among which the kernel shares out the connections; but only Linux does, and only where each
    worker takes on and leaves ports while it runs. Elsewhere they have one in common."""
    host, port, often = config.server.host, config.server.port, config.server.workers
    with _told(host, port), contextlib.ExitStack() as opened:
        # Alone, to see that the port is free: with the option any process of the same user may join.
        first = opened.enter_context(_bound(host, port))
        if sys.platform != "linux" or config.server.driver != "native":
            opened.pop_all()
            return {1: first}
        port = first.getsockname()[1]
        first.close()
        ports = {name: opened.enter_context(_bound(host, port, shared=True)) for name in range(1, often + 1)}
        opened.pop_all()
        return ports


def _bound(host: str, port: int, *, shared: bool = False, listens: bool = True) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind((host, port))
        if listens:
            listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


@contextlib.contextmanager
def _told(host: str, port: int) -> Generator[None]:
    """Why a port cannot be listened on, as a sentence."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            sentence = f"port {port} on {host} is taken; stop what listens there, or choose another with --port"
        elif error.errno in {errno.EACCES, errno.EPERM}:
            sentence = f"port {port} on {host} may not be used by this user; choose one above 1023 with --port"
        elif error.errno == errno.EAFNOSUPPORT:
            sentence = f"no socket can be opened here: {error.strerror}"
        else:
            sentence = f"cannot listen on {host} port {port}: {error.strerror}"
        raise Failure(sentence, PORT_TAKEN) from None


def _model(config: Config) -> tuple[LocalModel | None, str]:
    """The built-in model, started; or None and why there is none. Raises `Failure` where nothing is left to serve."""
    model, why_not = local_model(config)
    if model is None and not _serves_without_local(config):
        raise Failure(
            f"there is nothing to serve: no provider's key is in the environment (such as ANTHROPIC_API_KEY or "
            f"OPENAI_API_KEY), none is configured, and the local model is not there: {why_not}",
            NOTHING_TO_SERVE,
        )
    if model is not None:
        model.start()
    return model, why_not


def _serve(options: argparse.Namespace, config: Config, listener: socket.socket, written: _Logs, starting: Starting) -> int:
    model, why_not = _model(config)

    async def started() -> None:
        settle()
        if not options.quiet:
            _show(_banner(config, model, listener, why_not))
        starting.over()

    reread = Reread(lambda: _reread(options)[1], lambda config: _model(config)[0], written.change)
    return _exit_code(serving.serve(config, listener, started, model=model, reread=reread))


def _show(text: str) -> None:
    """That nobody reads it (`dragoman serve | head`) is no reason not to serve."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())  # what is still in the buffer goes there at the end
        os.close(nowhere)


def _banner(config: Config, model: LocalModel | None, listener: socket.socket, why_not: str) -> str:
    shown = config.with_local(f"{model.base_url}/v1" if model is not None else None)
    return banner(shown, listener.getsockname()[1], why_not)


def _exit_code(told: signal.Signals) -> int:
    return 128 + told if told == signal.SIGINT else 0


def _supervise(options: argparse.Namespace, source: Source, config: Config, starting: Starting) -> int:
    if sys.platform == "win32":
        raise Failure("several workers cannot share a port on Windows; start one gateway for each port (server.workers: 1)")
    ports = _listen_often(config)
    lock = lock_file()
    with contextlib.ExitStack() as opened:
        opened.callback(os.close, lock)
        for port in ports.values():
            opened.enter_context(port)
        written = opened.enter_context(_Logs(config, SharedLock(lock)))
        model, why_not = _model(config)

        def ready() -> None:
            if not options.quiet:
                _show(_banner(config, model, ports[1], why_not))
            starting.over()

        def one_more() -> socket.socket:
            return _bound(config.server.host, ports[1].getsockname()[1], shared=True, listens=False)

        supervisor = Supervisor(
            Plan(source=source, config=config, model=model),
            ports,
            lock=lock,
            reread=lambda: _reread(options),
            make_model=lambda config: _model(config)[0],
            accepted=written.change,
            open_port=one_more if len(ports) > 1 else None,
        )
        reason = asyncio.run(supervisor.run(ready))
    if isinstance(reason, str):
        raise Failure(reason)
    return _exit_code(reason)


def _reread(options: argparse.Namespace) -> tuple[Source, Config]:
    source = read_source(options, _overrides(options))
    config = source.load(os.environ)
    warn(config)
    if config.server.tls is not None:
        server_context(config.server.tls)
    return source, config


def _serves_without_local(config: Config) -> bool:
    return any(
        provider.ready or provider.explicit for provider in config.providers.values() if provider.name != config.local.name
    )


def banner(config: Config, port: int, why_no_local: str) -> str:
    """What is served, where, and how to point each client at it."""
    host = config.server.host
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
    base = f"{'http' if config.server.tls is None else 'https'}://{shown}:{port}"
    ids = [model.id for model in config.served_models()]
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
