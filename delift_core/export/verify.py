"""Verifies exported files against their manifest, without a workspace or a model.

Each output row is compared with its pool row by the hash of the conversation and, if raw records were exported and the
pool file is available, byte for byte.
"""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import get_args

from delift_core.curation.manifest import InputEntry, Manifest, RowEntry, read_manifest
from delift_core.data.formats import RecordError, detect_format, parse_record
from delift_core.data.loading import Dataset, RawRecord, read_bytes
from delift_core.data.loading.file_records import file_hash
from delift_core.data.loading.json_scanner import DECODER, to_strict_json
from delift_core.errors import DataError, ExportError, SourceChanged
from delift_core.export.containers import container_of, unquote_formula
from delift_core.samples import Conversation, FormatName, Message, ScoredPart, hash_conversation
from delift_core.system.texts import Check


def verify(path: Path) -> tuple[Check, ...]:
    """Verifies an export.

    Args:
        path: of the manifest; the output file is in the same folder.

    Raises:
        ExportError: the manifest cannot be read.
    """
    manifest = read_manifest(path)
    on_hub = {entry.role: _read_again(entry, path) for entry in manifest.inputs if entry.source.kind == "hub"}
    pool = on_hub.get("pool")
    if pool is None and _is_verbatim(manifest):
        pool = _read_again(manifest.pool, path)
    inputs = (_check_input(entry, path.parent, on_hub.get(entry.role)) for entry in manifest.inputs)
    return (*_check_output(manifest, path.parent, pool), *inputs)


def _is_verbatim(manifest: Manifest) -> bool:
    """Whether the records were written as they are in the pool."""
    return manifest.output.format == "same" and container_of(Path(manifest.output.file)) == "jsonl"


def _read_again(entry: InputEntry, manifest_path: Path) -> Dataset | DataError:
    try:
        return entry.load(manifest_path)
    except DataError as error:
        return error


def _check_output(manifest: Manifest, folder: Path, pool: Dataset | DataError | None) -> tuple[Check, ...]:
    expected = manifest.output
    try:
        data = (folder / Path(expected.file).name).read_bytes()
    except (OSError, ValueError) as error:  # a name with a NUL in it is a ValueError
        reason = getattr(error, "strerror", None) or error
        return (Check("Output exists", False, f"{expected.file} cannot be read ({reason}); export again"),)
    same = hashlib.sha256(data).hexdigest() == expected.sha256
    lines = _lines_of(data, expected.file)
    return (
        Check("Output exists", True, expected.file),
        Check("Output hash", same, "SHA-256 as written" if same else f"{expected.file} was changed after the export"),
        Check("Output rows", len(lines) == expected.rows, f"{len(lines):,} lines, {expected.rows:,} were written"),
        _check_lines(lines, manifest, pool),
    )


def _lines_of(data: bytes, file: str) -> list[str]:
    """The rows of an output as lines of JSON; none for a table that cannot be read."""
    if container_of(Path(file)) != "jsonl":
        try:
            records = read_bytes(data, Path(file).name)
            return [record.raw if isinstance(record, RawRecord) else "" for record in records]
        except DataError:
            return []
    lines = data.decode("utf-8", "replace").split("\n")
    return lines[:-1] if lines[-1] == "" else lines


