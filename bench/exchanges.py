"""What is asked: the bodies, and the bytes on the wire; and whether an answer to it is right.

What the upstream answers (`answers.py`) holds marks: one `~` in an answer in one piece, and one in each event of a stream, with
19 digits for the time at which the event was written. No gateway has a reason to touch them, so whoever counts the marks in an
answer knows whether it is whole.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any, Literal, assert_never

Dialect = Literal["chat", "messages", "responses", "gemini"]
"""What a client speaks."""
Upstream = Literal["chat", "messages", "responses", "gemini", "converse"]
"""What an upstream speaks."""
UPSTREAMS: tuple[Upstream, ...] = ("chat", "messages", "responses", "gemini", "converse")
Size = Literal["small", "large", "lossy"]

CHAT_MODEL = "gpt-4.1"
MESSAGES_MODEL = "claude-sonnet-4-5"
MODELS: dict[Upstream, str] = {
    "chat": CHAT_MODEL,
    "messages": MESSAGES_MODEL,
    "responses": "gpt-4.1-mini",
    "gemini": "gemini-2.5-pro",
    "converse": "nova-pro",
}
"""What is asked for, by the upstream that has it."""
KEY = "sk-bench-client-0001"
"""The clients' key, the same for every gateway that asks for one."""
UPSTREAM_KEY = "sk-bench-upstream-0001"
PATHS: dict[Dialect, str] = {
    "chat": "/v1/chat/completions",
    "messages": "/v1/messages",
    "responses": "/v1/responses",
    "gemini": "/v1beta/models/MODEL:VERB",
}
STAMP = "~" + "0" * 19 + ";"

_PROSE = (
    "the parser reads one line at a time and keeps what it has seen in a small table so that a later pass can report every "
    "mistake with its place while the writer waits for room and never drops a record unless the caller says that it may"
)
_WORDS = _PROSE.split()
_FILE_TOOLS = ["Bash", "Read", "Write", "Edit", "Glob", "Grep", "List"]
_TOOLS = [
    *_FILE_TOOLS, "MultiEdit", "Fetch", "Search", "Notebook", "Task", "Plan", "Todo", "Kill", "Output",
    "issues_create", "issues_list", "pulls_review", "files_move",
]  # fmt: skip


# ---------------------------------------------------------------- what is asked


def body(dialect: Dialect, size: Size = "small", *, events: int = 0, pace: int = 0, model: str = CHAT_MODEL) -> bytes:
    """The body of a request. `events` above 0 asks for a stream of so many, `pace` milliseconds apart (0: all at once).
    `lossy` asks for something that Chat Completions has no word for."""
    dice = random.Random(20261101)
    script = f"[events={events} pace={pace}]" if events else ""
    if size == "large":
        tree = _coding_session(dice, script)
        if dialect == "chat":
            tree = _session_in_chat(tree)
        elif dialect != "messages":
            raise ValueError(f"no large body in {dialect}")
    else:
        system = "You are a helpful assistant. " + _prose(dice, 300)
        tree = _question(dialect, system, f"Explain this function. {_prose(dice, 470)} {script}")
    if size == "lossy":
        tree["top_k"] = 40
    if dialect != "gemini":
        tree["model"] = model
        tree["stream"] = events > 0
    if dialect == "chat" and events:
        tree["stream_options"] = {"include_usage": True}
    return json.dumps(tree, separators=(",", ":"), ensure_ascii=False).encode()


def _question(dialect: Dialect, system: str, asked: str) -> dict[str, Any]:
    user = {"role": "user", "content": asked}
    match dialect:
        case "chat":
            messages = [{"role": "system", "content": system}, user]
            return {"model": "", "messages": messages, "temperature": 0.7, "max_tokens": 512}
        case "messages":
            return {"model": "", "max_tokens": 512, "system": system, "messages": [user], "temperature": 0.7}
        case "responses":
            options = {"temperature": 0.7, "max_output_tokens": 512, "store": False}
            return {"model": "", "instructions": system, "input": [user], **options}
        case "gemini":
            return {
                "systemInstruction": {"parts": [{"text": system}]},
                "contents": [{"role": "user", "parts": [{"text": asked}]}],
                "generationConfig": {"temperature": 0.7, "maxOutputTokens": 512},
            }
        case _:
            assert_never(dialect)


