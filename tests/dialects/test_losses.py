"""Nothing is dropped silently: every leaf of every request in the corpus is in what goes to the target, or in the ledger."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dragoman.dialects import DIALECTS
from dragoman.dialects.base import Target
from dragoman.errors import MalformedBody
from dragoman.ir import carrier
from dragoman.ir.losses import Ledger
from dragoman.ir.profile import Profile

CORPUS = Path(__file__).parent.parent / "corpus"
REFUSED = {"future-fields": "observer"}
"""With a role that nobody knows: what another dialect should make of it would be a guess."""

CASES = [
    (source, target, path.parent.name)
    for source in DIALECTS
    for target in DIALECTS
    for path in sorted((CORPUS / source).glob("*/request.json"))
    if source != target and path.parent.name not in REFUSED
]

PROFILES = {
    "plain": Profile(),
    "rich": Profile(
        inline_system=True, cache_marks="cache_control", reasoning="reasoning", reasoning_replay="reasoning_details",
        thinking="adaptive", extra_sampling=True,
    ),
    "poor": Profile(sampling=False, forced_tools=False, structured=False, max_stop=1, reasoning="none", thinking="none"),
}  # fmt: skip

# Words of a dialect's grammar: they say what kind of thing something is, and every dialect has its own.
GRAMMAR = re.compile(
    r"""
    (?:^|[.\]])(?:type|role|thought)$    # discriminators
    | ^model$ | ^stream$                 # the target's own name; said by the gateway
    | ^stream_options\.include_usage$    # usage always comes, and is told to who asked
    """,
    re.VERBOSE,
)


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from leaves(inner, f"{path}[{index}]")
    elif isinstance(value, str) and (inside := parsed(value)) is not None:
        # Arguments of a call: what is in them counts, not how it is written.
        yield from ((path, inner) for _, inner in leaves(inside))
    elif value is not None and value != "":
        yield path, value


def parsed(text: str) -> Any:
    """The object or list that stands in a string as JSON; None when none does."""
    if text[:1] not in {"{", "["}:
        return None
    try:
        return json.loads(text)
    except ValueError:
        return None


def flat(value: Any) -> Iterator[Any]:
    """Every scalar, also those in JSON that stands in a string (arguments of calls)."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from flat(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from flat(inner)
    else:
        yield value
        if isinstance(value, str) and (inside := parsed(value)) is not None:
            yield from flat(inside)


