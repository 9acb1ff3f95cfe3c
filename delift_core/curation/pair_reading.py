"""Reading one pair: the helped response piece by piece, with its probabilities without and with the example.

The scores of a run are sums over response tokens; here the same forward passes are taken apart again, for one pair at
a time, with the model that the run was scored with.
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

_BROKEN = "\N{REPLACEMENT CHARACTER}"  # what a tokenizer writes for a part of a character


@dataclass(frozen=True, slots=True)
class ResponsePiece:
    """A token of the response, or the few tokens of one character, with its probability in both contexts.

    Attributes:
        text: as the tokenizer writes it; the texts of all pieces together are the response.
        alone: probability without an example, in [0, 1].
        with_example: probability with it.
    """

    text: str
    alone: float
    with_example: float

    @property
    def change(self) -> float:
        """How much the example raised the probability, in [-1, 1]."""
        return self.with_example - self.alone


class PairReader:
    """The model of one run, loaded again for reading."""

    def __init__(self, run: ScoredRun) -> None:
        """Loads the model, which takes seconds and its memory.

        Raises:
            ModelError: it cannot be loaded any more.
            ScoringError: it is no longer the one that the run was scored with.
        """
        from delift_core.scoring.scorer import Scorer  # with torch, which the pages do without until a pair is read

        spec = run.record.spec
        loaded = load_model(spec.model, device=spec.device, dtype=spec.dtype)
        self._template = make_template(loaded.tokenizer, spec.template)
        if scoring_context(loaded.identity, self._template).key != run.record.context_key:
            raise ScoringError(
                f"the model {spec.model} is not the one that run {run.record.id} was scored with any more; "
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
    """Texts that join to the whole, each with its tokens; a character of several tokens is one text."""
    found, start = [], 0
    before = ""
    for end in range(1, len(tokens) + 1):
        whole = decode(list(tokens[:end]))
        if end < len(tokens) and whole.endswith(_BROKEN):
            continue
        found.append((whole[len(before) :], slice(start, end)))
        before, start = whole, end
    return found
