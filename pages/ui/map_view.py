"""The map of pool, target and existing rows: colour it, pick an area of it, see where the picked rows lie.

Points are numbered pool first, then target, then existing, as the run's embeddings are. Map and panel are one fragment
of the page: picking does not run the rest of it.
"""

import subprocess
from collections.abc import Sequence
from contextlib import suppress

import numpy as np
import streamlit as st

from delift_core.comparison import Comparison
from delift_core.curation import CuratedSelection
from delift_core.figures.coverage_map import (
    MapStatus,
    Theme,
    View,
    alt_map,
    labelled_map_spec,
    map_spec,
    picked_points,
    sides_map_spec,
    view_around,
)
from delift_core.jobs.map_layout import kept_layout, start_layout, why_no_layout
from delift_core.jobs.runs import ScoredRun
from delift_core.layout import MOST_BY_UMAP, principal_coordinates
from delift_core.workspace import SelectionSummary, Workspace
from pages.ui import state
from pages.ui.blocks import clear_errors, shorten
from pages.ui.edit_actions import say_what_was_done
from pages.ui.kept_zoom import keep_zoom
from pages.ui.map_colours import Colouring, ask_colouring, sides_of
from pages.ui.modifier_keys import way_of_keys
from pages.ui.picked_view import picked_view
from pages.ui.picks import Way, clear_picks, pick, picked_positions, picks

LABELLED = 20_000
"""Above this many points the hover text is the line alone: texts would be megabytes."""
WAITED_FOR = 2_000
"""Up to this many points the page waits for the layout instead of showing a first map."""
_PATIENCE_SECONDS = 180
_PATIENCE_BESIDE = 5  # where the map is one part of a page: beside a scoring job its layout takes minutes
_POLL_SECONDS = 3.0
WAYS: dict[Way, str] = {"only": "New", "add": "Add", "remove": "Remove"}
_WAY, _KEYS, _CHART = "picking_way", "picking_keys", "map_chart"


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
        _draw(run, coords, curated, colouring)
        _legend(run, curated, is_final)
        way_of_keys(_CHART, key=_KEYS)
        keep_zoom(_CHART)
    with right:
        picked_view(workspace, run, curated)
    say_what_was_done()
    if not is_final and not _failure(run):
        _swap_when_ready(run)


def statuses(run: ScoredRun, curated: CuratedSelection | None) -> list[MapStatus]:
    """One status a point."""
    undecided: MapStatus = "undecided"
    pool: list[MapStatus] = list(curated.statuses) if curated else [undecided] * len(run.pool)
    target: list[MapStatus] = ["target"] * len(run.target)
    existing: list[MapStatus] = ["existing"] * len(run.existing)
    return pool + target + existing


def coordinates(run: ScoredRun, patience: float = _PATIENCE_SECONDS) -> tuple[np.ndarray, bool]:
    """Where the points stand, and whether that is their layout; of a large map, principal components until it is.

    Args:
        patience: seconds for which a small map's layout is waited for.
    """
    found = _kept(run)
    if found is not None:
        return found, True
    with st.skeleton(height=560):
        job = _layout_job(run.record.id, str(run.record.finished_at), run)
        if len(run.pool) + len(run.target) + len(run.existing) <= WAITED_FOR:
            with suppress(subprocess.TimeoutExpired):  # the first map will do meanwhile
                job.wait(patience)
            found = _kept(run)
            if found is not None:
                return found, True
        return _first_map(run.record.id, str(run.record.finished_at), run), False


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
def _layout_job(run_id: str, finished_at: str, _run: ScoredRun) -> "subprocess.Popen[bytes]":
    return start_layout(_run)


@st.cache_resource(max_entries=2, show_spinner=False)
def _first_map(run_id: str, finished_at: str, _run: ScoredRun) -> np.ndarray:
    return principal_coordinates(_run.embeddings())


def _failure(run: ScoredRun) -> str:
    """Why there will be no layout; empty while it is being made."""
    code = _layout_job(run.record.id, str(run.record.finished_at), run).poll()
    return why_no_layout(code) if code else ""


@st.fragment(run_every=_POLL_SECONDS)
def _swap_when_ready(run: ScoredRun) -> None:
    if kept_layout(run) is not None or _failure(run):
        st.rerun()


def _tools(run: ScoredRun, curated: CuratedSelection | None) -> Colouring:
    """Colours, what drawing an area does, and the way to and from a closer view."""
    view_key = _view_key(run)
    with st.container(horizontal=True, vertical_alignment="center"):
        colouring = ask_colouring(run, curated)
        st.segmented_control(
            "An area picks",
            list(WAYS),
            default="only",
            required=True,
            format_func=WAYS.__getitem__,
            key=_WAY,
            bind="query-params",
            label_visibility="collapsed",
            help="What drawing an area does to the rows picked before: replaces them, adds to them, or takes from "
            "them. With the mouse: Shift adds, Ctrl removes.",
        )
        if st.session_state.get(view_key) is None:
            st.button(
                "Closer",
                icon=":material/zoom_in:",
                help="Show the part of the map where the picked rows are",
                disabled=not picks(run.record.id),
                key="map_closer",
                on_click=_look_closer,
                args=(run,),
            )
        else:
            st.button("Whole map", icon=":material/zoom_out_map:", key="map_whole", on_click=_look_at_all, args=(run,))
    return colouring


