"""Other processes in words: number, program and port, and none of their options."""

import subprocess
import sys
from collections.abc import Iterator

import pytest

from delift_core.system.processes import describe_process

WAITS = """
import socket
with socket.socket() as listening:
    listening.bind(("127.0.0.1", 0))
    listening.listen()
    print(listening.getsockname()[1], flush=True)
    input()
"""


@pytest.fixture
def server() -> Iterator["subprocess.Popen[str]"]:
    """A process that listens, with an option that is nobody else's business."""
    command = [sys.executable, "-c", WAITS, "serve", "--token", "secret"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


def test_number_and_port_and_no_option(server: "subprocess.Popen[str]") -> None:
    assert server.stdout is not None
    port = server.stdout.readline().strip()
    assert describe_process(server.pid) == f"pid {server.pid}, port {port}"


def test_a_process_that_is_gone_is_its_number(server: "subprocess.Popen[str]") -> None:
    server.kill()
    server.wait()
    assert describe_process(server.pid) == f"pid {server.pid}"
