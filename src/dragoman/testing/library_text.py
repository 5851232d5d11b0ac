"""Scenarios of text, thinking, counts and the many ways to write a stream down."""

from __future__ import annotations

import json
from typing import Literal

from dragoman.testing.scenario import (
    DIALECTS,
    Break,
    Choice,
    Citation,
    Comment,
    Finish,
    Native,
    Ping,
    RawFrame,
    Refusal,
    Scenario,
    Style,
    Text,
    Thinking,
    Usage,
    scenario,
)
from dragoman.testing.speaking import CREATED
from dragoman.testing.view import Block, Cite, FinishWord, OtherChoice, Tokens, View

CHAT = ("chat",)
MESSAGES = ("messages",)
SSE = tuple(name for name in DIALECTS if name != "converse")
"""Whose streams are server-sent events."""
NOT_GEMINI = tuple(name for name in DIALECTS if name != "gemini")
"""Where a call's arguments come in pieces, clients skip comments and do without the space after the colon, and writing to a
cache is counted."""
U = Usage(input=12, output=7)
T = Tokens(input=12, output=7)


def says(*blocks: Block, finish: FinishWord = "stop", tokens: Tokens | None = T) -> View:
    return View(blocks, finish, tokens)


def text(value: str, *citations: Cite) -> Block:
    return Block("text", value, citations=citations)


def thinking(value: str, signature: str = "") -> Block:
    return Block("thinking", value, signature=signature)


HELLO = "Hello! How can I help you today?"
# Emoji with modifiers and joiners, flags, combining marks, CJK, right-to-left, astral symbols, controls that JSON escapes.
UNICODE = (
    "naïve Ångström e\u0301 ",
    "👩\u200d👩\u200d👧\u200d👦",
    "👍🏽",
    " 🇺🇦 ",
    "漢字かな交じり文",
    " 한국어 ",
    "שלום",
    " مرحبا ",
    "𝒳𝔘 ",
    'tab\t newline\n quote" backslash\\ slash/ ',
    "\u2028\u2029\u0085",
    " nul\u0000 del\u007f ",
    "\ufeff\U0010ffff",
)

_PLAIN: tuple[Scenario, ...] = (
    scenario("text", Text(HELLO), U, Finish(), expected=says(text(HELLO)), about="the plain case"),
    scenario("text-one-piece", Text((HELLO,)), U, Finish(), expected=says(text(HELLO)), about="all text in one event"),
    scenario("text-empty", U, Finish(), expected=says(), about="the model says nothing at all"),
    scenario(
        "text-length", Text("It was a dark and"), U, Finish("length"), expected=says(text("It was a dark and"), finish="length")
    ),
    scenario(
        "text-stop-sequence",
        Text("one two "),
        U,
        Finish("stop_sequence", "three"),
        dialects=MESSAGES,
        expected=View((text("one two "),), "stop_sequence", T, stop_sequence="three"),
    ),
    scenario(
        "text-context-length",
        Text("and then"),
        U,
        Finish("context_length"),
        dialects=MESSAGES,
        expected=says(text("and then"), finish="context_length"),
    ),
    scenario(
        "text-content-filter",
        Text("Here is how"),
        U,
        Finish("content_filter"),
        dialects=CHAT,
        expected=says(text("Here is how"), finish="content_filter"),
    ),
    scenario("unicode", Text(UNICODE), U, Finish(), expected=says(text("".join(UNICODE))), about="raw UTF-8 of every length"),
    scenario(
        "unicode-escaped",
        Text(UNICODE),
        U,
        Finish(),
        style=Style(ascii=True),
        expected=says(text("".join(UNICODE))),
        about="the same as JSON escapes, astral characters as surrogate pairs",
    ),
    scenario(
        "unicode-lone-surrogates",
        Text(("smile: \ud83d", "\ude00 done")),
        U,
        Finish(),
        style=Style(ascii=True),
        regular=False,
        unary=False,
        expected=says(text("smile: 😀 done")),
        about="a server that cuts UTF-16 strings: the halves of one character in two events",
    ),
    scenario(
        "text-long",
        Text(tuple(f"word{i} " for i in range(2000))),
        Usage(input=12, output=4000),
        Finish(),
        expected=says(text("".join(f"word{i} " for i in range(2000))), tokens=Tokens(12, 4000)),
        about="2000 events",
    ),
    scenario(
        "text-large-event",
        Text(("x" * 262_144,)),
        U,
        Finish(),
        expected=says(text("x" * 262_144)),
        about="one event of 256 KiB",
    ),
    scenario(
        "refusal",
        Refusal("I can't help with that."),
        U,
        Finish("refusal"),
        dialects=SSE,
        expected=says(Block("refusal", "I can't help with that."), finish="refusal"),
    ),
    scenario(
        "citations",
        Text("The sky is blue."),
        Citation("Rayleigh scattering", "https://example.org/sky", "Blue light scatters more."),
        Citation("Optics", "https://example.org/optics", "Short waves scatter."),
        U,
        Finish(),
        expected=says(
            text(
                "The sky is blue.",
                Cite("Rayleigh scattering", "https://example.org/sky", "Blue light scatters more."),
                Cite("Optics", "https://example.org/optics", "Short waves scatter."),
            )
        ),
        about="Chat has no place for the cited text",
    ),
    scenario(
        "text-two-blocks",
        Text("One."),
        Break(),
        Text("Two."),
        U,
        Finish(),
        dialects=MESSAGES,
        expected=says(text("One."), text("Two.")),
    ),
)


