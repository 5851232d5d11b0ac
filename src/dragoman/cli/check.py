"""`dragoman config check`: read the configuration as the gateway would, and show what comes of it."""

from __future__ import annotations

import argparse
import sys

from dragoman.cli.setting import add_config, read_config
from dragoman.config import render


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    config = commands.add_parser("config", help="look at the configuration")
    verbs = config.add_subparsers(dest="verb", required=True, metavar="VERB")
    parser = verbs.add_parser("check", help="validate it, and print the resolved result with secrets masked")
    parser.add_argument("file", nargs="?", metavar="FILE", help="instead of --config")
    add_config(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    options.config = options.file or options.config
    config = read_config(options)
    print(render(config), end="")
    for warning in config.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    print(f"{config.source}: the configuration is valid", file=sys.stderr)
    return 0
