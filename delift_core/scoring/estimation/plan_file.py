"""The pairs that a run on a budget has chosen, kept on disk: what its numbers are read from, and what it goes on from.

    <context key>/plans/<plan key>.npz    for each matrix and round: rows and columns, int32

The key is a hash of the samples, the budget and the version of the planner. The file is replaced whole after every
round, before the round is scored. This module knows nothing of how pairs are chosen.
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
from delift_core.scoring.estimation.features import Known, cue_vectors
from delift_core.scoring.estimation.pair_choice import Kind, Part, Round, row_effort
from delift_core.scoring.forecast import RunSamples
from delift_core.scoring.pair_spec import PairBudget, format_pairs
from delift_core.scoring.store import PairStore
from delift_core.system.files import write_whole

PLANNER_VERSION = 3
PartName = Literal["pool", "target", "existing"]
PARTS: tuple[PartName, ...] = get_args(PartName)


@dataclass(frozen=True, slots=True)
class UniqueSamples:
    """The samples of a run, each once, and so the rows and columns of its three matrices.

    "pool": pool by pool; "target": target rows by pool columns; "existing": pool rows by existing columns.
    """

    pool: tuple[str, ...]
    target: tuple[str, ...]
    existing: tuple[str, ...]

    @classmethod
    def of(cls, samples: RunSamples) -> "UniqueSamples":
        """Without repeats, in the order of the files."""
        return cls(*(tuple(dict.fromkeys(part)) for part in (samples.pool, samples.target, samples.existing)))

    def rows(self, part: PartName) -> tuple[str, ...]:
        """Who is helped."""
        return self.target if part == "target" else self.pool

    def columns(self, part: PartName) -> tuple[str, ...]:
        """Who helps."""
        return self.existing if part == "existing" else self.pool

    @property
    def parts(self) -> tuple[PartName, ...]:
        """The matrices that this run has."""
        return tuple(part for part in PARTS if self.rows(part) and self.columns(part))


Rounds = dict[PartName, tuple[Round, ...]]


class PlanFile:
    """One run's chosen pairs."""

    def __init__(self, store_folder: Path, samples: UniqueSamples, budget: PairBudget) -> None:
        facts = [PLANNER_VERSION, format_pairs(budget), samples.pool, samples.target, samples.existing]
        self.path = store_folder / "plans" / f"{hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]}.npz"

    def read(self) -> Rounds:
        """The rounds of every matrix so far; none when nothing was planned, or the file is damaged."""
        found: Rounds = {}
        try:
            with np.load(self.path) as arrays:
                for name in sorted(arrays.files):
                    part, _, kind = name.split(".")
                    rows, columns = arrays[name].astype(np.int64)
                    key = cast(PartName, part)
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
        buffer = io.BytesIO()
        np.savez_compressed(buffer, allow_pickle=False, **arrays)
        self.path.parent.mkdir(exist_ok=True)
        write_whole(self.path, buffer.getvalue())


PLANNING_SEED = 0


@dataclass(frozen=True, slots=True)
class Texts:
    """What the planner reads of a sample."""

    prompt: str
    response: str

    @classmethod
    def of(cls, messages: Sequence[Message]) -> "Texts":
        """The last user turn and the response."""
        turns = [message.content for message in messages[:-1] if message.role == "user"]
        return cls(turns[-1] if turns else "", messages[-1].content)


def parts_to_plan(
    samples: UniqueSamples, budget: PairBudget, texts: Mapping[str, Texts], store: PairStore
) -> dict[PartName, Part]:
    """The matrices of a run with the cues of their samples, which have all been scored alone."""
    names = tuple(dict.fromkeys(samples.pool + samples.target + samples.existing))
    known = Known(
        tuple(texts[name].prompt for name in names),
        tuple(texts[name].response for name in names),
        store.zero_shot(names),
    )
    vectors = cue_vectors(known, PLANNING_SEED)
    tokens = dict(zip(names, known.alone.tokens.tolist(), strict=True))
    place = {name: position for position, name in enumerate(names)}

    def cues(part: tuple[str, ...]) -> np.ndarray:
        return vectors[[place[name] for name in part]]

    return {
        name: Part(
            cues(samples.rows(name)),
            cues(samples.columns(name)),
            pairs_allowed(samples, name, budget),
            row_effort(np.array([tokens[row] for row in samples.rows(name)])),
            same=name == "pool",
        )
        for name in samples.parts
    }


def pairs_allowed(samples: UniqueSamples, part: PartName, budget: PairBudget) -> int:
    """How many pairs of one matrix may be scored; those of the pool's samples with themselves come besides."""
    rows, columns = len(samples.rows(part)), len(samples.columns(part))
    seekers, options = (columns, rows) if part == "target" else (rows, columns - (part == "pool"))
    return round(seekers * budget.per_row(options))
