"""Makes a workspace with many rows and a sparse matrix, as after a finished run, without a model.

    python -m benchmarks.large_workspace FOLDER [--rows 100000]

Rows come in topics of 50, which share words, a place on the map and most of what helps: within a topic every pair is
scored, and 64 pairs a row of other topics are estimated. All goes through the stores that the app itself writes with,
so what the app then reads is what it would find.
"""

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import numpy as np
from scipy.sparse import csr_array

from delift_core.curation.curate import keep_selection
from delift_core.curation.scoring_runs import open_run
from delift_core.curation.selector import Selector
from delift_core.curation.umap_layout import layout_path
from delift_core.data.loading import Dataset
from delift_core.models.model_files import BUNDLED
from delift_core.samples import Message, ParsedRecord, Sample, with_ids
from delift_core.scoring.estimation.matrix_files import BudgetedPairs, Utilities
from delift_core.scoring.estimation.pair_choice import HELD_OUT_SHARE, Round
from delift_core.scoring.estimation.partial_matrix import LARGEST_PER_ROW
from delift_core.scoring.estimation.run_plan import PlanFile, UniqueSamples
from delift_core.scoring.forecast import RunSamples
from delift_core.scoring.metrics import utility
from delift_core.scoring.pair_spec import PairBudget
from delift_core.scoring.store import PairStore, ScoringContext, ZeroShot
from delift_core.selection.request import SelectionRequest
from delift_core.selection.types import Budget, ObjectiveConfig
from delift_core.workspace import RunRecord, RunSpec, Workspace

TOPIC = 50
_WIDTH = 576  # of the bundled model's embeddings
_SOURCES = ("handbook.jsonl", "forum.jsonl", "exercises.jsonl", "chats.jsonl")
_WORDS = [
    "garden",
    "river",
    "engine",
    "letter",
    "window",
    "paper",
    "market",
    "winter",
    "music",
    "station",
    "kitchen",
    "forest",
    "teacher",
    "number",
    "bridge",
    "story",
    "copper",
    "signal",
    "harbour",
    "lantern",
    "meadow",
    "orbit",
    "pepper",
    "quarry",
    "ribbon",
    "saddle",
    "timber",
    "valley",
    "willow",
    "zebra",
]


def synthetic_pool(rows: int, rng: np.random.Generator) -> Dataset:
    """Rows with a topic, a category and a source, from a few words to several hundred long."""
    lengths = np.clip(rng.lognormal(3.4, 0.8, rows), 4, 600).astype(int)
    records = []
    for row in range(rows):
        topic = row // TOPIC
        words = rng.choice(_WORDS, lengths[row])
        prompt = f"Topic {topic}, question {row}: what about the {words[0]} and the {words[1]} of a {words[2]}?"
        answer = " ".join(words) + "."
        raw = {"instruction": prompt, "input": "", "output": answer, "category": f"category {topic % 9}"}
        turns = (Message("user", prompt), Message("assistant", answer))
        records.append(ParsedRecord(turns, json.dumps(raw), _SOURCES[topic % len(_SOURCES)], row + 1))
    return Dataset(f"{rows:,} synthetic rows", "alpaca", None, with_ids(records))


def write_plan(store: PairStore, hashes: tuple[str, ...], pairs: PairBudget, rng: np.random.Generator) -> None:
    """Writes a plan of the pairs within a topic; one in twenty is held out to check the estimates."""
    rows = np.repeat(np.arange(len(hashes)), TOPIC)
    columns = rows // TOPIC * TOPIC + np.tile(np.arange(TOPIC), len(hashes))
    inside = (columns < len(hashes)) & (columns != rows)
    rows, columns = rows[inside], columns[inside]
    held = rng.random(rows.size) < HELD_OUT_SHARE
    rounds = (Round("first", rows[~held], columns[~held]), Round("held-out", rows[held], columns[held]))
    PlanFile(store.folder, UniqueSamples.of(RunSamples(hashes, (), ())), pairs).write({"pool": rounds})


def write_utilities(store: PairStore, samples: tuple[Sample, ...], rng: np.random.Generator) -> int:
    """Writes the statistics of every row and every pair within a topic; returns the number of pairs."""
    hashes = [sample.content_hash for sample in samples]
    tokens = np.array([len(sample.response.split()) for sample in samples])
    squared = tokens * rng.uniform(0.2, 0.8, len(samples))
    statistics = np.stack([squared, -2.0 * tokens], axis=1).astype(np.float32)
    topics = np.arange(len(samples)) // TOPIC
    centres = rng.normal(size=(int(topics.max()) + 1, _WIDTH)).astype(np.float32)
    embeddings = centres[topics] + rng.normal(scale=0.6, size=(len(samples), _WIDTH)).astype(np.float32)
    store.write_zero_shot(hashes, ZeroShot(statistics, np.full(len(samples), 24), tokens, embeddings))
    pairs = 0
    for first in range(0, len(samples), TOPIC):
        rows = slice(first, min(first + TOPIC, len(samples)))
        strength = rng.normal(0.03, 0.08, rows.stop - first)
        for helper in range(first, rows.stop):
            change = 1 - np.clip(strength[helper - first] + rng.normal(0, 0.03, rows.stop - first), -0.9, 0.9)
            store.write_pairs(hashes[helper], hashes[rows], statistics[rows] * change[:, None])
            pairs += rows.stop - first
    return pairs


