"""What docs/testing.md shows, runs; what it names, exists."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import dragoman.testing
from dragoman.testing import SCENARIOS, ScriptedUpstream

PAGE = (Path(__file__).parents[2] / "docs" / "testing.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_a_block_of_the_page_runs(number: int) -> None:
    space: dict[str, Any] = {"__name__": f"block_{number}"}
    exec(compile(BLOCKS[number], f"docs/testing.md, block {number}", "exec"), space)


def test_every_argument_of_the_upstream_is_explained() -> None:
    arguments = set(ScriptedUpstream.__init__.__kwdefaults__ or {})
    assert {name for name in arguments if f"`{name}`" not in PAGE} == set()


def test_the_page_counts_the_scenarios_right() -> None:
    assert f"{len(SCENARIOS)} of them" in PAGE


def test_every_step_is_named() -> None:
    steps = re.findall(
        r"^class (\w+)\(msgspec.Struct", (Path(dragoman.testing.__file__).parent / "scenario.py").read_text(), re.MULTILINE
    )
    inner = {"Ask", "Rendered", "Repeat"}
    unnamed = {step for step in steps if not re.search(rf"\b{step}\b", PAGE)} - inner
    assert unnamed <= {"Begin", "Endless"}


def test_what_the_package_offers_is_sorted_and_exists() -> None:
    names = dragoman.testing.__all__
    assert all(hasattr(dragoman.testing, name) for name in names)
    assert len(set(names)) == len(names)
