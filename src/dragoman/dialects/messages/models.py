"""Model lists as Anthropic writes them. Types: `anthropic.types.model_info`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from dragoman.dialects.base import ModelCard
from dragoman.errors import MalformedBody

_MOST = 1000
_DEFAULT = 20


def encode_model(card: ModelCard) -> bytes:
    return msgspec.json.encode(_info(card))


def encode_models(cards: Sequence[ModelCard], query: Mapping[str, str]) -> bytes:
    """One page: `limit` (1 to 1000; 20 unless told), `after_id`, `before_id`."""
    limit = _limit(query.get("limit"))
    ids = [card.id for card in cards]
    start, end = 0, len(cards)
    if (after := query.get("after_id")) in ids:
        start = ids.index(after) + 1
    if (before := query.get("before_id")) in ids:
        end = ids.index(before)
        start = max(start, end - limit)
    page = cards[start : min(end, start + limit)]
    more = start > 0 if "before_id" in query else start + limit < end
    body = {
        "data": [_info(card) for card in page],
        "has_more": more,
        "first_id": page[0].id if page else None,
        "last_id": page[-1].id if page else None,
    }
    return msgspec.json.encode(body)


def _limit(text: str | None) -> int:
    if text is None:
        return _DEFAULT
    if not text.isdecimal() or not 1 <= int(text) <= _MOST:
        raise MalformedBody(f"limit: expected a number from 1 to {_MOST}, got {text!r}", param="limit")
    return int(text)


def _info(card: ModelCard) -> dict[str, Any]:
    return {
        "type": "model",
        "id": card.id,
        "display_name": card.display_name,
        "description": card.description,
        "created_at": datetime.fromtimestamp(card.created, UTC).isoformat().replace("+00:00", "Z"),
        "lifecycle": "active",
        "max_input_tokens": card.context,
        "max_tokens": card.max_output,
    }
