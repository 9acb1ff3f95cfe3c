"""Exports a selection: a file for the trainer and its manifest.

Rows keep the order of the pool file, so the export is the pool without some lines. The order of selection, ranks and
gains are in the manifest only.
"""

import importlib.metadata
import platform
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np

from delift_core import __version__
from delift_core.curation.curate import CuratedSelection, open_selection
from delift_core.curation.manifest import (
    MANIFEST_VERSION,
    EditEntry,
    EngineEntry,
    FixedEntry,
    InputEntry,
    Manifest,
    MethodUsed,
    ModelEntry,
    OutputEntry,
    PackageVersion,
    QuotasEntry,
    ResultEntry,
    RowEntry,
    to_json,
)
from delift_core.curation.selector import Selector
from delift_core.data.loading.file_records import file_hash
from delift_core.errors import DataError, ExportError
from delift_core.export.containers import write_rows
from delift_core.export.preflight import ExportDraft
from delift_core.export.writers import ensure_writable, manifest_path, write_lines
from delift_core.jobs.folder import JobFolder
from delift_core.samples import ExportFormat, Formulas, Sample
from delift_core.scoring.pair_spec import format_pairs
from delift_core.scoring.store import read_context
from delift_core.selection.coverage import value
from delift_core.selection.methods import method_source, method_title
from delift_core.selection.select import guarantee
from delift_core.workspace import DatasetRecord, Edit, Workspace
from delift_core.workspace.workspace import utc_now

_PACKAGES = ("torch", "transformers", "tokenizers", "numpy", "numba", "submodlib-py", "duckdb", "datasets")


def export_selection(
    workspace: Workspace,
    selection_id: str,
    out: Path,
    *,
    format: ExportFormat = "same",
    formulas: Formulas = "keep",
    selector: Selector | None = None,
    clock: Callable[[], datetime] = utc_now,
) -> Manifest:
    """Writes the subset of a selection and its manifest, and records the export in the workspace.

    Args:
        out: the output file: JSON lines, or a table if it ends in .parquet or .csv; an earlier file is replaced.
        format: see `writers.render_lines`.
        formulas: for CSV, see `containers.write_rows`.
        selector: of the selection's run, if the caller has it already.
        clock: returns the current time with its zone.

    Raises:
        ExportError: the subset is empty, a row cannot be written in the format, or `out` is an input or not writable;
            nothing is written then.
        NotAllowed: the visitor is a viewer.
        DeliftError: the selection or its run cannot be opened.
    """
    workspace.require("export")
    draft = ExportDraft(open_selection(workspace, selection_id, selector), format)
    return export_draft(workspace, draft, out, formulas=formulas, clock=clock)


def export_draft(
    workspace: Workspace,
    draft: ExportDraft,
    out: Path,
    *,
    formulas: Formulas = "keep",
    clock: Callable[[], datetime] = utc_now,
) -> Manifest:
    """As `export_selection`, with the rows that a draft has rendered; rendered again if they were edited since."""
    workspace.require("export")
    curated, selection_id, format = draft.curated, draft.curated.record.id, draft.format
    if curated.version != workspace.edits.version(selection_id):
        return export_selection(
            workspace, selection_id, out, format=format, formulas=formulas, selector=curated.selector, clock=clock
        )
    if not draft.samples:
        raise ExportError(
            f"the subset of selection {selection_id} is empty, every chosen row was dropped by hand; undo some edits"
        )
    records = _inputs(workspace, curated)
    files = [path for record in records if (path := record.origin.find()) is not None]
    ensure_writable(out, files, [manifest_path(out)])
    lines = draft.lines
    rows = tuple(replace(row, written_hash=draft.written_hashes.get(row.id)) for row in _rows(workspace, curated))
    inputs = tuple(_input_entry(record) for record in records)
    written = write_rows(out, lines, formulas=formulas)
    selection, pool = curated.record.selection, curated.problem.run.pool
    fixed, quotas = selection.fixed, selection.quotas
    manifest = Manifest(
        version=MANIFEST_VERSION,
        created_at=clock().isoformat(),
        selection_id=selection_id,
        selection_name=curated.record.name,
        seed=curated.record.seed,
        output=OutputEntry(out.name, format, written.rows, written.sha256, formulas, written.json_columns),
        inputs=inputs,
        model=_model(curated),
        metric=curated.problem.metric,
        objective=curated.problem.config,
        budget=selection.budget,
        result=_result(curated),
        versions=package_versions(),
        edits=tuple(_edit_entry(edit) for edit in workspace.edits.history(selection_id)),
        rows=rows,
        fixed=FixedEntry(*(tuple(pool[at].id for at in part) for part in (fixed.kept, fixed.dropped))),
        error_bar=curated.error_bar,
        quotas=QuotasEntry(quotas.column, quotas.groups) if quotas is not None else None,
        engine=EngineEntry(selection.engine, guarantee(selection)),
        method=MethodUsed(selection.method, method_title(selection.method), method_source(selection.method)),
    )
    write_lines(manifest_path(out), [to_json(manifest)])
    workspace.exports.add(
        selection_id, path=str(out.resolve()), sha256=written.sha256, n_records=written.rows, format=format
    )
    return manifest


