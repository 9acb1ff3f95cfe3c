"""What a page writes into the address itself, beside what its widgets are bound to."""

from pathlib import Path

import pytest
from streamlit.runtime.state.query_params import QueryParams
from streamlit.testing.v1 import AppTest

from pages.ui.shell.navigation import PAGES, page_path

APP = Path(__file__).parents[2] / "app.py"


@pytest.mark.parametrize("name", [entry.name for entry in PAGES])
def test_a_page_drawn_again_leaves_the_address_alone(
    name: str, scored_workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The server's view of the address may be older than the browser's, and would take away what was set meanwhile.
    app = AppTest.from_file(str(APP), default_timeout=60).run()
    app.switch_page(page_path(name)).run()
    assert app.query_params["run"] and app.query_params["selection"]
    sent: list[QueryParams] = []
    monkeypatch.setattr(QueryParams, "_send_query_param_msg", sent.append)
    app.run()
    assert not app.exception and sent == []
