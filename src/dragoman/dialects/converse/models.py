"""The model list, in the shape of Bedrock's ListFoundationModels and GetFoundationModel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from dragoman.dialects.base import ModelCard


def _summary(card: ModelCard) -> dict[str, Any]:
    return {
        "modelId": card.id,
        "modelArn": f"arn:aws:bedrock:::foundation-model/{card.id}",
        "modelName": card.display_name,
        "providerName": card.owner,
        "responseStreamingSupported": True,
        "modelLifecycle": {"status": "ACTIVE"},
    }


def encode_model(card: ModelCard) -> bytes:
    return msgspec.json.encode({"modelDetails": _summary(card)})


def encode_models(cards: Sequence[ModelCard], query: Mapping[str, str]) -> bytes:
    del query  # the API knows no pages here
    return msgspec.json.encode({"modelSummaries": [_summary(card) for card in cards]})
