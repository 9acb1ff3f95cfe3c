"""Signals as facets: language, length and health classes, each row under its label."""

import json
from pathlib import Path

import numpy as np
import pytest

from delift_core.data.loading import Progress, load_bytes
from delift_core.data.quality.signals import UNCLEAR, languages, signal_facets
from delift_core.errors import WorkspaceError
from delift_core.models.prompts import make_template
from delift_core.models.token_counts import count_tokens
from delift_core.workspace import Workspace
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
        "Unfilled template text": ["no", "no", "no", "yes"],
    }
    assert signal_facets(samples(ROWS[:1])) == () == signal_facets(())


def test_tokens_are_counted_as_they_are_scored(tmp_path) -> None:
    from transformers import AutoTokenizer

    template = make_template(AutoTokenizer.from_pretrained(save_model(tmp_path / "tiny")))
    counts = count_tokens(samples(), template)
    encoded = [template.encode(sample.messages) for sample in samples()]
    assert counts.response.tolist() == [len(one.response) for one in encoded]
    assert np.array_equal(counts.total, [len(one.query_alone) + len(one.response) for one in encoded])


def test_signals_are_kept_with_their_data_set_and_tell_how_far_they_are(tmp_path: Path) -> None:
    data = load_bytes("\n".join(json.dumps({"question": p, "answer": r}) for p, r in ROWS * 600).encode(), "x.jsonl")
    told: list[Progress] = []
    found = signal_facets(data.samples, watch=told.append)
    shares = [one.share or 0.0 for one in told]
    assert shares == sorted(shares) and shares[-1] > 0.9 and {one.stage for one in told} == {"checking"}
    with Workspace.open(tmp_path) as workspace:
        record = workspace.datasets.add(data, role="pool", origin="x")
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