def _check_lines(lines: Sequence[str], manifest: Manifest, pool: Dataset | DataError | None) -> Check:
    label = "Rows are the pool's"
    rows = manifest.written
    for number, (line, row) in enumerate(zip(lines, rows, strict=False), start=1):
        if not _is_conversation_of(line, row, manifest):
            return Check(label, False, f"line {number} is not the conversation of pool row {row.id} (line {row.line})")
    if len(lines) != len(rows):
        return Check(label, False, f"{len(lines):,} lines for {len(rows):,} chosen rows")
    if not isinstance(pool, Dataset) or not _is_verbatim(manifest):
        missing = " (the pool is not at hand)" if isinstance(pool, DataError) else ""
        return Check(label, True, f"{len(rows):,} conversations, by their hash{missing}")
    raw = {sample.id: to_strict_json(sample.raw) for sample in pool.samples}
    for number, (line, row) in enumerate(zip(lines, rows, strict=True), start=1):
        if row.edited_hash is None and line != raw.get(row.id):
            return Check(label, False, f"line {number} differs from the record at line {row.line} of {row.source}")
    edited = sum(row.edited_hash is not None for row in rows)
    changed = f"; {edited:,} others as their text was changed by hand" if edited else ""
    written = {row.id for row in rows}
    with_nan = sum(sample.id in written and raw[sample.id] != sample.raw for sample in pool.samples)
    changed += f"; in {with_nan:,} null stands for NaN or Infinity" if with_nan else ""
    return Check(label, True, f"{len(rows) - edited:,} records, character by character as in {pool.name}{changed}")


def _is_conversation_of(line: str, row: RowEntry, manifest: Manifest) -> bool:
    """Whether a line holds the conversation of a pool row, in any possible format."""
    try:
        record = DECODER.decode(line)
    except (ValueError, RecursionError):
        return False
    if container_of(Path(manifest.output.file)) == "csv" and isinstance(record, dict):
        cells = ((key, unquote_formula(cell) if isinstance(cell, str) else cell) for key, cell in record.items())
        plain = {unquote_formula(key): cell for key, cell in cells}
        return _matches_row(record, row, manifest) or _matches_row(plain, row, manifest)
    return _matches_row(record, row, manifest)


def _matches_row(record: object, row: RowEntry, manifest: Manifest) -> bool:
    written = manifest.output.format
    formats: list[FormatName | None] = [detect_format(record), manifest.pool.format]
    formats = list(dict.fromkeys(formats if written == "same" else [written, *formats]))
    expected = row.written_hash or row.edited_hash or row.content_hash
    for name, text_only in product(formats, (False, True)):  # earlier versions read texts alone
        if name is None:
            continue
        mapping = manifest.pool.mapping if name in ("columns", manifest.pool.format) else None
        with suppress(RecordError):
            if expected in _possible_hashes(parse_record(name, record, mapping, text_only=text_only)):
                return True
    return False


def _possible_hashes(read: Conversation) -> Iterator[str]:
    """Hashes of a conversation, whichever part is scored, with and without a blank system text, which formats drop."""
    for messages in (read.messages, (Message("system", ""), *read.messages)):
        for scored in get_args(ScoredPart):
            yield hash_conversation(replace(read, messages=messages, scored=scored))


def _check_input(entry: InputEntry, folder: Path, on_hub: Dataset | DataError | None) -> Check:
    """Compares the bytes of a file, and the conversations of a data set on the hub; None for what is not on the hub."""
    label, source = f"Input {entry.role} {entry.name!r}", entry.source
    if isinstance(on_hub, DataError):  # an unreachable hub says nothing about the export
        return Check(label, not isinstance(on_hub, SourceChanged), str(on_hub))
    if on_hub is not None:
        commit = (
            f" at commit {on_hub.origin.split.commit}" if on_hub.origin.split and on_hub.origin.split.commit else ""
        )
        return Check(label, True, f"{entry.origin}{commit}, the same conversations")
    if entry.sha256 is None:
        return Check(label, True, f"{entry.origin} was no file at hand when the subset was written; nothing to compare")
    path = source.find(folder)
    if path is None and source.kind == "upload":
        what = (
            f"{source.name} was uploaded; put the file (SHA-256 {entry.sha256}) beside the manifest to have it checked"
        )
        return Check(label, False, what)
    if path is None:
        return Check(label, False, f"{entry.origin} is gone; put the file back, or beside the manifest")
    try:
        same = file_hash(path) == entry.sha256
    except DataError as error:
        return Check(label, False, str(error))
    except OSError as error:
        raise ExportError(f"{path} cannot be read ({error.strerror}); check its permissions") from error
    return Check(label, same, f"{path}, SHA-256 as read" if same else f"{path} was changed after the export")
