"""Scenarios that only Converse can say, or says in its own way: sealed reasoning in bytes, exceptions, damaged messages."""

from __future__ import annotations

from dragoman.testing.eventstream import write_message
from dragoman.testing.library_text import HELLO, T, U, says, text, thinking
from dragoman.testing.library_tools import PARIS, call
from dragoman.testing.scenario import (
    Break,
    Citation,
    ErrorEvent,
    Finish,
    Native,
    RawFrame,
    RedactedThinking,
    Scenario,
    Text,
    Thinking,
    ToolCall,
    UnknownEvent,
    Usage,
    scenario,
)
from dragoman.testing.view import Block, Cite, Tokens, Trouble, View

ONLY = ("converse",)
SIGNATURE = "EqQBCkYIBxgCKkDscriptedBedrockSignature+/AAECAwQFBgcICQ=="
_SEARCH = {"toolUseId": "tooluse_s1", "name": "nova_grounding", "type": "server_tool_use"}
_FOUND = {"toolUseId": "tooluse_s1", "type": "nova_grounding_result", "status": "success"}


def _delta(index: int, delta: object) -> Native:
    return Native("converse", {"contentBlockDelta": {"contentBlockIndex": index, "delta": delta}})


def damaged() -> bytes:
    """A message in which one bit is wrong."""
    whole = bytearray(write_message("contentBlockDelta", b'{"contentBlockIndex":0,"delta":{"text":"lo"}}'))
    whole[-6] ^= 1
    return bytes(whole)


def _only(one: Scenario) -> Scenario:
    return Scenario(one.name, one.steps, one.expected, one.about, ONLY, one.regular, one.unary, one.style, one.headers)


CONVERSE: tuple[Scenario, ...] = tuple(
    _only(one)
    for one in (
        scenario(
            "converse-signed-call",
            Thinking("I need the weather.", SIGNATURE),
            Text("Let me look."),
            ToolCall("get_weather", PARIS, id="tooluse_kZJMlvQmRJ6eAyJE5GIl7Q"),
            Usage(input=20, output=31, cache_read=1000, cache_write=5, cache_write_1h=7),
            Finish("tool_calls"),
            expected=View(
                (
                    thinking("I need the weather.", SIGNATURE),
                    text("Let me look."),
                    call("get_weather", PARIS, "tooluse_kZJMlvQmRJ6eAyJE5GIl7Q"),
                ),
                "tool_calls",
                Tokens(20, 31, 1000, 5, 7),
            ),
            about="thinking with its signature, a call, the cache's counts",
        ),
        scenario(
            "converse-redacted",
            Thinking("Greet back.", SIGNATURE),
            RedactedThinking("sealed thoughts"),
            Text(HELLO),
            U,
            Finish(),
            expected=says(thinking("Greet back.", SIGNATURE), Block("redacted_thinking", "sealed thoughts"), text(HELLO)),
            about="thinking of which only the sealed form came",
        ),
        scenario(
            "converse-unsigned",
            Thinking("Greet back."),
            Text(HELLO),
            U,
            Finish(),
            expected=says(thinking("Greet back."), text(HELLO)),
            about="thinking of a model that signs nothing",
        ),
        scenario(
            "converse-stop-sequence",
            Text("one two "),
            U,
            Finish("stop_sequence", "three"),
            expected=View((text("one two "),), "stop_sequence", T, stop_sequence="three"),
            about="which text stopped it is among the model's own fields",
        ),
        scenario(
            "converse-context-length",
            Text("and then"),
            U,
            Finish("context_length"),
            expected=says(text("and then"), finish="context_length"),
        ),
        scenario(
            "converse-guardrail",
            Text("Sorry, the model cannot answer this question."),
            U,
            Finish("content_filter", word="guardrail_intervened"),
            expected=says(text("Sorry, the model cannot answer this question."), finish="content_filter"),
            about="a guardrail spoke instead of the model",
        ),
        scenario(
            "converse-citations",
            Text("Snow fell. "),
            Citation("Report", "https://example.com/snow", "It snowed"),
            Break(),
            Text("It melted."),
            U,
            Finish(),
            expected=says(text("Snow fell. ", Cite("Report", "https://example.com/snow", "It snowed")), text("It melted.")),
            about="a text with its source",
        ),
        scenario(
            "converse-server-tool",
            Native("converse", {"messageStart": {"role": "assistant"}}),
            Native("converse", {"contentBlockStart": {"contentBlockIndex": 0, "start": {"toolUse": _SEARCH}}}),
            _delta(0, {"toolUse": {"input": '{"query": "snow"}'}}),
            Native("converse", {"contentBlockStop": {"contentBlockIndex": 0}}),
            Native("converse", {"contentBlockStart": {"contentBlockIndex": 1, "start": {"toolResult": _FOUND}}}),
            _delta(1, {"toolResult": [{"text": "It snows."}]}),
            Native("converse", {"contentBlockStop": {"contentBlockIndex": 1}}),
            _delta(2, {"text": "It snows."}),
            Native("converse", {"contentBlockStop": {"contentBlockIndex": 2}}),
            Native("converse", {"messageStop": {"stopReason": "end_turn"}}),
            Native("converse", {"metadata": {"usage": {"inputTokens": 12, "outputTokens": 7, "totalTokens": 19},
                                             "metrics": {"latencyMs": 5}}}),
            unary=False,
            expected=says(
                Block("server_tool_call", {"query": "snow"}, "nova_grounding", "tooluse_s1"),
                Block("server_tool_result", {**_FOUND, "content": [{"text": "It snows."}]}, "nova_grounding_result",
                      "tooluse_s1"),
                text("It snows."),
            ),
            about="a tool that Bedrock itself runs, and its result",
        ),
        scenario(
            "converse-unknown-event",
            Text(("Hel", UnknownEvent("telemetry", {"load": 0.7}), "lo")),
            U,
            Finish(),
            unary=False,
            expected=says(text("Hello")),
            about="an event that no client knows",
        ),
        scenario(
            "converse-malformed-output",
            Text("{"),
            U,
            Finish(word="malformed_model_output"),
            regular=False,
            expected=View((text("{"),), None, T, Trouble("unavailable", "")),
            about="the model's answer is not what it should have been",
        ),
        scenario(
            "converse-throttled-first",
            ErrorEvent("rate_limit", "Too many tokens, please wait before trying again."),
            expected=View(error=Trouble("rate_limit", "Too many tokens, please wait before trying again.")),
            about="an exception before anything was said",
        ),
        scenario(
            "converse-stream-error",
            Text(("Hel", ErrorEvent("unavailable", "The model broke off."))),
            U,
            expected=View((text("Hel"),), error=Trouble("unavailable", "The model broke off.")),
            about="an exception in the middle",
        ),
        scenario(
            "converse-damaged",
            Native("converse", {"messageStart": {"role": "assistant"}}),
            _delta(0, {"text": "Hel"}),
            RawFrame(damaged()),
            regular=False,
            unary=False,
            expected=View((text("Hel"),), error=Trouble("cut", "")),
            about="a message whose checksum is wrong",
        ),
    )
)  # fmt: skip
