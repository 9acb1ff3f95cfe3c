"""The table of pages, in the order of the curator's work. Edit here to add or reorder them.

Because of the folder named pages/, a new server runs a deep link without app.py (Streamlit's older multi-page mode)
until a script calls `st.navigation`. So every page calls `page_setup`, which does so if app.py has not run.
"""

from dataclasses import dataclass
from pathlib import Path

import streamlit as st
from streamlit.navigation.page import StreamlitPage

_ROOT = Path(__file__).resolve().parents[3]
ICON, LOGO = _ROOT / "pages/ui/icon.svg", _ROOT / "pages/ui/logo.svg"
_ENTERED = "entered_through_app"


@dataclass(frozen=True, slots=True)
class PageEntry:
    """One page; `name` is its file and its address (the address of the first page is the root)."""

    name: str
    title: str
    icon: str
    purpose: str


PAGES = (
    PageEntry("home", "Home", ":material/home:", "Where your work stands and what to do next"),
    PageEntry("data", "Data", ":material/database:", "Load the pool, and target, existing or held-out rows"),
    PageEntry("score", "Score", ":material/speed:", "Measure how much each row helps the model with every other row"),
    PageEntry("select", "Select", ":material/filter_alt:", "Choose a goal and a budget, and see how much they cover"),
    PageEntry("explore", "Explore", ":material/scatter_plot:", "The utility matrix and a map of the pool"),
    PageEntry("curate", "Curate", ":material/checklist:", "Read rows, see why each was chosen, keep or drop by hand"),
    PageEntry("compare", "Compare", ":material/compare:", "Two selections side by side"),
    PageEntry("evaluate", "Evaluate", ":material/science:", "Does the subset train better than others of its size?"),
    PageEntry("export", "Export", ":material/download:", "Write the subset for your trainer"),
)

HEALTH = PageEntry("health", "Health", ":material/monitor_heart:", "State of the workspace, its jobs and this machine")
"""A page of its own, after the others."""


def enter() -> StreamlitPage:
    """Sets up the window and the menu; returns the page to run."""
    st.set_page_config(page_title="DELIFT Studio", page_icon=str(ICON), layout="wide")
    st.session_state[_ENTERED] = True
    return st.navigation([_page(entry) for entry in (*PAGES, HEALTH)])


def entered() -> bool:
    """Whether app.py has run in this session."""
    return bool(st.session_state.get(_ENTERED))


def page_path(name: str) -> str:
    """The path that `st.page_link` and `st.switch_page` take for a page's name."""
    return f"pages/{name}.py"


def go_to(name: str) -> None:
    """Goes to a page with an empty address; Streamlit cannot clear the parts that widgets of this page are bound to."""
    st.switch_page(page_path(name), query_params={})


def _page(entry: PageEntry) -> StreamlitPage:
    is_home = entry is PAGES[0]
    return st.Page(
        _ROOT / page_path(entry.name),
        title=entry.title,
        icon=entry.icon,
        url_path=None if is_home else entry.name,
        default=is_home,
        help=entry.purpose,
    )
