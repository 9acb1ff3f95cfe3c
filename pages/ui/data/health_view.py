"""Quality of a data set: kinds of problems, duplicates, and overlaps with other sets; all can be removed."""

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from delift_core.data.loading import Dataset
from delift_core.data.quality import duplicates
from delift_core.data.quality.checks import HealthReport, find_issues
from delift_core.data.quality.cleaning import suggested_fix
from delift_core.data.quality.duplicates import CopyGroup, CopyKind, Overlap
from delift_core.samples import Sample
from delift_core.workspace import DatasetRecord, Workspace
from pages.ui.data.remedy_buttons import RowsToLeaveOut, leave_out_button, mend_button, out_label
from pages.ui.data.sample_view import samples_table, ticked_samples
from pages.ui.data.signals import SIGNAL_ROWS, watched
from pages.ui.shell.blocks import ROLE_WORDS, plain, selected_row, shorten, ticked_rows

QUICK_ROWS = 3000  # up to this size, near duplicates are looked for without being asked
SHOWN = 500
KIND_WORDS: dict[CopyKind, str] = {"exact": "exact duplicate", "near": "near duplicate", "semantic": "paraphrase"}


def health_view(workspace: Workspace, record: DatasetRecord, dataset: Dataset) -> None:
    """Kinds of problems; the rows with the selected one, with buttons that fix or remove them."""
    report = _report(record, dataset)
    if report is None:
        return
    if len(report.formats) > 1:
        mix = ", ".join(f"{one.rows:,} × {one.format or 'mapped columns'}" for one in report.formats)
        st.caption(plain(f"Formats found: {mix}"))
    if not report.findings:
        st.badge("No problems found", icon=":material/check:", color="green")
        return
    st.caption("Found by patterns in the text, so look before you act. Select a problem to see its rows.")
    table = pd.DataFrame(
        {
            "Rows": [len(one.positions) for one in report.findings],
            "Problem": [one.issue_class.title for one in report.findings],
            "What to do": [one.issue_class.remedy for one in report.findings],
        }
    )
    alt = "Problems with their number of rows; select one to see its rows"
    picked = selected_row(table, key=f"health_{record.id}", alt=alt)
    if picked is not None:
        finding = report.findings[picked]
        st.markdown(f"**{finding.issue_class.title}**")
        st.caption(finding.issue_class.remedy)
        rows = [dataset.samples[position] for position in finding.positions[:SHOWN]]
        ticked = ticked_samples(rows, key=f"finding_{record.id}_{finding.kind}", alt="Rows with the selected problem")
        if len(finding.positions) > SHOWN:
            st.caption(f"Showing the first {SHOWN:,} of {len(finding.positions):,}; the buttons act on all of them.")
        with st.container(horizontal=True):
            mend_button(workspace, record, dataset, suggested_fix(finding, len(dataset)), len(finding.positions))
            wanted = [finding.positions[place] for place in ticked]
            label = out_label(len(finding.positions), "row", "rows", len(ticked))
            reason = finding.issue_class.title
            leave_out_button(workspace, record, dataset, RowsToLeaveOut(wanted or finding.positions, reason, label))


def _report(record: DatasetRecord, dataset: Dataset) -> HealthReport | None:
    """The report; for a large set only on request, with a progress bar that can be cancelled."""
    key = f"health_report_{record.id}"
    if len(dataset) <= SIGNAL_ROWS:
        return _health(record.id, dataset.samples)
    if key not in st.session_state:
        if not st.button(f"Check {len(dataset):,} rows", icon=":material/search:", key=f"look_{record.id}"):
            return None
        watch = watched("Checking the rows…", "cancel_health")
        st.session_state[key] = find_issues(dataset.samples, watch=watch)
        st.rerun()
    found: HealthReport = st.session_state[key]
    return found


def copies_view(workspace: Workspace, record: DatasetRecord, dataset: Dataset) -> None:
    """Groups of duplicates with the row to keep, and rows whose prompt is also in another set of the workspace."""
    wanted = st.session_state.get(f"near_{record.id}", False) or len(dataset) <= QUICK_ROWS
    groups = _groups(record.id, dataset.samples, wanted)
    if not wanted and st.button(
        f"Find near duplicates and paraphrases among {len(dataset):,} rows", icon=":material/search:"
    ):
        st.session_state[f"near_{record.id}"] = True
        st.rerun()
    _copies_of_kinds(workspace, record, dataset, [one for one in groups if one.kind != "semantic"], wanted)
    if wanted:
        _reworded(workspace, record, dataset, [one for one in groups if one.kind == "semantic"])
    if record.role == "pool":
        _contamination(workspace, record, dataset)


def _copies_of_kinds(
    workspace: Workspace, record: DatasetRecord, dataset: Dataset, groups: Sequence[CopyGroup], near: bool
) -> None:
    """Exact and near duplicates."""
    copies = duplicates.copied_positions(groups)
    if not groups:
        words = (
            f"No exact or near duplicates ({duplicates.MIN_SIMILARITY:.0%} or more)" if near else "No exact duplicates"
        )
        st.badge(words, icon=":material/check:", color="green")
        return
    st.caption(
        "1 row is a duplicate."
        if len(copies) == 1
        else f"{len(copies):,} rows are duplicates of {len(groups):,} others."
    )
    ticked = _ticked_groups(dataset.samples, groups, key=f"copies_{record.id}")
    _leave_copies_out(workspace, record, dataset, groups, ticked)


