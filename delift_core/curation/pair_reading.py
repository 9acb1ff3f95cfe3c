"""One pair token by token: the probabilities of the helped response without and with the example.

A run stores sums over response tokens. Here the same forward passes are repeated for one pair, with the run's model.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from delift_core.curation.scoring_runs import ScoredRun
from delift_core.errors import ScoringError
from delift_core.jobs.preparation import encode_samples, scoring_context
from delift_core.models.loading import load_model
from delift_core.models.prompts import EncodedSample, make_template
from delift_core.samples import Sample

_BROKEN = "\N{REPLACEMENT CHARACTER}"  # decoded from an incomplete character


@dataclass(frozen=True, slots=True)
class ResponsePiece:
    """A token of the response (or the tokens of one character) with its probability in both contexts.

    Attributes:
        text: as decoded; the texts of all pieces together are the response.
        alone: probability without an example, in [0, 1].
        with_example: probability with the example, in [0, 1].
    """

    text: str
    alone: float
    with_example: float

    @property
    def change(self) -> float:
        """How much the example raised the probability, in [-1, 1]."""
        return self.with_example - self.alone


class PairReader:
    """The model of a run, loaded again to read single pairs."""

    def __init__(self, run: ScoredRun) -> None:
        """Loads the model, which takes seconds.

        Raises:
            ModelError: the model cannot be loaded any more.
            ScoringError: the model has changed since the run was scored.
        """
        from delift_core.scoring.scorer import Scorer  # imports torch, which no page needs before a pair is read

        spec = run.record.spec
        loaded = load_model(spec.model, device=spec.device, dtype=spec.dtype)
        self._template = make_template(loaded.tokenizer, spec.template)
        if scoring_context(loaded.identity, self._template).key != run.record.context_key:
            raise ScoringError(
                f"the model {spec.model} has changed since run {run.record.id} was scored; "
                "score the pool again to read its pairs"
            )
        self._scorer = Scorer(loaded)

    def pieces(self, helped: Sample, helper: Sample) -> tuple[ResponsePiece, ...]:
        """The response of `helped`, without and with `helper` as its example."""
        from delift_core.scoring.batches import Suffix

        row, column = self._encoded(helped), self._encoded(helper)
        head = self._scorer.prefill(self._template.head_alone)
        example = self._scorer.prefill(self._template.head + column.example)
        alone = self._scorer.token_log_p(head, Suffix(row.query_alone, row.response))
        with_example = self._scorer.token_log_p(example, Suffix(row.query, row.response))
        tokenizer = self._scorer.loaded.tokenizer
        texts = _texts(lambda tokens: str(tokenizer.decode(tokens, clean_up_tokenization_spaces=False)), row.response)
        return tuple(
            ResponsePiece(text, float(np.exp(alone[part].sum())), float(np.exp(with_example[part].sum())))
            for text, part in texts
        )

    def _encoded(self, sample: Sample) -> EncodedSample:
        context_length = self._scorer.loaded.identity.context_length
        encoded, refused = encode_samples(self._template, {sample.content_hash: sample.messages}, context_length)
        if refused:
            raise ScoringError(refused[0].reason)
        return encoded[sample.content_hash]


def _texts(decode: Callable[[list[int]], str], tokens: Sequence[int]) -> list[tuple[str, slice]]:
    """Splits tokens into texts with their slices; the tokens of one character stay together."""
    found, start = [], 0
    before = ""
    for end in range(1, len(tokens) + 1):
        whole = decode(list(tokens[:end]))
        if end < len(tokens) and whole.endswith(_BROKEN):
            continue
        found.append((whole[len(before) :], slice(start, end)))
        before, start = whole, end
    return found
