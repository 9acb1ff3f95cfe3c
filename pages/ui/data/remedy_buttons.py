"""Buttons that fix or remove rows: each makes a new data set, named after what was done, and keeps the earlier one."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NoReturn

import streamlit as st

from delift_core.data.loading import Dataset
from delift_core.data.quality.cleaning import FIX_TITLES, fix_records, leave_out
from delift_core.samples import FixableKind
from delift_core.system.texts import row_count
from delift_core.workspace import DatasetRecord, Workspace
from pages.ui.shell.blocks import plain, shorten

_LONGEST_NAME = 120
_NEW = "Makes a new data set; this one stays as it is."
_FIXED: dict[FixableKind, str] = {
    "not-text": "values converted to text in {rows}",
    "bad-encoding": "broken characters replaced in {rows}",
    "repeated-prompt": "{rows} removed: another row has a longer answer",
    "repeated-id": "new ids in {rows}",
    "template-residue": "template markers removed from {rows}",
    "personal-data": "personal data masked in {rows}",
    "encoding-damage": "damaged characters repaired in {rows}",
    "odd-turns": "turns put in order in {rows}",
    "trailing-turns": "turns after the answer removed from {rows}",
}


@dataclass(frozen=True, slots=True)
class RowsToLeaveOut:
    """Rows to remove, the reason (without a full stop), and the label of the button."""

    positions: Sequence[int]
    reason: str
    label: str


def out_label(count: int, one: str, several: str, ticked: int) -> str:
    """The label of a button that removes the ticked rows, or all of them if none is ticked."""
    if ticked:
        return f"Remove the ticked {one}" if ticked == 1 else f"Remove the {ticked:,} ticked {several}"
    return f"Remove this {one}" if count == 1 else f"Remove all {count:,} {several}"


def leave_out_button(workspace: Workspace, record: DatasetRecord, dataset: Dataset, leaving: RowsToLeaveOut) -> None:
    """A button that makes a new data set without the rows."""
    count, reason = len(leaving.positions), leaving.reason
    if count >= len(dataset):
        return
    if st.button(leaving.label, icon=":material/filter_alt:", key=f"out_{record.id}_{reason}", help=_NEW):
        words = f"{row_count(count)} removed: {reason[0].lower()}{reason[1:]}"
        _keep(workspace, record, leave_out(dataset, leaving.positions, reason), words)


def mend_button(
    workspace: Workspace, record: DatasetRecord, dataset: Dataset, kind: FixableKind | None, rows: int
) -> None:
    """A button that makes a new data set with the records of one kind fixed; none if they cannot be."""
    if kind is None:
        return
    label = f"{FIX_TITLES[kind]} ({row_count(rows)})"
    if not st.button(label, icon=":material/healing:", key=f"mend_{record.id}_{kind}", type="primary", help=_NEW):
        return
    done = fix_records(dataset, kind)
    if done.changed:
        _keep(workspace, record, done.dataset, _FIXED[kind].format(rows=row_count(done.changed)))
    st.info("None of these rows can be fixed this way. Remove them, or fix them in their source.")


def _keep(workspace: Workspace, record: DatasetRecord, dataset: Dataset, words: str) -> NoReturn:
    """Adds the changed data set, named after what was done, and shows it."""
    named = replace(dataset, name=shorten(f"{record.name} · {words}", _LONGEST_NAME))
    made = workspace.datasets.add(named, role=record.role)
    st.session_state["loaded_notice"] = plain(
        f"New data set: {made.name}, {made.n_samples:,} rows. The earlier one is still there."
    )
    st.query_params["set"] = made.id
    st.rerun()
