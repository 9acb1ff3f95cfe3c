"""The matrices of a run on a budget as they are planned: the cues of their samples, and how many pairs each may have.

Reads the store; knows nothing of models and scores nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from delift_core.samples import Message
from delift_core.utility.choice import Part, row_effort
from delift_core.utility.cues import Known, cue_vectors
from delift_core.utility.pairs import PairBudget
from delift_core.utility.planned import PartName, UniqueSamples
from delift_core.utility.store import PairStore

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
        tuple(texts[name].prompt for name in names), tuple(texts[name].response for name in names), store.alone(names)
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
