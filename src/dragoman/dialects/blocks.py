"""Conversations on their way to APIs whose turns are lists of blocks, which begin with the user's word, and take images and
documents from the user alone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, assert_never

import msgspec

from dragoman.dialects import freetext
from dragoman.dialects.base import Target
from dragoman.dialects.foreign import readable
from dragoman.ir.losses import Ledger
from dragoman.ir.request import (
    Audio,
    Document,
    Image,
    Node,
    Part,
    Reasoning,
    Refusal,
    Request,
    Text,
    ToolCall,
    ToolResult,
    Unknown,
)
from dragoman.wire.partial import arguments_object, mended_object

Block = dict[str, Any]

NO_TEXT = "(no text)"


class BlocksEncoding(ABC):
    """One request on its way out. `api` is what a loss calls the target. `system` are the instructions that stand before the
    conversation; the request itself is left as it is, for another target may be tried."""

    api: ClassVar[str]
    dialect: ClassVar[str]

    def __init__(self, request: Request, target: Target, ledger: Ledger) -> None:
        self.request = request
        self.target = target
        self.profile = target.profile
        self.ledger = ledger
        self.native = request.dialect == self.dialect
        self.system: list[Text] = list(request.system)

    def blocks(self, parts: Sequence[Part]) -> list[Block]:
        blocks: list[Block] = []
        for part in parts:
            blocks.extend(self.part(part))
        return blocks

    def spoken(self, parts: Sequence[Part]) -> list[Block]:
        """What an assistant said: images and documents are taken from the user alone."""
        blocks: list[Block] = []
        for part in parts:
            if isinstance(part, Image | Document):
                kind = type(part).__name__.lower()
                blocks += self.omitted(part, kind, f"an assistant's turn holds no {kind} here")
            else:
                blocks += self.part(part)
        return blocks

    def part(self, part: Part) -> list[Block]:
        match part:
            case Text():
                if part.text.strip():
                    return self.text(part)
                if part.cache is not None:
                    self.ledger.add(part.cache.spot(part.at), None, "an empty text cannot be marked", "info")
                self.node(part)
                return []
            case Refusal():
                self.node(part)
                return [self.said(part.text)] if part.text.strip() else []
            case Reasoning():
                return self.reasoning(part)
            case Image():
                return self.image(part)
            case Document():
                return self.document(part)
            case Audio():
                return self.audio(part)
            case ToolCall():
                return self.call(part)
            case ToolResult():
                return self.result(part)
            case Unknown():
                return self.unknown(part)
            case _:
                assert_never(part)

    def unknown(self, part: Unknown) -> list[Block]:
        if part.dialect == self.dialect:
            return [part.native]
        if text := readable(part.native):
            self.ledger.add(part.at, None, "told as its text", "degraded")
            return [self.said(text)]
        kind = str(part.native.get("type", "part"))
        return self.omitted(part, kind, f"{self.api} has no {kind}")

    def omitted(self, part: Node, kind: str, why: str) -> list[Block]:
        """Content that cannot be said leaves a word behind, so that the model knows of it and no turn is empty."""
        self.ledger.add(part.at, None, why, "lost")
        return [self.said(f"[{kind} omitted]")]

    def opening(self) -> Block:
        """The user's word has to come first. Instructions alone become that word."""
        content = [self.said(NO_TEXT)]
        if self.request.messages or not self.system:
            at = self.request.path_of("messages")
            self.ledger.add(at, None, "a user turn was put before the first assistant turn", "degraded")
        else:
            last = self.system.pop()
            self.ledger.add(last.at, None, "instructions alone are sent as the user's turn", "degraded")
            content = self.part(last) or content
        return {"role": "user", "content": content}

    def replayed_not(self, part: Text) -> None:
        """Citations are known to whoever made them."""
        for citation in part.citations:
            self.ledger.add(citation.at, None, "citations of earlier answers are not replayed", "info")

    def input_of(self, part: ToolCall) -> object:
        """The arguments as an object."""
        if part.kind == "custom":
            return freetext.wrapped(part.arguments)
        found = arguments_object(part.arguments)
        if found is None:
            found = mended_object(part.arguments)
            self.ledger.add(part.at, None, "arguments that are no JSON object are sent as far as they are", "degraded")
        return found

    def node(self, part: Node) -> None:
        """Where nothing of the caller's own extras can be said."""
        if part.extras and not self.native:
            self.ledger.extras(part)

    # ------------------------------------------------------------ what a dialect says

    @abstractmethod
    def said(self, text: str) -> Block:
        """A text, and nothing beside it."""

    @abstractmethod
    def text(self, part: Text) -> list[Block]:
        """Of a text that is not blank."""

    @abstractmethod
    def reasoning(self, part: Reasoning) -> list[Block]: ...

    @abstractmethod
    def image(self, part: Image) -> list[Block]: ...

    @abstractmethod
    def document(self, part: Document) -> list[Block]: ...

    @abstractmethod
    def audio(self, part: Audio) -> list[Block]: ...

    @abstractmethod
    def call(self, part: ToolCall) -> list[Block]: ...

    @abstractmethod
    def result(self, part: ToolResult) -> list[Block]: ...


def object_schema(schema: msgspec.Raw) -> msgspec.Raw | Block:
    """An empty or missing schema means an object without members; APIs and models refuse one that does not say `object`."""
    text = bytes(schema)
    if text.startswith(b'{"type":'):
        return schema
    try:
        found = msgspec.json.decode(text, type=dict[str, msgspec.Raw]) if text and text != b"null" else {}
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return schema  # what is wrong with it is for the provider to say
    return schema if "type" in found else {"type": "object", "properties": {}, **found}
