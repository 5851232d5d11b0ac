"""Scenarios that only Gemini can say, or says in its own way: signatures on parts, usage, blocked prompts, hosted tools."""

from __future__ import annotations

from dragoman.testing.library_text import HELLO, T, U, says, text, thinking
from dragoman.testing.library_tools import PARIS, ROME, call
from dragoman.testing.scenario import (
    Choice,
    Citation,
    Cut,
    ErrorEvent,
    Finish,
    Native,
    RawFrame,
    Scenario,
    Text,
    Thinking,
    ToolCall,
    Usage,
    scenario,
)
from dragoman.testing.view import Block, Cite, OtherChoice, Tokens, Trouble, View

ONLY = ("gemini",)
SIGNATURE = "CiQB0e2Kb3ScriptedThoughtSignature+/AAECAwQFBgcICQ=="
_PLOT = {"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}}
_CODE = {"executableCode": {"language": "PYTHON", "code": "print(6*7)"}}
_RESULT = {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "42\n"}}
_LATE_USAGE = {"usageMetadata": {"promptTokenCount": 12, "candidatesTokenCount": 7, "totalTokenCount": 19}}
_ARRAY_ERROR = b'{\n  "error": {\n    "code": 503,\n    "message": "Overloaded",\n    "status": "UNAVAILABLE"\n  }\n}\n\n'


def signed(block: Block, signature: str = SIGNATURE) -> Block:
    return Block(block.kind, block.value, block.name, block.id, signature)


def _only(one: Scenario) -> Scenario:
    return Scenario(one.name, one.steps, one.expected, one.about, ONLY, one.regular, one.unary, one.style, one.headers)


GEMINI: tuple[Scenario, ...] = tuple(
    _only(one)
    for one in (
        scenario(
            "gemini-thoughts",
            Thinking("The user greets me. I greet back."),
            Text(HELLO),
            Usage(input=12, output=7, reasoning=31),
            Finish(),
            expected=says(thinking("The user greets me. I greet back."), text(HELLO), tokens=Tokens(12, 7, reasoning=31)),
            about="a summary of thoughts, unsigned",
        ),
        scenario(
            "gemini-signed-call",
            Thinking("I need the weather.", SIGNATURE),
            ToolCall("get_weather", PARIS, id="c1"),
            ToolCall("get_forecast", ROME, id="c2"),
            U,
            Finish("tool_calls"),
            expected=says(
                thinking("I need the weather."),
                signed(call("get_weather", PARIS, "c1")),
                call("get_forecast", ROME, "c2"),
                finish="tool_calls",
            ),
            about="the first of two calls is signed; it must come back on that call",
        ),
        scenario(
            "gemini-signed-text",
            Thinking("Hm.", SIGNATURE),
            Text(HELLO),
            U,
            Finish(),
            expected=says(thinking("Hm."), signed(text(HELLO))),
            about="the signature comes last, in a stream on an empty text",
        ),
        scenario(
            "gemini-call-without-id",
            Text("Let me look."),
            ToolCall("get_weather", PARIS, id=None),
            U,
            Finish("tool_calls"),
            expected=says(text("Let me look."), call("get_weather", PARIS, ""), finish="tool_calls"),
            about="older models give no ids: a gateway makes them, and keeps call and result paired",
        ),
        scenario(
            "gemini-usage-cached",
            Text(HELLO),
            Usage(input=5, output=7, cache_read=2000, reasoning=3),
            Finish(),
            expected=says(text(HELLO), tokens=Tokens(5, 7, cache_read=2000, reasoning=3)),
            about="cached tokens within the prompt, thoughts beside the answer",
        ),
        scenario(
            "gemini-usage-late",
            Native("gemini", {"text": HELLO}),
            Finish(),
            Native("gemini", _LATE_USAGE),
            unary=False,
            expected=says(text(HELLO)),
            about="the counts in a chunk of their own, after the finish",
        ),
        scenario("gemini-usage-absent", Text(HELLO), Finish(), expected=says(text(HELLO), tokens=None), about="nobody counted"),
        scenario(
            "gemini-safety",
            Text("Here is how"),
            U,
            Finish("content_filter"),
            expected=says(text("Here is how"), finish="content_filter"),
            about="a filter stops the answer in its middle",
        ),
        scenario(
            "gemini-recitation",
            Text("It was the best of times"),
            U,
            Finish("content_filter", word="RECITATION"),
            expected=says(text("It was the best of times"), finish="content_filter"),
        ),
        scenario(
            "gemini-grounded",
            Text(("Der Himmel über ", "Köln ist blau.")),
            Citation("Himmel", "https://example.org/himmel"),
            Citation("Köln", "https://example.org/koeln"),
            U,
            Finish(),
            expected=says(
                text(
                    "Der Himmel über Köln ist blau.",
                    Cite("Himmel", "https://example.org/himmel"),
                    Cite("Köln", "https://example.org/koeln"),
                )
            ),
            about="sources, with offsets in bytes",
        ),
        scenario(
            "gemini-candidates",
            Text(("Heads.",)),
            Choice(1),
            Text(("Tails",)),
            Choice(0),
            Finish(),
            Choice(1),
            Finish("length"),
            U,
            expected=View((text("Heads."),), "stop", T, others=(OtherChoice((text("Tails"),), "length"),)),
            about="candidateCount = 2",
        ),
        scenario(
            "gemini-logprobs",
            Text(("He", "llo"), logprobs=True),
            U,
            Finish(),
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
        scenario(
            "gemini-code",
            Text("I compute."),
            Native("gemini", _CODE),
            Native("gemini", _RESULT),
            Text("It is 42."),
            U,
            Finish(),
            expected=says(
                text("I compute."),
                Block("unknown", _CODE, name="executableCode"),
                Block("unknown", _RESULT, name="codeExecutionResult"),
                text("It is 42."),
            ),
            about="code that the provider runs",
        ),
        scenario(
            "gemini-image",
            Text("A plot:"),
            Native("gemini", _PLOT),
            U,
            Finish(),
            expected=says(text("A plot:"), Block("unknown", _PLOT, name="inlineData")),
            about="an image in the answer",
        ),
        scenario(
            "gemini-malformed-call",
            U,
            Finish(word="MALFORMED_FUNCTION_CALL"),
            regular=False,
            expected=View(error=Trouble("unavailable")),
            about="the model wrote a call that cannot be read, and there is no answer",
        ),
        scenario(
            "gemini-no-finish",
            Text(HELLO),
            U,
            Cut(),
            unary=False,
            expected=View((text(HELLO),), error=Trouble("cut")),
            about="all chunks but the last",
        ),
        scenario(
            "gemini-error-line-by-line",
            Text(("Once ",)),
            RawFrame(_ARRAY_ERROR),
            regular=False,
            unary=False,
            expected=View((text("Once "),), error=Trouble("overloaded", "Overloaded")),
            about="an error within a stream, without `data:`, over several lines",
        ),
        scenario(
            "gemini-error-midway",
            Text(("Once upon ", ErrorEvent("rate_limit", "Resource has been exhausted."))),
            unary=False,
            expected=View((text("Once upon "),), error=Trouble("rate_limit", "Resource has been exhausted.")),
        ),
    )
)
