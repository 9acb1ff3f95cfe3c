"""How the code is laid out: packages, files, names that occur twice, and which way imports run.

    python -m benchmarks.layout [--against PATH_OF_ANOTHER_CHECKOUT]

An arrow is an import from one package of `delift_core` to another. A floor is a package's distance from the bottom: it
stands one above the highest package that it imports; packages that import each other in a circle share one. An arrow
runs up where it goes to a package of the same floor or a higher one.
"""

import argparse
import ast
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Layout:
    """Figures of one checkout, in the order in which they are printed."""

    packages: int
    loose_modules: int
    core_files: int
    core_lines: int
    page_lines: int
    repeated_names: int
    arrows: int
    floors: int
    parts_in_circles: int


def measure(root: Path) -> Layout:
    """Reads the sources of a checkout; nothing is imported."""
    core = root / "delift_core"
    files = sorted(core.rglob("*.py"))
    top = {path.name for path in core.iterdir() if (path / "__init__.py").exists()}
    loose = [path for path in core.glob("*.py") if not path.name.startswith("__")]
    names = Counter(path.name for path in files if path.name != "__init__.py")
    arrows = imports_between_parts(root)
    heights = _heights(arrows)
    return Layout(
        packages=len(top),
        loose_modules=len(loose),
        core_files=len(files),
        core_lines=_lines(files),
        page_lines=_lines((root / "pages").rglob("*.py")),
        repeated_names=sum(count > 1 for count in names.values()),
        arrows=sum(arrows.values()),
        floors=max(heights.values(), default=0),
        parts_in_circles=sum(len(ring) for ring in heights if len(ring) > 1),
    )


def imports_between_parts(root: Path) -> Counter[tuple[str, str]]:
    """How many imports run from one part of `delift_core` to another; a part is a package or a loose module."""
    core, found = root / "delift_core", Counter[tuple[str, str]]()
    for path in core.rglob("*.py"):
        own = part_of(path.relative_to(core).with_suffix("").parts)
        if own is None:
            continue
        targets = {part_of(tuple(module.split(".")[1:])) for module in _imported(path, core)}
        found.update((own, target) for target in targets if target and target != own)
    return found


def _imported(path: Path, core: Path) -> Iterable[str]:
    """The modules of `delift_core` that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names if name.name.startswith("delift_core."))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "delift_core":
            assert node.module is not None
            if node.module != "delift_core":
                yield node.module
            else:
                yield from (f"delift_core.{name.name}" for name in node.names if _is_part(core, name.name))


def _is_part(core: Path, name: str) -> bool:
    return (core / name).is_dir() or (core / f"{name}.py").exists()


def part_of(parts: tuple[str, ...]) -> str | None:
    """The part that a module of `delift_core` belongs to, by its path there without a suffix; None for its entry."""
    return None if not parts or parts[0].startswith("__") else parts[0]


def floors(root: Path) -> dict[str, int]:
    """The floor of each part of a checkout's `delift_core`, from 1."""
    return {part: height for ring, height in _heights(imports_between_parts(root)).items() for part in ring}


def _heights(arrows: Iterable[tuple[str, str]]) -> dict[frozenset[str], int]:
    """Parts that import each other in a circle, or one part alone, with their floor."""
    parts, known = {part for arrow in arrows for part in arrow}, set(arrows)
    reached = {part: {b for a, b in known if a == part} for part in parts}
    for middle in parts:
        for part in parts:
            if middle in reached[part]:
                reached[part] |= reached[middle]
    ring = {part: frozenset({part} | {one for one in reached[part] if part in reached[one]}) for part in parts}
    below = {ring[part]: {ring[one] for one in reached[part]} - {ring[part]} for part in parts}
    height: dict[frozenset[str], int] = {}
    for one in TopologicalSorter(below).static_order():
        height[one] = 1 + max((height[lower] for lower in below[one]), default=0)
    return height


def _lines(files: Iterable[Path]) -> int:
    return sum(len(path.read_text(encoding="utf-8").splitlines()) for path in files)


def main() -> None:
    parser = argparse.ArgumentParser(description="How the code is laid out.")
    parser.add_argument("--against", type=Path, help="another checkout, shown first")
    arguments = parser.parse_args()
    here = Path(__file__).resolve().parents[1]
    roots = [arguments.against, here] if arguments.against else [here]
    figures = [measure(root) for root in roots]
    for name in Layout.__dataclass_fields__:
        print(f"| {name.replace('_', ' ')} | " + " | ".join(f"{getattr(one, name):,}" for one in figures) + " |")


if __name__ == "__main__":
    main()
