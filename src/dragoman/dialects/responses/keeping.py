"""What stands in a Responses body for keeping an answer and going on from it. Pure forms; the package `stored` uses them.

Types: `openai.types.responses.response_create_params`, `response_item_list`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

import msgspec

from dragoman.dialects.base import Reply
from dragoman.dialects.responses.echo import Shell
from dragoman.dialects.responses.errors import failure
from dragoman.dialects.responses.ids import PREFIX
from dragoman.dialects.shape import wrong
from dragoman.errors import DragomanError, MalformedBody
from dragoman.ir.losses import Ledger, Loss
from dragoman.ir.request import Reasoning, Request, Seal
from dragoman.wire.body import Peek, fields_of, malformed
from dragoman.wire.http import Inbound
from dragoman.wire.json import clean, loads
from dragoman.wire.sse import Frame

Block = dict[str, Any]
Items = list[msgspec.Raw]

_ENDS = ("response.completed", "response.incomplete", "response.failed")
_STATE = ("previous_response_id", "background", "conversation")
_PLACE = re.compile(r"^input\[(\d+)\](.*)$", re.DOTALL)
_MOST_PAGE = 100
_USUAL_PAGE = 20


_NONE = msgspec.Raw(b"null")
_NOTHING = frozenset({b"null", b'""'})
_LEANING = frozenset({None, "item_reference", "reasoning", "image_generation_call"})
"""The types of items that may say less than all of themselves."""


class Item(msgspec.Struct, gc=False):
    """What of an item of the input tells whether it says all of itself."""

    id: str | None = None
    type: str | None = None
    role: str | None = None
    encrypted_content: msgspec.Raw = _NONE
    result: msgspec.Raw = _NONE

    @property
    def refers(self) -> bool:
        """Whether it is nothing but the name of an earlier item. Such an item's type may be left out
        (`openai.types.responses.response_input_item_param.ItemReference`); a message's may too, which has a role."""
        return self.type == "item_reference" or (self.type is None and self.role is None)

    @property
    def leans(self) -> bool:
        """Whether it leaves out what a provider that keeps its items looks up by its id: all of it, a thought, a picture."""
        match self.type:
            case "reasoning":
                return bytes(self.encrypted_content) in _NOTHING
            case "image_generation_call":
                return bytes(self.result) in _NOTHING
            case _:
                return self.refers


class _Stated(Peek):
    store: Any = None
    previous_response_id: Any = None
    background: Any = None
    conversation: Any = None


class Asked(_Stated):
    """What of the body is about keeping. `items` None: the input is none."""

    items: list[Item] | str | None = msgspec.field(name="input", default=None)

    def leaning(self) -> list[str]:
        """The ids of the items that do not say all of themselves. Asked of every request."""
        items = self.items
        if not isinstance(items, list):
            return []
        return [item.id for item in items if item.id is not None and item.type in _LEANING and item.leans]


class _Event(msgspec.Struct):
    type: Any = None
    response: msgspec.Raw = msgspec.Raw(b"null")


class _Head(msgspec.Struct):
    id: Any = None
    status: Any = None


_asked = msgspec.json.Decoder(Asked)
_stated = msgspec.json.Decoder(_Stated)
_item = msgspec.json.Decoder(Item)
_event = msgspec.json.Decoder(_Event)
_head = msgspec.json.Decoder(_Head)
_items = msgspec.json.Decoder(list[msgspec.Raw])
_any = msgspec.json.Decoder()
_decode = _any.decode
_encode = msgspec.json.Encoder().encode


def asked(inbound: Inbound) -> Asked:
    """Raises `MalformedBody` when the body is not a JSON object, or one of these fields is not what it should be."""
    body = inbound.body
    found = _read(_asked, body) or _asked_anyhow(body)
    for key, value in (("store", found.store), ("background", found.background)):
        if value is not None and type(value) is not bool:
            raise wrong((None, key), "true or false", value)
    if found.previous_response_id is not None and type(found.previous_response_id) is not str:
        raise wrong((None, "previous_response_id"), "a string", found.previous_response_id)
    if found.previous_response_id and found.conversation is not None:
        raise MalformedBody(
            "previous_response_id and conversation cannot both be given", code="mutually_exclusive_parameters",
            param="previous_response_id",
        )  # fmt: skip
    return found


