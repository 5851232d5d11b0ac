"""`dragoman conformance`: the public battery, against this gateway or any other."""

from __future__ import annotations

import argparse

from dragoman.cli.setting import Failure

_DIALECTS = "messages, chat, responses, gemini"
_MORE = ", converse"


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "conformance",
        help="judge this gateway, or any other, by the public battery",
        description="Judges a gateway by the official SDKs: every client API against every provider API, streamed and not. "
        "Without --base-url it starts this gateway and judges it. Exit code 0: all passed; 1: something differs; 2: nothing "
        "was judged.",
    )
    parser.add_argument("--base-url", metavar="URL", help="of a gateway that is running already, without /v1")
    parser.add_argument("--key", help="that the gateway wants of its clients")
    parser.add_argument("--name", help="of the gateway, with its version: for the report")
    parser.add_argument("--clients", metavar="LIST", help=f"APIs to call it by, with commas ({_DIALECTS})")
    parser.add_argument("--upstreams", metavar="LIST", help=f"APIs of its providers, with commas ({_DIALECTS}{_MORE})")
    parser.add_argument("--model", action="append", default=[], metavar="UPSTREAM=NAME", help="its model on that upstream")
    parser.add_argument("--chain", action="append", default=[], metavar="UPSTREAM=NAME", help="its model with a second target")
    parser.add_argument("--upstream-host", default="127.0.0.1", metavar="HOST", help="where the scripted upstream listens")
    parser.add_argument("--upstream-port", type=int, metavar="PORT", help="the same (9100 with --base-url, else any)")
    parser.add_argument("--only", action="append", default=[], metavar="CASE", help="this case, or these: 'tools-*'")
    parser.add_argument("--at-once", type=int, default=24, metavar="N", help="questions under way at once (24)")
    parser.add_argument("--driver", choices=("asgi", "native"), default="native", help="of this gateway, where it is judged")
    parser.add_argument("--json", metavar="FILE", help="write the result")
    parser.add_argument("--html", metavar="FILE", help="write a scoreboard")
    parser.add_argument("--list", action="store_true", help="print the cases and stop")
    parser.add_argument("--setup", metavar="NAME", help="print how a known gateway is set up for it, and stop")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    try:
        from dragoman.cli.judging import run as judge
    except ModuleNotFoundError as error:
        raise Failure(
            f"the battery needs the official SDKs ({error.name} is missing): pip install 'dragoman[conformance]'", 2
        ) from None
    return judge(options)
