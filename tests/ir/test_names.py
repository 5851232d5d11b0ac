from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from dragoman.ir.events import Choice, Finish, Open, Response, Start
from dragoman.ir.names import fit, fitted, restored, restored_event
from dragoman.ir.request import Message, Request, Text, Tool, ToolCall, ToolChoice, ToolResult

LONG = "mcp__github-enterprise__create_pull_request_review_comment_thread_and_resolve"


@given(st.text(min_size=1, max_size=150), st.sampled_from([64, 128]))
def test_a_fitted_name_is_legal_and_stays_the_same(name: str, most: int) -> None:
    short = fitted(name, most)
    assert re.fullmatch(rf"[A-Za-z0-9_-]{{1,{most}}}", short)
    assert fitted(name, most) == short
    assert fitted(short, most) == short


def test_names_that_differ_stay_different() -> None:
    assert len({fitted(LONG + str(number), 64) for number in range(1000)}) == 1000
    assert fitted("a.b", 64) != fitted("a_b", 64)


def test_every_place_of_a_name_is_fitted_and_undone() -> None:
    request = Request(
        model="m",
        dialect="messages",
        tools=[Tool(name=LONG), Tool(name="ok"), Tool(name="a.b", kind="hosted")],
        tool_choice=ToolChoice(mode="tool", names=[LONG]),
        messages=[
            Message(role="user", parts=[Text(text="hi")]),
            Message(role="assistant", parts=[ToolCall(id="1", name=LONG), ToolCall(id="2", name="gone.tool")]),
            Message(role="user", parts=[ToolResult(call_id="1", parts=[], name=LONG)]),
        ],
    )
    fitting, names = fit(request, 64)
    short = fitted(LONG, 64)
    assert [tool.name for tool in fitting.tools] == [short, "ok", "a.b"]
    assert fitting.tool_choice is not None
    assert fitting.tool_choice.names == [short]
    assert fitting.messages[0] is request.messages[0]
    assert fitting.messages[1].parts[0] == ToolCall(id="1", name=short)
    assert fitting.messages[2].parts[0] == ToolResult(call_id="1", parts=[], name=short)
    assert names == {short: LONG, fitted("gone.tool", 64): "gone.tool"}
    assert request.tools[0].name == LONG
    assert restored_event(Open(0, ToolCall(id="1", name=short)), names) == Open(0, ToolCall(id="1", name=LONG))
    assert restored_event(Start("", ""), names) == Start("", "")
    answer = Response("", "", [Choice([ToolCall(id="1", name=short)], Finish("tool_calls"))])
    assert restored(answer, names).choices[0].parts == [ToolCall(id="1", name=LONG)]


def test_nothing_is_copied_where_all_names_fit() -> None:
    request = Request(model="m", dialect="chat", tools=[Tool(name="ok")])
    assert fit(request, 64) == (request, {})
    assert fit(request, 64)[0] is request
