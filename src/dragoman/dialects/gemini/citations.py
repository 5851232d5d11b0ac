"""Sources of an answer: `groundingMetadata` (search, maps, files) and `citationMetadata` (recitation), and the hub's citations.

Gemini counts offsets in bytes of UTF-8 within a part, the hub in characters. Types: `google.genai.types.GroundingMetadata`.
"""

from __future__ import annotations

from typing import Any, cast

import msgspec

from dragoman.ir.request import Citation

_encode = msgspec.json.Encoder().encode

Block = dict[str, Any]

_SOURCES = ("web", "retrievedContext", "maps", "image")


class Found:
    """A citation, and the part that it cites: None where nobody says."""

    __slots__ = ("citation", "part")

    def __init__(self, citation: Citation, part: int | None) -> None:
        self.citation = citation
        self.part = part


def searches_of(candidate: Block) -> int:
    """How often the provider searched."""
    return len(_list(_object(candidate.get("groundingMetadata")).get("webSearchQueries")))


def decode_citations(candidate: Block, texts: dict[int, str]) -> list[Found]:
    """All citations of a candidate. `texts` are its text parts by their index, as far as they are known."""
    found: list[Found] = []
    grounding = _object(candidate.get("groundingMetadata"))
    chunks = _list(grounding.get("groundingChunks"))
    used: set[int] = set()
    for support in _list(grounding.get("groundingSupports")):
        segment = _object(support.get("segment"))
        index = segment.get("partIndex")
        part = index if isinstance(index, int) and index in texts else None
        text = texts[part] if part is not None else "".join(texts.values()) if len(texts) == 1 else ""
        indices = support.get("groundingChunkIndices")
        for number in cast("list[Any]", indices) if isinstance(indices, list) else []:
            if isinstance(number, int) and 0 <= number < len(chunks):
                used.add(number)
                citation = _source(chunks[number])
                citation.start = _characters(text, segment.get("startIndex", 0))
                citation.end = _characters(text, segment.get("endIndex"))
                citation.native = {"chunk": chunks[number], "support": support}
                found.append(Found(citation, part))
    for number, chunk in enumerate(chunks):
        if number not in used:
            citation = _source(chunk)
            citation.native = {"chunk": chunk}
            found.append(Found(citation, None))
    recited = _object(candidate.get("citationMetadata"))
    for source in _list(recited.get("citationSources")) or _list(recited.get("citations")):
        text = "".join(texts.values()) if len(texts) == 1 else ""
        citation = Citation(kind="citation", url=_text(source.get("uri")), title=_text(source.get("title")), dialect="gemini")
        citation.start = _characters(text, source.get("startIndex", 0))
        citation.end = _characters(text, source.get("endIndex"))
        citation.native = {"source": source}
        found.append(Found(citation, None))
    return found


def _source(chunk: Block) -> Citation:
    for kind in _SOURCES:
        source = _object(chunk.get(kind))
        if source:
            return Citation(
                kind=kind,
                url=_text(source.get("uri")) or _text(source.get("sourceUri")),
                title=_text(source.get("title")),
                cited_text=_text(source.get("text")),
                dialect="gemini",
            )
    return Citation(kind="unknown", dialect="gemini")


def _characters(text: str, offset: object) -> int | None:
    if not isinstance(offset, int) or isinstance(offset, bool) or offset < 0 or (not text and offset):
        return None
    if text.isascii():
        return min(offset, len(text))
    return len(text.encode("utf-8", "replace")[:offset].decode("utf-8", "ignore"))


# ---------------------------------------------------------------- to a client


class Grounding:
    """Collects the citations of an answer as its metadata. Empty `metadata` where there were none."""

    def __init__(self) -> None:
        self._chunks: list[Block] = []
        self._numbers: dict[bytes, int] = {}
        self._supports: list[Block] = []
        self._sources: list[Block] = []

    def add(self, citation: Citation, text: str, part: int, before: str = "") -> None:
        """`text` is the text cited in, the `part`th of its content; `before` stands before it in the same part."""
        own = citation.native.get("source") if citation.dialect == "gemini" else None
        if isinstance(own, dict):
            self._sources.append(cast("Block", own))
            return
        chunk = citation.native.get("chunk") if citation.dialect == "gemini" else None
        if not isinstance(chunk, dict):
            chunk = _chunk(citation)
        number = self._numbers.setdefault(_encode(chunk), len(self._chunks))
        if number == len(self._chunks):
            self._chunks.append(cast("Block", chunk))
        start = citation.start if citation.start is not None else 0
        end = citation.end if citation.end is not None else len(text)
        segment: Block = {
            "startIndex": _bytes(before) + _bytes(text[:start]),
            "endIndex": _bytes(before) + _bytes(text[:end]),
            "text": text[start:end],
        }
        if part:
            segment["partIndex"] = part
        if text:
            self._supports.append({"segment": segment, "groundingChunkIndices": [number]})

    @property
    def metadata(self) -> Block:
        """The members of a candidate that hold it."""
        out: Block = {}
        if self._chunks:
            out["groundingMetadata"] = {"groundingChunks": self._chunks, "groundingSupports": self._supports}
        if self._sources:
            out["citationMetadata"] = {"citationSources": self._sources}
        return out


def _chunk(citation: Citation) -> Block:
    if citation.url is not None:
        return {"web": {"uri": citation.url, "title": citation.title or citation.url}}
    context: Block = {"title": citation.title or ""}
    if citation.cited_text:
        context["text"] = citation.cited_text
    return {"retrievedContext": context}


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "replace"))


def _object(value: object) -> Block:
    return cast("Block", value) if isinstance(value, dict) else {}


def _list(value: object) -> list[Block]:
    """The objects of a list. A member that is none counts as an empty one, so that indices stay."""
    return [_object(one) for one in cast("list[Any]", value)] if isinstance(value, list) else []


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
