"""A workspace with a finished run and a kept selection, made with a random model."""

import json
from collections.abc import Mapping
from pathlib import Path

from delift_core.curation.curate import keep_selection
from delift_core.curation.scoring_runs import open_run, run_here
from delift_core.curation.selector import Selector
from delift_core.data.loading import Dataset
from delift_core.samples import Message, ParsedRecord, with_ids
from delift_core.scoring.pair_spec import parse_pairs
from delift_core.selection.request import SelectionRequest
from delift_core.selection.types import Budget, ObjectiveConfig
from delift_core.workspace import RunSpec, Workspace
from tests.tiny_models import save_model

# Line 4 cannot be scored (its response exceeds the model's context), so positions in the data set and in the run
# differ from there on; lines 2 and 7 are the same conversation.
POOL = (
    ("Add 2 and 3.", "5"),
    ("Name a colour of the sky.", "Blue."),
    ("Add 20 and 30.", "50"),
    ("Recite everything.", "la " * 400),
    ("What is the capital of France?", "Paris."),
    ("Translate 'cat' into German.", "Katze."),
    ("Name a colour of the sky.", "Blue."),
    ("Write a loop over xs in Python.", "for x in xs:\n    print(x)"),
    ("Is water wet?", "Yes, *very* wet: **100 %** <b>wet</b>."),
    ("Say hello politely.", "Good day to you."),
    ("Add 7 and 8.", "15"),
    ("What is the capital of Peru?", "Lima."),
    ("Translate 'dog' into German.", "Hund."),
)
TARGET = (("Add 4 and 4.", "8"), ("Add 11 and 6.", "17"))
EXISTING = (("What is the capital of Chile?", "Santiago."), ("Translate 'cow' into German.", "Kuh."))


def make_scored_workspace(folder: Path, model_folder: Path, pairs: str = "all") -> None:
    """Makes a closed workspace in `folder` with run r1 and its selection "first" (s1)."""
    model = save_model(model_folder)
    with Workspace.open(folder) as workspace:
        add = workspace.datasets.add
        pool = add(_dataset("pool", POOL), role="pool")
        target = add(_dataset("target", TARGET), role="target")
        existing = add(_dataset("existing", EXISTING), role="existing")
        spec = RunSpec(pool.id, target.id, existing.id, str(model), "auto", "cpu", "float32", parse_pairs(pairs))
        score_and_select(workspace, spec, {"first": 4})


def score_and_select(workspace: Workspace, spec: RunSpec, rows: Mapping[str, int]) -> Selector:
    """Scores a run, and saves a selection of so many rows under each name."""
    selector = Selector(open_run(workspace, run_here(workspace, spec).id))
    for name, count in rows.items():
        request = SelectionRequest(ObjectiveConfig("instruction"), Budget("rows", count))
        keep_selection(workspace, selector, request, name=name)
    return selector


def _record(prompt: str, response: str) -> str:
    """A record that holds its texts, as a curator edits them."""
    return json.dumps({"instruction": prompt, "output": response})


def _dataset(name: str, pairs: tuple[tuple[str, str], ...]) -> Dataset:
    records = [
        ParsedRecord(
            (Message("user", prompt), Message("assistant", response)),
            _record(prompt, response) if line == 13 else f'{{"instruction":"row {line} of {name}"}}',
            f"{name}.jsonl",
            line,
        )
        for line, (prompt, response) in enumerate(pairs, start=1)
    ]
    return Dataset(name, "alpaca", None, with_ids(records))
