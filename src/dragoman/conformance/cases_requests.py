"""Cases of requests: what the client said, the upstream must be told. Nothing is lost on the way without a word."""

from __future__ import annotations

import json
import re
from typing import Any

from dragoman.conformance.case import Case, Difference, Differs, Judge, Mode, demand, expect, shown
from dragoman.conformance.heard import Heard
from dragoman.conformance.heard import heard as heard_by
from dragoman.conformance.prompt import Call, Image, Model, Prompt, Result, Results, Tool, User
from dragoman.conformance.script import dialect_of
from dragoman.conformance.seat import Said, Seat
from dragoman.testing import Finish, Scenario, Text, ToolCall, scenario
from dragoman.testing.http1 import Request
from dragoman.testing.library_text import HELLO, U
from dragoman.testing.library_tools import LONG_ID

HELLOS = scenario("hello", Text(HELLO), U, Finish())
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
"""A PNG of one pixel, in base64 with a slash or a plus in it."""

WEATHER = Tool(
    "get_weather",
    "The weather of a city.",
    {
        "type": "object",
        "properties": {"city": {"type": "string", "description": "Its name"}, "days": {"type": "integer"}},
        "required": ["city"],
    },
)
FORECAST = Tool(
    "get_forecast", "The forecast.", {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
)
_CALL_IDS = {
    "messages": re.compile(r"[a-zA-Z0-9_-]+"),
    "responses": re.compile(r"[a-zA-Z0-9_-]{1,64}"),
    "converse": re.compile(r"[a-zA-Z0-9_.:-]{1,64}"),
}
"""What the APIs take as a call's id. Chat and Gemini take any."""


async def _told(seat: Seat, prompt: Prompt, script: Scenario = HELLOS) -> tuple[Said, Heard]:
    said = await seat.ask(prompt, script)
    heard = seat.heard(said)
    said.answered()
    return said, heard


# ---------------------------------------------------------------- text and turns


async def _system(seat: Seat) -> None:
    _, heard = await _told(seat, Prompt(turns=(User("Who are you?"),), system="You are Ada — précise, «brief»."))
    demand("You are Ada — précise, «brief»." in heard.system, "the instructions", expected="as written", got=heard.system)


async def _history(seat: Seat) -> None:
    turns = (User("One."), Model("Two."), User("Three."), Model("Four."), User("Five."))
    _, heard = await _told(seat, Prompt(turns=turns))
    got = [(turn.role, "".join(str(bit.value) for bit in turn.bits if bit.kind == "text")) for turn in heard.turns]
    wanted = [("user", "One."), ("assistant", "Two."), ("user", "Three."), ("assistant", "Four."), ("user", "Five.")]
    expect("the turns", expected=wanted, got=[(role, re.sub(r" \(ticket-\d+\)", "", text)) for role, text in got])


async def _unicode(seat: Seat) -> None:
    text = 'naïve 👩\u200d👩\u200d👧 漢字 שלום \\ "quoted" \u2028 tab\t end'
    _, heard = await _told(seat, Prompt(turns=(User(text),)))
    demand(text in heard.said("user"), "the text", expected=text, got=heard.said("user"))


# ---------------------------------------------------------------- tools


async def _tools(seat: Seat) -> None:
    _, heard = await _told(seat, Prompt(turns=(User("Weather?"),), tools=(WEATHER, FORECAST)))
    expect("the tools", expected=[WEATHER.name, FORECAST.name], got=list(heard.tools))
    told = heard.tools[WEATHER.name]
    expect("the tool's description", expected=WEATHER.description, got=told.description)
    schema = told.schema if isinstance(told.schema, dict) else {}
    expect("the tool's properties", expected=["city", "days"], got=list(schema.get("properties", {})))
    expect("what the tool requires", expected=["city"], got=schema.get("required"))


def _choice(choice: str) -> Judge:
    async def judge(seat: Seat) -> None:
        wanted = WEATHER.name if choice == "named" else choice
        _, heard = await _told(seat, Prompt(turns=(User("Weather?"),), tools=(WEATHER, FORECAST), choice=wanted))
        if choice == "none" and not heard.tools:
            return  # no tool can be called where none is told
        if choice == "named" and heard.choice == "required" and list(heard.tools) == [WEATHER.name]:
            return  # the same in other words
        got = heard.choice or "auto"
        expect("the choice of tools", expected=wanted, got=got)

    return judge


async def _one_at_a_time(seat: Seat) -> None:
    _, heard = await _told(seat, Prompt(turns=(User("Weather?"),), tools=(WEATHER, FORECAST), parallel=False))
    expect("whether calls may be parallel", expected=False, got=heard.parallel)


def _used(*results: Result, ids: tuple[str, str] = ("call_1", "call_2")) -> Prompt:
    calls = (Call(ids[0], WEATHER.name, {"city": "Paris"}), Call(ids[1], FORECAST.name, {"city": "Rome"}))
    turns = (User("Weather?"), Model("Let me look.", calls), Results(results))
    return Prompt(turns=turns, tools=(WEATHER, FORECAST))


def _two(ids: tuple[str, str]) -> tuple[Result, Result]:
    return Result(ids[0], "sunny", WEATHER.name), Result(ids[1], "rain", FORECAST.name)


def paired(seat: Seat, heard: Heard, upstream: str = "") -> None:
    """Every call has its result, under an id that the upstream's API takes. Raises `Differs`."""
    calls, results = heard.bits("call"), heard.bits("result")
    at = upstream or seat.upstream
    if at != "gemini":
        expect("the ids of the results", expected=[bit.id for bit in calls], got=[bit.id for bit in results])
        demand(len({bit.id for bit in calls}) == len(calls), "the ids", expected="each its own", got=[bit.id for bit in calls])
    legal = _CALL_IDS.get(at)
    for bit in calls:
        if legal is not None:
            demand(legal.fullmatch(bit.id), "the id of a call", expected=f"what {at} takes: {legal.pattern}", got=bit.id)


def _pairing(ids: tuple[str, str]) -> Judge:
    async def judge(seat: Seat) -> None:
        _, heard = await _told(seat, _used(*_two(ids), ids=ids))
        calls = heard.bits("call")
        expect("the calls", expected=[WEATHER.name, FORECAST.name], got=[bit.name for bit in calls])
        expect("the arguments", expected=[{"city": "Paris"}, {"city": "Rome"}], got=[bit.value for bit in calls])
        if seat.dialect != seat.upstream:
            paired(seat, heard)
        _results(heard, ("sunny", "rain"))

    return judge


def _results(heard: Heard, wanted: tuple[str, ...]) -> None:
    got = heard.bits("result")
    expect("the number of results", expected=len(wanted), got=len(got))
    for text, bit in zip(wanted, got, strict=True):
        demand(text in bit.value, "a result", expected=text, got=bit.value)


async def _failed_result(seat: Seat) -> None:
    first, second = _two(("call_1", "call_2"))
    broken = Result(first.id, "No such city: Pariss", first.name, failed=True)
    _, heard = await _told(seat, _used(broken, second))
    _results(heard, ("No such city: Pariss", "rain"))


async def _image_result(seat: Seat) -> None:
    first, second = _two(("call_1", "call_2"))
    _, heard = await _told(seat, _used(Result(first.id, "a chart", first.name, (Image(PIXEL),)), second))
    _results(heard, ("a chart", "rain"))
    _sees(heard, PIXEL)


async def _only_image_result(seat: Seat) -> None:
    first, second = _two(("call_1", "call_2"))
    _, heard = await _told(seat, _used(Result(first.id, "", first.name, (Image(PIXEL),)), second))
    expect("the number of results", expected=2, got=len(heard.bits("result")))
    _sees(heard, PIXEL)


def _sees(heard: Heard, wanted: str) -> None:
    if wanted not in heard.images:
        raise Differs(Difference("the images", shown(wanted), shown(heard.images)))


_URL = "https://images.example.org/cat.png"


async def _url_result(seat: Seat) -> None:
    first, second = _two(("call_1", "call_2"))
    _, heard = await _told(seat, _used(Result(first.id, "a cat", first.name, (Image(url=_URL),)), second))
    _results(heard, ("a cat", "rain"))
    demand(_URL in heard.raw, "the image's URL", expected=_URL, got=heard.images)


async def _reference_result(seat: Seat) -> None:
    first, second = _two(("call_1", "call_2"))
    _, heard = await _told(seat, _used(Result(first.id, "", first.name, reference="get_forecast"), second))
    expect("the number of results", expected=2, got=len(heard.bits("result")))
    _results(heard, ("", "rain"))


# ---------------------------------------------------------------- images, sampling, structure


async def _image(seat: Seat) -> None:
    _, heard = await _told(seat, Prompt(turns=(User("What is this?", (Image(PIXEL),)),)))
    _sees(heard, PIXEL)


async def _image_url(seat: Seat) -> None:
    _, heard = await _told(seat, Prompt(turns=(User("What is this?", (Image(url=_URL),)),)))
    demand(_URL in heard.images, "the image's URL", expected=_URL, got=heard.images)


async def _limits(seat: Seat) -> None:
    _, heard = await _told(seat, Prompt(turns=(User("Count."),), max_tokens=321))
    expect("the limit of tokens", expected=321, got=heard.max_tokens)


async def _temperature(seat: Seat) -> None:
    _, heard = await _told(seat, Prompt(turns=(User("Count."),), temperature=0.25))
    expect("the temperature", expected=0.25, got=heard.temperature)


async def _stops(seat: Seat) -> None:
    _, heard = await _told(seat, Prompt(turns=(User("Count."),), stop=("three", "STOP")))
    expect("the stop sequences", expected=("three", "STOP"), got=heard.stop)


PERSON: dict[str, Any] = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
_ADA = {"name": "Ada", "age": 36}


def _person(heard: Heard) -> Scenario:
    """The answer of a model that is asked for a person: as text; or, where the gateway has made a tool of it, as its call."""
    text = json.dumps(_ADA)
    if heard.schema is None and heard.choice not in ("", "auto", "none") and heard.tools:
        name = heard.choice if heard.choice in heard.tools else next(iter(heard.tools))
        return scenario("person", ToolCall(name, text), U, Finish("tool_calls"))
    return scenario("person", Text(text), U, Finish())


def _structured(thinking: bool) -> Judge:
    async def judge(seat: Seat) -> None:
        def answer(request: Request, _: int) -> Scenario:
            return _person(heard_by(dialect_of(request), request))

        prompt = Prompt(turns=(User("Who?"),), schema=PERSON, thinking=thinking)
        said = await seat.ask(prompt, answer)
        heard = seat.heard(said)
        schema = heard.schema if heard.schema is not None else next((tool.schema for tool in heard.tools.values()), None)
        told = sorted((schema or {}).get("properties", {}))
        expect("the properties of the schema", expected=["age", "name"], got=told)
        if thinking and heard.thinking:
            forced = heard.schema is None and heard.choice not in ("", "auto", "none")
            demand(not forced, "a forced call beside thinking, which Anthropic refuses", expected="none", got=heard.choice)
        got = said.answered().text
        try:
            parsed = json.loads(got)
        except ValueError:
            raise Differs(Difference("the answer", json.dumps(_ADA), shown(got))) from None
        expect("the answer, parsed", expected=_ADA, got=parsed)

    return judge


async def _thinking(seat: Seat) -> None:
    _, heard = await _told(seat, Prompt(turns=(User("Think."),), thinking=True, effort="high"))
    expect("whether the provider is told to think hard", expected=True, got=heard.thinking)


# ---------------------------------------------------------------- schemas for Gemini

_HARD: dict[str, Any] = {
    "$schema": "http://json-schema.org/draft-07/schema#",
    "$comment": "for the model's eyes only",
    "type": "object",
    "properties": {
        "level": {"enum": [1, 2, 3]},
        "tags": {"type": "array", "items": {"type": "string"}, "uniqueItems": True},
        "where": {"$ref": "#/$defs/place"},
        "secret": {"type": "string", "encrypted": True},
        "extra": {"type": "object", "propertyNames": {"pattern": "^x-"}, "additionalProperties": {"type": "string"}},
        "size": {"type": "number", "exclusiveMinimum": 0},
    },
    "required": ["level"],
    "$defs": {"place": {"type": "object", "properties": {"city": {"type": "string"}}}},
}
_BOTH = frozenset(
    {"type", "format", "title", "description", "enum", "maxItems", "minItems", "properties", "required", "anyOf", "items"}
    | {"propertyOrdering", "minimum", "maximum"}
)
_SUBSET = frozenset(
    {"nullable", "minProperties", "maxProperties", "minLength", "maxLength", "pattern", "example", "default", *_BOTH}
)
_JSON_SCHEMA = frozenset({"$id", "$defs", "$ref", "$anchor", "prefixItems", "oneOf", "additionalProperties", *_BOTH})
"""What Gemini's API documents for `parameters` and for `parametersJsonSchema`. Any other keyword may be a 400."""


async def _hard_schema(seat: Seat) -> None:
    tool = Tool("find", "Finds.", _HARD)
    said, heard = await _told(seat, Prompt(turns=(User("Find."),), tools=(tool,)))
    schema = heard.tools["find"].schema if "find" in heard.tools else None
    demand(isinstance(schema, dict), "the tool's schema", expected="one", got=schema)
    assert isinstance(schema, dict)
    native = "parametersJsonSchema" in heard.raw or "parameters_json_schema" in heard.raw
    wrong = sorted(set(_unknown(schema, _JSON_SCHEMA if native else _SUBSET)))
    expect("keywords that Gemini does not know", expected=[], got=wrong)
    text = json.dumps(schema)
    demand("city" in text, "what `$ref` pointed to", expected="told", got=text)
    if not native:
        demand("$ref" not in text, "references", expected="resolved", got=text)
        demand(all(isinstance(value, str) for value in _enums(schema)), "the values of enums", expected="texts", got=text)
    _ = said


def _unknown(schema: Any, known: frozenset[str]) -> list[str]:
    """Keywords, anywhere in a schema, that are not among the known."""
    found: list[str] = []
    if not isinstance(schema, dict):
        return found
    for key, value in schema.items():
        if key not in known:
            found.append(key)
        elif key in ("properties", "$defs") and isinstance(value, dict):
            for inner in value.values():
                found += _unknown(inner, known)
        elif isinstance(value, dict):
            found += _unknown(value, known)
        elif isinstance(value, list):
            for inner in value:
                found += _unknown(inner, known)
    return found


def _enums(schema: Any) -> list[Any]:
    if isinstance(schema, list):
        return [value for inner in schema for value in _enums(inner)]
    if not isinstance(schema, dict):
        return []
    own = schema.get("enum")
    return [*(own if isinstance(own, list) else []), *(value for inner in schema.values() for value in _enums(inner))]


# ---------------------------------------------------------------- the same dialect on both sides

_NATIVE: dict[str, dict[str, Any]] = {
    "messages": {"x_future": {"deep": [1, 2]}, "context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]}},
    "chat": {"x_future": {"deep": [1, 2]}, "prediction": {"type": "content", "content": "Hello"}},
    "responses": {"x_future": {"deep": [1, 2]}, "prompt_cache_key": "k-1"},
    "gemini": {"xFuture": {"deep": [1, 2]}, "labels": {"team": "a"}},
}


async def _unknown_fields(seat: Seat) -> None:
    native = _NATIVE[seat.dialect]
    _, heard = await _told(seat, Prompt(turns=(User("Hi."),), native=native))
    expect("the fields that the gateway does not know", expected=native, got={key: heard.body.get(key) for key in native})


_METERED = frozenset({"model", "stream", "stream_options"})
"""What a gateway may set for its own sake: the model's name, and that it is told the usage."""


async def _nothing_added(seat: Seat) -> None:
    said = await seat.ask(Prompt(turns=(User("Hi."),), thinking=seat.dialect == "messages"), HELLOS)
    said.answered()
    body = seat.heard(said).body
    known = {
        "messages": {"max_tokens", "messages", "thinking"},
        "chat": {"max_tokens", "messages"},
        "responses": {"input", "max_output_tokens", "store", "include"},
        "gemini": {"contents", "generationConfig"},
    }[seat.dialect]
    expect("fields that the client did not write", expected=[], got=sorted(set(body) - known - _METERED))
    if seat.dialect == "messages":
        expect("thinking", expected={"type": "adaptive", "display": "summarized"}, got=body.get("thinking"))


async def _beta(seat: Seat) -> None:
    headers = {"anthropic-beta": "context-management-2025-06-27,future-beta-2027-01-01"}
    said = await seat.ask(Prompt(turns=(User("Hi."),), headers=headers), HELLOS)
    expect("the header anthropic-beta", expected=headers["anthropic-beta"], got=said.sent().header("anthropic-beta"))


async def _cache_marks(seat: Seat) -> None:
    mark = {"type": "ephemeral"}
    native = {
        "system": [{"type": "text", "text": "Billing line."}, {"type": "text", "text": "Long rules.", "cache_control": mark}],
        "tools": [{"name": "t", "description": "T", "input_schema": {"type": "object"}, "cache_control": mark}],
    }
    _, heard = await _told(seat, Prompt(turns=(User("Hi."),), native=native))
    expect("the system blocks", expected=native["system"], got=heard.body.get("system"))
    expect("the tools", expected=native["tools"], got=heard.body.get("tools"))


_MOST_MARKS = 4
"""More of them are a 400 at Anthropic."""


async def _bounded_marks(seat: Seat) -> None:
    talk = [turn for number in range(6) for turn in (User(f"Question {number}.", marked=True), Model("Yes."))]
    _, heard = await _told(seat, Prompt(turns=(*talk, User("And now?", marked=True))))
    marks = heard.raw.count('"cache_control"')
    demand(0 < marks <= _MOST_MARKS, "the marks for the prompt cache", expected="1 to 4", got=marks)
    last = heard.body["messages"][-1]["content"]
    demand('"cache_control"' in json.dumps(last), "the last of them", expected="kept", got=last)


async def _stable(seat: Seat) -> None:
    """The same question twice is the same bytes, and the next turn begins with the bytes of this one."""
    prompt = _used(*_two(("call_1", "call_2")))
    bodies: list[str] = []
    for _ in range(2):
        said = await seat.ask(prompt, HELLOS)
        bodies.append(seat.heard(said).raw.replace(said.ticket.text, "ticket"))
    expect("the same request again", expected=bodies[0], got=bodies[1])
    first, _ = await _told(seat, Prompt(turns=(User("One."),), tools=(WEATHER, FORECAST), system="Be brief."))
    longer = (User(f"One. ({first.ticket.text})"), Model("Two."), User("Three."))
    second, _ = await _told(seat, Prompt(turns=longer, tools=(WEATHER, FORECAST), system="Be brief."))
    before, after = (json.dumps(_turns(seat, said)) for said in (first, second))
    demand(after.startswith(before[:-1]), "the beginning of the longer conversation", expected=before, got=after)
    tools = [json.dumps(seat.heard(said).body.get("tools")) for said in (first, second)]
    expect("the tools in the longer conversation", expected=tools[0], got=tools[1])


def _turns(seat: Seat, said: Said) -> Any:
    body = seat.heard(said).body
    return next(body[key] for key in ("messages", "input", "contents") if key in body)


# ---------------------------------------------------------------- the table

_NOT_GEMINI = frozenset({"messages", "chat", "responses"})


def _case(
    name: str,
    title: str,
    judge: Judge,
    *sources: str,
    why: str = "",
    clients: frozenset[str] | None = None,
    upstreams: frozenset[str] | None = None,
    alike: bool = False,
    modes: tuple[Mode, ...] = ("unary", "stream"),
) -> Case:
    return Case(
        id=name, group="requests", title=title, why=why, sources=sources, judge=judge, modes=modes, clients=clients,
        upstreams=upstreams, alike=alike,
    )  # fmt: skip


_MESSAGES = frozenset({"messages"})
_REFUSED = "The provider refuses the request, and the agent stops."
CASES: tuple[Case, ...] = (
    _case("system-told", "The instructions reach the provider", _system),
    _case("history-told", "Five turns arrive as five turns, in order", _history),
    _case("unicode-told", "A question of every script arrives exact", _unicode),
    _case("tools-told", "Tools arrive with their descriptions and schemas", _tools),
    *(
        _case(
            f"choice-{choice}-told",
            f"The choice of tools `{choice}` arrives in the provider's words",
            _choice(choice),
            "deepseek#606",
            upstreams=None if choice != "none" else frozenset({"messages", "chat", "responses", "gemini"}),
        )
        for choice in ("auto", "none", "required", "named")
    ),
    _case(
        "one-call-at-a-time-told",
        "That calls may not be parallel is told",
        _one_at_a_time,
        clients=_NOT_GEMINI,
        upstreams=_NOT_GEMINI,
    ),
    _case("results-told", "Two calls and their results arrive as pairs", _pairing(("call_1", "call_2"))),
    _case(
        "foreign-ids-told",
        "Ids of calls that another provider made up are made legal, and stay pairs",
        _pairing(("functions.Bash:0", LONG_ID)),
        "BF#5097",
        "vis#152",
        "langchain#37756",
        why=_REFUSED,
    ),
    _case("failed-result-told", "The result of a call that failed arrives", _failed_result),
    _case(
        "image-in-result-told",
        "An image in a tool's result reaches the model",
        _image_result,
        "CCR#1678",
        "LL#20403",
        why="A screenshot that is dropped in silence leaves the agent guessing.",
        clients=frozenset({"messages", "responses"}),
    ),
    _case(
        "only-image-in-result-told",
        "A result that is nothing but an image is a result, and its image is seen",
        _only_image_result,
        "CCR#1678",
        "LL#20403",
        clients=frozenset({"messages", "responses"}),
    ),
    _case(
        "url-image-in-result-told",
        "An image by URL in a tool's result is taken",
        _url_result,
        "vercel/ai#18982",
        clients=frozenset({"messages", "responses"}),
        upstreams=_NOT_GEMINI,
    ),
    _case(
        "reference-in-result-told",
        "A result that names a tool (`tool_reference`) is a result",
        _reference_result,
        "LL#37462",
        why="A call without a result is refused by the provider.",
        clients=_MESSAGES,
    ),
    _case("image-told", "An image reaches the model, byte for byte", _image, "CCR#1678"),
    _case("image-url-told", "An image by URL reaches a model that takes URLs", _image_url, upstreams=_NOT_GEMINI),
    _case("limit-told", "The limit of tokens arrives", _limits),
    _case("temperature-told", "The temperature arrives", _temperature),
    _case(
        "stop-told",
        "Stop sequences arrive",
        _stops,
        clients=frozenset({"messages", "chat", "gemini"}),
        upstreams=frozenset({"messages", "chat", "gemini", "converse"}),
    ),
    _case("schema-told", "A schema for the answer arrives, and the answer fits it", _structured(thinking=False)),
    _case(
        "schema-with-thinking-told",
        "A schema for the answer does not force a call beside thinking",
        _structured(thinking=True),
        "LL#26334",
        "LL#8901",
        why=_REFUSED,
    ),
    _case("thinking-told", "That the model is to think hard is told", _thinking),
    _case(
        "gemini-schema-told",
        "A tool's schema is compiled to what Gemini takes",
        _hard_schema,
        "CPA#43",
        "CPA#129",
        "CPA#2123",
        "CPA#3512",
        "CPA#5065",
        why=_REFUSED,
        clients=_NOT_GEMINI,
        upstreams=frozenset({"gemini"}),
    ),
    _case(
        "unknown-fields-pass",
        "Fields that the gateway does not know pass to a provider of the same dialect",
        _unknown_fields,
        why="What the API grows next must work without a new gateway.",
        alike=True,
    ),
    _case(
        "nothing-added",
        "A request to a provider of the same dialect gets no field that its client did not write",
        _nothing_added,
        "BF#5185",
        why="A default that nobody asked for changes the answers in silence.",
        alike=True,
    ),
    _case(
        "beta-headers-pass",
        "`anthropic-beta` reaches a Messages provider as written",
        _beta,
        "LL#15299",
        "new-api#2975",
        "claude-code#13770",
        clients=_MESSAGES,
        upstreams=_MESSAGES,
    ),
    _case(
        "cache-marks-pass",
        "Marks for the prompt cache, and the order of the system blocks, stay",
        _cache_marks,
        "BF#3942",
        "BF#6692",
        why="Without them every request is paid in full.",
        clients=_MESSAGES,
        upstreams=_MESSAGES,
    ),
    _case(
        "cache-marks-bounded",
        "Of many marks for the prompt cache a Messages provider is told the last four",
        _bounded_marks,
        "BF#3942",
        "BF#6692",
        why=_REFUSED,
        clients=frozenset({"chat"}),
        upstreams=_MESSAGES,
    ),
    _case(
        "stable-bytes",
        "The same question is the same bytes, and a longer conversation begins with those of the shorter",
        _stable,
        "BF#2347",
        "BF#898",
        why="Prompt caches match the beginning of a request byte by byte.",
    ),
)
