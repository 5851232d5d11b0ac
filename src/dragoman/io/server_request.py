"""The half of a client's connection that understands requests, on httptools: what is one, where it ends, what is refused.

llhttp refuses nearly everything that is not HTTP, strict as it is by default; the rest is `_check`. `server_connection.py`
is the other half.
"""

from __future__ import annotations

import asyncio
import re
from abc import abstractmethod
from urllib.parse import unquote

import httptools

from dragoman.config import ServerLimits
from dragoman.errors import BodyTooLarge, DragomanError
from dragoman.io.handler import Handler
from dragoman.io.server_head import KnownHead, known_head
from dragoman.io.server_mounted import MountedExchange
from dragoman.wire.http import Inbound, RawHeaders

# Where a connection stands; see `server_connection.py`.
IDLE, HEAD, BODY, BUSY, LEAVING, CLOSED = range(6)

END = b"\r\n\r\n"
_MANY = 512
"""Pieces of a body beyond this many are joined: each is an object, and a chunk may hold one byte."""
_NEW_HEADS = 4
"""After so many heads in a row that were not like the one before, no more are remembered."""
_SPECIAL = frozenset({b"host", b"content-length", b"transfer-encoding", b"expect", b"upgrade"})


_HOST = re.compile(rb"[A-Za-z0-9._~!$&'()*+,;=%-]*(:\d*)?|\[[0-9A-Fa-f:.]+\](:\d*)?")
_good_hosts: set[bytes] = set()
"""That were looked at before: as a rule there are few."""
_MOST_HOSTS = 256


def _is_host(value: bytes) -> bool:
    if _HOST.fullmatch(value) is None:
        return False
    if len(_good_hosts) < _MOST_HOSTS:
        _good_hosts.add(value)
    return True


class TurnedAwayError(Exception):
    """Stops the parser; the reason stands in `_reason`, or an answer has begun."""


