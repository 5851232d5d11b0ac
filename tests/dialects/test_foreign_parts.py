"""Parts that only their own dialect has a word for, on their way to the others."""

from __future__ import annotations

import pytest

from dragoman.dialects import DIALECTS
from dragoman.dialects.base import Target
from dragoman.ir.losses import Ledger
from dragoman.ir.profile import Profile
from dragoman.ir.request import Message, Part, Request, Text, ToolCall, ToolResult, Unknown

FOUND = Unknown(
    native={
        "type": "search_result",
        "source": "https://s.example",
        "title": "Title",
        "content": [{"type": "text", "text": "the words of it"}],
    },
    dialect="messages",
)
NAMED = Unknown(native={"type": "tool_reference", "tool_name": "get_weather"}, dialect="messages")


def sent(name: str, *messages: Message) -> tuple[str, Ledger]:
    ledger = Ledger()
    request = Request(model="m", dialect="responses" if name == "messages" else "messages", messages=list(messages))
    return DIALECTS[name].encode_request(request, Target("m", "p", Profile()), ledger).decode(), ledger


def user(*parts: Part) -> Message:
    return Message(role="user", parts=list(parts))


@pytest.mark.parametrize("name", [name for name in DIALECTS if name != "messages"])
def test_a_search_result_is_told_as_its_text(name: str) -> None:
    body, ledger = sent(name, user(FOUND, Text(text="which?")))
    assert "the words of it" in body
    assert "https://s.example" in body
    assert [loss.severity for loss in ledger.losses] == ["degraded"]


@pytest.mark.parametrize("name", [name for name in DIALECTS if name != "messages"])
def test_a_result_that_names_a_tool_is_told_as_its_name(name: str) -> None:
    call = Message(role="assistant", parts=[ToolCall(id="c", name="search")])
    body, ledger = sent(name, user(Text(text="hi")), call, user(ToolResult(call_id="c", parts=[NAMED])))
    assert "get_weather" in body
    assert "lost" not in [loss.severity for loss in ledger.losses]


def test_messages_is_told_the_words_of_what_others_have() -> None:
    body, _ = sent("messages", user(Unknown(native={"type": "input_note", "text": "the words of it"}, dialect="responses")))
    assert "the words of it" in body


@pytest.mark.parametrize("name", [name for name in DIALECTS if name != "chat"])
def test_what_stands_beside_an_empty_turn_is_not_lost_in_silence(name: str) -> None:
    body = b'{"model":"m","messages":[{"role":"user","content":"a"},{"role":"assistant","content":null,"audio":{"id":"x"}}]}'
    ledger = Ledger()
    DIALECTS[name].encode_request(DIALECTS["chat"].decode_request(body), Target("m", "p", Profile()), ledger)
    assert any(loss.path.startswith("messages[1].audio") for loss in ledger.losses)


@pytest.mark.parametrize("name", [name for name in DIALECTS if name != "responses"])
def test_a_free_text_tool_without_a_format_is_told_of_none(name: str) -> None:
    body = b'{"model":"m","input":"hi","tools":[{"type":"custom","name":"c","format":{"type":"text"}}]}'
    request = DIALECTS["responses"].decode_request(body)
    sent = DIALECTS[name].encode_request(request, Target("m", "p", Profile()), Ledger())
    assert b"must follow" not in sent
