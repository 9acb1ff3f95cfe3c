"""A workspace with a finished run whose numbers are drawn, not measured: a selection to export without a model."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from delift_core.curation.curate import keep_selection
from delift_core.curation.scoring_runs import open_run
from delift_core.curation.selector import Selector
from delift_core.data.loading import ReadOptions, load_file
from delift_core.jobs.folder import JobFolder
from delift_core.jobs.preparation import Refusal
from delift_core.jobs.progress import JobProgress, ScoringFacts
from delift_core.samples import Turns
from delift_core.scoring.store import PairStore, ScoringContext, ZeroShot
from delift_core.selection.request import SelectionRequest, parse_budget
from delift_core.selection.types import ObjectiveConfig
from delift_core.workspace import RunSpec, Workspace

CONTEXT = ScoringContext("tiny", "abc123", "float32", "chat", 1, 512)
REFUSED = "the response has 300 tokens and at most 255 fit"
NOW = datetime(2031, 5, 6, 7, 8, 9, tzinfo=UTC)


def clock() -> datetime:
    return NOW


def alpaca_lines(count: int) -> list[str]:
    """Alpaca records with odd but lawful spelling, which a byte for byte copy has to keep."""
    lines = [
        json.dumps({"instruction": f"Question {row}?", "input": f"with {row}", "output": f"answer {row}", "id": row})
        for row in range(count)
    ]
    lines[0] = '{"output":"caf\\u00e9 \u2028 é",  "instruction" : "Q\\t0", "input":"","score":1.50}'
    return lines


@dataclass(frozen=True)
class Scored:
    """A selection in a workspace, and the file its pool came from."""

    workspace: Workspace
    selection_id: str
    run_id: str
    pool_file: Path
    lines: tuple[str, ...]


def scored(
    workspace: Workspace,
    pool_file: Path,
    lines: Sequence[str],
    *,
    budget: str = "3",
    refuse: Sequence[int] = (),
    turns: Turns = "last",
    options: ReadOptions | None = None,
) -> Scored:
    """Loads lines as a pool (without any, the file or folder as it is), draws utilities, and keeps a selection.

    Args:
        refuse: positions of pool rows that the run could not score.
    """
    if lines:
        pool_file.write_bytes(b"".join(line.encode() + b"\n" for line in lines))
    dataset = load_file(pool_file, options or ReadOptions(turns=turns))
    pool = workspace.datasets.add(dataset, role="pool")
    hashes = [sample.content_hash for sample in dataset.samples]
    refusals = tuple(Refusal(hashes[position], REFUSED) for position in refuse)
    run = workspace.runs.add(RunSpec(pool.id, None, None, "tiny", "auto", "cpu", "float32"))
    usable = [digest for position, digest in enumerate(hashes) if position not in refuse]
    draw_pairs(workspace.utility_folder, list(dict.fromkeys(usable)))
    job = JobFolder(workspace.jobs_folder / run.id)
    job.folder.mkdir()
    job.write_progress(JobProgress("done", facts=ScoringFacts(CONTEXT.key, CONTEXT.revision, refused=refusals)))
    request = SelectionRequest(ObjectiveConfig("instruction"), parse_budget(budget), seed=5)
    record = keep_selection(workspace, Selector(open_run(workspace, run.id)), request, name="first")
    return Scored(workspace, record.id, run.id, pool_file, tuple(lines))


def draw_pairs(utility_folder: Path, rows: Sequence[str], seed: int = 0) -> PairStore:
    """Blocks of every pair of these samples, drawn."""
    generator = np.random.default_rng(seed)
    store = PairStore.open(utility_folder, CONTEXT)

    def statistics() -> np.ndarray:
        return np.stack([generator.uniform(1, 9, len(rows)), generator.uniform(-9, -1, len(rows))], axis=1)

    counts = np.full(len(rows), 10)
    store.write_zero_shot(rows, ZeroShot(statistics(), counts, counts, np.ones((len(rows), 4), dtype=np.float32)))
    for helper in rows:
        store.write_pairs(helper, rows, statistics())
    return store


Maker = Callable[..., Scored]
