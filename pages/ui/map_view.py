"""The map of pool, target and existing rows: pick an area, read what is in it, keep or drop it.

Points are numbered pool first, then target, then existing, as the run's embeddings are.
"""

import re

import numpy as np
import pandas as pd
import streamlit as st

from delift_core.comparison import Comparison
from delift_core.composition import Facet
from delift_core.curation import CuratedSelection
from delift_core.errors import DeliftError
from delift_core.figures.coverage_map import (
    MapStatus,
    Theme,
    alt_map,
    labelled_map_spec,
    map_spec,
    picked_points,
    sides_map_spec,
)
from delift_core.jobs.runs import ScoredRun
from delift_core.layout import map_coordinates
from delift_core.samples import Sample
from delift_core.workspace import Workspace
from pages.ui.blocks import clear_errors, shorten
from pages.ui.composition_view import facets_of
from pages.ui.edit_actions import edit_rows, rows_in_words, undo_edit
from pages.ui.navigation import page_path

LISTED = 200
_STATE = "State of the rows"
SPELT_OUT = 12
LABELLED = 20_000
"""Above this many points the hover text is the line alone: texts would be megabytes."""

_RANGES = re.compile(r"\s*\d+\s*(-\s*\d+\s*)?(,\s*\d+\s*(-\s*\d+\s*)?)*,?\s*")


def map_view(workspace: Workspace, run: ScoredRun, curated: CuratedSelection | None) -> None:
    """The map at the left, the picked rows at the right."""
    left, right = st.columns([3, 2], gap="medium")
    with left:
        coords = _coordinates(run)
        drawn = _draw(run, coords, statuses(run, curated), _ask_colour(run))
        st.caption(
            "▭ box or ⬠ lasso at the top left, then Keep or Drop; the third tool adds a second area, ✕ clears. "
            "The wheel zooms. Alike rows lie close together, but a distance on the map has no exact meaning."
        )
        if curated is None:
            st.caption("There is no selection yet, so nothing is decided.")
    with right:
        picked_view(workspace, run, curated, drawn)


def statuses(run: ScoredRun, curated: CuratedSelection | None) -> list[MapStatus]:
    """One status a point."""
    undecided: MapStatus = "undecided"
    pool: list[MapStatus] = list(curated.statuses) if curated else [undecided] * len(run.pool)
    target: list[MapStatus] = ["target"] * len(run.target)
    existing: list[MapStatus] = ["existing"] * len(run.existing)
    return pool + target + existing


def _coordinates(run: ScoredRun) -> np.ndarray:
    with st.skeleton(height=560):
        return _laid_out(run.record.id, str(run.record.finished_at), run)


@st.cache_resource(max_entries=4, show_spinner=False)
def _laid_out(run_id: str, finished_at: str, _run: ScoredRun) -> np.ndarray:
    return map_coordinates(_run.embeddings())


def _ask_colour(run: ScoredRun) -> Facet | None:
    """What the colours say: the state of the rows (None), or a facet of theirs."""
    by_name = {facet.name: facet for facet in facets_of(run)}
    name = st.selectbox(
        "Colours", [_STATE, *by_name], key="map_colours", bind="query-params", label_visibility="collapsed", width=220
    )
    return by_name.get(name)


def _groups(run: ScoredRun, facet: Facet) -> tuple[list[str], list[str]]:
    """The label of every point, and all labels in order; target and existing rows are labels of their own."""
    pool = [facet.labels[code] for code in facet.codes]
    extra = (("target rows", len(run.target)), ("existing rows", len(run.existing)))
    return pool + [word for word, count in extra for _ in range(count)], [*facet.labels, *(word for word, _ in extra)]


def _draw(run: ScoredRun, coords: np.ndarray, status: list[MapStatus], facet: Facet | None) -> tuple[int, ...]:
    """Draws the map and returns the points inside the drawn areas."""
    few = len(coords) <= LABELLED
    labels = [
        f"{part} {sample.line}: {shorten(sample.prompt, 60)}" if few else f"{part} {sample.line}"
        for part, samples in (("line", run.pool), ("target line", run.target), ("existing line", run.existing))
        for sample in samples
    ]
    spec = map_spec(coords, status, theme=_theme(), labels=labels)
    if facet is not None:
        groups, order = _groups(run, facet)
        spec = labelled_map_spec(coords, groups, order, theme=_theme(), labels=labels)
    event = st.echarts_chart(
        spec,
        key=f"map_{run.record.id}",
        height=560,
        on_select="rerun",
        alt=alt_map(status),
    )
    return picked_points(event, len(coords))


def sides_map(run: ScoredRun, compared: Comparison) -> None:
    """The pool with what is in both of two subsets, in one of them, and in neither."""
    coords = _coordinates(run)[: len(run.pool)]
    labels = [f"line {sample.line}: {shorten(sample.prompt, 60)}" for sample in run.pool]
    st.echarts_chart(
        sides_map_spec(coords, compared.sides, theme=_theme(), labels=labels if len(labels) <= LABELLED else None),
        key=f"sides_{run.record.id}",
        height=430,
        alt=alt_map(compared.sides),
    )


