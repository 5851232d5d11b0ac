"""How a refusal leaves the gateway, whichever dialect has worded it."""

from __future__ import annotations

from dragoman.dialects.base import HttpError


def test_a_header_goes_out_in_latin_1_and_what_does_not_fit_as_a_question_mark() -> None:
    assert HttpError(400, [("X-One", "é"), ("retry-after", "☃ 5")], b"").raw == [(b"X-One", b"\xe9"), (b"retry-after", b"? 5")]
