"""The official SDK judges: what it sends is decoded, and what is encoded it parses, whole and streamed, over a socket."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from google import genai
from google.genai import errors, types

from dragoman.dialects.base import ModelCard, Reply, Target
from dragoman.dialects.chat import CHAT
from dragoman.dialects.gemini import GEMINI, tokens
from dragoman.dialects.gemini.paths import locate
from dragoman.dialects.gemini.stream_encoder import PING
from dragoman.errors import UpstreamRefused
from dragoman.ir.events import Event, Fault, fold, unfold
from dragoman.ir.losses import Ledger
from dragoman.ir.profile import Profile
from dragoman.ir.request import ReasoningAsk, Request, ToolCall
from dragoman.testing import SCENARIOS, VOICES, Ask, Scenario, ScriptedUpstream, View, scenarios_for
from dragoman.wire.sse import SseParser

WAIT_MS = 20_000
SLOW = {"text-long", "tools-large-arguments", "endless-10k"}
BOTH = [pytest.param(False, id="whole"), pytest.param(True, id="streamed")]


def client_for(url: str) -> genai.Client:
    return genai.Client(api_key="test", http_options=types.HttpOptions(base_url=url, timeout=WAIT_MS))


def said(chunks: list[types.GenerateContentResponse]) -> tuple[str, str, list[tuple[str | None, Any]], str | None]:
    """Text, thoughts, calls and finish, as a program that uses the SDK sees them."""
    text, thoughts, finish = "", "", None
    calls: list[tuple[str | None, Any]] = []
    for chunk in chunks:
        for candidate in chunk.candidates or []:
            if candidate.index:
                continue
            for part in (candidate.content.parts if candidate.content else None) or []:
                if part.text and part.thought:
                    thoughts += part.text
                elif part.text:
                    text += part.text
                if part.function_call:
                    calls.append((part.function_call.name, part.function_call.args))
            finish = candidate.finish_reason or finish
    return text, thoughts, calls, finish.value if finish else None


def expected_of(view: View) -> tuple[str, str, list[tuple[str | None, Any]]]:
    thoughts = "".join(block.value for block in view.blocks if block.kind == "thinking")
    return view.text, thoughts, [(block.name, block.value) for block in view.calls]


# ---------------------------------------------------------------- the kit's voice, judged


@pytest.fixture(scope="module")
def upstream() -> Iterator[tuple[ScriptedUpstream, genai.Client]]:
    with ScriptedUpstream.in_thread(split="bytes:17") as served:
        served.open_gate()
        with client_for(served.url) as client:
            yield served, client  # pyright: ignore[reportReturnType]


def judged(*, fails: bool) -> list[Any]:
    return [
        pytest.param(one, id=one.name)
        for one in scenarios_for("gemini", regular=True)
        if one.expected is not None and (one.expected.error is not None) == fails and one.name not in SLOW
    ]


@pytest.mark.parametrize("stream", BOTH)
@pytest.mark.parametrize("one", judged(fails=False))
def test_the_sdk_reads_the_scripted_upstream_as_the_oracle_says(upstream: Any, one: Scenario, stream: bool) -> None:
    if not (stream or one.unary):
        return
    _, client = upstream
    assert one.expected is not None
    if stream:
        chunks = list(client.models.generate_content_stream(model=f"scenario:{one.name}", contents="hi"))
    else:
        chunks = [client.models.generate_content(model=f"scenario:{one.name}", contents="hi")]
    text, thoughts, calls, finish = said(chunks)
    if one.expected.finish == "refusal":
        feedback = chunks[-1].prompt_feedback
        assert feedback is not None
        assert feedback.block_reason_message == one.expected.blocks[0].value
        return
    assert (text, thoughts, calls) == expected_of(one.expected)
    assert finish is not None


@pytest.mark.parametrize("one", [case for case in judged(fails=True) if case.values[0].expected.error.status])
def test_the_sdk_sees_the_scripted_upstreams_errors(upstream: Any, one: Scenario) -> None:
    _, client = upstream
    assert one.expected is not None
    assert one.expected.error is not None
    with pytest.raises(errors.APIError) as raised:
        client.models.generate_content(model=f"scenario:{one.name}", contents="hi")
    assert raised.value.code == one.expected.error.status


# ---------------------------------------------------------------- what is encoded, judged


class _Served:
    """One answer for every request, and the requests."""

    def __init__(self) -> None:
        self.body = b""
        self.status = 200
        self.content_type = "application/json"
        self.requests: list[tuple[str, bytes]] = []


@contextmanager
def serving() -> Generator[tuple[_Served, genai.Client], None, None]:
    served = _Served()

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            length = int(self.headers.get("content-length", 0))
            served.requests.append((self.path, self.rfile.read(length)))
            self.send_response(served.status)
            self.send_header("content-type", served.content_type)
            self.send_header("content-length", str(len(served.body)))
            self.end_headers()
            self.wfile.write(served.body)

        do_POST = do_GET = _answer  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        with client_for(f"http://127.0.0.1:{server.server_port}") as client:
            yield served, client
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[_Served, genai.Client]]:
    with serving() as pair:
        yield pair


def reply() -> Reply:
    request = Request(model="m", dialect="gemini", stream=True, reasoning=ReasoningAsk(display="summarized"))
    return Reply(request, "m", 1_700_000_000, "fallback", 7, "upstream", Ledger())


def events_of(scenario: Scenario) -> list[Event]:
    """What a Chat provider's answer is in the hub."""
    rendered = VOICES["chat"].render(scenario, Ask())
    parser, decoder = SseParser(), CHAT.stream_decoder("upstream")
    frames = [*parser.feed(rendered.body), *parser.end()]
    return [event for frame in frames for event in decoder.feed(frame)] + decoder.end()


