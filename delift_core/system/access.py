"""Who may do what: three roles, checked where a workspace is written, and a file that gives them out by e-mail.

    # access.toml, in the workspace folder or beside the app in .streamlit/
    admins = ["ada@example.org"]
    curators = ["grace@example.org"]
    viewers = []
    default = "none"        # for everybody else who logs in: "viewer", "curator", "admin", or "none"

A workspace is opened by its owner: commands, tests, and the app without a login. What is opened for a visitor acts in
the visitor's name (`Workspace.acting_as`). This module knows nothing of how a visitor proves who they are.
"""

import getpass
import ipaddress
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from delift_core.errors import AccessError, NotAllowed
from delift_core.system.logs import log_event

Role = Literal["viewer", "curator", "admin"]
Operation = Literal["observe", "edit", "select", "filter", "job", "export", "import", "delete", "upkeep"]

ACCESS_FILE = "access.toml"

NEEDED: Mapping[Operation, Role] = {
    "observe": "viewer",  # what a job says of itself, or what is read off a data set, is noted by whoever looks
    "edit": "curator",
    "select": "curator",
    "filter": "curator",
    "job": "curator",
    "export": "curator",
    "import": "admin",  # paths of this machine are read, and packages installed
    "delete": "admin",
    "upkeep": "admin",
}
_WORDS: Mapping[Operation, str] = {
    "observe": "look",
    "edit": "edit rows",
    "select": "keep or rename selections",
    "filter": "keep or forget named filters",
    "job": "start or cancel jobs",
    "export": "write or publish files",
    "import": "load, rename or install",
    "delete": "delete",
    "upkeep": "repair or clean the workspace",
}
_ROLES: tuple[Role, ...] = get_args(Role)


@dataclass(frozen=True, slots=True)
class Actor:
    """Somebody who uses a workspace.

    Attributes:
        name: what their edits are signed with; the e-mail address of a visitor who logged in.
    """

    name: str
    role: Role

    def may(self, operation: Operation) -> bool:
        """Whether the role reaches for an operation."""
        return _ROLES.index(self.role) >= _ROLES.index(NEEDED[operation])

    def require(self, operation: Operation) -> None:
        """Does nothing where the role reaches.

        Raises:
            NotAllowed: it does not; the message says which role would.
        """
        if not self.may(operation):
            log_event("refused", actor=self.name, role=self.role, operation=operation)
            raise NotAllowed(
                f"{self.name} is a {self.role} here and may not {_WORDS[operation]}: "
                f"ask an admin for the role of {NEEDED[operation]}"
            )


def local_user() -> Actor:
    """Whoever has an account on this machine and runs the app or a command: the workspace's files are theirs."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError, ImportError):
        name = "curator"
    return Actor(name, "admin")


@dataclass(frozen=True, slots=True)
class AccessList:
    """Which e-mail addresses have which role; addresses are compared without letter case.

    Attributes:
        default: of everybody else who logs in; None lets them in nowhere.
        source: the file, for messages; None where there is none.
    """

    roles: Mapping[str, Role]
    default: Role | None
    source: Path | None = None

    def role_of(self, email: str) -> Role | None:
        """The role of an address; None for one that has no access."""
        return self.roles.get(email.strip().casefold(), self.default)


NOBODY = AccessList({}, None)


def read_access(*folders: Path) -> AccessList:
    """The access list of the first folder that has one; without any, nobody who logs in has a role.

    Raises:
        AccessError: the file cannot be read or says something that is not understood; nobody is let in by guessing.
    """
    for folder in folders:
        path = folder / ACCESS_FILE
        try:
            document = tomllib.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            continue
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise AccessError(f"{path} cannot be read ({error}): mend it; until then nobody is let in") from error
        return _access_list(document, path)
    return NOBODY


def bound_beyond_loopback(address: str | None) -> bool:
    """Whether a server that listens on this address can be reached from other machines.

    Args:
        address: an IP address or a host name; None or "" is every address of the machine.
    """
    if not address:
        return True
    if address == "localhost" or address.startswith("unix://"):
        return False
    try:
        return not ipaddress.ip_address(address.strip("[]").split("%")[0]).is_loopback
    except ValueError:
        return True  # a name may stand for anything


def _access_list(document: Mapping[str, object], path: Path) -> AccessList:
    lists: dict[str, Role] = {f"{role}s": role for role in _ROLES}
    unknown = sorted(set(document) - {*lists, "default"})
    if unknown:
        raise AccessError(f"{path}: {unknown[0]!r} is not known; write {', '.join(lists)} or default")
    roles: dict[str, Role] = {}
    for name, role in lists.items():  # from the least on, so that the greatest of several counts
        for address in _addresses(document.get(name, []), name, path):
            roles[address.strip().casefold()] = role
    default = document.get("default", "none")
    if default != "none" and default not in _ROLES:
        raise AccessError(f"{path}: default is {default!r}; write one of {', '.join(_ROLES)}, none")
    return AccessList(roles, next((role for role in _ROLES if role == default), None), path)


def _addresses(value: object, name: str, path: Path) -> Sequence[str]:
    if not isinstance(value, list) or not all(isinstance(address, str) and address.strip() for address in value):
        raise AccessError(f'{path}: {name} must be a list of e-mail addresses, such as ["ada@example.org"]')
    return value
