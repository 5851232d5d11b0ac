"""Thought signatures: where they stand, and how they come back to where they stood.

A signature can stand on any part of an answer. Gemini 3 puts one on the first function call of each turn and refuses the
conversation (400) when it does not come back there; on other parts it is welcome, not required. In the hub it is a
`Reasoning` part without text whose seal says in its value where it belongs:

    SIGNATURE              on a thought, or on an empty text of its own
    call ID SIGNATURE      on the function call of this id; the part stands right before the call
    part SIGNATURE         on the part right before this one

The field is of type bytes: whatever stands there must be base64, or strict clients (Go, Java) refuse the answer. So for a
Gemini client sealed thinking of another provider rides there as the base64 of a carrier token.

https://ai.google.dev/gemini-api/docs/thought-signatures
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from binascii import Error as Base64Error

from dragoman.dialects.gemini.names import standard_base64
from dragoman.ir import carrier
from dragoman.ir.request import Path, Reasoning, Seal

UNSIGNED = "skip_thought_signature_validator"
"""What the documentation tells to send with a call that Gemini did not make."""

_CALL = "call "
_PART = "part "


def native(signature: str) -> str:
    """A signature in the form in which Gemini gave it: clients re-encode it in another alphabet."""
    return signature if signature == UNSIGNED else standard_base64(signature) or signature


def on_call(signature: str, call_id: str, issuer: str | None, at: Path = None) -> Reasoning:
    return Reasoning(seal=Seal(f"{_CALL}{call_id} {signature}", issuer, "gemini"), redacted=True, at=at)


def on_part(signature: str, issuer: str | None, at: Path = None) -> Reasoning:
    return Reasoning(seal=Seal(_PART + signature, issuer, "gemini"), redacted=True, at=at)


def call_of(seal: Seal) -> tuple[str, str] | None:
    """The call's id and its signature, for a seal that belongs on a call."""
    if not seal.value.startswith(_CALL):
        return None
    call_id, _, signature = seal.value[len(_CALL) :].rpartition(" ")
    return call_id, signature


def part_of(seal: Seal) -> str | None:
    """The signature, for a seal that belongs on the part before it."""
    return seal.value[len(_PART) :] if seal.value.startswith(_PART) else None


def opened(signature: str) -> list[Reasoning] | None:
    """What rode in the place of a signature; None where it is Gemini's own. Thinking that says nothing and was sealed by
    nobody only marked a call as another provider's: it is gone, the list may be empty."""
    standard = standard_base64(signature)
    if standard is None or not standard.startswith("ZGdtMS"):
        return None
    try:
        token = b64decode(standard).decode("ascii")
    except (Base64Error, ValueError):
        return None
    if not carrier.is_token(token):
        return None
    held = carrier.unpack(token) or []
    return [part for part in held if part.text or (part.seal is not None and part.seal.value)]


def riding(parts: list[Reasoning], issuer: str) -> str | None:
    """What to put in the place of a signature so that these parts come back; None where they are too large. Without
    parts it says only that the call is not Gemini's."""
    sealed = [
        Reasoning(text=p.text, seal=p.seal or Seal("", issuer, ""), redacted=p.redacted, summary=p.summary) for p in parts
    ] or [Reasoning(seal=Seal("", issuer, ""))]
    token = carrier.pack(sealed)
    return b64encode(token.encode()).decode() if token is not None else None
