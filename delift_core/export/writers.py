"""Renders samples as lines of JSON, and writes a file atomically."""

import hashlib
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from delift_core.data.formats import RecordError, render_record
from delift_core.data.loading.json_scanner import to_strict_json
from delift_core.errors import ExportError
from delift_core.export.conversion import convert_sample
from delift_core.samples import ExportFormat, Sample
from delift_core.system.files import replace_file, temporary_prefix, why_unwritable

TEMPORARY_SUFFIX = ".part"  # of ".NAME.xxxxxxxx.part", which a killed export leaves


@dataclass(frozen=True, slots=True)
class Unwritable:
    """A sample that a format cannot hold, and why."""

    sample: Sample
    reason: str


def unwritable(samples: Iterable[Sample], format: ExportFormat) -> tuple[Unwritable, ...]:
    """The samples that cannot be converted to a format, in order; none for "same"."""
    if format == "same":
        return ()
    found = []
    for sample in samples:
        try:
            render_record(format, sample.conversation)
        except RecordError as error:
            found.append(Unwritable(sample, str(error)))
    return tuple(found)


def samples_with_nan(samples: Iterable[Sample]) -> tuple[Sample, ...]:
    """The samples whose records hold NaN or Infinity, which are written as null."""
    return tuple(sample for sample in samples if to_strict_json(sample.raw) != sample.raw)


def describe_nan(found: Sequence[Sample]) -> str:
    """What to say of rows that `samples_with_nan` found."""
    return (
        f"in {len(found):,} rows null is written for NaN or Infinity, which JSON does not have; the first is "
        f"{found[0].place} of {found[0].source}. Change the record to have another value"
    )


def render_lines(samples: Sequence[Sample], format: ExportFormat) -> Iterator[str]:
    """Yields one line of JSON, with its newline, for each sample.

    "same" writes the raw record, any other format the converted one (see `conversion`). NaN and Infinity, which JSON
    does not have, become null.

    Raises:
        ExportError: the format cannot hold some of the samples; raised before the first line.
    """
    refuse(unwritable(samples, format), len(samples), format)
    return (f"{convert_sample(sample, format).line}\n" for sample in samples)


def refuse(refused: Sequence[Unwritable], rows: int, format: ExportFormat) -> None:
    """Raises an `ExportError` if a format cannot hold some of the rows."""
    if refused:
        first = refused[0]
        raise ExportError(
            f"{len(refused):,} of {rows:,} rows cannot be written as {format}, the first is "
            f"{first.sample.source}, line {first.sample.line}: {first.reason}"
        )


def manifest_path(out: Path) -> Path:
    """The path of a file's manifest: OUT.manifest.json beside OUT.jsonl."""
    stem = out.stem if out.suffix.lower() in (".jsonl", ".json", ".ndjson") else out.name
    return out.with_name(f"{stem}.manifest.json")


def ensure_writable(out: Path, inputs: Iterable[Path], beside: Iterable[Path] = ()) -> None:
    """Raises an `ExportError` for an output that would overwrite an input or cannot be written.

    Args:
        out: the output file.
        inputs: files that must not change.
        beside: files that are written with it, such as its manifest.
    """
    if words := why_unwritable(out, beside, inputs):
        raise ExportError(words)


def write_lines(path: Path, lines: Iterable[str]) -> tuple[str, int]:
    """Writes lines (with their newlines) as UTF-8; an earlier file is replaced only if all lines are written.

    Returns:
        (sha256, n): SHA-256 (hex) of the file, and the number of lines.

    Raises:
        ExportError: the folder is missing or not writable, the disk is full, or a text is not valid Unicode.
    """
    return write_chunks(path, (line.encode("utf-8") for line in lines))


def write_chunks(path: Path, chunks: Iterable[bytes]) -> tuple[str, int]:
    """As `write_lines`, for the bytes of a file."""
    ensure_writable(path, ())
    digest, count = hashlib.sha256(), 0
    temporary: Path | None = None
    try:
        handle, name = tempfile.mkstemp(prefix=temporary_prefix(path), suffix=TEMPORARY_SUFFIX, dir=path.parent)
        temporary = Path(name)
        with os.fdopen(handle, "wb") as stream:
            for data in chunks:
                digest.update(data)
                stream.write(data)
                count += 1
            stream.flush()
            os.fsync(stream.fileno())
        temporary.chmod(0o666 & ~_umask())
        replace_file(temporary, path)
    except BaseException as error:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise ExportError(
                f"{path} could not be written ({error.strerror or error}); nothing was changed"
            ) from error
        if isinstance(error, UnicodeEncodeError):
            raise ExportError(
                f"line {count + 1} of {path} holds half of a surrogate pair, which is not valid Unicode; fix that row"
            ) from error
        raise
    return digest.hexdigest(), count


def _umask() -> int:
    """The process's umask: a temporary file is private, the export gets ordinary permissions."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
