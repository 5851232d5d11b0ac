"""Small files of many kinds, made here: what is in them is known, and nobody's rights are touched."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Sequence


def png(width: int = 1, height: int = 1) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + b"\xff\0\0" * width for _ in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def png_head(width: int, height: int, size: int = 64) -> bytes:
    """A PNG that claims this size and has so many bytes."""
    return png(1, 1)[:16] + struct.pack(">II", width, height) + b"\0" * (size - 24)


JPEG = (
    b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00\xff\xc0\x00\x11\x08\x00\x20\x00\x30\x03" + b"\0" * 16
)
GIF = b"GIF89a\x02\x00\x03\x00\x00\x00\x00;"
WEBP = b"RIFF\x1a\x00\x00\x00WEBPVP8X\x0a\x00\x00\x00\x00\x00\x00\x00\x09\x00\x00\x13\x00\x00"
WEBP_LOSSLESS = b"RIFF\x11\x00\x00\x00WEBPVP8L\x05\x00\x00\x00\x2f\x2b\x01\x01\x00"
WEBP_LOSSY = b"RIFF\x16\x00\x00\x00WEBPVP8 \x0a\x00\x00\x00\x30\x01\x00\x9d\x01\x2a\x2c\x41\x05\x80"
HEIC = b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic"
WAV = b"RIFF\x24\x00\x00\x00WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00"
MP3 = b"ID3\x04\x00\x00\x00\x00\x00\x00" + b"\xff\xfb\x90\x00"
OGG = b"OggS\x00\x02" + b"\0" * 20
DOCX = b"PK\x03\x04\x14\x00" + b"\0" * 20


def pdf(pages: Sequence[str], *, encrypted: bool = False) -> bytes:
    """One page for each text; one without is a red square."""
    objects: dict[int, bytes] = {3: b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>"}
    kids: list[bytes] = []
    for index, text in enumerate(pages):
        number = 4 + 2 * index
        kids.append(b"%d 0 R" % number)
        drawing = b"BT /F1 24 Tf 72 700 Td (%b) Tj ET" % text.encode() if text else b"1 0 0 rg 100 100 200 200 re f"
        objects[number] = (
            b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Resources<</Font<</F1 3 0 R>>>>/Contents %d 0 R>>" % (number + 1)
        )
        objects[number + 1] = b"<</Length %d>>\nstream\n%b\nendstream" % (len(drawing), drawing)
    objects[1] = b"<</Type/Catalog/Pages 2 0 R>>"
    objects[2] = b"<</Type/Pages/Kids[%b]/Count %d>>" % (b" ".join(kids), len(kids))
    last = max(objects)
    trailer = b"/Size %d/Root 1 0 R" % (last + 1)
    if encrypted:  # with a password that is not the empty one
        secret = b"00" * 32
        trailer += b"/ID[<%b><%b>]/Encrypt<</Filter/Standard/V 1/R 2/O<%b>/U<%b>/P -4>>" % (
            b"00" * 16,
            b"00" * 16,
            secret,
            secret,
        )
    out = b"%PDF-1.4\n"
    offsets: list[int] = []
    for number in sorted(objects):
        offsets.append(len(out))
        out += b"%d 0 obj\n%b\nendobj\n" % (number, objects[number])
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    start = len(out)
    return out + b"xref\n0 %d\n0000000000 65535 f \n%btrailer<<%b>>\nstartxref\n%d\n%%%%EOF" % (last + 1, table, trailer, start)


def text_of(data: bytes) -> str:
    """As base64."""
    return base64.b64encode(data).decode()


def data_url(data: bytes, media_type: str) -> str:
    return f"data:{media_type};base64,{text_of(data)}"
