"""Part of the API: loading rows, and scoring the pairs of a pool."""

import html
import shutil
import sys
import tempfile
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, get_args

import numpy as np

from delift_core.curation.scoring_runs import ScoredRun, open_run, run_here
from delift_core.curation.selector import Selector
from delift_core.data.formats.preference import Answer
from delift_core.data.loading import Dataset, ReadOptions, Watch, load_rows, load_source
from delift_core.errors import DeliftError, ScoringError, WorkspaceError
from delift_core.jobs.backends import HERE, Placement
from delift_core.jobs.progress import JobProgress
from delift_core.jobs.scoring_job import Callbacks, OnPrepared
from delift_core.models.devices import DeviceName, DtypeName
from delift_core.models.model_files import BUNDLED, check_model
from delift_core.models.prompts import TemplateChoice, format_arguments
from delift_core.samples import ColumnMapping, Sample, ScoredPart, Turns
from delift_core.scoring.metrics import Metric
from delift_core.scoring.pair_spec import PairBudget, parse_pairs
from delift_core.selection.kernels import Kernel
from delift_core.system.callbacks import Stop, never
from delift_core.workspace import DatasetRole, RunSpec, Workspace

if TYPE_CHECKING:
    import datasets
    import pandas

Rows: TypeAlias = "str | Path | Sequence[Mapping[str, object]] | datasets.Dataset | pandas.DataFrame | Dataset"


def load(
    source: Rows,
    *,
    columns: ColumnMapping | None = None,
    answer: Answer | None = None,
    turns: Turns = "last",
    scored: ScoredPart = "turn",
    progress: Watch | None = None,
) -> Dataset:
    """Loads rows from a file, a folder, the hub or memory.

    Args:
        source: a path of a file or folder, `hub:owner/name[:split]`, a list of dicts, a `datasets.Dataset`, a pandas
            `DataFrame`, or a `Dataset` that was loaded before, which is returned as it is.
        columns: which columns hold the prompt and the response, where they are not recognised.
        answer: which answer of a preference record the model should learn.
        turns: "every" makes a sample of each assistant turn.
        scored: the part of an answer with thoughts that is scored: all of it, the "answer" or the "thoughts".
        progress: called every thousand rows of a file with how much of it is read.

    Returns:
        The usable rows as samples in their order; `.problems` says which rows were left out and why.

    Raises:
        DataError: the source cannot be read, or no row can be used.

    Example:
        >>> pool = load([{"instruction": "Add 2 and 3.", "output": "5"}])
        >>> pool.samples[0].response
        '5'
    """
    if isinstance(source, Dataset):
        return source
    options = ReadOptions(columns, answer, turns, scored)
    if isinstance(source, str | Path):
        return load_source(source, options, watch=progress)
    return load_rows(source, options)


@dataclass(frozen=True, slots=True)
class ScoringOptions:
    """Rarely needed settings of `score`.

    Attributes:
        template: the chat template; "auto" takes the model's own.
        template_arguments: of the chat template ("chat_template_kwargs"), such as {"enable_thinking": False}.
        dtype: the precision of the weights; "nf4" quantises them to 4 bits (CUDA, with bitsandbytes).
        placement: this process, or a Ray cluster.
        stop: asked between batches; True ends the run with `Stopped`, and what is scored is kept.
        on_prepared: called with the tokenized rows before the model is loaded; an exception from it ends the run.
    """

    template: TemplateChoice = "auto"
    dtype: DtypeName = "auto"
    placement: Placement = HERE
    stop: Stop = never
    on_prepared: OnPrepared = lambda prepared: None
    template_arguments: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, eq=False, repr=False)
class ScoredPool:
    """A pool whose pairs are scored, from which `select` chooses.

    Attributes:
        source: the pool as it was given.
        dataset: the pool as it was loaded.
        run: the scoring run.
        metric: of `utilities`.
        workspace: the open workspace that was given, or the folder of one.
    """

    source: Rows
    dataset: Dataset
    run: ScoredRun
    metric: Metric
    workspace: Workspace | Path
    _temporary: "_TemporaryFolder | None" = None

    def __len__(self) -> int:
        """How many rows were scored; those that do not fit the model are in `left_out`."""
        return len(self.run.pool)

    def __repr__(self) -> str:
        record, left_out = self.run.record, len(self.left_out)
        return (
            f"ScoredPool({self.dataset.name}: {len(self):,} rows, {record.n_pairs:,} pairs, model {record.spec.model}"
            f"{f', {left_out:,} rows left out' if left_out else ''})"
        )

    def _repr_html_(self) -> str:
        return f"<p>{html.escape(repr(self))}</p>"

    @property
    def utilities(self) -> Kernel:
        """(n, n) float32, dense or CSR: how much row j as an example helps with row i; NaN on the diagonal.

        Row i is helped, column j helps. Where a part of the pairs was scored, the matrix is sparse and holds that part.
        """
        return self.selector.utilities(self.metric).pool

    @cached_property
    def embeddings(self) -> np.ndarray:
        """(n, d) float32, the model's own embedding of each scored row."""
        return self.run.embeddings()[: len(self)]

    @property
    def left_out(self) -> tuple[Sample, ...]:
        """Rows of all sets that the model cannot score."""
        return self.run.left_out

    @cached_property
    def indices(self) -> np.ndarray:
        """(n,) int64, the position of each scored row in the pool as it was given, counted from 0.

        Rows that were left out count too. In a file, it is the line or record; the files of a folder, ordered by name,
        count one after the other.
        """
        last: dict[str, int] = {}
        records = [(one.source, one.line) for one in self.dataset.samples]
        records += [(one.source, one.line) for one in self.dataset.problems]
        for name, line in records:
            last[name] = max(last.get(name, 0), line)
        files = sorted(last)
        first = dict(zip(files, accumulate((last[name] for name in files), initial=0), strict=False))
        row_of = {one.id: first[one.source] + one.line - 1 for one in self.dataset.samples}
        return np.array([row_of[sample.id] for sample in self.run.pool], dtype=np.int64)

    @cached_property
    def selector(self) -> Selector:
        """The selector of these rows, which remembers their orders."""
        return Selector(self.run)


