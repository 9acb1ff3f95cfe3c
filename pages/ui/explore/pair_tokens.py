"""The response of the helped row token by token: which tokens the example made more likely, and which less."""

from html import escape

import pandas as pd
import streamlit as st

from delift_core.curation.pair_reading import ResponsePiece
from delift_core.curation.scoring_runs import ScoredRun
from delift_core.samples import Sample
from pages.ui.shell import state

_FAINT = 0.02
_MARKED = 2_000
_RAISED, _LOWERED = "11, 107, 168", "222, 122, 34"  # the theme's blue and orange, distinct for the colour-blind


def tokens_view(run: ScoredRun, helped: Sample, helper: Sample) -> None:
    """A switch, since this loads the model; then the response with marked tokens, and their probabilities."""
    shown = st.toggle(
        "Token by token",
        key="pair_tokens",
        help="Runs the model on this pair again and marks what the example changed. The first time it loads the model.",
    )
    if not shown:
        return
    pair = "tokens", helped.content_hash, helper.content_hash
    pieces = state.remember(run, pair, lambda: state.pair_reader(run).pieces(helped, helper), "Reading the pair…")
    st.html(marked(pieces[:_MARKED]))
    if len(pieces) > _MARKED:
        st.caption(f"The first {_MARKED:,} of {len(pieces):,} tokens are marked; the table below has all of them.")
    st.caption("Blue, underlined: more likely with the example. Orange, dotted: less likely. Hover for numbers.")
    with st.expander("Token probabilities", type="compact"):
        st.dataframe(
            pd.DataFrame(
                {
                    "Token": [piece.text for piece in pieces],
                    "p alone": [piece.alone for piece in pieces],
                    "p with example": [piece.with_example for piece in pieces],
                    "Change": [piece.change for piece in pieces],
                }
            ),
            column_config={
                name: st.column_config.NumberColumn(format="%.3f") for name in ("p alone", "p with example", "Change")
            },
            hide_index=True,
            alt=f"{len(pieces):,} tokens of the response with their probabilities without and with the example",
        )


def marked(pieces: tuple[ResponsePiece, ...]) -> str:
    """The response as HTML; texts from data are escaped and keep their line breaks."""
    spans = "".join(_span(piece) for piece in pieces)
    return f'<div style="white-space: pre-wrap; overflow-wrap: anywhere; line-height: 1.9" dir="auto">{spans}</div>'


def _span(piece: ResponsePiece) -> str:
    text = escape(piece.text)
    title = f"{piece.alone:.3f} alone, {piece.with_example:.3f} with the example"
    if abs(piece.change) < _FAINT:
        return f'<span title="{title}">{text}</span>'
    colour, line = (_RAISED, "solid") if piece.change > 0 else (_LOWERED, "dotted")
    strength = min(1.0, abs(piece.change))
    style = f"background: rgba({colour}, {0.08 + 0.5 * strength:.2f}); border-bottom: 2px {line} rgb({colour})"
    return f'<span title="{title}" style="{style}; border-radius: 3px 3px 0 0">{text}</span>'
