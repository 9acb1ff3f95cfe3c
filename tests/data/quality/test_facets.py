"""Facets of a pool and what a subset leans to."""

import json

import numpy as np
import pytest

from delift_core.data.quality.facets import facets, quintile_facet, share_differences
from delift_core.samples import Message, ParsedRecord, Sample, with_ids


def pool_of(records: list[dict[str, str]], *, sources: list[str] | None = None) -> tuple[Sample, ...]:
    parsed = [
        ParsedRecord(
            (Message("user", record["q"]), Message("assistant", record["a"])),
            json.dumps(record),
            sources[line] if sources else "pool.jsonl",
            line + 1,
        )
        for line, record in enumerate(records)
    ]
    return with_ids(parsed)


TOPICAL = [{"q": f"Question {i}?", "a": f"Answer {i}", "topic": "maths" if i % 3 else "art"} for i in range(12)]


def test_keys_with_few_values_become_facets_and_texts_do_not() -> None:
    found = facets(pool_of(TOPICAL), np.full(12, 4))
    assert [facet.name for facet in found] == ["“topic”"]
    (topic,) = found
    assert topic.labels == ("maths", "art")
    assert topic.shares().tolist() == pytest.approx([8 / 12, 4 / 12])
    assert topic.shares(np.array([0, 3])).tolist() == [0.0, 1.0]


def test_a_missing_value_is_a_label_of_its_own() -> None:
    records = [dict(record) for record in TOPICAL]
    del records[0]["topic"]
    (topic,) = facets(pool_of(records), np.full(12, 4))
    assert topic.labels == ("maths", "art", "(none)")


def test_lengths_are_quarters_that_name_their_range() -> None:
    tokens = np.array([1, 1, 2, 3, 5, 8, 13, 21])
    (length,) = facets(pool_of([{"q": str(i), "a": str(i)} for i in range(8)]), tokens)
    assert length.name == "Response length"
    assert length.labels == ("1 tokens", "2–3 tokens", "5–8 tokens", "13–21 tokens")
    assert length.shares().sum() == pytest.approx(1.0)


def test_equal_lengths_stay_together() -> None:
    assert facets(pool_of([{"q": str(i), "a": str(i)} for i in range(8)]), np.full(8, 7)) == ()


def test_sources_and_repeats_are_facets() -> None:
    rows = [{"q": "same", "a": "same"}, {"q": "same", "a": "same"}, {"q": "other", "a": "thing"}]
    found = {facet.name: facet for facet in facets(pool_of(rows, sources=["a", "a", "b"]), np.full(3, 2))}
    assert found["Source"].labels == ("a", "b")
    assert found["Repeats"].labels == ("repeated", "once")


def test_many_labels_share_a_rest() -> None:
    rows = [{"q": str(i), "a": str(i)} for i in range(40)]
    (source,) = facets(pool_of(rows, sources=[f"file {i}" for i in range(40)]), np.full(40, 2))
    assert len(source.labels) == 24
    assert source.labels[-1] == "(other)"
    assert source.shares()[-1] == pytest.approx(17 / 40)


def test_leans_name_what_a_subset_has_more_or_less_of() -> None:
    found = facets(pool_of(TOPICAL), np.full(12, 4))
    only_art = share_differences(found, np.array([0, 3, 6]))
    assert [(lean.label, lean.subset) for lean in only_art] == [("maths", 0.0), ("art", 1.0)]
    assert share_differences(found, np.arange(12)) == ()


def test_fifths_of_a_number_are_in_order_and_keep_equal_numbers_together() -> None:
    facet = quintile_facet("Gain", np.array([0.5, 0.1, 0.2, 0.3, 0.4, 0.1, 0.1]))
    assert facet.labels[0] == "1 of 4: 0.1" and len(set(facet.labels)) == 4
    assert facet.codes.tolist() == [3, 0, 1, 2, 3, 0, 0]
    assert quintile_facet("Gain", np.zeros(3)).labels == ("1 of 1: 0",)
