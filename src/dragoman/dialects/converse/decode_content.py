"""Messages and their content blocks to the hub. A block is a union: an object with one key, which says what it is. A
`cachePoint` is a block of its own there and a mark on the part before it here. Types: `ContentBlock`, `SystemContentBlock`."""

from __future__ import annotations

from base64 import b64decode
from binascii import Error as Base64Error
from typing import Any, cast

import msgspec

from dragoman.dialects.converse.formats import DOCUMENTS
from dragoman.dialects.pairing import unpacked
from dragoman.dialects.shape import Fields, wrong
from dragoman.errors import MalformedBody
from dragoman.ir import carrier
from dragoman.ir.request import (
    Audio,
    CacheMark,
    Citation,
    Document,
    Image,
    Message,
    Node,
    Part,
    Path,
    Reasoning,
    Seal,
    Text,
    ToolCall,
    ToolResult,
    Unknown,
    path_text,
)

Block = dict[str, Any]
_encode = msgspec.json.Encoder().encode

_MARKABLE = (Text, Image, Document, ToolCall, ToolResult)


def decode_message(native: Any, at: Path) -> Message:
    fields = Fields(native, at)
    role = fields.any("role")
    if role not in ("user", "assistant", "system"):  # whatever it is: a set would ask for its hash
        path = path_text((at, "role"))
        raise MalformedBody(f"{path}: expected user, assistant or system, got {role!r}", param=path)
    inner: Path = (at, "content")
    content = fields.any("content")
    if not isinstance(content, list):
        raise wrong(inner, "an array of content blocks", content)
    extras: Block = {}
    parts: list[Part] = []
    for index, block in enumerate(cast("list[Any]", content)):
        where: Path = (inner, index)
        if isinstance(block, dict) and "cachePoint" in block:
            if not mark(parts, Fields(cast("Block", block), where)):
                extras[f"content[{index}].cachePoint"] = block["cachePoint"]
        else:
            parts.append(_block(block, where))
    parts = unpacked(parts, "toolUseId") if role == "assistant" else parts
    return Message(role=role, parts=parts, at=at, extras={**fields.rest(), **extras})


def decode_system(natives: list[Any]) -> tuple[list[Text], Block]:
    """The texts, and what is none."""
    at: Path = (None, "system")
    parts: list[Text] = []
    extras: Block = {}
    for index, native in enumerate(natives):
        fields = Fields(native, (at, index))
        if "cachePoint" in fields.left:
            if not mark(parts, fields):
                extras[f"system[{index}]"] = native
            continue
        part = _block(native, (at, index))
        if isinstance(part, Text):
            parts.append(part)
        else:
            extras[f"system[{index}]"] = native
    return parts, extras


def mark(parts: list[Any], fields: Fields) -> bool:
    """Whether there was a part (or a tool) to put the cache point of this block on."""
    point = Fields(fields.any("cachePoint"), (fields.at, "cachePoint"))
    for part in reversed(parts):
        if not isinstance(part, Part) or isinstance(part, _MARKABLE):
            part.cache = CacheMark(point.text("ttl"), "cachePoint", fields.at)
            return True
    return False


def _block(native: Any, at: Path) -> Part:
    fields = Fields(native, at)
    kind = next(iter(fields.left), "")
    match kind:
        case "text":
            return Text(text=fields.need_text("text"), at=at, extras=fields.rest())
        case "image":
            return _image(Fields(fields.any("image"), (at, "image")), native)
        case "document":
            return _document(Fields(fields.any("document"), (at, "document")), native)
        case "audio":
            return _audio(Fields(fields.any("audio"), (at, "audio")), native)
        case "toolUse":
            return _call(Fields(fields.any("toolUse"), (at, "toolUse")), native)
        case "toolResult":
            return _result(Fields(fields.any("toolResult"), (at, "toolResult")), native)
        case "reasoningContent":
            return decode_reasoning(fields.any("reasoningContent"), (at, "reasoningContent"), None) or _unknown(native, at)
        case "citationsContent":
            return decode_cited(fields.any("citationsContent"), (at, "citationsContent"))
        case "guardContent":
            return _guarded(native, at)
        case "searchResult":
            return _search_result(Fields(fields.any("searchResult"), (at, "searchResult")))
        case _:
            return _unknown(native, at)


