"""One structured log for the whole process.

    logger = logging.getLogger(__name__)
    with logs.bound(request_id="req_1", client="claude-code"):
        logger.info("answered", extra={"status": 200, "ms": 412})

    2026-11-21T11:24:01.123Z INFO    dragoman.io.asgi answered  status=200 ms=412 request_id=req_1 client=claude-code

What is bound is added to every record of the same task, whoever writes it. A record is put on a bounded queue and
formatted, masked and written by another thread: a slow disk never holds up a request. When the queue is full,
records are dropped and their number is logged. What is queued is written within 50 ms, and before the end.

The one line that every request has goes a shorter way through the same queue: it is a `Line`, a struct that names those
of its fields that may hold a key, and it is JSON before it is queued, so the writer has nothing left to do but to write.

Nothing that looks like a key reaches a line: known shapes are masked everywhere, and `register_secret` adds the
process's own.
"""

from __future__ import annotations

import copy
import json
import logging
import logging.handlers
import os
import re
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Literal, TextIO, TypeAlias, cast

import msgspec

from dragoman.errors import ConfigError
from dragoman.secret import Secret, mask

Level = Literal["debug", "info", "warning", "error"]
Lock = AbstractContextManager[object]
"""Entered again and again."""


class Log(msgspec.Struct, frozen=True, kw_only=True):
    """`file`: written beside the console, which then gets warnings and errors only; a new one each day (UTC),
    the last `keep` of them are kept. `sample`: the share of plain requests that get a line, from 0 to 1."""

    level: Level = "info"
    format: Literal["text", "json"] = "text"
    file: str | None = None
    keep: int = 14
    sample: float = 1.0


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
        _masked_before.cache_clear()


def masked(text: str) -> str:
    """The text without anything that is, or looks like, a key."""
    if _own is not None:
        text = _own.sub(lambda found: mask(found.group()), text)
    return _SHAPES.sub(lambda found: (found["lead"] or "") + mask(found["value"] or found.group()), text)


_SHORT = 128
"""Of a shorter text it is remembered what it looks like masked: models, paths and sessions come again and again."""


@lru_cache(1024)
def _masked_before(text: str) -> str:
    return masked(text)


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


# ---------------------------------------------------------------- lines


class Line(msgspec.Struct, omit_defaults=True, kw_only=True):
    """A record whose fields are known beforehand: subclass it. Further fields that can be absent are None by default.

    `free` names those that hold other people's words (a text or a list of them): they are masked, and nothing else is.
    `write` fills in `time` and `logger`."""

    free: ClassVar[tuple[str, ...]] = ()

    time: str = ""
    level: Literal["info", "warning"]
    logger: str = ""
    message: str


_LEVELS = {"info": logging.INFO, "warning": logging.WARNING}


def write(logger: logging.Logger, line: Line) -> None:
    """Log a line, as `logger` would log a record with the same fields."""
    level = _LEVELS[line.level]
    if not logger.isEnabledFor(level):
        return
    if _writer is None or _context.get():
        # Logging is somebody else's, or there are fields that the line has no place for.
        logger.log(level, line.message, extra=_said(line))
        return
    line.time = _date(time.time())
    line.logger = logger.name
    for name in line.free:
        value = getattr(line, name)
        if value is not None:
            setattr(line, name, _masked_field(name, value))
    _writer.put((level, _json_of(line) if _writer.json else line))


def _masked_field(name: str, value: object) -> Any:
    if type(value) is str and len(value) < _SHORT:
        return _masked_before(value)
    return (
        [_masked_field(name, item) for item in cast("list[object]", value)]
        if type(value) is list
        else _masked_value(name, value)
    )


def _said(line: Line) -> dict[str, Any]:
    """The line's own fields."""
    fields = msgspec.structs.asdict(line)
    return {name: value for name, value in fields.items() if value is not None and name not in Line.__struct_fields__}


_encode = msgspec.json.Encoder().encode


def _json_of(line: Line) -> bytes:
    try:
        return _encode(line)
    except UnicodeEncodeError:
        # Half a character, which only the standard library has a way to write.
        return json.dumps({name: value for name, value in msgspec.structs.asdict(line).items() if value is not None}).encode()


# ---------------------------------------------------------------- formatting

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "context", "color_message", "taskName"}


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    own = {name: value for name, value in vars(record).items() if name not in _STANDARD}
    bound_fields: Mapping[str, object] = getattr(record, "context", {})
    return {name: _masked_value(name, value) for name, value in {**own, **bound_fields}.items()}


_last_second = 0, ""
_last_date = 0, ""


