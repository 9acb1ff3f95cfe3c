"""The evaluation of an exported subset: from its manifest and held-out rows to a request.

Knows where manifests and inputs lie; the work is done by `evaluate`.
"""

from collections.abc import Callable
from pathlib import Path
from typing import cast, get_args

from delift_core.curation.manifest import WRITTEN, EditEntry, Manifest, read_manifest
from delift_core.data.loading.record_reader import reader_of, reparse
from delift_core.errors import DataError, ExportError
from delift_core.evaluation.evaluation_request import EvaluationRequest, ExtraArm
from delift_core.evaluation.method_orders import mean_utility_order
from delift_core.models.model_files import check_model
from delift_core.models.prompts import TemplateChoice, TemplateName
from delift_core.samples import Sample


def request_from_manifest(
    manifest_path: Path,
    heldout: tuple[Sample, ...],
    *,
    against: tuple[str, ...] = ("random", "full"),
    workspace: Path | None = None,
    publish: Callable[[str], None] = lambda line: None,
) -> tuple[EvaluationRequest, str]:
    """What to evaluate of the subset that a manifest describes, and the revision of the model that chose it.

    Args:
        manifest_path: the .manifest.json of an export; the pool must still be where it was read, or beside it.
        heldout, against: see `EvaluationRequest`.
        workspace: folder of the one that scored the pool; read for "column-mean" only.
        publish: called with a line for what cannot be checked.

    Raises:
        ExportError: the manifest cannot be read.
        ModelError: its model is not there.
        DataError: the pool cannot be read, or as `EvaluationRequest`.
    """
    manifest = read_manifest(manifest_path)
    check_model(manifest.model.name)
    pool = _pool(manifest, manifest_path)
    request = EvaluationRequest(
        pool=pool,
        subset_positions=tuple(at for at, row in enumerate(manifest.rows) if row.status in WRITTEN),
        heldout=heldout,
        target=_target(manifest, manifest_path, publish),
        model=manifest.model.name,
        template=_template(manifest, manifest_path.name),
        against=against,
        others=_others(manifest, against, workspace),
    )
    return request, manifest.model.revision


def _others(manifest: Manifest, against: tuple[str, ...], workspace: Path | None) -> tuple[ExtraArm, ...]:
    if workspace is None or "column-mean" not in against:
        return ()
    return (ExtraArm("column-mean", mean_utility_order(manifest, workspace)),)


def _pool(manifest: Manifest, manifest_path: Path) -> tuple[Sample, ...]:
    dataset = manifest.pool.load(manifest_path)
    if [sample.id for sample in dataset.samples] != [row.id for row in manifest.rows]:
        raise ExportError(
            f"{manifest_path.name} is damaged at rows: they are not the pool's; export the selection again"
        )
    records = {at: edit.detail for edit in manifest.edits if _changes_text(edit) for at in edit.sample_ids}
    reader = reader_of(dataset)
    return tuple(
        reparse(sample, records[sample.id], reader) if records.get(sample.id) else sample for sample in dataset.samples
    )


def _changes_text(edit: EditEntry) -> bool:
    return edit.action == "text" and edit.state == "applied"


def _target(manifest: Manifest, manifest_path: Path, publish: Callable[[str], None]) -> tuple[Sample, ...]:
    samples: list[Sample] = []
    for entry in manifest.inputs:
        if entry.role == "target":
            try:
                samples.extend(entry.load(manifest_path).samples)
            except DataError as error:
                publish(f"note: {error}; held-out rows that are in the target too are not found")
    return tuple(samples)


def _template(manifest: Manifest, name: str) -> TemplateChoice:
    if manifest.model.template not in get_args(TemplateName):
        raise ExportError(f"{name} is damaged at model.template: {manifest.model.template!r} is not a template")
    return cast(TemplateChoice, manifest.model.template)
