"""Who may do what: every way of writing against every role, the access list, and where a server listens."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from delift_core.curation import scoring_runs as runs
from delift_core.curation.curate import add_sample_project
from delift_core.data.loading import Dataset
from delift_core.errors import AccessError, NotAllowed
from delift_core.evaluation import subset_evaluation
from delift_core.export.publish import push_to_hub, save_to_disk
from delift_core.export.subset_files import export_selection
from delift_core.jobs.folder import JobFolder
from delift_core.samples import Message, ParsedRecord, with_ids
from delift_core.selection.types import Budget, Certificate, GreedyOrder, ObjectiveConfig, RandomBaseline, Selection
from delift_core.system.access import NEEDED, Actor, Operation, Role, reachable_from_other_machines, read_access
from delift_core.workspace import RunSpec, Workspace

ROLES: tuple[Role, ...] = ("viewer", "curator", "admin")
SPEC = RunSpec("pool-x", None, None, "bundled", "auto", "cpu", "float32")

LACKING = ("runs.start", "runs.run_here", "export_selection", "save_to_disk", "push_to_hub")

Write = Callable[[Workspace, Path], object]
# What each way of writing is, and how it is called. Those that go on to do work are stopped by an error of their own.
WRITES: dict[str, tuple[Operation, Write]] = {
    "datasets.add": ("import", lambda w, p: w.datasets.add(_dataset("more"), role="target")),
    "datasets.rename": ("import", lambda w, p: w.datasets.rename(w.datasets.records("pool")[-1].id, "new")),
    "datasets.delete": ("delete", lambda w, p: w.datasets.delete(w.datasets.records("heldout")[0].id)),
    "add_sample_project": ("import", lambda w, p: add_sample_project(w)),
    "runs.add": ("job", lambda w, p: w.runs.add(w.runs.record("r1").spec)),
    "runs.set_status": ("observe", lambda w, p: w.runs.set_status("r1", "cancelled")),
    "runs.delete": ("delete", lambda w, p: w.runs.delete("r2")),
    "runs.start": ("job", lambda w, p: runs.start(w, SPEC, mode="score")),
    "runs.run_here": ("job", lambda w, p: runs.run_here(w, SPEC)),
    "runs.cancel": ("job", lambda w, p: runs.cancel(w, "r1")),
    "selections.add": (
        "select",
        lambda w, p: w.selections.add("r1", _selection(), name="n", metric="euclidean", seed=0),
    ),
    "selections.rename": ("select", lambda w, p: w.selections.rename("s1", "other")),
    "selections.delete": ("delete", lambda w, p: w.selections.delete("s2")),
    "edits.apply": ("edit", lambda w, p: w.edits.apply("s1", "drop", [_first(w)], author="forged")),
    "edits.undo": ("edit", lambda w, p: w.edits.undo("s1", author="forged")),
    "edits.redo": ("edit", lambda w, p: w.edits.redo("s1", author="forged")),
    "filters.save": ("filter", lambda w, p: w.filters.save(w.datasets.records("pool")[-1].id, "f", "a=b")),
    "filters.delete": ("filter", lambda w, p: w.filters.delete(w.datasets.records("pool")[-1].id, "kept")),
    "reads.add": ("edit", lambda w, p: w.reads.add(w.datasets.records("pool")[-1].id, [_first(w)], reader="forged")),
    "exports.add": ("export", lambda w, p: w.exports.add("s1", path="p", sha256="0", n_records=1, format="same")),
    "signals.keep": ("observe", lambda w, p: w.signals.keep(w.datasets.records("pool")[-1].id, ())),
    "settings.set": ("upkeep", lambda w, p: w.settings.set("key", "value")),
    "export_selection": ("export", lambda w, p: export_selection(w, "s1", p / "out.jsonl")),
    "save_to_disk": ("export", lambda w, p: save_to_disk(p / "none.jsonl", p / "folder", actor=w.actor)),
    "push_to_hub": ("export", lambda w, p: push_to_hub(p / "none.jsonl", "o/n", "", actor=w.actor)),
    "evaluation cancel": ("job", lambda w, p: subset_evaluation.cancel(w, JobFolder(w.folder / "jobs"))),
}


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Workspace]:
    """A workspace with something of each kind in it."""
    with Workspace.open(tmp_path / "work") as workspace:
        pool = workspace.datasets.add(_dataset("pool"), role="pool")
        workspace.datasets.add(_dataset("held"), role="heldout")
        spec = RunSpec(pool.id, None, None, "bundled", "auto", "cpu", "float32")
        for _ in range(2):
            workspace.runs.add(spec)
            workspace.selections.add("r1", _selection(), name="s", metric="euclidean", seed=0)
        (workspace.jobs_folder / "r1").mkdir()
        workspace.edits.apply("s1", "drop", [_first(workspace)], author="Ada")
        workspace.filters.save(pool.id, "kept", "a=b")
        yield workspace


@pytest.mark.parametrize("role", ROLES)
def test_a_role_reaches_as_far_as_it_says_and_no_further(opened: Workspace, tmp_path: Path, role: Role) -> None:
    visitor = opened.acting_as(Actor("eve@x.org", role))
    before, refused = _state(opened), [name for name, (operation, _) in WRITES.items() if _beyond(operation, role)]
    for name in refused:
        operation, write = WRITES[name]
        with pytest.raises(NotAllowed, match=f"eve@x.org is a {role} here and may not .*role of {NEEDED[operation]}"):
            write(visitor, tmp_path)
        assert _state(opened) == before, name
    for name in sorted(WRITES.keys() - set(refused), key=lambda name: "delete" in name):
        try:
            WRITES[name][1](visitor, tmp_path)
        except NotAllowed:
            raise
        except Exception as error:  # it was let through, and lacks what this workspace does not have
            assert name in LACKING, (name, error)


def _beyond(operation: Operation, role: Role) -> bool:
    return ROLES.index(role) < ROLES.index(NEEDED[operation])


def test_no_way_of_writing_is_missing_above() -> None:
    stores = {
        "datasets": "add rename delete",
        "runs": "add set_status delete",
        "selections": "add rename delete",
        "edits": "apply undo redo",
        "filters": "save delete",
        "exports": "add",
        "signals": "keep",
        "settings": "set",
        "reads": "add",
    }
    assert {f"{noun}.{verb}" for noun, verbs in stores.items() for verb in verbs.split()} <= set(WRITES)
    source = Path(__file__).parents[2] / "delift_core" / "workspace"
    found = sum(path.read_text().count("_database.write(") for path in source.glob("*.py"))
    # undo and redo share one place; `write` itself hands on in one
    assert found == sum(len(verbs.split()) for verbs in stores.values()) - 1 + 1


def test_a_visitor_signs_with_their_own_name_and_the_owner_with_whom_they_say(opened: Workspace) -> None:
    visitor = opened.acting_as(Actor("grace@x.org", "curator"))
    visitor.edits.apply("s1", "keep", [_first(opened)], author="Ada")
    visitor.edits.undo("s1", author="Ada")
    history = opened.edits.history("s1")
    assert [(edit.author, edit.moved_by) for edit in history] == [("Ada", ""), ("grace@x.org", "grace@x.org")]


def test_a_visitor_does_not_close_what_others_use(opened: Workspace) -> None:
    opened.acting_as(Actor("v", "viewer")).close()
    assert opened.datasets.records()


def test_roles_come_from_the_first_file_and_the_greatest_counts(tmp_path: Path) -> None:
    workspace, app = tmp_path / "w", tmp_path / "a"
    workspace.mkdir()
    app.mkdir()
    (app / "access.toml").write_text(
        'admins = ["Ada@X.org"]\nviewers = ["ada@x.org", "v@x.org"]\ndefault = "curator"\n'
    )
    access = read_access(workspace, app)
    assert [access.role_of(who) for who in (" ada@x.ORG", "v@x.org", "any@y.org")] == ["admin", "viewer", "curator"]
    (workspace / "access.toml").write_text('curators = ["c@x.org"]\n')
    access = read_access(workspace, app)
    assert [access.role_of(who) for who in ("c@x.org", "ada@x.org")] == ["curator", None]


def test_without_a_file_nobody_who_logs_in_has_a_role(tmp_path: Path) -> None:
    assert read_access(tmp_path).role_of("ada@x.org") is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("admins = [", "cannot be read"),
        ("admins = 'ada@x.org'", "list of e-mail"),
        ("admins = ['']", "list of e-mail"),
        ("owners = []", "unknown entry 'owners'"),
        ("default = 'root'", "default is 'root'"),
        ("admins = ['a']\xff", "cannot be read"),
    ],
)
def test_a_file_that_is_not_understood_lets_nobody_in(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "access.toml").write_bytes(text.encode("latin-1"))
    with pytest.raises(AccessError, match=words):
        read_access(tmp_path)


@pytest.mark.parametrize(
    ("address", "beyond"),
    [
        ("127.0.0.1", False),
        ("127.8.0.1", False),
        ("::1", False),
        ("localhost", False),
        (None, True),
        ("", True),
        ("0.0.0.0", True),
        ("::", True),
        ("10.0.0.5", True),
        ("curation.example.org", True),
    ],
)
def test_where_a_server_can_be_reached_from(address: str | None, beyond: bool) -> None:
    assert reachable_from_other_machines(address) is beyond


def _dataset(name: str) -> Dataset:
    rows = [(f"{name} question {row}", f"answer {row}") for row in range(2)]
    records = [
        ParsedRecord((Message("user", ask), Message("assistant", say)), "{}", f"{name}.jsonl", row + 1)
        for row, (ask, say) in enumerate(rows)
    ]
    return Dataset(name, "prompt-completion", None, with_ids(records))


def _selection() -> Selection:
    order, gains = np.arange(2), np.array([1.0, 0.5])
    return Selection(
        config=ObjectiveConfig("instruction"),
        budget=Budget("rows", 1.0),
        chosen=order[:1],
        chosen_gains=gains[:1],
        greedy=GreedyOrder(order, gains),
        residual_gains=np.zeros(2),
        certificate=Certificate(0.5, 0.75),
        random=RandomBaseline((0.1, 0.2)),
    )


def _first(workspace: Workspace) -> str:
    return workspace.datasets.load(workspace.datasets.records("pool")[-1].id).samples[0].id


def _state(workspace: Workspace) -> tuple[object, ...]:
    """Everything that a refused visitor must have left as it was."""
    files = sorted(str(path) for path in workspace.folder.rglob("*") if path.suffix != ".wal")
    records = workspace.datasets.records(), workspace.runs.records(), workspace.selections.records()
    kept = workspace.filters.records(workspace.datasets.records("pool")[-1].id), workspace.exports.records()
    return (*records, *kept, workspace.edits.history("s1"), workspace.settings.get("key"), tuple(files))