def _unknown(native: Any, at: Path) -> Unknown:
    return Unknown(native=native, dialect="converse", at=at)


def _image(fields: Fields, native: Any) -> Image | Unknown:
    source = Fields(fields.any("source"), (fields.at, "source"))
    data = source.text("bytes")
    if data is None:
        return _unknown(native, _parent(fields))
    media_type = f"image/{fields.need_text('format')}"
    return Image(media_type=media_type, data=data, at=fields.at, extras=_rest(fields, source))


def _document(fields: Fields, native: Any) -> Document | Unknown:
    at = fields.at
    source = Fields(fields.any("source"), (at, "source"))
    named = fields.text("format")
    document = Document(
        media_type=DOCUMENTS.get(named or "", ""),
        title=fields.text("name"),
        context=fields.text("context"),
        cite=Fields(fields.object("citations") or {}, (at, "citations")).flag("enabled"),
        at=at,
    )
    match next(iter(source.left), ""):
        case "bytes":
            data = source.need_text("bytes")
            document.data = data
            if named in {"txt", "md", "csv", "html"}:
                # What is a text is told as one, which every dialect can say.
                document.text = _text_of(data)
                document.data = None if document.text is not None else data
            elif not document.media_type:
                return _unknown(native, _parent(fields))
        case "text":
            document.text = source.need_text("text")
            document.media_type = document.media_type or "text/plain"
        case "content":
            inner: Path = ((at, "source"), "content")
            blocks = source.array("content") or []
            document.parts = [_block(block, (inner, index)) for index, block in enumerate(blocks)]
        case _:
            return _unknown(native, _parent(fields))
    document.extras = _rest(fields, source)
    return document


def _text_of(data: str) -> str | None:
    try:
        return b64decode(data, validate=True).decode()
    except (Base64Error, ValueError):
        return None


def _audio(fields: Fields, native: Any) -> Audio | Unknown:
    source = Fields(fields.any("source"), (fields.at, "source"))
    data = source.text("bytes")
    if data is None:
        return _unknown(native, _parent(fields))
    return Audio(data=data, format=fields.need_text("format"), at=fields.at, extras=_rest(fields, source))


def _call(fields: Fields, native: Any) -> ToolCall | Unknown:
    if fields.text("type") is not None:
        # A call that the provider itself has run.
        return _unknown(native, _parent(fields))
    arguments = fields.any("input")
    return ToolCall(
        id=fields.need_text("toolUseId"),
        name=fields.need_text("name"),
        arguments=_encode({} if arguments is None else arguments).decode(),
        at=fields.at,
        extras=fields.rest(),
    )


def _result(fields: Fields, native: Any) -> ToolResult | Unknown:
    if fields.text("type") is not None:
        return _unknown(native, _parent(fields))
    at: Path = (fields.at, "content")
    bare, _ = carrier.detach(fields.need_text("toolUseId"))
    parts: list[Part] = []
    for index, block in enumerate(fields.array("content") or []):
        where: Path = (at, index)
        inner = Fields(block, where)
        if "json" in inner.left:
            parts.append(Text(text=_encode(inner.any("json")).decode(), at=(where, "json"), extras=inner.rest()))
        else:
            parts.append(_block(block, where))
    is_error = fields.text("status") == "error"
    return ToolResult(
        call_id=carrier.original_id(bare),
        parts=parts,
        is_error=is_error,
        error_at=(fields.at, "status") if is_error else None,
        at=fields.at,
        extras=fields.rest(),
    )


