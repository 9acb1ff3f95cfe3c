"""Where samples come from: a file, a folder of files, uploaded bytes or a data set on the Hugging Face hub.

Files become raw records (`read_records`), raw records become a `Dataset` by way of the wire formats. Knows nothing of
the workspace, tokenizers or models. The parts: `inputs` (what is to be
read), `records` (what a raw record is), `json_records`, `tables` and `hub`
(the three kinds of source), `loading` (records to data set, and previews for column mapping).
"""

from delift_core.data.loading.load import (
    TablePreview,
    load_bytes,
    load_file,
    load_hub,
    map_preview,
    read_bytes,
    read_columns,
    read_columns_of_bytes,
    read_columns_of_hub,
    read_records,
)
from delift_core.data.loading.raw_records import Progress, RawRecord, Watch
from delift_core.data.loading.unread_columns import Fields, fields_of, has_answers, unread_columns

__all__ = [
    "Fields",
    "Progress",
    "RawRecord",
    "TablePreview",
    "Watch",
    "fields_of",
    "has_answers",
    "load_bytes",
    "load_file",
    "load_hub",
    "map_preview",
    "read_bytes",
    "read_columns",
    "read_columns_of_bytes",
    "read_columns_of_hub",
    "read_records",
    "unread_columns",
]
