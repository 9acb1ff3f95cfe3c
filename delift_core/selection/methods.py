"""The methods that order a whole pool, to compare DELIFT with: one table, with an entry and a function for each method.

To add a method, add a function with `@method` here. Help texts, choices, pages, forecasts and manifests read its entry.
Importing this module is cheap: each function imports its arithmetic when it is called.
"""

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, Protocol

from delift_core.errors import SelectionError
from delift_core.samples import Sample

if TYPE_CHECKING:
    import numpy as np

    from delift_core.selection.kernels import Kernel

Method = str
"""The name of a method, a key of `METHODS`."""
Need = Literal["nothing", "texts", "statistics", "utilities", "responses alone", "ratings", "gradients"]
"""The most expensive input of a method. A run stores statistics (lengths, losses and embeddings, from one pass over the
pool) and utilities; for the last three, the model runs again."""
Pairwise = Literal["never", "always", "without target"]
PAIRWISE_ROWS = 10_000


class Pool(Protocol):
    """What a method can read of a pool of n rows, in pool order. Nothing is read or measured before it is asked for."""

    @property
    def samples(self) -> Sequence[Sample]:
        """The n rows."""

    @property
    def target(self) -> Sequence[Sample]:
        """The t target rows; none without a target."""

    @property
    def tokens(self) -> "np.ndarray":
        """(n,) int64 response tokens, > 0."""

    @property
    def losses(self) -> "np.ndarray":
        """(n,) float64, -log p of each response given its prompt, in nats per token."""

    @property
    def embeddings(self) -> "np.ndarray":
        """(n, d) float32 of prompt and response, not normalised."""

    @property
    def target_embeddings(self) -> "np.ndarray | None":
        """(t, d) float32; None without a target."""

    @property
    def utilities(self) -> "Kernel":
        """(n, n), row i is helped, column j helps; NaN (absent if sparse) where not scored."""
        raise SelectionError("mean utility needs a scored run; score the pool, or use another method")

    def losses_alone(self) -> "np.ndarray":
        """(n,) float64, -log p of each response without its prompt, in nats per token."""
        raise _needs_model()

    def ratings(self) -> "np.ndarray":
        """(n, k, 5) float64, the model's probabilities of the ratings 1 to 5 of each row under k prompts."""
        raise _needs_model()

    def influence(self, seed: int) -> "np.ndarray":
        """(n,) float64, how well each row's gradient agrees with those of the target rows."""
        raise _needs_model()


def _needs_model() -> SelectionError:
    return SelectionError("this method needs the model itself, not only losses and embeddings; run it as a job")


Order = Callable[[Pool, int], "np.ndarray"]
"""A function of a pool and a seed: (n,) int64 positions, best first; any budget is a prefix."""


@dataclass(frozen=True, slots=True)
class MethodEntry:
    """A method."""

    title: str
    summary: str  # one sentence on which rows it prefers
    source: str  # where it was published
    needs: Need
    order: Order
    draws: bool = False  # whether the order depends on the seed
    pairwise: Pairwise = "never"  # whether it compares each row with each other one, at most `PAIRWISE_ROWS` rows

    @property
    def asks_model(self) -> bool:
        """Whether the order needs passes of the model that are not stored with a run."""
        return self.needs in ("responses alone", "ratings", "gradients")


_entries: dict[Method, MethodEntry] = {}
METHODS: Mapping[Method, MethodEntry] = MappingProxyType(_entries)
"""Every method by its name, in the order in which they are shown; filled by `@method` while this module is imported."""


def method(
    name: Method, title: str, source: str, needs: Need, *, draws: bool = False, pairwise: Pairwise = "never"
) -> Callable[[Order], Order]:
    """Adds a function to `METHODS`, see `MethodEntry`; the first line of its docstring is the summary."""

    def add(order: Order) -> Order:
        summary = (order.__doc__ or "").partition("\n")[0]
        _entries[name] = MethodEntry(title, summary, source, needs, order, draws, pairwise)
        return order

    return add


def method_entry(name: Method) -> MethodEntry:
    """The entry of a method.

    Raises:
        SelectionError: there is no such method.
    """
    if name not in METHODS:
        raise SelectionError(f"There is no method {name!r}: use one of {', '.join(METHOD_NAMES)}.")
    return METHODS[name]


