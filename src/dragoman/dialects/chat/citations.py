"""Sources of a text: `annotations` of type `url_citation`, the only kind that Chat Completions has."""

from __future__ import annotations

from typing import Any, cast

from dragoman.ir.request import Citation, Path

Block = dict[str, Any]


def decode_citation(native: Block, at: Path = None) -> Citation:
    kind = native.get("type")
    inner = native.get("url_citation")
    held = cast("Block", inner) if isinstance(inner, dict) else native
    return Citation(
        kind=kind if isinstance(kind, str) else "",
        url=_text(held.get("url")),
        title=_text(held.get("title")),
        cited_text=_text(held.get("content")),
        start=_offset(held.get("start_index")),
        end=_offset(held.get("end_index")),
        native=native,
        dialect="chat",
        at=at,
    )


def encode_citation(citation: Citation, offset: int, length: int) -> Block | None:
    """The annotation for a text of `length` characters that begins `offset` characters into the answer. None for a
    citation without a URL, which has no form here."""
    if citation.url is None:
        return None
    start = citation.start if citation.start is not None else 0
    end = citation.end if citation.end is not None else length
    inner: Block = {
        "url": citation.url,
        "title": citation.title or "",
        "start_index": offset + start,
        "end_index": offset + end,
    }
    if citation.cited_text:
        inner["content"] = citation.cited_text
    return {"type": "url_citation", "url_citation": inner}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _offset(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
