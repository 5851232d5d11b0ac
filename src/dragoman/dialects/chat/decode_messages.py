"""The `messages` of a Chat Completions request to the hub. Types: `openai.types.chat.chat_completion_message_param`.

Three things differ in kind. Instructions stand among the messages: those before the conversation become `system`. A
tool's result is a message of its own: results in a row become one user turn. And ids of calls may be missing or used
again, even across turns: here every call gets one of its own, the same on every turn, and results are paired in order.
"""

from __future__ import annotations

from typing import Any, cast

import msgspec

from dragoman.dialects.chat.citations import decode_citation
from dragoman.dialects.chat.reasoning import replayed, without
from dragoman.dialects.openai_parts import MEDIA_OF_ENDING, data_url, mark_of, rest_with
from dragoman.dialects.pairing import Pairs
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
    Text,
    ToolCall,
    ToolResult,
    Unknown,
    path_text,
)


class Conversation:
    """Reads the messages in order; `system`, `messages` and `extras` are what came of them."""

    def __init__(self, natives: list[Any]) -> None:
        self.system: list[Text] = []
        self.messages: list[Message] = []
        self.extras: Extras = {}
        """What stood on a leading system message beside its content, by its whole path."""
        self._ids = Pairs()
        self._results: Message | None = None
        for index, native in enumerate(natives):
            self._read(Fields(native, ((None, "messages"), index)), index)

    def _read(self, fields: Fields, index: int) -> None:
        role = fields.any("role")
        if role in ("tool", "function"):
            self._result(fields, index, legacy=role == "function")
            return
        self._results = None
        match role:
            case "user":
                parts = _content(fields)
                self.messages.append(
                    Message(role="user", parts=parts, name=fields.text("name"), at=fields.at, extras=fields.rest())
                )
            case "assistant":
                self.messages.append(self._assistant(fields, index))
            case "system" | "developer":
                self._system(fields)
            case _:
                path = path_text((fields.at, "role"))
                allowed = "system, developer, user, assistant, tool or function"
                raise MalformedBody(f"{path}: expected {allowed}, got {role!r}", param=path)

    def _system(self, fields: Fields) -> None:
        parts = _content(fields)
        texts = [part for part in parts if isinstance(part, Text)]
        if self.messages or len(texts) < len(parts):
            message = Message(role="system", parts=parts, name=fields.text("name"), at=fields.at, extras=fields.rest())
            self.messages.append(message)
            return
        self.system += [text for text in texts if text.text]
        self.extras.update({path_text((fields.at, key)): value for key, value in fields.rest().items()})

    # ------------------------------------------------------------ assistant

    def _assistant(self, fields: Fields, index: int) -> Message:
        at = fields.at
        native_content = fields.any("content")
        content = [] if native_content in (None, "") else _parts(native_content, at)
        _cite(fields, content)
        fields.left.pop("parsed", None)  # an SDK's reading of the content
        refusal = fields.text("refusal")
        if refusal:
            content.append(Refusal(text=refusal, at=(at, "refusal")))
        thought = replayed(fields.array("reasoning_details") or [], (at, "reasoning_details"))
        known = {part.seal.value for part in thought if part.seal is not None}
        calls = self._calls(fields, index, known)
        carried = [part for part in calls if isinstance(part, Reasoning)]
        bare = self._bare_thinking(fields, [*thought, *carried])
        parts: list[Part] = [*bare, *thought]
        # What rode in the first call's id stood before the text too, in all likelihood: thinking begins a turn.
        while calls and isinstance(calls[0], Reasoning):
            parts.append(calls.pop(0))
        return Message(
            role="assistant", parts=[*parts, *content, *calls], name=fields.text("name"), at=at, extras=fields.rest()
        )

    def _bare_thinking(self, fields: Fields, sealed: list[Reasoning]) -> list[Reasoning]:
        """Thinking that came back as plain text, where it is not the text of what came back sealed."""
        found: list[Reasoning] = []
        for key in ("reasoning_content", "reasoning"):
            if type(fields.left.get(key)) is not str:
                continue
            text = without(fields.any(key), sealed)
            if text and not any(part.text == text for part in found):
                found.append(Reasoning(text=text, at=(fields.at, key)))
        return found

    def _calls(self, fields: Fields, index: int, known: set[str]) -> list[Part]:
        """The calls, each after the thinking that rode in its id, unless `known` has that seal already."""
        at = fields.at
        parts: list[Part] = []
        natives = fields.array("tool_calls") or []
        legacy = fields.object("function_call")
        if natives or legacy is not None:
            self._ids.turn()
        for position, native in enumerate(natives):
            call, held = self._call(Fields(native, ((at, "tool_calls"), position)), native, f"call_m{index}_{position}")
            for part in held:
                if part.seal is not None and part.seal.value not in known:
                    known.add(part.seal.value)
                    parts.append(part)
            parts.append(call)
        if legacy is not None:
            call = Fields(legacy, (at, "function_call"))
            name = call.need_text("name")
            own = self._ids.call("", f"call_m{index}_{len(natives)}", name)
            arguments = _arguments(call.any("arguments"))
            parts.append(ToolCall(id=own, name=name, arguments=arguments, at=call.at, extras=call.rest()))
        return parts

    def _call(self, fields: Fields, native: Any, fallback: str) -> tuple[Part, list[Reasoning]]:
        at = fields.at
        kind = fields.text("type")
        if kind is None:
            kind = "custom" if "custom" in fields.left else "function"
        if kind not in {"function", "custom"}:
            return Unknown(native=native, dialect="chat", at=at), []
        bare, held = carrier.detach(fields.text("id") or "")
        inner = Fields(fields.any(kind), (at, kind))
        name = inner.need_text("name")
        call = ToolCall(id=self._ids.call(carrier.original_id(bare), fallback, name), name=name, at=at)
        if kind == "custom":
            call.kind = "custom"
            call.arguments = inner.text("input") or ""
        else:
            call.arguments = _arguments(inner.any("arguments"))
        call.cache = mark_of(fields)
        # What SDKs add when they put a stream together: it says nothing that is not said already.
        fields.left.pop("index", None)
        inner.left.pop("parsed_arguments", None)
        call.extras = rest_with(fields, kind, inner)
        return call, [msgspec.structs.replace(part, at=(at, "id")) for part in held]

    # ------------------------------------------------------------ results

    def _result(self, fields: Fields, index: int, *, legacy: bool) -> None:
        at = fields.at
        name = fields.text("name")
        given, _ = carrier.detach(fields.text("tool_call_id") or "")
        own = self._ids.result(carrier.original_id(given), name)
        if own is None:
            if not legacy:
                path = path_text((at, "tool_call_id"))
                raise MalformedBody(f"{path}: the id of the call that this answers is required here", param=path)
            own = f"call_m{index}"
        content = fields.any("content")
        mark = mark_of(fields)
        parts = [] if content in (None, "") else _parts(content, at)
        result = ToolResult(call_id=own, parts=parts, name=name, cache=mark, at=at, extras=fields.rest())
        if self._results is None:
            self._results = Message(role="user", parts=[], at=at)
            self.messages.append(self._results)
        self._results.parts.append(result)


