"""`score`, `curate` and `export`: the way from files to a written subset."""

import argparse
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np

from delift_core import api
from delift_core.cli.arguments import selection_request
from delift_core.cli.job_progress import LongRunCheck, measure_order, watched_scoring
from delift_core.cli.sources import (
    ProblemClass,
    ensure_answer_matters,
    load_source,
    note_losses,
    problem_classes,
    problem_documents,
    problem_lines,
    tidying_of,
)
from delift_core.cli.terminal import Output
from delift_core.curation.curate import open_selection
from delift_core.curation.manifest import Manifest
from delift_core.curation.scoring_runs import ScoredRun
from delift_core.curation.selector import ensure_possible
from delift_core.data.loading import Dataset
from delift_core.errors import ExportError
from delift_core.export.card import TrainerKit, kit_documents, kit_lines, trainer_kit, write_kit
from delift_core.export.containers import container_of, min_export_bytes
from delift_core.export.preflight import ExportDraft
from delift_core.export.subset_files import export_draft
from delift_core.export.writers import manifest_path, unwritable
from delift_core.jobs.backends import Placement
from delift_core.jobs.preparation import Prepared
from delift_core.jobs.scoring_job import OnPrepared
from delift_core.models.model_files import check_model
from delift_core.samples import Sample
from delift_core.scoring.pair_spec import ALL_PAIRS
from delift_core.selection.budget import ensure_tokens_fit, rows_of_budget
from delift_core.selection.diagnose import Diagnosis, diagnose
from delift_core.selection.methods import method_title
from delift_core.selection.request import PRESETS, PresetName, SelectionRequest, format_budget, format_quota, has_bounds
from delift_core.system.texts import Check, byte_size
from delift_core.workspace import DatasetRole, Workspace

_Inputs = dict[DatasetRole, Dataset]


def score(arguments: argparse.Namespace) -> int:
    """Scores a pool, with a target and existing rows where they are given."""
    check_model(arguments.model)
    inputs = _load_inputs(arguments)
    with Workspace.open(arguments.workspace) as workspace:
        run = _score(workspace, inputs, arguments).run
        refused = _refused(run)
        folder = workspace.folder
    record = run.record
    lines = [
        f"run {record.id}: {record.n_pairs:,} pairs of {len(run.pool):,} rows scored with {record.spec.model}",
        *problem_lines(_problems(inputs)),
        *([refused] if refused else []),
        f"kept in {folder}",
    ]
    document = {
        "run": record.id,
        "status": record.status,
        "model": record.spec.model,
        "model_revision": record.model_revision,
        "context_key": record.context_key,
        "pairs": record.n_pairs,
        "rows": len(run.pool),
        "not_scored": len(run.left_out),
        "truncated": record.truncated,
        "rendering": asdict(record.rendering),
        "problems": problem_documents(_problems(inputs)),
        "workspace": str(folder),
    }
    Output(arguments.json).show(lines, document)
    return 0


def curate(arguments: argparse.Namespace) -> int:
    """Loads, scores, selects, keeps the selection, and writes the subset with its manifest."""
    check_model(arguments.model)
    request, inputs = selection_request(arguments), _load_inputs(arguments)
    _check_loaded(arguments, request, inputs["pool"].samples)
    with Workspace.open(arguments.workspace) as workspace:
        check = partial(_check_prepared, arguments, request, inputs["pool"].samples)
        scored = _score(workspace, inputs, arguments, check)
        measure_order(workspace, scored.selector, request)
        subset = api.Subset(scored, request, scored.selector.select(request))
        by = "" if request.method == "delift" else f" by {method_title(request.method)}"
        name = arguments.name or f"{inputs['pool'].name}, {request.config.stage}, {format_budget(request.budget)}{by}"
        selection_id = subset.save(name)
        draft = ExportDraft(open_selection(workspace, selection_id, scored.selector), arguments.format)
        with _selection_named(selection_id):
            manifest = export_draft(workspace, draft, arguments.out, formulas=arguments.formulas)
        warnings = tuple(check for check in draft.checks(container_of(arguments.out)) if not check.ok)
        diagnosis = diagnose(draft.curated.problem.utilities.pool)
        kit = trainer_kit(draft, manifest, arguments.max_tokens)
        files = write_kit(kit, arguments.out) if arguments.recipes else ()
        report = _CurateReport(
            arguments.out, workspace.folder, inputs, draft, manifest, diagnosis, warnings, kit, files
        )
    Output(arguments.json).show(report.lines(), report.document())
    return 0


