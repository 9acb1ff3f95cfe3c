"""The direction of imports: packages stand in layers, the core knows no page, and importing it costs nothing."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

import delift_core
from benchmarks.layout import imports_between_parts, measure

CORE = Path(delift_core.__file__).parent
HEAVY = ("torch", "transformers", "datasets", "plotly", "duckdb", "numpy")

IMPORT_ALL = """
import importlib, json, pkgutil, sys
import delift_core
first = sorted(sys.modules)
names = [module.name for module in pkgutil.walk_packages(delift_core.__path__, "delift_core.")]
for name in names:
    importlib.import_module(name)
print(json.dumps({"first": first, "names": names, "last": sorted(sys.modules)}))
"""

# A part imports from the layers before its own only.
LAYERS = (
    ("errors", "samples"),
    ("system",),
    ("models",),
    ("selection",),
    ("data", "scoring"),
    ("workspace", "jobs", "baselines"),
    ("curation",),
    ("export", "evaluation"),
    ("maintenance", "api"),
    ("cli",),
)


def test_packages_stand_in_layers_and_no_import_runs_up() -> None:
    layer_of = {part: number for number, layer in enumerate(LAYERS) for part in layer}
    parts = {path.stem for path in CORE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert parts - {"__init__", "__main__"} == set(layer_of)
    arrows = imports_between_parts(CORE.parent)
    assert not {(a, b) for a, b in arrows if layer_of[b] >= layer_of[a]}
    assert {("cli", "curation"), ("scoring", "models")} <= set(arrows)  # arrows are found at all


def test_no_two_modules_of_the_core_have_one_name() -> None:
    assert measure(CORE.parent).repeated_names == 0


@pytest.mark.slow
def test_no_module_of_the_core_imports_streamlit_and_the_package_imports_nothing_heavy() -> None:
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL], capture_output=True, text=True, check=True, cwd=CORE.parent, timeout=250
    )
    modules = json.loads(done.stdout)
    assert set(HEAVY).isdisjoint(modules["first"])
    assert {"delift_core.jobs.worker", "delift_core.selection.select", "delift_core.cli.parser"} < set(modules["names"])
    files = [path for path in CORE.rglob("*.py") if path != CORE / "__init__.py"]
    assert len(modules["names"]) == len(files)  # none was passed over
    assert "streamlit" not in modules["last"]


def test_the_core_does_not_name_streamlit_in_an_import() -> None:
    """Imports inside functions too, which the interpreter above does not run."""
    for path in CORE.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert "import streamlit" not in text and "from streamlit" not in text, path


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted((CORE.parent / "benchmarks").glob("[a-z]*.py")), ids=lambda path: path.stem)
def test_every_benchmark_finds_what_it_measures(path: Path) -> None:
    importlib.import_module(f"benchmarks.{path.stem}")
