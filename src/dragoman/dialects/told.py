"""What the body of an error says, whoever wrote it. Behind one endpoint stand the provider, a proxy in front of it and a
router in between, and each has errors of its own: an object, a text, the first of an array, FastAPI's `detail`, a page of
HTML, or nothing. So what is not in a dialect's own form is read here, for all of them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, cast

import msgspec

# No tag looks past the next one, and no script far, so that a page of nothing but brackets is read in no time.
_TAG = re.compile(r"<(script|style)\b.{,8000}?</\1\s*>|<[^<>]*>", re.DOTALL | re.IGNORECASE)
_TITLE = re.compile(r"<title[^<>]*>([^<]*)</title>", re.IGNORECASE)
_SECONDS = re.compile(r"^(\d{1,9}(?:\.\d{1,9})?)s$")
_MOST = 2000
_MOST_OF_PAGE = 16 * 1024

_TOLD = frozenset({"message", "msg", "detail", "code", "type", "status", "status_code", "param"})
"""What may stand beside an error that is a text."""


class Said(msgspec.Struct):
    """What could be made out in an error body. `word` is a status in words, `wait` seconds to wait before another try."""

    message: str = ""
    code: str | None = None
    type: str | None = None
    param: str | None = None
    status: int | None = None
    word: str = ""
    wait: float | None = None


def read(body: bytes) -> Said:
    try:
        native = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Said(message=plain(body))
    if isinstance(native, list) and native:
        native = cast("list[Any]", native)[0]
    if isinstance(native, str):
        return Said(message=native[:_MOST])
    if not isinstance(native, dict):
        return Said()
    native = cast("dict[str, Any]", native)
    inner = native.get("error")
    if isinstance(inner, str):
        said = _of({key: value for key, value in native.items() if key in _TOLD})
        said.message = inner if not said.message or said.message == inner else f"{inner}: {said.message}"
        return said
    return _of(cast("dict[str, Any]", inner)) if isinstance(inner, dict) else _of(native)


def _of(native: dict[str, Any]) -> Said:
    said = Said(message=_message(native)[:_MOST])
    code, kind, status, param = (native.get(key) for key in ("code", "type", "status", "param"))
    if isinstance(code, str) and code:
        if len(code) == 3 and code.isdecimal():
            code = int(code)
        else:
            said.code = code
    said.type = kind if isinstance(kind, str) and kind else None
    said.param = param if isinstance(param, str) else None
    said.word = status.lower() if isinstance(status, str) else ""
    for value in (code, status, native.get("status_code")):
        if isinstance(value, int) and 400 <= value < 600:
            said.status = value
            break
    said.wait = wait_in(native.get("details"))
    return said


def wait_in(details: object) -> float | None:
    """Seconds, from Google's `RetryInfo`, which stands in the errors of its other endpoints too."""
    for detail in cast("list[Any]", details) if isinstance(details, list) else ():
        delay = cast("dict[str, Any]", detail).get("retryDelay") if isinstance(detail, dict) else None
        found = _SECONDS.match(delay) if isinstance(delay, str) else None
        if found is not None:
            return float(found.group(1))
    return None


def _message(native: dict[str, Any]) -> str:
    for key in ("message", "msg", "detail", "error_description", "title", "reason"):
        value = native.get(key)
        if isinstance(value, str) and value:
            message = value
            break
        if isinstance(value, list) and value:
            # FastAPI: one entry for each thing that was wrong.
            message = "; ".join(_detail(item) for item in cast("list[Any]", value))
            break
        if isinstance(value, dict):
            return msgspec.json.encode(value).decode()
    else:
        return msgspec.json.encode(native).decode() if native else ""
    # A router in between says "Provider returned error" and puts the provider's own words here.
    metadata = native.get("metadata")
    raw = cast("dict[str, Any]", metadata).get("raw") if isinstance(metadata, dict) else None
    return f"{message}: {raw}" if isinstance(raw, str) and raw and raw not in message else message


def _detail(item: Any) -> str:
    if not isinstance(item, dict):
        return str(item)
    detail = cast("dict[str, Any]", item)
    where = detail.get("loc")
    message = str(detail.get("msg") or msgspec.json.encode(detail).decode())
    return f"{'.'.join(map(str, cast('list[Any]', where)))}: {message}" if isinstance(where, list) else message


def plain(body: bytes) -> str:
    """The words of a body that is not JSON: of a page its title, or its text without tags."""
    text = body[:_MOST_OF_PAGE].decode("utf-8", "replace").strip()
    if "<" in text:
        title = _TITLE.search(text)
        text = title.group(1) if title is not None and title.group(1).strip() else _TAG.sub(" ", text)
    return " ".join(text.split())[:500]


def retry_after(headers: Mapping[str, str], said: Said | None = None) -> float | None:
    """Seconds, from `retry-after-ms` or `retry-after`, or else from the body. A date counts from the answer's own `date`, so
    that nobody's clock matters; without one it says nothing."""
    for name, scale in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        value = headers.get(name)
        if value is None:
            continue
        try:
            seconds = float(value) / scale
        except ValueError:
            seconds = _until(value, headers.get("date"))
        if seconds is not None and math.isfinite(seconds) and seconds >= 0:
            return seconds
    return said.wait if said is not None else None


def _until(then: str, now: str | None) -> float | None:
    if now is None:
        return None
    try:
        found = _moment(then) - _moment(now)
    except (ValueError, TypeError, OverflowError):
        return None
    return max(0.0, found.total_seconds())


def _moment(text: str) -> datetime:
    """RFC 9110, 5.6.7: always GMT, whatever is left out."""
    moment = parsedate_to_datetime(text)
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
