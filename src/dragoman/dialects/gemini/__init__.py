"""Google's Gemini API, `POST /v1beta/models/MODEL:generateContent` and `:streamGenerateContent`, both sides.

Model and verb are in the path: `paths.locate` reads them, `paths.upstream_url` writes them. `tokens` and `embeddings` hold
the codecs of the API's other verbs; `array_encoder` writes a stream for who did not ask for server-sent events.

Source: the types of the `google-genai` package (3.x) and https://ai.google.dev/api/generate-content.
"""

from __future__ import annotations

import msgspec

from dragoman.dialects.base import Counting, Dialect, Forms, Way
from dragoman.dialects.gemini import paths
from dragoman.dialects.gemini.decode_request import decode_request
from dragoman.dialects.gemini.embeddings import GEMINI_EMBEDDINGS
from dragoman.dialects.gemini.encode_request import encode_request
from dragoman.dialects.gemini.errors import decode_error, encode_error, stream_error
from dragoman.dialects.gemini.models import encode_model, encode_models
from dragoman.dialects.gemini.response import encode_response
from dragoman.dialects.gemini.sealed import SEALING
from dragoman.dialects.gemini.stream_decoder import StreamDecoder, decode_response
from dragoman.dialects.gemini.stream_encoder import PING, StreamEncoder, array_encoder, array_error
from dragoman.dialects.gemini.tokens import decode_count, decode_counted, encode_count, encode_counted
from dragoman.dialects.gemini.verbatim import array_ends, ends, error_in_body, scrub, sniff, usage_of
from dragoman.errors import DragomanError
from dragoman.wire.body import Peek, peek
from dragoman.wire.framing import JSON_ARRAY
from dragoman.wire.http import Inbound

__all__ = ["GEMINI", "GEMINI_ARRAY"]


def _locate(inbound: Inbound) -> Way | None:
    found = paths.locate(inbound.raw_path.decode("latin-1"))
    if found is None:
        return None
    match found.verb:
        case "generateContent" | "streamGenerateContent":
            array = paths.wants_array(found.verb, inbound.query.decode("latin-1"))
            return Way("infer", GEMINI_ARRAY if array else GEMINI)
        case "countTokens":
            return Way("count", GEMINI)
        case "embedContent" | "batchEmbedContents":
            return Way("embed", GEMINI)


def _asked(inbound: Inbound) -> Peek:
    """From the path; from the body where somebody put the model there and the path names none."""
    found = paths.locate(inbound.raw_path.decode("latin-1"))
    return peek(inbound.body) if found is None else Peek(found.model, found.stream)


def _unchanged(body: bytes, model: str) -> bytes:
    del model
    return body


def _address(url: str, model: str, stream: bool) -> str:
    return paths.upstream_url(url, model, "streamGenerateContent" if stream else "generateContent")


def _array_address(url: str, model: str, stream: bool) -> str:
    return _address(url, model, stream).partition("?")[0]


def _counting_address(url: str, model: str) -> str:
    return paths.upstream_url(url, model, "countTokens")


def _broken_array(error: DragomanError, request_id: str) -> bytes:
    del request_id
    return array_error(error, begun=True)


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
    sealing=SEALING,
    locate=_locate,
    asked=_asked,
    renamed=_unchanged,
    address=_address,
    counting=Counting(decode_count, encode_counted, _counting_address, encode_count, decode_counted),
    embeddings=GEMINI_EMBEDDINGS,
    # Some of its servers fetch public URLs, many do not (Vertex, older models), and none fetches http://.
    forms=Forms(images="urls", pdfs="urls", usual="bytes", audio=True),
    encode_model=encode_model,
    encode_models=encode_models,
)

# A stream that was not asked for as server-sent events is one JSON array. No ping can stand between its elements.
GEMINI_ARRAY = msgspec.structs.replace(
    GEMINI,
    stream_encoder=array_encoder,
    stream_error=_broken_array,
    stream_type=b"application/json; charset=UTF-8",
    ping=b"",
    ends=array_ends,
    framing=JSON_ARRAY,
    address=_array_address,
)
