"""What goes with an exported subset: its data set card, the check table of trainers and their recipes.

The card is Markdown with the metadata header of the Hugging Face hub. Names in a manifest are untrusted, so they are
written as inline code.
"""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from delift_core.curation.manifest import Manifest, MethodUsed
from delift_core.export.containers import describe_json_columns
from delift_core.export.preflight import ExportDraft
from delift_core.export.recipes import Recipe, recipe_file, recipes
from delift_core.export.trainer_rules import TRAINERS
from delift_core.export.trainers import DEFAULT_LIMIT, TrainerCheck
from delift_core.export.writers import write_lines
from delift_core.samples import Sample
from delift_core.selection.request import format_budget, format_quota, has_bounds

_BY_HELP = ": by how much each row helps the model on the others as an example in its context"
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


def card(manifest: Manifest, table: Sequence[TrainerCheck] = ()) -> str:
    """The text of the card.

    Args:
        manifest: of the export.
        table: of `trainers`; the section is left out if empty.
    """
    body = [f"# {_code(manifest.selection_name)}", "", *_introduction(manifest), "", *_method(manifest)]
    return "\n".join([*_header(manifest), "", *body, *_trainers(table), ""])


def _header(manifest: Manifest) -> list[str]:
    size = next((word for most, word in _SIZES if manifest.output.rows < most), "n>1M")
    return [
        "---",
        f"pretty_name: {_quoted(manifest.selection_name)}",
        "task_categories: [text-generation]",
        f"size_categories: [{_quoted(size)}]",
        "tags: [instruction-tuning, data-selection, delift]",
        "configs:",
        "  - config_name: default",
        "    data_files:",
        "      - split: train",
        f"        path: {_quoted(manifest.output.file)}",
        "---",
    ]


def _introduction(manifest: Manifest) -> list[str]:
    sources = [
        f"- {entry.role}: {_code(entry.name)}, {entry.rows:,} rows, from {_code(_without_folders(entry.origin))}"
        for entry in manifest.inputs
    ]
    other = _other_method(manifest)
    by = f" by the method {other.title}" if other else _BY_HELP
    return [
        f"{manifest.output.rows:,} rows of instruction-tuning data, chosen from {manifest.pool.rows:,} with DELIFT "
        f"Studio{by}.",
        "",
        "## Where the rows come from",
        "",
        *sources,
        "",
        "State the licence of the source data before you publish this; DELIFT Studio does not know it.",
    ]


def _method(manifest: Manifest) -> list[str]:
    result, output, model, objective = manifest.result, manifest.output, manifest.model, manifest.objective
    other, quotas = _other_method(manifest), manifest.quotas
    settings = [f"stage {objective.stage}", f"metric {manifest.metric}", f"budget {format_budget(manifest.budget)}"]
    settings += [f"seed {manifest.seed}", *(["scaled between its extremes"] if objective.scaling == "min-max" else [])]
    if objective.needed_set == "target":
        settings.append("target rows covered" if objective.target_help == "coverage" else "target help as a bonus")
    lines = ["## How they were chosen", ""]
    lines += [f"- by {other.title} ({other.source}), not by the objective that is given here"] if other else []
    lines.append(f"- {', '.join(settings)}")
    if quotas is not None:
        bounds = [f"{_code(group.label)} {format_quota(group)}" for group in quotas.groups if has_bounds(group)]
        lines.append(f"- rows of each {_code(quotas.column)}: {', '.join(bounds)}")
    lines += [
        f"- measured with {_code(_without_folders(model.name))} at revision {_code(model.revision)} in {model.dtype}, "
        f"template {model.template}",
        f"- objective {result.value:.6g}, at least {result.certificate:.1%} of the best possible; random subsets of "
        f"the same budget reach {result.random_mean:.6g} ± {result.random_std:.2g}",
        f"- {len(manifest.edits):,} changes by hand",
        "",
        f"Format: {output.format}. SHA-256 of {_code(output.file)}: {_code(output.sha256)}. The manifest beside the "
        "file says why each row of the pool was kept or left out.",
    ]
    columns = [_code(name) for name in output.json_columns]
    return [*lines, "", f"{describe_json_columns(columns)}."] if columns else lines


