"""The overlap of two selections, and the facts of each."""

import streamlit as st

from delift_core.curation.curate import CuratedSelection
from delift_core.scoring.metrics import METRIC_UNITS
from delift_core.selection.coverage import Comparison
from delift_core.selection.methods import method_title
from delift_core.selection.request import format_budget
from delift_core.selection.types import STAGES


def numbers(found: Comparison) -> None:
    """The overlap of the two."""
    chip = {"delta_color": "off", "delta_arrow": "off"}
    with st.grid(4, min_column_width=150):
        st.metric(
            "Overlap",
            f"{found.overlap:.0%}",
            f"{found.expected_overlap:.0%} expected by chance",
            border=True,
            **chip,
            help="Rows in both, as a share of the rows in either. Below it, what two random subsets would share.",
        )
        st.metric("In both", f"{len(found.both):,}", "rows", border=True, **chip)
        st.metric("Only in A", f"{len(found.only_first):,}", "rows", border=True, **chip)
        st.metric("Only in B", f"{len(found.only_second):,}", "rows", border=True, **chip)


def facts(curated: CuratedSelection, other: CuratedSelection) -> dict[str, str]:
    """One column of the table: the settings of a selection, and its value under its own objective and the other's."""
    record, config = curated.record, curated.problem.config
    tokens = curated.problem.run.token_counts()
    weights = {"target": f", η = {config.eta:g}, target as {config.target_help}", "existing": f", ν = {config.nu:g}"}
    weight = weights.get(config.needed_set or "", "")
    own, theirs = (part.problem.coverage(curated.subset.positions) for part in (curated, other))
    return {
        "Method": method_title(record.selection.method),
        "Goal": f"{STAGES[config.stage].title}{weight}, self-coverage {config.self_coverage:g}, {config.scaling}",
        "Metric": f"{record.metric} ({METRIC_UNITS[curated.problem.metric]})",
        "Budget": format_budget(record.selection.budget),
        "Rows": f"{len(curated.subset.positions):,}",
        "Tokens": f"{int(tokens[curated.subset.positions].sum()):,}",
        "By hand": f"{len(curated.subset.pinned):,} kept, {len(curated.subset.banned):,} dropped",
        "Coverage (its own goal)": f"{own:.4g}",
        "Coverage (the other's goal)": f"{theirs:.4g}",
        "Guarantee": f"at least {record.selection.certificate.ratio:.0%} of the best possible",
        "Coverage of random rows": f"{record.selection.random.mean:.4g} ± {record.selection.random.std:.2g}",
        "Created": f"{record.created_at:%Y-%m-%d %H:%M} UTC",
    }
