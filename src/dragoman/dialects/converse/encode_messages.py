"""The conversation as Converse takes it. What the API insists on, beyond its types:

- turns of user and assistant alternate, and the first is the user's;
- a text is not blank, a turn and a tool's result are not empty;
- each call is answered in the very next turn, and nothing else is: https://docs.aws.amazon.com/bedrock/latest/userguide/tool-use.html
- images and documents are the user's only; beside a document there is a text;
- a document has a name of few kinds of characters, and no two have the same;
- at most four cache points (https://docs.aws.amazon.com/bedrock/latest/userguide/prompt-caching.html): the latest count.
"""

from __future__ import annotations

from base64 import b64encode
from typing import Any, cast

import msgspec

from dragoman.dialects.base import Target
from dragoman.dialects.blocks import NO_TEXT, BlocksEncoding
from dragoman.dialects.converse.decode_content import is_markable
from dragoman.dialects.converse.formats import AUDIO, document_format, image_format
from dragoman.dialects.converse.names import DocumentNames, legal_id
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
    Request,
    Text,
    Tool,
    ToolCall,
    ToolResult,
)

Block = dict[str, Any]

MOST_MARKS = 4
_NO_RESULT = "(no result)"


class MessagesEncoding(BlocksEncoding):
    api = "Converse"
    dialect = "converse"

    def __init__(self, request: Request, target: Target, ledger: Ledger) -> None:
        super().__init__(request, target, ledger)
        self.names = DocumentNames()
        self.marked = _latest_marks(request) if target.profile.cache_points else set[int]()

    def messages(self) -> list[Block]:
        out: list[Block] = []
        turns = self.request.messages
        for number, message in enumerate(turns):
            self.node(message)
            if message.name is not None:
                self.ledger.add(message.at, "name", "Converse has no names for speakers", "info")
            last = number == len(turns) - 1
            match message.role:
                case "system":
                    self.system_turn(message, out, fits=last or turns[number + 1].role == "assistant")
                case "user":
                    self.turn(out, "user", self.user(message))
                case "assistant":
                    blocks = self.blocks(message.parts) if self.native else self.spoken(message.parts)
                    if not blocks:
                        self.ledger.add(message.at, None, "an empty assistant turn is left out", "info")
                    elif last and "text" in blocks[-1]:
                        # What the answer is to begin with must not end in white space.
                        blocks[-1]["text"] = blocks[-1]["text"].rstrip() or NO_TEXT
                    self.turn(out, "assistant", blocks)
        if not out or out[0]["role"] != "user":
            out.insert(0, self.opening())
        return self.answered(out)

    def turn(self, out: list[Block], role: str, blocks: list[Block]) -> None:
        """Two turns of one speaker become one."""
        if out and out[-1]["role"] == role:
            held = out[-1]["content"]
            out[-1]["content"] = _results_first([*held, *blocks]) if role == "user" else [*held, *blocks]
        elif blocks:
            out.append({"role": role, "content": blocks})

    def user(self, message: Message) -> list[Block]:
        blocks = self.blocks(message.parts)
        if not blocks:
            self.ledger.add(message.at, "content", "an empty turn is told as (no text)", "info")
            return [self.said(NO_TEXT)]
        if any("document" in block for block in blocks) and not any("text" in block for block in blocks):
            self.ledger.add(message.at, None, "a document is sent with a text beside it: (no text)", "info")
            blocks.append(self.said(NO_TEXT))
        return _results_first(blocks)

    def system_turn(self, message: Message, out: list[Block], *, fits: bool) -> None:
        texts = [part for part in message.parts if isinstance(part, Text) and part.text.strip()]
        rest = [part for part in message.parts if not isinstance(part, Text)]
        inline = self.profile.inline_system and fits and bool(out) and out[-1]["role"] == "user"
        if self.native or (inline and texts):
            blocks = self.blocks(message.parts if self.native else texts)
            out.append({"role": "system", "content": blocks or [self.said(NO_TEXT)]})
            for part in () if self.native else rest:
                self.ledger.add(part.at, None, "instructions hold only text", "lost")
            return
        self.system.extend(texts)
        for part in rest:
            self.ledger.add(part.at, None, "instructions hold only text", "lost")
        self.ledger.add(message.at, None, "moved to the end of the instructions before the conversation", "degraded")

    def answered(self, turns: list[Block]) -> list[Block]:
        """Every call with its result, every result with its call."""
        out: list[Block] = []
        open_calls: dict[str, None] = {}
        for turn in turns:
            if turn["role"] == "system":
                out.append(turn)
                continue
            if turn["role"] == "user":
                turn["content"] = self.results_for(open_calls, turn["content"])
            open_calls = {block["toolUse"]["toolUseId"]: None for block in turn["content"] if _is_own_call(block)}
            out.append(turn)
        if open_calls:
            out.append({"role": "user", "content": self.results_for(open_calls, [])})
        return out

    def results_for(self, calls: dict[str, None], blocks: list[Block]) -> list[Block]:
        """The content of the user's turn behind these calls: their results first, each with the cache point behind it."""
        left = dict(calls)
        results: list[Block] = []
        others: list[Block] = []
        held = others
        for block in blocks:
            result = _own_result(block)
            if "cachePoint" in block:
                held.append(block)
            elif result is None:
                held = others
                held.append(block)
            elif result["toolUseId"] in left:
                del left[result["toolUseId"]]
                held = results
                held.append(block)
            else:
                at = self.request.path_of("messages")
                self.ledger.add(at, None, "a result without its call is told as content of the user's", "degraded")
                held = others
                held += [_as_content(inner) for inner in result["content"]]
        for call_id in left:
            at = self.request.path_of("messages")
            self.ledger.add(at, None, "a call without a result is told to have had none", "degraded")
            results.append({"toolResult": {"toolUseId": call_id, "content": [{"text": _NO_RESULT}], "status": "error"}})
        return results + others

    # ------------------------------------------------------------ parts

    def said(self, text: str) -> Block:
        return {"text": text}

    def text(self, part: Text) -> list[Block]:
        if self.native and "guardContent" in part.extras:
            return self.dressed({"guardContent": part.extras["guardContent"]}, part, part.cache, {})
        if part.citations and self.native:
            cited: Block = {"content": [{"text": part.text}], "citations": [one.native for one in part.citations]}
            return self.dressed({"citationsContent": cited}, part, part.cache, cited)
        self.replayed_not(part)
        block: Block = {"text": part.text}
        return self.dressed(block, part, part.cache, block)

    def reasoning(self, part: Reasoning) -> list[Block]:
        seal = part.seal
        if seal is None and self.native:
            return [{"reasoningContent": {"reasoningText": {"text": part.text}}}] if part.text else []
        if seal is None or seal.dialect != "converse" or seal.issuer not in {None, self.target.issuer}:
            self.ledger.add(part.at, None, "reasoning of another provider is not replayed", "info")
            return []
        self.node(part)
        if part.redacted:
            return [{"reasoningContent": {"redactedContent": seal.value}}]
        return [{"reasoningContent": {"reasoningText": {"text": part.text, "signature": seal.value}}}]

    def image(self, part: Image) -> list[Block]:
        if part.detail not in {None, "auto"}:
            self.ledger.add(part.at, None, "Converse has no level of detail for images", "info")
        if part.data is None:
            why = "Converse takes images as bytes only" if part.url is not None else "a file in another provider's store"
            return self.omitted(part, "image", why)
        name = image_format(part.media_type or "image/png")
        if name is None:
            return self.omitted(part, "image", f"Converse takes no image of type {part.media_type}")
        native: Block = {"format": name, "source": {"bytes": part.data}}
        if self.native and "guardContent" in part.extras:
            return self.dressed({"guardContent": part.extras["guardContent"]}, part, part.cache, {})
        return self.dressed({"image": native}, part, part.cache, native)

    def document(self, part: Document) -> list[Block]:
        written = part.text is not None or part.parts is not None
        named = document_format(part.media_type or ("text/plain" if written else ""))
        if part.text is not None:
            # As bytes, which every model takes; a text as such only some.
            source: Block = {"bytes": _base64(part.text)}
        elif part.parts is not None:
            source = {"content": [{"text": inner.text} for inner in part.parts if isinstance(inner, Text)]}
            for inner in part.parts:
                if not isinstance(inner, Text):
                    self.ledger.add(inner.at, None, "a document of parts holds texts only here", "lost")
        elif part.data is not None:
            source = {"bytes": part.data}
        else:
            why = "Converse takes documents as bytes only" if part.url is not None else "a file in another provider's store"
            return self.omitted(part, "document", why)
        if named is None:
            return self.omitted(part, "document", f"Converse takes no document of type {part.media_type}")
        if self.native and part.parts is not None and "source" in part.extras:
            whole: Block = {"title": part.title, "content": source["content"]}
            if part.cite is not None:
                whole["citations"] = {"enabled": part.cite}
            return self.dressed({"searchResult": whole}, part, part.cache, whole)
        name = self.names.name(part.title)
        if part.title is not None and name != part.title:
            self.ledger.add(part.at, None, f"told as {name!r}", "info")
        native: Block = {"format": named, "name": name, "source": source}
        if part.context is not None:
            native["context"] = part.context
        if part.cite is not None:
            native["citations"] = {"enabled": part.cite}
        return self.dressed({"document": native}, part, part.cache, native)

    def audio(self, part: Audio) -> list[Block]:
        if part.format not in AUDIO:
            return self.omitted(part, "audio", f"Converse takes no audio of format {part.format}")
        native: Block = {"format": part.format, "source": {"bytes": part.data}}
        return self.dressed({"audio": native}, part, None, native)

    def call(self, part: ToolCall) -> list[Block]:
        native: Block = {"toolUseId": self.call_id(part.id, part), "name": part.name, "input": self.input_of(part)}
        return self.dressed({"toolUse": native}, part, part.cache, native)

    def call_id(self, given: str, part: Node) -> str:
        legal = legal_id(given)
        if legal != given:
            self.ledger.add(part.at, None, "the call's id is none here; a hash of it is sent", "info")
        return legal

    def result(self, part: ToolResult) -> list[Block]:
        content: list[Block] = []
        for inner in part.parts:
            if self.native and isinstance(inner, Text) and inner.at is not None and inner.at[1] == "json":
                content.append({"json": msgspec.Raw(inner.text.encode())})
            else:
                # A cache point within a result has no form; that of the result stands behind it.
                for block in self.part(inner):
                    if "cachePoint" in block:
                        continue
                    content += (
                        [block] if _fits_result(block) else self.omitted(inner, next(iter(block)), "no result can hold it")
                    )
                self.unmarkable(inner)
        native: Block = {"toolUseId": self.call_id(part.call_id, part), "content": content or [{"text": _NO_RESULT}]}
        if part.is_error:
            native["status"] = "error"
        if part.name is not None:
            self.ledger.add(part.at, "name", "a result is known by its call's id alone", "info")
        return self.dressed({"toolResult": native}, part, part.cache, native)

    def unmarkable(self, part: Part) -> None:
        cache = getattr(part, "cache", None)
        if isinstance(cache, CacheMark):
            self.ledger.add(cache.spot(part.at), None, "no cache point can stand within a result", "info")

    # ------------------------------------------------------------ what stands beside

    def dressed(self, block: Block, part: Node, cache: CacheMark | None, inner: Block) -> list[Block]:
        """The block with what the caller said beside it (in `inner`), and its cache point behind it."""
        if self.native:
            for key, value in part.extras.items():
                held = inner.get(key)
                inner[key] = {**held, **value} if isinstance(held, dict) and isinstance(value, dict) else value
        else:
            self.ledger.extras(part)
        if cache is None:
            return [block]
        if id(part) in self.marked:
            return [block, cache_point(cache)]
        why = f"only the last {MOST_MARKS} marks are taken" if self.marked else "this model takes no cache points"
        self.ledger.add(cache.spot(part.at), None, why, "info")
        return [block]


