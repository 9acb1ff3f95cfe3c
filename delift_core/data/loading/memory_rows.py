"""Raw records from rows in memory: a list of dicts, a `datasets.Dataset` or a pandas `DataFrame`.

Neither library is imported here: the caller has imported the one whose object is passed in.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

from delift_core.data.loading.raw_records import RawRecord, check_encoding, dump
from delift_core.data.loading.table_cells import remove_fill
from delift_core.errors import DataError
from delift_core.samples import Problem


def read_rows(rows: object, source: str) -> Iterator[RawRecord | Problem]:
    """Yields the rows in order; the first has line 1.

    Args:
        source: what the records name as their source.

    Raises:
        DataError: the rows are none of the three kinds, or one of them cannot be written as JSON.
    """
    for number, row in enumerate(_dicts(rows), start=1):
        if not isinstance(row, Mapping):
            raise DataError(f"row {number - 1} is of type {type(row).__name__}; give every row as a dict")
        try:
            raw = dump(dict(row))
            value = json.loads(raw)
        except (TypeError, ValueError, RecursionError) as error:
            raise DataError(f"row {number - 1} cannot be written as JSON ({error}); give plain values") from error
        yield check_encoding(RawRecord(source, number, raw, value))


def kind_of_rows(rows: object) -> str:
    """ "datasets", "pandas" or "dicts"; "" for anything else."""
    names = {f"{one.__module__.partition('.')[0]}.{one.__name__}" for one in type(rows).__mro__}
    if "datasets.Dataset" in names:
        return "datasets"
    if "pandas.DataFrame" in names:
        return "pandas"
    return "dicts" if isinstance(rows, Sequence) and not isinstance(rows, str | bytes) else ""


def _dicts(rows: object) -> Iterable[object]:
    """The rows as dicts, with what their library filled in taken out."""
    table, kind = cast(Any, rows), kind_of_rows(rows)
    if kind == "datasets":
        return map(remove_fill, table)
    if kind == "pandas":
        plain = table.astype(object)
        return cast(Iterable[object], plain.where(table.notna(), None).to_dict("records"))
    if kind == "dicts":
        return cast(Iterable[object], table)
    several = " holds several splits: give one of them," if type(rows).__name__.endswith("DatasetDict") else ""
    raise DataError(
        f"rows of type {type(rows).__name__} cannot be read;{several} give a path, a list of dicts, a "
        "datasets.Dataset or a pandas DataFrame"
    )
