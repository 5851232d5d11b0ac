"""Images, documents and sound on the way to one target: what it takes as it is, and what is made of the rest.

    image     as it is; by its bytes where the target fetches nothing; left out, and said so, where the model sees nothing
    PDF       as it is; by its bytes; or what it says, page by page, where the model takes none
    text      documents that are text are sent as text
    sound     as it is, or left out, and said so

What could be sent after a change that only its owner can make (another file type, fewer pixels) is a clear 400 that names
its path: `UnfitMedia`, as another target of the route may take it. What is broken whoever gets it is `MalformedBody`.

Decisions only: `flow/attachments.py` awaits what is fetched and read.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Mapping
from typing import TypeAlias, assert_never

import msgspec

from dragoman.dialects.base import Forms
from dragoman.errors import MalformedBody, UnfitMedia
from dragoman.ir.losses import Ledger
from dragoman.ir.profile import Reach
from dragoman.ir.request import (
    Audio,
    Document,
    Image,
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
from dragoman.models.catalogue import catalogue
from dragoman.route.target import Endpoint
from dragoman.wire.media import PDF, BadBase64, audio_format, bare, dimensions, from_base64, inline, is_text, sniff

Attachment: TypeAlias = Image | Document | Audio
Key: TypeAlias = tuple[int, bool]
"""A document (by its identity) and whether pictures of its pages are wanted."""

_ATTACHED = frozenset({Image, Document, Audio})
_REACH: tuple[Reach, ...] = ("none", "bytes", "urls")
_BY_ENDING = {"pdf": PDF, "txt": "text/plain", "md": "text/markdown", "csv": "text/csv", "json": "application/json"}
_CONTAINERS = frozenset({"application/zip", "application/gzip", "application/x-ole-storage"})
_MOST_TEXT = 16 * 1024 * 1024
"""Characters of a document that is told as text. No context window holds a third of it."""


class Fetched(msgspec.Struct, frozen=True):
    """What a URL led to. `declared` is the type that its server claims."""

    data: bytes
    declared: str = ""


class Unfetched(msgspec.Struct, frozen=True):
    """Why it led to nothing, as the end of a sentence. `skipped`: nothing is known of it, as another had failed already."""

    why: str
    skipped: bool = False


class Page(msgspec.Struct, frozen=True):
    """`picture` is a JPEG, empty where none was made."""

    text: str
    picture: bytes = b""


class Pages(msgspec.Struct, frozen=True):
    """What a PDF says. `count`: of all its pages, of which the first are in `pages`."""

    pages: tuple[Page, ...]
    count: int


class Unread(msgspec.Struct, frozen=True):
    """Why it could not be read, as the end of a sentence. `missing`: nothing is wrong with it, there is no reader."""

    why: str
    missing: bool = False


class Takes(msgspec.Struct, frozen=True, kw_only=True):
    """What one target takes: the dialect's forms, the profile, and what is known of the model."""

    label: str
    images: Reach
    pdfs: Reach
    audio: bool
    files: bool
    image_types: frozenset[str] = frozenset()
    image_bytes: int | None = None
    image_sides: tuple[tuple[int, int], ...] = ()
    pdf_bytes: int | None = None
    audio_formats: frozenset[str] = frozenset()


def takes_of(forms: Forms, endpoint: Endpoint) -> Takes:
    """The configuration's word on the model counts before the profile's, that before the catalogue's, and where nobody knows,
    what the dialect's servers usually take."""
    profile, known = endpoint.profile, endpoint.input
    if known is None and None in (profile.images, profile.pdfs, profile.audio):
        model = catalogue().find(endpoint.model)
        known = model.input if model is not None else None

    def reach(kind: str, said: Reach | None, form: Reach) -> Reach:
        if endpoint.input is not None and kind not in endpoint.input:
            return "none"
        if said is not None:
            return _less(said, form)
        if known is not None and kind not in known:
            return "none"
        return _less(forms.usual, form)

    hears = profile.audio if profile.audio is not None else known is None or "audio" in known
    if endpoint.input is not None:
        hears = "audio" in endpoint.input
    return Takes(
        label=endpoint.label,
        images=reach("image", profile.images, forms.images),
        pdfs=reach("pdf", profile.pdfs, forms.pdfs),
        # A dialect without a form for sound may have servers that take it all the same: a profile says so.
        audio=hears and (forms.audio or profile.audio is True),
        files=forms.files,
        image_types=profile.image_types or forms.image_types,
        image_bytes=profile.image_bytes,
        image_sides=profile.image_sides,
        pdf_bytes=profile.pdf_bytes,
        audio_formats=profile.audio_formats,
    )


