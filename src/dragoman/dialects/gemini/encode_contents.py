"""The hub's conversation as contents. What the API insists on, beyond its types:

- the conversation is not empty, and begins with the user;
- no part is an empty text, no content is without parts;
- right after the model's calls come their responses, one for each call, with the function's name;
- since Gemini 3 the first call of each of the model's turns is signed. A call that Gemini did not make is signed with the
  words that the documentation gives for it. Earlier turns are not checked, but are signed all the same: so a turn's bytes
  stay what they were, and the prompt cache finds them.
"""

from __future__ import annotations

from typing import Any, assert_never

from dragoman.dialects import freetext
from dragoman.dialects.base import Target
from dragoman.dialects.foreign import readable
from dragoman.dialects.gemini import seals
from dragoman.dialects.gemini.decode_contents import MADE
from dragoman.dialects.gemini.names import merge
from dragoman.dialects.gemini.parts import mime_of_format
from dragoman.ir.losses import Ledger
from dragoman.ir.request import (
    Audio,
    CacheMark,
    Document,
    Image,
    Message,
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

_NO_TEXT = "(no text)"
_MIME_OF_ENDING = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
    "gif": "image/gif",
    "heic": "image/heic",
    "heif": "image/heif",
    "bmp": "image/bmp",
    "pdf": "application/pdf",
    "txt": "text/plain",
    "md": "text/markdown",
    "csv": "text/csv",
    "html": "text/html",
    "xml": "text/xml",
    "json": "application/json",
}
_RESOLUTIONS = {"low": "MEDIA_RESOLUTION_LOW", "medium": "MEDIA_RESOLUTION_MEDIUM", "high": "MEDIA_RESOLUTION_HIGH"}


