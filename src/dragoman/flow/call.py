"""What is known of one inference request while it is under way, and what remains of it when it is over."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from email.utils import formatdate
from typing import TYPE_CHECKING, Literal, Protocol

import msgspec

from dragoman.dialects.base import Dialect, Reply, asked_in_body
from dragoman.dialects.memory import Memories, Memory
from dragoman.errors import DragomanError, MalformedBody, UpstreamError, UpstreamGarbled, UpstreamRefused, UpstreamTimeout
from dragoman.flow.answer import Answer
from dragoman.flow.attachments import Attachments, Fetcher, Reader
from dragoman.flow.envelope import CREDENTIAL_HEADERS, Caller, response_headers
from dragoman.flow.media import has_attachments
from dragoman.ir import carrier
from dragoman.ir.estimate import input_tokens
from dragoman.ir.losses import Ledger
from dragoman.ir.request import Request
from dragoman.ir.usage import Usage
from dragoman.route.target import Endpoint, PassThrough, Route
from dragoman.secret import mask
from dragoman.wire.body import Peek
from dragoman.wire.http import Clock, Exchange, Head, Inbound, RawHeaders, Transport

if TYPE_CHECKING:
    from dragoman.flow.continuity import Continuity
    from dragoman.flow.turns import Turn

_BODY_MOST = 512 * 1024 * 1024
_LONGEST_NAME = 2048
"""Characters of a model's name, as Bedrock has it. Names go into headers, the log and what is remembered."""
_LEAST_KEY = 6
"""A shorter key would be found inside ordinary words."""

_LEAST_PING = 0.01
"""Seconds. With less, there would be pings and nothing else."""


class Report(msgspec.Struct, kw_only=True):
    """What is known of a request when it is over: for the log, the metrics, the ledgers. Times in seconds of `Clock.now`.
    `path` is the caller's, `session` its own names for its conversation. Tier `passed`: a native pass-through, unread.
    Status 499: the client left, and `usage` is what is known so far."""

    request_id: str
    dialect: str
    caller: Caller
    started: float
    path: str = ""
    model: str = ""
    stream: bool = False
    provider: str = ""
    target: str = ""
    upstream_dialect: str = ""
    tier: Literal["", "verbatim", "translated", "passed"] = ""
    status: int = 0
    first_byte: float | None = None
    ended: float = 0.0
    usage: Usage | None = None
    ledger: Ledger = msgspec.field(default_factory=Ledger)
    trail: list[str] = []
    error: DragomanError | None = None
    session: dict[str, str] = {}


class Core(msgspec.Struct, kw_only=True):
    """What the pipeline is given. `route` raises `UnknownModel`; `new_id` gives 24 random letters and digits;
    `ping_every` is in seconds. `fetcher` None: nothing is fetched that a request links to; `reader` None: no PDF is read.
    `continuity` None: nobody looks after what is sealed but the carriers. `memories` None: each body is read anew."""

    transport: Transport
    dialects: Mapping[str, Dialect]
    route: Callable[[str], Route]
    clock: Clock
    new_id: Callable[[], str]
    observe: Callable[[Report], None]
    ping_every: float = 15.0
    fetcher: Fetcher | None = None
    reader: Reader | None = None
    continuity: Continuity | None = None
    memories: Memories | None = None


class Kept(Protocol):
    """What the gateway keeps of a request, or what the request goes on from (the package `stored`). A request that has
    none is answered and forgotten."""

    answer_id: str
    """The id that the answer must have; empty: whatever it gets."""

    created: int
    """When the answer began, in seconds since 1970; 0: when it is begun to be told."""

    def among(self, endpoints: list[Endpoint]) -> list[Endpoint]:
        """Those that the request can go to. Raises the sentence that says why there is none."""
        ...

    def lets_through(self, endpoint: Endpoint) -> bool:
        """Whether a body in the endpoint's own dialect may go there verbatim."""
        ...

    def told(self) -> Request:
        """The request as the caller put it, which the answer echoes."""
        ...

    def sent(self, request: Request, *, native: bool) -> Request:
        """The request as an endpoint gets it. `native`: it is of the caller's own dialect."""
        ...

    def placed(self, ledger: Ledger) -> None:
        """Name the losses by their places in the caller's own body."""
        ...