def _date(when: float) -> str:
    """RFC 3339, UTC, to the millisecond."""
    global _last_second, _last_date  # noqa: PLW0603  so that a date is made once in a second, or in a millisecond
    moment = int(when * 1000)
    known, date = _last_date
    if moment == known:
        return date
    second = moment // 1000
    known, day = _last_second
    if second != known:
        day = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        _last_second = second, day
    date = f"{day}.{moment % 1000:03d}Z"
    _last_date = moment, date
    return date


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        if isinstance(record, _Ready):
            return b"\n".join(line if isinstance(line, bytes) else _json_of(line) for line in record.lines).decode()
        line = {
            "time": _date(record.created),
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
        if isinstance(record, _Ready):
            return "\n".join(self._line(line) for line in record.lines if isinstance(line, Line))
        text = _as_text(_date(record.created), record.levelname, record.name, masked(record.getMessage()), _fields(record))
        return text + ("\n" + masked(record.exc_text) if record.exc_text else "")

    @staticmethod
    def _line(line: Line) -> str:
        return _as_text(line.time, line.level.upper(), line.logger, line.message, _said(line))


def _as_text(date: str, level: str, logger: str, message: str, fields: Mapping[str, Any]) -> str:
    # One record, one line: a line break that came from outside must not look like another record, nor command the terminal.
    message = message if message.isprintable() else _escaped(message)
    said = " ".join(f"{name}={_bare(value)}" for name, value in fields.items())
    return f"{date} {level:<7} {logger} {message}" + (f"  {said}" if said else "")


def _bare(value: object) -> str:
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    plain = text.isprintable()
    if isinstance(value, str) and (not text or not plain or any(char in ' "=' for char in text)):
        text = json.dumps(text, ensure_ascii=False)
    return text if plain else _escaped(text)


def _escaped(text: str) -> str:
    """Without control characters, separators of lines and marks that turn the direction of writing; as in JSON."""
    return "".join(char if char.isprintable() else json.dumps(char)[1:-1] for char in text)


# ---------------------------------------------------------------- the queue and its writer

_MOST_QUEUED = 10_000
_MOST_AT_ONCE = 256
"""So many lines are written as one. They are no longer counted as queued then, so this is beside the above."""
_GATHER = 0.05
"""Seconds. A thread that is woken for each line costs a request more than its line does."""
_END_WAIT = 10.0


class _Ready(logging.LogRecord):
    """Lines of one level, to be written by a handler in one go."""

    def __init__(self, level: int, lines: list[bytes | Line]) -> None:
        super().__init__("dragoman", level, "", 0, "", None, None)
        self.lines = lines


_Queued: TypeAlias = logging.LogRecord | tuple[int, bytes | Line]


class _Writer(threading.Thread):
    """Writes what is queued, in its order. `json`: lines are queued as JSON and not as what they are made of."""

    def __init__(self, handlers: list[logging.Handler], *, json: bool, lock: Lock) -> None:
        super().__init__(name="dragoman-log", daemon=True)
        self.json = json
        self._lock = lock
        self._handlers = handlers
        self._queued: deque[_Queued] = deque()
        self._dropped = 0
        self._asleep = False
        self._wake = threading.Event()
        self._ending = threading.Event()

    def put(self, item: _Queued) -> None:
        """Never waits, and may be called from every thread: a deque's own operations are whole."""
        if len(self._queued) >= _MOST_QUEUED:
            self._dropped += 1
            return
        if self._dropped:
            notice = {"name": "dragoman.logs", "levelno": logging.WARNING, "levelname": "WARNING", "msg": "records lost"}
            self._queued.append(logging.makeLogRecord({**notice, "count": self._dropped}))
            self._dropped = 0
        self._queued.append(item)
        if self._asleep:
            self._asleep = False
            self._wake.set()

    def end(self) -> bool:
        """Write what is still queued; says whether that was possible in bounded time."""
        self._ending.set()
        self._wake.set()
        self.join(_END_WAIT)
        return not self.is_alive()

    def run(self) -> None:
        while not self._ending.is_set():
            self._wake.clear()
            self._asleep = True
            # Whoever queues something from here on sees that it must wake us; what came before is seen here.
            if not self._queued:
                self._wake.wait()
            self._asleep = False
            self._ending.wait(_GATHER)
            self._empty()
        self._empty()

    def _empty(self) -> None:
        while self._queued:
            item = self._queued.popleft()
            self._handle(_Ready(item[0], self._lines_from(*item)) if isinstance(item, tuple) else item)

    def _lines_from(self, level: int, first: bytes | Line) -> list[bytes | Line]:
        """The line and those behind it that can be written with it."""
        lines = [first]
        while self._queued and len(lines) < _MOST_AT_ONCE:
            item = self._queued[0]
            if not isinstance(item, tuple) or item[0] != level:
                break
            lines.append(item[1])
            self._queued.popleft()
        return lines

    def _handle(self, record: logging.LogRecord) -> None:
        with self._lock:
            for handler in self._handlers:
                if record.levelno >= handler.level:
                    handler.handle(record)


_writer: _Writer | None = None
"""That of the log that was set up last and has not ended."""
_levels: list[list[int]] = []
"""Of the root and of ours, before each of the logs that have not ended. One may be set up before the one it follows ends: then
that it can be is known first."""


class _Enqueue(logging.Handler):
    """Runs in the task that logs: takes what only it can know, and leaves the work to the writer."""

    def __init__(self, writer: _Writer) -> None:
        super().__init__()
        self._to = writer

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._to.put(_prepared(record))
        except Exception:  # noqa: BLE001  a record that cannot be put together breaks nothing, as everywhere in logging
            self.handleError(record)


def _prepared(record: logging.LogRecord) -> logging.LogRecord:
    record = copy.copy(record)
    record.msg, record.args = record.getMessage(), None
    record.context = _context.get()
    if record.exc_info:
        # Now, and not in the writer: a traceback keeps every frame of the request alive.
        record.exc_text = record.exc_text or _formatter.formatException(record.exc_info)
        record.exc_info = None
    return record


_formatter = logging.Formatter()


def setup(
    log: Log, *, stream: TextIO | None = None, secrets: Iterable[Secret | str] = (), lock: Lock | None = None
) -> Callable[[], None]:
    """Start logging; returns what ends it, which writes everything that is still queued.

    `stream` is stderr unless given. `lock` is held while something is written: by processes that write to the same places,
    lest a line of one stand within a line of another. Raises `ConfigError` when the file cannot be written."""
    register_secret(*secrets)
    formatter = _Json() if log.format == "json" else _Text()
    handlers: list[logging.Handler] = [logging.StreamHandler(stream or sys.stderr)]
    if log.file is not None:
        handlers[0].setLevel(logging.WARNING)
        handlers.append(_file_handler(log.file, log.keep))
    for handler in handlers:
        handler.setFormatter(formatter)

    global _writer  # noqa: PLW0603  one process, one log
    writer = _Writer(handlers, json=log.format == "json", lock=lock or nullcontext())
    entry = _Enqueue(writer)
    level = logging.getLevelNamesMapping()[log.level.upper()]
    root, own = logging.getLogger(), logging.getLogger("dragoman")
    before = [root.level, own.level]
    _levels.append(before)
    root.addHandler(entry)
    root.setLevel(max(level, logging.WARNING))  # other people's libraries talk a lot
    own.setLevel(level)
    writer.start()
    _writer = writer
    ended = False

    def close() -> None:
        nonlocal ended
        global _writer  # noqa: PLW0603
        if ended:
            return
        ended = True
        if _writer is writer:
            _writer = None
        root.removeHandler(entry)
        at = next(number for number, each in enumerate(_levels) if each is before)
        _levels.pop(at)
        if at < len(_levels):
            _levels[at][:] = before  # the one that follows brings them back
        else:
            root.setLevel(before[0])
            own.setLevel(before[1])
        if writer.end():
            for handler in handlers:
                handler.flush()
                handler.close()
        entry.close()

    return close


class _DailyFile(logging.handlers.TimedRotatingFileHandler):
    """That another process may have begun the new file already. The lock is held."""

    def doRollover(self) -> None:  # noqa: N802
        if self._is_moved():
            if self.stream is not None:
                self.stream.close()
            self.stream = self._open()
            self.rolloverAt = self.computeRollover(int(time.time()))
        else:
            super().doRollover()

    def shouldRollover(self, record: logging.LogRecord) -> bool:  # noqa: N802
        return bool(super().shouldRollover(record)) or self._is_moved()

    def _is_moved(self) -> bool:
        if self.stream is None:
            return False
        try:
            return not os.path.samestat(os.stat(self.baseFilename), os.fstat(self.stream.fileno()))  # noqa: PTH116
        except FileNotFoundError:
            return True


def _file_handler(file: str, keep: int) -> logging.Handler:
    path = Path(file).expanduser()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return _DailyFile(path, when="midnight", backupCount=keep, utc=True, encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"server.log.file: {file!r} cannot be written: {error.strerror or error}; allowed: a file path"
        ) from error
