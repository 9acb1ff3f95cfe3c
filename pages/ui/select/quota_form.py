"""Quotas on the Select page: a table of the groups of one column, with what is asked of each and what it gives.

What is asked lives in the session, one list a run, and in the address, so that a link poses the same problem.
"""

from dataclasses import replace

import numpy as np
import pandas as pd
import streamlit as st

from delift_core.curation.scoring_runs import ScoredRun
from delift_core.data.quality.facets import Facet, column_name, quotas_from
from delift_core.errors import SelectionError
from delift_core.selection.request import QuotaRequest, format_quota, has_bounds, parse_quota
from delift_core.selection.types import Quota, Quotas, Selection
from pages.ui.explore.map_colours import clusters_of
from pages.ui.shell import state
from pages.ui.shell.address import put
from pages.ui.shell.blocks import plain

_CLUSTER, _NONE = "Cluster", "No quotas"
_LEAST, _MOST = "Minimum", "Maximum"


def asked_quotas(run: ScoredRun) -> tuple[QuotaRequest, ...]:
    """What the visitor asks of groups now; a new visitor: what the address asks for."""
    key = _key(run)
    if key not in st.session_state:
        try:
            st.session_state[key] = tuple(parse_quota(text) for text in st.query_params.get_all("quota"))
        except SelectionError:  # no address of ours
            st.session_state[key] = ()
    asked: tuple[QuotaRequest, ...] = st.session_state[key]
    put("quota", [f"{one.column}:{one.quota.label}={format_quota(one.quota)}" for one in asked])
    return asked


def quotas_of(run: ScoredRun, asked: tuple[QuotaRequest, ...]) -> Quotas | None:
    """The quotas that are asked for.

    Raises:
        SelectionError: the pool has no such column or group.
    """
    if not asked:
        return None
    found = _columns(run)
    return quotas_from(asked, (*found, clusters_of(run)) if asked[0].column == _CLUSTER else found)


def quota_table(run: ScoredRun, asked: tuple[QuotaRequest, ...], selection: Selection | None) -> None:
    """The form: a column, and for each of its groups a least and a most beside the rows that are chosen now."""
    facet = _ask_column(run, asked)
    if facet is None and asked:
        st.button("Remove the quotas", key="forget_quotas", on_click=_forget, args=(_key(run),))
        return
    if facet is None:
        st.caption("Set a minimum and maximum number of rows per group, such as source or category.")
        return
    by_label = {one.quota.label: one.quota for one in asked}
    wanted = [by_label.get(label, Quota(label)) for label in facet.labels]
    count = len(facet.labels)
    chosen = [None] * count if selection is None else np.bincount(facet.codes[selection.chosen], minlength=count)
    frame = pd.DataFrame(
        {
            "Group": facet.labels,
            "Pool": np.bincount(facet.codes, minlength=count),
            "Chosen": pd.array(chosen, dtype="Int64"),
            _LEAST: pd.array([quota.least or None for quota in wanted], dtype="Int64"),
            _MOST: pd.array([quota.most for quota in wanted], dtype="Int64"),
        }
    )
    table = f"quota_table_{run.record.id}_{column_name(facet)}"
    number = {least: st.column_config.NumberColumn(min_value=0, step=1, format="%d") for least in (_LEAST, _MOST)}
    # The table shows its toolbar over what stands above: here a line with nothing to press.
    st.caption("Minimum and maximum number of rows per group. Empty means no limit.")
    st.data_editor(
        frame,
        key=table,
        hide_index=True,
        height="content" if count <= 12 else 460,
        disabled=["Group", "Pool", "Chosen"],
        placeholder="–",
        column_config=number | {"Group": st.column_config.TextColumn(pinned=True)},
        on_change=_take,
        args=(_key(run), table, column_name(facet), tuple(wanted)),
        alt=f"Rows in the pool, quotas and chosen rows of each {column_name(facet)}",
    )
    if any(one.quota.least for one in asked):
        st.caption("With a minimum, rows are chosen again for each budget, which takes longer.")


def quota_line(selection: Selection) -> None:
    """What the quotas ask, and what is promised within them, in a line."""
    quotas = selection.quotas
    if quotas is None:
        return
    counts = np.bincount(quotas.codes[selection.chosen], minlength=len(quotas.groups)).tolist()
    met = [
        f"{group.label} {count:,} ({format_quota(group)})"
        for group, count in zip(quotas.groups, counts, strict=True)
        if has_bounds(group)
    ]
    shown = ", ".join(met[:6]) + (f" and {len(met) - 6} more" if len(met) > 6 else "")
    st.caption(f":material/balance: {plain(f'Quotas by {quotas.column.lower()}: {shown}.')}")


def _ask_column(run: ScoredRun, asked: tuple[QuotaRequest, ...]) -> Facet | None:
    found = {column_name(facet): facet for facet in _columns(run)}
    names = [name for name in found if ":" not in name]
    now = next((name for name in (*names, _CLUSTER) if asked and name.casefold() == asked[0].column.casefold()), None)
    key = f"quota_column_{run.record.id}"
    if key not in st.session_state:
        st.session_state[key] = now or _NONE
    name = st.selectbox("Group by", [_NONE, *names, _CLUSTER], key=key, on_change=_forget, args=(_key(run),))
    if name == _NONE:
        return None
    return clusters_of(run) if name == _CLUSTER else found[name]


def _take(key: str, table: str, column: str, wanted: tuple[Quota, ...]) -> None:
    """Takes over what was typed."""
    groups = list(wanted)
    for row, cells in st.session_state[table]["edited_rows"].items():
        if _LEAST in cells:
            groups[row] = replace(groups[row], least=int(cells[_LEAST] or 0))
        if _MOST in cells:
            groups[row] = replace(groups[row], most=None if cells[_MOST] is None else int(cells[_MOST]))
    st.session_state[key] = tuple(QuotaRequest(column, group) for group in groups if has_bounds(group))


def _forget(key: str) -> None:
    """Quotas are over one column at a time."""
    st.session_state[key] = ()


def _key(run: ScoredRun) -> str:
    return f"quotas_{run.record.id}"


def _columns(run: ScoredRun) -> tuple[Facet, ...]:
    return state.selector(run.record).columns
