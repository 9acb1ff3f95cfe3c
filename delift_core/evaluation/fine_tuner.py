"""One loaded model and the encoded rows of an evaluation: fine-tunes and measures runs, and computes method orders."""

import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from delift_core.errors import DataError, ScoringError
from delift_core.evaluation.arms import Run
from delift_core.evaluation.cost import Arrays, ResultCache
from delift_core.evaluation.evaluation_request import EvaluationRequest
from delift_core.evaluation.measures import (
    AnswerScorer,
    answer,
    measure,
    nearest,
    query_embeddings,
    with_examples,
    without_examples,
)
from delift_core.evaluation.method_orders import order_key
from delift_core.evaluation.report import SCORES, LeftOutRow
from delift_core.evaluation.training import fine_tuned
from delift_core.jobs.preparation import encode_samples
from delift_core.models.encoded import EncodedSample
from delift_core.models.loading import LoadedModel
from delift_core.models.prompts import Template, make_template
from delift_core.samples import Sample
from delift_core.scoring.batches import Suffix
from delift_core.scoring.scorer import Scorer
from delift_core.selection.methods import method_entry
from delift_core.system.callbacks import Stop
from delift_core.system.files import temporary_prefix

if TYPE_CHECKING:
    from peft import PeftModel

    from delift_core.baselines.measure import MeasuredPool

OnStep = Callable[[int], None]
MEASURED, ANSWERS = "measured", "answers"  # names of a run's arrays: (2, n) of `measure`, (6, g) of `AnswerScorer`


class FineTuner:
    """The model, rows and settings that all runs of an evaluation share."""

    def __init__(
        self, request: EvaluationRequest, loaded: LoadedModel, heldout: Sequence[Sample], cache: ResultCache, stop: Stop
    ) -> None:
        """Args:
            heldout: rows that the selection has not seen.
            stop: asked before every step and batch.

        Raises:
            DataError: no held-out row fits the model's context.
            ScoringError: no row of the subset does.
        """
        self.request, self.loaded, self.stop = request, loaded, stop
        self._cache = cache
        self.scorer = Scorer(loaded, tokens_per_batch=request.tuning.batch_tokens)
        self.template: Template = make_template(loaded.tokenizer, request.template, request.template_arguments)
        self._encoded, self._reasons = self._encode((*request.pool, *heldout, *request.target))
        self.pool, refused_pool = self._usable(request.pool)
        measured, refused_heldout = self._usable(heldout)
        if not measured:
            raise DataError(f"no held-out row can be scored; {refused_heldout[0]}")
        self.heldout = tuple(measured.values())
        self._heldout_texts = tuple(heldout[at] for at in measured)
        self.tokens = np.array([len(sample.response) for sample in self.heldout])
        self.refused = refused_heldout + refused_pool
        positions = dict.fromkeys(request.subset_positions)
        self.subset = tuple(position for position in positions if position in self.pool)
        if not self.subset:
            raise ScoringError("no row of the subset fits this model's context; take a model with a longer one")

    @property
    def answered(self) -> int:
        """Number of held-out rows that are answered."""
        return min(self.request.generate, len(self.heldout))

    def fine_tune(self, run: Run, on_step: OnStep = lambda step: None, *, adapter: Path | None = None) -> Arrays:
        """Fine-tunes on a run's rows (not at all without rows), and measures the held-out rows.

        Args:
            on_step: called after each step with the number of steps done.
            adapter: a new folder for the LoRA layers of this run, which is then run even if its results are cached.

        Returns:
            `MEASURED` (2, n), see `measure`, and, if answers are requested, `ANSWERS` (6, g), see `AnswerScorer`.
        """
        key = self._key(run)
        cached = self._cache.load(key)
        if cached is not None and adapter is None:
            return cached
        rows = [self.pool[position] for position in run.rows]
        tuning = self.request.tuning
        if not rows:
            found, answers = {MEASURED: self.measure(self.plain_rows)}, self._answers()
        else:
            with fine_tuned(self.loaded, rows, tuning, seed=run.seed, stop=self.stop, on_step=on_step) as log:
                if adapter is not None and log.adapted is not None:
                    _save_adapter(log.adapted, adapter)
                found, answers = {MEASURED: self.measure(self.plain_rows)}, self._answers()
        if answers:  # scored after the block: embedded by the untouched model, the same for every arm
            found[ANSWERS] = self._answer_scorer.score(answers)
        self._cache.save(key, found)
        return found

    def in_context(self, run: Run) -> Arrays:
        """Measures the held-out rows without training, each after its nearest examples among the run's rows."""
        k, length = self.request.examples, self.loaded.identity.context_length
        chosen = sorted(run.rows)
        rows = self.plain_rows
        if chosen:
            row_of = {position: row for row, position in enumerate(self.pool)}
            near = nearest(self._pool_queries[[row_of[position] for position in chosen]], self._heldout_queries, k)
            rows = [
                with_examples(sample, [self.pool[chosen[at]] for at in examples], length)
                for sample, examples in zip(self.heldout, near, strict=True)
            ]
        return {MEASURED: self.measure(rows)}

    def order_of(self, method: str) -> np.ndarray:
        """(n,) int64 positions of the pool rows that fit the model, in a method's order."""
        seed, rows = self.request.first_seed, self._measured_pool.samples
        key = order_key(method, seed, self.request.less, self._model_key(), rows, self.request.target)
        found = self._cache.load(key)
        if found is None:
            found = {"order": method_entry(method).order(self._measured_pool, seed)}
            self._cache.save(key, found)
        return np.array(list(self.pool))[found["order"]]

    @cached_property
    def _measured_pool(self) -> "MeasuredPool":
        from delift_core.baselines.measure import EncodedRows, MeasuredPool

        encoded, given = self._usable(self.request.target)[0], self.request.target
        target = EncodedRows([given[position] for position in encoded], tuple(encoded.values()))
        rows = EncodedRows([self.request.pool[position] for position in self.pool], tuple(self.pool.values()))
        return MeasuredPool(self.scorer, self.template, rows, target, self.request.less, self.stop)

    def measure(self, rows: Sequence[Suffix]) -> np.ndarray:
        """(2, n), see `measures.measure`, with the current weights."""
        return measure(self.scorer, rows, stop=self.stop)

    @cached_property
    def plain_rows(self) -> list[Suffix]:
        """The held-out rows without examples."""
        return without_examples(self.heldout)

    @cached_property
    def _pool_queries(self) -> np.ndarray:
        return query_embeddings(self.scorer, tuple(self.pool.values()), stop=self.stop)

    @cached_property
    def _heldout_queries(self) -> np.ndarray:
        return query_embeddings(self.scorer, self.heldout, stop=self.stop)

    def _answers(self) -> tuple[str, ...]:
        """The current model's answers to the first held-out rows; () if none are requested."""
        if not self.answered:
            return ()
        rows = self.plain_rows[: self.answered]
        return answer(self.loaded, rows, self.request.answer_tokens, stop=self.stop)

    @cached_property
    def _answer_scorer(self) -> AnswerScorer:
        references = [sample.response for sample in self._heldout_texts[: self.answered]]
        return AnswerScorer(self.scorer, self.template.head.alone, references, stop=self.stop)

    def _key(self, run: Run) -> dict[str, object]:
        """Everything that the results of a run depend on."""
        tuning = self.request.tuning
        return {
            "rows": self._hashes(run.rows),
            "seed": run.seed if run.rows else 0,
            "tuning": asdict(tuning) if run.rows else None,
            "layers": tuning.uses_lora(self.loaded.identity.parameters),
            "heldout": [sample.content_hash for sample in self._heldout_texts],
            "answers": [*SCORES, self.answered, self.request.answer_tokens] if self.answered else [0, 0],
            "model": self._model_key(),
        }

    def _hashes(self, positions: Sequence[int]) -> list[str]:
        return [self.request.pool[position].content_hash for position in positions]

    def _model_key(self) -> list[str]:
        return [self.loaded.identity.revision, self.template.key, self.loaded.device.type]

    def _encode(self, samples: Sequence[Sample]) -> tuple[dict[str, EncodedSample], dict[str, str]]:
        """By content hash, the encoded samples, and why the others do not fit the model."""
        conversations = {sample.content_hash: sample.conversation for sample in samples}
        encoded, refusals = encode_samples(self.template, conversations, self.loaded.identity.context_length)
        return encoded, {refusal.content_hash: refusal.reason for refusal in refusals}

    def _usable(self, samples: Sequence[Sample]) -> tuple[dict[int, EncodedSample], tuple[LeftOutRow, ...]]:
        """The encoded samples by position, and the rows that do not fit the model."""
        hashes = [sample.content_hash for sample in samples]
        usable = {at: self._encoded[name] for at, name in enumerate(hashes) if name in self._encoded}
        refused = [sample for sample in samples if sample.content_hash in self._reasons]
        return usable, tuple(LeftOutRow(s.source, s.line, self._reasons[s.content_hash]) for s in refused)


