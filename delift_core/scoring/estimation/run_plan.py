"""The plan of a budgeted run: feature vectors of its samples, and the pairs that it has chosen, on disk.

Features are known before any pair is scored, and their inner products suggest which samples help which. Several sources
are concatenated, since each finds other pairs: the form of the response (length, line breaks, numerals, the model's
confidence without an example), the words of the whole row, the character n-grams of the response, and the model's
embedding. The inner product of two vectors is the weighted mean of the sources' similarities.

    <context key>/plans/<plan key>.npz    for each matrix and round: rows and columns, int32

The key is a hash of the samples, the budget and the planner's version. The file is replaced atomically in every round,
before the round is scored; the run continues from it, and its results are read by it. This module knows nothing of
utilities or of how pairs are chosen.
"""

import hashlib
import io
import json
import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast, get_args

import numpy as np

from delift_core.models.vectors import unit_rows
from delift_core.samples import Message
from delift_core.scoring.estimation.pair_choice import Kind, MatrixPlan, Round, row_priority
from delift_core.scoring.forecast import RunSamples
from delift_core.scoring.pair_spec import PairBudget, format_pairs
from delift_core.scoring.store import PairStore, ZeroShot
from delift_core.system.files import write_whole

_FORM_SHARE = 2.0  # weight of the form beside 1 for each other source: it explains most
_FORM_DIMENSIONS, _OTHER_DIMENSIONS = 64, 32
_MOST_TERMS = 50_000
_SCALE_SAMPLES = 2_000
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class SampleText:
    """The texts of a sample that its features are computed from."""

    prompt: str
    response: str

    @classmethod
    def of(cls, messages: Sequence[Message]) -> "SampleText":
        """The last user turn and the response."""
        turns = [message.content for message in messages[:-1] if message.role == "user"]
        return cls(turns[-1] if turns else "", messages[-1].content)


def feature_vectors(texts: Sequence[SampleText], zero_shot: ZeroShot, seed: int = 0) -> np.ndarray:
    """(n, d) float32 vectors of length at most about 1, d at most 160; equal samples and seeds give equal vectors.

    Args:
        texts, zero_shot: of n samples, all scored without an example.
    """
    whole, responses = [f"{one.prompt} {one.response}" for one in texts], [one.response for one in texts]
    sources = (
        (_FORM_SHARE, _form_vectors(texts, zero_shot, seed)),
        (1.0, _text_vectors(whole, seed, analyzer="word", n_grams=(1, 1))),
        (1.0, _text_vectors(responses, seed, analyzer="char_wb", n_grams=(2, 4))),
        (1.0, _embedding_vectors(zero_shot.embeddings, seed)),
    )
    total = sum(share for share, _ in sources)
    return np.concatenate([vectors * np.sqrt(share / total) for share, vectors in sources], axis=1).astype(np.float32)


def _form_vectors(texts: Sequence[SampleText], zero_shot: ZeroShot, seed: int) -> np.ndarray:
    """(n, 64 or fewer) Nyström features of the kernel exp(-distance² / 2 median distance²) of the form."""
    from sklearn.kernel_approximation import Nystroem

    features = np.column_stack([_measures(zero_shot), [_form(one.prompt, one.response) for one in texts]])
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


def _text_vectors(texts: Sequence[str], seed: int, *, analyzer: str, n_grams: tuple[int, int]) -> np.ndarray:
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


PLANNER_VERSION = 3
MatrixName = Literal["pool", "target", "existing"]
MATRICES: tuple[MatrixName, ...] = get_args(MatrixName)


