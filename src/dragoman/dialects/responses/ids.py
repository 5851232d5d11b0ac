"""Ids. The API takes a call's id of at most 64 characters out of `A-Za-z0-9_-`; other providers give any.

Whatever is not such an id is told as a hash of itself: the same on every turn, so that call and result stay paired, and fit
for this API as well as for every other.
"""

from __future__ import annotations

import re
from hashlib import sha256

from dragoman.ir import carrier

_LEGAL = re.compile(r"[A-Za-z0-9_-]{1,64}")

PREFIX = {"message": "msg", "reasoning": "rs", "function_call": "fc", "custom_tool_call": "ctc", "image_generation_call": "ig"}


def legal_id(call_id: str) -> str:
    if _LEGAL.fullmatch(call_id):
        return call_id
    return "call_" + sha256(call_id.encode("utf-8", "surrogatepass")).hexdigest()[:40]


def own_id(given: str) -> str:
    """A call's id as a client sends it, without what other dialects' encoders may have put on it."""
    return carrier.original_id(carrier.detach(given)[0])


def response_id(given: str, fallback: str) -> str:
    """The id of an answer. What a provider of another dialect calls its answer is no id of a Response."""
    return given if given.startswith("resp_") else fallback


def item_id(kind: str, answer_id: str, position: int) -> str:
    """The same for an answer whether it is streamed or whole."""
    return f"{PREFIX.get(kind, 'item')}_{answer_id.removeprefix('resp_')}_{position}"
