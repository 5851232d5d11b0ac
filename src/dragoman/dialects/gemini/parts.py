"""Parts, as they stand in requests and in answers alike, to the hub. Types: `google.genai.types.Part`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from dragoman.dialects.gemini import seals
from dragoman.dialects.gemini.names import Names, inner, keep_rest, need_base64
from dragoman.errors import MalformedBody
from dragoman.ir.request import Audio, Document, Image, Part, Path, Reasoning, Seal, Text, ToolCall, Unknown, path_text

Block = dict[str, Any]

_encode = msgspec.json.Encoder().encode

_AUDIO_FORMATS = {
    "mpeg": "mp3",
    "mp3": "mp3",
    "x-wav": "wav",
    "wave": "wav",
    "vnd.wave": "wav",
    "x-flac": "flac",
    "x-aiff": "aiff",
    "mp4": "m4a",
    "x-m4a": "m4a",
}
_MIME_OF_FORMAT = {"mp3": "audio/mp3", "m4a": "audio/mp4", "pcm16": "audio/L16;rate=24000"}
_HOSTED_FILES = ("gs://", "files/")
_FILES_API = "/v1beta/files/"
_VIDEO_HOSTS = ("youtube.com/", "youtu.be/")


def decode_part(native: Any, at: Path, issuer: str | None, name_call: Callable[[str, str], str]) -> list[Part]:
    """The parts of one: a signature becomes one of its own, and what rode in its place stands before it.
    `name_call(id as given, name)` gives a call's id."""
    fields = Names(native, at)
    seal_at = fields.path("thoughtSignature")
    signature = fields.text("thoughtSignature") or ""
    held = seals.opened(signature) if signature else None
    before: list[Part] = [msgspec.structs.replace(part, at=seal_at) for part in held or ()]
    own = seals.native(signature) if signature and held is None else ""
    text = fields.left.get("text")
    thought_key = fields.own("thought")
    thought = fields.left.get(thought_key) is True
    if type(text) is str:
        fields.left.pop("text")
        fields.left.pop(thought_key, None)
        return [*before, *_text(fields, text, own, seal_at, issuer, thought=thought)]
    if text is not None:
        fields.text("text")  # complains
    part: Part | None = None
    if not thought:
        part = _call(fields, name_call) or _inline(fields) or _file(fields)
    if part is None:
        if not fields.rest():
            # Nothing but a signature.
            return [*before, Reasoning(seal=Seal(own, issuer, "gemini"), redacted=True, at=at)] if own else before
        return [*before, Unknown(native=_without_token(native, seal_at, held), dialect="gemini", at=at)]
    fields.left.pop(thought_key, None)
    part.extras = fields.rest()
    if not own:
        return [*before, part]
    if isinstance(part, ToolCall):
        return [*before, seals.on_call(own, part.id, issuer, seal_at), part]
    return [*before, part, seals.on_part(own, issuer, seal_at)]


def _without_token(native: Block, seal_at: Path, held: list[Reasoning] | None) -> Block:
    if held is None or seal_at is None:
        return native
    return {key: value for key, value in native.items() if key != seal_at[1]}


def _text(fields: Names, text: str, own: str, seal_at: Path, issuer: str | None, *, thought: bool) -> list[Part]:
    at, extras = fields.at, fields.rest()
    seal = Seal(own, issuer, "gemini") if own else None
    if thought:
        return [Reasoning(text=text, seal=seal, summary=True, at=at, extras=extras)] if text or seal else []
    if seal is not None and not text and not extras:
        return [Reasoning(seal=seal, redacted=True, at=seal_at)]
    part = Text(text=text, at=at, extras=extras)
    return [part] if seal is None else [part, seals.on_part(own, issuer, seal_at)]


def _call(fields: Names, name_call: Callable[[str, str], str]) -> ToolCall | None:
    if fields.left.get(fields.own("functionCall")) is None:
        return None
    call = inner(fields, "functionCall")
    fields.any("functionCall")
    name = call.text("name")
    if not name:
        path = path_text((call.at, "name"))
        raise MalformedBody(f"{path}: a string is required here", param=path)
    arguments = _encode(call.object("args") or {}).decode()
    part = ToolCall(id=name_call(call.text("id") or "", name), name=name, arguments=arguments, at=fields.at)
    keep_rest(fields, "functionCall", call)
    return part


def _inline(fields: Names) -> Part | None:
    at = fields.path("inlineData")
    if fields.left.get(fields.own("inlineData")) is None:
        return None
    blob = inner(fields, "inlineData")
    mime = blob.text("mimeType") or ""
    main, _, kind = mime.lower().partition(";")[0].strip().partition("/")
    if main == "video":
        fields.left[str(at[1]) if at is not None else "inlineData"] = {**blob.left, "mimeType": mime}
        return None
    data = need_base64(blob, "data")
    if main == "audio":
        form = _AUDIO_FORMATS.get(kind, kind)
        if mime != mime_of_format(form) and kind not in _AUDIO_FORMATS:
            blob.left["mimeType"] = mime  # it says more than a format does
        part: Part = Audio(data=data, format=form, at=fields.at)
    elif main == "image":
        part = Image(media_type=mime, data=data, at=fields.at)
    else:
        part = Document(media_type=mime, data=data, title=blob.text("displayName"), at=fields.at)
    keep_rest(fields, "inlineData", blob)
    return part


def _file(fields: Names) -> Part | None:
    at = fields.path("fileData")
    if fields.left.get(fields.own("fileData")) is None:
        return None
    file = inner(fields, "fileData")
    whole = dict(file.left)
    mime = file.text("mimeType") or ""
    uri = file.need_text("fileUri")
    main = mime.partition("/")[0]
    hosted = uri.startswith(_HOSTED_FILES) or _FILES_API in uri
    url, stored = (None, uri) if hosted else (uri, None)
    if main == "image":
        part: Part = Image(media_type=mime, url=url, file=stored, at=fields.at)
    elif main in {"audio", "video"} or any(host in uri for host in _VIDEO_HOSTS) or (hosted and not mime):
        fields.left[str(at[1]) if at is not None else "fileData"] = whole
        return None
    else:
        part = Document(media_type=mime, url=url, file=stored, title=file.text("displayName"), at=fields.at)
    keep_rest(fields, "fileData", file)
    return part


def mime_of_format(form: str) -> str:
    """`wav` as `audio/wav`."""
    return _MIME_OF_FORMAT.get(form, f"audio/{form}")