class Regular(msgspec.Struct):
    """What follows from a request's head alone, for the next one with the same head. `session` as in `Report`; `strict`: a
    header asks for it. `ways`: the URL, the headers and whether the credential is the gateway's own, of each endpoint (whose
    identity is the key, so it is held here too) in each dialect, for streams and others, verbatim or not, first or not."""

    caller: Caller
    session: dict[str, str]
    strict: bool
    translated: bool = False
    """The last request with this head was."""
    ways: dict[tuple[int, str, bool, bool, bool], tuple[Endpoint, str, RawHeaders, bool]] = {}
    memory: Memory | None = None
    """Of this caller, once it has been asked for."""


class Call:
    """One request under way."""

    __slots__ = (
        "_attachments",
        "_decoded",
        "_seen",
        "answer",
        "core",
        "deadline",
        "dialect",
        "endpoint",
        "first",
        "inbound",
        "kept",
        "model",
        "names",
        "recalled",
        "regular",
        "report",
        "stream",
        "strict",
        "stripped",
    )

    def __init__(self, core: Core, dialect: Dialect, inbound: Inbound, answer: Answer, report: Report) -> None:
        self.core = core
        self.dialect = dialect
        self.inbound = inbound
        self.answer = answer
        self.report = report
        self.model = ""
        self.regular: Regular | None = None
        """What is known of its head; None: it comes alone."""
        self.recalled: dict[int, Turn] | None = None
        """What the vault held of earlier answers, by the position of the message; None: it has not been asked."""
        self.stripped = False
        """The endpoint has refused what is sealed in the request, and is asked once more without it."""
        self.kept: Kept | None = None
        self.endpoint: Endpoint | None = None
        """The one that is being tried, or has answered."""
        self.first = ""
        """The provider with which the route begins."""
        self.names: dict[str, str] = {}
        """Tool names that were made to fit the target, and what they stand for."""
        self.stream = False
        self.strict = False
        self.deadline = 0.0
        self._decoded: Request | None = None
        self._seen: Peek | None = None
        self._attachments: Attachments | None = None

    def seen(self) -> Peek:
        """What can be known of the body without reading all of it. Raises `MalformedBody`."""
        if self._seen is None:
            expected = self.regular is not None and self.regular.translated and self.dialect.asked is asked_in_body
            self._seen = (self._read() if expected else None) or self.dialect.asked(self.inbound)
        return self._seen

    def _read(self) -> Peek | None:
        """The same of a body that will be needed in the hub, as far as can be told beforehand: one pass over it is enough."""
        try:
            self._decoded = self._read_body()
        except MalformedBody:
            return None  # who looks at less of it may find less wrong
        return Peek(self._decoded.model, self._decoded.stream)

    def _read_body(self) -> Request:
        dialect, memories = self.dialect, self.core.memories
        if dialect.decode_again is None or memories is None:
            return dialect.decode_request(self.inbound.body)
        regular, caller, now = self.regular, self.report.caller, self.report.started
        memories.look(now)
        memory = regular.memory if regular is not None else None
        if memory is None:
            memory = memories.of((caller.name, caller.fingerprint))
            if regular is not None:
                regular.memory = memory
        memory.used = now
        return dialect.decode_again(self.inbound.body, memory)

    def route(self) -> Route:
        """Where the body wants to go. Raises `MalformedBody` and `UnknownModel`."""
        seen = self.seen()
        if not isinstance(seen.model, str) or not seen.model:
            raise MalformedBody("model: the name of a model is required", param="model")
        if len(seen.model) > _LONGEST_NAME:
            raise MalformedBody(f"model: a name has at most {_LONGEST_NAME} characters", param="model")
        self.model = self.report.model = seen.model
        self.stream = self.answer.stream = self.report.stream = seen.stream is True
        return self.core.route(seen.model)

    def given(self, request: Request) -> None:
        """The request of a body that is none of inference, and is yet about one."""
        self._decoded = request
        self._decoded.model, self._decoded.stream = self.model, self.stream

    def request(self) -> Request:
        """The body in the hub, decoded once however many targets are tried."""
        if self._decoded is None:
            self._decoded = self._read_body()
            # Where they stand in the path, the body does not tell.
            self._decoded.model, self._decoded.stream = self.model, self.stream
        return self._decoded

    def let_go(self, *, words: bool) -> None:
        """The answer has begun, so nobody else will be asked; and a stream may last an hour, and requests of agents are large.
        What the answer's encoder asks for stays: options, tools, instructions. `words`: what was said is not needed either."""
        if self.kept is not None or self.stripped:
            return  # once it is over, it is noted what was taken out
        self.inbound.body = b""
        if self._decoded is not None:
            if words and not self._decoded.echo:
                self._decoded.messages = []
            for tool in self._decoded.tools:
                tool.schema = tool.schema.copy()  # it is a view of the whole body

    def has_attachments(self) -> bool:
        return has_attachments(self.request())

    def attachments(self) -> Attachments:
        """The images, documents and sounds of the body, found once however many targets are tried."""
        if self._attachments is None:
            self._attachments = Attachments(self.request(), self.core.fetcher, self.core.reader)
        return self._attachments

    def wait(self, *, may_ping: bool = True) -> float:
        """How long to wait for the upstream before a ping is due or the total patience runs out, in seconds; 0 when a
        ping is due now."""
        now = self.core.clock.now()
        left = self.deadline - now
        if left <= 0:
            raise UpstreamTimeout("the request took longer than its total timeout", phase="total")
        if not (self.stream and may_ping and self.dialect.ping):
            return left
        # Asked for each event. `min` and `max` are dear.
        every = self.core.ping_every
        due = self.answer.quiet_since + (every if every > _LEAST_PING else _LEAST_PING) - now
        return left if due > left else due if due > 0.0 else 0.0


