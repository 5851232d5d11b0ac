"""ferrogw: Go, on one processor. A master key is checked; its rate limit is set out of reach."""

from __future__ import annotations

from pathlib import Path

from bench.contestant import NOT_INSTALLED, Contestant, Launch, Upstreams, installed, python_version, written
from bench.exchanges import KEY, UPSTREAM_KEY

REQUIREMENTS = ("ferrogw==1.5.10",)
_CONFIG = """
strategy:
  mode: single
targets:
  - virtual_key: openai
"""


def contestant() -> Contestant:
    program = installed("ferrogw", "bin/ferrogw")

    def launch(port: int, upstreams: Upstreams, folder: Path) -> Launch:
        written(folder, "config.yaml", _CONFIG)
        return Launch(
            [str(program), "serve"],
            {
                "OPENAI_API_KEY": UPSTREAM_KEY,
                "OPENAI_BASE_URL": f"http://127.0.0.1:{upstreams.chat}",
                "PORT": str(port),
                "GATEWAY_CONFIG": "config.yaml",
                "MASTER_KEY": KEY,
                "LOG_LEVEL": "error",
                "GOMAXPROCS": "1",
                "RATE_LIMIT_RPS": "10000000",
                "RATE_LIMIT_BURST": "10000000",
                "HOME": str(folder),
            },
        )

    return Contestant(
        name="ferrogw",
        about="key check; logs errors only",
        ways=("chat",),
        version=python_version("ferrogw", "ferrogw"),
        launch=launch,
        missing="" if program else NOT_INSTALLED,
    )
