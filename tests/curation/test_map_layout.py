"""The map's layout, made by a process of its own and kept beside the numbers it was made from."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from delift_core.curation.scoring_runs import ScoredRun, open_run
from delift_core.curation.umap_layout import kept_layout, map_coordinates, start_layout
from delift_core.workspace import Workspace
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
    assert start_layout(run).wait(240) == 0
    found = kept_layout(run)
    assert found is not None
    np.testing.assert_allclose(found, map_coordinates(run.embeddings()), atol=1e-5)  # another process made it
    assert kept_layout(replace(run, pool=run.pool[1:])) is None  # other rows have another map
    (kept,) = (run.store.folder / "maps").iterdir()  # and nothing else is left there
    kept.write_bytes(kept.read_bytes()[:40])
    assert kept_layout(run) is None


def test_the_embeddings_that_a_process_read_are_removed(run: ScoredRun, tmp_path: Path) -> None:
    from delift_core.curation.umap_layout import main

    given, out = tmp_path / "in.npy", tmp_path / "out.npy"
    np.save(given, np.eye(3, 8, dtype=np.float32))
    main(given, out)
    assert not given.exists() and np.load(out).shape == (3, 2)