def export(arguments: argparse.Namespace) -> int:
    """Writes the subset of a kept selection, with the edits made since."""
    with Workspace.open(arguments.workspace) as workspace:
        draft = ExportDraft(open_selection(workspace, arguments.selection_id), arguments.format)
        note_losses(draft.samples, arguments.format, arguments.out)
        manifest = export_draft(workspace, draft, arguments.out, formulas=arguments.formulas)
        kit = trainer_kit(draft, manifest, arguments.max_tokens)
    files = write_kit(kit, arguments.out) if arguments.recipes else ()
    output = manifest.output
    lines = [
        f"{arguments.out}: {output.rows:,} rows of selection {manifest.selection_id} written as {output.format}",
        f"{manifest_path(arguments.out)}: manifest",
        *kit_lines(kit, draft.samples, files),
    ]
    document = {
        "selection": manifest.selection_id,
        "out": str(arguments.out),
        "manifest": str(manifest_path(arguments.out)),
        "rows": output.rows,
        "format": output.format,
        "sha256": output.sha256,
        "trainers": kit_documents(kit, draft.samples),
        "files": [str(path) for path in files],
    }
    Output(arguments.json).show(lines, document)
    return 0


@dataclass(frozen=True, slots=True)
class _CurateReport:
    """The outcome of `curate`, as lines and as a document."""

    out: Path
    workspace: Path
    inputs: _Inputs
    draft: ExportDraft
    manifest: Manifest
    diagnosis: Diagnosis
    warnings: tuple[Check, ...]
    kit: TrainerKit
    files: tuple[Path, ...]

    def lines(self) -> list[str]:
        pool, result, manifest = self.inputs["pool"], self.manifest.result, self.manifest
        run = self.draft.curated.problem.run
        refused, bar = _refused(run), self.draft.curated.error_bar
        return [
            f"pool: {len(pool) + pool.records_left_out:,} records in, {len(pool):,} usable, {len(run.pool):,} scored",
            *problem_lines(_problems(self.inputs)),
            *([refused] if refused else []),
            *(f"note: {caution}" for caution in self.draft.curated.problem.cautions),
            f"chosen: {manifest.output.rows:,} of {len(run.pool):,} rows (budget {format_budget(manifest.budget)})",
            *([f"preset published: {PRESETS['published'].words}"] if self._scaled else []),
            *self._quota_lines(),
            f"coverage: {result.value:.6g} of at most {result.upper_bound:.6g} (certificate {result.certificate:.1%}); "
            f"random subsets reach {result.random_mean:.6g} ± {result.random_std:.2g}",
            *self._engine_lines(),
            *([bar.sentence] if bar and bar.enough else []),  # else it is among the warnings
            *(f"note: {warning.label}: {warning.detail}" for warning in self.warnings),
            f"written: {self.out} and {manifest_path(self.out)}",
            *kit_lines(self.kit, self.draft.samples, self.files),
            f"selection {manifest.selection_id} is kept in {self.workspace}",
        ]

    @property
    def _scaled(self) -> bool:
        return self.manifest.objective.scaling == "min-max"

    def _engine_lines(self) -> list[str]:
        engine, method = self.manifest.engine, self.manifest.method
        if method is not None and method.name != "delift":
            return [f"method {method.title} ({method.source})"]
        return [] if engine is None or engine.name == "auto" else [f"engine {engine.name}: {engine.guarantee}"]

    def _quota_lines(self) -> list[str]:
        quotas, chosen = self.draft.curated.record.selection.quotas, self.draft.curated.record.selection.chosen
        if quotas is None:
            return []
        counts = np.bincount(quotas.codes[chosen], minlength=len(quotas.groups)).tolist()
        told = [
            f"{group.label} {count:,} ({format_quota(group)})"
            for group, count in zip(quotas.groups, counts, strict=True)
            if has_bounds(group)
        ]
        return [f"quotas by {quotas.column}: {', '.join(told)}"]

    def document(self) -> dict[str, object]:
        pool, manifest = self.inputs["pool"], self.manifest
        run = self.draft.curated.problem.run
        return {
            "selection": manifest.selection_id,
            "run": run.record.id,
            "out": str(self.out),
            "manifest": str(manifest_path(self.out)),
            "workspace": str(self.workspace),
            "records": len(pool) + pool.records_left_out,
            "rows": len(pool),
            "left_out": pool.records_left_out,
            "problems": problem_documents(_problems(self.inputs)),
            "not_scored": len(pool) - len(run.pool),
            "rendering": asdict(run.record.rendering),
            "chosen": manifest.output.rows,
            "budget": asdict(manifest.budget),
            "objective": asdict(manifest.objective),
            "metric": manifest.metric,
            "quotas": None if manifest.quotas is None else asdict(manifest.quotas),
            "engine": None if manifest.engine is None else asdict(manifest.engine),
            "method": None if manifest.method is None else asdict(manifest.method),
            "result": asdict(manifest.result),
            "diagnosis": self.diagnosis.sentence,
            "cautions": list(self.draft.curated.problem.cautions),
            "error_bar": None if manifest.error_bar is None else asdict(manifest.error_bar),
            "warnings": [asdict(warning) for warning in self.warnings],
            "sha256": manifest.output.sha256,
            "trainers": kit_documents(self.kit, self.draft.samples),
            "files": [str(path) for path in self.files],
        }


