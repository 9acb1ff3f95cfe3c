"""Permissions: three roles, checked wherever a workspace is written, and a file that assigns them to e-mail addresses.

    # access.toml, in the workspace folder or beside the app in .streamlit/
    admins = ["ada@example.org"]
    curators = ["grace@example.org"]
    viewers = []
    default = "none"        # role of everybody else who logs in: "viewer", "curator", "admin", or "none"

Commands, and the app without a login, open a workspace as its owner. The app with a login uses it on behalf of the
visitor (`Workspace.acting_as`). How a visitor proves their identity is not handled here.
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
    "observe": "viewer",  # opening a page may record the progress of a job, or signals computed from a data set
    "edit": "curator",
    "select": "curator",
    "filter": "curator",
    "job": "curator",
    "export": "curator",
    "import": "admin",  # reads paths of this machine, and installs packages
    "delete": "admin",
    "upkeep": "admin",
}
_DESCRIPTIONS: Mapping[Operation, str] = {
    "observe": "look",
    "edit": "edit rows",
    "select": "keep or rename selections",
    "filter": "save or delete named filters",
    "job": "start or cancel jobs",
    "export": "write or publish files",
    "import": "load, rename or install",
    "delete": "delete",
    "upkeep": "repair or clean the workspace",
}
_ROLES: tuple[Role, ...] = get_args(Role)


@dataclass(frozen=True, slots=True)
class Actor:
    """A user of a workspace.

    Attributes:
        name: signs the user's edits; the e-mail address of a visitor who logged in.
    """

    name: str
    role: Role

    def may(self, operation: Operation) -> bool:
        """Whether the role allows an operation."""
        return _ROLES.index(self.role) >= _ROLES.index(NEEDED[operation])

    def require(self, operation: Operation) -> None:
        """Raises unless the role allows an operation.

        Raises:
            NotAllowed: it does not; the message names the role that does.
        """
        if not self.may(operation):
            log_event("refused", actor=self.name, role=self.role, operation=operation)
            raise NotAllowed(
                f"{self.name} is a {self.role} here and may not {_DESCRIPTIONS[operation]}: "
                f"ask an admin for the role of {NEEDED[operation]}"
            )


def local_user() -> Actor:
    """The operating system's user, who owns the workspace's files and so is an admin."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError, ImportError):
        name = "curator"
    return Actor(name, "admin")


@dataclass(frozen=True, slots=True)
class AccessList:
    """The role of each e-mail address; upper and lower case are the same.

    Attributes:
        default: role of everybody else who logs in; None gives them no access.
        source: the file, for messages; None without a file.
    """

    roles: Mapping[str, Role]
    default: Role | None
    source: Path | None = None

    def role_of(self, email: str) -> Role | None:
        """The role of an address; None without access."""
        return self.roles.get(email.strip().casefold(), self.default)


NO_ACCESS = AccessList({}, None)


def read_access(*folders: Path) -> AccessList:
    """Reads the access list of the first folder that has one; without any, nobody who logs in has a role.

    Raises:
        AccessError: the file cannot be read or has an unknown entry.
    """
    for folder in folders:
        path = folder / ACCESS_FILE
        try:
            document = tomllib.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            continue
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise AccessError(f"{path} cannot be read ({error}): fix it; until then nobody can log in") from error
        return _access_list(document, path)
    return NO_ACCESS


def reachable_from_other_machines(address: str | None) -> bool:
    """Whether a server that listens on an address can be reached from other machines.

    Args:
        address: IP address or host name; None or "" stands for every address of this machine.
    """
    if not address:
        return True
    if address == "localhost" or address.startswith("unix://"):
        return False
    try:
        return not ipaddress.ip_address(address.strip("[]").split("%")[0]).is_loopback
    except ValueError:
        return True  # a host name may resolve to any address


def _access_list(document: Mapping[str, object], path: Path) -> AccessList:
    lists: dict[str, Role] = {f"{role}s": role for role in _ROLES}
    unknown = sorted(set(document) - {*lists, "default"})
    if unknown:
        raise AccessError(f"{path}: unknown entry {unknown[0]!r}; write {', '.join(lists)} or default")
    roles: dict[str, Role] = {}
    for name, role in lists.items():  # in ascending order: of several roles, the highest is kept
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
