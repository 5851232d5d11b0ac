"""What bytes are, by their own word: media types from magic numbers, the size of a picture, base64 that says where it breaks.

A declared type is somebody's claim. Browsers, scanners and tools get it wrong every day, and providers answer 400 to
a JPEG that is called a PNG; so it is the bytes that count.
"""

from __future__ import annotations

import binascii
import re
import struct
from urllib.parse import unquote, unquote_to_bytes

PDF = "application/pdf"
_PDF_WITHIN = 1024
"""Readers look for the header in the first KiB: https://pdfa.org/understanding-the-pdf-file-header"""

# Prefix, media type. The longer and the more certain first.
_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
    (b"\xff\x0a", "image/jxl"),
    (b"\x00\x00\x00\x0cJXL ", "image/jxl"),
    (b"8BPS", "image/vnd.adobe.photoshop"),
    (b"\x00\x00\x01\x00", "image/x-icon"),
    (b"OggS", "audio/ogg"),
    (b"fLaC", "audio/flac"),
    (b"ID3", "audio/mpeg"),
    (b"\x1aE\xdf\xa3", "video/webm"),
    (b"PK\x03\x04", "application/zip"),
    (b"\x1f\x8b", "application/gzip"),
    (b"{\\rtf", "application/rtf"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "application/x-ole-storage"),
    (b"\x7fELF", "application/x-elf"),
)
# https://www.rfc-editor.org/rfc/rfc2361 for RIFF; the brands of ISO media files: https://mp4ra.org/registered-types/brands
_RIFF = {b"WEBP": "image/webp", b"WAVE": "audio/wav", b"AVI ": "video/x-msvideo"}
_FORM = {b"AIFF": "audio/aiff", b"AIFC": "audio/aiff"}
_BRANDS = {
    b"heic": "image/heic",
    b"heix": "image/heic",
    b"hevc": "image/heic",
    b"hevx": "image/heic",
    b"heim": "image/heic",
    b"heis": "image/heic",
    b"mif1": "image/heif",
    b"msf1": "image/heif",
    b"avif": "image/avif",
    b"avis": "image/avif",
    b"M4A ": "audio/mp4",
    b"M4B ": "audio/mp4",
}
# The second byte of an MPEG audio frame (layers II and III) and of AAC's ADTS. Not every value: ff fe begins UTF-16.
_FRAMES = {
    **dict.fromkeys((0xE2, 0xE3, 0xF2, 0xF3, 0xFA, 0xFB, 0xFC, 0xFD), "audio/mpeg"),
    **dict.fromkeys((0xF0, 0xF1, 0xF8, 0xF9), "audio/aac"),
}
_ALIASES = {
    "image/jpg": "image/jpeg",
    "image/pjpeg": "image/jpeg",
    "image/x-png": "image/png",
    "image/heic-sequence": "image/heic",
    "image/heif-sequence": "image/heif",
    "audio/x-wav": "audio/wav",
    "audio/wave": "audio/wav",
    "audio/vnd.wave": "audio/wav",
    "audio/mp3": "audio/mpeg",
    "audio/x-flac": "audio/flac",
    "audio/x-aiff": "audio/aiff",
    "audio/x-m4a": "audio/mp4",
    "application/x-pdf": PDF,
}
_FORMATS = {
    "audio/wav": "wav",
    "audio/mpeg": "mp3",
    "audio/ogg": "ogg",
    "audio/flac": "flac",
    "audio/aiff": "aiff",
    "audio/mp4": "m4a",
    "audio/aac": "aac",
}
_TEXTUAL = frozenset(
    {
        "application/json",
        "application/xml",
        "application/yaml",
        "application/x-yaml",
        "application/toml",
        "application/javascript",
        "application/x-javascript",
        "application/typescript",
        "application/x-typescript",
        "application/x-python",
        "application/x-python-code",
        "application/x-httpd-php",
        "application/graphql",
        "application/x-ndjson",
        "application/sql",
        "application/x-sh",
        "application/rtf",
    }
)


class BadBase64(ValueError):
    """The text says what is wrong and at which character."""


def bare(media_type: str) -> str:
    """Without parameters, in lower case, under its registered name."""
    plain = media_type.partition(";")[0].strip().lower()
    return _ALIASES.get(plain, plain)


def is_text(media_type: str) -> bool:
    """Whether a document of this type can be read as it is by a model that reads text."""
    plain = bare(media_type)
    return plain.startswith("text/") or plain in _TEXTUAL or plain.endswith(("+json", "+xml"))


