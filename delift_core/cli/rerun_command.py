"""`rerun`: the way from a manifest's inputs to its file once more, to see that the same comes out, bit for bit.

On the processor of then the same rows are chosen again. On another one the utilities differ in their last digits, and
`export.replication` says whose rows are written.
"""

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import cast

from delift_core.cli.job_progress import measure_order, watched_scoring
from delift_core.cli.terminal import Output
from delift_core.curation.manifest import InputEntry, Manifest, read_manifest
from delift_core.curation.scoring_runs import open_run, run_here
from delift_core.curation.selector import Selector
from delift_core.data.loading import Dataset
from delift_core.errors import DataError, ExportError
from delift_core.export.replication import reconcile, request_of_manifest
from delift_core.export.subset_files import export_selection
from delift_core.export.writers import ensure_writable
from delift_core.models.devices import DeviceName, DtypeName, device_or_auto
from delift_core.models.model_files import check_model
from delift_core.models.prompts import TEMPLATE_VERSION, TemplateChoice
from delift_core.scoring.pair_spec import parse_pairs
from delift_core.selection.request import parse_engine, require_engine
from delift_core.system.texts import Check
from delift_core.workspace import DatasetRole, RunSpec, Workspace


def rerun(arguments: argparse.Namespace) -> int:
    """Loads the inputs again, scores what is not scored yet, selects, replays the edits, writes; 1 when it differs."""
    manifest = read_manifest(arguments.manifest)
    require_engine(parse_engine(manifest.engine.name if manifest.engine else "auto"))  # refused at once
    ensure_writable(arguments.out, [arguments.manifest, arguments.manifest.parent / Path(manifest.output.file).name])
    check_model(manifest.model.name)
    _ensure_same_template(manifest, arguments.manifest)
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


def _ensure_same_template(manifest: Manifest, path: Path) -> None:
    """Refuses a manifest whose utilities are of prompts that were written in an earlier way."""
    if manifest.model.template_version != TEMPLATE_VERSION:
        raise ExportError(
            f"{path.name} was made when prompts were written differently (template version "
            f"{manifest.model.template_version}, here {TEMPLATE_VERSION}), so its utilities cannot be computed again; "
            "use the version of DELIFT Studio that wrote it, or curate again"
        )


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
        template_arguments=model.template_arguments,
    )
    with watched_scoring(workspace) as watched:
        run = open_run(workspace, run_here(workspace, spec, watched).id)
    selector, request = Selector(run), request_of_manifest(manifest, run)
    measure_order(workspace, selector, request)
    selection, rows = reconcile(manifest, selector, request)
    name, metric = manifest.selection_name, request.metric
    record = workspace.selections.add(run.record.id, selection, name=name, metric=metric, seed=request.seed)
    for edit in manifest.edits:
        if edit.state == "applied":
            workspace.edits.apply(
                record.id, edit.action, edit.sample_ids, author=edit.author, why=edit.why, detail=edit.detail
            )
    output = manifest.output
    made = export_selection(
        workspace, record.id, out, format=output.format, formulas=output.formulas, selector=selector
    )
    if rows.ok and _statuses(made) != _statuses(manifest):
        return made, Check(rows.label, False, "other rows than in the manifest, after the edits")
    return made, rows


def _method_check(manifest: Manifest) -> tuple[Check, ...]:
    """What cannot be repeated of the way in which the rows were chosen."""
    if manifest.method is None or manifest.method.name != "given":
        return ()
    return (Check("Method", True, "the rows were given, so they are taken from the manifest and not chosen again"),)


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
            raise ExportError(f"{str(error).rstrip('.')}, or give the --workspace that holds the rows") from error
        return workspace.datasets.load(kept[0].id)


def _statuses(manifest: Manifest) -> list[tuple[str, str, int | None]]:
    return [(row.id, row.status, row.rank) for row in manifest.rows]


def _same(label: str, before: object, after: object, what: str) -> Check:
    return Check(label, before == after, "unchanged" if before == after else f"other {what} than in the manifest")
