"""Part of the API: selecting a subset of a scored pool, and evaluating it."""

import html
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, get_args

import numpy as np

from delift_core.api.scored_pool import Rows, ScoredPool, load, one_of, opened
from delift_core.curation.selector import SelectionProblem
from delift_core.data.loading import Dataset
from delift_core.data.loading.library_rows import kind_of_rows
from delift_core.errors import DataError, ExportError, SelectionError
from delift_core.evaluation.cost import ResultCache
from delift_core.evaluation.evaluation_request import FineTuning
from delift_core.evaluation.method_orders import ask_the_model
from delift_core.evaluation.report import EvaluationReport
from delift_core.evaluation.subset_evaluation import request_from_manifest, request_from_positions
from delift_core.export.subset_files import export_selection
from delift_core.models.devices import DeviceName
from delift_core.samples import ExportFormat
from delift_core.selection.explain import Explainer
from delift_core.selection.explain_text import as_sentence
from delift_core.selection.request import (
    Engine,
    QuotaRequest,
    SelectionRequest,
    objective_of,
    parse_budget,
    parse_engine,
    parse_quota,
)
from delift_core.selection.types import Budget, ChosenBy, FixedRows, ObjectiveConfig, Selection, Stage
from delift_core.system.callbacks import OnProgress, Progress, Stop, never, new_messages
from delift_core.system.memory import ensure_libraries_fit

if TYPE_CHECKING:
    import datasets

_SHOWN = 10  # rows of a subset in a notebook


@dataclass(frozen=True, eq=False, repr=False)
class Subset:
    """A subset of a scored pool, as `select` returns it.

    Attributes:
        scored: the pool that the rows were chosen from.
        request: what was asked for.
        selection: the choice, with the whole order that it was cut from.
    """

    scored: ScoredPool
    request: SelectionRequest
    selection: Selection

    def __len__(self) -> int:
        return len(self.selection.chosen)

    def __repr__(self) -> str:
        return f"Subset({self._summary()})"

    @property
    def problem(self) -> SelectionProblem:
        """The objective over the scored pool."""
        return self.scored.selector.problem(self.request.metric, self.request.config)

    @property
    def indices(self) -> np.ndarray:
        """(k,) int64, the chosen rows in the order of choice, as positions in the pool as it was given."""
        rows: np.ndarray = self.scored.indices[self.selection.chosen]
        return rows

    @property
    def gains(self) -> np.ndarray:
        """(k,) float64, what each chosen row added to the objective."""
        return self.selection.chosen_gains

    @property
    def certificate(self) -> float:
        """In [0, 1]: the share of the best possible subset's objective that this one certainly reaches."""
        return self.selection.certificate.ratio

    def explain(self, index: int) -> str:
        """Why a row was chosen or left out, in a sentence that names rows by their position in the pool as given; of a
        row with several samples, a line for each.

        Raises:
            SelectionError: there is no such row, or it was not scored.
        """
        names = self.scored.indices.tolist()
        reasons = map(self._explainer.reason, _positions(self.scored, [index]))
        return "\n".join(as_sentence(reason, lambda other: f"row {names[other]}") for reason in reasons)

    def with_budget(self, budget: str | int) -> "Subset":
        """The subset for the same request with another budget, cut from the same order.

        Raises:
            SelectionError: the budget cannot be met.
        """
        request = replace(self.request, budget=_budget(budget))
        return replace(self, request=request, selection=self.scored.selector.select(request))

    def to_dataset(self) -> "datasets.Dataset":
        """The chosen rows as a `datasets.Dataset` with the columns that were given, in the order of choice.

        Raises:
            DataError: a column holds values of several types.
        """
        import datasets
        import pyarrow

        source, rows = cast(Any, self.scored.source), list(dict.fromkeys(self.indices.tolist()))
        kind = "" if isinstance(source, Dataset) else kind_of_rows(source)
        if kind == "datasets":
            return source.select(rows)
        if kind == "pandas":
            return datasets.Dataset.from_pandas(source.iloc[rows], preserve_index=False)
        raw = dict(zip(self.indices.tolist(), self.selection.chosen.tolist(), strict=True))
        records = [source[row] if kind else json.loads(self.scored.run.pool[raw[row]].raw) for row in rows]
        names = dict.fromkeys(name for record in records for name in record)
        try:
            return datasets.Dataset.from_dict({name: [record.get(name) for record in records] for name in names})
        except pyarrow.ArrowException as error:
            raise DataError(f"no table can hold these rows ({error}); write them with export") from error

    def export(self, path: str | Path, *, format: ExportFormat = "same", name: str | None = None) -> Path:
        """Writes the chosen rows in the order of the pool, with a manifest beside them, and saves the selection.

        Args:
            path: the file to write: .jsonl, .parquet or .csv.
            format: "same", "alpaca", "sharegpt", "messages" or "prompt-completion".
            name: of the saved selection; that of the file if None.

        Returns:
            The file. `python -m delift_core verify` and `rerun` take the manifest.

        Raises:
            ExportError: a row cannot be written in the format, or the file cannot be written.
        """
        out = Path(path)
        one_of("format", format, get_args(ExportFormat), ExportError)
        selection_id = self.save(name or out.stem)
        with opened(self.scored.workspace) as store:
            export_selection(store, selection_id, out, format=format, selector=self.scored.selector)
        return out

    def save(self, name: str) -> str:
        """Saves the selection in the workspace, where the app shows it, and returns its id, such as "s1"."""
        with opened(self.scored.workspace) as store:
            run_id, metric, seed = self.scored.run.record.id, self.request.metric, self.request.seed
            return store.selections.add(run_id, self.selection, name=name, metric=metric, seed=seed).id

    @cached_property
    def _explainer(self) -> Explainer:
        return Explainer(self.selection, self.problem.kernel)

    def _summary(self) -> str:
        return f"{len(self):,} of {len(self.scored):,} rows, at least {self.certificate:.0%} of the best possible"

    def _repr_html_(self) -> str:
        pool = self.scored.run.pool
        first = zip(self.indices[:_SHOWN].tolist(), self.selection.chosen.tolist(), self.gains.tolist(), strict=False)
        rows = "".join(
            f"<tr><td>{index}</td><td>{gain:.3g}</td><td>{_excerpt(pool[at].prompt)}</td>"
            f"<td>{_excerpt(pool[at].response)}</td></tr>"
            for index, at, gain in first
        )
        more = f"<p>and {len(self) - _SHOWN:,} more</p>" if len(self) > _SHOWN else ""
        head = "<tr><th>row</th><th>gain</th><th>prompt</th><th>response</th></tr>"
        return f"<p>{self._summary()}</p><table>{head}{rows}</table>{more}"


