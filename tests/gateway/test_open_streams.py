"""What a stream that is open, and may be for an hour, keeps of its request."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator
from typing import Any

import pytest

from dragoman.flow.call import Call
from dragoman.testing import Finish, HttpError, Stall, Text, ThreadedUpstream, scenario
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


def test_a_stream_whose_request_was_refused_for_its_seals_keeps_it_until_that_is_noted(
    gateway: Served, scripted: ThreadedUpstream
) -> None:
    told = {"type": "invalid_request_error", "message": "messages.1.content.0: Invalid `signature` in `thinking` block"}
    refusal = json.dumps({"type": "error", "error": told}).encode()
    scripted.script(scenario("stale", HttpError(400, body=refusal)))
    scripted.script(scenario("held", Text(("Once upon a time. ", Stall("noted"), "The end.")), Finish()))
    thought = {"type": "thinking", "thinking": "I look.", "signature": "c2VhbGVk"}
    messages = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": [thought, {"type": "text", "text": "Hm."}]},
        {"role": "user", "content": "Well?"},
    ]
    body = json.dumps(question("messages/m") | {"messages": messages}).encode()
    with streaming(gateway, "POST", PATHS["messages"], [JSON], body) as stream:
        stream.until(b"Once")
        assert any(one.body for one in alive(Inbound))
        scripted.open_gate("noted")
        assert stream.rest().whole
