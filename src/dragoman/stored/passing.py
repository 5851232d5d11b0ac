"""Responses and conversations in a native pass-through, which is not read but for this: whose the ids in it are, and which ids
its answer gives (`whose.py`)."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial

import msgspec

from dragoman.dialects.responses import keeping as forms
from dragoman.errors import RequestError
from dragoman.flow.envelope import Caller, brings_own
from dragoman.route.target import PassThrough
from dragoman.stored.recorder import LARGEST
from dragoman.stored.shelf import Shelf, no_conversation, no_item, not_found
from dragoman.wire.http import Inbound, Outbound, Tap
from dragoman.wire.sse import SseParser

_STATE = re.compile(r"/(responses|conversations)(?:/|$)", re.IGNORECASE)
_WORDS = frozenset({"cancel", "compact", "input_items", "input_tokens", "items"})
"""They stand in such paths among the ids and are nobody's, whatever a caller says that its conversation is called."""
_MOST_READ = 128 * 1024 * 1024
"""Bytes of an answer in one piece. There is no larger one with an id in it."""

Note = Callable[[Sequence[str], Sequence[str]], Awaitable[None]]
"""Remembers the ids of responses and items, and those of conversations."""


async def passing(
    shelf: Shelf, target: PassThrough, inbound: Inbound, caller: Caller, *, out: Outbound, read: Callable[[], bytes]
) -> tuple[Inbound, Outbound]:
    """The request and the way of its answer, where the caller is one of several who share the provider's key. `read` gives the
    body unpacked. Raises what is said of an id that is not there."""
    rest = inbound.path.removeprefix("/").partition("/")[2]
    found = _STATE.search(f"/{rest}")
    if found is None or not caller.name or brings_own(target, caller):
        return inbound, out
    inner = [segment for segment in f"/{rest}"[found.end() :].split("/") if segment and segment not in _WORDS]
    conversations = inner[:1] if found[1].lower() == "conversations" else []
    asked = forms.leant_on(read()) if inbound.body else forms.Leant()
    if asked.conversation is not None:
        conversations.append(asked.conversation)
    foreign = await shelf.whose.foreign(caller.name, [*conversations, *inner, *asked.ids])
    if foreign is not None:
        raise _nothing(foreign, conversation=foreign in conversations, inner=foreign in inner)
    for conversation in conversations:
        if not await shelf.whose.claim(caller.name, conversation):
            raise no_conversation(conversation)
    # What is packed cannot be read.
    headers = [pair for pair in inbound.headers if pair[0] != b"accept-encoding"]
    inbound = msgspec.structs.replace(inbound, headers=[*headers, (b"accept-encoding", b"identity")])
    return inbound, Reader(out, partial(shelf.note, caller.name))


def _nothing(own_id: str, *, conversation: bool, inner: bool) -> RequestError:
    if conversation:
        return no_conversation(own_id)
    return not_found(own_id) if inner else no_item(own_id)


class Reader(Tap):
    """An `Outbound` that reads along which ids an answer gives. They are noted before its end is told."""

    def __init__(self, out: Outbound, note: Note) -> None:
        super().__init__(out)
        self._note = note
        self._pieces: list[bytes] | None = None
        self._parser: SseParser | None = None
        self._held = b""
        self._size = 0
        self._told: set[str] = set()

    async def start(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        said = list(headers)
        kind = next((value for name, value in said if name == b"content-type"), b"").lower()
        if kind.startswith(b"text/event-stream"):
            self._parser = SseParser(LARGEST)
        elif 200 <= status < 300:
            self._pieces = []
        await self._out.start(status, said)

    async def write(self, data: bytes) -> None:
        if self._pieces is not None:
            # A piece behind: nobody has all of it before it is noted.
            self._pieces.append(data)
            self._size += len(data)
            data, self._held = self._held, data
            if self._size > _MOST_READ:
                self._pieces, data, self._held = None, data + self._held, b""
        elif self._parser is not None:
            await self._tell([one for frame in self._parser.feed(data) for one in forms.given_in(frame)])
            # Nobody can do anything with half an event; and it may be the last one, without an end.
            data, self._held = (self._held, data) if self._parser.pending else (self._held + data, b"")
        if data:
            await self._out.write(data)

    async def finish(self, data: bytes = b"") -> None:
        if self._pieces is not None:
            await self._tell(*forms.given(b"".join([*self._pieces, data])))
        elif self._parser is not None:
            frames = [*self._parser.feed(data), *self._parser.end()]
            await self._tell([one for frame in frames for one in forms.given_in(frame)])
        await self._out.finish(self._held + data)

    async def _tell(self, ids: list[str], conversations: Sequence[str] = ()) -> None:
        fresh = [one for one in dict.fromkeys(ids) if one not in self._told]
        if fresh or conversations:
            self._told.update(fresh)
            await self._note(fresh, conversations)
