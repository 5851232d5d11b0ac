"""Scenarios that only Messages can say: sealed thinking, server tools, pauses, and kinds that no client knows."""

from __future__ import annotations

from dragoman.testing.library_text import HELLO, T, U, says, text, thinking
from dragoman.testing.library_text import MESSAGES as ONLY
from dragoman.testing.library_tools import PARIS, call
from dragoman.testing.scenario import (
    Begin,
    Citation,
    Finish,
    Ping,
    RedactedThinking,
    Scenario,
    ServerToolResult,
    ServerToolUse,
    Text,
    Thinking,
    ToolCall,
    UnknownBlock,
    UnknownEvent,
    Usage,
    scenario,
)
from dragoman.testing.view import Block, Cite, Tokens, View

SIGNATURE = "EqoBCkgIBRABGAIiQL2UoU0b1OHYi+ycHpBY7U8FUpyLEEnRXmKvMm0/ScriptedSig=="
SEALED = "EmwKAhgBEgy3va3pzix/LafPsn4aDFIT2Xlxh0L5L8rLVyIwxtE3rAFBa8cr3qpPkNRj2YfWScripted"
_SEARCH = ServerToolUse("web_search", {"query": "weather in Paris"}, "srvtoolu_01")
_HITS = [
    {
        "type": "web_search_result",
        "title": "Paris weather",
        "url": "https://example.org/paris",
        "encrypted_content": "EqgfCioIARgBIiQ3YTAwMjY1Mi1m",
        "page_age": "2 hours ago",
    }
]
_RESULT = ServerToolResult("web_search_tool_result", "srvtoolu_01", _HITS)
_SEARCHED = (
    Block("server_tool_call", {"query": "weather in Paris"}, name="web_search", id="srvtoolu_01"),
    Block(
        "server_tool_result",
        {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_01", "content": _HITS},
        name="web_search_tool_result",
        id="srvtoolu_01",
    ),
)
_HOLOGRAM = {"type": "hologram", "shape": "cube", "data": ""}
_CHARS = {
    "type": "char_location",
    "cited_text": "It was a dark night.",
    "document_index": 0,
    "document_title": "The book",
    "start_char_index": 0,
    "end_char_index": 20,
    "file_id": None,
}

MESSAGES: tuple[Scenario, ...] = tuple(
    Scenario(s.name, s.steps, s.expected, s.about, ONLY, s.regular, s.unary)
    for s in (
        scenario(
            "thinking-signature-only",
            Thinking((), signature=SIGNATURE),
            Text(HELLO),
            U,
            Finish(),
            expected=says(thinking("", SIGNATURE), text(HELLO)),
            about="no thinking is shown, but its signature must be kept",
        ),
        scenario(
            "thinking-redacted",
            RedactedThinking(SEALED),
            Thinking("In the open again.", SIGNATURE),
            Text(HELLO),
            U,
            Finish(),
            expected=says(Block("redacted_thinking", SEALED), thinking("In the open again.", SIGNATURE), text(HELLO)),
        ),
        scenario(
            "thinking-interleaved",
            Thinking("First I look.", SIGNATURE + "1"),
            Text("Looking."),
            ToolCall("get_weather", PARIS, id="toolu_01"),
            Thinking("Then I compare.", SIGNATURE + "2"),
            ToolCall("get_weather", {"city": "Rome"}, id="toolu_02"),
            U,
            Finish("tool_calls"),
            expected=says(
                thinking("First I look.", SIGNATURE + "1"),
                text("Looking."),
                call("get_weather", PARIS, "toolu_01"),
                thinking("Then I compare.", SIGNATURE + "2"),
                call("get_weather", {"city": "Rome"}, "toolu_02"),
                finish="tool_calls",
            ),
            about="thinking between the calls, each with its own signature",
        ),
        scenario(
            "server-tool",
            Text("I'll search."),
            _SEARCH,
            _RESULT,
            Text("It is sunny."),
            Citation("Paris weather", "https://example.org/paris", "Sunny, 21 °C."),
            Usage(input=500, output=60, searches=1),
            Finish(),
            expected=says(
                text("I'll search."),
                *_SEARCHED,
                text("It is sunny.", Cite("Paris weather", "https://example.org/paris", "Sunny, 21 °C.")),
                tokens=Tokens(500, 60, searches=1),
            ),
            about="web search by the provider, cited",
        ),
        scenario(
            "server-tool-and-call",
            _SEARCH,
            _RESULT,
            ToolCall("get_weather", PARIS, id="toolu_01"),
            U,
            Finish("tool_calls"),
            expected=says(*_SEARCHED, call("get_weather", PARIS, "toolu_01"), finish="tool_calls"),
        ),
        scenario(
            "pause-turn",
            Text("Still searching."),
            _SEARCH,
            U,
            Finish("pause"),
            expected=says(text("Still searching."), _SEARCHED[0], finish="pause"),
            about="a long turn of server tools: send it back to go on",
        ),
        scenario(
            "citation-in-document",
            Text("It was night."),
            Citation(native=_CHARS),
            U,
            Finish(),
            expected=says(text("It was night.", Cite("The book", "", "It was a dark night."))),
        ),
        scenario(
            "pings", Ping(), Begin(), Ping(), Text(("Hel", Ping(), "lo")), Ping(), U, Finish(), expected=says(text("Hello"))
        ),
        scenario(
            "unknown-event",
            Text(("Hel", UnknownEvent("telemetry", {"load": 0.7}), "lo")),
            U,
            Finish(),
            unary=False,
            expected=View((text("Hello"),), "stop", T, unknown=({"type": "telemetry", "load": 0.7},)),
        ),
        scenario(
            "unknown-block",
            Text("Look:"),
            UnknownBlock(_HOLOGRAM, ({"type": "hologram_delta", "data": "AAEC"},)),
            Text("There."),
            U,
            Finish(),
            regular=False,
            unary=False,
            expected=View(
                (text("Look:"), Block("unknown", _HOLOGRAM, name="hologram"), text("There.")),
                "stop",
                T,
                unknown=({"type": "hologram_delta", "data": "AAEC"},),
            ),
            about="a block and a delta of kinds that nobody knows",
        ),
        scenario(
            "refusal-after-text",
            Text("First, take "),
            U,
            Finish("refusal"),
            expected=says(text("First, take "), finish="refusal"),
            about="a guard stops the answer in its middle",
        ),
    )
)