def _theme() -> Theme:
    return "dark" if st.context.theme.type == "dark" else "light"


def picked_view(workspace: Workspace, run: ScoredRun, curated: CuratedSelection | None, drawn: tuple[int, ...]) -> None:
    """What was picked on the map or by line, and what to do with it."""
    st.subheader("Picked rows")
    typed = st.text_input(
        "Pick by line",
        placeholder="Pool lines: 3, 8-12",
        key="picked_lines",
        help="The same choice without the mouse: lines and ranges of lines of the pool, added to the drawn areas.",
    )
    points = set(drawn)
    with clear_errors():
        points |= set(positions_of_lines(typed, run.pool))
    picked = sorted(points)
    in_pool = [point for point in picked if point < len(run.pool)]
    with st.container(key="picked_rows"):
        st.markdown(_count_in_words(len(picked), len(in_pool)))
        if picked:
            lines = [_line_of(run, point) for point in picked[:SPELT_OUT]]
            rest = f" and {len(picked) - SPELT_OUT:,} more" if len(picked) > SPELT_OUT else ""
            st.text(f"Lines {', '.join(lines)}{rest}")
            _list(run, picked[:LISTED], statuses(run, curated))
    if curated is not None:
        _buttons(workspace, curated, [run.pool[point].id for point in in_pool])
    else:
        st.page_link(page_path("select"), label="Select first, then keep or drop", icon=":material/arrow_forward:")


def _count_in_words(picked: int, in_pool: int) -> str:
    if not picked:
        return "Nothing is picked: draw a box or a lasso on the map."
    other = picked - in_pool
    return f"**{rows_in_words(in_pool)}** of the pool" + (f", {other:,} of target or existing" if other else "")


def _sample_at(run: ScoredRun, point: int) -> tuple[str, Sample]:
    """A point's sample and the set that it is from."""
    for part, samples in (("", run.pool), ("target", run.target)):
        if point < len(samples):
            return part, samples[point]
        point -= len(samples)
    return "existing", run.existing[point]


def _line_of(run: ScoredRun, point: int) -> str:
    part, sample = _sample_at(run, point)
    return f"{part} {sample.line}".strip()


def _list(run: ScoredRun, points: list[int], status: list[MapStatus]) -> None:
    samples = [_sample_at(run, point)[1] for point in points]
    st.dataframe(
        pd.DataFrame(
            {
                "Line": [sample.line for sample in samples],
                "State": [status[point].replace("-", " ") for point in points],
                "Prompt": [shorten(sample.prompt, 160) for sample in samples],
            }
        ),
        column_config={
            "Line": st.column_config.NumberColumn(width=50),
            "State": st.column_config.TextColumn(width=105),
        },
        hide_index=True,
        height=min(360, 33 * (len(points) + 1) + 4),
        alt=f"The first {len(points)} picked rows, with state and prompt",
    )


def _buttons(workspace: Workspace, curated: CuratedSelection, ids: list[str]) -> None:
    selection_id = curated.record.id
    undoable = workspace.edits.can_undo(selection_id)
    with st.container(horizontal=True):
        st.button(
            "Keep",
            shortcut="K",
            disabled=not ids,
            key="map_keep",
            help="Put the picked rows of the pool into the subset",
            on_click=edit_rows,
            args=(workspace, selection_id, "keep", ids),
        )
        st.button(
            "Drop",
            shortcut="D",
            disabled=not ids,
            key="map_drop",
            help="Take the picked rows of the pool out of the subset",
            on_click=edit_rows,
            args=(workspace, selection_id, "drop", ids),
        )
        st.button(
            "Undo",
            shortcut="U",
            disabled=not undoable,
            key="map_undo",
            help="Take back the last edit of this selection",
            on_click=undo_edit,
            args=(workspace, selection_id),
        )
    st.caption(f"{len(curated.subset.positions):,} rows are in the subset of “{shorten(curated.record.name, 40)}”.")


def positions_of_lines(text: str, pool: tuple[Sample, ...]) -> tuple[int, ...]:
    """Positions of the pool rows on some lines, written as in "3, 8-12"; lines that the pool lacks are left out.

    Raises:
        DeliftError: the text is no list of lines.
    """
    if not text.strip():
        return ()
    if not _RANGES.fullmatch(text):
        raise DeliftError(f"{shorten(text, 40)!r} is no list of lines; write it as in 3, 8-12")
    spans = []
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        low, _, high = part.partition("-")
        spans.append((int(low), int(high or low)))
    return tuple(
        position for position, sample in enumerate(pool) if any(low <= sample.line <= high for low, high in spans)
    )
