"""How trainers would read an exported file: the check table, rows at risk, recipes; and earlier exports."""

from pathlib import Path

import pandas as pd
import streamlit as st

from delift_core.curation.manifest import read_manifest
from delift_core.errors import ExportError
from delift_core.export.card import trainer_kit
from delift_core.export.preflight import ExportDraft
from delift_core.export.trainers import DEFAULT_LIMIT, TrainerCheck
from delift_core.export.writers import manifest_path
from delift_core.samples import Sample
from delift_core.workspace import ExportRecord
from pages.ui.shell.blocks import plain, with_separators
from pages.ui.shell.display import short_path

LIMIT_KEY = "export_max_tokens"
SHOWN_RISKS = 500


def trainers_view(draft: ExportDraft) -> None:
    """How many rows each trainer would keep, and which are at risk."""
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="bottom"):
        st.header("Trainer compatibility", width="content")
        st.number_input(
            "Max length (tokens)",
            min_value=64,
            max_value=1_000_000,
            value=DEFAULT_LIMIT,
            step=256,
            key=LIMIT_KEY,
            width=180,
            help="Your trainer's max_length, cutoff_len or sequence_len.",
        )
    try:
        table = draft.trainer_checks(_limit())
    except ExportError as error:
        st.warning(plain(str(error)), icon=":material/warning:")
        return
    st.dataframe(
        with_separators(
            pd.DataFrame(
                {
                    "Trainer": [check.trainer for check in table],
                    "Kept": [f"{check.kept:,} of {check.rows:,}" for check in table],
                    "At risk": [len(check.risks) for check in table],
                    "Notes": [check.note for check in table],
                }
            ),
            "At risk",
        ),
        hide_index=True,
        alt="For each trainer, how many rows of the file it would keep and how many are at risk",
    )
    st.caption("Computed from the trainers' own rules, without running them.")
    _risks(table, draft.samples)


def recipes_view(draft: ExportDraft, out: Path) -> None:
    """Recipes for each trainer and the data set card of the written file, to copy or to download."""
    path = manifest_path(out)
    if not (out.exists() and path.exists()):
        return
    kit = trainer_kit(draft, read_manifest(path), _limit())
    st.header("How to train with it")
    names = [*(recipe.trainer for recipe in kit.recipes), "Data set card"]
    files = [*((recipe.file, recipe.text) for recipe in kit.recipes), (f"{out.stem}.card.md", kit.card)]
    for tab, (file, text) in zip(st.tabs(names), files, strict=True):
        with tab:
            st.code(text, language=None, wrap_lines=True)
            st.download_button(
                f"Download {plain(file)}", data=text, file_name=file, icon=":material/download:", on_click="ignore"
            )


def earlier_view(exports: tuple[ExportRecord, ...]) -> None:
    """Earlier exports of this selection."""
    with st.expander(f"Earlier exports ({len(exports):,})", icon=":material/history:", type="compact"):
        table = pd.DataFrame(
            {
                "File": [short_path(export.path) for export in exports],
                "Rows": [export.n_records for export in exports],
                "Format": [export.format for export in exports],
                "SHA-256": [export.sha256 for export in exports],
                "When": [export.created_at for export in exports],
            }
        )
        st.dataframe(with_separators(table, "Rows"), hide_index=True, alt="Files exported from this selection")


def _risks(table: tuple[TrainerCheck, ...], samples: tuple[Sample, ...]) -> None:
    risks = [risk for check in table for risk in check.risks]
    if not risks:
        return
    with st.expander(f"Rows at risk ({len(risks):,})", icon=":material/warning:", type="compact"):
        shown = risks[:SHOWN_RISKS]
        st.dataframe(
            pd.DataFrame(
                {
                    "Row": [samples[risk.row].line for risk in shown],
                    "Trainer": [risk.trainer for risk in shown],
                    "What happens": [risk.effect for risk in shown],
                    "Why": [risk.reason for risk in shown],
                }
            ),
            hide_index=True,
            alt="Rows that a trainer would leave out, cut or refuse, with the reason",
        )


def _limit() -> int:
    return int(st.session_state.get(LIMIT_KEY, DEFAULT_LIMIT))
