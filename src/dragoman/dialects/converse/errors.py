"""Errors as Bedrock puts them: `{"message"}` with the error's name in the header `x-amzn-errortype`; in a stream an
exception, which is its last message.

Names and statuses: the exceptions of `bedrock-runtime` in `botocore`, and
https://docs.aws.amazon.com/bedrock/latest/APIReference/CommonErrors.html.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, cast

import msgspec

from dragoman.dialects import told
from dragoman.dialects.base import Headers, HttpError
from dragoman.errors import STATUS_OF, Category, DragomanError, UpstreamRefused, category_of
from dragoman.wire.eventstream import write_exception

NAME_OF: dict[Category, str] = {
    "invalid_request": "ValidationException",
    "authentication": "UnrecognizedClientException",
    "billing": "ServiceQuotaExceededException",
    "permission": "AccessDeniedException",
    "not_found": "ResourceNotFoundException",
    "conflict": "ConflictException",
    "too_large": "ValidationException",
    "rate_limit": "ThrottlingException",
    "overloaded": "ServiceUnavailableException",
    "timeout": "ModelTimeoutException",
    "unavailable": "ServiceUnavailableException",
    "capability": "ValidationException",
    "internal": "InternalServerException",
}

# Only these can stand in a stream (`ConverseStreamOutput`). The first says: while streaming, try again.
_IN_STREAM: dict[Category, str] = {
    "unavailable": "modelStreamErrorException",
    "timeout": "modelStreamErrorException",
    "internal": "internalServerException",
    "authentication": "internalServerException",
    "billing": "throttlingException",
    "rate_limit": "throttlingException",
    "overloaded": "serviceUnavailableException",
}

_CATEGORY_OF_NAME: dict[str, Category] = {
    "ValidationException": "invalid_request",
    "SerializationException": "invalid_request",
    "AccessDeniedException": "permission",
    "OptInRequired": "permission",
    "NotAuthorized": "permission",
    "UnrecognizedClientException": "authentication",
    "InvalidSignatureException": "authentication",
    "IncompleteSignatureException": "authentication",
    "IncompleteSignature": "authentication",
    "MissingAuthenticationTokenException": "authentication",
    "MissingAuthenticationToken": "authentication",
    "InvalidClientTokenId": "authentication",
    "ExpiredTokenException": "authentication",
    "RequestExpired": "authentication",
    "ResourceNotFoundException": "not_found",
    "UnknownOperationException": "not_found",
    "ConflictException": "conflict",
    "ThrottlingException": "rate_limit",
    "TooManyRequestsException": "rate_limit",
    "ServiceQuotaExceededException": "rate_limit",
    "ModelNotReadyException": "overloaded",
    "ServiceUnavailableException": "overloaded",
    "ServiceUnavailable": "overloaded",
    "ModelTimeoutException": "timeout",
    "ModelErrorException": "unavailable",
    "ModelStreamErrorException": "unavailable",
    "InternalServerException": "internal",
    "InternalFailure": "internal",
    "RequestEntityTooLargeException": "too_large",
}


def encode_error(error: DragomanError, request_id: str) -> HttpError:
    headers: Headers = [
        ("content-type", "application/json"),
        ("x-amzn-errortype", NAME_OF[error.category]),
        ("x-amzn-requestid", request_id),
    ]
    if error.retry_after is not None:
        headers.append(("retry-after", str(math.ceil(error.retry_after))))
    return HttpError(error.status, headers, msgspec.json.encode({"message": error.message}))


def stream_error(error: DragomanError, request_id: str) -> bytes:
    del request_id  # no field for it
    name = _IN_STREAM.get(error.category, "validationException")
    told: dict[str, Any] = {"message": error.message}
    if name == "modelStreamErrorException":
        told |= {"originalStatusCode": error.status, "originalMessage": error.message}
    return write_exception(name, msgspec.json.encode(told))


def decode_error(status: int, headers: Mapping[str, str], body: bytes, provider: str) -> UpstreamRefused:
    """`status` 0 means that the error stood inside a stream, where its name (`__type`) alone tells its status."""
    message = ""
    # Either may carry a namespace before or a URL behind: `com.amazon.coral.service#X`, `X:http://internal...`.
    name = headers.get("x-amzn-errortype", "")
    try:
        native = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        native = None
    if isinstance(native, dict):
        fields = cast("dict[str, Any]", native)
        inner = fields.get("Output")
        named = cast("dict[str, Any]", inner) if isinstance(inner, dict) else fields
        name = name or str(named.get("__type") or named.get("code") or "")
        message = str(fields.get("message") or fields.get("Message") or fields.get("originalMessage") or "")
    name = name.partition(":")[0].rpartition("#")[2].strip()
    known = _CATEGORY_OF_NAME.get(name)
    if status < 400:
        category = known or "unavailable"
        status = STATUS_OF[category]
    else:
        # The name says more than the status: 403 is a wrong key as well as a model one may not use, 424 is none of ours.
        category = known or ("unavailable" if status == 424 else category_of(status))
    said = told.read(body) if not message else told.Said(message)
    return UpstreamRefused(
        (said.message if body.strip() not in {b"", b"{}"} else name) or f"the provider answered with status {status}",
        provider=provider,
        status=status,
        category=category,
        code=name or None,
        retry_after=told.retry_after(headers, said),
    )
