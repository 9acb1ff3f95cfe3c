"""Pictures, films and sound that stand in columns of their own beside the text of a record.

The utility of such a row is of its text alone. Knows decoded records; knows nothing of any one trainer.
"""

from collections.abc import Mapping, Sequence

from delift_core.samples import Sample
from delift_core.sources.json_records import DECODER

# What LLaMA-Factory calls columns that hold pictures, films and sound, by the names that they have in files.
MEDIA = {"image": "images", "images": "images", "video": "videos", "videos": "videos"} | {
    "audio": "audios",
    "audios": "audios",
}


def media_of(record: object) -> tuple[str, ...]:
    """The columns of a record that hold pictures, films or sound."""
    if not isinstance(record, Mapping):
        return ()
    return tuple(str(key) for key in record if key in MEDIA and record[key])


def media_words(samples: Sequence[Sample]) -> str:
    """What to say of rows with pictures, films or sound beside their text; "" where there are none."""
    found = [sample for sample in samples if media_of(DECODER.decode(sample.raw))]
    if not found:
        return ""
    return (
        f"{len(found):,} rows have images, videos or audio beside their text, the first is line {found[0].line} of "
        f"{found[0].source}; the utility is of the text alone"
    )


def marks_in(texts: Sequence[str], column: str) -> int:
    """How often texts have the mark that stands for an element of a column."""
    return sum(text.count(mark_of(column)) for text in texts)


def mark_of(column: str) -> str:
    """The mark in a text that stands for an element of a column, such as <image>."""
    return f"<{MEDIA[column].removesuffix('s')}>"
