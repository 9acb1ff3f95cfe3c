"""What the server does when it starts, before anybody visits."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from streamlit.starlette import App

from delift_core.errors import DeliftError
from pages.ui.visitor import OPEN_TO_ALL, is_open_to_all


@asynccontextmanager
async def lifespan(app: App) -> AsyncIterator[dict[str, object]]:
    """Says in the terminal what whoever started the server must know."""
    try:
        if is_open_to_all():
            _say(f"WARNING: {OPEN_TO_ALL}")
    except DeliftError as error:  # pages say it to every visitor
        _say(f"WARNING: {error}")
    yield {}


def _say(words: str) -> None:
    print(f"\n  {words}\n", file=sys.stderr, flush=True)