def _other_method(manifest: Manifest) -> MethodUsed | None:
    """What ordered the rows, if not DELIFT."""
    return manifest.method if manifest.method is not None and manifest.method.name != "delift" else None


def _trainers(table: Iterable[TrainerCheck]) -> list[str]:
    rows = [f"| {one.trainer} | {one.rows:,} | {one.kept:,} | {len(one.risks):,} | {one.note} |" for one in table]
    if not rows:
        return []
    head = "| trainer | rows | kept | at risk | |", "| --- | --- | --- | --- | --- |"
    return [
        "",
        "## Trainer compatibility",
        "",
        *head,
        *rows,
        "",
        "Computed from the trainers' rules, not by running them.",
    ]


def _quoted(text: str) -> str:
    """A YAML string, spelt as in JSON."""
    return json.dumps(text, ensure_ascii=False)


def _code(text: str) -> str:
    """Text as inline code on one line."""
    flat = " ".join(text.split()).replace("`", "'")
    return f"`{flat}`" if flat else "(no name)"


def _without_folders(origin: str) -> str:
    """An origin without the folders of this machine."""
    return PurePath(origin).name if PurePath(origin).is_absolute() else origin


@dataclass(frozen=True, slots=True)
class TrainerKit:
    """The check table, the recipes and the card of an exported file."""

    table: tuple[TrainerCheck, ...]
    recipes: tuple[Recipe, ...]
    card: str


def trainer_kit(draft: ExportDraft, manifest: Manifest, limit: int = DEFAULT_LIMIT) -> TrainerKit:
    """Makes the kit of an export.

    Args:
        draft: of the exported selection, in the format of the file.
        limit: the trainers' longest row in tokens.
    """
    output = manifest.output
    table = draft.trainer_checks(limit)
    chosen = [one.ends for one in draft.chosen_answers]
    made = recipes(draft.shape, output.file, limit, json_columns=output.json_columns, chosen=chosen)
    return TrainerKit(table, made, card(manifest, table))


def write_kit(kit: TrainerKit, out: Path) -> tuple[Path, ...]:
    """Writes the recipes and the card beside the exported file, and returns their paths.

    Raises:
        ExportError: one of them cannot be written.
    """
    texts = {out.with_name(recipe.file): recipe.text for recipe in kit.recipes}
    texts[_card_path(out)] = kit.card
    for path, text in texts.items():
        write_lines(path, [text])
    return tuple(texts)


def kit_paths(out: Path) -> tuple[Path, ...]:
    """Every path that `write_kit` may write to for this file."""
    return (*(out.with_name(recipe_file(trainer, out.name)) for trainer in TRAINERS), _card_path(out))


def _card_path(out: Path) -> Path:
    return out.with_name(f"{out.stem}.card.md")


def kit_lines(kit: TrainerKit, samples: Sequence[Sample], files: Sequence[Path]) -> list[str]:
    """One line for each trainer with the first row at risk, and one for the files written.

    Args:
        samples: the rows of the exported file, in its order.
    """
    lines = [_check_line(check, samples) for check in kit.table]
    return [*lines, f"recipes and card: {', '.join(path.name for path in files)}"] if files else lines


def kit_documents(kit: TrainerKit, samples: Sequence[Sample]) -> list[dict[str, object]]:
    """The check table for JSON, with every row at risk; arguments as for `kit_lines`."""
    return [
        {
            "trainer": check.trainer,
            "rows": check.rows,
            "kept": check.kept,
            "note": check.note,
            "risks": [
                {
                    "row": risk.row + 1,
                    "id": samples[risk.row].id,
                    "line": samples[risk.row].line,
                    "effect": risk.effect,
                    "reason": risk.reason,
                }
                for risk in check.risks
            ],
        }
        for check in kit.table
    ]


def _check_line(check: TrainerCheck, samples: Sequence[Sample]) -> str:
    start = f"{check.trainer} would keep {check.kept:,} of {check.rows:,} rows"
    if not check.risks:
        return f"{start} ({check.note})"
    effects = Counter(risk.effect for risk in check.risks)
    counts = ", ".join(f"{effect}: {count:,}" for effect, count in effects.most_common())
    first = check.risks[0]
    return f"{start}; {counts}; the first is line {samples[first.row].line} of the pool: {first.reason}"
