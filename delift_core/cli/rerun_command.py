"""`rerun`: the way from a manifest's inputs to its file once more, to see that the same comes out, bit for bit.

On the processor of then the same rows are chosen again. On another one the utilities differ in their last digits, and
`export.replication` says whose rows are written.
"""

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import cast

import numpy as np

from delift_core.cli.job_progress import measure_order, watched_scoring
from delift_core.cli.terminal import Output
from delift_core.curation.curate import keep_selection
from delift_core.curation.manifest import InputEntry, Manifest, read_manifest
from delift_core.curation.problem import SelectionProblem, problem_for
from delift_core.curation.scoring_runs import ScoredRun, finish_run
from delift_core.data.loading import Dataset
from delift_core.errors import DataError, ExportError
from delift_core.export.replication import reconcile
from delift_core.export.subset_files import export_selection
from delift_core.export.writers import ensure_writable
from delift_core.models.loading import DeviceName, DtypeName, device_or_auto
from delift_core.models.model_files import check_model
from delift_core.models.prompts import TemplateChoice
from delift_core.scoring.pair_spec import parse_pairs
from delift_core.selection.request import Engine, parse_engine
from delift_core.selection.types import ChosenBy, FixedRows, GreedyOrder, Quotas, Selection
from delift_core.system.check import Check
from delift_core.workspace import DatasetRole, RunSpec, Workspace


def rerun(arguments: argparse.Namespace) -> int:
    """Loads the inputs again, scores what is not scored yet, selects, replays the edits, writes; 1 when it differs."""
    manifest = read_manifest(arguments.manifest)
    _engine(manifest)  # a removed one is refused before anything is scored
    ensure_writable(arguments.out, [arguments.manifest, arguments.manifest.parent / Path(manifest.output.file).name])
    check_model(manifest.model.name)
    with Workspace.open(arguments.workspace) as workspace:
        inputs = {entry.role: _load(entry, arguments.manifest, workspace) for entry in manifest.inputs}
        made, rows = _again(workspace, manifest, inputs, arguments.out)
    same = made.output.sha256 == manifest.output.sha256
    found = (
        Check("Inputs", True, "the same conversations"),
        _same("Model", manifest.model.context_key, made.model.context_key, "weights, template or precision"),
        *_method_check(manifest),
        rows,
        Check("Output", same, f"{arguments.out}: " + ("identical bit for bit" if same else "differs from before")),
    )
    ok = all(check.ok for check in found)
    Output(arguments.json).show(map(str, found), {"ok": ok, "checks": [asdict(check) for check in found]})
    return 0 if ok else 1


def _again(
    workspace: Workspace, manifest: Manifest, inputs: dict[DatasetRole, Dataset], out: Path
) -> tuple[Manifest, Check]:
    ids = {role: workspace.datasets.add(dataset, role=role).id for role, dataset in inputs.items()}
    model = manifest.model
    spec = RunSpec(
        pool_id=ids["pool"],
        target_id=ids.get("target"),
        existing_id=ids.get("existing"),
        model=model.name,
        template=cast(TemplateChoice, model.template),
        device=device_or_auto(cast(DeviceName, model.device)),
        dtype=cast(DtypeName, model.dtype),
        pairs=parse_pairs(model.pairs),
    )
    with watched_scoring(workspace) as watched:
        run = finish_run(workspace, spec, publish=watched.publish, stop=watched.stop)
    problem = problem_for(run, manifest.metric, manifest.objective, run.utilities(manifest.metric))
    measure_order(workspace, problem, _method(manifest), manifest.seed)
    selection, rows = reconcile(manifest, problem, _select(problem, manifest))
    record = keep_selection(workspace, problem, selection, name=manifest.selection_name, seed=manifest.seed)
    for edit in manifest.edits:
        if edit.state == "applied":
            workspace.edits.apply(
                record.id, edit.action, edit.sample_ids, author=edit.author, why=edit.why, detail=edit.detail
            )
    output = manifest.output
    made = export_selection(workspace, record.id, out, format=output.format, formulas=output.formulas, problem=problem)
    if rows.ok and _statuses(made) != _statuses(manifest):
        return made, Check(rows.label, False, "other rows than in the manifest, after the edits")
    return made, rows


def _select(problem: SelectionProblem, manifest: Manifest) -> Selection:
    """What is chosen here in the way of then."""
    run = problem.run
    kept, dropped = (
        tuple(sorted(run.position_of[name] for name in names))
        for names in (manifest.fixed.kept, manifest.fixed.dropped)
    )
    fixed, quotas = FixedRows(kept, dropped), _quotas(manifest, run)
    return problem.select(
        manifest.budget,
        seed=manifest.seed,
        fixed=fixed,
        quotas=quotas,
        engine=_engine(manifest),
        greedy=_order_of_given_rows(problem, manifest, fixed, quotas),
        method=_method(manifest),
    )


def _engine(manifest: Manifest) -> Engine:
    return "auto" if manifest.engine is None else parse_engine(manifest.engine.name)


def _method(manifest: Manifest) -> ChosenBy:
    return "delift" if manifest.method is None else manifest.method.name


def _order_of_given_rows(
    problem: SelectionProblem, manifest: Manifest, fixed: FixedRows, quotas: Quotas | None
) -> GreedyOrder | None:
    """The order in the manifest of rows that were given and not chosen; None for a method."""
    if _method(manifest) != "given":
        return None
    places = {row.id: row.greedy_rank for row in manifest.rows if row.greedy_rank is not None}
    order = sorted(range(len(problem.run.pool)), key=lambda at: places.get(problem.run.pool[at].id, len(places)))
    return problem.arrange_order(np.array(order, dtype=np.int64), manifest.budget, quotas=quotas, fixed=fixed)


def _method_check(manifest: Manifest) -> tuple[Check, ...]:
    """What cannot be repeated of the way in which the rows were chosen."""
    if _method(manifest) != "given":
        return ()
    return (Check("Method", True, "the rows were given, so they are taken from the manifest and not chosen again"),)


def _quotas(manifest: Manifest, run: ScoredRun) -> Quotas | None:
    """The quotas of then, over the groups of then: each row's stands with it in the manifest."""
    if manifest.quotas is None:
        return None
    code_of = {group.label: code for code, group in enumerate(manifest.quotas.groups)}
    codes = np.zeros(len(run.pool), dtype=np.int64)
    for row in manifest.rows:
        if row.group is not None and row.id in run.position_of:
            codes[run.position_of[row.id]] = code_of[row.group]
    return Quotas(manifest.quotas.column, manifest.quotas.groups, codes)


def _load(entry: InputEntry, manifest: Path, workspace: Workspace) -> Dataset:
    """An input with the contents of then: from its origin, else from the workspace, by the hash of its contents.

    Raises:
        ExportError: it is gone or changed.
    """
    try:
        return entry.load(manifest)
    except DataError as error:
        kept = [one for one in workspace.datasets.records(entry.role) if one.content_hash == entry.content_hash]
        if not kept:
            raise ExportError(f"{error}, or give the --workspace that holds the rows") from error
        return workspace.datasets.load(kept[0].id)


def _statuses(manifest: Manifest) -> list[tuple[str, str, int | None]]:
    return [(row.id, row.status, row.rank) for row in manifest.rows]


def _same(label: str, before: object, after: object, what: str) -> Check:
    return Check(label, before == after, "unchanged" if before == after else f"other {what} than in the manifest")
