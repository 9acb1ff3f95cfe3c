"""Which pairs a run needs, which of them are still to be scored, and what that will cost."""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean

from delift_core.models.prompts import EncodedSample
from delift_core.scoring.pair_spec import PairBudget, count_pairs
from delift_core.scoring.store import PairStore
from delift_core.system.amounts import byte_size

_BYTES_PER_PAIR = 8
_BYTES_PER_FILE = 128
_SPARSE_BYTES = 48  # a chosen pair in the utilities, the kernel, and its copies by column
_FLOAT32_BYTES = 4
PAIRS_PER_VISIT = 3  # rows that an example is scored for in one round of a budget, typically: for forecasts only
LONG_SECONDS = 3600.0  # a run that takes longer is started only where somebody asks for it knowing that
_SMALLER = (PairBudget("percent", 12), PairBudget("per-row", 32), PairBudget("per-row", 8))


@dataclass(frozen=True, slots=True)
class RunSamples:
    """Content hashes of the samples of a run, in file order, repeats included."""

    pool: tuple[str, ...]
    target: tuple[str, ...] = ()
    existing: tuple[str, ...] = ()

    @property
    def all(self) -> tuple[str, ...]:
        """Every sample once."""
        return tuple(dict.fromkeys(self.pool + self.target + self.existing))

    def only(self, usable: Mapping[str, object]) -> "RunSamples":
        """The same without samples that cannot be scored."""
        keep = [tuple(row for row in part if row in usable) for part in (self.pool, self.target, self.existing)]
        return RunSamples(*keep)


@dataclass(frozen=True, slots=True)
class ColumnGroup:
    """Helpers that are all to be scored as examples for the same rows."""

    helpers: tuple[str, ...]
    rows: tuple[str, ...]

    @property
    def pairs(self) -> int:
        """Number of pairs."""
        return len(self.helpers) * len(self.rows)


@dataclass(frozen=True, slots=True)
class PairPlan:
    """What is still to be done for a run, and how many pairs the run has in all."""

    alone: tuple[str, ...]
    groups: tuple[ColumnGroup, ...]
    pairs_total: int

    @property
    def pairs_missing(self) -> int:
        """Pairs that are not on disk yet."""
        return sum(group.pairs for group in self.groups)


def plan_pairs(store: PairStore, samples: RunSamples) -> PairPlan:
    """Pool samples help pool and target rows, existing samples help pool rows; what is on disk is not asked again."""
    wanted: dict[str, tuple[str, ...]] = {}
    helped_by_pool = tuple(dict.fromkeys(samples.pool + samples.target))
    for helper in dict.fromkeys(samples.pool):
        wanted[helper] = helped_by_pool
    pool_rows = tuple(dict.fromkeys(samples.pool))
    for helper in dict.fromkeys(samples.existing):
        wanted.setdefault(helper, pool_rows)
    return PairPlan(
        alone=store.missing_alone(samples.all),
        groups=group_missing(store, wanted),
        pairs_total=sum(len(rows) for rows in wanted.values()),
    )


def group_missing(store: PairStore, wanted: Mapping[str, tuple[str, ...]]) -> tuple[ColumnGroup, ...]:
    """Those of the wanted rows of each helper that are not on disk, helpers of equal rows together."""
    missing: dict[tuple[tuple[str, ...], int], tuple[str, ...]] = {}
    helpers: dict[tuple[str, ...], list[str]] = {}
    for helper, rows in wanted.items():
        key = (store.signature(helper), id(rows))  # equal keys miss equal rows: look them up once
        if key not in missing:
            missing[key] = store.missing(rows, helper)
        if missing[key]:
            helpers.setdefault(missing[key], []).append(helper)
    return tuple(ColumnGroup(tuple(members), rows) for rows, members in helpers.items())


