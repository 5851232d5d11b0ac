"""JSON as servers really send it.

Python servers write `NaN` and `-Infinity` (log probabilities), and servers that cut text between UTF-16 halves write
lone surrogates. Neither is JSON, and both are harmless: read here with the standard library, after the fast way failed."""

from __future__ import annotations

import json
import math
from typing import Any, cast

import msgspec


def decode(data: bytes) -> Any:
    """The value. Raises ValueError when it is not even nearly JSON."""
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        try:
            return _clean(json.loads(data.decode("utf-8", "replace")))
        except (ValueError, RecursionError) as error:
            raise ValueError(str(error)) from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    if isinstance(value, list):
        return [_clean(item) for item in cast("list[Any]", value)]
    if isinstance(value, dict):
        return {_clean(key): _clean(item) for key, item in cast("dict[Any, Any]", value).items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
