"""A row of a table as a record: what the table had to make of the values is undone.

A table gives every object of a column the same keys, so that a call gets the arguments of all others, null; it writes
NaN where a number is missing; and it may hold JSON as text in a type of its own. Knows rows and column types; knows
nothing of files.
"""

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from delift_core.data.loading.json_scanner import DECODER

if TYPE_CHECKING:
    import pyarrow as pa

# In these no null means anything: the arguments of a call, and what defines a tool.
FILLED = frozenset({"arguments", "args", "parameters", "properties", "input_schema", "tools", "functions"})
CALL_INPUT = "input"  # of a content block; a prompt's input is text


def record_maker(schema: "pa.Schema") -> Callable[[dict[str, object]], dict[str, object]]:
    """A function that makes a record of a row in which maps are dictionaries, for one schema."""
    texts = {field.name: field.type for field in schema if _holds(field.type, _is_json)}
    filled = {field.name for field in schema if field.name not in texts and _holds(field.type, _may_be_filled)}

    def record(row: dict[str, object]) -> dict[str, object]:
        if not texts and not filled:
            return row
        decoded = {name: _decoded(row[name], kind) for name, kind in texts.items()}  # JSON has the keys it was given
        return {**row, **decoded, **without_filling({name: row[name] for name in filled})}

    return record


def without_filling(value: Mapping[str, object]) -> dict[str, object]:
    """A row whose NaN is null, and whose calls and tool definitions have no null of their own."""
    return {key: _settled(item, _is_filled(key, item)) for key, item in value.items()}


def _settled(value: object, filled: bool) -> object:
    if isinstance(value, float):
        return None if math.isnan(value) else value
    if isinstance(value, Mapping):
        items = ((key, _settled(item, filled or _is_filled(key, item))) for key, item in value.items())
        return {key: item for key, item in items if not (filled and item is None)}
    if isinstance(value, list | tuple):
        return [_settled(item, filled) for item in value]
    return value


def _is_filled(key: str, value: object) -> bool:
    return key in FILLED or (key == CALL_INPUT and isinstance(value, Mapping))


def _is_json(kind: "pa.DataType") -> bool:
    import pyarrow as pa

    return isinstance(kind, pa.JsonType)


def _may_be_filled(kind: "pa.DataType") -> bool:
    import pyarrow as pa

    return bool(pa.types.is_floating(kind) or pa.types.is_struct(kind) or pa.types.is_map(kind))


def _holds(kind: "pa.DataType", is_one: Callable[["pa.DataType"], bool]) -> bool:
    """Whether a type or one inside it is of a kind."""
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        return _holds(kind.value_type, is_one)
    return is_one(kind) or any(_holds(kind.field(at).type, is_one) for at in range(kind.num_fields))


def _decoded(value: object, kind: "pa.DataType") -> object:
    """A value with the JSON texts in it decoded; one that is no JSON stays text."""
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
