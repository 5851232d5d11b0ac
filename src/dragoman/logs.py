"""One structured log for the whole process.

    logger = logging.getLogger(__name__)
    with logs.bound(request_id="req_1", client="claude-code"):
        logger.info("answered", extra={"status": 200, "ms": 412})

    2026-11-21T11:24:01.123Z INFO    dragoman.io.asgi answered  status=200 ms=412 request_id=req_1 client=claude-code

What is bound is added to every record of the same task, whoever writes it. A record is put on a bounded queue and
formatted, masked and written by another thread: a slow disk never holds up a request. When the queue is full,
records are dropped and their number is logged.

Nothing that looks like a key reaches a line: known shapes are masked everywhere, and `register_secret` adds the
process's own.
"""

from __future__ import annotations

import copy
import logging
import logging.handlers
import queue
import re
import sys
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TextIO

import msgspec

from dragoman.errors import ConfigError
from dragoman.secret import Secret, mask

Level = Literal["debug", "info", "warning", "error"]


class Log(msgspec.Struct, frozen=True, kw_only=True):
    """`file`: written beside the console, which then gets warnings and errors only; a new one each day (UTC),
    the last `keep` of them are kept."""

    level: Level = "info"
    format: Literal["text", "json"] = "text"
    file: str | None = None
    keep: int = 14


# ---------------------------------------------------------------- context

_context: ContextVar[Mapping[str, object]] = ContextVar("dragoman_log_context", default={})  # noqa: B039  never changed in place


def context() -> Mapping[str, object]:
    """What is bound in this task."""
    return _context.get()


def bind(**fields: object) -> None:
    """Add to every record of this task from here on. Fields that are None are left out."""
    _context.set({**_context.get(), **{name: value for name, value in fields.items() if value is not None}})


@contextmanager
def bound(**fields: object) -> Generator[None]:
    token = _context.set(_context.get())
    try:
        bind(**fields)
        yield
    finally:
        _context.reset(token)


# ---------------------------------------------------------------- masking

_SHAPES = re.compile(
    r"""
      (?P<lead>
          (?i: \b (?: x-api-key | x-goog-api-key | api[-_]?key | authorization | password | secret ) ["']? \s* [:=] \s* ["']? )
          (?i: (?: bearer | basic ) \s+ )?
        | (?i: \b bearer \s+ )
        | (?i: [?&] (?: key | api_key | access_token | token ) = )
      )
      (?P<value> [^\s"'&,;)\]}]{6,} )
    | \b (?:
        sk-[A-Za-z0-9_-]{8,}            # Anthropic, OpenAI, OpenRouter, DeepSeek, Moonshot ...
      | AIza[0-9A-Za-z_-]{20,}          # Google
      | (?: gsk | hf | fw | r8 | sk | tgp_v1 | csk | pk ) _[A-Za-z0-9_-]{16,}
      | (?: xai | pplx | nvapi | csk | sess ) -[A-Za-z0-9_-]{16,}
      | gh[pousr]_[A-Za-z0-9]{20,} | github_pat_[A-Za-z0-9_]{20,}
      | AKIA[0-9A-Z]{16}
      | eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*   # a JWT
      )
    """,
    re.VERBOSE,
)
_NAMES = re.compile(r"(?i)(authorization|api[-_]?key|x-goog-api-key|secret|password|cookie|(^|[-_])token$)")
_LEAST_REGISTERED = 6
"""A shorter value would be found inside ordinary words."""

_registered: set[str] = set()
_own: re.Pattern[str] | None = None


def register_secret(*secrets: Secret | str) -> None:
    """Mask these wherever they turn up, whatever they look like."""
    global _own  # noqa: PLW0603  one process, one log
    for secret in secrets:
        value = secret.reveal() if isinstance(secret, Secret) else secret
        if len(value) >= _LEAST_REGISTERED:
            _registered.add(value)
    if _registered:
        # The longest first: one key may begin with another.
        _own = re.compile("|".join(re.escape(value) for value in sorted(_registered, key=len, reverse=True)))


def masked(text: str) -> str:
    """The text without anything that is, or looks like, a key."""
    if _own is not None:
        text = _own.sub(lambda found: mask(found.group()), text)
    return _SHAPES.sub(lambda found: (found["lead"] or "") + mask(found["value"] or found.group()), text)


