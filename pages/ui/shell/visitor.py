"""Who visits the pages: the owner of this machine, or somebody who logged in and has a role in the access list.

Streamlit's login (OpenID Connect) identifies visitors if `[auth]` is in `.streamlit/secrets.toml`; the core defines
the roles. Without a login everybody who reaches the server counts as its owner, and a server that other machines can
reach shows a warning.
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path

import streamlit as st
from streamlit.errors import StreamlitAPIException

from delift_core.errors import AccessError, DeliftError
from delift_core.system.access import (
    ACCESS_FILE,
    Actor,
    local_user,
    reachable_from_other_machines,
    read_access,
)
from delift_core.system.processes import default_workspace
from pages.ui.shell.blocks import plain

APP_SETTINGS = Path(__file__).resolve().parents[3] / ".streamlit"
OPEN_TO_ALL = (
    "Anyone on the network can read, change and delete everything on this server: it accepts connections from other "
    "machines, and no login is set up. Set one up (see docs/how-to/server.md), or listen only on 127.0.0.1."
)


def visitor() -> Actor:
    """The visitor of this page; a visitor without access sees a page that says so, and the script stops."""
    try:
        asked = login_is_set_up()
        known = st.user.to_dict()
        if not asked and "is_logged_in" not in known:
            return local_user()
        if not known.get("is_logged_in"):
            _ask_to_log_in()
        return _with_role(known)
    except DeliftError as error:
        st.title("DELIFT Studio")
        st.error(plain(str(error)), icon=":material/lock:")
        st.stop()


def login_is_set_up() -> bool:
    """Whether `[auth]` is in a secrets file.

    Raises:
        AccessError: such a file cannot be read; a login that may be set up in it must not be ignored.
    """
    return any("auth" in document for document in _secrets())


def is_open_to_all() -> bool:
    """Whether other machines can reach this server without a login."""
    return reachable_from_other_machines(st.get_option("server.address")) and not login_is_set_up()


def who_line(actor: Actor) -> None:
    """The name and role of the visitor, with a button to log out, at the end of the sidebar."""
    if "is_logged_in" not in st.user.to_dict():
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(f"{plain(actor.name)} · {actor.role}", width="stretch")
        st.button("Log out", key="log_out", type="tertiary", icon=":material/logout:", on_click=st.logout)


def _secrets() -> list[Mapping[str, object]]:
    found = []
    for name in st.get_option("secrets.files"):
        path = Path(name)
        if not path.is_file():
            continue
        try:
            found.append(tomllib.loads(path.read_text(encoding="utf-8")))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            line = getattr(error, "lineno", None)
            where = f" (line {line})" if line else ""  # the error's own text may quote the file
            raise AccessError(f"{path}{where} cannot be read: fix it; until then nobody can log in") from None
    return found


def _ask_to_log_in() -> None:
    """A page with only a login button for each provider."""
    st.title("DELIFT Studio")
    st.markdown("Log in to continue.")
    auth: Mapping[str, object] = next((d["auth"] for d in _secrets() if "auth" in d), {})  # type: ignore[assignment]
    named = [name for name, section in auth.items() if isinstance(section, dict) and name != "client_kwargs"]
    for name in named or [None]:
        label = f"Log in with {plain(name)}" if name else "Log in"
        if st.button(label, key=f"log_in_{name}", type="primary", icon=":material/login:"):
            try:
                st.login(name)
            except StreamlitAPIException as error:
                st.error(plain(str(error)), icon=":material/lock:")
    st.stop()


def _with_role(known: Mapping[str, object]) -> Actor:
    email = str(known.get("email") or "")
    access = read_access(default_workspace(), APP_SETTINGS)
    role = access.role_of(email) if email and known.get("email_verified", True) is not False else None
    if role is None:
        st.title("DELIFT Studio")
        if not email:
            st.error("Your login has no e-mail address, so you cannot be given a role.", icon=":material/lock:")
        elif known.get("email_verified", True) is False:
            st.error(plain(f"{email} is not verified by your login provider."), icon=":material/lock:")
        else:
            where = access.source or default_workspace() / ACCESS_FILE
            words = f"{email} has no access here. Whoever runs this server can give it in {where.name}."
            st.error(plain(words), icon=":material/lock:")
        st.button("Log out", icon=":material/logout:", on_click=st.logout)
        st.stop()
    return Actor(email, role)
