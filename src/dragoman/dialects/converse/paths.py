"""The model and what is asked of it stand in the path, not in the body:

    /model/us.anthropic.claude-sonnet-4-5-20250929-v1%3A0/converse-stream

A model may also be an ARN, whose slashes and colons are percent-encoded. A name that came with its slashes as they are is
understood all the same: the verb is what follows the last one.
"""

from __future__ import annotations

import re
from typing import Literal, cast
from urllib.parse import quote, unquote

import msgspec

from dragoman.errors import MalformedBody

Verb = Literal["converse", "converse-stream", "count-tokens"]

_PATH = re.compile(r"^/model/(.+)/(converse|converse-stream|count-tokens)/?$")


class Located(msgspec.Struct, frozen=True):
    """`model` is percent-decoded."""

    model: str
    verb: Verb

    @property
    def stream(self) -> bool:
        return self.verb == "converse-stream"


def locate(path: str) -> Located | None:
    """`path` as it stood on the wire, without its query. None for a path that is none of these."""
    found = _PATH.match(path)
    return None if found is None else Located(unquote(found[1]), cast("Verb", found[2]))


def upstream_url(base: str, model: str, verb: Verb) -> str:
    """`base` ends in `/model`. Raises `MalformedBody` for a name that would lead elsewhere."""
    if model == "..":
        raise MalformedBody("model: '..' is no name, as it is a part of a URL here", param="model")
    return f"{base.rstrip('/')}/{quote(model, safe='')}/{verb}"
