"""The subset without training: its rows as examples before the question, the nearest ones for each held-out row."""

from collections.abc import Callable, Sequence

import numpy as np

from delift_core.baselines.orders import unit
from delift_core.evaluation.request import EvaluationStopped
from delift_core.prompts import EncodedSample, Template, Tokens
from delift_core.utility.batches import Suffix
from delift_core.utility.scorer import Scorer


def query_embeddings(
    scorer: Scorer, head: Tokens, samples: Sequence[EncodedSample], *, stop: Callable[[], bool] = lambda: False
) -> np.ndarray:
    """(n, d) float32 embeddings of the queries alone, so that no answer has a part in what is near.

    Raises:
        EvaluationStopped: `stop` answered True.
    """
    queries = [head + sample.query_alone for sample in samples]
    prefix = scorer.prefill(())
    rows: list[np.ndarray] = [np.empty(0)] * len(samples)
    for batch in scorer.pack([Suffix(query[:-1] or query, query[-1:]) for query in queries]):
        if stop():
            raise EvaluationStopped("the evaluation was stopped while examples were looked for; run it again")
        _, found = scorer.score_and_embed(prefix, batch)
        for row, vector in zip(batch.rows.tolist(), found.cpu().numpy(), strict=True):
            rows[row] = vector
    return np.stack(rows).astype(np.float32)


def nearest(chosen: np.ndarray, queries: np.ndarray, k: int) -> np.ndarray:
    """The k chosen rows nearest to each query by cosine: (n, min(k, c)) int64, the nearest last.

    Args:
        chosen: (c, d) embeddings.
        queries: (n, d) embeddings.
    """
    nearness = unit(queries) @ unit(chosen).T
    order: np.ndarray = np.argsort(nearness, axis=1, kind="stable")[:, -k:]
    return order


def with_examples(
    template: Template,
    sample: EncodedSample,
    examples: Sequence[EncodedSample],
    context_length: int,
) -> Suffix:
    """A row with examples before its query, the last of them next to it; the first ones go if the context is full."""
    room = context_length - len(template.head) - len(sample.query) - len(sample.response)
    kept: list[Tokens] = []
    for example in reversed(examples):
        room -= len(example.example)
        if room < 0:
            break
        kept.insert(0, example.example)
    if not kept:
        return Suffix(template.head_alone + sample.query_alone, sample.response)
    return Suffix(template.head + tuple(token for part in kept for token in part) + sample.query, sample.response)
