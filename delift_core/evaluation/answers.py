"""Answers that a model writes to held-out prompts, and how near they come to the reference.

ROUGE-1 and ROUGE-L are F1 over lower-case words (Lin 2004, "ROUGE: A package for automatic evaluation of summaries"),
BLEU is sacrebleu's for one sentence (Post 2018), exact compares words, and numeric the last number of both (as GSM8K is
scored). All are in [0, 1].
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
import torch

from delift_core.evaluation.request import EvaluationStopped
from delift_core.models import LoadedModel
from delift_core.utility.scorer import Suffix

SCORES = ("ROUGE-1", "ROUGE-L", "BLEU", "exact", "numeric")
_WORD = re.compile(r"[^\W_]+", re.UNICODE)
_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")


@torch.inference_mode()
def answer(
    loaded: LoadedModel, rows: Sequence[Suffix], longest: int, *, stop: Callable[[], bool] = lambda: False
) -> tuple[str, ...]:
    """What the model writes after each row's query, the likeliest token each time, up to `longest` tokens.

    Raises:
        EvaluationStopped: `stop` answered True.
    """
    tokenizer = loaded.tokenizer
    found = []
    for row in rows:
        if stop():
            raise EvaluationStopped("the evaluation was stopped while answers were written; run it again")
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


def score_answers(answers: Sequence[str], references: Sequence[str]) -> np.ndarray:
    """(len(SCORES), n) float64: each answer against its reference."""
    rows = [
        (
            rouge_1(answer, reference),
            rouge_l(answer, reference),
            bleu(answer, reference),
            float(_words(answer) == _words(reference)),
            float(_last_number(answer) is not None and _last_number(answer) == _last_number(reference)),
        )
        for answer, reference in zip(answers, references, strict=True)
    ]
    return np.array(rows, dtype=np.float64).reshape(-1, len(SCORES)).T


def rouge_1(answer: str, reference: str) -> float:
    """F1 of the words that both hold, each as often as in both."""
    one, two = _words(answer), _words(reference)
    return _f1(sum((Counter(one) & Counter(two)).values()), len(one), len(two))


def rouge_l(answer: str, reference: str) -> float:
    """F1 of the longest sequence of words that both hold in this order."""
    one, two = _words(answer), _words(reference)
    best = [0] * (len(two) + 1)
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
