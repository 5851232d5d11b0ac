"""Pictures, speech, transcription and moderation: routed by model, passed through, with the OpenAI SDK as judge."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from dragoman.testing import ScriptedUpstream, ThreadedUpstream
from tests import files
from tests.gateway.talking import JSON, Reports, say, streaming
from tests.serving import Served, serving
from tests.wire.test_multipart import values

KEY = "gw-key-0123456789"
SHOWN = ("authorization", f"Bearer {KEY}")
SOUND = bytes(range(256)) * 200
PICTURE = {
    "created": 1,
    "data": [{"b64_json": files.text_of(files.png())}],
    "usage": {
        "input_tokens": 9,
        "output_tokens": 40,
        "total_tokens": 49,
        "input_tokens_details": {"text_tokens": 9, "image_tokens": 0, "cached_tokens": 4},
    },
}
DELTAS = (
    b'data: {"type":"transcript.text.delta","delta":"Hel"}\n\n'
    b'data: {"type":"transcript.text.delta","delta":"lo"}\n\n'
    b'data: {"type":"transcript.text.done","text":"Hello",'
    b'"usage":{"type":"tokens","input_tokens":14,"output_tokens":2,"total_tokens":16}}\n\n'
)
HEARD = {"text": "Hello", "usage": {"type": "duration", "seconds": 3}}
MODERATION = {"id": "modr-1", "model": "omni", "results": []}


@pytest.fixture(scope="module")
def scripted() -> Iterator[ThreadedUpstream]:
    with ScriptedUpstream.in_thread() as server:
        plain = [("content-type", "application/json"), ("x-request-id", "req_theirs")]
        # The first path that fits answers, so the particular ones come first.
        limited = {"error": {"message": "slow down", "type": "requests", "param": None, "code": "rate_limit_exceeded"}}
        for path in ("/busy/images/generations", "/busy/images/edits"):
            server.on(path, 429, json.dumps(limited).encode(), [*plain, ("retry-after", "7")])
        wrong = {"error": {"message": "no such size", "type": "invalid_request_error", "param": "size", "code": None}}
        server.on("/picky/images/generations", 400, json.dumps(wrong).encode(), plain)
        server.on("/streams/audio/transcriptions", 200, DELTAS, [("content-type", "text/event-stream")])
        for path in ("/images/generations", "/images/edits", "/images/variations"):
            server.on(path, 200, json.dumps(PICTURE).encode(), plain)
        server.on("/audio/speech", 200, SOUND, [("content-type", "audio/mpeg"), ("x-request-id", "req_theirs")])
        server.on("/audio/transcriptions", 200, json.dumps(HEARD).encode(), plain)
        server.on("/audio/translations", 200, b"1\n00:00:00,000 --> 00:00:01,000\nHello\n", [("content-type", "text/plain")])
        server.on("/moderations", 200, json.dumps(MODERATION).encode(), plain)
        yield server


@pytest.fixture(scope="module")
def gateway(scripted: ThreadedUpstream) -> Iterator[Served]:
    def provider(path: str = "v1", **more: Any) -> dict[str, Any]:
        return {"dialect": "chat", "base_url": f"{scripted.url}/{path}", "api_key": "sk-upstream-0123", **more}

    config = {
        "keys": [KEY],
        "providers": {
            "openai": {"base_url": f"{scripted.url}/v1", "api_key": "sk-upstream-0123"},
            "other": provider(),
            "busy": provider("busy"),
            "picky": provider("picky"),
            "streams": provider("streams"),
            "claude": {"dialect": "messages", "base_url": scripted.url, "api_key": "sk-upstream-0123"},
        },
        "models": {"painter": ["busy/paint", "claude/paint", "other/real-painter"], "ears": "other/whisper-large"},
    }
    with serving(config) as served:
        yield served


@pytest.fixture(scope="module")
def reports(gateway: Served) -> Reports:
    return Reports(gateway)


@pytest.fixture
def client(gateway: Served) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=gateway.base, api_key=KEY, max_retries=0) as made:
        yield made


def test_pictures_are_made(client: openai.OpenAI, scripted: ThreadedUpstream, reports: Reports) -> None:
    answer = client.images.with_raw_response.generate(model="gpt-image-2", prompt="A boat")
    picture = answer.parse()
    assert picture.data
    assert picture.data[0].b64_json == files.text_of(files.png())
    assert picture.usage
    request = scripted.requests[-1]
    assert (request.target, request.json) == ("/v1/images/generations", {"model": "gpt-image-2", "prompt": "A boat"})
    assert request.header("authorization") == "Bearer sk-upstream-0123"
    assert answer.headers["x-request-id"] == "req_theirs"
    usage = reports.of(answer.headers["x-dragoman-request-id"]).usage
    assert usage
    assert (usage.input, usage.cache_read, usage.output) == (5, 4, 40)


def test_a_chain_is_tried_and_its_targets_have_their_own_names(
    client: openai.OpenAI, scripted: ThreadedUpstream, reports: Reports
) -> None:
    answer = client.images.with_raw_response.generate(model="painter", prompt="A boat", size="1024x1024")
    assert answer.parse().data
    assert scripted.requests[-1].json == {"prompt": "A boat", "model": "real-painter", "size": "1024x1024"}
    # The one in the middle does not speak OpenAI's API, and is not asked.
    assert [request.target for request in scripted.requests[-2:]] == ["/busy/images/generations", "/v1/images/generations"]
    assert answer.headers["x-dragoman-attempts"] == "3"
    assert reports.of(answer.headers["x-dragoman-request-id"]).provider == "other"


def test_a_picture_is_changed_by_a_form_of_which_only_the_model_changes(
    client: openai.OpenAI, scripted: ThreadedUpstream
) -> None:
    client.images.edit(model="painter", image=("boat.png", files.png(), "image/png"), prompt="Bluer: \r\n--x")
    first, last = scripted.requests[-2:]
    boundary = (last.header("content-type") or "").partition("boundary=")[2].encode()
    sent = values(last.body, boundary)
    assert sent["model"] == b"real-painter"
    assert sent["image"] == files.png()
    assert sent["prompt"] == b"Bluer: \r\n--x"
    assert first.target == "/busy/images/edits"
    assert last.body == first.body.replace(b"\r\npaint\r\n", b"\r\nreal-painter\r\n")


def test_a_form_without_a_model_goes_where_such_requests_go(client: openai.OpenAI, scripted: ThreadedUpstream) -> None:
    retired: Any = client.images
    with pytest.warns(DeprecationWarning, match="deprecated"):
        retired.create_variation(image=files.png())
    request = scripted.requests[-1]
    boundary = (request.header("content-type") or "").partition("boundary=")[2].encode()
    assert (request.target, "model" in values(request.body, boundary)) == ("/v1/images/variations", False)
    client.moderations.create(input="I will find you")
    assert scripted.requests[-1].json == {"input": "I will find you"}


def test_speech_comes_as_it_is(client: openai.OpenAI, scripted: ThreadedUpstream) -> None:
    with client.audio.speech.with_streaming_response.create(model="tts-1-hd", voice="alloy", input="Hello") as answer:
        assert answer.headers["content-type"] == "audio/mpeg"
        assert answer.read() == SOUND
    assert scripted.requests[-1].json["model"] == "tts-1-hd"


def test_speech_is_heard_while_it_is_made(gateway: Served) -> None:
    body = json.dumps({"model": "gpt-4o-mini-tts", "voice": "alloy", "input": "Hello"}).encode()
    with streaming(gateway, "POST", "/audio/speech", [JSON, SHOWN], body) as stream:
        assert stream.until(SOUND[:1000])
        assert stream.rest().body == SOUND


def test_recordings_are_written_down(client: openai.OpenAI, scripted: ThreadedUpstream, reports: Reports) -> None:
    answer = client.audio.transcriptions.with_raw_response.create(model="ears", file=("a.wav", files.WAV + SOUND, "audio/wav"))
    assert answer.parse().text == "Hello"
    request = scripted.requests[-1]
    boundary = (request.header("content-type") or "").partition("boundary=")[2].encode()
    sent = values(request.body, boundary)
    assert (sent["model"], sent["file"]) == (b"whisper-large", files.WAV + SOUND)
    assert reports.of(answer.headers["x-dragoman-request-id"]).usage is None
    retired: Any = client.audio.translations
    with pytest.warns(DeprecationWarning, match="deprecated"):
        told = retired.create(model="whisper-1", file=files.WAV, response_format="srt")
    assert "Hello" in str(told)


def test_a_transcription_streams(client: openai.OpenAI, reports: Reports) -> None:
    stream = client.audio.transcriptions.create(model="streams/gpt-4o-transcribe", file=files.WAV, stream=True)
    events = list(stream)
    assert [event.type for event in events] == ["transcript.text.delta"] * 2 + ["transcript.text.done"]
    usage = reports.of(stream.response.headers["x-dragoman-request-id"]).usage
    assert usage
    assert (usage.input, usage.output) == (14, 2)


def test_errors_are_the_providers_own(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="no such size") as caught:
        client.images.generate(model="picky/p", prompt="x", size="1x1")  # type: ignore[call-overload]
    assert caught.value.param == "size"
    with pytest.raises(openai.RateLimitError) as limited:
        client.images.generate(model="busy/p", prompt="x")
    assert limited.value.response.headers["retry-after"] == "7"
    with pytest.raises(openai.NotFoundError, match="has no /images/generations"):
        client.images.generate(model="claude/p", prompt="x")


@pytest.mark.parametrize(
    ("path", "content_type", "body", "why"),
    [
        ("/v1/audio/speech", "application/json", b'{"input": "x"}', "the name of a model is required"),
        ("/v1/audio/transcriptions", "multipart/form-data", b"x", "names no boundary"),
        ("/v1/audio/transcriptions", "multipart/form-data; boundary=B", b"x", "its boundary is nowhere in it"),
        ("/v1/images/generations", "application/json", b"{", "not a valid JSON object"),
    ],
)
def test_what_cannot_be_routed_says_why(gateway: Served, path: str, content_type: str, body: bytes, why: str) -> None:
    said = say(gateway, "POST", path, [("content-type", content_type), SHOWN], body)
    assert (said.status, why in said.message) == (400, True)


def test_a_key_of_the_gateway_is_asked_for(gateway: Served) -> None:
    for path in ("/v1/moderations", "/v1/audio/speech"):
        assert say(gateway, "POST", path, [JSON], b'{"model": "tts-1"}').status == 401
        assert say(gateway, "GET", path, [SHOWN]).status == 405
        assert say(gateway, "POST", f"/v1/explain{path}", [JSON, SHOWN], b'{"model": "tts-1"}').status == 404
