"""What may stand in a configuration, as types. `read.py` reads any layer of it (file, environment, command line) into
these shapes, and `docs/configuration.md` documents every field of them (a test compares the two).

A field's `Kind` says in words what is allowed, and how a value that people write is turned into what we keep.
"""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Literal, cast, get_args
from urllib.parse import urlsplit

import msgspec

from dragoman.config.resolved import Driver, ServerLimits
from dragoman.ir.profile import Reach
from dragoman.logs import Log
from dragoman.models.catalogue import Input
from dragoman.providers.table import Auth, DialectName
from dragoman.secret import Secret


class Kind(msgspec.Struct, frozen=True):
    """`parse` raises `ValueError` whose text goes between the value and what is allowed: `'soon' <is not a time>`.
    `references`: the whole value may name an environment variable (`env:NAME`)."""

    allowed: str
    parse: Callable[[object], object]
    secret: bool = False
    references: bool = False


_UNITS = {"ms": 0.001, "s": 1.0, "sec": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86_400.0}
_SIZES = {
    "": 1,
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
    "k": 2**10,
    "m": 2**20,
}
_ALLOWED_HOST = re.compile(
    r"(?:\*\.)?[A-Za-z0-9._-]+(?:/\d{1,3})?(?::\d{1,5})?"  # a name, an IPv4 address or network
    r"|\[?[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*\]?(?:/\d{1,3}|:\d{1,5})?"  # an IPv6 one
)
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


