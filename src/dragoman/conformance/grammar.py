"""The last case of all: whether what the gateway said was legal, by judges stricter than the SDKs.

A breach of grammar that leaves the meaning whole is counted once for each place and mode, however many answers show it: a
gateway that leaves one field out everywhere has one fault, not a hundred.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from dragoman.conformance.case import Case, Check, Difference
from dragoman.conformance.seat import Bench, Seat


async def _judged_at_the_end(seat: Seat) -> None:
    """Nothing is asked: `verdicts` looks at what the judges found in the answers to all other cases."""


GRAMMAR = Case(
    id="grammar",
    group="streams",
    title="Everything that the gateway said is legal in its client's dialect",
    why="A strict client, or the next version of an SDK, stumbles over what today's forgives.",
    sources=("LL#13373", "LL#32357", "new-api#4697", "LL#24176"),
    judge=_judged_at_the_end,
)
_MOST = 12


def verdicts(bench: Bench) -> Iterator[Check]:
    """One check for each place and mode in which an answer was judged."""
    for place in sorted(bench.judged):
        client, upstream, mode = place
        breaches = bench.grammar.get(place, [])
        counted = Counter(_rule(reason) for _, reason in breaches)
        first = {_rule(reason): (case, reason) for case, reason in reversed(breaches)}
        found = tuple(
            Difference(f"{count} of {bench.judged[place]} answers, e.g. to {first[rule][0]}", "legal", first[rule][1])
            for rule, count in counted.most_common(_MOST)
        )
        yield Check(
            case=GRAMMAR.id,
            client=client,
            upstream=upstream,
            mode=mode,
            result="failed" if found else "passed",
            differences=found,
        )


def _rule(reason: str) -> str:
    """The reason without what changes from answer to answer."""
    return re.sub(r"'[^']*'|\"[^\"]*\"|\d+", "_", reason)
