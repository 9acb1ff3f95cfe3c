"""Orders and scores against plain re-implementations of their published definitions."""

import itertools
import math

import numpy as np
import pytest
from scipy.sparse import csr_array

from delift_core.baselines import orders, scores
from delift_core.baselines.ordering import PoolFacts, order_from_facts
from delift_core.baselines.settings import MethodConfig
from delift_core.errors import SelectionError
from delift_core.selection.methods import METHODS, MODEL_METHODS

RNG = np.random.default_rng(3)


def facts(n: int = 23, **changes: object) -> PoolFacts:
    rng = np.random.default_rng(n)
    values = {
        "tokens": rng.integers(1, 30, n),
        "loss": rng.uniform(1, 60, n),
        "embeddings": rng.normal(size=(n, 6)).astype(np.float32),
        "utilities": rng.normal(size=(n, n)).astype(np.float32),
    }
    return PoolFacts(**(values | changes))


@pytest.mark.parametrize("method", sorted(set(METHODS) - MODEL_METHODS))
def test_every_method_orders_the_whole_pool_and_does_so_again(method: str) -> None:
    first, again = (order_from_facts(MethodConfig(method, seed=5), facts()) for _ in range(2))
    assert sorted(first.tolist()) == list(range(23))
    assert first.dtype == np.int64
    assert np.array_equal(first, again)


@pytest.mark.parametrize("method", sorted(set(METHODS) - MODEL_METHODS))
def test_pools_of_one_and_of_copies_are_ordered(method: str) -> None:
    assert order_from_facts(MethodConfig(method), facts(1)).tolist() == [0]
    same = facts(7, embeddings=np.ones((7, 3), np.float32), loss=np.full(7, 2.0), tokens=np.full(7, 4))
    assert sorted(order_from_facts(MethodConfig(method), same).tolist()) == list(range(7))


def test_what_needs_more_than_facts_says_so() -> None:
    for method in MODEL_METHODS:
        with pytest.raises(SelectionError, match="needs the model itself"):
            order_from_facts(MethodConfig(method), facts())
    with pytest.raises(SelectionError, match="needs a scored run"):
        order_from_facts(MethodConfig("column-mean"), facts(utilities=None))


def test_length_and_loss_bands() -> None:
    some = facts(
        5, tokens=np.array([4, 9, 9, 1, 2]), loss=np.array([4.0, 18.0, 9.0, 5.0, 6.0])
    )  # 1, 2, 1, 5, 3 a token
    assert order_from_facts(MethodConfig("longest"), some).tolist() == [1, 2, 0, 4, 3]
    assert order_from_facts(MethodConfig("loss-high"), some).tolist() == [3, 4, 1, 0, 2]
    assert order_from_facts(MethodConfig("loss-low"), some).tolist() == [0, 2, 1, 4, 3]
    assert order_from_facts(MethodConfig("loss-middle"), some).tolist()[0] == 1  # the median is 2 a token


def test_the_middle_band_is_the_middle_third() -> None:
    values = RNG.permutation(30).astype(float)
    chosen = values[orders.nearest_to_median(values)[:10]]
    assert sorted(chosen) == list(range(10, 20))


def test_ifd_by_hand_and_discards_last() -> None:
    with_prompt, alone = np.array([1.0, 0.5, 3.0, 2.0]), np.array([2.0, 2.0, 2.0, 2.0])
    ratio = scores.instruction_following_difficulty(with_prompt, alone)
    assert ratio == pytest.approx([math.exp(1) / math.exp(2), math.exp(0.5 - 2), math.exp(1), 1.0])
    assert orders.discard_above(ratio, 1.0).tolist() == [0, 1, 3, 2]


def test_selectit_is_the_published_formula() -> None:
    ratings = RNG.uniform(0.01, 1, size=(4, 3, 5))
    found = scores.selectit(ratings, certainty=0.2)
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
    assert scores.selectit(certain, 0.2) == pytest.approx([5.0])
    assert scores.selectit(unsure, 0.2) == pytest.approx([0.0])


def test_column_means_leave_out_the_diagonal_and_what_was_not_scored() -> None:
    utilities = np.array([[9.0, 1.0, np.nan], [2.0, 9.0, np.nan], [4.0, -3.0, 9.0]], dtype=np.float32)
    assert scores.column_means(utilities).tolist() == [3.0, -1.0, -np.inf]
    rows, columns = np.nonzero(~np.isnan(utilities))
    sparse = csr_array((utilities[rows, columns], (rows, columns)), shape=(3, 3))
    assert scores.column_means(sparse).tolist() == [3.0, -1.0, -np.inf]


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


def test_influence_is_the_weighted_mean_cosine() -> None:
    train, target = RNG.normal(size=(2, 5, 8)), RNG.normal(size=(2, 3, 8))
    weights = np.array([3.0, 1.0])
    found = scores.influence(train, target, weights)
    for row in range(5):
        total = 0.0
        for point in range(2):
            cosines = [
                train[point, row] @ other / (np.linalg.norm(train[point, row]) * np.linalg.norm(other))
                for other in target[point]
            ]
            total += weights[point] / 4 * sum(cosines) / 3
        assert found[row] == pytest.approx(total)
