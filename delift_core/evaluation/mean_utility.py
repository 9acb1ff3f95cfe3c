"""Mean utility as an arm of a manifest's evaluation: its order comes from the workspace that scored the pool."""

from pathlib import Path

import numpy as np

from delift_core.baselines import MethodConfig
from delift_core.baselines.of_run import order_of_run
from delift_core.errors import DataError
from delift_core.export.manifest import Manifest
from delift_core.jobs.runs import ScoredRun, open_run
from delift_core.utility.pairs import format_pairs
from delift_core.workspace import RunRecord, Workspace
from delift_core.workspace.workspace import DATABASE_NAME


def mean_utility_order(manifest: Manifest, folder: Path) -> tuple[int, ...]:
    """Positions in the pool file, the row that helps the others most first; rows that were not scored are left out.

    Args:
        folder: the workspace; it is opened and closed again.

    Raises:
        DataError: it holds no finished run of this pool with this model.
        WorkspaceError: it is open in another process.
    """
    if not (folder / DATABASE_NAME).exists():
        raise _not_here(folder)
    with Workspace.open(folder) as workspace:
        found = (record for record in workspace.runs.records() if _made_it(workspace, record, manifest))
        record = next(found, None)
        if record is None:
            raise _not_here(folder)
        run = open_run(workspace, record.id)
        return _order(run, manifest)


def _order(run: ScoredRun, manifest: Manifest) -> tuple[int, ...]:
    utilities = run.utilities(manifest.metric).pool
    order = order_of_run(MethodConfig("column-mean"), run, utilities, with_target=False)
    line_of = {row.id: at for at, row in enumerate(manifest.rows)}
    places = np.array([line_of[sample.id] for sample in run.pool], dtype=np.int64)
    return tuple(places[order].tolist())


def _made_it(workspace: Workspace, record: RunRecord, manifest: Manifest) -> bool:
    """Whether a run scored the manifest's pool, with its model, template, precision and pairs."""
    same = record.context_key == manifest.model.context_key and format_pairs(record.spec.pairs) == manifest.model.pairs
    pool = workspace.datasets.record(record.spec.pool_id)
    return record.status == "done" and same and pool.content_hash == manifest.pool.content_hash


def _not_here(folder: Path) -> DataError:
    return DataError(
        f"column-mean needs the utilities that the subset was chosen by, and the workspace {folder} holds no finished "
        "run of this pool with this model; name the one that does with --workspace, or leave column-mean out"
    )
