"""Reads PDF documents for models that take none: their text, and pictures of their pages.

Each PDF gets a process of its own (`documents_child.py`), bounded in time, memory, pages, text and pixels, with an empty
environment: PDFs come from strangers. Needs the extra `documents` (pypdfium2 and Pillow).
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from dragoman.flow.attachments import Meanwhile, Pictures
from dragoman.flow.media import Page, Pages, Unread
from dragoman.io.meanwhile import with_meanwhile

log = logging.getLogger("dragoman.documents")

_CHILD = Path(__file__).with_name("documents_child.py")
_AT_ONCE = 2
_MOST_TEXT = 4_000_000
"""Characters of one document: more than any context window holds."""
_MOST_PICTURES = 20
"""Of one document: from the twenty-first image on, providers take smaller ones only."""
_SIDE = 1568
"""Pixels; what is larger providers scale down: https://platform.claude.com/docs/en/build-with-claude/vision"""
_NEEDED = ("SYSTEMROOT",)
"""Windows starts no interpreter without it."""
_MISSING = "nothing here can read it: pip install 'dragoman[documents]'"
_WORST_START = 15.0
"""Seconds beyond the limit, for a process to start on a busy machine."""


class _ReadPage(msgspec.Struct):
    text: str
    size: int


class _Answer(msgspec.Struct):
    count: int = 0
    pages: list[_ReadPage] = []
    error: str = ""
    what: str = ""


_answer = msgspec.json.Decoder(_Answer)


class PdfReader:
    """Implements `flow.attachments.Reader`. `timeout` in seconds and `memory` in bytes, for one document."""

    def __init__(
        self,
        *,
        pictures: Pictures = "bare",
        max_pages: int = 100,
        timeout: float = 30.0,
        memory: int = 1024 * 1024 * 1024,
        child: Path = _CHILD,
    ) -> None:
        self.pictures: Pictures = pictures
        self._max_pages = max_pages
        self._timeout = timeout
        self._memory = memory
        self._child = child
        self._gate = asyncio.Semaphore(_AT_ONCE)

    async def read(
        self, pdfs: Sequence[bytes], patience: float, meanwhile: Meanwhile | None = None, *, pictures: bool
    ) -> list[Pages | Unread]:
        """See `flow.attachments.Reader`."""
        if not is_installed():
            return [Unread(_MISSING, missing=True)] * len(pdfs)
        settings: dict[str, Any] = {
            "paths": [path for path in sys.path if path],  # not the working directory
            "pictures": self.pictures if pictures else "never",
            "pages": self._max_pages,
            "text": _MOST_TEXT,
            "most_pictures": _MOST_PICTURES,
            "side": _SIDE,
            "memory": self._memory,
            "seconds": min(self._timeout, patience),
        }
        head = json.dumps(settings).encode() + b"\n"
        until = asyncio.get_running_loop().time() + patience

        async def every() -> list[Pages | Unread]:
            return list(await asyncio.gather(*(self._one(head + pdf, settings["seconds"], until) for pdf in pdfs)))

        return await with_meanwhile(every(), meanwhile)

    async def _one(self, data: bytes, seconds: float, until: float) -> Pages | Unread:
        run = _Run(self._child, data, seconds + _WORST_START)
        try:
            async with asyncio.timeout_at(until), self._gate:
                return run.outcome(await asyncio.to_thread(run), seconds)
        except TimeoutError:
            return Unread("could not be read in time")
        finally:
            run.stop()


class _Run:
    """One process, in a thread: whoever waits for it may be cancelled, and then it is stopped."""

    def __init__(self, child: Path, data: bytes, seconds: float) -> None:
        self._child = child
        self._data = data
        self._seconds = seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._stopped = False
        self._lock = threading.Lock()

    def __call__(self) -> tuple[int, bytes] | None:
        """Its exit code and what it said; None when it took too long."""
        with self._lock:
            if self._stopped:
                return None
            process = self._process = subprocess.Popen(  # noqa: S603 - our own file
                # -I: nothing of the environment or of the working directory decides what is imported.
                [sys.executable, "-I", str(self._child)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={name: os.environ[name] for name in _NEEDED if name in os.environ},
                close_fds=True,
                start_new_session=True,
            )
        try:
            said, _ = process.communicate(self._data, timeout=self._seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            return None
        finally:
            self._data = b""
        return process.returncode, said

    def stop(self) -> None:
        with self._lock:
            self._stopped = True
            if self._process is not None and self._process.poll() is None:
                self._process.kill()

    def outcome(self, done: tuple[int, bytes] | None, seconds: float) -> Pages | Unread:
        if done is None:
            return Unread(f"could not be read within {seconds:g} s")
        code, said = done
        head, _, pictures = said.partition(b"\n")
        try:
            answer = _answer.decode(head)
        except msgspec.DecodeError:
            log.warning("the process that reads PDF documents ended with %d", code)
            return Unread("could not be read: it is broken, or takes more time or memory than there is for it")
        match answer.error:
            case "":
                return _pages(answer, pictures)
            case "missing":
                return Unread(_MISSING, missing=True)
            case "encrypted":
                return Unread("is encrypted: remove its password first")
            case _:
                return Unread("is not a PDF that can be read: it is broken")


def _pages(answer: _Answer, pictures: bytes) -> Pages:
    found: list[Page] = []
    at = 0
    for page in answer.pages:
        found.append(Page(page.text, pictures[at : at + page.size]))
        at += page.size
    return Pages(tuple(found), answer.count)


@cache
def is_installed() -> bool:
    return importlib.util.find_spec("pypdfium2") is not None