def select(
    scored: ScoredPool,
    *,
    budget: str | int | Budget,
    stage: Stage | ObjectiveConfig = "instruction",
    quotas: Sequence[str | QuotaRequest] = (),
    keep: Sequence[int] = (),
    drop: Sequence[int] = (),
    method: ChosenBy = "delift",
    engine: Engine = "auto",
    seed: int = 0,
    progress: OnProgress | None = None,
    stop: Stop = never,
) -> Subset:
    """Chooses the rows that together help most. The order is kept, so that another budget answers at once.

    Args:
        scored: the pool, see `score`.
        budget: "30%", 500 (rows) or "200000tok" (tokens).
        stage: "instruction", "task" (needs a target) or "continual" (needs existing rows).
        quotas: such as "source:a.jsonl=10..40".
        keep, drop: rows decided by hand, as positions in the pool as it was given.
        method: "delift", or a published method to compare with, see `METHODS`.
        engine: what makes DELIFT's order; every one is exact greedy.
        seed: of random draws.
        progress: called where a method asks the model about every row; by default, messages are printed.
        stop: asked before every such question; True ends the selection with `Stopped`.

    Raises:
        SelectionError: parts of the request contradict each other, the budget or the quotas cannot be met, or the stage
            lacks its set.

    Example:
        >>> subset = select(scored, budget="30%", keep=[0])  # doctest: +SKIP
        >>> subset.indices  # doctest: +SKIP
        array([0, 8, 3])
    """
    asked = [quotas] if isinstance(quotas, str) else quotas
    request = SelectionRequest(
        stage if isinstance(stage, ObjectiveConfig) else objective_of("default", stage),
        _budget(budget),
        scored.metric,
        tuple(one if isinstance(one, QuotaRequest) else parse_quota(str(one)) for one in asked),
        FixedRows(*(tuple(sorted(_positions(scored, rows))) for rows in (keep, drop))),
        method,
        parse_engine(str(engine)),
        seed,
    )
    if "model" in request.needs:
        with opened(scored.workspace) as store:
            publish = progress or new_messages(print)
            ask_the_model(store, scored.selector, request, publish=publish, stop=stop)
    return Subset(scored, request, scored.selector.select(request))


