"""The `input` of a Responses request to the hub. Types: `openai.types.responses.response_input_item_param`.

The conversation is a list of items of two dozen types, without turns: a reasoning, a message, and three calls are five items
in a row where other dialects have one assistant message. Here they become one, and the outputs of calls that follow each
other become one user turn. What stood on an item beside its content has no place in a merged turn and goes, by its whole
path, with the request's extras.
"""

from __future__ import annotations

from typing import Any, cast

import msgspec

from dragoman.dialects.openai_parts import MEDIA_OF_ENDING, data_url, mark_of, rest_with
from dragoman.dialects.pairing import Pairs
from dragoman.dialects.responses import compaction
from dragoman.dialects.responses.citations import decode_citation
from dragoman.dialects.responses.ids import own_id
from dragoman.dialects.responses.namespaces import Names
from dragoman.dialects.shape import Fields, wrong
from dragoman.errors import MalformedBody
from dragoman.ir import carrier
from dragoman.ir.request import (
    Audio,
    Document,
    Extras,
    Image,
    Message,
    Part,
    Path,
    Reasoning,
    Refusal,
    Seal,
    Text,
    ToolCall,
    ToolResult,
    Unknown,
    path_text,
)

_INPUT: Path = (None, "input")
_RESULT_KEYS = ("output", "return_value", "content")
"""Where clients put the result of a call; the first is the API's."""

_CALLERS_SIDE = frozenset({"mcp_approval_response", "compaction_trigger", "configuration_update"})
"""Items that the caller adds. Of the others, those that end in `_output` are the caller's too."""


