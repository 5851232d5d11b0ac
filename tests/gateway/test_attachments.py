"""Images, documents and sound reach each target as it takes them, or the caller learns what became of them."""

from __future__ import annotations

import base64
import json
import socket
from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest
from google import genai
from google.genai import types

from dragoman.testing import ScriptedUpstream, ThreadedUpstream
from tests import files
from tests.gateway.talking import JSON, Said, say, streaming
from tests.serving import Served, serving

PNG = files.png(3, 2)
REPORT = files.pdf(["Quarterly figures", ""])
SECRET = files.pdf(["x"], encrypted=True)
BOTH = {"messages": "/v1/messages", "chat": "/v1/chat/completions", "responses": "/v1/responses"}


@pytest.fixture(scope="module")
def scripted() -> Iterator[ThreadedUpstream]:
    with ScriptedUpstream.in_thread() as server:
        server.on("/cat.png", 200, PNG, [("content-type", "image/gif")])
        server.on("/report.pdf", 200, REPORT, [("content-type", "application/octet-stream")])
        server.on("/notes.txt", 200, "Zwölf Boxkämpfer".encode(), [("content-type", "text/plain; charset=utf-8")])
        server.on("/page.html", 200, b"<!doctype html><title>x</title>", [("content-type", "image/png")])
        server.on("/gone.png", 404)
        yield server


@pytest.fixture(scope="module")
def gateway(scripted: ThreadedUpstream) -> Iterator[Served]:
    def provider(dialect: str, **more: Any) -> dict[str, Any]:
        base = scripted.url if dialect in {"messages", "gemini"} else f"{scripted.url}/v1"
        return {"dialect": dialect, "base_url": base, "api_key": "sk-upstream-0123", **more}

    config = {
        "providers": {
            **{dialect: provider(dialect) for dialect in ("messages", "chat", "responses", "gemini")},
            "reads": provider("chat", profile={"pdfs": "none", "images": "bytes"}),
            "blind": provider("chat", profile={"pdfs": "none", "images": "none", "audio": False}),
            "small": provider("messages", profile={"image_bytes": 100, "pdf_bytes": 100}),
            "hears": provider("responses", profile={"audio": True}),
        },
        "models": {
            "listener": {"targets": ["chat/m"], "input": ["text", "audio"]},
            "unfit-then-fit": ["small/m", "chat/m"],
            "both-fetch": ["reads/one", "gemini/two"],
            "fetched-or-linked": ["gemini/one", "messages/two"],
        },
        "fetch": {"allow_private": True, "timeout": 5},
    }
    with serving(config) as served:
        yield served


def image(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


def chat(gateway: Served, model: str, *parts: dict[str, Any], strict: bool = False) -> Said:
    body = {"model": model, "messages": [{"role": "user", "content": [{"type": "text", "text": "Look."}, *parts]}]}
    headers = [JSON, *([("x-dragoman-strict", "true")] if strict else [])]
    return say(gateway, "POST", BOTH["chat"], headers, json.dumps(body).encode())


def claude(gateway: Served, model: str, *blocks: dict[str, Any], strict: bool = False) -> Said:
    body = {"model": model, "max_tokens": 99, "messages": [{"role": "user", "content": list(blocks)}]}
    headers = [JSON, *([("x-dragoman-strict", "true")] if strict else [])]
    return say(gateway, "POST", BOTH["messages"], headers, json.dumps(body).encode())


def block(kind: str, media_type: str, data: bytes) -> dict[str, Any]:
    return {"type": kind, "source": {"type": "base64", "media_type": media_type, "data": files.text_of(data)}}


def heard(scripted: ThreadedUpstream) -> Any:
    """The body of the last request that was not for a file."""
    return next(request.json for request in reversed(scripted.requests) if request.method == "POST")


def parts(scripted: ThreadedUpstream) -> list[dict[str, Any]]:
    body = heard(scripted)
    if "contents" in body:
        return body["contents"][-1]["parts"]
    turn = (body.get("messages") or body["input"])[-1]
    content = turn["content"]
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def hits(scripted: ThreadedUpstream, path: str) -> int:
    return sum(request.path == path for request in scripted.requests)


# ---------------------------------------------------------------- by URL


def test_a_url_goes_to_whom_takes_urls(gateway: Served, scripted: ThreadedUpstream) -> None:
    url = f"{scripted.url}/cat.png"
    before = hits(scripted, "/cat.png")
    assert chat(gateway, "messages/m", image(url)).status == 200
    assert parts(scripted)[-1] == {"type": "image", "source": {"type": "url", "url": url}}
    assert chat(gateway, "responses/m", image(url)).status == 200
    assert parts(scripted)[-1]["image_url"] == url
    assert hits(scripted, "/cat.png") == before


def test_an_openai_client_shows_gemini_a_picture_by_url(gateway: Served, scripted: ThreadedUpstream) -> None:
    with openai.OpenAI(base_url=gateway.base, api_key="x", max_retries=0) as client:
        content: Any = [{"type": "text", "text": "Look."}, image(f"{scripted.url}/cat.png")]
        client.chat.completions.create(model="gemini/m", messages=[{"role": "user", "content": content}])
    # Its server says GIF; its bytes do not.
    assert parts(scripted)[-1] == {"inlineData": {"mimeType": "image/png", "data": files.text_of(PNG)}}


def test_an_anthropic_client_shows_gemini_a_picture_within_a_result(gateway: Served, scripted: ThreadedUpstream) -> None:
    source: Any = {"type": "url", "url": f"{scripted.url}/cat.png"}
    shown = {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "image", "source": source}]}
    messages: Any = [
        {"role": "user", "content": "Look."},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "look", "input": {}}]},
        {"role": "user", "content": [shown]},
    ]
    with anthropic.Anthropic(base_url=gateway.url, api_key="x", max_retries=0) as client:
        client.messages.create(model="gemini/m", max_tokens=9, messages=messages)
    assert files.text_of(PNG) in json.dumps(heard(scripted))
    assert "cat.png" not in json.dumps(heard(scripted))