class ContentsEncoding:
    """One conversation on its way out. `system` is what has to be said before it."""

    def __init__(self, request: Request, target: Target, ledger: Ledger) -> None:
        self.request = request
        self.target = target
        self.profile = target.profile
        self.ledger = ledger
        self.native = request.dialect == "gemini"
        self.system: list[Block] = []
        self._names: dict[str, str] = {}
        self._owed: dict[str, ToolCall] = {}

    def contents(self) -> list[Block]:
        request = self.request
        for part in request.system:
            self.system += self._text(part)
        out: list[Block] = []
        run: list[Message] = []
        for message in request.messages:
            if message.name is not None:
                self.ledger.add(message.at, "name", "Gemini has no names for speakers", "info")
            if message.role == "assistant":
                self._run(run, out)
                run = []
                self._model(message, out)
            elif self.native and message.role == "user":
                self._run(run, out)
                run = [message]
            else:
                run.append(message)
        self._run(run, out)
        if not out or out[0]["role"] != "user":
            out.insert(0, self._opening(bool(out)))
        return out

    # ------------------------------------------------------------ turns

    def _opening(self, talked: bool) -> Block:
        """The API wants a user's word first. Instructions alone become that word."""
        if talked or not self.system:
            at = self.request.path_of("messages")
            self.ledger.add(at, None, "a user turn was put before the first turn of the model", "degraded")
            return {"role": "user", "parts": [{"text": _NO_TEXT}]}
        last = self.request.system[-1].at if self.request.system else None
        self.ledger.add(last, None, "instructions alone are sent as the user's turn", "degraded")
        return {"role": "user", "parts": [self.system.pop()]}

    def _system(self, message: Message) -> None:
        if message is not self.request.messages[0]:
            self.ledger.add(message.at, None, "moved to the end of the instructions before the conversation", "degraded")
        for part in message.parts:
            if isinstance(part, Text) or self.native:
                self.system += self._blocks(part)
            else:
                self.system += self._omitted(part, type(part).__name__.lower(), "instructions are text only")
        self._node(message)

    def _run(self, run: list[Message], out: list[Block]) -> None:
        """What is said between two turns of the model: the results of its calls, then all else."""
        spoken = [message for message in run if message.role == "user"]
        moved: list[Block] = []
        blocks: list[Block] = []
        orphans: list[ToolResult] = []
        for message in spoken:
            for part in message.parts:
                if isinstance(part, ToolResult):
                    if self.native or part.call_id in self._owed:
                        self._owed.pop(part.call_id, None)
                        blocks.append(self._result(part, moved))
                    else:
                        orphans.append(part)
        if (spoken or out) and not self.native:
            blocks += self._unanswered()
        self._owed.clear()
        blocks += moved
        for part in orphans:
            blocks += self._orphan(part)
        for message in run:
            if message.role == "system":
                self._system(message)
                continue
            others = [block for part in message.parts if not isinstance(part, ToolResult) for block in self._blocks(part)]
            if not others and not any(isinstance(part, ToolResult) for part in message.parts):
                others = [{"text": _NO_TEXT}]
                self.ledger.add(message.at, None, "an empty turn is told as (no text)", "info")
            self._append("user", blocks + others, message, out)
            blocks = []
        if blocks:
            out.append({"role": "user", "parts": blocks})

    def _model(self, message: Message, out: list[Block]) -> None:
        blocks = self._model_blocks(message)
        if not blocks:
            self.ledger.add(message.at, None, "an empty turn of the model is left out", "info")
            self._node(message)
            return
        self._append("model", blocks, message, out)

    def _append(self, role: str, blocks: list[Block], message: Message, out: list[Block]) -> None:
        """Two turns of one speaker in a row are one, but for those that a caller of this very API kept apart."""
        if out and out[-1]["role"] == role and not self.native:
            out[-1]["parts"] += blocks
            self._node(message)
        elif blocks:
            content: Block = {"role": role, "parts": blocks}
            if self.native:
                merge(content, message.extras)
            else:
                self._node(message)
            out.append(content)

    def _unanswered(self) -> list[Block]:
        """Every call must be answered before anything else is said."""
        missing: list[Block] = []
        for call in self._owed.values():
            self.ledger.add(call.at, None, "a call without a result: the model is told that there is none", "degraded")
            missing.append(self._response(call.id, call.name, {"error": "There is no result of this call."}))
        return missing

    # ------------------------------------------------------------ the model's turns

    def _model_blocks(self, message: Message) -> list[Block]:
        blocks: list[Block] = []
        by_call, in_order = self._signatures(message)
        signed = False
        for part in message.parts:
            match part:
                case Reasoning():
                    self._thought(part, blocks)
                case ToolCall():
                    block = self._call(part)
                    signature = by_call.pop(part.id, None) or (in_order.pop(0) if in_order else None)
                    if signature is None and not signed and self.profile.signed_calls:
                        signature = seals.UNSIGNED
                    signed = True
                    if signature is not None:
                        block["thoughtSignature"] = signature
                    blocks.append(block)
                    self._names[part.id] = part.name
                    self._owed[part.id] = part
                case _:
                    blocks += self._blocks(part)
        return blocks

    def _signatures(self, message: Message) -> tuple[dict[str, str], list[str]]:
        """The signatures that stood on calls: by the call's id, and those whose call goes by another id now."""
        calls = {part.id for part in message.parts if isinstance(part, ToolCall)}
        by_call: dict[str, str] = {}
        others: list[str] = []
        for part in message.parts:
            found = seals.call_of(part.seal) if isinstance(part, Reasoning) and part.seal and self._ours(part) else None
            if found is None:
                continue
            call_id, signature = found
            if call_id in calls and call_id not in by_call:
                by_call[call_id] = signature
            else:
                others.append(signature)
        return by_call, others

    def _ours(self, part: Reasoning) -> bool:
        seal = part.seal
        return seal is not None and seal.dialect == "gemini" and seal.issuer in {None, self.target.issuer}

    def _thought(self, part: Reasoning, blocks: list[Block]) -> None:
        seal = part.seal
        if seal is None and self.native:
            blocks.append(self._dressed({"text": part.text, "thought": True}, part, None))
            return
        if seal is None or not self._ours(part):
            own = seal is not None and seal.issuer == self.target.issuer
            why = "earlier thoughts are not needed back" if own else "reasoning of another provider is not replayed"
            self.ledger.add(part.at, None, why, "info")
            return
        if seals.call_of(seal) is not None:
            return
        after = seals.part_of(seal)
        if after is None:
            block: Block = {"text": part.text}
            if not part.redacted:
                block["thought"] = True
            block["thoughtSignature"] = seal.value
            blocks.append(self._dressed(block, part, None))
            return
        # It stood on the part before it; where that is not known any more, on a part of its own.
        if blocks and "thoughtSignature" not in blocks[-1] and "functionCall" not in blocks[-1]:
            blocks[-1]["thoughtSignature"] = after
        else:
            blocks.append({"text": "", "thoughtSignature": after})

    def _call(self, part: ToolCall) -> Block:
        if part.kind == "custom":
            arguments = freetext.wrapped(part.arguments)
        else:
            found = arguments_object(part.arguments)
            if found is None:
                found = mended_object(part.arguments)
                self.ledger.add(part.at, None, "arguments that are no JSON object are sent as far as they are", "degraded")
            arguments = found
        call: Block = {}
        if part.id and not MADE.match(part.id):
            call["id"] = part.id
        call |= {"name": part.name, "args": arguments}
        return self._dressed({"functionCall": call}, part, part.cache)

    # ------------------------------------------------------------ results

    def _result(self, part: ToolResult, moved: list[Block]) -> Block:
        texts: list[str] = []
        media: list[Block] = []
        for one in part.parts:
            for block in self._blocks(one):
                if block.keys() == {"text"}:
                    texts.append(block["text"])
                elif self.profile.media_results and block.keys() <= {"inlineData", "fileData"}:
                    media.append(block)
                else:
                    self.ledger.add(one.at, None, "moved beside the response, which holds text only", "info")
                    moved += [{"text": f"From the result of {self._name_of(part)}:"}, block]
        response = self._response(part.call_id, self._name_of(part), self._output("\n".join(texts), part))
        if media:
            response["functionResponse"]["parts"] = media
        within = part.at is not None and part.at[1] in {"functionResponse", "function_response"}
        self._dressed(response["functionResponse"] if within else response, part, part.cache)
        return response

    def _name_of(self, part: ToolResult) -> str:
        return part.name or self._names.get(part.call_id) or "function"

    def _output(self, text: str, part: ToolResult) -> Block:
        if part.is_error:
            return {"error": text or "The call failed."}
        whole = arguments_object(text) if self.native and text[:1] == "{" else None
        return whole if whole is not None else {"output": text}

    def _response(self, call_id: str, name: str, response: Block) -> Block:
        inner: Block = {} if not call_id or MADE.match(call_id) else {"id": call_id}
        return {"functionResponse": inner | {"name": name, "response": response}}

    def _orphan(self, part: ToolResult) -> list[Block]:
        """A result whose call is not in the turn before it: the API would refuse it."""
        self.ledger.add(part.at, None, "a result without its call is told as text", "degraded")
        heading = {"text": f"The result of an earlier call of {self._name_of(part)}:"}
        return [heading, *(block for one in part.parts for block in self._blocks(one))]

    # ------------------------------------------------------------ parts

    def _blocks(self, part: Part) -> list[Block]:
        match part:
            case Text():
                return self._text(part)
            case Refusal():
                self._node(part)
                return [{"text": part.text}] if part.text else []
            case Image():
                return self._image(part)
            case Document():
                return self._document(part)
            case Audio():
                beside = part.extras.get("inlineData") if self.native else None
                mime = beside.get("mimeType") if isinstance(beside, dict) else None
                blob = {"mimeType": mime or mime_of_format(part.format), "data": part.data}
                return [self._dressed({"inlineData": blob}, part, None)]
            case Unknown():
                if part.dialect == "gemini":
                    return [part.native]
                if text := readable(part.native):
                    self.ledger.add(part.at, None, "told as its text", "degraded")
                    return [{"text": text}]
                kind = str(part.native.get("type", "part"))
                return self._omitted(part, kind, f"Gemini has no {kind}")
            case Reasoning():
                held: list[Block] = []
                self._thought(part, held)
                return held
            case ToolCall():
                return self._omitted(part, "tool call", "a call outside the model's turn")
            case ToolResult():
                return self._omitted(part, "tool result", "a result within another")
            case _:
                assert_never(part)

    def _text(self, part: Text) -> list[Block]:
        for citation in part.citations:
            self.ledger.add(citation.at, None, "citations of earlier answers are not replayed", "info")
        block = self._dressed({"text": part.text}, part, part.cache)
        return [block] if part.text or len(block) > 1 else []

    def _image(self, part: Image) -> list[Block]:
        block = self._media(part, part.media_type, "image/png")
        if block is None:
            return self._omitted(part, "image", "a file in another provider's store")
        level = _RESOLUTIONS.get(part.detail or "")
        if level is not None and self.profile.media_resolution:
            block["mediaResolution"] = {"level": level}
        elif part.detail not in {None, "auto"}:
            self.ledger.add(part.at, None, "the level of detail cannot be chosen here", "info")
        return [self._dressed(block, part, part.cache)]

    def _media(self, part: Image | Document, mime: str, usual: str) -> Block | None:
        if part.data is not None:
            return {"inlineData": {"mimeType": mime or usual, "data": part.data}}
        uri = part.url if part.url is not None else part.file if self.native else None
        if uri is None:
            return None
        ending = uri.partition("?")[0].partition("#")[0].rpartition(".")[2].lower()
        known = mime or _MIME_OF_ENDING.get(ending) or ("" if self.native else usual)
        return {"fileData": {"mimeType": known, "fileUri": uri} if known else {"fileUri": uri}}

    def _document(self, part: Document) -> list[Block]:
        if part.cite is not None:
            self.ledger.add(part.at, "citations", "Gemini does not cite documents", "degraded" if part.cite else "info")
        heading = f"[document: {part.title}]" if part.title else ""
        if part.context is not None:
            heading = f"{heading}\n{part.context}".strip()
        if part.text is not None:
            text = f"{heading}\n\n{part.text}" if heading else part.text
            return [self._dressed({"text": text}, part, part.cache)]
        if part.parts is not None:
            blocks: list[Block] = [{"text": heading}] if heading else []
            blocks += [block for inner in part.parts for block in self._blocks(inner)]
            if not blocks:
                return self._omitted(part, "document", "an empty document")
            self._dressed(blocks[-1], part, part.cache)
            return blocks
        block = self._media(part, part.media_type, "application/pdf")
        if block is None:
            return self._omitted(part, "document", "a file in another provider's store")
        if self.native and part.title is not None:
            next(iter(block.values()))["displayName"] = part.title
            heading = ""
        before: list[Block] = [{"text": heading}] if heading else []
        return [*before, self._dressed(block, part, part.cache)]

    def _omitted(self, part: Node, kind: str, why: str) -> list[Block]:
        """Content that cannot be said leaves a word behind, so that the model knows of it and no turn is empty."""
        self.ledger.add(part.at, None, why, "lost")
        return [{"text": f"[{kind} omitted]"}]

    def _dressed(self, block: Block, part: Node, cache: CacheMark | None) -> Block:
        if cache is not None:
            self.ledger.add(cache.spot(part.at), None, "Gemini caches by itself", "info")
        if part.extras:
            if self.native:
                for key in merge(block, part.extras):
                    self.ledger.add(part.at, key, "said already in other words", "info")
            else:
                self.ledger.extras(part)
        return block

    def _node(self, node: Node) -> None:
        if node.extras and not self.native:
            self.ledger.extras(node)
