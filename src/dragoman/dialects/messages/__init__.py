"""Anthropic Messages, `POST /v1/messages`, both sides.

Source: the types of the `anthropic` package (2.x) and https://platform.claude.com/docs/en/api/messages.
"""

from __future__ import annotations

from dragoman.dialects.base import Dialect, Forms
from dragoman.dialects.messages.again import decode_again
from dragoman.dialects.messages.counting import COUNTING
from dragoman.dialects.messages.decode_request import decode_request
from dragoman.dialects.messages.encode_request import encode_request
from dragoman.dialects.messages.errors import decode_error, encode_error, stream_error
from dragoman.dialects.messages.models import encode_model, encode_models
from dragoman.dialects.messages.response import decode_response, encode_response
from dragoman.dialects.messages.sealed import SEALING
from dragoman.dialects.messages.stream_decoder import StreamDecoder
from dragoman.dialects.messages.stream_encoder import PING, StreamEncoder
from dragoman.dialects.messages.verbatim import ends, error_in_body, scrub, sniff, usage_of

MESSAGES = Dialect(
    name="messages",
    path="/v1/messages",
    decode_request=decode_request,
    decode_again=decode_again,
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
    id_prefix="msg_",
    counting=COUNTING,
    # `media_type` of `Base64ImageSource` is one of these, and nothing else.
    forms=Forms(images="urls", pdfs="urls", image_types=frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})),
    encode_model=encode_model,
    encode_models=encode_models,
)
