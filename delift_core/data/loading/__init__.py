"""Reads data sets: a file, a folder of files, uploaded bytes, rows in memory, or a data set on the Hugging Face hub.

Reading order: `dataset` (a data set, where it came from and how it was read), `source_files` and `folders` (what is
read), `json_records`, `tables`, `memory_rows` and `hub_rows` (raw records), `record_reader` (records to conversations),
`load` (a whole data set, and previews for mapping columns).
"""

from delift_core.data.loading.dataset import IN_MEMORY, Choice, Dataset, HubSplit, Origin, ReadOptions
from delift_core.data.loading.load import (
    TablePreview,
    load_bytes,
    load_file,
    load_hub,
    load_rows,
    load_source,
    map_preview,
    read_bytes,
    read_columns,
    read_columns_of_bytes,
    read_columns_of_hub,
    read_records,
)
from delift_core.data.loading.raw_records import Progress, RawRecord, Watch
from delift_core.data.loading.unread_columns import Fields, fields_of, has_answer_choice, unread_columns

__all__ = [
    "Choice",
    "Dataset",
    "Fields",
    "HubSplit",
    "IN_MEMORY",
    "Origin",
    "Progress",
    "RawRecord",
    "ReadOptions",
    "TablePreview",
    "Watch",
    "fields_of",
    "has_answer_choice",
    "load_bytes",
    "load_file",
    "load_hub",
    "load_rows",
    "load_source",
    "map_preview",
    "read_bytes",
    "read_columns",
    "read_columns_of_bytes",
    "read_columns_of_hub",
    "read_records",
    "unread_columns",
]
