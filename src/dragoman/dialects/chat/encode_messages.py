"""The hub's conversation as Chat Completions `messages`.

What the API insists on, beyond its types:
- the results of a turn's calls stand directly after it, each in a `tool` message of its own, and before anything else;
- a `tool` message holds text only: an image in a result follows in the user message after all results;
- an assistant's content is best a string: many servers read nothing else.
"""

from __future__ import annotations

import re
from typing import Any, assert_never, cast

import msgspec

from dragoman.dialects import freetext
from dragoman.dialects.base import Target
from dragoman.dialects.chat.reasoning import native_item
from dragoman.dialects.foreign import readable
from dragoman.dialects.memory import Form, Recalled, Repeated
from dragoman.dialects.openai_parts import as_error, file_name, heading_of, merge
from dragoman.ir import carrier
from dragoman.ir.losses import Ledger
from dragoman.ir.request import (
    Audio,
    CacheMark,
    Document,
    Extras,
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

Block = dict[str, Any]

_encode = msgspec.json.Encoder().encode

MOST_MARKS = 4
_SHORT = 40
_NINE = re.compile(r"[A-Za-z0-9]{9}\Z")
_KIND_OF_BLOCK = {"image_url": "image", "file": "document", "input_audio": "audio"}


class MessagesEncoding:
    """One conversation on its way out."""

    def __init__(self, request: Request, target: Target, ledger: Ledger) -> None:
        self.request = request
        self.target = target
        self.profile = target.profile
        self.ledger = ledger
        self.native = request.dialect == "chat"
        self._marked = self._choose_marks()
        self._unnamed: list[str] = []

    def messages(self, more_system: list[str]) -> list[Any]:
        """All of them, some written already. `more_system` is what the request itself adds to the instructions."""
        out: list[Any] = []
        self._system(more_system, out)
        messages = self.request.messages
        forms = messages.forms if isinstance(messages, Recalled) else ()
        group: list[tuple[Message, Form | None]] = []
        for number, message in enumerate(messages):
            form = forms[number] if number < len(forms) else None
            if message.role == "assistant":
                self._turn(group, out)
                group = []
                written = self._plain(message) if form is None else self._written(message, form)
                out += [self._assistant(message, number)] if written is None else written[1]
            else:
                group.append((message, form))
        self._turn(group, out)
        return out

    def _system(self, more_system: list[str], out: list[Any]) -> None:
        said = self.request.system
        if len(said) == 1 and said[0].text and _is_bare(said[0]) and not more_system:
            out.append({"role": "system", "content": said[0].text})
        elif isinstance(said, Repeated) and not more_system and self.profile.cache_marks == "none":
            out += said.form(("chat", self.native), self.ledger, self._written_system)
        elif said or more_system:
            out += self._instructions(more_system)

    def _written_system(self) -> list[msgspec.Raw]:
        return [msgspec.Raw(_encode(block)) for block in self._instructions([])]

    def _instructions(self, more_system: list[str]) -> list[Block]:
        system = [block for part in self.request.system if part.text for block in self._text(part)]
        system += [{"type": "text", "text": text} for text in more_system]
        return [{"role": "system", "content": _collapsed(system)}] if system else []

    # ------------------------------------------------------------ as nearly all are

    def _written(self, message: Message, form: Form) -> tuple[list[Any], list[Any]] | None:
        """The same of a message that came before, as it was written then: that depends on nothing but the ids that the target
        takes, and loses nothing."""
        key = "chat", self.profile.call_ids
        found = form.get(key)
        if found is None and (written := self._plain(message)) is not None:
            results, rest = written
            found = form[key] = [msgspec.Raw(_encode(one)) for one in results], [msgspec.Raw(_encode(one)) for one in rest]
        return found

    def _plain(self, message: Message) -> tuple[list[Any], list[Any]] | None:
        """Results, and what else a message says; None where it is not plain."""
        if message.role == "assistant":
            native = self._plain_assistant(message)
            return None if native is None else ([], [native])
        text = _only_text(message)
        if text is not None:
            return [], [{"role": message.role, "content": text}]
        if message.name is not None or message.extras:
            return None
        results: list[Block] = []
        for part in message.parts:
            native = self._plain_result(part) if isinstance(part, ToolResult) else None
            if native is None:
                return None
            results.append(native)
        return (results, []) if results else None

    def _plain_assistant(self, message: Message) -> Block | None:
        """Texts, then calls of functions, and nothing beside them; None for any other turn."""
        if message.name is not None or message.extras:
            return None
        texts: list[str] = []
        calls: list[Block] = []
        for part in message.parts:
            if isinstance(part, Text) and not calls and _is_bare(part):
                texts.append(part.text)
            elif isinstance(part, ToolCall) and part.id and part.kind == "function" and part.cache is None and not part.extras:
                function = {"name": part.name, "arguments": part.arguments if part.arguments.strip() else "{}"}
                calls.append({"id": self._id(part.id), "type": "function", "function": function})
            else:
                return None
        native: Block = {"role": "assistant", "content": "".join(texts) if texts else None if calls else ""}
        if calls:
            native["tool_calls"] = calls
        return native

    def _plain_result(self, result: ToolResult) -> Block | None:
        """Texts, and nothing beside them; None for any other result."""
        if not result.call_id or result.is_error or result.name is not None or result.cache is not None or result.extras:
            return None
        texts = [part.text for part in result.parts if isinstance(part, Text) and _is_bare(part)]
        if len(texts) != len(result.parts):
            return None
        native: Block = {"role": "tool", "tool_call_id": self._id(result.call_id), "content": ""}
        if len(texts) == 1:
            native["content"] = texts[0]
        elif texts:
            native["content"] = [{"type": "text", "text": text} for text in texts]
        return native

    # ------------------------------------------------------------ cache marks

    def _choose_marks(self) -> set[int]:
        """Which nodes keep their cache mark: the last four that can have one, for providers take no more."""
        if self.profile.cache_marks == "none":
            return set()
        marked: list[Node] = [part for part in self.request.system if part.cache is not None and part.text]
        for message in self.request.messages:
            for part in message.parts:
                if isinstance(part, ToolResult):
                    marked += [
                        inner for inner in part.parts if isinstance(inner, Text) and inner.cache is not None and inner.text
                    ]
                if _may_be_marked(part):
                    marked.append(part)
        return {id(node) for node in marked[-MOST_MARKS:]}

    def _mark(self, block: Block, node: Node, cache: CacheMark | None) -> Extras:
        """Put the node's cache mark on the block, or in the ledger. Returns the extras that are still to be written."""
        extras = node.extras
        if cache is None:
            return extras
        if id(node) not in self._marked:
            few = self.profile.cache_marks != "none" and _may_be_marked(cast("Part", node))
            why = f"only the last {MOST_MARKS} marks are taken" if few else "this target takes no cache mark here"
            self.ledger.add(cache.spot(node.at), None, why, "info")
            return {key: value for key, value in extras.items() if key != cache.key}
        if self.profile.cache_marks == "breakpoint":
            block["prompt_cache_breakpoint"] = {"mode": "explicit"}
            if cache.ttl is not None:
                self.ledger.add(cache.spot(node.at), "ttl", "the lifetime is the target's own", "info")
        else:
            block["cache_control"] = {"type": "ephemeral"} if cache.ttl is None else {"type": "ephemeral", "ttl": cache.ttl}
        return extras

    def _dressed(self, block: Block, node: Node, cache: CacheMark | None) -> Block:
        """The block with its cache mark and its extras."""
        extras = self._mark(block, node, cache) if cache is not None else node.extras
        if extras:
            self._write_back(block, node, extras)
        return block

    def _write_back(self, block: Block, node: Node, extras: Extras) -> None:
        if not self.native:
            self.ledger.extras(node)
            return
        for key in merge(block, extras):
            self.ledger.add(node.at, key, "said already in other words", "info")

    # ------------------------------------------------------------ turns that are not the assistant's

    def _turn(self, group: list[tuple[Message, Form | None]], out: list[Any]) -> None:
        """The messages between two assistant turns: first every result, then all else."""
        rest: list[Any] = []
        for message, form in group:
            written = self._plain(message) if form is None else self._written(message, form)
            if written is not None:
                out += written[0]
                rest += written[1]
                continue
            blocks: list[Block] = []
            moved: list[Block] = []
            results = 0
            for part in message.parts:
                if isinstance(part, ToolResult):
                    results += 1
                    out.append(self._result(part, moved))
                else:
                    blocks += self._blocks(part)
            if not blocks and not moved and results:
                self._write_lost(message)
                continue
            native: Block = {"role": message.role, "content": _collapsed([*moved, *blocks])}
            if message.name is not None:
                native["name"] = message.name
            rest.append(self._dressed(native, message, None))
        out += rest

    def _write_lost(self, message: Message) -> None:
        """Nothing is left of a message but its results, which have no place for what stood beside them."""
        if message.name is not None:
            self.ledger.add(message.at, "name", "results have no speaker", "info")
        for key in message.extras:
            self.ledger.add(message.at, key, "unknown to the target's dialect")

    def _result(self, result: ToolResult, moved: list[Block]) -> Block:
        """The `tool` message. What it cannot hold goes to `moved`."""
        call_id = result.call_id or (self._unnamed.pop(0) if self._unnamed else "call_unknown")
        texts: list[Block] = []
        others: list[Block] = []
        for part in result.parts:
            for block in self._blocks(part):
                if block.get("type") == "text":
                    texts.append(block)
                    continue
                kind = _KIND_OF_BLOCK.get(str(block.get("type")), "part")
                texts.append({"type": "text", "text": f"[{kind}: see the next message]"})
                others.append(block)
                self.ledger.add(part.at, None, "moved to the message after the results, which hold text only", "info")
        if others:
            moved.append({"type": "text", "text": f"From the result of the call {call_id}:"})
            moved += others
        if result.is_error:
            self.ledger.add(result.error_at or result.at, None, "said in words", "degraded")
            if texts:
                texts[0] = {**texts[0], "text": as_error(texts[0]["text"])}
            else:
                texts.append({"type": "text", "text": as_error("")})
        native: Block = {"role": "tool", "tool_call_id": self._id(call_id), "content": ""}
        if result.name is not None:
            native["name"] = result.name
        extras = result.extras
        if result.cache is not None:
            markable = next((block for block in reversed(texts) if block["text"]), None)
            if markable is not None:
                extras = self._mark(markable, result, result.cache)
            else:
                self.ledger.add(result.cache.spot(result.at), None, "an empty result cannot be marked", "info")
        native["content"] = _collapsed(texts)
        if extras:
            self._write_back(native, result, extras)
        return native

    # ------------------------------------------------------------ the assistant's turns

    def _assistant(self, message: Message, number: int) -> Block:
        native: Block = {"role": "assistant", "content": None}
        if message.name is not None:
            native["name"] = message.name
        content: list[Block] = []
        refusals: list[str] = []
        calls: list[Block] = []
        thinking: list[Reasoning] = []
        hung: Block = {}
        for part in message.parts:
            match part:
                case Reasoning():
                    extra = self._call_extra(part)
                    if extra is None:
                        thinking.append(part)
                    else:
                        hung = extra
                case ToolCall():
                    call = self._call(part, f"call_m{number}_{len(calls)}")
                    calls.append({**call, **hung})
                    hung = {}
                case Refusal():
                    refusals.append(part.text)
                    self.ledger.extras(part)
                case Unknown() if part.dialect == "chat" and _stood_in(part, "tool_calls"):
                    calls.append(part.native)
                case Image() | Document() | Audio() if not self.native:
                    content += self._omitted(part, type(part).__name__.lower(), "an assistant's content is text only")
                case _:
                    if calls:
                        self.ledger.add(part.at, None, "said before the calls instead of after", "info")
                    content += self._blocks(part)
        if content:
            native["content"] = _one_string(content)
        elif not calls and not refusals:
            native["content"] = ""
        if refusals:
            native["refusal"] = "".join(refusals)
        self._replay(thinking, native)
        if calls:
            native["tool_calls"] = calls
        return self._dressed(native, message, None)

    def _call(self, part: ToolCall, fallback: str) -> Block:
        call_id = part.id
        if not call_id:
            call_id = fallback
            self._unnamed.append(fallback)
        call_id = self._id(call_id)
        if part.kind == "custom" and self.target.profile.custom_tools:
            native: Block = {"id": call_id, "type": "custom", "custom": {"name": part.name, "input": part.arguments}}
        else:
            arguments = part.arguments if part.arguments.strip() else "{}"
            if part.kind == "custom":
                arguments = msgspec.json.encode(freetext.wrapped(part.arguments)).decode()
            native = {"id": call_id, "type": "function", "function": {"name": part.name, "arguments": arguments}}
        return self._dressed(native, part, part.cache)

    def _id(self, call_id: str) -> str:
        """Another one where the target takes no such id, always the same, so that a call and its result stay a pair."""
        form = self.target.profile.call_ids
        if form == "any" or (len(call_id) <= _SHORT if form == "short" else _NINE.match(call_id)):
            return call_id
        return carrier.digest(call_id, 9) if form == "nine" else f"call_{carrier.digest(call_id, 24)}"

    def _call_extra(self, part: Reasoning) -> Block | None:
        """What the target's own provider hung on the next call, and wants back with it."""
        if part.seal is None or part.seal.issuer not in {None, self.target.issuer}:
            return None
        item = native_item(part.seal)
        return item if item is not None and "extra_content" in item else None

    def _replay(self, thinking: list[Reasoning], native: Block) -> None:
        """Earlier thinking goes back only to the provider that thought it, and in the form that it wants."""
        texts: list[str] = []
        items: list[Block] = []
        for part in thinking:
            self.ledger.extras(part)
            seal = part.seal
            ours = seal is None or seal.issuer == self.target.issuer
            if self.profile.reasoning_replay == "reasoning_content" and ours and part.text:
                texts.append(part.text)
                continue
            if self.profile.reasoning_replay == "reasoning_details":
                item = None
                if seal is not None and seal.issuer in {None, self.target.issuer}:
                    item = native_item(seal)
                if item is None and ours and part.text and (seal is None or not seal.value):
                    item = {"type": "reasoning.text", "text": part.text}
                if item is not None:
                    items.append(item)
                    continue
            known = ours and self.profile.reasoning_replay == "none"
            why = "earlier reasoning is not replayed here" if known else "reasoning of another provider is not replayed"
            self.ledger.add(part.at, None, why, "info")
        if texts:
            native["reasoning_content"] = "".join(texts)
        if items:
            native["reasoning_details"] = items

    # ------------------------------------------------------------ parts

    def _blocks(self, part: Part) -> list[Block]:
        """The part as content parts; one that has no form here leaves a word behind, so that no message is empty."""
        match part:
            case Text():
                return self._text(part)
            case Refusal():
                return [self._dressed({"type": "text", "text": part.text}, part, None)]
            case Image():
                return self._image(part)
            case Document():
                return self._document(part)
            case Audio():
                native: Block = {"type": "input_audio", "input_audio": {"data": part.data, "format": part.format}}
                return [self._dressed(native, part, None)]
            case Unknown():
                return self._unknown(part)
            case Reasoning():
                self.ledger.add(part.at, None, "reasoning outside an assistant's turn", "info")
                return []
            case ToolCall():
                return self._omitted(part, "tool call", "a call outside an assistant's turn")
            case ToolResult():
                return self._omitted(part, "tool result", "a result within another message")
            case _:
                assert_never(part)

    def _text(self, part: Text) -> list[Block]:
        for citation in part.citations:
            self.ledger.add(citation.at, None, "citations of earlier answers are not replayed", "info")
        return [self._dressed({"type": "text", "text": part.text}, part, part.cache)]

    def _image(self, part: Image) -> list[Block]:
        if part.data is not None:
            url = f"data:{part.media_type};base64,{part.data}"
        elif part.url is not None:
            url = part.url
        else:
            return self._omitted(part, "image", "a file in another provider's store")
        inner = {"url": url} if part.detail is None else {"url": url, "detail": part.detail}
        return [self._dressed({"type": "image_url", "image_url": inner}, part, part.cache)]

    def _document(self, part: Document) -> list[Block]:
        if part.cite is not None:
            self.ledger.add(
                part.at, "citations", "Chat Completions does not cite documents", "info" if not part.cite else "degraded"
            )
        heading = heading_of(part)
        file: Block | None = None
        if part.data is not None:
            media = part.media_type or "application/pdf"
            file = {"filename": part.title or file_name(media), "file_data": f"data:{media};base64,{part.data}"}
        elif part.file is not None and self.native:
            file = {"file_id": part.file}
            if part.title is not None:
                file["filename"] = part.title
        if file is not None:
            before: list[Block] = [{"type": "text", "text": heading}] if part.context is not None else []
            return [*before, self._dressed({"type": "file", "file": file}, part, part.cache)]
        if part.text is not None:
            text = f"{heading}\n\n{part.text}" if heading else part.text
            return [self._dressed({"type": "text", "text": text}, part, part.cache)]
        if part.parts is not None:
            return self._inlined(part, heading)
        if part.url is not None:
            self.ledger.add(part.at, None, "a document by URL is told as its URL", "degraded")
            text = f"{heading}\n[document: {part.url}]".strip()
            return [self._dressed({"type": "text", "text": text}, part, part.cache)]
        return self._omitted(part, "document", "a file in another provider's store")

    def _inlined(self, part: Document, heading: str) -> list[Block]:
        blocks: list[Block] = [{"type": "text", "text": heading}] if heading else []
        for inner in part.parts or ():
            blocks += self._blocks(inner)
        if not blocks:
            return self._omitted(part, "document", "an empty document")
        self._dressed(blocks[-1], part, part.cache)
        return blocks

    def _unknown(self, part: Unknown) -> list[Block]:
        if part.dialect == "chat":
            return [part.native]
        text = readable(part.native)
        if text is None:
            kind = str(part.native.get("type", "part"))
            return self._omitted(part, kind, f"Chat Completions has no {kind}")
        self.ledger.add(part.at, None, "told as its text", "degraded")
        return [{"type": "text", "text": text}]

    def _omitted(self, part: Node, kind: str, why: str) -> list[Block]:
        self.ledger.add(part.at, None, why, "lost")
        return [{"type": "text", "text": f"[omitted: {kind}]"}]


def _is_bare(part: Text) -> bool:
    """Whether there is nothing beside its text."""
    return part.cache is None and not part.citations and not part.extras


def _only_text(message: Message) -> str | None:
    """What a message says that is one text, with nothing beside it."""
    if len(message.parts) != 1 or message.name is not None or message.extras:
        return None
    [part] = message.parts
    return part.text if isinstance(part, Text) and _is_bare(part) else None


def _may_be_marked(part: Part) -> bool:
    """Whether a part with a cache mark has a form here that can carry it."""
    match part:
        case Text():
            return part.cache is not None and bool(part.text)
        case Image() | Document() | ToolResult():
            return part.cache is not None
        case _:
            return False


def _collapsed(blocks: list[Block]) -> str | list[Block]:
    """A string where there is one plain text, or nothing."""
    if not blocks:
        return ""
    if len(blocks) == 1 and blocks[0].keys() == {"type", "text"}:
        return blocks[0]["text"]
    return blocks


def _one_string(blocks: list[Block]) -> str | list[Block]:
    """A string where all are plain texts."""
    if all(block.keys() == {"type", "text"} and block["type"] == "text" for block in blocks):
        return "".join(block["text"] for block in blocks)
    return blocks


def _stood_in(part: Node, key: str) -> bool:
    return part.at is not None and part.at[0] is not None and part.at[0][1] == key
