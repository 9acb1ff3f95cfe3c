"""What a curator's edits make of a selection: the subset.

Pure: it knows nothing of who edited, when, or where edits are kept.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from delift_core.errors import SelectionError
from delift_core.selection.types import Selection


@dataclass(frozen=True, slots=True)
class Subset:
    """A selection after edits; all arrays are int64 positions in the pool.

    Attributes:
        positions: (m,) the subset: what the optimiser chose and nobody dropped, in pick order, then what was added.
        by_hand: kept by hand though the optimiser had not chosen them, in pool order; those that it was told to choose
            around are among them, and stand where they were picked in `positions`.
        dropped: dropped by hand though the optimiser had chosen them, or dropped before it chose, in pool order.
    """

    positions: np.ndarray
    by_hand: np.ndarray
    dropped: np.ndarray


def subset_after_edits(
    selection: Selection, sample_ids: Sequence[str], overrides: Mapping[str, Literal["keep", "drop"]]
) -> Subset:
    """Applies the curator's overrides to a selection.

    To keep what was chosen, or to drop what was not, changes nothing.

    Args:
        selection: made from the pool.
        sample_ids: ids of the pool's samples, by position.
        overrides: sample id to "keep" or "drop"; ids not in it follow the selection.

    Raises:
        SelectionError: the selection was made from a pool of another size, or an overridden id is not in this pool.
    """
    if len(sample_ids) != len(selection.residual_gains):
        raise SelectionError(
            f"the selection was made from {len(selection.residual_gains)} samples, the pool has {len(sample_ids)}: "
            "use the pool of its run"
        )
    kept = _positions(sample_ids, overrides, "keep")
    dropped = _positions(sample_ids, overrides, "drop")
    if len(kept) + len(dropped) < len(overrides):
        stranger = next(iter(overrides.keys() - set(sample_ids)))
        raise SelectionError(f"edited sample {stranger!r} is not in the pool: use the pool of the selection's run")
    added = np.setdiff1d(kept, selection.chosen)
    remaining = selection.chosen[~np.isin(selection.chosen, dropped)]
    return Subset(
        positions=np.concatenate([remaining, added]).astype(np.int64),
        by_hand=np.union1d(added, np.intersect1d(kept, selection.fixed.kept)).astype(np.int64),
        dropped=np.intersect1d(dropped, np.union1d(selection.chosen, selection.fixed.dropped)).astype(np.int64),
    )


def subset_positions(
    selection: Selection, sample_ids: Sequence[str], overrides: Mapping[str, Literal["keep", "drop"]]
) -> np.ndarray:
    """The positions of the subset, (m,) int64; see `subset_after_edits`."""
    return subset_after_edits(selection, sample_ids, overrides).positions


def _positions(
    sample_ids: Sequence[str], overrides: Mapping[str, Literal["keep", "drop"]], verdict: Literal["keep", "drop"]
) -> np.ndarray:
    """Positions of the samples with this override, ascending, int64."""
    found = [position for position, sample_id in enumerate(sample_ids) if overrides.get(sample_id) == verdict]
    return np.array(found, dtype=np.int64)
