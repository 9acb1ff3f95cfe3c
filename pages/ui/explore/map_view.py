"""The map of pool, target and existing rows, coloured by choice, with a panel of the rows picked on it.

Points are numbered pool first, then target, then existing, as the run's embeddings are. Map and panel are one fragment
of the page, so that picking does not rerun the rest.
"""

from collections.abc import Sequence

import numpy as np
import streamlit as st

from delift_core.curation.curate import CuratedSelection
from delift_core.curation.scoring_runs import ScoredRun
from delift_core.curation.umap_layout import (
    MAX_UMAP_POINTS,
    kept_layout,
    principal_coordinates,
    start_layout,
    why_no_layout,
)
from delift_core.jobs.folder import JobFolder
from delift_core.selection.coverage import Comparison
from delift_core.workspace import SelectionSummary, Workspace
from pages.figures.coverage_map import (
    MapStatus,
    Theme,
    View,
    alt_map,
    labelled_map_spec,
    map_spec,
    mark_picked,
    picked_points,
    view_around,
)
from pages.ui.curate.edit_actions import say_what_was_done
from pages.ui.explore.kept_view import keep_view
from pages.ui.explore.map_colours import Colouring, ask_colouring, sides_of
from pages.ui.explore.modifier_keys import way_of_keys
from pages.ui.explore.picked_view import picked_view
from pages.ui.explore.picks import Way, other_picks, pick_area, picked_positions, picks
from pages.ui.shell import state
from pages.ui.shell.blocks import choice, clear_errors, shorten

LABELLED = 20_000
"""Above this many points the hover text is the line alone: texts would be megabytes."""
_POLL_SECONDS = 3.0
_ROUGH = (
    ":material/hourglass_top: Rough layout. The final one appears by itself when it is ready, after about 20 seconds, "
    "or a minute or two for 100,000 rows; it waits while a job is running."
)
WAYS: dict[Way, str] = {"only": "Replace", "add": "Add", "remove": "Subtract"}
_WAY, _KEYS, _CHART, _TAKEN = "picking_way", "picking_keys", "map_chart", "map_area_taken"


@st.fragment
def map_view(workspace: Workspace, run: ScoredRun, selection: SelectionSummary | None) -> None:
    """The map at the left, the picked rows at the right."""
    curated = None
    with clear_errors():
        curated = state.curated(selection) if selection else None
    left, right = st.columns([3, 2], gap="medium")
    with left:
        coords, is_final = coordinates(run)
        colouring = _tools(run, curated)
        _draw(run, coords, is_final, curated, colouring)
        _legend(run, curated, is_final)
        way_of_keys(_CHART, key=_KEYS)
        keep_view(_CHART)
    with right:
        picked_view(workspace, run, curated)
    say_what_was_done()
    if not is_final and not _failure(run):
        _swap_when_ready(run)


def statuses(run: ScoredRun, curated: CuratedSelection | None) -> list[MapStatus]:
    """The status of each point."""
    undecided: MapStatus = "undecided"
    pool: list[MapStatus] = list(curated.marked_status.tolist()) if curated else [undecided] * len(run.pool)
    target: list[MapStatus] = ["target"] * len(run.target)
    existing: list[MapStatus] = ["existing"] * len(run.existing)
    return pool + target + existing


def coordinates(run: ScoredRun) -> tuple[np.ndarray, bool]:
    """(m, 2) coordinates, and whether they are final: until the layout is computed, principal components are shown.

    Never waits for the layout, whose process may queue behind jobs that take hours.
    """
    found = _kept(run)
    if found is not None:
        return found, True
    _layout_job(run.record.id, str(run.record.finished_at), run)
    return _rough_map(run), False


def _kept(run: ScoredRun) -> np.ndarray | None:
    record = run.record
    known: dict[tuple[str, str], np.ndarray] = _known_layouts()
    identity = record.id, str(record.finished_at)
    if identity not in known:
        found = kept_layout(run)
        if found is None:
            return None
        known[identity] = found
    return known[identity]


