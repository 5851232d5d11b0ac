"""Embeddings in both shapes, by the official SDKs, on providers of either shape and the built-in model."""

from __future__ import annotations

import asyncio
import base64
import json
import math
import struct
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from google import genai
from google.genai import errors, types

from dragoman.config import load
from dragoman.io.local import LocalModel
from dragoman.models.catalogue import catalogue
from dragoman.testing import ThreadedUpstream, vector_of
from tests.gateway.talking import JSON, Reports, Said, say
from tests.serving import Served, serving

KEY = "gw-key-0123456789"
TEXTS = ["one", "zwei", "三", "🙂 four"]
SHAPES = ("chat", "gemini", "responses")


@pytest.fixture(scope="module")
def gateway(scripted: ThreadedUpstream) -> Iterator[Served]:
    url, key = scripted.url, "sk-upstream-0123"
    bases = {"chat": f"{url}/v1", "responses": f"{url}/v1", "gemini": url, "messages": url}
    providers: dict[str, Any] = {name: {"dialect": name, "base_url": base, "api_key": key} for name, base in bases.items()}
    providers |= {
        "few": {"dialect": "chat", "base_url": f"{url}/v1", "api_key": key, "profile": {"embed_most": 3}},
        "few-gemini": {"dialect": "gemini", "base_url": url, "api_key": key, "profile": {"embed_most": 3}},
        "long": {"dialect": "chat", "base_url": f"{url}/v1", "api_key": key, "profile": {"embed_dimensions": False}},
        "plain": {"dialect": "chat", "base_url": f"{url}/v1", "api_key": key, "profile": {"embed_base64": False}},
        "gone": {"dialect": "chat", "base_url": "http://127.0.0.1:1/v1", "api_key": key},
    }
    models = {
        "chain": ["messages/m", "gone/m", "chat/scenario:http-503", "gemini/m"],
        "text-embedding-3-small": "gemini/gemini-embedding-001",
    }
    with serving({"providers": providers, "models": models, "keys": [KEY]}) as served:
        yield served


@pytest.fixture
def gpt(gateway: Served) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=gateway.base, api_key=KEY, max_retries=0) as client:
        yield client


@pytest.fixture
def google(gateway: Served) -> Iterator[genai.Client]:
    with genai.Client(api_key=KEY, http_options=types.HttpOptions(base_url=gateway.url)) as client:
        yield client


def post(gateway: Served, path: str, body: Any, **headers: str) -> Said:
    auth = [JSON, ("authorization", f"Bearer {KEY}"), *headers.items()]
    return say(gateway, "POST", path, auth, body if isinstance(body, bytes) else json.dumps(body).encode())


# ---------------------------------------------------------------- the SDKs


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("encoding", [None, "float", "base64"])
def test_the_openai_sdk_gets_exact_vectors_in_order(gpt: openai.OpenAI, shape: str, encoding: Any) -> None:
    """It asks for base64 by itself, and decodes it."""
    asked: Any = {} if encoding is None else {"encoding_format": encoding}
    answer = gpt.embeddings.create(model=f"{shape}/m", input=TEXTS, **asked)
    assert [one.index for one in answer.data] == [0, 1, 2, 3]
    vectors: list[Any] = [one.embedding for one in answer.data]
    if encoding == "base64":
        vectors = [list(struct.unpack("<16f", base64.b64decode(vector))) for vector in vectors]
    assert vectors == [vector_of(text) for text in TEXTS]
    assert answer.model == "m"
    assert answer.usage.prompt_tokens == answer.usage.total_tokens == 4


@pytest.mark.parametrize("shape", SHAPES)
def test_the_openai_sdk_asks_for_a_length(gpt: openai.OpenAI, scripted: ThreadedUpstream, shape: str) -> None:
    answer = gpt.embeddings.create(model=f"{shape}/m", input="hello", dimensions=4, user="u")
    assert answer.data[0].embedding == vector_of("hello", 4)
    sent: Any = scripted.requests[-1].json
    if shape == "gemini":
        content = {"parts": [{"text": "hello"}]}
        assert sent == {"requests": [{"model": "models/m", "content": content, "outputDimensionality": 4}]}
    else:
        assert sent == {"model": "m", "input": "hello", "dimensions": 4, "user": "u", "encoding_format": "base64"}


def test_base64_is_made_for_a_provider_that_has_none(gpt: openai.OpenAI, scripted: ThreadedUpstream) -> None:
    assert gpt.embeddings.create(model="plain/m", input="hello").data[0].embedding == vector_of("hello")
    assert scripted.requests[-1].json == {"model": "m", "input": ["hello"]}