def package_versions() -> tuple[PackageVersion, ...]:
    """Versions of this program, Python and the installed packages that affect numbers."""
    found = [PackageVersion("delift-studio", __version__), PackageVersion("python", platform.python_version())]
    for name in _PACKAGES:
        try:
            found.append(PackageVersion(name, importlib.metadata.version(name)))
        except importlib.metadata.PackageNotFoundError:
            continue
    return tuple(found)


def _inputs(workspace: Workspace, curated: CuratedSelection) -> tuple[DatasetRecord, ...]:
    """The data sets of the run, the pool first."""
    spec = curated.problem.run.record.spec
    ids = (spec.pool_id, spec.target_id, spec.existing_id)
    return tuple(workspace.datasets.record(dataset_id) for dataset_id in ids if dataset_id)


def _input_entry(record: DatasetRecord) -> InputEntry:
    """The entry of an input; the hash of a file is that of then only if it still has the same conversations."""
    origin = record.origin
    entry = InputEntry(
        role=record.role,
        name=record.name,
        origin=str(origin),
        format=record.format,
        mapping=record.mapping,
        rows=record.n_samples,
        problems=record.n_problems,
        content_hash=record.content_hash,
        sha256=origin.sha256 or None,
        turns=record.turns,
        choices=record.choices,
        options=origin.options,
        commit=origin.split.commit if origin.split else "",
    )
    path = origin.find()
    if path is None:
        return entry
    try:
        read = entry.load()
    except DataError:
        return entry
    return replace(entry, sha256=file_hash(path), options=read.origin.options)


def _model(curated: CuratedSelection) -> ModelEntry:
    run = curated.problem.run
    context = read_context(run.store.folder)
    if context is None:
        raise ExportError(f"{run.store.folder / 'context.json'} is missing or damaged; score the run again")
    return ModelEntry(
        name=run.record.spec.model,
        revision=context.revision,
        dtype=context.dtype,
        device=run.record.spec.device,
        context_length=context.context_length,
        template=context.template,
        template_version=context.template_version,
        context_key=context.key,
        pairs=format_pairs(run.record.spec.pairs),
        template_arguments=context.template_arguments,
        rendering=run.record.rendering,
    )


def _result(curated: CuratedSelection) -> ResultEntry:
    selection, problem = curated.record.selection, curated.problem
    return ResultEntry(
        value=float(selection.certificate.value),
        subset_value=value(problem.kernel, curated.subset.positions),
        upper_bound=float(selection.certificate.upper_bound),
        certificate=float(selection.certificate.ratio),
        random_mean=selection.random.mean,
        random_std=selection.random.std,
        random_draws=len(selection.random.values),
        truncated=problem.run.record.truncated,
    )


