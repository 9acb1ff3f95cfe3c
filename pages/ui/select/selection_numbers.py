"""What a selection comes to, in numbers and a curve: all read from stored orders, so that a budget answers at once."""

import numpy as np
import streamlit as st

from delift_core.curation.selector import SelectionProblem
from delift_core.scoring.metrics import METRIC_UNITS
from delift_core.selection.coverage import knee
from delift_core.selection.explain_text import count_helpable_rows, coverage_shares
from delift_core.selection.methods import method_title
from delift_core.selection.types import Selection
from pages.figures.curves import alt_gain_curve, gain_curve
from pages.ui.shell.address import put
from pages.ui.shell.blocks import chart, plain


def numbers(problem: SelectionProblem, selection: Selection) -> None:
    """Four numbers: how much is kept, what it covers, what luck would cover, what it costs to train on."""
    n, k = len(problem.run.pool), len(selection.chosen)
    whole = float(selection.greedy.gains.sum())
    value, random = selection.certificate.value, selection.random
    tokens = problem.run.token_counts()
    spent = int(tokens[selection.chosen].sum())
    share = f"{value / whole:.0%}" if whole > 0 else "–"
    luck = f"{random.mean / whole:.0%} ± {100 * random.std / whole:.0f}" if whole > 0 else "–"
    chip = {"delta_color": "off", "delta_arrow": "off"}
    with st.grid(4, min_column_width=150):
        st.metric("Chosen", f"{k:,}", f"{k / n:.0%} of {n:,} rows", border=True, **chip)
        covers = "How much of the help that all rows of the pool give together comes from the chosen rows."
        drawn = "What as many rows chosen at random cover: mean and standard deviation of 20 draws."
        st.metric("Covers", share, f"{value:,.3g} of {whole:,.3g}", border=True, **chip, help=covers)
        st.metric("Random rows", luck, f"{random.mean:,.3g} ± {random.std:.2g}", border=True, **chip, help=drawn)
        st.metric("Tokens", f"{spent:,}", f"{spent / int(tokens.sum()):.0%} of the pool", border=True, **chip)
    if problem.partial is not None:
        st.caption(
            ":material/percent: Both shares count only scored pairs. Pairs that were likely to help were scored first, "
            "so chosen rows have more of them than random rows: with every pair scored, the two would be closer."
        )
    st.caption(_certificate(problem, selection))
    if trade := _trade(problem, selection):
        st.caption(trade)


def _certificate(problem: SelectionProblem, selection: Selection) -> str:
    ratio = selection.certificate.ratio
    if selection.certificate.value <= 0:
        return "Nothing is covered, so nothing can be guaranteed."
    scored = "" if problem.partial is None else " by the scored pairs"
    which = "within the quotas" if selection.quotas is not None else "of this size"
    excess = np.ceil(1000 * (1 / ratio - 1)) / 1000  # rounded up, so that the guarantee holds
    more = f"more than {excess:.1%} more" if excess > 0 else "more"
    return f"Guaranteed{scored}: no other selection {which} covers {more}."


def _trade(problem: SelectionProblem, selection: Selection) -> str:
    """What the weight of the stage trades here."""
    config, n = problem.config, len(problem.run.pool)
    if config.needed_set == "target":
        key = ("coverage shares", selection.chosen.tobytes())
        pool, target = problem.remember(key, lambda: coverage_shares(problem.kernel, selection))
        return (
            f"With η = {config.eta:g}, the chosen rows give the pool {pool:.0%} and the target {target:.0%} of the "
            "help that all rows give. A higher η shifts help from the pool to the target."
        )
    if config.needed_set == "existing":
        left = problem.remember("helpable rows", lambda: count_helpable_rows(problem.kernel))
        return (
            f"With ν = {config.nu:g}, {left:,} of {n:,} pool rows can be helped beyond what the existing rows do for "
            "them. A higher ν leaves fewer; a lower one lets in rows that repeat what the model knows."
        )
    return ""


def curve(problem: SelectionProblem, selection: Selection) -> None:
    """Coverage against rows kept, with the budget, the knee and the band of random rows."""
    gains, k, random = selection.greedy.gains, len(selection.chosen), selection.random
    unit = "" if problem.metric == "euclidean" else METRIC_UNITS[problem.metric]
    free = selection.quotas is None
    bend = knee(gains) if free and selection.method == "delift" else 0
    curves, by = problem.random if free else None, method_title(selection.method)
    beside = None if selection.method == "delift" else problem.greedy.gains
    chart(
        gain_curve(gains, k, random, curves=curves, bend=bend, unit=unit, by=by, beside=beside),
        key="gain_curve",
        alt=alt_gain_curve(gains, k, random, bend, by),
    )
    if not free:
        st.caption("Up to the budget, the curve follows the quotas; beyond it, it ignores them.")
    elif 0 < bend < len(gains):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.caption(
                f"Knee: each of the first {bend:,} rows ({bend / len(gains):.0%}) adds more than the average row; "
                "later rows add less.",
                width="content",
            )
            st.button("Set the budget to the knee", key="to_knee", on_click=_to_rows, args=(bend,), disabled=k == bend)


def _to_rows(rows: int) -> None:
    if st.session_state["budget_unit"] != "rows":  # the slider of rows is not there yet: it takes what the address says
        put("budget_rows", str(rows))
    st.session_state["budget_unit"], st.session_state["budget_rows"] = "rows", rows


def warnings(problem: SelectionProblem, selection: Selection) -> None:
    """What a curator must know before trusting the numbers."""
    for caution in problem.cautions:
        st.warning(plain(caution), icon=":material/warning:")
    with st.spinner("Checking what the unscored pairs could change…"):
        bar = problem.error_bar(selection.chosen)
    if bar is not None:
        if bar.enough:
            st.caption(plain(bar.sentence))
        else:
            st.warning(plain(bar.sentence), icon=":material/percent:")
    useful = int(np.count_nonzero(selection.chosen_gains > 0))
    if useful < len(selection.chosen):
        filling = len(selection.chosen) - useful
        words = "they only fill the budget. Choose a smaller budget, or set some self-coverage under Metric."
        if selection.method != "delift":
            words = "rows chosen before them already help with the same."
        st.warning(f"{filling:,} of the chosen rows add nothing: {words}", icon=":material/hourglass_bottom:")