def unseen_rows(request: EvaluationRequest) -> tuple[tuple[Sample, ...], tuple[LeftOutRow, ...]]:
    """Splits the held-out rows into those that the selection has not seen and those that it has.

    Raises:
        DataError: it has seen all of them.
    """
    seen = {sample.content_hash: "the target" for sample in request.target}
    seen |= {sample.content_hash: "the pool" for sample in request.pool}
    fresh = tuple(sample for sample in request.heldout if sample.content_hash not in seen)
    known = tuple(
        LeftOutRow(sample.source, sample.line, f"the same row is in {seen[sample.content_hash]}")
        for sample in request.heldout
        if sample.content_hash in seen
    )
    if not fresh:
        first = known[0]
        raise DataError(
            f"all {len(known):,} held-out rows are in the pool or the target (the first is {first.source}, row "
            f"{first.line}); give held-out rows that the selection has not seen"
        )
    return fresh, known


def rows_with_a_known_prompt(request: EvaluationRequest, heldout: Sequence[Sample]) -> tuple[LeftOutRow, ...]:
    """Held-out rows with the prompt of a pool row (ignoring case and whitespace), which are a weaker test."""
    prompts = {" ".join(sample.prompt.casefold().split()): sample.line for sample in reversed(request.pool)}
    keys = [(sample, " ".join(sample.prompt.casefold().split())) for sample in heldout]
    return tuple(
        LeftOutRow(sample.source, sample.line, f"row {prompts[key]} of the pool has the same prompt")
        for sample, key in keys
        if key in prompts
    )


def _save_adapter(adapted: "PeftModel", folder: Path) -> None:
    """Writes LoRA layers to a folder, atomically."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(prefix=temporary_prefix(folder), dir=folder.parent))
    try:
        adapted.save_pretrained(str(building))
        building.replace(folder)
    except OSError as error:
        raise ScoringError(f"the adapter cannot be written to {folder} ({error}); choose another folder") from error
    finally:
        shutil.rmtree(building, ignore_errors=True)
