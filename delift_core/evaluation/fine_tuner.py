"""One loaded model and the encoded rows that all arms share: fine-tunes, measures, asks methods for their orders."""

import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from delift_core.baselines.settings import MethodConfig
from delift_core.errors import DataError, ScoringError
from delift_core.evaluation.arms import Run
from delift_core.evaluation.evaluation_request import EvaluationRequest
from delift_core.evaluation.method_orders import order_facts
from delift_core.evaluation.report import SCORES, LeftOutRow
from delift_core.evaluation.result_cache import Arrays, ResultCache
from delift_core.jobs.preparation import encode_samples
from delift_core.models.loading import LoadedModel
from delift_core.models.prompts import EncodedSample, Template, make_template
from delift_core.samples import Sample
from delift_core.scoring.batches import Suffix
from delift_core.selection.methods import METHODS, Method
from delift_core.system.files import temporary_prefix

if TYPE_CHECKING:
    from peft import PeftModel

    from delift_core.baselines.ordering import MethodRunner
    from delift_core.evaluation.measures import AnswerScorer

Stop = Callable[[], bool]
OnStep = Callable[[int], None]
MEASURED, ANSWERS = "measured", "answers"  # (2, n) of heldout.measure; (6, g) of answers.AnswerScorer, if asked for


class FineTuner:
    """Everything that is loaded once for an evaluation."""

    def __init__(
        self, request: EvaluationRequest, loaded: LoadedModel, heldout: Sequence[Sample], cache: ResultCache, stop: Stop
    ) -> None:
        """Args:
            heldout: rows that the selection has not seen.
            stop: asked before every step and batch.

        Raises:
            DataError: no held-out row fits the model.
            ScoringError: no row of the subset does.
        """
        from delift_core.scoring.scorer import Scorer

        self.request, self.loaded, self.stop = request, loaded, stop
        self._keeper = cache
        self.scorer: Scorer = Scorer(loaded, tokens_per_batch=request.tuning.batch_tokens)
        self.template: Template = make_template(loaded.tokenizer, request.template)
        self.pool, refused_pool = self._encode(request.pool)
        measured, refused_heldout = self._encode(heldout)
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
        """Held-out rows that are answered."""
        return min(self.request.generate, len(self.heldout))

    def fine_tune(self, run: Run, on_step: OnStep = lambda step: None, *, adapter: Path | None = None) -> Arrays:
        """What the held-out rows look like after a run; the untouched model's where it has no rows.

        Args:
            on_step: called with the number of steps done, after each.
            adapter: a new folder for the LoRA layers of this run; the run is made even if its numbers are known.
        """
        from delift_core.evaluation.finetune import fine_tuned

        facts = self._facts(run)
        known = self._keeper.load(facts)
        if known is not None and adapter is None:
            return known
        rows = [self.pool[position] for position in run.rows]
        head, tuning = self.template.head_alone, self.request.tuning
        if not rows:
            found, written = {MEASURED: self.look(self.plain_rows)}, self._answers()
        else:
            with fine_tuned(self.loaded, head, rows, tuning, seed=run.seed, stop=self.stop, on_step=on_step) as log:
                if adapter is not None and log.adapted is not None:
                    _save_whole(log.adapted, adapter)
                found, written = {MEASURED: self.look(self.plain_rows)}, self._answers()
        if written:  # scored with the weights put back: one scorer_of_answers for every arm
            found[ANSWERS] = self._answer_scorer.score(written)
        self._keeper.save(facts, found)
        return found

    def in_context(self, run: Run) -> Arrays:
        """As `fine_tune`, without training: each held-out row after its nearest examples among the run's rows."""
        from delift_core.evaluation.measures import nearest, with_examples

        k, length = self.request.examples, self.loaded.identity.context_length
        chosen = sorted(run.rows)  # in whatever order a run takes its rows, here it makes no difference
        rows = self.plain_rows
        if chosen:
            place = {position: at for at, position in enumerate(self.pool)}
            near = nearest(self._pool_queries[[place[at] for at in chosen]], self._heldout_queries, k)
            rows = [
                with_examples(self.template, sample, [self.pool[chosen[at]] for at in beside], length)
                for sample, beside in zip(self.heldout, near, strict=True)
            ]
        return {MEASURED: self.look(rows)}

    def order_of(self, method: str) -> np.ndarray:
        """Positions of the pool in a method's order; (n,) int64 over the rows that fit the model."""
        config = MethodConfig(_method(method), seed=self.request.first_seed, less=self.request.less)
        rows = [self.request.pool[position] for position in self.pool]
        facts = order_facts(config, self._model_facts(), rows, self.request.target)
        known = self._keeper.load(facts)
        if known is None:
            known = {"order": self._methods.order(config)}
            self._keeper.save(facts, known)
        return np.array(list(self.pool))[known["order"]]

    @cached_property
    def _methods(self) -> "MethodRunner":
        from delift_core.baselines.ordering import MethodRunner

        target = tuple(self._encode(self.request.target)[0].values())
        samples = [self.request.pool[position] for position in self.pool]
        return MethodRunner(self.scorer, self.template, samples, tuple(self.pool.values()), target, stop=self.stop)

    def look(self, rows: Sequence[Suffix]) -> np.ndarray:
        """(2, n) of `heldout.measure` with the weights as they are now."""
        from delift_core.evaluation.measures import measure

        return measure(self.scorer, rows, stop=self.stop)

    @cached_property
    def plain_rows(self) -> list[Suffix]:
        """The held-out rows without examples before them."""
        head = self.template.head_alone
        return [Suffix(head + sample.query_alone, sample.response) for sample in self.heldout]

    @cached_property
    def _pool_queries(self) -> np.ndarray:
        from delift_core.evaluation.measures import query_embeddings

        return query_embeddings(self.scorer, self.template.head_alone, tuple(self.pool.values()), stop=self.stop)

    @cached_property
    def _heldout_queries(self) -> np.ndarray:
        from delift_core.evaluation.measures import query_embeddings

        return query_embeddings(self.scorer, self.template.head_alone, self.heldout, stop=self.stop)

    def _answers(self) -> tuple[str, ...]:
        """What the model writes now to the held-out rows that are answered; none where that was not asked for."""
        from delift_core.evaluation.measures import answer

        if not self.answered:
            return ()
        rows = self.plain_rows[: self.answered]
        return answer(self.loaded, rows, self.request.answer_tokens, stop=self.stop)

    @cached_property
    def _answer_scorer(self) -> "AnswerScorer":
        from delift_core.evaluation.measures import AnswerScorer

        references = [sample.response for sample in self._heldout_texts[: self.answered]]
        return AnswerScorer(self.scorer, self.template.head_alone, references, stop=self.stop)

    def _facts(self, run: Run) -> dict[str, object]:
        tuning = self.request.tuning
        return {
            "rows": self._hashes(run.rows),
            "seed": run.seed if run.rows else 0,
            "tuning": asdict(tuning) if run.rows else None,
            "layers": tuning.with_layers(self.loaded.identity.parameters),
            "heldout": [sample.content_hash for sample in self._heldout_texts],
            "answers": [*SCORES, self.answered, self.request.answer_tokens] if self.answered else [0, 0],
            "model": self._model_facts(),
        }

    def _hashes(self, positions: Sequence[int]) -> list[str]:
        return [self.request.pool[position].content_hash for position in positions]

    def _model_facts(self) -> list[str]:
        return [self.loaded.identity.revision, self.template.name, self.loaded.device.type]

    def _encode(self, samples: Sequence[Sample]) -> tuple[dict[int, EncodedSample], tuple[LeftOutRow, ...]]:
        """Token ids by position, and the rows that do not fit this model."""
        conversations = {sample.content_hash: sample.messages for sample in samples}
        encoded, refusals = encode_samples(self.template, conversations, self.loaded.identity.context_length)
        reasons = {refusal.content_hash: refusal.reason for refusal in refusals}
        usable = {
            at: encoded[sample.content_hash] for at, sample in enumerate(samples) if sample.content_hash in encoded
        }
        refused = [sample for sample in samples if sample.content_hash in reasons]
        return usable, tuple(LeftOutRow(s.source, s.line, reasons[s.content_hash]) for s in refused)


def _method(name: str) -> Method:
    return next(method for method in METHODS if method == name)


def _save_whole(adapted: "PeftModel", folder: Path) -> None:
    """Writes LoRA layers as a folder that appears whole or not at all."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(prefix=temporary_prefix(folder), dir=folder.parent))
    try:
        adapted.save_pretrained(str(building))
        building.replace(folder)
    except OSError as error:
        raise ScoringError(f"the adapter cannot be written to {folder} ({error}); name a new folder") from error
    finally:
        shutil.rmtree(building, ignore_errors=True)
