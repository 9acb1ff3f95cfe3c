"""The method that puts the rows in order, DELIFT unless another one is chosen, and the engine of DELIFT's own order."""

import streamlit as st

from delift_core.selection.methods import METHOD_NAMES, METHODS, method_source, method_title
from delift_core.selection.request import Engine, is_installed
from delift_core.selection.select import guarantee
from delift_core.selection.types import ChosenBy, Selection
from pages.ui.shell.blocks import plain
from pages.ui.shell.navigation import page_path

_MOST_SEED = 999_999
_ENGINES: dict[Engine, str] = {"auto": "Exact greedy", "submodlib": "submodlib"}


def ask_method() -> tuple[ChosenBy, int]:
    """The method, and the seed of one that draws."""
    method: ChosenBy = st.selectbox(
        "Method",
        METHOD_NAMES,
        format_func=method_title,
        key="method",
        bind="query-params",
        width=190,
        help="DELIFT, or another published method to compare with. All are measured the same way below.",
    )
    entry = METHODS.get(method)
    if entry is None or not entry.draws or entry.asks_model:  # what asks the model is measured with seed 0
        return method, 0
    return method, int(st.number_input("Seed", 0, _MOST_SEED, 0, key="method_seed", bind="query-params", width=110))


def method_words(method: ChosenBy) -> None:
    """What another method than DELIFT prefers, and where it was published."""
    if method in METHODS:
        entry = METHODS[method]
        st.caption(f"{entry.title}: {entry.summary} ({entry.source})")


def not_measured(method: ChosenBy) -> None:
    """What to do about a method that asks the model anew, where nobody has asked yet."""
    title = method_title(method)
    st.info(
        f"{title} asks the model about every row, which takes too long for this page. Run it once on Evaluate; after "
        f"that, it can choose here for any budget.",
        icon=":material/science:",
    )
    st.page_link(
        page_path("evaluate"),
        label=f"Run {title} on Evaluate",
        icon=":material/arrow_forward:",
        query_params={"evaluate_against": [title]},
    )


def method_line(method: ChosenBy) -> None:
    """Of a selection that DELIFT did not choose, what did."""
    if method != "delift":
        words = f"Chosen by {method_title(method)} ({method_source(method)}), not by DELIFT."
        st.caption(plain(words if method != "given" else f"Rows not chosen by a method: {method_source(method)}."))


def ask_engine() -> Engine:
    """The engine, under a popover; nothing to choose where only ours are installed."""
    if not is_installed("submodlib"):
        return "auto"
    with st.popover("Engine", icon=":material/memory:"):
        engine: Engine = st.selectbox(
            "Engine",
            list(_ENGINES),
            format_func=lambda name: _ENGINES[name],
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
