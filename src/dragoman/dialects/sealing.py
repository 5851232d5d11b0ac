"""What a dialect must know of sealed state where its bodies go through verbatim, and which refusals are about it.

A signature, encrypted reasoning or a thought signature is worth something to whoever made it, and to nobody else. A client
that is switched to another provider of the same dialect sends it there all the same: it is taken out of the bytes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import msgspec

from dragoman.errors import UpstreamError

Foreign = Callable[[str], bool]
"""Whether this value was made by another provider than the one that the body goes to."""


class Sealing(msgspec.Struct, frozen=True):
    """`marks`: one of these stands in every body and every event that holds sealed state. `values(data)`: the sealed values in
    the bytes of an answer, whole or some events of it. `without(body, foreign)`: the request body without those for which
    `foreign` holds, every other member as it was, and how many were taken out; with none, the same bytes. `customary`: clients
    of this API send back what is sealed, for the API asks for it."""

    marks: tuple[bytes, ...]
    values: Callable[[bytes], list[str]]
    without: Callable[[bytes, Foreign], tuple[bytes, int]]
    customary: bool = True

    def marked(self, data: bytes) -> bool:
        # Asked of every body. In long texts CPython searches backwards three times as fast as forwards.
        for mark in self.marks:  # noqa: SIM110  a generator is twice the price
            if data.rfind(mark) >= 0:
                return True
        return False


def values_of(pattern: re.Pattern[bytes]) -> Callable[[bytes], list[str]]:
    """What a pattern finds whose one group is a JSON string without escapes, as all of base64 is."""

    def values(data: bytes) -> list[str]:
        return [found.decode("ascii", "replace") for found in pattern.findall(data)]

    return values


# ---------------------------------------------------------------- out of a list, in a body whose every other byte stays

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_items = msgspec.json.Decoder(list[msgspec.Raw])
_encode = msgspec.json.Encoder().encode

Sift = Callable[[msgspec.Raw], tuple[msgspec.Raw | None, int]]
"""An item of a list without what is sealed in it for another (None: nothing is left), and how many values that was."""


class Sifted(NamedTuple):
    """An object some of whose `items`, which stand in one of its members, have lost what was sealed: `taken` values."""

    fields: dict[str, msgspec.Raw]
    items: list[msgspec.Raw]
    taken: int

    def encoded(self) -> bytes:
        return _encode(self.fields)


def sifted(data: bytes | msgspec.Raw, member: str, sift: Sift) -> Sifted | None:
    """The object that this is, with its list `member` sifted. None where nothing was taken out, or where this cannot be read
    (what is wrong with it is for the provider to say)."""
    try:
        fields = _fields.decode(data)
        items = _items.decode(fields[member])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, KeyError):
        return None
    kept: list[msgspec.Raw] = []
    taken = 0
    for raw in items:
        left, count = sift(raw)
        taken += count
        if left is not None:
            kept.append(left)
    if not taken:
        return None
    fields[member] = msgspec.Raw(_encode(kept))
    return Sifted(fields, kept, taken)


def object_of(raw: msgspec.Raw) -> dict[str, Any]:
    """Empty for what is no object."""
    try:
        native: Any = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    return cast("dict[str, Any]", native) if isinstance(native, dict) else {}


class _Turn(msgspec.Struct):
    role: str = ""


class SignedThinking(msgspec.Struct, frozen=True, kw_only=True):
    """Thinking in the requests of an API with Anthropic's rule: a turn that calls a tool begins with its thinking, signed, or
    is refused. `mark` stands in every block of thinking, `value(block)` is what is sealed in one, `result` stands in a message
    that answers a call. `nothing`: the content of a turn of which nothing is left, where turns must alternate; None: it is
    left out. `off(fields)` turns off, in the members of a body, thinking that was asked for with a budget."""

    mark: bytes
    value: Callable[[dict[str, Any]], object]
    result: bytes
    nothing: bytes | None = None
    off: Callable[[dict[str, msgspec.Raw]], None]

    def without(self, body: bytes, foreign: Foreign) -> tuple[bytes, int]:
        """As in `Sealing`. In the middle of a tool loop, thinking that was asked for with a budget is off then."""
        bare = False  # the last turn of the model's has lost its thinking

        def message(raw: msgspec.Raw) -> tuple[msgspec.Raw | None, int]:
            nonlocal bare
            left, count = self._message(raw, foreign) if self.mark in bytes(raw) else (raw, 0)
            if (count or bare) and _role(raw) == "assistant":
                bare = count > 0
            return left, count

        found = sifted(body, "messages", message)
        if found is None:
            return body, 0
        if bare and found.items and self.result in bytes(found.items[-1]):
            self.off(found.fields)
        return found.encoded(), found.taken

    def _message(self, raw: msgspec.Raw, foreign: Foreign) -> tuple[msgspec.Raw | None, int]:
        def block(raw: msgspec.Raw) -> tuple[msgspec.Raw | None, int]:
            value = self.value(object_of(raw)) if self.mark in bytes(raw) else None
            return (None, 1) if isinstance(value, str) and value and foreign(value) else (raw, 0)

        found = sifted(raw, "content", block)
        if found is None:
            return raw, 0
        if not found.items:
            if self.nothing is None:
                return None, found.taken
            found.fields["content"] = msgspec.Raw(self.nothing)
        return msgspec.Raw(found.encoded()), found.taken


def _role(raw: msgspec.Raw) -> str:
    try:
        return msgspec.json.decode(raw, type=_Turn).role
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""


# ---------------------------------------------------------------- refusals

# How they put it. Anthropic: "Invalid `signature` in `thinking` block", "Invalid `data` in `redacted_thinking` block". OpenAI:
# the code `invalid_encrypted_content`, "The encrypted content for item rs_1 could not be verified." Google: "Corrupted thought
# signature.", "Thought signature is not valid". Gateways on the way repeat the words in an error of their own form.
_CODES = frozenset(
    {"invalid_encrypted_content", "invalid_thought_signature", "invalid_signature", "thinking_signature_invalid"}
)
_BAD = (
    r"(?:invalid|corrupt(?:ed)?|malformed|not valid|could not be (?:verified|decrypted|parsed|decoded)"
    r"|cannot be (?:verified|decrypted|modified))"
)
_WHAT = (
    r"(?:signature\W+in\W+thinking|thinking\W+signature|thought[\s_]?signature|encrypted[\s_]content"
    r"|data\W+in\W+redacted_thinking|reasoning signature|redacted_thinking\W+blocks)"
)
_WORDS = re.compile(rf"{_BAD}\W[^.\n]{{,40}}?{_WHAT}|{_WHAT}[^\n]{{,160}}?\b{_BAD}", re.IGNORECASE)
_LOOKED_AT = 2000


def refuses_seal(error: UpstreamError) -> bool:
    """Whether a provider has refused a request for the sealed state in it, and for nothing else."""
    if error.category != "invalid_request":
        return False
    return (error.code or "").lower() in _CODES or _WORDS.search(error.message[:_LOOKED_AT]) is not None