# The same thing in the other dialect's words, where neither value nor ledger shows it: path, value, what must be there instead.
SAID_OTHERWISE: list[tuple[str, Any, str]] = [
    (r"tool_choice(\.type)?$", "any", '"required"'),
    (r"tool_choice$", "required", '"type":"any"'),
    (r"tool_choice\.disable_parallel_tool_use$", True, '"parallel_tool_calls":false'),
    (r"tool_choice\.disable_parallel_tool_use$", False, '"parallel_tool_calls":true'),
    (r"parallel_tool_calls$", False, '"disable_parallel_tool_use":true'),
    (r"parallel_tool_calls$", True, ""),  # what Messages does unless told otherwise
    (r"tool_choice(\.allowed_tools)?\.mode$", "required", '"type":"any"'),
    (r"service_tier$", "standard_only", '"service_tier":"default"'),
    (r"service_tier$", "default", '"service_tier":"standard_only"'),
    (r"media_type$", "text/plain", ""),  # a text is a text
    (r"reasoning[_.]effort$", "none", '"disabled"'),
    (r"reasoning[_.]effort$", "medium", '"budget_tokens":4096'),
    (r"reasoning[_.]effort$", "high", '"budget_tokens":16384'),
    (r"reasoning[_.]effort$", "xhigh", '"budget_tokens":'),
    (r"(json_schema|format)\.strict$", True, '"type":"json_schema"'),  # Messages is always strict
    (r"reasoning[_.]effort$", "minimal", '"effort":"low"'),
    (r"(^|\.)is_error$", False, ""),
    (r"\.strict$", False, '"strict":false'),
    (r"(^|\.)(logprobs)$", False, ""),
    (r"^n$", 1, ""),
    (r"citations\.enabled$", False, ""),
    (r"prompt_cache_breakpoint\.mode$", "explicit", '"cache_control"'),
    (r"^function_call$", "none", '"type":"none"'),
    (r"\.detail$", "auto", ""),
    (r"^include\[\d+\]$", "reasoning.encrypted_content", ""),  # sealed reasoning comes unasked too
    (r"^include\[\d+\]$", "message.output_text.logprobs", '"logprobs":true'),
    (r"^reasoning\.summary$", "auto", '"display":"summarized"'),
    (r"thinking\.display$", "omitted", '"reasoning":{"effort"'),  # Responses shows thinking only where it is asked to
    (r"thinking\.display$", "summarized", '"summary":"auto"'),
    # ---- to Gemini
    (r"(^tool_choice(\.type)?|function_call)$", "auto", '"mode":"AUTO"'),
    (r"(^tool_choice(\.type)?|function_call)$", "none", '"mode":"NONE"'),
    (r"^tool_choice(\.type)?$", "required", '"mode":"ANY"'),
    (r"^tool_choice\.type$", "any", '"mode":"ANY"'),
    (r"(allowed_tools|tool_choice)\.mode$", "required", '"mode":"ANY"'),
    (r"(allowed_tools|tool_choice)\.mode$", "auto", '"mode":"VALIDATED"'),
    (r"effort$", "low", '"thinkingLevel":"LOW"'),
    (r"effort$", "medium", '"thinkingLevel":"MEDIUM"'),
    (r"effort$", "high", '"thinkingLevel":"HIGH"'),
    (r"display$", "omitted", '"includeThoughts":false'),
    (r"display$", "summarized", '"includeThoughts":true'),
    (r"service_tier$", "standard_only", '"serviceTier":"standard"'),
    (r"service_tier$", "default", '"serviceTier":"standard"'),
    (r"detail$", "high", '"MEDIA_RESOLUTION_HIGH"'),
    (r"detail$", "low", '"MEDIA_RESOLUTION_LOW"'),
    (r"^reasoning\.summary$", "auto", '"includeThoughts":true'),
    (r"^include\[\d+\]$", "message.output_text.logprobs", '"responseLogprobs":true'),
    (r"^tools\[\d+\](\.tools\[\d+\])?\.strict$", False, '"functionDeclarations"'),
    # ---- from Gemini, whose JSON has numbers in strings too
    (r"generationConfig\.temperature$", "0.5", "0.5"),
    (r"generationConfig\.maxOutputTokens$", "128", "128"),
    (r"generationConfig\.seed$", "7", '"seed":7'),
    (r"\.(min|max)_?(Length|length|Items)$", "0", ":0"),
    (r"\.(min|max)_?(Length|length|Items)$", "1", ":1"),
    (r"\.(min|max)_?(Length|length|Items)$", "5", ":5"),
    (r"\.(min|max)_?(Length|length|Items)$", "9", ":9"),
    (r"\.(min|max)_?(Length|length|Items)$", "80", ":80"),
    (r"\.nullable$", True, '"null"'),
    (r"\.nullable$", False, ""),
    (r"\.ref$", "#/defs/Address", '"#/$defs/Address"'),
    (r"\.format$", "enum", '"enum"'),
    (r"(?i:mime_?type)$", "application/json", '"json_'),
    (r"(?i:mime_?type)$", "application/json", "one JSON"),
    (r"(?i:mime_?type)$", "APPLICATION_JSON", '"json_'),
    (r"(?i:mime_?type)$", "text/plain", ""),
    (r"fileData\.mimeType$", "application/pdf", '"type":"url"'),
    (r"inlineData\.(mimeType|data)$", "eAoxCg==", '"x\\n1\\n"'),
    (r"responseModalities\[0\]$", "TEXT", ""),
    (r"inlineData\.mimeType$", "audio/wav", '"format":"wav"'),
    (r"inlineData\.mimeType$", "audio/mp3", '"format":"mp3"'),
    (r"inlineData\.(mimeType|data)$", "text/csv", '"a,b\\n1,2\\n"'),
    (r"inlineData\.(mimeType|data)$", "text/csv", '"x\\n1\\n"'),
    (r"inlineData\.(mimeType|data)$", "YSxiCjEsMgo=", '"a,b\\n1,2\\n"'),
    (r"[cC]onfig\.mode$", "AUTO", '"auto"'),
    (r"[cC]onfig\.mode$", "NONE", '"none"'),
    (r"[cC]onfig\.mode$", "ANY", '"required"'),
    (r"[cC]onfig\.mode$", "ANY", '"type":"any"'),
    (r"[cC]onfig\.mode$", "ANY", '"tool_choice":{"type":'),
    (r"config\.mode$", "any", '"tool_choice":{"type":'),
    (r"[cC]onfig\.mode$", "VALIDATED", '"auto"'),
    (r"thinking_?[bB]udget$", 0, '"disabled"'),
    (r"thinking_?[bB]udget$", 0, '"enabled":false'),
    (r"thinking_?[bB]udget$", 0, '"effort":"none"'),
    (r"thinking_?[bB]udget$", 0, '"reasoning_effort":"none"'),
    (r"thinking_?[bB]udget$", -1, '"thinking":'),
    (r"thinkingLevel$", "HIGH", '"effort":"high"'),
    (r"thinkingLevel$", "HIGH", '"reasoning_effort":"high"'),
    (r"thinkingLevel$", "HIGH", '"budget_tokens":'),
    (r"thinkingLevel$", "XHIGH", '"effort":"xhigh"'),
    (r"thinkingLevel$", "XHIGH", '"reasoning_effort":"xhigh"'),
    (r"thinkingLevel$", "XHIGH", '"budget_tokens":'),
    (r"include_?[tT]houghts$", True, '"summarized"'),
    (r"include_?[tT]houghts$", True, '"summary":"auto"'),
    (r"responseLogprobs$", True, '"message.output_text.logprobs"'),
    (r"fileData\.mimeType$", "application/pdf", '"file_url"'),
    (r"include_?[tT]houghts$", False, '"omitted"'),
    (r"include_?[tT]houghts$", False, '"exclude":true'),
    # ---- to Converse, where a format stands for a media type, and a choice is an object
    (r"(media_?type|mimeType|mime_type)$", "image/png", '"format":"png"'),
    (r"(media_?type|mimeType|mime_type)$", "image/jpeg", '"format":"jpeg"'),
    (r"(media_?type|mimeType|mime_type)$", "image/gif", '"format":"gif"'),
    (r"(media_?type|mimeType|mime_type)$", "image/webp", '"format":"webp"'),
    (r"(media_?type|mimeType|mime_type)$", "application/pdf", '"format":"pdf"'),
    (r"(media_?type|mimeType|mime_type)$", "text/csv", '"format":"csv"'),
    (r"source\.data$", "The grass is green. The sky is blue.", "VGhlIGdyYXNzIGlzIGdyZWVuLiBUaGUgc2t5IGlzIGJsdWUu"),
    (r"tool_choice$", "required", '"toolChoice":{"any":{}}'),
    (r"tool_choice\.type$", "any", '"toolChoice":{"any":{}}'),
    (r"(allowed_tools|tool_choice)\.mode$", "required", '"toolChoice":{"any":{}}'),
    (r"[cC]onfig\.mode$", "ANY", '"toolChoice":{"'),
    (r"config\.mode$", "any", '"toolChoice":{"'),
    (r"prompt_cache_breakpoint\.mode$", "explicit", '"cachePoint"'),
    (r"effort$", "low", '"effort":"low"'),
    (r"\.nullable$", True, '\\"null\\"'),
    # ---- from Converse
    (r"\.format$", "txt", ""),  # a text is a text
    (r"source\.bytes$", "ZXJyb3IgNw==", '"error 7"'),
    (r"source\.bytes$", "ZXJyb3IgNw==", "error 7"),
    (r"source\.bytes$", "YSxiCjEsMgo=", "a,b\\n1,2"),
    (r"\.status$", "success", ""),
    (r"\.format$", "docx", "openxmlformats"),
    (r"Config\.effort$", "high", '"budget_tokens":16384'),
    (r"Fields\.reasoning_effort$", "low", '"budget_tokens":1024'),
    (r"\.format$", "csv", "a,b\\n1,2"),
]