def sniff(data: bytes) -> str:
    """The media type that the bytes speak of, empty where they say nothing certain."""
    for magic, media_type in _MAGIC:
        if data.startswith(magic):
            return media_type
    head = data[:16]
    if head[:4] == b"RIFF":
        return _RIFF.get(head[8:12], "")
    if head[:4] == b"FORM":
        return _FORM.get(head[8:12], "")
    if head[4:8] == b"ftyp":
        return _BRANDS.get(head[8:12], "video/mp4")
    if b"%PDF-" in data[:_PDF_WITHIN]:
        return PDF
    if head[:2] == b"BM" and len(data) > 26 and data[6:10] == b"\0\0\0\0":
        return "image/bmp"
    if len(head) > 1 and head[0] == 0xFF and head[1] in _FRAMES:
        return _FRAMES[head[1]]
    return _markup(data[:512])


def _markup(head: bytes) -> str:
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if start.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
        return "text/html"
    if start.startswith(b"<svg") or (start.startswith(b"<?xml") and b"<svg" in start):
        return "image/svg+xml"
    return ""


def audio_format(media_type: str) -> str:
    """`wav` for `audio/wav`; empty for what has no such short name."""
    return _FORMATS.get(bare(media_type), "")


def dimensions(data: bytes, media_type: str) -> tuple[int, int] | None:
    """Width and height in pixels, None where the header does not tell."""
    try:
        match media_type:
            case "image/png":
                return struct.unpack(">II", data[16:24]) if data[12:16] == b"IHDR" else None  # type: ignore[return-value]
            case "image/gif":
                return struct.unpack("<HH", data[6:10])  # type: ignore[return-value]
            case "image/jpeg":
                return _jpeg(data)
            case "image/webp":
                return _webp(data)
            case _:
                return None
    except struct.error:
        return None


def _jpeg(data: bytes) -> tuple[int, int] | None:
    """From the first frame header (SOF0 to SOF15 but for DHT, JPG and DAC)."""
    at = 2
    while at + 9 <= len(data):
        if data[at] != 0xFF:
            return None
        kind = data[at + 1]
        if kind == 0xFF:  # fill bytes
            at += 1
            continue
        if 0xC0 <= kind <= 0xCF and kind not in {0xC4, 0xC8, 0xCC}:
            height, width = struct.unpack(">HH", data[at + 5 : at + 9])
            return width, height
        at += 2 if 0xD0 <= kind <= 0xD8 or kind == 1 else 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return None


def _webp(data: bytes) -> tuple[int, int] | None:
    """https://developers.google.com/speed/webp/docs/riff_container; of the two ways to code a picture, the first bytes after
    the chunk's own head: RFC 6386, 9.1, and https://developers.google.com/speed/webp/docs/webp_lossless_bitstream_specification"""
    kind = data[12:16]
    if kind == b"VP8X" and len(data) >= 30:
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    if kind == b"VP8L" and len(data) >= 25 and data[20] == 0x2F:
        bits = int.from_bytes(data[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 " and len(data) >= 30 and data[23:26] == b"\x9d\x01\x2a":
        width, height = struct.unpack("<HH", data[26:30])
        return width & 0x3FFF, height & 0x3FFF
    return None


def inline(url: str) -> tuple[str, str] | None:
    """Media type and base64 of a `data:` URL, None for any other. https://www.rfc-editor.org/rfc/rfc2397"""
    if url[:5].lower() != "data:":
        return None
    head, _, data = url[5:].partition(",")
    media_type, _, last = head.rpartition(";")
    if last.strip().lower() == "base64":
        return media_type, unquote(data) if "%" in data else data
    return head or "text/plain", binascii.b2a_base64(unquote_to_bytes(data), newline=False).decode()


# ---------------------------------------------------------------- base64

_WHITE = re.compile(r"\s+")
_STRANGE = re.compile(r"[^A-Za-z0-9+/_\-=\s]|=(?=\s*[^=\s])")
"""Also a padding that is not at the end."""
_URL_SAFE = str.maketrans("-_", "+/")


def from_base64(text: str) -> tuple[bytes, str]:
    """The bytes, and the text as standard base64 with its padding; the very same text where it was that already. Line
    breaks and the URL-safe alphabet are understood. Raises `BadBase64`."""
    try:
        return binascii.a2b_base64(text, strict_mode=True), text
    except (ValueError, UnicodeEncodeError):
        pass
    strange = _STRANGE.search(text)
    if strange is not None:
        raise BadBase64(f"this is not base64: {strange[0]!r} at character {strange.start()}")
    plain = _WHITE.sub("", text).translate(_URL_SAFE).rstrip("=")
    if len(plain) % 4 == 1:
        raise BadBase64(f"this is not base64: it breaks off at character {len(text)}, in the middle of a byte")
    plain += "=" * (-len(plain) % 4)
    return binascii.a2b_base64(plain), plain
