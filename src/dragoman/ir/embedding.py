"""The hub's request for embeddings, and its answer.

    Embedding(inputs=[Embed(parts=[Text("a")]), ...])  ->  Embedded(vectors=[[0.1, ...], ...])   in the same order

Vectors are exact: what came as base64 (little-endian float32) is held as the same numbers, and goes out as the same bytes.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from dragoman.ir.request import Node, Part, Path, Text


class Embed(Node):
    """One thing to be embedded: `parts`, or `ids`, tokens in the model's own vocabulary. `task` in Gemini's words
    (`RETRIEVAL_QUERY` ...), `title` that of a document, `dimensions` how long the vector shall be."""

    parts: list[Part] = msgspec.field(default_factory=list)
    ids: list[int] | None = None
    model: str = ""
    task: str | None = None
    title: str | None = None
    dimensions: int | None = None
    dimensions_at: Path = None

    @property
    def text(self) -> str | None:
        """All of it, where it is text alone."""
        texts = [part.text for part in self.parts if isinstance(part, Text)]
        return "\n".join(texts) if self.ids is None and len(texts) == len(self.parts) else None


class Embedding(Node):
    """`single`: one thing was asked for, not a list that may happen to have one. `encoding`: how the caller wants the
    vectors."""

    dialect: str
    inputs: list[Embed]
    single: bool = False
    encoding: Literal["float", "base64"] = "float"
    user: str | None = None


class Embedded(msgspec.Struct):
    """`vectors` in the order of what was asked. `tokens` where somebody counted. `model` as the provider calls it."""

    vectors: list[list[float]]
    tokens: int | None = None
    model: str = ""