def covered(path: str, value: Any, ledger: set[str], values: list[Any], output: str) -> bool:
    if GRAMMAR.search(path) or any(path == lost or path.startswith((lost + ".", lost + "[")) for lost in ledger):
        return True
    if "$" in ledger:
        return True
    thought = re.fullmatch(r"(.*)\.reasoning(_content)?", path)
    if thought and any(lost.startswith(f"{thought[1]}.reasoning_details") for lost in ledger):
        return True  # the same thinking, said twice
    for pattern, said, instead in SAID_OTHERWISE:
        if value == said and type(value) is type(said) and re.search(pattern, path) and instead in output:
            return True
    if isinstance(value, bool):
        return any(other is value for other in values)
    if isinstance(value, int | float):
        return any(not isinstance(other, bool) and isinstance(other, int | float) and other == value for other in values)
    wanted = bare(value)
    return any(isinstance(other, str) and (wanted in other or value in other) for other in values)


def bare(text: str) -> str:
    """An image's data without its URL's beginning, an id without what rides in it."""
    if text.startswith("data:"):
        return text.partition(",")[2]
    return carrier.original_id(carrier.detach(text)[0]).strip() or text


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize(("source", "target", "case"), CASES)
def test_every_leaf_is_sent_or_in_the_ledger(source: str, target: str, case: str, profile: str) -> None:
    body = (CORPUS / source / case / "request.json").read_bytes()
    ledger = Ledger()
    request = DIALECTS[source].decode_request(body)
    sent = DIALECTS[target].encode_request(request, Target("target-model", "issuer", PROFILES[profile]), ledger)
    output = json.dumps(json.loads(sent), separators=(",", ":"))
    values = list(flat(json.loads(sent)))
    values += [carrier.original_id(value) for value in values if isinstance(value, str) and value.startswith("dgmid-")]
    lost = {loss.path for loss in ledger.losses}
    silent = [(path, value) for path, value in leaves(json.loads(body)) if not covered(path, value, lost, values, output)]
    assert not silent, f"{len(silent)} leaves of {case} were dropped silently: {silent[:12]}\nledger: {sorted(lost)}"