def _less(one: Reach, other: Reach) -> Reach:
    return _REACH[min(_REACH.index(one), _REACH.index(other))]


# ---------------------------------------------------------------- what there is


def has_attachments(request: Request) -> bool:
    """Asked of every request that is translated, so it is plain and quick."""
    for message in request.messages:
        for part in message.parts:
            kind = type(part)
            if kind in _ATTACHED or (kind is ToolResult and _any_within([part])):
                return True
    return False


def attachments_of(request: Request) -> list[Attachment]:
    """Every image, document and sound of a request, in order."""
    return [part for message in request.messages for part in _within(message.parts)]


def _within(parts: list[Part]) -> Iterator[Attachment]:
    for part in parts:
        match part:
            case Image() | Audio():
                yield part
            case Document():
                yield part
                yield from _within(part.parts or [])
            case ToolResult():
                yield from _within(part.parts)
            case _:
                pass


def _any_within(parts: list[Part]) -> bool:
    for part in parts:
        if type(part) in _ATTACHED:
            return True
        if isinstance(part, ToolResult):
            for inner in part.parts:
                if type(inner) in _ATTACHED:
                    return True
    return False


def is_inline(part: Attachment) -> bool:
    """Whether its URL is the thing itself (`data:`), which not every target takes for one."""
    return not isinstance(part, Audio) and part.url is not None and part.url[:5].lower() == "data:"


def is_link(part: Attachment) -> bool:
    """Whether it must be fetched by somebody."""
    return not isinstance(part, Audio) and part.url is not None and not is_inline(part)


def link_of(part: Attachment, takes: Takes) -> str | None:
    """The URL that must be fetched before this target can be told of the part."""
    if is_inline(part):
        return None
    match part:
        case Image():
            return part.url if takes.images == "bytes" else None
        case Document():
            return part.url if takes.pdfs != "urls" else None
        case Audio():
            return None
        case _:
            assert_never(part)


# ---------------------------------------------------------------- what is made of it


class Blob(msgspec.Struct, frozen=True):
    """The bytes of a part. `text` is their standard base64, `media_type` what they are: by their own word if they have one.
    `certain`: they have."""

    data: bytes
    text: str
    media_type: str
    certain: bool


def blob_of(part: Attachment, fetched: Mapping[str, Fetched | Unfetched]) -> Blob | None:
    """The bytes of a part, None where there are none (a file in a store, a URL that nobody had to fetch). Raises
    `MalformedBody` for base64 that is none, `UnfitMedia` for a URL that led to nothing."""
    url = None if isinstance(part, Audio) else part.url
    if url is not None and (held := inline(url)) is not None:
        return _decoded(part, held[1], held[0])
    if url is not None:
        found = fetched.get(url)
        match found:
            case None:
                return None
            case Unfetched():
                raise _unfit(part.at, f"{shown_url(url)} {found.why}")
            case Fetched():
                if not found.data:
                    raise _unfit(part.at, f"{shown_url(url)} is empty")
                return _blob(found.data, b64encode(found.data).decode(), found.declared)
            case _:
                assert_never(found)
    if part.data is None:
        return None
    declared = f"audio/{part.format}" if isinstance(part, Audio) else part.media_type or _by_title(part)
    return _decoded(part, part.data, declared)


def _decoded(part: Attachment, base64: str, declared: str) -> Blob:
    try:
        data, text = from_base64(base64)
    except BadBase64 as error:
        raise _broken(part.at, str(error)) from None
    if not data:
        raise _broken(part.at, "this is empty")
    return _blob(data, text, declared)


