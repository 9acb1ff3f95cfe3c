"""What a model, as it is now, makes of held-out responses: their negative log-probability, without gradients.

Knows nothing of fine-tuning: whoever changes the weights calls it again.
"""

from collections.abc import Callable, Sequence

import numpy as np

from delift_core.evaluation.request import EvaluationStopped
from delift_core.prompts import EncodedSample, Tokens
from delift_core.utility.metrics import LOG_PROBABILITY
from delift_core.utility.scorer import Scorer, Suffix


def response_loss(
    scorer: Scorer, head: Tokens, samples: Sequence[EncodedSample], *, stop: Callable[[], bool] = lambda: False
) -> np.ndarray:
    """Loss of each row's response given its own prompt and no example.

    Args:
        scorer: of the model to measure; nothing is kept from earlier calls.
        head: token ids before every query (`Template.head_alone`).
        samples: n rows.
        stop: asked before every batch.

    Returns:
        (n, 2) float64: sum of -log p over the response tokens in nats (>= 0), and the number of those tokens.

    Raises:
        EvaluationStopped: `stop` answered True.
    """
    losses = np.zeros((len(samples), 2))
    prefix = scorer.prefill(head)
    for batch in scorer.pack([Suffix(sample.query_alone, sample.response) for sample in samples]):
        if stop():
            raise EvaluationStopped("the evaluation was stopped while held-out rows were measured; run it again")
        losses[batch.rows.cpu().numpy(), 0] = -scorer.score(prefix, batch)[:, LOG_PROBABILITY].cpu().numpy()
    losses[:, 1] = [len(sample.response) for sample in samples]
    return losses
