"""The subset: a selection after the curator's edits. Pure functions over arrays."""

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
        positions: (m,) the subset: chosen rows that were not dropped, in pick order, then rows that were added.
        by_hand: rows kept by hand that the optimiser did not choose or was made to choose around, in pool order.
        dropped: rows dropped by hand that the optimiser chose or was kept from choosing, in pool order.
        pinned: every row kept by hand, in pool order.
        banned: every row dropped by hand, in pool order.
    """

    positions: np.ndarray
    by_hand: np.ndarray
    dropped: np.ndarray
    pinned: np.ndarray
    banned: np.ndarray


def subset_after_edits(
    selection: Selection, position_of: Mapping[str, int], overrides: Mapping[str, Literal["keep", "drop"]]
) -> Subset:
    """Applies the curator's decisions to a selection.

    Args:
        position_of: position of each pool sample, by id.
        overrides: sample id to "keep" or "drop"; other samples follow the selection.

    Raises:
        SelectionError: the selection was made from a pool of another size, or an id is not in this pool.
    """
    if len(position_of) != len(selection.residual_gains):
        raise SelectionError(
            f"the selection was made from {len(selection.residual_gains):,} samples, the pool has "
            f"{len(position_of):,}: use the pool of its run"
        )
    unknown = next((sample_id for sample_id in overrides if sample_id not in position_of), None)
    if unknown is not None:
        raise SelectionError(f"edited sample {unknown!r} is not in the pool: use the pool of the selection's run")
    kept, dropped = (
        np.array(sorted(position_of[sample_id] for sample_id, made in overrides.items() if made == decision), np.int64)
        for decision in ("keep", "drop")
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