def _blob(data: bytes, text: str, declared: str) -> Blob:
    real, plain = sniff(data), bare(declared)
    # A container says nothing of what is in it: a .docx is a zip file.
    held = real in _CONTAINERS and plain.startswith("application/") and plain not in {PDF, "application/octet-stream"}
    media_type = plain if held else real or plain
    return Blob(data, text, media_type, certain=bool(real))


def _by_title(part: Image | Document) -> str:
    title = part.title or "" if isinstance(part, Document) else ""
    return _BY_ENDING.get(title.rpartition(".")[2].lower(), "")


def is_pdf(part: Attachment, blob: Blob | None) -> bool:
    """An image may be one too: some clients send a PDF as `image_url`."""
    return not isinstance(part, Audio) and blob is not None and blob.media_type == PDF


class Fitting:
    """One request on its way to one target. `blobs` are by the identity of their parts, `read` what PDFs say, by `Key`."""

    def __init__(
        self, takes: Takes, ledger: Ledger, blobs: Mapping[int, Blob], read: Mapping[Key, Pages | Unread], *, pictures: bool
    ) -> None:
        self.takes = takes
        self.ledger = ledger
        self._blobs = blobs
        self._read = read
        self._pictures = pictures
        self._images: list[tuple[Path, Blob | None]] = []

    def request(self, request: Request) -> Request:
        """Raises `MalformedBody` and `UnfitMedia`."""
        messages = [
            msgspec.structs.replace(message, parts=self.parts(message.parts)) if _any_within(message.parts) else message
            for message in request.messages
        ]
        self._check_together()
        return msgspec.structs.replace(request, messages=messages)

    def parts(self, parts: list[Part]) -> list[Part]:
        return [made for part in parts for made in self._part(part)]

    def _part(self, part: Part) -> list[Part]:
        match part:
            case Image():
                return self._image(part)
            case Document():
                return self._document(part)
            case Audio():
                return [self._audio(part)]
            case ToolResult():
                return [msgspec.structs.replace(part, parts=self.parts(part.parts))] if _any_within(part.parts) else [part]
            case Text() | Refusal() | Reasoning() | ToolCall() | Unknown():
                return [part]
            case _:
                assert_never(part)

    # ------------------------------------------------------------ images

    def _image(self, part: Image) -> list[Part]:
        blob = self._blobs.get(id(part))
        if blob is not None and blob.media_type == PDF and blob.certain:
            document = Document(media_type=PDF, data=blob.text, cache=part.cache, at=part.at, extras=part.extras)
            return self._pdf(document, blob, id(part))
        if self.takes.images == "none" and part.file is None:
            return [self._left_out(part, "image", "the model sees no images")]
        if blob is None:
            self._images.append((part.at, None))
            return [part]
        if not blob.media_type.startswith("image/"):
            if blob.certain or part.url is not None or blob.media_type:
                what = blob.media_type or "of no known type"
                raise _unfit(part.at, f"{_origin(part)} is {what}, not an image")
            blob = msgspec.structs.replace(blob, media_type="image/png")
        elif part.url is not None and not blob.certain:
            raise _unfit(part.at, f"{_origin(part)} is called {blob.media_type}, but its bytes are no image")
        self._check_image(part, blob)
        return [msgspec.structs.replace(part, media_type=blob.media_type, data=blob.text, url=None)]

    def _check_image(self, part: Image, blob: Blob) -> None:
        takes = self.takes
        if takes.image_types and blob.media_type not in takes.image_types:
            allowed = ", ".join(sorted(takes.image_types))
            raise _unfit(part.at, f"{takes.label} takes {allowed}; this is {blob.media_type}, which must be converted first")
        if takes.image_bytes is not None and len(blob.data) > takes.image_bytes:
            raise _unfit(
                part.at,
                f"{takes.label} takes images of up to {_size(takes.image_bytes)}; this one has {_size(len(blob.data))}",
            )
        self._images.append((part.at, blob))

    def _check_together(self) -> None:
        """How many there are, and how large their sides may be then."""
        rows, count = self.takes.image_sides, len(self._images)
        if not rows or not count:
            return
        most = next((side for number, side in rows if count <= number), None)
        if most is None:
            at = self._images[rows[-1][0]][0]
            raise _unfit(at, f"{self.takes.label} takes up to {rows[-1][0]} images in one request; this is one more")
        for at, blob in self._images:
            size = dimensions(blob.data, blob.media_type) if blob is not None else None
            if size is not None and max(size) > most:
                many = f" where there are {count} of them" if len(rows) > 1 and most != rows[0][1] else ""
                raise _unfit(
                    at,
                    f"{self.takes.label} takes images of up to {most} pixels a side{many}; this one has {size[0]} x {size[1]}",
                )

    # ------------------------------------------------------------ documents

    def _document(self, part: Document) -> list[Part]:
        if part.parts is not None:
            return [msgspec.structs.replace(part, parts=self.parts(part.parts))] if _any_within(part.parts) else [part]
        blob = self._blobs.get(id(part))
        if blob is None:
            return [part]
        if blob.media_type == PDF:
            return self._pdf(part, blob, id(part))
        if blob.certain and blob.media_type.startswith("image/") and blob.media_type != "image/svg+xml":
            self._heading_lost(part)
            return self._image(self._as_image(part, blob))
        if self.takes.files and part.url is None:
            return [msgspec.structs.replace(part, media_type=part.media_type or blob.media_type, data=blob.text)]
        text = _text_of(blob, guess=part.url is not None or not blob.media_type)
        if text is not None:
            return [msgspec.structs.replace(part, media_type="text/plain", text=text, data=None, url=None)]
        if part.url is not None:
            raise _unfit(
                part.at, f"{_origin(part)} is {blob.media_type or 'of no known type'}; allowed: a PDF, a text, an image"
            )
        if is_text(blob.media_type):
            raise _broken(part.at, f"a document of type {blob.media_type} must be text in UTF-8, and this is not")
        if self.takes.pdfs == "none":
            return [
                self._left_out(
                    part, "document", f"the target takes no document of type {part.media_type or blob.media_type or 'unknown'}"
                )
            ]
        return [msgspec.structs.replace(part, data=blob.text)]

    def _as_image(self, part: Document, blob: Blob) -> Image:
        """An image that came as a document."""
        image = Image(media_type=blob.media_type, data=blob.text, cache=part.cache, at=part.at, extras=part.extras)
        self._blobs = {**self._blobs, id(image): blob}
        return image

    def _heading_lost(self, part: Document) -> None:
        for key, value in (("title", part.title), ("context", part.context)):
            if value is not None:
                self.ledger.add(part.at, key, "an image has none", "info")

    def _pdf(self, part: Document, blob: Blob, source: int) -> list[Part]:
        """`source`: the identity of the part that the PDF came in."""
        takes = self.takes
        if takes.pdfs != "none":
            if takes.pdf_bytes is not None and len(blob.data) > takes.pdf_bytes:
                most, size = _size(takes.pdf_bytes), _size(len(blob.data))
                raise _unfit(part.at, f"{takes.label} takes PDF documents of up to {most}; this one has {size}")
            return [msgspec.structs.replace(part, media_type=PDF, data=blob.text, url=None)]
        found = self._read.get((source, self._pictures and takes.images != "none"))
        if found is None or (isinstance(found, Unread) and found.missing):
            why = found.why if found is not None else "nothing is there to read it with"
            return [self._left_out(part, "document", f"the model takes no PDF, and {why}")]
        if isinstance(found, Unread):
            raise _broken(part.at, f"{_origin(part)} {found.why}")
        return self._told(part, found)

    def _told(self, part: Document, found: Pages) -> list[Part]:
        """A PDF as what it says: one text, and after it the pictures of pages, if there are any."""
        texts = [(number, page.text.strip()) for number, page in enumerate(found.pages, 1)]
        pictures = [(number, page.picture) for number, page in enumerate(found.pages, 1) if page.picture]
        read, count = len(found.pages), found.count
        name = f"[document: {part.title}, " if part.title else "[document: "
        pages = "1 page" if count == 1 else f"{count} pages"
        lines = [f"{name}{pages}{'' if read == count else f', of which the first {read}'}]"]
        if part.context is not None:
            lines.append(part.context)
        said = [(number, text) for number, text in texts if text]
        lines += [f"[page {number}]\n{text}" if count > 1 else text for number, text in said]
        what = f"a PDF of {pages} is told as its text" if said else f"a PDF of {pages} is told without a text, as it holds none"
        if pictures:
            shown = "" if len(pictures) == read else f" of page {', '.join(str(number) for number, _ in pictures)}"
            what += f" and as pictures{shown}"
        if read < count:
            what += f", only its first {read}"
        if not said and not pictures:
            lines.append("[its pages are pictures, and hold no text]")
        self.ledger.add(part.at, None, what, "degraded" if said or pictures else "lost")
        if part.cite:
            self.ledger.add(part.at, "citations", "what is told as text is not cited", "degraded")
        if part.extras:
            self.ledger.extras(part)
        made: list[Part] = [Text(text="\n\n".join(lines), at=part.at)]
        for number, picture in pictures:
            blob = _blob(picture, b64encode(picture).decode(), "image/jpeg")
            self._images.append((part.at, blob))
            if count > 1:
                made.append(Text(text=f"[page {number}, as a picture]", at=part.at))
            made.append(Image(media_type=blob.media_type, data=blob.text, at=part.at))
        last = made[-1]
        if part.cache is not None and isinstance(last, Text | Image):
            last.cache = part.cache
        return made

    # ------------------------------------------------------------ sound

    def _audio(self, part: Audio) -> Part:
        if not self.takes.audio:
            return self._left_out(part, "audio", "the target takes no sound")
        blob = self._blobs.get(id(part))
        if blob is None:
            return part
        form = audio_format(blob.media_type) or part.format
        if blob.certain and not blob.media_type.startswith(("audio/", "video/")):
            raise _unfit(part.at, f"this is {blob.media_type}, not a sound")
        if not blob.certain or blob.media_type.startswith("video/"):
            form = part.format
        if self.takes.audio_formats and form not in self.takes.audio_formats:
            allowed = ", ".join(sorted(self.takes.audio_formats))
            raise _unfit(part.at, f"{self.takes.label} takes {allowed}; this is {form}, which must be converted first")
        return msgspec.structs.replace(part, data=blob.text, format=form)

    def _left_out(self, part: Attachment, kind: str, why: str) -> Text:
        """A word stays behind, so that the model knows of it and no turn is empty."""
        self.ledger.add(part.at, None, why, "lost")
        name = f": {part.title}" if isinstance(part, Document) and part.title else ""
        return Text(text=f"[{kind} omitted{name}]", cache=None if isinstance(part, Audio) else part.cache, at=part.at)


