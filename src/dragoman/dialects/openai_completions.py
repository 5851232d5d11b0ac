"""What OpenAI's completions of chats and those of texts, their forerunners, have in common: the parameters of sampling, and the
frame of an answer."""

from __future__ import annotations

from typing import Any, cast

import msgspec

from dragoman.dialects import lenient
from dragoman.dialects.openai_errors import decode_error
from dragoman.dialects.shape import Fields, wrong
from dragoman.errors import UpstreamGarbled
from dragoman.ir.losses import Ledger
from dragoman.ir.profile import Profile
from dragoman.ir.request import Request, Sampling

Block = dict[str, Any]

NEUTRAL = {"temperature": 1, "top_p": 1, "frequency_penalty": 0, "presence_penalty": 0, "repetition_penalty": 1}
"""What changes nothing, so that its loss is none."""


# ---------------------------------------------------------------- parameters


def sampling_of(fields: Fields) -> Sampling:
    return Sampling(
        temperature=fields.number("temperature"),
        top_p=fields.number("top_p"),
        top_k=fields.integer("top_k"),
        min_p=fields.number("min_p"),
        frequency_penalty=fields.number("frequency_penalty"),
        presence_penalty=fields.number("presence_penalty"),
        repetition_penalty=fields.number("repetition_penalty"),
        seed=fields.integer("seed"),
        logit_bias=_logit_bias(fields),
    )


def _logit_bias(fields: Fields) -> dict[str, float] | None:
    native = fields.object("logit_bias")
    for key, value in (native or {}).items():
        if type(value) not in {int, float}:
            raise wrong(((None, "logit_bias"), key), "a number", value)
    return native


def stops_of(fields: Fields) -> list[str]:
    stop = fields.left.get("stop")
    if type(stop) is str:
        return [fields.any("stop")]
    if stop is not None and type(stop) is not list:
        raise wrong((None, "stop"), "a string or an array of strings", stop)
    return fields.texts("stop") or []


def stops_for(request: Request, profile: Profile, ledger: Ledger) -> list[str]:
    """As many as the target takes; a list of its own."""
    stop, most = list(request.stop), profile.max_stop
    if most is None or len(stop) <= most:
        return stop
    for index in range(most, len(stop)):
        ledger.add(request.path_of("stop"), index, f"only the first {most} are taken", "degraded")
    return stop[:most]


# ---------------------------------------------------------------- the frame of an answer


def is_error(answer: Block) -> bool:
    return not answer.get("choices") and (bool(answer.get("error")) or answer.get("object") == "error")


def answer_of(body: bytes, issuer: str) -> tuple[Block, list[Any]]:
    """An answer and its choices, of which there is one at least. Raises `UpstreamGarbled`, and the error that a provider has
    put into an answer's place."""
    try:
        native = lenient.decode(body)
    except ValueError as error:
        raise UpstreamGarbled(f"the answer is not JSON: {error}", provider=issuer) from None
    if not isinstance(native, dict):
        raise UpstreamGarbled("the answer is not a JSON object", provider=issuer)
    answer = cast("Block", native)
    if is_error(answer):
        raise decode_error(0, {}, body, issuer)
    choices = answer.get("choices")
    if not isinstance(choices, list) or not choices:
        raise UpstreamGarbled("the answer has no choices", provider=issuer)
    return answer, cast("list[Any]", choices)


class _Ends(msgspec.Struct):
    error: Any = None
    object: Any = None
    choices: msgspec.Raw = msgspec.Raw(b"null")


_ends = msgspec.json.Decoder(_Ends)


def error_in_body(body: bytes) -> bool:
    """Whether a 200 body is an error all the same. What is no JSON object at all is for the decoder to judge."""
    if body.rfind(b'"error"') < 0 and body.rfind(b"\\u00") < 0:
        return False  # not even in letters that are written by their numbers
    try:
        ends = _ends.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    spoke = bytes(ends.choices)[:2] not in {b"nu", b"[]"}
    return not spoke and (bool(ends.error) or ends.object == "error")
