"""All cases of the battery, by id."""

from __future__ import annotations

from dragoman.conformance import cases_answers, cases_continuity, cases_errors, cases_requests, cases_service
from dragoman.conformance.case import Case
from dragoman.conformance.grammar import GRAMMAR

CASES: dict[str, Case] = {
    case.id: case
    for case in (
        *cases_service.CASES,
        *cases_answers.CASES,
        *cases_requests.CASES,
        *cases_continuity.CASES,
        *cases_errors.CASES,
        GRAMMAR,
    )
}
"""The slow ones come first, so that they run beside all others."""
