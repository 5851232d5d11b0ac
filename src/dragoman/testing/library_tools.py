"""Scenarios of tool calls, in every shape that providers give them."""

from __future__ import annotations

from typing import Any

from dragoman.testing.library_text import CHAT, MESSAGES, NOT_GEMINI, T, U, says, text, thinking
from dragoman.testing.scenario import (
    DIALECTS,
    Cut,
    Finish,
    Native,
    Parallel,
    Scenario,
    Text,
    Thinking,
    ToolCall,
    scenario,
)
from dragoman.testing.view import Block, Trouble, View

PARIS = {"city": "Paris", "unit": "celsius"}
ROME = {"city": "Roma, «la città»", "days": [1, 2, 3], "nested": {"deep": {"true": True, "null": None, "pi": 3.14}}}
_TOOLS = Finish("tool_calls")


def call(name: str, value: Any, call_id: str = "call_1") -> Block:
    return Block("tool_call", value, name=name, id=call_id)


_ONE = says(call("get_weather", PARIS), finish="tool_calls")
_TWO = says(call("get_weather", PARIS, "call_1"), call("get_forecast", ROME, "call_2"), finish="tool_calls")
_FIRST = ToolCall("get_weather", PARIS, id="call_1")
_SECOND = ToolCall("get_forecast", ROME, id="call_2")
_BOTH = (_FIRST, _SECOND)
LONG_ID = "call_" + "a1B2c3D4e5" * 8 + "_tail_xyz"
"""94 characters."""

_REGULAR: tuple[Scenario, ...] = (
    scenario("tools-one", _FIRST, U, _TOOLS, expected=_ONE),
    scenario("tools-two", _FIRST, _SECOND, U, _TOOLS, expected=_TWO, about="one after the other"),
    scenario(
        "tools-two-in-one-chunk", Parallel(_BOTH, "one_chunk"), U, _TOOLS, expected=_TWO, about="both calls whole, in one chunk"
    ),
    scenario("tools-interleaved", Parallel(_BOTH, "interleaved"), U, _TOOLS, expected=_TWO, about="their arguments take turns"),
    scenario(
        "tools-whole",
        ToolCall("get_weather", PARIS, whole=True),
        U,
        _TOOLS,
        expected=_ONE,
        about="id, name and arguments in one chunk",
    ),
    scenario(
        "tools-byte-by-byte", ToolCall("get_weather", tuple('{"city": "Paris", "unit": "celsius"}')), U, _TOOLS, expected=_ONE
    ),
    scenario(
        "tools-after-text",
        Text("Let me look."),
        _FIRST,
        U,
        _TOOLS,
        expected=says(text("Let me look."), call("get_weather", PARIS), finish="tool_calls"),
    ),
    scenario(
        "tools-before-text",
        _FIRST,
        Text("I have asked."),
        U,
        _TOOLS,
        expected=says(call("get_weather", PARIS), text("I have asked."), finish="tool_calls"),
    ),
    scenario(
        "tools-between-texts",
        Thinking("I need the weather."),
        Text("Let me look."),
        _FIRST,
        Text("Asked."),
        U,
        _TOOLS,
        dialects=(*CHAT, "responses"),
        expected=says(
            thinking("I need the weather."),
            text("Let me look."),
            call("get_weather", PARIS),
            text("Asked."),
            finish="tool_calls",
        ),
        about="reasoning, text, call, text",
    ),
    scenario("tools-no-arguments", ToolCall("now", "{}"), U, _TOOLS, expected=says(call("now", {}), finish="tool_calls")),
    scenario(
        "tools-unicode",
        ToolCall("note", ('{"text": "naï', "ve 👩\u200d🚀 漢", '字 \\ud83d\\ude00 \\u00e9"}')),
        U,
        _TOOLS,
        expected=says(call("note", {"text": "naïve 👩\u200d🚀 漢字 😀 é"}), finish="tool_calls"),
        about="raw characters and escapes, an escape's backslash within one piece",
    ),
    scenario(
        "tools-split-escapes",
        ToolCall("note", ('{"text": "caf\\u00', "e9 \\ud83d", "\\ude00 a\\", 'nb"', "}")),
        U,
        _TOOLS,
        expected=says(call("note", {"text": "café 😀 a\nb"}), finish="tool_calls"),
        about="the pieces cut escapes and surrogate pairs in half",
    ),
    scenario(
        "tools-many",
        *(ToolCall(f"tool_{i}", {"n": i}, id=f"call_{i}") for i in range(32)),
        U,
        _TOOLS,
        expected=says(*(call(f"tool_{i}", {"n": i}, f"call_{i}") for i in range(32)), finish="tool_calls"),
        about="32 calls",
    ),
    scenario(
        "tools-large-arguments",
        ToolCall("write", {"content": "line\n" * 20_000}),
        U,
        _TOOLS,
        expected=says(call("write", {"content": "line\n" * 20_000}), finish="tool_calls"),
        about="120 kB of arguments in pieces of 7 characters",
    ),
    scenario(
        "tools-length",
        ToolCall("write", ('{"path": "a.txt", "cont', 'ent": "It was')),
        U,
        Finish("length"),
        unary=False,
        dialects=NOT_GEMINI,
        expected=says(
            Block("tool_call", '{"path": "a.txt", "content": "It was', name="write", id="call_1", whole=False), finish="length"
        ),
        about="the arguments break off at the limit: the call must not be run",
    ),
    scenario(
        "tools-custom",
        ToolCall("run_sql", ("SELECT 1", " -- {not json"), kind="custom"),
        U,
        _TOOLS,
        dialects=(*CHAT, "responses"),
        expected=says(Block("custom_tool_call", "SELECT 1 -- {not json", name="run_sql", id="call_1"), finish="tool_calls"),
        about="a tool that takes free text",
    ),
    scenario(
        "tools-legacy-function",
        ToolCall("get_weather", PARIS, id=None, kind="legacy"),
        U,
        Finish("tool_calls", word="function_call"),
        dialects=CHAT,
        expected=says(call("get_weather", PARIS, ""), finish="tool_calls"),
        about="the old function_call",
    ),
    scenario(
        "tools-long-id",
        ToolCall("get_weather", PARIS, id=LONG_ID),
        U,
        _TOOLS,
        dialects=tuple(name for name in DIALECTS if name != "responses"),
        expected=says(call("get_weather", PARIS, LONG_ID), finish="tool_calls"),
        about="an id of 94 characters, of which Responses takes 64",
    ),
    scenario(
        "tools-strange-id",
        ToolCall("Bash", {"command": "ls"}, id="functions.Bash:0"),
        U,
        _TOOLS,
        dialects=CHAT,
        expected=says(call("Bash", {"command": "ls"}, "functions.Bash:0"), finish="tool_calls"),
        about="an id that Messages would not take",
    ),
)

