"""Media: Converse names a format where others give a media type. Types: `ImageFormat`, `DocumentFormat`, `AudioFormat`."""

from __future__ import annotations

from dragoman.wire.media import bare, is_text

IMAGES = frozenset({"png", "jpeg", "gif", "webp"})

DOCUMENTS: dict[str, str] = {
    "pdf": "application/pdf",
    "csv": "text/csv",
    "doc": "application/msword",
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "xls": "application/vnd.ms-excel",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "html": "text/html",
    "txt": "text/plain",
    "md": "text/markdown",
}
_FORMAT_OF = {media: name for name, media in DOCUMENTS.items()}

AUDIO = frozenset(
    ["mp3", "opus", "wav", "aac", "flac", "mp4", "ogg", "mkv", "mka", "x-aac", "m4a", "mpeg", "mpga", "pcm", "webm"],
)


def image_format(media_type: str) -> str | None:
    name = bare(media_type).removeprefix("image/")
    return name if name in IMAGES else None


def document_format(media_type: str) -> str | None:
    """Texts of other kinds (JSON, XML, source code) are plain text here."""
    media = bare(media_type)
    if not media:
        return "pdf"
    return _FORMAT_OF.get(media) or ("txt" if is_text(media) else None)
