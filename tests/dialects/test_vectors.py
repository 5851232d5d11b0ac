"""Every scripted answer, decoded from one dialect and encoded to another, at every chunk boundary, judged by readers
that share no code with the codecs. The vectors of the field's known mistakes are among them (docs/testing.md)."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest

from dragoman.dialects import DIALECTS
from dragoman.dialects.base import Dialect, Reply
from dragoman.errors import DragomanError
from dragoman.ir.events import Event, Fault, fold, unfold
from dragoman.ir.losses import Ledger
from dragoman.ir.request import Message, ReasoningAsk, Request, Text
from dragoman.testing import SCENARIOS, VOICES, Ask, Block, IllegalStream, Scenario, View

# What a client's dialect has no words for: it is in the ledger, not in the answer.
UNSPEAKABLE = {
    "chat": {"redacted_thinking", "server_tool_call", "server_tool_result", "unknown"},
    "messages": set[str](),
    "gemini": {"redacted_thinking", "server_tool_call", "server_tool_result"},
    "responses": {"redacted_thinking"},
    "converse": set[str](),
}
FOREIGN = {"server_tool_call", "server_tool_result", "unknown"}
# What stands on a part there, and elsewhere in a block of its own.
BESIDE = {"gemini": {"redacted_thinking"}}


def reply(dialect: Dialect) -> Reply:
    request = Request(model="m", dialect=dialect.name, stream=True, include_usage=True,
                      reasoning=ReasoningAsk(mode="on", display="summarized"),
                      messages=[Message(role="user", parts=[Text(text="hi")])])  # fmt: skip
    return Reply(request, "m", 1_700_000_000, dialect.id_prefix + "fallback", 7, "upstream", Ledger())


def streamed(scenario: Scenario, dialect: str) -> bytes | None:
    rendered = VOICES[dialect].render(scenario, Ask(stream=True))
    return rendered.body if rendered.status == 200 and rendered.head is None else None


CASES = [
    (upstream, client, name)
    for upstream in DIALECTS
    for client in DIALECTS
    for name, scenario in SCENARIOS.items()
    if upstream in scenario.dialects and scenario.expected is not None and streamed(scenario, upstream) is not None
    # 17,000 events: once is enough for what takes them one by one.
    if name != "tools-large-arguments" or upstream == client or "converse" not in {upstream, client}
]


def events_of(upstream: Dialect, pieces: Iterator[bytes]) -> list[Event]:
    parser, decoder = upstream.framing.parser(), upstream.stream_decoder("upstream")
    events: list[Event] = []
    for piece in pieces:
        for frame in parser.feed(piece):
            events += decoder.feed(frame)
    for frame in parser.end():
        events += decoder.feed(frame)
    return [*events, *decoder.end()]


def split(body: bytes, size: int) -> Iterator[bytes]:
    return (body[start : start + size] for start in range(0, len(body), size))


def encoded(client: Dialect, events: list[Event]) -> bytes:
    encoder = client.stream_encoder(reply(client))
    return b"".join(encoder.feed(event) for event in events)


def seen(client: str, body: bytes) -> View:
    """What a strict reader sees. A stream that ends in an error is read up to it."""
    return VOICES[client].fold(body)


def sayable(view: View, upstream: str, client: str) -> tuple[Block, ...]:
    foreign = set[str]() if upstream == client else FOREIGN | BESIDE.get(upstream, set())
    bare = {"thinking"} if upstream != client and upstream in BESIDE else set[str]()
    # A call that broke off has no form in Gemini, whose clients run whatever call they see. What is sealed stands within
    # a token of ours elsewhere.
    return tuple(
        msgspec.structs.replace(block, value="sealed") if block.kind == "redacted_thinking" and upstream != client else block
        for block in view.blocks
        if block.kind not in UNSPEAKABLE[client] | foreign
        and (block.whole or client != "gemini")
        and (block.value or block.kind not in bare)
    )


def plain(blocks: tuple[Block, ...], client: str) -> list[tuple[str, str, object, bool]]:
    """Kind, name, value, wholeness; what says nothing is left out, and neighbours of one kind are one."""
    out: list[tuple[str, str, object, bool]] = []
    for block in blocks:
        kind = "text" if block.kind == "refusal" else block.kind
        if kind == "custom_tool_call" and client in {"messages", "gemini", "converse"}:
            out.append(("tool_call", block.name, {"input": block.value}, block.whole))
            continue
        if kind in {"text", "thinking"}:
            if not block.value and (not block.signature or client == "gemini"):
                continue
            if out and out[-1][0] == kind:
                out[-1] = (kind, "", str(out[-1][2]) + str(block.value), True)
                continue
        out.append((kind, block.name, block.value, block.whole))
    return out


def grouped(blocks: list[tuple[str, str, object, bool]]) -> list[tuple[str, str, object, bool]]:
    """The same without the order of kinds, which a whole Chat answer cannot say."""
    order = {"thinking": 0, "text": 1}
    return plain_merge(sorted(blocks, key=lambda block: order.get(block[0], 2)))


def plain_merge(blocks: list[tuple[str, str, object, bool]]) -> list[tuple[str, str, object, bool]]:
    out: list[tuple[str, str, object, bool]] = []
    for block in blocks:
        if out and out[-1][0] == block[0] and block[0] in {"text", "thinking"}:
            out[-1] = (block[0], "", str(out[-1][2]) + str(block[2]), True)
        else:
            out.append(block)
    return out


@pytest.mark.parametrize(("upstream", "client", "name"), CASES)
def test_a_stream_means_the_same_in_every_dialect(upstream: str, client: str, name: str) -> None:
    scenario = SCENARIOS[name]
    expected = scenario.expected
    assert expected is not None
    body = streamed(scenario, upstream)
    assert body is not None
    events = events_of(DIALECTS[upstream], iter([body]))
    out = encoded(DIALECTS[client], events)
    view = seen(client, out)
    if expected.error is not None:
        assert view.error is not None
    else:
        assert view.error is None
        wanted, got = plain(sayable(expected, upstream, client), client), plain(sayable(view, upstream, client), client)
        if client == "chat":
            assert grouped(got) == grouped(wanted)
        else:
            assert got == wanted
        assert finish_of(view, client) == finish_of(expected, client)
        if expected.tokens is not None and view.tokens is not None and "absent" not in name:
            total = expected.tokens
            assert view.tokens.input + view.tokens.cache_read + view.tokens.cache_write + view.tokens.cache_write_1h == (
                total.input + total.cache_read + total.cache_write + total.cache_write_1h
            )
            assert view.tokens.output + view.tokens.reasoning == total.output + total.reasoning


def finish_of(view: View, client: str) -> str | None:
    """The finish as far as the client's dialect can tell it."""
    if client == "converse":
        return {"refusal": "content_filter", "pause": "stop"}.get(view.finish or "", view.finish)
    if client in {"chat", "gemini", "responses"}:
        return {"stop_sequence": "stop", "context_length": "length", "pause": "stop", "refusal": "content_filter"}.get(
            view.finish or "", view.finish
        )
    return {"content_filter": "refusal"}.get(view.finish or "", view.finish)


