"""TensorZero: Rust. Its gateway is published as an image only, so the one that is embedded in its Python package is measured,
started by a few lines of Python that then sleep; their memory counts with it. It runs without its database, and so without
observability."""

from __future__ import annotations

from pathlib import Path

from bench.contestant import NOT_INSTALLED, Contestant, Launch, Upstreams, installed, python_version, written
from bench.exchanges import CHAT_MODEL, UPSTREAM_KEY

REQUIREMENTS = ("tensorzero==2026.6.0",)
_CONFIG = """
[gateway]
observability.enabled = false
[models."{model}"]
routing = ["up"]
[models."{model}".providers.up]
type = "openai"
model_name = "{model}"
api_base = "http://127.0.0.1:{port}/v1/"
api_key_location = "env::OPENAI_API_KEY"
"""
_START = """
import signal, sys, tensorzero
from urllib.parse import urlsplit
config, told = sys.argv[1:]
gateway = tensorzero._start_http_gateway(
    config_file=config, clickhouse_url=None, postgres_url=None, valkey_url=None, async_setup=False)
open(told, "w").write(str(urlsplit(gateway.base_url).port) + "\\n")
signal.pause()
"""


def contestant() -> Contestant:
    program = installed("tensorzero", "bin/python")
    if not python_version("tensorzero", "tensorzero"):
        program = None

    def launch(port: int, upstreams: Upstreams, folder: Path) -> Launch:  # noqa: ARG001
        config = written(folder, "tensorzero.toml", _CONFIG.format(model=CHAT_MODEL, port=upstreams.chat))
        told = folder / "port"
        command = [str(program), written(folder, "start.py", _START), config, str(told)]
        return Launch(command, {"OPENAI_API_KEY": UPSTREAM_KEY, "RUST_LOG": "error"}, told)

    return Contestant(
        name="tensorzero",
        about="the gateway embedded in its Python package: no key check, no database",
        ways=("chat",),
        version=python_version("tensorzero", "tensorzero"),
        launch=launch,
        missing="" if program else NOT_INSTALLED,
        paths={"chat": "/openai/v1/chat/completions"},
        models={"chat": f"tensorzero::model_name::{CHAT_MODEL}"},
    )
