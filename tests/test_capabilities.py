"""`tests/capabilities.toml` maps every capability of the mission to the tests that prove it. Checked both ways."""

from __future__ import annotations

import ast
import re
import tomllib
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
MAP = tomllib.loads((TESTS / "capabilities.toml").read_text())

# The ids of the mission, in its order.
FAMILIES = {
    "DIA": 20, "PRO": 7, "CRE": 6, "ROU": 13, "CAC": 6, "GOV": 8, "TOO": 8, "LIB": 10, "OBS": 5, "UI": 3, "OPS": 11, "BEY": 12,
}  # fmt: skip


@cache
def names_in(path: Path) -> set[str]:
    """The names of the tests in a file, none if there is no such file."""
    if not path.exists():
        return set()
    tree = ast.parse(path.read_text())
    return {node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))}


def test_every_capability_is_in_the_map() -> None:
    expected = {f"{family}-{number}" for family, count in FAMILIES.items() for number in range(1, count + 1)}
    assert set(MAP) == expected


@pytest.mark.parametrize("capability", sorted(MAP))
def test_a_capability_is_open_or_proven_by_tests_that_exist(capability: str) -> None:
    proof = MAP[capability]
    assert re.fullmatch(r"[A-Z]+-\d+", capability)
    if proof == "open":
        return
    names = proof["tests"]
    assert names, f"{capability} names no test"
    for name in names:
        file, _, test = name.partition("::")
        assert test.startswith("test_")
        assert test in names_in(TESTS / file), f"{capability} names a test that does not exist: {name}"
    assert isinstance(proof.get("left", ""), str)