def _masked_value(name: str, value: object) -> Any:
    match value:
        case None | bool() | int() | float():
            return value
        case str():
            return mask(value) if _NAMES.search(name) else masked(value)
        case Mapping():
            return {str(key): _masked_value(str(key), item) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_masked_value(name, item) for item in value]
        case bytes():
            return _masked_value(name, value.decode("utf-8", "replace"))
        case _:
            return masked(str(value))


# ---------------------------------------------------------------- formatting

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "context", "color_message", "taskName"}


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    own = {name: value for name, value in vars(record).items() if name not in _STANDARD}
    bound_fields: Mapping[str, object] = getattr(record, "context", {})
    return {name: _masked_value(name, value) for name, value in {**own, **bound_fields}.items()}


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": masked(record.getMessage()),
        }
        line |= {name if name not in line else name + "_": value for name, value in _fields(record).items()}
        if record.exc_text:
            line["error"] = masked(record.exc_text)
        return msgspec.json.encode(line).decode()


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        # One record, one line: a line break that came from outside must not look like another record.
        message = masked(record.getMessage()).replace("\r", "\\r").replace("\n", "\\n")
        fields = " ".join(f"{name}={_bare(value)}" for name, value in _fields(record).items())
        line = f"{_time(record)} {record.levelname:<7} {record.name} {message}" + (f"  {fields}" if fields else "")
        return line + ("\n" + masked(record.exc_text) if record.exc_text else "")


def _bare(value: object) -> str:
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    if isinstance(value, str) and (not text or any(char in ' "\n\r=' for char in text)):
        return msgspec.json.encode(text).decode()
    return text


# ---------------------------------------------------------------- the queue and its writer

_MOST_QUEUED = 10_000
_END_WAIT = 5.0


class _Enqueue(logging.handlers.QueueHandler):
    """Runs in the task that logs: takes what only it can know, and leaves the work to the writer."""

    dropped = 0

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        record = copy.copy(record)
        record.msg, record.args = record.getMessage(), None
        record.context = _context.get()
        if record.exc_info:
            # Now, and not in the writer: a traceback keeps every frame of the request alive.
            record.exc_text = record.exc_text or _formatter.formatException(record.exc_info)
            record.exc_info = None
        return record

    def enqueue(self, record: logging.LogRecord) -> None:
        try:
            if self.dropped:
                notice = {"name": "dragoman.logs", "levelno": logging.WARNING, "levelname": "WARNING", "msg": "records lost"}
                self.queue.put_nowait(logging.makeLogRecord({**notice, "count": self.dropped}))
                self.dropped = 0
            self.queue.put_nowait(record)
        except queue.Full:
            self.dropped += 1


class _Writer(logging.handlers.QueueListener):
    def enqueue_sentinel(self) -> None:
        self.queue.put(self._sentinel, timeout=_END_WAIT)  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]


_formatter = logging.Formatter()


def setup(log: Log, *, stream: TextIO | None = None, secrets: Iterable[Secret | str] = ()) -> Callable[[], None]:
    """Start logging; returns what ends it, which writes everything that is still queued.

    `stream` is stderr unless given. Raises `ConfigError` when the file cannot be written."""
    register_secret(*secrets)
    formatter = _Json() if log.format == "json" else _Text()
    handlers: list[logging.Handler] = [logging.StreamHandler(stream or sys.stderr)]
    if log.file is not None:
        handlers[0].setLevel(logging.WARNING)
        handlers.append(_file_handler(log.file, log.keep))
    for handler in handlers:
        handler.setFormatter(formatter)

    entry = _Enqueue(queue.Queue(_MOST_QUEUED))
    writer = _Writer(entry.queue, *handlers, respect_handler_level=True)
    level = logging.getLevelNamesMapping()[log.level.upper()]
    root, own = logging.getLogger(), logging.getLogger("dragoman")
    before = root.level, own.level
    root.addHandler(entry)
    root.setLevel(max(level, logging.WARNING))  # other people's libraries talk a lot
    own.setLevel(level)
    writer.start()
    ended = False

    def close() -> None:
        nonlocal ended
        if ended:
            return
        ended = True
        root.removeHandler(entry)
        root.setLevel(before[0])
        own.setLevel(before[1])
        writer.stop()
        for handler in handlers:
            handler.flush()
            handler.close()
        entry.close()

    return close


def _file_handler(file: str, keep: int) -> logging.Handler:
    path = Path(file).expanduser()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return logging.handlers.TimedRotatingFileHandler(path, when="midnight", backupCount=keep, utc=True, encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"server.log.file: {file!r} cannot be written: {error.strerror or error}; allowed: a file path"
        ) from error