# ---------------------------------------------------------------- parts


def _content(fields: Fields) -> list[Part]:
    """The content of a message that must have one. A cache mark on the message itself is its last part's."""
    at = fields.at
    native = fields.any("content")
    if native is None:
        path = path_text((at, "content"))
        raise MalformedBody(f"{path}: a string or an array of parts is required here", param=path)
    parts = _parts(native, at)
    last = parts[-1] if parts else None
    if isinstance(last, Text) and last.cache is None and (mark := mark_of(fields)) is not None:
        last.cache = mark
        if isinstance(native, str):
            last.at = at
    return parts


def _parts(native: Any, at: Path) -> list[Part]:
    here: Path = (at, "content")
    if type(native) is str:
        return [Text(text=native, at=here)]
    if type(native) is not list:
        raise wrong(here, "a string or an array of parts", native)
    return [_part(item, (here, index)) for index, item in enumerate(cast("list[Any]", native))]


def _part(native: Any, at: Path) -> Part:
    fields = Fields(native, at)
    match fields.any("type"):
        case "text":
            text = fields.need_text("text")
            if not fields.left:
                return Text(text=text, at=at)
            return Text(text=text, cache=mark_of(fields), at=at, extras=fields.rest())
        case "image_url":
            return _image(fields)
        case "input_audio":
            inner = Fields(fields.any("input_audio"), (at, "input_audio"))
            audio = Audio(data=inner.need_text("data"), format=inner.text("format") or "wav", at=at)
            audio.extras = rest_with(fields, "input_audio", inner)
            return audio
        case "file":
            return _file(fields)
        case "refusal":
            return Refusal(text=fields.need_text("refusal"), at=at, extras=fields.rest())
        case str():
            return Unknown(native=native, dialect="chat", at=at)
        case other:
            raise wrong((at, "type"), "a string", other)


def _image(fields: Fields) -> Image:
    at = fields.at
    native = fields.any("image_url")
    inner = Fields({"url": native} if type(native) is str else native, (at, "image_url"))
    url = inner.need_text("url")
    image = Image(detail=inner.text("detail"), cache=mark_of(fields), at=at)
    split = data_url(url)
    if split is None:
        image.url = url
    else:
        image.media_type, image.data = split
    image.extras = rest_with(fields, "image_url", inner)
    return image


def _file(fields: Fields) -> Document:
    at = fields.at
    inner = Fields(fields.any("file"), (at, "file"))
    data = inner.text("file_data")
    title = inner.text("filename")
    document = Document(title=title, cache=mark_of(fields), at=at)
    if data is not None:
        split = data_url(data)
        if split is not None:
            document.media_type, document.data = split
        elif data[:8].lower().startswith(("http://", "https://")):
            document.url = data
        else:
            document.data = data
        if not document.media_type and document.data is not None:
            document.media_type = MEDIA_OF_ENDING.get((title or "").rpartition(".")[2].lower(), "application/pdf")
    else:
        document.file = inner.text("file_id")
        if document.file is None:
            path = path_text((at, "file"))
            raise MalformedBody(f"{path}: file_data or file_id is required here", param=path)
    document.extras = rest_with(fields, "file", inner)
    return document


def _arguments(native: Any) -> str:
    """Arguments are JSON in a string; some clients send the JSON itself."""
    if native is None:
        return ""
    return native if type(native) is str else msgspec.json.encode(native).decode()


def _cite(fields: Fields, parts: list[Part]) -> None:
    """Annotations that a client sends back with an earlier answer belong to its text."""
    text = next((part for part in parts if isinstance(part, Text)), None)
    natives = fields.left.get("annotations")
    if text is None or type(natives) is not list:
        return
    items = cast("list[Any]", fields.any("annotations"))
    here: Path = (fields.at, "annotations")
    text.citations = [decode_citation(item, (here, index)) for index, item in enumerate(items) if isinstance(item, dict)]