@pytest.mark.parametrize("upstream", ["chat", "responses", "gemini"])
@pytest.mark.parametrize("by_url", [False, True])
def test_a_picture_within_a_result_is_seen_by_every_target(
    gateway: Served, scripted: ThreadedUpstream, upstream: str, by_url: bool
) -> None:
    url = f"{scripted.url}/cat.png"
    source = {"type": "url", "url": url} if by_url else block("image", "image/png", PNG)["source"]
    results = [
        {"type": "tool_result", "tool_use_id": f"t{number}", "content": [{"type": "image", "source": source}]}
        for number in (1, 2)
    ]
    calls = [{"type": "tool_use", "id": f"t{number}", "name": "look", "input": {}} for number in (1, 2)]
    turns = [
        {"role": "user", "content": "Look."},
        {"role": "assistant", "content": calls},
        {"role": "user", "content": results},
    ]
    body = {"model": f"{upstream}/m", "max_tokens": 99, "messages": turns}
    said = say(gateway, "POST", BOTH["messages"], [JSON], json.dumps(body).encode())
    assert said.status == 200
    sent = json.dumps(heard(scripted))
    taken = url if by_url and upstream != "gemini" else files.text_of(PNG)
    assert sent.count(taken) == 2
    # Each call has its result, whatever became of what was in it.
    for number in (1, 2):
        assert sent.count(f"t{number}") >= 2
    assert "lost" not in (said.header("x-dragoman-losses") or "")


def test_what_is_fetched_is_fetched_once_for_all_targets(gateway: Served, scripted: ThreadedUpstream) -> None:
    scripted.script("http-503")
    before = hits(scripted, "/cat.png")
    url = f"{scripted.url}/cat.png"
    assert chat(gateway, "both-fetch", image(url), image(url)).status == 200
    assert hits(scripted, "/cat.png") == before + 1
    assert [part["inlineData"]["mimeType"] for part in parts(scripted)[1:]] == ["image/png"] * 2


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize(
    ("path", "why"),
    [("/gone.png", "status 404"), ("/page.html", "is text/html, not an image"), ("/notes.txt", "not an image")],
)
def test_a_link_that_leads_to_no_picture_is_a_400_that_names_it(
    gateway: Served, scripted: ThreadedUpstream, path: str, why: str, strict: bool
) -> None:
    said = chat(gateway, "gemini/m", image(f"{scripted.url}{path}?token=secret"), strict=strict)
    assert said.status == 400
    assert said.message.startswith("messages[0].content[1]: ")
    assert path in said.message
    assert why in said.message
    assert "secret" not in said.message
    assert said.json["error"]["param"] == "messages[0].content[1]"


