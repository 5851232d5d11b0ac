"""What `dragoman doctor` says of the store."""

from __future__ import annotations

from pathlib import Path

import pytest

from dragoman.cli import doctor
from dragoman.config import load


@pytest.mark.parametrize(
    ("said", "line"),
    [
        ("store: {folder}/new/store.db", "ok   store: {folder}/new/store.db, made when it is first needed"),
        (
            "store: {folder}/file/store.db",
            "BAD  store: {folder}/file/store.db cannot be made: {folder}/file cannot be written to",
        ),
        ("store: {folder}/file", "BAD  store: {folder}/file: the store cannot be used: file is not a database"),
        ("store: ':memory:'", "ok   store: :memory:"),
        (
            "store: postgresql://u:the-password@127.0.0.1:1/x",
            "BAD  store: postgresql://…@127.0.0.1:1/x: the store cannot be used",
        ),
        ("store: false", "ok   store: switched off"),
        ("", "note store: no place is known: there is no home directory to keep the store in"),
    ],
)
def test_it_looks_into_the_store_and_makes_none(
    said: str, line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("not a database" * 100)
    doctor._store(load(said.format(folder=tmp_path), ".yaml", {}, "gateway.yaml"), doctor._Findings())
    told = capsys.readouterr().out
    assert told.startswith(line.format(folder=tmp_path))
    assert "the-password" not in told
    assert [one.name for one in tmp_path.iterdir()] == ["file"]