def _view_key(run: ScoredRun) -> str:
    return f"map_view_{run.record.id}"


def _look_closer(run: ScoredRun) -> None:
    at = picked_positions(run)
    found = _kept(run)
    coords = found if found is not None else _first_map(run.record.id, str(run.record.finished_at), run)
    st.session_state[_view_key(run)] = view_around(coords[at])


def _look_at_all(run: ScoredRun) -> None:
    st.session_state[_view_key(run)] = None


def _draw(run: ScoredRun, coords: np.ndarray, curated: CuratedSelection | None, colouring: Colouring) -> None:
    """Draws the map; what is picked on it goes to the picks of the visitor."""
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
        spec = sides_map_spec(coords[: len(run.pool)], sides, theme=theme, labels=labels[: len(run.pool)], view=view)
    else:
        spec = map_spec(coords, status, theme=theme, labels=labels, view=view)
    key = f"map_{run.record.id}"
    with st.container(key=_CHART):
        st.echarts_chart(
            spec,
            key=key,
            height=560,
            on_select=lambda: take_area(run, st.session_state[key]),
            alt=alt_map(status),
        )


def take_area(run: ScoredRun, event: object) -> None:
    """Picks the pool rows in the drawn areas, in the way that the keys or the tool above the map say."""
    held: Way = (st.session_state.get(_KEYS) or {}).get("way", "only")
    way: Way = held if held != "only" else st.session_state.get(_WAY, "only")
    ids = [run.pool[point].id for point in picked_points(event, len(run.pool))]  # type: ignore[arg-type]
    if ids:
        pick(run.record.id, ids, way)
    elif way == "only":  # the areas were cleared; while adding or removing, an empty area says nothing
        clear_picks(run.record.id)


def _labels(run: ScoredRun) -> list[str] | np.ndarray:
    if len(run.pool) + len(run.target) + len(run.existing) > LABELLED:
        return np.array([sample.line for sample in (*run.pool, *run.target, *run.existing)], dtype=np.int32)
    return [
        f"{part} {sample.line}: {shorten(sample.prompt, 60)}"
        for part, samples in (("line", run.pool), ("target line", run.target), ("existing line", run.existing))
        for sample in samples
    ]


def _groups(run: ScoredRun, pool: list[str], labels: Sequence[str]) -> tuple[list[str], list[str]]:
    """The label of every point, and all labels in order; target and existing rows are labels of their own."""
    extra = (("target rows", len(run.target)), ("existing rows", len(run.existing)))
    return pool + [word for word, count in extra for _ in range(count)], [*labels, *(word for word, _ in extra)]


def _legend(run: ScoredRun, curated: CuratedSelection | None, is_final: bool) -> None:
    """What the picture cannot say itself."""
    count = len(run.pool) + len(run.target) + len(run.existing)
    if not is_final and (why := _failure(run)):
        st.warning(
            f"The map shows two principal components, as UMAP could not lay it out: {why}. Close other programs first.",
            icon=":material/memory:",
        )
        if st.button("Lay out again", icon=":material/refresh:", key="map_again"):
            _layout_job.clear(run.record.id, str(run.record.finished_at))  # type: ignore[call-arg]
            st.rerun()
    elif not is_final:
        st.caption(
            ":material/hourglass_top: A first map by two principal components. The UMAP layout takes its place when it "
            "is done: it waits for jobs that are at work, and of 100,000 rows takes a minute or two, once."
        )
    elif count > MOST_BY_UMAP:
        st.caption(
            f"UMAP laid out {MOST_BY_UMAP:,} of the {count:,} rows; each other row stands among those most like it."
        )
    st.caption(
        "▭ box or ⬠ lasso at the top left picks the rows inside. Shift adds, Ctrl removes, a double click clears. The "
        "wheel zooms. Alike rows lie close together, but a distance on the map has no exact meaning."
    )
    if curated is None:
        st.caption("There is no selection yet, so nothing is decided.")


def sides_map(run: ScoredRun, compared: Comparison) -> None:
    """The pool with what is in both of two subsets, in one of them, and in neither."""
    coords = coordinates(run, _PATIENCE_BESIDE)[0][: len(run.pool)]
    labels = _labels(run)[: len(run.pool)]
    st.echarts_chart(
        sides_map_spec(coords, compared.sides, theme=_theme(), labels=labels),
        key=f"sides_{run.record.id}",
        height=430,
        alt=alt_map(compared.sides),
    )


def _theme() -> Theme:
    return "dark" if st.context.theme.type == "dark" else "light"