_GHOST = Native("chat", {"tool_calls": [{"index": 1, "function": {"arguments": ""}}]})
_CHAT_SHAPES: tuple[Scenario, ...] = (
    scenario(
        "tools-no-index",
        ToolCall("get_weather", PARIS, index="missing", whole=True),
        U,
        _TOOLS,
        expected=_ONE,
        about="no index at all",
    ),
    scenario(
        "tools-no-index-pieces",
        ToolCall("get_weather", PARIS, index="missing"),
        U,
        _TOOLS,
        expected=_ONE,
        about="pieces without an index",
    ),
    scenario(
        "tools-two-no-index",
        ToolCall("get_weather", PARIS, id="call_1", index="missing", whole=True),
        ToolCall("get_forecast", ROME, id="call_2", index="missing", whole=True),
        U,
        _TOOLS,
        expected=_TWO,
    ),
    scenario(
        "tools-index-from-one",
        ToolCall("get_weather", PARIS, index=1),
        U,
        _TOOLS,
        expected=_ONE,
        about="the first call is number 1",
    ),
    scenario(
        "tools-ghost-index",
        _FIRST,
        _GHOST,
        U,
        _TOOLS,
        unary=False,
        expected=_ONE,
        about="an empty piece for a call that never began",
    ),
    scenario(
        "tools-repeated-index",
        ToolCall("get_weather", PARIS, id="call_1", index=0, whole=True),
        ToolCall("get_forecast", ROME, id="call_2", index=0, whole=True),
        U,
        _TOOLS,
        expected=_TWO,
        about="a new call under the index of the first, told only by its id",
    ),
    scenario(
        "tools-repeated-name",
        ToolCall("get_weather", PARIS, repeats=True),
        U,
        _TOOLS,
        expected=_ONE,
        about="id and name in every chunk",
    ),
    scenario(
        "tools-blank-name",
        ToolCall("get_weather", PARIS, blanks=True),
        U,
        _TOOLS,
        expected=_ONE,
        about="empty id and name in later chunks",
    ),
    scenario(
        "tools-empty-arguments",
        ToolCall("now", ""),
        U,
        _TOOLS,
        expected=says(call("now", {}), finish="tool_calls"),
        about='arguments ""',
    ),
    scenario("tools-finish-stop", _FIRST, U, Finish("stop"), expected=_ONE, about="finish reason stop after a call"),
    scenario("tools-no-finish", _FIRST, U, expected=_ONE, about="[DONE] without a finish reason, after a call"),
    scenario(
        "tools-finish-without-call",
        Text("Done."),
        U,
        _TOOLS,
        expected=says(text("Done.")),
        about="finish reason tool_calls, and no call",
    ),
    scenario(
        "tools-missing-id",
        ToolCall("get_weather", PARIS, id=None),
        U,
        _TOOLS,
        expected=says(call("get_weather", PARIS, ""), finish="tool_calls"),
        about="no id: a gateway makes one, and keeps call and result paired",
    ),
    scenario(
        "tools-duplicate-id",
        ToolCall("get_weather", PARIS, id="call_1"),
        ToolCall("get_forecast", ROME, id="call_1"),
        U,
        _TOOLS,
        expected=says(call("get_weather", PARIS, "call_1"), call("get_forecast", ROME, "call_1"), finish="tool_calls"),
        about="two calls under one id",
    ),
)


def _broken(*blocks: Block) -> View:
    return View(blocks, error=Trouble("cut"))


_CUT: tuple[Scenario, ...] = (
    scenario(
        "tools-cut",
        Text("Let me look."),
        ToolCall("get_weather", ('{"city": "Pa', Cut())),
        U,
        unary=False,
        dialects=NOT_GEMINI,
        expected=_broken(
            text("Let me look."), Block("tool_call", '{"city": "Pa', name="get_weather", id="call_1", whole=False)
        ),
        about="the connection ends within the arguments",
    ),
    scenario(
        "tools-cut-after-whole",
        ToolCall("get_weather", ('{"city": "Paris"}', Cut())),
        U,
        unary=False,
        dialects=NOT_GEMINI,
        expected=_broken(call("get_weather", {"city": "Paris"})),
        about="the arguments are whole, but no finish comes",
    ),
)


def _for_chat(one: Scenario) -> Scenario:
    return Scenario(one.name, one.steps, one.expected, one.about, CHAT, regular=False, unary=one.unary)


TOOLS: tuple[Scenario, ...] = (*_REGULAR, *map(_for_chat, _CHAT_SHAPES), *_CUT)
__all__ = ["LONG_ID", "MESSAGES", "PARIS", "ROME", "TOOLS", "T", "call"]
