"""What a file holds: told by its first bytes where they say so, else by its suffix; and words for what is not read.

Knows names and first bytes; knows nothing of records.
"""

import re
from typing import Literal

from delift_core.errors import DataError

Kind = Literal["json", "csv", "parquet", "arrow"]
KINDS: dict[str, Kind] = {
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".jsonlines": "json",
}
SUFFIXES = tuple(KINDS)
COMPRESSED = (".gz", ".zst", ".bz2", ".xz")
HEAD_BYTES = 512
_PACKED_HEADS = ((b"\x1f\x8b\x08", ".gz"), (b"\x28\xb5\x2f\xfd", ".zst"), (b"\xfd7zXZ\0", ".xz"))
_BZIP2_HEAD = re.compile(rb"BZh[1-9](1AY&SY|\x17rE8P\x90)")
_TABLE_HEADS: tuple[tuple[bytes, Kind], ...] = ((b"PAR1", "parquet"), (b"ARROW1", "arrow"))
_JSON_HEAD = re.compile(rb'\s*(\{\s*("|\}|$)|\[\s*([\[{"\]\d-]|$))')

_WORKBOOK = "a spreadsheet, which is not read here; save the sheet as CSV in UTF-8"
_ARCHIVE = "an archive, which is not read here; unpack it, and give the file or the folder that was in it"
_PICKLE = "a pickle, which can run code and is never opened; write the rows as JSON lines or Parquet"
_DATABASE = "a database, which is not read here; export the table as Parquet or CSV"
_TABLE = "a table of a kind that is not read here; write the rows as Parquet"
_PAGE = "a web page, not data; download the file itself"
_POINTER = "a Git LFS pointer, not the data; fetch the data with `git lfs pull`"
_FOREIGN_HEADS = (
    (b"version https://git-lfs", _POINTER),
    (b"SQLite format 3\0", _DATABASE),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", _WORKBOOK),
    (b"PK\x03\x04", _ARCHIVE),
    (b"7z\xbc\xaf\x27\x1c", _ARCHIVE),
    (b"Rar!\x1a\x07", _ARCHIVE),
    (b"\x89HDF\r\n\x1a\n", _TABLE),
    (b"Obj\x01", _TABLE),
    (b"<!DOCTYPE html", _PAGE),
    (b"<!doctype html", _PAGE),
    (b"<html", _PAGE),
)
_FOREIGN_SUFFIXES = {
    **dict.fromkeys((".xlsx", ".xlsm", ".xls", ".ods"), _WORKBOOK),
    **dict.fromkeys((".zip", ".tar", ".tgz", ".7z", ".rar"), _ARCHIVE),
    **dict.fromkeys((".pkl", ".pickle", ".pt", ".pth", ".joblib"), _PICKLE),
    **dict.fromkeys((".db", ".sqlite", ".sqlite3", ".duckdb"), _DATABASE),
    **dict.fromkeys((".avro", ".orc", ".h5", ".hdf5", ".tfrecord"), _TABLE),
}


def packing(head: bytes) -> str:
    """The suffix of the compression that a file begins with; "" for none."""
    if _BZIP2_HEAD.match(head):
        return ".bz2"
    return next((suffix for mark, suffix in _PACKED_HEADS if head.startswith(mark)), "")


def looks_like_json(head: bytes) -> bool:
    """Whether a file begins like a JSON object or list."""
    return _JSON_HEAD.match(head.removeprefix(b"\xef\xbb\xbf")) is not None


def foreign(suffix: str, head: bytes) -> str:
    """What a file of another kind is, and what to do with it; "" where it may be one of ours."""
    if suffix in (".xlsx", ".xlsm", ".ods") and head.startswith(b"PK"):
        return _WORKBOOK
    by_head = next((words for mark, words in _FOREIGN_HEADS if head.startswith(mark)), "")
    return by_head or _FOREIGN_SUFFIXES.get(suffix, "")


def kind_of(name: str, suffix: str, head: bytes) -> Kind:
    """How a file is to be read.

    Args:
        name: of the file, for the error.
        suffix: the one that says what is inside, in lower case.
        head: the first bytes, unpacked.

    Raises:
        DataError: it is of a kind that is not read.
    """
    by_head = next((kind for mark, kind in _TABLE_HEADS if head.startswith(mark)), None)
    if by_head is not None:
        return by_head
    words = foreign(suffix, head)
    if words:
        raise DataError(f"{name} is {words}.")
    if suffix in KINDS:
        return KINDS[suffix]
    if looks_like_json(head):
        return "json"
    what = f"has the suffix {suffix}, which is not read here" if suffix else "has no suffix and is not read here"
    raise DataError(f"{name} {what}; accepted are {', '.join(SUFFIXES)}, also with {', '.join(COMPRESSED)} behind.")
