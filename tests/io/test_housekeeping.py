"""When a process looks for garbage, when it gives memory back, and how many files it may open."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap

import pytest

from dragoman.io.housekeeping import sweep_is_due, trim_is_due


def said_by(program: str) -> list[float]:
    """What a process of its own prints, as JSON."""
    source = textwrap.dedent(program)
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, timeout=60, check=True)
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    ("since", "looked", "connections", "due"),
    [
        (4, 10, 0, False),
        (6, 0, 0, False),
        (6, 10, 0, True),
        (6, 10, 100, True),
        (60, 10, 5_000, False),
        (240, 10, 5_000, True),
        (6, 5_000, 5_000, True),
    ],
)
def test_everything_is_looked_at_where_that_is_little_beside_the_time_since(
    since: float, looked: int, connections: int, due: bool
) -> None:
    assert sweep_is_due(since, looked, connections) is due


@pytest.mark.parametrize(
    ("since", "worked", "share", "due"),
    [(6, 1, 0.01, True), (6, 1, 0.5, False), (40, 1, 0.5, True), (4, 1, 0.01, False), (600, 0.01, 0.01, False)],
)
def test_memory_is_given_back_by_an_idle_process_and_now_and_then_by_a_busy_one(
    since: float, worked: float, share: float, due: bool
) -> None:
    assert trim_is_due(since, worked, share) is due


def test_many_streams_that_live_on_are_looked_at_in_portions() -> None:
    """An open stream is some eighty objects that the collector follows. The longest look at 400,000 of them decides how late an
    event may be."""
    most, everything = said_by("""
        import gc, json
        from dragoman.io.housekeeping import settle
        settle()
        portions, everything = [], []
        def looked(phase, about):
            if phase == "start":
                seen = sum(len(gc.get_objects(generation)) for generation in range(about["generation"] + 1))
                (everything if about["generation"] == 2 else portions).append(seen)
        gc.callbacks.append(looked)
        kept = [[number] for number in range(400_000)]
        gc.callbacks.clear()
        print(json.dumps([max(portions), len(everything)]))
    """)
    assert most < 20_000
    assert everything == 0


def test_what_is_left_behind_is_found_once_the_process_has_time() -> None:
    (left,) = said_by("""
        import asyncio, gc, json, weakref
        from dragoman.io.housekeeping import Housekeeper, settle

        class Cycle:
            def __init__(self):
                self.itself = self

        async def main():
            settle()
            with Housekeeper(lambda: 0, pace=20):
                cycles = [Cycle() for _ in range(20_000)]  # so many that the first are no longer young
                first = weakref.ref(cycles[0])
                gone = asyncio.Event()
                weakref.finalize(cycles[0], gone.set)
                cycles.clear()
                await asyncio.wait_for(gone.wait(), 30)
                print(json.dumps([first() is not None]))

        asyncio.run(main())
    """)
    assert not left


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc gives back")
def test_a_process_is_small_again_after_a_large_load() -> None:
    before, during, after = said_by("""
        import asyncio, json, os
        from dragoman.io.housekeeping import Housekeeper, settle
        from dragoman.io.process import resident

        def now():
            return resident(os.getpid()) / 2**20

        async def main():
            settle()
            before = now()
            with Housekeeper(lambda: 0, pace=20):
                # Larger than what Python's own allocator takes, smaller than what gets pages of its own.
                load = [bytes([number & 255]) * (2_000 + number % 4_000) for number in range(60_000)]
                kept = load[::1_000]  # and something is left at the top
                during = now()
                load.clear()
                async with asyncio.timeout(30):
                    while now() > before + 0.25 * (during - before):
                        await asyncio.sleep(0.05)
            print(json.dumps([before, during, now()]))

        asyncio.run(main())
    """)
    assert during > before + 100
    assert after < before + 40


@pytest.mark.skipif(sys.platform != "linux", reason="/proc says how much room the table of files has")
def test_a_process_may_open_as_many_files_as_the_system_allows_and_has_room_for_them() -> None:
    soft, hard, room = said_by("""
        import json, pathlib, resource
        from dragoman.io.housekeeping import make_room_for_files
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
        make_room_for_files()
        lines = pathlib.Path("/proc/self/status").read_text().splitlines()
        room = next(int(line.split()[1]) for line in lines if line.startswith("FDSize:"))
        print(json.dumps([*resource.getrlimit(resource.RLIMIT_NOFILE), room]))
    """)
    assert soft == min(hard, 65_536) or hard < 0
    assert room >= min(soft, 16_384)


@pytest.mark.skipif(sys.platform == "win32", reason="there is no such limit")
def test_a_system_that_allows_fewer_files_than_it_says_is_asked_for_fewer() -> None:
    """As macOS does."""
    soft, hard = said_by("""
        import json, resource
        from dragoman.io.housekeeping import make_room_for_files
        allowed = resource.setrlimit
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        allowed(resource.RLIMIT_NOFILE, (256, hard))
        def setrlimit(what, limits):
            if limits[0] > 12_288:
                raise ValueError("current limit exceeds maximum limit")
            allowed(what, limits)
        resource.setrlimit = setrlimit
        make_room_for_files()
        print(json.dumps(resource.getrlimit(resource.RLIMIT_NOFILE)))
    """)
    assert soft == (min(hard, 10_240) if hard >= 0 else 10_240)