def method_title(name: str) -> str:
    """The title of a method, of "delift", or of rows chosen elsewhere ("given")."""
    return _TITLES[name][0] if name in _TITLES else method_entry(name).title


def method_source(name: str) -> str:
    """Where a method was published, or where given rows came from."""
    return _TITLES[name][1] if name in _TITLES else method_entry(name).source


_TITLES = {
    "delift": ("DELIFT", "Agarwal et al., arXiv 2411.04425"),
    "given": ("Given rows", "drawn in an evaluation, or chosen elsewhere"),
}


def asks_model(name: str) -> bool:
    """Whether a method needs passes of the model that are not stored with a run; False for "delift" and "given"."""
    return name in METHODS and METHODS[name].asks_model


def ensure_rows_fit(name: Method, n: int, *, with_target: bool) -> None:
    """Refuses a method that compares all pairs of rows for more than `PAIRWISE_ROWS` rows.

    Raises:
        SelectionError: there are more, or there is no such method.
    """
    entry = method_entry(name)
    compares = entry.pairwise == "always" or (entry.pairwise == "without target" and not with_target)
    if compares and n > PAIRWISE_ROWS:
        raise SelectionError(
            f"{entry.title} compares each of {n:,} rows with each other one and takes at most "
            f"{PAIRWISE_ROWS:,}: choose another method, or from fewer rows"
        )


@method("random", "Random", "baseline", "nothing", draws=True)
def _random(pool: Pool, seed: int) -> "np.ndarray":
    """Random order."""
    from delift_core.selection import orders

    return orders.random_order(len(pool.samples), seed)


@method("longest", "Longest responses", "Zhao et al., arXiv 2402.04833", "statistics")
def _longest(pool: Pool, seed: int) -> "np.ndarray":
    """Most response tokens first."""
    from delift_core.selection import orders

    return orders.by_score(pool.tokens.astype("float64"))


@method("loss-high", "Highest loss", "perplexity bands, Marion et al., arXiv 2309.04564", "statistics")
def _loss_high(pool: Pool, seed: int) -> "np.ndarray":
    """Rows whose response the model finds least likely, per token."""
    from delift_core.selection import orders

    return orders.by_score(pool.losses)


@method("loss-middle", "Middle loss", "Marion et al., arXiv 2309.04564", "statistics")
def _loss_middle(pool: Pool, seed: int) -> "np.ndarray":
    """Rows nearest the median loss."""
    from delift_core.selection import orders

    return orders.nearest_to_median(pool.losses)


@method("loss-low", "Lowest loss", "Marion et al., arXiv 2309.04564", "statistics")
def _loss_low(pool: Pool, seed: int) -> "np.ndarray":
    """Rows whose response the model already finds likely."""
    from delift_core.selection import orders

    return orders.by_score(-pool.losses)


@method("ifd", "IFD", "Superfiltering, Li et al., arXiv 2402.00530", "responses alone")
def _ifd(pool: Pool, seed: int) -> "np.ndarray":
    """Rows where the prompt helps least to predict the response; rows where it hurts come last."""
    from delift_core.selection import orders

    return orders.discard_above(orders.instruction_following_difficulty(pool.losses, pool.losses_alone()), 1.0)


@method("selectit", "SelectIT", "Liu et al., arXiv 2402.16705", "ratings")
def _selectit(pool: Pool, seed: int) -> "np.ndarray":
    """Rows the model itself rates highly, and consistently under five prompts."""
    from delift_core.selection import orders

    return orders.by_score(orders.selectit(pool.ratings()))


@method("deft-ucs", "DEFT-UCS", "Das and Khetan, arXiv 2310.16776", "statistics", draws=True)
def _deft_ucs(pool: Pool, seed: int) -> "np.ndarray":
    """The same share of every cluster: rows near its centre and rows far from it."""
    from delift_core.selection import orders

    return orders.cluster_order(pool.embeddings, seed=seed)


@method("k-center", "k-center", "Sener and Savarese, arXiv 1708.00489", "statistics", pairwise="always")
def _k_center(pool: Pool, seed: int) -> "np.ndarray":
    """Each row as far as possible from all before it."""
    from delift_core.selection import orders

    return orders.farthest_first(pool.embeddings)


@method("embedding-fl", "Embedding coverage", "Agarwal et al., arXiv 2411.04425", "statistics", pairwise="always")
def _embedding_fl(pool: Pool, seed: int) -> "np.ndarray":
    """Facility Location on cosine similarity instead of utility: DELIFT (SE)."""
    from delift_core.selection import orders

    return orders.embedding_coverage(pool.embeddings)


