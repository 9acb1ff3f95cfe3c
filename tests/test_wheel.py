"""The wheel holds the program with its pages and nothing else, its versions are ranges around the pinned ones, and what
is unpacked from it runs away from the checkout."""

import importlib.metadata
import importlib.util
import json
import os
import socket
import subprocess
import sys
import time
import tomllib
import urllib.request
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from delift_core import __main__ as entry
from delift_core import __version__
from delift_core.cli import main
from delift_core.maintenance.status import PYTHON_VERSIONS
from pages.ui.shell.navigation import HEALTH, PAGES

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
BUILD = "import sys; from hatchling.build import build_wheel; build_wheel(sys.argv[1])"
# What may be missing where it has no wheels.
NOT_EVERYWHERE = {"submodlib-py", "wordllama"}
# Runs every page from the unpacked wheel, as Streamlit does for a visitor.
EVERY_PAGE = """
import json, sys
from pathlib import Path
from streamlit.testing.v1 import AppTest
from delift_core.cli.upkeep_commands import app_file
import delift_core
app = app_file()
sys.path.insert(0, str(app.parent))
found = {}
for name in json.loads(sys.argv[1]):
    page = AppTest.from_file(app, default_timeout=120)
    page = (page if name == "home" else page.switch_page(f"pages/{name}.py")).run()
    found[name] = {"errors": [error.value for error in page.exception], "title": [one.value for one in page.title]}
print(json.dumps({"package": delift_core.__file__, "pages": found}))
"""


