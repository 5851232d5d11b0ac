"""`POST /v1/embeddings`, both sides, for every dialect that stands beside it. Types: `openai.types.embedding_create_params`.

{"model", "input": text | [text] | [id] | [[id]], "dimensions", "encoding_format": "float" | "base64", "user"}
{"object": "list", "data": [{"object": "embedding", "index", "embedding": [...] | "base64"}], "model", "usage"}

base64 is that of little-endian float32. The SDK asks for it by itself, and takes lists of numbers all the same. Providers are
asked for neither here: numbers are what every server gives.
"""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Sequence
from typing import Any, cast

import msgspec

from dragoman.dialects.base import Embeddings, Target
from dragoman.dialects.shape import Fields, wrong
from dragoman.errors import LossRefused, MalformedBody, UpstreamGarbled
from dragoman.ir.embedding import Embed, Embedded, Embedding
from dragoman.ir.losses import Ledger
from dragoman.ir.request import Path, Text, path_text
from dragoman.ir.usage import Usage
from dragoman.wire.body import fields_of, malformed, swap_model
from dragoman.wire.http import Inbound
from dragoman.wire.json import loads, whole_text

_SUFFIXES = ("/chat/completions", "/responses", "/completions")


class _Input(msgspec.Struct):
    input: msgspec.Raw = msgspec.Raw(b"null")


class _Counted(msgspec.Struct):
    usage: dict[str, Any] | None = None


_inputs = msgspec.json.Decoder(_Input)
_several = msgspec.json.Decoder(list[msgspec.Raw])
_counted = msgspec.json.Decoder(_Counted)


def address(url: str, model: str, single: bool) -> str:
    """Beside the endpoint of the dialect, which stands at `url`."""
    del model, single
    place, mark, query = url.partition("?")
    for suffix in _SUFFIXES:
        if place.endswith(suffix):
            return f"{place.removesuffix(suffix)}/embeddings{mark}{query}"
    return f"{place.rpartition('/')[0]}/embeddings{mark}{query}"


# ---------------------------------------------------------------- requests


def size(inbound: Inbound) -> int:
    """How many things are to be embedded; 0 where that cannot be said."""
    try:
        given = _inputs.decode(inbound.body).input
        if not bytes(given).startswith(b"["):
            return 1
        several = _several.decode(given)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return 0
    # Of one text there may also be the token ids.
    return 1 if several and bytes(several[0])[:1].isdigit() else len(several)


def single(inbound: Inbound) -> bool:
    """What comes back is a list always."""
    del inbound
    return False


def decode(inbound: Inbound) -> Embedding:
    body = inbound.body
    fields_of(body)
    try:
        fields = Fields(msgspec.json.decode(body), None)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise malformed(body, error) from None
    fields.any("model")
    native = fields.any("input")
    dimensions = fields.integer("dimensions")
    if dimensions is not None and dimensions < 1:
        raise MalformedBody(f"dimensions: must be at least 1, not {dimensions}", param="dimensions")
    encoding = fields.text("encoding_format") or "float"
    if encoding not in {"float", "base64"}:
        raise MalformedBody(f"encoding_format: must be float or base64, not {encoding!r}", param="encoding_format")
    inputs = _embeds(native, (None, "input"))
    for embed in inputs:
        embed.dimensions, embed.dimensions_at = dimensions, (None, "dimensions")
    return Embedding(
        dialect="chat",
        inputs=inputs,
        encoding="base64" if encoding == "base64" else "float",
        user=fields.text("user"),
        extras=fields.rest(),
    )


def _embeds(native: Any, at: Path) -> list[Embed]:
    if isinstance(native, str):
        return [_embed(native, at)]
    if not isinstance(native, list):
        raise wrong(at, "a string or an array", native)
    natives = cast("list[Any]", native)
    if not natives:
        raise MalformedBody("input: at least one thing to embed is required", param="input")
    if type(natives[0]) is int:
        return [_embed(natives, at)]
    return [_embed(one, (at, index)) for index, one in enumerate(natives)]


