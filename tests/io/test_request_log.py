"""Which requests have a line in the log, where not all plain ones do."""

from __future__ import annotations

import pytest

from dragoman import logs
from dragoman.config import load
from dragoman.errors import ConfigError, RequestError
from dragoman.flow.call import Report
from dragoman.flow.envelope import Caller
from dragoman.io.request_log import Answered, RequestLog


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> list[Answered]:
    written: list[Answered] = []
    monkeypatch.setattr(logs, "write", lambda _, line: written.append(line))
    return written


def report(status: int = 200, *, trail: int = 1, error: bool = False) -> Report:
    return Report(
        request_id="req_1", dialect="chat", caller=Caller(), started=1.0, ended=1.5, status=status,
        trail=["a/m: ok"] * trail, error=RequestError("no") if error else None,
    )  # fmt: skip


def test_every_request_has_a_line_unless_something_else_is_asked_for(lines: list[Answered]) -> None:
    log = RequestLog()
    for _ in range(5):
        log.observe(report())
    assert len(lines) == 5
    assert all(line.sample is None and line.ms == 500 for line in lines)


@pytest.mark.parametrize(("sample", "written"), [(1.0, 100), (0.5, 50), (0.1, 10), (0.03, 3), (0.0, 1)])
def test_a_share_of_plain_requests_beginning_with_the_first(lines: list[Answered], sample: float, written: int) -> None:
    log = RequestLog(sample)
    for _ in range(100):
        log.observe(report())
    assert abs(len(lines) - written) <= 1
    assert {line.sample for line in lines} == {None if sample == 1.0 else sample}


@pytest.mark.parametrize("what", [report(404), report(499), report(502), report(error=True), report(trail=2)])
def test_whatever_is_not_plain_always_has_its_line(lines: list[Answered], what: Report) -> None:
    log = RequestLog(0.001)
    log.observe(report())
    lines.clear()
    for _ in range(3):
        log.observe(what)
    assert [line.status for line in lines] == [what.status] * 3
    assert all(line.sample is None for line in lines)


@pytest.mark.parametrize(
    ("said", "share"),
    [("0.1", 0.1), ("10%", 0.1), ("'2.5 %'", None), ("1", 1.0), ("0", 0.0), (".5", 0.5), ("0.00001", 0.00001), ("2e-3", 0.002)],
)
def test_the_share_is_a_number_or_a_percentage(said: str, share: float | None) -> None:
    text = f"server: {{log: {{sample: {said}}}}}"
    if share is None:
        with pytest.raises(ConfigError, match=r"server\.log\.sample"):
            load(text, ".yaml", {}, "x")
    else:
        assert load(text, ".yaml", {}, "x").server.log.sample == share


@pytest.mark.parametrize("said", ["2", "-0.1", "101%", "true", "often", "nan"])
def test_what_is_no_share_is_refused(said: str) -> None:
    with pytest.raises(ConfigError, match=r"server\.log\.sample: .* is not a share; allowed: a number from 0 to 1"):
        load(f"server: {{log: {{sample: {said}}}}}", ".yaml", {}, "x")
