"""The supervisor with workers that are real processes, in orders of events that come once in a thousand times by themselves."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
import sys
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from dragoman.config import Config
from dragoman.io.local import LocalModel
from dragoman.io.supervising import CONTROL, Brief, News, Order, Source, line, lock_file
from dragoman.io.supervisor import Plan, Supervisor, WorkerProcess, pause_after
from tests.io.process_signals import signals_as_before

LIMIT = 30
MODULE = "tests.io.steered_worker"


@pytest.fixture(autouse=True)
def _signals_as_before() -> Generator[None]:
    with signals_as_before():
        yield


class Spawning:
    """Every start of a worker, by number: what it is told in STEER, and which one is held up in the middle of being started."""

    def __init__(self, steer: dict[int, str], held: int) -> None:
        self._steer = steer
        self._held = held
        self._start = asyncio.create_subprocess_exec
        self.begun = 0
        self.is_held = asyncio.Event()
        self.gate = asyncio.Event()
        self.processes: list[asyncio.subprocess.Process] = []

    async def __call__(self, *arguments: str, env: dict[str, str], **options: Any) -> asyncio.subprocess.Process:
        self.begun += 1
        number = self.begun
        process = await self._start(*arguments, env={**env, "STEER": self._steer.get(number, "")}, **options)
        self.processes.append(process)
        if number == self._held:
            self.is_held.set()
            await self.gate.wait()
        return process


class Running:
    def __init__(self, port: int, spawning: Spawning, caplog: pytest.LogCaptureFixture) -> None:
        self.port = port
        self.spawning = spawning
        self._log = caplog
        self.aliases: dict[str, str] = {}
        """Of the configuration that is read next."""
        self.local: dict[str, Any] | bool = False
        self.models: list[LocalModel] = []
        self.ended: asyncio.Task[signal.Signals | str] | None = None

    def source(self, workers: int) -> tuple[Source, Config]:
        said = {"server": {"workers": workers, "drain": 2}, "store": False, "local": self.local, "aliases": self.aliases}
        provider = {"up": {"base_url": "http://127.0.0.1:9/v1", "api_key": "sk-0123456789abcdef"}}
        source = Source(text=json.dumps({**said, "providers": provider}), suffix=".json")
        return source, source.load({})

    def make_model(self, config: Config) -> LocalModel | None:
        if config.local.enabled is False:
            return None
        model = LocalModel.find(threads=config.local.threads)
        model.start()
        self.models.append(model)
        return model

    async def told(self, words: str) -> None:
        await until(lambda: any(words in record.getMessage() for record in self._log.records), words)

    async def get(self, path: str) -> str:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(b"GET %b HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n" % path.encode())
            return (await reader.read()).partition(b"\r\n\r\n")[2].decode()
        finally:
            writer.close()

    async def pids(self) -> list[int]:
        return [one["pid"] for one in json.loads(await self.get("/health/detailed"))["workers"]]


async def until(condition: Callable[[], bool], what: str) -> None:
    try:
        async with asyncio.timeout(LIMIT):
            while not condition():  # noqa: ASYNC110  of what other processes do
                await asyncio.sleep(0.005)
    except TimeoutError:
        pytest.fail(f"it never came to: {what}")


@asynccontextmanager
async def supervised(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    *,
    workers: int = 1,
    steer: dict[int, str] | None = None,
    held: int = 0,
    local: dict[str, Any] | bool = False,
) -> AsyncGenerator[Running]:
    caplog.set_level(logging.INFO, "dragoman")
    spawning = Spawning(steer or {}, held)
    monkeypatch.setattr(asyncio, "create_subprocess_exec", spawning)
    with socket.create_server(("127.0.0.1", 0)) as port, open_lock() as lock:
        running = Running(port.getsockname()[1], spawning, caplog)
        running.local = local
        source, config = running.source(workers)
        supervisor = Supervisor(
            Plan(source=source, config=config, model=running.make_model(config)),
            {1: port},
            lock=lock,
            reread=lambda: running.source(workers),
            make_model=running.make_model,
            accepted=lambda _: None,
            module=MODULE,
        )
        ready = asyncio.Event()
        ended = running.ended = asyncio.create_task(supervisor.run(ready.set))
        try:
            async with asyncio.timeout(LIMIT):
                waiting = asyncio.create_task(ready.wait())
                await asyncio.wait([waiting, ended], return_when=asyncio.FIRST_COMPLETED)
                waiting.cancel()
                yield running
                spawning.gate.set()
                if not ended.done():
                    os.kill(os.getpid(), signal.SIGTERM)
                await ended
        finally:
            ended.cancel()
            await asyncio.wait([ended])
    assert all(process.returncode is not None for process in spawning.processes)
    assert not any(model.running for model in running.models)


@contextlib.contextmanager
def open_lock() -> Generator[int]:
    lock = lock_file()
    try:
        yield lock
    finally:
        os.close(lock)


def test_a_worker_that_dies_while_its_successor_gets_ready_is_not_replaced_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The one that was started for the dead one would otherwise take the post from the successor, with the old configuration,
    and the successor would be missed by nobody."""
    gate = tmp_path / "gate"

    async def scenario() -> None:
        async with supervised(monkeypatch, caplog, steer={2: f"gate:{gate}"}, held=3) as running:
            [former] = await running.pids()
            running.aliases = {"mine": "up/x"}
            os.kill(os.getpid(), signal.SIGHUP)
            await until(lambda: running.spawning.begun == 2, "a successor")
            os.kill(former, signal.SIGKILL)
            await running.told("SIGKILL")
            gate.touch()
            await running.told("every worker replaced")
            running.spawning.gate.set()  # of the one that is started for the dead one, if any
            [successor] = await running.pids()
            os.kill(successor, signal.SIGKILL)
            await running.told(f"(process {successor})")
            assert '"mine"' in await running.get("/v1/models")
            assert len(await running.pids()) == 1

    asyncio.run(scenario())


