"""The app without a browser, opened on one of its pages."""

from functools import cache
from pathlib import Path

from streamlit.components.v2.component_manager import BidiComponentManager
from streamlit.testing.v1 import AppTest

APP = Path(__file__).parents[1] / "app.py"


def app_on(page: str = "home") -> AppTest:
    """The app where a link to a page leads, before its first run."""
    app = AppTest.from_file(APP, default_timeout=120)
    app._bidi_component_manager = _components()
    return app if page == "home" else app.switch_page(f"pages/{page}.py")


def opened(page: str = "home", **query: str) -> AppTest:
    """The app on a page after its first run, from an address with these parts, without an error on it."""
    app = app_on(page)
    for name, value in query.items():
        app.query_params[name] = value
    app.run()
    assert not app.exception and not app.error
    return app


@cache
def _components() -> BidiComponentManager:
    """What every app would look for anew among the installed packages, which takes longer than to draw a page."""
    manager = BidiComponentManager()
    manager.discover_and_register_components(start_file_watching=False)
    return manager
