"""The hub's conversation as Responses `input`, and the instructions before it.

What the API insists on, beyond its types:
- a reasoning goes back sealed (`encrypted_content`) or not at all, and something of the same turn must follow it;
- the id of an item is a place in the provider's store: without `store` it must not be said;
- a call's id has at most 64 characters.
An assistant's text goes as a plain string where it is one, for that is the form that every server of this API takes.
"""

from __future__ import annotations

import re
from typing import Any, assert_never

from dragoman.dialects.base import Target
from dragoman.dialects.foreign import readable
from dragoman.dialects.openai_parts import as_error, file_name, heading_of, merge
from dragoman.dialects.responses.ids import legal_id
from dragoman.dialects.responses.namespaces import Callees
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
    Path,
    Reasoning,
    Refusal,
    Request,
    Text,
    ToolCall,
    ToolResult,
    Unknown,
    path_text,
)

Block = dict[str, Any]

MOST_MARKS = 4
_ITEM_PATH = re.compile(r"(input\[\d+\])\.([^.\[]+)$")
_REPLAYED = {"summary", "content"}


class ItemsEncoding:
    """One conversation on its way out."""

    def __init__(self, request: Request, target: Target, ledger: Ledger) -> None:
        self.request = request
        self.target = target
        self.profile = target.profile
        self.ledger = ledger
        self.native = request.dialect == "responses"
        self._callees = Callees(request.tools)
        self._free_calls = {
            part.id
            for message in request.messages
            for part in message.parts
            if isinstance(part, ToolCall) and part.kind == "custom"
        }
        """The ids of calls of free-text tools: their results have a type of their own."""
        self._marked = self._choose_marks()
        self._marks_system = any(id(held) in self._marked for held in request.system)
        self._beside: dict[str, Extras] = {}
        """What stood on an item beside its content, by the item's path (`decode_items`)."""
        if self.native:
            for key, value in request.extras.items():
                if (found := _ITEM_PATH.match(key)) is not None:
                    self._beside.setdefault(found[1], {})[found[2]] = value

    @property
    def item_extras(self) -> set[str]:
        """The keys of the request's extras that are written back here."""
        return {f"{path}.{key}" for path, extras in self._beside.items() for key in extras}

    def instructions(self, more: list[str]) -> str:
        """The text that stands before everything. `more` is what the request itself adds to it."""
        texts = [part for part in self.request.system if self._is_instruction(part)]
        for part in texts:
            self._losses_of(part, part.cache)
        return "\n\n".join([*(part.text for part in texts if part.text), *more])

    def _is_instruction(self, part: Text) -> bool:
        """Not what was an item; and not what is marked for the cache, for only parts of messages can be."""
        if self.native:
            return part.at == (None, "instructions")
        return not self._marks_system

    def items(self) -> list[Block]:
        out = self._leading()
        for message in self.request.messages:
            match message.role:
                case "assistant":
                    self._assistant(message, out)
                case "user":
                    self._user(message, out)
                case "system":
                    self._message(message, "developer" if self.native else "system", message.parts, out)
        return out

    def _leading(self) -> list[Block]:
        """Instructions that were items, or must be: for their cache marks, or because there is nothing else."""
        texts = [part for part in self.request.system if not self._is_instruction(part)]
        items: list[Block] = []
        place: str | None = None
        for part in texts:
            here = self._item_of(part)
            if not items or here != place:
                items.append({"type": "message", "role": "developer", "content": [], **self._item_beside(here)})
                place = here
            items[-1]["content"] += self._blocks(part)
        return items

    # ------------------------------------------------------------ cache marks

    def _choose_marks(self) -> set[int]:
        """Which nodes keep their cache mark: the last four that can have one, for the API writes no more. What its own
        callers mark stays marked: older marks are still good for reading."""
        if self.profile.cache_marks != "breakpoint" and not self.native:
            return set()
        marked: list[Node] = [part for part in self.request.system if part.cache is not None and part.text]
        for message in self.request.messages:
            if message.role == "assistant":
                continue
            for part in message.parts:
                if isinstance(part, ToolResult):
                    marked += [inner for inner in part.parts if _is_marked(inner)]
                    marked += [part] if part.cache is not None and part.parts else []
                elif _is_marked(part):
                    marked.append(part)
        return {id(node) for node in (marked if self.native else marked[-MOST_MARKS:])}

    def _losses_of(self, part: Node, cache: CacheMark | None) -> None:
        """Of a node that has become part of a text: its mark and its extras."""
        if cache is not None:
            self.ledger.add(cache.spot(part.at), None, "this target takes no cache mark here", "info")
        self.ledger.extras(part)

    def _dressed(self, block: Block, part: Node, cache: CacheMark | None) -> Block:
        """The block with its cache mark and its extras."""
        extras = part.extras
        if cache is not None and not self._mark(block, part, cache):
            extras = {key: value for key, value in extras.items() if key != cache.key}
        if extras:
            self._write_back(block, part, extras)
        return block

    def _mark(self, block: Block, part: Node, cache: CacheMark) -> bool:
        """Put the node's cache mark on the block, or in the ledger."""
        if id(part) not in self._marked:
            self.ledger.add(cache.spot(part.at), None, "this target takes no cache mark here", "info")
            return False
        block["prompt_cache_breakpoint"] = {"mode": "explicit"}
        if cache.ttl is not None:
            self.ledger.add(cache.spot(part.at), "ttl", "the lifetime is the target's own", "info")
        return True

    def _write_back(self, block: Block, node: Node, extras: Extras) -> None:
        if not self.native:
            self.ledger.extras(node)
            return
        for key in merge(block, extras):
            self.ledger.add(node.at, key, "said already in other words", "info")

    # ------------------------------------------------------------ turns that are not the assistant's

    def _user(self, message: Message, out: list[Block]) -> None:
        """Results first: their calls stand before this message."""
        rest: list[Part] = []
        for part in message.parts:
            match part:
                case ToolResult():
                    out.append(self._result(part))
                case Unknown() if part.dialect == "responses" and _is_item(part):
                    out.append(part.native)
                case _:
                    rest.append(part)
        if rest or not message.parts:
            self._message(message, "user", rest, out)
        elif message.name is not None or message.extras:
            if message.name is not None:
                self.ledger.add(message.at, "name", "results have no speaker", "info")
            for key in message.extras:
                self.ledger.add(message.at, key, "unknown to the target's dialect")

    def _message(self, message: Message, role: str, parts: list[Part], out: list[Block]) -> None:
        native: Block = {"type": "message", "role": role, "content": [block for part in parts for block in self._blocks(part)]}
        if self.native and len(parts) == 1 and _was_string(parts[0]):
            native["content"] = native["content"][0]["text"]
        if message.name is not None:
            self.ledger.add(message.at, "name", "Responses has no names for speakers", "info")
        if message.extras:
            self._write_back(native, message, message.extras)
        out.append(native)

    def _result(self, result: ToolResult) -> Block:
        blocks = [block for part in result.parts for block in self._blocks(part)]
        if result.is_error:
            self.ledger.add(result.error_at or result.at, None, "said in words", "degraded")
            if blocks and blocks[0]["type"] == "input_text":
                blocks[0]["text"] = as_error(blocks[0]["text"])
            else:
                blocks.insert(0, {"type": "input_text", "text": as_error("")})
        if result.cache is not None and blocks:
            self._mark(blocks[-1], result, result.cache)
        elif result.cache is not None:
            self.ledger.add(result.cache.spot(result.at), None, "an empty result cannot be marked", "info")
        kind = "custom_tool_call_output" if result.call_id in self._free_calls else "function_call_output"
        output: Any = blocks
        if not blocks:
            output = ""
        elif len(blocks) == 1 and blocks[0].keys() == {"type", "text"} and not self._was_list(result):
            output = blocks[0]["text"]
        native: Block = {"type": kind, "call_id": self._call_id(result.call_id, result.at), "output": output}
        if result.name is not None and self.native:
            native["name"] = result.name
        elif result.name is not None:
            self.ledger.add(result.at, "name", "a result is known by its call's id alone", "info")
        return self._without_id(self._dressed(native, result, None), result.at)

    def _was_list(self, result: ToolResult) -> bool:
        return self.native and not (result.parts and _was_string(result.parts[0]))

    def _call_id(self, call_id: str, at: Path) -> str:
        legal = legal_id(call_id)
        if legal != call_id:
            self.ledger.add(at, None, "the call's id is none here; a hash of it is sent", "info")
        return legal

    # ------------------------------------------------------------ the assistant's turns

    def _assistant(self, message: Message, out: list[Block]) -> None:
        if message.name is not None:
            self.ledger.add(message.at, "name", "Responses has no names for speakers", "info")
        if message.extras:
            self.ledger.extras(message)
        last = len(message.parts) - 1
        said: list[Text | Refusal] = []
        for number, part in enumerate(message.parts):
            if said and not (isinstance(part, Text | Refusal) and self._item_of(part) == self._item_of(said[0])):
                out.append(self._said(said))
                said = []
            match part:
                case Text() | Refusal():
                    said.append(part)
                case Reasoning():
                    item = self._reasoning(part)
                    if item is not None and number == last and not self.native:
                        self.ledger.add(part.at, None, "reasoning that nothing follows is not replayed", "info")
                    elif item is not None:
                        out.append(item)
                case ToolCall():
                    out.append(self._call(part))
                case Unknown() if part.dialect == "responses" and _is_item(part):
                    out.append(part.native)
                case Unknown():
                    out.append({"type": "message", "role": "assistant", "content": self._unknown(part)[0]["text"]})
                case _:
                    kind = type(part).__name__.lower()
                    text = self._omitted(part, kind, f"an assistant's turn has no {kind} here")[0]["text"]
                    out.append({"type": "message", "role": "assistant", "content": text})
        if said:
            out.append(self._said(said))

    def _said(self, parts: list[Text | Refusal]) -> Block:
        """One message of the assistant."""
        beside = self._item_beside(self._item_of(parts[0]))
        native: Block = {"type": "message", "role": "assistant", "content": ""}
        if self._is_plain(parts):
            for part in parts:
                self._losses_of(part, part.cache if isinstance(part, Text) else None)
                for citation in part.citations if isinstance(part, Text) else ():
                    self.ledger.add(citation.at, None, "citations of earlier answers are not replayed", "info")
            native["content"] = "".join(part.text for part in parts)
        else:
            native["content"] = [self._output_part(part) for part in parts]
        return self._without_id({**native, **beside}, parts[0].at)

    def _is_plain(self, parts: list[Text | Refusal]) -> bool:
        if self.native:
            return len(parts) == 1 and _was_string(parts[0])
        return all(isinstance(part, Text) for part in parts)

    def _output_part(self, part: Text | Refusal) -> Block:
        if isinstance(part, Refusal):
            return self._dressed({"type": "refusal", "refusal": part.text}, part, None)
        block: Block = {"type": "output_text", "text": part.text, "annotations": []}
        for citation in part.citations:
            if citation.dialect == "responses":
                block["annotations"].append(citation.native)
            else:
                self.ledger.add(citation.at, None, "citations of earlier answers are not replayed", "info")
        return self._dressed(block, part, part.cache)

    def _call(self, part: ToolCall) -> Block:
        names: Block = dict(self._callees.names(part))
        call_id = self._call_id(part.id, part.at)
        if part.kind == "custom":
            native: Block = {"type": "custom_tool_call", "call_id": call_id, **names, "input": part.arguments}
        else:
            arguments = part.arguments if part.arguments.strip() else "{}"
            native = {"type": "function_call", "call_id": call_id, **names, "arguments": arguments}
        return self._without_id(self._dressed(native, part, part.cache), part.at)

    def _reasoning(self, part: Reasoning) -> Block | None:
        """Earlier thinking goes back only to the provider that thought it."""
        seal = part.seal
        native: Block = {"type": "reasoning", "summary": []}
        if part.text:
            text = {"type": "summary_text" if part.summary else "reasoning_text", "text": part.text}
            native["summary" if part.summary else "content"] = [text]
        if seal is not None and seal.value:
            if seal.dialect != "responses" or seal.issuer not in {None, self.target.issuer}:
                self.ledger.add(part.at, None, "reasoning of another provider is not replayed", "info")
                return None
            native["encrypted_content"] = seal.value
        elif seal is not None and seal.issuer == self.target.issuer and part.text and not part.summary:
            pass  # a server that seals nothing: it gets its own words back
        elif not (self.native and seal is None and self.request.store is not False):
            self.ledger.add(part.at, None, "reasoning without its seal is not replayed", "info")
            return None
        if not self.native:
            self.ledger.extras(part)
            return native
        # A list of several parts says more than the text that was made of it.
        native.update({key: value for key, value in part.extras.items() if key in _REPLAYED})
        for key, value in part.extras.items():
            native.setdefault(key, value)
        return self._without_id(native, part.at)

    def _without_id(self, item: Block, at: Path) -> Block:
        """Nothing is stored under an item's id where nothing is stored."""
        if self.request.store is False and "id" in item:
            del item["id"]
            self.ledger.add(_item_path(at), "id", "nothing is stored under it", "info")
        return item

    def _item_of(self, part: Part) -> str | None:
        """The path of the item that a part stood in; None where there was none."""
        return path_text(_item_path(part.at)) if self.native else None

    def _item_beside(self, place: str | None) -> Extras:
        return self._beside.get(place or "", {})

    # ------------------------------------------------------------ parts of a message

    def _blocks(self, part: Part) -> list[Block]:
        match part:
            case Text():
                for citation in part.citations:
                    self.ledger.add(citation.at, None, "citations of earlier answers are not replayed", "info")
                return [self._dressed({"type": "input_text", "text": part.text}, part, part.cache)]
            case Refusal():
                return [self._dressed({"type": "input_text", "text": part.text}, part, None)]
            case Image():
                return self._image(part)
            case Document():
                return self._document(part)
            case Audio():
                # It has a type for sound, and at OpenAI no model that takes it there.
                if not self.native and self.profile.audio is not True:
                    return self._omitted(part, "audio", "Responses takes no audio")
                inner = {"type": "input_audio", "input_audio": {"data": part.data, "format": part.format}}
                return [self._dressed(inner, part, None)]
            case Unknown():
                return [part.native] if part.dialect == "responses" else self._unknown(part)
            case Reasoning():
                self.ledger.add(part.at, None, "reasoning outside an assistant's turn", "info")
                return []
            case ToolCall():
                return self._omitted(part, "tool call", "a call outside an assistant's turn")
            case ToolResult():
                return self._omitted(part, "tool result", "a result within another message")
            case _:
                assert_never(part)

    def _image(self, part: Image) -> list[Block]:
        block: Block = {"type": "input_image", "detail": part.detail or "auto"}
        if part.data is not None:
            block["image_url"] = f"data:{part.media_type or 'image/png'};base64,{part.data}"
        elif part.url is not None:
            block["image_url"] = part.url
        elif self.native and part.file is not None:
            block["file_id"] = part.file
        else:
            return self._omitted(part, "image", "a file in another provider's store")
        return [self._dressed(block, part, part.cache)]

    def _document(self, part: Document) -> list[Block]:
        if part.cite is not None:
            severity = "degraded" if part.cite else "info"
            self.ledger.add(part.at, "citations", "Responses does not cite documents", severity)
        heading = heading_of(part)
        block: Block | None = None
        if part.data is not None:
            media = part.media_type or "application/pdf"
            block = {"filename": part.title or file_name(media), "file_data": f"data:{media};base64,{part.data}"}
        elif part.url is not None:
            block = {"file_url": part.url}
        elif part.file is not None and self.native:
            block = {"file_id": part.file}
        if block is not None:
            if part.title is not None and part.data is None:
                block["filename"] = part.title
            before: list[Block] = [{"type": "input_text", "text": heading}] if part.context is not None else []
            return [*before, self._dressed({"type": "input_file", **block}, part, part.cache)]
        if part.text is not None:
            text = f"{heading}\n\n{part.text}" if heading else part.text
            return [self._dressed({"type": "input_text", "text": text}, part, part.cache)]
        if part.parts is not None:
            blocks: list[Block] = [{"type": "input_text", "text": heading}] if heading else []
            blocks += [block for inner in part.parts for block in self._blocks(inner)]
            if blocks:
                self._dressed(blocks[-1], part, part.cache)
                return blocks
            return self._omitted(part, "document", "an empty document")
        return self._omitted(part, "document", "a file in another provider's store")

    def _unknown(self, part: Unknown) -> list[Block]:
        text = readable(part.native)
        kind = str(part.native.get("type", "part"))
        if text is None:
            return self._omitted(part, kind, f"Responses has no {kind}")
        self.ledger.add(part.at, None, "told as its text", "degraded")
        return [{"type": "input_text", "text": text}]

    def _omitted(self, part: Node, kind: str, why: str) -> list[Block]:
        self.ledger.add(part.at, None, why, "lost")
        return [{"type": "input_text", "text": f"[omitted: {kind}]"}]


def _is_marked(part: Part) -> bool:
    return isinstance(part, Text | Image | Document) and part.cache is not None


def _is_item(part: Unknown) -> bool:
    """Whether this was an item of the input itself, and not a part of a message."""
    at = part.at
    return at is not None and at[0] == (None, "input")


def _item_path(at: Path) -> Path:
    """The path of the item that something stood in."""
    while at is not None and at[0] is not None and at[0] != (None, "input"):
        at = at[0]
    return at


def _was_string(part: Part) -> bool:
    """Whether a content or an output was a string: then the part's path ends in its key, and not in a number."""
    return isinstance(part, Text) and part.at is not None and isinstance(part.at[1], str) and not part.extras
