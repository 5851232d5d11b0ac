"""What a contestant is: how it is found, configured, started and asked."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import msgspec

from bench.exchanges import MODELS, PATHS, UPSTREAMS, Dialect, Upstream

HERE = Path(__file__).parent
PEERS = HERE / "peers"
INSTALLED = PEERS / ".env"
"""Where `make bench-peers` puts each, in an environment of its own."""

DIALECTS: tuple[Dialect, ...] = ("chat", "messages", "responses", "gemini")
FEW_WAYS = ("chat", "messages>chat", "chat>messages", "responses>chat", "gemini>chat")
"""What the client speaks, and the upstream: `chat>messages`; or `chat` alone where both speak it."""
EVERY_WAY = (
    *FEW_WAYS,
    *(way for client in DIALECTS for upstream in UPSTREAMS if (way := f"{client}>{upstream}") not in {*FEW_WAYS, "chat>chat"}),
)


class Failed(Exception):
    """A contestant does not start, or answers wrongly: a sentence."""


class Upstreams(msgspec.Struct, frozen=True):
    """The ports of the upstreams; they differ in what they answer. 0: nobody asks it."""

    chat: int
    messages: int
    responses: int = 0
    gemini: int = 0
    converse: int = 0

    def port(self, upstream: Upstream) -> int:
        return getattr(self, upstream)


class Launch(msgspec.Struct, frozen=True):
    """A command, and what it finds in its environment besides the little that all are given. `port_file`: a gateway that picks
    a port of its own writes it there."""

    command: list[str]
    env: dict[str, str] = {}
    port_file: Path | None = None


def _no_headers(upstream: Upstream, upstreams: Upstreams) -> tuple[str, ...]:  # noqa: ARG001
    return ()


class Contestant(msgspec.Struct, frozen=True, kw_only=True):
    """`launch` is given its own port, those of the upstreams, and an empty folder. `missing` says how it would be installed,
    when it is not. Without `launch` there is no gateway at all: the load generator talks to the upstream.

    `paths`, `models` and `headers` are for gateways that are asked in another way than the rest."""

    name: str
    about: str
    ways: tuple[str, ...]
    version: str = ""
    launch: Callable[[int, Upstreams, Path], Launch] | None = None
    missing: str = ""
    patience: float = 30.0
    """Seconds to the first answer, after which it is given up."""
    most_streams: int = 10_000
    """Open at once; those that fall behind with a thousand are not asked for more."""
    only: tuple[str, ...] = ()
    """The suites that it is measured in, if not in all that it can answer."""
    group: Literal["gateway", "feature", "workers"] = "gateway"
    paths: dict[Dialect, str] = {}
    models: dict[Upstream, str] = {}
    headers: Callable[[Upstream, Upstreams], tuple[str, ...]] = _no_headers

    def path(self, dialect: Dialect, *, stream: bool) -> str:
        verb = "streamGenerateContent?alt=sse" if stream else "generateContent"
        return self.paths.get(dialect, PATHS[dialect]).replace("VERB", verb)

    def model(self, upstream: Upstream) -> str:
        return self.models.get(upstream, MODELS[upstream])


class Running(msgspec.Struct):
    """`started` is the time in seconds from the start of the process to its first right answer. `pid` is 0 for no gateway."""

    port: int
    pid: int
    started: float
    contestant: Contestant
    upstreams: Upstreams


# ---------------------------------------------------------------- finding programs

ELSEWHERE = ["/usr/sbin", "/usr/local/sbin"]
"""Debian keeps nginx where the PATH of ordinary users does not lead."""
NOT_INSTALLED = "not installed: `make bench-peers`"


def installed(name: str, program: str) -> Path | None:
    """A program in the environment of a peer."""
    path = INSTALLED / name / program
    return path if path.exists() else None


def on_path(name: str) -> str | None:
    return shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), *ELSEWHERE]))


def first_number(command: list[str]) -> str:
    """The first word with a digit that a command says about itself."""
    said = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    words = (said.stdout + said.stderr).replace("/", " ").split()
    return next((word for word in words if word[:1].isdigit()), "")


def python_version(name: str, package: str) -> str:
    """Of a package in the environment of a peer."""
    found = sorted((INSTALLED / name).glob(f"lib/python*/site-packages/{package}-*.dist-info"))
    return found[0].name.removeprefix(f"{package}-").removesuffix(".dist-info") if found else ""


def node_version(name: str, package: str) -> str:
    try:
        return msgspec.json.decode(
            (INSTALLED / name / "node_modules" / package / "package.json").read_bytes(), type=_Package
        ).version
    except (OSError, msgspec.DecodeError):
        return ""


class _Package(msgspec.Struct):
    version: str = ""


def written(folder: Path, name: str, text: str) -> str:
    """A file in a contestant's own folder; its path."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(path)