def _text_of(blob: Blob, *, guess: bool) -> str | None:
    """What a document says that is text. `guess`: nobody knows that it is."""
    if blob.certain and not is_text(blob.media_type) and blob.media_type != "image/svg+xml":
        return None
    if not guess and not is_text(blob.media_type) and blob.media_type not in {"application/octet-stream", "image/svg+xml"}:
        return None
    if len(blob.data) > _MOST_TEXT:
        return None
    utf16 = blob.data[:2] in {b"\xff\xfe", b"\xfe\xff"}
    try:
        text = blob.data.decode("utf-16" if utf16 else "utf-8-sig")
    except UnicodeDecodeError:
        return None
    return None if "\0" in text else text


# ---------------------------------------------------------------- words


def shown_url(url: str) -> str:
    """Without its query: a signature may stand there."""
    bare_url = url.partition("?")[0].partition("#")[0]
    return bare_url if len(bare_url) <= 200 else bare_url[:200] + "..."


def _origin(part: Image | Document) -> str:
    return "this" if part.url is None or is_inline(part) else f"what {shown_url(part.url)} led to"


def _size(count: int) -> str:
    return f"{count / 1_000_000:.1f} MB" if count >= 100_000 else f"{count} bytes"


def _unfit(at: Path, what: str) -> UnfitMedia:
    path = path_text(at)
    return UnfitMedia(f"{path}: {what}", param=path)


def _broken(at: Path, what: str) -> MalformedBody:
    path = path_text(at)
    return MalformedBody(f"{path}: {what}", param=path)
