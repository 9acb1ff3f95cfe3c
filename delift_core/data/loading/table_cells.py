"""Rows of Arrow tables as records: undoes what a table does to nested values.

All objects in a column have the same keys, so a tool call gets the arguments of all others as null; a missing number is
NaN; and JSON may be text in a type of its own.
"""

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from delift_core.data.loading.json_scanner import DECODER
from delift_core.data.loading.size_limits import contains_type

if TYPE_CHECKING:
    import pyarrow as pa

# Inside these keys a null has no meaning: arguments of calls, and definitions of tools.
FILLED_KEYS = frozenset({"arguments", "args", "parameters", "properties", "input_schema", "tools", "functions"})
CALL_INPUT = "input"  # the arguments of a tool_use block if it is an object; a prompt's input is text


def record_maker(schema: "pa.Schema") -> Callable[[dict[str, object]], dict[str, object]]:
    """A function that converts rows of a schema, with maps as dictionaries, to records."""
    texts = {field.name: field.type for field in schema if contains_type(field.type, _is_json)}
    filled = {field.name for field in schema if field.name not in texts and contains_type(field.type, _may_be_filled)}

    def record(row: dict[str, object]) -> dict[str, object]:
        if not texts and not filled:
            return row
        decoded = {name: _decoded(row[name], kind) for name, kind in texts.items()}  # JSON keeps its own keys
        return {**row, **decoded, **remove_fill({name: row[name] for name in filled})}

    return record


def remove_fill(value: Mapping[str, object]) -> dict[str, object]:
    """A row with null for NaN, and without the nulls in tool calls and tool definitions."""
    return {key: _without_fill(item, _has_fill(key, item)) for key, item in value.items()}


def _without_fill(value: object, filled: bool) -> object:
    if isinstance(value, float):
        return None if math.isnan(value) else value
    if isinstance(value, Mapping):
        items = ((key, _without_fill(item, filled or _has_fill(key, item))) for key, item in value.items())
        return {key: item for key, item in items if not (filled and item is None)}
    if isinstance(value, list | tuple):
        return [_without_fill(item, filled) for item in value]
    return value


def _has_fill(key: str, value: object) -> bool:
    return key in FILLED_KEYS or (key == CALL_INPUT and isinstance(value, Mapping))


def _is_json(kind: "pa.DataType") -> bool:
    import pyarrow as pa

    return isinstance(kind, pa.JsonType)


def _may_be_filled(kind: "pa.DataType") -> bool:
    import pyarrow as pa

    return bool(pa.types.is_floating(kind) or pa.types.is_struct(kind) or pa.types.is_map(kind))


def _decoded(value: object, kind: "pa.DataType") -> object:
    """A value with its JSON texts decoded; invalid JSON stays text."""
    import pyarrow as pa

    if value is None:
        return None
    if _is_json(kind):
        try:
            return DECODER.decode(str(value))
        except (ValueError, RecursionError):
            return value
    if isinstance(value, Mapping):
        if pa.types.is_map(kind):
            return {key: _decoded(item, kind.item_type) for key, item in value.items()}
        return {key: _decoded(item, kind.field(key).type) for key, item in value.items()}
    return [_decoded(item, kind.value_type) for item in value] if isinstance(value, list) else value
