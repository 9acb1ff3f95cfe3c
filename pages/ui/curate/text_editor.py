"""The text of a row: an editor, and a comparison with the original."""

import html

import streamlit as st

from delift_core.curation.curate import CuratedSelection, edit_text
from delift_core.data.loading.record_reader import record_texts
from delift_core.errors import DeliftError
from delift_core.samples import Sample
from delift_core.workspace import Workspace
from pages.ui.curate.differences import Piece, differences
from pages.ui.curate.edit_actions import announce
from pages.ui.shell.blocks import plain

_EDITING = "editing_row"
_STYLES = {
    "removed": "background:rgba(222,122,34,0.25);text-decoration:line-through",
    "added": "background:rgba(11,110,117,0.25);text-decoration:underline",
}


def editing(sample_id: str) -> bool:
    """Whether the visitor is editing the text of this row."""
    return bool(st.session_state.get(_EDITING) == sample_id)


def want_editor(sample_id: str | None) -> None:
    """Opens the editor of a row from the next rerun on; None closes it."""
    st.session_state[_EDITING] = sample_id


def text_editor(workspace: Workspace, curated: CuratedSelection, position: int) -> None:
    """A form with a field for each text of the row's record."""
    sample = curated.samples[position]
    st.caption("Only these fields change. Scores still belong to the original text.")
    with st.form("text_editor", border=False):
        keys = {}
        for entry in record_texts(sample):
            keys[entry.path] = f"text_{sample.id}_{entry.path}"
            lines = max(entry.text.count("\n") + 1, len(entry.text) // 70 + 1)
            st.text_area(plain(entry.path), entry.text, key=keys[entry.path], height=min(420, 40 + 26 * lines))
        with st.container(horizontal=True):
            st.form_submit_button(
                "Save text", type="primary", on_click=_save, args=(workspace, curated, position, keys)
            )
            st.form_submit_button("Cancel", on_click=want_editor, args=(None,))
    if message := st.session_state.pop("text_refused", None):
        st.error(plain(message), icon=":material/error:")


def _save(workspace: Workspace, curated: CuratedSelection, position: int, keys: dict[str, str]) -> None:
    """Saves the texts; if they are refused, they stay in the fields, with the reason below."""
    texts = {path: st.session_state[key] for path, key in keys.items()}
    try:
        changed = edit_text(workspace, curated, position, texts, author=workspace.actor.name)
    except DeliftError as error:
        st.session_state["text_refused"] = str(error)  # shown by the next run, below the fields
        return
    want_editor(None)
    announce("Text changed" if changed else "No change", ":material/edit:")


def changed_view(scored: Sample, now: Sample) -> None:
    """The edited texts beside the originals; nothing if none was edited."""
    if scored.raw == now.raw:
        return
    before = {entry.path: entry.text for entry in record_texts(scored)}
    st.markdown("**Changed text**")
    for entry in record_texts(now):
        if entry.text == before.get(entry.path):
            continue
        pieces = differences(before.get(entry.path, ""), entry.text)
        with st.grid(2, min_column_width=240):
            for title, left_out in (("Original", "added"), ("Edited", "removed")):
                with st.container(border=True):
                    st.caption(plain(f"{title} · {entry.path}"))
                    st.html(_marked([piece for piece in pieces if piece.kind != left_out]))


def _marked(pieces: list[Piece]) -> str:
    """Escaped text in which changes are marked by colour and by a line."""
    spans = [
        f'<span style="{_STYLES[piece.kind]}">{html.escape(piece.text)}</span>'
        if piece.kind in _STYLES
        else html.escape(piece.text)
        for piece in pieces
    ]
    return f'<div style="white-space:pre-wrap;overflow-wrap:anywhere" dir="auto">{"".join(spans)}</div>'
