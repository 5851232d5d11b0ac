"""Names and ids as Bedrock takes them. Types: `ToolUseId`, `DocumentBlockNameString`, `RequestMetadata`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

_LEGAL_ID = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
_NOT_IN_NAME = re.compile(r"[^A-Za-z0-9\s()\[\]-]+")
_SPACES = re.compile(r"\s+")
_METADATA_KEY = re.compile(r"[a-zA-Z0-9\s:_@$#=/+,.-]{1,256}")
_METADATA_VALUE = re.compile(r"[a-zA-Z0-9\s:_@$#=/+,.-]{0,256}")
_MOST_METADATA = 16
_LONGEST_NAME = 200


def legal_id(call_id: str) -> str:
    """The id, or a hash of it: the same on every turn, so that call and result stay paired."""
    if _LEGAL_ID.fullmatch(call_id):
        return call_id
    return "call_" + sha256(call_id.encode("utf-8", "surrogatepass")).hexdigest()[:40]


class DocumentNames:
    """A legal name for each document, and never the same twice in a request: that is refused as well."""

    def __init__(self) -> None:
        self._used: set[str] = set()

    def name(self, title: str | None) -> str:
        wished = _SPACES.sub(" ", _NOT_IN_NAME.sub(" ", title or "")).strip()[:_LONGEST_NAME] or "document"
        name, number = wished, 1
        while name in self._used:
            number += 1
            name = f"{wished[: _LONGEST_NAME - 8]} {number}"
        self._used.add(name)
        return name


def legal_metadata(metadata: Mapping[str, Any]) -> dict[str, str] | None:
    """The metadata, where all of it is what Bedrock takes."""
    if len(metadata) > _MOST_METADATA:
        return None
    legal = all(
        isinstance(value, str) and _METADATA_KEY.fullmatch(key) and _METADATA_VALUE.fullmatch(value)
        for key, value in metadata.items()
    )
    return dict(metadata) if legal else None
