"""Envelopes: a dialect as a cloud wraps it, for clients set up for that cloud. A new one is a module and a line here."""

from __future__ import annotations

from dragoman.envelopes import bedrock, vertex
from dragoman.envelopes.base import Envelope
from dragoman.wire.http import Inbound

_FINDERS = (bedrock.find, vertex.find)


def enclosing(inbound: Inbound) -> Envelope | None:
    """The envelope that this request comes in, by its path (and where two share one, by what is in it)."""
    for find in _FINDERS:
        if (envelope := find(inbound)) is not None:
            return envelope
    return None
