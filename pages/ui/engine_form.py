"""What makes DELIFT's own order: exact greedy, unless another engine is chosen."""

import streamlit as st

from delift_core.selection.engines import guarantee
from delift_core.selection.request import AUTO, EPSILON, PARTS, EngineChoice, EngineName
from delift_core.selection.types import Selection
from pages.ui.blocks import plain

_WORDS: dict[EngineName, str] = {
    "auto": "Exact greedy",
    "stochastic": "Greedy by random samples",
    "partitioned": "Greedy by parts of the pool",
}
_MOST_PARTS, _MOST_SEED = 1000, 999_999


def ask_engine() -> tuple[EngineChoice, int]:
    """The engine with its setting, under a popover, and the seed of one that draws."""
    with st.popover("Engine", icon=":material/memory:"):
        name: EngineName = st.selectbox(
            "Engine",
            list(_WORDS),
            format_func=lambda name: _WORDS[name],
            key="engine",
            bind="query-params",
            help="Exact greedy answers any budget at once. The others are for pools that it takes too long for: each "
            "pick is the best of a random sample, or parts of the pool are chosen from alone and then together.",
        )
        if name == "stochastic":
            words = "The share of the guarantee that is given up for speed."
            epsilon = st.slider("ε", 0.01, 0.5, EPSILON, 0.01, key="engine_epsilon", bind="query-params", help=words)
            return EngineChoice(name, epsilon=epsilon), _ask_seed()
        if name == "partitioned":
            words = "Each is chosen from by itself first, twice its share of the rows."
            parts = st.number_input("Parts", 1, _MOST_PARTS, PARTS, key="engine_parts", bind="query-params", help=words)
            return EngineChoice(name, parts=int(parts)), _ask_seed()
    return AUTO, 0


def _ask_seed() -> int:
    return int(st.number_input("Seed", 0, _MOST_SEED, 0, key="engine_seed", bind="query-params"))


def engine_line(selection: Selection) -> None:
    """What an engine other than exact greedy promised before it chose."""
    if selection.engine != "auto":
        st.caption(plain(f"Engine {selection.engine}: {guarantee(selection)}."))
