"""The rows that a visitor has picked, kept in the visitor's own session.

The map sets and marks them; the panel beside it and the tab "From map" of Curate read them. What counts is the stored
picks, not the area that the chart shows, since rows can also be picked in other ways.
"""

from collections.abc import Iterable
from typing import Literal

import streamlit as st

from delift_core.curation.scoring_runs import ScoredRun

_PICKS, _OTHERWISE = "picks", "picked_otherwise"

Way = Literal["only", "add", "remove"]
"""How rows are picked: they replace those picked before, are added to them, or removed from them."""


def picks(run_id: str) -> tuple[str, ...]:
    """Ids of the picked pool samples of a run, in the order of picking, each once."""
    kept: dict[str, tuple[str, ...]] = st.session_state.get(_PICKS, {})
    return kept.get(run_id, ())


def picked_positions(run: ScoredRun) -> list[int]:
    """Positions of the picked samples in a run's pool, ascending."""
    return sorted(run.position_of[sample_id] for sample_id in picks(run.record.id) if sample_id in run.position_of)


def pick(run_id: str, sample_ids: Iterable[str], way: Way = "only") -> None:
    """Picks pool samples of a run by other means than an area on the map; picks of other runs do not change."""
    st.session_state[_OTHERWISE] = other_picks() + 1
    pick_area(run_id, sample_ids, way)


def other_picks() -> int:
    """How often the visitor has picked by other means than an area on the map."""
    return int(st.session_state.get(_OTHERWISE, 0))


def pick_area(run_id: str, sample_ids: Iterable[str], way: Way = "only") -> None:
    """As `pick`, for the rows in an area on the map, which stays visible."""
    before, now = picks(run_id), tuple(sample_ids)
    if way == "remove":
        gone = set(now)
        after = tuple(sample_id for sample_id in before if sample_id not in gone)
    else:
        after = tuple(dict.fromkeys((*before, *now) if way == "add" else now))
    # A new dictionary each time, so that a callback never changes one that a page is using.
    st.session_state[_PICKS] = {**st.session_state.get(_PICKS, {}), run_id: after}


def clear_picks(run_id: str) -> None:
    """Unpicks all rows of a run."""
    pick(run_id, ())


def picked_count(run_id: str) -> int:
    """How many pool samples of a run are picked."""
    return len(picks(run_id))
