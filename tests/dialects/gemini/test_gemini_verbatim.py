"""Tier T0: what is looked at in passing, and what is taken out of a body that goes through."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dragoman.dialects.gemini import GEMINI, seals
from dragoman.ir import carrier
from dragoman.ir.request import Reasoning, Seal
from dragoman.ir.usage import Usage
from dragoman.testing import SCENARIOS, render_gemini, scenarios_for
from dragoman.wire.sse import Frame

COUNTS = {"promptTokenCount": 5, "candidatesTokenCount": 2, "totalTokenCount": 7}


def frame(native: Any) -> Frame:
    return Frame("", json.dumps(native).encode())


def candidate(*parts: Any, **more: Any) -> dict[str, Any]:
    return {"candidates": [{"content": {"parts": list(parts), "role": "model"}, **more}]}


@pytest.mark.parametrize(
    ("native", "seen"),
    [
        (candidate({"text": ""}), "wait"),
        (candidate(), "wait"),
        ({"usageMetadata": COUNTS}, "wait"),
        (candidate({"text": "", "thought": True}), "content"),
        (candidate({"text": "x"}), "content"),
        (candidate({"text": "hm", "thought": True}), "content"),
        (candidate({"functionCall": {"name": "f"}}), "content"),
        (candidate({"text": ""}, finishReason="STOP"), "content"),
        (candidate(finishReason="MALFORMED_FUNCTION_CALL"), "content"),
        ({"promptFeedback": {"blockReason": "SAFETY"}}, "content"),
        ({"error": {"code": 503, "message": "x", "status": "UNAVAILABLE"}}, "error"),
        ([{"error": {"code": 503}}], "error"),
        (7, "error"),
    ],
)
def test_what_a_caller_would_see_of_a_chunk(native: Any, seen: str) -> None:
    assert GEMINI.sniff(frame(native)) == seen


def test_what_is_no_chunk_is_an_error_and_blank_is_nothing() -> None:
    assert GEMINI.sniff(Frame("", b"<html>")) == "error"
    assert GEMINI.sniff(Frame("", b" ")) == "wait"
    assert GEMINI.sniff(Frame("", b"[DONE]")) == "wait"


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b'{"error":{"code":400}}', True),
        (b'[{"error":{"code":400}}]', True),
        (b'{"candidates":[{}],"error":null}', False),
        (b'{"candidates":[{}]}', False),
        (b"<html>", False),
        (b"", False),
    ],
)
def test_an_error_as_the_body_of_a_200(body: bytes, error: bool) -> None:
    assert GEMINI.error_in_body(body) is error


# ---------------------------------------------------------------- the end, and the counts


def whole_streams() -> list[Any]:
    chosen: list[Any] = []
    for one in scenarios_for("gemini", regular=True):
        rendered = render_gemini(one)
        fine = one.expected is not None and one.expected.error is None
        if fine and rendered.status == 200 and one.usage is not None and one.name not in {"gemini-candidates"}:
            chosen.append(pytest.param(rendered.body, id=one.name))
    return chosen


@pytest.mark.parametrize("body", whole_streams())
def test_a_whole_stream_ends_with_its_last_chunk_and_not_before(body: bytes) -> None:
    recent = (b"\n" + body)[-8192:]
    assert GEMINI.ends(recent, closed=True)
    if len(body) < 8000:
        assert GEMINI.ends(b"\n" + body, closed=False)
        cut = len(body.rstrip()) - 10 if b"\r" in body else body.rstrip().rfind(b"\n\n") + 2
        assert not GEMINI.ends(b"\n" + body[:cut], closed=False)
        assert not GEMINI.ends(b"\n" + body[:cut], closed=True)


def test_arguments_that_look_like_an_end_are_none() -> None:
    call = {"functionCall": {"name": "f", "args": {"finishReason": "STOP", "usageMetadata": {}, "blockReason": "X"}}}
    body = b"\ndata: " + json.dumps(candidate(call)).encode() + b"\n\n"
    assert not GEMINI.ends(body, closed=False)


def test_the_end_of_a_chunk_too_large_to_be_here_whole_is_found() -> None:
    native = {**candidate({"text": "x" * 20_000}, finishReason="STOP"), "usageMetadata": COUNTS}
    body = b"\ndata: " + json.dumps(native).encode() + b"\n\n"
    assert GEMINI.ends(body[-8192:], closed=True)
    assert not GEMINI.ends(body[-8192:], closed=False)


def test_usage_is_read_off_a_body_and_off_the_end_of_a_stream() -> None:
    body = json.dumps({**candidate({"text": '"usageMetadata": {"promptTokenCount": 99}'}), "usageMetadata": COUNTS}).encode()
    assert GEMINI.usage_of(body, body[-50:]) == Usage(input=5, output=2)
    for name in ("gemini-usage-cached", "gemini-usage-late", "text"):
        stream = render_gemini(SCENARIOS[name]).body
        expected = SCENARIOS[name].expected
        assert expected is not None
        usage = GEMINI.usage_of(stream[:8192], stream[-8192:])
        assert usage is not None
        assert expected.tokens is not None
        assert (usage.input, usage.cache_read, usage.output, usage.reasoning) == (
            expected.tokens.input,
            expected.tokens.cache_read,
            expected.tokens.output,
            expected.tokens.reasoning,
        )
    assert GEMINI.usage_of(b"data: {}\n\n", b"") is None


# ---------------------------------------------------------------- carriers


def token(*parts: Reasoning, issuer: str = "claude") -> str:
    found = seals.riding(list(parts), issuer)
    assert found is not None
    return found


def scrubbed(*parts: Any, issuer: str = "gemini") -> Any:
    body = json.dumps({"contents": [{"role": "model", "parts": list(parts)}], "safetySettings": []}).encode()
    if any("thoughtSignature" in part and part["thoughtSignature"].startswith("ZGdt") for part in parts):
        assert carrier.carries(body)
    return json.loads(GEMINI.scrub(body, issuer))["contents"]


FOREIGN = Reasoning(text="Hm.", seal=Seal("EqQB", "claude", "messages"))


def test_a_call_that_another_provider_made_is_signed_as_the_documentation_says() -> None:
    call = {"functionCall": {"id": "a", "name": "f"}}
    for signature in (token(), token(FOREIGN), token(FOREIGN).replace("+", "-").replace("/", "_").rstrip("=")):
        (content,) = scrubbed(
            {"text": "I look."}, {**call, "thoughtSignature": signature}, {**call, "thoughtSignature": signature}
        )
        assert content["parts"] == [{"text": "I look."}, {**call, "thoughtSignature": "skip_thought_signature_validator"}, call]


def test_a_call_after_one_of_geminis_own_needs_no_stand_in() -> None:
    own = {"functionCall": {"name": "f"}, "thoughtSignature": "AAAA"}
    (content,) = scrubbed(own, {"functionCall": {"name": "g"}, "thoughtSignature": token()})
    assert content["parts"] == [own, {"functionCall": {"name": "g"}}]


def test_thoughts_of_another_provider_go_and_texts_lose_what_rode_on_them() -> None:
    assert (
        scrubbed(
            {"text": "Hm.", "thought": True, "thoughtSignature": token(FOREIGN)}, {"text": "", "thoughtSignature": token()}
        )
        == []
    )
    (content,) = scrubbed({"text": "Hi.", "thought_signature": token(FOREIGN)})
    assert content["parts"] == [{"text": "Hi."}]


def test_what_the_issuer_sealed_itself_is_its_own_again() -> None:
    sealed = Reasoning(seal=Seal("call a SIGN", "gemini", "gemini"), redacted=True)
    call = {"functionCall": {"id": "a", "name": "f"}}
    (content,) = scrubbed({**call, "thoughtSignature": token(sealed)})
    assert content["parts"] == [{**call, "thoughtSignature": "SIGN"}]
    (content,) = scrubbed({**call, "thoughtSignature": token(sealed)}, issuer="another")
    assert content["parts"] == [{**call, "thoughtSignature": "skip_thought_signature_validator"}]


def test_ids_lose_what_rode_in_them() -> None:
    call_id = carrier.attach("toolu_1", [FOREIGN])
    (content,) = scrubbed({"functionCall": {"id": call_id, "name": "f"}}, {"functionResponse": {"id": call_id, "name": "f"}})
    assert [next(iter(part.values()))["id"] for part in content["parts"]] == ["toolu_1", "toolu_1"]


def test_what_holds_no_carrier_is_left_alone() -> None:
    body = {"contents": [{"parts": [{"text": "ZGdtMS is dgm1-"}, 7, {"thoughtSignature": "AAAA", "text": "x"}]}, "odd"], "x": 1}
    assert json.loads(GEMINI.scrub(json.dumps(body).encode(), "gemini")) == body
    for odd in (b"nonsense", b"[1]", b'{"contents":7}', b'{"contents":[{"parts":7}]}'):
        assert GEMINI.scrub(odd, "gemini") in {
            odd,
            json.dumps(json.loads(odd), separators=(",", ":")).encode() if odd != b"nonsense" else odd,
        }