def test_the_openai_sdk_embeds_asynchronously(gateway: Served) -> None:
    async def ask() -> None:
        async with openai.AsyncOpenAI(base_url=gateway.base, api_key=KEY, max_retries=0) as client:
            answers = await asyncio.gather(*(client.embeddings.create(model="gemini/m", input=text) for text in TEXTS))
            assert [answer.data[0].embedding for answer in answers] == [vector_of(text) for text in TEXTS]

    asyncio.run(ask())


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("model", ["gemini-embedding-001", "m"])
def test_googles_sdk_embeds(google: genai.Client, scripted: ThreadedUpstream, shape: str, model: str) -> None:
    """Which sends a batch also for one."""
    config = types.EmbedContentConfig(output_dimensionality=4)
    contents: Any = list(TEXTS)
    answer = google.models.embed_content(model=f"{shape}/{model}", contents=contents, config=config)
    assert [one.values for one in answer.embeddings or []] == [vector_of(text, 4) for text in TEXTS]
    assert answer.usage_metadata
    assert answer.usage_metadata.prompt_token_count == 4
    sent: Any = scripted.requests[-1].json
    if shape == "gemini":
        assert scripted.requests[-1].path == f"/v1beta/models/{model}:batchEmbedContents"
        assert {one["model"] for one in sent["requests"]} == {f"models/{model}"}
    else:
        assert sent == {"model": model, "input": TEXTS, "dimensions": 4}
    one = google.models.embed_content(model=f"{shape}/{model}", contents="hello")
    assert [each.values for each in one.embeddings or []] == [vector_of("hello")]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("version", ["v1", "v1beta"])
def test_one_content_has_one_embedding(gateway: Served, shape: str, version: str) -> None:
    body = {"content": {"parts": [{"text": "a"}, {"text": "b"}]}}
    said = post(gateway, f"/{version}/models/{shape}/m:embedContent", body)
    assert said.status == 200
    assert said.json["embedding"]["values"] == vector_of("a\nb")


def test_googles_sdk_embeds_asynchronously(gateway: Served) -> None:
    async def ask() -> None:
        client = genai.Client(api_key=KEY, http_options=types.HttpOptions(base_url=gateway.url)).aio
        contents: Any = list(TEXTS)
        answer = await client.models.embed_content(model="chat/m", contents=contents)
        assert [one.values for one in answer.embeddings or []] == [vector_of(text) for text in TEXTS]
        await client.aclose()

    asyncio.run(ask())


def test_googles_errors_are_googles(google: genai.Client) -> None:
    with pytest.raises(errors.ServerError) as raised:
        google.models.embed_content(model="chat/scenario:http-503", contents="hello")
    assert (raised.value.code, raised.value.status) == (503, "UNAVAILABLE")


# ---------------------------------------------------------------- verbatim, and not


def test_the_same_shape_goes_byte_for_byte_but_for_the_models_name(gateway: Served, scripted: ThreadedUpstream) -> None:
    body = b'{"input": [ "x\\u0041", [1,2] ],"model":"chat/m", "future": 1.50}'
    said = post(gateway, "/v1/embeddings", body)
    assert said.status == 200
    assert said.header("x-dragoman-losses") is None
    assert scripted.requests[-1].body == body.replace(b"chat/m", b"m")
    native = b'{"content": {"parts":[{"text":"x"}]}, "taskType":"RETRIEVAL_QUERY", "future": 1.50}'
    assert post(gateway, "/v1beta/models/gemini/m:embedContent", native).status == 200
    assert json.loads(scripted.requests[-1].body) == json.loads(native)
    assert b'"future":1.50' in scripted.requests[-1].body


def test_what_the_other_shape_cannot_say_is_in_the_ledger_or_refused(gateway: Served, scripted: ThreadedUpstream) -> None:
    native = {"content": {"parts": [{"text": "x"}]}, "taskType": "RETRIEVAL_QUERY", "title": "T", "autoTruncate": True}
    said = post(gateway, "/v1beta/models/chat/m:embedContent", native)
    assert said.header("x-dragoman-losses") == "3; taskType degraded; title degraded; autoTruncate lost"
    before = len(scripted.requests)
    strict = post(gateway, "/v1beta/models/chat/m:embedContent", native, **{"x-dragoman-strict": "true"})
    assert (strict.status, strict.json["error"]["status"]) == (400, "INVALID_ARGUMENT")
    image = {"content": {"parts": [{"inlineData": {"mimeType": "image/png", "data": "AAAA"}}]}}
    assert post(gateway, "/v1beta/models/chat/m:embedContent", image).status == 400
    ids = post(gateway, "/v1/embeddings", {"model": "gemini/m", "input": [[1, 2], [3]]})
    assert ids.status == 400
    assert "vocabulary" in ids.message
    assert len(scripted.requests) == before