def _embed(native: Any, at: Path) -> Embed:
    if isinstance(native, str):
        return Embed(parts=[Text(text=whole_text(native), at=at)], at=at)
    if not isinstance(native, list) or not native:
        raise wrong(at, "a string or an array of token ids", native)
    for index, one in enumerate(cast("list[Any]", native)):
        if type(one) is not int or one < 0:
            raise wrong((at, index), "a token id", one)
    return Embed(ids=cast("list[int]", native), at=at)


def encode(request: Embedding, target: Target, ledger: Ledger) -> bytes:
    """Raises `LossRefused` for what has no form here: an image cannot be left out of what is embedded."""
    inputs = [_native(embed, ledger) for embed in request.inputs]
    native: dict[str, Any] = {"model": target.model, "input": inputs}
    dimensions = request.inputs[0].dimensions
    if dimensions is not None and target.profile.embed_dimensions:
        native["dimensions"] = dimensions
    if request.user is not None:
        native["user"] = request.user
    # Of another server of this dialect it may well be (`input_type`, `truncate` ...).
    if request.dialect == "chat":
        native |= request.extras
    else:
        ledger.extras(request)
    return msgspec.json.encode(native)


def _native(embed: Embed, ledger: Ledger) -> str | list[int]:
    if embed.task is not None:
        ledger.add(embed.at, "taskType", "the target embeds for one purpose only", "degraded")
    if embed.title is not None:
        ledger.add(embed.at, "title", "the target knows no titles", "degraded")
    ledger.extras(embed)
    if embed.ids is not None:
        return embed.ids
    text = embed.text
    if text is None:
        part = next(part for part in embed.parts if not isinstance(part, Text))
        where = path_text(part.at or embed.at)
        raise LossRefused(f"{where}: the target embeds text only, not {type(part).__name__.lower()}s", param=where)
    return text


def renamed(body: bytes, model: str) -> bytes:
    return swap_model(body, model)


# ---------------------------------------------------------------- answers


def decode_embedded(body: bytes, issuer: str) -> Embedded:
    """Raises `UpstreamGarbled`."""
    try:
        native = loads(body)
        rows = sorted(cast("list[dict[str, Any]]", native["data"]), key=lambda row: row.get("index", 0))
        vectors = [_vector(row["embedding"]) for row in rows]
    except (ValueError, KeyError, TypeError, AttributeError, struct.error, OverflowError) as error:
        raise UpstreamGarbled(f"the answer holds no embeddings: {error!r}", provider=issuer) from None
    usage = native.get("usage")
    tokens = cast("dict[str, Any]", usage).get("prompt_tokens") if isinstance(usage, dict) else None
    model = native.get("model")
    return Embedded(vectors, tokens if type(tokens) is int else None, model if isinstance(model, str) else "")


def _vector(native: Any) -> list[float]:
    if isinstance(native, str):
        try:
            data = base64.b64decode(native, validate=True)
        except binascii.Error as error:
            raise ValueError(str(error)) from None
        return list(struct.unpack(f"<{len(data) // 4}f", data))
    return [float(value) for value in native]


def encode_embedded(answer: Embedded, request: Embedding) -> bytes:
    """Numbers beyond those of float32 have no base64: raises `UpstreamGarbled`."""
    tokens = answer.tokens or 0
    return msgspec.json.encode(
        {
            "object": "list",
            "data": [
                {"object": "embedding", "index": index, "embedding": _written(vector, request)}
                for index, vector in enumerate(answer.vectors)
            ],
            "model": answer.model,
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        }
    )


def _written(vector: Sequence[float], request: Embedding) -> str | Sequence[float]:
    if request.encoding == "float":
        return vector
    try:
        return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
    except (struct.error, OverflowError) as error:
        raise UpstreamGarbled(f"the answer holds numbers that are no float32: {error}") from None


def usage_of(body: bytes) -> Usage | None:
    try:
        usage = _counted.decode(body).usage
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    tokens = (usage or {}).get("prompt_tokens")
    return Usage(input=tokens) if type(tokens) is int else None


OPENAI_EMBEDDINGS = Embeddings(
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
