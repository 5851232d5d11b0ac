"""The reference is complete and its examples work."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dragoman.config import load, render, settings
from dragoman.providers.table import TABLE

DOCS = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text()
BLOCKS = re.findall(r"^```(yaml|toml|json)\n(.*?)^```", DOCS, re.MULTILINE | re.DOTALL)


def test_the_reference_has_examples_in_every_format() -> None:
    assert {kind for kind, _ in BLOCKS} == {"yaml", "toml", "json"}
    assert len(BLOCKS) >= 12


@pytest.mark.parametrize(("kind", "text"), BLOCKS)
def test_every_block_of_the_reference_is_a_configuration(kind: str, text: str) -> None:
    named = re.findall(r"env:([A-Z][A-Z0-9_]*)|\$\{([A-Z][A-Z0-9_]*)", text)
    env = {name: f"sk-{number:016d}" for number, name in enumerate(dict.fromkeys(one or other for one, other in named))}
    render(load(text, "." + kind, env, "docs/configuration.md"))


def test_every_setting_is_documented() -> None:
    missing = [
        f"{section}.{name}"
        for section, names in settings().items()
        for name in names
        if not re.search(rf"^\|[^|]*`{name}`", DOCS, re.MULTILINE) and not re.search(rf"an object with [^.]*`{name}`", DOCS)
    ]
    assert not missing


@pytest.mark.parametrize("name", list(TABLE))
def test_every_built_in_provider_is_in_the_reference_as_it_is(name: str) -> None:
    row = TABLE[name]
    keys = ", ".join(f"`{key}`" for key in (*row.env, *row.token_env))
    assert f"| `{name}` | {keys} | `{row.base_url}` | {', '.join(row.dialects())} |" in DOCS