class Conversation:
    """Reads the items in order; `system`, `messages` and `extras` are what came of them."""

    def __init__(self, native: str | list[Any], names: Names) -> None:
        self.system: list[Text] = []
        self.messages: list[Message] = []
        self.extras: Extras = {}
        """What stood on an item of an assistant's turn, or of leading instructions, beside its content: by its path."""
        self._names = names
        self._pairs = Pairs()
        self._results: Message | None = None
        if isinstance(native, str):
            self.messages.append(Message(role="user", parts=[Text(text=native, at=_INPUT)]))
            return
        for index, item in enumerate(native):
            self._read(item, (_INPUT, index), index)

    def _read(self, native: Any, at: Path, index: int) -> None:
        fields = Fields(native, at)
        kind = fields.any("type")
        if kind is None:
            kind = "message" if "role" in fields.left else "item_reference"
        match kind:
            case "message":
                self._results = None
                self._message(fields)
            case "function_call" | "custom_tool_call":
                self._results = None
                self._call(fields, index, custom=kind == "custom_tool_call")
            case "function_call_output" | "custom_tool_call_output":
                self._result(fields, index)
            case "reasoning":
                self._results = None
                self._assistant(at).parts += _reasoning(fields)
            case "additional_tools":
                # They are among the request's tools already.
                fields.left.pop("tools", None)
                fields.left.pop("role", None)
                self._beside(fields)
            case "compaction" if (summary := compaction.told(native)) is not None:
                self._results = None
                self.messages.append(Message(role="user", parts=[Text(text=summary, at=at)], at=at))
            case str():
                self._unknown(native, kind, at)
            case other:
                raise wrong((at, "type"), "a string", other)

    def _assistant(self, at: Path) -> Message:
        """The assistant's turn under way, or a new one."""
        last = self.messages[-1] if self.messages else None
        if last is None or last.role != "assistant":
            last = Message(role="assistant", parts=[], at=at)
            self.messages.append(last)
            self._pairs.turn()
        return last

    def _outputs(self, at: Path) -> Message:
        if self._results is None:
            self._results = Message(role="user", parts=[], at=at)
            self.messages.append(self._results)
        return self._results

    def _beside(self, fields: Fields) -> None:
        self.extras.update({path_text((fields.at, key)): value for key, value in fields.rest().items()})

    # ------------------------------------------------------------ items

    def _message(self, fields: Fields) -> None:
        role = fields.any("role")
        at: Path = (fields.at, "content")
        parts = parts_of(fields.any("content"), at)
        match role:
            case "user":
                name = fields.text("name")
                self.messages.append(Message(role="user", parts=parts, name=name, at=fields.at, extras=fields.rest()))
            case "assistant":
                self._assistant(fields.at).parts += parts
                self._beside(fields)
            case "system" | "developer":
                texts = [part for part in parts if isinstance(part, Text)]
                if self.messages or len(texts) < len(parts):
                    self.messages.append(Message(role="system", parts=parts, at=fields.at, extras=fields.rest()))
                else:
                    self.system += [text for text in texts if text.text]
                    self._beside(fields)
            case _:
                path = path_text((fields.at, "role"))
                raise MalformedBody(f"{path}: expected user, assistant, system or developer, got {role!r}", param=path)

    def _call(self, fields: Fields, index: int, *, custom: bool) -> None:
        at = fields.at
        turn = self._assistant(at)
        given = fields.text("call_id") or fields.text("id") or ""
        name, space = fields.need_text("name"), fields.text("namespace")
        call = ToolCall(
            id=self._pairs.call(own_id(given), f"call_m{index}", name),
            name=self._names.of(space, name),
            arguments=as_text(fields.any("input" if custom else "arguments")),
            kind="custom" if custom else "function",
            namespace=space,
            at=at,
            extras=fields.rest(),
        )
        if held := carrier.detach(given)[1]:
            known = {part.seal.value for part in turn.parts if isinstance(part, Reasoning) and part.seal is not None}
            for part in held:
                if part.seal is not None and part.seal.value not in known:
                    turn.parts.append(msgspec.structs.replace(part, at=(at, "call_id")))
        turn.parts.append(call)

    def _result(self, fields: Fields, index: int) -> None:
        at = fields.at
        name = fields.text("name")
        own = self._pairs.result(own_id(fields.text("call_id") or ""), name) or f"call_m{index}"
        key = next((key for key in _RESULT_KEYS if fields.left.get(key) is not None), "output")
        parts = result_parts(fields.any(key), (at, key))
        result = ToolResult(call_id=own, parts=parts, name=name, cache=mark_of(fields), at=at, extras=fields.rest())
        self._outputs(at).parts.append(result)

    def _unknown(self, native: Any, kind: str, at: Path) -> None:
        part = Unknown(native=native, dialect="responses", at=at)
        if kind.endswith("_output"):
            self._outputs(at).parts.append(part)
            return
        self._results = None
        if kind in _CALLERS_SIDE:
            self.messages.append(Message(role="user", parts=[part], at=at))
        else:
            self._assistant(at).parts.append(part)


def _reasoning(fields: Fields) -> list[Part]:
    """What our token in an item holds; or what the item itself says, sealed for whoever made it."""
    at = fields.at
    encrypted = fields.text("encrypted_content")
    summaries, contents = fields.array("summary") or [], fields.array("content") or []
    summary = "\n\n".join(_texts(summaries, (at, "summary")))
    content = "".join(_texts(contents, (at, "content")))
    if encrypted is not None and carrier.is_token(encrypted):
        held = carrier.unpack(encrypted) or ([Reasoning(text=summary, summary=True)] if summary else [])
        parts: list[Part] = [msgspec.structs.replace(part, at=at) for part in held]
        if parts:
            parts[0].extras = fields.rest()
        return parts
    if len(summaries) > 1:
        fields.left["summary"] = summaries
    if summary and contents:
        fields.left["content"] = contents
    return [
        Reasoning(
            text=summary or content,
            seal=Seal(encrypted, None, "responses") if encrypted else None,
            summary=bool(summary) or not content,
            at=at,
            extras=fields.rest(),
        )
    ]


