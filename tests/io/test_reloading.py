"""A single process that takes another configuration: whatever goes wrong, the old one goes on and nothing is left behind."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dragoman.config import Config, load
from dragoman.errors import ConfigError
from dragoman.io.engine import Engine
from dragoman.io.local import LocalModel
from dragoman.io.reloading import Current, Reread
from dragoman.io.tls import server_context
from tests.io.authority import Authority
from tests.io.scripted_peer import run_on

run = run_on(asyncio.new_event_loop)


class Source:
    """What a reload reads, starts and sets up; each step may be made to fail."""

    def __init__(self, **said: Any) -> None:
        self.said: dict[str, Any] = {"local": False, "store": False, **said}
        self.failure: Exception | None = None
        self.refusal: Exception | None = None
        self.models: list[LocalModel] = []
        self.loading = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()

    def read(self) -> Config:
        if self.failure is not None:
            raise self.failure
        return load(json.dumps(self.said), ".json", {}, "test")

    def make_model(self, config: Config) -> LocalModel | None:
        if config.local.enabled is False:
            return None
        model = LocalModel.find(threads=config.local.threads)
        model.start()
        self.models.append(model)
        self.loading.set()
        assert self.go_on.wait(20)
        return model

    def accept(self, _: Config) -> None:
        if self.refusal is not None:
            raise self.refusal


class Process:
    """As `serving.serve` has it, without a server."""

    def __init__(self, source: Source, tls: ssl.SSLContext | None = None) -> None:
        config = source.read()
        self.swapped: list[Engine] = []
        self.current = Current(config, source.make_model(config), tls, Reread(source.read, source.make_model, source.accept))
        self.current.swap = self._swap

    def _swap(self, engine: Engine) -> list[asyncio.Task[None]]:
        self.swapped.append(engine)
        return []


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110  the scenario's time bounds it
        await asyncio.sleep(0.005)


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "dragoman.server"]


@pytest.mark.parametrize("step", ["failure", "refusal"])
@pytest.mark.parametrize("error", [ConfigError("on purpose"), ZeroDivisionError("on purpose"), OSError(28, "the disk is full")])
def test_a_reload_that_fails_in_any_way_leaves_the_old_gateway_serving(
    step: str, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "dragoman.server")

    async def scenario() -> None:
        source = Source()
        process = Process(source)
        before = process.current.engine
        setattr(source, step, error)
        process.current.reload()
        await until(lambda: bool(told(caplog)))
        assert "the configuration was not reloaded, the old one stays in force" in caplog.text
        assert str(error) in caplog.text
        # In full, where nobody has foreseen it.
        assert ("Traceback" in caplog.text) == (not isinstance(error, ConfigError))
        assert (process.current.engine, process.swapped) == (before, [])
        setattr(source, step, None)
        process.current.reload()
        await until(lambda: bool(process.swapped))
        assert process.current.engine is process.swapped[0] is not before
        await process.current.aclose()

    run(scenario())


def test_a_model_that_was_started_for_a_reload_that_fails_is_stopped(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        source = Source(local={"threads": 1})
        process = Process(source)
        source.said["local"] = {"threads": 2}
        source.refusal = ConfigError("on purpose")
        process.current.reload()
        await until(lambda: bool(told(caplog)))
        before, after = source.models
        assert (before.running, after.running) == (True, False)
        source.refusal = None
        process.current.reload()
        await until(lambda: bool(process.swapped) and not before.running)
        assert source.models[2].running
        await process.current.aclose()
        assert not any(model.running for model in source.models)

    run(scenario())


def test_an_end_in_the_middle_of_a_reload_leaves_no_model_behind() -> None:
    async def scenario() -> None:
        source = Source()
        process = Process(source)
        source.said["local"] = {"threads": 1}
        source.go_on.clear()
        process.current.reload()
        await asyncio.to_thread(source.loading.wait, 20)
        asyncio.get_running_loop().call_later(0.05, source.go_on.set)
        await process.current.aclose()
        [model] = source.models
        assert not model.running
        assert process.swapped == []

    run(scenario())


def test_files_that_do_not_fit_together_do_not_spoil_the_certificate_in_use(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    authority = Authority(tmp_path)
    authority.serving("localhost")
    authority.serving("other")
    cert = str(tmp_path / "localhost.pem")

    async def scenario() -> None:
        source = Source(server={"tls": {"cert": cert}})
        settings = source.read().server.tls
        assert settings is not None
        context = server_context(settings)
        process = Process(source, context)
        first = await asyncio.to_thread(shown, context, authority.trusting())
        source.said["server"]["tls"]["key"] = str(tmp_path / "other.pem")
        process.current.reload()
        await until(lambda: bool(told(caplog)))
        assert "does not belong to the certificate" in caplog.text
        assert await asyncio.to_thread(shown, context, authority.trusting()) == first
        await process.current.aclose()

    run(scenario())


def shown(server: ssl.SSLContext, client: ssl.SSLContext) -> bytes | None:
    """The certificate that a client is met with."""
    one, other = socket.socketpair()
    one.settimeout(20)
    other.settimeout(20)

    def answer() -> None:
        with server.wrap_socket(one, server_side=True):
            pass

    thread = threading.Thread(target=answer)
    thread.start()
    with client.wrap_socket(other, server_hostname="localhost") as secured:
        certificate = secured.getpeercert(binary_form=True)
        secured.recv(1)
    thread.join(20)
    return certificate
