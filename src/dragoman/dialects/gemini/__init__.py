"""Google's Gemini API, `POST /v1beta/models/MODEL:generateContent` and `:streamGenerateContent`, both sides.

Model and verb are in the path: `paths.locate` reads them, `paths.upstream_url` writes them. `tokens` and `embeddings` hold
the codecs of the API's other verbs; `array_encoder` writes a stream for who did not ask for server-sent events.

Source: the types of the `google-genai` package (3.x) and https://ai.google.dev/api/generate-content.
"""

from __future__ import annotations

from dragoman.dialects.base import Dialect
from dragoman.dialects.gemini.decode_request import decode_request
from dragoman.dialects.gemini.encode_request import encode_request
from dragoman.dialects.gemini.errors import decode_error, encode_error, stream_error
from dragoman.dialects.gemini.models import encode_model, encode_models
from dragoman.dialects.gemini.response import encode_response
from dragoman.dialects.gemini.stream_decoder import StreamDecoder, decode_response
from dragoman.dialects.gemini.stream_encoder import PING, StreamEncoder, array_encoder, array_error
from dragoman.dialects.gemini.verbatim import ends, error_in_body, scrub, sniff, usage_of

__all__ = ["GEMINI", "array_encoder", "array_error"]

GEMINI = Dialect(
    name="gemini",
    path="/v1beta/models",
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
    encode_model=encode_model,
    encode_models=encode_models,
)