def score(
    pool: Rows,
    *,
    target: "Rows | None" = None,
    existing: "Rows | None" = None,
    model: str | Path = BUNDLED,
    pairs: str | PairBudget = "all",
    metric: Metric = "euclidean",
    device: DeviceName = "auto",
    workspace: Workspace | str | Path | None = None,
    progress: Callable[[JobProgress], None] | None = None,
    options: ScoringOptions = ScoringOptions(),
) -> ScoredPool:
    """Measures how much each row, as an example, helps the model with each other row.

    Args:
        pool: the rows to choose from, see `load`.
        target: rows of the task to get better at, for the stage "task".
        existing: rows that the model was trained on before, for the stage "continual".
        model: "bundled", a folder, or the id of a model on the hub: the one that will be fine-tuned.
        pairs: "all", a share ("12%") or a number for each row ("k=32").
        metric: "euclidean", "pmi" or "pmi-per-token"; none needs another forward pass.
        device: "auto", "cpu", "cuda" or "mps".
        workspace: where scores are kept, so that no pair is scored twice: a folder, or an open `Workspace`. Without it
            they last as long as the result.
        progress: called with each progress; without it a bar is drawn on a terminal and in a notebook.
        options: rarely needed settings.

    Raises:
        DataError: rows cannot be read.
        ModelError, ScoringError: the model cannot be loaded, or rows cannot be scored.
        Stopped: `options.stop` answered True.
        WorkspaceError: the workspace cannot be opened.

    Example:
        >>> scored = score("pool.jsonl", pairs="12%", workspace="work")  # doctest: +SKIP
        >>> scored.utilities.shape  # doctest: +SKIP
        (50, 50)
    """
    budget = pairs if isinstance(pairs, PairBudget) else parse_pairs(str(pairs))
    one_of("metric", metric, get_args(Metric), ScoringError)
    one_of("device", device, get_args(DeviceName), ScoringError)
    check_model(str(model))
    given: dict[DatasetRole, Rows | None] = {"pool": pool, "target": target, "existing": existing}
    loaded = {role: load(rows) for role, rows in given.items() if role == "pool" or rows is not None}
    temporary = _TemporaryFolder() if workspace is None else None
    place = temporary.path if temporary else _place(workspace)
    with opened(place) as store, nullcontext(progress) if progress else _bar() as publish:
        ids: dict[DatasetRole, str] = {role: store.datasets.add(rows, role=role).id for role, rows in loaded.items()}
        folder = Path(model)
        spec = RunSpec(
            pool_id=ids["pool"],
            target_id=ids.get("target"),
            existing_id=ids.get("existing"),
            model=str(folder.resolve()) if model != BUNDLED and folder.is_dir() else str(model),
            template=options.template,
            device=device,
            dtype=options.dtype,
            pairs=budget,
            template_arguments=format_arguments(options.template_arguments),
        )
        callbacks = Callbacks(publish, options.stop, options.on_prepared)
        run = open_run(store, run_here(store, spec, callbacks, options.placement).id)
    return ScoredPool(pool, loaded["pool"], run, metric, place, temporary)


class _TemporaryFolder:
    """A folder that is removed once nothing refers to this object."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="delift-"))
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)


def _place(workspace: object) -> Workspace | Path:
    if isinstance(workspace, Workspace | Path):
        return workspace
    if isinstance(workspace, str):
        return Path(workspace)
    raise WorkspaceError(f"{type(workspace).__name__} is no workspace; give a folder or an open Workspace")


def opened(workspace: Workspace | Path) -> AbstractContextManager[Workspace]:
    """A workspace that is open already stays open; one that is named by its folder is open for the block."""
    return nullcontext(workspace) if isinstance(workspace, Workspace) else Workspace.open(workspace)


def one_of(what: str, given: object, known: Sequence[object], error: type[DeliftError]) -> None:
    """Refuses a name that is not among those that are known."""
    if given not in known:
        raise error(f"there is no {what} {given!r}; use one of {', '.join(map(str, known))}")


@contextmanager
def _bar() -> Iterator[Callable[[JobProgress], None]]:
    """A progress bar on a terminal or in a notebook; nothing elsewhere."""
    from tqdm.auto import tqdm

    hidden = False if "ipykernel" in sys.modules else None  # None: shown on a terminal only
    with tqdm(unit="pair", unit_scale=True, dynamic_ncols=True, leave=False, disable=hidden) as bar:

        def show(now: JobProgress) -> None:
            bar.set_description_str(now.words, refresh=False)
            if now.total and bar.total != now.total:
                bar.reset(total=now.total)
                bar.initial = now.done  # found on disk: no part of the rate
            bar.n = now.done
            bar.refresh()

        yield show
