"""What a page writes into the address itself, beside what its widgets are bound to."""

from pathlib import Path

import pytest
from streamlit.runtime.state.query_params import QueryParams

from pages.ui.shell.navigation import PAGES
from tests.app import app_on

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", [entry.name for entry in PAGES])
def test_a_page_drawn_again_leaves_the_address_alone(
    name: str, scored_workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The server's view of the address may be older than the browser's, and would take away what was set meanwhile.
    app = app_on(name).run()
    assert app.query_params["run"] and app.query_params["selection"]
    sent: list[QueryParams] = []
    monkeypatch.setattr(QueryParams, "_send_query_param_msg", sent.append)
    app.run()
    assert not app.exception and sent == []
