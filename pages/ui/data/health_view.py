"""What to look at in a data set: classes of problems, copies, and rows that other sets hold; each can be left out."""

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from delift_core.data.quality.checks import Health, health
from delift_core.data.quality.cleaning import offered
from delift_core.data.quality.duplicates import NEAR, CopyGroup, CopyKind, Overlap, copies_of, copy_groups, overlaps
from delift_core.data.quality.paraphrases import semantic_groups, semantic_overlaps
from delift_core.samples import Dataset, Sample, place_word
from delift_core.workspace import DatasetRecord, Workspace
from pages.ui.data.remedy_buttons import Leaving, leave_out_button, mend_button, out_label
from pages.ui.data.sample_view import samples_table, ticked_samples
from pages.ui.data.signals import SIGNAL_ROWS, watched
from pages.ui.shell.blocks import ROLE_WORDS, plain, shorten

QUICK_ROWS = 3000  # so many rows are looked through for near copies without being asked
SHOWN = 500
KIND_WORDS: dict[CopyKind, str] = {"exact": "the same", "near": "nearly the same", "semantic": "in other words"}


def health_view(workspace: Workspace, record: DatasetRecord, dataset: Dataset) -> None:
    """Classes of problems; the rows of the selected one, and a button that leaves them out."""
    report = _report(record, dataset)
    if report is None:
        return
    if len(report.formats) > 1:
        mix = ", ".join(f"{one.rows:,} × {one.format or 'mapped'}" for one in report.formats)
        st.caption(plain(f"Formats, each row read as what it is: {mix}"))
    if not report.findings:
        st.badge("Nothing stands out", icon=":material/check:", color="green")
        return
    st.caption("Found by patterns in the text: hints to look at, not verdicts. Select a class to see its rows.")
    event = st.dataframe(
        pd.DataFrame(
            {
                "Rows": [len(one.positions) for one in report.findings],
                "What": [one.words.title for one in report.findings],
                "What to do": [one.words.remedy for one in report.findings],
            }
        ),
        hide_index=True,
        on_select="rerun",
        selection_mode="single-row",
        key=f"health_{record.id}",
        alt="Classes of problems with their number of rows; select one to see its rows",
    )
    picked = event["selection"]["rows"]
    if picked:
        finding = report.findings[picked[0]]
        st.markdown(f"**{finding.words.title}**")
        st.caption(finding.words.remedy)
        rows = [dataset.samples[position] for position in finding.positions[:SHOWN]]
        ticked = ticked_samples(rows, key=f"finding_{record.id}_{finding.kind}", alt="Rows of the selected class")
        if len(finding.positions) > SHOWN:
            st.caption(f"The first {SHOWN:,} of {len(finding.positions):,}; a remedy is for all of them.")
        with st.container(horizontal=True):
            mend_button(workspace, record, dataset, offered(finding, len(dataset)), len(finding.positions))
            wanted = [finding.positions[place] for place in ticked]
            label = out_label(len(finding.positions), "row", "rows", len(ticked))
            reason = finding.words.title
            leave_out_button(workspace, record, dataset, Leaving(wanted or finding.positions, reason, label))


def _report(record: DatasetRecord, dataset: Dataset) -> Health | None:
    """The report; of a large set once it was asked for, with a bar and a way to end it."""
    key = f"health_report_{record.id}"
    if len(dataset) <= SIGNAL_ROWS:
        return _health(record.id, dataset.samples)
    if key not in st.session_state:
        if not st.button(f"Look through {len(dataset):,} rows", icon=":material/search:", key=f"look_{record.id}"):
            return None
        st.session_state[key] = health(dataset.samples, watch=watched("Looking through the rows…", "cancel_health"))
        st.rerun()
    found: Health = st.session_state[key]
    return found


