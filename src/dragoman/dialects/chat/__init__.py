"""OpenAI Chat Completions, `POST /v1/chat/completions`, both sides, with what other servers of it add or bend.

Source: the types of the `openai` package (2.x) and https://platform.openai.com/docs/api-reference/chat.
"""

from __future__ import annotations

from dragoman.dialects.base import Dialect, Forms
from dragoman.dialects.chat.counting import COUNTING
from dragoman.dialects.chat.decode_request import decode_request
from dragoman.dialects.chat.encode_request import encode_request
from dragoman.dialects.chat.errors import decode_error, encode_error, stream_error
from dragoman.dialects.chat.response import decode_response, encode_response
from dragoman.dialects.chat.sealed import SEALING
from dragoman.dialects.chat.stream_decoder import StreamDecoder
from dragoman.dialects.chat.stream_encoder import PING, StreamEncoder
from dragoman.dialects.chat.verbatim import ends, scrub, sniff, usage_of
from dragoman.dialects.openai_completions import error_in_body
from dragoman.dialects.openai_embeddings import OPENAI_EMBEDDINGS
from dragoman.dialects.openai_models import encode_model, encode_models

CHAT = Dialect(
    name="chat",
    path="/v1/chat/completions",
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
    sealing=SEALING,
    id_prefix="chatcmpl-",
    tool_names=64,
    forms=Forms(images="urls", pdfs="bytes", audio=True),
    counting=COUNTING,
    embeddings=OPENAI_EMBEDDINGS,
    encode_model=encode_model,
    encode_models=encode_models,
)
