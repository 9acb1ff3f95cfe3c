"""What holds for every test: no hub, no shared workspace, no time limits that a busy machine breaks."""

import os
from pathlib import Path

# Read when the libraries are imported, so they are set before any test module is.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ.setdefault("OMP_NUM_THREADS", "1")  # tiny models gain nothing from more, and lose much on a busy machine
os.environ["GOMP_SPINCOUNT"] = "3000"  # as in settings.LIBRARY_ENVIRONMENT: a busy machine stays quick

import pytest  # noqa: E402
from hypothesis import settings  # noqa: E402

settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")


@pytest.fixture(scope="session", autouse=True)
def _own_line_of_jobs(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Jobs of these tests wait for each other and not for those of other tests, or of whoever uses this machine."""
    os.environ["DELIFT_QUEUE"] = str(tmp_path_factory.mktemp("queue"))


@pytest.fixture
def workspace_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty workspace folder of the test's own, also named by DELIFT_WORKSPACE."""
    path = tmp_path / "workspace"
    path.mkdir()
    monkeypatch.setenv("DELIFT_WORKSPACE", str(path))
    return path
