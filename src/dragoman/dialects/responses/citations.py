"""Sources of a text: `annotations`, of which only `url_citation` has a meaning outside of OpenAI's own stores."""

from __future__ import annotations

from typing import Any

from dragoman.ir.request import Citation, Path

Block = dict[str, Any]


def decode_citation(native: Block, at: Path = None) -> Citation:
    return Citation(
        kind=_text(native.get("type")) or "",
        url=_text(native.get("url")),
        title=_text(native.get("title")) or _text(native.get("filename")),
        start=_offset(native.get("start_index")),
        end=_offset(native.get("end_index")),
        native=native,
        dialect="responses",
        at=at,
    )


def encode_citation(citation: Citation, length: int) -> Block | None:
    """The annotation of a text of `length` characters. None for a source without a URL, which has no form here."""
    if citation.dialect == "responses":
        return citation.native
    if citation.url is None:
        return None
    return {
        "type": "url_citation",
        "start_index": citation.start if citation.start is not None else 0,
        "end_index": citation.end if citation.end is not None else length,
        "title": citation.title or "",
        "url": citation.url,
    }


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _offset(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
