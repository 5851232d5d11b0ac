"""What the encoders of answers have in common that write one list of blocks, calls and thinking among them."""

from __future__ import annotations

from typing import Any

from dragoman.dialects import freetext
from dragoman.dialects.base import Reply
from dragoman.ir import carrier
from dragoman.ir.events import Choice, Finish, Response
from dragoman.ir.request import Citation, Part, Reasoning, Refusal, Seal, Text, ToolCall
from dragoman.wire.partial import arguments_object, mended_object


def only_choice(response: Response, reply: Reply) -> Choice:
    """The first answer, where there is no place for another one."""
    if len(response.choices) > 1:
        reply.ledger.add(None, "choices", "only the first of several answers fits", "lost")
    return response.choices[0] if response.choices else Choice([], Finish("stop"))


def length_of(part: Part) -> int:
    """In characters, as `Reply.estimated_usage` takes them."""
    match part:
        case Text() | Refusal() | Reasoning():
            return len(part.text)
        case ToolCall():
            return len(part.arguments) + len(part.name)
        case _:
            return 0


def call_input(part: ToolCall, complete: bool) -> dict[str, Any]:
    """The arguments as an object, of a call that broke off (not `complete`) as far as they go."""
    if part.kind == "custom":
        return freetext.wrapped(part.arguments)
    found = arguments_object(part.arguments) if complete else None
    return found if found is not None else mended_object(part.arguments)


def signature_of(part: Reasoning, reply: Reply, dialect: str) -> str:
    """What stands where a signature is required. What was signed in this dialect keeps its own; everything else carries a
    token of ours, which says whose thinking it is and brings its sealed state back."""
    seal = part.seal or Seal("", reply.issuer, "")
    if seal.dialect == dialect:
        return seal.value
    return carrier.pack([Reasoning(seal=seal, redacted=part.redacted, summary=part.summary)]) or carrier.MARK


def cited_text(citation: Citation, text: str) -> str:
    """The words of `text` that a citation is about, unless it brings its own."""
    if citation.cited_text is not None:
        return citation.cited_text
    return text[citation.start or 0 : citation.end] if citation.end else ""