class Sent(msgspec.Struct):
    """A request that went out, and whose answer is being read. `own_key`: the credential was the gateway's."""

    exchange: Exchange
    head: Head
    endpoint: Endpoint
    upstream: Dialect
    verbatim: bool
    ledger: Ledger
    own_key: bool

    @property
    def headers(self) -> dict[str, str]:
        return {name.decode("latin-1"): value.decode("latin-1") for name, value in self.head.headers}

    @property
    def streams(self) -> bool:
        return (self.head.get(b"content-type") or b"").lower().startswith(self.upstream.framing.media)

    def streams_as(self, usual: Dialect) -> bool:
        """Whether the provider streams in its dialect's usual form where another was asked for (server-sent events for a JSON
        array). Then that is what is read, and it is no longer the caller's."""
        if usual is self.upstream:
            return False
        asked, self.upstream = self.upstream, usual
        if self.streams:
            self.verbatim = False
            return True
        self.upstream = asked
        return False

    def refusal(self, status: int, data: bytes) -> UpstreamError:
        """The provider's error, as it will be told. `status` 0: it stood inside an answer whose status was 200."""
        auth = shown_to(self.endpoint)
        headers = [(name, without_keys(value, auth)) for name, value in response_headers(self.head)]
        if status == 0:
            headers = [(b"content-type", b"application/json"), *(pair for pair in headers if pair[0] != b"content-type")]
        data = without_keys(data, auth)
        error = self.upstream.decode_error(status, self.headers, data, self.endpoint.provider)
        if self.own_key and error.category == "authentication":
            # A key of ours that the provider refuses is our trouble: a 401 would send callers looking at theirs.
            error.status = 502
        verbatim = self.verbatim and (status > 0 or data.lstrip().startswith(b"{"))
        return Verbatim(error, headers, data) if verbatim else error


