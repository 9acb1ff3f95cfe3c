"""Scores every pair of some rows with the bundled model, and stores the results for other benchmarks.

    python -m benchmarks.truth FILE --rows 200 --tokens 150

takes FILE's first 200 rows of at most 150 tokens and writes benchmarks/retention-<name>-200.npz, without any text: on a
GPU in float32, where that takes a minute, else in mixed precision. What is scored is kept every few seconds: stopped at
any moment, the same command continues from there. `columns` in the file says how many examples are scored; the same
number of rows and columns is a whole matrix.
"""

import argparse
import os
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from delift_core.data.loading import load_file
from delift_core.models.loading import load_model
from delift_core.models.prompts import count_tokens, make_template
from delift_core.samples import Sample
from delift_core.scoring.blocks import Block, BlockScorer, ScoringInput
from delift_core.scoring.estimation.run_plan import SampleText, feature_vectors
from delift_core.scoring.scorer import Scorer
from delift_core.scoring.store import ZeroShot

HERE = Path(__file__).parent
_KEPT_EVERY = 10.0  # seconds


@dataclass(frozen=True, slots=True)
class Scored:
    """The results so far: `pairs` (n, n, 2) float32, [helped, helper], of which the first `columns` are scored."""

    texts: tuple[SampleText, ...]
    alone: ZeroShot
    pairs: np.ndarray
    columns: int


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument("--tokens", type=int, default=150, help="the most of a row, prompt and response together")
    parser.add_argument("--name", help="of the stored file; the data file's by default")
    options = parser.parse_args()
    path = HERE / f"retention-{options.name or options.file.stem}-{options.rows}.npz"
    loaded = load_model(dtype="float32" if torch.cuda.is_available() else "mixed")
    template = make_template(loaded.tokenizer)
    samples = load_file(options.file, name=options.file.stem).samples
    short = np.flatnonzero(count_tokens(samples, template).total - len(template.head.alone) <= options.tokens)[
        : options.rows
    ]
    chosen = [samples[place] for place in short]
    encoded, _ = template.encode_all({str(place): sample.conversation for place, sample in enumerate(chosen)})
    names = tuple(encoded)
    scorer = BlockScorer(Scorer(loaded), ScoringInput(encoded, ((names,), (names,))))
    score(scorer, chosen, path)


def score(scorer: BlockScorer, chosen: list[Sample], path: Path) -> None:
    """Scores column after column, from the end of the file."""
    done = read(path, chosen)
    if done is None:
        alone = _last(scorer, Block(None, 0, 0))
        assert isinstance(alone, ZeroShot)
        done = Scored(_texts(chosen), alone, np.full((len(chosen), len(chosen), 2), np.nan), 0)
    started, first = time.monotonic(), done.columns
    kept = started
    for column in range(first, len(chosen)):
        done.pairs[:, column] = _last(scorer, Block(str(column), 1, 0))
        done = replace(done, columns=column + 1)
        if (now := time.monotonic()) > kept + _KEPT_EVERY or column + 1 == len(chosen):
            write(path, done)
            kept = now
        left = (now - started) / (column + 1 - first) * (len(chosen) - column - 1)
        print(f"{column + 1} of {len(chosen)} examples, about {left / 60:.0f} minutes left", flush=True)


def read(path: Path, chosen: list[Sample]) -> Scored | None:
    """The stored results of the same rows; None if there are none."""
    if not path.exists():
        return None
    with np.load(path) as stored:
        alone = ZeroShot(*(stored[name] for name in ("alone", "prompt_tokens", "tokens", "embeddings")))
        return Scored(_texts(chosen), alone, stored["pairs"], int(stored["columns"]))


def _texts(chosen: list[Sample]) -> tuple[SampleText, ...]:
    return tuple(SampleText(sample.prompt, sample.response) for sample in chosen)


def _last(scorer: BlockScorer, block: Block) -> np.ndarray | ZeroShot:
    *_, last = scorer.work([block])
    assert last.finished is not None
    return last.finished.numbers


def write(path: Path, done: Scored) -> None:
    """Replaces the file atomically; vectors are stored in half precision."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    alone, texts = done.alone, [f"{one.prompt} {one.response}" for one in done.texts]
    matrix = TfidfVectorizer(sublinear_tf=True).fit_transform(texts)
    beside = path.with_suffix(".part.npz")
    np.savez_compressed(
        beside,
        pairs=done.pairs.astype(np.float32),
        columns=done.columns,
        alone=alone.statistics,
        tokens=alone.tokens,
        prompt_tokens=alone.prompt_tokens,
        cues=feature_vectors(done.texts, alone).astype(np.float16),
        embeddings=alone.embeddings.astype(np.float16),
        tf_idf=(matrix @ matrix.T).toarray().astype(np.float16),
    )
    os.replace(beside, path)


if __name__ == "__main__":
    main()
