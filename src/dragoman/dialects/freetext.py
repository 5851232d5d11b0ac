"""Free-text tools (OpenAI's `custom`, such as Codex's `apply_patch`) for targets that only know functions.

Such a tool goes out as a function with one text; a call of it comes back as a function's, and is free text again for
the caller, who declared the tool.
"""

from __future__ import annotations

from typing import Any, cast

import msgspec

from dragoman.ir.losses import Ledger
from dragoman.ir.request import Tool

SCHEMA = msgspec.Raw(
    b'{"type":"object","properties":{"input":{"type":"string","description":"The whole input of the tool, as free text."}},'
    b'"required":["input"]}'
)


def described(tool: Tool, ledger: Ledger) -> str | None:
    """The description of the function that stands for this tool: the format of its input is told in words."""
    ledger.add(tool.at, None, "a free-text tool is told as one with a single text field", "degraded")
    if tool.native.get("format") in (None, {}, {"type": "text"}):
        return tool.description
    grammar = msgspec.json.encode(tool.native["format"]).decode()
    return f"{tool.description or ''}\nThe input must follow this format: {grammar}".lstrip()


def wrapped(text: str) -> dict[str, Any]:
    """The arguments of the function for this text."""
    return {"input": text}


def unwrapped(arguments: str) -> str:
    """The text in the arguments of such a function; the arguments themselves where a model did not keep to its schema."""
    try:
        found = msgspec.json.decode(arguments.encode("utf-8", "surrogatepass"))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return arguments
    text = cast("dict[str, Any]", found).get("input") if isinstance(found, dict) else None
    return text if isinstance(text, str) else arguments
