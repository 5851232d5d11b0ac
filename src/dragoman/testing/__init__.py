"""A testing kit for LLM clients and gateways: an upstream that says what you script, and judges of what came out.

    ScriptedUpstream   a server on a real socket that speaks Chat Completions, Messages, Responses, Gemini, Converse
    SCENARIOS          what it can say, by name, each with its oracle; `scenario(...)` makes more
    fold_chat, ...     strict readers: is this stream legal, and what does it say?

It shares no code with the codecs that it tests. docs/testing.md has examples.
"""

from dragoman.testing.connection import ClosedEarly
from dragoman.testing.http1 import Request
from dragoman.testing.judge_chat import fold_chat, read_chat
from dragoman.testing.judge_converse import fold_converse, read_converse
from dragoman.testing.judge_gemini import fold_gemini, fold_gemini_array, read_gemini
from dragoman.testing.judge_messages import fold_messages, read_messages
from dragoman.testing.judge_responses import fold_responses, read_responses
from dragoman.testing.library import SCENARIOS, scenarios_for
from dragoman.testing.scenario import (
    Ask,
    Begin,
    Break,
    Choice,
    Citation,
    Comment,
    Cut,
    Endless,
    ErrorEvent,
    Finish,
    HttpError,
    Native,
    Parallel,
    Ping,
    RawFrame,
    RedactedThinking,
    Refusal,
    Rendered,
    Repeat,
    Reset,
    Scenario,
    ServerToolResult,
    ServerToolUse,
    SlowHead,
    Stall,
    Style,
    Text,
    Thinking,
    ToolCall,
    UnknownBlock,
    UnknownEvent,
    Usage,
    scenario,
)
from dragoman.testing.speak_chat import render_chat
from dragoman.testing.speak_converse import render_converse
from dragoman.testing.speak_embeddings import vector_of
from dragoman.testing.speak_gemini import render_gemini
from dragoman.testing.speak_messages import render_messages
from dragoman.testing.speak_responses import render_responses
from dragoman.testing.sse import SseEvent, read_events
from dragoman.testing.upstream import Connections, Flaky, ScriptedUpstream, ThreadedUpstream
from dragoman.testing.view import Block, Cite, IllegalStream, OtherChoice, Tokens, Trouble, View
from dragoman.testing.voices import VOICES, Voice

__all__ = [
    "SCENARIOS",
    "VOICES",
    "Ask",
    "Begin",
    "Block",
    "Break",
    "Choice",
    "Citation",
    "Cite",
    "ClosedEarly",
    "Comment",
    "Connections",
    "Cut",
    "Endless",
    "ErrorEvent",
    "Finish",
    "Flaky",
    "HttpError",
    "IllegalStream",
    "Native",
    "OtherChoice",
    "Parallel",
    "Ping",
    "RawFrame",
    "RedactedThinking",
    "Refusal",
    "Rendered",
    "Repeat",
    "Request",
    "Reset",
    "Scenario",
    "ScriptedUpstream",
    "ServerToolResult",
    "ServerToolUse",
    "SlowHead",
    "SseEvent",
    "Stall",
    "Style",
    "Text",
    "Thinking",
    "ThreadedUpstream",
    "Tokens",
    "ToolCall",
    "Trouble",
    "UnknownBlock",
    "UnknownEvent",
    "Usage",
    "View",
    "Voice",
    "fold_chat",
    "fold_converse",
    "fold_gemini",
    "fold_gemini_array",
    "fold_messages",
    "fold_responses",
    "read_chat",
    "read_converse",
    "read_events",
    "read_gemini",
    "read_messages",
    "read_responses",
    "render_chat",
    "render_converse",
    "render_gemini",
    "render_messages",
    "render_responses",
    "scenario",
    "scenarios_for",
    "vector_of",
]
