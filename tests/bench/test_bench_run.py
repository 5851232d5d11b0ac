"""The command: its arguments, and one short run of the real thing."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

import msgspec
import pytest

from bench import contestant, contestants, features, generator, run, suites
from bench.contestant import EVERY_WAY, Contestant, Failed, Launch, Upstreams
from bench.exchanges import UPSTREAMS
from bench.ours import CONFIG
from bench.peers import install
from bench.ports import free_port
from bench.report import Entry, Results, Setting, Turn, report
from dragoman.config import load

NOBODY = Upstreams(1, 1)


def options(*said: str) -> list[str]:
    return ["--rounds", "1", "--seconds", "0.2", *said]


def test_names_that_nobody_knows_are_refused_with_those_that_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main(options("--only", "dragomen")) == 1
    told = capsys.readouterr().err
    assert "there is no contestant 'dragomen'" in told
    assert "nginx, dragoman" in told


def planned(names: Iterable[str], *, core: bool) -> float:
    """Seconds."""
    return sum(
        1.5
        + sum(
            suites.expected_seconds(suite, run.SECONDS)
            for suite in suites.ALL.values()
            if suites.measures(suite, one) and (suite.core or not core)
        )
        for one in (contestants.ALL[name]() for name in names)
    )


def test_a_quick_run_is_planned_to_take_less_than_a_minute_and_the_whole_less_than_ten() -> None:
    assert run.ROUNDS * planned(run.QUICK, core=True) < 60
    assert run.ROUNDS * planned(contestants.ALL, core=False) < 600 < run.LIMIT


def test_without_a_gateway_only_latency_is_measured() -> None:
    direct = contestants.direct()
    assert [suite.name for suite in suites.ALL.values() if suites.measures(suite, direct)] == ["latency"]


def test_a_gateway_is_measured_as_users_start_it_and_gone_afterwards(capsys: pytest.CaptureFixture[str]) -> None:
    chosen = run.arguments(options("--only", "dragoman", "--suites", "chat,messages-burst,latency"))
    results = run.run(chosen)
    capsys.readouterr()
    ours = next(turn for turn in results.turns if turn.contestant == "dragoman")
    assert ours.errors == []
    assert ours.started is not None
    assert ours.memory_idle is not None
    assert 5 < ours.memory_idle < 80
    for name in ("chat", "messages-burst"):
        measured = ours.measured[name]
        assert (measured.failed, measured.complaint) == (0, "")
        assert measured.cpu_us is not None
        assert measured.cpu_us > 1
    assert ours.measured["latency"].requests > 0
    assert "| dragoman |" in report(results)
    told = subprocess.run(["ps", "-axo", "command="], capture_output=True, text=True, timeout=10, check=True)
    assert f"{CONFIG}" not in told.stdout


@pytest.mark.parametrize("python", [False, True])
def test_every_direction_is_answered_rightly(python: bool, tmp_path: Path) -> None:
    tools = generator.find(python_only=python)
    ports = Upstreams(**{name: free_port() for name in UPSTREAMS})
    with ExitStack() as opened:
        for name in UPSTREAMS:
            opened.enter_context(generator.upstream(tools, None, ports.port(name), 60, name))
        running = opened.enter_context(contestants.running(contestants.dragoman(), None, ports))
        wrong = {
            f"{way}, {events} events": contestants.ask(
                running, contestants.dialect_of(way), contestants.upstream_of(way), events=events
            )
            for way in EVERY_WAY
            for events in (0, 5)
        }
        assert {way: sentence for way, sentence in wrong.items() if sentence} == {}
        for suite in (
            suites.ALL["responses-burst"],
            suites.ALL["responses-to-responses-burst"],
            suites.ALL["chat-to-converse-burst"],
        ):
            bench = suites.Bench(tools, None, tmp_path, 0.1)
            outcome = bench.load(
                suite, running, generator.Load(connections=2, seconds=0.1, marks=suite.marks), events=suite.events
            )
            assert (outcome.failed, outcome.complaint) == (0, "")


def test_several_workers_share_the_work(capsys: pytest.CaptureFixture[str]) -> None:
    results = run.run(run.arguments(options("--only", "workers-2", "--suites", "workers")))
    capsys.readouterr()
    measured = next(turn for turn in results.turns if turn.contestant == "workers-2").measured["workers"]
    assert (measured.failed, measured.complaint) == (0, "")
    assert len(measured.shares) == 3  # the supervisor is one of them
    assert measured.shares[1] > 0.2
    assert measured.shares[2] < 0.05
    assert "| 2 workers |" in report(results)


def test_no_turn_begins_that_would_not_fit_into_the_time(capsys: pytest.CaptureFixture[str]) -> None:
    results = run.run(run.arguments(options("--only", "dragoman", "--suites", "chat", "--limit", "0.1")))
    capsys.readouterr()
    assert results.turns == []
    assert results.setting.caveats[-1].startswith("Fewer rounds for dragoman")


def broken(code: str, patience: float = 10.0) -> Contestant:
    def launch(port: int, upstreams: Upstreams, folder: Path) -> Launch:
        return Launch([sys.executable, "-c", code, str(port)])

    return Contestant(name="odd", about="a gateway that fails", ways=("chat",), launch=launch, patience=patience)


def test_a_gateway_that_ends_at_once_is_told_with_its_last_words() -> None:
    with (
        pytest.raises(Failed, match="exit code 3: no configuration"),
        contestants.running(broken("import sys; print('no configuration', flush=True); sys.exit(3)"), None, NOBODY),
    ):
        pass


def test_a_gateway_that_answers_wrongly_is_given_up() -> None:
    code = (
        "import http.server, sys\n"
        "class H(http.server.BaseHTTPRequestHandler):\n"
        "    def do_POST(self):\n"
        "        self.send_response(200); self.send_header('content-length', '2')\n"
        "        self.end_headers(); self.wfile.write(b'{}')\n"
        "http.server.HTTPServer(('127.0.0.1', int(sys.argv[1])), H).serve_forever()\n"
    )
    with (
        pytest.raises(Failed, match="no right answer within 2 s"),
        contestants.running(broken(code, patience=2.0), None, NOBODY),
    ):
        pass


def test_peers_that_are_not_installed_say_how_to_get_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(contestant, "INSTALLED", tmp_path)
    monkeypatch.setattr(contestant, "ELSEWHERE", [])
    for name in (*install.PYTHON, *install.NODE):
        assert "make bench-peers" in contestants.ALL[name]().missing
    assert "apt install" in contestants.ALL["nginx"]().missing


def test_every_peer_that_is_installed_is_pinned() -> None:
    for name in (*install.PYTHON, *install.NODE):
        peer = importlib.import_module(f"bench.peers.{name}")
        assert all(re.search(r"(==|.@)\d", said) for said in getattr(peer, "REQUIREMENTS", ()) + getattr(peer, "PACKAGES", ()))


def test_a_peer_that_cannot_be_had_is_told_and_the_others_are_installed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(install, "HERE", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert install.main(["portkey"]) == 1
    told = capsys.readouterr()
    assert "portkey: could not be had: there is no npm" in told.err
    assert "0 of 1 are there" in told.out
    assert install.main(["nobody"]) == 2


@pytest.mark.parametrize("name", features.CHANGES)
def test_the_configuration_of_each_feature_is_one_that_the_gateway_takes(name: str, tmp_path: Path) -> None:
    text = features.CHANGES[name][1](CONFIG.read_text())
    told = {f"BENCH_{name.upper()}": "http://a" for name in UPSTREAMS} | {"BENCH_LOG": "l", "BENCH_FOLDER": str(tmp_path)}
    assert load(text, ".yaml", told, "dragoman.yaml").models


def test_what_an_earlier_run_kept_is_told_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    setting = Setting(when="2026-11-21", machine="A machine", python="Python 3.11", tools="in C", seconds=1, rounds=1)
    turn = Turn(contestant="dragoman", round=1, started=0.25)
    file = tmp_path / "kept.json"
    file.write_bytes(
        msgspec.json.encode(Results(setting=setting, entries=[Entry(name="dragoman", about="all on")], turns=[turn]))
    )
    assert run.main(["--kept", str(file)]) == 0
    assert "| dragoman |  |  | 0.25 | 0 |" in capsys.readouterr().out
    assert run.main(["--kept", str(tmp_path / "none.json")]) == 1
    assert "none.json" in capsys.readouterr().err