@pytest.mark.parametrize("path", ["/v1/embeddings", "/embeddings", "/v1/embeddings/"])
def test_the_base_url_may_be_written_in_several_ways(gateway: Served, path: str) -> None:
    assert post(gateway, path, {"model": "gemini/m", "input": "x"}).json["data"][0]["embedding"] == vector_of("x")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"input": "x"}, "model"),
        ({"model": "gemini/m"}, "input"),
        ({"model": "gemini/m", "input": []}, "input"),
        ({"model": "gemini/m", "input": 7}, "input"),
        ({"model": "gemini/m", "input": ["a", 7]}, "input[1]"),
        ({"model": "gemini/m", "input": [1, "a"]}, "input[1]"),
        ({"model": "gemini/m", "input": "x", "encoding_format": "hex"}, "encoding_format"),
        ({"model": "gemini/m", "input": "x", "dimensions": 0}, "dimensions"),
    ],
)
def test_a_wrong_request_is_refused_by_its_path(gateway: Served, body: Any, param: str) -> None:
    said = post(gateway, "/v1/embeddings", body)
    assert (said.status, said.json["error"]["param"]) == (400, param)


# ---------------------------------------------------------------- batches, lengths


@pytest.mark.parametrize(("model", "requests"), [("few/m", 4), ("few-gemini/m", 4), ("chat/m", 1)])
def test_a_batch_that_is_too_large_goes_in_several(
    gpt: openai.OpenAI, scripted: ThreadedUpstream, model: str, requests: int
) -> None:
    texts = [f"text {number}" for number in range(10)]
    before = len(scripted.requests)
    answer = gpt.embeddings.create(model=model, input=texts)
    assert [one.embedding for one in answer.data] == [vector_of(text) for text in texts]
    assert [one.index for one in answer.data] == list(range(10))
    assert answer.usage.prompt_tokens == 10
    assert len(scripted.requests) - before == requests


def test_inputs_of_several_lengths_are_asked_for_apart(gateway: Served, scripted: ThreadedUpstream) -> None:
    asked = [
        {"content": {"parts": [{"text": text}]}, "outputDimensionality": length}
        for text, length in (("a", 4), ("b", 4), ("c", 8))
    ]
    said = post(gateway, "/v1beta/models/chat/m:batchEmbedContents", {"requests": asked})
    assert [one["values"] for one in said.json["embeddings"]] == [vector_of("a", 4), vector_of("b", 4), vector_of("c", 8)]
    assert [request.json["input"] for request in scripted.requests[-2:]] == [["a", "b"], ["c"]]  # type: ignore[index]


def test_vectors_are_cut_for_a_provider_that_cannot_be_asked(gateway: Served, gpt: openai.OpenAI) -> None:
    raw = gpt.embeddings.with_raw_response.create(model="long/m", input=["x", "y"], dimensions=4)
    vector = raw.parse().data[0].embedding
    assert len(vector) == 4
    assert math.isclose(math.hypot(*vector), 1, rel_tol=1e-6)
    assert vector[0] / vector[1] == pytest.approx(vector_of("x")[0] / vector_of("x")[1], rel=1e-5)
    assert raw.headers["x-dragoman-losses"] == "1; dimensions degraded"
    strict = post(gateway, "/v1/embeddings", {"model": "long/m", "input": "x", "dimensions": 4}, **{"x-dragoman-strict": "1"})
    assert strict.status == 400
    assert post(gateway, "/v1/embeddings", {"model": "long/m", "input": "x"}).header("x-dragoman-losses") is None


# ---------------------------------------------------------------- failing over, errors


def test_the_chain_is_tried_in_order(gpt: openai.OpenAI) -> None:
    raw = gpt.embeddings.with_raw_response.create(model="chain", input="x")
    assert raw.parse().data[0].embedding == vector_of("x")
    assert raw.headers["x-dragoman-provider"] == "gemini"
    assert raw.headers["x-dragoman-attempts"] == "4"


@pytest.mark.parametrize("shape", ["chat", "gemini"])
@pytest.mark.parametrize(
    ("scenario", "kind"),
    [("http-429", openai.RateLimitError), ("http-503", openai.InternalServerError), ("cut-before-head", openai.APIStatusError)],
)
def test_a_providers_error_is_told_in_the_callers_words(
    gpt: openai.OpenAI, shape: str, scenario: str, kind: type[openai.APIStatusError]
) -> None:
    with pytest.raises(kind):
        gpt.embeddings.create(model=f"{shape}/scenario:{scenario}", input="x")