def decode_reasoning(native: Any, at: Path, issuer: str | None) -> Reasoning | None:
    """`issuer` is None for what comes from a client. None for a kind of reasoning that is not known yet."""
    fields = Fields(native, at)
    redacted = fields.text("redactedContent")
    if redacted is not None:
        token = _token_in(redacted)
        held = carrier.unpack(token) if token else None
        if held:
            return msgspec.structs.replace(held[0], at=at)
        return Reasoning(seal=Seal(redacted, issuer, "converse"), redacted=True, at=at, extras=fields.rest())
    if "reasoningText" not in fields.left:
        return None
    inner = Fields(fields.any("reasoningText"), (at, "reasoningText"))
    text, signature = inner.text("text") or "", inner.text("signature")
    if carrier.is_token(signature):
        held = carrier.unpack(signature or "") or []
        seal = held[0].seal if held else Seal("", "?", "")
        return Reasoning(text=text, seal=seal, summary=bool(held and held[0].summary), at=at)
    seal = Seal(signature, issuer, "converse") if signature else None
    return Reasoning(text=text, seal=seal, at=at, extras=_rest(fields, inner, "reasoningText"))


def _token_in(redacted: str) -> str | None:
    """Our token, where it is one that stands in this field of bytes."""
    try:
        token = b64decode(redacted, validate=True).decode("ascii")
    except (Base64Error, ValueError):
        return None
    return token if carrier.is_token(token) else None


def is_carrier(reasoning: Any) -> bool:
    """Whether a native `reasoningContent` is one of ours, of another provider's thinking."""
    if not isinstance(reasoning, dict):
        return False
    fields = cast("Block", reasoning)
    redacted, inner = fields.get("redactedContent"), fields.get("reasoningText")
    if isinstance(redacted, str):
        return _token_in(redacted) is not None
    return isinstance(inner, dict) and carrier.is_token(cast("Block", inner).get("signature"))


def decode_cited(native: Any, at: Path) -> Text:
    """Text with its citations, which come in blocks of their own kind."""
    fields = Fields(native, at)
    texts: list[str] = []
    for index, piece in enumerate(fields.array("content") or []):
        texts.append(Fields(piece, ((at, "content"), index)).text("text") or "")
    inner: Path = (at, "citations")
    citations = [decode_citation(one, (inner, index)) for index, one in enumerate(fields.array("citations") or [])]
    return Text(text="".join(texts), citations=citations, at=at, extras=fields.rest())


def decode_citation(native: Any, at: Path) -> Citation:
    fields = Fields(native, at)
    pieces = fields.array("sourceContent") or []
    cited = "".join(str(cast("Block", piece).get("text") or "") for piece in pieces if isinstance(piece, dict))
    location = fields.object("location") or {}
    web = location.get("web")
    url = cast("Block", web).get("url") if isinstance(web, dict) else None
    return Citation(
        kind=next(iter(location), ""),
        url=url if isinstance(url, str) else None,
        title=fields.text("title"),
        cited_text=cited or None,
        native=native,
        dialect="converse",
        at=at,
    )


def _guarded(native: Block, at: Path) -> Part:
    """What a guardrail is to look at is content all the same; that it should is kept beside it."""
    inner: Path = (at, "guardContent")
    fields = Fields(native["guardContent"], inner)
    extras = {"guardContent": native["guardContent"]}
    if "text" in fields.left:
        return Text(text=Fields(fields.any("text"), (inner, "text")).need_text("text"), at=at, extras=extras)
    if "image" in fields.left:
        image = _image(Fields(fields.any("image"), (inner, "image")), native)
        if isinstance(image, Image):
            return msgspec.structs.replace(image, at=at, extras=extras)
    return _unknown(native, at)


def _search_result(fields: Fields) -> Document:
    at = fields.at
    inner: Path = (at, "content")
    parts = [_block(block, (inner, index)) for index, block in enumerate(fields.array("content") or [])]
    cite = Fields(fields.object("citations") or {}, (at, "citations")).flag("enabled")
    return Document(media_type="text/plain", title=fields.text("title"), parts=parts, cite=cite, at=at, extras=fields.rest())


def _parent(fields: Fields) -> Path:
    return fields.at[0] if fields.at is not None else None


def _rest(fields: Fields, inner: Fields, key: str = "source") -> Block:
    left = inner.rest()
    return {**fields.rest(), key: left} if left else fields.rest()


def is_markable(part: Node) -> bool:
    return isinstance(part, _MARKABLE)
