"""OpenAI Responses, `POST /v1/responses`, both sides.

Source: the types of the `openai` package (2.x) and https://platform.openai.com/docs/api-reference/responses.
"""

from __future__ import annotations

from dragoman.dialects.base import Counting, Dialect, Forms, Way
from dragoman.dialects.openai_embeddings import OPENAI_EMBEDDINGS
from dragoman.dialects.openai_models import encode_model, encode_models
from dragoman.dialects.responses import counting
from dragoman.dialects.responses.decode_request import decode_request
from dragoman.dialects.responses.encode_request import encode_request
from dragoman.dialects.responses.errors import decode_error, encode_error, stream_error
from dragoman.dialects.responses.keeping import asked
from dragoman.dialects.responses.response import decode_response, encode_response
from dragoman.dialects.responses.sealed import SEALING
from dragoman.dialects.responses.stream_decoder import StreamDecoder
from dragoman.dialects.responses.stream_encoder import PING, StreamEncoder
from dragoman.dialects.responses.verbatim import ends, error_in_body, scrub, sniff, usage_of
from dragoman.wire.http import Inbound


def _locate(inbound: Inbound) -> Way | None:
    return Way("count", RESPONSES) if counting.asks(inbound) else None


RESPONSES = Dialect(
    name="responses",
    path="/v1/responses",
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
    id_prefix="resp_",
    tool_names=64,
    locate=_locate,
    asked=asked,
    counting=Counting(
        counting.decode_count, counting.encode_counted, counting.address, counting.encode_count, counting.decode_counted
    ),
    embeddings=OPENAI_EMBEDDINGS,
    forms=Forms(images="urls", pdfs="urls", files=True),
    encode_model=encode_model,
    encode_models=encode_models,
)
