"""Where weights lie: whole, spread over devices, or quantised; and what cannot be used here is refused in one line."""

import importlib.util
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import dispatch_model
from safetensors.torch import load_file, save_file
from transformers import GptOssConfig, GptOssForCausalLM

from benchmarks.families import random_model as random_of
from benchmarks.families import small_config
from delift_core.cli import main
from delift_core.errors import ModelError, ScoringError
from delift_core.evaluation.evaluation_request import FineTuning
from delift_core.evaluation.training import check_trainable
from delift_core.models import devices, loading
from delift_core.models.devices import device_settings, devices_of, weights_on, weights_words
from delift_core.models.loading import LoadedModel, load_model, load_on_every_device, read_outline
from delift_core.models.lora import LoraSettings, with_lora
from delift_core.models.prompts import make_template
from delift_core.samples import Conversation, Message
from delift_core.scoring import batches
from delift_core.scoring.batches import Suffix, max_batch_tokens
from delift_core.scoring.forecast import Forecast
from delift_core.scoring.scorer import Scorer
from tests.tiny_models import byte_tokenizer, loaded, save_model

GIB = 1 << 30
EXAMPLE = tuple(range(10, 130))
SUFFIXES = (Suffix(tuple(range(20, 60)), tuple(range(50, 90))), Suffix((5, 6, 7), (8, 9)))


def statistics(model: LoadedModel) -> torch.Tensor:
    """(2, 2) of the two suffixes after the example."""
    scorer = Scorer(model)
    prefix, found = scorer.prefill(EXAMPLE), torch.zeros(2, 2, dtype=torch.float64)
    for batch in scorer.make_batches(SUFFIXES):
        found[batch.rows] = scorer.score(prefix, batch)
    return found


def spread(model: LoadedModel, folder: Path, *waiting: str) -> LoadedModel:
    """The model in two places by accelerate's hooks: parts that hold one of the words wait on disk for their turn."""
    body = model.model.base_model_prefix
    names = [f"{body}.{name}" for name, _ in getattr(model.model, body).named_children() if name not in ("layers", "h")]
    layers = next(name for name in ("layers", "h") if hasattr(getattr(model.model, body), name))
    names += [f"{body}.{layers}.{index}" for index in range(model.model.config.num_hidden_layers)] + ["lm_head"]
    device_map = {name: "disk" if any(word in name for word in waiting) else "cpu" for name in names}
    assert "disk" in device_map.values()
    dispatch_model(model.model, device_map, offload_dir=folder, skip_keys="past_key_values")
    model.model.hf_device_map = device_map
    return model


@pytest.mark.parametrize("family", ["llama", "gemma3_text", "gpt2", "phi"])
def test_spread_weights_give_the_statistics_of_the_whole_model(family: str, tmp_path: Path) -> None:
    """Bit for bit: each layer computes with the same numbers, wherever they wait."""
    whole, parts = loaded(family), spread(loaded(family), tmp_path, "layers.1", "h.1")
    meta = [name for name, weight in parts.model.named_parameters() if weight.device.type == "meta"]
    assert meta and all(".1." in name for name in meta)
    assert parts.is_spread and parts.device.type == "cpu" and not whole.is_spread
    assert Scorer(parts).sharing == Scorer(whole).sharing == "views"
    assert torch.equal(statistics(parts), statistics(whole))


def test_an_output_layer_that_waits_and_a_cache_that_is_copied(tmp_path: Path) -> None:
    whole, parts = loaded(), spread(loaded(), tmp_path / "llama", "lm_head", "layers.0")
    assert torch.equal(statistics(parts), statistics(whole))
    whole, parts = (random_of(small_config("lfm2")) for _ in range(2))
    assert whole is not None and parts is not None
    parts.model.load_state_dict(whole.model.state_dict())
    parts = spread(parts, tmp_path / "lfm2", "layers.1")
    assert Scorer(parts).sharing == "copies"
    assert torch.equal(statistics(parts), statistics(whole))


def test_weights_that_are_spread_are_not_trained(tmp_path: Path) -> None:
    parts = spread(loaded(), tmp_path, "layers.1")
    rows = [
        make_template(parts.tokenizer, "auto").encode(
            Conversation((Message("user", "Hi"), Message("assistant", "Hello")))
        )
    ]
    with pytest.raises(ScoringError, match="lie on cpu and disk, and fine-tuning needs them on one"):
        check_trainable(parts, rows, FineTuning())
    with pytest.raises(ScoringError, match="do not fit one device"), with_lora(parts, LoraSettings(), seed=0):
        pass


class Placed(torch.nn.Module):
    """Four layers of 1 MiB each that lie as they are told; only names and sizes are read."""

    device = torch.device("cpu")

    def __init__(self, **placed: Any) -> None:
        super().__init__()
        for name in placed:
            self.add_module(name, torch.nn.Linear(512, 512, bias=False))
        self.hf_device_map = placed
        self.config = object()


