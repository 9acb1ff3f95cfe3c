"""The shortcuts of the open row. Each key press reaches the server with the row that was on the screen.

A Streamlit button belongs to the last run of the page. Pressed while the next row is being drawn, it would act on a row
that the visitor has not seen, and of several presses during one run only the last would count. So the browser queues
the presses in order, each with the row that it showed, and sends all that the server has not processed yet.
"""

from collections.abc import Callable, Mapping
from typing import Any

import streamlit as st
from streamlit.components.v2 import component

_KEY, _DONE = "row_keys", "row_keys_done"
_SCRIPT = """
const OLD = 10_000;  // milliseconds after which an unsent press is dropped
const here = () => document.querySelector("[role=dialog] .st-key-row_keys_here");
const running = () => document.querySelector("[data-testid=stApp]")?.dataset.testScriptState === "running";
// One listener for the window: a run may remove and redraw the whole drawer, and no press in between may be lost.
function listening() {
    const memory = { visit: `${Date.now()} ${Math.random()}`, count: 0, waiting: [], open: false };
    document.addEventListener("keydown", (event) => {
        if (event.key === "Escape") memory.open = false;
        const action = memory.data.actions[event.key];
        const typing = event.target.closest?.("input, textarea, select, [contenteditable=true]");
        const other = event.ctrlKey || event.metaKey || event.altKey || event.shiftKey;
        if (!action || typing || other || !(here() || (memory.open && running()))) return;
        event.preventDefault();
        event.stopImmediatePropagation();  // so that the button with this shortcut does not react
        if (event.repeat) return;
        memory.count += 1;
        memory.waiting.push({ at: Date.now(), press: [memory.visit, memory.count, action, memory.data.row] });
        memory.send();
    }, true);
    return memory;
}
export default function ({ data, setStateValue, parentElement }) {
    const memory = (window.deliftRowKeys ??= listening());
    const [visit, done] = data.done;
    const taken = (count) => visit === memory.visit && count <= done;
    memory.waiting = memory.waiting.filter(({ at, press }) => !taken(press[1]) && Date.now() - at < OLD);
    memory.data = data;
    memory.open = true;
    memory.send = () => {
        if (parentElement.isConnected) setStateValue("presses", memory.waiting.map(({ press }) => press));
    };
    if (memory.waiting.length) memory.send();
}
"""

_listener = component("delift_row_keys", js=_SCRIPT)


def row_keys(row: str, actions: Mapping[str, str], act: Callable[[str, str], None]) -> None:
    """Listens while a row is open; must be drawn after its texts, so that presses name the row once these are shown.

    Args:
        row: id of the row that this run draws.
        actions: the action of each key, a lower-case letter.
        act: called for each press in order, with the action and the row that was on the screen.
    """
    with st.container(key=f"{_KEY}_here"):
        _listener(
            data={"row": row, "actions": dict(actions), "done": st.session_state.get(_DONE, ("", 0))},
            default={"presses": []},
            key=_KEY,
            on_presses_change=lambda: take_presses(st.session_state[_KEY]["presses"], act),
        )


def take_presses(presses: list[Any], act: Callable[[str, str], None]) -> None:
    """Carries out the presses that were not processed yet; the browser repeats each until it is confirmed."""
    for visit, count, action, row in presses:
        known, last = st.session_state.get(_DONE, ("", 0))
        if visit == known and count <= last:
            continue
        act(action, row)
        st.session_state[_DONE] = visit, count
