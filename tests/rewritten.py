"""Scored pairs of a workspace with other numbers in their place: what a model could have answered, and a disk held."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from delift_core.scoring.store import PairStore

Change = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""From (m, 2) statistics without an example and (m,) names of the rows, those with any example: (m, 2)."""


def nothing_changes(alone: np.ndarray, rows: np.ndarray) -> np.ndarray:
    return alone


def hardly_helps(alone: np.ndarray, rows: np.ndarray) -> np.ndarray:
    return alone * np.array([1 - 1e-5, 1.0])


def only_distracts(alone: np.ndarray, rows: np.ndarray) -> np.ndarray:
    return alone * np.array([1.5, 1.0])


def rewrite(workspace: Path, change: Change, *, only: frozenset[str] = frozenset()) -> None:
    """Gives the pairs of a closed workspace other statistics; `only` those of some helped rows (content hashes)."""
    for context in (workspace / "utility").iterdir():
        store = PairStore(context)
        for path in sorted((context / "pairs").glob("*.npy")):
            helper, name = path.stem.split(".")
            rows = np.array(list(store._row_sets.positions(name)))
            alone, before = store.zero_shot(rows.tolist()).statistics, store.pair_statistics(rows.tolist(), helper)
            touched = np.isin(rows, list(only)) if only else np.ones(len(rows), dtype=bool)
            store.write_pairs(helper, rows.tolist(), np.where(touched[:, None], change(alone, rows), before))
