"""Messages as Google Cloud's Vertex AI wraps them:

    POST [/v1]/projects/P/locations/L/publishers/anthropic/models/MODEL:rawPredict | :streamRawPredict
    POST ...publishers/anthropic/models/count-tokens:rawPredict                      the model stands in the body

Answers, streams and errors are Anthropic's own. Gemini on Vertex is the `gemini` dialect at another path, which it knows; only
its credentials are Vertex AI's, and so is the project that a header has it counted on.

Source: `anthropic.lib.vertex` and https://platform.claude.com/docs/en/api/claude-on-vertex-ai.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

import msgspec

from dragoman.envelopes.base import Envelope, message
from dragoman.wire.body import fields_of
from dragoman.wire.http import Clock, Inbound, Outbound

_PATH = re.compile(
    rb"(?:/v1[a-z0-9]*)?(?:/projects/[^/]+/locations/[^/]+)?/publishers/anthropic/models/([^/]+?)"
    rb"(?::|%3[aA])(rawPredict|streamRawPredict)/?"
)
_GOOGLE = re.compile(rb"(?:/v1[a-z0-9]*)?(?:/projects/[^/]+/locations/[^/]+)?/publishers/google/models/.+")
_COUNT = "count-tokens"
_ABOUT = (b"x-goog-", b"x-vertex-ai-")


def find(inbound: Inbound) -> Envelope | None:
    if b"/publishers/" not in inbound.raw_path:
        return None
    found = _PATH.fullmatch(inbound.raw_path)
    if found is None:
        return _GEMINI if _GOOGLE.fullmatch(inbound.raw_path) else None
    return _COUNTED if unquote(found[1].decode("latin-1")) == _COUNT else _ASKED


def _open(inbound: Inbound) -> Inbound:
    found = _PATH.fullmatch(inbound.raw_path)
    assert found is not None
    fields = fields_of(inbound.body)
    # The body says so too; what the path says is what Google goes by.
    stream = True if found[2] == b"streamRawPredict" else None
    return message(inbound, fields, model=unquote(found[1].decode("latin-1")), stream=stream, about=_ABOUT)


def _open_count(inbound: Inbound) -> Inbound:
    return message(inbound, fields_of(inbound.body), model=None, stream=False, about=_ABOUT)


def _open_gemini(inbound: Inbound) -> Inbound:
    headers = [pair for pair in inbound.headers if pair[0] != b"x-goog-user-project"]
    return msgspec.structs.replace(inbound, headers=headers)


def _as_it_is(out: Outbound, clock: Clock) -> Outbound:
    del clock
    return out


_ASKED = Envelope("messages", "infer", _open, _as_it_is)
_COUNTED = Envelope("messages", "count", _open_count, _as_it_is)
_GEMINI = Envelope("gemini", "infer", _open_gemini, _as_it_is, located=True)
