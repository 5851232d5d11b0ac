"""The hub's request: what any client may ask of any model, in no dialect's words.

A dialect's `decode_request` makes one of these; another's `encode_request` reads it. Shapes:

    Request
      system     [Text, ...]                    instructions that stand before the conversation
      messages   [Message(role, [Part, ...])]   `system` may also stand between turns
      tools      [Tool]      tool_choice ToolChoice      format Format      reasoning ReasoningAsk
      sampling   Sampling    stop [str]    max_tokens int    user str    ...

Every node has `at`, its path in the caller's own body, so that a loss can be named in the caller's
words, and `extras`: what the caller said beside the fields the hub knows, by its native key. An
encoder of the same dialect writes extras back; any other enters them in the ledger.

Values that nobody needs to look into (JSON Schemas, tool arguments) stay JSON text: they are carried,
not understood, and arrive byte for byte.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import msgspec

Path: TypeAlias = "tuple[Path | None, str | int] | None"
"""A place in the caller's body as a linked list from leaf to root (`None` is the root): making one
costs a tuple, and it becomes text only when a loss is reported."""

Extras = dict[str, Any]


def path_text(at: Path) -> str:
    """`messages[3].content[0].cache_control`; the root is `$`."""
    keys: list[str | int] = []
    while at is not None:
        at, key = at
        keys.append(key)
    text = ""
    for key in reversed(keys):
        if isinstance(key, int):
            text += f"[{key}]"
        else:
            text += f".{key}" if text else key
    return text or "$"


class Node(msgspec.Struct, kw_only=True, gc=False):
    at: Path = None
    extras: Extras = {}


class CacheMark(msgspec.Struct, frozen=True):
    """The prompt up to here is worth caching. `ttl` in the words of the Messages API (`5m`, `1h`); `key` is the name
    under which the caller said it; `at` is where, if not on what it marks."""

    ttl: str | None = None
    key: str = "cache_control"
    at: Path = None

    def spot(self, at: Path) -> Path:
        """The mark's own place. `at`: that of what it marks."""
        return (at if self.at is None else self.at, self.key)


class Seal(msgspec.Struct, frozen=True):
    """State that only its issuer can read: a signature, encrypted reasoning, a thought signature.

    `issuer` is the provider that made it, and the only one that it is ever sent to. `None` means that
    it came bare from the client, in that dialect's native place: `dialect` then says whose form it has.
    """

    value: str
    issuer: str | None = None
    dialect: str = ""


# ---------------------------------------------------------------- parts


class Text(Node):
    text: str
    citations: list[Citation] = []
    cache: CacheMark | None = None


class Refusal(Node):
    """The model declined, in its own words."""

    text: str


class Reasoning(Node):
    """Thinking. `text` may be empty while `seal` is not, and then it must be kept all the same.
    `redacted`: the issuer gave only the sealed form. `summary`: text is a summary of the thinking."""

    text: str = ""
    seal: Seal | None = None
    redacted: bool = False
    summary: bool = False


class Image(Node):
    """Exactly one of `data` (standard base64), `url` and `file` (an id in the provider's store) is set."""

    media_type: str = ""
    data: str | None = None
    url: str | None = None
    file: str | None = None
    detail: str | None = None
    cache: CacheMark | None = None


class Document(Node):
    """A PDF or a text. Exactly one of `data` (base64), `url`, `file`, `text`, `parts` is set."""

    media_type: str = ""
    data: str | None = None
    url: str | None = None
    file: str | None = None
    text: str | None = None
    parts: list[Part] | None = None
    title: str | None = None
    context: str | None = None
    cite: bool | None = None
    cache: CacheMark | None = None


class Audio(Node):
    """`data` is standard base64; `format` as in `wav`, `mp3`."""

    data: str
    format: str


class ToolCall(Node):
    """`arguments` is JSON text, byte for byte as the model wrote it. `kind` is `custom` for a tool
    whose input is free text: then `arguments` is that text. `namespace` as in `Tool`: its name alone."""

    id: str
    name: str
    arguments: str = ""
    kind: Literal["function", "custom"] = "function"
    namespace: str | None = None
    cache: CacheMark | None = None


class ToolResult(Node):
    """`error_at`: where the caller said that it is an error, if that is a place of its own."""

    call_id: str
    parts: list[Part]
    is_error: bool = False
    error_at: Path = None
    name: str | None = None
    cache: CacheMark | None = None


class Unknown(Node):
    """A part that the hub has no word for, with the dialect that has. A value, not an error."""

    native: dict[str, Any]
    dialect: str


