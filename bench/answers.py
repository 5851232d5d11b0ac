"""What the upstreams answer: the bytes that go over the wire, for each dialect that one may speak.

Every answer is the same but for the times in the marks of its events (`exchanges.STAMP`). In a burst they are all zero, so that
also what is framed with a checksum, the event stream of Converse, can be made here.
"""

from __future__ import annotations

import binascii
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.exchanges import STAMP, TEXT, Upstream

_NAMES = {"id": "chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT", "created": 1741569952, "model": "gpt-4.1-2025-04-14"}
_SERVED = {"service_tier": "default", "system_fingerprint": "fp_44709d6fcb"}
_USAGE = {
    "prompt_tokens": 319,
    "completion_tokens": 110,
    "total_tokens": 429,
    "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
}


_STREAMED = "Content-Type: text/event-stream; charset=utf-8\r\nCache-Control: no-cache\r\nTransfer-Encoding: chunked"


def answer_files(upstream: Upstream = "chat") -> dict[str, bytes]:
    """What an upstream says, by the name of the file in which it looks for it."""
    return _MADE[upstream]()


def _chat_answers() -> dict[str, bytes]:
    message = {"role": "assistant", "content": TEXT + STAMP, "refusal": None, "annotations": []}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    answer = _dump({**_NAMES, "object": "chat.completion", "choices": [choice], "usage": _USAGE, **_SERVED})
    first = _event({"role": "assistant", "content": "", "refusal": None})
    usage = _dump({**_NAMES, "object": "chat.completion.chunk", **_SERVED, "choices": [], "usage": _USAGE})
    last = _event({}, "stop") + _chunk(b"data: " + usage + b"\n\n") + _chunk(b"data: [DONE]\n\n")
    return {
        "whole.http": _head(f"Content-Type: application/json\r\nContent-Length: {len(answer)}") + answer,
        "begin.http": _head(_STREAMED) + first,
        "event.http": _event({"content": STAMP}),
        "end.http": last + b"0\r\n\r\n",
    }


