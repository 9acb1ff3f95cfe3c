"""Rows whose values differ in type from those of the others, or whose objects differ in keys.

`datasets` reads such columns since version 4.7; before, it stops at the types and gives every object the keys of all.
Knows decoded records; knows nothing of any one trainer.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from delift_core.formats.dialects import ROLE_KEYS

TYPES = "`{path}` differs in type between rows: datasets before 4.7 stops the load"
KEYS = "`{path}` differs in keys between rows: datasets before 4.7 adds the others' keys as null"


def uneven_rows(records: Sequence[object]) -> dict[int, str]:
    """What is uneven about a row, for each row that differs from most."""
    types: dict[str, Counter[str]] = {}
    keys: dict[str, set[str]] = {}
    found = [list(_values(record, "")) if isinstance(record, Mapping) else [] for record in records]
    for values in found:
        for path, kind, names in values:
            types.setdefault(path, Counter())[kind] += 1
            if names is not None:
                keys.setdefault(path, set()).update(names)
    usual = {path: counts.most_common(1)[0][0] for path, counts in types.items()}
    told: dict[int, str] = {}
    for row, values in enumerate(found):
        words = next((TYPES.format(path=path) for path, kind, _ in values if kind != usual[path]), None) or next(
            (KEYS.format(path=path) for path, _, names in values if names is not None and names != keys[path]), None
        )
        if words:
            told[row] = words
    return told


def null_columns(records: Sequence[object]) -> tuple[str, ...]:
    """The columns that are null in every row that has them."""
    filled: dict[str, bool] = {}
    for record in records:
        for key, value in record.items() if isinstance(record, Mapping) else ():
            filled[str(key)] = filled.get(str(key), False) or value is not None
    return tuple(key for key, some in filled.items() if not some)


def _values(value: object, path: str) -> Iterator[tuple[str, str, set[str] | None]]:
    """(path, type, keys) of each value in a record; no keys for the record and its turns, which may lack some."""
    if value is None:
        return
    if isinstance(value, Mapping):
        optional = not path or (
            path.count("[]") == 1 and path.endswith("[]") and any(key in value for key in ROLE_KEYS)
        )
        if path:
            yield path, "object", None if optional else {str(key) for key in value}
        for key, item in value.items():
            yield from _values(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        yield path, "list", None
        for item in value:
            yield from _values(item, f"{path}[]")
    else:
        yield path, _TYPE_WORDS.get(type(value), "number"), None


_TYPE_WORDS = {str: "text", bool: "true or false"}