class Citation(Node):
    """Where a text comes from. `start`/`end` are character offsets in the citing text, where known.
    `native` holds the whole citation as its dialect wrote it."""

    kind: str = ""
    url: str | None = None
    title: str | None = None
    cited_text: str | None = None
    start: int | None = None
    end: int | None = None
    native: dict[str, Any] = {}
    dialect: str = ""


Part: TypeAlias = Text | Refusal | Reasoning | Image | Document | Audio | ToolCall | ToolResult | Unknown


# ---------------------------------------------------------------- the request


class Message(Node):
    role: Literal["system", "user", "assistant"]
    parts: list[Part]
    name: str | None = None


class Namespace(Node):
    """The group that a tool stands in, in a dialect that has groups. The tool's own name and description there; its `name` in
    the hub is unique among all tools, and the first tool of a group brings the group's description along in its own."""

    name: str
    description: str | None = None
    tool: str = ""
    tool_description: str | None = None


class Tool(Node):
    """`schema` is the JSON Schema of the input as JSON text. `kind`: `function`; `custom`, free text in,
    with `format` as Chat Completions writes it; `hosted`, run by the provider: `native` is all of it."""

    name: str
    description: str | None = None
    schema: msgspec.Raw = msgspec.Raw(b"")
    strict: bool | None = None
    kind: Literal["function", "custom", "hosted"] = "function"
    native: dict[str, Any] = {}
    dialect: str = ""
    namespace: Namespace | None = None
    stand_in: Tool | None = None
    """Of a hosted tool that the caller runs itself, and that only one maker's models know by its type: what it is to others."""
    cache: CacheMark | None = None


class ToolChoice(Node):
    """`mode` `tool` forces the one in `names`; `allowed` limits `auto` (or, with `required`, the force) to `names`."""

    mode: Literal["auto", "none", "required", "tool", "allowed"] = "auto"
    names: list[str] = []
    required: bool = False


class Format(Node):
    """What the answer must look like. `schema` is JSON text for kind `schema`."""

    kind: Literal["text", "json", "schema"]
    schema: msgspec.Raw = msgspec.Raw(b"")
    name: str | None = None
    description: str | None = None
    strict: bool | None = None


class ReasoningAsk(Node):
    """How much to think. `mode`: `on`, `off`, `adaptive` (the model decides), or None (not said).
    `effort`: `none minimal low medium high xhigh max`. `budget`: tokens. `display`: `summarized` (also `concise` or
    `detailed`, which say how), `omitted`."""

    mode: Literal["on", "off", "adaptive"] | None = None
    effort: str | None = None
    budget: int | None = None
    display: str | None = None


class Sampling(msgspec.Struct, gc=False):
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    repetition_penalty: float | None = None
    seed: int | None = None
    logit_bias: dict[str, float] | None = None


class Request(Node):
    """`model` and `stream` as the caller sent them. `parallel` is None where the caller did not say."""

    model: str
    dialect: str
    stream: bool = False
    include_usage: bool = False
    system: list[Text] = []
    messages: list[Message] = []
    tools: list[Tool] = []
    tool_choice: ToolChoice | None = None
    parallel: bool | None = None
    format: Format | None = None
    reasoning: ReasoningAsk | None = None
    sampling: Sampling = msgspec.field(default_factory=Sampling)
    max_tokens: int | None = None
    stop: list[str] = []
    n: int | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    user: str | None = None
    metadata: dict[str, Any] = {}
    service_tier: str | None = None
    cache: CacheMark | None = None
    cache_key: str | None = None
    cache_policy: dict[str, Any] = {}
    """How and how long the prompt is cached, in the words that OpenAI's dialects share: `prompt_cache_retention`,
    `prompt_cache_options`."""
    verbosity: str | None = None
    store: bool | None = None
    sealed_reasoning: bool = False
    """The caller asked for the sealed form of reasoning by name. It gets it unasked too, wherever its dialect has a place."""
    stand_ins: bool = False
    """Some of the tools have one."""
    template: str | None = None
    """The field that names what is to be said, which only a provider of the caller's own API has."""
    goes_on_from: str | None = None
    """An earlier answer's id: what was said up to it is not here, but with the provider that gave it."""
    legacy_functions: bool = False
    """The caller speaks `functions`/`function_call`, and wants its answer in those words."""
    echo: bool = False
    """The answer is to begin with the prompt (completions). The encoder of the answer sees to that, whatever the target."""
    paths: dict[str, Path] = {}
    """Where a field stands in the caller's body, for those that stand there under another name than here, so that
    a loss is told in the caller's words: `stop`, `max_tokens`, `user`, `parallel`, `effort`, ..."""

    def path_of(self, field: str) -> Path:
        return self.paths.get(field) or (None, field)