class RequestReader(asyncio.Protocol):
    __slots__ = (
        "_begun",
        "_bulk",
        "_chunked",
        "_client",
        "_expects",
        "_framing",
        "_handler",
        "_has_mount",
        "_headers",
        "_hosts",
        "_is_again",
        "_is_old",
        "_keep",
        "_known",
        "_left",
        "_length",
        "_limits",
        "_method",
        "_mounted",
        "_new_heads",
        "_parser",
        "_phase",
        "_pieces",
        "_reason",
        "_screened",
        "_size",
        "_tail",
        "_upgrade",
        "_url",
    )  # fmt: skip

    def __init__(self, handler: Handler, limits: ServerLimits, *, has_mount: bool = False) -> None:
        self._handler = handler
        self._limits = limits
        self._has_mount = has_mount
        self._mounted: MountedExchange | None = None
        """Where the body goes of a request that is not for the handler."""
        self._screened = False
        """The handler has seen the head, and would see the body."""
        self._parser: httptools.HttpRequestParser | None = httptools.HttpRequestParser(self)
        self._phase = IDLE
        self._client = ""
        self._keep = True
        """Another request may follow."""
        self._is_old = False
        """HTTP/1.0"""
        self._begun = False
        """A byte of a head has been parsed that is not whole."""
        self._reason: tuple[int, str] | None = None
        """Status and sentence with which to turn the client away."""
        self._method = b""
        self._url = b""
        self._headers: RawHeaders = []
        self._hosts = 0
        self._length: bytes | None = None
        self._chunked: bytes | None = None
        self._expects: bytes | None = None
        self._upgrade: bytes | None = None
        self._known: KnownHead | None = None
        """The last head, where the next may well be the same."""
        self._new_heads = 0
        """In a row."""
        self._is_again = False
        """The head of this request is `_known`, and its body does not go through the parser."""
        self._framing = 0  # bytes of the head, or since the last content of a chunked body
        self._tail = b""
        self._left = 0  # of a body whose length is known; -1 for one in chunks
        self._size = 0  # of what has come of a body in chunks
        self._pieces: list[bytes] = []
        self._bulk: bytearray | None = None

    def swap(self, handler: Handler) -> None:
        """Another handler from here on."""
        self._handler = handler
        self._known = None

    @abstractmethod
    def send(self, data: bytes) -> None: ...

    @abstractmethod
    def _start(self, error: DragomanError | None, body: bytes | None = None) -> None:
        """The request is whole, or is refused with `error`: have it answered. `body`: None where it has come in pieces."""

    @abstractmethod
    def _start_mounted(self, inbound: Inbound, *, expects: bool) -> MountedExchange:
        """The head is whole, and the request is for the mounted application: have it answered."""

    @abstractmethod
    def _mounted_body_came(self, exchange: MountedExchange, *, whole: bool) -> None: ...

    def _remember(self, head: bytes) -> None:
        """The head that was just read, if the next one can be the same and mean the same."""
        self._known = None
        usual = self._keep and not self._is_old and self._method == b"POST" and self._mounted is None
        special = self._length is None or not (self._chunked is self._expects is self._upgrade is None)
        if special or not usual or self._new_heads >= _NEW_HEADS or not self._url.startswith(b"/"):
            return
        self._new_heads += 1
        known = known_head(head, self._length or b"", self._headers)
        if known is not None:
            known.url = self._url
            known.path, known.raw_path, known.query = self._target()
            self._known = known

    def _recognise(self, data: bytes) -> int:
        """Where the body begins of a request whose head is known; 0 where it is not, or where the request is not the only
        one in these bytes."""
        known = self._known
        length = known.length_in(data) if known is not None else None
        if known is None or length is None:
            return 0
        start = len(known.before) + len(length) + len(known.after)
        left = int(length)
        if len(data) - start > left or left > self._handler.site.max_body:
            return 0
        self._is_again, self._screened, self._is_old, self._keep = True, False, False, True
        self._method, self._url, self._length = b"POST", known.url, length
        self._headers = known.headers(length)
        self._chunked = self._expects = self._upgrade = None
        self._new_heads = self._framing = self._size = 0
        self._left = left
        self._phase = BODY
        return start

    def _more_again(self, body: bytes) -> None:
        """The body, or a part of it, of a request whose head was known."""
        if len(body) == self._left and not self._pieces:
            self._left = 0
            self._start(None, body)
            return
        if body:
            self.on_body(body)
        if self._left == 0:
            self.on_message_complete()

    def _cut(self, data: bytes, at: int) -> int:
        """Where the next blank line ends: no head and no chunked body ends elsewhere. It may have begun in an earlier
        piece, of which `_tail` is the end."""
        tail = self._tail
        if tail:
            found = (tail + data[at : at + 3]).find(END)
            if found >= 0 and (stop := at + found + 4 - len(tail)) > at:
                self._tail = b""
                return stop
        found = data.find(END, at)
        if found >= 0:
            self._tail = b""
            return found + 4
        self._tail = (tail + data[max(at, len(data) - 3) :])[-3:]
        return len(data)

    def _decline_upgrade(self) -> None:
        """The parser thinks that another protocol follows. What follows is the body that the head announced, for we
        stay with HTTP/1.1 (RFC 9110, section 7.8); Java's client offers h2c with every request."""
        self._upgrade = None
        if self._left == 0:
            self.on_message_complete()
            return
        # This one is spent. Another is led up to the body, and sees nothing but the body.
        self._parser = httptools.HttpRequestParser(_BodyOnly(self))
        framing = b"transfer-encoding: chunked" if self._left < 0 else b"content-length: %d" % self._left
        self._parser.feed_data(b"POST / HTTP/1.1\r\n%b\r\n\r\n" % framing)

    def take_over(self) -> None:
        """The body behind a declined upgrade is whole: requests follow again."""
        self._parser = httptools.HttpRequestParser(self)

    # ------------------------------------------------------------ httptools

    def on_message_begin(self) -> None:
        self._begun = True
        self._is_again = False
        self._url = b""
        self._headers = []
        self._hosts = 0
        self._length = self._chunked = self._expects = self._upgrade = None

    def on_url(self, url: bytes) -> None:
        self._url = self._url + url if self._url else url
        if len(self._url) > self._limits.max_url_size:
            raise self._stop(414, f"the request target is longer than {self._limits.max_url_size} bytes")

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._phase == BODY:
            return  # a trailer
        headers = self._headers
        name = name.lower()
        if value and value[-1] <= 32:
            value = value.rstrip(b" \t")
        headers.append((name, value))
        if name in _SPECIAL:
            if name == b"host":
                self._hosts += 1
                if value not in _good_hosts and not _is_host(value):
                    raise self._stop(400, "the host header is not a host with or without a port (RFC 9112, section 3.2)")
            elif name == b"content-length":
                self._length = value
            elif name == b"transfer-encoding":
                self._chunked = value
            elif name == b"expect":
                self._expects = value
            else:
                self._upgrade = value
        if len(headers) > self._limits.max_headers:
            raise self._stop(431, f"the request has more than {self._limits.max_headers} header fields")

    def on_headers_complete(self) -> None:
        parser = self._parser
        assert parser is not None
        self._is_old = self._check(parser.get_http_version())
        self._keep = not self._is_old and parser.should_keep_alive()
        self._method = parser.get_method()
        self._framing = self._size = 0
        self._screened = False
        self._phase = BODY
        if self._length is not None:
            self._left = int(self._length)
            if self._left > self._handler.site.max_body:
                raise self._refuse_body()
        else:
            self._left = 0 if self._chunked is None else -1
        expects = False
        if self._expects is not None and not self._is_old:
            if self._expects.lower() != b"100-continue":
                raise self._stop(417, "nothing but 100-continue can be expected here")
            expects = self._left != 0
        if self._has_mount and not self._handler.owns(inbound := self._inbound(b"")):
            self._mounted = self._start_mounted(inbound, expects=expects)
        elif expects:
            # The handler wants the whole body, so the driver wants it as soon as it knows that it may be taken.
            self._screen()
            if self._phase != BODY:
                raise TurnedAwayError
            self.send(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        if self._mounted is not None:
            self._pass_on(body, self._mounted)
            return
        pieces = self._pieces
        pieces.append(body)
        if self._left > 0:
            self._left -= len(body)
        else:
            self._framing = 0
            self._size += len(body)
            if self._size > self._handler.site.max_body:
                raise self._refuse_body()
        if len(pieces) >= _MANY:
            if self._bulk is None:
                self._bulk = bytearray()
            self._bulk += b"".join(pieces)
            pieces.clear()

    def on_message_complete(self) -> None:
        if self._upgrade is not None and self._parser is not None and self._parser.should_upgrade():
            return  # `_decline_upgrade` follows
        self._begun = False
        self._left = 0
        if self._mounted is not None:
            self._phase = BUSY
            self._mounted.end()
            self._mounted_body_came(self._mounted, whole=True)
        else:
            self._start(None)

    def _pass_on(self, body: bytes, mounted: MountedExchange) -> None:
        if self._left > 0:
            self._left -= len(body)
        else:
            self._framing = 0
            self._size += len(body)
            if self._size > self._handler.site.max_body:
                raise self._stop(413, f"the request body is larger than {self._handler.site.max_body} bytes")
        mounted.feed(body)
        self._mounted_body_came(mounted, whole=False)

    # ------------------------------------------------------------ what is turned away

    def _screen(self) -> None:
        """Before the rest of a body is waited for: would it be of any use?"""
        self._screened = True
        refusal = self._handler.screen(self._inbound(b""))
        if refusal is not None:
            self._keep = False
            self._start(refusal)

    def _check(self, version: str) -> bool:
        """What llhttp lets pass and this server does not. True for HTTP/1.0."""
        if version == "1.1":
            if self._hosts != 1:
                raise self._stop(400, "a request has exactly one host header (RFC 9112, section 3.2)")
        elif version != "1.0":
            raise self._stop(505, "only HTTP/1.1 and HTTP/1.0 are understood")
        elif self._hosts > 1:
            raise self._stop(400, "a request has exactly one host header (RFC 9112, section 3.2)")
        elif self._chunked is not None:
            raise self._stop(400, "HTTP/1.0 has no transfer-encoding (RFC 9112, section 6.1)")
        if self._chunked is not None and self._chunked.lower() != b"chunked":
            last = self._chunked.lower().rpartition(b",")[2].strip()
            raise self._stop(501 if last == b"chunked" else 400, "chunked is the only transfer-encoding that is understood")
        if self._upgrade is not None and b"websocket" in self._upgrade.lower():
            raise self._stop(501, "there are no WebSockets here")
        if not self._url.startswith((b"/", b"http://", b"https://")):
            raise self._stop(400, "the request target is neither a path nor an http URL")
        return version == "1.0"

    def _stop(self, status: int, text: str) -> TurnedAwayError:
        self._reason = status, text
        return TurnedAwayError()

    def _refuse_body(self) -> TurnedAwayError:
        """The head is whole and the body is not wanted: the handler says so, in the caller's dialect."""
        most = self._handler.site.max_body
        self._keep = False
        self._start(BodyTooLarge(f"the request body is larger than {most} bytes (server.max_body)"))
        return TurnedAwayError()

    # ------------------------------------------------------------ what the handler gets

    def _inbound(self, body: bytes) -> Inbound:
        if self._is_again and (known := self._known) is not None:
            return Inbound(
                method="POST", path=known.path, raw_path=known.raw_path, query=known.query, headers=self._headers, body=body,
                client=self._client, same=known.same,
            )  # fmt: skip
        path, raw_path, query = self._target()
        return Inbound(
            method=self._method.decode("ascii"),
            path=path,
            raw_path=raw_path,
            query=query,
            headers=self._headers,
            body=body,
            client=self._client,
        )

    def _target(self) -> tuple[str, bytes, bytes]:
        """Path, the path as it came, query."""
        url = self._url
        if not url.startswith(b"/"):
            url = _origin_form(url)
        if b"#" in url:
            url = url.partition(b"#")[0]
        raw_path, _, query = url.partition(b"?")
        path = raw_path.decode("ascii")
        return unquote(path) if "%" in path else path, raw_path, query

    def _take_body(self) -> bytes:
        pieces = self._pieces
        if not pieces and self._bulk is None:
            return b""
        if self._bulk is not None:
            body = bytes(self._bulk) + b"".join(pieces)
            self._bulk = None
        else:
            body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        self._pieces = []
        return body


class _BodyOnly:
    """What the parser of a body whose head was read by another one reports to."""

    def __init__(self, connection: RequestReader) -> None:
        self._connection = connection
        self.on_body = connection.on_body

    def on_message_complete(self) -> None:
        self._connection.take_over()
        self._connection.on_message_complete()


def _origin_form(url: bytes) -> bytes:
    """`http://host/path?query` -> `/path?query` (RFC 9112, section 3.2.2)."""
    rest = url.partition(b"://")[2]
    path, question, query = rest.partition(b"?")
    return b"/" + path.partition(b"/")[2] + question + query
