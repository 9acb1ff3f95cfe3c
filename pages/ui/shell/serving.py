"""What the server does besides drawing pages: its start and end, errors of pages, and the health endpoint."""

import logging
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import streamlit as st
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from streamlit.starlette import App

from delift_core.errors import DeliftError
from delift_core.maintenance.status import brief
from delift_core.system.logs import begin_log, log_event, log_failure
from delift_core.system.processes import default_workspace
from pages.ui.shell.visitor import OPEN_TO_ALL, is_open_to_all, login_is_set_up


@asynccontextmanager
async def lifespan(app: App) -> AsyncIterator[dict[str, object]]:
    """Writes to the terminal and to the log what the person who started the server must know."""
    with suppress(OSError):  # the pages show it if it cannot be opened
        default_workspace().mkdir(parents=True, exist_ok=True)
    begin_log(default_workspace(), "server")
    try:
        log_event("server began", address=str(st.get_option("server.address")), login=login_is_set_up())
        if is_open_to_all():
            _warn(OPEN_TO_ALL)
    except DeliftError as error:  # the pages show it to every visitor
        _warn(str(error))
    yield {}
    log_event("server ended")


def note_page_error(error: Exception) -> None:
    """Logs an unexpected error of a page; the visitor sees it as well."""
    log_failure("page failed", error)


async def answer_health(request: Request) -> JSONResponse:
    """The health of the server for monitoring: 200 or 503, without anything confidential."""
    said = await run_in_threadpool(brief, default_workspace())
    return JSONResponse(said, status_code=200 if said["ok"] else 503)


ROUTES = [Route("/api/health", answer_health)]


def _warn(words: str) -> None:
    log_event("warning", level=logging.WARNING, words=words)
    print(f"\n  WARNING: {words}\n", file=sys.stderr, flush=True)
