"""Where a request is marked for the prompt cache, in the order of the prompt: tools, instructions, conversation.

Providers that take marks take few of them, and answer 400 to more. The latest are worth the most: a cache is looked up
from the end of the prompt backwards, and a conversation grows at its end.
"""

from __future__ import annotations

from collections.abc import Iterator

from dragoman.ir.request import Document, Image, Node, Part, Request, Text, ToolCall, ToolResult

MOST_MARKS = 4
"""https://platform.claude.com/docs/en/build-with-claude/prompt-caching, and the same at OpenAI and Bedrock."""


def marked(request: Request) -> list[Node]:
    """Every node with a mark. An empty text is none: nobody takes a mark there."""
    nodes: list[Node] = [tool for tool in request.tools if tool.cache is not None]
    nodes += [text for text in request.system if text.cache is not None and text.text.strip()]
    for message in request.messages:
        nodes += _within(message.parts)
    return nodes


def _within(parts: list[Part]) -> Iterator[Node]:
    for part in parts:
        match part:
            case Text():
                if part.cache is not None and part.text.strip():
                    yield part
            case Image() | ToolCall():
                if part.cache is not None:
                    yield part
            case Document():
                yield from _within(part.parts or [])
                if part.cache is not None:
                    yield part
            case ToolResult():
                yield from _within(part.parts)
                if part.cache is not None:
                    yield part
            case _:
                pass


def latest(nodes: list[Node], most: int) -> frozenset[int]:
    """The identities of those that keep their mark."""
    return frozenset(id(node) for node in nodes[-most:]) if most > 0 else frozenset()