def _texts(natives: list[Any], at: Path) -> list[str]:
    return [Fields(native, (at, index)).text("text") or "" for index, native in enumerate(natives)]


# ---------------------------------------------------------------- parts


def parts_of(native: Any, at: Path) -> list[Part]:
    """The parts of a message's content, or of a result's output."""
    if type(native) is str:
        return [Text(text=native, at=at)]
    if type(native) is not list:
        raise wrong(at, "a string or an array of parts", native)
    return [_part(item, (at, index)) for index, item in enumerate(cast("list[Any]", native))]


def result_parts(native: Any, at: Path) -> list[Part]:
    """A result is a text or a list of parts; whatever else a client sends is told as its JSON."""
    if native is None or native == "":
        return []
    if type(native) is list:
        items = cast("list[Any]", native)
        if items and all(type(item) is dict and type(item.get("type")) is str for item in items):
            return parts_of(items, at)
    return [Text(text=as_text(native), at=at)]


def as_text(native: Any) -> str:
    """What is JSON in a string here is sometimes sent as the JSON itself."""
    if native is None:
        return ""
    return native if type(native) is str else msgspec.json.encode(native).decode()


def _part(native: Any, at: Path) -> Part:
    fields = Fields(native, at)
    match fields.any("type"):
        case "input_text" | "output_text" | "text":
            return _text(fields)
        case "refusal":
            return Refusal(text=fields.need_text("refusal"), at=at, extras=fields.rest())
        case "input_image":
            return _image(fields)
        case "input_file":
            return _file(fields)
        case "input_audio":
            inner = Fields(fields.any("input_audio"), (at, "input_audio"))
            audio = Audio(data=inner.need_text("data"), format=inner.text("format") or "wav", at=at)
            audio.extras = rest_with(fields, "input_audio", inner)
            return audio
        case str():
            return Unknown(native=native, dialect="responses", at=at)
        case other:
            raise wrong((at, "type"), "a string", other)


def _text(fields: Fields) -> Text:
    text = fields.need_text("text")
    if not fields.left:
        return Text(text=text, at=fields.at)
    here: Path = (fields.at, "annotations")
    citations = [
        decode_citation(Fields(item, (here, index)).left, (here, index))
        for index, item in enumerate(fields.array("annotations") or [])
    ]
    if fields.left.get("logprobs") == []:
        fields.left.pop("logprobs")
    return Text(text=text, citations=citations, cache=mark_of(fields), at=fields.at, extras=fields.rest())


def _image(fields: Fields) -> Image:
    at = fields.at
    native = fields.any("image_url")
    if type(native) is dict:  # as in Chat Completions
        native = Fields(native, (at, "image_url")).need_text("url")
    if native is not None and type(native) is not str:
        raise wrong((at, "image_url"), "a string", native)
    image = Image(detail=fields.text("detail"), cache=mark_of(fields), at=at)
    split = data_url(native) if native is not None else None
    if split is not None:
        image.media_type, image.data = split
    elif native is not None:
        image.url = native
    else:
        image.file = fields.text("file_id")
        if image.file is None:
            raise MalformedBody(f"{path_text(at)}: image_url or file_id is required here", param=path_text(at))
    image.extras = fields.rest()
    return image


def _file(fields: Fields) -> Document:
    at = fields.at
    title = fields.text("filename")
    document = Document(title=title, cache=mark_of(fields), at=at)
    data = fields.text("file_data")
    if data is not None:
        split = data_url(data)
        if split is not None:
            document.media_type, document.data = split
        else:
            document.data = data
            document.media_type = MEDIA_OF_ENDING.get((title or "").rpartition(".")[2].lower(), "application/pdf")
    elif (url := fields.text("file_url")) is not None:
        document.url = url
    else:
        document.file = fields.text("file_id")
        if document.file is None:
            path = path_text(at)
            raise MalformedBody(f"{path}: file_data, file_url or file_id is required here", param=path)
    document.extras = fields.rest()
    return document
