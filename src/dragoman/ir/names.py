"""Tool names that a dialect would refuse (too long, or with other characters than `A-Za-z0-9_-`), there and back.

An agent with many MCP servers has names such as `mcp__github-enterprise__create_pull_request_review_comment_thread`,
which Messages takes and Chat Completions refuses. They are shortened the same way each time, so that prompt caches
hold, and a call's name is its own again before the caller sees it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from hashlib import sha256

import msgspec

from dragoman.ir.events import Choice, Event, Open, Response
from dragoman.ir.request import Message, Part, Request, ToolCall, ToolResult

_FOREIGN = re.compile(r"[^A-Za-z0-9_-]")
_DIGEST = 8


def fitted(name: str, most: int) -> str:
    """The name itself where it fits, else one of at most `most` characters that no other name becomes."""
    if len(name) <= most and not _FOREIGN.search(name):
        return name
    digest = sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGEST]
    return _FOREIGN.sub("_", name)[: most - _DIGEST - 1] + "_" + digest


def fit(request: Request, most: int) -> tuple[Request, dict[str, str]]:
    """The request with every name fitting, and which name stands for which. Nothing is copied where all names fit."""
    names = [tool.name for tool in request.tools if tool.kind != "hosted"]
    for message in request.messages:
        for part in message.parts:
            if isinstance(part, ToolCall):
                names.append(part.name)
    # All at once, as nearly always nothing is wrong with any.
    if not names or (max(map(len, names)) <= most and not _FOREIGN.search("".join(names))):
        return request, {}
    changed = {name: short for name in names if name and (short := fitted(name, most)) != name}
    if not changed:
        return request, {}
    choice = request.tool_choice
    fitting = msgspec.structs.replace(
        request,
        tools=[
            msgspec.structs.replace(tool, name=changed.get(tool.name, tool.name)) if tool.kind != "hosted" else tool
            for tool in request.tools
        ],
        messages=[_renamed_in(message, changed) for message in request.messages],
        tool_choice=None
        if choice is None
        else msgspec.structs.replace(choice, names=[changed.get(name, name) for name in choice.names]),
    )
    return fitting, {short: name for name, short in changed.items()}


def _renamed_in(message: Message, names: Mapping[str, str]) -> Message:
    parts = [_renamed(part, names) for part in message.parts]
    return message if parts == message.parts else msgspec.structs.replace(message, parts=parts)


def _renamed(part: Part, names: Mapping[str, str]) -> Part:
    match part:
        case ToolCall() | ToolResult() if part.name is not None and part.name in names:
            return msgspec.structs.replace(part, name=names[part.name])
        case _:
            return part


def restored_event(event: Event, names: Mapping[str, str]) -> Event:
    """An event of the answer with its call's own name."""
    if isinstance(event, Open) and isinstance(event.part, ToolCall) and event.part.name in names:
        return msgspec.structs.replace(event, part=_renamed(event.part, names))
    return event


def restored(response: Response, names: Mapping[str, str]) -> Response:
    """A whole answer with the calls' own names."""
    if not names:
        return response
    choices: list[Choice] = [
        msgspec.structs.replace(choice, parts=[_renamed(part, names) for part in choice.parts]) for choice in response.choices
    ]
    return msgspec.structs.replace(response, choices=choices)
