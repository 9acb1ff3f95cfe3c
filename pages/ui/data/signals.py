"""Signals of a data set's rows (language, length, problems): computed once, then stored with it."""

import time

import numpy as np
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from delift_core.curation.scoring_runs import ScoredRun
from delift_core.data.quality.facets import SECONDS_PER_ROW, Facet, signal_facets
from delift_core.system.callbacks import Progress
from delift_core.system.texts import duration
from delift_core.workspace import DatasetRecord, Workspace
from pages.ui.shell import state

SIGNAL_ROWS = 20_000  # up to this size, rows are examined without being asked
_REPORT_SECONDS = 0.3


class Bar:
    """Shows progress, a few times a second."""

    def __init__(self, bar: DeltaGenerator) -> None:
        self._bar = bar
        self._last = 0.0

    def __call__(self, progress: Progress) -> None:
        """Updates the bar, unless that was done just before."""
        if time.monotonic() - self._last >= _REPORT_SECONDS:
            self._last = time.monotonic()
            self._bar.progress(progress.share, str(progress).capitalize())


def watched(words: str, key: str) -> Bar:
    """A progress bar with a Cancel button: any click reruns the page, which ends this run at its next report."""
    with st.container(horizontal=True, vertical_alignment="center"):
        bar = Bar(st.progress(0.0, words))
        st.button("Cancel", key=key, icon=":material/stop:", help="Stops the work; nothing is saved.")
    return bar


def signals_of(workspace: Workspace, record: DatasetRecord) -> tuple[Facet, ...] | None:
    """The signals of a data set; None if it is large and they were not asked for yet."""
    if record.n_samples > SIGNAL_ROWS and not workspace.signals.known(record.id):
        return None
    return _signals(record.id, workspace)


def ask_signals(workspace: Workspace, record: DatasetRecord) -> None:
    """Says how long the signals of a large data set take, with a button that computes them."""
    seconds = duration(record.n_samples * SECONDS_PER_ROW)
    st.caption(f"Finding language, length and problems of {record.n_samples:,} rows takes about {seconds}, once.")
    if st.button("Find them", icon=":material/play_arrow:", key=f"read_signals_{record.id}"):
        bar = watched("Checking the rows…", "cancel_signals")
        samples = workspace.datasets.load(record.id).samples
        workspace.signals.keep(record.id, signal_facets(samples, watch=bar))
        st.rerun()


def signals_of_run(run: ScoredRun) -> tuple[Facet, ...]:
    """The signals of a run's pool; none if it is large and they were not computed on the Data page."""
    if len(run.pool) <= SIGNAL_ROWS:
        return signal_facets(run.pool)
    workspace = state.workspace()
    pool_id = run.record.spec.pool_id
    kept = workspace.signals.of(pool_id)
    if kept is None:
        return ()
    at = state.positions_in_dataset(run)
    found = (Facet(facet.name, facet.labels, facet.codes[at]) for facet in kept)
    return tuple(facet for facet in found if len(np.unique(facet.codes)) > 1)


@st.cache_resource(max_entries=8, show_spinner="Finding languages and problems…")
def _signals(dataset_id: str, _workspace: Workspace) -> tuple[Facet, ...]:
    kept = _workspace.signals.of(dataset_id)
    if kept is None:
        kept = signal_facets(_workspace.datasets.load(dataset_id).samples)
        _workspace.signals.keep(dataset_id, kept)
    return kept
