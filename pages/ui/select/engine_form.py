"""What makes DELIFT's own order: our exact greedy, unless submodlib is chosen."""

import streamlit as st

from delift_core.selection.request import Engine
from delift_core.selection.select import guarantee
from delift_core.selection.types import Selection
from pages.ui.shell.blocks import plain

_WORDS: dict[Engine, str] = {"auto": "Exact greedy", "submodlib": "submodlib"}


def ask_engine() -> Engine:
    """The engine, under a popover."""
    with st.popover("Engine", icon=":material/memory:"):
        engine: Engine = st.selectbox(
            "Engine",
            list(_WORDS),
            format_func=lambda name: _WORDS[name],
            key="engine",
            bind="query-params",
            help="Exact greedy is fast, also for a large pool. submodlib is the published library to compare with: "
            "slower, and with the same rows, up to ties.",
        )
    return engine


def engine_line(selection: Selection) -> None:
    """What an engine other than exact greedy promised before it chose."""
    if selection.engine != "auto":
        st.caption(plain(f"Engine {selection.engine}: {guarantee(selection)}."))
