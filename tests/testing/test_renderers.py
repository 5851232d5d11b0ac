"""The renderers, the judges and the oracles were written apart: here each scenario's bytes are read back and compared."""

from __future__ import annotations

import json

import pytest

from dragoman.testing import SCENARIOS, VOICES, Ask, IllegalStream, Scenario, View, fold_chat, render_chat, scenarios_for
from dragoman.testing.scenario import Cut, ErrorEvent, Reset, Stall, plain
from dragoman.testing.speaking import interruptions

EVERY = [(dialect, one) for dialect in VOICES for one in scenarios_for(dialect) if one.name != "endless"]
COMPLETE = [(d, s) for d, s in EVERY if s.regular and s.expected and not s.expected.error]
FAILED = [(d, s) for d, s in EVERY if s.expected and s.expected.error]

# Irregular in what old or careless clients can take, but nothing that a strict reader must refuse.
BENT_BUT_LEGAL = {"style-cr", "style-bom", "tools-blank-name", "unknown-block"}


def called(pair: tuple[str, Scenario]) -> str:
    return f"{pair[0]}-{pair[1].name}"


@pytest.mark.parametrize("pair", COMPLETE, ids=called)
def test_a_stream_by_the_book_is_legal_and_says_what_its_oracle_says(pair: tuple[str, Scenario]) -> None:
    dialect, one = pair
    voice = VOICES[dialect]
    view = voice.fold(voice.render(one, Ask()).body)
    assert one.expected is not None
    assert_same(view, one.expected, dialect)


@pytest.mark.parametrize("pair", [p for p in COMPLETE if p[1].unary], ids=called)
def test_a_whole_answer_says_what_its_oracle_says(pair: tuple[str, Scenario]) -> None:
    dialect, one = pair
    voice = VOICES[dialect]
    view = voice.read(voice.render(one, Ask(stream=False)).body)
    assert one.expected is not None
    assert_same(view, one.expected, dialect, merged=dialect == "chat")


def assert_same(view: View, expected: View, dialect: str, *, merged: bool = False) -> None:
    if merged:
        view, expected = view.merged(), expected.merged()
    assert view.gist == expected.gist
    assert view.tokens == expected.tokens
    assert view.stop_sequence == expected.stop_sequence
    assert view.others == expected.others
    assert view.logprobs == expected.logprobs
    assert [b.id for b in view.calls] == [b.id for b in expected.calls]
    for seen, known in zip(view.blocks, expected.blocks, strict=True):
        # Chat cannot say what was cited, and in a whole answer loses the order of blocks and their seals.
        assert [(c.title, c.url) for c in seen.citations] == [(c.title, c.url) for c in known.citations]
        if dialect == "messages":
            assert seen == known


@pytest.mark.parametrize("pair", [p for p in EVERY if not p[1].regular and p[1].name not in BENT_BUT_LEGAL], ids=called)
def test_a_stream_that_bends_the_rules_is_refused(pair: tuple[str, Scenario]) -> None:
    dialect, one = pair
    voice = VOICES[dialect]
    with pytest.raises(IllegalStream):
        voice.fold(voice.render(one, Ask()).body)


@pytest.mark.parametrize("pair", FAILED, ids=called)
def test_a_failure_is_seen_as_the_failure_it_is(pair: tuple[str, Scenario]) -> None:
    dialect, one = pair
    voice, expected = VOICES[dialect], one.expected
    assert expected is not None
    assert expected.error is not None
    rendered = voice.render(one, Ask())
    if expected.error.status is not None:
        assert rendered.status == expected.error.status
        if expected.error.message:
            assert voice.read(rendered.body).gist == expected.gist
    elif expected.error.word == "cut":
        with pytest.raises(IllegalStream, match=r"broke off|without a choice|not ended") as seen:
            voice.fold(rendered.body)
        assert seen.value.view.gist[0] == expected.gist[0]
    elif one.regular:
        assert voice.fold(rendered.body).gist == expected.gist


@pytest.mark.parametrize("pair", [p for p in EVERY if p[1].unary], ids=called)
def test_rendering_twice_gives_the_same_bytes(pair: tuple[str, Scenario]) -> None:
    dialect, one = pair
    for stream in (True, False):
        assert VOICES[dialect].render(one, Ask(stream=stream)) == VOICES[dialect].render(one, Ask(stream=stream))


def test_every_scenario_has_an_oracle_but_the_one_that_never_ends() -> None:
    assert [name for name, one in SCENARIOS.items() if one.expected is None] == ["endless"]


def test_every_scenario_makes_sense_in_some_dialect_that_the_kit_speaks() -> None:
    for one in SCENARIOS.values():
        assert one.dialects
        assert set(one.dialects) <= set(VOICES)


def test_what_breaks_an_answer_ends_its_rendering() -> None:
    for dialect, one in EVERY:
        ends = [i for i in interruptions(one.steps) if isinstance(i, Cut | Reset | ErrorEvent)]
        if ends and isinstance(ends[0], Cut | Reset) and not ends[0].before_head:
            assert VOICES[dialect].render(one, Ask()).parts[-1] is ends[0]


def test_stalls_stand_between_the_parts_where_the_script_has_them() -> None:
    parts = render_chat(SCENARIOS["stall-midway"]).parts
    at = next(i for i, part in enumerate(parts) if isinstance(part, Stall))
    before, after = parts[at - 1], parts[at + 1]
    assert isinstance(before, bytes)
    assert isinstance(after, bytes)
    assert b'"Hel"' in before
    assert b'"lo"' in after


def test_usage_comes_in_a_chat_stream_when_it_is_asked_for() -> None:
    for wanted in (True, False):
        body = render_chat(SCENARIOS["text"], include_usage=wanted).body
        assert (fold_chat(body, usage=wanted).tokens is not None) == wanted
    with pytest.raises(IllegalStream, match="unasked"):
        fold_chat(render_chat(SCENARIOS["usage-always"], include_usage=False).body, usage=False)


def test_escaped_and_raw_text_are_the_same_json_in_other_bytes() -> None:
    raw, escaped = (render_chat(SCENARIOS[name]).body for name in ("unicode", "unicode-escaped"))
    assert escaped.isascii()
    assert not raw.isascii()
    assert b"\\ud83d\\udc4d" in escaped
    assert [json.loads(line[6:])["choices"] for line in raw.splitlines() if line.startswith(b"data: {")] == [
        json.loads(line[6:])["choices"] for line in escaped.splitlines() if line.startswith(b"data: {")
    ]


def test_the_plain_text_of_pieces_ends_where_the_answer_does() -> None:
    assert plain(("a", Stall(1), "b", Cut(), "c")) == "ab"
