"""What an envelope is, and how Messages come out of one.

    open(inbound)      the same request as it would have come without it
    close(out, clock)  where the answer to that goes, to come out as the client expects it

Between the two nobody knows of it: routing, verbatim and translated answers, counting and errors are those of the dialect.

Anthropic's models are asked in the same words on every cloud, with three things in other places: the model stands in the
path, whether to stream as well, and what Anthropic's own API takes as headers stands in the body:

    anthropic_version  bedrock-2023-05-31, vertex-2023-10-16    anthropic-version: 2023-06-01
                       2026-10-21 (as the SDK has it since 2.0)  anthropic-version, the same
    anthropic_beta     a list                                   anthropic-beta
    user_profile_id    a text                                   anthropic-user-profile-id
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Literal, cast

import msgspec

from dragoman.dialects.shape import wrong
from dragoman.wire.body import malformed
from dragoman.wire.http import Clock, Inbound, Outbound, RawHeaders

VERSION = "2023-06-01"
"""Of Anthropic's own API: what both clouds' own versions are of."""

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_JSON = (b"content-type", b"application/json")
_ACCEPT = (b"accept", b"application/json, text/event-stream")
_REPLACED = frozenset({b"content-type", b"accept", b"anthropic-beta"})

Fields = dict[str, msgspec.Raw]


class Envelope(msgspec.Struct, frozen=True):
    """`dialect` is the name of that inside, `verb` what is asked. `open` raises `MalformedBody`. `located`: the dialect knows
    the path, and finds what is asked by itself."""

    dialect: str
    verb: Literal["infer", "count"]
    open: Callable[[Inbound], Inbound]
    close: Callable[[Outbound, Clock], Outbound]
    located: bool = False


def message(inbound: Inbound, fields: Fields, *, model: str | None, stream: bool | None, about: tuple[bytes, ...]) -> Inbound:
    """The request of Anthropic's own API whose top-level members came as `fields`; their values keep their bytes.

    `model`, `stream`: what the path says, None where it says nothing. `about`: beginnings of the names of headers that are
    about the cloud, and stay behind."""
    betas = _betas(fields.pop("anthropic_beta", None))
    profile = _text(fields.pop("user_profile_id", None), "user_profile_id")
    version = _text(fields.pop("anthropic_version", None), "anthropic_version") or VERSION
    said: dict[str, Any] = {}
    if model is not None:
        fields.pop("model", None)
        said["model"] = model
    if stream is not None:
        fields.pop("stream", None)
        if stream:
            said["stream"] = True
    headers = [pair for pair in inbound.headers if pair[0] not in _REPLACED and not pair[0].startswith(about)]
    told = [beta.strip() for name, value in inbound.headers if name == b"anthropic-beta" for beta in value.split(b",")]
    if every := list(dict.fromkeys(beta for beta in (*told, *betas) if beta)):
        headers.append((b"anthropic-beta", b",".join(every)))
    headers += _unless_said(headers, b"anthropic-version", (version if _DATE.fullmatch(version) else VERSION).encode())
    if profile is not None:
        headers += _unless_said(headers, b"anthropic-user-profile-id", profile.encode("latin-1", "replace"))
    body = msgspec.json.encode({**said, **fields})
    return msgspec.structs.replace(inbound, headers=[*headers, _JSON, _ACCEPT], body=body)


def _unless_said(headers: RawHeaders, name: bytes, value: bytes) -> RawHeaders:
    return [] if any(known == name for known, _ in headers) else [(name, value)]


def _betas(raw: msgspec.Raw | None) -> list[bytes]:
    native = _decoded(raw, "anthropic_beta")
    if native is None:
        return []
    listed = cast("list[Any]", native) if type(native) is list else [native]
    for index, beta in enumerate(listed):
        at = (None, "anthropic_beta")
        if type(beta) is not str or not (beta.isascii() and beta.isprintable()):
            raise wrong((at, index) if type(native) is list else at, "the name of a beta", beta)
    return [beta.encode() for held in listed for beta in held.split(",")]


def _text(raw: msgspec.Raw | None, key: str) -> str | None:
    native = _decoded(raw, key)
    if native is not None and (type(native) is not str or not native.isprintable()):
        raise wrong((None, key), "a line of text", native)
    return native


def _decoded(raw: msgspec.Raw | None, key: str) -> Any:
    try:
        return None if raw is None else msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise malformed(b'{"%b":...}' % key.encode(), error) from None
