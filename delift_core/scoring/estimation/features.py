"""What is known of samples before any pair of them is scored, as vectors: cheap cues to who may help whom.

Several sources stand side by side, since each one sees other pairs: the form of the response (length, line breaks,
numerals, how sure the model was of it without an example), the words of the whole row, the letters of the response, and
the model's own embedding from the pass without examples. An inner product of two vectors is the mean of the sources'
similarities. Knows nothing of utilities.
"""

import re
from dataclasses import dataclass

import numpy as np

from delift_core.scoring.store import ZeroShot

_FORM_SHARE = 2.0  # of the other sources' one each: alone it explains most
_FORM_DIMENSIONS, _OTHER_DIMENSIONS = 64, 32
_MOST_TERMS = 50_000
_SCALE_SAMPLES = 2_000
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Known:
    """Samples as they are known before pairs are scored.

    Attributes:
        prompts, responses: (n,) texts.
        alone: (n,) their own numbers; all of them scored.
    """

    prompts: tuple[str, ...]
    responses: tuple[str, ...]
    alone: ZeroShot


def cue_vectors(known: Known, seed: int = 0) -> np.ndarray:
    """(n, d) float32 vectors of length at most about 1, the same for the same samples and seed; d is at most 160."""
    whole = tuple(f"{prompt} {response}" for prompt, response in zip(known.prompts, known.responses, strict=True))
    sources = (
        (_FORM_SHARE, _form_vectors(known, seed)),
        (1.0, _text_vectors(whole, seed, analyzer="word", n_grams=(1, 1))),
        (1.0, _text_vectors(known.responses, seed, analyzer="char_wb", n_grams=(2, 4))),
        (1.0, _embedding_vectors(known.alone.embeddings, seed)),
    )
    total = sum(share for share, _ in sources)
    return np.concatenate([vectors * np.sqrt(share / total) for share, vectors in sources], axis=1).astype(np.float32)


def _form_vectors(known: Known, seed: int) -> np.ndarray:
    """Similarity exp(-distance² / 2 median distance²) of standardised form features, by the Nyström method."""
    from sklearn.kernel_approximation import Nystroem

    features = np.column_stack([_measures(known.alone), list(map(_form, known.prompts, known.responses))])
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


def _measures(alone: ZeroShot) -> np.ndarray:
    """(n, 5): lengths, distance without an example, and log-probability per token."""
    tokens = np.maximum(alone.tokens, 1)
    length, prompt = np.log(tokens), np.log(np.maximum(alone.prompt_tokens, 1))
    distance = np.sqrt(alone.statistics[:, 0] / tokens)
    return np.column_stack([length, prompt, distance, distance * length, alone.statistics[:, 1] / tokens])


def _form(prompt: str, response: str) -> tuple[float, ...]:
    words = _WORD.findall(response.lower())
    asked = set(_WORD.findall(prompt.lower()))
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
        sum(word in asked for word in words) / max(1, len(words)),
        bool(words) and words[0] in asked,
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
    except ValueError:  # not one word in all the texts
        return np.ones((len(texts), 1))


def _embedding_vectors(embeddings: np.ndarray, seed: int) -> np.ndarray:
    centred = embeddings - embeddings.mean(axis=0)
    size = np.linalg.norm(centred, axis=1, keepdims=True)
    return _reduced(centred / np.where(size > 0, size, 1), seed)


def _reduced(matrix: np.ndarray, seed: int) -> np.ndarray:
    """The leading directions, which keep inner products."""
    from sklearn.decomposition import TruncatedSVD

    size = min(_OTHER_DIMENSIONS, min(matrix.shape) - 1)
    if size < 1:
        return np.ones((matrix.shape[0], 1))
    reduced: np.ndarray = TruncatedSVD(size, random_state=seed).fit_transform(matrix)
    return reduced
