"""Where memory runs out: said in a line, with what is left to do; the map falls back, and a dead worker dies alone."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from delift_core.curation import scoring_runs as runs
from delift_core.curation import selector as selecting
from delift_core.curation import umap_layout as map_layout
from delift_core.curation.curate import open_selection
from delift_core.curation.scoring_runs import open_run, refresh, start
from delift_core.curation.selector import Selector
from delift_core.curation.umap_layout import why_no_layout
from delift_core.errors import ScoringError, SelectionError
from delift_core.jobs.folder import JobFolder
from delift_core.jobs.progress import JobProgress
from delift_core.selection.request import SelectionRequest
from delift_core.selection.types import Budget, ObjectiveConfig
from delift_core.workspace import RunSpec, Workspace
from pages.ui.explore import map_view
from tests.app import app_on
from tests.scored import make_scored_workspace
from tests.tiny_models import save_model

ROOT = Path(__file__).parents[2]
FL = ObjectiveConfig("instruction")
# The process may have what it has with its libraries and 200 MiB; a kernel of 10,000 rows takes 400.
SELECT_IN_LITTLE = """
import resource
import numpy as np
from types import SimpleNamespace
from delift_core.curation.selector import Selector
from delift_core.errors import SelectionError
from delift_core.scoring.estimation.matrix_files import Utilities
from delift_core.selection.request import SelectionRequest
from delift_core.selection.types import Budget, ObjectiveConfig
from delift_core.system import memory

def choose(pool):
    utilities = Utilities(pool, np.zeros(len(pool), np.float32), None, None)
    run = SimpleNamespace(pool=range(len(pool)), utilities=lambda metric: utilities)
    request = SelectionRequest(ObjectiveConfig("instruction"), Budget("rows", 3))
    return len(Selector(run).select(request).chosen)

choose(np.eye(50, dtype=np.float32))  # compiled before memory is short
taken = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (taken + (200 << 20),) * 2)
try:
    choose(np.broadcast_to(np.float32(0.5), (10_000, 10_000)))
except SelectionError as error:
    print("refused:", error)
memory.available_memory = lambda: 1 << 40  # as if the limit could not be read
try:
    choose(np.broadcast_to(np.float32(0.5), (10_000, 10_000)))
except SelectionError as error:
    print("ran out:", error)