def test_links_inside_are_refused_unless_the_configuration_lets_them_through(scripted: ThreadedUpstream) -> None:
    provider = {"dialect": "gemini", "base_url": scripted.url, "api_key": "sk-upstream-0123"}
    with serving({"providers": {"gemini": provider}}) as closed:
        before = hits(scripted, "/cat.png")
        said = chat(closed, "gemini/m", image(f"{scripted.url}/cat.png"))
        assert (said.status, hits(scripted, "/cat.png")) == (400, before)
        assert "its address is private" in said.message
        said = chat(closed, "gemini/m", image("http://169.254.169.254/latest/meta-data/iam/"))
        assert (said.status, "cannot be fetched" in said.message) == (400, True)
    with serving({"providers": {"gemini": provider}, "fetch": {"allow_hosts": ["127.0.0.1"]}}) as allowed:
        assert chat(allowed, "gemini/m", image(f"{scripted.url}/cat.png")).status == 200
    with serving({"providers": {"gemini": provider}, "fetch": False}) as off:
        assert "is not fetched by this gateway" in chat(off, "gemini/m", image(f"{scripted.url}/cat.png")).message


# ---------------------------------------------------------------- PDF documents


def test_a_pdf_goes_as_it_is_to_whom_takes_it(gateway: Served, scripted: ThreadedUpstream) -> None:
    pdf = block("document", "application/pdf", REPORT)
    for model, where in (("chat/m", "file"), ("responses/m", "input_file"), ("gemini/m", "inlineData")):
        said = claude(gateway, model, pdf)
        assert (said.status, said.header("x-dragoman-losses")) == (200, None)
        assert where in json.dumps(parts(scripted))
        assert files.text_of(REPORT) in json.dumps(parts(scripted))


def test_a_pdf_is_told_as_its_text_and_pictures_where_it_is_not_taken(gateway: Served, scripted: ThreadedUpstream) -> None:
    file = {"type": "file", "file": {"filename": "q3.pdf", "file_data": files.data_url(REPORT, "application/pdf")}}
    said = claude(gateway, "reads/m", {**block("document", "application/pdf", REPORT), "title": "q3.pdf"})
    assert said.header("x-dragoman-losses") == "1; messages[0].content[0] degraded"
    text, heading, picture = parts(scripted)
    assert text == {"type": "text", "text": "[document: q3.pdf, 2 pages]\n\n[page 1]\nQuarterly figures"}
    assert heading["text"] == "[page 2, as a picture]"
    assert base64.b64decode(picture["image_url"]["url"].removeprefix("data:image/jpeg;base64,")).startswith(b"\xff\xd8")
    # One of its own dialect would go verbatim, so nothing is read there.
    assert chat(gateway, "reads/m", file).header("x-dragoman-losses") is None


def test_a_pdf_by_url_is_fetched_for_whom_takes_none_by_url(gateway: Served, scripted: ThreadedUpstream) -> None:
    source = {"type": "document", "source": {"type": "url", "url": f"{scripted.url}/report.pdf"}}
    assert claude(gateway, "chat/m", source).status == 200
    assert parts(scripted)[-1]["file"]["file_data"] == files.data_url(REPORT, "application/pdf")
    assert claude(gateway, "blind/m", source).status == 200
    assert "Quarterly figures" in parts(scripted)[0]["text"]
    before = hits(scripted, "/report.pdf")
    assert claude(gateway, "responses/m", source).status == 200
    assert parts(scripted)[-1]["file_url"] == f"{scripted.url}/report.pdf"
    assert hits(scripted, "/report.pdf") == before


def test_strictness_refuses_a_pdf_that_would_be_told_as_text(gateway: Served) -> None:
    said = claude(gateway, "blind/m", block("document", "application/pdf", REPORT), strict=True)
    assert said.status == 400
    assert "messages[0].content[0]: a PDF of 2 pages is told as its text" in said.message


@pytest.mark.parametrize(("data", "why"), [(SECRET, "is encrypted"), (b"%PDF-1.4 and no more", "it is broken")])
def test_a_pdf_that_cannot_be_read_is_a_400(gateway: Served, data: bytes, why: str) -> None:
    said = claude(gateway, "reads/m", block("document", "application/pdf", data))
    assert said.status == 400
    assert said.message.startswith("messages[0].content[0]: this ")
    assert why in said.message


