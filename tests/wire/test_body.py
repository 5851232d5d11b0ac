from __future__ import annotations

import pytest

from dragoman.errors import MalformedBody
from dragoman.wire.body import peek, swap_model


def test_peeking_reads_only_the_model_and_the_stream() -> None:
    seen = peek(b'{"messages": [1, {"deep": [2]}], "model": "m", "stream": true, "x": 1e999}')
    assert (seen.model, seen.stream) == ("m", True)


def test_swapping_the_model_keeps_every_other_byte() -> None:
    body = b'{ "a" : 1.0 , "model" : "old", "b":{"c" :  [1e5, 12345678901234567890123, "\\u00e9"]}, "d":"\\ud83d\\ude00" }'
    assert swap_model(body, "new") == body.replace(b'"old"', b'"new"')


@pytest.mark.parametrize(
    ("body", "swapped"),
    [
        (b'{"metadata":{"model":"a"}, "model":"a"}', b'{"metadata":{"model":"a"}, "model":"b"}'),
        (b'{"model":"a", "metadata":{"model":"a"}}', b'{"model":"b", "metadata":{"model":"a"}}'),
        (b'{"text":"\\"model\\":\\"a\\"" , "model"\n:\t"a"}', b'{"text":"\\"model\\":\\"a\\"" , "model"\n:\t"b"}'),
        (b'{"x\\"model":"a","model":"a"}', b'{"x\\"model":"a","model":"b"}'),
        (b'{"model":"a","model":"a"}', b'{"model":"a","model":"b"}'),
        (b'{"model":"\\u0061", "n": 1.0}', b'{"model":"b", "n": 1.0}'),
        # A key that is spelt in another way: the white space between the members is the price.
        (b'{"mod\\u0065l": "a",  "n": 1.0}', b'{"model":"b","n":1.0}'),
        (b'{"x":[' + b'{"model":"a"},' * 20 + b'{}], "model":"a"}', b'{"x":[' + b'{"model":"a"},' * 20 + b'{}],"model":"b"}'),
    ],
)
def test_only_the_model_at_the_top_is_swapped(body: bytes, swapped: bytes) -> None:
    assert swap_model(body, "b") == swapped


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "empty"),
        (b"   \n", "empty"),
        (b"[]", "expected an object|Expected `object`"),
        (b'{"model": "m",\n  "x": tru}', "line 2"),
        (b'{"model": "m"', "truncated"),
        (b"\xff\xfe", "byte"),
        (b'{"a":' * 5000, "deep|recursion|truncated|valid"),
    ],
)
def test_a_body_that_is_no_json_object_is_told_what_is_wrong_and_where(body: bytes, words: str) -> None:
    with pytest.raises(MalformedBody, match=f"(?i){words}"):
        peek(body)
