"""Whole evaluations with a tiny model: arms, rows left out, reports, stops."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from delift_core.errors import DataError, ScoringError, Stopped
from delift_core.evaluation.arms import NO_DIFFERENCE, TOO_FEW_ROWS
from delift_core.evaluation.evaluate import evaluate
from delift_core.evaluation.evaluation_request import EvaluationRequest, FineTuning
from delift_core.evaluation.fine_tuner import unseen_rows
from delift_core.evaluation.report import EvaluationReport, LeftOutRow
from delift_core.models.loading import load_model
from delift_core.samples import Message, ParsedRecord, Sample, with_ids
from delift_core.system.callbacks import new_messages

pytestmark = pytest.mark.slow

QUICK = FineTuning(epochs=3, learning_rate=3e-3, rows_per_step=4)


def rows(pairs: list[tuple[str, str]], source: str = "pool.jsonl") -> tuple[Sample, ...]:
    return with_ids(
        ParsedRecord((Message("user", prompt), Message("assistant", response)), "{}", source, line)
        for line, (prompt, response) in enumerate(pairs, start=1)
    )


USEFUL = [(f"Count to {n}.", "one two three four five six"[: 8 + n]) for n in range(6)]
USELESS = [(f"Letter {n}?", f"%$#@!{'&*' * n}") for n in range(18)]
POOL = rows(USELESS[:9] + USEFUL + USELESS[9:])
SUBSET = tuple(range(9, 15))
HELDOUT = rows([(f"Count up to {n}.", "one two three four five six"[: 8 + n]) for n in range(12)], "heldout.jsonl")


@pytest.fixture
def request_(model: str) -> EvaluationRequest:
    return EvaluationRequest(POOL, SUBSET, HELDOUT, model=model, device="cpu", tuning=QUICK, seeds=2)


def changed(request: EvaluationRequest, **changes: object) -> EvaluationRequest:
    values = {name: getattr(request, name) for name in EvaluationRequest.__slots__}
    return EvaluationRequest(**(values | changes))


def of(report: EvaluationReport, name: str) -> object:
    found = report.arm(name)  # type: ignore[arg-type]
    assert found is not None
    return found


@pytest.mark.slow
def test_a_subset_like_the_held_out_rows_beats_random_rows_of_its_size(request_: EvaluationRequest) -> None:
    lines: list[str] = []
    report = evaluate(changed(request_, against=("random", "full", "longest")), publish=new_messages(lines.append))
    assert [arm.name for arm in report.arms] == ["untouched", "subset", "random", "full", "longest"]
    assert [arm.rows for arm in report.arms] == [0, 6, 6, 24, 6]
    assert [arm.steps for arm in report.arms] == [0, 6, 6, 18, 6]
    assert [len(arm.runs) for arm in report.arms] == [1, 2, 2, 1, 1]
    subset, random, untouched = (of(report, name) for name in ("subset", "random", "untouched"))
    assert subset.loss.value < random.loss.value < untouched.loss.value
    assert subset.gap is None
    assert subset.verdict == ""
    for other in (random, untouched):
        assert other.gap.value == pytest.approx(subset.loss.value - other.loss.value)
        assert other.gap.high < 0
        assert other.verdict == f"lower loss by {-other.gap.value:.4f}"
    for arm in report.arms:
        assert arm.loss.low <= arm.loss.value <= arm.loss.high
        assert arm.loss.value == pytest.approx(np.mean(arm.runs))
        assert arm.perplexity == pytest.approx(math.exp(arm.loss.value))
    assert len(set(random.runs)) == 2  # another draw each
    assert report.heldout_tokens == sum(len(sample.response) for sample in HELDOUT)  # one token a byte
    assert sum("held-out rows" in line for line in lines) == 7  # one line a run


@pytest.mark.slow
def test_the_same_request_gives_the_same_numbers(request_: EvaluationRequest) -> None:
    short = changed(request_, tuning=FineTuning(epochs=1, learning_rate=1e-3), against=("random",))
    first, second = (evaluate(short) for _ in range(2))
    assert [(arm.runs, arm.loss, arm.gap) for arm in first.arms] == [
        (arm.runs, arm.loss, arm.gap) for arm in second.arms
    ]
    other = evaluate(changed(short, first_seed=1))
    assert of(other, "random").runs[0] == of(first, "random").runs[1]  # seed 1 is seed 1
    assert of(other, "random").runs[1] not in of(first, "random").runs


@pytest.mark.slow
def test_every_arm_starts_from_the_same_weights(request_: EvaluationRequest) -> None:
    """The order of the arms makes no difference, so nothing of one is left in the next."""
    short = changed(request_, tuning=FineTuning(epochs=1, learning_rate=1e-2), seeds=1)
    there = evaluate(changed(short, against=("longest", "full")))
    back = evaluate(changed(short, against=("full", "longest")))
    for name in ("untouched", "subset", "full", "longest"):
        assert of(there, name).runs == of(back, name).runs


def test_the_longest_responses_are_those_of_the_pool(request_: EvaluationRequest) -> None:
    whole = changed(request_, subset_positions=tuple(range(len(POOL))), against=("longest", "full"), seeds=1)
    report = evaluate(changed(whole, tuning=FineTuning(epochs=1, rows_per_step=100)))
    # all rows are also the longest rows, and one step over all of them knows no order
    assert of(report, "longest").loss.value == pytest.approx(of(report, "full").loss.value, rel=1e-5)


def test_held_out_rows_that_were_seen_are_left_out_by_line(request_: EvaluationRequest) -> None:
    heldout = (*HELDOUT[:9], *rows([("What?", "That."), USEFUL[2], ("Target?", "Yes.")], "extra.jsonl"))
    mixed = changed(request_, heldout=heldout, target=rows([("Target?", "Yes.")], "target.jsonl"), against=(), seeds=1)
    fresh, left_out = unseen_rows(mixed)
    assert fresh == heldout[:10]
    assert left_out == (
        LeftOutRow("extra.jsonl", 2, "the same row is in the pool"),
        LeftOutRow("extra.jsonl", 3, "the same row is in the target"),
    )
    report = evaluate(mixed)
    assert report.heldout_rows == 10
    assert report.left_out == left_out
    assert "Left out: extra.jsonl, row 2: the same row is in the pool" in report.lines()


def test_held_out_rows_that_were_all_seen_are_an_error_of_one_line(request_: EvaluationRequest) -> None:
    with pytest.raises(DataError, match=r"all 24 held-out rows .* pool.jsonl, row 1\)") as caught:
        evaluate(changed(request_, heldout=POOL))
    assert "\n" not in str(caught.value)


def test_rows_that_do_not_fit_take_no_part_and_are_named(request_: EvaluationRequest) -> None:
    endless = ("Go on.", "x" * 600)
    pool = (*POOL, *rows([endless], "more.jsonl"))
    report = evaluate(
        changed(
            request_,
            pool=pool,
            subset_positions=(*SUBSET, 24),
            heldout=(*HELDOUT, *rows([("And on.", "y" * 600)], "extra.jsonl")),
            against=("longest",),
            seeds=1,
            tuning=FineTuning(epochs=1),
        )
    )
    assert (report.pool_rows, report.subset_rows, report.heldout_rows) == (24, 6, 12)
    assert [(row.source, row.line) for row in report.left_out] == [("extra.jsonl", 1), ("more.jsonl", 1)]
    assert all("600 tokens" in row.reason for row in report.left_out)
    with pytest.raises(ScoringError, match="no row of the subset"):
        evaluate(changed(request_, pool=pool, subset_positions=(24,)))
    with pytest.raises(DataError, match="no held-out row can be scored.*600 tokens"):
        evaluate(changed(request_, heldout=rows([("And on.", "y" * 600)])))


def test_requests_that_make_no_sense_are_refused(request_: EvaluationRequest) -> None:
    for changes, words in [
        ({"heldout": ()}, "no held-out rows"),
        ({"subset_positions": ()}, "the subset is empty"),
        ({"subset_positions": (3, 24)}, "position 24 and the pool has 24 rows"),
        ({"against": ("random", "best")}, "no arm 'best'.*random, random-tokens, full, longest"),
        ({"seeds": 0}, "0 seeds"),
        ({"against": ("column-mean",)}, "column-mean needs the utilities"),
        ({"examples": -1}, "counted from 0"),
    ]:
        with pytest.raises(DataError, match=words):
            changed(request_, **changes)


def test_few_held_out_rows_give_no_verdict(request_: EvaluationRequest) -> None:
    report = evaluate(changed(request_, heldout=HELDOUT[:3], against=(), seeds=1))
    assert of(report, "untouched").verdict == TOO_FEW_ROWS
    assert report.lines()[-1].endswith(f"measured on 3 held-out rows: {TOO_FEW_ROWS}.")


def test_a_stop_ends_the_evaluation(request_: EvaluationRequest) -> None:
    asked: list[int] = []

    def stop() -> bool:
        asked.append(1)
        return len(asked) > 4

    with pytest.raises(Stopped, match="fine-tuning steps"):
        evaluate(request_, stop=stop)
    assert len(asked) == 5


def test_too_little_memory_is_refused_before_anything_is_trained(
    request_: EvaluationRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("delift_core.evaluation.training.free_bytes", lambda device: 1000)
    lines: list[str] = []
    with pytest.raises(ScoringError, match="of memory"):
        evaluate(request_, publish=new_messages(lines.append))
    assert not any("untouched" in line for line in lines)


def test_progress_is_said_now_and_then_with_the_time_left(request_: EvaluationRequest) -> None:
    ticks = iter(range(10_000))
    lines: list[str] = []
    evaluate(
        changed(request_, against=(), seeds=1), publish=new_messages(lines.append), clock=lambda: float(next(ticks))
    )
    steps = [line for line in lines if "left in all" in line]
    assert steps
    assert steps[0].startswith("subset: step ")
    assert len(steps) < 6  # not at every step


def test_the_table_is_aligned_and_ends_with_a_sentence(request_: EvaluationRequest) -> None:
    report = evaluate(changed(request_, tuning=FineTuning(epochs=1, learning_rate=1e-9), seeds=1))
    lines = report.lines()
    columns = [lines[0].index(heading) for heading in ("the subset has", "arm")]
    for line, arm in zip(lines[1:5], report.arms, strict=True):
        assert line[columns[1] :].startswith(arm.name)
        assert line[columns[0] :].startswith(arm.verdict)
    assert of(report, "random").verdict == NO_DIFFERENCE  # nothing was learnt at this rate
    assert lines[-1] == (
        "Fine-tuned on the subset (6 of 24 rows) and measured on 12 held-out rows: "
        f"against the untouched model, {_said(report, 'untouched')}; "
        f"against random subsets of 6 rows, {NO_DIFFERENCE}; against all 24 rows, {NO_DIFFERENCE}."
    )


def _said(report: EvaluationReport, name: str) -> str:
    words = of(report, name).verdict
    return words if words == NO_DIFFERENCE else f"{words} nats per token"


def test_the_report_survives_json(request_: EvaluationRequest) -> None:
    report = evaluate(changed(request_, tuning=FineTuning(epochs=1), against=("random",), seeds=1))
    document = json.loads(json.dumps(report.as_json(), allow_nan=False))
    assert document["arms"][2]["gap"]["value"] == of(report, "random").gap.value
    assert document["arms"][1]["gap"] is None
    assert document["arms"][2]["perplexity"] == of(report, "random").perplexity
    assert document["conclusion"] == report.lines()[-1]


def test_a_saved_model_is_what_is_evaluated(request_: EvaluationRequest, model: str) -> None:
    report = evaluate(changed(request_, against=(), seeds=1, tuning=FineTuning(epochs=1)))
    assert report.revision == load_model(model, device="cpu").identity.revision
    assert Path(report.model) == Path(model)
