"""Model lists as Gemini writes them: `models/ID`, in pages. Types: `google.genai.types.Model`, `ListModelsResponse`."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from dragoman.dialects.base import ModelCard
from dragoman.errors import MalformedBody

_DEFAULT = 50
_MOST = 1000
_METHODS = ["generateContent", "streamGenerateContent", "countTokens"]
_EMBEDS = ["embedContent", "batchEmbedContents"]


def encode_model(card: ModelCard) -> bytes:
    return msgspec.json.encode(_model(card))


def encode_models(cards: Sequence[ModelCard], query: Mapping[str, str]) -> bytes:
    """One page: `pageSize` (50 unless told, 1000 at most) models from `pageToken` on."""
    size = _size(query.get("pageSize") or query.get("page_size"))
    start = _start(query.get("pageToken") or query.get("page_token"), len(cards))
    body: dict[str, Any] = {"models": [_model(card) for card in cards[start : start + size]]}
    if start + size < len(cards):
        body["nextPageToken"] = urlsafe_b64encode(b"%d" % (start + size)).decode()
    return msgspec.json.encode(body)


def _size(text: str | None) -> int:
    if text is None:
        return _DEFAULT
    if not text.isdecimal():
        raise MalformedBody(f"pageSize: expected a number, got {text!r}", param="pageSize")
    return min(int(text), _MOST) or _DEFAULT


def _start(token: str | None, most: int) -> int:
    if token is None:
        return 0
    try:
        start = int(urlsafe_b64decode(token))
    except (Base64Error, ValueError):
        start = -1
    if not 0 <= start <= most:
        raise MalformedBody("pageToken: not a token of this list", param="pageToken")
    return start


def _model(card: ModelCard) -> dict[str, Any]:
    model: dict[str, Any] = {
        "name": f"models/{card.id}",
        "version": "",
        "displayName": card.display_name,
        "description": card.description,
    }
    if card.context is not None:
        model["inputTokenLimit"] = card.context
    if card.max_output is not None:
        model["outputTokenLimit"] = card.max_output
    return model | {"supportedGenerationMethods": _EMBEDS if card.embeds else _METHODS}
