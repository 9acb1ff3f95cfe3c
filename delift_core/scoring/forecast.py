"""The pairs that a run needs, those that are not scored yet, and a forecast of their cost."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean

from delift_core.models.encoded import EncodedSample, Head
from delift_core.scoring.pair_spec import PairBudget, count_pairs
from delift_core.scoring.store import PairStore
from delift_core.system.texts import byte_size

_BYTES_PER_PAIR = 8
_BYTES_PER_FILE = 128
_SPARSE_BYTES = 48  # per scored pair: in the utilities, the kernel, and their copies by column
_FLOAT32_BYTES = 4
PAIRS_PER_VISIT = 3  # typical number of rows per example in one round of a budgeted run, for forecasts only
LONG_SECONDS = 3600.0  # longer runs need a confirmation
_SMALLER = (PairBudget("percent", 12), PairBudget("per-row", 32), PairBudget("per-row", 8))


@dataclass(frozen=True, slots=True)
class RunSamples:
    """Content hashes of the samples of a run in file order, with repeats."""

    pool: tuple[str, ...]
    target: tuple[str, ...] = ()
    existing: tuple[str, ...] = ()

    @property
    def all(self) -> tuple[str, ...]:
        """Every sample once."""
        return tuple(dict.fromkeys(self.pool + self.target + self.existing))

    def only(self, usable: Mapping[str, object]) -> "RunSamples":
        """The samples that are in `usable`."""
        keep = [tuple(row for row in part if row in usable) for part in (self.pool, self.target, self.existing)]
        return RunSamples(*keep)


@dataclass(frozen=True, slots=True)
class ColumnGroup:
    """Helpers to score as examples for the same rows."""

    helpers: tuple[str, ...]
    rows: tuple[str, ...]

    @property
    def pairs(self) -> int:
        """The number of pairs."""
        return len(self.helpers) * len(self.rows)


@dataclass(frozen=True, slots=True)
class PairPlan:
    """The rows and pairs that a run still has to score, and its total number of pairs."""

    zero_shot: tuple[str, ...]
    groups: tuple[ColumnGroup, ...]
    pairs_total: int

    @property
    def pairs_missing(self) -> int:
        """The number of pairs that are not on disk yet."""
        return sum(group.pairs for group in self.groups)


def plan_pairs(store: PairStore, samples: RunSamples) -> PairPlan:
    """All pairs: pool samples help pool and target rows, existing samples help pool rows; without those on disk."""
    wanted: dict[str, tuple[str, ...]] = {}
    pool_rows = tuple(dict.fromkeys(samples.pool))
    wanted.update(dict.fromkeys(pool_rows, tuple(dict.fromkeys(samples.pool + samples.target))))
    for helper in dict.fromkeys(samples.existing):
        wanted.setdefault(helper, pool_rows)
    return PairPlan(
        zero_shot=store.missing_zero_shot(samples.all),
        groups=group_missing(store, wanted),
        pairs_total=sum(len(rows) for rows in wanted.values()),
    )


def group_missing(store: PairStore, wanted: Mapping[str, tuple[str, ...]]) -> tuple[ColumnGroup, ...]:
    """The wanted rows of each helper that are not on disk, with helpers of equal rows in one group."""
    missing: dict[tuple[tuple[str, ...], int], tuple[str, ...]] = {}
    helpers: dict[tuple[str, ...], list[str]] = {}
    for helper, rows in wanted.items():
        key = (store.signature(helper), id(rows))  # helpers with equal keys miss the same rows
        if key not in missing:
            missing[key] = store.missing(rows, helper)
        if missing[key]:
            helpers.setdefault(missing[key], []).append(helper)
    return tuple(ColumnGroup(tuple(members), rows) for rows, members in helpers.items())


@dataclass(frozen=True, slots=True)
class RunCost:
    """The work of a run, and figures to estimate that of a smaller one."""

    pairs_total: int  # in all, and not on disk yet
    pairs_missing: int  # in all, and not on disk yet
    disk_bytes: int  # of the missing pairs
    planning_bytes: int = 0  # memory for choosing pairs, besides the model
    alone_tokens: int = 0  # of the rows still to score without an example
    budgeted_pair_tokens: float = 0.0  # see `budgeted_pair_tokens`


@dataclass(frozen=True, slots=True)
class Forecast:
    """The forecast of a run; `seconds` is at a rate measured on this machine with this model and these rows.

    Scoring never holds a matrix in memory; `selection_bytes` is the memory for selection from all pairs later. The
    tokens of rows without an example and of a budgeted pair give the cost of smaller runs.
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
    whole_sequences: bool = False
    weights: str = ""  # their size, precision and devices
    is_spread: bool = False  # over several devices

    @property
    def refusal(self) -> str | None:
        """Why the run does not fit this machine, in one line; None if it does."""
        if self.memory_bytes > self.memory_available:
            return (
                f"the run needs about {byte_size(self.memory_bytes)} of memory and {byte_size(self.memory_available)} "
                "are free; take a smaller pool or a smaller model"
            )
        return self.disk_refusal

    @property
    def disk_refusal(self) -> str | None:
        """The part of `refusal` about the disk, known before the model is loaded."""
        if self.disk_bytes <= self.disk_available:
            return None
        return (
            f"the run needs about {byte_size(self.disk_bytes)} on disk and {byte_size(self.disk_available)} are free; "
            "free some space or move the workspace"
        )

    @property
    def is_long(self) -> bool:
        """Whether the run takes so long that it needs a confirmation."""
        return self.seconds is not None and self.seconds > LONG_SECONDS

    def smaller_runs(self, pool: int, target: int = 0, existing: int = 0) -> tuple["SmallerRun", ...]:
        """Budgeted runs of less than half the time, largest first; none before the rate is measured.

        Args:
            pool, target, existing: numbers of rows.
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
    def cautions(self) -> tuple[str, ...]:
        """What the user should know before such a run, a line each."""
        slow = (
            "this model keeps nothing of an example that later rows could share, so each pair runs as a whole "
            "sequence: the numbers are exact, but scoring is slower than with a model of attention layers"
        )
        large = (
            f"scoring fits, but selecting from these pairs takes about {byte_size(self.selection_bytes)} of memory and "
            f"{byte_size(self.memory_available)} are free: select on a larger machine, or take a smaller pool"
        )
        too_large = self.selection_bytes > self.memory_available
        spread = (self.weights,) if self.is_spread else ()
        return (*spread, *((slow,) if self.whole_sequences else ()), *((large,) if too_large else ()))


@dataclass(frozen=True, slots=True)
class SmallerRun:
    """A budgeted run: the number of its pairs, and the seconds to score them."""

    budget: PairBudget
    pairs: int
    seconds: float


def budgeted_pair_tokens(encoded: Mapping[str, EncodedSample]) -> float:
    """Tokens of a typical pair of a budgeted run: the helped row, and a share of head and example."""
    suffix = fmean(map(_suffix_length, encoded.values()))
    prefix = fmean(len(row.head.tokens) + len(row.example(row.head) or row.alone) for row in encoded.values())
    heads = len({row.head for row in encoded.values()})
    return suffix + prefix * min(heads, PAIRS_PER_VISIT) / PAIRS_PER_VISIT


def work_tokens(plan: PairPlan, encoded: Mapping[str, EncodedSample]) -> int:
    """The tokens of the examples and suffixes of a plan, which measure its cost."""
    total = sum(len(encoded[row].query_alone) + len(encoded[row].response) for row in plan.zero_shot)
    for group in plan.groups:
        suffixes = sum(_suffix_length(encoded[row]) for row in group.rows)
        heads = {encoded[row].head for row in group.rows}
        total += len(group.helpers) * (suffixes + sum(len(head.tokens) for head in heads))
        total += _example_tokens(heads, [encoded[helper] for helper in group.helpers])
    return total


def _example_tokens(heads: Collection[Head], helpers: Iterable[EncodedSample]) -> int:
    """The tokens of the helpers as examples, each after every head."""
    forms = Counter(head.form for head in heads)
    own = Counter((head.form, head.system) for head in heads)
    total = 0
    for helper in helpers:
        known = {one.form for one in helper.examples}
        total += sum(count * helper.length for form, count in forms.items() if form not in known)
        for one in helper.examples:
            extra = len(one.same_system) - len(one.other_system)
            total += forms[one.form] * len(one.other_system) + own[one.form, helper.head.system] * extra
    return total


def memory_needed(weights: int) -> int:
    """Memory for scoring: `weights` bytes, and for a batch's activations as much again, at least 512 MiB."""
    return weights + max(weights, 512 << 20)


def memory_to_select(samples: RunSamples, pairs: int | None = None) -> int:
    """Memory for selecting from all pairs, or from a number of scored pairs."""
    n, t, e = len(samples.pool), len(samples.target), len(samples.existing)
    if pairs is not None:
        return pairs * _SPARSE_BYTES
    kernel = max(n + t, 2 * n) * n if t else n * n  # with rows for the target; as published, as many as the pool has
    return (n * n + t * n + n * e + 2 * kernel) * _FLOAT32_BYTES  # twice: explanations copy it by columns


def disk_needed(plan: PairPlan, rows_per_block: int) -> int:
    """Disk space of the missing blocks."""
    files = sum(len(group.helpers) * -(-len(group.rows) // rows_per_block) for group in plan.groups)
    return plan.pairs_missing * _BYTES_PER_PAIR + files * _BYTES_PER_FILE


def _suffix_length(sample: EncodedSample) -> int:
    return len(sample.query) + len(sample.response)
