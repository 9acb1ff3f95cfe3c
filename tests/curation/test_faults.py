"""Nothing is lost: the short form of benchmarks/faults.py. Real processes are killed, what they confirmed is there."""

import random

import pytest

from benchmarks import faults
from benchmarks.faults import KINDS, Lost, Site

pytestmark = pytest.mark.slow  # each starts and kills processes that load a model


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return faults.prepare(tmp_path_factory.mktemp("faults"), more_rows=16)


@pytest.mark.parametrize("kind", ["edit", "export", "migrate", "server"])
def test_a_kill_loses_nothing_that_was_confirmed(site: Site, kind: str) -> None:
    met, words = KINDS[kind](site, random.Random(kind))
    assert met, words


def test_a_lost_edit_would_be_noticed(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = faults._history
    calls: list[int] = []

    def forgetful(where: Site) -> object:
        calls.append(1)
        return whole(where) if len(calls) == 1 else whole(where)[:-2]

    monkeypatch.setattr(faults, "_history", forgetful)
    with pytest.raises(Lost):
        faults.kill_edit(site, random.Random(1))
