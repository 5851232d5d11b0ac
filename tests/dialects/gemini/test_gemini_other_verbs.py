"""countTokens, embedContent, batchEmbedContents and the list of models."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dragoman.dialects.base import ModelCard, Target
from dragoman.dialects.gemini import GEMINI, embeddings, tokens
from dragoman.errors import LossRefused, MalformedBody, UpstreamGarbled
from dragoman.ir.embedding import Embed, Embedded, Embedding
from dragoman.ir.losses import Ledger
from dragoman.ir.profile import Profile
from dragoman.ir.request import Image, Message, Refusal, Request, Text, Tool
from dragoman.ir.usage import Usage
from dragoman.wire.http import Inbound

TARGET = Target("m", "p", Profile())

CONTENTS = [{"role": "user", "parts": [{"text": "hi"}]}]


def test_tokens_are_counted_of_contents_or_of_a_whole_request() -> None:
    bare = tokens.decode_count(json.dumps({"contents": CONTENTS}).encode())
    assert isinstance(bare.messages[0].parts[0], Text)
    for key in ("generateContentRequest", "generate_content_request"):
        inner = {"model": "models/m", "contents": CONTENTS, "systemInstruction": {"parts": [{"text": "s"}]}}
        whole = tokens.decode_count(json.dumps({key: inner}).encode())
        assert (whole.model, whole.system[0].text) == ("m", "s")
    with pytest.raises(MalformedBody):
        tokens.decode_count(b"{}")


def test_a_count_goes_through_the_same_transformation_as_an_inference() -> None:
    request = Request(
        model="x", dialect="chat", messages=[Message(role="user", parts=[Text(text="hi")])], tools=[Tool(name="f")]
    )
    body = GEMINI.encode_request(request, TARGET, Ledger())
    counted = json.loads(tokens.encode_count(body, "m"))["generateContentRequest"]
    assert counted.pop("model") == "models/m"
    assert counted == json.loads(body)


def test_counts_are_read_and_written() -> None:
    assert tokens.decode_counted(b'{"totalTokens":31,"promptTokensDetails":[]}', "p") == 31
    assert tokens.decode_counted(b"{}", "p") == 0
    for odd in (b"", b"[]", b'{"totalTokens":"x"}', b'{"error":{"code":400}}', b'{"totalTokens":-1}'):
        with pytest.raises(UpstreamGarbled):
            tokens.decode_counted(odd, "p")
    assert tokens.decode_counted(tokens.encode_counted(5), "p") == 5


# ---------------------------------------------------------------- embeddings


def asked(verb: str, body: Any) -> Inbound:
    path = f"/v1beta/models/m:{verb}"
    return Inbound(method="POST", path=path, raw_path=path.encode(), query=b"", headers=[], body=json.dumps(body).encode())


def test_one_thing_to_embed_is_read_and_written() -> None:
    native = {
        "model": "models/gemini-embedding-2",
        "content": {"parts": [{"text": "a"}, {"text": "b"}]},
        "taskType": "RETRIEVAL_DOCUMENT",
        "title": "T",
        "outputDimensionality": 256,
        "autoTruncate": True,
    }
    request = embeddings.decode(asked("embedContent", native))
    (embed,) = request.inputs
    assert (embed.model, embed.text, embed.task, embed.title, embed.dimensions) == (
        "gemini-embedding-2",
        "a\nb",
        "RETRIEVAL_DOCUMENT",
        "T",
        256,
    )
    assert (request.single, embed.extras) == (True, {"autoTruncate": True})
    assert json.loads(embeddings.encode(request, TARGET, Ledger())) == {**native, "model": "models/m"}


def test_snake_case_and_images_are_read_too() -> None:
    native = {"content": {"parts": {"inline_data": {"mime_type": "image/png", "data": "AAAA"}}}, "output_dimensionality": 8}
    request = embeddings.decode(asked("embedContent", native))
    (embed,) = request.inputs
    assert isinstance(embed.parts[0], Image)
    assert (embed.text, embed.dimensions) == (None, 8)
    part = json.loads(embeddings.encode(request, TARGET, Ledger()))["content"]["parts"][0]
    assert part == {"inlineData": {"mimeType": "image/png", "data": "AAAA"}}


def test_a_batch_keeps_its_order() -> None:
    requests = [{"model": "models/m", "content": {"parts": [{"text": text}]}} for text in ("x", "y")]
    batch = embeddings.decode(asked("batchEmbedContents", {"requests": requests}))
    assert ([one.text for one in batch.inputs], batch.single) == (["x", "y"], False)
    assert json.loads(embeddings.encode(batch, TARGET, Ledger())) == {"requests": requests}
    assert embeddings.size(asked("batchEmbedContents", {"requests": requests})) == 2


def test_a_verbatim_batch_names_another_model_in_every_place() -> None:
    body = b'{"requests": [{"model":"models/x","content":{"parts":[{"text":"1.0e5"}]}, "y":1.50}, {"content":{}}]}'
    swapped = embeddings.renamed(body, "m")
    assert json.loads(swapped)["requests"][0]["model"] == "models/m"
    assert b'"y":1.50' in swapped
    assert "model" not in json.loads(swapped)["requests"][1]
    assert embeddings.renamed(b'{"requests":7}', "m") == b'{"requests":7}'


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"", None),
        (b'{"requests":[]}', "requests"),
        (b'{"requests":[7]}', "requests[0]"),
        (b'{"requests":[{"content":{}}]}', "requests[0].content.parts"),
    ],
)
def test_a_wrong_batch_is_refused_by_its_path(body: bytes, param: str | None) -> None:
    with pytest.raises(MalformedBody) as raised:
        embeddings.decode_batch(body)
    assert raised.value.param == param


def test_what_has_no_vector_there_is_refused() -> None:
    for embed, word in ((Embed(parts=[Refusal(text="no")]), "refusal"), (Embed(ids=[1]), "vocabulary")):
        with pytest.raises(LossRefused, match=word):
            embeddings.encode(Embedding(dialect="chat", inputs=[embed]), TARGET, Ledger())


def test_vectors_are_read_and_written() -> None:
    assert embeddings.decode_embedded(b'{"embedding":{"values":[1,2.5]}}', "p") == Embedded([[1.0, 2.5]])
    many = b'{"embeddings":[{"values":[1]},{"values":[2]}],"usageMetadata":{"promptTokenCount":4}}'
    answer = embeddings.decode_embedded(many, "p")
    assert answer == Embedded([[1.0], [2.0]], 4)
    assert embeddings.usage_of(many) == Usage(input=4)
    batch, one = (Embedding(dialect="gemini", inputs=[], single=single) for single in (False, True))
    assert embeddings.decode_embedded(embeddings.encode_embedded(answer, batch), "p") == answer
    assert json.loads(embeddings.encode_embedded(Embedded([[0.5]]), one)) == {"embedding": {"values": [0.5]}}
    for odd in (b"", b"{}", b'{"embeddings":[{}]}', b'{"embedding":{"values":["x"]}}', b'{"embeddings":7}'):
        with pytest.raises(UpstreamGarbled):
            embeddings.decode_embedded(odd, "p")


# ---------------------------------------------------------------- models

CARDS = [ModelCard(id=f"m{n}", display_name=f"M {n}", owner="o", context=100 + n, max_output=10) for n in range(7)]


def pages(size: str) -> list[list[str]]:
    found: list[list[str]] = []
    query: dict[str, str] = {"pageSize": size}
    while True:
        body: Any = json.loads(GEMINI.encode_models(CARDS, query))
        found.append([model["name"] for model in body["models"]])
        if "nextPageToken" not in body:
            return found
        query = {"pageSize": size, "pageToken": body["nextPageToken"]}


def test_a_list_comes_in_pages() -> None:
    assert pages("3") == [["models/m0", "models/m1", "models/m2"], ["models/m3", "models/m4", "models/m5"], ["models/m6"]]
    assert len(pages("1000")) == len(pages("0")) == 1


def test_a_wrong_page_is_refused() -> None:
    for query in ({"pageSize": "many"}, {"pageToken": "***"}, {"pageToken": "OTk5"}):
        with pytest.raises(MalformedBody):
            GEMINI.encode_models(CARDS, query)


def test_a_model_tells_its_sizes_where_they_are_known() -> None:
    known = json.loads(GEMINI.encode_model(CARDS[1]))
    assert (known["inputTokenLimit"], known["outputTokenLimit"]) == (101, 10)
    bare = json.loads(GEMINI.encode_model(ModelCard(id="x", display_name="X", owner="o")))
    assert not bare.keys() & {"inputTokenLimit", "outputTokenLimit"}
    assert bare["supportedGenerationMethods"][0] == "generateContent"