def assemble(workspace: Workspace, run_id: str) -> None:
    """Assembles the utilities from the blocks, and stores them, with estimates, where the app looks for them."""
    run = open_run(workspace, run_id)
    hashes = [sample.content_hash for sample in run.pool]
    own, parts = run.measures(), []
    for first in range(0, len(hashes), TOPIC):
        names = hashes[first : first + TOPIC]
        rows = slice(first, first + len(names))
        for column, name in enumerate(names):
            values = utility(
                own.statistics[rows], run.store.pair_statistics(names, name), own.tokens[rows], "euclidean"
            )
            parts.append((np.arange(first, first + len(names)), np.full(len(names), first + column), values))
    rows_, columns, values = (np.concatenate(part) for part in zip(*parts, strict=True))
    itself = rows_ == columns
    diagonal = np.zeros(len(hashes), dtype=np.float32)
    diagonal[rows_[itself]] = values[itself]
    pool = csr_array((values[~itself], (rows_[~itself], columns[~itself])), shape=(len(hashes), len(hashes)))
    pool.sort_indices()
    pairs = BudgetedPairs(run.store, RunSamples(tuple(hashes)), run.record.spec.pairs)
    pairs.write(Utilities(pool, diagonal, None, None, estimates(len(hashes))), "euclidean")


def estimates(rows: int) -> csr_array:
    """(rows, rows) estimates of as many pairs per row as a large run stores, none of them within its topic."""
    rng = np.random.default_rng(0)
    count = min(LARGEST_PER_ROW, rows - 2 * TOPIC)
    step = (rows - 2 * TOPIC) // count
    ahead = 2 * TOPIC + step * np.arange(count) + rng.integers(0, step, (rows, count))
    columns = (np.arange(rows)[:, None] + ahead - TOPIC) % rows
    values = rng.normal(0.0, 0.02, rows * count).astype(np.float32)
    found = csr_array((values, columns.ravel(), np.arange(rows + 1) * count), shape=(rows, rows))
    found.sort_indices()
    return found


def select(folder: Path, run_id: str, percent: int = 10) -> str:
    """A selection of a share of the rows; returns its id."""
    with Workspace.open(folder) as workspace:
        request = SelectionRequest(ObjectiveConfig("instruction"), Budget("percent", percent))
        return keep_selection(workspace, Selector(open_run(workspace, run_id)), request, name=f"{percent} %").id


def keep_layout(folder: Path, run_id: str) -> None:
    """Stores a map that is a grid of topics; the time of UMAP is measured elsewhere."""
    with Workspace.open(folder) as workspace:
        run = open_run(workspace, run_id)
        rng = np.random.default_rng(0)
        topics = np.arange(len(run.pool)) // TOPIC
        side = int(np.ceil((topics.max() + 1) ** 0.5))
        places = np.stack([topics % side, topics // side], axis=1) + rng.normal(0, 0.3, (len(run.pool), 2))
        path = layout_path(run)
        path.parent.mkdir(exist_ok=True)
        np.save(path, places.astype(np.float32))


def build(folder: Path, rows: int, *, seed: int = 0) -> RunRecord:
    """Adds a finished run without a selection to a workspace, which is made if needed."""
    rng = np.random.default_rng(seed)
    with Workspace.open(folder) as workspace, patch("os.fsync"):  # nothing here has to survive a power cut
        dataset = synthetic_pool(rows, rng)
        pool = workspace.datasets.add(dataset, role="pool")
        pairs = PairBudget("per-row", TOPIC - 1)
        run = workspace.runs.add(RunSpec(pool.id, None, None, BUNDLED, "auto", "cpu", "float32", pairs))
        context = ScoringContext(BUNDLED, "synthetic", "float32", "plain", 1, 8192)
        store = PairStore.open(workspace.utility_folder, context)
        n_pairs = write_utilities(store, dataset.samples, rng)
        write_plan(store, tuple(sample.content_hash for sample in dataset.samples), pairs, rng)
        done = workspace.runs.update(replace(run, status="done", context_key=context.key, n_pairs=n_pairs))
        assemble(workspace, run.id)
        return done


def main() -> None:
    """Builds a workspace, and prints the time."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=100_000)
    options = parser.parse_args()
    began = time.monotonic()
    run = build(options.folder, options.rows)
    print(f"{options.rows:,} rows, {run.n_pairs:,} pairs: run {run.id} in {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
