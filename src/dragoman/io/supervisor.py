"""The supervisor: several processes on one port, of which each may end, and be replaced, without anybody noticing.

    Supervisor       signals; keeps a worker in each post; reloads
      WorkerProcess    one process, and the socket over which it is told what to do

**No connection is lost.** A connection that the kernel has accepted waits in the queue of a listening socket, and is reset when
that socket is closed. Here none is, until the end: the supervisor opens them all, every worker inherits them all, and is told
on which to accept. On Linux there is one for each post, and the kernel shares out the connections among them (SO_REUSEPORT);
where a post is empty, another worker accepts until it is filled. Elsewhere there is one socket for all.

**A reload** reads the configuration. A bad one is refused, and everything stays as it was. Otherwise one worker after the other
is replaced: the new one is ready and accepts before the old one is told to retire, which then serves the clients that it
has until the last of them has its answer.

**The end** is bounded: `server.drain` seconds for what is under way, or none on a second signal.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

import msgspec

from dragoman.config import Config
from dragoman.errors import ConfigError, DragomanError
from dragoman.io.local import LocalModel
from dragoman.io.process import Terminal, ignore_signals
from dragoman.io.reloading import check_unmoved, same_model, started_model
from dragoman.io.supervising import CONTROL, LONGEST_LINE, Brief, News, Order, Source, lent, line

log = logging.getLogger("dragoman.supervisor")

START_LIMIT = 60.0
"""Seconds that a worker has to get ready in."""
HANGS = 60.0
"""Seconds in which a worker has to say that it is alive. Its loop is never busy for so long; one that is stuck would keep its
clients waiting for ever, and every new one that the kernel gives it."""
_AND_A_MOMENT = 2.0
"""Seconds more: where everything was suspended, they are over before it could say anything."""
_LATE = 3.0
"""Seconds beyond `server.drain` after which a worker is killed that was to end."""
_AT_ONCE = 5.0
"""A worker that lives no longer than this failed at once."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0
"""Seconds before a worker is started again that has failed at once, and failed again, twice as long each time."""
_TRIES = 3
"""When none has ever been ready, this many failures are the end."""


class Plan(msgspec.Struct, kw_only=True):
    """What workers are started with. Replaced as a whole by a reload."""

    source: Source
    config: Config
    model: LocalModel | None


class WorkerProcess:
    """`number` is that of its post."""

    def __init__(self, brief: Brief, plan: Plan, process: asyncio.subprocess.Process, control: socket.socket) -> None:
        self.number = brief.number
        self.brief = brief
        self.plan = plan
        self.pid = process.pid
        self.born = asyncio.get_running_loop().time()
        self.listens: set[int] = set()
        """The ports on which it was told to accept."""
        self.is_ready = False
        self.retired = False
        """It is to end when its clients have left."""
        self.told = asyncio.Event()
        """It is ready, or gone."""
        self.is_heard = False
        """It has said something since it was last asked."""
        self.code: int | None = None
        self._failure = ""
        self._process = process
        self._socket = control
        self._control: asyncio.StreamWriter | None = None
        self._untold: list[Order] = []
        """Until it can be spoken to."""

    async def attend(self, on_ready: Callable[[], None]) -> None:
        """Brief it, and listen to it until its end."""
        try:
            try:
                reader, self._control = await asyncio.open_connection(sock=self._socket, limit=LONGEST_LINE)
                self._control.writelines([line(self.brief), *map(line, self._untold)])
                self._untold.clear()
                await self._hear(reader, on_ready)
            except ConnectionError:
                pass  # as good as its end
            except OSError as error:
                self.kill(f"it could not be spoken to: {error.strerror}")
            self.code = await self._process.wait()
        finally:
            self._socket.close() if self._control is None else self._control.close()
            self.told.set()

    async def _hear(self, reader: asyncio.StreamReader, on_ready: Callable[[], None]) -> None:
        while said := await reader.readline():
            news = msgspec.json.decode(said, type=News)
            self.is_heard = True
            self._failure = self._failure or news.why
            if news.say == "ready":
                self.is_ready = True
                self.told.set()
                on_ready()

    def tell(self, order: Order) -> None:
        if self._control is None:
            self._untold.append(order)
        elif not self._control.is_closing():
            self._control.write(line(order))

    def kill(self, why: str = "") -> None:
        self._failure = self._failure or why
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    def ending(self) -> str:
        """How it ended, in words."""
        if self._failure or self.code is None:
            return self._failure or "it could not be spoken to"
        if self.code < 0:
            with contextlib.suppress(ValueError):
                return f"it was ended by {signal.Signals(-self.code).name}"
        return f"it ended with exit code {self.code}"


