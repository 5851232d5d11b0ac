"""The soak: its verdict on what was seen, and a short run of the real thing."""

from __future__ import annotations

import asyncio

import pytest

from bench import drift, soak
from bench.soak import Gauges, Soaked


def gauges(*, files: int = 20, tasks: int = 3, threads: int = 2, memory: float = 40.0, **ours: int) -> Gauges:
    return Gauges(files=files, memory=memory, threads=threads, tasks=tasks, ours=ours)


def run(before: Gauges, after: Gauges, *, memory: tuple[float, float, float] | None = None) -> Soaked:
    return Soaked(
        driver="native", minutes=1, requests=10, memory=memory, grown=after.memory - before.memory, before=before, after=after,
        at_upstream=0, streams=0, p99=None, seen={}, amiss=[],
    )  # fmt: skip


def test_what_is_as_it_was_is_not_amiss() -> None:
    assert soak.verdict(run(gauges(), gauges(), memory=(10.0, -50.0, 70.0))) == []


@pytest.mark.parametrize(
    ("after", "said"),
    [
        (gauges(files=23), "3 file descriptors more than before (20 to 23)"),
        (gauges(tasks=4), "1 tasks more than before (3 to 4)"),
        (gauges(threads=3), "1 threads more than before (2 to 3)"),
        (gauges(Call=900), "900 objects Call, where 0 were"),
    ],
)
def test_what_is_left_over_is_named(after: Gauges, said: str) -> None:
    assert soak.verdict(run(gauges(), after))[0] == said


def test_memory_leaks_when_it_surely_grows_and_has_grown() -> None:
    grown = gauges(memory=60.0)
    assert "grows by 300 MB an hour" in soak.verdict(run(gauges(), grown, memory=(300.0, 200.0, 400.0)))[0]
    assert soak.verdict(run(gauges(), grown, memory=(300.0, -20.0, 600.0))) == []
    assert soak.verdict(run(gauges(), gauges(memory=41.0), memory=(300.0, 200.0, 400.0))) == []


def test_answers_that_become_slower_are_amiss() -> None:
    slower = run(gauges(), gauges())
    slower.p99 = (50.0, 100.0, 900.0)
    assert soak.verdict(slower) == ["p99 went from 50 to 900 ms"]


def test_the_slope_of_a_line_is_known_for_certain_and_that_of_noise_is_not() -> None:
    line = drift.slope([(float(at), 5.0 + 2.0 * at) for at in range(20)])
    assert line is not None
    assert (line.middle, line.low, line.high) == (pytest.approx(2.0), pytest.approx(2.0), pytest.approx(2.0))
    noise = drift.slope([(float(at), float((at * 7919) % 13)) for at in range(20)])
    assert noise is not None
    assert noise.low < 0 < noise.high
    assert drift.slope([(0.0, 1.0), (1.0, 2.0)]) is None


def test_averages_are_of_equal_parts_and_lose_nothing() -> None:
    samples = [(float(at), float(at)) for at in range(10)]
    assert drift.averaged(samples, 5) == [(0.5, 0.5), (2.5, 2.5), (4.5, 4.5), (6.5, 6.5), (8.5, 8.5)]
    assert len(drift.averaged(samples[:3], 20)) == 3


def test_the_gateway_comes_through_a_second_of_everything(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Too short to judge what is left over; long enough to see that the traffic is what it should be."""
    monkeypatch.setattr(soak, "_SETTLING", 0.5)
    monkeypatch.setattr(soak, "WARM", 1.0)
    found = asyncio.run(asyncio.wait_for(soak.soaked("native", 0.03, 20), 60))
    assert "warm" in capsys.readouterr().err
    assert found.streams == 20
    assert found.requests > 20
    assert not [said for said in found.amiss if "probe" in said or "Traceback" in said or "ended" in said]
