"""Grouping of queries by common leads, against a search over all groupings."""

from collections.abc import Iterator, Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from delift_core.scoring.batches import PrefixGroup, group_by_prefix

Query = tuple[int, ...]
queries = st.lists(st.integers(0, 1), min_size=1, max_size=5).map(tuple)


def computed(groups: Sequence[PrefixGroup], rows: Sequence[Query], pass_cost: int) -> int:
    """Tokens computed per example, extra passes counted."""
    rest = sum(len(rows[row]) - len(group.shared) for group in groups for row in group.rows)
    return rest + sum(len(group.shared) + pass_cost for group in groups if group.shared)


def partitions(rows: list[int]) -> Iterator[list[list[int]]]:
    if not rows:
        yield []
        return
    first, others = rows[0], rows[1:]
    for rest in partitions(others):
        yield [[first], *rest]
        for place in range(len(rest)):
            yield [*rest[:place], [first, *rest[place]], *rest[place + 1 :]]


def longest_lead(rows: Sequence[Query]) -> Query:
    length = min(len(row) for row in rows) - 1
    while any(row[:length] != rows[0][:length] for row in rows):
        length -= 1
    return rows[0][:length]


@settings(max_examples=150, deadline=None)
@given(st.lists(queries, min_size=1, max_size=6), st.integers(0, 3))
def test_every_row_stands_once_under_a_lead_of_its_own(rows: list[Query], pass_cost: int) -> None:
    groups = group_by_prefix(rows, pass_cost)
    assert sorted(row for group in groups for row in group.rows) == list(range(len(rows)))
    for group in groups:
        for row in group.rows:
            assert rows[row][: len(group.shared)] == group.shared
            assert len(rows[row]) > len(group.shared)


@settings(max_examples=60, deadline=None)
@given(st.lists(queries, min_size=1, max_size=6), st.integers(0, 3))
def test_sharing_never_costs_more_than_none_or_one_lead_for_all(rows: list[Query], pass_cost: int) -> None:
    cost = computed(group_by_prefix(rows, pass_cost), rows, pass_cost)
    whole = PrefixGroup(longest_lead(rows), tuple(range(len(rows))))
    assert cost <= sum(map(len, rows))
    assert cost <= computed([whole], rows, pass_cost)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 1), min_size=4, max_size=4).map(tuple), min_size=1, max_size=6),
    st.integers(0, 3),
)
def test_of_equally_long_queries_no_grouping_computes_fewer_tokens(rows: list[Query], pass_cost: int) -> None:
    rows = [(*row, 9) for row in rows]  # as after a chat template's closing words: no query begins another

    def cheapest(part: list[int]) -> int:
        led = PrefixGroup(longest_lead([rows[row] for row in part]), tuple(part))
        return min(computed([group], rows, pass_cost) for group in (led, PrefixGroup((), tuple(part))))

    best = min(sum(map(cheapest, parts)) for parts in partitions(list(range(len(rows)))))
    assert computed(group_by_prefix(rows, pass_cost), rows, pass_cost) == best


def test_a_row_left_loose_below_may_be_worth_more_above() -> None:
    rows = [(1, 1, 0, 0, 9), (1, 1, 1, 0, 9), *[(1, 1, 1, 1, 9)] * 3]
    assert {(len(group.shared), len(group.rows)) for group in group_by_prefix(rows, 0)} == {(2, 2), (4, 3)}


def test_one_instruction_for_many_rows_is_computed_once() -> None:
    instruction = tuple(range(100))
    rows = [(*instruction, row) for row in range(500, 520)] + [(7, 8, 9)]
    groups = group_by_prefix(rows, 50)
    assert [(len(group.shared), len(group.rows)) for group in groups] == [(100, 20), (0, 1)]


def test_deeply_nested_beginnings_end() -> None:
    rows = [tuple([1] * length + [2]) for length in range(1, 2000)]
    assert sum(len(group.rows) for group in group_by_prefix(rows, 1)) == len(rows)


def test_no_queries_no_groups() -> None:
    assert group_by_prefix([], 10) == []
