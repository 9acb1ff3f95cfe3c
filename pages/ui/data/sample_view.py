"""One sample in full: its turns as plain text, and the record it came from."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
import pandas as pd
import streamlit as st

from delift_core.samples import Sample
from pages.ui.shell.blocks import plain, shorten
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
        sizes: numbers to show with them, (m,) each, by the name of their column.
    """
    event = st.dataframe(
        _rows_of(samples, sizes),
        hide_index=True,
        on_select="rerun",
        selection_mode="single-row",
        key=key,
        alt=f"{alt}; select one to read it in full",
    )
    picked = event["selection"]["rows"]
    if picked and picked[0] < len(samples):
        sample_drawer(samples[picked[0]])


def ticked_samples(samples: Sequence[Sample], *, key: str, alt: str) -> list[int]:
    """Samples as rows to tick, with a button that opens the one that is ticked; places of the ticked rows."""
    event = st.dataframe(
        _rows_of(samples, {}),
        hide_index=True,
        on_select="rerun",
        selection_mode="multi-row",
        key=key,
        alt=f"{alt}; tick rows to remove only these, or one to read it in full",
    )
    ticked: list[int] = [row for row in event["selection"]["rows"] if row < len(samples)]
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


def turns(sample: Sample) -> None:
    """The conversation and the raw record; texts are shown literally, never as Markdown or HTML."""
    for message in sample.messages:
        st.markdown(f"{ROLE_ICONS[message.role]} **{message.role}**")
        with st.container(border=True):
            st.text(printable(message.content))
    with st.expander("Original record", type="compact"):
        st.code(printable(sample.raw), language=None, wrap_lines=True)
