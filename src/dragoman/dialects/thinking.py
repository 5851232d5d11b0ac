"""How much to think: a word for APIs that want one where the caller gave tokens, tokens where it gave a word; and Anthropic's
own object `thinking`, which stands in the body of Messages and among the model's own fields in Converse.

https://platform.claude.com/docs/en/build-with-claude/extended-thinking
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dragoman.dialects.shape import Fields
from dragoman.ir.losses import Ledger
from dragoman.ir.request import ReasoningAsk, Request

Block = dict[str, Any]

_BUDGETS = {"minimal": 1024, "low": 1024, "medium": 4096, "high": 16384, "xhigh": 32768, "max": 32768}
"""Tokens to think with, for models that want a budget instead of an effort."""
_LEAST_BUDGET = 1024
_EFFORTS = frozenset({"low", "medium", "high", "xhigh", "max"})


def effort_of(budget: int) -> str:
    return "low" if budget < 2048 else "medium" if budget < 8192 else "high"


def effort_asked(ask: ReasoningAsk) -> str | None:
    """In the caller's word, or by the tokens that it gave."""
    return ask.effort or (effort_of(ask.budget) if ask.budget is not None else None)


# ---------------------------------------------------------------- Anthropic's object


def read_thinking(thinking: Fields, ask: ReasoningAsk) -> None:
    """Into `ask`, as far as the hub has words for it. What it has none for is kept for those who know the object."""
    match thinking.any("type"):
        case "enabled":
            ask.mode, ask.budget = "on", thinking.integer("budget_tokens")
        case "disabled":
            ask.mode = "off"
        case "adaptive":
            ask.mode = "adaptive"
        case None:
            pass
        case other:
            # `between_tools` and what comes after it: kept for its own dialect, a loss elsewhere.
            ask.extras = {"type": other}
    ask.display = thinking.text("display")
    ask.extras = ask.extras | thinking.rest()


def native_thinking(ask: ReasoningAsk) -> Block:
    """As a caller wrote it who speaks of it in these words already."""
    kind = {"on": "enabled", "off": "disabled", "adaptive": "adaptive", None: None}[ask.mode]
    native: Block = {"type": kind} if kind else {}
    if ask.budget is not None:
        native["budget_tokens"] = ask.budget
    if ask.display is not None:
        native["display"] = ask.display
    native.update(ask.extras)
    return native


def adaptive_effort(request: Request, ask: ReasoningAsk, ledger: Ledger) -> str | None:
    """The effort for a model that decides itself how much to think."""
    effort = effort_asked(ask)
    if effort is not None and effort not in _EFFORTS:
        ledger.add(ask.at, None, f"effort {effort} is sent as low", "info")
        effort = "low"
    if ask.budget is not None:
        at = request.paths.get("budget") or ask.at
        if ask.effort is None:
            ledger.add(at, None, f"the budget of tokens is told as effort {effort}", "degraded")
        else:
            ledger.add(at, None, "a budget of tokens beside an effort cannot be told", "info")
    return effort


def budget_wished(ask: ReasoningAsk) -> int:
    """In tokens, for a model that wants a budget."""
    return ask.budget or _BUDGETS.get(ask.effort or "medium", _BUDGETS["medium"])


def budget_within(most: int | None, request: Request, ask: ReasoningAsk, ledger: Ledger) -> int | None:
    """The budget in an answer of `most` tokens, thinking included; None where it leaves too little to think at all."""
    budget = budget_wished(ask) if most is None else min(budget_wished(ask), most - 1)
    if budget >= _LEAST_BUDGET:
        return budget
    ledger.add(ask.at, None, f"off: the limit on the answer leaves less than {_LEAST_BUDGET} tokens", "degraded")
    effort_lost(request, ask, ledger, "left out with the thinking")
    return None


def effort_told(budget: int, request: Request, ask: ReasoningAsk, ledger: Ledger) -> None:
    """A word on an effort that has become a budget."""
    if ask.effort is not None:
        ledger.add(request.paths.get("effort") or ask.at, None, f"told as a budget of {budget} tokens", "info")


def effort_lost(request: Request, ask: ReasoningAsk, ledger: Ledger, what: str) -> None:
    """A word on an effort that stands apart from the rest of what was asked, of which a word has been said."""
    at = request.paths.get("effort") or ask.at
    if ask.effort is not None and at != ask.at:
        ledger.add(at, None, what, "info")


def show_thinking(thinking: Block, ask: ReasoningAsk) -> bool:
    """Says in the object how thinking is shown, and whether that is as it was asked for. The models that can be told are those
    that decide themselves how much to think."""
    if ask.display is not None and thinking.get("type") == "adaptive":
        thinking["display"] = "omitted" if ask.display == "omitted" else "summarized"
    return ask.display is None or thinking.get("display") == ask.display


def answers_unthought_call(messages: list[Block], result: Callable[[Block], bool], thought: Callable[[Block], bool]) -> bool:
    """Whether the conversation is in the middle of a tool loop whose assistant turn has lost its thinking. `result` and
    `thought` know a block that is one."""
    if not messages or messages[-1]["role"] != "user" or not result(messages[-1]["content"][0]):
        return False
    for message in reversed(messages):
        if message["role"] == "assistant":
            return not thought(message["content"][0])
    return True
