"""The Response object: an answer, with an echo of the request that it answers. Types: `openai.types.responses.response`.

It stands three times in a stream (created, in progress, at the end) and once in a whole answer, each time with the same id and
the same echo; only status, output, usage and the reason of an end differ.
"""

from __future__ import annotations

from typing import Any

import msgspec

from dragoman.dialects.base import Reply
from dragoman.dialects.openai_parts import merge
from dragoman.dialects.responses.ids import response_id
from dragoman.dialects.responses.tools import choice_body, format_body, grouped, summary_word, tool_body
from dragoman.ir.request import Request, Tool

Block = dict[str, Any]

_encode = msgspec.json.Encoder().encode


class Shell:
    """One answer's Response object, but for what changes."""

    def __init__(self, reply: Reply, given_id: str, model: str) -> None:
        self.id = reply.own_id or response_id(given_id, reply.fallback_id or f"resp_{reply.created}")
        head = {"id": self.id, "object": "response", "created_at": reply.created, "model": model or reply.model}
        self._head = _encode(head)[:-1]
        self._echo = b"," + _encode(echo_of(reply.request))[1:-1]

    def body(
        self,
        status: str,
        output: list[bytes],
        *,
        usage: Block | None = None,
        incomplete: str | None = None,
        error: Block | None = None,
    ) -> bytes:
        """`output`: the items, each as JSON."""
        ends = {
            "status": status,
            "error": error,
            "incomplete_details": None if incomplete is None else {"reason": incomplete},
        }
        return b'%b,%b%b,"output":[%b],"usage":%b}' % (
            self._head,
            _encode(ends)[1:-1],
            self._echo,
            b",".join(output),
            _encode(usage),
        )


def echo_of(request: Request) -> Block:
    """What the caller asked for, with this API's defaults where it said nothing."""
    extras = request.extras
    ask = request.reasoning
    sampling = request.sampling
    return {
        "background": extras.get("background", False),
        "conversation": _conversation(extras.get("conversation")),
        "instructions": next((text.text for text in request.system if text.at == (None, "instructions")), None),
        "max_output_tokens": request.max_tokens,
        "max_tool_calls": extras.get("max_tool_calls"),
        "metadata": request.metadata,
        "parallel_tool_calls": request.parallel if request.parallel is not None else True,
        "previous_response_id": extras.get("previous_response_id"),
        "prompt": extras.get("prompt"),
        "prompt_cache_key": request.cache_key,
        "prompt_cache_retention": request.cache_policy.get("prompt_cache_retention"),
        "reasoning": {"effort": ask.effort if ask else None, "summary": summary_word(ask) if ask else None},
        "safety_identifier": _named(request, "safety_identifier"),
        "service_tier": request.service_tier or "default",
        "store": request.store if request.store is not None else True,
        "temperature": sampling.temperature if sampling.temperature is not None else 1.0,
        "text": _text(request),
        "tool_choice": _choice(request),
        "tools": _tools(request),
        "top_logprobs": request.top_logprobs or 0,
        "top_p": sampling.top_p if sampling.top_p is not None else 1.0,
        "truncation": extras.get("truncation", "disabled"),
        "user": _named(request, "user"),
    }


def _named(request: Request, key: str) -> str | None:
    """The caller's user, under the name by which the caller said it."""
    said = request.paths.get("user", (None, "user"))
    return request.user if said == (None, key) else request.extras.get(key)


def _conversation(native: Any) -> Any:
    return {"id": native} if isinstance(native, str) else native


def _text(request: Request) -> Block:
    wanted = request.format
    native: Block = {"type": "text"}
    if wanted is not None:
        native = format_body(wanted, wanted.name or "response")
        if wanted.kind == "schema":
            native["strict"] = wanted.strict or False
    return {"format": native, "verbosity": request.verbosity or "medium"}


def _choice(request: Request) -> Any:
    if request.tool_choice is None:
        return request.extras.get("tool_choice", "auto")
    native = choice_body(request.tool_choice, request.tools)
    if isinstance(native, dict):
        merge(native, request.tool_choice.extras)
    return native


def _tools(request: Request) -> list[Block]:
    natives = grouped((tool, _tool(tool)) for tool in request.tools if tool.kind != "hosted" or tool.dialect == "responses")
    for native in natives:
        if native["type"] == "namespace":
            native.setdefault("description", "")
    return natives


def _tool(tool: Tool) -> Block:
    if tool.kind == "hosted":
        return tool.native
    native = tool_body(tool)
    if tool.kind == "function":
        native.setdefault("strict", None)
        native.setdefault("description", None)
    merge(native, tool.extras)
    return native
