"""Orders and scores against plain re-implementations of their published definitions."""

import itertools
import math
from collections.abc import Iterable

import numpy as np
import pytest
from scipy.sparse import csr_array

from delift_core.errors import SelectionError
from delift_core.samples import Message, ParsedRecord, Sample, with_ids
from delift_core.selection import orders
from delift_core.selection.methods import METHODS, Pool, bm25_scores, method_entry, method_source, method_title, words

RNG = np.random.default_rng(3)


STORED = sorted(name for name, entry in METHODS.items() if not entry.asks_model)


class Stored(Pool):
    """A pool whose measurements are given."""

    samples = target = tokens = losses = embeddings = target_embeddings = None  # type: ignore[assignment]

    def __init__(self, n: int = 23, **changes: object) -> None:
        rng = np.random.default_rng(n)
        tokens = rng.integers(1, 30, n)
        values = {
            "samples": rows(f"Row {row}" for row in range(n)),
            "target": (),
            "tokens": tokens,
            "losses": rng.uniform(1, 60, n) / tokens,
            "embeddings": rng.normal(size=(n, 6)).astype(np.float32),
        }
        vars(self).update(values | changes)


class Scored(Stored):
    """The same, with utilities."""

    utilities = np.empty(0)

    def __init__(self, n: int = 23, **changes: object) -> None:
        super().__init__(
            n, **{"utilities": np.random.default_rng(n + 1).normal(size=(n, n)).astype(np.float32)} | changes
        )


def rows(prompts: Iterable[str]) -> tuple[Sample, ...]:
    return with_ids(
        ParsedRecord((Message("user", prompt), Message("assistant", "Yes.")), "{}", "pool.jsonl", line)
        for line, prompt in enumerate(prompts, start=1)
    )


def order_of(method: str, pool: Pool, seed: int = 0) -> np.ndarray:
    return method_entry(method).order(pool, seed)


@pytest.mark.parametrize("method", STORED)
def test_every_method_orders_the_whole_pool_and_does_so_again(method: str) -> None:
    first, again = (order_of(method, Scored(), seed=5) for _ in range(2))
    assert sorted(first.tolist()) == list(range(23))
    assert first.dtype == np.int64
    assert np.array_equal(first, again)
    other = order_of(method, Scored(), seed=6)
    assert METHODS[method].draws or np.array_equal(first, other)


@pytest.mark.parametrize("method", STORED)
def test_pools_of_one_and_of_copies_are_ordered(method: str) -> None:
    assert order_of(method, Scored(1)).tolist() == [0]
    same = Scored(7, embeddings=np.ones((7, 3), np.float32), losses=np.full(7, 0.5), tokens=np.full(7, 4))
    assert sorted(order_of(method, same).tolist()) == list(range(7))


def test_what_needs_more_than_a_run_stores_says_so() -> None:
    asking = set(METHODS) - set(STORED)
    assert asking == {"ifd", "selectit", "less"}
    for method in asking:
        with pytest.raises(SelectionError, match="needs the model itself"):
            order_of(method, Scored())
    with pytest.raises(SelectionError, match="needs a scored run"):
        order_of("column-mean", Stored())


def test_an_entry_is_read_from_the_function_of_a_method() -> None:
    assert list(METHODS)[:3] == ["random", "longest", "loss-high"]
    entry = METHODS["rds"]
    assert (entry.title, entry.needs, entry.draws, entry.pairwise) == ("RDS+", "statistics", False, "without target")
    assert entry.summary == "Rows nearest to each target row in turn (without a target, to each row)."
    assert all(entry.title and entry.summary.endswith(".") and entry.source for entry in METHODS.values())
    assert (method_title("less"), method_title("delift"), method_title("given")) == ("LESS", "DELIFT", "Given rows")
    assert (method_source("rds"), method_source("delift")) == (entry.source, "Agarwal et al., arXiv 2411.04425")
    for lookup in (method_entry, method_title, method_source):
        with pytest.raises(SelectionError, match="There is no method 'magic': use one of delift, random, longest"):
            lookup("magic")


