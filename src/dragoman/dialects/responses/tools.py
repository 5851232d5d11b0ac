"""Tools, tool choice, format and reasoning in this API's words: for requests that go out, and for the echo of them in an
answer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

import msgspec

from dragoman.ir.request import Format, ReasoningAsk, Tool, ToolChoice

Block = dict[str, Any]

NO_PARAMETERS = msgspec.Raw(b'{"type":"object","properties":{}}')
_SUMMARY_OF = {"summarized": "auto", "concise": "concise", "detailed": "detailed"}


def tool_body(tool: Tool) -> Block:
    """A function or a free-text tool, without what stood beside what the hub knows."""
    space = tool.namespace
    name, description = (tool.name, tool.description) if space is None else (space.tool, space.tool_description)
    native: Block = {"type": tool.kind, "name": name}
    if description is not None:
        native["description"] = description
    if tool.kind == "custom":
        native.update({key: _flat(value) if key == "format" else value for key, value in tool.native.items()})
    else:
        native["parameters"] = tool.schema if bytes(tool.schema) else NO_PARAMETERS
        if tool.strict is not None:
            native["strict"] = tool.strict
    return native


def _flat(form: Any) -> Any:
    """The format of a free-text tool, which in Chat Completions has an object within the object."""
    inner = cast("Block", form).get("grammar") if isinstance(form, dict) else None
    return {"type": "grammar", **inner} if isinstance(inner, dict) else form


def grouped(tools: Iterable[tuple[Tool, Block]]) -> list[Block]:
    """The tools with those of a group in it again."""
    natives: list[Block] = []
    held: tuple[str, object] | None = None
    for tool, native in tools:
        space = tool.namespace
        if space is None:
            natives.append(native)
            held = None
            continue
        if held != (space.name, space.at):
            held = (space.name, space.at)
            described = {} if space.description is None else {"description": space.description}
            natives.append({"type": "namespace", "name": space.name, **described, "tools": []})
        natives[-1]["tools"].append(native)
    return natives


def choice_body(choice: ToolChoice, tools: Iterable[Tool]) -> str | Block:
    """Without the caller's extras."""
    known = {tool.name: tool for tool in tools if tool.kind != "hosted"}

    def named(name: str) -> Block:
        tool = known.get(name)
        if tool is None:
            return {"type": "function", "name": name}
        space = tool.namespace
        return {"type": tool.kind, "name": name} if space is None else {"type": tool.kind, "name": space.tool}

    match choice.mode:
        case "tool":
            return named(choice.names[0])
        case "allowed":
            mode = "required" if choice.required else "auto"
            return {"type": "allowed_tools", "mode": mode, "tools": [named(name) for name in choice.names]}
        case _:
            return choice.mode


def format_body(wanted: Format, name: str) -> Block:
    if wanted.kind != "schema":
        return {"type": "text" if wanted.kind == "text" else "json_object"}
    native: Block = {"type": "json_schema", "name": name}
    if wanted.description is not None:
        native["description"] = wanted.description
    native["schema"] = wanted.schema if bytes(wanted.schema) else {}
    return native


def summary_word(ask: ReasoningAsk) -> str | None:
    """`auto`, `concise` or `detailed`; None where no summary was asked for."""
    return _SUMMARY_OF.get(ask.display or "")
