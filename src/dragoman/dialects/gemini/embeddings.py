"""`embedContent` and `batchEmbedContents`, both sides. Types: `google.genai.types.EmbedContentConfig`, `EmbedContentResponse`.

POST /v1beta/models/M:embedContent         {"content": {"parts": [...]}, "taskType", "title", "outputDimensionality"}
                                           {"embedding": {"values": [...]}}
POST /v1beta/models/M:batchEmbedContents   {"requests": [{"model": "models/M", "content": ...}, ...]}
                                           {"embeddings": [{"values": [...]}, ...]}
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import msgspec

from dragoman.dialects.gemini.names import Names, inner
from dragoman.dialects.gemini.parts import decode_part
from dragoman.dialects.gemini.paths import bare_model
from dragoman.dialects.shape import wrong
from dragoman.errors import MalformedBody, UpstreamGarbled
from dragoman.ir.request import Extras, Image, Node, Part, Text
from dragoman.wire.body import fields_of, malformed
from dragoman.wire.json import loads

Block = dict[str, Any]


class Embed(Node):
    """One thing to be embedded. `task` in Gemini's words (`RETRIEVAL_QUERY` ...), `title` that of a document, `dimensions`
    how long the vector shall be."""

    parts: list[Part]
    model: str = ""
    task: str | None = None
    title: str | None = None
    dimensions: int | None = None

    @property
    def text(self) -> str | None:
        """All of it, where it is text alone."""
        texts = [part.text for part in self.parts if isinstance(part, Text)]
        return "\n".join(texts) if len(texts) == len(self.parts) else None


class Embedded(msgspec.Struct):
    """`vectors` in the order of what was asked. `tokens` where somebody counted."""

    vectors: list[list[float]]
    tokens: int | None = None


# ---------------------------------------------------------------- requests


def _read(body: bytes) -> Any:
    fields_of(body)
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise malformed(body, error) from None


def decode_embed(body: bytes) -> Embed:
    return _embed(Names(_read(body), None))


def decode_batch(body: bytes) -> list[Embed]:
    """Raises `MalformedBody` also for a batch of nothing."""
    fields = Names(_read(body), None)
    at = fields.path("requests")
    natives = fields.array("requests")
    if not natives:
        raise MalformedBody("requests: at least one is required", param="requests")
    return [_embed(Names(native, (at, index))) for index, native in enumerate(natives)]


def _embed(fields: Names) -> Embed:
    content = inner(fields, "content")
    parts_at = content.path("parts")
    natives = content.any("parts")
    natives = [natives] if type(natives) is dict else natives
    if type(natives) is not list or not natives:
        raise wrong(parts_at, "an array of parts", natives)
    parts = [
        part
        for index, native in enumerate(cast("list[Any]", natives))
        for part in decode_part(native, (parts_at, index), None, lambda given, name: given or name)
    ]
    config = inner(fields, "embedContentConfig")  # where newer clients say the rest
    embed = Embed(
        parts=parts,
        model=bare_model(fields.text("model") or ""),
        task=fields.word("taskType") or config.word("taskType"),
        title=fields.text("title") or config.text("title"),
        dimensions=fields.integer("outputDimensionality") or config.integer("outputDimensionality"),
        at=fields.at,
    )
    extras: Extras = fields.rest() | config.rest()
    embed.extras = extras
    return embed


def encode_embed(embed: Embed, model: str) -> bytes:
    return msgspec.json.encode(_native(embed, model))


def encode_batch(embeds: Sequence[Embed], model: str) -> bytes:
    return msgspec.json.encode({"requests": [_native(embed, model) for embed in embeds]})


def _native(embed: Embed, model: str) -> Block:
    native: Block = {"model": f"models/{model}", "content": {"parts": [_part(part) for part in embed.parts]}}
    for key, value in (("taskType", embed.task), ("title", embed.title), ("outputDimensionality", embed.dimensions)):
        if value is not None:
            native[key] = value
    return native


def _part(part: Part) -> Block:
    match part:
        case Text():
            return {"text": part.text}
        case Image() if part.data is not None:
            return {"inlineData": {"mimeType": part.media_type or "image/png", "data": part.data}}
        case _:
            raise MalformedBody(f"a part of type {type(part).__name__.lower()} cannot be embedded")


# ---------------------------------------------------------------- answers


def decode_embedded(body: bytes, issuer: str) -> Embedded:
    """Of one or of many. Raises `UpstreamGarbled`."""
    try:
        native = loads(body)
        whole = cast("Block", native) if isinstance(native, dict) else {}
        many = whole["embeddings"] if "embeddings" in whole else [whole["embedding"]]
        vectors = [[float(value) for value in one["values"]] for one in many]
    except (ValueError, KeyError, TypeError) as error:
        raise UpstreamGarbled(f"the answer holds no embeddings: {error!r}", provider=issuer) from None
    usage = whole.get("usageMetadata")
    tokens = cast("Block", usage).get("promptTokenCount") if isinstance(usage, dict) else None
    return Embedded(vectors, tokens if isinstance(tokens, int) else None)


def encode_embedded(answer: Embedded) -> bytes:
    """The answer to `embedContent`."""
    return msgspec.json.encode({"embedding": {"values": answer.vectors[0]}} | _counted(answer))


def encode_batch_embedded(answer: Embedded) -> bytes:
    """The answer to `batchEmbedContents`."""
    return msgspec.json.encode({"embeddings": [{"values": vector} for vector in answer.vectors]} | _counted(answer))


def _counted(answer: Embedded) -> Block:
    return {} if answer.tokens is None else {"usageMetadata": {"promptTokenCount": answer.tokens}}
