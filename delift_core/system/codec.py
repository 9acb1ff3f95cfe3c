"""Dataclasses as JSON, and back with every field checked against its declared type, by `msgspec`."""

from typing import TypeVar

import msgspec

Value = TypeVar("Value")


class DecodeError(ValueError):
    """A JSON document does not fit its dataclass; the message begins with the path, such as "rows[3].gain"."""


def encode(value: object, *, indent: int = 0) -> bytes:
    """A dataclass, or a plain JSON value, as UTF-8: on one line, or indented by a number of spaces."""
    line = msgspec.json.encode(value)
    return msgspec.json.format(line, indent=indent) if indent else line


def decode(kind: type[Value], document: object) -> Value:
    """Builds a dataclass from a JSON document, given as bytes, as text or as plain values.

    A missing field takes its default, so that older files can be read; an unknown key is ignored.

    Raises:
        DecodeError: a field is missing or has a value of another type, or the text is not JSON or nested too deeply.
    """
    try:
        if isinstance(document, (bytes, str)):
            return msgspec.json.decode(document, type=kind)
        return msgspec.convert(document, kind)
    except msgspec.ValidationError as error:
        reason, _, path = str(error).partition(" - at `$")
        raise DecodeError(f"{path.strip('.`') or 'the top'}: {reason}") from error
    except (msgspec.DecodeError, RecursionError) as error:
        raise DecodeError(f"not JSON: {error}") from error
