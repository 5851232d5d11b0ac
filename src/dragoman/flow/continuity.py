"""Continuity: a conversation that goes from one provider to another and back keeps what each has sealed, and shows it to
nobody else.

What goes through the hub carries its issuer's name (`ir/carrier.py`). This is about the rest:

own        a body that goes verbatim holds nothing that another has sealed (`flow/seals.py` knows who has)
refused    a provider does not know the sealed state in a request: it is asked once more, without it
remember   what a client has no place for is put into the vault before its answer ends
recall     and taken out of it when the client sends that answer back
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import msgspec

from dragoman.dialects.base import Dialect
from dragoman.dialects.sealing import Sealing, refuses_seal
from dragoman.errors import StoreUnavailable, UpstreamError
from dragoman.flow.call import Call
from dragoman.flow.seals import Witness
from dragoman.flow.turns import Turn, carried_in, fits_in_id, missing, named, put_back, sealed_in, turn_of
from dragoman.flow.vault import Owner, Vault
from dragoman.ir.events import Response
from dragoman.ir.losses import Ledger
from dragoman.ir.names import restored
from dragoman.ir.request import Message, Reasoning, Request
from dragoman.route.plan import Outcome
from dragoman.route.target import Endpoint

_MOST_KEPT = 256 * 1024
"""Bytes of one turn's sealed state."""


class Continuity:
    """One for each process. `vault` None: there is none."""

    __slots__ = ("vault", "witness")

    def __init__(self, witness: Witness, vault: Vault | None = None) -> None:
        self.witness = witness
        self.vault = vault

    # ------------------------------------------------------------ verbatim

    def may_learn(self, call: Call, endpoint: Endpoint) -> bool:
        """Whether others may know who sealed what in this body. Asked of every request that goes verbatim."""
        witness, dialect = self.witness, call.dialect
        if not witness.shared or dialect.name not in witness.shared or not witness.has_rivals(dialect, endpoint.issuer):
            return False
        return dialect.sealing is not None and dialect.sealing.marked(call.inbound.body)

    async def learn(self, call: Call, endpoint: Endpoint) -> None:
        """Before `own`."""
        sealing, body = call.dialect.sealing, call.inbound.body
        if sealing is not None:
            await self.witness.learn(call.dialect, endpoint.issuer, lambda: _sealed(sealing, body))

    def refused_by(self, call: Call, endpoint: Endpoint) -> None:
        """This endpoint answers the request without what is sealed in it, and did not with it."""
        if call.report.tier == "verbatim" and call.dialect.sealing is not None:
            self.witness.note_refused(_sealed(call.dialect.sealing, call.inbound.body), endpoint.issuer)

    def own(self, call: Call, endpoint: Endpoint, body: bytes) -> bytes:
        """A body in its own dialect, without what is sealed for somebody else; without any seal when that is asked for."""
        sealing = call.dialect.sealing
        if sealing is None:
            return body
        foreign = _any if call.stripped else self.witness.foreign(endpoint.issuer)
        if foreign is None or not sealing.marked(body):
            return body
        body, taken = sealing.without(body, foreign)
        if taken:
            what = "refused by this provider" if call.stripped else "another provider's"
            severity = "degraded" if call.stripped else "info"
            call.report.ledger.add(None, None, f"sealed state of {taken} parts is {what}, and is left out", severity)
        return body

    # ------------------------------------------------------------ the vault

    def keeps(self, call: Call) -> bool:
        """Whether what this answer seals may have to be remembered: the client's dialect has no place for it, or this client
        does not use it, as far as it has shown in this conversation."""
        if self.vault is None or call.dialect.sealing is None or call.kept is not None:
            return False
        messages = call.request().messages
        if "place" in carried_in(messages):
            return False
        return not call.dialect.sealing.customary or any(message.role == "assistant" for message in messages)

    async def remember(self, call: Call, response: Response, ledger: Ledger) -> None:
        """Before the answer ends. What cannot be kept is a loss."""
        assert self.vault is not None
        messages = call.request().messages
        keeps_ids = "id" in carried_in(messages)
        kept: dict[str, bytes] = {}
        for choice in restored(response, call.names).choices:
            if not sealed_in(choice.parts) or (keeps_ids and fits_in_id(choice.parts)):
                continue
            body = msgspec.json.encode(turn_of(choice.parts))
            if len(body) > _MOST_KEPT:
                ledger.add(None, None, "the sealed state of this answer is too large to be kept for the next turn", "degraded")
                continue
            said = Message(role="assistant", parts=choice.parts)
            kept.update(dict.fromkeys(named([*messages, said], len(messages)), body))
        if not kept:
            return
        try:
            await self.vault.put(_owner(call), kept)
        except StoreUnavailable as error:
            ledger.add(
                None, None, f"the sealed state of this answer is not kept for the next turn: {error.message}", "degraded"
            )

    def may_recall(self, call: Call) -> bool:
        """Whether anything can have been kept for this conversation: asked of every request that is translated, so it is quick,
        and nobody's words are read."""
        if self.vault is None or call.dialect.sealing is None:
            return False
        for message in call.request().messages:
            if message.role == "assistant":
                return not self.vault.is_empty(call.report.caller.name)
        return False

    async def recall(self, call: Call, endpoint: Endpoint, upstream: Dialect, request: Request | None) -> Request | None:
        """The request with what this endpoint's provider sealed in earlier answers, where the client has sent them back
        without. `request`: what has been made of it so far."""
        if self.vault is None or call.dialect.sealing is None or not upstream.tool_names:
            return request
        asked = request or call.request()
        if call.recalled is None:
            call.recalled = await self._looked_up(call, asked.messages)
        if not call.recalled:
            return request
        return put_back(asked, call.recalled, endpoint.issuer)

    async def _looked_up(self, call: Call, messages: list[Message]) -> dict[int, Turn]:
        """By the position of the message."""
        assert self.vault is not None
        names = {index: named(messages, index) for index in missing(messages)}
        if not any(names.values()):
            return {}
        try:
            found = await self.vault.several(_owner(call), [name for each in names.values() for name in each])
        except StoreUnavailable:
            return {}  # its log says why; the conversation goes on without
        turns: dict[int, Turn] = {}
        for index, each in names.items():
            body = next((found[name] for name in each if name in found), None)
            if body is not None:
                with suppress(msgspec.DecodeError):  # another version has written it
                    turns[index] = msgspec.json.decode(body, type=Turn)
        return turns


