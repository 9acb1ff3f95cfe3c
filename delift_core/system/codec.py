"""Dataclasses from their JSON form (`dataclasses.asdict`), checked field by field against the declared types."""

import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

Value = TypeVar("Value")


class DecodeError(ValueError):
    """A JSON document does not fit its dataclass; the message begins with the path, such as "rows[3].gain"."""


def decode(kind: type[Value], document: object) -> Value:
    """Builds a dataclass from its JSON form.

    A missing field takes its default, so that older files can be read; an unknown key is ignored.

    Args:
        kind: a dataclass whose fields are scalars, Literals, homogeneous tuples, dataclasses, or one of these or None.

    Raises:
        DecodeError: a field is missing or has a value of another type.
    """
    return cast(Value, _decode(kind, document, ""))


def _decode(kind: Any, value: object, path: str) -> object:
    if is_dataclass(kind):
        return _decode_dataclass(kind, value, path)
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Literal:
        if value not in arguments:
            raise DecodeError(f"{path}: {value!r} is not one of {', '.join(map(str, arguments))}")
        return value
    if origin in (types.UnionType, Union):  # `Literal[...] | None` is a Union
        inner = next(argument for argument in arguments if argument is not type(None))
        return None if value is None else _decode(inner, value, path)
    if origin is tuple:
        if not isinstance(value, list):
            raise DecodeError(f"{path}: a list is expected")
        return tuple(_decode(arguments[0], item, f"{path}[{index}]") for index, item in enumerate(value))
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise DecodeError(f"{path}: a value of type {kind.__name__} is expected")
    return value


def _decode_dataclass(kind: Any, value: object, path: str) -> object:
    if not isinstance(value, Mapping):
        raise DecodeError(f"{path or 'the top'}: an object is expected")
    parts: dict[str, object] = {}
    for name, hint, required in _fields(kind):
        where = f"{path}.{name}" if path else name
        if name in value:
            parts[name] = _decode(hint, value[name], where)
        elif required:
            raise DecodeError(f"{where}: it is missing")
    return kind(**parts)


@cache
def _fields(kind: Any) -> tuple[tuple[str, Any, bool], ...]:
    """Name, type and whether it is required, of each field; cached because a manifest has a row entry for each row."""
    hints = get_type_hints(kind)
    return tuple((field.name, hints[field.name], field.default is MISSING) for field in fields(kind))
