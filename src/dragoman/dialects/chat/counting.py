"""Counting tokens, `POST /v1/chat/completions/input_tokens`: llama.cpp has it, which says it in the words of Responses.

https://github.com/ggml-org/llama.cpp/tree/master/tools/server
"""

from __future__ import annotations

import msgspec

from dragoman.dialects.base import Counting
from dragoman.dialects.chat.decode_request import decode_request
from dragoman.dialects.counts import count_of


def _encode(tokens: int) -> bytes:
    return msgspec.json.encode({"object": "response.input_tokens", "input_tokens": tokens})


def _address(url: str, model: str) -> str:
    del model
    return f"{url}/input_tokens"


def _asked(body: bytes, model: str) -> bytes:
    del model
    return body


def _counted(body: bytes, issuer: str) -> int:
    return count_of(body, "input_tokens", issuer)


COUNTING = Counting(decode_request, _encode, _address, _asked, _counted)
