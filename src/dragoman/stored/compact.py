"""Making a conversation short: by the provider that can, or else by asking the model for a summary."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from dragoman.dialects.responses import compaction
from dragoman.dialects.responses import keeping as forms
from dragoman.dialects.responses.keeping import Asked
from dragoman.errors import UpstreamError
from dragoman.flow.answer import Answer
from dragoman.flow.call import Call
from dragoman.pipeline import infer
from dragoman.stored.keeping import Keeping, keeps
from dragoman.stored.shelf import Shelf
from dragoman.stored.there import hand_on
from dragoman.wire.http import Outbound

_NOT_THERE = frozenset({404, 405, 501})
_JSON = [(b"content-type", b"application/json")]


async def compact(call: Call, shelf: Shelf | None) -> None:
    """Raises what stands in the way of it."""
    asked = call.seen()
    assert isinstance(asked, Asked)
    keeping = Keeping(call, asked, shelf)
    await keeping.prepare()
    endpoints = keeping.among(list(call.route().endpoints))
    # Whatever the body asks for: there is nothing to stream.
    call.stream = call.answer.stream = call.report.stream = False
    if keeps(endpoints[0]) and not keeping.here_only:
        try:
            await hand_on(call, endpoints[0], "POST", "/compact")
            return
        except UpstreamError as error:
            if error.status not in _NOT_THERE or keeping.pinned is not None:
                raise
    await _summarised(call)


async def _summarised(call: Call) -> None:
    body = call.inbound.body
    items = forms.own_items(body)
    fields = forms.fields_of(body)
    instructions = msgspec.json.decode(fields.get("instructions", b"null"))
    asking = compaction.request(call.model, items, instructions if isinstance(instructions, str) else None)
    inbound = msgspec.structs.replace(call.inbound, body=asking, path=call.dialect.path)
    page = _Page()
    answer = Answer(page, call.dialect, call.report.request_id, call.core.clock)
    await infer(Call(call.core, call.dialect, inbound, answer, call.report))
    # The question was ours, and so is whatever it lost.
    call.answer.headers = [pair for pair in answer.headers if pair[0] != b"x-dragoman-losses"]
    own_id = call.dialect.id_prefix + call.core.new_id()
    told = compaction.compacted(own_id, int(call.core.clock.time()), items, page.body)
    await call.answer.whole(200, _JSON, told)


class _Page(Outbound):
    """An `Outbound` that keeps an answer in one piece."""

    def __init__(self) -> None:
        self.body = b""

    def bound(self, seconds: float) -> None: ...

    def abort(self) -> None: ...

    async def start(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None: ...

    async def write(self, data: bytes) -> None:
        self.body += data

    async def finish(self, data: bytes = b"") -> None:
        self.body += data
