"""What `make check` makes of pip-audit's answer: a known vulnerability is an error, no answer is not."""

import json

import pytest

from tests.audit import verdict

CLEAN = {"name": "a", "version": "1", "vulns": []}
BAD = {"name": "b", "version": "2", "vulns": [{"id": "CVE-1", "fix_versions": ["3"]}]}
OPEN = {"name": "b", "version": "2", "vulns": [{"id": "CVE-2", "fix_versions": []}]}
SKIPPED = {"name": "c", "skip_reason": "not found on an index at https://somewhere.invalid"}


@pytest.mark.parametrize(
    ("packages", "code", "words"),
    [
        ([CLEAN, SKIPPED], 0, "0 in 1 of 2 packages"),
        ([CLEAN, BAD], 1, "b 2: CVE-1, mended in 3"),
        ([OPEN], 1, "b 2: CVE-2, mended in no version"),
        ([SKIPPED], 0, "nothing was looked up"),
    ],
)
def test_an_answer(packages: list[dict[str, object]], code: int, words: str) -> None:
    found, lines = verdict(json.dumps({"dependencies": packages}))
    assert found == code and any(words in line for line in lines)
    assert not any("invalid" in line for line in lines)


@pytest.mark.parametrize("output", ["", "no connection to https://somewhere.invalid", "[]", "{}"])
def test_no_answer(output: str) -> None:
    assert verdict(output) == (0, ["known vulnerabilities: the list could not be reached, nothing was looked up"])
