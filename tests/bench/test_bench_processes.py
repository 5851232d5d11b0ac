"""Process trees, their cost and their end; which core does what."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench import cores, processes
from bench.processes import busy_ticks, clock_ns, family, parent_in, pss_kb, read_ps, used_between

PATIENCE = 10.0


def test_a_family_is_the_process_and_all_its_descendants() -> None:
    assert sorted(family(10, {10: 1, 11: 10, 12: 11, 13: 1, 14: 12})) == [10, 11, 12, 14]


def test_the_parent_is_found_behind_a_name_with_brackets_and_spaces() -> None:
    assert parent_in("4711 (a (very) odd) name) S 42 4711 4711 0 -1") == 42


def test_the_memory_is_the_share_of_what_is_shared() -> None:
    assert pss_kb("00400000-7fff ---p 00000000 00:00 0 [rollup]\nRss:  1672 kB\nPss:  386 kB\nPss_Dirty: 112 kB\n") == 386
    assert pss_kb("") == 0


@pytest.mark.parametrize(
    ("text", "seconds"), [("00:00:07", 7), ("1-02:03:04", 93784), ("0:12.34", 12.34), ("123:04.56", 7384.56)]
)
def test_the_time_that_ps_prints_is_read_in_both_its_forms(text: str, seconds: float) -> None:
    assert clock_ns(text) == round(seconds * 1e9)


def test_the_table_of_ps_is_read() -> None:
    assert read_ps("    1     0 00:00:02  1234\n   42     1 00:01:00 99\n\n") == {
        1: (0, 2_000_000_000, 1234),
        42: (1, 60_000_000_000, 99),
    }


def test_what_was_used_between_counts_new_processes_whole_and_leaves_out_ended_ones() -> None:
    assert used_between({1: 100, 2: 50}, {1: 180, 3: 7}) == 87


def test_idle_and_waiting_time_is_not_busy() -> None:
    assert busy_ticks("cpu  100 1 20 5000 300 0 7 2 0 0") == 130


def test_a_process_that_works_is_seen_to_use_time_and_memory() -> None:
    code = "import time\nend = time.process_time() + 0.2\nwhile time.process_time() < end: pass\nprint(1, flush=True)\ninput()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert sum(processes.cpu_ns(processes.tree(process.pid)).values()) >= 150_000_000
        assert processes.memory_mb([process.pid]) > 1
        process.communicate(b"\n", timeout=PATIENCE)


def test_stopping_ends_children_too_even_those_that_will_not_listen(tmp_path: Path) -> None:
    child = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
    parent = (
        f"import subprocess, sys, time\nchild = subprocess.Popen([sys.executable, '-c', {child!r}], stdout=subprocess.PIPE)\n"
        "child.stdout.readline()\nprint(child.pid, flush=True)\ntime.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", parent], stdout=subprocess.PIPE, start_new_session=True, cwd=tmp_path
    ) as process:
        assert process.stdout is not None
        grandchild = int(process.stdout.readline())
        assert grandchild in processes.tree(process.pid)
        processes.stop(process, patience=PATIENCE)
    assert process.returncode == -signal.SIGTERM
    # An orphan stays in the table until its new parent has looked at it.
    until = time.monotonic() + PATIENCE
    while _runs(grandchild) and time.monotonic() < until:
        os.sched_yield() if hasattr(os, "sched_yield") else time.sleep(0)
    assert not _runs(grandchild)


def _runs(pid: int) -> bool:
    told = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, timeout=PATIENCE, check=False)
    return bool(told.stdout.strip()) and not told.stdout.strip().startswith("Z")


# ---------------------------------------------------------------- cores


def test_lists_of_cores_are_read_as_the_kernel_writes_them() -> None:
    assert cores.cores_in("0-2,5\n") == {0, 1, 2, 5}
    assert cores.cores_in("3") == {3}


def test_gateway_and_load_get_cores_of_their_own() -> None:
    picked = cores.pick([0, 1], {0: {0}, 1: {1}})
    assert (picked.gateway, picked.load, picked.caveat) == (1, 0, "")


@pytest.mark.parametrize(
    ("usable", "pairs", "many"),
    [
        ([0, 1], {0: {0}, 1: {1}}, {0, 1}),
        ([0, 1, 2, 3], {0: {0}, 1: {1}, 2: {2}, 3: {3}}, {1, 2, 3}),
        ([0, 1, 2, 3, 4, 5], {0: {0, 1}, 1: {0, 1}, 2: {2, 3}, 3: {2, 3}, 4: {4, 5}, 5: {4, 5}}, {2, 3, 4, 5}),
        ([0], {0: {0}}, {0}),
    ],
)
def test_several_workers_get_the_cores_that_are_left_or_where_that_is_one_all(
    usable: list[int], pairs: dict[int, set[int]], many: set[int]
) -> None:
    assert cores.pick(usable, pairs).many == many


def test_threads_of_one_physical_core_are_avoided() -> None:
    pairs = {0: {0, 2}, 1: {1, 3}, 2: {0, 2}, 3: {1, 3}}
    picked = cores.pick([0, 2, 3], pairs)
    assert (picked.gateway, picked.load, picked.caveat) == (3, 0, "")
    assert "physical core" in cores.pick([0, 2], pairs).caveat


def test_a_single_core_is_shared_and_said_so() -> None:
    picked = cores.pick([4], {4: {4}})
    assert (picked.gateway, picked.load) == (4, 4)
    assert "only one core" in picked.caveat


def test_what_is_started_within_is_bound_and_nothing_afterwards() -> None:
    before = cores.allowed()
    place = cores.choose()
    with cores.bound(place.gateway):
        within = cores.allowed()
    assert within == ([place.gateway] if place.gateway is not None else before)
    assert cores.allowed() == before
