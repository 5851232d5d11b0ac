"""What the documentation shows is true: every block of README and docs is run, loaded or parsed."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dragoman.config import load
from dragoman.io.local import LocalModel
from tests.serving import Served, serving

ROOT = Path(__file__).parent.parent
# These two are run by tests of their own: tests/config/test_config_docs.py, tests/testing/test_docs.py.
ELSEWHERE = {"configuration.md", "testing.md"}
PAGES = [ROOT / "README.md", *(page for page in sorted((ROOT / "docs").glob("*.md")) if page.name not in ELSEWHERE)]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)

Block = tuple[str, str, str]


def blocks(*languages: str) -> list[Any]:
    found: list[Any] = []
    for page in PAGES:
        for number, match in enumerate(FENCE.finditer(page.read_text())):
            if match[1] in languages:
                found.append(pytest.param(match[2], id=f"{page.name}-{number}"))
    return found


@pytest.fixture(scope="module")
def gateway() -> Iterator[Served]:
    model = LocalModel.find()
    model.start()
    with serving({"aliases": {"big": "local", "small": "local"}}, local=model) as served:
        yield served


def here(text: str, gateway: Served) -> str:
    return text.replace("http://127.0.0.1:4000", gateway.url)


def test_every_block_is_of_a_kind_that_is_checked() -> None:
    for page in PAGES:
        for match in FENCE.finditer(page.read_text()):
            assert match[1] in {"sh", "python", "yaml", "toml", "json", "text"}, f"{page.name}: {match[0][:60]}"


@pytest.mark.parametrize("text", blocks("toml"))
def test_a_toml_block_is_toml(text: str) -> None:
    assert tomllib.loads(text)


@pytest.mark.parametrize("code", blocks("python"))
def test_a_python_block_runs(code: str, gateway: Served) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", here(code, gateway)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("text", blocks("yaml"))
def test_a_yaml_block_is_a_valid_configuration(text: str) -> None:
    config = load(text, ".yaml", {}, "documentation")
    for name in [*config.models, *config.aliases]:
        if "*" not in name and config.alias(name) != "local":
            assert config.route(name)


# Needs what a test has not: another program, or the network. Its syntax is checked all the same.
NOT_RUN = re.compile(r"\b(claude|codex|gemini|export)\b|/openai/v1/files")


@pytest.mark.parametrize("text", blocks("sh"))
def test_a_shell_block_runs(text: str, gateway: Served) -> None:
    script = here(text, gateway)
    if text.startswith("make "):
        # What is made is looked at, not made: this test runs inside `make test`.
        script = re.sub(r"^make ", "make --dry-run ", text, flags=re.MULTILINE)
    flags = ["-n"] if NOT_RUN.search(text) else ["-eu"]
    environment = {name: value for name, value in os.environ.items() if name not in {"MAKEFLAGS", "MAKELEVEL", "MFLAGS"}}
    done = subprocess.run(
        ["bash", *flags, "-c", script], capture_output=True, text=True, timeout=60, check=False, cwd=ROOT, env=environment
    )
    assert done.returncode == 0, done.stderr
    if text.startswith("curl") and flags != ["-n"]:
        assert "error" not in json.loads(done.stdout)


@pytest.mark.parametrize("text", blocks("json"))
def test_a_json_block_shows_what_the_gateway_says(text: str, gateway: Served) -> None:
    """The model's words may differ on another machine; the shape may not."""
    curl = next(block.values[0] for block in blocks("sh") if "chat/completions" in str(block.values[0]))
    done = subprocess.run(["bash", "-c", here(str(curl), gateway)], capture_output=True, text=True, timeout=60, check=True)
    shown, said = json.loads(text), json.loads(done.stdout)
    assert shown.keys() <= said.keys()
    assert shown["choices"][0].keys() <= said["choices"][0].keys()
    assert shown["usage"].keys() <= said["usage"].keys()
    assert said["choices"][0]["message"]["content"]


def test_links_lead_somewhere() -> None:
    for page in [*PAGES, *(ROOT / "docs" / name for name in ELSEWHERE)]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_generated_tables_are_current() -> None:
    done = subprocess.run([sys.executable, str(ROOT / "docs" / "tables.py"), "--check"], timeout=60, check=False)
    assert done.returncode == 0, "run `make docs`"