def _edit_entry(edit: Edit) -> EditEntry:
    when = edit.created_at.isoformat()
    return EditEntry(edit.number, edit.action, edit.sample_ids, edit.author, when, edit.why, edit.state, edit.detail)


def _rows(workspace: Workspace, curated: CuratedSelection) -> tuple[RowEntry, ...]:
    """An entry for every row of the pool file, scored or not."""
    run = curated.problem.run
    position_of = {sample.id: position for position, sample in enumerate(run.pool)}
    refusals = JobFolder(workspace.jobs_folder / run.record.id).status().progress.facts.refused
    refused = {refusal.content_hash: refusal.reason for refusal in refusals}
    last_edit = {
        sample_id: edit
        for edit in workspace.edits.history(curated.record.id)
        if edit.state == "applied" and edit.action in ("keep", "drop", "reset")
        for sample_id in edit.sample_ids
    }
    table = _RowEntries(curated)
    return tuple(
        table.entry(sample, position_of[sample.id], last_edit.get(sample.id))
        if sample.id in position_of
        else _unscored(sample, refused.get(sample.content_hash, "the model cannot score this row"))
        for sample in workspace.datasets.load(run.record.spec.pool_id).samples
    )


def _unscored(sample: Sample, why: str) -> RowEntry:
    nothing = (None, None, None, None, None)  # neither ranks nor gains
    known = (sample.id, sample.line, sample.source, sample.content_hash)
    return RowEntry(*known, "not-scored", *nothing, f"Not scored: {why}.", ())


class _RowEntries:
    """Makes the entries of scored pool rows."""

    def __init__(self, curated: CuratedSelection) -> None:
        selection = curated.record.selection
        self._curated = curated
        self._statuses = curated.statuses
        self._whys = curated.reasons_naming()
        self._residual = selection.residual_gains.tolist()
        self._picks = _by_position(selection.chosen, selection.chosen_gains)
        self._greedy = _by_position(selection.greedy.order, selection.greedy.gains)

    def entry(self, sample: Sample, position: int, edit: Edit | None) -> RowEntry:
        """The entry of one row; `edit` is the last edit of it."""
        rank, gain = self._picks.get(position, (None, None))
        greedy_rank, greedy_gain = self._greedy[position]
        sentence, named = self._whys[position]
        by_hand = edit is not None and self._statuses[position] in ("kept-by-hand", "dropped-by-hand")
        return RowEntry(
            id=sample.id,
            line=sample.line,
            source=sample.source,
            content_hash=sample.content_hash,
            status=self._statuses[position],
            rank=rank,
            gain=gain,
            residual_gain=self._residual[position],
            greedy_rank=greedy_rank,
            greedy_gain=greedy_gain,
            reason=f"{_edit_sentence(edit)} {sentence}" if edit is not None and by_hand else sentence,
            named=tuple(self._curated.problem.run.pool[other].id for other in named),
            tags=self._curated.marks.tags.get(sample.id, ()),
            note=self._curated.marks.notes.get(sample.id, ""),
            edited_hash=_edited_hash(self._curated, position),
            group=self._group(position),
        )

    def _group(self, position: int) -> str | None:
        quotas = self._curated.record.selection.quotas
        return None if quotas is None else quotas.groups[int(quotas.codes[position])].label


def _edited_hash(curated: CuratedSelection, position: int) -> str | None:
    edited = curated.samples[position].content_hash
    return None if edited == curated.problem.run.pool[position].content_hash else edited


def _by_position(order: np.ndarray, gains: np.ndarray) -> dict[int, tuple[int, float]]:
    """Rank (from 1) and gain of each position in an order of k rows."""
    pairs = zip(order.tolist(), gains.tolist(), strict=True)
    return {position: (rank, gain) for rank, (position, gain) in enumerate(pairs, start=1)}


def _edit_sentence(edit: Edit) -> str:
    verb = "Kept" if edit.action == "keep" else "Dropped"
    why = f" ({edit.why})" if edit.why else ""
    return f"{verb} by hand by {edit.author} on {edit.created_at:%Y-%m-%d}{why}."
