"""What a client makes of an answer, in no dialect's words, and the error of an answer that breaks its dialect's rules.

A `View` is what the judges (`fold_chat`, `fold_messages`, ...) return and what a scenario's `expected` holds, so any two
can be compared: upstream and client, streamed and whole, one dialect and another.

    View
      blocks  (Block(kind, value, ...), ...)   in the order in which they began
      finish  "stop" | "tool_calls" | ...      None when the answer never said
      tokens  Tokens(...)                      disjoint buckets; None when nobody counted
      error   Trouble(...)                     what broke it, if anything did
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import msgspec

Kind = Literal[
    "text",
    "thinking",
    "redacted_thinking",
    "refusal",
    "tool_call",
    "custom_tool_call",
    "server_tool_call",
    "server_tool_result",
    "unknown",
]

FinishWord = Literal["stop", "stop_sequence", "length", "context_length", "tool_calls", "refusal", "content_filter", "pause"]

TroubleWord = Literal[
    "invalid_request",
    "authentication",
    "billing",
    "permission",
    "not_found",
    "too_large",
    "rate_limit",
    "overloaded",
    "timeout",
    "unavailable",
    "internal",
    "cut",
]
"""What went wrong. `cut`: the connection ended before the answer did. `unavailable`: a bad gateway."""

Gist: TypeAlias = tuple[tuple[tuple[str, str, Any, bool], ...], str | None, str | None]


class Cite(msgspec.Struct, frozen=True):
    """A source of a text, as far as every dialect can say it."""

    title: str = ""
    url: str = ""
    cited_text: str = ""


class Block(msgspec.Struct, frozen=True):
    """One part of an answer. `value` is by kind: the text; a tool call's input as parsed JSON; the data of redacted
    thinking; the native block of a server tool's result or of an unknown kind. `whole` is false for a call whose
    arguments broke off: then `value` is their raw text."""

    kind: Kind
    value: Any
    name: str = ""
    id: str = ""
    signature: str = ""
    citations: tuple[Cite, ...] = ()
    whole: bool = True


class Tokens(msgspec.Struct, frozen=True):
    """Disjoint counts, in tokens but for `searches`: the prompt is input + cache_read + cache_write + cache_write_1h,
    the completion is output + reasoning."""

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0
    cache_write_1h: int = 0
    reasoning: int = 0
    searches: int = 0


class Trouble(msgspec.Struct, frozen=True):
    """`status` is the HTTP status where the error came as one, None where it stood inside a 200."""

    word: TroubleWord
    message: str = ""
    status: int | None = None


class OtherChoice(msgspec.Struct, frozen=True):
    """A further choice of an answer to `n` > 1."""

    blocks: tuple[Block, ...]
    finish: FinishWord | None


class View(msgspec.Struct, frozen=True):
    blocks: tuple[Block, ...] = ()
    finish: FinishWord | None = None
    tokens: Tokens | None = None
    error: Trouble | None = None
    stop_sequence: str | None = None
    others: tuple[OtherChoice, ...] = ()
    logprobs: tuple[Any, ...] = ()
    unknown: tuple[Any, ...] = ()
    """Events of a kind that the dialect does not know, as parsed JSON."""

    @property
    def gist(self) -> Gist:
        """What must survive any translation: kind, name, value and wholeness of each block, the finish, the kind of error.
        Ids, signatures, citations, counts and the error's wording are left out: compare those field by field."""
        blocks = tuple((b.kind, b.name, b.value, b.whole) for b in self.blocks)
        return blocks, self.finish, self.error.word if self.error else None

    def merged(self) -> View:
        """The same answer without the order of its kinds: thinking, text, refusal, calls; each of the first three in
        one block. It is all that a whole Chat answer can say, so compare whole Chat answers by it."""
        return msgspec.structs.replace(
            self,
            blocks=_merged(self.blocks),
            others=tuple(OtherChoice(_merged(o.blocks), o.finish) for o in self.others),
        )

    @property
    def text(self) -> str:
        return "".join(b.value for b in self.blocks if b.kind == "text")

    @property
    def calls(self) -> tuple[Block, ...]:
        return tuple(b for b in self.blocks if b.kind in ("tool_call", "custom_tool_call"))


def _merged(blocks: tuple[Block, ...]) -> tuple[Block, ...]:
    held: list[Block] = []
    for kind in ("thinking", "text", "refusal"):
        of_kind = [b for b in blocks if b.kind == kind]
        if of_kind:
            citations = tuple(c for b in of_kind for c in b.citations)
            held.append(Block(kind, "".join(b.value for b in of_kind), citations=citations))
    return (*held, *(b for b in blocks if b.kind not in ("thinking", "text", "refusal")))


class IllegalStream(AssertionError):
    """The bytes break a rule of their dialect. The message says which, and where. `view` is what could be read until then."""

    def __init__(self, reason: str, view: View | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.view = view or View()


STATUS_WORDS: dict[int, TroubleWord] = {
    400: "invalid_request",
    401: "authentication",
    402: "billing",
    403: "permission",
    404: "not_found",
    408: "timeout",
    413: "too_large",
    422: "invalid_request",
    429: "rate_limit",
    500: "internal",
    502: "unavailable",
    503: "overloaded",
    504: "timeout",
    529: "overloaded",
}


def status_word(status: int) -> TroubleWord:
    return STATUS_WORDS.get(status) or ("invalid_request" if status < 500 else "unavailable")
