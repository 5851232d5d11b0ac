"""The `dragoman` command: one file for each subcommand, this one picks it and says what went wrong.

Exit codes: 0 all is well, 1 it failed or something is amiss, 2 wrong arguments or configuration, 3 the port is taken,
4 there is nothing to serve, 130 interrupted.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence

from dragoman import __version__
from dragoman.cli import bench, chat, check, conformance, doctor, explain, models, serve
from dragoman.cli.setting import Failure
from dragoman.errors import ConfigError, DragomanError

USAGE_ERROR = 2
INTERRUPTED = 130


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="dragoman",
        description="Lets any LLM client talk to any LLM provider.",
        epilog="See https://github.com/dragoman-llm/dragoman",
    )
    top.add_argument("--version", action="version", version=f"dragoman {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for module in (serve, chat, models, explain, doctor, check, bench, conformance):
        module.add_to(commands)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    # The log is the gateway's, and `serve` sets it up. Without a handler, Python would print its warnings without their fields
    # between the sentences of the other commands.
    logging.getLogger("dragoman").addHandler(logging.NullHandler())
    try:
        return int(options.run(options))
    except Failure as failure:
        print(f"dragoman: {failure}", file=sys.stderr)
        return failure.code
    except ConfigError as error:
        print(f"dragoman: {error}", file=sys.stderr)
        return USAGE_ERROR
    except DragomanError as error:
        print(f"dragoman: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # `dragoman models | head`: nobody reads on, and that is fine.
        sys.stderr.close()
        return 0


if __name__ == "__main__":
    sys.exit(main())