def copies_view(workspace: Workspace, record: DatasetRecord, dataset: Dataset) -> None:
    """Groups of copies with the row to keep, and rows whose prompt another set of the workspace holds."""
    wanted = st.session_state.get(f"near_{record.id}", False) or len(dataset) <= QUICK_ROWS
    groups = _groups(record.id, dataset.samples, wanted)
    if not wanted and st.button(
        f"Look for near and reworded copies among {len(dataset):,} rows", icon=":material/search:"
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
    """Exact and near copies."""
    copies = copies_of(groups)
    if not groups:
        words = f"No two rows are {NEAR:.0%} alike in their letters" if near else "No row stands twice"
        st.badge(words, icon=":material/check:", color="green")
        return
    st.caption(
        "1 row is a copy." if len(copies) == 1 else f"{len(copies):,} rows are copies of {len(groups):,} others."
    )
    ticked = _ticked_groups(dataset.samples, groups, key=f"copies_{record.id}")
    _leave_copies_out(workspace, record, dataset, groups, ticked)


def _reworded(workspace: Workspace, record: DatasetRecord, dataset: Dataset, groups: Sequence[CopyGroup]) -> None:
    """Rows that say the same in other words; the ticked groups open below."""
    st.markdown("**In other words**")
    if not groups:
        st.badge("No two rows say the same", icon=":material/check:", color="green")
        return
    st.caption("By the meaning of their words, the numbers being the same: read them before you decide.")
    ticked = _ticked_groups(dataset.samples, groups, key=f"reworded_{record.id}")
    for group in ticked:
        rows = [dataset.samples[at] for at in (group.kept, *group.copies)]
        samples_table(rows, key=f"reworded_rows_{record.id}_{group.kept}", alt="Rows of the group")
    _leave_copies_out(workspace, record, dataset, groups, ticked)


def _ticked_groups(samples: Sequence[Sample], groups: Sequence[CopyGroup], *, key: str) -> list[CopyGroup]:
    """The table of groups; the groups that are ticked."""
    event = st.dataframe(
        _groups_table(samples, groups),
        hide_index=True,
        on_select="rerun",
        selection_mode="multi-row",
        key=key,
        alt="Groups of copies: the row to keep, why, the others and how alike they are; tick groups to leave the "
        "copies of these alone out",
    )
    return [groups[row] for row in event["selection"]["rows"] if row < len(groups)]


def _leave_copies_out(
    workspace: Workspace,
    record: DatasetRecord,
    dataset: Dataset,
    groups: Sequence[CopyGroup],
    ticked: Sequence[CopyGroup],
) -> None:
    copies = copies_of(ticked or groups)
    reason = "Says the same as a row that is kept" if groups[0].kind == "semantic" else "Copy of a row that is kept"
    label = out_label(len(copies), "copy", "copies", 0)
    if ticked:
        of = "the ticked group" if len(ticked) == 1 else f"the {len(ticked):,} ticked groups"
        label = f"Leave out the {'copy' if len(copies) == 1 else f'{len(copies):,} copies'} of {of}"
    leave_out_button(workspace, record, dataset, Leaving(copies, reason, label))


def _contamination(workspace: Workspace, record: DatasetRecord, dataset: Dataset) -> None:
    """Pool rows that the newest target and held-out set hold as well."""
    for role in ("heldout", "target"):
        records = workspace.datasets.records(role)
        if not records or len(dataset) > QUICK_ROWS and not st.session_state.get(f"near_{record.id}"):
            continue
        other = workspace.datasets.load(records[0].id)
        found = _overlaps(record.id, records[0].id, dataset.samples, other.samples)
        words = f"{ROLE_WORDS[role].lower()} set {other.name}"
        st.markdown(f"**{plain(f'In the {words} as well')}**")
        if not found:
            st.badge("None of the prompts", icon=":material/check:", color="green")
            continue
        st.caption(
            "Training on what you measure with makes the result look better than it is."
            if role == "heldout"
            else "These rows help on the target because they are the target."
        )
        event = st.dataframe(
            _overlaps_table(dataset.samples, other.samples, found),
            hide_index=True,
            on_select="rerun",
            selection_mode="multi-row",
            key=f"overlaps_{record.id}_{records[0].id}",
            alt=f"Pool rows whose prompt stands in the {words}; tick rows to leave these alone out",
        )
        ticked = [found[row].position for row in event["selection"]["rows"] if row < len(found)]
        label = out_label(len(found), "row", "rows", len(ticked))
        rows = ticked or [one.position for one in found]
        leave_out_button(workspace, record, dataset, Leaving(rows, f"Prompt stands in the {words}", label))


def _groups_table(samples: Sequence[Sample], groups: Sequence[CopyGroup]) -> pd.DataFrame:
    shown = groups[:SHOWN]
    place = place_word({samples[one.kept].source for one in shown})
    return pd.DataFrame(
        {
            f"Keep {place}": [samples[one.kept].line for one in shown],
            "Copies": [", ".join(f"{samples[at].line}" for at in one.copies[:20]) for one in shown],
            "Alike": [f"{one.similarity:.0%}" for one in shown],
            "Kept because it is": [one.reason for one in shown],
            "Prompt": [shorten(samples[one.kept].prompt, 100) for one in shown],
        }
    )


def _overlaps_table(pool: Sequence[Sample], others: Sequence[Sample], found: Sequence[Overlap]) -> pd.DataFrame:
    shown = found[:SHOWN]
    return pd.DataFrame(
        {
            place_word({sample.source for sample in pool}).capitalize(): [pool[one.position].line for one in shown],
            f"Its {place_word({sample.source for sample in others})}": [others[one.other].line for one in shown],
            "How": [KIND_WORDS[one.kind] for one in shown],
            "Alike": [f"{one.similarity:.0%}" for one in shown],
            "Prompt": [shorten(pool[one.position].prompt, 120) for one in shown],
            "Its prompt": [shorten(others[one.other].prompt, 120) for one in shown],
        }
    )


# Contents of a data set never change under an id; the rows themselves (with an underscore) are not looked at again.
@st.cache_data(max_entries=16, show_spinner="Looking through the rows…")
def _health(dataset_id: str, _samples: Sequence[Sample]) -> Health:
    return health(_samples)


@st.cache_data(max_entries=16, show_spinner="Looking for copies…")
def _groups(dataset_id: str, _samples: Sequence[Sample], near: bool) -> tuple[CopyGroup, ...]:
    if not near:
        return copy_groups(_samples, near=1)
    groups = copy_groups(_samples)
    return (*groups, *semantic_groups(_samples, groups))


@st.cache_data(max_entries=16, show_spinner="Comparing with the other sets…")
def _overlaps(pool_id: str, other_id: str, _pool: Sequence[Sample], _others: Sequence[Sample]) -> tuple[Overlap, ...]:
    found = overlaps(_pool, _others)
    return (*found, *semantic_overlaps(_pool, _others, {one.position for one in found}))
