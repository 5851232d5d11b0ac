"""The conversation of a request to the hub. Its rules:

- neighbouring `model` contents are one turn: clients that keep a streamed answer send each chunk back as a content.
- calls often come without ids. Each gets one from its place, so that it is the same on every turn, and a response belongs
  to the call of its id, or else to the first unanswered one of its name, or else to the first unanswered one.
- thinking that comes back twice, as a thought and within a signature's place, counts once.
"""

from __future__ import annotations

import re
from typing import Any, cast

import msgspec

from dragoman.dialects.gemini.names import Names, inner
from dragoman.dialects.gemini.parts import Block, decode_part
from dragoman.dialects.shape import wrong
from dragoman.errors import MalformedBody
from dragoman.ir import carrier
from dragoman.ir.request import Message, Part, Path, Reasoning, Text, ToolResult, path_text

MADE = re.compile(r"^call_g[A-Za-z0-9]*_\d+$")
"""Ids that were made here, for calls that came without one. The API is not told of them."""

_WRAPPERS = frozenset({"output", "result", "return_value", "returnValue", "content"})
_encode = msgspec.json.Encoder().encode


class Conversation:
    """Reads the contents in order; `messages` is what came of them."""

    def __init__(self, natives: list[Any], at: Path) -> None:
        self.messages: list[Message] = []
        self._ids = _Ids()
        self._turn = -1
        for index, native in enumerate(natives):
            self._read(Names(native, (at, index)), index)
        for message in self.messages:
            if message.role == "assistant":
                message.parts = _once(message.parts)

    def _read(self, fields: Names, index: int) -> None:
        at = fields.at
        role = fields.text("role") or "user"
        parts_at = fields.path("parts")
        natives = _listed(fields.any("parts"), parts_at)
        match role.lower():
            case "model" | "assistant":
                self._model(fields, natives, parts_at, index)
            case "user" | "function" | "tool":
                parts: list[Part] = []
                for position, native in enumerate(natives):
                    parts += self._user_part(native, (parts_at, position), index, position)
                self.messages.append(Message(role="user", parts=parts, at=at, extras=fields.rest()))
                self._turn = -1
            case "system" | "developer":
                found = [part for n, one in enumerate(natives) for part in decode_part(one, (parts_at, n), None, _no_call)]
                self.messages.append(Message(role="system", parts=found, at=at, extras=fields.rest()))
                self._turn = -1
            case _:
                path = path_text((at, "role"))
                raise MalformedBody(f"{path}: expected user or model, got {role!r}", param=path)

    def _model(self, fields: Names, natives: list[Any], parts_at: Path, index: int) -> None:
        extras = fields.rest()
        last = self.messages[-1] if self.messages else None
        if self._turn >= 0 and last is not None and not extras:
            message = last
        else:
            message = Message(role="assistant", parts=[], at=fields.at, extras=extras)
            self.messages.append(message)
            self._turn = index
            self._ids.turn(index)
        first = True
        for position, native in enumerate(natives):
            for part in decode_part(native, (parts_at, position), None, self._ids.call):
                held = message.parts[-1] if message.parts and first and message.at != fields.at else None
                if isinstance(held, Text) and isinstance(part, Text) and not held.extras and not part.extras:
                    # Two chunks of one text.
                    message.parts[-1] = msgspec.structs.replace(held, text=held.text + part.text)
                else:
                    message.parts.append(part)
                first = False

    def _user_part(self, native: Any, at: Path, index: int, position: int) -> list[Part]:
        fields = Names(native, at)
        if fields.left.get(fields.own("functionResponse")) is None:
            return decode_part(native, at, None, self._ids.call)
        response = inner(fields, "functionResponse")
        name = response.text("name")
        given, _ = carrier.detach(response.text("id") or "")
        call_id = self._ids.result(carrier.original_id(given), name) or f"call_g{index}_{position}"
        result = ToolResult(call_id=call_id, parts=[], name=name, at=response.at)
        value_at = response.path("response")
        _response(response.any("response"), value_at, result)
        media_at = response.path("parts")
        for number, one in enumerate(response.array("parts") or []):
            result.parts += decode_part(one, (media_at, number), None, _no_call)
        result.extras = response.rest()
        beside = fields.rest()
        if beside:
            # Of the part: the paths are whole only from there.
            result.at = at
            result.extras = {**beside, str(response.at[1] if response.at else ""): result.extras}
        return [result]


def _listed(native: Any, at: Path) -> list[Any]:
    if native is None:
        return []
    if type(native) is dict:
        return [native]
    if type(native) is not list:
        raise wrong(at, "an array of parts", native)
    return cast("list[Any]", native)


def _no_call(given: str, name: str) -> str:
    return given or name


def _response(native: Any, at: Path, result: ToolResult) -> None:
    """What a function gave back. The documented keys are `output` and `error`; without them the whole object is the output.
    Libraries write others, alone or beside the function's name."""
    if native is None:
        return
    if type(native) is not dict:
        raise wrong(at, "an object", native)
    value = cast("Block", native)
    keys = set(value) - ({"name"} if value.get("name") == result.name else set())
    said: Any = value
    if keys == {"error"}:
        result.is_error = True
        result.error_at = (at, "error")
        said = value["error"]
    elif len(keys) == 1 and keys <= _WRAPPERS:
        said = value[next(iter(keys))]
    elif not value:
        return
    text = said if type(said) is str else _encode(said).decode()
    if text:
        result.parts.append(Text(text=text, at=at))


def _once(parts: list[Part]) -> list[Part]:
    """Sealed thinking once, however often it was carried, and no unsealed thought whose text came back sealed as well."""
    known: set[tuple[str, str]] = set()
    kept: list[Part] = []
    for part in parts:
        if isinstance(part, Reasoning) and part.seal is not None:
            key = (part.seal.value, part.text)
            if key in known:
                continue
            known.add(key)
        kept.append(part)
    sealed = [text for _, text in known if text]
    bare = "".join(part.text for part in kept if isinstance(part, Reasoning) and part.seal is None)
    if not bare or not any(bare in text or text in bare for text in sealed):
        return kept
    return [part for part in kept if not (isinstance(part, Reasoning) and part.seal is None)]


class _Ids:
    """One id for each call, and for each result the id of its call."""

    def __init__(self) -> None:
        self._used: set[str] = set()
        self._latest: dict[str, str] = {}
        self._unanswered: list[tuple[str, str, str]] = []
        self._turn = 0
        self._count = 0

    def turn(self, index: int) -> None:
        """A new turn calls: what was left unanswered before it stays so."""
        self._unanswered.clear()
        self._turn, self._count = index, 0

    def call(self, given: str, name: str) -> str:
        bare, _ = carrier.detach(given)
        given = carrier.original_id(bare)
        own = given or f"call_g{self._turn}_{self._count}"
        self._count += 1
        again = 2
        while own in self._used:
            own = f"{given or f'call_g{self._turn}_{self._count}'}_{again}"
            again += 1
        self._used.add(own)
        if given:
            self._latest[given] = own
        self._unanswered.append((given, name, own))
        return own

    def result(self, given: str, name: str | None) -> str | None:
        # By id; by name, where one of the two has no id; by order, where there is nothing else.
        for position, (of, its, own) in enumerate(self._unanswered):
            if (of == given) if given and of else (name is None or its == name):
                del self._unanswered[position]
                return own
        if given:
            return self._latest.get(given, given)
        if self._unanswered:
            return self._unanswered.pop(0)[2]
        return None