def _asked_anyhow(body: bytes) -> Asked:
    """The same of a body whose input is not as it should be, which others are to say, or of no body at all."""
    try:
        stated = _stated.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise malformed(body, error) from None
    found = Asked(**{name: getattr(stated, name) for name in _Stated.__struct_fields__})
    native = _read(_any, bytes(fields_of(body).get("input", _NONE)))
    if isinstance(native, list):
        found.items = [_item_of(cast("Block", one)) for one in cast("list[Any]", native) if isinstance(one, dict)]
    return found


def _item_of(native: Block) -> Item:
    item = Item()
    for key in ("id", "type", "role"):
        if isinstance(value := native.get(key), str):
            setattr(item, key, value)
    for key in ("encrypted_content", "result"):
        if native.get(key):
            setattr(item, key, msgspec.Raw(b"true"))
    return item


class Leant(msgspec.Struct):
    """What a request leans on of what its provider keeps: ids of responses and items, and a conversation's."""

    ids: list[str] = []
    conversation: str | None = None


def leant_on(body: bytes) -> Leant:
    """Of a body to any path about responses or conversations, read as its provider might. Raises `MalformedBody`."""
    try:
        native = loads(body)
    except ValueError as error:
        raise MalformedBody(f"The request body is not valid JSON: {error}") from None
    if not isinstance(native, dict):
        raise MalformedBody("The request body is not a JSON object")
    fields = cast("Block", native)
    previous = fields.get("previous_response_id")
    ids = [previous] if isinstance(previous, str) and previous else []
    for key in ("input", "items"):
        given = fields.get(key)
        objects = cast("list[Any]", given) if isinstance(given, list) else []
        items = [_item_of(cast("Block", one)) for one in objects if isinstance(one, dict)]
        ids += [item.id for item in items if item.id is not None and item.leans]
    return Leant(ids, conversation_of(fields.get("conversation")))


def conversation_of(said: Any) -> str | None:
    """The id in the parameter `conversation`: the parameter itself, or a member of it."""
    found = cast("Block", said).get("id") if isinstance(said, dict) else said
    return found if isinstance(found, str) and found else None


# ---------------------------------------------------------------- requests


def own_items(body: bytes) -> Items:
    """The `input` of a body as a list of items. Raises `MalformedBody`."""
    raw = fields_of(body).get("input")
    text = bytes(raw).lstrip() if raw is not None else b"null"
    if text[:1] == b'"':
        return [msgspec.Raw(b'{"type":"message","role":"user","content":%b}' % text)]
    if text == b"null":
        return []
    try:
        return _items.decode(text)
    except msgspec.DecodeError:
        raise wrong((None, "input"), "a string or an array of items", _decode(text)) from None


def expanded(body: bytes, items: Items, *, stream: bool | None = None) -> bytes:
    """The body with this whole conversation as its input, and without what went on from something kept."""
    fields = fields_of(body)
    for key in _STATE:
        fields.pop(key, None)
    fields["input"] = msgspec.Raw(_encode(items))
    if stream is not None:
        fields["stream"] = msgspec.Raw(_encode(stream))
    return _encode(fields)


def references(items: Items) -> list[str]:
    """The ids of earlier items that stand in for these items."""
    return [found for item in items if (found := reference(item)) is not None]


def reference(item: msgspec.Raw) -> str | None:
    """The id of an item that is nothing but that."""
    head: Item | None = _read(_item, bytes(item))
    return head.id if head is not None and head.refers else None