def _any(value: str) -> bool:
    return bool(value)


def _sealed(sealing: Sealing, body: bytes) -> list[str]:
    """The sealed values in a request."""
    found: list[str] = []

    def look(value: str) -> bool:
        found.append(value)
        return False

    sealing.without(body, look)
    return found


def _owner(call: Call) -> Owner:
    """Whose it is: the holder of the gateway's key, and whoever owns the credential that the caller brought."""
    caller = call.report.caller
    return caller.name, caller.fingerprint


def witness_of(call: Call, upstream: Dialect, endpoint: Endpoint) -> Callable[[bytes], None] | None:
    """Who is to look at the events of a verbatim answer, or at all of it; None where nobody need."""
    continuity = call.core.continuity
    sealing = continuity.witness.of(upstream) if continuity is not None else None
    if continuity is None or sealing is None:
        return None
    witness, issuer = continuity.witness, endpoint.issuer

    def look(data: bytes) -> None:
        if sealing.marked(data):
            witness.saw(upstream, sealing.values(data), issuer)

    return look


# ---------------------------------------------------------------- asked once more


def refused(call: Call, endpoint: Endpoint, outcome: Outcome) -> bool:
    """Whether to ask this endpoint once more without the sealed state: it refused the request for that, there is some, and
    the caller has seen nothing yet."""
    error = outcome.error
    if call.stripped or outcome.committed or not isinstance(error, UpstreamError) or not refuses_seal(error):
        return False
    if call.report.tier == "verbatim":
        sealing = call.dialect.sealing
        return sealing is not None and sealing.marked(call.inbound.body)
    parts = [part for message in call.request().messages for part in message.parts]
    held = [part for turn in (call.recalled or {}).values() for part in turn.sealed]
    issuers = {part.seal.issuer for part in parts if isinstance(part, Reasoning) and part.seal is not None}
    return bool((issuers | {one.issuer for one in held}) & {None, endpoint.issuer})


def unsealed(request: Request, ledger: Ledger) -> Request:
    """The request without any sealed state, for a provider that has refused it."""
    messages: list[Message] = []
    for message in request.messages:
        seals = [part for part in message.parts if isinstance(part, Reasoning) and part.seal is not None and part.seal.value]
        if not seals:
            messages.append(message)
            continue
        for part in seals:
            ledger.add(part.at or message.at, None, "sealed state that this provider refused is left out", "degraded")
        parts = [part for part in message.parts if part not in seals]
        if parts:
            messages.append(msgspec.structs.replace(message, parts=parts))
    return msgspec.structs.replace(request, messages=messages)
