"""Samples to lines of JSON, and lines to a file that is there whole or not at all.

It knows wire formats and one output file; it knows nothing of selections or manifests.
"""

import hashlib
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from delift_core.data.formats import RecordError, render_record
from delift_core.data.loading.json_scanner import to_strict_json
from delift_core.errors import ExportError
from delift_core.export.conversion import converted
from delift_core.samples import ExportFormat, Sample
from delift_core.system.files import temporary_prefix, why_unwritable

TEMPORARY_SUFFIX = ".part"  # ".NAME.xxxxxxxx.part": what a killed export may leave behind


@dataclass(frozen=True, slots=True)
class Unwritable:
    """A sample that a format cannot hold, and why."""

    sample: Sample
    reason: str


def unwritable(samples: Iterable[Sample], format: ExportFormat) -> tuple[Unwritable, ...]:
    """The samples that cannot be written in a format, in order; none for "same"."""
    if format == "same":
        return ()
    found = []
    for sample in samples:
        try:
            render_record(format, sample.messages)
        except RecordError as error:
            found.append(Unwritable(sample, str(error)))
    return tuple(found)


def without_json_numbers(samples: Iterable[Sample]) -> tuple[Sample, ...]:
    """The samples whose records hold NaN or Infinity, in order; null is written in their place."""
    return tuple(sample for sample in samples if to_strict_json(sample.raw) != sample.raw)


def json_number_words(found: Sequence[Sample]) -> str:
    """What to say of rows that `without_json_numbers` found."""
    return (
        f"in {len(found):,} rows null is written for NaN or Infinity, which JSON does not have; the first is "
        f"{found[0].place} of {found[0].source}. Change the record to have another value"
    )


def render_lines(samples: Sequence[Sample], format: ExportFormat) -> Iterator[str]:
    """One line of JSON, newline included, for each sample.

    "same" is the record as it was found. In another format the conversation is written anew, with all of the record
    that the format can hold (see `conversion`; its `losses` says what it cannot), except that a record which is in that
    format already stays as it was found. In every format null stands for NaN and Infinity, which JSON does not have
    (`without_json_numbers` names these rows).

    Raises:
        ExportError: the format cannot hold some of the samples; raised before the first line is given.
    """
    refused = unwritable(samples, format)
    if refused:
        first = refused[0]
        raise ExportError(
            f"{len(refused):,} of {len(samples):,} rows cannot be written as {format}, the first is "
            f"{first.sample.source}, line {first.sample.line}: {first.reason}"
        )
    return (_line(sample, format) for sample in samples)


def manifest_path(out: Path) -> Path:
    """Where the manifest of an output file lies: OUT.jsonl has OUT.manifest.json beside it."""
    stem = out.stem if out.suffix.lower() in (".jsonl", ".json", ".ndjson") else out.name
    return out.with_name(f"{stem}.manifest.json")


def ensure_writable(out: Path, inputs: Iterable[Path], beside: Iterable[Path] = ()) -> None:
    """Refuses an output that would overwrite an input, or that cannot be written, before any work is done for it.

    Args:
        out: the output file.
        inputs: files that must stay as they are.
        beside: what is written with it, such as its manifest.

    Raises:
        ExportError: see above.
    """
    if words := why_unwritable(out, beside, inputs):
        raise ExportError(words)


def write_lines(path: Path, lines: Iterable[str]) -> tuple[str, int]:
    """Writes lines (each with its newline) as UTF-8; an earlier file is replaced, and kept if anything goes wrong.

    Returns:
        (sha256, n): SHA-256 (hex) of the bytes, and how many lines there are.

    Raises:
        ExportError: the folder is missing or may not be written to, the disk is full, or a text is not valid Unicode.
    """
    return write_chunks(path, (line.encode("utf-8") for line in lines))


def write_chunks(path: Path, chunks: Iterable[bytes]) -> tuple[str, int]:
    """As `write_lines`, for pieces of a file as bytes."""
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
        temporary.replace(path)
    except BaseException as error:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise ExportError(
                f"{path} could not be written ({error.strerror or error}); nothing was changed"
            ) from error
        if isinstance(error, UnicodeEncodeError):
            raise ExportError(
                f"line {count + 1} of {path} holds half a surrogate pair, which UTF-8 cannot; mend that row"
            ) from error
        raise
    return digest.hexdigest(), count


def _line(sample: Sample, format: ExportFormat) -> str:
    return f"{to_strict_json(sample.raw) if format == 'same' else converted(sample, format).line}\n"


def _umask() -> int:
    """The process's umask; a temporary file is private, the export should have ordinary rights."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