def _check_loaded(arguments: argparse.Namespace, request: SelectionRequest, samples: Sequence[Sample]) -> None:
    """What can be refused before anything is scored."""
    _check_amounts(arguments, request, samples)
    refused = unwritable(samples, arguments.format)
    if refused:
        first = refused[0]
        raise ExportError(
            f"{len(refused):,} of {len(samples):,} pool rows cannot be written as {arguments.format}, the first is "
            f"{first.sample.source}, line {first.sample.line}: {first.reason} Choose another --format."
        )
    note_losses(samples, arguments.format, arguments.out)


def _check_amounts(arguments: argparse.Namespace, request: SelectionRequest, samples: Sequence[Sample]) -> None:
    """Whether so many rows can be chosen from these, by this method, and written."""
    ensure_possible(request, samples)
    rows = 1 if "token counts" in request.needs else rows_of_budget(request.budget, len(samples))
    needed = min_export_bytes(arguments.out, samples, rows, arguments.format)
    free = shutil.disk_usage(arguments.out.absolute().parent).free
    if needed > free:
        raise ExportError(
            f"{arguments.out} and its manifest take at least {byte_size(needed)} and {byte_size(free)} are free; "
            "make room, or write to another disk"
        )


def _check_prepared(
    arguments: argparse.Namespace, request: SelectionRequest, samples: Sequence[Sample], prepared: Prepared
) -> None:
    """What can be refused once it is known which rows fit the model, and how many tokens they have."""
    _check_amounts(arguments, request, [sample for sample in samples if sample.content_hash in prepared.encoded])
    if "token counts" in request.needs:
        ensure_tokens_fit(request.budget, prepared.pool_tokens())


def _load_inputs(arguments: argparse.Namespace) -> _Inputs:
    load = partial(load_source, answer=arguments.answer, turns=arguments.turns, scored=arguments.score_part)
    inputs: _Inputs = {"pool": load(arguments.pool, arguments.map, tidying=tidying_of(arguments))}
    if arguments.target:
        inputs["target"] = load(arguments.target, arguments.target_map)
    if arguments.existing:
        inputs["existing"] = load(arguments.existing, arguments.existing_map)
    ensure_answer_matters(arguments.answer, *inputs.values())
    return inputs


def _problems(inputs: _Inputs) -> tuple[ProblemClass, ...]:
    """What was left out of all data sets."""
    return problem_classes(problem for dataset in inputs.values() for problem in dataset.problems)


def _score(
    workspace: Workspace,
    inputs: _Inputs,
    arguments: argparse.Namespace,
    on_prepared: OnPrepared = lambda prepared: None,
) -> api.ScoredPool:
    preset: PresetName = getattr(arguments, "preset", "default")
    target, existing = inputs.get("target"), inputs.get("existing")
    rows = len(inputs["pool"]), len(target or ()), len(existing or ())
    long_run = LongRunCheck(rows, needs_all=preset == "published") if arguments.pairs is None else None
    placement = Placement(arguments.backend, arguments.ray_address, arguments.ray_threads)
    with watched_scoring(workspace, long_run) as watched:
        return api.score(
            inputs["pool"],
            target=target,
            existing=existing,
            model=arguments.model,
            pairs=arguments.pairs or ALL_PAIRS,
            metric=getattr(arguments, "metric", None) or PRESETS[preset].metric,
            device=arguments.device,
            workspace=workspace,
            progress=watched.publish,
            options=api.ScoringOptions(
                arguments.template,
                arguments.dtype,
                placement,
                watched.stop,
                on_prepared,
                arguments.chat_template_kwargs,
            ),
        )


def _refused(run: ScoredRun) -> str:
    if not run.left_out:
        return ""
    first = run.left_out[0]
    return (
        f"  not scored: {len(run.left_out):,} rows do not fit this model, the first is {first.source}, "
        f"line {first.line}; the manifest says why"
    )


@contextmanager
def _selection_named(selection_id: str) -> Iterator[None]:
    """Says in a failed export that the selection itself is kept."""
    try:
        yield
    except ExportError as error:
        raise ExportError(f"{error} (selection {selection_id} is stored: use the command export)") from error
