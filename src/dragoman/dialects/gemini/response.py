"""Answers in the words of `generateContent`. Types: `google.genai.types.GenerateContentResponse`.

What clients do that shapes this: the SDKs' chats drop a turn whose last chunk has no content, so there is always a part; many
programs read `parts[0].text`, so thoughts are only shown to who asked for them (`includeThoughts`); an agent runs every
`functionCall` that it sees, so a call that broke off is not told at all.
"""

from __future__ import annotations

from typing import Any

import msgspec

from dragoman.dialects import freetext
from dragoman.dialects.base import Reply
from dragoman.dialects.gemini import seals
from dragoman.dialects.gemini.citations import Grounding
from dragoman.dialects.gemini.finish import encode_logprobs, finish_fields
from dragoman.dialects.gemini.parts import mime_of_format
from dragoman.dialects.gemini.usage import encode_usage
from dragoman.ir.events import Choice, Finish, Response
from dragoman.ir.request import Audio, Document, Image, Part, Reasoning, Refusal, Seal, Text, ToolCall, Unknown
from dragoman.wire.partial import arguments_object, mended_object

Block = dict[str, Any]

_encode = msgspec.json.Encoder().encode


def encode_response(response: Response, reply: Reply) -> bytes:
    choices = response.choices or [Choice([], Finish("stop"))]
    candidates: list[Block] = []
    characters = 0
    for index, choice in enumerate(choices):
        writer = PartWriter(reply)
        grounding = Grounding()
        for position, part in enumerate(choice.parts):
            writer.add(part, complete=position not in choice.incomplete)
            if isinstance(part, Text):
                for citation in part.citations:
                    grounding.add(citation, part.text, len(writer.parts) - 1)
        characters += writer.characters
        parts = writer.end()
        if not parts and choice.finish.reason == "refusal" and choice.finish.explanation and len(choices) == 1:
            return _encode(answer_head(response.id, response.model, reply, blocked_fields(choice.finish, response, reply)))
        candidate: Block = {"content": {"parts": parts or [{"text": ""}], "role": "model"}}
        candidate |= finish_fields(choice.finish, refused=writer.refused)
        candidate |= {"index": index, **grounding.metadata}
        if choice.logprobs:
            candidate["logprobsResult"] = encode_logprobs(choice.logprobs)
        note_finish(choice.finish, reply)
        candidates.append(candidate)
    usage = response.usage or reply.estimated_usage(characters)
    body: Block = {"candidates": candidates, "usageMetadata": encode_usage(usage)}
    return _encode(answer_head(response.id, response.model, reply, body))


def answer_head(answer_id: str, model: str, reply: Reply, body: Block) -> Block:
    return body | {"modelVersion": model or reply.model, "responseId": answer_id or reply.fallback_id}


def blocked_fields(finish: Finish, response: Response, reply: Reply) -> Block:
    """Nothing was said but that nothing will be: as if the prompt had been blocked."""
    feedback = {"blockReason": "SAFETY", "blockReasonMessage": finish.explanation}
    usage = response.usage or finish.usage or reply.estimated_usage(0)
    return {"promptFeedback": feedback, "usageMetadata": encode_usage(usage)}


def note_finish(finish: Finish, reply: Reply) -> None:
    if finish.reason == "pause":
        reply.ledger.add(None, "candidates", "the provider paused a long turn; Gemini's clients cannot go on with it", "lost")