def test_a_provider_without_embeddings_says_so(gpt: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="messages has no embeddings"):
        gpt.embeddings.create(model="messages/m", input="x")


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"[]",
        b'{"data":[]}',
        b'{"data":[{"embedding":"x"}]}',
        b'{"data":[{"index":"a","embedding":[1]},{"embedding":[1]}]}',
    ],
)
def test_an_answer_that_is_none_is_the_providers_fault(gateway: Served, scripted: ThreadedUpstream, answer: bytes) -> None:
    scripted.on("/odd/embeddings", 200, answer)
    config: Any = {"providers": {"odd": {"dialect": "chat", "base_url": f"{scripted.url}/odd", "api_key": "sk-up-0123456"}}}
    with serving(config) as served:
        body = json.dumps({"content": {"parts": [{"text": "x"}]}}).encode()
        said = say(served, "POST", "/v1beta/models/odd/m:embedContent", [JSON], body)
        assert (said.status, said.json["error"]["code"]) == (502, 502)


def test_a_key_is_asked_for(gateway: Served) -> None:
    assert say(gateway, "POST", "/v1/embeddings", [JSON], b'{"model":"chat/m","input":"x"}').status == 401


def test_usage_is_reported(gateway: Served) -> None:
    reports = Reports(gateway)
    report = None
    for number, model in enumerate(("chat/m", "gemini/m"), 1):
        post(gateway, "/v1/embeddings", {"model": model, "input": ["x" * 40, "y" * 40]})
        report = reports.last(number)
        assert report.usage is not None
        assert (report.usage.input, report.usage.estimated, report.target) == (20, False, "m")
    assert report is not None
    assert report.tier == "translated"


def test_usage_that_nobody_counted_of_a_verbatim_answer_is_estimated_for_the_log(
    gateway: Served, scripted: ThreadedUpstream
) -> None:
    answer = b'{"object":"list","data":[{"object":"embedding","index":0,"embedding":[1.0]}],"model":"m"}'
    scripted.on("/silent/embeddings", 200, answer)
    config: Any = {"providers": {"odd": {"dialect": "chat", "base_url": f"{scripted.url}/silent", "api_key": "sk-up-0123456"}}}
    with serving(config) as served:
        reports = Reports(served)
        said = say(served, "POST", "/v1/embeddings", [JSON], b'{"model":"odd/m","input":"four words of text"}')
        assert said.body == answer
        usage = reports.last(1).usage
        assert usage is not None
        assert (usage.input, usage.estimated) == (4, True)


def test_usage_that_nobody_counted_is_an_estimate_that_says_so(gateway: Served, scripted: ThreadedUpstream) -> None:
    scripted.on("/v1beta/models/uncounted:batchEmbedContents", 200, b'{"embeddings":[{"values":[1.0]}]}')
    said = post(gateway, "/v1/embeddings", {"model": "gemini/uncounted", "input": "four words of text"})
    assert said.header("x-dragoman-estimate") == "true"
    assert said.json["usage"] == {"prompt_tokens": 4, "total_tokens": 4}


def test_an_alias_leads_an_openai_client_to_google(gateway: Served, scripted: ThreadedUpstream) -> None:
    answer = httpx.post(
        f"{gateway.base}/embeddings",
        json={"model": "text-embedding-3-small", "input": "x"},
        headers={"authorization": f"Bearer {KEY}"},
    )
    assert answer.json()["model"] == "gemini-embedding-001"
    assert scripted.requests[-1].path == "/v1beta/models/gemini-embedding-001:batchEmbedContents"


# ---------------------------------------------------------------- names, lists, the local model


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("text-embedding-3-large", "openai/text-embedding-3-large"),
        ("text-embedding-ada-002", "openai/text-embedding-ada-002"),
        ("gemini-embedding-001", "gemini/gemini-embedding-001"),
        ("text-embedding-004", "gemini/text-embedding-004"),
        ("mistral-embed", "mistral/mistral-embed"),
        ("codestral-embed", "mistral/codestral-embed"),
        ("embed-v4.0", "cohere/embed-v4.0"),
        ("text-embedding-v4", "qwen/text-embedding-v4"),
    ],
)
def test_a_bare_name_leads_to_its_maker(name: str, target: str) -> None:
    keys = {f"{one}_API_KEY": "sk-0123456789" for one in ("OPENAI", "GEMINI", "MISTRAL", "COHERE", "DASHSCOPE")}
    assert load("{}", ".json", keys, "test").route(name)[0].name == target


