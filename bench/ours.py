"""Dragoman as a contestant, as its users start it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from bench.contestant import HERE, Contestant, Launch, Upstreams, written
from bench.exchanges import UPSTREAMS
from dragoman import __version__

CONFIG = HERE / "dragoman.yaml"


def ours(
    name: str,
    about: str,
    *,
    ways: tuple[str, ...],
    driver: Literal["native", "asgi"] = "native",
    change: Callable[[str], str] | None = None,
    workers: int = 0,
    only: tuple[str, ...] = (),
) -> Contestant:
    """`change` makes another configuration of `bench/dragoman.yaml`. What is changed is a row of the
    features; with `workers`, of the table of several workers."""

    def launch(port: int, upstreams: Upstreams, folder: Path) -> Launch:
        config = str(CONFIG) if change is None else written(folder, "dragoman.yaml", change(CONFIG.read_text()))
        command = [sys.executable, "-m", "dragoman", "serve", "--config", config, "--port", str(port), "--no-local"]
        return Launch(
            [*command, "--driver", driver, *(["--workers", str(workers)] if workers else [])],
            {
                # Where nobody asks for it there is none, and then it is nobody's port.
                **{f"BENCH_{name.upper()}": f"http://127.0.0.1:{upstreams.port(name) or 9}" for name in UPSTREAMS},
                "BENCH_LOG": str(folder / "gateway.log"),
                "BENCH_FOLDER": str(folder),
                "HOME": str(folder),
            },
        )

    return Contestant(
        name=name,
        about=about,
        ways=ways,
        version=_with_commit(__version__),
        launch=launch,
        only=only,
        group="workers" if workers else "gateway" if change is None else "feature",
    )


def _with_commit(version: str) -> str:
    try:
        said = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, timeout=5, cwd=HERE, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return version
    return f"{version} ({said.stdout.strip()})"