def encoded(events: list[Event]) -> bytes:
    encoder = GEMINI.stream_encoder(reply())
    return b"".join(encoder.feed(event) + (PING if number % 3 == 0 else b"") for number, event in enumerate(events))


CHAT_CASES = [
    pytest.param(one, id=one.name)
    for one in scenarios_for("chat")
    if one.expected is not None and one.expected.error is None and one.name not in SLOW
    and VOICES["chat"].render(one, Ask()).status == 200 and not any(not block.whole for block in one.expected.blocks)
]  # fmt: skip


@pytest.mark.parametrize("stream", BOTH)
@pytest.mark.parametrize("one", CHAT_CASES)
def test_the_sdk_reads_what_is_encoded_for_it(server: tuple[_Served, genai.Client], one: Scenario, stream: bool) -> None:
    served, client = server
    events = events_of(one)
    assert one.expected is not None
    served.status = 200
    if stream:
        served.body, served.content_type = encoded(events), "text/event-stream"
        chunks = list(client.models.generate_content_stream(model="m", contents="hi"))
    else:
        served.body, served.content_type = GEMINI.encode_response(fold(events), reply()), "application/json"
        chunks = [client.models.generate_content(model="m", contents="hi")]
    text, thoughts, calls, finish = said(chunks)
    wanted, wanted_thoughts, wanted_calls = expected_of(one.expected)
    refusal = "".join(block.value for block in one.expected.blocks if block.kind == "refusal")
    custom = {block.name for block in one.expected.blocks if block.kind == "custom_tool_call"}
    assert text == wanted + refusal
    assert thoughts == wanted_thoughts
    assert [(name, {"input": value} if name in custom else value) for name, value in wanted_calls] == calls
    assert finish is not None
    assert all(chunk.response_id and chunk.model_version for chunk in chunks)
    usage = chunks[-1].usage_metadata
    assert usage is not None
    if one.expected.tokens is not None:
        tokens_ = one.expected.tokens
        assert usage.prompt_token_count == tokens_.input + tokens_.cache_read + tokens_.cache_write
        assert (usage.candidates_token_count or 0) + (usage.thoughts_token_count or 0) == tokens_.output + tokens_.reasoning


def test_the_sdk_raises_an_error_within_a_stream(server: tuple[_Served, genai.Client]) -> None:
    served, client = server
    head = events_of(SCENARIOS["text"])[:3]
    error = UpstreamRefused("The engine is overloaded.", category="overloaded", retry_after=2)
    served.status, served.body, served.content_type = 200, encoded([*head, Fault(error)]), "text/event-stream"
    heard: list[Any] = []
    with pytest.raises(errors.ServerError) as raised:
        heard.extend(client.models.generate_content_stream(model="m", contents="hi"))
    assert (raised.value.code, raised.value.status, raised.value.message) == (503, "UNAVAILABLE", "The engine is overloaded.")


def test_the_sdk_raises_an_error_with_a_status(server: tuple[_Served, genai.Client]) -> None:
    served, client = server
    told = GEMINI.encode_error(UpstreamRefused("Slow down.", status=429, category="rate_limit", retry_after=1.5), "req_1")
    served.status, served.body, served.content_type = told.status, told.body, "application/json"
    with pytest.raises(errors.ClientError) as raised:
        client.models.generate_content(model="m", contents="hi")
    assert (raised.value.code, raised.value.status, raised.value.message) == (429, "RESOURCE_EXHAUSTED", "Slow down.")
    details: Any = raised.value.details
    assert details["error"]["details"][0]["retryDelay"] == "1.5s"