@dataclass(frozen=True, slots=True)
class UniqueSamples:
    """The unique samples of a run, which are the rows and columns of its three matrices.

    "pool": pool by pool; "target": target rows by pool columns; "existing": pool rows by existing columns.
    """

    pool: tuple[str, ...]
    target: tuple[str, ...]
    existing: tuple[str, ...]

    @classmethod
    def of(cls, samples: RunSamples) -> "UniqueSamples":
        """The samples of a run without repeats, in file order."""
        return cls(*(tuple(dict.fromkeys(part)) for part in (samples.pool, samples.target, samples.existing)))

    def rows(self, part: MatrixName) -> tuple[str, ...]:
        """The helped samples of a matrix."""
        return self.target if part == "target" else self.pool

    def columns(self, part: MatrixName) -> tuple[str, ...]:
        """The helping samples of a matrix."""
        return self.existing if part == "existing" else self.pool

    @property
    def parts(self) -> tuple[MatrixName, ...]:
        """The matrices of this run."""
        return tuple(part for part in MATRICES if self.rows(part) and self.columns(part))


Rounds = dict[MatrixName, tuple[Round, ...]]


class PlanFile:
    """The chosen pairs of a run."""

    def __init__(self, store_folder: Path, samples: UniqueSamples, budget: PairBudget) -> None:
        facts = [PLANNER_VERSION, format_pairs(budget), samples.pool, samples.target, samples.existing]
        self.path = store_folder / "plans" / f"{hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]}.npz"

    def read(self) -> Rounds:
        """The rounds of every matrix so far; none if there is no file or it is damaged."""
        found: Rounds = {}
        try:
            with np.load(self.path) as arrays:
                for name in sorted(arrays.files):
                    part, _, kind = name.split(".")
                    rows, columns = arrays[name].astype(np.int64)
                    key = cast(MatrixName, part)
                    found[key] = (*found.get(key, ()), Round(cast(Kind, kind), rows, columns))
        except (OSError, ValueError, KeyError, zipfile.BadZipFile):
            return {}
        return found

    def write(self, rounds: Rounds) -> None:
        """Replaces the file."""
        arrays = {
            f"{part}.{number:03d}.{one.kind}": np.stack([one.rows, one.columns]).astype(np.int32)
            for part, made in rounds.items()
            for number, one in enumerate(made)
        }
        write_arrays(self.path, arrays, compressed=True)


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray], *, compressed: bool = False) -> None:
    """Writes an npz file atomically, creating its folder if needed.

    Raises:
        OSError: the disk is full or the folder is not writable.
    """
    buffer = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(buffer, allow_pickle=False, **arrays)
    path.parent.mkdir(exist_ok=True)
    write_whole(path, buffer.getvalue())


PLANNING_SEED = 0


def matrix_plans(
    samples: UniqueSamples, budget: PairBudget, texts: Mapping[str, SampleText], store: PairStore
) -> dict[MatrixName, MatrixPlan]:
    """The plans of a run's matrices; all samples have been scored without an example."""
    names = tuple(dict.fromkeys(samples.pool + samples.target + samples.existing))
    alone = store.zero_shot(names)
    vectors = feature_vectors([texts[name] for name in names], alone, PLANNING_SEED)
    tokens = dict(zip(names, alone.tokens.tolist(), strict=True))
    position_of = {name: position for position, name in enumerate(names)}

    def features(part: tuple[str, ...]) -> np.ndarray:
        return vectors[[position_of[name] for name in part]]

    return {
        name: MatrixPlan(
            features(samples.rows(name)),
            features(samples.columns(name)),
            pairs_allowed(samples, name, budget),
            row_priority(np.array([tokens[row] for row in samples.rows(name)])),
            same=name == "pool",
        )
        for name in samples.parts
    }


def pairs_allowed(samples: UniqueSamples, part: MatrixName, budget: PairBudget) -> int:
    """The number of pairs of a matrix to score, without those of pool samples with themselves."""
    rows, columns = len(samples.rows(part)), len(samples.columns(part))
    # The budget is per pool sample: in "target" these are the columns.
    pool, options = (columns, rows) if part == "target" else (rows, columns - (part == "pool"))
    return round(pool * budget.per_row(options))
