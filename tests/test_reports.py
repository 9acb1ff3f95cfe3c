"""A failure is reported as a failure, whatever text the failed example holds."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FAILING = """
import sys
import warnings
from hypothesis import given, strategies as st

@given(st.just("\\udc80"))
def test_example(text):
    print("\\ud800", file=sys.stderr)
    warnings.warn("odd \\udfff", UserWarning)
    assert text == "", text

def test_another():
    pass
"""


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["0", "1"])
def test_a_failing_example_with_half_a_surrogate_pair_is_a_failure(tmp_path: Path, workers: str) -> None:
    (tmp_path / "conftest.py").write_text((ROOT / "tests" / "conftest.py").read_text())
    (tmp_path / "test_odd.py").write_text(FAILING)
    command = [sys.executable, "-m", "pytest", "-n", workers, "-p", "no:cacheprovider", f"--rootdir={tmp_path}"]
    report = f"--junitxml={tmp_path / 'report.xml'}"
    done = subprocess.run(
        [*command, report, str(tmp_path / "test_odd.py")],
        capture_output=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONIOENCODING": "utf-8"},
    )
    told = done.stdout.decode()
    assert done.returncode == 1 and "1 failed, 1 passed" in told, told + done.stderr.decode()
    assert "INTERNALERROR" not in told and "\\udc80" in told
    assert 'failures="1"' in (tmp_path / "report.xml").read_text()
