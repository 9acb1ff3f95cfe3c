"""What a curator's edits make of a selection: the subset.

Pure: it knows nothing of who edited, when, or where edits are kept.
"""

from collections.abc import Mapping
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
        pinned: every row kept by hand, chosen by the optimiser or not, in pool order.
        banned: every row dropped by hand, likewise.
    """

    positions: np.ndarray
    by_hand: np.ndarray
    dropped: np.ndarray
    pinned: np.ndarray
    banned: np.ndarray


def subset_after_edits(
    selection: Selection, position_of: Mapping[str, int], overrides: Mapping[str, Literal["keep", "drop"]]
) -> Subset:
    """Applies the curator's overrides to a selection.

    To keep what was chosen, or to drop what was not, changes nothing.

    Args:
        selection: made from the pool.
        position_of: position of each of the pool's samples, by id.
        overrides: sample id to "keep" or "drop"; ids not in it follow the selection.

    Raises:
        SelectionError: the selection was made from a pool of another size, or an overridden id is not in this pool.
    """
    if len(position_of) != len(selection.residual_gains):
        raise SelectionError(
            f"the selection was made from {len(selection.residual_gains):,} samples, the pool has "
            f"{len(position_of):,}: use the pool of its run"
        )
    stranger = next((sample_id for sample_id in overrides if sample_id not in position_of), None)
    if stranger is not None:
        raise SelectionError(f"edited sample {stranger!r} is not in the pool: use the pool of the selection's run")
    kept, dropped = (
        np.array(sorted(position_of[sample_id] for sample_id, said in overrides.items() if said == verdict), np.int64)
        for verdict in ("keep", "drop")
    )
    added = np.setdiff1d(kept, selection.chosen)
    remaining = selection.chosen[~np.isin(selection.chosen, dropped)]
    return Subset(
        positions=np.concatenate([remaining, added]).astype(np.int64),
        by_hand=np.union1d(added, np.intersect1d(kept, selection.fixed.kept)).astype(np.int64),
        dropped=np.intersect1d(dropped, np.union1d(selection.chosen, selection.fixed.dropped)).astype(np.int64),
        pinned=kept,
        banned=dropped,
    )
