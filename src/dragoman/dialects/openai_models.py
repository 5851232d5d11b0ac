"""Model lists as OpenAI writes them. Types: `openai.types.model`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from dragoman.dialects.base import ModelCard


def encode_model(card: ModelCard) -> bytes:
    return msgspec.json.encode(_model(card))


def encode_models(cards: Sequence[ModelCard], query: Mapping[str, str]) -> bytes:
    """All of them: this API has no pages."""
    del query
    return msgspec.json.encode({"object": "list", "data": [_model(card) for card in cards]})


def _model(card: ModelCard) -> dict[str, Any]:
    return {"id": card.id, "object": "model", "created": card.created, "owned_by": card.owner}
