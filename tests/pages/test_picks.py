"""The picked rows of a visitor: what picking does to those picked before, and whose they are."""

from unittest.mock import patch

import streamlit as st
from hypothesis import given
from hypothesis import strategies as strategy
from streamlit.testing.v1 import AppTest

from pages.ui.explore.picks import Way, pick, picked_count, picks

_IDS = strategy.lists(strategy.sampled_from("abcdefgh"), max_size=8)
_STEPS = strategy.lists(strategy.tuples(_IDS, strategy.sampled_from(["only", "add", "remove"])), max_size=5)


def _script() -> None:
    import streamlit as st

    from pages.ui.explore.picks import pick, picked_count, picks

    for run_id, ids, way in st.session_state.get("steps", []):
        pick(run_id, ids, way)
    st.session_state["shown"] = picks("r1"), picked_count("r1"), picks("r2")


def visit(steps: list[tuple[str, list[str], Way]]) -> tuple[tuple[str, ...], int, tuple[str, ...]]:
    at = AppTest.from_function(_script)
    at.session_state["steps"] = steps
    at.run()
    assert not at.exception
    shown: tuple[tuple[str, ...], int, tuple[str, ...]] = at.session_state["shown"]
    return shown


@given(_STEPS)
def test_picks_are_a_set_that_remembers_its_order(steps: list[tuple[list[str], Way]]) -> None:
    expected: list[str] = []
    for ids, way in steps:
        if way == "only":
            expected = []
        if way == "remove":
            expected = [one for one in expected if one not in ids]
        else:
            expected += [one for one in dict.fromkeys(ids) if one not in expected]
    with patch.object(st, "session_state", {}):  # a visitor's own
        for ids, way in steps:
            pick("r1", ids, way)
        assert list(picks("r1")) == expected and picked_count("r1") == len(expected) and picks("r2") == ()


def test_runs_and_visitors_have_picks_of_their_own() -> None:
    assert visit([("r1", ["a", "b"], "only"), ("r2", ["c"], "add")]) == (("a", "b"), 2, ("c",))
    assert visit([]) == ((), 0, ())