def _reworded(workspace: Workspace, record: DatasetRecord, dataset: Dataset, groups: Sequence[CopyGroup]) -> None:
    """Rows that say the same in other words; ticked groups are shown in full below."""
    st.markdown("**Paraphrases**")
    if not groups:
        st.badge("No paraphrases", icon=":material/check:", color="green")
        return
    st.caption("Same meaning and numbers, different wording. Read before removing.")
    ticked = _ticked_groups(dataset.samples, groups, key=f"reworded_{record.id}")
    for group in ticked:
        rows = [dataset.samples[at] for at in (group.kept, *group.copies)]
        samples_table(rows, key=f"reworded_rows_{record.id}_{group.kept}", alt="Rows of the group")
    _leave_copies_out(workspace, record, dataset, groups, ticked)


def _ticked_groups(samples: Sequence[Sample], groups: Sequence[CopyGroup], *, key: str) -> list[CopyGroup]:
    """A table of groups; returns the ticked ones."""
    alt = (
        "Groups of duplicates: the row to keep, why, the others and how similar they are; tick groups to remove only "
        "their duplicates"
    )
    return [groups[row] for row in ticked_rows(_groups_table(samples, groups), key=key, alt=alt)]


def _leave_copies_out(
    workspace: Workspace,
    record: DatasetRecord,
    dataset: Dataset,
    groups: Sequence[CopyGroup],
    ticked: Sequence[CopyGroup],
) -> None:
    copies = duplicates.copied_positions(ticked or groups)
    reason = "Paraphrase of a row that is kept" if groups[0].kind == "semantic" else "Duplicate of a row that is kept"
    label = out_label(len(copies), "duplicate", "duplicates", 0)
    if ticked:
        of = "the ticked group" if len(ticked) == 1 else f"the {len(ticked):,} ticked groups"
        label = f"Remove the {'duplicate' if len(copies) == 1 else f'{len(copies):,} duplicates'} of {of}"
    leave_out_button(workspace, record, dataset, RowsToLeaveOut(copies, reason, label))


def _contamination(workspace: Workspace, record: DatasetRecord, dataset: Dataset) -> None:
    """Pool rows that are also in the newest target set or held-out set."""
    for role in ("heldout", "target"):
        records = workspace.datasets.records(role)
        if not records or len(dataset) > QUICK_ROWS and not st.session_state.get(f"near_{record.id}"):
            continue
        other = workspace.datasets.load(records[0].id)
        found = _overlaps(record.id, records[0].id, dataset.samples, other.samples)
        words = f"{ROLE_WORDS[role].lower()} set “{other.name}”"
        st.markdown(f"**{plain(f'Overlap with the {words}')}**")
        if not found:
            st.badge("No overlap", icon=":material/check:", color="green")
            continue
        st.caption(
            "Training on the rows you test with makes the result look better than it is."
            if role == "heldout"
            else "These rows help with the target because they are in it."
        )
        places = ticked_rows(
            _overlaps_table(dataset.samples, other.samples, found),
            key=f"overlaps_{record.id}_{records[0].id}",
            alt=f"Pool rows whose prompt is also in the {words}; tick rows to remove only these",
        )
        ticked = [found[row].position for row in places]
        label = out_label(len(found), "row", "rows", len(ticked))
        rows = ticked or [one.position for one in found]
        leave_out_button(workspace, record, dataset, RowsToLeaveOut(rows, f"Prompt is also in the {words}", label))


def _groups_table(samples: Sequence[Sample], groups: Sequence[CopyGroup]) -> pd.DataFrame:
    shown = groups[:SHOWN]
    return pd.DataFrame(
        {
            "Keep row": [samples[one.kept].line for one in shown],
            "Duplicates": [", ".join(f"{samples[at].line}" for at in one.copies[:20]) for one in shown],
            "Similarity": [f"{one.similarity:.0%}" for one in shown],
            "Why": [one.reason for one in shown],
            "Prompt": [shorten(samples[one.kept].prompt, 100) for one in shown],
        }
    )


def _overlaps_table(pool: Sequence[Sample], others: Sequence[Sample], found: Sequence[Overlap]) -> pd.DataFrame:
    shown = found[:SHOWN]
    return pd.DataFrame(
        {
            "Row": [pool[one.position].line for one in shown],
            "Row there": [others[one.other].line for one in shown],
            "How": [KIND_WORDS[one.kind] for one in shown],
            "Similarity": [f"{one.similarity:.0%}" for one in shown],
            "Prompt": [shorten(pool[one.position].prompt, 120) for one in shown],
            "Prompt there": [shorten(others[one.other].prompt, 120) for one in shown],
        }
    )


# The contents of a data set id never change, so the id is enough of a key.
@st.cache_data(max_entries=16, show_spinner="Checking the rows…")
def _health(dataset_id: str, _samples: Sequence[Sample]) -> HealthReport:
    return find_issues(_samples)


@st.cache_data(max_entries=16, show_spinner="Looking for duplicates…")
def _groups(dataset_id: str, _samples: Sequence[Sample], near: bool) -> tuple[CopyGroup, ...]:
    if not near:
        return duplicates.copy_groups(_samples, near=1)
    groups = duplicates.copy_groups(_samples)
    return (*groups, *duplicates.semantic_groups(_samples, groups))


@st.cache_data(max_entries=16, show_spinner="Comparing with the other sets…")
def _overlaps(pool_id: str, other_id: str, _pool: Sequence[Sample], _others: Sequence[Sample]) -> tuple[Overlap, ...]:
    found = duplicates.overlaps(_pool, _others)
    return (*found, *duplicates.semantic_overlaps(_pool, _others, {one.position for one in found}))
