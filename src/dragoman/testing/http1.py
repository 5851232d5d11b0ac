"""HTTP/1.1 as the scripted upstream needs it: bytes to requests, and the lines before a body. No sockets here.

Written by hand and not with the library that the gateway uses, so that the two do not share their faults.
"""

from __future__ import annotations

import http
import json
import zlib
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

import msgspec

Framing = Literal["auto", "chunked", "close"]
"""`auto`: a length for a whole body, chunks for a stream. `close`: the body ends with the connection, whichever it is."""


class BadRequest(Exception):
    """These bytes are no HTTP/1.1 request."""


class Request(msgspec.Struct):
    """A request as it came. `target` is as it stood on the wire, `path` its percent-decoded path, `query` its raw query; header
    names keep their case and order. `at` is in seconds on the monotonic clock, when the last byte was there. `scenario` is
    what it was answered with, `sent` how many bytes of the answer's body have been written."""

    method: str
    target: str
    version: str
    headers: list[tuple[str, str]]
    body: bytes = b""
    at: float = 0.0
    connection: int = 0
    scenario: str = ""
    sent: int = 0

    @property
    def path(self) -> str:
        return unquote(urlsplit(self.target).path)

    @property
    def query(self) -> str:
        return urlsplit(self.target).query

    @property
    def json(self) -> Any:
        """The body as parsed JSON, None when it is none."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None

    def header(self, name: str) -> str | None:
        """The value of the first header of this name, whatever its case."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)

    @property
    def keeps_alive(self) -> bool:
        wish = (self.header("connection") or "").lower()
        return "close" not in wish and (self.version == "HTTP/1.1" or "keep-alive" in wish)


class RequestReader:
    """Feed it bytes, take requests."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._request: Request | None = None
        self._wants_continue = False
        self._chunks = bytearray()

    def feed(self, data: bytes) -> None:
        self._buffer += data

    def wants_continue(self) -> bool:
        """Whether the client waits for `100 Continue`. Says so once."""
        wants, self._wants_continue = self._wants_continue, False
        return wants

    def take(self) -> Request | None:
        """The next whole request, None when more bytes are needed. Raises `BadRequest`."""
        if self._request is None:
            head, blank, rest = self._buffer.partition(b"\r\n\r\n")
            if not blank:
                return None
            self._buffer = rest
            self._request = parse_head(bytes(head))
            self._wants_continue = (self._request.header("expect") or "").lower() == "100-continue"
        body = self._body(self._request)
        if body is None:
            return None
        request, self._request = self._request, None
        self._wants_continue = False
        request.body = decoded(body, request.header("content-encoding"))
        return request

    def _body(self, request: Request) -> bytes | None:
        if "chunked" in (request.header("transfer-encoding") or "").lower():
            return self._chunked()
        try:
            length = int(request.header("content-length") or 0)
        except ValueError:
            raise BadRequest("content-length is not a number") from None
        if len(self._buffer) < length:
            return None
        body = bytes(self._buffer[:length])
        del self._buffer[:length]
        return body

    def _chunked(self) -> bytes | None:
        while True:
            line, end, _ = self._buffer.partition(b"\r\n")
            if not end:
                return None
            try:
                size = int(line.split(b";")[0], 16)
            except ValueError:
                raise BadRequest(f"not the size of a chunk: {bytes(line[:20])!r}") from None
            after = len(line) + 2 + size + 2
            if len(self._buffer) < after:
                return None
            self._chunks += self._buffer[len(line) + 2 : after - 2]
            del self._buffer[:after]
            if size == 0:
                body = bytes(self._chunks)
                self._chunks.clear()
                return body


def parse_head(head: bytes) -> Request:
    lines = head.decode("latin-1").split("\r\n")
    try:
        method, target, version = lines[0].split(" ")
    except ValueError:
        raise BadRequest(f"not a request line: {lines[0][:80]!r}") from None
    if version not in ("HTTP/1.1", "HTTP/1.0"):
        raise BadRequest(f"not a version: {version[:20]!r}")
    headers: list[tuple[str, str]] = []
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if not colon or name != name.strip() or not name:
            raise BadRequest(f"not a header: {line[:80]!r}")
        headers.append((name, value.strip(" \t")))
    return Request(method, target, version, headers)


def decoded(body: bytes, encoding: str | None) -> bytes:
    """A request's body without its content coding, where that is one we know."""
    if encoding in ("gzip", "deflate"):
        try:
            return zlib.decompress(body, wbits=47)
        except zlib.error:
            return body
    return body


def head_bytes(status: int, headers: list[tuple[str, str]]) -> bytes:
    try:
        reason = http.HTTPStatus(status).phrase
    except ValueError:
        reason = "Overloaded" if status == 529 else "Unknown"
    lines = [f"HTTP/1.1 {status} {reason}", *(f"{name}: {value}" for name, value in headers), "", ""]
    return "\r\n".join(lines).encode("latin-1")


def chunk_bytes(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


LAST_CHUNK = b"0\r\n\r\n"
