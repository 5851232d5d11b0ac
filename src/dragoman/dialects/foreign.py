"""Parts that only another dialect has a word for, as far as they can be told in plain ones."""

from __future__ import annotations

from typing import Any, cast

Block = dict[str, Any]


def readable(native: Block) -> str | None:
    """What a person would read in a block of another dialect: a tool's name, or title, source and text, also of what
    is nested in its content. None where there is nothing of the kind."""
    name = native.get("tool_name")
    if isinstance(name, str):
        return f"[tool: {name}]"
    lines = [native[key] for key in ("title", "source", "url", "text") if isinstance(native.get(key), str) and native[key]]
    content = native.get("content")
    if isinstance(content, str) and content:
        lines.append(content)
    elif isinstance(content, dict):
        content = [content]
    if isinstance(content, list):
        inner = [readable(cast("Block", item)) for item in cast("list[Any]", content) if isinstance(item, dict)]
        lines += [text for text in inner if text]
    return "\n".join(lines) or None
