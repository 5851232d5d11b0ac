"""The log of requests: a line for each, or for a share of those that nothing is to be said about."""

from __future__ import annotations

import logging
from typing import ClassVar

from dragoman import logs
from dragoman.flow.call import Report

log = logging.getLogger("dragoman.request")

_REFUSED = 400


class Answered(logs.Line, kw_only=True, gc=False):
    """One for a request. Times in milliseconds. `sample`: it stands for others like it, of which this share was written."""

    free: ClassVar[tuple[str, ...]] = (
        "path",
        "model",
        "target",
        "losses",
        "trail",
        "error",
        "session",
        "agent",
        "parent_agent",
    )

    request_id: str
    status: int
    ms: int
    path: str | None = None
    dialect: str
    model: str | None = None
    provider: str | None = None
    target: str | None = None
    upstream: str | None = None
    tier: str | None = None
    stream: bool | None = None
    client: str | None = None
    first_byte_ms: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    losses: list[str] | None = None
    trail: list[str] | None = None
    error: str | None = None
    session: str | None = None
    agent: str | None = None
    parent_agent: str | None = None
    sample: float | None = None


class RequestLog:
    """`sample`: the share of plain requests, those that were answered by the first target, which get a line. All others do."""

    def __init__(self, sample: float = 1.0) -> None:
        self._sample = sample
        self._due = 1.0  # the first is written

    def observe(self, report: Report) -> None:
        if self._sample >= 1.0 or report.status >= _REFUSED or report.error is not None or len(report.trail) > 1:
            _write(report, None)
        elif self._due >= 1.0:
            self._due += self._sample - 1.0
            _write(report, self._sample)
        else:
            self._due += self._sample


def _write(report: Report, sample: float | None) -> None:
    usage, session, losses = report.usage, report.session, report.ledger.losses
    line = Answered(
        level="info" if report.status < 500 else "warning",
        message="answered",
        request_id=report.request_id,
        status=report.status,
        ms=int((report.ended - report.started) * 1000 + 0.5),
        path=report.path or None,
        dialect=report.dialect,
        model=report.model or None,
        provider=report.provider or None,
        target=report.target or None,
        upstream=report.upstream_dialect or None,
        tier=report.tier or None,
        stream=report.stream or None,
        client=report.caller.name or None,
        first_byte_ms=None if report.first_byte is None else int((report.first_byte - report.started) * 1000 + 0.5),
        input_tokens=usage.input_total if usage else None,
        output_tokens=usage.output_total if usage else None,
        losses=[f"{loss.path} {loss.severity}: {loss.what}" for loss in losses] if losses else None,
        trail=report.trail if len(report.trail) > 1 else None,
        error=report.error.message if report.error is not None else None,
        sample=sample,
    )
    if session:
        line.session, line.agent, line.parent_agent = map(session.get, ("session", "agent", "parent_agent"))
    logs.write(log, line)
