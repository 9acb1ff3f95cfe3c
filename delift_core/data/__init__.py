"""From a file to clean samples: `formats` (one record), `loading` (files, uploads, the hub), `quality` (mending).

The sample project in `sample_project/` ships with the package: four small JSONL files in Alpaca format, written for it.
Its pool has planted near-duplicates and off-topic rows, named by the key "planted" of the raw record, so that a
selection has something to leave out; the key "topic" says what a row is about.
"""

from dataclasses import dataclass
from pathlib import Path

_FOLDER = Path(__file__).resolve().parent / "sample_project"


@dataclass(frozen=True, slots=True)
class SampleProjectFiles:
    """Where the files of the sample project lie.

    Attributes:
        pool: 50 rows over seven topics, 8 of them near-duplicates of others and 5 off-topic.
        target: 10 rows of one task, arithmetic word problems.
        existing: 10 rows on topics the model counts as trained on, geography and definitions.
        heldout: 16 rows over all topics of the pool, in none of the other files.
    """

    pool: Path
    target: Path
    existing: Path
    heldout: Path

    @property
    def paths(self) -> tuple[Path, ...]:
        """All of them."""
        return self.pool, self.target, self.existing, self.heldout


def sample_project_files() -> SampleProjectFiles:
    """Finds the files of the sample project, wherever the package is installed."""
    return SampleProjectFiles(
        pool=_FOLDER / "pool.jsonl",
        target=_FOLDER / "target.jsonl",
        existing=_FOLDER / "existing.jsonl",
        heldout=_FOLDER / "heldout.jsonl",
    )
