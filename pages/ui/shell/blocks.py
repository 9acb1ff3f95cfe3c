"""Building blocks of pages: escaped text, numbers for people, empty states, error lines."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import streamlit as st

from delift_core.errors import DeliftError
from delift_core.jobs.progress import JobProgress
from delift_core.workspace import DatasetRole
from pages.ui.shell.display import printable
from pages.ui.shell.navigation import page_path

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go
    from pandas.io.formats.style import Styler

ROLE_WORDS: dict[DatasetRole, str] = {"pool": "Pool", "target": "Target", "existing": "Existing", "heldout": "Held-out"}

_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+\-.!|<>~:$&])")
# Markdown makes links of bare addresses once it has undone the escapes; a word joiner, which shows nothing, parts them.
_ADDRESS = re.compile(r"(?<=:)(?=//)|(?<=www)(?=\.)|(?=@)", re.IGNORECASE)
_JOINER = "\u2060"


def plain(text: str) -> str:
    """Text from data or files, made safe for places that read Markdown (labels, messages, toasts)."""
    flat = " ".join(printable(text).split())
    return _MARKDOWN.sub(r"\\\1", _ADDRESS.sub(_JOINER, flat))


def shorten(text: str, length: int = 60) -> str:
    """The start of a text on one line."""
    flat = " ".join(printable(text).split())
    return flat if len(flat) <= length else flat[: length - 1] + "…"


def with_separators(frame: "pd.DataFrame", *counts: str) -> "Styler":
    """A table whose columns of counts read as numbers do in texts: 12,345."""
    return frame.style.format(dict.fromkeys(counts, "{:,}"), na_rep="")


def clock_time(seconds: float) -> str:
    """A moment (seconds since the epoch) as the visitor's clock and calendar say it."""
    zone = st.context.timezone
    moment = datetime.fromtimestamp(seconds, ZoneInfo(zone) if zone else None)
    today = datetime.now(moment.tzinfo).date() == moment.date()
    return f"{moment:%H:%M}" if today else f"{moment.day} {moment:%b, %H:%M}"


def state_words(progress: JobProgress) -> str:
    """What a job is doing, for people."""
    return plain(progress.words[:1].upper() + progress.words[1:])


def page_line(first: int, shown: int, total: int) -> None:
    """Which rows of a paged table are shown; for the line above it.

    The table shows its toolbar over what stands above: this line has nothing to press.
    """
    where = f"Rows {first:,} to {first + shown - 1:,} of {total:,}." if shown < total else f"All {total:,} rows."
    paged = " Column headers and the table's own search cover only this page." if shown < total else ""
    st.caption(where + paged)


@contextmanager
def clear_errors() -> Iterator[None]:
    """Shows an error of ours as one line; what stands after the block still runs."""
    try:
        yield
    except DeliftError as error:
        st.error(plain(str(error)), icon=":material/error:")


def title(text: str, icon: str, badge: tuple[str, str] | None = None) -> None:
    """A page's heading with an optional state word, (label, colour), at the right."""
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
        st.title(f"{icon} {text}", width="content")
        if badge:
            st.badge(plain(badge[0]), color=badge[1])  # type: ignore[arg-type]


def empty_state(icon: str, sentence: str, page: str, label: str) -> None:
    """Says what is missing and links to where to get it; the page ends here."""
    with st.container(border=True, height=320, horizontal_alignment="center", vertical_alignment="center"):
        st.markdown(f"# {icon}", width="content")
        st.markdown(sentence, width="content", text_alignment="center")
        st.page_link(page_path(page), label=label, icon=":material/arrow_forward:")
    st.stop()


def chart(figure: "go.Figure", *, key: str, alt: str) -> None:
    """A plotly figure in the app's colours (figures are built without any)."""
    figure.update_layout(template="streamlit").update_xaxes(separatethousands=True).update_yaxes(separatethousands=True)
    st.plotly_chart(figure, theme="streamlit", key=key, alt=alt)
