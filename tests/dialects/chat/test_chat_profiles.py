"""What an endpoint or a model takes differently, and what becomes of a request there."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from dragoman.dialects.base import Target
from dragoman.dialects.chat import CHAT
from dragoman.ir.losses import Ledger
from dragoman.ir.profile import Profile
from dragoman.ir.request import Message, ReasoningAsk, Request, Text, Tool, ToolChoice

TOOLS = [Tool(name=name, schema=msgspec.Raw(b'{"type":"object"}')) for name in ("f", "g")]


def sent(profile: Profile, **fields: Any) -> tuple[dict[str, Any], list[str]]:
    ledger = Ledger()
    request = Request(model="m", dialect="messages", messages=[Message(role="user", parts=[Text(text="hi")])], **fields)
    body = CHAT.encode_request(request, Target("m", "p", profile), ledger)
    return json.loads(body), [f"{loss.path} {loss.severity}" for loss in ledger.losses]


def test_a_model_that_does_not_think_beside_tools_is_told_not_to() -> None:
    profile = Profile(effort_with_tools=False)
    assert sent(profile, tools=TOOLS)[0]["reasoning_effort"] == "none"
    body, losses = sent(profile, tools=TOOLS, reasoning=ReasoningAsk(effort="high"))
    assert body["reasoning_effort"] == "none"
    assert losses == ["effort degraded"]
    assert sent(profile, reasoning=ReasoningAsk(effort="high"))[0]["reasoning_effort"] == "high"
    assert "reasoning_effort" not in sent(profile)[0]


@pytest.mark.parametrize(
    ("choice", "tools", "opened"),
    [
        (ToolChoice(mode="required"), ["f", "g"], True),
        (ToolChoice(mode="tool", names=["g"]), ["g"], True),
        (ToolChoice(mode="auto"), ["f", "g"], False),
        (ToolChoice(mode="none"), ["f", "g"], False),
        (None, ["f", "g"], False),
    ],
)
def test_a_call_is_begun_for_a_model_that_might_talk_first(choice: ToolChoice | None, tools: list[str], opened: bool) -> None:
    body, _ = sent(Profile(call_opening="<call>"), tools=TOOLS, tool_choice=choice)
    assert [tool["function"]["name"] for tool in body["tools"]] == tools
    assert (body["messages"][-1] == {"role": "assistant", "content": "<call>"}) is opened
