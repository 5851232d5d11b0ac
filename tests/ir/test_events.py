from __future__ import annotations

import pytest

from dragoman.errors import UpstreamGarbled
from dragoman.ir.events import Cited, Close, Delta, Event, Fault, Finish, Open, Ping, Sealed, Start, fold, settled, unfold
from dragoman.ir.losses import HEADER_LIMIT, Ledger
from dragoman.ir.request import Citation, Reasoning, Seal, Text, ToolCall, path_text
from dragoman.ir.usage import Usage

EVENTS: list[Event] = [
    Start("id", "m"),
    Open(0, Reasoning()),
    Delta(0, "hm"),
    Sealed(0, Seal("s", "a", "messages")),
    Close(0),
    Ping(),
    Open(1, ToolCall(id="1", name="f")),
    Open(2, ToolCall(id="2", name="g")),
    Delta(1, "{"),
    Delta(2, "{}"),
    Delta(1, "}"),
    Close(1),
    Close(2),
    Open(3, Text(text="a")),
    Delta(3, "b"),
    Cited(3, Citation(url="u")),
    Close(3),
    Finish("tool_calls", Usage(input=1)),
]


def test_a_stream_folds_to_its_answer() -> None:
    answer = fold(EVENTS)
    assert answer.choices[0].parts == [
        Reasoning(text="hm", seal=Seal("s", "a", "messages")),
        ToolCall(id="1", name="f", arguments="{}"),
        ToolCall(id="2", name="g", arguments="{}"),
        Text(text="ab", citations=[Citation(url="u")]),
    ]
    assert answer.choices[0].finish.reason == "tool_calls"
    assert answer.usage == Usage(input=1)


def test_an_answer_unfolds_and_folds_to_itself() -> None:
    answer = fold(EVENTS)
    assert fold(unfold(answer)) == answer


def test_a_fault_is_raised() -> None:
    with pytest.raises(UpstreamGarbled):
        fold([Start("", ""), Fault(UpstreamGarbled("broke off"))])


def test_several_choices_are_kept_apart() -> None:
    answer = fold(
        [Open(0, Text(text="a"), 0), Open(1, Text(text="b"), 1), Finish("stop"), Finish("length", Usage(output=2), choice=1)]
    )
    assert [choice.finish.reason for choice in answer.choices] == ["stop", "length"]
    assert answer.choices[1].parts == [Text(text="b")]


def test_the_finish_agrees_with_what_was_said() -> None:
    assert settled("stop", calls=True, broken=False) == "tool_calls"
    assert settled("tool_calls", calls=False, broken=False) == "stop"
    assert settled("tool_calls", calls=True, broken=True) == "length"
    assert settled("length", calls=True, broken=False) == "length"


def test_a_path_reads_like_the_callers_own() -> None:
    assert path_text((((((None, "messages"), 3), "content"), 0), "cache_control")) == "messages[3].content[0].cache_control"
    assert path_text(None) == "$"


def test_the_ledgers_header_is_ascii_and_bounded() -> None:
    ledger = Ledger()
    for number in range(200):
        ledger.add(((None, "messages"), number), f"nämé;{number}", "why", "info")
    header = ledger.header()
    assert header.isascii()
    assert len(header) <= HEADER_LIMIT
    assert header.startswith("200; messages[0].n\\xe4m\\xe9\\x3b0 info; ")
    assert header.rsplit("; ", 1)[1].startswith("+")
