"""Embeddings as OpenAI and Google answer them: a vector for each input that depends on its text alone.

    vector_of("hello")          16 numbers, exact in float32, length 1 within its precision
    vector_of("hello", 4)       its first four, as a model makes them whose length may be asked for

Which scenario answers is decided as for any other request: errors, stalls and cuts of a scenario happen, its content does not.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
import struct
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import unquote

import msgspec

from dragoman.testing.http1 import Request
from dragoman.testing.scenario import Ask, Rendered, Scenario
from dragoman.testing.speaking import broken_body, first_error, split_head
from dragoman.testing.voices import VOICES

LENGTH = 16
_GEMINI = re.compile(r"/v1[a-z0-9]*/(?:models/)?(.+):(embedContent|batchEmbedContents)$")


class EmbedAsk(msgspec.Struct, frozen=True):
    """`dialect` is the one in which errors are told. `texts` and `lengths` (None: the usual one) are one for each input."""

    dialect: str
    model: str
    texts: tuple[str, ...]
    lengths: tuple[int | None, ...]
    single: bool = False
    encoding: str = "float"


def vector_of(text: str, length: int | None = None) -> list[float]:
    """Numbers that `struct.pack("<f", ...)` keeps exactly."""
    digest = hashlib.sha512(text.encode("utf-8", "surrogatepass")).digest()
    wide = [value - 32767.5 for value in struct.unpack(f"<{LENGTH}H", digest[: 2 * LENGTH])]
    norm = math.hypot(*wide)
    exact = struct.unpack(f"<{LENGTH}f", struct.pack(f"<{LENGTH}f", *(value / norm for value in wide)))
    return list(exact[: length or LENGTH])


def heard_embeddings(request: Request) -> EmbedAsk | None:
    """What a request wants embedded; None for any other request."""
    body = request.json
    if request.method != "POST" or not isinstance(body, dict):
        return None
    if request.path.endswith("/embeddings"):
        given = body.get("input")
        inputs: Sequence[Any] = given if isinstance(given, list) and given and not isinstance(given[0], int) else [given]
        texts = tuple(one if isinstance(one, str) else json.dumps(one) for one in inputs)
        lengths = (body.get("dimensions"),) * len(texts)
        return EmbedAsk("chat", str(body.get("model", "")), texts, lengths, encoding=body.get("encoding_format") or "float")
    found = _GEMINI.search(request.path)
    if found is None:
        return None
    single = found[2] == "embedContent"
    asked: Sequence[Mapping[str, Any]] = [body] if single else body.get("requests", [])
    texts = tuple("\n".join(part.get("text", "") for part in one["content"]["parts"]) for one in asked)
    return EmbedAsk("gemini", unquote(found[1]), texts, tuple(one.get("outputDimensionality") for one in asked), single)


def render_embeddings(scenario: Scenario, ask: EmbedAsk) -> Rendered:
    head, steps = split_head(scenario.steps)
    if first_error(steps) is not None:
        return VOICES[ask.dialect].render(scenario, Ask(ask.model, stream=False))
    vectors = [vector_of(text, length) for text, length in zip(ask.texts, ask.lengths, strict=True)]
    tokens = sum(max(1, len(text) // 4) for text in ask.texts)
    body = json.dumps(_openai(ask, vectors, tokens) if ask.dialect == "chat" else _gemini(ask, vectors, tokens)).encode()
    headers = (("content-type", "application/json"), *scenario.headers)
    return Rendered(200, headers, broken_body(steps, body), head)


def _openai(ask: EmbedAsk, vectors: list[list[float]], tokens: int) -> dict[str, Any]:
    written = [base64.b64encode(struct.pack(f"<{len(v)}f", *v)).decode() if ask.encoding == "base64" else v for v in vectors]
    return {
        "object": "list",
        "data": [{"object": "embedding", "index": index, "embedding": one} for index, one in enumerate(written)],
        "model": ask.model,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }


def _gemini(ask: EmbedAsk, vectors: list[list[float]], tokens: int) -> dict[str, Any]:
    values = [{"values": vector} for vector in vectors]
    answer: dict[str, Any] = {"embedding": values[0]} if ask.single else {"embeddings": values}
    return answer | {"usageMetadata": {"promptTokenCount": tokens}}
