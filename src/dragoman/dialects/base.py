"""What a dialect is: one codec, used on both sides, that knows no provider and no other dialect.

    client side     decode_request   encode_response   StreamEncoder   encode_error
    upstream side   encode_request   decode_response   StreamDecoder   decode_error

Each dialect is a folder with these names and one `Dialect` value that lists them; `dialects/__init__.py` holds
the table. Nothing anywhere is written for a pair of dialects.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, Protocol

import msgspec

from dragoman.dialects.memory import Memory
from dragoman.dialects.sealing import Sealing
from dragoman.errors import DragomanError, UpstreamError
from dragoman.ir.embedding import Embedded, Embedding
from dragoman.ir.estimate import tokens_of
from dragoman.ir.events import Event, Response
from dragoman.ir.losses import Ledger
from dragoman.ir.profile import Profile, Reach
from dragoman.ir.request import Request
from dragoman.ir.usage import Usage
from dragoman.wire.body import Peek, peek, swap_model
from dragoman.wire.framing import SSE, Framing
from dragoman.wire.http import Inbound, RawHeaders
from dragoman.wire.sse import Frame

Headers = list[tuple[str, str]]


class Target(msgspec.Struct, frozen=True):
    """For whom a request is encoded. `issuer` names the provider for sealed state."""

    model: str
    issuer: str
    profile: Profile


class Reply(msgspec.Struct):
    """What an encoder of answers must know beside the answer.

    `created` is in seconds since 1970, `fallback_id` a fresh id for a provider that gave none. `input_estimate`
    and the length of what is said (in the encoder) stand in for a usage that nobody counted, in tokens. `request_id` is told
    with an error within the answer. `own_id` is the answer's id, whatever the provider calls it, if the caller knows it
    already."""

    request: Request
    model: str
    created: int
    fallback_id: str
    input_estimate: int
    issuer: str
    ledger: Ledger
    request_id: str = ""
    own_id: str = ""

    def estimated_usage(self, characters: int) -> Usage:
        """What to say of an answer of so many characters where nobody counted."""
        return Usage(input=self.input_estimate, output=max(1, tokens_of(characters)), estimated=True)


class ModelCard(msgspec.Struct, frozen=True):
    """One entry of a model list. `created` in seconds since 1970; the sizes in tokens, where known. `embeds`: it makes
    vectors and no text."""

    id: str
    display_name: str
    owner: str
    description: str = ""
    created: int = 0
    context: int | None = None
    max_output: int | None = None
    embeds: bool = False


class HttpError(msgspec.Struct):
    """An error as the caller's dialect puts it."""

    status: int
    headers: Headers
    body: bytes

    @property
    def raw(self) -> RawHeaders:
        """The headers as they go out. What a provider has said can stand in them, and a header holds no more than Latin-1."""
        return [(name.encode(), value.encode("latin-1", "replace")) for name, value in self.headers]


class Forms(msgspec.Struct, frozen=True, kw_only=True):
    """What a dialect can say beside text. `images` and `pdfs`: in which ways; `usual`: the most that its servers can be
    expected to take of that, unless a profile says more. `image_types`: media types of images as bytes, empty where it names
    none. `audio`: sound has a form. `files`: so have documents of any type, as they are."""

    images: Reach = "urls"
    pdfs: Reach = "bytes"
    usual: Reach = "urls"
    image_types: frozenset[str] = frozenset()
    audio: bool = False
    files: bool = False


Sniff = Literal["wait", "content", "error"]


class StreamDecoder(Protocol):
    """Frames of one upstream answer to events. Never raises for what an upstream sends: what cannot be
    read becomes a `Fault`, after which nothing more is given."""

    def feed(self, frame: Frame) -> list[Event]: ...

    def end(self) -> list[Event]:
        """The stream is over: whatever is still owed (`Close`, `Finish`), or a `Fault` when it broke off."""
        ...


class StreamEncoder(Protocol):
    """Events to the caller's bytes, whole SSE events at a time. Always legal for the caller's client."""

    def feed(self, event: Event) -> bytes: ...


class StreamEnds(Protocol):
    def __call__(self, events: bytes, *, closed: bool) -> bool:
        """Whether a stream is whole whose last events these are, as raw bytes behind a line end. `closed`: its body has ended
        properly, so the dialect's last event may be missing. What stands in somebody's text never counts."""
        ...


class Counting(msgspec.Struct, frozen=True):
    """`decode` reads the request whose tokens are to be counted, `encode` tells their number, `address(url, model)` is where
    to ask a provider. `asked(body, model)` makes of the body of an inference that of a question for its tokens, so that both
    go through one transformation; `counted(body, issuer)` reads the number, or raises `UpstreamGarbled`."""

    decode: Callable[[bytes], Request]
    encode: Callable[[int], bytes]
    address: Callable[[str, str], str]
    asked: Callable[[bytes, str], bytes]
    counted: Callable[[bytes, str], int]