def test_where_the_weights_lie_in_words() -> None:
    model = Placed(a=0, b=0, c=1, d="cpu")
    assert weights_on(model) == {"cuda:0": 2 << 20, "cuda:1": 1 << 20, "cpu": 1 << 20}
    assert devices_of(model) == (torch.device("cuda", 0), torch.device("cuda", 1))  # the rest is computed on a GPU too
    words = weights_words(model, "bfloat16")
    assert words == (
        "4.0 MiB of weights (bfloat16), spread by layer: 2.0 MiB on cuda:0, 1.0 MiB on cuda:1 and 1.0 MiB (25%) in "
        "this computer's memory, which are copied to the GPU for every batch, so that scoring is slow"
    )
    forecast = Forecast(1, 1, None, 0.0, 0, 0, 1, 1, weights=words)
    assert forecast.cautions == () and replace(forecast, is_spread=True).cautions == (words,)
    assert weights_words(Placed(a=0, b=0), "nf4", copies=2) == "2.0 MiB of weights (nf4) on each of 2 GPUs"
    assert weights_words(loaded().model, "float32") == "370.3 KiB of weights (float32) on cpu"


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Free memory by device, in GiB: two GPUs of 10 and 8, and 20 of the computer."""
    free = {"cuda:0": 10, "cuda:1": 8, "cpu": 20}
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(devices, "free_bytes", lambda device: free[str(device)] * GIB)
    monkeypatch.setattr(devices, "available_memory", lambda: free["cpu"] * GIB)
    return free


def test_weights_go_where_there_is_room(gpus: dict[str, int]) -> None:
    assert device_settings("m", 8 * GIB, "cuda", quantised=False) == {"device_map": {"": torch.device("cuda:0")}}
    assert device_settings("m", 6 * GIB, "cuda:1", quantised=True) == {"device_map": {"": torch.device("cuda:1")}}
    settings = device_settings("m", 12 * GIB, "cuda", quantised=False)
    assert settings["device_map"] == "auto" and settings["max_memory"][0] == int(8.5 * GIB)
    assert settings["max_memory"][1] < 8 * GIB and 19 * GIB < settings["max_memory"]["cpu"] < 20 * GIB
    assert set(device_settings("m", 12 * GIB, "cuda", quantised=True)["max_memory"]) == {0, 1}  # never in our memory
    assert device_settings("m", 19 * GIB, "cpu", quantised=False) == {}
    assert device_settings("m", 19 * GIB, "mps", quantised=False) == {"device_map": {"": "mps"}}


@pytest.mark.parametrize(
    ("needed", "device", "quantised", "what"),
    [
        (20, "cpu", False, "of free memory and there are 20.0 GiB"),
        (16, "cuda", True, "of GPU memory and there are 15.3 GiB"),
        (36, "cuda", False, "of memory of GPUs and computer and there are 35.1 GiB"),
    ],
)
def test_weights_that_fit_nowhere(gpus: dict[str, int], needed: int, device: str, quantised: bool, what: str) -> None:
    with pytest.raises(ModelError, match=f"loading 'm' needs .* {what}; use a smaller model"):
        device_settings("m", needed * GIB, device, quantised=quantised)


def test_every_gpu_with_room_gets_a_copy(gpus: dict[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def load(name: str, device: str, precision: str) -> LoadedModel:
        asked.append(device)
        model = Placed(a=torch.device("cuda:0"))
        return LoadedModel(model, byte_tokenizer(), replace(loaded().identity, dtype="bfloat16"))  # type: ignore[arg-type]

    monkeypatch.setattr(loading, "_load", load)
    monkeypatch.setattr(loading, "resolve_device", lambda device: "cuda")
    monkeypatch.setattr(loading, "resolve_dtype", lambda dtype, device: "bfloat16")
    monkeypatch.setattr(Placed, "device", torch.device("cuda:0"))
    assert len(load_on_every_device("m")) == 2 and asked == ["cuda", "cuda:1"]
    gpus["cuda:1"] = 0
    assert len(load_on_every_device("m")) == 1


def test_the_least_free_device_limits_a_batch(gpus: dict[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    model = loaded()
    monkeypatch.setattr(batches, "free_bytes", lambda device: 4_000_000 if device.index == 1 else 1 << 40)
    whole = max_batch_tokens(model, 0)
    model.model.hf_device_map = {"model.layers.0": 0, "model.layers.1": 1, "lm_head": "cpu"}
    assert model.devices == (torch.device("cuda:0"), torch.device("cuda:1"))
    assert whole == 256 and max_batch_tokens(model, 0) == int(2_000_000 // batches.bytes_per_token(model)) < 2000


def test_four_bits_need_a_gpu_and_a_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = save_model(tmp_path)
    with pytest.raises(ModelError, match=r"4-bit weights \(nf4\) need an NVIDIA GPU and the device here is 'cpu'; use"):
        load_model(str(folder), device="cpu", dtype="nf4")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match='need bitsandbytes: run pip install "bitsandbytes>=') as caught:
        devices.resolve_dtype("nf4", "cuda")
    project = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    assert str(caught.value).rsplit("pip install ", 1)[-1] in project  # as the extra has it


def test_four_bits_are_asked_for_by_an_option(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pool, folder = tmp_path / "pool.jsonl", save_model(tmp_path / "model")
    pool.write_text('{"prompt": "Say hi", "response": "Hi!"}\n{"prompt": "Say yes", "response": "Yes."}\n')
    capsys.readouterr()
    words = [
        "score",
        pool,
        "--model",
        folder,
        "--quantize",
        "4bit",
        "--device",
        "cpu",
        "--workspace",
        tmp_path / "work",
    ]
    assert main([*map(str, words)]) == 2
    assert capsys.readouterr().err.startswith("delift: 4-bit weights (nf4) need an NVIDIA GPU")


def test_four_bits_are_counted_before_weights_are_read(tmp_path: Path) -> None:
    folder = str(save_model(tmp_path))
    empty = loading._open(folder, "nf4").empty
    linear = sum(layer.weight.numel() for layer in empty.model.layers.modules() if isinstance(layer, torch.nn.Linear))
    rest = empty.num_parameters() - linear
    assert linear == 61440 and devices.expected_bytes(folder, empty, "nf4", "cuda") == 0.5625 * linear + 2 * rest
    assert devices.expected_bytes(folder, empty, "bfloat16", "cuda") == 2 * empty.num_parameters()


def quantise_fp8(folder: Path) -> dict[str, torch.Tensor]:
    """Stores the layers of a saved model in FP8 with one scale each; returns the weights that this stands for."""
    stored, meant = {}, {}
    for name, weight in load_file(folder / "model.safetensors").items():
        stored[name] = meant[name] = weight
        if weight.ndim == 2 and "layers" in name:
            scale = weight.abs().max() / 448
            stored[name] = (weight / scale).to(torch.float8_e4m3fn)
            stored[f"{name}_scale_inv"] = scale.reshape(1, 1)
            meant[name] = stored[name].float() * scale
    save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})
    settings = {"quant_method": "fp8", "weight_block_size": [128, 128], "activation_scheme": "dynamic", "fmt": "e4m3"}
    add_to_config(folder, settings)
    return meant


def add_to_config(folder: Path, settings: dict[str, object]) -> None:
    content = json.loads((folder / "config.json").read_text()) | {"quantization_config": settings}
    (folder / "config.json").write_text(json.dumps(content))


def test_an_fp8_checkpoint_is_read_as_the_numbers_it_stands_for(tmp_path: Path) -> None:
    folder = save_model(tmp_path)
    meant = quantise_fp8(folder)
    model = load_model(str(folder), device="cpu")
    assert model.identity == read_outline(str(folder), "float32").identity and model.identity.dtype == "float32"
    state = model.model.state_dict()
    assert set(state) == set(meant) and all(torch.equal(state[name], weight) for name, weight in meant.items())
    plain = loaded()
    plain.model.load_state_dict(meant)
    assert torch.equal(statistics(model), statistics(plain))
    stored = (folder / "model.safetensors").stat().st_size
    empty = loading._open(str(folder), "float32").empty
    assert devices.expected_bytes(str(folder), empty, "float32", "cuda") == stored < empty.num_parameters() * 4
    assert devices.expected_bytes(str(folder), empty, "float32", "cpu") == empty.num_parameters() * 4
    with pytest.raises(
        ModelError, match=r"is quantised already \(fp8\), so precision 'mixed' does not apply; use 'auto'"
    ):
        load_model(str(folder), device="cpu", dtype="mixed")


def test_an_mxfp4_checkpoint_is_read_as_the_numbers_it_stands_for(tmp_path: Path) -> None:
    sizes: dict[str, Any] = {"vocab_size": 258, "hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "num_local_experts": 4}
    config = GptOssConfig(**sizes, **heads, num_experts_per_tok=2, sliding_window=96, max_position_embeddings=512)
    config.pad_token_id = 257
    torch.manual_seed(0)
    plain = GptOssForCausalLM(config).eval()
    plain.save_pretrained(tmp_path)
    byte_tokenizer().save_pretrained(tmp_path)
    values = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6])
    stored, meant = {}, {}
    for name, weight in load_file(tmp_path / "model.safetensors").items():
        stored[name] = meant[name] = weight
        if name.endswith(("gate_up_proj", "down_proj")):
            experts, inputs, outputs = weight.shape
            codes = torch.randint(0, 16, (experts, outputs, inputs // 32, 32), dtype=torch.uint8)
            del stored[name]
            stored[f"{name}_blocks"] = codes[..., ::2] | codes[..., 1::2] << 4
            stored[f"{name}_scales"] = torch.full(codes.shape[:3], 121, dtype=torch.uint8)  # 2 to the power of -6
            meant[name] = (values[codes.long()] / 64).flatten(2).transpose(1, 2)
    save_file(stored, tmp_path / "model.safetensors", metadata={"format": "pt"})
    kept = ["model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens", "lm_head"]
    add_to_config(tmp_path, {"quant_method": "mxfp4", "modules_to_not_convert": kept})
    model = load_model(str(tmp_path), device="cpu")
    assert all(torch.equal(model.model.state_dict()[name], weight) for name, weight in meant.items())
    plain.load_state_dict(meant)
    assert torch.equal(statistics(model), statistics(LoadedModel(plain, model.tokenizer, model.identity)))
