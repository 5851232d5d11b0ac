"""LiteLLM: one worker for its one core, without a database, as fast as its documentation makes it (`litellm.yaml`)."""

from __future__ import annotations

from pathlib import Path

from bench.contestant import NOT_INSTALLED, PEERS, Contestant, Launch, Upstreams, installed, python_version

REQUIREMENTS = ("litellm[proxy]==1.106.2",)


def contestant() -> Contestant:
    program = installed("litellm", "bin/litellm")

    def launch(port: int, upstreams: Upstreams, folder: Path) -> Launch:
        config = str(PEERS / "litellm.yaml")
        command = [str(program), "--config", config, "--host", "127.0.0.1", "--port", str(port), "--num_workers", "1"]
        return Launch(
            command,
            {
                "BENCH_UPSTREAM_V1": f"http://127.0.0.1:{upstreams.chat}/v1",
                "BENCH_MESSAGES": f"http://127.0.0.1:{upstreams.messages}",
                "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # otherwise it is fetched at each start
                "LITELLM_LOG": "ERROR",
                "LITELLM_MODE": "PRODUCTION",
                "HOME": str(folder),
            },
        )

    return Contestant(
        name="litellm",
        about="key check; logs errors only",
        ways=("chat", "messages>chat", "chat>messages"),
        version=python_version("litellm", "litellm"),
        launch=launch,
        missing="" if program else NOT_INSTALLED,
        patience=60.0,
        most_streams=1_000,
    )
