"""Columns of a pool, and quotas over one of them."""

import json
from collections.abc import Sequence

import numpy as np
import pytest

from delift_core.data.quality.facets import columns, quotas_from
from delift_core.errors import SelectionError
from delift_core.samples import Message, ParsedRecord, Sample, with_ids
from delift_core.selection.request import parse_quota
from delift_core.selection.types import Quota


def pool(sources: Sequence[str], topics: Sequence[str]) -> tuple[Sample, ...]:
    records = [
        ParsedRecord(
            (Message("user", f"q{line}"), Message("assistant", "a")), json.dumps({"topic": topic}), source, line
        )
        for line, (source, topic) in enumerate(zip(sources, topics, strict=True))
    ]
    return with_ids(records)


def test_sources_and_categories_are_columns() -> None:
    found = columns(pool(["a", "a", "b", "b", "b", "b"], ["x", "y", "x", "y", "x", "x"]))
    assert [facet.name for facet in found] == ["Source", "“topic”"]
    quotas = quotas_from([parse_quota("Topic:y=1..2")], found)
    assert quotas is not None and quotas.column == "topic"
    assert quotas.groups == (Quota("x"), Quota("y", 1, 2))
    assert quotas.codes.tolist() == [0, 1, 0, 1, 0, 0]
    assert quotas_from([], found) is None


def test_every_source_is_a_group_of_its_own() -> None:
    found = columns(pool([f"{number}.jsonl" for number in range(40)], ["x"] * 40))
    assert len(found[0].labels) == 40


def test_lengths_are_a_column_where_they_are_known() -> None:
    samples = pool(["a"] * 4, ["x"] * 4)
    assert columns(samples) == ()
    assert [facet.name for facet in columns(samples, np.array([1, 1, 9, 9]))] == ["Response length"]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (["source:a=1..", "topic:x=1.."], "'source' and 'topic': all quotas must be over one column"),
        (["language:de=1.."], "no column 'language' for quotas: the columns are Source, topic"),
        (["source:c=1.."], "No row has Source 'c': the groups are b, a"),
    ],
)
def test_what_does_not_fit_the_pool_is_refused(asked: list[str], message: str) -> None:
    found = columns(pool(["a", "a", "b", "b", "b", "b"], ["x", "y", "x", "y", "x", "x"]))
    with pytest.raises(SelectionError, match=message):
        quotas_from([parse_quota(text) for text in asked], found)