def test_a_worker_that_dies_as_it_takes_its_post_is_missed_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        async with supervised(monkeypatch, caplog, workers=2, steer={4: "die"}) as running:
            running.aliases = {"mine": "up/x"}
            os.kill(os.getpid(), signal.SIGHUP)
            await running.told("every worker replaced")
            await until(lambda: running.spawning.begun == 5, "another one in its place")
            while len(await running.pids()) < 2:  # noqa: ASYNC110  the scenario's time bounds it
                await asyncio.sleep(0.01)
            assert running.spawning.begun == 5

    asyncio.run(scenario())


def test_the_model_that_a_reload_has_started_is_kept_while_nobody_uses_it_yet(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        async with supervised(monkeypatch, caplog, held=2, local={"threads": 1}) as running:
            [former] = await running.pids()
            running.local = {"threads": 2}
            os.kill(os.getpid(), signal.SIGHUP)
            await running.spawning.is_held.wait()
            os.kill(former, signal.SIGKILL)  # and with it goes the last look at which models are used
            await running.told("SIGKILL")
            running.spawning.gate.set()
            await running.told("every worker replaced")
            before, after = running.models
            await until(lambda: not before.running, "the end of the old model")
            assert after.running

    asyncio.run(scenario())


def test_a_worker_that_hangs_is_replaced(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr("dragoman.io.supervisor.HANGS", 0.3)

    async def scenario() -> None:
        async with supervised(monkeypatch, caplog) as running:
            [hanging] = await running.pids()
            os.kill(hanging, signal.SIGSTOP)
            await running.told("it gave no sign of life for 0.3 s")
            await until(lambda: running.spawning.begun == 2, "another one")
            assert await running.pids() != [hanging]

    asyncio.run(scenario())


def test_a_retired_worker_ends_whatever_its_application_does(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        async with supervised(monkeypatch, caplog, steer={1: "mute"}) as running:
            os.kill(os.getpid(), signal.SIGHUP)
            await running.told("every worker replaced")
            await until(lambda: running.spawning.processes[0].returncode is not None, "the end of the first")

    asyncio.run(scenario())


def test_an_application_that_does_not_start_is_the_end_and_its_reason_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        async with supervised(monkeypatch, caplog, steer=dict.fromkeys(range(1, 9), "refuse")) as running:
            assert running.ended is not None
            assert await running.ended == ("worker 1 does not start: the mounted application did not start: no database")

    asyncio.run(scenario())


def test_a_reload_whose_reading_fails_in_any_way_leaves_everything_as_it_was(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def unreadable(_: int) -> tuple[Source, Config]:
        raise MemoryError("on purpose")

    async def scenario() -> None:
        async with supervised(monkeypatch, caplog) as running:
            before = await running.pids()
            monkeypatch.setattr(running, "source", unreadable)
            os.kill(os.getpid(), signal.SIGHUP)
            await running.told("the configuration was not reloaded")
            assert "MemoryError: on purpose" in caplog.text
            assert await running.pids() == before
            monkeypatch.undo()

    asyncio.run(scenario())


# ---------------------------------------------------------------- what they tell each other


def test_what_a_worker_is_told_before_it_can_be_spoken_to_reaches_it() -> None:
    async def scenario() -> None:
        source = Source(text='{"local": false, "store": false}', suffix=".json")
        with open_lock() as lock, socket.create_server(("127.0.0.1", 0)) as port:
            brief = Brief(number=1, source=source, ports={1: port.fileno()}, lock=lock)
            ours, theirs = socket.socketpair()
            ours.setblocking(False)
            with theirs:
                process = await asyncio.create_subprocess_exec(
                    sys.executable, "-m", "dragoman.io.worker",
                    pass_fds=[port.fileno(), theirs.fileno(), lock], env={**os.environ, CONTROL: str(theirs.fileno())},
                )  # fmt: skip
            worker = WorkerProcess(brief, Plan(source=source, config=source.load({}), model=None), process, ours)
            worker.tell(Order("listen", 1))
            worker.tell(Order("retire"))
            ready = 0

            def got_ready() -> None:
                nonlocal ready
                ready += 1

            async with asyncio.timeout(LIMIT):
                await worker.attend(got_ready)
            assert (ready, worker.code) == (1, 0)
            worker.tell(Order("hurry"))  # to nobody

    asyncio.run(scenario())


def test_a_worker_that_has_much_to_say_before_it_ends_is_heard_out() -> None:
    async def scenario() -> None:
        source = Source(text='{"local": false, "store": false}', suffix=".json")
        brief = Brief(number=1, source=source, ports={}, lock=0)
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.setblocking(False)
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", "")
        worker = WorkerProcess(brief, Plan(source=source, config=source.load({}), model=None), process, ours)
        why = "a mistake; " * 10_000

        async def says() -> None:
            with theirs:
                loop = asyncio.get_running_loop()
                await loop.sock_recv(theirs, 1 << 16)
                await loop.sock_sendall(theirs, line(News("failed", why)))

        async with asyncio.timeout(LIMIT):
            await asyncio.gather(worker.attend(lambda: None), says())
        assert (worker.is_ready, worker.ending()) == (False, why)

    asyncio.run(scenario())


@pytest.mark.parametrize("heard", [True, False])
def test_a_worker_whose_supervisor_is_gone_in_the_middle_of_a_word_ends(heard: bool) -> None:
    """It is reset then, rather than told the end, and has nobody to say anything to."""

    async def scenario() -> None:
        source = Source(text='{"local": false, "store": false}', suffix=".json")
        with open_lock() as lock, socket.create_server(("127.0.0.1", 0)) as port:
            ours, theirs = socket.socketpair()
            ours.settimeout(LIMIT)
            with theirs:
                process = await asyncio.create_subprocess_exec(
                    sys.executable, "-m", "dragoman.io.worker",
                    pass_fds=[port.fileno(), theirs.fileno(), lock], env={**os.environ, CONTROL: str(theirs.fileno())},
                )  # fmt: skip
            brief = Brief(number=1, source=source, ports={1: port.fileno()}, lock=lock)
            with ours:
                ours.sendall(line(brief) + line(Order("listen", 1)))
                if heard:
                    assert await asyncio.to_thread(ours.recv, 1024)
                ours.sendall(line(Order("report")) * 200)
            async with asyncio.timeout(LIMIT):
                assert await process.wait() == 0

    asyncio.run(scenario())


@pytest.mark.parametrize("driver", ["native", "asgi"])
def test_a_worker_that_cannot_listen_says_why_and_ends(driver: str, caplog: pytest.LogCaptureFixture) -> None:
    """On a socket for datagrams nobody can."""
    source = Source(text=json.dumps({"local": False, "store": False, "server": {"driver": driver}}), suffix=".json")

    async def scenario() -> None:
        with open_lock() as lock, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as port:
            port.bind(("127.0.0.1", 0))
            ours, theirs = socket.socketpair()
            ours.setblocking(False)
            with theirs:
                process = await asyncio.create_subprocess_exec(
                    sys.executable, "-m", "dragoman.io.worker", stderr=asyncio.subprocess.DEVNULL,
                    pass_fds=[port.fileno(), theirs.fileno(), lock], env={**os.environ, CONTROL: str(theirs.fileno())},
                )  # fmt: skip
            reader, writer = await asyncio.open_connection(sock=ours)
            brief = Brief(number=1, source=source, ports={1: port.fileno()}, lock=lock)
            writer.writelines([line(brief), line(Order("listen", 1))])
            async with asyncio.timeout(LIMIT):
                said = [json.loads(news) for news in (await reader.read()).splitlines()]
                assert await process.wait() == 0
            writer.close()
            await writer.wait_closed()
            assert [each["say"] for each in said] == ["ready", "failed"]
            assert "Error: " in said[1]["why"]

    asyncio.run(scenario())


def test_the_pause_between_two_tries_is_doubled_up_to_the_longest_however_many_fail() -> None:
    pauses = [pause_after(failures) for failures in range(1, 12)]
    assert pauses[:4] == [0.0, 0.5, 1.0, 2.0]
    assert pauses == sorted(pauses)
    assert pause_after(5_000) == pauses[-1] == 30.0
