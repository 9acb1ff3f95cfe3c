"""One pair token by token: the probabilities of the helped response without and with the example.

A run stores sums over response tokens. Here the same forward passes are repeated for one pair, with the run's model.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from delift_core.curation.scoring_runs import ScoredRun
from delift_core.errors import ScoringError
from delift_core.jobs.preparation import encode_samples, scoring_context
from delift_core.models.encoded import EncodedSample
from delift_core.models.loading import load_model
from delift_core.models.prompts import WholePairs, make_template
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
        self._template = make_template(loaded.tokenizer, spec.template, spec.template_arguments)
        if scoring_context(loaded.identity, self._template).key != run.record.context_key:
            raise ScoringError(
                f"the model {spec.model}, or how prompts are written for it, has changed since run {run.record.id} was "
                "scored; "
                "score the pool again to read its pairs"
            )
        self._scorer = Scorer(loaded)

    def pieces(self, helped: Sample, helper: Sample) -> tuple[ResponsePiece, ...]:
        """The response of `helped`, without and with `helper` as its example."""
        from delift_core.scoring.batches import Suffix
        from delift_core.scoring.prefixes import EMPTY_PREFIX

        row, column = self._encoded(helped, helper)
        head = self._scorer.prefill(row.head.alone)
        before = row.before_query(column)
        if before is None:
            conversations = {"helped": helped.conversation, "helper": helper.conversation}
            pair = WholePairs(self._template, conversations, self._scorer.loaded.identity.context_length)
            whole = pair.before_response("helped", "helper", len(row.response))
            example, suffix = EMPTY_PREFIX, Suffix(whole, row.response)
        else:
            example, suffix = self._scorer.prefill(before), Suffix(row.query, row.response)
        alone = self._scorer.token_log_p(head, Suffix(row.query_alone, row.response))
        with_example = self._scorer.token_log_p(example, suffix)
        tokenizer = self._scorer.loaded.tokenizer
        texts = _texts(lambda tokens: str(tokenizer.decode(tokens, clean_up_tokenization_spaces=False)), row.response)
        return tuple(
            ResponsePiece(text, float(np.exp(alone[part].sum())), float(np.exp(with_example[part].sum())))
            for text, part in texts
        )

    def _encoded(self, *samples: Sample) -> list[EncodedSample]:
        context_length = self._scorer.loaded.identity.context_length
        conversations = {sample.content_hash: sample.conversation for sample in samples}
        encoded, refused = encode_samples(self._template, conversations, context_length)
        if refused:
            raise ScoringError(refused[0].reason)
        return [encoded[sample.content_hash] for sample in samples]


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
