"""The pairs that a budgeted run has chosen, on disk: the run continues from them, and its results are read by them.

    <context key>/plans/<plan key>.npz    for each matrix and round: rows and columns, int32

The key is a hash of the samples, the budget and the planner's version. The file is replaced atomically in every round,
before the round is scored. This module knows nothing of how pairs are chosen.
"""

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast, get_args

import numpy as np

from delift_core.samples import Message
from delift_core.scoring.estimation.features import SampleFeatures, feature_vectors
from delift_core.scoring.estimation.pair_choice import Kind, MatrixPlan, Round, row_priority
from delift_core.scoring.forecast import RunSamples
from delift_core.scoring.pair_spec import PairBudget, format_pairs
from delift_core.scoring.store import PairStore
from delift_core.system.files import write_whole

PLANNER_VERSION = 3
MatrixName = Literal["pool", "target", "existing"]
MATRICES: tuple[MatrixName, ...] = get_args(MatrixName)


@dataclass(frozen=True, slots=True)
class UniqueSamples:
    """The unique samples of a run, which are the rows and columns of its three matrices.

    "pool": pool by pool; "target": target rows by pool columns; "existing": pool rows by existing columns.
    """

    pool: tuple[str, ...]
    target: tuple[str, ...]
    existing: tuple[str, ...]

    @classmethod
    def of(cls, samples: RunSamples) -> "UniqueSamples":
        """The samples of a run without repeats, in file order."""
        return cls(*(tuple(dict.fromkeys(part)) for part in (samples.pool, samples.target, samples.existing)))

    def rows(self, part: MatrixName) -> tuple[str, ...]:
        """The helped samples of a matrix."""
        return self.target if part == "target" else self.pool

    def columns(self, part: MatrixName) -> tuple[str, ...]:
        """The helping samples of a matrix."""
        return self.existing if part == "existing" else self.pool

    @property
    def parts(self) -> tuple[MatrixName, ...]:
        """The matrices of this run."""
        return tuple(part for part in MATRICES if self.rows(part) and self.columns(part))


Rounds = dict[MatrixName, tuple[Round, ...]]


class PlanFile:
    """The chosen pairs of a run."""

    def __init__(self, store_folder: Path, samples: UniqueSamples, budget: PairBudget) -> None:
        facts = [PLANNER_VERSION, format_pairs(budget), samples.pool, samples.target, samples.existing]
        self.path = store_folder / "plans" / f"{hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]}.npz"

    def read(self) -> Rounds:
        """The rounds of every matrix so far; none if there is no file or it is damaged."""
        found: Rounds = {}
        try:
            with np.load(self.path) as arrays:
                for name in sorted(arrays.files):
                    part, _, kind = name.split(".")
                    rows, columns = arrays[name].astype(np.int64)
                    key = cast(MatrixName, part)
                    found[key] = (*found.get(key, ()), Round(cast(Kind, kind), rows, columns))
        except (OSError, ValueError, KeyError, zipfile.BadZipFile):
            return {}
        return found

    def write(self, rounds: Rounds) -> None:
        """Replaces the file."""
        arrays = {
            f"{part}.{number:03d}.{one.kind}": np.stack([one.rows, one.columns]).astype(np.int32)
            for part, made in rounds.items()
            for number, one in enumerate(made)
        }
        write_arrays(self.path, arrays, compressed=True)


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray], *, compressed: bool = False) -> None:
    """Writes an npz file atomically, creating its folder if needed.

    Raises:
        OSError: the disk is full or the folder is not writable.
    """
    buffer = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(buffer, allow_pickle=False, **arrays)
    path.parent.mkdir(exist_ok=True)
    write_whole(path, buffer.getvalue())


PLANNING_SEED = 0


@dataclass(frozen=True, slots=True)
class SampleText:
    """The texts of a sample that its features are computed from."""

    prompt: str
    response: str

    @classmethod
    def of(cls, messages: Sequence[Message]) -> "SampleText":
        """The last user turn and the response."""
        turns = [message.content for message in messages[:-1] if message.role == "user"]
        return cls(turns[-1] if turns else "", messages[-1].content)


def matrix_plans(
    samples: UniqueSamples, budget: PairBudget, texts: Mapping[str, SampleText], store: PairStore
) -> dict[MatrixName, MatrixPlan]:
    """The plans of a run's matrices; all samples have been scored without an example."""
    names = tuple(dict.fromkeys(samples.pool + samples.target + samples.existing))
    inputs = SampleFeatures(
        tuple(texts[name].prompt for name in names),
        tuple(texts[name].response for name in names),
        store.zero_shot(names),
    )
    vectors = feature_vectors(inputs, PLANNING_SEED)
    tokens = dict(zip(names, inputs.zero_shot.tokens.tolist(), strict=True))
    position_of = {name: position for position, name in enumerate(names)}

    def features(part: tuple[str, ...]) -> np.ndarray:
        return vectors[[position_of[name] for name in part]]

    return {
        name: MatrixPlan(
            features(samples.rows(name)),
            features(samples.columns(name)),
            pairs_allowed(samples, name, budget),
            row_priority(np.array([tokens[row] for row in samples.rows(name)])),
            same=name == "pool",
        )
        for name in samples.parts
    }


def pairs_allowed(samples: UniqueSamples, part: MatrixName, budget: PairBudget) -> int:
    """The number of pairs of a matrix to score, without those of pool samples with themselves."""
    rows, columns = len(samples.rows(part)), len(samples.columns(part))
    # The budget is per pool sample: in "target" these are the columns.
    pool, options = (columns, rows) if part == "target" else (rows, columns - (part == "pool"))
    return round(pool * budget.per_row(options))
