"""Arms: which rows each run trains on, and means, intervals and verdicts of their losses."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from delift_core.errors import ScoringError, Stopped
from delift_core.evaluation.arms import (
    NO_DIFFERENCE,
    TOO_FEW_ROWS,
    Estimate,
    difference,
    loss_estimate,
    mean_loss,
    plan_arms,
    verdict,
)
from delift_core.evaluation.cost import ResultCache
from delift_core.evaluation.evaluate import evaluate
from delift_core.evaluation.evaluation_request import EvaluationRequest, ExtraArm, FineTuning
from delift_core.evaluation.fine_tuner import rows_with_a_known_prompt
from delift_core.evaluation.measures import AnswerScorer, bleu, by_words_of, nearest, rouge_1, rouge_l, with_examples
from delift_core.evaluation.report import SCORES
from delift_core.models.loading import load_model
from delift_core.models.prompts import make_template
from delift_core.scoring.scorer import Scorer
from tests.evaluation.test_evaluate import HELDOUT, POOL, SUBSET, changed, rows
from tests.tiny_models import loaded

QUICK = FineTuning(epochs=1, learning_rate=3e-3, rows_per_step=4)


@pytest.fixture
def quick(model: str) -> EvaluationRequest:
    return EvaluationRequest(POOL, SUBSET, HELDOUT, model=model, device="cpu", tuning=QUICK, seeds=1, against=())


def test_random_rows_of_as_many_tokens(quick: EvaluationRequest) -> None:
    tokens = {at: len(sample.response) for at, sample in enumerate(POOL)}
    request = changed(quick, seeds=5, against=("random-tokens", "random"))
    arms = plan_arms(request, SUBSET, tokens, lambda name: np.arange(len(POOL)))
    limit, shortest = sum(tokens[at] for at in SUBSET), min(tokens.values())
    for run in arms[2].runs:
        used = sum(tokens[at] for at in run.rows)
        left = [tokens[at] for at in tokens if at not in run.rows]
        assert used <= limit < used + min(left, default=shortest)
    assert {len(run.rows) for run in arms[3].runs} == {len(SUBSET)}
    assert len({run.rows for run in arms[2].runs}) == 5


@pytest.mark.slow
def test_methods_and_others_take_as_many_rows_as_the_subset(quick: EvaluationRequest) -> None:
    request = changed(
        quick,
        against=("longest", "k-center", "ifd"),
        others=(ExtraArm("column-mean", tuple(range(23, -1, -1))), ExtraArm("mine", (0, 1))),
        method_runs=2,
    )
    report = evaluate(request)
    found = {arm.name: arm for arm in report.arms}
    assert list(found) == ["untouched", "subset", "longest", "k-center", "ifd", "column-mean", "mine"]
    assert found["column-mean"].positions == tuple(range(23, 17, -1))
    assert [found[name].rows for name in ("longest", "k-center", "ifd", "mine")] == [6, 6, 6, 2]
    assert len(found["ifd"].runs) == 2
    assert found["subset"].accuracy.low <= found["subset"].accuracy.value <= found["subset"].accuracy.high <= 1


@pytest.mark.slow
def test_what_is_known_is_not_measured_again(quick: EvaluationRequest, tmp_path: Path) -> None:
    request = changed(quick, against=("random", "loss-high"), seeds=2)
    cache = ResultCache(tmp_path / "runs")
    asked: list[int] = []

    def stop() -> bool:
        asked.append(1)
        return len(asked) > 9

    with pytest.raises(Stopped):
        evaluate(request, cache=cache, stop=stop)
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").iterdir()}
    assert kept
    assert not any(path.name.startswith(".") for path in kept)  # nothing half-written
    first = evaluate(request, cache=cache)
    assert all(path.stat().st_mtime_ns == time for path, time in kept.items())
    shares: list[float] = []
    again = evaluate(request, cache=cache, publish=lambda progress: shares.append(progress.share))
    plain = evaluate(request)
    for report in (again, plain):
        assert [(arm.runs, arm.gap) for arm in report.arms] == [(arm.runs, arm.gap) for arm in first.arms]
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1.0)


def test_a_damaged_run_is_made_again(quick: EvaluationRequest, tmp_path: Path) -> None:
    cache = ResultCache(tmp_path)
    first = evaluate(quick, cache=cache)
    for path in tmp_path.iterdir():
        path.write_bytes(path.read_bytes()[:50])
    assert [arm.runs for arm in evaluate(quick, cache=cache).arms] == [arm.runs for arm in first.arms]


def test_lora_adapters_are_saved_whole_and_never_over_another(quick: EvaluationRequest, tmp_path: Path) -> None:
    folder = tmp_path / "adapter"
    with pytest.raises(ScoringError, match="only LoRA layers can be saved"):
        evaluate(quick, adapter=folder)
    lora = changed(quick, tuning=FineTuning(epochs=1, learning_rate=1e-2, weights="lora"))
    report = evaluate(lora, adapter=folder)
    assert report.lora
    assert json.loads((folder / "adapter_config.json").read_text())["r"] == 8
    assert (folder / "adapter_model.safetensors").stat().st_size > 1000
    assert [path.name for path in tmp_path.iterdir()] == ["adapter"]
    with pytest.raises(ScoringError, match="is not empty"):
        evaluate(lora, adapter=folder)
    assert "LoRA layers" in "\n".join(report.lines())


def test_a_model_without_the_layers_that_lora_wants_is_refused_by_name(quick: EvaluationRequest) -> None:
    from delift_core.models.lora import LoraSettings

    tuning = FineTuning(weights="lora", lora=LoraSettings(layers=("no_such_layer",)))
    with pytest.raises(ScoringError, match="this model has no layers no_such_layer for LoRA, only q_proj"):
        evaluate(changed(quick, tuning=tuning))


def test_examples_in_context_stand_before_the_query_nearest_last() -> None:
    chosen = np.array([[1.0, 0.0], [0.0, 1.0], [0.7, 0.7]])
    assert nearest(chosen, np.array([[1.0, 0.1]]), 2).tolist() == [[2, 0]]
    tiny = loaded()
    template = make_template(tiny.tokenizer)
    one, two, three = (template.encode(sample.conversation) for sample in POOL[:3])
    row = with_examples(one, [two, three], 512)
    assert row.query == one.before_query(two) + three.example(one.head) + one.query
    room = len(one.before_query(three) + one.query) + len(one.response)
    assert with_examples(one, [two, three], room).query == one.before_query(three) + one.query
    assert with_examples(one, [two, three], 20).query == one.alone


@pytest.mark.slow
def test_the_subset_as_examples_is_measured_without_training(quick: EvaluationRequest) -> None:
    report = evaluate(changed(quick, examples=2, against=("random", "full"), seeds=3))
    found = {arm.name: arm for arm in report.in_context}
    assert list(found) == ["untouched", "subset", "random", "full"]
    assert found["untouched"].runs == pytest.approx(report.arms[0].runs)
    assert len(found["subset"].runs) == 1  # an order of rows plays no part
    assert len(found["random"].runs) == 3
    assert len({*found["random"].runs, *found["subset"].runs, *found["untouched"].runs}) == 5
    assert any("nearest rows of each as examples" in line for line in report.lines())


@pytest.mark.slow
def test_answers_are_written_and_scored(quick: EvaluationRequest) -> None:
    report = evaluate(changed(quick, generate=3, answer_tokens=4, against=("full",)))
    scores = {arm.name: {score.name: score for score in arm.answers} for arm in report.arms}
    assert tuple(scores["subset"]) == SCORES
    assert scores["subset"]["ROUGE-1"].gap is None
    assert scores["full"]["ROUGE-1"].gap is not None
    json.dumps(report.as_json(), allow_nan=False)


def test_answer_scores_by_hand() -> None:
    assert rouge_1("the cat sat", "The cat lay down") == pytest.approx(2 * 2 / 7)
    assert rouge_l("sat the cat", "the cat sat") == pytest.approx(2 * 2 / 6)
    assert bleu("a b c d e", "a b c d e") == pytest.approx(1.0)
    assert bleu("x", "a b c d e") < 0.1
    assert by_words_of("It is 1,200.", "#### 1200")[3:] == (0.0, 1.0)
    assert by_words_of("Blue!", "blue")[3:] == (1.0, 0.0)
    assert rouge_1("", "") == 1.0


def test_an_answer_that_is_its_reference_is_nearest_by_embedding(quick: EvaluationRequest) -> None:
    scorer = Scorer(load_model(quick.model, device="cpu", dtype="float32"))
    references = ["one two three", "blue", "four five"]
    answer_scorer = AnswerScorer(scorer, make_template(scorer.loaded.tokenizer).head.alone, references)
    same, other = answer_scorer.score(references), answer_scorer.score(["blue", "", "one two three"])
    assert same.shape == (len(SCORES), 3)
    assert same[-1] == pytest.approx(1.0)
    assert other[-1, 1] == 0
    assert (other[-1, [0, 2]] < 0.9).all()


def test_a_prompt_that_the_pool_has_too_is_named(quick: EvaluationRequest) -> None:
    heldout = (*HELDOUT, *rows([(" count TO  3. ", "three")], "extra.jsonl"))
    (found,) = rows_with_a_known_prompt(changed(quick, heldout=heldout), heldout)
    assert (found.source, found.line, found.reason) == ("extra.jsonl", 1, "row 13 of the pool has the same prompt")
    assert f"Note: {found}" in evaluate(changed(quick, heldout=heldout)).lines()


def test_the_mean_weighs_rows_by_their_tokens_and_runs_alike() -> None:
    losses = np.array([[2.0, 9.0], [4.0, 3.0]])
    assert mean_loss(losses, np.array([1, 5])) == pytest.approx((11 / 6 + 7 / 6) / 2)


def test_the_interval_of_a_mean_is_the_normal_one_when_there_are_many_rows() -> None:
    """With one token a row, the standard error of the mean is known: s / sqrt(n)."""
    losses = np.random.default_rng(0).exponential(2.0, size=(1, 400))
    estimate = loss_estimate(losses, np.ones(400), seed=0)
    error = losses.std() / np.sqrt(400)
    assert estimate.value == pytest.approx(losses.mean())
    assert estimate.low == pytest.approx(losses.mean() - 1.96 * error, abs=0.15 * error)
    assert estimate.high == pytest.approx(losses.mean() + 1.96 * error, abs=0.15 * error)


def test_runs_that_differ_widen_the_interval() -> None:
    """Rows without spread: two runs at 1 and 2 average to 1, 1.5 or 2 when drawn again."""
    losses = np.array([np.full(50, 1.0), np.full(50, 2.0)])
    assert loss_estimate(losses, np.ones(50), seed=0) == Estimate(1.5, 1.0, 2.0)


def test_the_difference_is_paired_by_row() -> None:
    """Rows that differ a lot among themselves and by a constant between arms: the constant is certain."""
    tokens = np.random.default_rng(1).integers(1, 30, size=60)
    arm = np.random.default_rng(2).exponential(5.0, size=60) * tokens
    gap = difference((arm - 0.25 * tokens)[None], arm[None], tokens, seed=0)
    assert [gap.value, gap.low, gap.high] == pytest.approx([-0.25] * 3)
    assert verdict(gap, 60) == "lower loss by 0.2500"
    assert verdict(difference(arm[None], (arm - 0.25 * tokens)[None], tokens, seed=0), 60) == "higher loss by 0.2500"


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=5)
def test_an_arm_does_not_differ_from_itself(seed: int) -> None:
    losses = np.random.default_rng(seed).exponential(size=(1, 20))
    gap = difference(losses, losses, np.full(20, 3), seed=seed)
    assert gap == Estimate(0.0, 0.0, 0.0)
    assert verdict(gap, 20) == NO_DIFFERENCE


def test_arms_of_equal_distribution_are_seldom_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """The interval leaves out the truth in about one of twenty cases, not in a third of them."""
    monkeypatch.setattr("delift_core.evaluation.arms.RESAMPLES", 200)
    generator = np.random.default_rng(5)
    found = 0
    for case in range(60):
        arms = generator.normal(3.0, 1.0, size=(2, 40))
        found += verdict(difference(arms[:1], arms[1:], np.ones(40), seed=case), 40) != NO_DIFFERENCE
    assert 0 < found <= 8


def test_equal_seeds_give_equal_intervals() -> None:
    losses = np.random.default_rng(0).exponential(size=(3, 30))
    tokens = np.full(30, 2)
    assert loss_estimate(losses, tokens, seed=1) == loss_estimate(losses, tokens, seed=1)
    assert loss_estimate(losses, tokens, seed=1) != loss_estimate(losses, tokens, seed=2)


def test_an_interval_that_touches_zero_gives_no_direction_and_few_rows_none_at_all() -> None:
    assert verdict(Estimate(-0.1, -0.2, 0.0), 100) == NO_DIFFERENCE
    assert verdict(Estimate(-0.1, -0.2, -0.01), 100) == "lower loss by 0.1000"
    assert verdict(Estimate(0.1, 0.01, 0.2), 100) == "higher loss by 0.1000"
    assert verdict(Estimate(-1e-6, -2e-6, -1e-7), 100) == NO_DIFFERENCE
    assert verdict(Estimate(-0.1, -0.2, -0.01), 7) == TOO_FEW_ROWS
