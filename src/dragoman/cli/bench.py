"""`dragoman bench`: how fast a gateway answers, whichever it is."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from dragoman.cli.bench_load import APIS, Question, Tally, measured, quantile
from dragoman.cli.setting import Failure

_SHARES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "bench",
        help="measure how fast a gateway answers",
        description="Asks a gateway, this one or any other, the same question again and again: requests per second, latencies, "
        "time to the first byte and token, tokens per second, errors. The requests are real: they cost what they cost. Exit "
        "code 1: some failed.",
    )
    parser.add_argument("--base-url", metavar="URL", help="with or without /v1 (DRAGOMAN_BASE_URL, or http://127.0.0.1:4000)")
    parser.add_argument("--key", help="that the gateway wants of its clients (DRAGOMAN_API_KEY)")
    parser.add_argument("--model", "-m", default="big", help="what is asked (big)")
    parser.add_argument("--api", choices=APIS, default="chat", help="in which it is asked (chat)")
    parser.add_argument("--connections", "-n", type=_positive, default=8, metavar="N", help="how many ask at once (8)")
    parser.add_argument("--seconds", "-s", type=_seconds, default=10.0, metavar="S", help="how long (10)")
    parser.add_argument("--requests", type=_positive, default=0, metavar="N", help="at most so many in all")
    parser.add_argument("--stream", action="store_true", help="ask for streams")
    parser.add_argument("--prompt", default="Count from one to ten.", help="the question")
    parser.add_argument("--max-tokens", type=_positive, default=64, metavar="N", help="the longest answer (64)")
    parser.add_argument("--timeout", type=_seconds, default=120.0, metavar="S", help="for a whole answer (120)")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.set_defaults(run=run)


def _positive(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) <= 1_000_000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to 1000000")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 86_400:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds from 0 to 86400")
    return seconds


def run(options: argparse.Namespace) -> int:
    question = Question(
        api=options.api,
        base_url=_base_url(options.base_url or os.environ.get("DRAGOMAN_BASE_URL") or "http://127.0.0.1:4000"),
        model=options.model,
        key=_key(options.key or os.environ.get("DRAGOMAN_API_KEY", "")),
        prompt=options.prompt,
        max_tokens=options.max_tokens,
        stream=options.stream,
        patience=options.timeout,
    )
    tally = asyncio.run(measured(question, connections=options.connections, seconds=options.seconds, requests=options.requests))
    if options.json:
        print(json.dumps(_tree(question, options.connections, tally), indent=2))
    else:
        for line in _lines(question, options.connections, tally):
            print(line)
    if not tally.answered:
        print("dragoman: no request was answered", file=sys.stderr)
    return 1 if tally.failed or not tally.answered else 0


def _base_url(text: str) -> str:
    try:
        parts = urlsplit(text)
        right = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        right = False
    if not right:
        raise Failure(f"--base-url is an http:// or https:// URL, not {text!r}", 2)
    return text


def _key(text: str) -> str:
    if not (text.isascii() and text.isprintable()):
        raise Failure("--key holds characters that no header can carry", 2)
    return text


def _tree(question: Question, connections: int, tally: Tally) -> dict[str, Any]:
    """Times in milliseconds."""
    rate = _rates(tally)
    times = {"latency_ms": tally.latency, "first_byte_ms": tally.first_byte, "first_token_ms": tally.first_token}
    return {
        "base_url": question.base_url,
        "api": question.api,
        "model": question.model,
        "stream": question.stream,
        "connections": connections,
        "seconds": round(tally.seconds, 3),
        "answered": tally.answered,
        "failed": tally.failed,
        "errors": dict(tally.errors.most_common()),
        **rate,
        **{name: _quantiles(values) for name, values in times.items() if values},
    }


def _rates(tally: Tally) -> dict[str, float]:
    seconds = tally.seconds or 1.0
    rates = {"requests_per_second": tally.answered / seconds}
    if tally.tokens:
        rates["output_tokens_per_second"] = tally.tokens / seconds
    if tally.events:
        rates["events_per_second"] = tally.events / seconds
    return {name: round(value, 2) for name, value in rates.items()}


def _quantiles(times: list[float]) -> dict[str, float]:
    found = {name: quantile(times, share) for name, share in _SHARES.items()}
    return {name: round(value * 1000, 3) for name, value in found.items() if value is not None}


def _lines(question: Question, connections: int, tally: Tally) -> Iterator[str]:
    kind = "streams" if question.stream else "answers"
    many = f"{connections} connection{'s' if connections > 1 else ''}"
    yield f"{question.base_url}  {question.api}, {question.model}, {kind}, {many}, {tally.seconds:.1f} s"
    yield ""
    yield f"{'answered':24}{tally.answered:>12,}"
    yield f"{'failed':24}{tally.failed:>12,}"
    for name, value in _rates(tally).items():
        yield f"{name.replace('_per_second', ' per second').replace('_', ' '):24}{value:>12,.1f}"
    rows = {"first byte": tally.first_byte, "first token": tally.first_token, "whole answer": tally.latency}
    if any(rows.values()):
        yield ""
        yield f"{'milliseconds':24}" + "".join(f"{name:>12}" for name in _SHARES)
    for title, times in rows.items():
        if times:
            yield f"{title:24}" + "".join(f"{value:>12,.2f}" for value in _quantiles(times).values())
    if tally.errors:
        yield ""
        for said, count in tally.errors.most_common(8):
            yield f"{count:>8} x {said}"
