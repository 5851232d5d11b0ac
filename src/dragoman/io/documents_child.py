"""The process that reads one PDF. Started by `documents.py`, by path: it imports nothing of Dragoman.

A process of its own, because PDFs come from strangers and their reader is a large library in C++: what crashes it, hangs
it or makes it swallow memory ends this process and nothing else. Before the library sees a byte, the process gives up what
it will not need: memory beyond a limit, processor time, new files and their sizes.

    in    one line of JSON, the settings; then the PDF to the end
    out   one line of JSON, {"count": pages, "pages": [{"text": ..., "size": bytes of its picture}, ...]} or
          {"error": kind, "what": ...}; then the pictures (JPEG), one after the other
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import math
import os
import sys
from pathlib import Path
from typing import Any

_SPARSE = 8
"""A page with fewer letters is a picture with a page number on it."""
_NO_MEMORY = 77
"""What this process answers when even an error is too much."""


def main() -> int:
    answers = os.dup(1)
    # Whatever the library prints must not mix with the answer.
    os.dup2(2, 1)
    with contextlib.suppress(OSError):
        # When memory runs out, this process is the one to go. Linux only.
        Path("/proc/self/oom_score_adj").write_text("1000")
    settings = json.loads(sys.stdin.buffer.readline())
    sys.path[:] = settings["paths"]
    try:
        pdfium = importlib.import_module("pypdfium2")
        if settings["pictures"] != "never":
            importlib.import_module("PIL.JpegImagePlugin")
    except ImportError as error:
        return answer(answers, {"error": "missing", "what": str(error)}, [])
    confine(settings)
    data = sys.stdin.buffer.read()
    try:
        return answer(answers, *read(pdfium, data, settings))
    except MemoryError:
        return _NO_MEMORY


def confine(settings: dict[str, Any]) -> None:
    """POSIX only: elsewhere the time limit of whoever started this must do."""
    try:
        resource = importlib.import_module("resource")
    except ImportError:
        return
    bounds = {
        "RLIMIT_AS": settings["memory"],
        "RLIMIT_CPU": math.ceil(settings["seconds"]),
        "RLIMIT_FSIZE": 0,
        "RLIMIT_CORE": 0,
        "RLIMIT_NPROC": 0,
        "RLIMIT_NOFILE": 64,
    }
    for name, bound in bounds.items():
        kind = getattr(resource, name, None)
        if kind is not None:
            with contextlib.suppress(OSError, ValueError):  # a system may know the name and not the limit
                resource.setrlimit(kind, (bound, bound))


def read(pdfium: Any, data: bytes, settings: dict[str, Any]) -> tuple[dict[str, Any], list[bytes]]:
    try:
        document = pdfium.PdfDocument(data)
    except pdfium.PdfiumError as error:
        code = getattr(error, "err_code", None)
        encrypted = code == pdfium.raw.FPDF_ERR_PASSWORD or "password" in str(error).lower()
        return {"error": "encrypted" if encrypted else "broken", "what": str(error)}, []
    pages: list[dict[str, Any]] = []
    pictures: list[bytes] = []
    count = len(document)
    left = settings["text"]
    for number in range(min(count, settings["pages"])):
        picture = b""
        try:
            page = document[number]
            text = text_of(page, left)
            wanted = settings["pictures"] == "always" or (settings["pictures"] == "bare" and is_bare(text))
            if wanted and len(pictures) < settings["most_pictures"]:
                picture = picture_of(page, settings["side"])
            page.close()
        except pdfium.PdfiumError:
            text = ""  # one broken page is no reason to give the others up
        left -= len(text)
        pages.append({"text": text, "size": len(picture)})
        if picture:
            pictures.append(picture)
        if left <= 0:
            break
    return {"count": count, "pages": pages}, pictures


def text_of(page: Any, most: int) -> str:
    """At most so many characters, as UTF-8 can say them: a font may map glyphs to halves of characters."""
    textpage = page.get_textpage()
    try:
        text: str = textpage.get_text_range(0, min(textpage.count_chars(), most), errors="replace")
    finally:
        textpage.close()
    text = text.replace("\r\n", "\n").replace("\0", "").replace("\ufffe", "-")
    return text.encode("utf-8", "replace").decode()


def is_bare(text: str) -> bool:
    return sum(char.isalpha() for char in text) < _SPARSE


def picture_of(page: Any, side: int) -> bytes:
    """With its longer side of so many pixels, whatever size in inches the page claims."""
    width, height = page.get_size()
    longest = max(width, height)
    if not (0 < longest < math.inf) or min(width, height) <= 0:
        return b""
    scale = side / longest
    if width * scale < 1 or height * scale < 1:
        return b""
    bitmap = page.render(scale=scale, may_draw_forms=False)
    out = io.BytesIO()
    bitmap.to_pil().convert("RGB").save(out, "JPEG", quality=85)
    bitmap.close()
    return out.getvalue()


def answer(to: int, words: dict[str, Any], pictures: list[bytes]) -> int:
    with os.fdopen(to, "wb") as out:
        out.write(json.dumps(words).encode() + b"\n")
        for picture in pictures:
            out.write(picture)
    return 0


if __name__ == "__main__":
    # No farewell: the library's own clean-up may crash over what it has read.
    done = main()
    sys.stdout.flush()
    os._exit(done)