class Embeddings(msgspec.Struct, frozen=True):
    """Embeddings beside a dialect; dialects that share one value speak the same. `size` is how many things are to be embedded
    (0: cannot be said), `single` whether it is one thing and no list of them, `renamed` a body for another model,
    `address(url, model, single)` where to ask a provider. `encode` raises `LossRefused` for what cannot be embedded there; all
    inputs of a request have the same `dimensions`, which are left out for a profile that does not take them.
    `decode_embedded` raises `UpstreamGarbled`."""

    size: Callable[[Inbound], int]
    single: Callable[[Inbound], bool]
    decode: Callable[[Inbound], Embedding]
    encode: Callable[[Embedding, Target, Ledger], bytes]
    renamed: Callable[[bytes, str], bytes]
    address: Callable[[str, str, bool], str]
    decode_embedded: Callable[[bytes, str], Embedded]
    encode_embedded: Callable[[Embedded, Embedding], bytes]
    usage_of: Callable[[bytes], Usage | None]


class Joiner(Protocol):
    """Puts the answers to parts of one request together: whole ones by `add` and `whole`, streams by `feed` of each one's
    bytes, `next` between two of them, and `end`. Raises `UpstreamGarbled`."""

    def add(self, body: bytes) -> None: ...

    def whole(self) -> bytes: ...

    def next(self) -> None: ...

    def feed(self, data: bytes) -> bytes: ...

    def end(self) -> bytes: ...


class Way(msgspec.Struct, frozen=True):
    """What a path asks for, and the form of the dialect that answers it."""

    verb: Literal["infer", "count", "embed"]
    dialect: Dialect


def asked_in_body(inbound: Inbound) -> Peek:
    return peek(inbound.body)


def _as_it_is(url: str, model: str, stream: bool) -> str:
    del model, stream
    return url


class Dialect(msgspec.Struct, frozen=True, kw_only=True):
    """`decode_request` raises `MalformedBody` naming the path; `encode_request` enters losses in the ledger.

    `decode_response` raises `UpstreamGarbled`; `decode_error` never raises: whatever the body is, it makes the best of it.
    `sniff` looks at one frame of a stream and says whether the caller could already see content (`content`), an error
    stands in it (`error`), or neither yet (`wait`). `ping` is sent when an upstream is silent. `error_in_body(body)`: whether a
    body with status 200 is an error all the same (no JSON at all is for the decoder to judge). `usage_of(head, tail)` reads
    usage off a verbatim stream's or body's ends.
    `scrub(body, issuer)` takes our carriers out of a body that otherwise goes through in its own dialect.
    `sealing`: how sealed state is found in its bodies, where they may go through verbatim.
    `encode_models(cards, query)` is a page of the model list. `id_prefix` begins the id of an answer that came without one,
    `tool_names` is the longest name of a tool that it takes. `stream_type` is the media type of its streams; one whose `ping`
    is empty cannot be interrupted. `framing` is how its streams are cut into events.

    Where model and stream stand in the path instead of the body: `locate` says what a path asks for, `asked` reads both off a
    request, `renamed` is a body for another model, `address(url, model, stream)` where to ask a provider. `counting` is how
    tokens are counted, where the API can.

    `decode_again(body, memory)` is `decode_request` with what earlier requests of the same caller have left behind, where a
    dialect has that.

    `apart(body)` takes a request apart that asks for several answers to several questions, which other APIs have no word
    for: a body for each, and what puts their answers together; None for any other request."""

    name: str
    path: str
    decode_request: Callable[[bytes], Request]
    decode_again: Callable[[bytes, Memory], Request] | None = None
    encode_request: Callable[[Request, Target, Ledger], bytes]
    decode_response: Callable[[bytes, str], Response]
    encode_response: Callable[[Response, Reply], bytes]
    stream_decoder: Callable[[str], StreamDecoder]
    stream_encoder: Callable[[Reply], StreamEncoder]
    decode_error: Callable[[int, Mapping[str, str], bytes, str], UpstreamError]
    encode_error: Callable[[DragomanError, str], HttpError]
    stream_error: Callable[[DragomanError, str], bytes]
    error_in_body: Callable[[bytes], bool]
    sniff: Callable[[Frame], Sniff]
    ends: StreamEnds
    ping: bytes
    usage_of: Callable[[bytes, bytes], Usage | None]
    scrub: Callable[[bytes, str], bytes]
    sealing: Sealing | None = None
    id_prefix: str = ""
    tool_names: int = 128
    stream_type: bytes = b"text/event-stream; charset=utf-8"
    framing: Framing = SSE
    locate: Callable[[Inbound], Way | None] | None = None
    asked: Callable[[Inbound], Peek] = asked_in_body
    renamed: Callable[[bytes, str], bytes] = swap_model
    address: Callable[[str, str, bool], str] = _as_it_is
    counting: Counting | None = None
    embeddings: Embeddings | None = None
    apart: Callable[[bytes], tuple[list[bytes], Joiner] | None] | None = None
    forms: Forms = Forms()
    encode_model: Callable[[ModelCard], bytes]
    encode_models: Callable[[Sequence[ModelCard], Mapping[str, str]], bytes]
