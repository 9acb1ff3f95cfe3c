"""Reads what a command names: files, hub data sets and column mappings; and says what was wrong in them."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from delift_core.cli.terminal import UsageError
from delift_core.formats.preference import Answer
from delift_core.samples import ColumnMapping, Dataset, Problem, Turns
from delift_core.sources import load_file, load_hub

HUB_PREFIX = "hub:"
HUB_FORM = "hub:owner/name[:split][,config=C][,revision=R][,limit=N]"
_FORM = "write prompt=COL,response=COL and, where there is one, system=COL"


@dataclass(frozen=True, slots=True)
class Source:
    """A data set as a command named it; `origin` is what the workspace keeps, `path` its file if it is one."""

    dataset: Dataset
    origin: str
    path: Path | None


@dataclass(frozen=True, slots=True)
class ProblemClass:
    """Records that were left out for the same reason: how many, and the first of them."""

    kind: str
    count: int
    first: Problem


def parse_mapping(text: str) -> ColumnMapping:
    """Reads prompt=COL,response=COL[,system=COL]; a column name may hold anything but a comma.

    Raises:
        UsageError: another form.
    """
    columns: dict[str, str] = {}
    for part in text.split(","):
        key, equals, column = part.partition("=")
        if not equals or key.strip() not in ("prompt", "response", "system") or not column or key.strip() in columns:
            raise UsageError(f"--map {text!r} is not understood; {_FORM}")
        columns[key.strip()] = column
    if "prompt" not in columns or "response" not in columns:
        raise UsageError(f"--map {text!r} lacks the prompt or the response; {_FORM}")
    return ColumnMapping(columns["prompt"], columns["response"], columns.get("system"))


def named_path(name: str) -> Path | None:
    """The path that a command's word names; None for a hub data set."""
    return None if name.startswith(HUB_PREFIX) else Path(name)


def load_source(
    name: str, mapping: ColumnMapping | None, answer: Answer | None = None, turns: Turns = "last"
) -> Source:
    """Loads a file, a folder of files, or a data set of the hub.

    Args:
        name: a path, or hub:owner/name[:split][,config=C][,revision=R][,limit=N].
        answer: which answer of a preference record is to be learnt.
        turns: which assistant turns of a conversation are samples.

    Raises:
        UsageError: a hub name of another form.
        DataError: it cannot be read, or no record can be used.
    """
    path = named_path(name)
    if path is not None:
        return Source(load_file(path, mapping=mapping, answer=answer, turns=turns), str(path.resolve()), path)
    place, _, rest = name.partition(",")
    match = re.fullmatch(r"hub:([\w.-]+/[\w.-]+|[\w.-]+)(?::([\w.\[\]%:+-]+))?", place)
    if match is None:
        raise UsageError(f"{name!r} is not understood; write {HUB_FORM}")
    options = _hub_options(name, rest)
    dataset = load_hub(
        match[1],
        config=options.get("config"),
        split=match[2] or "train",
        revision=options.get("revision"),
        limit=int(options["limit"]) if "limit" in options else None,
        mapping=mapping,
        answer=answer,
        turns=turns,
    )
    return Source(dataset, name, None)


def _hub_options(name: str, rest: str) -> dict[str, str]:
    """What stands behind the commas of a hub name."""
    options: dict[str, str] = {}
    for part in rest.split(",") if rest else ():
        key, _, value = part.partition("=")
        fits = re.fullmatch(r"[1-9]\d{0,9}", value) if key == "limit" else key in ("config", "revision") and value
        if not fits or key in options:
            raise UsageError(f"{part!r} in {name!r} is not understood; write {HUB_FORM}")
        options[key] = value
    return options


def problem_classes(problems: Iterable[Problem]) -> tuple[ProblemClass, ...]:
    """The problems by kind, most frequent first."""
    by_kind: dict[str, list[Problem]] = {}
    for problem in problems:
        by_kind.setdefault(problem.kind, []).append(problem)
    classes = [ProblemClass(kind, len(members), members[0]) for kind, members in by_kind.items()]
    return tuple(sorted(classes, key=lambda one: -one.count))


def problem_lines(classes: Sequence[ProblemClass]) -> list[str]:
    """One line for each class of problems."""
    return [f"  left out: {one.count:,} {one.kind}, the first is {one.first}" for one in classes]


def problem_documents(classes: Sequence[ProblemClass]) -> list[dict[str, object]]:
    """The same for JSON."""
    return [{"kind": one.kind, "count": one.count, "first": asdict(one.first)} for one in classes]
