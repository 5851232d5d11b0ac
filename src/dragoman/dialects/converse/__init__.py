"""Amazon Bedrock's Converse, `POST /model/{modelId}/converse` and `/converse-stream`, both sides.

Model and verb are in the path (`paths`); a stream is AWS's binary event stream (`wire/eventstream.py`).

Source: the service model `bedrock-runtime` in `botocore` (1.44) and
https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html.
"""

from __future__ import annotations

from dragoman.dialects.base import Dialect, Forms, Way
from dragoman.dialects.converse import paths
from dragoman.dialects.converse.counting import COUNTING
from dragoman.dialects.converse.decode_request import decode_request
from dragoman.dialects.converse.encode_request import encode_request
from dragoman.dialects.converse.errors import decode_error, encode_error, stream_error
from dragoman.dialects.converse.models import encode_model, encode_models
from dragoman.dialects.converse.response import decode_response, encode_response
from dragoman.dialects.converse.sealed import SEALING
from dragoman.dialects.converse.stream_decoder import StreamDecoder
from dragoman.dialects.converse.stream_encoder import PING, StreamEncoder
from dragoman.dialects.converse.verbatim import ends, error_in_body, scrub, sniff, usage_of
from dragoman.wire.body import Peek, peek
from dragoman.wire.eventstream import MEDIA_TYPE
from dragoman.wire.framing import EVENT_STREAM
from dragoman.wire.http import Inbound

__all__ = ["CONVERSE"]


def _locate(inbound: Inbound) -> Way | None:
    found = paths.locate(inbound.raw_path.decode("latin-1"))
    if found is None:
        return None
    return Way("count" if found.verb == "count-tokens" else "infer", CONVERSE)


def _asked(inbound: Inbound) -> Peek:
    """From the path; from the body where somebody put the model there and the path names none."""
    found = paths.locate(inbound.raw_path.decode("latin-1"))
    return peek(inbound.body) if found is None else Peek(found.model, found.stream)


def _unchanged(body: bytes, model: str) -> bytes:
    del model
    return body


def _address(url: str, model: str, stream: bool) -> str:
    return paths.upstream_url(url, model, "converse-stream" if stream else "converse")


CONVERSE = Dialect(
    name="converse",
    path="/model",
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
    tool_names=64,
    stream_type=MEDIA_TYPE,
    framing=EVENT_STREAM,
    locate=_locate,
    asked=_asked,
    renamed=_unchanged,
    address=_address,
    counting=COUNTING,
    forms=Forms(images="bytes", pdfs="bytes", usual="bytes", audio=True, files=True),
    encode_model=encode_model,
    encode_models=encode_models,
)
