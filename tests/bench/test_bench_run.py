"""The command: its arguments, and one short run of the real thing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bench import contestants, run, suites
from bench.contestants import Contestant, Failed, Launch
from bench.report import report


def options(*said: str) -> list[str]:
    return ["--rounds", "1", "--seconds", "0.2", *said]


def test_names_that_nobody_knows_are_refused_with_those_that_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main(options("--only", "dragomen")) == 1
    told = capsys.readouterr().err
    assert "there is no contestant 'dragomen'" in told
    assert "dragoman, litellm" in told


def test_the_whole_run_is_planned_to_take_less_than_three_minutes() -> None:
    planned = sum(
        1.5 + sum(suites.expected_seconds(suite, run.SECONDS) for suite in suites.ALL.values() if suites.measures(suite, one))
        for one in (make() for make in contestants.ALL.values())
    )
    assert run.ROUNDS * planned < run.LIMIT < 180


def test_without_a_gateway_only_latency_is_measured() -> None:
    direct = contestants.direct()
    assert [suite.name for suite in suites.ALL.values() if suites.measures(suite, direct)] == ["latency"]


def test_a_gateway_is_measured_as_users_start_it_and_gone_afterwards(capsys: pytest.CaptureFixture[str]) -> None:
    chosen = run.arguments(options("--only", "dragoman", "--suites", "chat,messages-burst,latency"))
    results = run.run(chosen)
    capsys.readouterr()
    ours = next(turn for turn in results.turns if turn.contestant == "dragoman")
    assert ours.error == ""
    assert ours.started is not None
    assert ours.memory_idle is not None
    assert ours.memory_idle > 5
    for name in ("chat", "messages-burst"):
        measured = ours.measured[name]
        assert (measured.failed, measured.complaint) == (0, "")
        assert measured.cpu_us is not None
        assert measured.cpu_us > 1
    assert ours.measured["latency"].requests > 0
    assert "| dragoman |" in report(results)
    told = subprocess.run(["ps", "-axo", "command="], capture_output=True, text=True, timeout=10, check=True)
    assert "bench/dragoman.yaml" not in told.stdout


def test_no_turn_begins_that_would_not_fit_into_the_time(capsys: pytest.CaptureFixture[str]) -> None:
    results = run.run(run.arguments(options("--only", "dragoman", "--suites", "chat", "--limit", "0.1")))
    capsys.readouterr()
    assert results.turns == []
    assert results.setting.caveats[-1].startswith("Fewer rounds for dragoman")


def broken(code: str, patience: float = 10.0) -> Contestant:
    def launch(port: int, upstream: int, folder: Path) -> Launch:
        return Launch([sys.executable, "-c", code, str(port)])

    return Contestant(name="odd", about="a gateway that fails", dialects=("chat",), launch=launch, patience=patience)


def test_a_gateway_that_ends_at_once_is_told_with_its_last_words() -> None:
    with (
        pytest.raises(Failed, match="exit code 3: no configuration"),
        contestants.running(broken("import sys; print('no configuration', flush=True); sys.exit(3)"), None, 1),
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
        contestants.running(broken(code, patience=2.0), None, 1),
    ):
        pass


def test_peers_that_are_not_installed_say_how_to_get_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(contestants, "_LITELLM", tmp_path / "litellm")
    monkeypatch.setattr(contestants, "NGINX_ELSEWHERE", [])
    assert "make bench-peers" in contestants.litellm().missing
    assert "apt install" in contestants.nginx().missing