def stateless(request: Request, *, native: bool, sealed: bool, issuers: Sequence[str]) -> Request:
    """The request for a provider that keeps nothing of it. `native`: one that would, if it were not told; `sealed`: it can
    seal its reasoning, so that it is kept here. `issuers`: who thought the reasoning in each of the first items."""
    extras = {key: value for key, value in request.extras.items() if key not in _STATE}
    request = msgspec.structs.replace(request, extras=extras, store=False if native else None)
    if native and sealed:
        request.sealed_reasoning = True
    request.messages = [
        msgspec.structs.replace(message, parts=[_issued(part, issuers) for part in message.parts])
        if any(isinstance(part, Reasoning) for part in message.parts)
        else message
        for message in request.messages
    ]
    return request


def _issued(part: Any, issuers: Sequence[str]) -> Any:
    """Reasoning of an earlier answer, known again as its provider's."""
    if not isinstance(part, Reasoning) or (part.seal is not None and part.seal.issuer is not None):
        return part
    at = part.at
    while at is not None and at[0] != (None, "input"):
        at = at[0]
    place = at[1] if at is not None else None
    if type(place) is not int or place >= len(issuers) or not issuers[place]:
        return part
    value = part.seal.value if part.seal is not None else ""
    return msgspec.structs.replace(part, seal=Seal(value, issuers[place], "responses"))


def placed(ledger: Ledger, before: int, *, text: bool) -> None:
    """Put the losses of a conversation whose first items were `before` the caller's own in the caller's words. `text`: its
    own input is one text."""
    kept: list[Loss] = []
    for loss in ledger.losses:
        found = _PLACE.match(loss.path)
        if found is None:
            kept.append(loss)
            continue
        number, rest = int(found[1]) - before, found[2]
        if number >= 0:
            kept.append(msgspec.structs.replace(loss, path="input" if text else f"input[{number}]{rest}"))
        elif loss.severity != "info":
            # What an answer was labelled with is nothing that the caller said.
            told = msgspec.structs.replace(loss, path="previous_response_id")
            if told not in kept:
                kept.append(told)
    ledger.losses[:] = kept


# ---------------------------------------------------------------- answers


def ending(frame: Frame) -> bytes | None:
    """The Response at the end of a stream, as JSON; None in any other event."""
    if frame.event and frame.event not in _ENDS:
        return None
    if not frame.event and b'"response.' not in frame.data[:200]:
        return None
    event = _read(_event, sound(frame.data))
    return bytes(event.response) if event is not None and event.type in _ENDS else None


def failed_event(frame: Frame, error: DragomanError) -> bytes:
    """The event in place of a stream's last one, where what it says does not hold."""
    event = _decode(sound(frame.data))
    response = {**event["response"], "status": "failed", "error": failure(error)}
    told = {"type": "response.failed", "sequence_number": event.get("sequence_number", 0), "response": response}
    return b"event: response.failed\ndata: %b\n\n" % _encode(told)


class _Given(msgspec.Struct):
    """An answer of any path about responses or conversations."""

    id: Any = None
    object: Any = None
    output: Any = None
    data: Any = None


_given = msgspec.json.Decoder(_Given)


def given(answer: bytes) -> tuple[list[str], list[str]]:
    """The ids that an answer gives: those of a response and of items, and those of conversations."""
    found: _Given | None = _read(_given, sound(answer))
    if found is None:
        return [], []
    own = [found.id] if isinstance(found.id, str) and found.id else []
    if found.object == "conversation":
        return [], own
    for listed in (found.output, found.data):
        objects = cast("list[Any]", listed) if isinstance(listed, list) else []
        own += [name for one in objects if isinstance(one, dict) and isinstance(name := cast("Block", one).get("id"), str)]
    return own, []


def given_in(frame: Frame) -> list[str]:
    """The same of an event about a whole answer."""
    event = _read(_event, sound(frame.data)) if b'"response"' in frame.data else None
    return given(bytes(event.response))[0] if event is not None else []


def id_within(frame: Frame) -> str:
    """The answer's id in an event about the whole answer; empty in any other."""
    event = _read(_event, sound(frame.data)) if b'"response"' in frame.data else None
    return id_of(bytes(event.response)) if event is not None else ""


