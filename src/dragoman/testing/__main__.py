"""`python -m dragoman.testing`: the scripted upstream, for trying things by hand. The model's name picks the scenario."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys

from dragoman.testing.library import SCENARIOS
from dragoman.testing.upstream import ScriptedUpstream, named

KEPT_REQUESTS = 100


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m dragoman.testing", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9100, help="0 takes any free one (default: 9100)")
    parser.add_argument("--default", default="text", metavar="NAME", help="scenario for any other model (default: text)")
    parser.add_argument("--split", default="event", help="whole, event or bytes:N (default: event)")
    parser.add_argument("--pace", type=float, default=0.0, metavar="SECONDS", help="pause between two pieces")
    parser.add_argument("--seconds", type=float, default=None, help="stop after so long")
    parser.add_argument("--list", action="store_true", help="print the scenarios and stop")
    options = parser.parse_args(argv)
    if options.list:
        for one in SCENARIOS.values():
            say(f"{one.name:28} {'/'.join(one.dialects):14} {one.about}")
        return 0
    try:
        named(options.default)
        upstream = ScriptedUpstream(
            host=options.host, port=options.port, split=options.split, pace=options.pace, keep=KEPT_REQUESTS
        )
    except (LookupError, ValueError) as error:
        sys.stderr.write(f"{error.args[0]}\n")
        return 2
    upstream.script(options.default, default=True)
    upstream.open_gate()
    try:
        return asyncio.run(serve(upstream, options.seconds))
    except OSError as error:
        sys.stderr.write(f"cannot listen on {options.host}:{options.port}: {error.strerror}\n")
        return 1


async def serve(upstream: ScriptedUpstream, seconds: float | None) -> int:
    """Serves until Ctrl-C, SIGTERM, or the time is up."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with upstream:
        apis = "Chat Completions, Messages and Responses"
        say(f"{upstream.url}/v1 speaks {apis}; model scenario:NAME, {len(SCENARIOS)} of them (--list)")
        try:
            async with asyncio.timeout(seconds):
                await stop.wait()
        except TimeoutError:
            pass
    return 0


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
