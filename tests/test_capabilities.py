"""`tests/capabilities.toml` maps every capability of the mission to the tests that prove it. Checked both ways."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
MAP = tomllib.loads((TESTS / "capabilities.toml").read_text())

# The ids of the mission, in its order.
FAMILIES = {
    "DIA": 20, "PRO": 7, "CRE": 6, "ROU": 13, "CAC": 6, "GOV": 8, "TOO": 8, "LIB": 10, "OBS": 5, "UI": 3, "OPS": 11, "BEY": 12,
}  # fmt: skip


def all_tests() -> set[str]:
    found: set[str] = set()
    for path in TESTS.rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name.startswith("test_"):
                found.add(f"{path.relative_to(TESTS).as_posix()}::{node.name}")
    return found


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
    missing = set(names) - all_tests()
    assert not missing, f"{capability} names tests that do not exist: {sorted(missing)}"
    assert isinstance(proof.get("left", ""), str)
