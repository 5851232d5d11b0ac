"""What is known of one inference request while it is under way, and what remains of it when it is over."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, Protocol

import msgspec

from dragoman.dialects.base import Dialect, Reply
from dragoman.errors import DragomanError, UpstreamError, UpstreamRefused, UpstreamTimeout
from dragoman.flow.answer import Answer
from dragoman.flow.envelope import Caller
from dragoman.ir.estimate import input_tokens
from dragoman.ir.losses import Ledger
from dragoman.ir.request import Request
from dragoman.ir.usage import Usage
from dragoman.route.target import Endpoint, Route
from dragoman.wire.http import Exchange, Head, Inbound, RawHeaders, Transport


class Clock(Protocol):
    def now(self) -> float:
        """Seconds that never go backwards."""
        ...

    def time(self) -> float:
        """Seconds since 1970."""
        ...


class Report(msgspec.Struct, kw_only=True):
    """What is known of a request when it is over: for the log, the metrics, the ledgers. Times in seconds of `Clock.now`.
    `session` holds the caller's own names for its conversation. Status 499: the client left."""

    request_id: str
    dialect: str
    caller: Caller
    started: float
    model: str = ""
    stream: bool = False
    provider: str = ""
    target: str = ""
    upstream_dialect: str = ""
    tier: Literal["", "verbatim", "translated"] = ""
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
    `ping_every` is in seconds."""

    transport: Transport
    dialects: Mapping[str, Dialect]
    route: Callable[[str], Route]
    clock: Clock
    new_id: Callable[[], str]
    observe: Callable[[Report], None]
    ping_every: float = 15.0


class Call:
    """One request under way."""

    __slots__ = ("_decoded", "answer", "core", "deadline", "dialect", "inbound", "model", "report", "stream", "strict")

    def __init__(self, core: Core, dialect: Dialect, inbound: Inbound, answer: Answer, report: Report) -> None:
        self.core = core
        self.dialect = dialect
        self.inbound = inbound
        self.answer = answer
        self.report = report
        self.model = ""
        self.stream = False
        self.strict = False
        self.deadline = 0.0
        self._decoded: Request | None = None

    def request(self) -> Request:
        """The body in the hub, decoded once however many targets are tried."""
        if self._decoded is None:
            self._decoded = self.dialect.decode_request(self.inbound.body)
        return self._decoded

    def wait(self) -> float:
        """How long to wait for the upstream before a ping is due or the total patience runs out, in seconds."""
        left = self.deadline - self.core.clock.now()
        if left <= 0:
            raise UpstreamTimeout("the request took longer than its total timeout", phase="total")
        return min(left, self.core.ping_every)


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
        return (self.head.get(b"content-type") or b"").lower().startswith(b"text/event-stream")

    def refusal(self, status: int, data: bytes, headers: RawHeaders) -> UpstreamError:
        """The provider's error, as it will be told. `status` 0: it stood inside an answer whose status was 200."""
        error = self.upstream.decode_error(status, self.headers, data, self.endpoint.provider)
        if self.own_key and error.category == "authentication":
            # A key of ours that the provider refuses is our trouble: a 401 would send callers looking at theirs.
            error.status = 502
        return Verbatim(error, headers, data) if self.verbatim else error


class Verbatim(UpstreamRefused):
    """A refusal in the caller's own dialect, to be handed on byte for byte if it is the last word."""

    def __init__(self, error: UpstreamError, headers: RawHeaders, body: bytes) -> None:
        super().__init__(
            error.message,
            provider=error.provider,
            status=error.status,
            category=error.category,
            code=error.code,
            retry_after=error.retry_after,
        )
        self.headers = headers
        self.body = body


def reply_for(call: Call, sent: Sent) -> Reply:
    """What the caller's dialect must know to answer."""
    request = call.request()
    return Reply(
        request=request,
        model=sent.endpoint.model,
        created=int(call.core.clock.time()),
        fallback_id=call.dialect.id_prefix + call.core.new_id(),
        input_estimate=input_tokens(request),
        issuer=sent.endpoint.issuer,
        ledger=sent.ledger,
    )


async def next_chunk(call: Call, exchange: Exchange, *, may_ping: bool = True) -> bytes:
    """The next bytes of an answer's body, b"" at its end. While it is silent the caller gets pings."""
    while True:
        chunk = await exchange.read(call.wait())
        if chunk is not None:
            return chunk
        if may_ping:
            await call.answer.ping()
