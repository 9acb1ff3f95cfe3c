"""The map's layout, made by a process of its own and kept beside the numbers it was made from."""

from dataclasses import replace

import numpy as np
import pytest

from delift_core.curation.scoring_runs import ScoredRun, open_run
from delift_core.curation.umap_layout import kept_layout, map_coordinates, start_layout
from delift_core.workspace import Workspace
from tests.curation.test_scoring_runs import wait_until
from tests.scored import make_scored_workspace


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> ScoredRun:
    folder = tmp_path_factory.mktemp("layout")
    make_scored_workspace(folder / "workspace", folder / "model")
    with Workspace.open(folder / "workspace") as workspace:
        run = open_run(workspace, "r1")
    return replace(run, pool=run.pool[:2], target=run.target[:1], existing=())  # too few for UMAP, which takes a minute


def test_a_layout_is_made_once_kept_and_made_again_when_damaged(run: ScoredRun) -> None:
    assert kept_layout(run) is None
    job = start_layout(run)
    assert start_layout(run).folder == job.folder  # at work already
    wait_until(lambda: not job.status().active)
    assert job.status().state == "done" and not (job.folder / "embeddings.npy").exists()
    found = kept_layout(run)
    assert found is not None
    np.testing.assert_allclose(found, map_coordinates(run.embeddings()), atol=1e-5)  # another process made it
    assert kept_layout(replace(run, pool=run.pool[1:])) is None  # other rows have another map
    (kept,) = (run.store.folder / "maps").iterdir()  # and nothing else is left there
    kept.write_bytes(kept.read_bytes()[:40])
    assert kept_layout(run) is None
