"""What the colours of the map can show: the state of the rows, a facet, a number, or another selection."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import streamlit as st

from delift_core.curation.curate import CuratedSelection
from delift_core.curation.scoring_runs import ScoredRun
from delift_core.data.quality.facets import Facet, cluster_codes, cluster_facet, quintile_facet
from delift_core.selection.coverage import Side, compare, covered
from delift_core.workspace import SelectionSummary
from pages.ui.select.composition_view import facets_of
from pages.ui.shell import state
from pages.ui.shell.blocks import shorten

STATE = "State"
_AGAINST = "Compared with: "


@dataclass(frozen=True, slots=True)
class Colouring:
    """What to show; without facet and selection, the state of the rows.

    Attributes:
        facet: a label of each pool row.
        graded: whether the labels are grades of a number.
        against: another selection, to compare with the current one.
    """

    facet: Facet | None = None
    graded: bool = False
    against: SelectionSummary | None = None


def ask_colouring(run: ScoredRun, curated: CuratedSelection | None) -> Colouring:
    """The choice above the map, kept in the address."""
    facets = {facet.name: facet for facet in facets_of(run)}
    numbers = ("Gain", "Coverage") if curated is not None else ()
    others = _others(run, curated)
    name = st.selectbox(
        "Colours",
        [STATE, *facets, "Cluster", *numbers, *others],
        key="map_colours",
        bind="query-params",
        label_visibility="collapsed",
        width=240,
    )
    if name in others:
        return Colouring(against=others[name])
    if name == "Cluster":
        return Colouring(clusters_of(run))
    if curated is not None and name == "Gain":
        return Colouring(quintile_facet("Gain", _gains(curated)), graded=True)
    if curated is not None and name == "Coverage":
        cover = covered(curated.problem.kernel, curated.subset.positions)[: len(run.pool)]
        return Colouring(quintile_facet("Coverage", cover), graded=True)
    return Colouring(facets.get(name), graded=name == "Response length")


def clusters_of(run: ScoredRun) -> Facet:
    """The pool in groups of similar rows, computed once."""

    def group() -> Facet:
        codes = cluster_codes(run.embeddings()[: len(run.pool)])
        return cluster_facet(codes, [sample.prompt for sample in run.pool])

    return state.remember(run, "clusters", group, "Grouping similar rows…")


def sides_of(curated: CuratedSelection, other: SelectionSummary) -> tuple[Side, ...]:
    """(n,) which of two subsets each pool row is in."""
    second = state.curated(other)
    return compare(len(curated.problem.run.pool), curated.subset.positions, second.subset.positions).sides


def _others(run: ScoredRun, curated: CuratedSelection | None) -> Mapping[str, SelectionSummary]:
    if curated is None:
        return {}
    return {
        f"{_AGAINST}{shorten(other.name, 40)} ({other.id})": other
        for other in state.workspace().selections.records(run.record.id)
        if other.id != curated.record.id
    }


def _gains(curated: CuratedSelection) -> np.ndarray:
    """(n,) the gain of each chosen row when it was chosen, and of each other row if it were added."""
    selection = curated.record.selection
    gains = selection.residual_gains.copy()
    gains[selection.chosen] = selection.chosen_gains
    return gains
