from __future__ import annotations

import pytest

from dragoman.errors import (
    AllTargetsFailed,
    DragomanError,
    LossRefused,
    MalformedBody,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from dragoman.route.plan import Outcome, Verdict, chain
from dragoman.route.target import Endpoint


def endpoint(name: str) -> Endpoint:
    return Endpoint(provider=name, model="m", issuer=name, urls={"chat": f"http://{name}/"})


def drive(outcomes: list[Outcome]) -> tuple[list[str], Verdict]:
    """Plays the outcomes against a chain of a, b, c; returns what was tried and the verdict."""
    plan = chain([endpoint("a"), endpoint("b"), endpoint("c")])
    tried = [next(plan).endpoint.provider]
    for outcome in outcomes:
        try:
            tried.append(plan.send(outcome).endpoint.provider)
        except StopIteration as stop:
            return tried, stop.value
    raise AssertionError("the plan wants to go on")


def refused(status: int, category: str, **more: float) -> Outcome:
    return Outcome(UpstreamRefused("no", status=status, category=category, **more))  # type: ignore[arg-type]


def test_the_first_answer_ends_it() -> None:
    tried, verdict = drive([Outcome(committed=True)])
    assert (tried, verdict.error, verdict.trail) == (["a"], None, ["a/m: ok"])


@pytest.mark.parametrize(
    "category", ["rate_limit", "overloaded", "timeout", "unavailable", "internal", "authentication", "not_found"]
)
def test_a_providers_trouble_goes_on_to_the_next(category: str) -> None:
    tried, verdict = drive([refused(500, category), Outcome()])
    assert (tried, verdict.error) == (["a", "b"], None)


@pytest.mark.parametrize("error", [MalformedBody("bad"), UpstreamRefused("bad", status=400, category="invalid_request")])
def test_the_callers_own_mistake_does_not(error: DragomanError) -> None:
    tried, verdict = drive([Outcome(error)])
    assert (tried, verdict.error) == (["a"], error)


def test_what_one_target_cannot_be_told_another_may() -> None:
    tried, _ = drive([Outcome(LossRefused("no logprobs")), Outcome()])
    assert tried == ["a", "b"]


def test_nothing_is_tried_after_the_caller_has_seen_content() -> None:
    error = UpstreamTimeout("silent", phase="idle")
    tried, verdict = drive([Outcome(error, committed=True)])
    assert (tried, verdict.error, verdict.committed) == (["a"], error, True)


def test_when_all_fail_each_ones_reason_is_told() -> None:
    tried, verdict = drive(
        [
            refused(429, "rate_limit", retry_after=7.0),
            Outcome(UpstreamUnreachable("refused")),
            refused(429, "rate_limit", retry_after=3.0),
        ]
    )
    assert tried == ["a", "b", "c"]
    assert isinstance(verdict.error, AllTargetsFailed)
    assert verdict.error.status == 429
    assert verdict.error.retry_after == 3.0
    assert [line.split(":")[0] for line in verdict.error.reasons] == ["a/m", "b/m", "c/m"]
    assert "b/m: 502 refused" in str(verdict.error)


def test_a_single_targets_error_stays_its_own() -> None:
    plan = chain([endpoint("a")])
    next(plan)
    error = UpstreamRefused("busy", status=529, category="overloaded")
    with pytest.raises(StopIteration) as stop:
        plan.send(Outcome(error))
    assert stop.value.value.error is error
