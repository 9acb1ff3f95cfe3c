"""Which key was held while an area was drawn on a chart, which the chart's own event does not say.

A component listens to the mouse over the container. It reports when the button goes down, since the chart may report
the points of the area as soon as the mouse rests, before the button is released.
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
    """What the key held during the last drawing in a keyed container means: Shift adds, Ctrl (or Cmd) removes."""
    before = st.session_state.get(key, {}).get("way", "only")
    result = _listener(
        data={"container": container, "way": before},
        default={"way": "only"},
        key=key,
        on_way_change=lambda: None,
    )
    return cast(Way, result.way)