def shown_to(holder: Endpoint | PassThrough) -> RawHeaders:
    """The headers in which it is shown our key."""
    return [*holder.auth, *(pair for pair in holder.headers if pair[0] in CREDENTIAL_HEADERS)]


def without_keys(data: bytes, shown: RawHeaders) -> bytes:
    """A provider's words without our key, in case it repeats what it was shown."""
    for _, value in shown:
        key = value.rpartition(b" ")[2]
        if len(key) >= _LEAST_KEY and key in data:
            data = data.replace(key, mask(key.decode("latin-1")).encode())
    return data


class Verbatim(UpstreamRefused):
    """A refusal in the caller's own dialect, to be handed on byte for byte if it is the last word."""

    def __init__(self, error: UpstreamError, headers: RawHeaders, body: bytes) -> None:
        super().__init__(
            error.message,
            provider=error.provider,
            status=error.status,
            category=error.category,
            code=error.code,
            param=error.param,
            retry_after=error.retry_after,
        )
        self.headers = headers
        self.body = body


def untouched(call: Call, endpoint: Endpoint) -> bytes:
    """The caller's own bytes, with the model's name swapped, and our carriers and what another provider sealed taken out where
    there are any."""
    body = call.inbound.body
    if carrier.carries(body):
        body = call.dialect.scrub(body, endpoint.issuer)
    if call.core.continuity is not None:
        body = call.core.continuity.own(call, endpoint, body)
    return body if endpoint.model == call.model else call.dialect.renamed(body, endpoint.model)


def reply_for(call: Call, sent: Sent, *, counted: bool = False) -> Reply:
    """What the caller's dialect must know to answer. `counted`: the answer says what it cost, so nobody need estimate it."""
    request = call.request()
    return Reply(
        request=request if call.kept is None else call.kept.told(),
        model=sent.endpoint.model,
        created=(call.kept.created if call.kept is not None else 0) or int(call.core.clock.time()),
        fallback_id=call.dialect.id_prefix + call.core.new_id(),
        input_estimate=0 if counted else input_tokens(request),
        issuer=sent.endpoint.issuer,
        ledger=sent.ledger,
        request_id=call.report.request_id,
        own_id=call.kept.answer_id if call.kept is not None else "",
    )


async def head_of(call: Call, exchange: Exchange) -> Head:
    """The head of the answer. While it does not come the caller gets pings."""
    while True:
        wait = call.wait()
        if not wait:
            await call.answer.ping()
            continue
        head = await exchange.head(wait)
        if head is not None:
            if head.status >= 400 and head.get(b"date") is None:
                # RFC 9110, 6.6.1: whoever hands an answer on says when it came. A date to come back at counts from there.
                head.headers.append((b"date", formatdate(call.core.clock.time(), usegmt=True).encode()))
            return head


async def next_chunk(call: Call, exchange: Exchange, *, may_ping: bool = True) -> bytes:
    """The next bytes of an answer's body, b"" at its end. The caller gets pings while it gets nothing else: also when the
    provider does send, but only what is still held back."""
    while True:
        wait = call.wait(may_ping=may_ping)
        if not wait:
            await call.answer.ping()
            continue
        chunk = await exchange.read(wait)
        if chunk is not None:
            return chunk


async def body_of(call: Call, exchange: Exchange) -> bytes:
    """All of a body that is wanted in one piece."""
    whole = exchange.at_hand()
    if whole is not None:
        return whole
    pieces: list[bytes] = []
    size = 0
    while piece := await next_chunk(call, exchange):
        pieces.append(piece)
        size += len(piece)
        if size > _BODY_MOST:
            raise UpstreamGarbled(f"the answer is larger than {_BODY_MOST} bytes")
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)
