"""Building blocks of pages: escaped text, readable numbers, choices, tables, empty states, error lines."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Literal, TypeVar
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

Option = TypeVar("Option", bound=str)

ROLE_WORDS: dict[DatasetRole, str] = {"pool": "Pool", "target": "Target", "existing": "Existing", "heldout": "Held-out"}

_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+\-.!|<>~:$&])")
# Markdown turns bare addresses into links even if they are escaped; an invisible word joiner prevents that.
_ADDRESS = re.compile(r"(?<=:)(?=//)|(?<=www)(?=\.)|(?=@)", re.IGNORECASE)
_JOINER = "\u2060"


def plain(text: str) -> str:
    """Text from data or files, escaped for places that render Markdown (labels, messages, toasts)."""
    flat = " ".join(printable(text).split())
    return _MARKDOWN.sub(r"\\\1", _ADDRESS.sub(_JOINER, flat))


def shorten(text: str, length: int = 60) -> str:
    """The start of a text on one line."""
    flat = " ".join(printable(text).split())
    return flat if len(flat) <= length else flat[: length - 1] + "…"


def with_separators(frame: "pd.DataFrame", *counts: str) -> "Styler":
    """A table whose count columns have thousands separators."""
    return frame.style.format(dict.fromkeys(counts, "{:,}"), na_rep="")


def clock_time(seconds: float) -> str:
    """A time (seconds since the epoch) in the visitor's time zone; with the date unless it is today."""
    zone = st.context.timezone
    moment = datetime.fromtimestamp(seconds, ZoneInfo(zone) if zone else None)
    today = datetime.now(moment.tzinfo).date() == moment.date()
    return f"{moment:%H:%M}" if today else f"{moment.day} {moment:%b, %H:%M}"


def state_words(progress: JobProgress) -> str:
    """What a job is doing, capitalised."""
    return plain(progress.words[:1].upper() + progress.words[1:])


def page_line(first: int, shown: int, total: int) -> None:
    """Which rows of a paged table are shown, for the line above it.

    Streamlit draws a table's toolbar over the line above, so nothing clickable may stand there.
    """
    where = f"Rows {first:,} to {first + shown - 1:,} of {total:,}." if shown < total else f"All {total:,} rows."
    paged = " Column headers and the table's own search cover only this page." if shown < total else ""
    st.caption(where + paged)


@contextmanager
def clear_errors() -> Iterator[None]:
    """Shows a `DeliftError` as one line; the page goes on after the block."""
    try:
        yield
    except DeliftError as error:
        st.error(plain(str(error)), icon=":material/error:")


def title(text: str, icon: str, badge: tuple[str, str] | None = None) -> None:
    """A page's heading, with an optional state badge (label, colour) at the right."""
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
        st.title(f"{icon} {text}", width="content")
        if badge:
            st.badge(plain(badge[0]), color=badge[1])  # type: ignore[arg-type]


def empty_state(icon: str, sentence: str, page: str, label: str) -> None:
    """Says what is missing and links to the page that provides it; the script stops here."""
    with st.container(border=True, height=320, horizontal_alignment="center", vertical_alignment="center"):
        st.markdown(f"# {icon}", width="content")
        st.markdown(sentence, width="content", text_alignment="center")
        st.page_link(page_path(page), label=label, icon=":material/arrow_forward:")
    st.stop()


def choice(
    label: str, words: Mapping[Option, str], *, key: str, help: str | None = None, hidden: bool = True
) -> Option:
    """Buttons side by side, the first chosen at first; the choice is kept in the address.

    Args:
        words: the options with their labels.
        hidden: leave out the label above the buttons.
    """
    chosen: Option = st.segmented_control(
        label,
        list(words),
        default=next(iter(words)),
        required=True,
        format_func=words.__getitem__,
        key=key,
        bind="query-params",
        label_visibility="collapsed" if hidden else "visible",
        help=help,
    )
    return chosen


def ticked_rows(
    table: "pd.DataFrame | Styler", *, key: str, alt: str, mode: Literal["multi-row", "single-row"] = "multi-row"
) -> list[int]:
    """A table whose rows can be ticked; the positions of the ticked rows."""
    event = st.dataframe(table, hide_index=True, on_select="rerun", selection_mode=mode, key=key, alt=alt)
    count = len(getattr(table, "data", table))  # a tick may belong to an earlier, longer table
    return [row for row in event["selection"]["rows"] if row < count]


def selected_row(table: "pd.DataFrame | Styler", *, key: str, alt: str) -> int | None:
    """A table in which one row can be selected; its position."""
    return next(iter(ticked_rows(table, key=key, alt=alt, mode="single-row")), None)


def chart(figure: "go.Figure", *, key: str, alt: str) -> None:
    """A plotly figure in the app's colours."""
    figure.update_layout(template="streamlit").update_xaxes(separatethousands=True).update_yaxes(separatethousands=True)
    st.plotly_chart(figure, theme="streamlit", key=key, alt=alt)
