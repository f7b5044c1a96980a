"""Dataclasses to JSON values and back, by their type hints; strict, and with faults that name the place.

Known are str, int, float, bool, None, bytes (as base64), ``X | None``, ``tuple[X, ...]``, ``Mapping[str, X]``, StrEnum
and dataclasses of these, generic ones too. Nothing else crosses the wire.
"""

from __future__ import annotations

import base64
import binascii
import math
import types
from collections.abc import Mapping
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
    return cast(T, _decode(kind, value, ""))


def _decode(kind: Any, value: Any, at: str) -> Any:
    origin = get_origin(kind)
    if origin in (types.UnionType, Union):
        return _optional(kind, value, at)
    if origin is tuple:
        each = get_args(kind)[0]
        return tuple(_decode(each, part, f"{at}[{n}]") for n, part in enumerate(_of(list, value, at)))
    if origin is not None and issubclass(origin, Mapping):
        each = get_args(kind)[1]
        return {key: _decode(each, part, f"{at}.{key}") for key, part in _of(dict, value, at).items()}
    if is_dataclass(origin or kind):
        return _dataclass(kind, _of(dict, value, at), at)
    return _plain(kind, value, at)


def _optional(kind: Any, value: Any, at: str) -> Any:
    if value is None and type(None) in get_args(kind):
        return None
    inner = [each for each in get_args(kind) if each is not type(None)]
    return _decode(inner[0], value, at)


def _dataclass(kind: Any, value: dict[str, Any], at: str) -> Any:
    hints, required = _shape(kind)
    if unknown := value.keys() - hints.keys():
        raise BadValue(f"{at or 'params'}: unknown key {min(unknown)!a}")
    if missing := required - value.keys():
        raise BadValue(f"{at or 'params'}: {min(missing)} is missing")
    made = {name: _decode(hints[name], part, f"{at}.{name}".lstrip(".")) for name, part in value.items()}
    return (get_origin(kind) or kind)(**made)


@cache
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


def _plain(kind: Any, value: Any, at: str) -> Any:
    if kind is bytes:
        try:
            return base64.b64decode(_of(str, value, at), validate=True)
        except binascii.Error:
            raise BadValue(f"{at}: is not base64") from None
    if kind is float:
        number = float(_of(int, value, at)) if isinstance(value, int) and abs(value) < 2**53 else _of(float, value, at)
        if not math.isfinite(number):
            raise BadValue(f"{at}: is not a number")
        return number
    if kind is int and isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise BadValue(f"{at}: is out of range")  # what the store can hold
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        try:
            return kind(_of(str, value, at))
        except ValueError:
            raise BadValue(f"{at}: must be one of {', '.join(kind)}") from None
    return _of(kind, value, at)


def _of(kind: type[T], value: Any, at: str) -> T:
    if not isinstance(value, kind) or (kind is not bool and isinstance(value, bool)):
        raise BadValue(f"{at or 'params'}: must be {kind.__name__}, not {type(value).__name__}")
    if isinstance(value, str) and not _encodable(value):
        raise BadValue(f"{at or 'params'}: holds half of a surrogate pair")
    return value


def _encodable(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