def test_without_a_reader_the_loss_says_so(scripted: ThreadedUpstream) -> None:
    provider = {"dialect": "chat", "base_url": f"{scripted.url}/v1", "api_key": "sk-x", "profile": {"pdfs": "none"}}
    with serving({"providers": {"chat": provider}, "documents": False}) as served:
        said = claude(served, "chat/m", block("document", "application/pdf", REPORT))
        assert said.header("x-dragoman-losses") == "1; messages[0].content[0] lost"
        assert parts(scripted)[-1]["text"] == "[document omitted]"


def test_a_document_that_is_text_goes_as_text(gateway: Served, scripted: ThreadedUpstream) -> None:
    csv = "a;b\n1;ü\n"
    body = {
        "model": "messages/m",
        "input": [
            {
                "role": "user",
                "content": [
                    {"type": "input_file", "filename": "t.csv", "file_data": files.data_url(csv.encode(), "text/csv")},
                    {"type": "input_file", "file_url": f"{scripted.url}/notes.txt"},
                    {"type": "input_text", "text": "Sum it."},
                ],
            }
        ],
    }
    said = say(gateway, "POST", BOTH["responses"], [JSON], json.dumps(body).encode())
    assert said.status == 200
    first = parts(scripted)[0]
    assert (first["title"], first["source"]) == ("t.csv", {"type": "text", "media_type": "text/plain", "data": csv})
    body["model"] = "gemini/m"
    assert say(gateway, "POST", BOTH["responses"], [JSON], json.dumps(body).encode()).status == 200
    assert [part["text"] for part in parts(scripted)][:2] == ["[document: t.csv]\n\n" + csv, "Zwölf Boxkämpfer"]
    file = {"type": "file", "file": {"filename": "t.md", "file_data": files.data_url(b"\xff\xfe\xff", "text/markdown")}}
    said = chat(gateway, "messages/m", file)
    assert (said.status, "must be text in UTF-8" in said.message) == (400, True)


# ---------------------------------------------------------------- checked before it is sent


def test_a_picture_is_called_what_it_is(gateway: Served, scripted: ThreadedUpstream) -> None:
    for data, media_type in ((PNG, "image/png"), (files.JPEG, "image/jpeg"), (files.WEBP, "image/webp")):
        said = chat(gateway, "messages/m", image(files.data_url(data, "image/gif")))
        assert (said.status, said.header("x-dragoman-losses")) == (200, None)
        assert parts(scripted)[-1]["source"] == {"type": "base64", "media_type": media_type, "data": files.text_of(data)}


@pytest.mark.parametrize("upstream", ["chat", "responses", "gemini"])
def test_a_data_url_where_others_have_a_link_is_the_thing_itself(
    gateway: Served, scripted: ThreadedUpstream, upstream: str
) -> None:
    picture = {"type": "image", "source": {"type": "url", "url": files.data_url(PNG, "image/jpeg")}}
    assert claude(gateway, f"{upstream}/m", picture).status == 200
    assert f"image/png{'' if upstream == 'gemini' else ';base64,'}" in json.dumps(parts(scripted))
    assert files.text_of(PNG) in json.dumps(parts(scripted))
    broken = {"type": "image", "source": {"type": "url", "url": "data:image/png;base64,$"}}
    assert "this is not base64" in claude(gateway, f"{upstream}/m", broken).message


def test_a_pdf_that_is_called_a_picture_is_a_document(gateway: Served, scripted: ThreadedUpstream) -> None:
    assert chat(gateway, "messages/m", image(files.data_url(REPORT, "application/pdf"))).status == 200
    assert parts(scripted)[-1]["source"]["media_type"] == "application/pdf"
    assert parts(scripted)[-1]["type"] == "document"


