"""What a dialect must know of sealed state where its bodies go through verbatim, and which refusals are about it.

A signature, encrypted reasoning or a thought signature is worth something to whoever made it, and to nobody else. A client
that is switched to another provider of the same dialect sends it there all the same: it is taken out of the bytes.
"""

from __future__ import annotations

import re
from collections.abc import Callable

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
