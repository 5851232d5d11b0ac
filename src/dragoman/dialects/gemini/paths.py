"""The model and what is asked of it stand in the path, not in the body:

    /v1beta/models/gemini-4-argon:streamGenerateContent?alt=sse

    locate(path)                     whose model, which verb: None for a path that is none of these
    upstream_url(base, model, verb)  where to ask a provider
    wants_array(verb, query)         streamGenerateContent without `alt=sse` answers with one JSON array

A path may begin with any version (`v1`, `v1beta`, `v1alpha`). The collection is `models/`, `tunedModels/` or a publisher's
(`publishers/google/models/`), and may be left out: the AI SDK drops `models/` from a name that has a slash. A name may hold
slashes and colons; the verb is what follows the last colon.

Vertex AI puts a project and a location before the publisher (`projects/P/locations/L/publishers/google/models/`), and its
clients leave the version out where they are given a base URL.
"""

from __future__ import annotations

import re
from typing import Literal, cast, get_args
from urllib.parse import parse_qsl, quote, unquote

import msgspec

from dragoman.errors import MalformedBody

Verb = Literal["generateContent", "streamGenerateContent", "countTokens", "embedContent", "batchEmbedContents"]

_VERBS: frozenset[str] = frozenset(get_args(Verb))
_VERSION = re.compile(r"^/v\d+(?:(?:alpha|beta)\d*)?/|^/(?=publishers/google/models/|projects/[^/]+/locations/)")
_PUBLISHER = re.compile(r"^(?:projects/[^/]+/locations/[^/]+/)?publishers/[^/]+/models/")
_KEPT = ("tunedModels/", "publishers/", "projects/")
"""Collections that are part of a name: without them it would be another model."""


class Located(msgspec.Struct, frozen=True):
    """`model` without `models/`, percent-decoded."""

    model: str
    verb: Verb

    @property
    def stream(self) -> bool:
        return self.verb == "streamGenerateContent"


def locate(path: str) -> Located | None:
    """`path` as it stood on the wire, without its query."""
    version = _VERSION.match(path)
    if version is None:
        return None
    name, colon, verb = path[version.end() :].rpartition(":")
    if not colon:
        # The colon itself may be encoded.
        name, _, verb = re.sub("%3[aA]", ":", path[version.end() :]).rpartition(":")
    verb = unquote(verb)
    model = bare_model(unquote(name))
    if verb not in _VERBS or not model:
        return None
    return Located(model, cast("Verb", verb))


def bare_model(name: str) -> str:
    """`models/gemini-4-argon` as `gemini-4-argon`; a tuned model keeps its collection."""
    name = name.strip("/")
    return _PUBLISHER.sub("", name).removeprefix("models/")


def locate_model(path: str) -> str | None:
    """The model of `GET /v1beta/models/NAME`; None for any other path."""
    version = _VERSION.match(path)
    rest = path[version.end() :] if version is not None else ""
    if not rest.startswith(("models/", "tunedModels/")):
        return None
    return bare_model(unquote(rest)) or None


def upstream_url(base: str, model: str, verb: Verb) -> str:
    """`base` ends in `/models`; `model` may begin with it. A stream is always asked for as server-sent events. Raises
    `MalformedBody` for a name that would lead elsewhere."""
    model = bare_model(model)
    if ".." in model and ".." in model.split("/"):
        # Servers resolve it, and the request would reach another resource with the gateway's key.
        raise MalformedBody("model: a name cannot have '..' between slashes, as it is a part of a URL here", param="model")
    if model.startswith(_KEPT):
        base = base.rstrip("/").removesuffix("/models")
    url = f"{base.rstrip('/')}/{quote(model, safe='/@.-_~')}:{verb}"
    return url + "?alt=sse" if verb == "streamGenerateContent" else url


def wants_array(verb: str, query: str) -> bool:
    """Whether a stream is to be one JSON array. `query` is raw, without its question mark."""
    if verb != "streamGenerateContent":
        return False
    return dict(parse_qsl(query)).get("alt") != "sse"
