"""JSON of which a part is carried and not read: schemas arrive byte for byte."""

from __future__ import annotations

from typing import Any, cast

import msgspec

from dragoman.dialects.shape import Fields, wrong
from dragoman.ir.request import Path

RawObject = dict[str, msgspec.Raw]

_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
_objects = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])
_decode = msgspec.json.Decoder().decode


def raw_objects(raw: msgspec.Raw | None, at: Path) -> list[RawObject]:
    if raw is None or bytes(raw) == b"null":
        return []
    try:
        return _objects.decode(raw)
    except msgspec.ValidationError:
        natives = _decode(raw)
        if type(natives) is list:
            for index, native in enumerate(cast("list[Any]", natives)):
                if type(native) is not dict:
                    raise wrong((at, index), "an object", native) from None
        raise wrong(at, "an array of objects", natives) from None


def raw_object(raw: msgspec.Raw | None, at: Path) -> RawObject:
    try:
        return _object.decode(raw if raw is not None else b"null")
    except msgspec.ValidationError:
        raise wrong(at, "an object", None if raw is None else _decode(raw)) from None


def schema_of(raw: msgspec.Raw | None, at: Path) -> msgspec.Raw:
    if raw is None or bytes(raw) == b"null":
        return msgspec.Raw(b"")
    if bytes(raw)[:1] != b"{":
        raise wrong(at, "an object", _decode(raw))
    return raw


def decoded(native: RawObject, at: Path) -> Fields:
    return Fields({key: _decode(value) for key, value in native.items()}, at)
