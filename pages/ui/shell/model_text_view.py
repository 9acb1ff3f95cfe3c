"""What the model reads of a row: its rendered text in labelled parts, and what there is to know of it."""

import streamlit as st

from delift_core.curation.model_text import PART_TITLES, ModelReader
from delift_core.models.prompts import TemplateChoice
from delift_core.samples import Sample
from delift_core.workspace import RunSpec
from pages.ui.shell.blocks import clear_errors, plain
from pages.ui.shell.display import printable

_HELP = "The text as the model gets it, in its own chat template. Only the tokens of the scored response count."


def ask_model_text(key: str) -> bool:
    """The switch that shows what the model reads."""
    return st.toggle("What the model reads", key=key, help=_HELP)


def model_text_view(spec: RunSpec, row: Sample, example: Sample | None) -> None:
    """What the model of a run reads of a row, after an example if there is one."""
    with clear_errors():
        text = _reader(spec.model, spec.template, spec.template_arguments).read(row, example)
        names = {"chat": "the model's chat template", "plain": "plain text", "paper": "the published prompts"}
        st.caption(f"Template: {names[text.template]}")
        for part in text.parts:
            st.markdown(f"**{PART_TITLES[part.kind]}** · {part.tokens:,} tokens")
            st.code(printable(part.text), language=None, wrap_lines=True)
        if text.truncated:
            st.warning(f"{text.truncated:,} tokens were cut from the left to fit the context.", icon=":material/cut:")
        for note in text.notes:
            st.warning(plain(f"{note[0].upper()}{note[1:]}."), icon=":material/text_fields:")
        if text.trainer:
            st.caption(plain(text.trainer))


@st.cache_resource(max_entries=4, show_spinner="Loading the tokenizer")
def _reader(model: str, template: TemplateChoice, arguments: str) -> ModelReader:
    return ModelReader(model, template, arguments)