class PartWriter:
    """The parts of one candidate, as they are written. `add` gives what a part adds, which also goes to `parts`."""

    def __init__(self, reply: Reply) -> None:
        self.reply = reply
        self.parts: list[Block] = []
        self.refused = False
        self.characters = 0
        ask = reply.request.reasoning
        self.shows_thoughts = ask is not None and ask.display not in {None, "omitted"}
        self._riding: list[Reasoning] = []
        self._carried = True
        """Whether what rides has found a place."""
        self._of_call: dict[str, str] = {}
        self._signed = False

    def add(self, part: Part, *, complete: bool = True) -> list[Block]:
        blocks = self._blocks(part, complete)
        self.parts += blocks
        return blocks

    def end(self) -> list[Block]:
        """All parts; what still rides gets an empty text of its own."""
        self.parts += self.left()
        return self.parts

    def left(self) -> list[Block]:
        if self._carried:
            return []
        self._carried = True
        token = seals.riding(self._riding, self.reply.issuer)
        return [] if token is None else [{"text": "", "thoughtSignature": token}]

    def text(self, text: str) -> Block:
        """A text, or a piece of one. The first piece after a thought carries it, until a call does: some clients keep
        signatures on texts, all keep them on calls."""
        self.characters += len(text)
        block: Block = {"text": text}
        if not self._carried and (token := seals.riding(self._riding, self.reply.issuer)) is not None:
            block["thoughtSignature"] = token
            self._carried = True
        return block

    def thought(self, part: Reasoning) -> list[Block]:
        """What a thought leaves behind when its text has been told, or is not to be."""
        seal = part.seal
        if seal is None or seal.dialect != "gemini":
            if part.text or seal is not None:
                self._riding.append(part)
                self._carried = False
            return []
        self._signed = True
        of_call = seals.call_of(seal)
        if of_call is not None:
            self._of_call[of_call[0]] = of_call[1]
            return []
        signature = seals.part_of(seal) or seal.value
        block: Block = {"text": "", "thoughtSignature": signature}
        if part.summary and self.shows_thoughts:
            block["thought"] = True
        return [block]

    def _blocks(self, part: Part, complete: bool) -> list[Block]:
        match part:
            case Text() | Refusal():
                self.refused = self.refused or isinstance(part, Refusal)
                return [self.text(part.text)] if part.text or (isinstance(part, Text) and part.citations) else []
            case Reasoning():
                self.characters += len(part.text)
                return self._thought(part)
            case ToolCall():
                return [self.call(part)] if complete else self.broken(part)
            case Image():
                return [_media(part.media_type or "image/png", part.data, part.url or part.file or "")]
            case Document() if part.text is None and part.parts is None:
                return [_media(part.media_type or "application/pdf", part.data, part.url or part.file or "")]
            case Audio():
                return [_media(mime_of_format(part.format), part.data, "")]
            case Unknown() if part.dialect == "gemini":
                return [part.native]
            case _:
                kind = str(part.native.get("type", "part")) if isinstance(part, Unknown) else type(part).__name__.lower()
                self.reply.ledger.add(None, "candidates", f"an answer's {kind} has no place in Gemini", "lost")
                return []

    def _thought(self, part: Reasoning) -> list[Block]:
        """A whole thought, in one piece with its signature."""
        rest = self.thought(part)
        shown: list[Block] = [{"text": part.text, "thought": True}] if part.text and self.shows_thoughts else []
        if not rest:
            return shown
        signature = rest[0]["thoughtSignature"]
        if shown:
            shown[0]["thoughtSignature"] = signature
            return shown
        last = self.parts[-1] if self.parts else None
        seal = part.seal or Seal("")
        if seals.part_of(seal) and last is not None and not last.keys() & {"thoughtSignature", "functionCall"}:
            last["thoughtSignature"] = signature
            return []
        return rest

    def broken(self, part: ToolCall) -> list[Block]:
        self.reply.ledger.add(None, "candidates", f"the call of {part.name} broke off and is not told", "lost")
        return []

    def call(self, part: ToolCall) -> Block:
        self.characters += len(part.name) + len(part.arguments)
        if part.kind == "custom":
            arguments = freetext.wrapped(part.arguments)
        else:
            found = arguments_object(part.arguments)
            arguments = found if found is not None else mended_object(part.arguments)
        block: Block = {"functionCall": {"id": part.id, "name": part.name, "args": arguments}}
        signature = self._of_call.pop(part.id, None)
        if signature is None and (self._riding or not self._signed):
            signature = seals.riding(self._riding, self.reply.issuer)
            self._riding = []
            self._carried = True
        self._signed = True
        if signature is not None:
            block["thoughtSignature"] = signature
        return block


def _media(mime: str, data: str | None, uri: str) -> Block:
    if data is not None:
        return {"inlineData": {"mimeType": mime, "data": data}}
    return {"fileData": {"mimeType": mime, "fileUri": uri}}
