"""Measures of a model on held-out rows: loss and accuracy, with and without examples, and scores of its answers."""

import re
from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from typing import Any, cast

import numpy as np
import torch

from delift_core.errors import Stopped
from delift_core.evaluation.report import SCORES
from delift_core.models.encoded import EncodedSample, Tokens
from delift_core.models.loading import LoadedModel
from delift_core.scoring.batches import Suffix
from delift_core.scoring.scorer import Scorer
from delift_core.selection.orders import unit
from delift_core.system.callbacks import Stop, never

LOSS, CORRECT = 0, 1  # first axis of the result of `measure`


def without_examples(samples: Sequence[EncodedSample]) -> list[Suffix]:
    """Rows without examples."""
    return [Suffix(sample.alone, sample.response) for sample in samples]


@torch.inference_mode()
def measure(scorer: Scorer, rows: Sequence[Suffix], *, stop: Stop = never) -> np.ndarray:
    """Loss and number of correct predictions of each row's response, by one forward pass per batch.

    Args:
        scorer: of the model to measure, with its current weights.
        rows: n rows; the query is everything before the response.
        stop: asked before every batch.

    Returns:
        (2, n) float64: the sum of -log p over the response tokens in nats, and the number of response tokens that have
        the highest probability.

    Raises:
        Stopped: `stop` answered True.
    """
    found = np.zeros((2, len(rows)))
    for batch in scorer.make_batches(rows):
        if stop():
            raise Stopped("the evaluation was stopped while held-out rows were measured; run it again")
        width = batch.ids.shape[1]  # ids: (b, t)
        column = batch.positions % width  # (m,) of each response token
        first = int(column.min())
        kept = torch.arange(first, width, device=batch.ids.device)  # logits of the columns before are never read
        output = cast(Any, scorer.loaded.model)(input_ids=batch.ids, use_cache=False, logits_to_keep=kept)
        flat = batch.positions // width * len(kept) + column - first
        logits = output.logits.flatten(0, 1)[flat].float()  # (m, V)
        loss = torch.logsumexp(logits, dim=1) - logits.gather(1, batch.targets[:, None])[:, 0]  # (m,)
        correct = logits.argmax(dim=1) == batch.targets  # (m,)
        sums = torch.zeros(2, len(batch.rows), dtype=scorer.sums_dtype, device=logits.device)
        sums.index_add_(1, batch.owners, torch.stack([loss, correct]).to(scorer.sums_dtype))
        found[:, batch.rows.cpu().numpy()] = sums.cpu().numpy()
    return found


def query_embeddings(scorer: Scorer, samples: Sequence[EncodedSample], *, stop: Stop = never) -> np.ndarray:
    """(n, d) float32 embeddings of the queries without their responses.

    Raises:
        Stopped: `stop` answered True.
    """
    return _embeddings(scorer, (), [sample.alone for sample in samples], stop, "searching for examples")


def _embeddings(scorer: Scorer, before: Tokens, rows: Sequence[Tokens], stop: Stop, doing: str) -> np.ndarray:
    """(n, d) float32 embeddings of rows of at least one token each, after other tokens."""
    prefix = scorer.prefill(before)
    found: list[np.ndarray] = [np.empty(0)] * len(rows)
    for batch in scorer.make_batches([Suffix(row[:-1] or row, row[-1:]) for row in rows]):
        if stop():
            raise Stopped(f"the evaluation was stopped while {doing}; run it again")
        _, vectors = scorer.score_and_embed(prefix, batch)
        for row, vector in zip(batch.rows.tolist(), vectors.cpu().numpy(), strict=True):
            found[row] = vector
    return np.stack(found)


def nearest(chosen: np.ndarray, queries: np.ndarray, k: int) -> np.ndarray:
    """(n, min(k, c)) int64, the k chosen rows most similar to each query by cosine, the most similar last.

    Args:
        chosen: (c, d) embeddings.
        queries: (n, d) embeddings.
    """
    similarity = unit(queries) @ unit(chosen).T  # (n, c)
    order: np.ndarray = np.argsort(similarity, axis=1, kind="stable")[:, -k:]
    return order


def with_examples(sample: EncodedSample, examples: Sequence[EncodedSample], context_length: int) -> Suffix:
    """A row after its examples; if they do not fit the context, the first ones are left out."""
    head = sample.head
    room = context_length - len(head.tokens) - len(sample.query) - len(sample.response)
    kept: list[Tokens] = []
    for example in reversed(examples):
        tokens = example.example(head) if sample.is_separable else None
        if tokens is None:
            continue
        room -= len(tokens)
        if room < 0:
            break
        kept.insert(0, tokens)
    if not kept:
        return Suffix(sample.alone, sample.response)
    return Suffix(head.tokens + tuple(token for part in kept for token in part) + sample.query, sample.response)


