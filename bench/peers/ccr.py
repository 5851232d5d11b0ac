"""claude-code-router: Node.js, Messages in, Chat Completions out; a key check, its log switched off. Version 3 of it names a
dependency that is not published, so that version 2 is measured."""

from __future__ import annotations

import json
from pathlib import Path

from bench.contestant import NOT_INSTALLED, Contestant, Launch, Upstreams, installed, node_version, on_path, written
from bench.exchanges import CHAT_MODEL, KEY, UPSTREAM_KEY

PACKAGES = ("@musistudio/claude-code-router@2.0.0",)


def contestant() -> Contestant:
    program, node = installed("ccr", "node_modules/.bin/ccr"), on_path("node")

    def launch(port: int, upstreams: Upstreams, folder: Path) -> Launch:
        url = f"http://127.0.0.1:{upstreams.chat}/v1/chat/completions"
        provider = {"name": "up", "api_base_url": url, "api_key": UPSTREAM_KEY, "models": [CHAT_MODEL]}
        config = {
            "LOG": False, "HOST": "127.0.0.1", "PORT": port, "APIKEY": KEY, "NON_INTERACTIVE_MODE": True,
            "API_TIMEOUT_MS": 60_000, "Providers": [provider], "Router": {"default": f"up,{CHAT_MODEL}"},
        }  # fmt: skip
        written(folder, ".claude-code-router/config.json", json.dumps(config))
        return Launch([node or "node", str(program), "start"], {"HOME": str(folder), "NODE_ENV": "production"})

    return Contestant(
        name="ccr",
        about="claude-code-router: key check, no log",
        ways=("messages>chat",),
        version=node_version("ccr", "@musistudio/claude-code-router"),
        launch=launch,
        missing="" if program and node else NOT_INSTALLED,
        most_streams=1_000,
    )
