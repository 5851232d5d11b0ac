"""Failover as a generator: it yields what to try, is told how it went, and returns the verdict.

    plan = chain(route.endpoints)
    attempt = next(plan)
    while ...:
        attempt = plan.send(Outcome(...))      # StopIteration.value is the Verdict

It knows neither clock nor network, so the gateway, the library and the simulator drive the same one. What may be
tried again is decided by the error's category (`errors.RETRYABLE`): a caller's own mistake goes back at once.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence

import msgspec

from dragoman.errors import AllTargetsFailed, Category, DragomanError, LossRefused, NoCredential, ThreadUnknown
from dragoman.route.target import Endpoint

_PASSING: frozenset[Category] = frozenset({"rate_limit", "overloaded", "timeout", "unavailable", "internal"})
"""Troubles that pass by themselves."""


class Attempt(msgspec.Struct):
    """`number` counts from 1."""

    endpoint: Endpoint
    number: int


class Outcome(msgspec.Struct):
    """How an attempt ended. `error` None: the caller has its answer. `committed`: the caller has seen part of an answer, so
    no other target may be tried, whatever went wrong. `note` stands in the trail beside how it ended."""

    error: DragomanError | None = None
    committed: bool = False
    note: str = ""


class Verdict(msgspec.Struct):
    """`error` is what the caller is told; None when it has its answer. `trail` has one line for each attempt."""

    error: DragomanError | None
    committed: bool
    trail: list[str]


def chain(endpoints: Sequence[Endpoint]) -> Generator[Attempt, Outcome, Verdict]:
    """Each endpoint once, in order, until one answers."""
    trail: list[str] = []
    errors: list[DragomanError] = []
    for number, endpoint in enumerate(endpoints, 1):
        outcome = yield Attempt(endpoint, number)
        if outcome.error is None:
            trail.append(f"{endpoint.label}: ok{outcome.note}")
            return Verdict(None, outcome.committed, trail)
        errors.append(outcome.error)
        trail.append(f"{endpoint.label}: {outcome.error.status} {outcome.error.message}{outcome.note}")
        # What one target cannot be told, the next perhaps can.
        another = outcome.error.retryable or isinstance(outcome.error, LossRefused)
        if outcome.committed or not another:
            return Verdict(outcome.error, outcome.committed, trail)
    if len(errors) == 1:
        return Verdict(errors[0], False, trail)
    for error in errors:
        if isinstance(error, ThreadUnknown):
            # The caller can say everything again, and then this target may answer.
            return Verdict(error, False, trail)
    waits = [error.retry_after for error in errors if error.retry_after is not None]
    # A client that is told 404 or 401 gives the model up, where waiting may mend another target of the chain.
    hopeful = [error for error in errors if error.category in _PASSING and not isinstance(error, NoCredential)]
    summary = AllTargetsFailed(
        f"all {len(errors)} targets failed: " + "; ".join(f"{number}. {line}" for number, line in enumerate(trail, 1)),
        reasons=trail,
        last=(hopeful or errors)[-1],
    )
    summary.retry_after = min(waits) if waits else None
    return Verdict(summary, False, trail)
