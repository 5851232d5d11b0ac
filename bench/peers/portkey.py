"""Portkey's gateway, its public edition: Node.js, one process. It has no client keys: whoever reaches it names the provider,
the provider's address and its key in headers. With the newest version of a package that it asks for, its streams fail,
so it gets the oldest that it allows."""

from __future__ import annotations

from pathlib import Path

from bench.contestant import NOT_INSTALLED, Contestant, Launch, Upstreams, installed, node_version, on_path
from bench.exchanges import Upstream

PACKAGES = ("@portkey-ai/gateway@1.15.2",)
OVERRIDES = {"@hono/node-server": "1.3.3"}


def contestant() -> Contestant:
    program, node = installed("portkey", "node_modules/@portkey-ai/gateway/build/start-server.js"), on_path("node")

    def launch(port: int, upstreams: Upstreams, folder: Path) -> Launch:  # noqa: ARG001
        return Launch([node or "node", str(program), f"--port={port}", "--headless"], {"NODE_ENV": "production"})

    return Contestant(
        name="portkey",
        about="no client keys, no log; provider and address stand in each request's headers",
        ways=("chat", "chat>messages"),
        version=node_version("portkey", "@portkey-ai/gateway"),
        launch=launch,
        missing="" if program and node else NOT_INSTALLED,
        most_streams=1_000,
        headers=_headers,
    )


def _headers(upstream: Upstream, upstreams: Upstreams) -> tuple[str, ...]:
    provider = "openai" if upstream == "chat" else "anthropic"
    host = f"http://127.0.0.1:{upstreams.port(upstream)}/v1"
    return (f"x-portkey-provider: {provider}", f"x-portkey-custom-host: {host}")