def test_a_chat_of_the_sdk_remembers_a_streamed_call_and_replays_it_signed(server: tuple[_Served, genai.Client]) -> None:
    served, client = server
    served.status, served.body, served.content_type = (
        200,
        encoded(events_of(SCENARIOS["tools-between-texts"])),
        "text/event-stream",
    )
    chat = client.chats.create(model="m")
    for _ in chat.send_message_stream("weather?"):
        pass
    served.body = GEMINI.encode_response(fold(events_of(SCENARIOS["text"])), reply())
    served.content_type = "application/json"
    chat.send_message(types.Part.from_function_response(name="get_weather", response={"output": "21 °C"}))
    path, body = served.requests[-1]
    located = locate(path.partition("?")[0])
    assert located is not None
    assert (located.model, located.verb) == ("m", "generateContent")
    request = GEMINI.decode_request(body)
    assert [message.role for message in request.messages] == ["user", "assistant", "user"]
    kinds = [type(part).__name__ for part in request.messages[1].parts]
    assert kinds == ["Reasoning", "Text", "ToolCall", "Text"]
    call = request.messages[1].parts[2]
    assert isinstance(call, ToolCall)
    assert request.messages[2].parts[0].call_id == call.id  # pyright: ignore[reportAttributeAccessIssue]


def test_the_sdk_reads_model_lists_and_counts(server: tuple[_Served, genai.Client]) -> None:
    served, client = server
    served.status, served.content_type = 200, "application/json"
    cards = [
        ModelCard(id="a", display_name="A", owner="o", context=1000),
        ModelCard(id="b", display_name="B", owner="o"),
    ]
    served.body = GEMINI.encode_models(cards, {"pageSize": "1000"})
    listed = list(client.models.list())
    assert [(m.name, m.display_name, m.input_token_limit) for m in listed] == [("models/a", "A", 1000), ("models/b", "B", None)]
    served.body = GEMINI.encode_model(cards[0])
    assert client.models.get(model="a").supported_actions == ["generateContent", "streamGenerateContent", "countTokens"]
    served.body = tokens.encode_counted(42)
    assert client.models.count_tokens(model="a", contents="hi").total_tokens == 42


# ---------------------------------------------------------------- what it sends, decoded


def test_what_the_sdk_sends_is_decoded(server: tuple[_Served, genai.Client]) -> None:
    served, client = server
    served.status, served.content_type = 200, "application/json"
    served.body = GEMINI.encode_response(fold(events_of(SCENARIOS["text"])), reply())
    image = bytes(range(250, 256)) * 5
    config = types.GenerateContentConfig(
        system_instruction="Be brief.",
        temperature=0.5,
        top_k=40,
        max_output_tokens=100,
        stop_sequences=["END"],
        thinking_config=types.ThinkingConfig(include_thoughts=True, thinking_level=types.ThinkingLevel.LOW),
        tools=[types.Tool(function_declarations=[
            types.FunctionDeclaration(name="f", description="d", parameters_json_schema={"type": "object", "$comment": "c"})
        ])],
    )  # fmt: skip
    contents: Any = [types.Part.from_bytes(data=image, mime_type="image/png"), "What is this?"]
    client.models.generate_content(model="models/some/model", contents=contents, config=config)
    path, body = served.requests[-1]
    located = locate(path)
    assert located is not None
    assert (located.model, located.stream) == ("some/model", False)
    request = GEMINI.decode_request(body)
    assert request.system[0].text == "Be brief."
    assert (request.sampling.temperature, request.sampling.top_k, request.max_tokens) == (0.5, 40, 100)
    assert request.stop == ["END"]
    assert request.reasoning is not None
    assert (request.reasoning.effort, request.reasoning.display) == ("low", "summarized")
    picture = request.messages[0].parts[0]
    assert picture.data == "+vv8/f7/" * 5  # pyright: ignore[reportAttributeAccessIssue]
    assert bytes(request.tools[0].schema) == b'{"type": "object", "$comment": "c"}'
    sent = GEMINI.encode_request(request, Target("m", "gemini", Profile()), Ledger())
    assert b'"thinkingLevel":"LOW"' in sent


def test_a_foreign_answer_unfolds_and_folds_for_the_sdk_alike() -> None:
    events = events_of(SCENARIOS["tools-between-texts"])
    whole = types.GenerateContentResponse.model_validate_json(GEMINI.encode_response(fold(events), reply()))
    again = encoded(unfold(fold(events)))
    chunks = [types.GenerateContentResponse.model_validate_json(frame.data) for frame in SseParser().feed(again) if frame.data]
    assert said([whole])[2:] == said(chunks)[2:]
