"""This gateway under judgement: a process of its own, as users start it, set up for the battery's upstream."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from dragoman.conformance.peers import KEY, base_of, chain_of, model_of

_START = 30.0
_STOP = 10.0
_ADDRESS = re.compile(r"listens on (\S+)")


class DidNotStart(Exception):
    """The gateway said why on its standard error, or said nothing in time."""


def configuration(upstream_url: str, upstreams: tuple[str, ...]) -> dict[str, Any]:
    """A provider for each dialect, a model on each, and a chain of two."""
    return {
        "auto": False,
        "local": {"enabled": False},
        "keys": [{"name": "conformance", "key": KEY}],
        "providers": {
            f"{name}-upstream": {
                "dialect": name,
                "base_url": base_of(name, upstream_url),
                "api_key": "sk-upstream-0123456789",
                **({"profile": {"thinking": "adaptive"}} if name == "messages" else {}),
            }
            for name in upstreams
        },
        "models": {
            **{model_of(name): f"{name}-upstream/{model_of(name)}" for name in upstreams},
            **{
                chain_of(name): [f"{name}-upstream/{model_of(name)}-1", f"{name}-upstream/{model_of(name)}-2"]
                for name in upstreams
            },
        },
    }


@asynccontextmanager
async def served(upstream_url: str, upstreams: tuple[str, ...], driver: str = "native") -> AsyncGenerator[str]:
    """The base URL of a gateway that is ended with the block. Raises `DidNotStart`."""
    with TemporaryDirectory(prefix="dragoman-conformance-") as folder:
        path = Path(folder) / "gateway.json"
        path.write_text(json.dumps(configuration(upstream_url, upstreams)))
        errors = Path(folder) / "errors"
        arguments = ("serve", "--config", str(path), "--host", "127.0.0.1", "--port", "0", "--driver", driver)
        with errors.open("wb") as stderr:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "dragoman", *arguments),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=stderr,
                env={name: value for name, value in os.environ.items() if not name.startswith("DRAGOMAN_")},
            )
        try:
            yield await _address(process, errors)
        finally:
            if process.returncode is None:
                process.terminate()
            with suppress(TimeoutError):
                async with asyncio.timeout(_STOP):
                    await process.communicate()
            if process.returncode is None:
                process.kill()
                await process.communicate()


async def _address(process: asyncio.subprocess.Process, errors: Path) -> str:
    assert process.stdout is not None
    try:
        async with asyncio.timeout(_START):
            async for line in process.stdout:
                found = _ADDRESS.search(line.decode())
                if found:
                    return found[1]
    except TimeoutError:
        pass
    raise DidNotStart(f"the gateway did not start: {_tail(errors) or 'it said nothing'}")


def _tail(errors: Path) -> str:
    return errors.read_text()[-2000:]
