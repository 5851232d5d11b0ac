"""smg (Shepherd Model Gateway): Rust, in front of one worker that speaks Chat; without a client key, errors in its log."""

from __future__ import annotations

from pathlib import Path

from bench.contestant import NOT_INSTALLED, Contestant, Launch, Upstreams, installed, python_version
from bench.ports import free_port

REQUIREMENTS = ("smg==1.13.0",)


def contestant() -> Contestant:
    program = installed("smg", "bin/smg")

    def launch(port: int, upstreams: Upstreams, folder: Path) -> Launch:  # noqa: ARG001
        worker = f"http://127.0.0.1:{upstreams.chat}"
        said = ["--host", "127.0.0.1", "--port", str(port), "--worker-urls", worker, "--backend", "openai"]
        quiet = ["--log-level", "error", "--disable-health-check", "--prometheus-port", str(free_port())]
        return Launch([str(program), "launch", *said, *quiet])

    return Contestant(
        name="smg",
        about="no key check; logs errors only",
        ways=("chat",),
        version=python_version("smg", "smg"),
        launch=launch,
        missing="" if program else NOT_INSTALLED,
    )
