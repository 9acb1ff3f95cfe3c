"""Tables of samples, and one sample in full: its turns as plain text, and its original record."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
import pandas as pd
import streamlit as st

from delift_core.samples import Message, Sample
from pages.ui.shell.blocks import plain, selected_row, shorten, ticked_rows
from pages.ui.shell.display import printable

ROLE_ICONS = {
    "system": ":material/settings:",
    "user": ":material/person:",
    "assistant": ":material/smart_toy:",
    "tool": ":material/build:",
}


def samples_table(
    samples: Sequence[Sample], *, key: str, alt: str, sizes: Mapping[str, np.ndarray] = MappingProxyType({})
) -> None:
    """Samples as rows; a selected one opens in a drawer.

    Args:
        sizes: more columns, (m,) numbers by name.
    """
    picked = selected_row(_rows_of(samples, sizes), key=key, alt=f"{alt}; select one to read it in full")
    if picked is not None:
        sample_drawer(samples[picked])


def ticked_samples(samples: Sequence[Sample], *, key: str, alt: str) -> list[int]:
    """Samples as rows to tick, with a button that opens a single ticked one; returns the ticked positions."""
    words = f"{alt}; tick rows to remove only these, or one to read it in full"
    ticked = ticked_rows(_rows_of(samples, {}), key=key, alt=words)
    wanted = st.button(
        "Read the ticked row", icon=":material/open_in_full:", key=f"read_{key}", disabled=len(ticked) != 1
    )
    if wanted and len(ticked) == 1:
        sample_drawer(samples[ticked[0]])
    return ticked


def _rows_of(samples: Sequence[Sample], sizes: Mapping[str, np.ndarray]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "Row": [sample.line for sample in samples],
            **sizes,
            "Prompt": [shorten(sample.prompt, 160) for sample in samples],
            "Response": [shorten(sample.response, 160) for sample in samples],
        }
    )


@st.dialog("Row", position="right", width="medium")
def sample_drawer(sample: Sample) -> None:
    """A drawer at the right with one sample; Escape closes it."""
    st.caption(plain(f"{sample.source}, {sample.place} · id {sample.id}"))
    turns(sample)


def tools_of(sample: Sample) -> None:
    """The tools that the record defines, folded."""
    if sample.tools:
        with st.expander("Tools", icon=":material/build:", type="compact"):
            st.code(printable(sample.tools), language="json", wrap_lines=True)


def turn_title(message: Message) -> str:
    """The role of a turn; of a tool turn with its function, of a call with what it is."""
    more = f" · {message.name}" if message.name else " · tool call" if message.calls else ""
    return f"{message.role}{more}"


def turn_texts(message: Message) -> None:
    """Thoughts (folded), text and tool calls of a turn, shown literally."""
    if message.thoughts:
        with st.expander("Thoughts", icon=":material/psychology:", type="compact"):
            st.text(printable(message.thoughts))
    if not message.only_calls:
        st.text(printable(message.content))
    for call in message.calls:
        st.caption(plain(f"Calls {call.name}"))
        st.code(printable(call.arguments), language="json", wrap_lines=True)


def turns(sample: Sample) -> None:
    """The conversation and the original record, shown literally, never as Markdown or HTML."""
    tools_of(sample)
    for message in sample.messages:
        st.markdown(f"{ROLE_ICONS[message.role]} **{plain(turn_title(message))}**")
        with st.container(border=True):
            turn_texts(message)
    with st.expander("Original record", type="compact"):
        st.code(printable(sample.raw), language=None, wrap_lines=True)