def _seconds(value: object) -> float:
    seconds = math.nan
    if isinstance(value, int | float) and not isinstance(value, bool):
        seconds = float(value)
    elif isinstance(value, str) and (found := re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", value.lower())):
        seconds = float(found[1]) * _UNITS.get(found[2] or "s", math.nan)
    if not 0 < seconds < math.inf:
        raise ValueError("is not a time")
    return seconds


def _size(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value
    if isinstance(value, str) and (found := re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", value.lower())):
        size = int(float(found[1]) * _SIZES.get(found[2], 0))
        if size > 0:
            return size
    raise ValueError("is not a size")


def _text(value: object) -> str:
    match value:
        case str() if value.strip():
            return value.strip()
        case datetime.date():  # YAML takes 2023-06-01 for a date
            return value.isoformat()
        case str():
            raise ValueError("is empty")
        case bool() | int() | float():
            raise ValueError("is not text; put it in quotes")
        case _:
            raise ValueError("is not text")


def _secret(value: object) -> Secret:
    text = _text(value)
    if any(char.isspace() for char in text) or not text.isascii() or not text.isprintable():
        raise ValueError("holds characters that no key has (spaces, line breaks, letters beyond ASCII)")
    return Secret(text)


def _url(value: object) -> str:
    text = _text(value).rstrip("/")
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError as error:
        raise ValueError("is not a URL") from error
    if parts.scheme not in {"http", "https"} or not parts.hostname or any(char.isspace() for char in text):
        raise ValueError("is not a URL")
    if parts.username or parts.password:
        raise ValueError("holds a user name or password; give the key as `api_key` or in `headers`")
    if parts.query or parts.fragment:
        raise ValueError("has a query or fragment, which a base URL cannot have")
    return text


def _database(value: object) -> Secret:
    text = _text(value)
    kind, mark, rest = text.partition("://")
    kind = {"postgres": "postgresql", "postgresql+psycopg": "postgresql"}.get(kind.lower(), kind.lower())
    if not mark or kind not in {"sqlite", "postgresql"}:
        raise ValueError("is not the URL of a database that can be used here")
    return Secret(kind + mark + rest)


def _host(value: object) -> str:
    text = _text(value).removeprefix("[").removesuffix("]")
    if re.fullmatch(r"[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*(%[\w.-]+)?|[\w.-]+", text):
        return text
    if "/" in text:
        raise ValueError("is not an address (there are no Unix sockets here)")
    raise ValueError("is not an address; the port is a setting of its own" if ":" in text else "is not an address")


def _word(value: object) -> str:
    text = _text(value)
    if not re.fullmatch(r"[A-Za-z0-9._-]+", text):
        raise ValueError("is not a version")
    return text


def _yes(value: object) -> bool:
    if isinstance(value, bool):
        return value
    word = str(value).strip().lower()
    if word in {"true", "yes", "on", "1"}:
        return True
    if word in {"false", "no", "off", "0"}:
        return False
    raise ValueError("is neither true nor false")


def _whole(least: int, most: int) -> Callable[[object], int]:
    kind = Annotated[int, msgspec.Meta(ge=least, le=most)]

    def parse(value: object) -> int:
        if isinstance(value, bool):
            raise ValueError("is not a whole number")
        try:
            return msgspec.convert(value, kind, strict=False)
        except msgspec.ValidationError as error:
            raise ValueError("is out of range" if isinstance(value, int) else "is not a whole number") from error

    return parse


def _share(value: object) -> float:
    part = re.fullmatch(r"(\d*\.?\d+(?:e-\d+)?)(%?)", str(value).strip())  # 0.00001, once it is a float, is 1e-05
    if part is None or float(part[1]) > (100 if part[2] else 1):
        raise ValueError("is not a share")
    return float(part[1]) / (100 if part[2] else 1)


def _dollars(value: object) -> Decimal:
    try:
        # By way of text: 0.3 means three tenths, not the float beside it.
        dollars = Decimal(str(value).strip().removeprefix("$")) if not isinstance(value, bool) else Decimal("NaN")
    except InvalidOperation as error:
        raise ValueError("is not a price") from error
    if not (dollars.is_finite() and dollars >= 0):
        raise ValueError("is not a price")
    return dollars


def _choice(literal: Any, others: Mapping[str, str] | None = None) -> Kind:
    words: tuple[str, ...] = get_args(literal)

    def parse(value: object) -> str:
        word = str(value).strip().lower()
        word = (others or {}).get(word, word)
        if not isinstance(value, str) or word not in words:
            raise ValueError("is not one of the words")
        return word

    return Kind(", ".join(words), parse)


def _file(value: object) -> str:
    text = _text(value)
    if "\0" in text:
        raise ValueError("is not a file path")
    return text


def _header_name(name: str) -> str:
    if not _HEADER.fullmatch(name):
        raise ValueError(f"holds {name!r}, which is not the name of a header")
    return name.lower()


def _headers(value: object) -> Any:
    if not isinstance(value, Mapping):
        raise ValueError("is not a mapping")
    found: dict[str, str] = {}
    for name, text in value.items():
        if not isinstance(text, str | int | float | datetime.date) or isinstance(text, bool):
            raise ValueError(f"holds a value for {name!r} that is not text")
        content = str(text).strip()
        if not content.isascii() or not content.isprintable():
            raise ValueError(f"holds a value for {name!r} that no header can carry")
        found[_header_name(str(name))] = content
    return found


def _hosts(value: object) -> Any:
    found = value.replace(",", " ").split() if isinstance(value, str) else value
    if not isinstance(found, list) or not all(isinstance(name, str) and _ALLOWED_HOST.fullmatch(name) for name in found):
        raise ValueError("is not a list of hosts")
    return tuple(cast("list[str]", found))


def _names(value: object) -> Any:
    found = [value] if isinstance(value, str) else value
    if not isinstance(found, list) or not all(isinstance(name, str) and name for name in found):
        raise ValueError("is not a list of names")
    return frozenset(cast("list[str]", found))


_DIALECTS = {
    "anthropic": "messages",
    "claude": "messages",
    "openai": "chat",
    "openai-compatible": "chat",
    "openai_compatible": "chat",
    "chat_completions": "chat",
    "chat-completions": "chat",
    "text_completion": "completions",
    "openai-responses": "responses",
    "openai_responses": "responses",
    "google": "gemini",
}
_LEVELS = {"warn": "warning", "trace": "debug", "critical": "error", "fatal": "error"}

Seconds = Annotated[float, Kind("seconds as a number above 0, or text such as 30s, 5m, 1h, 500ms", _seconds)]
Size = Annotated[int, Kind("bytes as a whole number above 0, or text such as 100MB, 64MiB", _size)]
Text = Annotated[str, Kind("text", _text)]
SecretText = Annotated[Secret, Kind("a key, or env:NAME, ${NAME}", _secret, secret=True, references=True)]
Url = Annotated[str, Kind("an http:// or https:// URL, or env:NAME, ${NAME}", _url, references=True)]
Yes = Annotated[bool, Kind("true or false", _yes)]
Host = Annotated[str, Kind("an IP address, or the name of this host", _host)]
Port = Annotated[int, Kind("a port from 0 (any free one) to 65535", _whole(0, 65535))]
Count = Annotated[int, Kind("a whole number from 1 to 1000000", _whole(1, 1_000_000))]
Tokens = Annotated[int, Kind("a whole number of tokens, at least 1", _whole(1, 10**9))]
Dollars = Annotated[Decimal, Kind("US dollars for a million tokens, at least 0", _dollars)]
Modality = Annotated[Input, _choice(Input, {"file": "pdf", "document": "pdf", "vision": "image"})]
Version = Annotated[str, Kind("a version such as 2023-06-01", _word)]
_STORE_URL = "sqlite:///PATH, or postgresql://USER:PASSWORD@HOST/NAME, or env:NAME"
StoreUrl = Annotated[Secret, Kind(_STORE_URL, _database, secret=True, references=True)]
Headers = Annotated[dict[str, str], Kind("header names with their values", _headers)]
Dialect = Annotated[DialectName, _choice(DialectName, _DIALECTS)]
FilePath = Annotated[str, Kind("the path of a file", _file)]
Workers = Annotated[int, Kind("a number of processes from 1 to 256", _whole(1, 256))]
PingSeconds = Annotated[float, Kind("seconds above 0 and at most 15", lambda value: _at_most(_seconds(value), 15.0))]


Pictures = Literal["never", "bare", "always"]


def _at_most(seconds: float, most: float) -> float:
    if seconds > most:
        raise ValueError("is too long: clients give up on a silent stream soon after")
    return seconds


def _wait(value: object) -> float:
    seconds = _seconds(value)
    if not _LEAST_WAIT <= seconds <= _LONGEST_WAIT:
        raise ValueError("is too short" if seconds < _LEAST_WAIT else "is too long")
    return seconds


def _size_from(least: int, most: int) -> Callable[[object], int]:
    def parse(value: object) -> int:
        size = _size(value)
        if not least <= size <= most:
            raise ValueError("is too small" if size < least else "is too large")
        return size

    return parse


# Each connection is looked at as often as its shortest wait is long.
_LEAST_WAIT, _LONGEST_WAIT = 0.1, 86_400.0
Wait = Annotated[float, Kind("seconds from 0.1 to 86400, or text such as 500ms, 30s, 5m, 1d", _wait)]
Span = Annotated[int, Kind("bytes from 1024 to 16 MiB, or text such as 64KiB, 1MB", _size_from(1024, 16 << 20))]
"""A size that many connections may take at once."""


class LogSection(msgspec.Struct, frozen=True, kw_only=True):
    """`server.log`."""

    level: Annotated[str, _choice(Literal["debug", "info", "warning", "error"], _LEVELS)] = Log().level
    format: Annotated[str, _choice(Literal["text", "json"])] = Log().format
    file: FilePath | None = Log().file
    keep: Annotated[int, Kind("a number of days from 1 to 3650", _whole(1, 3650))] = Log().keep
    sample: Annotated[float, Kind("a number from 0 to 1, or a percentage such as 5%", _share)] = Log().sample


class TlsSection(msgspec.Struct, frozen=True, kw_only=True):
    """`server.tls`."""

    cert: FilePath | None = None
    key: FilePath | None = None


class LimitsSection(msgspec.Struct, frozen=True, kw_only=True):
    """`server.limits`."""

    max_connections: Count | None = ServerLimits().max_connections
    max_headers: Annotated[int, Kind("a whole number from 10 to 10000", _whole(10, 10_000))] = ServerLimits().max_headers
    max_header_size: Span = ServerLimits().max_header_size
    max_url_size: Span = ServerLimits().max_url_size
    read_ahead: Span = ServerLimits().read_ahead
    write_buffer: Span = ServerLimits().write_buffer
    header_timeout: Wait = ServerLimits().header_timeout
    body_timeout: Wait = ServerLimits().body_timeout
    idle_timeout: Wait = ServerLimits().idle_timeout
    send_timeout: Wait = ServerLimits().send_timeout
    linger_timeout: Wait = ServerLimits().linger_timeout


class ServerSection(msgspec.Struct, frozen=True, kw_only=True):
    """`server`: where and how the gateway listens."""

    host: Host = "127.0.0.1"
    port: Port = 4000
    max_body: Size = 64_000_000
    strict: Yes = False
    open: Yes = False
    ping: PingSeconds = 15.0
    driver: Annotated[Driver, _choice(Driver, {"uvicorn": "asgi"})] = "native"
    workers: Workers = 1
    drain: Seconds = 10.0
    tls: TlsSection = TlsSection()
    limits: LimitsSection = LimitsSection()
    log: LogSection = LogSection()


class TimeoutsSection(msgspec.Struct, frozen=True, kw_only=True):
    """`timeouts`, of everything, of a provider, of a model. A bare number in its place is `total`."""

    connect: Seconds | None = None
    first_byte: Seconds | None = None
    idle: Seconds | None = None
    total: Seconds | None = None


class LocalSection(msgspec.Struct, frozen=True, kw_only=True):
    """`local`: the built-in model."""

    enabled: Yes | None = None
    name: Text = "local"
    model: Annotated[str, Kind("the path of a GGUF file", _file)] | None = None
    threads: Annotated[int, Kind("a whole number from 1 to 1024", _whole(1, 1024))] | None = None
    context: Tokens = 4096


class StoreSection(msgspec.Struct, frozen=True, kw_only=True):
    """`store`: where the gateway remembers what callers ask it to keep. A path or a URL may stand in its place."""

    enabled: Yes = True
    path: Annotated[str, Kind("the path of a file, or :memory:", _file)] | None = None
    url: StoreUrl | None = None
    ttl: Seconds = 30 * 86_400.0


class VaultSection(msgspec.Struct, frozen=True, kw_only=True):
    """`vault`: where sealed state waits, encrypted, whose client cannot carry it."""

    enabled: Yes | None = None
    key: SecretText | None = None
    key_file: Annotated[str, Kind("the path of a file", _file)] | None = None
    ttl: Seconds = 7 * 86_400.0
    entries: Annotated[int, Kind("a whole number from 16 to 10000000", _whole(16, 10_000_000))] = 10_000


class FetchSection(msgspec.Struct, frozen=True, kw_only=True):
    """`fetch`: what a request links to, for targets that take bytes only."""

    enabled: Yes = True
    max_bytes: Size = 20_000_000
    timeout: Seconds = 10.0
    allow_hosts: Annotated[tuple[str, ...], Kind("a list of host names, *.names, addresses or networks", _hosts)] = ()
    allow_private: Yes = False


class DocumentsSection(msgspec.Struct, frozen=True, kw_only=True):
    """`documents`: how PDF documents are read for models that take none."""

    enabled: Yes = True
    pictures: Annotated[Pictures, _choice(Pictures)] = "bare"
    max_pages: Annotated[int, Kind("a whole number from 1 to 10000", _whole(1, 10_000))] = 100
    timeout: Seconds = 30.0
    memory: Size = 1_073_741_824


class KeySection(msgspec.Struct, frozen=True, kw_only=True):
    """One of `keys`; a bare key may stand in its place."""

    name: Text | None = None
    key: SecretText | None = None


class ListedModel(msgspec.Struct, frozen=True, kw_only=True):
    """One of a provider's `models`; the bare id may stand in its place."""

    id: Text | None = None
    display_name: Text | None = None
    context: Tokens | None = None
    output: Tokens | None = None


class ProfileSection(msgspec.Struct, frozen=True, kw_only=True):
    """`profile`: what the endpoint or the model takes, where the built-in knowledge is wrong (ir/profile.py)."""

    max_output_tokens: Tokens | None = None
    max_tokens_field: Annotated[str, _choice(Literal["max_tokens", "max_completion_tokens"])] | None = None
    max_stop: Annotated[int, Kind("a whole number from 0 to 1000", _whole(0, 1000))] | None = None
    sampling: Yes | None = None
    temperature_or_top_p: Yes | None = None
    inline_system: Yes | None = None
    cache_marks: Annotated[str, _choice(Literal["none", "cache_control", "breakpoint"])] | None = None
    reasoning: Annotated[str, _choice(Literal["effort", "reasoning", "thinking", "none"])] | None = None
    efforts: Annotated[frozenset[str], Kind("a list of words such as low, medium, high", _names)] | None = None
    effort_with_tools: Yes | None = None
    reasoning_replay: Annotated[str, _choice(Literal["none", "reasoning_content", "reasoning_details"])] | None = None
    thinking: Annotated[str, _choice(Literal["adaptive", "budget", "none"])] | None = None
    thinking_off: Annotated[str, _choice(Literal["disabled", "between_tools", "never"])] | None = None
    structured: Yes | None = None
    forced_tools: Yes | None = None
    custom_tools: Yes | None = None
    allowed_tools: Yes | None = None
    refused: Annotated[frozenset[str], Kind("a list of the names of parameters", _names)] | None = None
    seed_field: Text | None = None
    call_ids: Annotated[str, _choice(Literal["any", "short", "nine"])] | None = None
    stream_usage: Yes | None = None
    completions: Yes | None = None
    keeps_responses: Yes | None = None
    extra_sampling: Yes | None = None
    thinking_config: Annotated[str, _choice(Literal["level", "budget", "none"])] | None = None
    json_schema: Yes | None = None
    signed_calls: Yes | None = None
    media_results: Yes | None = None
    media_resolution: Yes | None = None
    format_with_tools: Yes | None = None
    embed_dimensions: Yes | None = None
    embed_base64: Yes | None = None
    embed_most: Count | None = None
    auto_cache: Yes | None = None
    images: Annotated[Reach, _choice(Reach)] | None = None
    image_bytes: Size | None = None
    pdfs: Annotated[Reach, _choice(Reach)] | None = None
    pdf_bytes: Size | None = None
    audio: Yes | None = None


Credentials = Literal["auto", "gateway", "caller"]


class ProviderSection(msgspec.Struct, frozen=True, kw_only=True):
    """One of `providers`. What is not said comes from the built-in row of that name, if there is one."""

    like: Text | None = None
    dialect: Dialect | None = None
    base_url: Url | None = None
    dialects: dict[str, Url] | None = None
    api_key: list[SecretText] | None = None
    auth: Annotated[Auth, _choice(Auth)] | None = None
    credentials: Annotated[Credentials, _choice(Credentials)] | None = None
    headers: Headers | None = None
    version: Version | None = None
    models: list[ListedModel] | None = None
    big: Text | None = None
    small: Text | None = None
    timeouts: TimeoutsSection | None = None
    max_connections: Count | None = None
    max_keepalive: Count | None = None
    profile: ProfileSection | None = None
    issuer: Text | None = None
    enabled: Yes | None = None


class PriceSection(msgspec.Struct, frozen=True, kw_only=True):
    """`price` of a model or a target, where the built-in list has none or another one."""

    input: Dollars | None = None
    output: Dollars | None = None
    cache_read: Dollars | None = None
    cache_write: Dollars | None = None
    cache_write_1h: Dollars | None = None
    reasoning: Dollars | None = None


class TargetSection(msgspec.Struct, frozen=True, kw_only=True):
    """One of a model's `targets`; `provider/model` as text may stand in its place."""

    provider: Text | None = None
    model: Text | None = None
    timeouts: TimeoutsSection | None = None
    profile: ProfileSection | None = None
    price: PriceSection | None = None


class ModelSection(msgspec.Struct, frozen=True, kw_only=True):
    """One of `models`; a target, or a list of them, may stand in its place."""

    targets: list[TargetSection] | None = None
    strict: Yes | None = None
    timeouts: TimeoutsSection | None = None
    profile: ProfileSection | None = None
    display_name: Text | None = None
    description: Text | None = None
    context: Tokens | None = None
    output: Tokens | None = None
    input: list[Modality] | None = None
    price: PriceSection | None = None


class File(msgspec.Struct, frozen=True, kw_only=True):
    """The whole of it."""

    server: ServerSection = ServerSection()
    keys: list[KeySection] | None = None
    providers: dict[str, ProviderSection] = {}
    auto: Yes = True
    models: dict[str, ModelSection] = {}
    aliases: dict[str, Text] = {}
    timeouts: TimeoutsSection = TimeoutsSection()
    local: LocalSection = LocalSection()
    store: StoreSection = StoreSection()
    vault: VaultSection = VaultSection()
    fetch: FetchSection = FetchSection()
    documents: DocumentsSection = DocumentsSection()


# Other words that people type, by section. Case, dashes and camelCase do not matter either.
SYNONYMS: dict[type[msgspec.Struct], dict[str, str]] = {
    File: {
        "client_keys": "keys",
        "provider": "providers",
        "model": "models",
        "alias": "aliases",
        "timeout": "timeouts",
        "listen": "server",
    },
    ServerSection: {
        "bind": "host",
        "address": "host",
        "max_body_size": "max_body",
        "body_limit": "max_body",
        "logging": "log",
        "logs": "log",
        "ping_interval": "ping",
        "processes": "workers",
        "grace": "drain",
        "graceful_timeout": "drain",
        "ssl": "tls",
        "limit": "limits",
    },
    LimitsSection: {
        "connections": "max_connections",
        "limit_concurrency": "max_connections",
        "headers": "max_headers",
        "max_header_fields": "max_headers",
        "header_size": "max_header_size",
        "max_header_bytes": "max_header_size",
        "url_size": "max_url_size",
        "max_request_line": "max_url_size",
        "headers_timeout": "header_timeout",
        "read_header_timeout": "header_timeout",
        "client_header_timeout": "header_timeout",
        "client_body_timeout": "body_timeout",
        "keepalive_timeout": "idle_timeout",
        "keep_alive_timeout": "idle_timeout",
        "keep_alive": "idle_timeout",
        "write_timeout": "send_timeout",
        "lingering_timeout": "linger_timeout",
        "linger": "linger_timeout",
    },
    TlsSection: {"certificate": "cert", "certfile": "cert", "cert_file": "cert", "keyfile": "key", "key_file": "key"},
    LogSection: {"path": "file", "filename": "file", "days": "keep", "retention": "keep", "sampling": "sample"},
    TimeoutsSection: {"read": "first_byte", "between_chunks": "idle", "stream": "idle", "request": "total"},
    LocalSection: {"path": "model", "file": "model", "n_threads": "threads", "n_ctx": "context", "context_window": "context"},
    StoreSection: {"file": "path", "database": "url", "database_url": "url", "dsn": "url", "retention": "ttl", "keep": "ttl"},
    VaultSection: {"max_entries": "entries", "keyfile": "key_file"},
    FetchSection: {"max_size": "max_bytes", "limit": "max_bytes", "hosts": "allow_hosts", "private": "allow_private"},
    DocumentsSection: {"pages": "max_pages", "images": "pictures", "max_memory": "memory"},
    KeySection: {"id": "name", "value": "key", "api_key": "key", "token": "key"},
    ListedModel: {
        "model": "id",
        "name": "id",
        "title": "display_name",
        "context_window": "context",
        "max_output": "output",
        "max_output_tokens": "output",
    },
    ProviderSection: {
        "inherits": "like",
        "extends": "like",
        "type": "dialect",
        "format": "dialect",
        "protocol": "dialect",
        "wire_api": "dialect",
        "url": "base_url",
        "api_base": "base_url",
        "api_base_url": "base_url",
        "endpoint": "base_url",
        "key": "api_key",
        "keys": "api_key",
        "api_keys": "api_key",
        "api_version": "version",
        "timeout": "timeouts",
        "extra_headers": "headers",
        "default_headers": "headers",
        "active": "enabled",
    },
    PriceSection: {"cache_write_5m": "cache_write", "cached_input": "cache_read"},
    TargetSection: {"timeout": "timeouts", "name": "model", "prices": "price", "cost": "price"},
    ModelSection: {
        "target": "targets",
        "chain": "targets",
        "to": "targets",
        "timeout": "timeouts",
        "title": "display_name",
        "context_window": "context",
        "max_output": "output",
        "max_output_tokens": "output",
        "modalities": "input",
        "prices": "price",
        "cost": "price",
    },
}
