"""Tools whose names the provider would refuse."""

from __future__ import annotations

from typing import Any

import anthropic
import pytest

from dragoman.ir.names import fitted
from dragoman.testing import Finish, ScriptedUpstream, ToolCall, Usage, scenario
from tests.serving import serving, upstream

LONG = "mcp__github-enterprise__create_pull_request_review_comment_thread_and_resolve"
CALL = scenario("long-name", ToolCall(fitted(LONG, 64), {"a": 1}, id="c1"), Usage(input=1, output=1), Finish("tool_calls"))


@pytest.mark.parametrize("stream", [False, True])
def test_a_long_name_is_shortened_for_the_provider_and_whole_for_the_client(stream: bool) -> None:
    tools: Any = [{"name": LONG, "input_schema": {"type": "object"}}]
    ask: Any = [{"role": "user", "content": "go"}]
    with ScriptedUpstream.in_thread() as scripted:
        scripted.script(CALL, default=True)
        with (
            serving({"providers": {"up": upstream(scripted.url, "chat")}}) as gateway,
            anthropic.Anthropic(base_url=gateway.url, api_key="any", max_retries=0) as client,
        ):
            choice: Any = {"type": "tool", "name": LONG}
            if stream:
                with client.messages.stream(
                    model="up/m", max_tokens=9, messages=ask, tools=tools, tool_choice=choice
                ) as answer:
                    message = answer.get_final_message()
            else:
                message = client.messages.create(model="up/m", max_tokens=9, messages=ask, tools=tools, tool_choice=choice)
        sent: Any = scripted.requests[-1].json
    assert [block.name for block in message.content if block.type == "tool_use"] == [LONG]
    assert sent["tools"][0]["function"]["name"] == sent["tool_choice"]["function"]["name"] == fitted(LONG, 64)
