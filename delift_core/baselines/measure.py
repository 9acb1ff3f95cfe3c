"""Forward passes for the methods: losses and embeddings, losses of responses without prompts, and ratings of rows.

    pool = MeasuredPool(scorer, template, samples, encoded)
    order = METHODS[name].order(pool, seed)

Losses and embeddings are measured once for all methods. This module knows nothing of scores and orders.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch

from delift_core.baselines import LessSettings
from delift_core.errors import ScoringError, Stopped
from delift_core.models.encoded import EncodedSample
from delift_core.samples import Conversation, Message, Sample
from delift_core.scoring.batches import Suffix
from delift_core.scoring.blocks import score_alone
from delift_core.scoring.metrics import LOG_PROBABILITY
from delift_core.scoring.prefixes import EMPTY_PREFIX
from delift_core.selection.methods import Pool
from delift_core.system.callbacks import Stop, never

if TYPE_CHECKING:
    from delift_core.models.prompts import Template
    from delift_core.scoring.scorer import Scorer

# SelectIT asks for the same rating in five wordings. These are our own; SelectIT's are in its code.
RATING_PROMPTS = (
    "Rate from 1 to 5 how well the response follows the instruction. Answer with the number only.",
    "On a scale of 1 to 5, where 5 is best, score how correct and helpful this response is. Give one digit.",
    "How accurately does the response do what the instruction asks? Reply with a score between 1 and 5.",
    "Judge the quality of the response to the instruction below with a single number from 1 to 5.",
    "Give this response a mark from 1 (poor) to 5 (excellent) for following its instruction. Write the mark alone.",
)
RATINGS = ("1", "2", "3", "4", "5")


@dataclass(frozen=True)
class EncodedRows:
    """Rows as texts and as token ids."""

    samples: Sequence[Sample] = ()
    encoded: Sequence[EncodedSample] = ()


@dataclass(frozen=True)
class MeasuredPool(Pool):
    """A pool whose rows a loaded model measures when a method asks for it, each kind of measurement once.

    What is asked raises `Stopped` if `stop` answers True, and `ScoringError` if the method does not work with this
    model. There are no utilities.
    """

    scorer: "Scorer"
    template: "Template"
    rows: EncodedRows  # the pool
    of_target: EncodedRows = EncodedRows()  # for the methods that use target rows
    less: LessSettings = LessSettings()
    stop: Stop = never  # asked before every forward pass

    @property
    def samples(self) -> Sequence[Sample]:
        return self.rows.samples

    @property
    def target(self) -> Sequence[Sample]:
        return self.of_target.samples

    @cached_property
    def tokens(self) -> np.ndarray:
        return np.array([len(sample.response) for sample in self.rows.encoded], dtype=np.int64)

    @cached_property
    def losses(self) -> np.ndarray:
        mean: np.ndarray = self._measured[0] / self.tokens
        return mean

    @property
    def embeddings(self) -> np.ndarray:
        return self._measured[1]

    @cached_property
    def target_embeddings(self) -> np.ndarray | None:
        return self._measure(self.of_target)[1] if self.of_target.encoded else None

    def losses_alone(self) -> np.ndarray:
        alone: np.ndarray = unconditional_losses(self.scorer, self.rows.encoded, stop=self.stop) / self.tokens
        return alone

    def ratings(self) -> np.ndarray:
        return ratings(self.scorer, self.template, self.samples, stop=self.stop)

    def influence(self, seed: int) -> np.ndarray:
        from delift_core.baselines.less import less_scores

        pool, target = self.rows.encoded, self.of_target.encoded
        return less_scores(self.scorer.loaded, pool, target, self.less, seed=seed, stop=self.stop)

    @cached_property
    def _measured(self) -> tuple[np.ndarray, np.ndarray]:
        return self._measure(self.rows)

    def _measure(self, rows: EncodedRows) -> tuple[np.ndarray, np.ndarray]:
        return losses_and_embeddings(self.scorer, rows.encoded, stop=self.stop)


def losses_and_embeddings(
    scorer: "Scorer", samples: Sequence[EncodedSample], *, stop: Stop = never
) -> tuple[np.ndarray, np.ndarray]:
    """(n,) float64 losses of the responses in nats and (n, d) float32 embeddings, from one forward pass over each row.

    Raises:
        Stopped: `stop` answered True.
    """
    loss, embeddings = np.zeros(len(samples)), [np.empty(0)] * len(samples)
    _raise_if_stopped(stop)
    for scored in score_alone(scorer, samples):
        loss[scored.rows] = -scored.statistics[:, LOG_PROBABILITY]
        for row, vector in zip(scored.rows, scored.embeddings, strict=True):
            embeddings[row] = vector
        _raise_if_stopped(stop)
    return loss, np.stack(embeddings).astype(np.float32)


def unconditional_losses(scorer: "Scorer", pool: Sequence[EncodedSample], *, stop: Stop = never) -> np.ndarray:
    """Loss of each response after nothing but the begin-of-text token, or end-of-text if there is none.

    Returns:
        (n,) float64 nats, summed over the response tokens.

    Raises:
        Stopped: `stop` answered True.
        ScoringError: the tokenizer has neither token.
    """
    tokenizer = scorer.loaded.tokenizer
    begin = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    if begin is None:
        raise ScoringError("IFD needs a begin- or end-of-text token and this tokenizer has none; use another method")
    losses = np.zeros(len(pool))
    for batch in scorer.make_batches([Suffix((int(begin),), sample.response) for sample in pool]):
        _raise_if_stopped(stop)
        statistics = scorer.score(EMPTY_PREFIX, batch)
        losses[batch.rows.cpu().numpy()] = -statistics[:, LOG_PROBABILITY].cpu().numpy()
    return losses


@torch.inference_mode()
def ratings(scorer: "Scorer", template: "Template", pool: Sequence[Sample], *, stop: Stop = never) -> np.ndarray:
    """Probabilities that the model's answer to each rating prompt about each row begins with "1" to "5".

    Returns:
        (n, 5 prompts, 5 ratings) float64.

    Raises:
        Stopped: `stop` answered True.
        ScoringError: a rating is not a single token.
    """
    digits = torch.tensor(rating_tokens(template), device=scorer.loaded.device)
    room = scorer.loaded.identity.context_length
    found = np.zeros((len(pool), len(RATING_PROMPTS), len(RATINGS)))
    for row, sample in enumerate(pool):
        for column, prompt in enumerate(RATING_PROMPTS):
            _raise_if_stopped(stop)
            asked = (Message("user", _question(prompt, sample)), Message("assistant", RATINGS[-1]))
            encoded = template.encode(Conversation(asked))
            head = encoded.head.alone
            tokens = head + encoded.query_alone[-max(1, room - len(head)) :]
            ids = torch.tensor([tokens], device=scorer.loaded.device)
            logits = scorer.loaded.model(input_ids=ids, use_cache=False, logits_to_keep=1).logits[0, -1]
            found[row, column] = logits.float().softmax(dim=0)[digits].cpu().numpy()
    return found


def rating_tokens(template: "Template") -> tuple[int, ...]:
    """The tokens of "1" to "5" as a response in this template.

    Raises:
        ScoringError: a rating is not a single token.
    """
    found = []
    for rating in RATINGS:
        asked = (Message("user", "Rate it."), Message("assistant", rating))
        response = template.encode(Conversation(asked)).response
        if len(response) != 1:
            raise ScoringError(
                f"SelectIT needs {rating!r} as one token, which this tokenizer lacks; use another method"
            )
        found.append(response[0])
    return tuple(found)


def _question(prompt: str, sample: Sample) -> str:
    return f"{prompt}\n\nInstruction: {sample.prompt}\n\nResponse: {sample.response}\n\nThe score is:"


def _raise_if_stopped(stop: Stop) -> None:
    if stop():
        raise Stopped("stopped before the method's order was complete; run it again")