def sound(data: bytes) -> bytes:
    """JSON that can be read again, of what a provider wrote: half characters and numbers that are none are mended. What is no
    JSON at all stays as it is."""
    if _read(_head, data) is not None:
        return data
    try:
        return _encode(clean(loads(data)))
    except ValueError:
        return data


def id_of(response: bytes) -> str:
    head = _read(_head, response)
    return head.id if head is not None and type(head.id) is str else ""


def status_of(response: bytes) -> str:
    head = _read(_head, response)
    return head.status if head is not None and type(head.status) is str else ""


def output_of(response: bytes) -> Items:
    """The items of an answer, each as its JSON."""
    try:
        fields = msgspec.json.decode(response, type=dict[str, msgspec.Raw])
        return _items.decode(fields.get("output", b"[]"))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return []


def ids_of(items: Items) -> list[str]:
    """The ids that items have of their own."""
    found = (_read(_head, bytes(item)) for item in items)
    return [head.id for head in found if head is not None and type(head.id) is str and head.id]


def _read(decoder: msgspec.json.Decoder[Any], data: bytes) -> Any:
    try:
        return decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def shell(reply: Reply, status: str, output: Sequence[bytes] = (), error: Block | None = None) -> bytes:
    """A Response that is not whole: not begun, or given up."""
    return Shell(reply, "", reply.model).body(status, list(output), error=error)


def ended(response: bytes, status: str, error: Block | None) -> bytes:
    """The same Response, given up."""
    fields = _decode(response)
    return _encode({**fields, "status": status, "error": error})


def deleted(own_id: str) -> bytes:
    return _encode({"id": own_id, "object": "response", "deleted": True})


# ---------------------------------------------------------------- input items


def listed(items: Items, names: Sequence[str], query: Mapping[str, str]) -> bytes:
    """A page of the items that an answer was made of. `names`: of what the ids are made of those that have none. Raises
    `MalformedBody` for a page that there cannot be."""
    natives = [_listed(_decode(item), name) for item, name in zip(items, names, strict=True)]
    order = query.get("order") or "desc"
    if order not in {"asc", "desc"}:
        raise MalformedBody(f"order: expected asc or desc, got {order[:40]!r}", param="order")
    if order == "desc":
        natives.reverse()
    limit = _limit(query.get("limit"))
    if after := query.get("after"):
        found = next((place for place, native in enumerate(natives) if native["id"] == after), None)
        if found is None:
            raise MalformedBody(f"after: there is no item {after[:80]!r} here", param="after")
        natives = natives[found + 1 :]
    page = natives[:limit]
    told = {
        "object": "list",
        "data": page,
        "first_id": page[0]["id"] if page else None,
        "last_id": page[-1]["id"] if page else None,
        "has_more": len(natives) > limit,
    }
    return _encode(told)


def _limit(said: str | None) -> int:
    if not said:
        return _USUAL_PAGE
    if not (said.isascii() and said.isdigit() and 1 <= int(said) <= _MOST_PAGE):
        raise MalformedBody(f"limit: expected a number from 1 to {_MOST_PAGE}, got {said[:40]!r}", param="limit")
    return int(said)


def _listed(native: Any, stem: str) -> Block:
    """An item as this API lists it: with an id and, a message, with its content as parts."""
    item = cast("Block", native) if isinstance(native, dict) else {"content": native}
    kind = item.get("type") or ("message" if "role" in item else "item_reference")
    prefix = PREFIX.get(kind.removesuffix("_output"), "item") if isinstance(kind, str) else "item"
    item = {"id": item.get("id") or f"{prefix}_{stem}", **{key: value for key, value in item.items() if key != "id"}}
    if kind != "message":
        return {**item, "type": kind}
    content = item.get("content")
    if isinstance(content, str):
        said: Block = {"type": "input_text", "text": content}
        if item.get("role") == "assistant":
            said = {"type": "output_text", "text": content, "annotations": [], "logprobs": []}
        content = [said]
    return {"type": "message", "status": "completed", **item, "content": content or []}
