"""Reading a pair: pieces of the response join to it, and their numbers add up to the run's own."""

from dataclasses import replace

import numpy as np
import pytest

from delift_core.curation.pair_reading import PairReader
from delift_core.curation.scoring_runs import open_run, run_here
from delift_core.data.loading import Dataset
from delift_core.errors import ScoringError
from delift_core.samples import Message, ParsedRecord, with_ids
from delift_core.scoring.metrics import LOG_PROBABILITY
from delift_core.workspace import RunSpec, Workspace
from tests.tiny_models import save_model

PAIRS = (("What is the weather in Kyoto?", "雪です ❄️ brr."), ("Say <b>hi</b>", "<script>hi</script>\n\nthere"))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("reading")
    records = [
        ParsedRecord((Message("user", prompt), Message("assistant", answer)), "{}", "pool", line)
        for line, (prompt, answer) in enumerate(PAIRS, start=1)
    ]
    with Workspace.open(folder / "workspace") as workspace:
        pool = workspace.datasets.add(Dataset("pool", "alpaca", None, with_ids(records)), role="pool")
        spec = RunSpec(pool.id, None, None, str(save_model(folder / "model")), "auto", "cpu", "float32")
        yield open_run(workspace, run_here(workspace, spec).id)


@pytest.mark.parametrize(("helped", "helper"), [(0, 1), (1, 0), (0, 0)])
def test_pieces_join_to_the_response_and_add_up_to_the_scores(run, helped: int, helper: int) -> None:
    row, column = run.pool[helped], run.pool[helper]
    pieces = PairReader(run).pieces(row, column)
    assert "".join(piece.text for piece in pieces) == row.response
    with_example = run.store.pair_statistics([row.content_hash], column.content_hash)[0, LOG_PROBABILITY]
    alone = run.store.zero_shot([row.content_hash]).statistics[0, LOG_PROBABILITY]
    assert sum(np.log(piece.with_example) for piece in pieces) == pytest.approx(with_example, rel=1e-4)
    assert sum(np.log(piece.alone) for piece in pieces) == pytest.approx(alone, rel=1e-4)


def test_another_model_than_that_of_the_run_is_refused(run) -> None:
    other = replace(run, record=replace(run.record, context_key="another"))
    with pytest.raises(ScoringError, match="has changed since run r1 was scored"):
        PairReader(other)
