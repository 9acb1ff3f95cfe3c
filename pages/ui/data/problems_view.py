"""Skipped records by kind of problem: how many, why and what to do; the records of one kind, and how to fix them."""

from collections import Counter
from typing import get_args

import pandas as pd
import streamlit as st

from delift_core.data.loading import Dataset
from delift_core.data.quality.cleaning import fixable_kind
from delift_core.samples import Problem, ProblemKind, line_unit
from delift_core.workspace import DatasetRecord, Workspace
from pages.ui.data.health_view import SHOWN
from pages.ui.data.remedy_buttons import mend_button
from pages.ui.shell.blocks import plain, selected_row, shorten
from pages.ui.shell.display import printable

TITLES: dict[ProblemKind, str] = {
    "not-json": "Not JSON",
    "not-an-object": "Not an object",
    "unknown-format": "Unknown format",
    "unknown-role": "Unknown role",
    "empty-prompt": "Empty prompt",
    "empty-response": "Empty answer",
    "not-text": "A value is not text",
    "no-assistant-turn": "No assistant turn",
    "not-trained": "No turn to train on",
    "bad-encoding": "Broken characters",
    "cut-short": "File cut short",
    "unnamed-call": "Tool call without a name",
    "bad-tools": "Tools are not JSON",
    "no-thoughts": "No thoughts to score",
    "no-choice": "Preferred or rejected answer not chosen",
    "other-answer": "Answer of the kind not chosen",
    "left-out-by-choice": "Removed by hand",
    "file-not-read": "File not read",
}


def problems_view(workspace: Workspace, record: DatasetRecord, dataset: Dataset) -> None:
    """The problems with their remedies; below, the records with the selected one (at first the most frequent)."""
    if not dataset.problems:
        st.badge("All records loaded", icon=":material/check:", color="green")
        return
    counts = Counter((problem.kind, problem.remedy) for problem in dataset.problems)
    kinds = [kind for kind in get_args(ProblemKind) if any(kind == found for found, _ in counts)]
    kinds.sort(key=lambda kind: -sum(count for (found, _), count in counts.items() if found == kind))
    remedies = {
        kind: max((count, remedy) for (found, remedy), count in counts.items() if found == kind)[1] for kind in kinds
    }
    by_kind = {kind: [problem for problem in dataset.problems if problem.kind == kind] for kind in kinds}
    table = pd.DataFrame(
        {
            "Records": [len(by_kind[kind]) for kind in kinds],
            "Problem": [TITLES[kind] for kind in kinds],
            "What to do": [remedies[kind] for kind in kinds],
        }
    )
    alt = "Why records were skipped; select a problem to see its records"
    kind = kinds[selected_row(table, key=f"problems_{record.id}", alt=alt) or 0]
    st.markdown(f"**{TITLES[kind]}**")
    st.caption(plain(remedies[kind]))
    _records_of(by_kind[kind], f"{record.id}_{kind}")
    mend_button(workspace, record, dataset, fixable_kind(kind), len(by_kind[kind]))


def _records_of(problems: list[Problem], key: str) -> None:
    """The records with one problem; a selected one opens in full."""
    shown = problems[:SHOWN]
    places: dict[str, list[int] | list[str]] = (
        {"File": [problem.source for problem in shown]}
        if problems[0].kind == "file-not-read"
        else {
            line_unit({problem.source for problem in problems}).capitalize(): [problem.line for problem in shown],
            "Field": [problem.field for problem in shown],
        }
    )
    table = pd.DataFrame(
        {
            **places,
            "Why": [problem.message for problem in shown],
            "Record": [shorten(problem.excerpt, 120) for problem in shown],
        }
    )
    alt = "Records with this problem, where they are and the reason; select one to read it in full"
    picked = selected_row(table, key=f"left_out_{key}", alt=alt)
    if len(problems) > SHOWN:
        st.caption(f"Showing the first {SHOWN:,} of {len(problems):,}.")
    if picked is not None:
        _drawer(problems[picked])


@st.dialog("Skipped record", position="right", width="medium")
def _drawer(problem: Problem) -> None:
    counted = f", {line_unit([problem.source])} {problem.line}" if problem.line else ""
    field = f", {problem.field}" if problem.field else ""
    st.caption(plain(f"{problem.source}{counted}{field}"))
    st.text(printable(f"{problem.message}. {problem.remedy}"))
    st.code(printable(problem.raw or problem.excerpt), language=None, wrap_lines=True)
