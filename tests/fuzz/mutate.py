"""Mutations that know JSON: bytes flipped at random seldom get past a parser, and hostile values are rarely found by chance."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any, cast

HOSTILE: list[Any] = [
    None, True, False, 0, -1, 1, 2**31, 2**53 + 1, 2**63, 2**64, -(2**63) - 1, 1e308, 5e-324, -0.0, 0.5, "", " ", "\0",
    "\ud83d", "\ude00", "\u2028", "\ufeff", "a" * 300, "null", "[DONE]", "dgm1-", "call-dgm1-eJyLjgUAARUAuQ", "dgmid-Zm9v",
    "ZGdtMS0", "data:", "data:image/png;base64,AAAA", "data:;base64,%%%", "http://[", "https://user:p@h/x", "\u0661", "²",
    "9" * 30, "9" * 5000, "-", "1e400", "#/$defs/a", "#", "__proto__", "user", "assistant", "system", "tool", "model",
    "function", "developer", [], {}, [[]], [{}], {"": None}, {"type": "text"}, {"type": None}, {"text": "x"}, [None], [[[]]],
    {"$ref": "#"}, {"type": "object"},
]  # fmt: skip
RAW = [
    b"NaN",
    b"Infinity",
    b"-Infinity",
    b"1e400",
    b"9" * 5000,
    b'"\\ud800"',
    b'"\xff"',
    b"[" * 400,
    b'{"a":' * 300,
    b'""""',
    b"\0",
]


def mutated(data: bytes, rng: random.Random, words: list[str]) -> bytes:
    """One to four changes of the tree, or one that makes it no JSON any more. Streams change in one event. Gives the data
    itself where there is no JSON in it."""
    start, stop = _part(data, rng)
    try:
        tree = json.loads(data[start:stop])
    except (ValueError, RecursionError):
        return data
    holder: list[Any] = [tree]
    for _ in range(rng.randrange(1, 5)):
        _change(holder, rng, words)
    new = json.dumps(holder[0], ensure_ascii=rng.random() < 0.9).encode("utf-8", "surrogatepass")
    if rng.random() < 0.1:
        at = new.find(b":", rng.randrange(len(new) + 1))
        new = new[: at + 1] + rng.choice(RAW) + (new[new.find(b",", at) :] if rng.random() < 0.7 else b"")
    return data[:start] + new + data[stop:]


def _part(data: bytes, rng: random.Random) -> tuple[int, int]:
    """Where there is JSON: all of it, all but the byte that says how it is fed, or the data of one event."""
    starts = [at for at in range(len(data)) if data.startswith(b"data: {", at)]
    if starts:
        start = rng.choice(starts) + 6
        end = data.find(b"\n", start)
        return start, end if end >= 0 else len(data)
    return (0 if data[:1] in {b"{", b"["} else 1), len(data)


Spot = tuple[Any, Any]


def _spots(tree: Any) -> list[Spot]:
    found: list[Spot] = []
    ahead: list[Any] = [tree]
    while ahead and len(found) < 2000:
        holder = ahead.pop()
        keys: list[Any] = list(cast("dict[str, Any]", holder)) if isinstance(holder, dict) else list(range(len(holder)))
        for key in keys:
            found.append((holder, key))
            if isinstance(holder[key], dict | list):
                ahead.append(holder[key])
    return found


def _change(root: list[Any], rng: random.Random, words: list[str]) -> None:
    spots = _spots(root)
    holder, key = rng.choice(spots)
    other, other_key = rng.choice(spots)
    rng.choice(_CHANGES)(holder, key, other[other_key], rng, words)


def _hostile(rng: random.Random) -> Any:
    """One of its own: a tree that held the same list twice could come to hold itself."""
    return json.loads(json.dumps(rng.choice(HOSTILE)))


def _replace(holder: Any, key: Any, other: Any, rng: random.Random, words: list[str]) -> None:
    holder[key] = _hostile(rng) if rng.random() < 0.6 or not words else rng.choice(words)


def _transplant(holder: Any, key: Any, other: Any, rng: random.Random, words: list[str]) -> None:
    holder[key] = json.loads(json.dumps(other))


def _remove(holder: Any, key: Any, other: Any, rng: random.Random, words: list[str]) -> None:
    if isinstance(holder, dict) or len(holder) > 1:
        del holder[key]


def _add(holder: Any, key: Any, other: Any, rng: random.Random, words: list[str]) -> None:
    value = json.loads(json.dumps(other)) if rng.random() < 0.5 else _hostile(rng)
    if isinstance(holder, dict):
        holder[rng.choice(words) if words else "x"] = value
    else:
        holder.insert(key, value)


def _wrap(holder: Any, key: Any, other: Any, rng: random.Random, words: list[str]) -> None:
    holder[key] = [holder[key]] if rng.random() < 0.5 else {rng.choice(words) if words else "x": holder[key]}


def _edit(holder: Any, key: Any, other: Any, rng: random.Random, words: list[str]) -> None:
    value = holder[key]
    if isinstance(value, str):
        at = rng.randrange(len(value) + 1)
        holder[key] = value[:at] + rng.choice(["\0", "\ud800", '"', "\\", "-dgm1-", "\n\n", " "]) + value[at:]
    elif isinstance(value, int | float) and not isinstance(value, bool):
        holder[key] = rng.choice([-value, value * 10**15, str(value), float(value) if abs(value) < 2**60 else 0])


_CHANGES: list[Callable[[Any, Any, Any, random.Random, list[str]], None]] = [
    _replace, _replace, _replace, _transplant, _transplant, _remove, _remove, _add, _add, _wrap, _edit,
]  # fmt: skip


def words_of(seeds: list[bytes]) -> list[str]:
    """Keys, and short texts that stand for something, in these."""
    found: set[str] = set()

    def look(value: Any) -> None:
        if isinstance(value, dict):
            for key, item in cast("dict[str, Any]", value).items():
                found.add(key)
                look(item)
        elif isinstance(value, list):
            for item in cast("list[Any]", value):
                look(item)
        elif isinstance(value, str) and len(value) < 24 and " " not in value:
            found.add(value)

    for seed in seeds:
        lines = [line[6:] for line in seed.split(b"\n") if line.startswith(b"data: {")]
        for text in lines or [seed if seed[:1] in {b"{", b"["} else seed[1:]]:
            try:
                look(json.loads(text))
            except (ValueError, RecursionError):
                continue
    return sorted(found)