def test_embedding_models_are_listed_with_what_they_can(gateway: Served) -> None:
    config: Any = {"providers": {"openai": {"api_key": "sk-up-0123456"}, "gemini": {"api_key": "sk-up-0123456"}}}
    with serving(config) as served, genai.Client(api_key="any", http_options=types.HttpOptions(base_url=served.url)) as google:
        listed = {model.name: model for model in google.models.list()}
        large = listed["models/openai/text-embedding-3-large"]
        assert large.input_token_limit == 8191
        assert "embedContent" in (large.supported_actions or [])
        assert "models/gemini/gemini-embedding-2" in listed
        assert "generateContent" in (listed["models/gemini/gemini-4-argon"].supported_actions or [])
    sizes = {model.id: model.dimensions for model in catalogue().models if model.dimensions}
    assert sizes["text-embedding-3-small"] == 1536
    assert sizes["gemini-embedding-2"] == 3072


@pytest.fixture(scope="module")
def local() -> Iterator[Served]:
    model = LocalModel.find()
    model.start()
    with serving({}, local=model) as served:
        yield served


def test_the_local_model_embeds_for_both_sdks(local: Served) -> None:
    """A cat is nearer to a kitten than to a tax return."""
    texts = ["A cat sleeps on the sofa.", "A kitten naps on the couch.", "Tax returns are due in April."]
    with openai.OpenAI(base_url=local.base, api_key="any", max_retries=0) as gpt:
        answer = gpt.embeddings.create(model="local", input=texts)
        vectors = [one.embedding for one in answer.data]
        floats = gpt.embeddings.create(model="local", input=texts, encoding_format="float")
        short = gpt.embeddings.with_raw_response.create(model="local", input=texts[0], dimensions=64)
    assert [len(vector) for vector in vectors] == [576] * 3
    assert all(math.isclose(math.hypot(*vector), 1, rel_tol=1e-4) for vector in vectors)
    assert answer.usage.prompt_tokens == floats.usage.prompt_tokens > 15
    assert vectors[0] == pytest.approx(floats.data[0].embedding, abs=1e-5)
    near, far = (sum(a * b for a, b in zip(vectors[0], other, strict=True)) for other in vectors[1:])
    assert near > far
    assert len(short.parse().data[0].embedding) == 64
    assert short.headers["x-dragoman-losses"] == "1; dimensions degraded"
    with genai.Client(api_key="any", http_options=types.HttpOptions(base_url=local.url)) as google:
        contents: Any = list(texts)
        embedded = google.models.embed_content(model="local", contents=contents).embeddings or []
    assert embedded[2].values == pytest.approx(floats.data[2].embedding, abs=1e-5)


def test_the_local_model_says_how_much_it_embeds_and_chats_beside_it(local: Served) -> None:
    with openai.OpenAI(base_url=local.base, api_key="any", max_retries=0) as gpt:
        with pytest.raises(openai.APIStatusError, match=r"too large.*1024") as raised:
            gpt.embeddings.create(model="local", input="word " * 2000)
        assert raised.value.status_code == 413
        ask: Any = [{"role": "user", "content": "Hi"}]
        assert gpt.chat.completions.create(model="local", max_tokens=3, messages=ask).choices


def test_it_is_explained_what_would_be_sent(gateway: Served, scripted: ThreadedUpstream) -> None:
    before = len(scripted.requests)
    body = {"model": "chain", "input": ["a b c", "d"], "dimensions": 8, "user": "u"}
    said = post(gateway, "/v1/explain/v1/embeddings", body)
    none, _, verbatim, translated = said.json["targets"]
    assert (none["verdict"], none["error"]) == ("failed", "the provider messages has no embeddings")
    assert (verbatim["tier"], verbatim["body"]) == ("verbatim", {**body, "model": "scenario:http-503"})
    assert (translated["tier"], translated["dialect"], translated["tokens"]["input"]) == ("translated", "gemini", 4)
    assert translated["url"].endswith("/v1beta/models/m:batchEmbedContents")
    assert [one["outputDimensionality"] for one in translated["body"]["requests"]] == [8, 8]
    assert [(loss["path"], loss["severity"]) for loss in translated["losses"]] == [("user", "info")]
    (several,) = post(gateway, "/v1/explain/v1/embeddings", {"model": "few/m", "input": ["x"] * 5}).json["targets"]
    assert [len(one["input"]) for one in several["body"]] == [3, 2]
    assert len(scripted.requests) == before
