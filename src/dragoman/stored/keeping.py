"""One request of the Responses API: what it goes on from, where it can go, and what is kept of its answer.

goes on from        goes to                                          kept
nothing             any endpoint                                     there, if it went verbatim to who keeps answers; else here
an answer here      any endpoint, with the whole conversation        here
an answer there     its provider, verbatim                           there
an unknown answer   who keeps answers, where its key is the caller's there
                    own or the gateway has none, and so no callers
                    to be told apart; else nowhere
a `conversation`    who keeps answers, verbatim                      there

What is known to be another caller's (`whose.py`) is not there at all.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import msgspec

from dragoman.dialects.responses import keeping as forms
from dragoman.dialects.responses.keeping import Asked, Items
from dragoman.errors import MalformedBody, RequestError, StoreUnavailable
from dragoman.flow.call import Call
from dragoman.flow.envelope import Caller, brings_own
from dragoman.ir.losses import Ledger
from dragoman.ir.request import Request
from dragoman.route.target import Endpoint
from dragoman.stored.shelf import Entry, Found, Shelf, no_conversation, no_item, not_found, owner_of
from dragoman.wire.http import Inbound

DIALECT = "responses"


def keeps(endpoint: Endpoint) -> bool:
    """Whether the provider keeps answers itself, and gets requests verbatim."""
    return DIALECT in endpoint.urls and endpoint.profile.keeps_responses and not endpoint.profile.call_opening


class Keeping:
    """Is a `Kept`. `shelf` None: this gateway keeps nothing."""

    def __init__(self, call: Call, asked: Asked, shelf: Shelf | None) -> None:
        self.call = call
        self.asked = asked
        self.shelf = shelf
        self.caller: Caller = call.report.caller
        self.owner: str | None = None
        """Whose the answer is, where that is known before it is made."""
        self.answer_id = ""
        self.created = 0
        self.pinned: Found | None = None
        """The answer there that this goes on from."""
        self.there_only = False
        """Only who keeps answers can do what is asked."""
        self.here_only = False
        """It must go through the hub: it is more than the body says."""
        self.nowhere: RequestError | None = None
        """What is told where no endpoint will do."""
        self.previous: list[str] = []
        self.issuers: list[str] = []
        self.kept = False
        """Whether its answer has been kept."""
        self.conversation = forms.conversation_of(asked.conversation)
        self._original = call.inbound
        self._named: Collection[str] = ()
        """The ids of the caller's items that are kept here."""
        self._own = 0
        self._told: Request | None = None

    # ------------------------------------------------------------ what it goes on from

    async def prepare(self) -> None:
        """Look up what the request goes on from. Raises what stands in the way of it."""
        asked = self.asked
        leaning = asked.leaning()
        if asked.conversation is not None:
            self.there_only = True
            self.nowhere = RequestError(
                "conversation: conversations are kept by OpenAI's own API, and this model is not served by one that has it; "
                "go on with previous_response_id, or send the conversation whole",
                param="conversation",
                code="unsupported_parameter",
            )
            if self.shelf is None and self.conversation and self.shared():
                raise _tells_nobody_apart("conversation")
        elif asked.previous_response_id:
            await self._go_on(asked.previous_response_id)
        elif leaning:
            await self._refer()
        if (leaning or self.conversation) and self.shelf is not None and self.shared():
            await self._only_own(self.shelf, [one for one in leaning if one not in self._named])
        if asked.store is True and self.shelf is None and not self.there_only and self.pinned is None:
            self.there_only = True
            self.nowhere = _keeps_nothing("store")

    async def _go_on(self, previous: str) -> None:
        found = await self.shelf.find(self.caller, previous) if self.shelf is not None else None
        if found is None:
            self.there_only = True
            self.nowhere = (
                not_found(previous, previous=True) if self.shelf is not None else _keeps_nothing("previous_response_id")
            )
            if self.shared() and not (self.shelf is not None and await self.shelf.whose.owns(self.caller.name, previous)):
                # It may be another caller's, which its provider cannot tell: all of them come with one key.
                raise self.nowhere
            return
        if found.entry.held == "there":
            self.pinned = found
            self.nowhere = RequestError(
                f"Previous response with id '{previous[:80]}' is kept by the provider {found.entry.provider}, where this "
                "request does not go; use a model of that provider, or send the conversation whole",
                param="previous_response_id",
                code="previous_response_not_found",
            )
            return
        if forms.status_of(bytes(found.entry.response)) in {"queued", "in_progress"}:
            raise RequestError(
                f"Previous response with id '{previous[:80]}' is still in progress; wait until it is completed",
                param="previous_response_id",
                code="previous_response_not_ready",
            )
        assert self.shelf is not None
        context = await self.shelf.context(found)
        self.previous, self.owner = context.ids, found.owner
        await self._whole(context.items, context.issuers)

    def shared(self) -> bool:
        """Whether this may go to a provider that keeps things and is asked with one key for several callers."""
        return bool(self.caller.name) and any(keeps(one) and self._shares(one) for one in self.call.route().endpoints)

    def _shares(self, endpoint: Endpoint) -> bool:
        return bool(self.caller.name) and not brings_own(endpoint, self.caller)

    async def _only_own(self, shelf: Shelf, leaning: list[str]) -> None:
        """Raises what is said of what is another's, as if it were not there."""
        conversations = [self.conversation] if self.conversation else []
        foreign = await shelf.whose.foreign(self.caller.name, [*conversations, *leaning])
        if foreign is not None:
            raise no_conversation(foreign) if foreign in conversations else no_item(foreign)

    async def claim(self) -> None:
        """From now on the conversation is this caller's, if nobody had it. Raises what is said of another's."""
        if not self.conversation or self.shelf is None or not self.shared():
            return
        if not await self.shelf.whose.claim(self.caller.name, self.conversation):
            raise no_conversation(self.conversation)

    async def _refer(self) -> None:
        """Items that the caller only names: here whole, or there."""
        if forms.references(forms.own_items(self._original.body)):
            await self._whole([], [])

    async def _whole(self, items: Items, issuers: list[str]) -> None:
        """Put the conversation into the request, with the items that are only named."""
        own = forms.own_items(self._original.body)
        named = forms.references(own)
        known = await self.shelf.items(self.caller, named) if named and self.shelf is not None else {}
        missing = next((one for one in named if one not in known), None)
        self._named = known.keys()
        if missing is not None:
            unknown = no_item(missing)
            if items or known:
                raise unknown
            self.there_only, self.nowhere = True, unknown
            return
        # First without what came before: a mistake in the caller's own items is told by their own places.
        self._told = self.call.dialect.decode_request(self._original.body)
        whole = [known.get(forms.reference(item) or "", (item, "")) for item in own]
        self._own = len(items)
        self.issuers = [*issuers, *(issuer for _, issuer in whole)]
        self.here_only = True
        # A provider that does not know of the others may give two of them one id.
        self.answer_id = self.call.dialect.id_prefix + self.call.core.new_id()
        body = forms.expanded(self._original.body, [*items, *(item for item, _ in whole)])
        self.call.inbound = msgspec.structs.replace(self._original, body=body)

    def background(self) -> Inbound:
        """The request for the work in the background: a stream, whose answer the caller gets when it asks."""
        body = self.call.inbound.body
        items = forms.own_items(body)
        self.here_only = True
        return msgspec.structs.replace(self._original, body=forms.expanded(body, items, stream=True))

    # ------------------------------------------------------------ Kept

    def among(self, endpoints: list[Endpoint]) -> list[Endpoint]:
        if self.pinned is not None:
            entry = self.pinned.entry
            there = [one for one in endpoints if one.provider == entry.provider and keeps(one)]
            found = [one for one in there if one.key == entry.key] or there
        elif self.there_only:
            found = [one for one in endpoints if keeps(one)]
        else:
            return endpoints
        if not found:
            assert self.nowhere is not None
            raise self.nowhere
        return found

    def lets_through(self, endpoint: Endpoint) -> bool:
        if self.pinned is not None or self.there_only:
            return True
        # Who keeps no answers refuses to be asked for it.
        return not self.here_only and (keeps(endpoint) or self.asked.store is not True)

    def told(self) -> Request:
        if self._told is None:
            request = self.call.request()
            self._told = request if self.shelf is not None else msgspec.structs.replace(request, store=False)
        return self._told

    def sent(self, request: Request, *, native: bool) -> Request:
        endpoint = self.call.endpoint
        sealed = self.asked.store is not False and endpoint is not None and endpoint.profile.sealed
        return forms.stateless(request, native=native, sealed=sealed, issuers=self.issuers)

    def placed(self, ledger: Ledger) -> None:
        if self.here_only:
            text = isinstance(self._own_input(), str)
            forms.placed(ledger, self._own, text=text)

    def _own_input(self) -> object:
        raw = forms.fields_of(self._original.body).get("input")
        return "" if raw is not None and bytes(raw).lstrip()[:1] == b'"' else None

    # ------------------------------------------------------------ what is kept of its answer

    @property
    def wanted(self) -> bool:
        """Whether the answer is to be kept at all."""
        return self.shelf is not None and self.asked.store is not False

    def there(self) -> bool:
        """Whether the provider that has answered keeps it."""
        endpoint = self.call.endpoint
        return endpoint is not None and self.call.report.tier == "verbatim" and keeps(endpoint)

    def entry(self, response: bytes) -> Entry:
        """What is to be kept here of an answer."""
        endpoint = self.call.endpoint
        return Entry(
            response=msgspec.Raw(response),
            input=self._items_of_its_own(),
            previous=self.previous,
            issuer=endpoint.issuer if endpoint is not None else "",
            model=self.call.model,
            background=self.asked.background is True,
            streamed=self.asked.stream is True,
        )

    def _items_of_its_own(self) -> Items:
        """Items that were only named stand here whole. None of a body that only its provider understands."""
        try:
            return forms.own_items(self.call.inbound.body)[self._own :]
        except MalformedBody:
            return []

    def owner_at(self, endpoint: Endpoint | None) -> str:
        """Whose an answer of this endpoint is."""
        spoken = endpoint is not None and DIALECT in endpoint.urls
        return owner_of(self.caller, own_key=spoken and endpoint is not None and brings_own(endpoint, self.caller))

    @property
    def noted(self) -> bool:
        """Whether it is to be remembered whose the answer is and what stands in it, at the provider that keeps it."""
        endpoint = self.call.endpoint
        return self.shelf is not None and endpoint is not None and self._shares(endpoint) and self.there()

    async def note(self, made: Sequence[str]) -> None:
        """Remember that the provider has made these for this caller."""
        if self.shelf is not None and self.noted:
            await self.shelf.note(self.caller.name, made)

    async def keep(self, own_id: str, response: bytes, made: Sequence[str] = ()) -> None:
        """`response` empty: the provider keeps it, and has `made` these items. Raises `StoreUnavailable` where the caller
        counts on its being kept here."""
        assert self.shelf is not None
        if not self.wanted:
            # In a conversation it is kept all the same.
            await self.note([own_id, *made])
            return
        endpoint = self.call.endpoint
        owner = self.owner if self.owner is not None else self.owner_at(endpoint)
        if response or endpoint is None:
            entry = self.entry(response)
        else:
            entry = Entry(held="there", provider=endpoint.provider, model=self.call.model, key=endpoint.key)
        try:
            beside = await self.shelf.whose.made(self.caller.name, [own_id, *made]) if not response and self.noted else []
            await self.shelf.keep(owner, own_id, entry, beside)
            self.kept = True
        except StoreUnavailable as error:
            if response and (self.asked.store or self.asked.background or self.asked.previous_response_id):
                raise
            # Whoever does not ask for it can do without it.
            self.shelf.complain(error)


def _tells_nobody_apart(param: str) -> RequestError:
    return RequestError(
        f"{param}: this gateway remembers nothing (store.enabled is false), so it cannot tell whose it is at a provider that "
        "it asks with one key for all; send the conversation whole, or with a key of that provider of your own",
        param=param,
        code="unsupported_parameter",
    )


def _keeps_nothing(param: str) -> RequestError:
    return RequestError(
        f"{param}: this gateway keeps no answers (store.enabled is false), and this model's provider has no store of its own",
        param=param,
        code="unsupported_parameter",
    )