STREAMS = sorted({(upstream, name) for upstream, _, name in CASES})


@pytest.mark.parametrize(("upstream", "name"), STREAMS)
def test_where_the_bytes_are_cut_changes_nothing(upstream: str, name: str) -> None:
    """Encoders see events alone, so what is the same here is the same in every client's dialect."""
    body = streamed(SCENARIOS[name], upstream)
    assert body is not None
    whole = told(events_of(DIALECTS[upstream], iter([body])))
    for size in (1, 7, 64, 1021) if len(body) < 10_000 else (1021,):
        assert told(events_of(DIALECTS[upstream], split(body, size))) == whole


def told(events: list[Event]) -> list[object]:
    """Errors are the same that say the same."""
    return [(type(one.error), str(one.error), one.error.status) if isinstance(one, Fault) else one for one in events]


@pytest.mark.parametrize(("upstream", "name"), STREAMS)
def test_a_cut_anywhere_gives_the_same_frames(upstream: str, name: str) -> None:
    """Codecs are fed whole frames, so this is where every chunk boundary is tried."""
    body = (streamed(SCENARIOS[name], upstream) or b"")[:1200]
    framing = DIALECTS[upstream].framing
    parser = framing.parser()
    whole = [*parser.feed(body), *parser.end()]
    for cut in range(1, len(body)):
        parser = framing.parser()
        assert [*parser.feed(body[:cut]), *parser.feed(body[cut:]), *parser.end()] == whole


@pytest.mark.parametrize(("upstream", "client", "name"), CASES)
def test_the_streamed_answer_folds_to_the_whole_one(upstream: str, client: str, name: str) -> None:
    scenario = SCENARIOS[name]
    body = streamed(scenario, upstream)
    assert body is not None
    events = events_of(DIALECTS[upstream], iter([body]))
    if any(isinstance(event, Fault) for event in events):
        with pytest.raises(DragomanError):
            fold(events)
        return
    streaming = seen(client, encoded(DIALECTS[client], events))
    answer = fold(events)
    again = seen(client, encoded(DIALECTS[client], unfold(answer)))
    unary = VOICES[client].read(DIALECTS[client].encode_response(answer, reply(DIALECTS[client])))
    assert grouped(plain(again.blocks, client)) == grouped(plain(streaming.blocks, client))
    if all(block.whole for block in streaming.blocks):
        assert grouped(plain(unary.blocks, client)) == grouped(plain(streaming.blocks, client))
    else:
        # A call that broke off: a stream shows what came of its arguments, a whole answer what can be read of them.
        assert [(block.kind, block.name) for block in unary.blocks] == [(block.kind, block.name) for block in streaming.blocks]
    assert unary.finish == streaming.finish == again.finish
    assert unary.stop_sequence == streaming.stop_sequence


def test_a_judge_that_is_never_satisfied_would_be_noticed() -> None:
    with pytest.raises(IllegalStream):
        seen("messages", b'event: message_stop\ndata: {"type":"message_stop"}\n\n')
