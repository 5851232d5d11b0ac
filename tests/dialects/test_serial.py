"""The encoder of streams that tell one part after the other, by a dialect of letters: `<` and `>` enclose the answer, `(` and
`)` a part, `!` a part that broke off."""

from __future__ import annotations

from dragoman.dialects.base import Reply
from dragoman.dialects.serial import Growth, LivePart, SerialEncoder
from dragoman.errors import DragomanError, UpstreamGarbled
from dragoman.ir.events import Close, Delta, Event, Fault, Finish, Open, Ping, Start
from dragoman.ir.losses import Ledger
from dragoman.ir.request import Part, Request, Text
from dragoman.ir.usage import Usage


class _Letters(SerialEncoder[LivePart]):
    ping = b"."

    def _head(self, event: Start) -> bytes:
        return b"<" + event.id.encode()

    def _part(self, key: int, part: Part) -> LivePart:
        return LivePart(key, part)

    def _begin(self, live: LivePart) -> bytes:
        return b"("

    def _grow(self, live: LivePart, event: Growth) -> bytes:
        assert isinstance(event, Delta)
        live.text.append(event.text)
        return event.text.encode()

    def _end(self, live: LivePart, *, complete: bool) -> bytes:
        return b")" if complete else b"!"

    def _tail(self, event: Finish) -> bytes:
        output = event.usage.output if event.usage is not None else self._characters
        return (self._whole(Text(text="")) if event.explanation else b"") + b"%d>" % output

    def _fault(self, error: DragomanError) -> bytes:
        return b"#"


def reply() -> Reply:
    return Reply(Request(model="m", dialect="messages", messages=[]), "m", 1, "fallback", 1, "up", Ledger())


def text(index: int, choice: int = 0) -> Open:
    return Open(index, Text(text=""), choice)


def said(*events: Event) -> str:
    encoder = _Letters(reply())
    return b" ".join(encoder.feed(event) for event in events).decode()


def test_what_comes_of_the_first_part_is_written_at_once_and_the_others_when_it_ends() -> None:
    assert said(
        Start("", ""), text(0), text(1), Delta(1, "x"), Delta(0, "a"), Delta(1, "y"), Close(0), Delta(1, "z"), Close(1)
    ) == "< (   a  )(xy z )"  # fmt: skip


def test_parts_that_ended_while_they_were_held_follow_each_other_in_the_order_in_which_they_opened() -> None:
    assert said(
        text(0), text(1), text(2), Delta(2, "c"), Close(2), Delta(1, "b"), Close(1, complete=False), Close(0)
    ) == "<(       )(b!(c)"  # fmt: skip


def test_what_was_never_closed_ends_with_the_answer() -> None:
    assert said(Start("i", ""), text(0), text(1), Delta(1, "bb"), Finish("stop")) == "<i (   )(bb)2>"


def test_an_answer_that_never_started_starts_before_its_first_part_or_its_end() -> None:
    assert said(Finish("stop")) == "<0>"
    assert said(text(0), Start("late", "")) == "<( "


def test_a_part_of_the_encoders_own_comes_after_all_others() -> None:
    assert said(text(0), Delta(0, "a"), Finish("refusal", explanation="no")) == "<( a )()1>"


def test_what_comes_of_a_part_that_is_not_open_is_passed_over() -> None:
    assert said(Delta(7, "a"), Close(7), text(0), Close(0), Delta(0, "late"), Close(0)) == "  <( )  "


def test_nothing_follows_an_end_or_a_fault_and_pings_come_anywhere_before() -> None:
    assert said(Ping(), text(0), Ping(), Finish("stop"), Ping(), text(1), Finish("stop")) == ". <( . )0>   "
    assert said(text(0), Fault(UpstreamGarbled("broke off", provider="up")), Delta(0, "a"), Close(0), Ping()) == "<( #   "


def test_of_several_answers_the_first_is_told_with_the_count_of_all() -> None:
    told = reply()
    encoder = _Letters(told)
    events: list[Event] = [text(0), text(1, 1), Delta(1, "x"), Delta(0, "a"), Close(0), Close(1)]
    assert b"".join(encoder.feed(event) for event in events) == b"<(a)"
    assert encoder.feed(Finish("stop")) == b""
    assert encoder.feed(Finish("stop", Usage(input=1, output=9), choice=1)) == b"9>"
    (lost,) = told.ledger.losses
    assert lost.severity == "lost"
