"""One process that takes another configuration while it serves: the next request is answered by a new engine, and the old one
is closed when its last answer is finished. Nobody is disconnected, and the port stays open.

A bad configuration is refused, and the old one stays in force. Where several workers serve, their supervisor replaces them
instead (`supervisor.py`).
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable, Sequence

from dragoman.config import Config
from dragoman.errors import ConfigError, DragomanError
from dragoman.io.engine import Engine
from dragoman.io.local import LocalModel
from dragoman.io.mount import Mount
from dragoman.io.tls import load, server_context

log = logging.getLogger("dragoman.server")

MountOf = Callable[[Callable[[], Engine]], Mount | None]
"""Makes the application that is mounted beside the gateway, if there is one; it is told where to find the engine that answers
now. The same for a single process (`serving.serve`) and for workers (`worker.main`)."""

Swap = Callable[[Engine], Sequence[asyncio.Future[None]]]
"""Puts another engine in the place of the one that answers; returns the tasks that are still at work for that one."""


class Reread:
    """Where a new configuration comes from. `read` raises `ConfigError`; it and `make_model`, which starts the built-in model
    for a configuration, are called in a thread. `accept` does for the process what follows from it (its log), just before it
    is in force; it may refuse it too, and then has changed nothing."""

    def __init__(
        self,
        read: Callable[[], Config],
        make_model: Callable[[Config], LocalModel | None],
        accept: Callable[[Config], None],
    ) -> None:
        self.read = read
        self.make_model = make_model
        self.accept = accept


class Current:
    """The engine that answers now. `model` is the built-in model that it uses: it is stopped here. `tls` is what clients are
    met with; its files are read again."""

    def __init__(
        self, config: Config, model: LocalModel | None, tls: ssl.SSLContext | None, reread: Reread | None = None
    ) -> None:
        self._model = model
        self._tls = tls
        self._reread = reread
        self._retiring: set[asyncio.Task[None]] = set()
        self._reloading: asyncio.Task[None] | None = None
        self._again = False
        self.swap: Swap | None = None
        self.engine = Engine(config, local=model.lent() if model is not None else None)

    def begin_draining(self) -> None:
        self.engine.begin_draining()

    def patience(self) -> float:
        return self.engine.config.server.drain

    def reload(self) -> None:
        """To be called on the loop. Once more afterwards, if it is called meanwhile."""
        if self._reloading is not None and not self._reloading.done():
            self._again = True
        elif self._reread is not None and self.swap is not None and not self.engine.draining:
            self._reloading = asyncio.get_running_loop().create_task(self._reload(self._reread, self.swap))

    async def aclose(self) -> None:
        for task in (self._reloading, *self._retiring):
            if task is not None:
                task.cancel()
                await asyncio.wait([task])
        await self._close(self.engine, self._model)

    async def _reload(self, reread: Reread, swap: Swap) -> None:
        self._again = True
        while self._again:
            self._again = False
            try:
                await self._reload_once(reread, swap)
            except DragomanError as error:
                log.error("the configuration was not reloaded, the old one stays in force: %s", error)
            except Exception:
                # Whatever it was, clients are being served: that goes on.
                log.exception("the configuration was not reloaded, the old one stays in force")

    async def _reload_once(self, reread: Reread, swap: Swap) -> None:
        config = await asyncio.to_thread(reread.read)
        check_unmoved(self.engine.config, config)
        if self._tls is not None and config.server.tls is not None:
            server_context(config.server.tls)  # files that do not fit together would spoil the one in use
        if same_model(self.engine.config, config):
            model, unused = self._model, None
            engine = await self._prepared(reread, config, model)
        else:
            model, unused = await started_model(reread.make_model, config), self._model
            try:
                engine = await self._prepared(reread, config, model)
            except BaseException:
                if model is not None:
                    await asyncio.to_thread(model.stop)
                raise
        old, self.engine, self._model = self.engine, engine, model
        retiring = asyncio.get_running_loop().create_task(self._retire(old, unused, swap(engine)))
        self._retiring.add(retiring)
        retiring.add_done_callback(self._retiring.discard)
        log.info("the configuration was reloaded")

    async def _prepared(self, reread: Reread, config: Config, model: LocalModel | None) -> Engine:
        """Everything that may fail, and nothing that cannot be taken back."""
        engine = Engine(config, local=model.lent() if model is not None else None)
        try:
            reread.accept(config)
            if self._tls is not None and config.server.tls is not None:
                load(self._tls, config.server.tls)
        except BaseException:
            await engine.aclose()
            raise
        return engine

    async def _retire(self, engine: Engine, model: LocalModel | None, tasks: Sequence[asyncio.Future[None]]) -> None:
        try:
            if tasks:
                await asyncio.wait(tasks)
        finally:
            await self._close(engine, model)

    async def _close(self, engine: Engine, model: LocalModel | None) -> None:
        await engine.aclose()
        if model is not None:
            await asyncio.to_thread(model.stop)


async def started_model(make: Callable[[Config], LocalModel | None], config: Config) -> LocalModel | None:
    """What `make` starts in a thread. Whoever is cancelled meanwhile leaves no model behind."""
    starting = asyncio.ensure_future(asyncio.to_thread(make, config))
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        await asyncio.wait([starting])
        if starting.exception() is None and (model := starting.result()) is not None:
            await asyncio.to_thread(model.stop)
        raise


def check_unmoved(before: Config, after: Config) -> None:
    """Raises `ConfigError` for what cannot change in a process that serves."""
    changed = [name for name in ("host", "port", "driver") if getattr(before.server, name) != getattr(after.server, name)]
    if (before.server.workers > 1) != (after.server.workers > 1):
        changed.append("workers")
    if (before.server.tls is None) != (after.server.tls is None):
        changed.append("tls")
    if changed:
        names = " and ".join(f"server.{name}" for name in changed)
        raise ConfigError(f"{names} cannot change while the gateway runs; stop it and start it again")


def same_model(before: Config, after: Config) -> bool:
    """Whether both mean the same built-in model, whatever it is called."""
    one, other = before.local, after.local
    return (one.enabled, one.model, one.threads, one.context) == (other.enabled, other.model, other.threads, other.context)