_WORD = re.compile(r"[^\W_]+", re.UNICODE)
_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")


@torch.inference_mode()
def answer(loaded: LoadedModel, rows: Sequence[Suffix], longest: int, *, stop: Stop = never) -> tuple[str, ...]:
    """The model's answer to each row's query, by greedy decoding of up to `longest` tokens.

    Raises:
        Stopped: `stop` answered True.
    """
    tokenizer = loaded.tokenizer
    found = []
    for row in rows:
        if stop():
            raise Stopped("the evaluation was stopped while generating answers; run it again")
        room = min(longest, loaded.identity.context_length - len(row.query))
        ids = torch.tensor([row.query], device=loaded.device)
        written = cast(Any, loaded.model).generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=max(1, room),
            do_sample=False,
            pad_token_id=tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id,
        )[0, len(row.query) :]
        found.append(str(tokenizer.decode(written, skip_special_tokens=True)).strip())
    return tuple(found)


class AnswerScorer:
    """Scores answers against references. Embeds texts with the model's current weights, which must be the untouched."""

    def __init__(self, scorer: Scorer, head: Tokens, references: Sequence[str], *, stop: Stop = never) -> None:
        """Args:
        head: token ids before every embedded text.
        references: (g,) the held-out responses.
        """
        self._scorer, self._head, self._references, self._stop = scorer, head, tuple(references), stop

    def score(self, answers: Sequence[str]) -> np.ndarray:
        """(len(SCORES), g) float64, the scores of each answer.

        Raises:
            Stopped: `stop` answered True.
        """
        by_words = [by_words_of(answer, reference) for answer, reference in zip(answers, self._references, strict=True)]
        by_tokens = np.array(by_words, dtype=np.float64).reshape(-1, len(SCORES) - 1).T  # (5, g)
        return np.vstack([by_tokens, self._similarity(answers)])

    def _similarity(self, answers: Sequence[str]) -> np.ndarray:
        """(g,) cosine of centred embeddings; 0 for an empty answer."""
        given = [row for row, answer in enumerate(answers) if self._ids(answer)]
        similarity = np.zeros(len(answers))
        if given:
            centre = self._reference_embeddings.mean(axis=0)
            embedded = unit(self._embed([answers[row] for row in given]) - centre)
            similarity[given] = (embedded * unit(self._reference_embeddings[given] - centre)).sum(axis=1)
        return similarity

    @cached_property
    def _reference_embeddings(self) -> np.ndarray:
        return self._embed(self._references)

    def _embed(self, texts: Sequence[str]) -> np.ndarray:
        """(m, d) embeddings of texts of at least one token."""
        return _embeddings(self._scorer, self._head, [self._ids(text) for text in texts], self._stop, "scoring answers")

    def _ids(self, text: str) -> Tokens:
        loaded = self._scorer.loaded
        ids = loaded.tokenizer(text, add_special_tokens=False)["input_ids"]
        return tuple(ids[: loaded.identity.context_length - len(self._head)])


def by_words_of(answer: str, reference: str) -> tuple[float, ...]:
    """All scores but the last of SCORES, the similarity of embeddings."""
    return (
        rouge_1(answer, reference),
        rouge_l(answer, reference),
        bleu(answer, reference),
        float(_words(answer) == _words(reference)),
        float(_last_number(answer) is not None and _last_number(answer) == _last_number(reference)),
    )


def rouge_1(answer: str, reference: str) -> float:
    """F1 of the common words, counted with repeats."""
    one, two = _words(answer), _words(reference)
    return _f1(sum((Counter(one) & Counter(two)).values()), len(one), len(two))


def rouge_l(answer: str, reference: str) -> float:
    """F1 of the longest common subsequence of words."""
    one, two = _words(answer), _words(reference)
    best = [0] * (len(two) + 1)  # best[c]: longest common subsequence with the first c words of `two`
    for word in one:
        before = best
        best = [0]
        for column, other in enumerate(two):
            best.append(before[column] + 1 if word == other else max(best[-1], before[column + 1]))
    return _f1(best[-1], len(one), len(two))


def bleu(answer: str, reference: str) -> float:
    """Sentence BLEU, smoothed, in [0, 1]."""
    from sacrebleu import sentence_bleu

    return float(sentence_bleu(answer, [reference]).score) / 100


def _f1(common: int, one: int, two: int) -> float:
    return 2 * common / (one + two) if one + two else 1.0


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _last_number(text: str) -> float | None:
    found = _NUMBER.findall(text)
    return float(found[-1].replace(",", "")) if found else None
