"""Facets: shares, differences, signals of each row, and clusters."""

import json
from pathlib import Path

import numpy as np
import pytest

from delift_core.data.loading import load_bytes
from delift_core.data.quality.facets import (
    UNCLEAR,
    cluster_codes,
    cluster_facet,
    facets,
    languages,
    quintile_facet,
    share_differences,
    signal_facets,
)
from delift_core.errors import WorkspaceError
from delift_core.models.prompts import count_tokens, make_template
from delift_core.samples import Message, ParsedRecord, Sample, with_ids
from delift_core.system.callbacks import Progress
from delift_core.workspace import Workspace
from tests.tiny_models import save_model


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


ROWS = [
    ("How do bees find their way?", "They look at the sun and remember the shapes of trees near the hive."),
    ("Wie finden Bienen ihren Weg?", "Sie sehen nach der Sonne und merken sich die Formen der Bäume."),
    ("How much is 2 + 2?", "4"),
    ("Write a letter to a friend about the summer holidays.", "Dear {{name}}, the summer holidays are over now." * 3),
]


def samples(rows=ROWS):
    lines = [json.dumps({"instruction": prompt, "output": response}) for prompt, response in rows]
    return load_bytes("\n".join(lines).encode(), "x.jsonl").samples


def test_languages_are_told_from_enough_text_only() -> None:
    assert languages(samples()) == ["en", "de", UNCLEAR, "en"]
    assert languages(samples([("Was kostet das Brot beim Bäcker um die Ecke heute?", "3")])) == ["de"]


def test_each_signal_is_a_facet() -> None:
    found = {facet.name: [facet.labels[code] for code in facet.codes] for facet in signal_facets(samples())}
    assert found == {
        "Language": ["en", "de", UNCLEAR, "en"],
        "Characters": ["0–99", "0–99", "0–99", "100–399"],
        "Unfilled template text": ["no", "no", "no", "yes"],
    }
    assert signal_facets(samples(ROWS[:1])) == () == signal_facets(())


def test_tokens_are_counted_as_they_are_scored(tmp_path) -> None:
    from transformers import AutoTokenizer

    template = make_template(AutoTokenizer.from_pretrained(save_model(tmp_path / "tiny")))
    counts = count_tokens(samples(), template)
    encoded = [template.encode(sample.conversation) for sample in samples()]
    assert counts.response.tolist() == [len(one.response) for one in encoded]
    assert np.array_equal(counts.total, [one.length for one in encoded])


def test_signals_are_kept_with_their_data_set_and_tell_how_far_they_are(tmp_path: Path) -> None:
    data = load_bytes("\n".join(json.dumps({"question": p, "answer": r}) for p, r in ROWS * 600).encode(), "x.jsonl")
    told: list[Progress] = []
    found = signal_facets(data.samples, watch=told.append)
    shares = [one.share for one in told]
    assert shares == sorted(shares) and shares[-1] > 0.9 and {one.phase for one in told} == {"checking"}
    with Workspace.open(tmp_path) as workspace:
        record = workspace.datasets.add(data, role="pool")
        assert workspace.signals.of(record.id) is None and not workspace.signals.known(record.id)
        workspace.signals.keep(record.id, found)
        kept = workspace.signals.of(record.id)
        assert kept is not None and [(one.name, one.labels) for one in kept] == [
            (one.name, one.labels) for one in found
        ]
        assert all((one.codes == other.codes).all() for one, other in zip(kept, found, strict=True))
        workspace.signals.keep(record.id, ())
        assert workspace.signals.of(record.id) == () and workspace.signals.known(record.id)
        workspace.datasets.delete(record.id)
        assert workspace.signals.of(record.id) is None
        with pytest.raises(WorkspaceError, match="no data set"):
            workspace.signals.keep(record.id, found)


def grouped(sizes: tuple[int, ...], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    group = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    return (np.eye(len(sizes), 12)[group] + rng.normal(0, 0.03, (len(group), 12))).astype(np.float32), group


def test_groups_of_the_data_are_found_largest_first_and_lengths_do_not_matter() -> None:
    points, group = grouped((3, 9, 6))  # 18 samples: 3 groups
    codes = cluster_codes(points)
    assert np.bincount(codes).tolist() == [9, 6, 3]
    assert {(int(one), int(other)) for one, other in zip(codes, group, strict=True)} == {(0, 1), (1, 2), (2, 0)}
    lengths = np.random.default_rng(1).uniform(0.1, 9, (18, 1)).astype(np.float32)
    np.testing.assert_array_equal(cluster_codes(points * lengths), codes)


def test_large_sets_are_grouped_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("delift_core.data.quality.facets._FULL_KMEANS_ROWS", 10)
    points, group = grouped((120, 60, 20))
    codes = cluster_codes(points)
    assert codes.max() <= 8
    assert all(len(set(group[codes == code])) == 1 for code in np.unique(codes))
    np.testing.assert_array_equal(codes, cluster_codes(points))


@pytest.mark.parametrize("points", [np.ones((5, 3)), np.zeros((4, 2)), np.ones((1, 2)), np.zeros((0, 2))])
def test_what_is_all_alike_is_one_group(points: np.ndarray) -> None:
    assert cluster_codes(points.astype(np.float32)).tolist() == [0] * len(points)


def test_a_group_is_named_by_the_words_that_only_it_has() -> None:
    prompts = ["Write a loop please", "Fix this loop please", "Boil water please", "Boil pasta in water please"]
    facet = cluster_facet(np.array([0, 0, 1, 1]), prompts)
    assert facet.name == "Cluster" and facet.labels == ("1: loop, this", "2: boil, water")
    assert cluster_facet(np.zeros(2, dtype=np.int64), ["", ""]).labels == ("1",)
