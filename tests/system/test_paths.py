"""Whatever a user, a link, an archive or a stranger's manifest calls a file, nothing is written outside its folder."""

import io
import json
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path, PurePath

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from delift_core.curation.curate import open_selection
from delift_core.curation.manifest import read_manifest, to_json
from delift_core.curation.scoring_runs import cancel, open_run
from delift_core.data.loading import Origin, load_bytes
from delift_core.errors import DeliftError, WorkspaceError
from delift_core.export.subset_files import export_selection
from delift_core.export.verify import verify
from delift_core.export.writers import manifest_path
from delift_core.maintenance.backup import INDEX, restore
from delift_core.system.files import safe_stem
from delift_core.workspace import Workspace
from tests.export.scored import Scored, alpaca_lines, scored

quickly = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
PIECES = [
    "..",
    "/",
    "\\",
    ".",
    "~",
    "\0",
    "\n",
    "exports",
    "utility",
    "etc",
    "passwd",
    "\ud800",
    "𠀋",
    "é",
    "%2e%2e%2f",
    " ",
]
NAMES = (
    st.lists(st.sampled_from(PIECES), max_size=8).map("".join)
    | st.text(st.characters(exclude_categories=()), max_size=40)
    | st.text("aß𠀋", min_size=200, max_size=400)
)


def everything(folder: Path) -> set[str]:
    """Every path under a folder."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@pytest.fixture(scope="module")
def six(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scored]:
    folder = tmp_path_factory.mktemp("paths")
    with Workspace.open(folder / "work") as workspace:
        yield scored(workspace, folder / "pool.jsonl", alpaca_lines(6))


@quickly
@given(NAMES)
def test_a_name_becomes_one_file_of_its_folder(name: str) -> None:
    stem = safe_stem(name)
    assert stem and len(stem.encode()) <= 120 and not set(stem) & set("/\\.\0 ~")
    out = Path("/somewhere/exports") / f"{stem}.jsonl"
    assert out.parent == Path("/somewhere/exports") == out.resolve().parent
    assert safe_stem(PurePath(name.replace("\0", "")).stem) and manifest_path(out).parent == out.parent


@pytest.mark.slow
@quickly
@given(NAMES)
def test_an_export_under_any_name_lies_in_the_exports(six: Scored, name: str) -> None:
    workspace = six.workspace
    before = everything(workspace.folder.parent)
    out = workspace.exports_folder / f"{safe_stem(name)}.jsonl"
    export_selection(workspace, six.selection_id, out)
    new = everything(workspace.folder.parent) - before
    assert all(PurePath(path).parent == PurePath("work/exports") for path in new)
    for path in (out, manifest_path(out)):
        path.unlink()


@quickly
@given(NAMES)
def test_an_id_out_of_a_link_makes_no_path(six: Scored, name: str) -> None:
    before = everything(six.workspace.folder.parent)
    for use in (open_run, cancel, open_selection):
        try:
            use(six.workspace, name)
        except DeliftError as error:
            assert "\n" not in str(error)
        else:
            raise AssertionError(f"{use.__name__} took {name!r}")
    assert everything(six.workspace.folder.parent) == before


@quickly
@given(NAMES)
def test_an_uploaded_file_is_never_put_where_its_name_says(six: Scored, name: str) -> None:
    before = everything(six.workspace.folder.parent)
    data = alpaca_lines(1)[0].encode()
    loaded = load_bytes(data, f"{name}/x.jsonl")
    assert loaded.name == "x" and loaded.samples[0].source == "x.jsonl"
    try:
        loaded = replace(load_bytes(data, f"{name}.jsonl"), origin=Origin("upload", name))
        six.workspace.datasets.add(loaded, role="heldout")
    except DeliftError as error:  # a name of nothing, or one that is not Unicode
        assert "\n" not in str(error)
    assert everything(six.workspace.folder.parent) == before


def archive(names: list[str]) -> bytes:
    """A backup that holds these names, as an attacker would write it: sizes and hashes are right."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        files = {name: [1, sha256(b"x").hexdigest()] for name in names}
        index = json.dumps({"version": 1, "program": "0", "created_at": "now", "files": files}).encode()
        for name, data in [*((name, b"x") for name in names), (INDEX, index)]:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


ENTRIES = st.lists(
    st.sampled_from(
        ["utility/..", "utility/../../out", "exports/./a", "exports", "/etc/x", "", ".", "jobs//x", "uploads/a"]
    )
    | NAMES.map(lambda name: f"exports/{name}")
    | NAMES,
    min_size=1,
    max_size=3,
    unique=True,
)


@quickly
@given(names=ENTRIES)
def test_what_a_backup_names_stays_in_the_workspace(tmp_path_factory: pytest.TempPathFactory, names: list[str]) -> None:
    place = tmp_path_factory.mktemp("restored")
    try:
        (place / "backup.tar").write_bytes(archive(names))
    except UnicodeEncodeError:  # tar cannot hold it either
        return
    try:
        restore(place / "backup.tar", place / "inner" / "work")
    except WorkspaceError as error:
        assert "\n" not in str(error) and not (place / "inner" / "work").exists()
    found = everything(place) - {"backup.tar", "inner"}
    assert all(PurePath(path).is_relative_to("inner/work") for path in found), found


def test_a_backup_with_a_hole_of_a_terabyte_is_refused(tmp_path: Path) -> None:
    data = bytearray(archive(["exports/big"]))
    header = bytearray(data[:512])
    header[156:157] = tarfile.GNUTYPE_SPARSE
    header[483:495] = b"%011o\0" % 1  # the size that it has when written out
    header[148:156] = b"%06o\0 " % (sum(header[:148]) + 8 * 32 + sum(header[156:]))
    data[:512] = header
    (tmp_path / "backup.tar").write_bytes(data)
    with pytest.raises(WorkspaceError, match="nothing was restored"):
        restore(tmp_path / "backup.tar", tmp_path / "work")
    assert everything(tmp_path) == {"backup.tar"}


@pytest.mark.parametrize("name", ["../secret.jsonl", "/etc/hostname", "..", "", "a\0b", "x" * 300])
def test_a_manifest_of_a_stranger_reads_beside_itself_only(six: Scored, tmp_path: Path, name: str) -> None:
    (tmp_path / "secret.jsonl").write_text("secret")
    folder = tmp_path / "folder"
    folder.mkdir()
    out = folder / "out.jsonl"
    export_selection(six.workspace, six.selection_id, out)
    document = json.loads(to_json(read_manifest(manifest_path(out))))
    document["output"]["file"] = name
    manifest_path(out).write_text(json.dumps(document))
    checks = {check.label: check for check in verify(manifest_path(out))}
    assert not checks["Output exists"].ok and "cannot be read" in checks["Output exists"].detail
