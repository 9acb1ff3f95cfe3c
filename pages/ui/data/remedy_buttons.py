"""The buttons of remedies: each makes a new data set, whose name says what was done; the earlier one stays as it is."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NoReturn

import streamlit as st

from delift_core.data.quality.cleaning import MEND_WORDS, leave_out, mend
from delift_core.samples import Dataset, Mendable
from delift_core.workspace import DatasetRecord, Workspace
from pages.ui.shell.blocks import plain, shorten

_LONGEST_NAME = 120
_MENDED: dict[Mendable, str] = {
    "not-text": "records with values written as text",
    "bad-encoding": "records with broken characters replaced",
    "repeated-prompt": "left out: another row has the longer answer",
    "repeated-id": "records given new ids",
    "template-residue": "records without template markers",
    "personal-data": "records with personal data masked",
    "encoding-damage": "records with damaged characters read anew",
    "odd-turns": "records with turns put in order",
    "trailing-turns": "records without the turns behind the answer",
}


@dataclass(frozen=True, slots=True)
class Leaving:
    """Rows to leave out, why (without a full stop), and what the button says."""

    positions: Sequence[int]
    reason: str
    label: str


def out_label(count: int, one: str, several: str, ticked: int) -> str:
    """What a button says that leaves the ticked rows out, or all of them where none is ticked."""
    if ticked:
        return f"Leave out the ticked {one}" if ticked == 1 else f"Leave out the {ticked:,} ticked {several}"
    return f"Leave out this {one}" if count == 1 else f"Leave out all {count:,} {several}"


def leave_out_button(workspace: Workspace, record: DatasetRecord, dataset: Dataset, leaving: Leaving) -> None:
    """Makes a new data set without the rows; the one that is shown stays as it is."""
    count, reason = len(leaving.positions), leaving.reason
    if count >= len(dataset):
        return
    if st.button(
        leaving.label, icon=":material/filter_alt:", key=f"out_{record.id}_{reason}", help="Makes a new data set."
    ):
        words = f"{count:,} left out: {reason[0].lower()}{reason[1:]}"
        _keep(workspace, record, leave_out(dataset, leaving.positions, reason), words)


def mend_button(
    workspace: Workspace, record: DatasetRecord, dataset: Dataset, kind: Mendable | None, rows: int
) -> None:
    """Makes a new data set in which the records of a class are mended; nothing where they cannot be."""
    if kind is None:
        return
    label = f"{MEND_WORDS[kind]} ({rows:,})"
    if not st.button(
        label, icon=":material/healing:", key=f"mend_{record.id}_{kind}", type="primary", help="Makes a new data set."
    ):
        return
    done = mend(dataset, kind)
    if done.changed:
        _keep(workspace, record, done.dataset, f"{done.changed:,} {_MENDED[kind]}")
    st.info("None of these records can be mended this way; leave them out, or mend them in their source.")


def _keep(workspace: Workspace, record: DatasetRecord, dataset: Dataset, words: str) -> NoReturn:
    """Adds what a choice made of a data set, under a name that says what was done, and shows it."""
    named = replace(dataset, name=shorten(f"{record.name} · {words}", _LONGEST_NAME))
    made = workspace.datasets.add(named, role=record.role, origin=record.origin, sha256=record.sha256)
    st.session_state["loaded_notice"] = plain(
        f"{made.name}, {made.n_samples:,} rows. This is a new data set; the earlier one is still there."
    )
    st.query_params["set"] = made.id
    st.rerun()
