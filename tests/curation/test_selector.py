"""One selector for a run: what it remembers, for how many objectives, and for several threads at once."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier

import numpy as np
import pytest

from delift_core.curation import selector as selecting
from delift_core.curation.scoring_runs import open_run
from delift_core.curation.selector import Memo, NotMeasured, Selector
from delift_core.selection.request import SelectionRequest, is_installed, parse_budget, parse_quota
from delift_core.selection.types import Budget, FixedRows, ObjectiveConfig
from delift_core.workspace import Workspace
from tests.scored import make_scored_workspace

FL = ObjectiveConfig("instruction")
PLAIN = SelectionRequest(FL, Budget("rows", 4))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("selector")
    make_scored_workspace(folder / "workspace", folder / "model")
    return folder / "workspace"


REQUESTS = {
    "plain": PLAIN,
    "target": replace(PLAIN, config=ObjectiveConfig("task", eta=2.0)),
    "existing": replace(PLAIN, config=ObjectiveConfig("continual")),
    "metric": replace(PLAIN, metric="pmi"),
    "fixed": replace(PLAIN, fixed=FixedRows((5,), (1,))),
    "quotas": replace(PLAIN, quotas=(parse_quota("Repeats:repeated=..1"),)),
    "method": replace(PLAIN, method="longest"),
    "engine": replace(PLAIN, engine="submodlib"),
    "given": replace(PLAIN, method="given", given=np.arange(12)),
}


@pytest.mark.parametrize("kind", [kind for kind, request in REQUESTS.items() if is_installed(request.engine)])
def test_another_budget_gives_what_it_gives_a_new_selector(folder: Path, kind: str) -> None:
    with Workspace.open(folder) as workspace:
        run = open_run(workspace, "r1")
        shared = Selector(run)
        for budget in ("4", "7", "50%", "140tok"):
            if budget == "140tok" and kind == "quotas":
                continue
            request = replace(REQUESTS[kind], budget=parse_budget(budget))
            moved, anew = shared.select(request), Selector(run).select(request)
            for one, other in ((moved, anew), (shared.select(request), anew)):
                assert one.chosen.tolist() == other.chosen.tolist()
                assert one.chosen_gains.tolist() == other.chosen_gains.tolist()
                assert one.residual_gains.tolist() == other.residual_gains.tolist()
                assert (one.certificate, one.random) == (other.certificate, other.random)


def test_the_latest_objectives_are_kept_and_an_order_is_computed_once_for_all_threads(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Workspace.open(folder) as workspace:
        selector, begin, made = Selector(open_run(workspace, "r1")), Barrier(8), []
        plain = selecting.greedy_order
        monkeypatch.setattr(selecting, "greedy_order", lambda *args, **named: made.append(1) or plain(*args, **named))

        def choose(rows: int) -> list[int]:
            begin.wait()
            return selector.select(replace(PLAIN, budget=Budget("rows", rows))).chosen.tolist()

        with ThreadPoolExecutor(8) as threads:
            chosen = list(threads.map(choose, range(1, 9)))
        assert len(made) == 1 and all(one == chosen[-1][: len(one)] for one in chosen)
        first = selector.problem("euclidean", FL)
        for number in range(2):
            selector.problem("euclidean", ObjectiveConfig("continual", nu=number))
        assert selector.problem("euclidean", FL) is first
        for number in range(3):
            selector.problem("euclidean", ObjectiveConfig("continual", nu=number))
        assert selector.problem("euclidean", FL) is not first


def test_the_order_of_a_method_that_asks_the_model_is_read_where_it_is_kept(folder: Path) -> None:
    order, asked = np.arange(12)[::-1].copy(), replace(PLAIN, method="ifd")
    with Workspace.open(folder) as workspace:
        run = open_run(workspace, "r1")
        reads: list[tuple[str, int]] = []
        kept = Selector(run, lambda problem, method, seed: reads.append((method, seed)) or order)
        assert kept.select(asked).chosen.tolist() == order[:4].tolist() == [11, 10, 9, 8]
        kept.select(replace(asked, budget=Budget("rows", 6)))
        assert reads == [("ifd", 0)]
        bare = Selector(run)
        with pytest.raises(NotMeasured, match="IFD asks the model about every row"):
            bare.select(asked)
        bare.problem("euclidean", FL).keep_order("ifd", order)
        assert bare.select(asked).chosen.tolist() == order[:4].tolist()


def test_what_could_not_be_computed_is_tried_again_and_the_oldest_is_let_go() -> None:
    memo, answers = Memo(2), iter([MemoryError(), 1, 2, 3, 4])

    def compute() -> int:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    with pytest.raises(MemoryError):
        memo.get("a", compute)
    assert [memo.get(key, compute) for key in ("a", "b", "a", "c", "b")] == [1, 2, 1, 3, 4]
