"""`dragoman bench` against the scripted upstream, which stands for any gateway."""

from __future__ import annotations

import asyncio
import json

import pytest

from dragoman.cli.bench_load import APIS, Api, Question, Tally, measured, quantile
from dragoman.cli.main import main
from dragoman.testing import ScriptedUpstream
from dragoman.testing.upstream import Script


def question(upstream: ScriptedUpstream, api: Api = "chat", *, stream: bool = False, base: str = "") -> Question:
    return Question(
        api=api, base_url=upstream.url + base, model="m", key="sk-1", prompt="Hello", max_tokens=9, stream=stream, patience=10
    )  # fmt: skip


def asked(
    api: Api = "chat", *scripts: Script, stream: bool = False, requests: int = 6, base: str = ""
) -> tuple[Tally, ScriptedUpstream]:
    async def go() -> tuple[Tally, ScriptedUpstream]:
        async with ScriptedUpstream() as upstream:
            if scripts:
                upstream.script(*scripts)
            said = question(upstream, api, stream=stream, base=base)
            tally = await measured(said, connections=2, seconds=10, requests=requests)
            return tally, upstream

    return asyncio.run(asyncio.wait_for(go(), 20))


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("api", APIS)
def test_every_api_is_asked_in_its_own_words_and_its_tokens_are_counted(api: Api, stream: bool) -> None:
    tally, upstream = asked(api, stream=stream)
    assert (tally.answered, dict(tally.errors)) == (6, {})
    assert tally.tokens > 0
    assert len(tally.latency) == 6
    assert len(tally.first_token) == len(tally.first_byte) == (6 if stream else 0)
    assert (tally.events > 6) is stream
    assert upstream.connections.opened == 2
    key = upstream.requests[0].headers
    assert "sk-1" in "".join(value for name, value in key if name in {"authorization", "x-api-key", "x-goog-api-key"})


@pytest.mark.parametrize("base", ["", "/", "/v1", "/v1/"])
def test_the_address_may_end_in_the_version(base: str) -> None:
    tally, upstream = asked(requests=1, base=base)
    assert tally.answered == 1
    assert upstream.requests[0].path == "/v1/chat/completions"


@pytest.mark.parametrize(
    ("script", "stream", "said"),
    [
        ("http-529", False, "status 529"),
        ("http-502-html", False, "status 502: no reason given"),
        ("http-200-html", False, "not JSON"),
        ("error-midway", True, "an error in the stream"),
        ("cut-midway", True, ""),
        ("reset-before-head", True, ""),
    ],
)
def test_what_fails_is_counted_under_what_it_was(script: str, stream: bool, said: str) -> None:
    tally, _ = asked("chat", script, stream=stream, requests=3)
    assert (tally.answered, tally.failed) == (2, 1)
    assert said in next(iter(tally.errors))


def test_a_stream_that_ends_before_its_end_has_failed() -> None:
    tally, _ = asked("messages", "cut-before-finish", stream=True, requests=2)
    assert (tally.answered, tally.failed) == (1, 1)


def test_the_time_is_kept() -> None:
    async def go() -> Tally:
        async with ScriptedUpstream() as upstream:
            return await measured(question(upstream), connections=2, seconds=0.2)

    tally = asyncio.run(asyncio.wait_for(go(), 20))
    assert 0.2 <= tally.seconds < 5
    assert tally.answered > 0


def test_quantiles_are_times_that_were_seen() -> None:
    times = [float(number) for number in range(100, 0, -1)]
    assert [quantile(times, share) for share in (0.5, 0.9, 0.99, 1.0)] == [50.0, 90.0, 99.0, 100.0]
    assert quantile([7.0], 0.5) == 7.0
    assert quantile([], 0.5) is None


def command(capsys: pytest.CaptureFixture[str], *arguments: str, scripts: tuple[str, ...] = ()) -> tuple[int, str, str]:
    with ScriptedUpstream.in_thread() as upstream:
        if scripts:
            upstream.script(*scripts)
        code = main(["bench", "--base-url", upstream.url, "--seconds", "5", "--requests", "4", "-n", "2", *arguments])
    told = capsys.readouterr()
    return code, told.out, told.err


def test_the_command_prints_what_was_measured(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = command(capsys, "--stream", "--key", "sk-secret-0001")
    assert code == 0
    for word in ("answered", "requests per second", "events per second", "first token", "whole answer", "p99"):
        assert word in out
    assert "sk-secret-0001" not in out


def test_the_command_prints_json(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = command(capsys, "--json", "--api", "messages")
    tree = json.loads(out)
    assert code == 0
    assert (tree["answered"], tree["failed"], tree["errors"]) == (4, 0, {})
    assert tree["latency_ms"]["p50"] > 0
    assert tree["requests_per_second"] > 0


def test_failures_are_listed_and_end_in_an_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = command(capsys, scripts=("http-429",) * 4)
    assert code == 1
    assert "4 x status 429" in out
    assert "no request was answered" in err


@pytest.mark.parametrize("arguments", [("--base-url", "nowhere"), ("--base-url", "http://h:x"), ("--key", "a\nb")])
def test_what_cannot_be_asked_is_refused(capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]) -> None:
    assert main(["bench", *arguments]) == 2
    assert arguments[0] in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [("--connections", "0"), ("--seconds", "-1"), ("--seconds", "nan"), ("--api", "soap")])
def test_numbers_that_mean_nothing_are_refused(capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["bench", *arguments])
    assert ended.value.code == 2
    assert arguments[0] in capsys.readouterr().err
