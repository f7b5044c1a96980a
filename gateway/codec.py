"""Dataclasses to JSON values and back, by their type hints; strict, and with faults that name the place.

Known are str, int, float, bool, None, bytes (as base64), ``X | None``, ``tuple[X, ...]``, ``Mapping[str, X]``, StrEnum
and dataclasses of these, generic ones too. Nothing else crosses the wire.
"""

from __future__ import annotations

import base64
import binascii
import math
import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum, StrEnum
from functools import cache
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

T = TypeVar("T")


class BadValue(ValueError):
    """A JSON value does not fit its type; the text says where and why."""


def encode(value: Any) -> Any:
    """A value as JSON knows it."""
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, str):
        return value.value if isinstance(value, Enum) else value
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, (tuple, list)):
        return [encode(each) for each in value]
    if isinstance(value, Mapping):
        return {str(key): encode(each) for key, each in value.items()}
    if is_dataclass(value):
        return {each.name: encode(getattr(value, each.name)) for each in fields(value)}
    raise TypeError(f"{type(value).__name__} does not cross the wire")


def decode(kind: type[T], value: Any) -> T:
    """A JSON value as ``kind``; raises BadValue."""
    try:
        return cast(T, _decoder(cast(Any, kind))(value))
    except _Wrong as wrong:
        at = "".join(reversed(wrong.at)).lstrip(".") or "params"
        raise BadValue(f"{at}: {wrong.what}") from None


class _Wrong(Exception):
    """What is wrong, and where: the path is put together on the way out, so that what is right costs nothing."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.at: list[str] = []


Decoder = Callable[[Any], Any]


@cache
def _decoder(kind: Any) -> Decoder:
    """What decodes a type; made once for each."""
    origin = get_origin(kind)
    if origin in (types.UnionType, Union):
        return _optional(kind)
    if origin is tuple:
        return _tuple(_decoder(get_args(kind)[0]))
    if origin is not None and issubclass(origin, Mapping):
        return _mapping(_decoder(get_args(kind)[1]))
    if is_dataclass(origin or kind):
        return _dataclass(kind)
    if kind is str:
        return _text
    if kind is float:
        return _float
    if kind is int:
        return _int
    if kind is bytes:
        return _bytes
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return _choice(kind)
    return lambda value: _of(kind, value)


def _optional(kind: Any) -> Decoder:
    inner = next(_decoder(each) for each in get_args(kind) if each is not type(None))
    if type(None) not in get_args(kind):
        return inner
    return lambda value: None if value is None else inner(value)


def _tuple(each: Decoder) -> Decoder:
    def dec(value: Any) -> Any:
        made = []
        for number, part in enumerate(_of(list, value)):
            try:
                made.append(each(part))
            except _Wrong as wrong:
                wrong.at.append(f"[{number}]")
                raise
        return tuple(made)

    return dec


def _mapping(each: Decoder) -> Decoder:
    def dec(value: Any) -> Any:
        made = {}
        for key, part in _of(dict, value).items():
            try:
                made[_text(key)] = each(part)
            except _Wrong as wrong:
                wrong.at.append(f".{key}")
                raise
        return made

    return dec


def _dataclass(kind: Any) -> Decoder:
    hints, required = _shape(kind)
    decoders = {name: _decoder(hint) for name, hint in hints.items()}
    make = get_origin(kind) or kind

    def dec(value: Any) -> Any:
        given = _of(dict, value).keys()
        if unknown := given - decoders.keys():
            raise _Wrong(f"unknown key {min(unknown)!a}")
        if missing := required - given:
            raise _Wrong(f"{min(missing)} is missing")
        made = {}
        for name, part in value.items():
            try:
                made[name] = decoders[name](part)
            except _Wrong as wrong:
                wrong.at.append(f".{name}")
                raise
        return make(**made)

    return dec


def _shape(kind: Any) -> tuple[dict[str, Any], frozenset[str]]:
    """The type of each field, and which must be there."""
    plain = get_origin(kind) or kind
    bound = dict(zip(getattr(plain, "__parameters__", ()), get_args(kind), strict=False))
    hints = get_type_hints(plain)
    known = [each for each in fields(plain) if each.init]
    required = frozenset(each.name for each in known if each.default is MISSING and each.default_factory is MISSING)
    return {each.name: _bind(hints[each.name], bound) for each in known}, required


def _bind(hint: Any, bound: Mapping[Any, Any]) -> Any:
    if hint in bound:
        return bound[hint]
    if get_origin(hint) is tuple and get_args(hint)[0] in bound:
        return types.GenericAlias(tuple, (bound[get_args(hint)[0]], ...))
    return hint


def _text(value: Any) -> str:
    if type(value) is not str:
        value = _of(str, value)
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise _Wrong("holds half of a surrogate pair") from None
    return cast(str, value)


def _int(value: Any) -> int:
    if not -(2**63) <= (number := _of(int, value)) < 2**63:
        raise _Wrong("is out of range")  # what the store can hold
    return number


def _float(value: Any) -> float:
    number = float(_of(int, value)) if isinstance(value, int) and abs(value) < 2**53 else _of(float, value)
    if not math.isfinite(number):
        raise _Wrong("is not a number")
    return number


def _bytes(value: Any) -> bytes:
    try:
        return base64.b64decode(_text(value), validate=True)
    except (binascii.Error, ValueError):
        raise _Wrong("is not base64") from None


def _choice(kind: type[StrEnum]) -> Decoder:
    def dec(value: Any) -> StrEnum:
        try:
            return kind(_text(value))
        except ValueError:
            raise _Wrong(f"must be one of {', '.join(kind)}") from None

    return dec


def _of(kind: type[T], value: Any) -> T:
    if not isinstance(value, kind) or (kind is not bool and isinstance(value, bool)):
        raise _Wrong(f"must be {kind.__name__}, not {type(value).__name__}")
    return value
