"""A rough count of a request's tokens, for where a number is due at once and before anybody has counted. Who has the time asks
`models/tokens.py`, which knows the model's family."""

from __future__ import annotations

from dragoman.ir.request import Document, Image, Part, Reasoning, Refusal, Request, Text, ToolCall, ToolResult

_CHARACTERS_PER_TOKEN = 4
_PER_MESSAGE = 4
_PER_IMAGE = 1500
_BASE64_PER_PAGE_TOKEN = 40


def input_tokens(request: Request) -> int:
    """About four characters to a token, a flat price for an image; at least 1."""
    characters = sum(_length(part.text) for part in request.system)
    tokens = 0
    for message in request.messages:
        tokens += _PER_MESSAGE
        for part in message.parts:
            characters += _characters(part)
    for tool in request.tools:
        characters += len(tool.name) + len(tool.description or "") + len(bytes(tool.schema))
    return max(1, tokens + tokens_of(characters))


def tokens_of(characters: int) -> int:
    return characters // _CHARACTERS_PER_TOKEN


def _length(text: str) -> int:
    """In characters of English: those that take more bytes in UTF-8 are more of a token each. Whether a text is ASCII, Python
    knows without looking."""
    size = len(text)
    return size if text.isascii() else (size + len(text.encode("utf-8", "replace"))) // 2


def _characters(part: Part) -> int:
    match part:
        case Text() | Refusal() | Reasoning():
            return _length(part.text)
        case ToolCall():
            return len(part.name) + _length(part.arguments)
        case ToolResult():
            return sum(_characters(inner) for inner in part.parts)
        case Image():
            return _PER_IMAGE * _CHARACTERS_PER_TOKEN
        case Document():
            inner = sum(_characters(held) for held in part.parts or ())
            return inner + _length(part.text or "") + len(part.data or "") // _BASE64_PER_PAGE_TOKEN
        case _:
            return 0
