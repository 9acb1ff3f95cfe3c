"""Export: write the subset for a trainer, with a manifest that records how it was made."""

from pathlib import Path
from typing import get_args

import streamlit as st

from delift_core.curation.curate import CuratedSelection
from delift_core.export.containers import Container, container_of
from delift_core.export.preflight import ExportDraft
from delift_core.export.subset_files import export_draft
from delift_core.export.writers import manifest_path
from delift_core.samples import ExportFormat
from delift_core.system.files import safe_stem
from delift_core.system.texts import byte_size
from delift_core.workspace import ExportRecord
from pages.ui.export.publish_view import publish_view
from pages.ui.export.trainer_view import earlier_view, recipes_view, trainers_view
from pages.ui.select.method_form import method_line
from pages.ui.shell.blocks import choice, clear_errors, empty_state, plain, title
from pages.ui.shell.display import short_path
from pages.ui.shell.setup import page_setup
from pages.ui.shell.state import curated

FORMAT_WORDS: dict[ExportFormat, str] = {
    "same": "Original format",
    "alpaca": "Alpaca",
    "sharegpt": "ShareGPT",
    "messages": "Messages",
    "prompt-completion": "Prompt and completion",
}
FILE_TYPES: dict[Container, str] = {"jsonl": "JSONL", "parquet": "Parquet", "csv": "CSV"}
MIME_TYPES: dict[Container, str] = {
    "jsonl": "application/jsonl",
    "parquet": "application/vnd.apache.parquet",
    "csv": "text/csv",
}
TRAINER_HINTS: dict[ExportFormat, str] = {
    "same": "Records unchanged, byte for byte; only NaN and Infinity become null.",
    "alpaca": "For Axolotl (`type: alpaca`) and LLaMA-Factory (its default columns).",
    "sharegpt": "For LLaMA-Factory (`formatting: sharegpt`) and Axolotl (`chat_template` with mapped keys).",
    "messages": "For TRL and Axolotl (`chat_template`); TRL trains on every turn unless `assistant_only_loss` is set.",
    "prompt-completion": "For TRL, which then trains only on the completion.",
}


def draft_of(selection: CuratedSelection, format: ExportFormat) -> ExportDraft:
    """What the export would write; its rows are rendered once for each state of the edits."""
    record, finished_at = selection.record, str(selection.problem.run.record.finished_at)
    return _draft(record.id, record.name, finished_at, selection.version, format, selection)


@st.cache_resource(max_entries=3, show_spinner=False)
def _draft(
    selection_id: str,
    name: str,
    finished_at: str,
    version: tuple[int, int],
    format: ExportFormat,
    _selection: CuratedSelection,
) -> ExportDraft:
    return ExportDraft(_selection, format)


def checks_list(draft: ExportDraft, container: Container) -> None:
    """What was checked, a line each, green or orange."""
    for check in draft.checks(container):
        icon, colour = (":material/check_circle:", "green") if check.ok else (":material/warning:", "orange")
        st.markdown(f":{colour}[{icon}] **{plain(check.label)}** · {plain(check.detail)}")


def downloads(export: ExportRecord) -> None:
    """The written file and its manifest."""
    out = Path(export.path)
    manifest = manifest_path(out)
    if not (out.exists() and manifest.exists()):
        st.caption(plain(f"{short_path(out)} is no longer there; export it again."))
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        st.download_button(
            f"Download {plain(out.name)} ({byte_size(out.stat().st_size)})",
            data=lambda: out.open("rb"),
            file_name=out.name,
            mime=MIME_TYPES[container_of(out)],
            icon=":material/download:",
            type="primary",
            on_click="ignore",
        )
        st.download_button(
            "Manifest",
            data=lambda: manifest.open("rb"),
            file_name=manifest.name,
            mime="application/json",
            icon=":material/receipt_long:",
            on_click="ignore",
        )
    st.caption(plain(f"Saved on this machine: {short_path(out)}"))


current = page_setup("export")
title("Export", ":material/download:")
if current.selection is None:
    empty_state(":material/filter_alt:", "No selection to export yet.", "select", "Make a selection")
assert current.selection is not None
with clear_errors():
    selection = curated(current.selection)
    left, right = st.columns([1, 1], gap="large")
    with left:
        format: ExportFormat = st.selectbox(
            "Format",
            list(get_args(ExportFormat)),
            format_func=lambda name: FORMAT_WORDS[name],
            key="export_format",
            bind="query-params",
        )
        st.caption(TRAINER_HINTS[format])
        draft = draft_of(selection, format)
        with st.container(horizontal=True, vertical_alignment="bottom"):
            name = st.text_input("File name", value=safe_stem(current.selection.name), key="export_name")
            kind = choice("File type", FILE_TYPES, key="file_type", hidden=False)
        quote = kind == "csv" and st.toggle(
            "Make spreadsheet formulas harmless",
            help="Puts an apostrophe before cells that start like a formula; trainers will see it too.",
        )
        out = current.workspace.exports_folder / f"{safe_stem(Path(name).stem)}.{kind}"
        written = current.workspace.exports.records(current.selection.id)
        latest = next((export for export in written if export.path == str(out.resolve())), None)
        weight = "secondary" if latest else "primary"
        if st.button(
            "Export",
            type=weight,
            icon=":material/save:",
            disabled=not current.workspace.actor.may("export"),
            help="Export again after later edits.",
        ):
            export_draft(current.workspace, draft, out, formulas="quote" if quote else "keep")
            st.toast(plain(f"{out.name} exported"), icon=":material/check_circle:")
            st.rerun()
        if latest:
            downloads(latest)
            if Path(latest.path).exists():
                publish_view(Path(latest.path), current.workspace.actor)
        st.header("Checks")
        method_line(selection.record.selection.method)
        checks_list(draft, kind)
    with right:
        st.header("First rows")
        for line in draft.preview():
            st.code(line, language=None, wrap_lines=True)
        if written:
            earlier_view(written)
    trainers_view(draft)
    if latest and latest.format == format:
        recipes_view(draft, Path(latest.path))
