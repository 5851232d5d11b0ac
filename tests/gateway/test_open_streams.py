"""What a stream that is open, and may be for an hour, keeps of its request."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator
from typing import Any

import pytest

from dragoman.flow.call import Call
from dragoman.testing import Finish, Stall, Text, ThreadedUpstream, scenario
from dragoman.wire.http import Inbound
from tests.gateway.talking import DIALECTS, JSON, PATHS, question, streaming
from tests.serving import Served, serving, upstream


@pytest.fixture(scope="module")
def gateway(scripted: ThreadedUpstream) -> Iterator[Served]:
    with serving({"providers": {dialect: upstream(scripted.url, dialect) for dialect in DIALECTS}}) as served:
        yield served


def alive(kind: type[Any]) -> list[Any]:
    return [one for one in gc.get_objects() if type(one) is kind]


@pytest.mark.parametrize("client", DIALECTS)
@pytest.mark.parametrize("up", DIALECTS)
def test_a_stream_that_has_begun_keeps_nothing_of_what_was_said(
    gateway: Served, scripted: ThreadedUpstream, up: str, client: str
) -> None:
    scripted.script(scenario("held", Text(("Once upon a time. ", Stall(f"{up} {client}"), "The end.")), Finish()))
    messages = [{"role": "user", "content": "word " * 20_000}]
    body = json.dumps(question(f"{up}/m") | {"messages": messages}).encode()
    with streaming(gateway, "POST", PATHS[client], [JSON], body) as stream:
        stream.until(b"Once")
        assert {len(one.body) for one in alive(Inbound)} == {0}
        (call,) = alive(Call)
        assert call.model == f"{up}/m"
        if up != client:
            assert call.request().messages == []
        scripted.open_gate(f"{up} {client}")
        said = stream.rest().view(client)
    assert "The end." in str(said)
