"""`/v1/embeddings`: requests and answers, and what is not one."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dragoman.dialects import CHAT, RESPONSES
from dragoman.dialects.base import Target
from dragoman.dialects.openai_embeddings import OPENAI_EMBEDDINGS as CODEC
from dragoman.errors import LossRefused, MalformedBody, UpstreamGarbled
from dragoman.ir.embedding import Embed, Embedded, Embedding
from dragoman.ir.losses import Ledger
from dragoman.ir.profile import Profile
from dragoman.ir.request import Image, Text
from dragoman.wire.http import Inbound

TARGET = Target("m", "p", Profile())


def inbound(body: bytes) -> Inbound:
    return Inbound(method="POST", path="/v1/embeddings", raw_path=b"/v1/embeddings", query=b"", headers=[], body=body)


def decoded(**fields: Any) -> Embedding:
    return CODEC.decode(inbound(json.dumps({"model": "x", **fields}).encode()))


@pytest.mark.parametrize("native", ["a", ["a"], ["a", "b"], [1, 2], [[1, 2], [3]], ["a", [1]], "🙂"])
def test_inputs_of_every_form_come_back_as_they_were(native: Any) -> None:
    request = decoded(input=native, dimensions=4, user="u", input_type="query")
    again = json.loads(CODEC.encode(request, TARGET, Ledger()))
    listed = [native] if isinstance(native, str) or isinstance(native[0], int) else native
    assert again == {"model": "m", "input": listed, "dimensions": 4, "user": "u", "input_type": "query"}
    assert CODEC.size(inbound(json.dumps({"input": native}).encode())) == len(listed)


def test_both_dialects_of_openai_have_it_beside_them() -> None:
    for dialect, url in ((CHAT, "https://x/v1/chat/completions"), (RESPONSES, "https://x/v1/responses")):
        assert dialect.embeddings is CODEC
        assert CODEC.address(url, "m", False) == "https://x/v1/embeddings"
        assert CODEC.address(f"{url}?api-version=1", "m", False) == "https://x/v1/embeddings?api-version=1"


@given(st.lists(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=8), max_size=4))
def test_vectors_survive_base64_and_back_to_the_last_bit(vectors: list[list[float]]) -> None:
    for encoding in ("base64", "float"):
        request = Embedding(dialect="chat", inputs=[], encoding=encoding)
        body = CODEC.encode_embedded(Embedded(vectors, 3, "m"), request)
        back = CODEC.decode_embedded(body, "p")
        packed = [struct.pack(f"<{len(vector)}f", *vector) for vector in vectors]
        assert [struct.pack(f"<{len(vector)}f", *vector) for vector in back.vectors] == packed
        assert back.tokens == 3


def test_vectors_are_put_into_order_by_their_index() -> None:
    rows = [{"index": index, "embedding": [float(index)]} for index in (2, 0, 1)]
    assert CODEC.decode_embedded(json.dumps({"data": rows}).encode(), "p") == Embedded([[0.0], [1.0], [2.0]])


def test_numbers_beyond_float32_have_no_base64() -> None:
    with pytest.raises(UpstreamGarbled):
        CODEC.encode_embedded(Embedded([[1e300]]), Embedding(dialect="chat", inputs=[], encoding="base64"))


def test_what_is_not_said_is_in_the_ledger_and_an_image_refused() -> None:
    ledger = Ledger()
    embed = Embed(parts=[Text(text="x")], task="CLUSTERING", title="T", at=((None, "requests"), 1), extras={"mimeType": "x"})
    CODEC.encode(Embedding(dialect="gemini", inputs=[embed]), TARGET, ledger)
    assert [loss.path for loss in ledger.losses] == ["requests[1].taskType", "requests[1].title", "requests[1].mimeType"]
    with pytest.raises(LossRefused, match="images"):
        CODEC.encode(Embedding(dialect="gemini", inputs=[Embed(parts=[Image(data="AAAA")])]), TARGET, ledger)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["input", "model", "x"]), inner, max_size=3),
    max_leaves=8,
)


@given(JSON, JSON, JSON)
def test_no_request_raises_anything_else(native: Any, dimensions: Any, encoding: Any) -> None:
    body = json.dumps({"input": native, "dimensions": dimensions, "encoding_format": encoding}).encode()
    CODEC.size(inbound(body))
    try:
        request = CODEC.decode(inbound(body))
    except MalformedBody:
        return
    CODEC.encode(request, TARGET, Ledger())


@given(st.binary(max_size=40) | JSON.map(lambda value: json.dumps({"data": value, "usage": value}).encode()))
def test_no_answer_raises_anything_else(body: bytes) -> None:
    CODEC.usage_of(body)
    try:
        CODEC.decode_embedded(body, "p")
    except UpstreamGarbled:
        return


@pytest.mark.parametrize("body", [b"", b"[]", b'{"input":', b'{"input":"\xff"}', b"[" * 100_000])
def test_what_is_no_json_is_said_to_be_none(body: bytes) -> None:
    assert CODEC.size(inbound(body)) <= 1
    with pytest.raises(MalformedBody):
        CODEC.decode(inbound(body))
