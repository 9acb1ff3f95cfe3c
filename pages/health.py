"""Health: the state of the workspace, its jobs and this machine, and the recent log."""

from pathlib import Path

import pandas as pd
import streamlit as st

from delift_core.maintenance.repair import check_workspace
from delift_core.maintenance.status import HealthReport, health, machine_checks
from delift_core.system.texts import byte_size
from delift_core.workspace import Workspace
from pages.ui.shell.blocks import clear_errors, plain, title
from pages.ui.shell.display import short_path
from pages.ui.shell.setup import page_setup

_CHECKED = "health_checked"


@st.cache_data(ttl=60, max_entries=1, show_spinner="Checking this machine…")
def machine(folder: str) -> list[tuple[str, bool, str]]:
    """Checks of Python, packages, device, model, disk and memory."""
    return [(check.label, check.ok, check.detail) for check in machine_checks(Path(folder))]


def numbers(report: HealthReport) -> None:
    """Sizes, free space and running jobs."""
    with st.grid(4, min_column_width=150):
        st.metric("Workspace", byte_size(sum(report.sizes.values())), border=True)
        st.metric("Free disk", byte_size(report.disk_free), border=True)
        st.metric("Free memory", byte_size(report.memory_free), border=True)
        st.metric("Running jobs", f"{len(report.jobs):,}", border=True)


def checks_list(checks: list[tuple[str, bool, str]]) -> None:
    """A line for each check, green or orange."""
    for label, ok, detail in checks:
        icon, colour = (":material/check_circle:", "green") if ok else (":material/warning:", "orange")
        st.markdown(f":{colour}[{icon}] **{plain(label)}** · {plain(detail)}")


def look_through(workspace: Workspace) -> None:
    """Checks every row and block on demand, which takes long for a large workspace."""
    if st.button("Check the workspace", icon=":material/stethoscope:", help="Reads every row and every score."):
        with st.spinner("Reading everything…"):
            found = check_workspace(workspace)
        st.session_state[_CHECKED] = [(check.label, check.ok, check.detail) for check in found]
    if _CHECKED in st.session_state:
        checks_list(st.session_state[_CHECKED])
        if not all(ok for _, ok, _ in st.session_state[_CHECKED]):
            st.caption("Stop the server, then run `python -m delift_core doctor --repair`")


current = page_setup("health")
report = health(current.workspace.folder)
title("Health", ":material/monitor_heart:", ("No problems", "green") if report.ok else ("Problems", "orange"))
with clear_errors():
    for problem in report.problems:
        st.warning(plain(problem[0].upper() + problem[1:]), icon=":material/warning:")
    numbers(report)
    left, right = st.columns([1, 1], gap="large")
    with left:
        st.header("Jobs")
        if report.jobs:
            table = [{"Job": j.id, "Kind": j.kind, "State": j.state, "Last message": j.message} for j in report.jobs]
            st.dataframe(pd.DataFrame(table), hide_index=True, alt="Running jobs")
        else:
            st.caption("No jobs are running.")
        st.header("Storage")
        parts = [{"Part": name, "Size": byte_size(held)} for name, held in report.sizes.items()]
        st.dataframe(pd.DataFrame(parts), hide_index=True, alt="Size of each part of the workspace, largest first")
    with right:
        st.header("Versions")
        rows = [{"Component": name, "Version": version} for name, version in report.versions.items()]
        st.dataframe(pd.DataFrame(rows), hide_index=True, alt="Versions of the app, Python and packages")
    if current.workspace.actor.may("upkeep"):
        st.header("This machine")
        st.caption(plain(f"Workspace folder: {short_path(current.workspace.folder)}"))
        checks_list(machine(str(current.workspace.folder)))
        look_through(current.workspace)
        st.header("Recent log")
        if report.log:
            st.dataframe(pd.DataFrame(report.log[::-1]), hide_index=True, alt="Newest lines of the log first")
        else:
            st.caption("The log is empty.")