def test_length_and_loss_bands() -> None:
    some = Scored(5, tokens=np.array([4, 9, 9, 1, 2]), losses=np.array([1.0, 2.0, 1.0, 5.0, 3.0]))
    assert order_of("longest", some).tolist() == [1, 2, 0, 4, 3]
    assert order_of("loss-high", some).tolist() == [3, 4, 1, 0, 2]
    assert order_of("loss-low", some).tolist() == [0, 2, 1, 4, 3]
    assert order_of("loss-middle", some).tolist()[0] == 1  # the median is 2 a token


def test_the_middle_band_is_the_middle_third() -> None:
    values = RNG.permutation(30).astype(float)
    chosen = values[orders.nearest_to_median(values)[:10]]
    assert sorted(chosen) == list(range(10, 20))


def test_ifd_by_hand_and_discards_last() -> None:
    with_prompt, alone = np.array([1.0, 0.5, 3.0, 2.0]), np.array([2.0, 2.0, 2.0, 2.0])
    ratio = orders.instruction_following_difficulty(with_prompt, alone)
    assert ratio == pytest.approx([math.exp(1) / math.exp(2), math.exp(0.5 - 2), math.exp(1), 1.0])
    assert orders.discard_above(ratio, 1.0).tolist() == [0, 1, 3, 2]


def test_selectit_is_the_published_formula() -> None:
    ratings = RNG.uniform(0.01, 1, size=(4, 3, 5))
    found = orders.selectit(ratings, certainty=0.2)
    for row in range(4):
        levels = []
        for prompt in range(3):
            p = [value / sum(ratings[row, prompt]) for value in ratings[row, prompt]]
            base = p.index(max(p))
            levels.append((base + 1) * sum(p[base] - other for other in p) / 4)
        mean = sum(levels) / 3
        std = math.sqrt(sum((level - mean) ** 2 for level in levels) / 3)
        assert found[row] == pytest.approx(mean / (1 + 0.2 * std))
    certain, unsure = np.zeros((1, 2, 5)), np.full((1, 2, 5), 0.2)
    certain[:, :, 4] = 1.0
    assert orders.selectit(certain, 0.2) == pytest.approx([5.0])
    assert orders.selectit(unsure, 0.2) == pytest.approx([0.0])


def test_column_means_leave_out_the_diagonal_and_what_was_not_scored() -> None:
    utilities = np.array([[9.0, 1.0, np.nan], [2.0, 9.0, np.nan], [4.0, -3.0, 9.0]], dtype=np.float32)
    assert orders.column_means(utilities).tolist() == [3.0, -1.0, -np.inf]
    rows, columns = np.nonzero(~np.isnan(utilities))
    sparse = csr_array((utilities[rows, columns], (rows, columns)), shape=(3, 3))
    assert orders.column_means(sparse).tolist() == [3.0, -1.0, -np.inf]


def test_farthest_first_covers_within_twice_the_best_radius() -> None:
    points = np.random.default_rng(0).normal(size=(11, 3))
    order = orders.farthest_first(points)
    near = orders.unit(points)
    gap = np.linalg.norm(near[:, None] - near[None], axis=2)
    for k in (1, 2, 3, 4):
        best = min(gap[:, list(chosen)].min(axis=1).max() for chosen in itertools.combinations(range(11), k))
        assert gap[:, order[:k]].min(axis=1).max() <= 2 * best + 1e-12
    for k in range(1, 10):  # each is the farthest of what is left
        reach = gap[:, order[:k]].min(axis=1)
        assert reach[order[k]] == pytest.approx(reach.max())


def test_deft_ucs_takes_the_same_share_of_each_cluster_near_and_far() -> None:
    rng = np.random.default_rng(1)
    centres = np.eye(4)[:3] * 10
    embeddings = np.concatenate([centre + rng.normal(scale=0.4, size=(20, 4)) for centre in centres])
    order = orders.cluster_order(embeddings, clusters=3, easy_share=0.5, seed=0)
    points = orders.unit(embeddings)
    for start in (0, 20, 40):
        members = np.arange(start, start + 20)
        middle = points[members].mean(axis=0)
        distance = 1 - points[members] @ (middle / np.linalg.norm(middle))
        nearest_first = members[np.argsort(distance)]
        taken = {row for row in order[:30].tolist() if row in members}
        assert taken == set(nearest_first[:5]) | set(nearest_first[-5:])


