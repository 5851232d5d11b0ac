"""rolter: Rust. A virtual key is checked; its log is for errors. Of many streams that begin at once it refuses some
(429, "provider queue full")."""

from __future__ import annotations

from pathlib import Path

from bench.contestant import NOT_INSTALLED, Contestant, Launch, Upstreams, installed, python_version, written
from bench.exchanges import CHAT_MODEL, KEY, MESSAGES_MODEL, UPSTREAM_KEY

REQUIREMENTS = ("rolter==0.1.0",)
_CONFIG = """
[server]
host = "127.0.0.1"
port = {port}
[[providers]]
name = "up"
kind = "openai_compatible"
api_base = "http://127.0.0.1:{chat}"
[[providers]]
name = "other"
kind = "anthropic"
api_base = "http://127.0.0.1:{messages}"
allow_custom_api_base = true
api_key_env = "ANTHROPIC_API_KEY"
[[routes]]
model = "{chat_model}"
strategy = "round_robin"
[[routes.targets]]
provider = "up"
model = "{chat_model}"
[[routes]]
model = "{messages_model}"
strategy = "round_robin"
[[routes.targets]]
provider = "other"
model = "{messages_model}"
[[virtual_keys]]
key = "{key}"
name = "bench"
models = []
disabled = false
"""


def contestant() -> Contestant:
    program = installed("rolter", "bin/rolter")

    def launch(port: int, upstreams: Upstreams, folder: Path) -> Launch:
        text = _CONFIG.format(
            port=port, chat=upstreams.chat, messages=upstreams.messages, key=KEY,
            chat_model=CHAT_MODEL, messages_model=MESSAGES_MODEL,
        )  # fmt: skip
        env = {"ANTHROPIC_API_KEY": UPSTREAM_KEY, "ROLTER_UPDATE_CHECK": "false", "RUST_LOG": "error"}
        return Launch([str(program), "gateway", "-c", written(folder, "rolter.toml", text)], env)

    return Contestant(
        name="rolter",
        about="key check; logs errors only",
        ways=("chat", "messages>chat", "chat>messages"),
        version=python_version("rolter", "rolter"),
        launch=launch,
        missing="" if program else NOT_INSTALLED,
    )
