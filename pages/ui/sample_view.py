"""One sample in full: its turns as plain text, and the record it came from."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import streamlit as st

from delift_core.display import inert
from delift_core.samples import Sample
from pages.ui.blocks import plain, shorten

ROLE_ICONS = {
    "system": ":material/settings:",
    "user": ":material/person:",
    "assistant": ":material/smart_toy:",
    "tool": ":material/build:",
}


def samples_table(samples: Sequence[Sample], *, key: str, alt: str, tokens: np.ndarray | None = None) -> None:
    """Samples as rows; a selected one opens in a drawer.

    Args:
        tokens: (m, 2) of prompt and response; None shows none.
    """
    counted = {} if tokens is None else {"Prompt tokens": tokens[:, 0], "Response tokens": tokens[:, 1]}
    event = st.dataframe(
        pd.DataFrame(
            {
                "Line": [sample.line for sample in samples],
                **counted,
                "Prompt": [shorten(sample.prompt, 160) for sample in samples],
                "Response": [shorten(sample.response, 160) for sample in samples],
            }
        ),
        hide_index=True,
        on_select="rerun",
        selection_mode="single-row",
        key=key,
        alt=f"{alt}; select one to read it in full",
    )
    picked = event["selection"]["rows"]
    if picked and picked[0] < len(samples):
        sample_drawer(samples[picked[0]])


@st.dialog("Row", position="right", width="medium")
def sample_drawer(sample: Sample) -> None:
    """A drawer at the right with one sample; Escape closes it."""
    st.caption(plain(f"{sample.source}, line {sample.line} · id {sample.id}"))
    turns(sample)


def turns(sample: Sample) -> None:
    """The conversation and the raw record; texts are shown literally, never as Markdown or HTML."""
    for message in sample.messages:
        st.markdown(f"{ROLE_ICONS[message.role]} **{message.role}**")
        with st.container(border=True):
            st.text(inert(message.content))
    with st.expander("Record as found", type="compact"):
        st.code(inert(sample.raw), language=None, wrap_lines=True)
