"""Signals as facets: language, length and health classes, each row under its label."""

import json

import numpy as np

from delift_core.prompts import make_template
from delift_core.signals import UNCLEAR, languages, signal_facets
from delift_core.sources import load_bytes
from delift_core.tokens import count_tokens
from tests.tiny_models import save_model

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
        "Left over from a template": ["no", "no", "no", "yes"],
    }
    assert signal_facets(samples(ROWS[:1])) == () == signal_facets(())


def test_tokens_are_counted_as_they_are_scored(tmp_path) -> None:
    from transformers import AutoTokenizer

    template = make_template(AutoTokenizer.from_pretrained(save_model(tmp_path / "tiny")))
    counts = count_tokens(samples(), template)
    encoded = [template.encode(sample.messages) for sample in samples()]
    assert counts.response.tolist() == [len(one.response) for one in encoded]
    assert np.array_equal(counts.total, [len(one.query_alone) + len(one.response) for one in encoded])
