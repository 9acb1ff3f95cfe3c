"""Reads data sets: a file, a folder of files, uploaded bytes, rows in memory, or a data set on the Hugging Face hub.

Reading order: `dataset` (a data set, where it came from and how it was read), `file_records` and `source_files` (what
is read), `json_records`, `tables` and `library_rows` (raw records), `record_reader` (from records to conversations, and
edited texts), `record_fields` (labels and columns), `load` (a whole data set, and previews for mapping columns).
"""

from delift_core.data.loading.dataset import IN_MEMORY, Choice, Dataset, HubSplit, Origin, ReadOptions
from delift_core.data.loading.file_records import read_bytes, read_records
from delift_core.data.loading.load import (
    TablePreview,
    load_bytes,
    load_file,
    load_hub,
    load_rows,
    load_source,
    map_preview,
    read_columns,
    read_columns_of_bytes,
    read_columns_of_hub,
)
from delift_core.data.loading.raw_records import RawRecord, Watch
from delift_core.data.loading.record_fields import Fields, fields_of, has_answer_choice, unread_columns

__all__ = [
    "Choice",
    "Dataset",
    "Fields",
    "HubSplit",
    "IN_MEMORY",
    "Origin",
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
