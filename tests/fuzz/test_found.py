"""What the fuzzer found once, and what it kept: replayed, each in its place, without the fuzzer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fuzz import http1
from tests.fuzz.seeds import FOUND, KEPT, found, kept
from tests.fuzz.targets import TARGETS


@pytest.fixture(scope="module", autouse=True)
def _loop() -> Iterator[None]:
    yield
    http1.close()


@pytest.mark.parametrize(
    "path", [path for name in TARGETS for path in found(name)], ids=lambda path: f"{path.parent.name}/{path.name}"
)
def test_what_once_broke_something_breaks_nothing(path: Path) -> None:
    TARGETS[path.parent.name](path.read_bytes())


@pytest.mark.parametrize("name", TARGETS)
def test_every_kept_input_has_an_answer_or_a_typed_error(name: str) -> None:
    inputs = kept(name)
    assert inputs
    for data in inputs:
        TARGETS[name](data)


def test_nothing_is_kept_for_a_target_that_is_gone() -> None:
    assert {path.name for path in FOUND.iterdir()} | {path.stem for path in KEPT.glob("*.zip")} <= TARGETS.keys()
