"""The widgets of a selection request: stage, metric, weights, budget."""

from collections.abc import Mapping
from typing import get_args

import streamlit as st

from delift_core.curation.curate import fitting_sets
from delift_core.curation.scoring_runs import ScoredRun
from delift_core.scoring.metrics import METRIC_UNITS, Metric
from delift_core.selection.request import PRESETS, Engine, PresetName, SelectionRequest
from delift_core.selection.types import STAGES, Budget, BudgetUnit, ObjectiveConfig, Scaling, SecondSet, Stage
from delift_core.workspace import RunRecord, Workspace
from pages.ui.score.scoring_form import ADD
from pages.ui.select.method_form import ask_engine, ask_method, method_words
from pages.ui.shell.address import put
from pages.ui.shell.navigation import page_path

METRIC_WORDS: dict[Metric, str] = {
    "euclidean": "Euclidean distance",
    "pmi": "PMI, summed",
    "pmi-per-token": "PMI per token",
}
_TRADES = {
    "eta": "0 ignores the target. The higher, the more coverage of the pool is given up to help with the target.",
    "nu": "0 ignores the existing rows, so rows that repeat them are welcome. 1 counts only help beyond theirs. Above "
    "1, a row must help that many times as much as they do before it counts.",
}
DEFAULT_PERCENT = 30
_UNIT = "budget_unit_before"


def ask_request(workspace: Workspace, scored: ScoredRun) -> SelectionRequest:
    """The stage, its weight, under popovers the metric and the engine, and between them the method; then the budget."""
    run = scored.record
    sets: dict[SecondSet, str | None] = {"target": run.spec.target_id, "existing": run.spec.existing_id}
    lacking = {stage: entry.needs for stage, entry in STAGES.items() if entry.needs and not sets[entry.needs]}
    with st.container(horizontal=True, vertical_alignment="bottom"):
        stage = st.segmented_control(
            "Goal",
            [stage for stage in STAGES if stage not in lacking],
            default="instruction",
            required=True,
            format_func=lambda stage: STAGES[stage].title,
            key="stage",
            bind="query-params",
        )
        config, metric = _ask_weights(stage or "instruction")
        method, seed = ask_method()
        engine: Engine = ask_engine() if method == "delift" else "auto"
    _stages(workspace, run, config.stage, lacking)
    method_words(method)
    budget = _ask_budget(len(scored.pool), int(scored.token_counts().sum()))
    return SelectionRequest(config, budget, metric, method=method, engine=engine, seed=seed)


def _stages(workspace: Workspace, run: RunRecord, chosen: Stage, lacking: Mapping[Stage, SecondSet]) -> None:
    """What each stage optimises and needs; for one that cannot be chosen, which set is missing and where to get it."""
    with st.grid(3, min_column_width=230):
        for stage, entry in STAGES.items():
            with st.container():  # without a border: it is nothing to click
                with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
                    st.markdown(f"**{entry.title}**", width="content")
                    if stage == chosen:
                        st.badge("chosen", icon=":material/check:", color="green")
                    elif stage in lacking:
                        st.badge("not available", icon=":material/block:", color="gray")
                needs = f"Needs {entry.needs} rows, scored with the pool." if entry.needs else "Needs only the pool."
                st.caption(f"{entry.summary} {needs}")
                if stage in lacking:
                    _way_to(workspace, run, lacking[stage])


def _way_to(workspace: Workspace, run: RunRecord, role: SecondSet) -> None:
    """Where to get the set that a stage lacks: on Score, where the workspace has one that fits, else on Data."""
    st.caption(f"This run has no {role} rows.")
    if fitting_sets(workspace, role, workspace.datasets.record(run.spec.pool_id)):
        label, page, query = f"Add the {role} set on Score", "score", {ADD: role}
    else:
        label, page, query = f"Load {'an' if role == 'existing' else 'a'} {role} set", "data", {}
    st.page_link(page_path(page), label=label, icon=":material/arrow_forward:", query_params=query)


def _ask_weights(stage: Stage) -> tuple[ObjectiveConfig, Metric]:
    with st.popover("Metric", icon=":material/tune:"):
        preset: PresetName | None = st.segmented_control(
            "Settings",
            list(PRESETS),
            default="default",
            required=True,
            format_func=lambda name: PRESETS[name].title,
            key="preset",
            bind="query-params",
        )
        if preset == "published":
            own, metric, scaling = _published()
        else:
            own, metric, scaling = *_ask_metric(), PRESETS["default"].scaling
    needs = STAGES[stage].needs
    eta = _ask_weight("Weight of the target (η)", 5.0, "eta") if needs == "target" else 1.0
    nu = _ask_weight("Weight of the existing rows (ν)", 2.0, "nu") if needs == "existing" else 1.0
    return ObjectiveConfig(stage, eta, nu, own, scaling, PRESETS[preset or "default"].target_help), metric


def _published() -> tuple[float, Metric, Scaling]:
    preset = PRESETS["published"]
    st.caption(preset.words)
    return preset.self_coverage, preset.metric, preset.scaling


def _ask_metric() -> tuple[float, Metric]:
    metric: Metric | None = st.selectbox(
        "Metric",
        list(get_args(Metric)),
        format_func=lambda metric: METRIC_WORDS[metric],
        key="metric",
        bind="query-params",
        help="How help is measured: as a distance from 0 to 1 per token, or as log-likelihood in nats.",
    )
    own = st.slider(
        "Self-coverage",
        0.0,
        1.0,
        0.0,
        0.1,
        key="self_coverage",
        bind="query-params",
        help="0: a chosen row does not count as covering itself. 1: it does, as much as it helps itself.",
    )
    st.caption(f"Unit of the utilities: {METRIC_UNITS[metric or 'euclidean']}.")
    return own, metric or "euclidean"


def _ask_weight(label: str, most: float, key: str) -> float:
    """A weight of the stage; what it trades stands below the numbers of the selection."""
    return st.slider(
        label, 0.0, most, 1.0, 0.1, key=key, bind="query-params", persist_state="session", help=_TRADES[key]
    )


def _convert_budget(rows: int, tokens: int) -> None:
    """Another unit keeps the share that was asked for."""
    whole, unit, before = {"rows": rows, "percent": 100, "tokens": tokens}, st.session_state["budget_unit"], _UNIT
    old = st.session_state.get(before)
    amount = st.session_state.get(f"budget_{old}")
    if amount is None or old == unit:
        return
    converted = max(1, round(amount / whole[old] * whole[unit]))
    put(f"budget_{unit}", str(converted))  # the slider of this unit is not there yet: it takes what the address says
    st.session_state[f"budget_{unit}"] = converted


def _ask_budget(rows: int, tokens: int) -> Budget:
    """Unit and amount; a change answers at once, since every budget is a cut of one stored order."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        unit: BudgetUnit | None = st.segmented_control(
            "Unit",
            list(get_args(BudgetUnit)),
            default="percent",
            required=True,
            key="budget_unit",
            bind="query-params",
            on_change=_convert_budget,
            args=(rows, tokens),
        )
        st.session_state[_UNIT] = unit
        if unit == "rows":
            most, start = rows, max(1, rows * DEFAULT_PERCENT // 100)
        elif unit == "tokens":
            most, start = tokens, max(1, tokens * DEFAULT_PERCENT // 100)
        else:
            most, start = 100, DEFAULT_PERCENT
        amount = st.slider("How much to keep", 1, max(2, most), start, key=f"budget_{unit}", bind="query-params")
    return Budget(unit or "percent", min(float(amount), float(most)))
