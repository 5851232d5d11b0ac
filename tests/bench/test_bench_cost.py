"""The guard of the hot path: CPU time of the core beside a fixed piece of Python, as a ratio. It never looks at a wall clock.

A ratio beyond its band is measured again before it counts; the band is wide. When a change makes the core dearer on purpose, or
much cheaper, `python -m bench.cost --write` keeps what it is now.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from bench import cost

ROOT = Path(__file__).parents[2]


def test_no_request_costs_twice_what_it_did() -> None:
    # In a process of its own: coverage, other tests' garbage and their log handlers would be measured along with it.
    env = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "VIRTUAL_ENV") if name in os.environ}
    done = subprocess.run(
        [sys.executable, "-m", "bench.cost"], cwd=ROOT, env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_has_become_dearer_is_named_with_by_how_much() -> None:
    kept = {"verbatim": 3.0, "translated": 6.0}
    assert cost.beyond({"verbatim": 5.9, "translated": 2.0}, kept) == []
    (told,) = cost.beyond({"verbatim": 7.5, "translated": 6.0}, kept)
    assert told == "verbatim: 7.50 times the reference, where 3.00 is kept (2.5 times as much)"


def test_a_case_of_which_nothing_is_kept_is_named() -> None:
    assert "nothing is kept" in cost.beyond({"new": 1.0}, {})[0]
    assert set(cost.keep()) == set(cost.CASES)


def test_the_reference_does_the_same_each_time() -> None:
    assert cost.reference() == cost.reference() > 0