@pytest.mark.parametrize(
    ("model", "part", "why"),
    [
        (
            "messages/claude-opus-5-5",
            image(files.data_url(files.HEIC, "image/heic")),
            "this is image/heic, which must be converted",
        ),
        ("messages/claude-opus-5-5", image(files.data_url(files.HEIC, "image/png")), "this is image/heic"),
        ("gemini/gemini-3.8-flash", image(files.data_url(files.GIF, "image/gif")), "this is image/gif"),
        ("messages/claude-opus-5-5", image(files.data_url(files.png_head(9000, 10), "image/png")), "up to 8000 pixels a side"),
        (
            "small/m",
            image(files.data_url(files.png_head(1, 1, 101), "image/png")),
            "images of up to 100 bytes; this one has 101 bytes",
        ),
        (
            "small/m",
            {"type": "file", "file": {"file_data": files.data_url(REPORT, "application/pdf")}},
            "PDF documents of up to 100",
        ),
        ("messages/m", image(files.data_url(files.DOCX, "image/png")), "not an image"),
        ("messages/m", image(files.data_url(files.HEIC, "image/heic")), "this is image/heic"),
        ("messages/m", image("data:image/png;base64,iVBORw0K$A=="), "this is not base64: '$' at character 8"),
        ("messages/m", image("data:image/png;base64,"), "this is empty"),
        ("gemini/m", {"type": "input_audio", "input_audio": {"data": "n$", "format": "wav"}}, "this is not base64"),
        ("gemini/m", {"type": "input_audio", "input_audio": {"data": files.text_of(PNG), "format": "wav"}}, "not a sound"),
    ],
)
def test_what_the_target_would_refuse_is_refused_before(gateway: Served, model: str, part: dict[str, Any], why: str) -> None:
    said = chat(gateway, model, part)
    assert said.status == 400
    assert said.message.startswith("messages[0].content[1]: ")
    assert why in said.message


def test_too_many_pictures_are_counted_before(gateway: Served, scripted: ThreadedUpstream) -> None:
    before = len(scripted.requests)
    one = image(files.data_url(PNG, "image/png"))
    said = chat(gateway, "messages/claude-haiku-4-5", *[one] * 101)
    assert "up to 100 images in one request" in said.message
    assert said.json["error"]["param"] == "messages[0].content[101]"
    large = image(files.data_url(files.png_head(3000, 10), "image/png"))
    assert chat(gateway, "messages/claude-haiku-4-5", large).status == 200
    said = chat(gateway, "messages/claude-haiku-4-5", *[one] * 20, large)
    assert "up to 2000 pixels a side where there are 21 of them; this one has 3000 x 10" in said.message
    assert len(scripted.requests) == before + 1


def test_what_one_target_does_not_take_the_next_may(gateway: Served, scripted: ThreadedUpstream) -> None:
    said = claude(gateway, "unfit-then-fit", block("image", "image/png", files.png_head(1, 1, 200)))
    # Of the caller's own dialect, the first takes it verbatim: nothing is looked into there.
    assert (said.status, said.header("x-dragoman-attempts")) == (200, "1")
    body = {
        "contents": [
            {
                "role": "user",
                "parts": [{"inlineData": {"mimeType": "image/png", "data": files.text_of(files.png_head(1, 1, 200))}}],
            }
        ]
    }
    said = say(gateway, "POST", "/v1beta/models/unfit-then-fit:generateContent", [JSON], json.dumps(body).encode())
    assert (said.status, said.header("x-dragoman-attempts")) == (200, "2")


def test_url_safe_base64_of_googles_sdk_becomes_standard(gateway: Served, scripted: ThreadedUpstream) -> None:
    data = files.png()[:8] + bytes(range(248, 256)) * 3
    with genai.Client(api_key="x", http_options=types.HttpOptions(base_url=gateway.url)) as client:
        part = types.Part.from_bytes(data=data, mime_type="image/png")
        client.models.generate_content(model="messages/m", contents=[part, "Look."])
    assert parts(scripted)[0]["source"]["data"] == files.text_of(data)


# ---------------------------------------------------------------- where nothing is seen or heard


def test_a_model_that_sees_nothing_is_told_that_something_was_there(gateway: Served, scripted: ThreadedUpstream) -> None:
    for model in ("blind/m", "listener"):
        said = claude(gateway, model, block("image", "image/png", PNG), {"type": "text", "text": "Look."})
        assert said.header("x-dragoman-losses") == "1; messages[0].content[0] lost"
        assert parts(scripted)[0] == {"type": "text", "text": "[image omitted]"}
        assert claude(gateway, model, block("image", "image/png", PNG), strict=True).status == 400