def test_embedding_coverage_is_greedy_on_scaled_cosine() -> None:
    embeddings = np.random.default_rng(2).normal(size=(12, 4))
    points = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    kernel = (1 + points @ points.T) / 2
    order = orders.embedding_coverage(embeddings.astype(np.float32)).tolist()
    for k in range(6):  # each pick is worth as much as the best one (two rows may tie)
        value = {j: kernel[:, [*order[:k], j]].max(axis=1).sum() for j in range(12) if j not in order[:k]}
        assert value[order[k]] == pytest.approx(max(value.values()), rel=1e-6)


def test_rds_lets_queries_take_turns() -> None:
    rows = np.array([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.1, 0.9], [0.7, 0.7]])
    queries = np.array([[1.0, 0.0], [0.0, 1.0]])
    assert orders.round_robin(rows, queries).tolist() == [0, 2, 1, 3, 4]
    assert orders.round_robin(rows, queries[:1]).tolist() == [0, 1, 4, 3, 2]
    own = orders.round_robin(rows, None)
    assert own[0] == 1  # the first row's nearest is not itself


def okapi(words_of: list[list[str]], query: list[str], row: int) -> float:
    """BM25 of one text for one query, word by word."""
    n, mean = len(words_of), sum(map(len, words_of)) / len(words_of)
    total = 0.0
    for word in query:
        count, df = words_of[row].count(word), sum(word in words for words in words_of)
        weight = math.log(1 + (n - df + 0.5) / (df + 0.5))
        total += weight * count / (count + 1.5 * (1 - 0.75 + 0.75 * len(words_of[row]) / mean))
    return total


TEXTS = ["the cat sat on the mat", "a dog and a cat", "The sum of two and two is four.", "the the the", "??", "a dog"]


def test_bm25_is_the_mean_over_queries_of_okapi_scores() -> None:
    queries = ["Two cats and a dog", "the unheard word", "two two"]
    split = [text.lower().strip(".").split() if text != "??" else [] for text in TEXTS]
    by_hand = [sum(okapi(split, query.lower().split(), row) for query in queries) / 3 for row in range(6)]
    assert bm25_scores(TEXTS, queries) == pytest.approx(by_hand, rel=1e-12)
    alone = [sum(okapi(split, split[at], row) for at in range(6) if at != row) / 5 for row in range(6)]
    assert bm25_scores(TEXTS, []) == pytest.approx(alone, rel=1e-12, abs=1e-15)


def test_bm25_matches_prompt_and_response_of_rows_to_the_target() -> None:
    pool = Stored(samples=rows(["Name a planet", "What is 3 + 4?", "Add 3 and 9", "Bake bread"]))
    assert order_of("bm25", pool).tolist() == [1, 2, 3, 0]  # two share “3”; the others only “yes”, the shorter first
    pool = Stored(samples=pool.samples, target=rows(["Which planet is red?", "How to bake a cake"]))
    assert set(order_of("bm25", pool)[:2].tolist()) == {0, 3}
    assert order_of("bm25", Stored(samples=rows(["😀", "…"]), target=rows(["planet"]))).tolist() == [0, 1]
    assert bm25_scores(["😀", "…"], ["planet"]).tolist() == bm25_scores(["😀"] * 2, []).tolist() == [0, 0]
    assert bm25_scores(["planet"], []) == pytest.approx([0])


def test_words_of_many_scripts() -> None:
    assert words("Don't STOP_here, GPT-4!") == ["don", "t", "stop_here", "gpt", "4"]
    assert words("Ünïted cafe\u0301 ﬁne ＡＢＣ") == ["ünïted", "café", "fine", "abc"]
    assert words("नमस्ते दुनिया") == ["नमस्ते", "दुनिया"] and words("한국어 말") == ["한국어", "말"]
    assert words("今天天气 GPTモデル 字") == ["今天", "天天", "天气", "gpt", "モデ", "デル", "字"]
    assert bm25_scores(["今天天气很好", "我喜欢吃苹果"], ["苹果好吃吗"]).argmax() == 1
