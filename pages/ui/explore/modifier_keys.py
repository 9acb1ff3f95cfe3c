"""Which key was held while the mouse drew on a chart: the chart itself does not say.

A piece of JavaScript of our own listens to the mouse over one container. It says the way of picking when the button
goes down, since the chart may say what is inside as soon as the mouse rests, before the button is released.
"""

from typing import cast

import streamlit as st
from streamlit.components.v2 import component

from pages.ui.explore.picks import Way

_SCRIPT = """
export default function ({ data, setStateValue }) {
    const chart = () => document.querySelector(".st-key-" + data.container);
    let said = data.way;
    const down = (event) => {
        if (!chart()?.contains(event.target)) return;
        const held = event.shiftKey ? "add" : event.ctrlKey || event.metaKey ? "remove" : "only";
        if (held !== said) { said = held; setStateValue("way", held); }
    };
    document.addEventListener("pointerdown", down, true);
    return () => document.removeEventListener("pointerdown", down, true);
}
"""


_listener = component("delift_modifier_keys", js=_SCRIPT)


def way_of_keys(container: str, *, key: str) -> Way:
    """What the keys said when the mouse last drew in a keyed container: Shift adds, Ctrl (or Cmd) removes."""
    before = st.session_state.get(key, {}).get("way", "only")
    result = _listener(
        data={"container": container, "way": before},
        default={"way": "only"},
        key=key,
        on_way_change=lambda: None,
    )
    return cast(Way, result.way)
