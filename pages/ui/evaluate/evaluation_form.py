"""The form of an evaluation: held-out rows, what to compare with, how to fine-tune."""

import streamlit as st

from delift_core.curation.curate import fitting_sets
from delift_core.evaluation.evaluation_request import BASELINES, FineTuning, Weights
from delift_core.evaluation.subset_evaluation import EvaluationSettings
from delift_core.selection.methods import METHODS
from delift_core.workspace import DatasetRecord, SelectionSummary, Workspace

ARM_WORDS: dict[str, str] = {
    "untouched": "Untouched model",
    "subset": "The subset",
    "random": "Random rows, same number",
    "random-tokens": "Random rows, same tokens",
    "full": "All rows",
} | {name: entry.title for name, entry in METHODS.items() if name != "random"}
_TUNING_WORDS: dict[Weights, str] = {"auto": "Automatic", "full": "All weights", "lora": "LoRA"}


def arm_title(name: str) -> str:
    """The name of an arm on the page."""
    return ARM_WORDS.get(name, name)


def ask_settings(workspace: Workspace, selection: SelectionSummary, pool: DatasetRecord) -> EvaluationSettings | None:
    """The form; None while no held-out rows are chosen. Those of the sample project are never the default for another
    pool."""
    heldout = {record.id: record for record in workspace.datasets.records("heldout")}
    fitting = fitting_sets(workspace, "heldout", pool)
    heldout_id = st.selectbox(
        "Held-out rows",
        list(heldout),
        index=list(heldout).index(fitting[0].id) if fitting else None,
        placeholder="Choose rows to test with",
        format_func=lambda i: f"{heldout[i].name} · {heldout[i].n_samples:,} rows",
        key=f"evaluate_heldout_{pool.id}",
        help="Test rows, like those the model will meet. Any that are also in the pool are skipped.",
    )
    against = st.multiselect(
        "Compare with",
        list(BASELINES),
        default=["random", "full"],
        format_func=arm_title,
        key="evaluate_against",
        wrap=True,
        bind="query-params",
        help="Each gets as many rows as the subset and the same recipe. The untouched model is always measured.",
    )
    for name in against:
        if name in METHODS and name != "random":
            st.caption(f"{METHODS[name].title}: {METHODS[name].summary} ({METHODS[name].source})")
    others = {s.id: s for s in workspace.selections.records(selection.run_id) if s.id != selection.id}
    chosen: list[str] = []
    if others:
        chosen = st.multiselect(
            "Other selections of this run",
            list(others),
            format_func=lambda i: f"{others[i].name} · {i}",
            key="evaluate_others",
            wrap=True,
        )
    seeds = st.slider(
        "Seeds",
        1,
        10,
        3,
        key="evaluate_seeds",
        bind="query-params",
        help="Repeats with different random seeds, for the subset and for random rows.",
    )
    tuning, examples, answers, save = _ask_recipe()
    if heldout_id is None:
        return None
    return EvaluationSettings(str(heldout_id), tuple(against), tuple(chosen), seeds, examples, answers, tuning, save)


def _ask_recipe() -> tuple[FineTuning, int, int, bool]:
    with st.popover("Recipe", icon=":material/tune:"):
        weights: Weights | None = st.segmented_control(
            "Train",
            list(_TUNING_WORDS),
            default="auto",
            required=True,
            format_func=lambda name: _TUNING_WORDS[name],
            key="evaluate_weights",
            help="Automatic: all weights of models below half a billion parameters, LoRA layers above.",
        )
        epochs = st.slider("Epochs", 1, 10, 3, key="evaluate_epochs")
        rate = st.number_input(
            "Learning rate",
            1e-7,
            1e-1,
            5e-5,
            step=1e-5,
            format="%.1e",
            key="evaluate_rate",
            help="Falls to 0 during training.",
        )
        examples = st.slider(
            "Examples in context",
            0,
            10,
            0,
            key="evaluate_examples",
            help="Above 0: also measured without training, with this many nearest rows as examples.",
        )
        answers = st.slider(
            "Answers to generate",
            0,
            50,
            0,
            key="evaluate_answers",
            help="Above 0: each arm answers this many held-out rows, scored by ROUGE, BLEU, embedding and exact match.",
        )
        save = st.checkbox("Save the adapter", key="evaluate_save", disabled=weights == "full")
    tuning = FineTuning(epochs=epochs, learning_rate=rate, weights=weights or "auto")
    return tuning, examples, answers, bool(save)