def _messages_answers() -> dict[str, bytes]:
    used = {
        "input_tokens": 319, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0, "output_tokens": 1,
        "service_tier": "standard",
    }  # fmt: skip
    message = {
        "id": "msg_01XFDUDYJgAACzvnptvVoYEL", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5-20250929",
        "content": [], "stop_reason": None, "stop_sequence": None, "usage": used,
    }  # fmt: skip
    whole = message | {
        "content": [{"type": "text", "text": TEXT + STAMP}],
        "stop_reason": "end_turn",
        "usage": used | {"output_tokens": 110},
    }
    answer = _dump(whole)
    begin = _named({"type": "message_start", "message": message}) + _named(
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    )
    delta = {"stop_reason": "end_turn", "stop_sequence": None}
    end = (
        _named({"type": "content_block_stop", "index": 0})
        + _named({"type": "message_delta", "delta": delta, "usage": {"output_tokens": 110}})
        + _named({"type": "message_stop"})
    )
    return {
        "whole.http": _head(f"Content-Type: application/json\r\nContent-Length: {len(answer)}") + answer,
        "begin.http": _head(_STREAMED) + begin,
        "event.http": _named({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": STAMP}}),
        "end.http": end + b"0\r\n\r\n",
    }


def _responses_answers() -> dict[str, bytes]:
    item = {"id": "msg_68af4030baa48193b0b43b4c2a176a1a", "type": "message", "role": "assistant"}
    part = {"type": "output_text", "annotations": [], "logprobs": []}
    used = {
        "input_tokens": 319, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": 110,
        "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 429,
    }  # fmt: skip
    response = {
        "id": "resp_68af4030592c81938ec0a5fbab4a3e9f", "object": "response", "created_at": 1741569952, "status": "in_progress",
        "background": False, "error": None, "incomplete_details": None, "instructions": None, "max_output_tokens": 512,
        "model": "gpt-4.1-mini-2025-04-14", "output": [], "parallel_tool_calls": True, "previous_response_id": None,
        "reasoning": {"effort": None, "summary": None}, "service_tier": "default", "store": False, "temperature": 0.7,
        "text": {"format": {"type": "text"}, "verbosity": "medium"}, "tool_choice": "auto", "tools": [], "top_p": 1.0,
        "truncation": "disabled", "usage": None, "user": None, "metadata": {},
    }  # fmt: skip
    whole = {**item, "status": "completed", "content": [{**part, "text": TEXT + STAMP}]}
    answer = _dump({**response, "status": "completed", "output": [whole], "usage": used})
    begun = {**item, "status": "in_progress", "content": []}
    where = {"item_id": item["id"], "output_index": 0, "content_index": 0}
    begin = (
        _named({"type": "response.created", "sequence_number": 0, "response": response})
        + _named({"type": "response.in_progress", "sequence_number": 1, "response": response})
        + _named({"type": "response.output_item.added", "sequence_number": 2, "output_index": 0, "item": begun})
        + _named({"type": "response.content_part.added", "sequence_number": 3, **where, "part": {**part, "text": ""}})
    )
    delta = {
        "type": "response.output_text.delta",
        "sequence_number": 4,
        **where,
        "delta": STAMP,
        "logprobs": [],
        "obfuscation": "Kq3",
    }
    # A real one says its whole text here, four times; this one cannot, as it does not know how long it will have been.
    end = _named(
        {"type": "response.completed", "sequence_number": 5, "response": {**response, "status": "completed", "usage": used}}
    )
    return {
        "whole.http": _head(f"Content-Type: application/json\r\nContent-Length: {len(answer)}") + answer,
        "begin.http": _head(_STREAMED) + begin,
        "event.http": _named(delta),
        "end.http": end + b"0\r\n\r\n",
    }


def _gemini_answers() -> dict[str, bytes]:
    names = {"modelVersion": "gemini-2.5-pro", "responseId": "qK3zaIyEDsfQz7IP1_eQgQw"}
    details = [{"modality": "TEXT", "tokenCount": 319}]
    used = {"promptTokenCount": 319, "candidatesTokenCount": 110, "totalTokenCount": 429, "promptTokensDetails": details}

    def said(text: str, **more: Any) -> dict[str, Any]:
        candidate = {"content": {"parts": [{"text": text}], "role": "model"}, **more, "index": 0}
        return {"candidates": [candidate], "usageMetadata": used, **names}

    answer = _dump(said(TEXT + STAMP, finishReason="STOP", avgLogprobs=-0.1))
    return {
        "whole.http": _head(f"Content-Type: application/json; charset=UTF-8\r\nContent-Length: {len(answer)}") + answer,
        "begin.http": _head(_STREAMED),
        "event.http": _chunk(b"data: " + _dump(said(STAMP)) + b"\r\n\r\n"),
        "end.http": _chunk(b"data: " + _dump(said("", finishReason="STOP")) + b"\r\n\r\n") + b"0\r\n\r\n",
    }


def _converse_answers() -> dict[str, bytes]:
    usage = {"inputTokens": 319, "outputTokens": 110, "totalTokens": 429}
    metrics = {"latencyMs": 1530}
    content = {"message": {"role": "assistant", "content": [{"text": TEXT + STAMP}]}}
    answer = _dump({"metrics": metrics, "output": content, "stopReason": "end_turn", "usage": usage})
    streamed = _STREAMED.replace("text/event-stream; charset=utf-8", "application/vnd.amazon.eventstream")
    delta = {"contentBlockIndex": 0, "delta": {"text": STAMP}, "p": "abcdefghijklmnopq"}
    end = (
        _message("contentBlockStop", {"contentBlockIndex": 0, "p": "abcdefghij"})
        + _message("messageStop", {"stopReason": "end_turn", "p": "abcdefghijkl"})
        + _message("metadata", {"metrics": metrics, "usage": usage, "p": "abcd"})
    )
    return {
        "whole.http": _head(f"Content-Type: application/json\r\nContent-Length: {len(answer)}") + answer,
        "begin.http": _head(streamed) + _message("messageStart", {"role": "assistant", "p": "abcdef"}),
        "event.http": _message("contentBlockDelta", delta),
        "end.http": end + b"0\r\n\r\n",
    }


def _message(kind: str, tree: dict[str, Any]) -> bytes:
    """A message of an event stream (https://smithy.io/2.0/aws/amazon-eventstream.html), as a chunk."""
    headers = b""
    for name, value in ((":event-type", kind), (":content-type", "application/json"), (":message-type", "event")):
        headers += bytes([len(name)]) + name.encode() + b"\x07" + struct.pack(">H", len(value)) + value.encode()
    payload = _dump(tree)
    prelude = struct.pack(">II", 16 + len(headers) + len(payload), len(headers))
    message = prelude + struct.pack(">I", binascii.crc32(prelude)) + headers + payload
    return _chunk(message + struct.pack(">I", binascii.crc32(message)))


_MADE: dict[Upstream, Callable[[], dict[str, bytes]]] = {
    "chat": _chat_answers,
    "messages": _messages_answers,
    "responses": _responses_answers,
    "gemini": _gemini_answers,
    "converse": _converse_answers,
}


def _named(event: dict[str, Any]) -> bytes:
    return _chunk(f"event: {event['type']}\ndata: ".encode() + _dump(event) + b"\n\n")


def write_answers(folder: Path, upstream: Upstream = "chat") -> None:
    for name, content in answer_files(upstream).items():
        (folder / name).write_bytes(content)


def _head(headers: str) -> bytes:
    return f"HTTP/1.1 200 OK\r\nServer: upstream\r\nx-request-id: req_011CSHoEeqs5C35K2UUqR7Fy\r\n{headers}\r\n\r\n".encode()


def _event(delta: dict[str, Any], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    data = _dump({**_NAMES, "object": "chat.completion.chunk", **_SERVED, "choices": [choice]})
    return _chunk(b"data: " + data + b"\n\n")


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _dump(tree: dict[str, Any]) -> bytes:
    return json.dumps(tree, separators=(",", ":")).encode()
