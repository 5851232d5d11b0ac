"""OpenAI's completions of before chat, `POST /v1/completions`, both sides: a text goes in, and its continuation comes out.

There are no turns, tools or images. A target that only chats is given the prompt as what its user says. What only a model's
own endpoint can do (token ids, several prompts at once, a suffix) is told by `several` and the ledger.

Source: the types of the `openai` package (3.x), https://developers.openai.com/api/reference/resources/completions, and what
vLLM and llama.cpp make of it.
"""

from __future__ import annotations

from dragoman.dialects.base import Dialect
from dragoman.dialects.completions.decode_request import decode_request
from dragoman.dialects.completions.encode_request import encode_request
from dragoman.dialects.completions.response import decode_response, encode_response
from dragoman.dialects.completions.several import apart
from dragoman.dialects.completions.stream import PING, StreamDecoder, StreamEncoder, stream_error
from dragoman.dialects.completions.verbatim import ends, scrub, sniff, usage_of
from dragoman.dialects.openai_completions import error_in_body
from dragoman.dialects.openai_errors import decode_error, encode_error
from dragoman.dialects.openai_models import encode_model, encode_models

COMPLETIONS = Dialect(
    name="completions",
    path="/v1/completions",
    decode_request=decode_request,
    encode_request=encode_request,
    decode_response=decode_response,
    encode_response=encode_response,
    stream_decoder=StreamDecoder,
    stream_encoder=StreamEncoder,
    decode_error=decode_error,
    encode_error=encode_error,
    stream_error=stream_error,
    error_in_body=error_in_body,
    sniff=sniff,
    ends=ends,
    ping=PING,
    usage_of=usage_of,
    scrub=scrub,
    id_prefix="cmpl-",
    tool_names=0,
    apart=apart,
    encode_model=encode_model,
    encode_models=encode_models,
)