def _unsigned(name: str, field: Literal["reasoning_content", "reasoning"]) -> Scenario:
    return scenario(
        name,
        Thinking("The user greets me.", field=field),
        Text(HELLO),
        Usage(input=12, output=7, reasoning=5),
        Finish(),
        dialects=CHAT,
        expected=says(thinking("The user greets me."), text(HELLO), tokens=Tokens(12, 7, reasoning=5)),
        about=f"Chat providers that write {field!r}",
    )


_THINKING: tuple[Scenario, ...] = (
    scenario(
        "thinking",
        Thinking("The user greets me. I greet back.", signature="EqQBCkYIBxgCKkDq"),
        Text(HELLO),
        U,
        Finish(),
        dialects=MESSAGES,
        expected=says(thinking("The user greets me. I greet back.", "EqQBCkYIBxgCKkDq"), text(HELLO)),
    ),
    _unsigned("thinking-reasoning-content", "reasoning_content"),
    _unsigned("thinking-reasoning", "reasoning"),
    scenario(
        "thinking-reasoning-details",
        Thinking("The user greets me.", signature="EqQBCkYIBxgCKkDq", field="reasoning_details"),
        Text(HELLO),
        U,
        Finish(),
        dialects=CHAT,
        expected=says(thinking("The user greets me.", "EqQBCkYIBxgCKkDq"), text(HELLO)),
        about="OpenRouter's form, signed",
    ),
    scenario(
        "thinking-only",
        Thinking("Hmm, nothing to say.", field="reasoning_content", signature="EqQBCkYIBxgC"),
        U,
        Finish(),
        dialects=MESSAGES,
        expected=says(thinking("Hmm, nothing to say.", "EqQBCkYIBxgC")),
    ),
)

CACHED = Usage(input=5, output=7, cache_read=2000, cache_write=100)
_COUNTS: tuple[Scenario, ...] = (
    scenario("usage-absent", Text(HELLO), Finish(), dialects=CHAT, expected=says(text(HELLO), tokens=None)),
    scenario(
        "usage-cached",
        Text(HELLO),
        CACHED,
        Finish(),
        dialects=NOT_GEMINI,
        expected=says(text(HELLO), tokens=Tokens(5, 7, cache_read=2000, cache_write=100)),
        about="read from and written to the prompt cache",
    ),
    scenario(
        "usage-cached-1h",
        Text(HELLO),
        Usage(input=5, output=7, cache_read=2000, cache_write=100, cache_write_1h=300),
        Finish(),
        dialects=MESSAGES,
        expected=says(text(HELLO), tokens=Tokens(5, 7, cache_read=2000, cache_write=100, cache_write_1h=300)),
    ),
    scenario(
        "usage-reasoning",
        Text(HELLO),
        Usage(input=12, output=7, reasoning=64),
        Finish(),
        dialects=SSE,
        expected=says(text(HELLO), tokens=Tokens(12, 7, reasoning=64)),
    ),
    scenario(
        "usage-late",
        Text(HELLO),
        Usage(input=5, output=7, cache_read=2000, at_start=False),
        Finish(),
        dialects=MESSAGES,
        expected=says(text(HELLO), tokens=Tokens(5, 7, cache_read=2000)),
        about="zeros in message_start, the counts in message_delta",
    ),
    *(
        scenario(
            f"usage-{where.replace('_', '-')}",
            Text(HELLO),
            Usage(input=12, output=7, where=where),
            Finish(),
            dialects=CHAT,
            regular=where == "always",
            expected=says(text(HELLO)),
        )
        for where in ("always", "with_finish", "every_chunk")
    ),
)


