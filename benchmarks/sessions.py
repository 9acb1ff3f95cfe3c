"""Visitors without a browser: sessions of the real server, driven through Streamlit's agent API.

A session runs the same scripts as a browser's, reads the page that they make, and presses its buttons. The API is
switched on for the servers of tests and benchmarks only, on the command line.
"""

import json
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from benchmarks.served import served

ANSWER_SECONDS = 120.0

Node = dict[str, Any]


class ServerGone(Exception):
    """The server did not answer: it was killed."""


class PageError(Exception):
    """The page showed an error."""


class Session:
    """One visitor of a server."""

    def __init__(self, address: str) -> None:
        self._url = f"{address}/_stcore/agent/interact"
        self._id: str | None = None
        self.page: Node = {}

    def open(self, page: str, **parameters: str) -> None:
        """Opens a page ("" is Home)."""
        self._ask({"page": page, "query_params": {name: [value] for name, value in parameters.items()}})

    def press(self, label: str) -> None:
        """Presses a button by its label."""
        self.trigger(self.find("button", label)["key"])

    def trigger(self, key: str) -> None:
        """Presses a button by its key, where several have one label."""
        self._ask({"trigger": {"key": key}})

    def set(self, kind: str, label: str, value: object) -> None:
        """Gives a widget a value."""
        self._ask({"widget_state": {self.find(kind, label)["key"]: value}})

    def again(self) -> None:
        """Reruns the page, as a poll does."""
        self._ask({})

    def find(self, kind: str, label: str) -> Node:
        """A widget of the current page.

        Raises:
            KeyError: there is none.
        """
        for node in self.nodes():
            if node.get("type") == kind and str(node.get("props", {}).get("label", "")) == label and "key" in node:
                return node
        raise KeyError(f"no {kind} {label!r} on this page")

    def nodes(self) -> Iterator[Node]:
        """Everything on the page."""
        left = [self.page.get("tree", {})]
        while left:
            node = left.pop()
            yield node
            left.extend(node.get("children", []))

    def _ask(self, request: Node) -> None:
        body = dict(request)
        if self._id:
            body["session_id"] = self._id
        while True:
            answer = self._post(body)
            refusal = answer.get("error") or {}
            if not isinstance(refusal, dict) or refusal.get("code") != "wait_timed_out":
                break
            body = {"session_id": answer["session_id"]}
        if "tree" not in answer:
            raise PageError(str(answer)[:300])
        self._id, self.page = answer["session_id"], answer
        if answer["status"] == "error" or any(node.get("type") in ("exception", "error") for node in self.nodes()):
            shown = [node for node in self.nodes() if node.get("type") in ("exception", "error")]
            raise PageError(str(shown or answer.get("error"))[:300])

    def _post(self, body: Node) -> Node:
        request = urllib.request.Request(
            self._url, data=json.dumps(body).encode(), headers={"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=ANSWER_SECONDS) as answer:
                return dict(json.load(answer))
        except urllib.error.HTTPError as error:
            return dict(json.load(error))
        except OSError as error:
            raise ServerGone(str(error)) from error


def session_server(workspace: Path, log: Path) -> AbstractContextManager[tuple[str, subprocess.Popen[bytes]]]:
    """As `served`, with the agent API."""
    return served(workspace, log, "--server.enableAgentApi", "true")