def cache_point(cache: CacheMark) -> Block:
    return {"cachePoint": {"type": "default"} if cache.ttl is None else {"type": "default", "ttl": cache.ttl}}


def _latest_marks(request: Request) -> set[int]:
    """Which nodes keep their cache mark, in the order of the prompt: tools, instructions, conversation."""
    nodes: list[Node] = [*request.tools, *request.system]
    for message in request.messages:
        nodes += [part for part in message.parts if is_markable(part)]
    marked = [node for node in nodes if getattr(node, "cache", None) is not None]
    return {id(node) for node in marked[-MOST_MARKS:]}


def tool_point(tool: Tool, encoding: MessagesEncoding) -> list[Block]:
    """The cache point of a tool, if it keeps it."""
    if tool.cache is None:
        return []
    if id(tool) in encoding.marked:
        return [cache_point(tool.cache)]
    encoding.ledger.add(tool.cache.spot(tool.at), None, "this mark is not taken", "info")
    return []


def _results_first(blocks: list[Block]) -> list[Block]:
    """With the cache points that stand behind them."""
    results: list[Block] = []
    others: list[Block] = []
    held = others
    for block in blocks:
        if "cachePoint" not in block:
            held = results if "toolResult" in block else others
        held.append(block)
    return results + others


def _is_own_call(block: Block) -> bool:
    """One that the caller has to answer."""
    call = block.get("toolUse")
    return isinstance(call, dict) and "type" not in call and isinstance(call.get("toolUseId"), str)


def _own_result(block: Block) -> Block | None:
    """The result of such a call. A block of the caller's own that nobody could read may have anything in that place."""
    result = block.get("toolResult")
    if not isinstance(result, dict) or "type" in result or not isinstance(result.get("toolUseId"), str):
        return None
    native = cast("Block", result)
    content = native.get("content")
    readable = isinstance(content, list) and all(isinstance(inner, dict) for inner in cast("list[Any]", content))
    return native if readable else None


def _as_content(block: Block) -> Block:
    """What stood in a result, outside of one, where there is no form for JSON."""
    return {"text": msgspec.json.encode(block["json"]).decode()} if "json" in block else block


def _fits_result(block: Block) -> bool:
    return not block.keys().isdisjoint({"json", "text", "image", "document", "video", "searchResult"})


def _base64(text: str) -> str:
    return b64encode(text.encode("utf-8", "replace")).decode()
