"""What holds for every test: no hub, no shared workspace, no time limits that a busy machine breaks, and the same
examples on every run, unless `make fuzz` or --hypothesis-seed asks for others."""

import gc
import importlib.util
import os
import warnings
from collections.abc import Generator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

# Read when the libraries are imported, so they are set before any test module is.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ.setdefault("OMP_NUM_THREADS", "1")  # tiny models gain nothing from more, and lose much on a busy machine
os.environ["GOMP_SPINCOUNT"] = "3000"  # as in settings.LIBRARY_ENVIRONMENT: a busy machine stays quick

import pytest  # noqa: E402
from hypothesis import settings  # noqa: E402

BROWSER_TESTS = Path(__file__).parent / "browser"

settings.register_profile("same-examples", deadline=None, derandomize=True, database=None)
settings.register_profile("fresh-examples", deadline=None, database=None, print_blob=True)
settings.load_profile("same-examples")


def pytest_configure(config: pytest.Config) -> None:
    """A seed that is given on the command line counts; without one, every run tries the same examples."""
    if config.getoption("--hypothesis-seed", None) is not None:
        settings.load_profile("fresh-examples")


@pytest.hookimpl(tryfirst=True)  # before `-m` looks at the marks
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Every test in tests/browser needs a browser; the other lanes are marked on the tests themselves.

    What compares with submodlib is left out where that is not installed, which tests/test_wheel.py allows only where it
    has no wheels.
    """
    for item in items:
        if item.path.is_relative_to(BROWSER_TESTS):
            item.add_marker("browser")
    if importlib.util.find_spec("submodlib") is None:
        left_out = [item for item in items if "submodlib" in item.fixturenames]  # type: ignore[attr-defined]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """What is imported and collected by now stays to the end: the garbage collector, which Streamlit calls after each
    page that it draws, need not look through it again."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable() -> Generator[None, object, object]:
    """A report travels from a worker process as UTF-8: half a surrogate pair in a failed example is written as \\udc80
    there, since the run would otherwise end in an internal error instead of a failure."""
    return encodable((yield))


@pytest.hookimpl(tryfirst=True)
def pytest_warning_recorded(warning_message: warnings.WarningMessage) -> None:
    """The same for a warning, which travels by itself."""
    if isinstance(warning_message.message, Warning):
        warning_message.message.args = tuple(map(encodable, warning_message.message.args))


def encodable(value: object) -> object:
    """The value with every string in it, keys included, made of characters that UTF-8 can hold."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, dict):
        return {encodable(key): encodable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(encodable, value))
    return value


@pytest.fixture(scope="session", autouse=True)
def _own_line_of_jobs(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Jobs of these tests wait for each other and not for those of other tests, or of whoever uses this machine."""
    os.environ["DELIFT_QUEUE"] = str(tmp_path_factory.mktemp("queue"))


@pytest.fixture
def submodlib() -> None:
    """Named by a test that needs the package, which has no wheels for every Python and system."""


@pytest.fixture
def workspace_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty workspace folder of the test's own, also named by DELIFT_WORKSPACE."""
    path = tmp_path / "workspace"
    path.mkdir()
    monkeypatch.setenv("DELIFT_WORKSPACE", str(path))
    return path


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model with a byte tokenizer, to be read only."""
    from tests.tiny_models import save_model

    return save_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A hub with one data set, without a network.

    `calls` are the arguments of each reading. `rows` are its rows, or a function from the revision that is asked for
    to them; `commit` is what a branch points to. `fail`, or what it holds for the revision, is raised when the hub is
    asked for the data set, `load` when its rows are.
    """
    import datasets
    import huggingface_hub

    rows = [{"question": f"q{i}", "answer": "a"} for i in range(5)]
    state: dict[str, Any] = {"calls": [], "rows": rows, "commit": None, "fail": None, "load": None}

    def dataset_info(
        self: object, repo_id: str, *, revision: str | None = None, timeout: float | None = None
    ) -> SimpleNamespace:
        assert timeout is not None and timeout <= 10
        failure = state["fail"].get(revision) if isinstance(state["fail"], dict) else state["fail"]
        if failure:
            raise failure
        commit = revision if revision and len(revision) == 40 else state["commit"]
        return SimpleNamespace(sha=commit)

    def load_dataset(repo_id: str, config: str | None, *, split: str, revision: str | None, streaming: bool) -> object:
        state["calls"].append((repo_id, config, split, revision, streaming))
        if state["load"]:
            raise state["load"]
        return state["rows"](revision) if callable(state["rows"]) else state["rows"]

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", dataset_info)
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    return state


@pytest.fixture
def slow_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes workers take a tenth of a second a block, so that on any machine they can be met in the middle."""
    (tmp_path / "slow").mkdir()
    (tmp_path / "slow" / "sitecustomize.py").write_text(
        "import os, time\nflush = os.fsync\nos.fsync = lambda handle: (time.sleep(0.1), flush(handle))\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "slow"))
