"""What a client asks, in no dialect's words. Each client says it in its own (`client_*.py`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import msgspec

OBJECT: dict[str, Any] = {"type": "object", "properties": {}}


class Tool(msgspec.Struct, frozen=True):
    """`schema` None is a tool that takes free text."""

    name: str
    description: str = "A tool."
    schema: Mapping[str, Any] | None = msgspec.field(default_factory=lambda: OBJECT)


class Image(msgspec.Struct, frozen=True):
    """Base64 `data` with its `mime` type, or a `url`."""

    data: str = ""
    url: str = ""
    mime: str = "image/png"


class Call(msgspec.Struct, frozen=True):
    """A call that the client says the model made."""

    id: str
    name: str
    arguments: Mapping[str, Any]


class Result(msgspec.Struct, frozen=True):
    """What a tool said. `images` come with it; `reference` (Messages only) names a tool that was found; `failed`: an error."""

    id: str
    text: str = ""
    name: str = ""
    images: tuple[Image, ...] = ()
    reference: str = ""
    failed: bool = False


class User(msgspec.Struct, frozen=True):
    """`marked`: for the prompt cache, in Anthropic's way, which OpenRouter and others have in Chat too."""

    text: str
    images: tuple[Image, ...] = ()
    marked: bool = False


class Model(msgspec.Struct, frozen=True):
    """A turn of the model that the client made up."""

    text: str = ""
    calls: tuple[Call, ...] = ()


class Again(msgspec.Struct, frozen=True):
    """A turn of the model as it came: `history` is what the client's SDK replays."""

    history: Any


class Results(msgspec.Struct, frozen=True):
    results: tuple[Result, ...]


Turn: TypeAlias = User | Model | Again | Results


class Prompt(msgspec.Struct, frozen=True, kw_only=True):
    """`choice` is `auto`, `none`, `required`, or the name of the tool that must be called. `schema` asks for structured output,
    `thinking` for reasoning, shown, `effort` for how much. `native` is added to the body in the client's own words, `headers`
    to the request."""

    turns: tuple[Turn, ...]
    system: str = ""
    tools: tuple[Tool, ...] = ()
    choice: Literal["", "auto", "none", "required"] | str = ""
    parallel: bool = True
    max_tokens: int = 4096
    temperature: float | None = None
    stop: tuple[str, ...] = ()
    schema: Mapping[str, Any] | None = None
    thinking: bool = False
    effort: Literal["", "low", "medium", "high"] = ""
    native: Mapping[str, Any] = {}
    headers: Mapping[str, str] = {}
