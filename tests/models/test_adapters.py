"""A LoRA adapter of a base model in another folder is a model like any other: loaded, scored, curated, evaluated."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from delift_core.cli import main
from delift_core.errors import ModelError
from delift_core.models.loading import load_model, read_outline
from delift_core.models.lora import linear_layers
from delift_core.scoring.scorer import Scorer
from tests.export.scored import alpaca_lines
from tests.tiny_models import byte_tokenizer, save_model

IDS = torch.arange(8, 60)[None]
LORA: dict[str, Any] = {"task_type": "CAUSAL_LM", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "up_proj"]}


def save_adapter(folder: Path, base: Path, *, tokens: int | None = None, **settings: Any) -> torch.Tensor:
    """Saves an adapter whose updates are not zero; returns the logits of base and adapter together."""
    model = AutoModelForCausalLM.from_pretrained(base)
    if tokens:
        model.resize_token_embeddings(tokens)
    torch.manual_seed(1)
    adapted = get_peft_model(model, LoraConfig(**LORA | settings)).eval()
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.3)
        if "modules_to_save" in name:
            weight.data += 0.1
    adapted.peft_config["default"].base_model_name_or_path = str(base)
    adapted.save_pretrained(folder)
    with torch.inference_mode():
        logits: torch.Tensor = adapted(input_ids=IDS).logits
    return logits


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return save_model(tmp_path / "base")


@pytest.mark.parametrize(
    ("settings", "precision", "tolerance"),
    [
        ({}, "float32", 1e-5),
        ({}, "bfloat16", 0.1),
        ({}, "mixed", 0.1),
        ({"modules_to_save": ["lm_head"]}, "float32", 1e-5),
        ({"modules_to_save": ["lm_head"]}, "bfloat16", 0.1),
        ({"tokens": 259}, "float32", 1e-5),
        ({"tokens": 259, "modules_to_save": ["embed_tokens", "lm_head"]}, "float32", 1e-5),
    ],
)
@pytest.mark.filterwarnings("ignore")  # of peft, while it saves
def test_an_adapter_is_loaded_onto_its_base(
    settings: dict[str, Any], precision: Any, tolerance: float, base: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "adapter"
    expected = save_adapter(folder, base, **settings)
    if "tokens" in settings:
        tokenizer = byte_tokenizer()
        tokenizer.add_tokens(["<tool>"])
        tokenizer.save_pretrained(folder)
    model = load_model(str(folder), device="cpu", dtype=precision)
    with torch.inference_mode():
        got, plain = (one.model(input_ids=IDS).logits.float() for one in (model, load_model(str(base), device="cpu")))
    assert got.shape == expected.shape and float((got - expected).abs().max()) < tolerance
    if "tokens" not in settings:
        assert float((plain - expected).abs().max()) > 1  # it is not the base model that answers
    assert read_outline(str(folder), precision).identity == model.identity
    assert Scorer(model).sharing == "views"


def test_in_float32_an_adapter_is_merged_so_that_layers_can_be_added(base: Path, tmp_path: Path) -> None:
    save_adapter(tmp_path / "adapter", base)
    model = load_model(str(tmp_path / "adapter"), device="cpu")
    assert linear_layers(model) == linear_layers(load_model(str(base), device="cpu"))


def test_the_revision_is_that_of_adapter_and_base(base: Path, tmp_path: Path) -> None:
    folder = tmp_path / "adapter"
    save_adapter(folder, base)
    found = {read_outline(str(folder), "float32").identity.revision for _ in range(2)}
    save_model(base, seed=5)
    found.add(read_outline(str(folder), "float32").identity.revision)
    save_adapter(folder, base)
    settings = json.loads((folder / "adapter_config.json").read_text()) | {"lora_alpha": 9}
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    found.add(read_outline(str(folder), "float32").identity.revision)
    assert len(found) == 3 and all(len(revision) == 64 for revision in found)


def test_an_adapter_whose_base_is_gone(base: Path, tmp_path: Path) -> None:
    save_adapter(tmp_path / "adapter", base)
    shutil.rmtree(base)
    with pytest.raises(
        ModelError, match=r"is a LoRA adapter of '.*base', which is missing: the folder .* does not exist"
    ):
        load_model(str(tmp_path / "adapter"), device="cpu")


@pytest.mark.slow
def test_the_whole_way(base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, out, work = tmp_path / "adapter", tmp_path / "out.jsonl", tmp_path / "work"
    save_adapter(folder, base)
    pool, heldout = tmp_path / "pool.jsonl", tmp_path / "heldout.jsonl"
    pool.write_text("".join(f"{line}\n" for line in alpaca_lines(6)))
    heldout.write_text('{"instruction": "Spell moon.", "output": "m-o-o-n"}\n')

    def run(*words: object) -> int:
        return main([*map(str, words), "--workspace", str(work)])

    common = ("--model", folder, "--device", "cpu")
    assert run("curate", pool, *common, "--stage", "instruction", "--budget", 2, "--out", out) == 0
    manifest = tmp_path / "out.manifest.json"
    model = json.loads(manifest.read_text())["model"]
    assert model["name"] == str(folder)
    assert model["revision"] == read_outline(str(folder), "float32").identity.revision
    assert run("rerun", manifest, "--out", tmp_path / "again.jsonl") == 0
    assert (tmp_path / "again.jsonl").read_bytes() == out.read_bytes()
    for tuning in ("lora", "full"):
        settings = ("--against", "random", "--seeds", 1, "--epochs", 1, "--tuning", tuning, "--device", "cpu")
        assert run("evaluate", manifest, "--heldout", heldout, *settings) == 0
    capsys.readouterr()
    save_model(base, seed=5)
    assert run("rerun", manifest, "--out", tmp_path / "other.jsonl") == 1
    assert "FAIL  Model: other weights, template or precision than in the manifest" in capsys.readouterr().out
    shutil.rmtree(base)
    assert run("rerun", manifest, "--out", tmp_path / "third.jsonl") == 2
    assert "which is missing" in capsys.readouterr().err
