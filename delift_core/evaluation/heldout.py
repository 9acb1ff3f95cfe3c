"""What a model makes of rows it was not trained on: loss and right guesses, token by token, one forward pass a row."""

from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
import torch

from delift_core.evaluation.request import EvaluationStopped
from delift_core.prompts import EncodedSample, Tokens
from delift_core.utility.batches import Suffix
from delift_core.utility.scorer import Scorer

LOSS, CORRECT = 0, 1  # first axis of what a run leaves behind


def response_loss(
    scorer: Scorer, head: Tokens, samples: Sequence[EncodedSample], *, stop: Callable[[], bool] = lambda: False
) -> np.ndarray:
    """As `measure`, for rows without examples before them.

    Args:
        head: token ids before every query (`Template.head_alone`).
    """
    return measure(scorer, [Suffix(head + sample.query_alone, sample.response) for sample in samples], stop=stop)


@torch.inference_mode()
def measure(scorer: Scorer, rows: Sequence[Suffix], *, stop: Callable[[], bool] = lambda: False) -> np.ndarray:
    """Loss and right guesses of each row's response given all that is before it.

    Args:
        scorer: of the model to measure; its weights as they are now.
        rows: n rows, everything before the response in the query.
        stop: asked before every batch.

    Returns:
        (2, n) float64: sum of -log p over the response tokens in nats (>= 0), and how many of them the model would
        have guessed (the likeliest token is the right one).

    Raises:
        EvaluationStopped: `stop` answered True.
    """
    found = np.zeros((2, len(rows)))
    for batch in scorer.pack(rows):
        if stop():
            raise EvaluationStopped("the evaluation was stopped while held-out rows were measured; run it again")
        width = batch.ids.shape[1]
        column = batch.positions % width
        first = int(column.min())
        kept = torch.arange(first, width, device=batch.ids.device)
        output = cast(Any, scorer.loaded.model)(input_ids=batch.ids, use_cache=False, logits_to_keep=kept)
        flat = batch.positions // width * len(kept) + column - first
        logits = output.logits.flatten(0, 1)[flat].float()  # (m, V)
        loss = torch.logsumexp(logits, dim=1) - logits.gather(1, batch.targets[:, None])[:, 0]
        right = logits.argmax(dim=1) == batch.targets
        sums = torch.zeros(2, len(batch.rows), dtype=torch.float64, device=logits.device)
        sums.index_add_(1, batch.owners, torch.stack([loss.double(), right.double()]))
        found[:, batch.rows.cpu().numpy()] = sums.cpu().numpy()
    return found
