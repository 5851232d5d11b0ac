"""What a client of a dialect can be told of an answer, and where two tellings differ.

An oracle of `dragoman.testing` says what a correct client concludes in no dialect's words. Not every dialect has words for
all of it: a Chat answer knows no order between text and calls, Gemini's clients run every call that they see. A gateway is
judged by what its client's dialect can say.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from dragoman.conformance.case import Difference, Mode, shown
from dragoman.testing import Block, View

UNSPEAKABLE: dict[str, frozenset[str]] = {
    "chat": frozenset({"redacted_thinking", "server_tool_call", "server_tool_result", "unknown"}),
    "gemini": frozenset({"redacted_thinking", "server_tool_call", "server_tool_result"}),
    "responses": frozenset({"redacted_thinking"}),
}
"""Kinds of blocks that a client's dialect has no place for."""
FOREIGN = frozenset({"server_tool_call", "server_tool_result", "unknown", "redacted_thinking"})
"""What only its own dialect can say."""
_MERGED = ("text", "thinking")

Part = tuple[str, str, object, bool]
"""Kind, name, value, wholeness."""


def told(view: View, client: str, upstream: str, *, ordered: bool = True) -> list[Part]:
    """The blocks that the client can be told, neighbours of one kind as one. Without their order where a whole Chat answer is
    what there is to tell."""
    hidden = UNSPEAKABLE.get(client, frozenset()) | (frozenset() if upstream == client else FOREIGN)
    parts: list[Part] = []
    for block in view.blocks:
        # Gemini's clients run whatever call they see, so one that broke off is not told there.
        if block.kind not in hidden and (block.whole or client != "gemini"):
            _add(parts, block)
    if ordered and client != "chat":
        return parts
    ranks = {"thinking": 0, "text": 1}
    sorted_parts: list[Part] = []
    for part in sorted(parts, key=lambda part: ranks.get(part[0], 2)):
        _join(sorted_parts, part)
    return sorted_parts


def _add(parts: list[Part], block: Block) -> None:
    kind = "text" if block.kind == "refusal" else block.kind
    if kind in _MERGED and not block.value:
        return
    # Of a call that broke off, what its arguments were is told in one dialect and not in another; that it began is.
    _join(parts, (kind, block.name, block.value if block.whole else "", block.whole))


def _join(parts: list[Part], part: Part) -> None:
    if parts and parts[-1][0] == part[0] and part[0] in _MERGED:
        parts[-1] = (part[0], "", f"{parts[-1][2]}{part[2]}", True)
    else:
        parts.append(part)


def finish_of(view: View, client: str) -> str | None:
    """The finish as far as the client's dialect can tell it."""
    word = view.finish or ""
    if client == "messages":
        return {"content_filter": "refusal"}.get(word, view.finish)
    coarse = {"stop_sequence": "stop", "context_length": "length", "pause": "stop", "refusal": "content_filter"}
    return coarse.get(word, view.finish)


def differences(expected: View, got: View, client: str, upstream: str, mode: Mode) -> list[Difference]:
    """Blocks and finish, each where it differs; and the counts, where `expected` has any."""
    ordered = not (upstream == "chat" and mode == "unary")
    found = _parts(told(expected, client, upstream, ordered=ordered), told(got, client, upstream, ordered=ordered))
    wanted, finish = finish_of(expected, client), finish_of(got, client)
    if wanted != finish:
        found.append(Difference("how the answer ended", wanted or "not at all", finish or "not at all"))
    if client == "messages" and upstream == client and expected.stop_sequence != got.stop_sequence:
        found.append(Difference("the stop sequence", shown(expected.stop_sequence), shown(got.stop_sequence)))
    if client == upstream != "chat":
        # What only this dialect can say, and its client must be told to replay it. (In Chat there is no customary place.)
        found += _listed("the signatures", *([b.signature for b in one.blocks if b.signature] for one in (expected, got)))
    found += _listed(
        "the sources", *([cite.url for b in one.blocks for cite in b.citations if cite.url] for one in (expected, got))
    )
    return [*found, *_counts(expected, got), *_others(expected, got)]


def _listed(what: str, expected: list[str], got: list[str]) -> list[Difference]:
    return [] if expected == got else [Difference(what, shown(expected), shown(got))]


