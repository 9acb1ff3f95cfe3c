"""What is drawn of a utility matrix, dense and sparse alike, against plain loops."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.sparse import coo_array, csr_array

from delift_core.errors import DeliftError
from pages.figures.matrix_parts import (
    RowOrder,
    best_pair,
    blocks,
    harming_share,
    mean_by_column,
    mean_by_row,
    order_by_label,
    order_rows,
    pair_value,
    scored_values,
    window,
)

ORDERS: tuple[RowOrder, ...] = ("file", "gain", "similarity", "mean")

matrices = hnp.arrays(
    np.float32,
    hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9),
    elements=st.one_of(st.just(np.nan), st.floats(-3, 3, width=32)),
)


def square(n: int = 12, seed: int = 0) -> np.ndarray:
    utility = np.random.default_rng(seed).normal(0.02, 0.1, (n, n)).astype(np.float32)
    np.fill_diagonal(utility, np.nan)
    return utility


def sparse(utility: np.ndarray) -> csr_array:
    """The same matrix with its scored entries stored, zeros too."""
    at = np.nonzero(~np.isnan(utility))
    return coo_array((utility[at], at), shape=utility.shape).tocsr()


@given(matrices, st.integers(1, 9), st.data())
def test_blocks_agree_with_plain_loops(utility: np.ndarray, size: int, data: st.DataObject) -> None:
    rows, columns = (np.array(data.draw(st.permutations(range(side)))) for side in utility.shape)
    found = blocks(utility, rows, columns, size)
    ordered = utility[np.ix_(rows, columns)]
    assert found.mean.shape == tuple(min(side, size) for side in utility.shape)
    for edges, side in ((found.row_edges, utility.shape[0]), (found.col_edges, utility.shape[1])):
        assert edges[0] == 0 and edges[-1] == side
        widths = np.diff(edges)
        assert widths.min() >= 1 and widths.max() - widths.min() <= 1
    for a in range(found.mean.shape[0]):
        for b in range(found.mean.shape[1]):
            part = ordered[found.row_edges[a] : found.row_edges[a + 1], found.col_edges[b] : found.col_edges[b + 1]]
            cells = part[~np.isnan(part)]
            expected = (cells.mean(dtype=np.float64), cells.max()) if cells.size else (np.nan, np.nan)
            np.testing.assert_allclose((found.mean[a, b], found.max[a, b]), expected, atol=1e-6)
            assert found.scored[a, b] == cells.size


@given(matrices, st.integers(1, 9), st.data())
def test_a_sparse_matrix_is_drawn_as_the_dense_one(utility: np.ndarray, size: int, data: st.DataObject) -> None:
    rows, columns = (
        np.array(data.draw(st.lists(st.sampled_from(range(side)), min_size=1, unique=True))) for side in utility.shape
    )
    stored = sparse(utility)
    dense, thin = blocks(utility, rows, columns, size), blocks(stored, rows, columns, size)
    for name in ("mean", "max", "scored", "row_edges", "col_edges"):
        np.testing.assert_allclose(getattr(thin, name), getattr(dense, name), atol=1e-6)
    np.testing.assert_array_equal(window(stored, rows, columns), window(utility, rows, columns))
    for means in (mean_by_row, mean_by_column):
        np.testing.assert_allclose(means(stored), means(utility), atol=1e-6)
    np.testing.assert_array_equal(scored_values(stored), scored_values(utility))
    row, column = best_pair(stored)
    assert (row, column) == best_pair(utility)
    np.testing.assert_equal(pair_value(stored, row, column), pair_value(utility, row, column))


def test_a_small_matrix_is_its_own_blocks() -> None:
    utility, every = square(6), np.arange(6)
    found = blocks(utility, every, every, 256)
    np.testing.assert_array_equal(found.mean, utility)
    np.testing.assert_array_equal(found.max, utility)
    assert found.row_edges.tolist() == list(range(7))


@pytest.mark.parametrize(("rows", "size"), [(3, 0), (0, 4)])
def test_blocks_that_cannot_be_are_refused(rows: int, size: int) -> None:
    with pytest.raises(DeliftError):
        blocks(np.zeros((3, 3)), np.arange(rows), np.arange(3), size)


@given(matrices, st.sampled_from(ORDERS))
def test_every_order_is_a_permutation_and_repeats_itself(utility: np.ndarray, by: RowOrder) -> None:
    gains = np.nan_to_num(utility[:, 0])
    for matrix in (utility, sparse(utility)):
        order = order_rows(matrix, by, gains)
        assert sorted(order.tolist()) == list(range(len(utility)))
        np.testing.assert_array_equal(order, order_rows(matrix.copy(), by, gains.copy()))


def test_orders_by_gain_and_mean_put_the_largest_first_with_ties_in_file_order() -> None:
    utility = np.array([[np.nan, 0.1, 0.3], [0.4, np.nan, 0.6], [np.nan] * 3, [0.5, 0.5, 0.5]])
    assert order_rows(utility, "mean").tolist() == [1, 3, 0, 2]
    assert order_rows(utility, "gain", np.array([1.0, np.nan, 3.0, 1.0])).tolist() == [2, 0, 3, 1]
    assert order_rows(utility, "file").tolist() == [0, 1, 2, 3]
    assert order_by_label(np.array([2, 0, 2, 1])).tolist() == [1, 3, 0, 2]


@pytest.mark.parametrize("limit", [2_000, 5])
@pytest.mark.parametrize("is_sparse", [False, True])
def test_alike_rows_stand_side_by_side(limit: int, is_sparse: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pages.figures.matrix_parts._CLUSTER_LIMIT", limit)
    rng = np.random.default_rng(3)
    group = rng.permutation(np.repeat([0, 1], 10))
    utility = np.where(group[:, None] == group[None, :], 0.5, -0.5) + rng.normal(0, 0.01, (20, 20))
    np.fill_diagonal(utility, np.nan)
    if is_sparse:  # of a sparse matrix, pairs within a group only: others were not worth scoring
        utility[group[:, None] != group[None, :]] = np.nan
    ordered = group[order_rows(sparse(utility) if is_sparse else utility, "similarity")]
    assert np.count_nonzero(np.diff(ordered)) == 1


@pytest.mark.parametrize("gains", [None, np.zeros(3)])
def test_an_order_by_gain_needs_one_gain_per_row(gains: np.ndarray | None) -> None:
    with pytest.raises(DeliftError, match="12 gains"):
        order_rows(square(), "gain", gains)


def test_a_pair_that_changes_nothing_does_not_harm() -> None:
    utility = np.array([[np.nan, 0.0, -0.2], [0.3, np.nan, 0.0], [-0.1, 0.4, np.nan]])
    assert harming_share(utility) == pytest.approx(2 / 6)
    assert harming_share(csr_array(np.array([[0.0, -1.0], [0.0, 0.0]]))) == 1.0 and harming_share(utility[:0]) == 0.0