def test_sound_goes_where_it_is_heard(gateway: Served, scripted: ThreadedUpstream) -> None:
    sound = {"type": "input_audio", "input_audio": {"data": files.text_of(files.MP3), "format": "wav"}}
    assert chat(gateway, "gemini/m", sound).status == 200
    assert parts(scripted)[-1] == {"inlineData": {"mimeType": "audio/mp3", "data": files.text_of(files.MP3)}}
    wav = {"inlineData": {"mimeType": "audio/x-wav", "data": files.text_of(files.WAV)}}
    body = json.dumps({"contents": [{"role": "user", "parts": [{"text": "Listen."}, wav]}]}).encode()
    for model, heard_there in (("chat/m", True), ("listener", True), ("blind/m", False), ("messages/m", False)):
        said = say(gateway, "POST", f"/v1beta/models/{model}:generateContent", [JSON], body)
        assert said.status == 200
        if heard_there:
            assert parts(scripted)[-1] == {
                "type": "input_audio",
                "input_audio": {"data": files.text_of(files.WAV), "format": "wav"},
            }
        else:
            assert said.header("x-dragoman-losses") == "1; contents[0].parts[1] lost"
            assert "[audio omitted]" in json.dumps(parts(scripted))


def test_a_server_of_responses_that_hears_is_told_by_its_profile(gateway: Served, scripted: ThreadedUpstream) -> None:
    inner = {"data": files.text_of(files.WAV), "format": "wav"}
    sound = {"type": "input_audio", "input_audio": inner}
    assert chat(gateway, "responses/m", sound).header("x-dragoman-losses") == "1; messages[0].content[1] lost"
    assert chat(gateway, "hears/m", sound).header("x-dragoman-losses") is None
    assert parts(scripted)[-1] == sound


def test_what_goes_verbatim_is_not_looked_into(gateway: Served, scripted: ThreadedUpstream) -> None:
    for dialect, broken in (
        ("messages", {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "$$$"}}),
        ("chat", image("http://169.254.169.254/x")),
    ):
        body = json.dumps({"model": f"{dialect}/m", "max_tokens": 9, "messages": [{"role": "user", "content": [broken]}]})
        assert say(gateway, "POST", BOTH[dialect], [JSON], body.encode()).status == 200
        assert heard(scripted)["messages"][0]["content"] == [broken]


def test_an_explanation_shows_what_would_be_sent(gateway: Served, scripted: ThreadedUpstream) -> None:
    body = {"model": "gemini/m", "messages": [{"role": "user", "content": [image(f"{scripted.url}/cat.png")]}]}
    before = sum(request.method == "POST" for request in scripted.requests)
    said = say(gateway, "POST", "/v1/explain/v1/chat/completions", [JSON], json.dumps(body).encode())
    assert said.json["targets"][0]["body"]["contents"][0]["parts"][0]["inlineData"]["data"] == files.text_of(PNG)
    assert sum(request.method == "POST" for request in scripted.requests) == before


def test_a_stream_hears_pings_while_something_is_fetched(scripted: ThreadedUpstream) -> None:
    with socket.socket() as slow:
        slow.bind(("127.0.0.1", 0))
        slow.listen(1)
        url = f"http://127.0.0.1:{slow.getsockname()[1]}/slow.png"
        provider = {"dialect": "gemini", "base_url": scripted.url, "api_key": "sk-upstream-0123"}
        config = {"providers": {"gemini": provider}, "fetch": {"allow_private": True}, "server": {"ping": "20ms"}}
        body = {"model": "gemini/m", "stream": True, "messages": [{"role": "user", "content": [image(url)]}]}
        with (
            serving(config) as served,
            streaming(served, "POST", BOTH["chat"], [JSON], json.dumps(body).encode()) as stream,
        ):
            pinged = stream.until(b"\n\n")
            assert pinged.startswith(b":")
            connection, _ = slow.accept()
            with connection:
                connection.settimeout(5)
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(PNG), PNG))
                assert b"data: [DONE]" in stream.rest().body
    assert parts(scripted)[-1] == {"inlineData": {"mimeType": "image/png", "data": files.text_of(PNG)}}


def test_a_link_that_one_target_cannot_have_fetched_goes_as_it_is_to_the_next(
    gateway: Served, scripted: ThreadedUpstream
) -> None:
    url = f"{scripted.url}/gone.png"
    said = chat(gateway, "fetched-or-linked", image(url))
    assert (said.status, said.header("x-dragoman-attempts")) == (200, "2")
    assert parts(scripted)[-1] == {"type": "image", "source": {"type": "url", "url": url}}