@st.cache_resource(max_entries=1, show_spinner=False)
def _known_layouts() -> dict[tuple[str, str], np.ndarray]:
    """Layouts that this server has read; each is small, and never changes."""
    return {}


@st.cache_resource(max_entries=4, show_spinner=False)
def _layout_job(run_id: str, finished_at: str, _run: ScoredRun) -> JobFolder:
    return start_layout(_run)


def _rough_map(run: ScoredRun) -> np.ndarray:
    words = "Laying out a rough map…"
    return state.remember(run, "rough map", lambda: principal_coordinates(run.embeddings()), words)


def _failure(run: ScoredRun) -> str:
    """Why there will be no layout; empty while it is being made."""
    return why_no_layout(_layout_job(run.record.id, str(run.record.finished_at), run).status())


@st.fragment(run_every=_POLL_SECONDS)
def _swap_when_ready(run: ScoredRun) -> None:
    if kept_layout(run) is not None or _failure(run):
        st.rerun()


def _tools(run: ScoredRun, curated: CuratedSelection | None) -> Colouring:
    """Controls for colours, for what drawing an area does, and for the zoom."""
    view_key = _view_key(run)
    with st.container(horizontal=True, vertical_alignment="center"):
        colouring = ask_colouring(run, curated)
        words = "What drawing an area does to the picked rows: replace them, add to them, or subtract from them."
        choice("Drawing an area", WAYS, key=_WAY, help=f"{words} Shift adds, Ctrl subtracts.")
        if st.session_state.get(view_key) is None:
            st.button(
                "Zoom in",
                icon=":material/zoom_in:",
                help="Zoom to the part of the map with the picked rows",
                disabled=not picks(run.record.id),
                key="map_closer",
                on_click=_look_closer,
                args=(run,),
            )
        else:
            st.button("Zoom out", icon=":material/zoom_out_map:", key="map_whole", on_click=_look_at_all, args=(run,))
    return colouring


def _view_key(run: ScoredRun) -> str:
    return f"map_view_{run.record.id}"


def _look_closer(run: ScoredRun) -> None:
    at = picked_positions(run)
    found = _kept(run)
    coords = found if found is not None else _rough_map(run)
    st.session_state[_view_key(run)] = view_around(coords[at])


def _look_at_all(run: ScoredRun) -> None:
    st.session_state[_view_key(run)] = None


def _draw(
    run: ScoredRun, coords: np.ndarray, is_final: bool, curated: CuratedSelection | None, colouring: Colouring
) -> None:
    """Draws the map; areas drawn on it change the visitor's picks."""
    status = statuses(run, curated)
    view: View | None = st.session_state.get(_view_key(run))
    theme, labels = _theme(), _labels(run)
    if colouring.facet is not None:
        facet = colouring.facet
        groups, order = _groups(run, [facet.labels[code] for code in facet.codes], facet.labels)
        graded = len(facet.labels) if colouring.graded else 0
        spec = labelled_map_spec(coords, groups, order, theme=theme, labels=labels, view=view, graded=graded)
    elif colouring.against is not None and curated is not None:
        sides = sides_of(curated, colouring.against)
        spec = map_spec(coords[: len(run.pool)], sides, theme=theme, labels=labels[: len(run.pool)], view=view)
    else:
        spec = map_spec(coords, status, theme=theme, labels=labels, view=view)
    spec = mark_picked(spec, coords, picked_positions(run), theme)
    key = _chart_key(run, is_final)
    with st.container(key=_CHART):
        st.echarts_chart(
            spec,
            key=key,
            height=560,
            on_select=lambda: take_area(run, st.session_state[key]),
            alt=alt_map(status),
        )