def request(dialect: Dialect, port: int, content: bytes, *, path: str = "", headers: Sequence[str] = ()) -> bytes:
    """The whole HTTP request, as it goes over the wire. `path` in place of the usual one; `headers` besides the usual ones."""
    match dialect:
        case "chat" | "responses":
            key = f"Authorization: Bearer {KEY}"
        case "messages":
            key = f"x-api-key: {KEY}\r\nanthropic-version: 2023-06-01"
        case "gemini":
            key = f"x-goog-api-key: {KEY}"
        case _:
            assert_never(dialect)
    lines = [
        f"POST {path or PATHS[dialect]} HTTP/1.1", f"Host: 127.0.0.1:{port}", "Content-Type: application/json", "Accept: */*",
        "User-Agent: bench", key, *headers, f"Content-Length: {len(content)}",
    ]  # fmt: skip
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


def _prose(dice: random.Random, size: int) -> str:
    text = ""
    while len(text) < size:
        text += dice.choice(_WORDS) + " "
    return text[:size].strip()


def _coding_session(dice: random.Random, script: str) -> dict[str, Any]:
    """What a coding agent sends in its fifth turn: 66 kB with 20 tools."""
    messages: list[dict[str, Any]] = [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": f"<reminder>\n{_prose(dice, 2500)}\n</reminder>"},
                {"type": "text", "text": f"Please make the failing test in parser.py pass. {script}"},
            ],
        }
    ]
    for turn in range(4):
        call = f"toolu_01{turn}A09q90qw90lq917835lq9"
        arguments = {"file_path": "/home/user/project/src/parser.py", "offset": turn * 100, "limit": 200}
        listing = "\n".join(f"{number:6d}\t{_prose(dice, 60)}" for number in range(30))
        messages += [
            {
                "role": "assistant",
                "content": [
                    {"type": "text", "text": _prose(dice, 120)},
                    {"type": "tool_use", "id": call, "name": dice.choice(_FILE_TOOLS), "input": arguments},
                ],
            },
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call, "content": listing}]},
        ]
    mark = {"cache_control": {"type": "ephemeral"}}
    return {
        "model": CHAT_MODEL,
        "max_tokens": 32000,
        "system": [
            {"type": "text", "text": "You are a coding agent.", **mark},
            {"type": "text", "text": _prose(dice, 12_000), **mark},
        ],
        "messages": messages,
        "tools": [_tool(dice, name) for name in _TOOLS],
        "metadata": {"user_id": "user_1234_session_5678"},
    }


def _session_in_chat(tree: dict[str, Any]) -> dict[str, Any]:
    """The same session as a client of Chat Completions sends it."""
    messages: list[dict[str, Any]] = [{"role": "system", "content": "\n\n".join(block["text"] for block in tree["system"])}]
    for message in tree["messages"]:
        blocks = message["content"]
        texts = "\n\n".join(block["text"] for block in blocks if block["type"] == "text")
        calls = [
            {"id": one["id"], "type": "function", "function": {"name": one["name"], "arguments": json.dumps(one["input"])}}
            for one in blocks
            if one["type"] == "tool_use"
        ]
        if texts or calls:
            messages.append({"role": message["role"], "content": texts} | ({"tool_calls": calls} if calls else {}))
        messages += [
            {"role": "tool", "tool_call_id": one["tool_use_id"], "content": one["content"]}
            for one in blocks
            if one["type"] == "tool_result"
        ]
    tools = [
        {
            "type": "function",
            "function": {**{name: tool[name] for name in ("name", "description")}, "parameters": tool["input_schema"]},
        }
        for tool in tree["tools"]
    ]
    return {"model": CHAT_MODEL, "max_completion_tokens": tree["max_tokens"], "messages": messages, "tools": tools}


