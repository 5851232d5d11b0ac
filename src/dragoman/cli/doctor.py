"""`dragoman doctor`: looks at everything that the gateway needs, and says how to mend what is amiss."""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import socket
import ssl
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import msgspec

from dragoman import __version__
from dragoman.cli.setting import Failure, add_config, config_path, read_config
from dragoman.config import Config, ProviderConfig
from dragoman.errors import ConfigError, DragomanError
from dragoman.io.clock import SystemClock
from dragoman.io.local import LocalModel, LocalUnavailable
from dragoman.io.proxies import Proxies, host_and_port
from dragoman.io.store import store_of
from dragoman.io.upstream import HttpTransport
from dragoman.providers.auth import headers_for
from dragoman.wire.http import Timeouts, UpstreamRequest

Mark = Literal["ok", "note", "bad"]
_MARKS: dict[Mark, str] = {"ok": "ok   ", "note": "note ", "bad": "BAD  "}


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("doctor", help="look for what is amiss")
    add_config(parser)
    parser.add_argument("--online", action="store_true", help="also ask each provider whether it takes the key (costs nothing)")
    parser.set_defaults(run=run)


class _Findings:
    def __init__(self) -> None:
        self.bad = 0

    def add(self, mark: Mark, sentence: str) -> None:
        self.bad += mark == "bad"
        print(_MARKS[mark] + sentence)


def run(options: argparse.Namespace) -> int:
    found = _Findings()
    found.add("ok", f"Dragoman {__version__} on Python {platform.python_version()}, {platform.system()} {platform.machine()}")
    fast = [name for name in ("uvloop", "httptools") if find_spec(name) is None]
    found.add(
        "note" if fast else "ok", f"missing: {', '.join(fast)} (slower without)" if fast else "uvloop and httptools are there"
    )
    path = config_path(options)
    try:
        config = read_config(options)
    except ConfigError as error:
        found.add("bad", str(error))
        return 1
    found.add("ok", f"configuration: {path}" if path else "no configuration file: what the environment gives")
    for warning in config.warnings:
        found.add("note", warning)
    _proxies(found)
    _port(config, found)
    loads = _local(config, found)
    _store(config, found)
    ready = [provider for provider in config.providers.values() if provider.ready and provider.name != config.local.name]
    for provider in ready:
        keys = ", ".join(str(credential.secret) for credential in provider.credentials) or "needs no key"
        found.add("ok", f"{provider.name}: {keys}, {provider.row.base_url}")
    for provider in config.providers.values():
        if provider.explicit and not provider.ready and provider.name != config.local.name:
            found.add("bad", f"{provider.name}: {provider.hint or 'has no key'}")
    if not ready and loads:
        found.add("note", "no provider's key is in the environment: only what needs none can be served")
    elif not ready:
        found.add("bad", "there is nothing to serve: no provider has a key, and the local model is not there")
    if options.online:
        asyncio.run(_online(ready, found))
    print(f"\n{found.bad} to mend." if found.bad else "\nAll is well.")
    return 1 if found.bad else 0


def _proxies(found: _Findings) -> None:
    """Named only where they cannot be used: the gateway would not start."""
    try:
        Proxies.from_environment(os.environ)
    except ConfigError as error:
        found.add("bad", str(error))


def _port(config: Config, found: _Findings) -> None:
    host, port = config.server.host, config.server.port
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            told = asyncio.run(_running(config))
            amiss = f"port {port} on {host}: {error.strerror}, and not by a gateway; choose another as server.port"
            found.add("ok" if told else "bad", told or amiss)
            return
    found.add("ok", f"port {port} on {host} is free")


