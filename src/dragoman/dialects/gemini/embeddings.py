"""`embedContent` and `batchEmbedContents`, both sides. Types: `google.genai.types.EmbedContentConfig`, `EmbedContentResponse`.

POST /v1beta/models/M:embedContent         {"content": {"parts": [...]}, "taskType", "title", "outputDimensionality"}
                                           {"embedding": {"values": [...]}}
POST /v1beta/models/M:batchEmbedContents   {"requests": [{"model": "models/M", "content": ...}, ...]}
                                           {"embeddings": [{"values": [...]}, ...]}
"""

from __future__ import annotations

from typing import Any, cast

import msgspec

from dragoman.dialects.base import Embeddings, Target
from dragoman.dialects.gemini.names import Names, inner
from dragoman.dialects.gemini.parts import decode_part
from dragoman.dialects.gemini.paths import bare_model, locate, upstream_url
from dragoman.dialects.shape import wrong
from dragoman.errors import LossRefused, MalformedBody, UpstreamGarbled
from dragoman.ir.embedding import Embed, Embedded, Embedding
from dragoman.ir.losses import Ledger
from dragoman.ir.request import Audio, Document, Extras, Image, Part, Text, Unknown, path_text
from dragoman.ir.usage import Usage
from dragoman.wire.body import fields_of, malformed
from dragoman.wire.http import Inbound
from dragoman.wire.json import loads

Block = dict[str, Any]


class _Batch(msgspec.Struct):
    requests: list[msgspec.Raw]


class _Counted(msgspec.Struct):
    usageMetadata: dict[str, Any] | None = None  # noqa: N815  its name on the wire


_batch = msgspec.json.Decoder(_Batch)
_counted = msgspec.json.Decoder(_Counted)


# ---------------------------------------------------------------- requests


def _read(body: bytes) -> Any:
    fields_of(body)
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise malformed(body, error) from None


def single(inbound: Inbound) -> bool:
    """By the path's verb: `embedContent` asks for one."""
    found = locate(inbound.raw_path.decode("latin-1"))
    return found is not None and found.verb == "embedContent"


def size(inbound: Inbound) -> int:
    """How many things are to be embedded; 0 where that cannot be said."""
    if single(inbound):
        return 1
    try:
        return len(_batch.decode(inbound.body).requests)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return 0


def decode(inbound: Inbound) -> Embedding:
    one = single(inbound)
    inputs = [decode_embed(inbound.body)] if one else decode_batch(inbound.body)
    return Embedding(dialect="gemini", inputs=inputs, single=one)


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
    embed.dimensions_at = (fields.at, "outputDimensionality")
    return embed


def encode(request: Embedding, target: Target, ledger: Ledger) -> bytes:
    """Raises `LossRefused` for what has no form here."""
    if request.user is not None:
        ledger.add(request.at, "user", "the target asks for no end user", "info")
    ledger.extras(request)
    natives = [_native(embed, target) for embed in request.inputs]
    return msgspec.json.encode(natives[0] if request.single else {"requests": natives})


def _native(embed: Embed, target: Target) -> Block:
    native: Block = {"model": f"models/{target.model}", "content": {"parts": _parts(embed)}}
    dimensions = embed.dimensions if target.profile.embed_dimensions else None
    for key, value in (("taskType", embed.task), ("title", embed.title), ("outputDimensionality", dimensions)):
        if value is not None:
            native[key] = value
    # What only this dialect has words for (`autoTruncate`).
    return native | embed.extras


def _parts(embed: Embed) -> list[Block]:
    if embed.ids is not None:
        where = path_text(embed.at)
        what = "token ids belong to the vocabulary of one model, and mean nothing to the target; send text"
        raise LossRefused(f"{where}: {what}", param=where)
    return [_part(part, embed) for part in embed.parts]


def _part(part: Part, embed: Embed) -> Block:
    match part:
        case Text():
            return {"text": part.text}
        case Image() if part.data is not None:
            return {"inlineData": {"mimeType": part.media_type or "image/png", "data": part.data}}
        case Image() if part.url is not None:
            return {"fileData": {"mimeType": part.media_type or "image/png", "fileUri": part.url}}
        case Audio():
            return {"inlineData": {"mimeType": f"audio/{part.format}", "data": part.data}}
        case Document() if part.data is not None:
            return {"inlineData": {"mimeType": part.media_type or "application/pdf", "data": part.data}}
        case Unknown() if part.dialect == "gemini":
            return part.native
        case _:
            where = path_text(part.at or embed.at)
            raise LossRefused(f"{where}: a part of type {type(part).__name__.lower()} cannot be embedded", param=where)


def renamed(body: bytes, model: str) -> bytes:
    """Each request repeats the model of the path, and must."""
    fields = fields_of(body)
    named = msgspec.Raw(msgspec.json.encode(f"models/{model}"))
    if "model" in fields:
        fields["model"] = named
    if "requests" in fields:
        try:
            requests = msgspec.json.decode(fields["requests"], type=list[dict[str, msgspec.Raw]])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return body  # that is for the provider to refuse
        fields["requests"] = msgspec.Raw(
            msgspec.json.encode([{**one, "model": named} if "model" in one else one for one in requests])
        )
    return msgspec.json.encode(fields)


def address(url: str, model: str, single: bool) -> str:
    return upstream_url(url, model, "embedContent" if single else "batchEmbedContents")


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


def encode_embedded(answer: Embedded, request: Embedding) -> bytes:
    vectors = [{"values": vector} for vector in answer.vectors]
    native: Block = {"embedding": vectors[0]} if request.single else {"embeddings": vectors}
    if answer.tokens is not None:
        native["usageMetadata"] = {"promptTokenCount": answer.tokens}
    return msgspec.json.encode(native)


def usage_of(body: bytes) -> Usage | None:
    try:
        usage = _counted.decode(body).usageMetadata
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    tokens = (usage or {}).get("promptTokenCount")
    return Usage(input=tokens) if type(tokens) is int else None


GEMINI_EMBEDDINGS = Embeddings(
    size=size,
    single=single,
    decode=decode,
    encode=encode,
    renamed=renamed,
    address=address,
    decode_embedded=decode_embedded,
    encode_embedded=encode_embedded,
    usage_of=usage_of,
)