def _tool(dice: random.Random, name: str) -> dict[str, Any]:
    properties: dict[str, Any] = {
        f"{dice.choice(_WORDS)}_{number}": {"type": kind, "description": _prose(dice, dice.randint(60, 160))}
        for number, kind in enumerate(["string", "string", "number", "boolean", "string"])
    }
    item = {
        "type": "object",
        "properties": {
            "id": {"type": "string", "description": _prose(dice, 40)},
            "content": {"type": "string", "minLength": 1},
            "status": {"type": "string", "enum": ["pending", "in_progress", "completed"]},
        },
        "required": ["content", "status"],
        "additionalProperties": False,
    }
    properties["items"] = {"type": "array", "description": _prose(dice, 80), "items": item}
    return {
        "name": name,
        "description": f"{_prose(dice, dice.randint(400, 900))}\n\n- Mind the `quotes\" and the <tags>, s'il vous plaît.\n",
        "input_schema": {
            "$schema": "http://json-schema.org/draft-07/schema#",
            "type": "object",
            "properties": properties,
            "required": list(properties)[:2],
            "additionalProperties": False,
        },
    }


# ---------------------------------------------------------------- what is answered

TEXT = (
    "The function reads the file line by line, skips what is blank, and yields each parsed record. It could be made faster by "
    "reading larger blocks and by leaving out the list in the middle.\n\n```python\ndef read(path):\n    with open(path, 'rb') "
    "as file:\n        for line in file:\n            if line.strip():\n                yield parse(line)\n```\n\nSay so if "
    "you would like it to read compressed files as well. "
)
"""Of an answer in one piece, before its mark."""


# ---------------------------------------------------------------- whether an answer is right


def what_is_wrong(dialect: Dialect, events: int, content_type: str, answer: bytes) -> str:
    """A sentence, or nothing when the answer says the whole text. Only the text is judged: peers may differ in the rest."""
    try:
        found, expected = _text_of(dialect, events, answer), STAMP * events if events else TEXT + STAMP
    except (ValueError, LookupError, TypeError) as error:
        return f"the answer ({content_type}) cannot be read: {error!r}"
    if events and not content_type.startswith("text/event-stream"):
        return f"a stream was asked for, and {content_type} came"
    return "" if found == expected else f"the text is wrong: {found[:60]!r}, {len(found)} characters for {len(expected)}"


def _text_of(dialect: Dialect, events: int, answer: bytes) -> str:
    if not events:
        return _whole_text(dialect, json.loads(answer))
    text = ""
    for line in answer.decode().splitlines():
        if line.startswith("data:") and line != "data: [DONE]":
            text += _event_text(dialect, json.loads(line[5:]))
    return text


def _whole_text(dialect: Dialect, tree: Any) -> str:
    match dialect:
        case "chat":
            return tree["choices"][0]["message"]["content"]
        case "messages":
            return "".join(block.get("text", "") for block in tree["content"])
        case "responses":
            messages = [item for item in tree["output"] if item["type"] == "message"]
            return "".join(part["text"] for item in messages for part in item["content"])
        case "gemini":
            return "".join(part["text"] for part in tree["candidates"][0]["content"]["parts"])
        case _:
            assert_never(dialect)


def _event_text(dialect: Dialect, event: Any) -> str:
    match dialect:
        case "chat":
            return "".join(choice["delta"].get("content") or "" for choice in event["choices"])
        case "messages":
            return event["delta"].get("text", "") if event["type"] == "content_block_delta" else ""
        case "responses":
            return event["delta"] if event["type"] == "response.output_text.delta" else ""
        case "gemini":
            said = [one.get("content", {}).get("parts", []) for one in event.get("candidates", [])]
            return "".join(part.get("text", "") for parts in said for part in parts)
        case _:
            assert_never(dialect)