def pinned(name: str) -> dict[str, Requirement]:
    """The requirements of a file by package."""
    lines = (line.partition("#")[0].strip() for line in (ROOT / name).read_text("utf-8").splitlines())
    found = [Requirement(line) for line in lines if line and not line.startswith("-r")]
    return {one.name: one for one in found}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel of this checkout, built without a network."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run([sys.executable, "-c", BUILD, str(folder)], cwd=ROOT, check=True, capture_output=True)
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def unpacked(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What an installer makes of the wheel, besides its scripts."""
    folder = tmp_path_factory.mktemp("site-packages")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def sources(folder: str) -> set[str]:
    """The files of a folder of the checkout, from its root."""
    found = (path for path in (ROOT / folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(ROOT).as_posix() for path in found}


def test_the_wheel_holds_the_program_with_its_pages_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    app = {"app.py", ".streamlit/config.toml", *sources("pages")}
    assert names == sources("delift_core") | {f"delift_core/_studio/{name}" for name in app}
    assert {name.partition("/")[0] for name in names} == {"delift_core"}
    assert wheel.name == f"delift_studio-{__version__}-py3-none-any.whl" and wheel.stat().st_size < 2 << 20


def test_its_scripts_and_metadata_are_those_of_the_project(unpacked: Path) -> None:
    (found,) = importlib.metadata.distributions(path=[str(unpacked)])
    scripts = {one.name: one.value for one in found.entry_points if one.group == "console_scripts"}
    assert scripts == {"delift": "delift_core.__main__:run", "delift-studio": "delift_core.__main__:run_studio"}
    assert all(callable(getattr(entry, value.partition(":")[2])) for value in scripts.values())
    assert {Requirement(one).name for one in found.requires or ()} == {
        *pinned("requirements.txt"),
        "ray",
        "bitsandbytes",
    }
    assert found.version == __version__


def test_every_pinned_version_is_in_its_range_and_every_range_is_pinned() -> None:
    ranges = {one.name: one for one in map(Requirement, PROJECT["dependencies"])}
    pins = pinned("requirements.txt")
    assert set(ranges) == set(pins) and len(pins) == len(PROJECT["dependencies"])
    ray = {one.name: one for one in map(Requirement, PROJECT["optional-dependencies"]["ray"])}
    for name, one in (ranges | ray).items():
        pin = (pins | pinned("requirements-ray.txt"))[name]
        (exactly,) = pin.specifier
        assert exactly.operator == "==" and one.specifier.contains(exactly.version), name
        assert {part.operator for part in one.specifier} == {">=", "<"} and str(one.marker) == str(pin.marker), name


def test_the_versions_of_python_are_said_alike() -> None:
    supported = SpecifierSet(PROJECT["requires-python"])
    minors = {(3, minor) for minor in range(8, 20) if supported.contains(f"3.{minor}.5")}
    assert minors == set(PYTHON_VERSIONS)
    makefile = (ROOT / "Makefile").read_text("utf-8")
    (first, last) = min(minors), max(minors)
    assert f"not {first} <= sys.version_info < {(last[0], last[1] + 1)}" in makefile


@pytest.mark.parametrize("name", sorted(NOT_EVERYWHERE))
def test_what_is_not_everywhere_is_here_exactly_if_it_can_be(name: str) -> None:
    (one,) = (one for one in map(Requirement, PROJECT["dependencies"]) if one.name == name)
    assert one.marker is not None
    assert one.marker.evaluate() == (importlib.util.find_spec(name.removesuffix("-py")) is not None)
    assert {one.name for one in map(Requirement, PROJECT["dependencies"]) if one.marker} == NOT_EVERYWHERE


def test_studio_is_streamlit_on_the_app_with_its_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    begun: list[tuple[str, list[str], str]] = []

    def run_module(name: str, run_name: str) -> None:
        begun.append((name, sys.argv, os.environ["DELIFT_WORKSPACE"]))

    monkeypatch.setattr("runpy.run_module", run_module)
    monkeypatch.setattr("signal.signal", lambda number, handler: None)
    monkeypatch.setenv("DELIFT_WORKSPACE", "")
    monkeypatch.setattr(sys, "argv", ["delift-studio"])
    monkeypatch.chdir(tmp_path)
    assert main(["studio", "--workspace", "w", "--host", "::1", "--port", "8600", "--headless"]) == 0
    options = ["--server.address", "::1", "--server.port", "8600", "--server.headless", "true"]
    serve = ["run", str(ROOT / "app.py")]
    assert begun == [("streamlit", ["streamlit", *serve, *options], str(tmp_path / "w"))]
    assert main(["studio", "--workspace", str(tmp_path / "w")]) == 0
    assert begun[1][1][1:] == serve
    monkeypatch.setattr(sys, "argv", ["/venv/bin/delift", "studio"])
    for words in (["--port", "70000"], ["--port", "0"], ["--workspace", "x\0y"], ["--colour"]):
        assert main(["studio", *words]) == 2
        assert capsys.readouterr().err.count("\n") == 1
    assert main(["studio", "--port", "x"]) == 2 and "see delift studio --help" in capsys.readouterr().err


def test_the_script_that_uvx_runs_serves_the_app_unless_it_is_given_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []
    monkeypatch.setattr(entry, "run", lambda: asked.append(sys.argv[1:]) or 0)
    for words in ([], ["inspect", "x.jsonl"], ["--version"]):
        monkeypatch.setattr(sys, "argv", ["delift-studio", *words])
        assert entry.run_studio() == 0
    assert asked == [["studio"], ["inspect", "x.jsonl"], ["--version"]]


@pytest.mark.slow
def test_every_page_runs_from_the_unpacked_wheel(unpacked: Path, tmp_path: Path) -> None:
    names = [page.name for page in (*PAGES, HEALTH)]
    environment = {**os.environ, "PYTHONPATH": str(unpacked), "DELIFT_WORKSPACE": str(tmp_path / "workspace")}
    command = [sys.executable, "-c", EVERY_PAGE, json.dumps(names)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert Path(found["package"]).is_relative_to(unpacked)
    assert {name: page["errors"] for name, page in found["pages"].items()} == {name: [] for name in names}
    assert all(page["title"] for page in found["pages"].values())


@pytest.mark.slow
def test_the_command_of_the_unpacked_wheel_serves_with_our_settings_until_it_is_ended(
    unpacked: Path, tmp_path: Path
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = ["studio", "--headless", "--port", str(port), "--workspace", str(tmp_path / "workspace")]
    environment = {**os.environ, "PYTHONPATH": str(unpacked), "PYTHONUNBUFFERED": "1"}
    with (tmp_path / "log").open("wb") as log:
        command = [sys.executable, "-m", "delift_core", *words]
        server = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=log, stderr=log)
    try:
        answer = _answer(f"http://127.0.0.1:{port}/api/health", server)
        assert json.loads(answer)["version"] == __version__
    finally:
        server.terminate()
        server.wait(timeout=30)
    said = (tmp_path / "log").read_text()
    assert f"http://127.0.0.1:{port}" in said and "WARNING" not in said and "Traceback" not in said
    assert "server began" in (tmp_path / "workspace" / "logs" / "delift.jsonl").read_text()


def _answer(address: str, server: "subprocess.Popen[bytes]") -> bytes:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with urllib.request.urlopen(address, timeout=5) as answer:
                return bytes(answer.read())
        except OSError:
            time.sleep(0.2)
    raise AssertionError("the server did not answer")
