"""What Chat Completions and Responses have in common: files as data URLs, cache marks, extras within extras, strict schemas."""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from typing import Any, cast
from urllib.parse import unquote_to_bytes

import msgspec

from dragoman.dialects.shape import Fields
from dragoman.dialects.thinking import effort_of
from dragoman.ir.losses import Ledger
from dragoman.ir.request import CacheMark, Document, Extras, ReasoningAsk, Tool

Block = dict[str, Any]

_MOST_USER = 64
_ERROR = re.compile(r"\s*\W?\s*error", re.IGNORECASE)
# Members of a schema that hold values, not schemas.
_VALUES = frozenset({"enum", "const", "default", "examples"})
MEDIA_OF_ENDING = {
    "pdf": "application/pdf",
    "txt": "text/plain",
    "md": "text/markdown",
    "csv": "text/csv",
    "html": "text/html",
    "json": "application/json",
    "xml": "application/xml",
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
}


def data_url(url: str) -> tuple[str, str] | None:
    """Media type and standard base64 of a `data:` URL; None for any other."""
    if url[:5].lower() != "data:":
        return None
    head, comma, data = url[5:].partition(",")
    if not comma:
        return None
    media, _, last = head.rpartition(";")
    if last.strip().lower() == "base64":
        return media, data
    return head, b64encode(unquote_to_bytes(data)).decode()


def mark_of(fields: Fields) -> CacheMark | None:
    """The cache mark, under either name. What it says beside its lifetime stays among the fields nobody took."""
    native = fields.any("cache_control")
    if native is not None:
        inner = Fields(native, (fields.at, "cache_control"))
        inner.left.pop("type", None)
        mark = CacheMark(inner.text("ttl"))
        if rest := inner.rest():
            fields.left["cache_control"] = rest
        return mark
    native = fields.any("prompt_cache_breakpoint")
    if native is None:
        return None
    inner = Fields(native, (fields.at, "prompt_cache_breakpoint"))
    inner.left.pop("mode", None)
    # Its lifetimes are not those of the Messages API.
    if rest := inner.rest():
        fields.left["prompt_cache_breakpoint"] = rest
    return CacheMark(key="prompt_cache_breakpoint")


CACHE_POLICY = ("prompt_cache_retention", "prompt_cache_options")
"""Of a whole request: how long and how its prompt is cached."""


def cache_policy_of(fields: Fields) -> Extras:
    return {key: value for key in CACHE_POLICY if (value := fields.any(key)) is not None}


def rest_with(fields: Fields, key: str, inner: Fields) -> Extras:
    """What nobody took, of an object and of the one within it."""
    left = inner.rest()
    return {**fields.rest(), key: left} if left else fields.rest()


def merge(block: Block, extras: Extras) -> list[str]:
    """Write extras back where their own dialect had them. What is said already stays; its keys are returned."""
    taken: list[str] = []
    for key, value in extras.items():
        held = block.get(key)
        if key not in block:
            block[key] = value
        elif isinstance(held, dict) and isinstance(value, dict):
            taken += [f"{key}.{inner}" for inner in merge(cast("Block", held), cast("Block", value))]
        elif isinstance(held, list) and isinstance(value, list):
            block[key] = [*cast("list[Any]", held), *cast("list[Any]", value)]
        else:
            taken.append(key)
    return taken


def file_name(media: str) -> str:
    """For a document that has none: by its type."""
    ending = media.partition(";")[0].rpartition("/")[2].rpartition(".")[2]
    return f"document.{'txt' if ending == 'plain' else ending or 'pdf'}"


def heading_of(part: Document) -> str:
    """What stands before a document that is told as text."""
    heading = f"[document: {part.title}]" if part.title else ""
    return heading if part.context is None else f"{heading}\n{part.context}".strip()


def short_user(user: str) -> str:
    """OpenAI takes 64 characters; the ids of some clients are longer, and to a provider they mean nothing anyway, so that their
    hash will do."""
    return user if len(user) <= _MOST_USER else hashlib.sha256(user.encode("utf-8", "surrogatepass")).hexdigest()


def as_error(text: str) -> str:
    """What a call that failed gave back, where there is no other word for that."""
    if _ERROR.match(text):
        return text
    return f"Error: {text}" if text else "Error"


_EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")


def effort_for(ask: ReasoningAsk, taken: frozenset[str], ledger: Ledger, *, off: bool) -> str | None:
    """The one word on how much to think, None where the model is to decide. `taken`: those that the model knows; empty: all."""
    wished = _effort_wished(ask, ledger, off=off)
    if wished is None or not taken or wished in taken:
        return wished
    known = [word for word in _EFFORTS if word in taken and (word != "none" or off)]
    if not known or wished not in _EFFORTS:
        return wished  # let the provider say what it thinks of it
    rank = _EFFORTS.index(wished)
    nearest = min(known, key=lambda word: abs(_EFFORTS.index(word) - rank))
    ledger.add(ask.at, None, f"effort {wished} is told as {nearest}, which this model takes", "degraded" if off else "info")
    return nearest


def _effort_wished(ask: ReasoningAsk, ledger: Ledger, *, off: bool) -> str | None:
    if off:
        return "none"
    if ask.effort is not None:
        if ask.budget is not None:
            ledger.add(ask.at, None, "the budget of tokens is told as an effort", "info")
        return ask.effort
    if ask.budget is not None:
        ledger.add(ask.at, None, f"the budget of tokens is told as effort {effort_of(ask.budget)}", "degraded")
        return effort_of(ask.budget)
    if ask.mode == "on":
        ledger.add(ask.at, None, "told as effort medium", "info")
        return "medium"
    if ask.mode == "adaptive":
        ledger.add(ask.at, None, "how much to think is left to the model", "info")
    return None


def fits_strict(schema: msgspec.Raw) -> bool:
    """Whether a schema is in OpenAI's strict subset, as far as objects go: closed, and every member required."""
    try:
        return _closed(msgspec.json.decode(schema))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False


def strict_tool(tool: Tool, ledger: Ledger) -> bool:
    """Whether a tool of another API's that wants its arguments held to its schema can have that here."""
    if fits_strict(tool.schema):
        return True
    ledger.add(tool.at, None, "the schema is outside the strict subset, so arguments are not held to it", "degraded")
    return False


def _closed(schema: Any) -> bool:
    if isinstance(schema, list):
        return all(_closed(item) for item in cast("list[Any]", schema))
    if not isinstance(schema, dict):
        return True
    native = cast("Block", schema)
    properties = native.get("properties")
    if native.get("type") == "object" or isinstance(properties, dict):
        members = set(cast("Block", properties)) if isinstance(properties, dict) else set[str]()
        required = native.get("required")
        named = (
            {name for name in cast("list[Any]", required) if isinstance(name, str)}
            if isinstance(required, list)
            else set[str]()
        )
        if native.get("additionalProperties") is not False or members - named:
            return False
    for key, value in native.items():
        if key in {"properties", "$defs", "definitions"} and isinstance(value, dict):
            if not all(_closed(inner) for inner in cast("Block", value).values()):
                return False
        elif key not in _VALUES and not _closed(value):
            return False
    return True
