"""One sample in full: its turns as plain text, and the record it came from."""

import streamlit as st

from delift_core.samples import Sample
from pages.ui.blocks import plain

ROLE_ICONS = {
    "system": ":material/settings:",
    "user": ":material/person:",
    "assistant": ":material/smart_toy:",
    "tool": ":material/build:",
}


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
            st.text(message.content)
    with st.expander("Record as found", type="compact"):
        st.code(sample.raw, language="json", wrap_lines=True)