@dataclass(frozen=True, slots=True)
class EvaluationOptions:
    """Rarely needed settings of `evaluate`.

    Attributes:
        tuning: how to fine-tune.
        examples: where above 0, also measured without training, with so many nearest chosen rows as examples.
        answers: so many held-out rows are answered by each arm, and the answers scored.
        device: None takes that of the scoring run, and "auto" for a manifest.
        cache: a folder for finished training runs, so that a stopped evaluation continues where it was.
        adapter: a new folder for the LoRA layers of the first run on the subset.
        workspace: the folder of the one that scored a manifest's pool; for methods that need utilities.
        stop: asked before every step and batch; True ends the evaluation with `Stopped`.
    """

    tuning: FineTuning = FineTuning()
    examples: int = 0
    answers: int = 0
    device: DeviceName | None = None
    cache: Path | None = None
    adapter: Path | None = None
    workspace: Path | None = None
    stop: Stop = never


def evaluate(
    subset: Subset | str | Path,
    heldout: Rows,
    *,
    against: Sequence[str] = ("random", "full"),
    seeds: int = 3,
    progress: OnProgress | None = None,
    options: EvaluationOptions = EvaluationOptions(),
) -> EvaluationReport:
    """Fine-tunes the model on the subset and on what it is compared with, and measures rows that none has seen.

    Args:
        subset: see `select`, or the manifest of an exported one.
        heldout: rows like those that the model will meet, none of them in the pool.
        against: "random", "random-tokens", "full", or methods by name.
        seeds: runs of the subset and of random rows.
        progress: called for each step; by default, messages are printed.
        options: rarely needed settings.

    Returns:
        The report; `.table()` is a `DataFrame`, `print` shows it with its conclusion.

    Raises:
        DataError: there are no held-out rows, or an unknown name stands in `against`.
        ScoringError: the model cannot be fine-tuned.
        Stopped: `options.stop` answered True.
    """
    ensure_libraries_fit()
    from delift_core.evaluation.evaluate import evaluate_in_turn

    publish = progress or new_messages(print)
    arms, rows = (against,) if isinstance(against, str) else tuple(against), load(heldout).samples
    if isinstance(subset, Subset):
        name, revision = "evaluate", subset.scored.run.record.model_revision
        request = request_from_positions(subset.problem, subset.selection.chosen, rows, arms)
    else:
        path = Path(subset)
        name, place = f"evaluate {path.name}", options.workspace
        request, revision = request_from_manifest(path, rows, against=arms, workspace=place, publish=publish)
    report = evaluate_in_turn(
        replace(
            request,
            seeds=seeds,
            tuning=options.tuning,
            examples=options.examples,
            generate=options.answers,
            device=options.device or request.device,
        ),
        name,
        publish=publish,
        stop=options.stop,
        cache=ResultCache(options.cache) if options.cache else None,
        adapter=options.adapter,
    )
    if report.revision != revision:
        note = (
            f"note: {request.model} is not the revision that chose the subset "
            f"({report.revision[:12]} now, {(revision or '')[:12]} then)"
        )
        publish(Progress("done", message=note))
    return report


def _budget(given: object) -> Budget:
    return given if isinstance(given, Budget) else parse_budget(str(given))


def _positions(scored: ScoredPool, rows: Sequence[int]) -> list[int]:
    """Positions among the scored samples of rows of the pool as it was given."""
    found: dict[int, list[int]] = {}
    for position, row in enumerate(scored.indices.tolist()):
        found.setdefault(row, []).append(position)
    missing = [row for row in rows if row not in found]
    if missing:
        raise SelectionError(f"row {missing[0]!r} is not among the scored rows of the pool; rows are counted from 0")
    return [position for row in rows for position in found[row]]


def _excerpt(text: str) -> str:
    line = " ".join(text.split())
    return html.escape(line if len(line) <= 80 else f"{line[:79]}…")
