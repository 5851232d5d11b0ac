"""Model lists: the same in all of OpenAI's APIs."""

from __future__ import annotations

from dragoman.dialects.openai_models import encode_model, encode_models

__all__ = ["encode_model", "encode_models"]
