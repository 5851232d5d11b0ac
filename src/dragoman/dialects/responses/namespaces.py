"""Groups of tools. Here `{"type": "namespace", "name": "crm", "tools": [...]}` holds functions, and a call of one says both
names: `{"type": "function_call", "namespace": "crm", "name": "get_customer"}`. Nobody else has such groups, so in the hub the
function is called `crm__get_customer`, and a caller of this dialect gets both names back.
"""

from __future__ import annotations

from collections.abc import Iterable

from dragoman.ir.request import Tool, ToolCall


def qualified(namespace: str, name: str) -> str:
    """The name in the hub of a tool of a group. Groups of MCP servers are often called `mcp__server__` already."""
    return namespace + name if namespace.endswith("__") else f"{namespace}__{name}"


class Names:
    """The qualified names of one request's tools. `taken` are the names of those without a group."""

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self._taken = set(taken)
        self._of: dict[tuple[str, str], str] = {}

    def add(self, namespace: str, name: str) -> str:
        own = qualified(namespace, name)
        while own in self._taken:
            own += "_"
        self._taken.add(own)
        self._of[namespace, name] = own
        return own

    def of(self, namespace: str | None, name: str) -> str:
        if namespace is None:
            return name
        return self._of.get((namespace, name)) or qualified(namespace, name)

    def meant(self, name: str) -> str:
        """The tool that a choice means which names a grouped one by its own name alone."""
        if name in self._taken:
            return name
        found = [own for (_, tool), own in self._of.items() if tool == name]
        return found[0] if len(found) == 1 else name


class Callees:
    """The caller's tools, to say calls in the caller's own words."""

    def __init__(self, tools: Iterable[Tool]) -> None:
        self._spaces = {tool.name: tool.namespace for tool in tools if tool.namespace is not None}
        self._free = {tool.name for tool in tools if tool.kind == "custom"}

    def names(self, call: ToolCall) -> dict[str, str]:
        """`name`, and `namespace` where it has one."""
        space = self._spaces.get(call.name)
        if space is not None:
            return {"name": space.tool, "namespace": space.name}
        if call.namespace is not None and call.name.startswith(prefix := qualified(call.namespace, "")):
            return {"name": call.name.removeprefix(prefix), "namespace": call.namespace}
        return {"name": call.name}

    def wrapped(self, call: ToolCall) -> bool:
        """Whether this is a call of a free-text tool that went out as a function with one text."""
        return call.kind == "function" and call.name in self._free