_CHOICES: tuple[Scenario, ...] = (
    scenario(
        "choices-two",
        Text(("Hea",)),
        Choice(1),
        Text(("Ta",)),
        Choice(0),
        Text(("ds.",)),
        Choice(1),
        Text(("ils",)),
        Choice(0),
        Finish(),
        Choice(1),
        Finish("length"),
        U,
        dialects=CHAT,
        expected=View((text("Heads."),), "stop", T, others=(OtherChoice((text("Tails"),), "length"),)),
        about="n = 2, interleaved",
    ),
    scenario(
        "logprobs",
        Text(("He", "llo"), logprobs=True),
        U,
        Finish(),
        dialects=CHAT,
        expected=View(
            (text("Hello"),),
            "stop",
            T,
            logprobs=(
                {"token": "He", "logprob": -0.25, "bytes": [72, 101], "top_logprobs": []},
                {"token": "llo", "logprob": -0.25, "bytes": [108, 108, 111], "top_logprobs": []},
            ),
        ),
    ),
)


def _styled(name: str, style: Style, about: str, *, dialects: tuple[str, ...] = SSE, regular: bool = True) -> Scenario:
    steps = (Text("Styled ünïcode text."), U, Finish())
    seen = says(text("Styled ünïcode text."))
    return Scenario(name, steps, seen, about, dialects, regular, style=style)


_STYLES: tuple[Scenario, ...] = (
    _styled("style-crlf", Style(newline="\r\n"), "lines end in CRLF"),
    _styled("style-cr", Style(newline="\r"), "lines end in CR", regular=False),
    _styled("style-no-space", Style(space=False), "no space after the colons", dialects=("chat", "messages", "responses")),
    _styled("style-bom", Style(bom=True), "a byte order mark first", regular=False),
    _styled("style-padded", Style(pad=12), "spaces before the last brace, as Anthropic writes them"),
    _styled("style-multiline", Style(lines=True), "JSON over several data lines"),
    _styled("style-no-done", Style(done=False), "no [DONE] after the finish", dialects=CHAT, regular=False),
    _styled("style-no-last-blank", Style(last_blank=False), "the last event lacks its blank line", regular=False),
)
_SHELL = {"id": "chatcmpl-chat-event-named", "object": "chat.completion.chunk", "created": CREATED, "model": "scripted"}
_AZURE = {"choices": [], "prompt_filter_results": [{"prompt_index": 0, "content_filter_results": {}}]}
_TAIL = {"choices": [{"index": 0, "delta": {"content": ""}, "logprobs": None, "finish_reason": None}]}
_LAST = {"choices": [{"index": 0, "delta": {"content": "bye."}, "logprobs": None, "finish_reason": "stop"}]}
_CHAT_HABITS: tuple[Scenario, ...] = (
    scenario(
        "comments",
        Comment("OPENROUTER PROCESSING"),
        Text(("Hel", Comment(""), Ping(), "lo")),
        Ping(),
        U,
        Finish(),
        dialects=NOT_GEMINI,
        expected=says(text("Hello")),
        about="comments and pings everywhere",
    ),
    scenario(
        "chat-filter-chunk-first",
        Native("chat", _AZURE),
        Text(HELLO),
        U,
        Finish(),
        dialects=CHAT,
        regular=False,
        expected=says(text(HELLO)),
        about="Azure: the first chunk has no choices",
    ),
    scenario(
        "chat-finish-with-content",
        Text(("Good ",)),
        Native("chat", _LAST),
        U,
        dialects=CHAT,
        unary=False,
        expected=says(text("Good bye.")),
        about="the finish stands in the chunk with the last text",
    ),
    scenario(
        "chat-chunk-after-finish",
        Text(HELLO),
        Finish(),
        Native("chat", _TAIL),
        U,
        dialects=CHAT,
        regular=False,
        expected=says(text(HELLO)),
        about="an empty chunk after the finish",
    ),
    scenario(
        "chat-role-everywhere",
        *(Native("chat", {"role": "assistant", "content": piece}) for piece in ("Hel", "lo")),
        U,
        Finish(),
        dialects=CHAT,
        regular=False,
        unary=False,
        expected=says(text("Hello")),
        about="every chunk says the role",
    ),
    scenario(
        "chat-unnamed-finish",
        Text(HELLO),
        U,
        Finish(word="eos"),
        dialects=CHAT,
        regular=False,
        expected=says(text(HELLO)),
        about="a finish reason that nobody knows",
    ),
    scenario(
        "chat-no-finish",
        Text(HELLO),
        U,
        dialects=CHAT,
        regular=False,
        expected=says(text(HELLO)),
        about="[DONE] without a finish reason",
    ),
    scenario(
        "chat-event-named",
        RawFrame(f"event: message\ndata: {json.dumps({**_SHELL, **_LAST})}\n\n".encode()),
        U,
        dialects=CHAT,
        regular=False,
        unary=False,
        expected=says(text("bye.")),
        about="an event with a name, and no role anywhere",
    ),
)

TEXTS: tuple[Scenario, ...] = (*_PLAIN, *_THINKING, *_COUNTS, *_CHOICES, *_STYLES, *_CHAT_HABITS)