class Supervisor:
    """`ports` are bound and listen; they are closed by whoever opened them. `reread` gives the configuration as it is now, and
    raises `ConfigError`; `make_model` starts the built-in model for it; both are called in a
    thread. `accepted` is told what is in force after a reload. `open_port` binds one more socket to the same port, which does
    not listen yet; without it, all workers have one in common. `lock`: a `lock_file`. `module` is what a worker runs: it calls
    `worker.main`."""

    def __init__(
        self,
        plan: Plan,
        ports: Mapping[int, socket.socket],
        *,
        lock: int,
        reread: Callable[[], tuple[Source, Config]],
        make_model: Callable[[Config], LocalModel | None],
        accepted: Callable[[Config], None],
        open_port: Callable[[], socket.socket] | None = None,
        module: str = "dragoman.io.worker",
    ) -> None:
        self._plan = plan
        self._ports = dict(ports)
        self._open_port = open_port
        self._opened: list[socket.socket] = []
        self._lock = lock
        self._reread = reread
        self._make_model = make_model
        self._accepted = accepted
        self._module = module
        self._posts: dict[int, WorkerProcess | None] = {}
        """None where no worker could be started."""
        self._turns: dict[int, asyncio.Lock] = {}
        """Held while somebody is put into a post, or taken out of it."""
        self._failures: dict[int, int] = {}
        """In a row, each at once, by post."""
        self._workers: set[WorkerProcess] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._models = {plan.model} - {None}
        self._coming: list[Plan] = []
        """With which a worker is being started: their models are in use, though nobody has them yet."""
        self._changed = asyncio.Event()
        """A worker got ready, or ended."""
        self._again = False
        self._reloading: asyncio.Task[None] | None = None
        self._told: asyncio.Future[signal.Signals | str] | None = None
        self._stopping = False
        self._was_ready = False

    async def run(self, on_ready: Callable[[], None]) -> signal.Signals | str:
        """Until a signal comes, or none of the workers ever gets ready: then the reason is returned."""
        loop = asyncio.get_running_loop()
        told = self._told = loop.create_future()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stop, number)
        terminal = Terminal()
        loop.add_signal_handler(signal.SIGHUP, lambda: self._stop(signal.SIGHUP) if terminal.is_gone() else self.reload())
        try:
            for post in range(1, self._plan.config.server.workers + 1):
                self._task(self._fill(post, None))
            while not told.done() and not self._all_ready():
                await self._next_change(told)
            if not told.done():
                on_ready()
            reason = await told
            await self._end()
            return reason
        finally:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                loop.remove_signal_handler(number)
            ignore_signals()
            await self._clear()

    def _all_ready(self) -> bool:
        posts = self._posts.values()
        return len(posts) == self._plan.config.server.workers and all(one is not None and one.is_ready for one in posts)

    async def _next_change(self, *others: asyncio.Future[Any]) -> None:
        self._changed.clear()
        change = asyncio.ensure_future(self._changed.wait())
        await asyncio.wait([change, *others], return_when=asyncio.FIRST_COMPLETED)
        change.cancel()

    # ------------------------------------------------------------ workers

    def _turn(self, post: int) -> asyncio.Lock:
        return self._turns.setdefault(post, asyncio.Lock())

    async def _fill(self, post: int, missed: WorkerProcess | None, pause: float = 0.0) -> None:
        """Start a worker in the place of the one that is missed, unless somebody else has done it meanwhile."""
        while True:
            await asyncio.sleep(pause)
            async with self._turn(post):
                if self._stopping or self._posts.get(post) is not missed or post > self._plan.config.server.workers:
                    return
                try:
                    self._put(post, await self._spawn(post, self._plan))
                except OSError as error:
                    log.error("worker %d cannot be started: %s. The next try is in %g s.", post, error.strerror, _LONGEST_PAUSE)
                    self._posts[post] = missed = None
                    pause = _LONGEST_PAUSE
                else:
                    return

    def _put(self, post: int, worker: WorkerProcess) -> None:
        """Into its post. From there it is missed when it ends, and so it is if it has ended before: what has come first is seen
        to here, and what comes later in `_live`."""
        self._posts[post] = worker
        if worker not in self._workers:
            self._miss(worker)

    async def _spawn(self, post: int, plan: Plan) -> WorkerProcess:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        self._coming.append(plan)
        ports = {name: port.fileno() for name, port in self._ports.items()}
        brief = Brief(number=post, source=plan.source, ports=ports, lock=self._lock, local=lent(plan.model))
        with theirs:
            try:
                process = await asyncio.create_subprocess_exec(
                    sys.executable, "-m", self._module,
                    stdin=asyncio.subprocess.DEVNULL,
                    pass_fds=[*ports.values(), theirs.fileno(), self._lock],
                    env={**os.environ, CONTROL: str(theirs.fileno())},
                )  # fmt: skip
            except BaseException:
                ours.close()
                raise
            finally:
                self._coming.remove(plan)
        worker = WorkerProcess(brief, plan, process, ours)
        self._workers.add(worker)
        if self._stopping:  # meanwhile: it would be told by nobody
            worker.kill()
        self._task(self._live(worker))
        return worker

    async def _live(self, worker: WorkerProcess) -> None:
        """From its first breath to its last."""
        late = asyncio.get_running_loop().call_later(START_LIMIT, self._too_late, worker)
        watch = self._task(self._watch(worker))
        try:
            await worker.attend(self._got_ready)
        finally:
            late.cancel()
            watch.cancel()
            self._workers.discard(worker)
            if self._posts.get(worker.number) is worker:
                self._miss(worker)
            self._share_out()
            self._changed.set()
        await self._stop_models()

    async def _watch(self, worker: WorkerProcess) -> None:
        await worker.told.wait()
        while True:
            worker.is_heard = False
            worker.tell(Order("report"))
            for seconds in (HANGS, _AND_A_MOMENT):
                if not worker.is_heard:
                    await asyncio.sleep(seconds)
            if not worker.is_heard:
                worker.kill(f"it gave no sign of life for {HANGS:g} s")
                return

    def _miss(self, worker: WorkerProcess) -> None:
        """It has ended, and should not have."""
        if not self._stopping:
            self._task(self._fill(worker.number, worker, self._pause_after(worker)))

    def _too_late(self, worker: WorkerProcess) -> None:
        if not worker.is_ready:
            worker.kill(f"it was not ready within {START_LIMIT:g} s")

    def _got_ready(self) -> None:
        self._was_ready = True
        self._share_out()
        self._changed.set()

    def _pause_after(self, worker: WorkerProcess) -> float:
        """Seconds until another is started in its place."""
        post = worker.number
        if worker.is_ready and asyncio.get_running_loop().time() - worker.born > _AT_ONCE:
            self._failures[post] = 0
            log.warning("worker %d (process %d) is gone: %s; another is started", post, worker.pid, worker.ending())
            return 0.0
        failures = self._failures[post] = self._failures.get(post, 0) + 1
        if not self._was_ready and failures >= _TRIES:
            self._finish(f"worker {post} does not start: {worker.ending()}")
        pause = pause_after(failures)
        log.error(
            "worker %d (process %d) failed as soon as it was started: %s; the next try is in %g s",
            post, worker.pid, worker.ending(), pause,
        )  # fmt: skip
        return pause

    def _share_out(self) -> None:
        """Every port to a worker: to that of its own post, or else to any other that is ready; where there is but one port, to
        all of them."""
        ready = sorted((each for each in self._workers if each.is_ready and not each.retired), key=lambda each: each.number)
        if not ready:
            return
        share: dict[WorkerProcess, set[int]] = {each: set() for each in ready}
        for port in self._ports:
            # A port that was opened later is unknown to those who were there before.
            able = [each for each in ready if port in each.brief.ports]
            posted = self._posts.get(port)
            if self._open_port is not None and able:
                able = [posted if posted in able else able[port % len(able)]]
            for owner in able:
                share[owner].add(port)
        team = Order("team", team={each.number: each.pid for each in ready})
        # First somebody begins, then somebody else leaves off.
        for worker, ports in share.items():
            for port in ports - worker.listens:
                worker.tell(Order("listen", port))
        for worker, ports in share.items():
            for port in worker.listens - ports:
                worker.tell(Order("leave", port))
            worker.listens = ports
            worker.tell(team)

    # ------------------------------------------------------------ reload

    def reload(self) -> None:
        """Read the configuration and replace the workers, one at a time. Once more afterwards, if it is told meanwhile."""
        if self._reloading is not None and not self._reloading.done():
            self._again = True
        elif not self._stopping:
            self._reloading = self._task(self._reload())

    async def _reload(self) -> None:
        self._again = True
        while self._again and not self._stopping:
            self._again = False
            try:
                await self._reload_once()
            except DragomanError as error:
                log.error("the configuration was not reloaded, the old one stays in force: %s", error)
            except Exception:
                # Whatever it was, clients are being served: that goes on.
                log.exception("the configuration was not reloaded, or not as a whole; the workers that there are serve on")
            await self._stop_models()

    async def _reload_once(self) -> None:
        source, config = await asyncio.to_thread(self._reread)
        before = self._plan.config
        check_unmoved(before, config)
        model = self._plan.model
        if not same_model(before, config):
            model = await started_model(self._make_model, config)
            if model is not None:
                self._models.add(model)
        plan = Plan(source=source, config=config, model=model)
        self._coming.append(plan)
        try:
            await self._put_in_force(plan)
        finally:
            self._coming.remove(plan)

    async def _put_in_force(self, plan: Plan) -> None:
        config = plan.config
        if self._open_port is not None:
            for port in range(len(self._ports) + 1, config.server.workers + 1):
                self._ports[port] = self._open_port()
                self._opened.append(self._ports[port])
        for post in range(1, config.server.workers + 1):
            if self._stopping:
                return
            await self._replace(post, plan)
        for post in [post for post in self._posts if post > config.server.workers]:
            async with self._turn(post):
                self._retire(self._posts.pop(post))
        self._share_out()
        self._accepted(config)
        log.info("the configuration was reloaded, and every worker replaced")

    async def _replace(self, post: int, plan: Plan) -> None:
        """Raises `DragomanError` when the first of the new ones does not get ready. After it the new configuration is in force,
        and a worker that does not start is started again as ever."""
        async with self._turn(post):
            try:
                worker = await self._spawn(post, plan)
            except OSError as error:
                raise ConfigError(f"no worker can be started: {error.strerror}") from error
            await worker.told.wait()
            if self._stopping:
                return
            if not worker.is_ready and self._plan is not plan:
                raise ConfigError(f"a worker does not start with it: {worker.ending()}")
            self._plan = plan
            self._failures.pop(post, None)
            former = self._posts.get(post)
            self._put(post, worker)
            if former is not None:
                former.retired = True
            # The new one is told to accept before the old one is told to leave.
            self._share_out()
            self._retire(former)

    def _retire(self, worker: WorkerProcess | None) -> None:
        if worker is not None:
            worker.retired = True
            worker.tell(Order("retire"))

    async def _stop_models(self) -> None:
        """Those that nobody uses any more."""
        used = {plan.model for plan in (self._plan, *self._coming, *(worker.plan for worker in self._workers))}
        for model in self._models - used:
            self._models.discard(model)
            if model is not None:
                await asyncio.to_thread(model.stop)

    # ------------------------------------------------------------ the end

    def _stop(self, number: signal.Signals) -> None:
        if self._stopping:
            for worker in self._workers:
                worker.tell(Order("hurry"))
        self._finish(number)

    def _finish(self, reason: signal.Signals | str) -> None:
        self._stopping = True
        if self._told is not None and not self._told.done():
            self._told.set_result(reason)

    async def _end(self) -> None:
        late = self._plan.config.server.drain + _LATE
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(late):
                for worker in self._workers:
                    if worker.is_ready:
                        worker.tell(Order("drain"))
                    else:  # it has nothing to finish, and may not be listening yet
                        worker.kill()
                while self._workers:
                    await self._next_change()
        for worker in self._workers:
            log.error("worker %d (process %d) did not end within %g s and is killed", worker.number, worker.pid, late)

    async def _clear(self) -> None:
        """Leave nothing behind, whatever has happened."""
        self._stopping = True
        for worker in self._workers:
            worker.kill()
        while self._workers:
            await self._next_change()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        for model in self._models:
            if model is not None:
                await asyncio.to_thread(model.stop)
        for port in self._opened:
            port.close()

    def _task(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a fault in the supervisor", exc_info=error)
            self._finish("the supervisor failed; its log says why")


def pause_after(failures: int) -> float:
    """Seconds before the next try, after so many failures one behind the other: doubled each time, up to the longest."""
    # A power of so many failures as a day brings is no float any more.
    return min(_FIRST_PAUSE * 2 ** min(failures - 2, 10), _LONGEST_PAUSE) if failures > 1 else 0.0
