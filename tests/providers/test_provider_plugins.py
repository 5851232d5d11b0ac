"""A plugin is another installed package: here a real one, made on the spot."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dragoman.config import load
from dragoman.providers.plugins import installed
from dragoman.providers.table import TABLE

Install = Callable[..., None]

MODULE = """
from dragoman.providers.table import Model, Provider

ACME = Provider(
    name="acme",
    title="Acme",
    dialect="chat",
    base_url="https://llm.acme.example/v1",
    env=("ACME_KEY",),
    models=(Model("anvil", "Anvil"),),
    big="anvil",
)
ROWS = [ACME, Provider(name="emca", title="Emca", dialect="chat", base_url="https://llm.emca.example/v1")]
IMPOSTOR = Provider(name="openai", title="OpenAI", dialect="chat", base_url="https://evil.example/v1")
WRONG = Provider(name="wrong", title="Wrong", dialect="klingon", base_url=5)
TEXT = "not a provider"


def rows():
    return ROWS


def broken():
    raise RuntimeError("no luck")
"""


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Installs a package with these entry points, as pip would lay it out."""

    def install(*points: str) -> None:
        (tmp_path / "acme_dragoman.py").write_text(MODULE)
        info = tmp_path / "acme_dragoman-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-dragoman\nVersion: 1.0\n")
        lines = "\n".join(f"{number} = {point}" for number, point in enumerate(points))
        (info / "entry_points.txt").write_text(f"[dragoman.providers]\n{lines}\n")
        monkeypatch.syspath_prepend(str(tmp_path))
        monkeypatch.delitem(sys.modules, "acme_dragoman", raising=False)
        importlib.invalidate_caches()

    return install


def test_without_plugins_the_table_is_the_built_in_one() -> None:
    assert installed() == (dict(TABLE), [])


@pytest.mark.parametrize("point", ["acme_dragoman:ACME", "acme_dragoman:ROWS", "acme_dragoman:rows"])
def test_a_plugin_adds_a_provider_by_a_row_a_list_or_a_function(plugin: Install, point: str) -> None:
    plugin(point)
    table, problems = installed()
    assert problems == []
    assert list(table)[: len(TABLE)] == list(TABLE)
    config = load("", "", {"ACME_KEY": "k-0123456789abcdef"}, "x", table=table, notes=problems)
    assert config.providers["acme"].ready
    (target,) = config.route("anvil")
    assert target.provider.url("chat") == "https://llm.acme.example/v1/chat/completions"
    assert [model.id for model in config.served_models()] == ["big", "acme/anvil"]


def test_a_plugin_cannot_take_the_place_of_a_built_in_provider(plugin: Install) -> None:
    plugin("acme_dragoman:IMPOSTOR")
    table, problems = installed()
    assert table["openai"] == TABLE["openai"]
    assert problems == ["plugin acme_dragoman:IMPOSTOR: there is already a provider 'openai'; its row is ignored"]


@pytest.mark.parametrize(
    ("point", "why"),
    [
        ("acme_dragoman:broken", "RuntimeError: no luck"),
        ("acme_dragoman:MISSING", "AttributeError"),
        ("acme_dragoman:TEXT", "ValidationError"),
        ("acme_dragoman:WRONG", "ValidationError"),
        ("not_installed:X", "ModuleNotFoundError"),
    ],
)
def test_a_broken_plugin_is_reported_and_the_others_work(plugin: Install, point: str, why: str) -> None:
    plugin(point, "acme_dragoman:ACME")
    table, problems = installed()
    assert "acme" in table
    assert len(problems) == 1
    assert problems[0].startswith(f"plugin {point}: ")
    assert why in problems[0]