def _chart_key(run: ScoredRun, is_final: bool) -> str:
    """The key of the chart. A drawn area can only be removed by replacing the chart, so the key changes when rows are
    picked by other means, and with the layout, under which the area would cover other rows."""
    return f"map_{run.record.id}_{'final' if is_final else 'rough'}_{other_picks()}"


def take_area(run: ScoredRun, event: object) -> None:
    """Picks the pool rows in the drawn areas: replaces, adds or subtracts by the keys or the choice above the map.

    The chart reports an area again when its colours change; an area is applied only once.
    """
    areas = other_picks(), str(((event or {}).get("selection") or {}).get("areas"))  # type: ignore[attr-defined]
    ids = [run.pool[point].id for point in picked_points(event, len(run.pool))]  # type: ignore[arg-type]
    held: Way = (st.session_state.get(_KEYS) or {}).get("way", "only")
    way: Way = held if held != "only" else st.session_state.get(_WAY, "only")
    if ids and st.session_state.get(_TAKEN) != areas:
        pick_area(run.record.id, ids, way)
    elif not ids and way == "only":  # the areas were cleared; an empty area adds and subtracts nothing
        pick_area(run.record.id, ())
    st.session_state[_TAKEN] = areas


def _labels(run: ScoredRun) -> list[str] | np.ndarray:
    if len(run.pool) + len(run.target) + len(run.existing) > LABELLED:
        return np.array([sample.line for sample in (*run.pool, *run.target, *run.existing)], dtype=np.int32)
    return [
        f"{part}{sample.place}: {shorten(sample.prompt, 60)}"
        for part, samples in (("", run.pool), ("target ", run.target), ("existing ", run.existing))
        for sample in samples
    ]


def _groups(run: ScoredRun, pool: list[str], labels: Sequence[str]) -> tuple[list[str], list[str]]:
    """The label of every point, and all labels in order; target and existing rows have their own labels."""
    extra = (("target rows", len(run.target)), ("existing rows", len(run.existing)))
    return pool + [word for word, count in extra for _ in range(count)], [*labels, *(word for word, _ in extra)]


def _legend(run: ScoredRun, curated: CuratedSelection | None, is_final: bool) -> None:
    """Sentences that explain the picture."""
    count = len(run.pool) + len(run.target) + len(run.existing)
    if not is_final and (why := _failure(run)):
        st.warning(
            f"This is the rough layout, because UMAP could not make the final one: {why}. Close other programs, then "
            "lay out again.",
            icon=":material/memory:",
        )
        if st.button("Lay out again", icon=":material/refresh:", key="map_again"):
            _layout_job.clear(run.record.id, str(run.record.finished_at))  # type: ignore[call-arg]
            st.rerun()
    elif not is_final:
        st.caption(_ROUGH)
    elif count > MAX_UMAP_POINTS:
        st.caption(
            f"UMAP laid out {MAX_UMAP_POINTS:,} of the {count:,} rows; the others are placed next to similar rows."
        )
    st.caption(
        "Draw a box (▭) or a lasso (⬠), top left, to pick the rows inside; a ring marks each picked row. Shift adds, "
        "Ctrl subtracts, a double click clears. Scroll to zoom. Similar rows are close; distances are only approximate."
    )
    if curated is None:
        st.caption("No selection yet, so no row is chosen.")


def sides_map(run: ScoredRun, compared: Comparison) -> None:
    """The pool, coloured by whether a row is in both of two subsets, in one of them, or in neither."""
    coords, is_final = coordinates(run)
    labels = _labels(run)[: len(run.pool)]
    st.echarts_chart(
        map_spec(coords[: len(run.pool)], compared.sides, theme=_theme(), labels=labels),
        key=f"sides_{run.record.id}",
        height=430,
        alt=alt_map(compared.sides),
    )
    if not is_final and not _failure(run):
        st.caption(_ROUGH)
        _swap_when_ready(run)


def _theme() -> Theme:
    return "dark" if st.context.theme.type == "dark" else "light"
