"""The files that go with an exported one: a recipe for each trainer and a data set card."""

from dataclasses import dataclass
from pathlib import Path

from delift_core.curation import CuratedSelection
from delift_core.export.card import card
from delift_core.export.checks import chosen_answers, subset_records, trainer_checks
from delift_core.export.manifest import Manifest
from delift_core.export.recipes import Recipe, recipe_file, recipes
from delift_core.export.shapes import shape_of_file
from delift_core.export.trainers import DEFAULT_LIMIT, TRAINERS, TrainerCheck
from delift_core.export.writers import write_lines


@dataclass(frozen=True, slots=True)
class TrainerKit:
    """What trainers make of an exported file, and what they need to read it."""

    table: tuple[TrainerCheck, ...]
    recipes: tuple[Recipe, ...]
    card: str


def trainer_kit(curated: CuratedSelection, manifest: Manifest, limit: int = DEFAULT_LIMIT) -> TrainerKit:
    """The kit of an export that was just written.

    Args:
        limit: the trainers' longest row in tokens.
    """
    output = manifest.output
    table = trainer_checks(curated, output.format, limit)
    shape = shape_of_file(subset_records(curated, output.format))
    chosen = [one.ends for one in chosen_answers(curated)]
    made = recipes(shape, output.file, limit, json_columns=output.json_columns, chosen=chosen)
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
