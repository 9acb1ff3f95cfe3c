"""Pages as visitors of each role meet them, and those who may not come in."""

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from tests.app import app_on

pytestmark = pytest.mark.slow

PAGES = ("home", "data", "score", "select", "explore", "curate", "compare", "evaluate", "export")
WHO = {"viewer": "v@x.org", "curator": "c@x.org", "admin": "a@x.org"}


def visit(workspace: Path, page: str, email: str | None, **claims: object) -> AppTest:
    """A page as somebody with this address meets it; None has not logged in."""
    access = "".join(f'{role}s = ["{address}"]\n' for role, address in WHO.items())
    workspace.mkdir(exist_ok=True)
    (workspace / "access.toml").write_text(access)
    app = app_on(page)
    app.user = {"is_logged_in": email is not None, "email": email, **claims}
    return app.run()


def words(app: AppTest) -> str:
    """What the page says in messages and text, without the marks that keep it from being read as Markdown."""
    said = " ".join(str(one.value) for one in (*app.error, *app.markdown, *app.caption))
    return said.replace("\\", "").replace("\u2060", "")


def buttons(app: AppTest) -> dict[str, bool]:
    """The buttons by label, and whether each can be pressed."""
    return {button.label: not button.disabled for button in app.button}


@pytest.mark.parametrize("page", PAGES)
def test_a_stranger_meets_the_login_and_nothing_else(scored_workspace: Path, page: str) -> None:
    app = visit(scored_workspace, page, None)
    assert list(buttons(app)) == ["Log in"]
    assert not app.dataframe and not app.selectbox and not app.sidebar.button
    assert "Log in to continue" in words(app)


@pytest.mark.parametrize("page", PAGES)
def test_a_viewer_sees_every_page_and_no_way_to_change_anything(scored_workspace: Path, page: str) -> None:
    app = visit(scored_workspace, page, WHO["viewer"])
    assert not app.exception
    changing = (
        "Keep",
        "Drop",
        "Reset",
        "Undo",
        "Redo",
        "Re-optimise",
        "Save selection",
        "Export",
        "Check again",
        "Measure the cost",
        "Load",
    )
    assert not [label for label, able in buttons(app).items() if able and label in changing]
    assert "v@x.org · viewer" in words(app) and buttons(app)["Log out"]
    assert not app.file_uploader


def test_a_curator_edits_in_their_own_name_and_an_admin_loads(scored_workspace: Path) -> None:
    from pages.ui.shell import state

    app = visit(scored_workspace, "curate", WHO["curator"])
    assert "c@x.org · curator" in words(app) and buttons(app)["Redo"] is False
    app = visit(scored_workspace, "data", WHO["curator"])
    assert not app.file_uploader and "Only an admin can load" in words(app)
    app = visit(scored_workspace, "data", WHO["admin"])
    assert app.file_uploader
    store = state.workspace()  # what is read for all visitors has no rights
    assert store.actor.role == "viewer"


def test_a_refusal_of_the_core_is_shown_where_a_button_was_left(scored_workspace: Path) -> None:
    app = visit(scored_workspace, "select", WHO["curator"])
    app.button(key="delete_selection_s1").click().run()
    assert "c@x.org is a curator here and may not delete" in words(app)
    app = visit(scored_workspace, "select", WHO["admin"])
    app.button(key="delete_selection_s1").click().run()
    assert not app.error


@pytest.mark.parametrize(
    ("email", "claims", "said"),
    [
        ("eve@x.org", {}, "eve@x.org has no access here"),
        ("a@x.org", {"email_verified": False}, "is not verified"),
        ("", {}, "has no e-mail address"),
    ],
)
def test_who_logs_in_without_a_role_stays_outside(
    scored_workspace: Path, email: str, claims: dict[str, object], said: str
) -> None:
    app = visit(scored_workspace, "home", email, **claims)
    assert said in words(app) and list(buttons(app)) == ["Log out"] and not app.dataframe


def test_an_access_list_that_cannot_be_read_lets_nobody_in(scored_workspace: Path) -> None:
    app = visit(scored_workspace, "home", WHO["admin"])
    (scored_workspace / "access.toml").write_text("admins = [")
    app.run()
    assert "cannot be read" in words(app) and not app.dataframe


def test_secrets_that_cannot_be_read_let_nobody_in(
    scored_workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pages.ui.shell import visitor

    secrets = tmp_path / "secrets.toml"
    secrets.write_text('[auth]\nclient_secret = "do-not-show\n')
    known = visitor.st.get_option
    monkeypatch.setattr(
        visitor.st, "get_option", lambda name: [str(secrets)] if name == "secrets.files" else known(name)
    )
    app = app_on().run()
    assert "secrets.toml" in words(app) and "do-not-show" not in words(app) and not app.dataframe
    secrets.write_text('[auth]\nclient_secret = "x"\n')
    app = app_on().run()
    assert list(buttons(app)) == ["Log in"]


def test_a_server_beyond_loopback_without_a_login_says_so_on_every_page(
    scored_workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pages.ui.shell import visitor

    known = visitor.st.get_option
    monkeypatch.setattr(visitor.st, "get_option", lambda name: "0.0.0.0" if name == "server.address" else known(name))
    for page in PAGES:
        app = app_on(page).run()
        assert any("Anyone on the network" in str(error.value) for error in app.error), page