@method("rds", "RDS+", "Ivison et al., arXiv 2503.01807", "statistics", pairwise="without target")
def _rds(pool: Pool, seed: int) -> "np.ndarray":
    """Rows nearest to each target row in turn (without a target, to each row)."""
    from delift_core.selection import orders

    return orders.round_robin(pool.embeddings, pool.target_embeddings)


@method("column-mean", "Mean utility", "as Nuggets, Li et al., arXiv 2312.10302", "utilities")
def _column_mean(pool: Pool, seed: int) -> "np.ndarray":
    """Rows that help the others most on average: the utility without coverage."""
    from delift_core.selection import orders

    return orders.by_score(orders.column_means(pool.utilities))


@method("less", "LESS", "Xia et al., arXiv 2402.04333", "gradients", draws=True)
def _less(pool: Pool, seed: int) -> "np.ndarray":
    """Rows whose gradient points the same way as the target's."""
    from delift_core.selection import orders

    return orders.by_score(pool.influence(seed))


@method("bm25", "BM25", "Robertson and Zaragoza 2009, as in Xia et al., arXiv 2402.04333", "texts")
def _bm25(pool: Pool, seed: int) -> "np.ndarray":
    """Rows that share rare words with the target's rows (without a target, with the other rows)."""
    from delift_core.selection import orders

    texts, queries = ([f"{row.prompt}\n{row.response}" for row in rows] for rows in (pool.samples, pool.target))
    return orders.by_score(bm25_scores(texts, queries))


def bm25_scores(texts: Sequence[str], queries: Sequence[str]) -> "np.ndarray":
    """Mean over queries of the Okapi BM25 score of each of n texts (k1 = 1.5, b = 0.75).

    A word in df texts weighs ln(1 + (n - df + 0.5) / (df + 0.5)), which is never below 0. The mean is that of the
    baseline in LESS (arXiv 2402.04333).

    Args:
        queries: other texts; if there are none, the texts themselves, none of which counts as a query for itself.

    Returns:
        (n,) float64.
    """
    import bm25s
    import numpy as np
    from scipy.sparse import csc_array, csr_array

    ids: dict[str, int] = {}
    known = [[ids.setdefault(word, len(ids)) for word in words(text)] for text in texts]
    asked = [[ids[word] for word in words(query) if word in ids] for query in queries]
    if not ids:
        return np.zeros(len(texts))
    index = bm25s.BM25(k1=1.5, b=0.75, method="lucene", dtype="float64")
    index.index((known, ids), create_empty_token=False, show_progress=False)
    parts = index.scores["data"], index.scores["indices"], index.scores["indptr"]
    weights = csc_array(parts, shape=(len(texts), len(ids)))  # (n, words), what one occurrence in a query adds
    flat = np.fromiter(chain.from_iterable(asked if queries else known), np.int64)
    total: np.ndarray = weights @ np.bincount(flat, minlength=len(ids))
    if not queries:
        ends = np.cumsum([0, *map(len, known)])
        total -= weights.multiply(csr_array((np.ones(len(flat)), flat, ends), shape=weights.shape)).sum(axis=1)
    return total / (len(queries) or max(1, len(texts) - 1))


# Scripts without spaces between words: Thai, Lao, Burmese, Khmer, kana and Chinese characters.
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)


def words(text: str) -> list[str]:
    """The words of a text in lower case; every two neighbouring letters in scripts without spaces between words."""
    if text.isascii():
        return re.findall(r"\w+", text.lower())
    found: list[str] = []
    for unspaced, word in _word_pattern().findall(unicodedata.normalize("NFKC", text).casefold()):
        found += [word] if word else [unspaced[at : at + 2] for at in range(max(1, len(unspaced) - 1))]
    return found


@cache
def _word_pattern() -> re.Pattern[str]:
    """Runs of unspaced letters, or words; combining marks, such as vowels in Devanagari, are parts of words."""
    marks = "".join(chr(code) for code in range(0x300, 0x3100) if unicodedata.category(chr(code)).startswith("M"))
    return re.compile(rf"([{_UNSPACED}]+)|((?:(?![{_UNSPACED}])[\w{marks}])+)")


METHOD_NAMES = ("delift", *METHODS)
"""The names to choose from: DELIFT and the other methods."""