print("chosen:", choose(np.eye(50, dtype=np.float32)))
"""


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("memory")
    make_scored_workspace(folder / "workspace", folder / "model")
    return folder / "workspace"


@pytest.mark.slow
def test_a_selection_that_does_not_fit_says_what_to_do_and_the_next_one_works() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SELECT_IN_LITTLE], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    refused, ran_out, chosen = done.stdout.splitlines()
    assert refused.startswith("refused: A kernel of 10,000 x 10,000 needs 381.5 MiB of memory and ")
    assert ran_out.startswith("ran out: choosing among 10,000 rows ran out of memory")
    assert "choose from fewer rows" in ran_out and "--pairs k=32" in ran_out and chosen == "chosen: 3"


@pytest.mark.parametrize("place", ["represented_kernel", "greedy_order", "select_from_kernel", "random_curves"])
def test_wherever_selecting_runs_out_of_memory(template: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    def full(*_: object, **__: object) -> object:
        raise MemoryError

    with Workspace.open(template) as workspace:
        selector, request = Selector(open_run(workspace, "r1")), SelectionRequest(FL, Budget("rows", 3))
        with monkeypatch.context() as patch:
            patch.setattr(selecting, place, full)
            with pytest.raises(SelectionError, match="ran out of memory; nothing is lost"):
                selector.select(request)
        assert len(selector.select(request).chosen) == 3  # nothing half made was kept


def test_reading_utilities_that_do_not_fit(template: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> object:
        raise MemoryError

    with Workspace.open(template) as workspace:
        monkeypatch.setattr(runs.PairStore, "utility_matrix", full)
        with pytest.raises(SelectionError, match="reading the utilities among 12 rows ran out of memory"):
            open_run(workspace, "r1").utilities("euclidean")


@pytest.fixture
def layout(tmp_path: Path) -> JobFolder:
    """A map job that is ready to start."""
    job = JobFolder(tmp_path / "maps" / "r1.abc", "map")
    job.prepare({"out": str(tmp_path / "out.npy")})
    np.save(job.folder / "embeddings.npy", np.random.default_rng(0).normal(size=(400, 64)).astype(np.float32))
    return job


def test_a_layout_in_too_little_memory_says_so(layout: JobFolder, tmp_path: Path) -> None:
    words = "import resource, sys; import delift_core.curation.umap_layout; "
    words += "from delift_core.jobs import worker; "
    words += "taken = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize(); "
    words += "resource.setrlimit(resource.RLIMIT_AS, (taken + (32 << 20),) * 2); "
    words += f"from pathlib import Path; sys.exit(worker.main(worker.JobFolder(Path({str(layout.folder)!r}), 'map')))"
    code = subprocess.run([sys.executable, "-c", words], cwd=ROOT, capture_output=True, timeout=120, check=False)
    assert code.returncode != 0 and not (tmp_path / "out.npy").exists()
    assert "memory" in why_no_layout(layout.status()), (layout.status(), code.stderr.decode()[-500:])


def test_each_way_to_end_without_a_layout_is_said(
    layout: JobFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embeddings = (layout.folder / "embeddings.npy").read_bytes()
    failures = (MemoryError(), ImportError("failed to map: Cannot allocate memory"), OSError(28, "No space left"))
    for error, words in zip(failures, ("ran out of memory", "ran out of memory", "disk is full"), strict=True):

        def fail(*_: object, error: BaseException = error) -> object:
            raise error

        (layout.folder / "embeddings.npy").write_bytes(embeddings)
        monkeypatch.setattr(map_layout, "map_coordinates", fail)
        with pytest.raises(ScoringError, match=words):
            layout.run(lambda: False)
        assert not (tmp_path / "out.npy").exists()
    layout.fail("the disk is full")
    assert why_no_layout(layout.status()) == "the disk is full"
    layout.write_progress(JobProgress("laying out"))
    assert "memory runs out" in why_no_layout(layout.status())  # its process is gone
    layout.claim(os.getpid())
    assert why_no_layout(layout.status()) == ""


@pytest.fixture
def app(template: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], AppTest]:
    import streamlit as st

    monkeypatch.setenv("DELIFT_WORKSPACE", str(template))
    st.cache_resource.clear()

    def page(name: str) -> AppTest:
        app = app_on(name).run()
        assert not app.exception
        return app

    yield page  # type: ignore[misc]
    st.cache_resource.clear()


def test_a_map_whose_layout_was_ended_shows_components_the_reason_and_a_way_on(
    app: Callable[[str], AppTest], layout: JobFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(map_view, "start_layout", lambda run: layout)  # as one whose process was killed
    at = app("explore")
    at.segmented_control(key="view").set_value("Map").run()
    assert not at.exception
    assert any("rough layout" in one.value and "memory runs out" in one.value for one in at.warning)
    monkeypatch.setattr(map_view, "kept_layout", lambda run: run.embeddings()[:, :2])
    at.button(key="map_again").click().run()
    assert not at.exception and not any("rough layout" in one.value for one in at.warning)


def test_a_worker_that_the_system_ends_takes_nothing_with_it(
    template: Path, app: Callable[[str], AppTest], tmp_path: Path
) -> None:
    with Workspace.open(template) as workspace:
        spec = workspace.runs.record("r1").spec
        other = RunSpec(spec.pool_id, None, None, str(save_model(tmp_path / "model", seed=5)), "auto", "cpu", "float32")
        run = start(workspace, other, mode="score")
        os.kill(int((workspace.jobs_folder / run.id / "worker.json").read_text().split(":")[1].split(",")[0]), 9)
        while refresh(workspace, run.id)[1].alive:
            os.sched_yield()
        assert refresh(workspace, run.id)[0].status == "interrupted"
        first = open_selection(workspace, "s1").samples[0].id
        assert workspace.edits.apply("s1", "keep", [first], author="me")  # the app goes on
    at = app("score")
    at.selectbox(key="run_picker").set_value(run.id).run()
    assert not at.exception
    assert any("stopped it because memory ran out" in one.value for one in at.warning)
    assert any(button.label == "Continue" and not button.disabled for button in at.button)