async def _running(config: Config) -> str:
    """What the gateway says of itself that runs where this one would; empty if there is none."""
    server = config.server
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(server.host, server.host)  # noqa: S104  compared, not bound
    base = f"{'http' if server.tls is None else 'https'}://{host_and_port(host, server.port)}"
    context = ssl.create_default_context()
    # It is our own, and by this name its certificate knows nobody.
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    transport = HttpTransport(ssl_context=context, proxies=Proxies())
    try:
        said = await _asked(transport, f"{base}/health/detailed") or await _asked(transport, f"{base}/health")
    finally:
        await transport.aclose()
    if not isinstance(said, dict) or "version" not in said:
        return ""
    workers = [f"{one['worker']} (process {one['pid']}, {_megabytes(one['memory'])})" for one in said.get("workers", [])]
    team = f", workers {', '.join(workers)}" if workers else "; its workers are told with a key, in DRAGOMAN_API_KEY"
    return f"a gateway runs on {base}: Dragoman {said['version']}, {said['status']}{team}"


async def _asked(transport: HttpTransport, url: str) -> Any:
    """The JSON of an answer; None where there is none."""
    key = os.environ.get("DRAGOMAN_API_KEY", "")
    headers = [(b"x-dragoman-key", key.encode("latin-1", "replace"))] if key.isprintable() and key else []
    patience = Timeouts(connect=2, first_byte=5, idle=5, total=5)
    try:
        exchange = await transport.open(UpstreamRequest(method="GET", url=url, headers=headers, body=b"", timeouts=patience))
        try:
            head = await exchange.head(patience.total)
            body = await exchange.read(patience.total)
        finally:
            exchange.close()
        return msgspec.json.decode(body) if head is not None and head.status in {200, 503} and body else None
    except (DragomanError, msgspec.DecodeError):
        return None


def _megabytes(size: int | None) -> str:
    return f"{size / 1e6:.0f} MB" if size is not None else "memory unknown"


def _local(config: Config, found: _Findings) -> bool:
    """Whether the built-in model can be served."""
    if config.local.enabled is False:
        found.add("ok", "local model: switched off")
        return False
    try:
        model = LocalModel.find(config.local.model, threads=config.local.threads, context=config.local.context)
        model.start()
        model.stop()
    except (LocalUnavailable, Failure) as error:
        found.add("bad" if config.local.enabled else "note", f"local model: {error}")
        return False
    found.add("ok", "local model: loads")
    return True


def _store(config: Config, found: _Findings) -> None:
    """Looks into the store where there is one; a file that is not there yet is not made for that."""
    label, path = config.store.label, config.store.path
    if not config.store.enabled:
        found.add("ok", "store: switched off")
        return
    file = Path(path).expanduser() if path is not None and config.store.url is None and path != ":memory:" else None
    if file is not None and not file.exists():
        folder = next((above for above in file.parents if above.exists()), Path())
        if folder.is_dir() and os.access(folder, os.W_OK | os.X_OK):
            found.add("ok", f"store: {label}, made when it is first needed")
        else:
            found.add("bad", f"store: {label} cannot be made: {folder} cannot be written to; set store.path, or store: false")
        return

    async def look() -> None:
        store = store_of(config.store, SystemClock())
        assert store is not None
        try:
            await store.get("response", "", "doctor")
        finally:
            await store.aclose()

    try:
        asyncio.run(look())
    except DragomanError as error:
        found.add("bad" if config.store.location is not None else "note", f"store: {label}: {error.message}")
    else:
        found.add("ok", f"store: {label}")


async def _online(providers: list[ProviderConfig], found: _Findings) -> None:
    transport = HttpTransport()
    patience = Timeouts(connect=5, first_byte=10, idle=10, total=20)
    try:
        for provider in providers:
            if provider.row.health is None:
                continue
            credential = provider.credentials[0] if provider.credentials else None
            request = UpstreamRequest(
                method="GET",
                url=provider.row.base_url + provider.row.health,
                headers=headers_for(provider.row, credential),
                body=b"",
                timeouts=patience,
            )
            try:
                exchange = await transport.open(request)
                try:
                    head = await exchange.head(patience.total)
                finally:
                    exchange.close()
            except DragomanError as error:
                found.add("bad", f"{provider.name}: {error}")
                continue
            status = head.status if head is not None else 0
            if status == 200:
                found.add("ok", f"{provider.name}: takes the key")
            else:
                found.add("bad", f"{provider.name}: answers {status} to {request.url}")
    finally:
        await transport.aclose()
