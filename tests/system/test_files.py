"""Files that are whole or not there: checksums, a full disk, a folder that may not be written to."""

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from delift_core.system.files import CHECKSUM_BYTES, content_if_intact, with_checksum, write_whole

# Root may write anywhere, so rights are tested as somebody else; limits hold for root as well.
LIMITED = """
import resource, signal, sys
from pathlib import Path
from delift_core.system.files import write_whole
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    write_whole(Path(sys.argv[1]), b"x" * 5000)
except OSError as error:
    print(error.strerror)
"""


@given(st.binary(max_size=300))
def test_sealed_bytes_come_back(data: bytes) -> None:
    assert content_if_intact(with_checksum(data)) == data
    assert len(with_checksum(data)) == len(data) + CHECKSUM_BYTES


@given(st.binary(min_size=1, max_size=100), st.integers(0), st.integers(1, 255))
def test_any_changed_byte_of_the_content_is_noticed(data: bytes, place: int, change: int) -> None:
    whole = bytearray(with_checksum(data))
    whole[place % len(data)] ^= change
    assert content_if_intact(bytes(whole)) is None


def test_a_full_disk_leaves_the_earlier_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "note.json"
    write_whole(path, b"before")
    command = [sys.executable, "-c", LIMITED, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "File too large"
    assert [(found.name, found.read_bytes()) for found in tmp_path.iterdir()] == [("note.json", b"before")]


def test_a_failed_rename_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(IsADirectoryError):
        write_whole(tmp_path / "taken", b"data")
    assert [found.name for found in tmp_path.iterdir()] == ["taken"]
