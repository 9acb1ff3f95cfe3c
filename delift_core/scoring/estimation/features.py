"""Feature vectors of samples, known before any pair is scored, whose inner products suggest which samples help which.

Several sources are concatenated, since each finds other pairs: the form of the response (length, line breaks, numerals,
the model's confidence without an example), the words of the whole row, the character n-grams of the response, and the
model's embedding. The inner product of two vectors is the weighted mean of the sources' similarities. This module knows
nothing of utilities.
"""

import re
from dataclasses import dataclass

import numpy as np

from delift_core.models.vectors import unit_rows
from delift_core.scoring.store import ZeroShot

_FORM_SHARE = 2.0  # weight of the form beside 1 for each other source: it explains most
_FORM_DIMENSIONS, _OTHER_DIMENSIONS = 64, 32
_MOST_TERMS = 50_000
_SCALE_SAMPLES = 2_000
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class SampleFeatures:
    """What the features of n samples are computed from."""

    prompts: tuple[str, ...]  # (n,) texts
    responses: tuple[str, ...]  # (n,) texts
    zero_shot: ZeroShot  # (n,) results without an example, all scored


def feature_vectors(samples: SampleFeatures, seed: int = 0) -> np.ndarray:
    """(n, d) float32 vectors of length at most about 1, d at most 160; equal samples and seeds give equal vectors."""
    whole = tuple(f"{prompt} {response}" for prompt, response in zip(samples.prompts, samples.responses, strict=True))
    sources = (
        (_FORM_SHARE, _form_vectors(samples, seed)),
        (1.0, _text_vectors(whole, seed, analyzer="word", n_grams=(1, 1))),
        (1.0, _text_vectors(samples.responses, seed, analyzer="char_wb", n_grams=(2, 4))),
        (1.0, _embedding_vectors(samples.zero_shot.embeddings, seed)),
    )
    total = sum(share for share, _ in sources)
    return np.concatenate([vectors * np.sqrt(share / total) for share, vectors in sources], axis=1).astype(np.float32)


def _form_vectors(samples: SampleFeatures, seed: int) -> np.ndarray:
    """(n, 64 or fewer) Nyström features of the kernel exp(-distance² / 2 median distance²) of the form."""
    from sklearn.kernel_approximation import Nystroem

    features = np.column_stack([_measures(samples.zero_shot), list(map(_form, samples.prompts, samples.responses))])
    spread = features.std(axis=0)
    features = (features - features.mean(axis=0))[:, spread > 0] / spread[spread > 0]
    if not features.shape[1]:
        return np.ones((len(features), 1))
    generator = np.random.default_rng(seed)
    one, other = generator.integers(0, len(features), (2, _SCALE_SAMPLES))
    squared = ((features[one] - features[other]) ** 2).sum(axis=1)
    typical = float(np.median(squared[squared > 0])) if (squared > 0).any() else 1.0
    size = min(_FORM_DIMENSIONS, len(features))
    vectors: np.ndarray = Nystroem(gamma=0.5 / typical, n_components=size, random_state=seed).fit_transform(features)
    return vectors


def _measures(zero_shot: ZeroShot) -> np.ndarray:
    """(n, 5): lengths, distance without an example, and log probability per token."""
    tokens = np.maximum(zero_shot.tokens, 1)
    length, prompt = np.log(tokens), np.log(np.maximum(zero_shot.prompt_tokens, 1))
    distance = np.sqrt(zero_shot.statistics[:, 0] / tokens)
    return np.column_stack([length, prompt, distance, distance * length, zero_shot.statistics[:, 1] / tokens])


def _form(prompt: str, response: str) -> tuple[float, ...]:
    words = _WORD.findall(response.lower())
    prompt_words = set(_WORD.findall(prompt.lower()))
    return (
        response.count("\n"),
        response[:1].isupper(),
        response[:1].isdigit(),
        response[:1] in "-*1",
        response[-1:] == ".",
        response[-1:].isdigit(),
        sum(letter.isdigit() for letter in response) / max(1, len(response)),
        len(words) <= 3,
        response.count(",") / max(1, len(words)),
        ":" in response,
        '"' in response or "'" in response,
        sum(word in prompt_words for word in words) / max(1, len(words)),
        bool(words) and words[0] in prompt_words,
        prompt.rstrip().endswith("?"),
        "\n\n" in prompt,
    )


def _text_vectors(texts: tuple[str, ...], seed: int, *, analyzer: str, n_grams: tuple[int, int]) -> np.ndarray:
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(
        sublinear_tf=True, analyzer=analyzer, ngram_range=n_grams, max_features=_MOST_TERMS, dtype=np.float32
    )
    try:
        return _reduced(vectorizer.fit_transform(texts), seed)
    except ValueError:  # no text has a word
        return np.ones((len(texts), 1))


def _embedding_vectors(embeddings: np.ndarray, seed: int) -> np.ndarray:
    return _reduced(unit_rows(embeddings - embeddings.mean(axis=0)), seed)


def _reduced(matrix: np.ndarray, seed: int) -> np.ndarray:
    """(n, 32 or fewer): a matrix (n, w) along its leading singular directions, which keeps inner products."""
    from sklearn.decomposition import TruncatedSVD

    size = min(_OTHER_DIMENSIONS, min(matrix.shape) - 1)
    if size < 1:
        return np.ones((matrix.shape[0], 1))
    reduced: np.ndarray = TruncatedSVD(size, random_state=seed).fit_transform(matrix)
    return reduced