@dataclass(frozen=True, slots=True)
class RunCost:
    """What a run has to do, and what a smaller one would.

    Attributes:
        pairs_total, pairs_missing: in all, and not on disk yet.
        disk_bytes: what the missing ones will take there.
        planning_bytes: memory that planning takes beside the model.
        alone_tokens: of the rows that are still to be scored without an example.
        budgeted_pair_tokens: see the function of that name.
    """

    pairs_total: int
    pairs_missing: int
    disk_bytes: int
    planning_bytes: int = 0
    alone_tokens: int = 0
    budgeted_pair_tokens: float = 0.0


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a run will cost; `seconds` follows from a rate measured on this machine with this model and these rows.

    Scoring never holds a matrix, whatever its size; `selection_bytes` is what choosing from all pairs will take later.
    The tokens of rows without an example and of a pair on a budget say what a smaller run would take.
    """

    pairs_total: int
    pairs_missing: int
    seconds: float | None
    tokens_per_second: float
    memory_bytes: int
    disk_bytes: int
    memory_available: int
    disk_available: int
    selection_bytes: int = 0
    alone_tokens: int = 0
    budgeted_pair_tokens: float = 0.0

    @property
    def refusal(self) -> str | None:
        """Why the run cannot fit this machine, in one line; None when it can."""
        if self.memory_bytes > self.memory_available:
            return (
                f"the run needs about {byte_size(self.memory_bytes)} of memory and {byte_size(self.memory_available)} "
                "are free; take a smaller pool or a smaller model"
            )
        return self.too_little_disk

    @property
    def too_little_disk(self) -> str | None:
        """The part of `refusal` that is known before the model is loaded."""
        if self.disk_bytes <= self.disk_available:
            return None
        return (
            f"the run needs about {byte_size(self.disk_bytes)} on disk and {byte_size(self.disk_available)} are free; "
            "free some space or move the workspace"
        )

    @property
    def is_long(self) -> bool:
        """Whether the run takes longer than anybody should find out by waiting."""
        return self.seconds is not None and self.seconds > LONG_SECONDS

    def smaller_runs(self, pool: int, target: int = 0, existing: int = 0) -> tuple["SmallerRun", ...]:
        """What runs on a budget of pairs would take instead, the largest first; none before the rate is measured.

        Args:
            pool, target, existing: how many rows there are.
        """
        if self.seconds is None or not self.tokens_per_second:
            return ()
        found = []
        for budget in _SMALLER:
            pairs = count_pairs(budget, pool, target, existing)
            seconds = (self.alone_tokens + pairs * self.budgeted_pair_tokens) / self.tokens_per_second
            if seconds < self.seconds / 2:
                found.append(SmallerRun(budget, pairs, seconds))
        return tuple(sorted(found, key=lambda one: -one.pairs))

    @property
    def caution(self) -> str | None:
        """What will be in the way after scoring, in one line; None when nothing is."""
        if self.selection_bytes <= self.memory_available:
            return None
        return (
            f"scoring fits, but selecting from these pairs takes about {byte_size(self.selection_bytes)} of memory and "
            f"{byte_size(self.memory_available)} are free: select on a larger machine, or take a smaller pool"
        )


@dataclass(frozen=True, slots=True)
class SmallerRun:
    """A run on a budget of pairs, instead of a longer one: its pairs and the seconds that they will take."""

    budget: PairBudget
    pairs: int
    seconds: float


def budgeted_pair_tokens(encoded: Mapping[str, EncodedSample], head_length: int) -> float:
    """Tokens of a typical pair of a run on a budget: the helped row, and the pair's part of its example."""
    suffix = fmean(map(_suffix_length, encoded.values()))
    prefix = fmean(len(sample.example) for sample in encoded.values()) + head_length
    return suffix + prefix / PAIRS_PER_VISIT


def work_tokens(plan: PairPlan, encoded: Mapping[str, EncodedSample], head_length: int) -> int:
    """Tokens of the examples and suffixes of a plan, the measure of its cost."""
    total = sum(len(encoded[row].query_alone) + len(encoded[row].response) for row in plan.alone)
    for group in plan.groups:
        suffixes = sum(_suffix_length(encoded[row]) for row in group.rows)
        total += sum(head_length + len(encoded[helper].example) + suffixes for helper in group.helpers)
    return total


def memory_needed(weights: int) -> int:
    """Bytes while scoring: weights (given in bytes) and a batch's activations (the same again, at least 512 MiB)."""
    return weights + max(weights, 512 << 20)


def memory_to_select(samples: RunSamples, pairs: int | None = None) -> int:
    """Bytes while selecting from every pair at once, or from a number of chosen pairs."""
    n, t, e = len(samples.pool), len(samples.target), len(samples.existing)
    if pairs is not None:
        return pairs * _SPARSE_BYTES
    kernel = (n + t) * n  # with a target, rows for it too; as published, as many as for the pool
    kernel = max(kernel, 2 * n * n) if t else kernel
    by_columns = kernel  # where the rows of a selection are explained
    return (n * n + t * n + n * e + kernel + by_columns) * _FLOAT32_BYTES


def disk_needed(plan: PairPlan, rows_per_block: int) -> int:
    """Bytes that the missing blocks will take."""
    files = sum(len(group.helpers) * -(-len(group.rows) // rows_per_block) for group in plan.groups)
    return plan.pairs_missing * _BYTES_PER_PAIR + files * _BYTES_PER_FILE


def _suffix_length(sample: EncodedSample) -> int:
    return len(sample.query) + len(sample.response)
