"""What a subset is made of, beside its pool or another subset, one facet at a time."""

from collections.abc import Mapping

import numpy as np
import streamlit as st

from delift_core.curation.scoring_runs import ScoredRun
from delift_core.data.quality.facets import Facet, facets, share_differences
from pages.figures.composition import alt_composition, composition_bars
from pages.ui.data.signals import signals_of_run
from pages.ui.shell import state
from pages.ui.shell.blocks import chart, plain

_TOLD = 3


def composition_view(
    run: ScoredRun, subsets: Mapping[str, np.ndarray], *, key: str, more: tuple[Facet, ...] = ()
) -> None:
    """The facets of the pool with the shares of each subset.

    Args:
        subsets: name of a subset to its positions in the pool; what leans is said of the first.
        key: of the widgets, one a place.
        more: facets beside those of the pool's records.
    """
    found = (*facets_of(run), *(facet for facet in more if len(facet.labels) > 1))
    if not found:
        st.caption("There is nothing to compare: all rows have the same source, length and number of turns.")
        return
    by_name = {facet.name: facet for facet in found}
    name = st.pills(
        "Facet",
        list(by_name),
        default=found[0].name,
        required=True,
        key=f"{key}_facet",
        bind="query-params",
        label_visibility="collapsed",
    )
    facet = by_name[name or found[0].name]
    shares = {"pool": facet.shares(), **{which: facet.shares(positions) for which, positions in subsets.items()}}
    chart(
        composition_bars(facet.labels, shares),
        key=f"{key}_composition",
        alt=alt_composition(facet.name, facet.labels, shares),
    )
    _lean_line(found, *next(iter(subsets.items())))


def _lean_line(found: tuple[Facet, ...], name: str, positions: np.ndarray) -> None:
    noted = share_differences(found, positions)
    if not noted:
        st.caption(f"The mix of {name} matches the pool (within 10 points).")
        return
    told = "; ".join(
        f"{lean.facet.lower()} {lean.label}: {lean.subset:.0%} of {name}, {lean.pool:.0%} of the pool"
        for lean in noted[:_TOLD]
    )
    st.caption(f":material/balance: {plain(f'Largest differences: {told}.')}")


def facets_of(run: ScoredRun) -> tuple[Facet, ...]:
    """What tells the rows of a run's pool apart, found once."""
    known = state.workspace().signals.known(run.record.spec.pool_id)
    return state.selector(run.record).remember(
        ("facets", known), lambda: (*facets(run.pool, run.response_tokens()), *signals_of_run(run))
    )
