"""The kit's Converse judged by AWS's SDK: what botocore parses is what the oracle says."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import boto3
import pytest
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError, EventStreamError, HTTPClientError

from dragoman.testing import (
    SCENARIOS,
    IllegalStream,
    Scenario,
    ScriptedUpstream,
    fold_converse,
    read_converse,
    render_converse,
    scenarios_for,
)
from dragoman.testing.eventstream import write_message

ASK: Any = [{"role": "user", "content": [{"text": "Hi"}]}]
SLOW = {"text-long", "tools-large-arguments", "endless-10k"}
"""In an SDK, and they show nothing new."""


@pytest.fixture(scope="module")
def bedrock() -> Iterator[Any]:
    with ScriptedUpstream.in_thread(split="bytes:7") as upstream:
        upstream.open_gate()
        client: Any = boto3.client(  # pyright: ignore[reportUnknownMemberType]
            "bedrock-runtime",
            region_name="us-east-1",
            endpoint_url=upstream.url,
            config=Config(signature_version=UNSIGNED, retries={"total_max_attempts": 1}, read_timeout=20),
        )
        yield client
        client.close()


def judged(*, fails: bool) -> list[Any]:
    return [
        pytest.param(one, id=one.name)
        for one in scenarios_for("converse", regular=True)
        if one.expected is not None and (one.expected.error is not None) == fails and one.name not in SLOW
    ]


def native(value: Any) -> Any:
    """As it stands in JSON: botocore gives bytes where base64 stood."""
    if isinstance(value, dict):
        return {key: native(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [native(inner) for inner in value]
    return b64encode(value).decode() if isinstance(value, bytes) else value


@pytest.mark.parametrize("one", judged(fails=False))
def test_it_reads_the_stream(bedrock: Any, one: Scenario) -> None:
    with closing(bedrock.converse_stream(modelId=f"scenario:{one.name}", messages=ASK)["stream"]) as stream:
        events = [next(iter(event.items())) for event in stream]
    written = b"".join(write_message(name, json.dumps(native(data)).encode()) for name, data in events)
    assert one.expected is not None
    assert events[0][0] == "messageStart"
    if "absent" not in one.name:
        seen = fold_converse(written)
        assert seen.gist == one.expected.gist
        assert seen.tokens == one.expected.tokens
        assert [block.signature for block in seen.blocks] == [block.signature for block in one.expected.blocks]


@pytest.mark.parametrize("one", [param for param in judged(fails=False) if param.values[0].unary])
def test_it_reads_the_whole_answer(bedrock: Any, one: Scenario) -> None:
    answer = native(bedrock.converse(modelId=f"scenario:{one.name}", messages=ASK))
    assert one.expected is not None
    if "absent" not in one.name:
        seen = read_converse(answer)
        assert seen.finish == one.expected.finish
        assert seen.tokens == one.expected.tokens
        assert [(block.kind, block.name) for block in seen.blocks] == [(b.kind, b.name) for b in one.expected.blocks]


def listen(bedrock: Any, one: Scenario) -> None:
    with closing(bedrock.converse_stream(modelId=f"scenario:{one.name}", messages=ASK)["stream"]) as stream:
        list(stream)


@pytest.mark.parametrize("one", judged(fails=True))
def test_it_raises_on_a_failed_stream(bedrock: Any, one: Scenario) -> None:
    assert one.expected is not None
    assert one.expected.error is not None
    expected = one.expected.error
    if expected.word == "cut" and expected.status is None:
        # It takes the end of the connection for the end of the stream: who needs to know asks for `metadata`.
        assert b"metadata" not in render_converse(one).body
        return
    with pytest.raises((ClientError, EventStreamError, HTTPClientError)) as raised:
        listen(bedrock, one)
    response: Any = getattr(raised.value, "response", None)
    if expected.status is not None:
        assert response["ResponseMetadata"]["HTTPStatusCode"] == expected.status
    elif response is not None:
        told = {"__type": response["Error"]["Code"], "message": response["Error"]["Message"]}
        assert read_converse(told).error == expected


def test_it_counts_tokens(bedrock: Any) -> None:
    assert bedrock.count_tokens(modelId="scenario:text", input={"converse": {"messages": ASK}})["inputTokens"] > 0


# ---------------------------------------------------------------- the judge


def events(*pairs: tuple[str, dict[str, Any]]) -> bytes:
    return b"".join(write_message(name, json.dumps(data).encode()) for name, data in pairs)


START: Any = ("messageStart", {"role": "assistant"})
TEXT: Any = ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "x"}})
STOP: Any = ("contentBlockStop", {"contentBlockIndex": 0})
CALL: Any = ("contentBlockStart", {"contentBlockIndex": 0, "start": {"toolUse": {"toolUseId": "1", "name": "f"}}})
END: Any = ("messageStop", {"stopReason": "end_turn"})
COUNTS: Any = (
    "metadata",
    {"usage": {"inputTokens": 1, "outputTokens": 2, "totalTokens": 3}, "metrics": {"latencyMs": 1}},
)


def test_the_judge_takes_what_is_legal() -> None:
    assert fold_converse(events(START, TEXT, STOP, END, COUNTS)).text == "x"


@pytest.mark.parametrize(
    ("stream", "why"),
    [
        (events(TEXT), "before messageStart"),
        (events(START, START), "a second one"),
        (events(START, TEXT, END), "still open"),
        (events(START, TEXT, STOP, END), "no metadata"),
        (events(START, TEXT, STOP, END, COUNTS, COUNTS), "after metadata"),
        (events(START, STOP), "is not open"),
        (events(START, TEXT, CALL), "still open"),
        (events(START, ("contentBlockDelta", {"contentBlockIndex": 1, "delta": {"text": "x"}})), "0 is next"),
        (events(START, ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"toolUse": {"input": ""}}})), "has no start"),
        (events(START, ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "x", "image": {}}})), "exactly one"),
        (events(START, CALL, STOP, END), "there are 1 calls"),
        (events(START, ("messageStop", {"stopReason": "done"})), "stopReason is 'done'"),
        (events(START, TEXT, STOP, END, ("metadata", {"usage": {}, "metrics": {"latencyMs": 1}})), "inputTokens"),
        (events(START)[:-3], "broke off"),
        (events(START)[:20] + b"!" + events(START)[21:], "broke off or was changed"),
        (b"data: x\n\n" * 3, "its prelude is wrong"),
        (write_message("throttlingException", b"{}", exception=True), "without a message"),
        (write_message("throttlingException", b'{"message":"x"}', exception=True) + events(START), "after an error"),
    ],
)
def test_the_judge_refuses_what_is_not(stream: bytes, why: str) -> None:
    with pytest.raises(IllegalStream, match=why):
        fold_converse(stream)


def test_every_scenario_of_its_own_is_known_by_name() -> None:
    assert {name for name in SCENARIOS if name.startswith("converse-")} >= {"converse-redacted", "converse-damaged"}