def test_the_walk_would_notice_a_dropped_leaf() -> None:
    assert not covered("temperature", 0.25, set(), [1, "x"], "")
    assert not covered("messages[0].content", "hello", {"messages[1]"}, ["bye"], "")
    assert covered("messages[0].content", "hello", {"messages[0]"}, [], "")


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_ledger_names_only_paths_that_the_caller_wrote(dialect: str) -> None:
    """A path that is not in the body helps nobody."""
    wrong: list[str] = []
    for path in sorted((CORPUS / dialect).glob("*/request.json")):
        if path.parent.name in REFUSED:
            continue
        body = path.read_bytes()
        known = set(prefixes(json.loads(body)))
        for target in DIALECTS:
            ledger = Ledger()
            DIALECTS[target].encode_request(DIALECTS[dialect].decode_request(body), Target("m", "i", Profile()), ledger)
            wrong += [f"{path.parent.name}: {loss.path}" for loss in ledger.losses if loss.path not in known]
    assert not wrong


FAILED: dict[str, tuple[str, str, dict[str, Any], dict[str, Any]]] = {
    "messages": (
        "messages",
        "messages[2].content[0].is_error",
        {"role": "assistant", "content": [{"type": "tool_use", "id": "c", "name": "f", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c", "is_error": True, "content": [
            {"type": "text", "text": "no such file"}, {"type": "search_result", "source": "s", "title": "t", "content": []},
        ]}]},
    ),
    "plain messages": (
        "messages",
        "messages[2].content[0].is_error",
        {"role": "assistant", "content": [{"type": "tool_use", "id": "c", "name": "f", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c", "is_error": True, "content": "no such file"}]},
    ),
    "converse": (
        "converse",
        "messages[2].content[0].toolResult.status",
        {"role": "assistant", "content": [{"toolUse": {"toolUseId": "c", "name": "f", "input": {}}}]},
        {"role": "user", "content": [
            {"toolResult": {"toolUseId": "c", "status": "error", "content": [{"text": "no such file"}]}}
        ]},
    ),
    "gemini": (
        "gemini",
        "contents[2].parts[0].functionResponse.response.error",
        {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {}}}]},
        {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {"error": "no such file"}}}]},
    ),
}  # fmt: skip


@pytest.mark.parametrize("target", ["chat", "responses"])
@pytest.mark.parametrize("case", FAILED)
def test_that_a_call_failed_is_said_in_words_and_named_where_the_caller_said_it(case: str, target: str) -> None:
    dialect, at, call, result = FAILED[case]
    first = {"role": "user", "content": [{"text": "go"}] if dialect == "converse" else "go"}
    if dialect == "gemini":
        first = {"role": "user", "parts": [{"text": "go"}]}
    turns = [first, call, result]
    body = {"model": "m", "max_tokens": 9, "contents" if dialect == "gemini" else "messages": turns}
    ledger = Ledger()
    request = DIALECTS[dialect].decode_request(json.dumps(body).encode())
    told = DIALECTS[target].encode_request(request, Target("m", "i", Profile()), ledger)
    assert b"Error: no such file" in told
    assert [loss.path for loss in ledger.losses if loss.what == "said in words"] == [at]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_role_that_nobody_knows_is_refused_by_name(dialect: str) -> None:
    for case, role in REFUSED.items():
        with pytest.raises(MalformedBody, match=rf"role: expected .* got '{role}'"):
            DIALECTS[dialect].decode_request((CORPUS / dialect / case / "request.json").read_bytes())


def prefixes(value: Any, path: str = "") -> Iterator[str]:
    yield path or "$"
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from prefixes(inner, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from prefixes(inner, f"{path}[{index}]")


@pytest.mark.parametrize("target", DIALECTS)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_request_is_the_same_for_the_next_target(dialect: str, target: str) -> None:
    """Where a target fails, the same request goes to another one: whoever encodes it leaves it as it is."""
    changed: list[str] = []
    bodies = {path.parent.name: path.read_bytes() for path in sorted((CORPUS / dialect).glob("*/request.json"))}
    if dialect == "chat":
        bodies["instructions alone"] = b'{"model":"m","messages":[{"role":"system","content":"Be brief."}]}'
    for name, body in bodies.items():
        if name in REFUSED:
            continue
        request = DIALECTS[dialect].decode_request(body)
        first, second = (DIALECTS[target].encode_request(request, Target("m", "i", Profile()), Ledger()) for _ in range(2))
        if first != second:
            changed.append(name)
    assert not changed