_CALL_ID: dict[str, re.Pattern[str]] = {
    "messages": re.compile(r"[a-zA-Z0-9_-]+"),
    "responses": re.compile(r"[a-zA-Z0-9_-]{1,64}"),
    "chat": re.compile(r".+"),
}
"""What a client's API takes back as the id of a call. Gemini's takes none as well."""


def unusable_ids(got: View, client: str) -> list[Difference]:
    """Ids of calls that the client cannot send back: not legal, or not each its own."""
    ids = [block.id for block in got.calls]
    legal = _CALL_ID.get(client)
    found = [
        Difference("the id of a call", f"what the API takes back: {legal.pattern}", one or "none")
        for one in ids
        if legal is not None and not legal.fullmatch(one)
    ]
    if legal is not None and len(set(ids)) < len(ids):
        found.append(Difference("the ids of the calls", "each its own", shown(ids)))
    return found


def _parts(expected: Sequence[Part], got: Sequence[Part]) -> list[Difference]:
    wanted_kinds, got_kinds = [part[0] for part in expected], [part[0] for part in got]
    if wanted_kinds != got_kinds:
        wanted, seen = ", ".join(map(_named, expected)) or "none", ", ".join(map(_named, got)) or "none"
        return [Difference("the parts of the answer", wanted, seen)]
    found: list[Difference] = []
    for number, (wanted, seen) in enumerate(zip(expected, got, strict=True), 1):
        where = f"part {number} ({wanted[0].replace('_', ' ')})"
        if wanted[1] != seen[1]:
            found.append(Difference(f"{where}: its name", wanted[1], seen[1]))
        if wanted[3] and wanted[2] != seen[2]:
            wanted_text, seen_text = _around(wanted[2], seen[2])
            found.append(Difference(f"{where}: its content", wanted_text, seen_text))
    return found


def _named(part: Part) -> str:
    return f"{part[0].replace('_', ' ')} {part[1]}".strip()


_BEFORE, _AFTER = 40, 160


def _around(expected: object, got: object) -> tuple[str, str]:
    """Both as texts, near the place where they begin to differ."""
    wanted, seen = (value if isinstance(value, str) else repr(value) for value in (expected, got))
    start = next((i for i, (a, b) in enumerate(zip(wanted, seen, strict=False)) if a != b), min(len(wanted), len(seen)))
    begin = max(0, start - _BEFORE)
    lead = f"...from character {begin}: " if begin else ""
    return tuple(f"{lead}{text[begin : start + _AFTER]!r}" for text in (wanted, seen))  # type: ignore[return-value]


def _counts(expected: View, got: View) -> list[Difference]:
    """The sums, and what came from the cache; how the rest is split is not the same in every dialect."""
    wanted, seen = expected.tokens, got.tokens
    if wanted is None:
        return []
    if seen is None:
        return [Difference("usage", "the upstream's counts", "none")]
    rows = (
        ("prompt tokens", *(one.input + one.cache_read + one.cache_write + one.cache_write_1h for one in (wanted, seen))),
        ("prompt tokens read from the cache", wanted.cache_read, seen.cache_read),
        ("completion tokens", *(one.output + one.reasoning for one in (wanted, seen))),
    )
    return [Difference(what, str(one), str(other)) for what, one, other in rows if one != other]


def _others(expected: View, got: View) -> list[Difference]:
    wanted = [("".join(str(b.value) for b in one.blocks), one.finish) for one in expected.others]
    seen = [("".join(str(b.value) for b in one.blocks), one.finish) for one in got.others]
    return [] if wanted == seen else [Difference("the other choices", shown(wanted), shown(seen))]


def same(unary: View, stream: View, client: str, upstream: str) -> list[Difference]:
    """Where a streamed answer does not say what the whole one says. `expected` is the whole one."""
    ordered = upstream != "chat"
    found = _parts(told(unary, client, upstream, ordered=ordered), told(stream, client, upstream, ordered=ordered))
    finishes = finish_of(unary, client), finish_of(stream, client)
    if finishes[0] != finishes[1]:
        found.append(Difference("how the answer ended", str(finishes[0]), str(finishes[1])))
    return found
