"""Model folders that are damaged, or hold something else: each command ends with exit code 2 and one line that says
what is wrong, where, and what to do."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    BertConfig,
    BertForMaskedLM,
    T5Config,
    T5ForConditionalGeneration,
    ViTConfig,
    ViTForImageClassification,
)

from delift_core.cli import main
from tests.tiny_models import byte_tokenizer, random_model, save_model

pytestmark = pytest.mark.slow

Damage = Callable[[Path], Any]
WEIGHTS, TOKENIZER, CONFIG = "model.safetensors", "tokenizer.json", "config.json"
SMALL = {"num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32, "hidden_size": 32}


def write(name: str, content: str | bytes) -> Damage:
    return lambda folder: (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)


def remove(pattern: str) -> Damage:
    return lambda folder: [file.unlink() for file in folder.glob(pattern)]


def rename(old: str, new: str) -> Damage:
    return lambda folder: (folder / old).rename(folder / new)


def config(**changes: Any) -> Damage:
    def change(folder: Path) -> None:
        content = json.loads((folder / CONFIG).read_text()) | changes
        content = {key: value for key, value in content.items() if value is not ...}
        (folder / CONFIG).write_text(json.dumps(content))

    return change


def weights(change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> Damage:
    return lambda folder: save_file(change(load_file(folder / WEIGHTS)), folder / WEIGHTS, metadata={"format": "pt"})


def cut_short(folder: Path) -> None:
    content = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(content[: len(content) // 2])


def sharded(index: object) -> Damage:
    def change(folder: Path) -> None:
        (folder / WEIGHTS).rename(folder / "model-00001-of-00001.safetensors")
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))

    return change


def another(model: Callable[[], Any]) -> Damage:
    def change(folder: Path) -> None:
        (folder / WEIGHTS).unlink()
        model().save_pretrained(folder)

    return change


def own_code(folder: Path) -> None:
    config(model_type="own", auto_map={"AutoConfig": "own.Own", "AutoModelForCausalLM": "own.Own"})(folder)
    (folder / "own.py").write_text("raise SystemExit(9)")


def smaller_embedding() -> Any:
    model = random_model()
    model.resize_token_embeddings(200)
    return model


def more_tokens(folder: Path) -> None:
    tokenizer = byte_tokenizer()
    tokenizer.add_tokens(["<tool>"])
    tokenizer.save_pretrained(folder)


def adapter(content: bytes | None = None, **changes: Any) -> Damage:
    """Turns the folder into an adapter of a sound model beside it."""

    def change(folder: Path) -> None:
        for file in folder.iterdir():
            file.unlink()
        base = save_model(folder.parent / "base")
        settings = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": str(base), "r": 2}
        settings |= {"target_modules": ["q_proj"]} | changes
        (folder / "adapter_config.json").write_text(json.dumps(settings))
        path = folder / "adapter_model.safetensors"
        if content is None:
            save_file({"base_model.model.x.lora_A.weight": torch.zeros(2, 2)}, path, metadata={"format": "pt"})
        else:
            path.write_bytes(content)

    return change


def adapter_of_itself(folder: Path) -> None:
    adapter(base_model_name_or_path=str(folder))(folder)


BROKEN: dict[str, tuple[Damage, str]] = {
    "config cut off": (write(CONFIG, "{"), "config.json cannot be read"),
    "config a list": (write(CONFIG, "[]"), "config.json is not a JSON object"),
    "config not text": (write(CONFIG, b"\xff\xfe\x00"), "config.json cannot be read"),
    "unknown family": (config(model_type="brandnew"), "is of a family that is not known here; use another model"),
    "no family": (config(model_type=..., architectures=...), "has a config.json without a known model_type"),
    "family a number": (config(model_type=7), "is of a family that is not known here"),
    "own code": (own_code, "needs custom code that comes with it, which is never run"),
    "size a word": (config(hidden_size="many"), "the config.json of"),
    "size negative": (config(hidden_size=-4), "the config.json of"),
    "heads that do not divide": (config(num_attention_heads=3), "the config.json of"),
    "no heads": (config(num_attention_heads=0), "the config.json of"),
    "activation": (config(hidden_act="nope"), "the config.json of"),
    "positions": (config(rope_parameters={"rope_type": "nope", "rope_theta": 1e4}), "the config.json of"),
    "too many layers": (config(num_hidden_layers=9), "lacks weights that its config.json asks for (63,"),
    "enormous": (config(vocab_size=10**13), "of free memory and there are"),
    "no tokenizer": (remove("tokenizer*"), "holds no tokenizer files: it needs config.json"),
    "tokenizer without tokens": (remove(TOKENIZER), "the tokenizer of"),
    "tokenizer cut off": (write(TOKENIZER, '{"version": "1.0"'), "the tokenizer of"),
    "tokenizer empty": (write(TOKENIZER, "{}"), "the tokenizer of"),
    "tokenizer a list": (write(TOKENIZER, "[]"), "the tokenizer of"),
    "tokenizer settings a list": (write("tokenizer_config.json", "[]"), "the tokenizer of"),
    "tokenizer settings cut off": (write("tokenizer_config.json", "{"), "the tokenizer of"),
    "template not text": (write("chat_template.jinja", b"\xff\xfe\x00"), "the tokenizer of"),
    "tokenizer of a larger model": (another(smaller_embedding), "has 256 tokens and the model embeds 200"),
    "tokens added": (more_tokens, "has 259 tokens and the model embeds 258"),
    "weights cut short": (cut_short, "model.safetensors is damaged"),
    "weights empty": (write(WEIGHTS, b""), "model.safetensors is damaged"),
    "weights a pointer": (write(WEIGHTS, "version https://git-lfs.github.com/spec/v1\n"), "is damaged"),
    "weights of other shapes": (
        weights(lambda found: {key: value.flatten()[:9].clone() for key, value in found.items()}),
        "lacks weights that its config.json asks for (21,",
    ),
    "weights of something else": (weights(lambda found: {"a": torch.zeros(2)}), "lacks weights"),
    "weights not finite": (
        weights(lambda found: found | {"model.norm.weight": torch.full((64,), torch.nan)}),
        "is not finite in float32: its weights are damaged",
    ),
    "weights under another name": (rename(WEIGHTS, "weights.safetensors"), "holds no model.safetensors, nor an index"),
    "weights pickled": (
        rename(WEIGHTS, "pytorch_model.bin"),
        "convert its weights, which are read as safetensors only",
    ),
    "weights as GGUF": (rename(WEIGHTS, "model.gguf"), "convert its weights, which are read as safetensors only"),
    "GGUF alone": (lambda folder: (rename(WEIGHTS, "model.gguf")(folder), remove("*.json")(folder)), "no config.json"),
    "a file of weights missing": (sharded({"weight_map": {"a": "model-2.safetensors"}}), "lacks 1 of 1 weight files"),
    "index without weights": (sharded({"metadata": {}}), "holds no weight_map"),
    "index a list": (sharded([]), "is not a JSON object"),
    "nothing": (remove("*"), "holds no config.json: it needs config.json"),
    "encoder-decoder": (
        another(lambda: T5ForConditionalGeneration(T5Config(vocab_size=258, d_model=32, d_ff=32, num_layers=1))),
        "does not hold a causal language model, but one of the family 't5'",
    ),
    "images alone": (
        another(lambda: ViTForImageClassification(ViTConfig(**SMALL, image_size=16, patch_size=8))),
        "does not hold a causal language model, but one of the family 'vit'",
    ),
    "masked words": (
        another(lambda: BertForMaskedLM(BertConfig(**SMALL, vocab_size=258))),
        "models of the family 'bert' read the tokens after a token too",
    ),
    "adapter without base": (
        adapter(base_model_name_or_path="/no/such/folder"),
        "is a LoRA adapter of '/no/such/folder', which is missing: the folder '/no/such/folder' does not exist",
    ),
    "adapter of itself": (adapter_of_itself, "which is an adapter too; merge that one into its base model first"),
    "adapter that names no base": (adapter(base_model_name_or_path=None), "names no base model"),
    "adapter cut short": (adapter(b"x"), "adapter_model.safetensors is damaged"),
    "adapter of another model": (adapter(), "does not fit its base model (5 weights,"),
    "adapter for other layers": (adapter(target_modules=["nope"]), "the adapter of"),
    "adapter of an unknown kind": (adapter(peft_type="NOPE"), "the adapter of"),
    "adapter of a prompt": (
        adapter(peft_type="PROMPT_TUNING", num_virtual_tokens=2),
        "is a PROMPT_TUNING adapter, which changes prompts; use one that changes weights, such as LoRA",
    ),
    "adapter with a rank in words": (adapter(r="two"), "the adapter of"),
    "quantised somehow": (config(quantization_config={}), "the quantised weights of"),
    "quantised by a word": (config(quantization_config="int4"), "the config.json of"),
    "quantised unknown": (
        config(quantization_config={"quant_method": "nope"}),
        "is quantised with 'nope', which is not known here; use a checkpoint that is not",
    ),
    "AWQ": (config(quantization_config={"quant_method": "awq", "bits": 4}), "requires gptqmodel"),
    "GPTQ": (config(quantization_config={"quant_method": "gptq", "bits": 4}), "requires optimum"),
    "bitsandbytes": (
        config(quantization_config={"quant_method": "bitsandbytes", "load_in_4bit": True}),
        "requires bitsandbytes",
    ),
    "torchao": (config(quantization_config={"quant_method": "torchao"}), "torchao"),
    "compressed tensors": (
        config(quantization_config={"quant_method": "compressed-tensors"}),
        "pip install compressed",
    ),
    "FP8 of FBGEMM": (config(quantization_config={"quant_method": "fbgemm_fp8"}), "requires a GPU"),
}


SEEN_IN_WEIGHTS = {
    *("too many layers", "enormous", "weights of other shapes", "weights of something else", "weights not finite"),
    *("masked words", "adapter of another model", "adapter for other layers", "adapter of an unknown kind"),
    *("adapter of a prompt", "adapter with a rank in words", "AWQ", "GPTQ", "bitsandbytes", "FP8 of FBGEMM"),
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("models") / "sound")


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_model_is_refused_in_one_line(
    kind: str, saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damage, expected = BROKEN[kind]
    folder = shutil.copytree(saved, tmp_path / "model")
    damage(folder)
    pool, out = tmp_path / "pool.jsonl", tmp_path / "out.jsonl"
    rows = [{"instruction": f"What is {n} + {n}?", "output": f"It is {2 * n}."} for n in range(3)]
    pool.write_text("".join(json.dumps(row) + "\n" for row in rows))
    capsys.readouterr()  # the bars of the libraries that made the folder
    for command in (["score"], ["curate", "--stage", "instruction", "--budget", "2", "--out", str(out)]):
        words = [*command, str(pool), "--model", str(folder), "--device", "cpu", "--workspace", str(tmp_path / "work")]
        assert main(words) == 2
        told = capsys.readouterr()
        (line,) = told.err.splitlines()
        assert expected in line and line.startswith("delift: ") and len(line) < 600
        assert folder.name in line or "family" in line  # where
        assert told.out == "" and not out.exists()
    code = main(["inspect", str(pool), "--model", str(folder)])  # reads no weights
    told = capsys.readouterr()
    assert (code, told.err) == (0, "") if kind in SEEN_IN_WEIGHTS else (code, told.err.count("\n")) == (2, 1)


def test_a_special_token_without_an_embedding_is_named_where_a_row_holds_it(
    saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As of Gemma 3 1B: a text model with the tokenizer of its sibling for images."""
    folder = shutil.copytree(saved, tmp_path / "model")
    tokenizer = byte_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
    tokenizer.save_pretrained(folder)
    pool = tmp_path / "pool.jsonl"
    common = ("--model", str(folder), "--device", "cpu", "--workspace", str(tmp_path / "work"))
    for prompt, code in (("Say yes", 0), ("What is <image>?", 2)):
        pool.write_text(f'{{"prompt": "{prompt}", "response": "Yes."}}\n{{"prompt": "Say hi", "response": "Hi!"}}\n')
        capsys.readouterr()
        assert main(["score", str(pool), *common]) == code
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("delift: a row holds '<image>', a special token for which ") and "leave out" in line


def test_a_model_whose_tokenizer_names_no_special_tokens_is_scored(saved: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(saved, tmp_path / "model")
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    for name in ("bos_token", "eos_token", "pad_token"):
        settings.pop(name, None)
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    pool = tmp_path / "pool.jsonl"
    pool.write_text('{"prompt": "Say hi", "response": "Hi!"}\n{"prompt": "Say yes", "response": "Yes."}\n')
    words = ["score", str(pool), "--model", str(folder), "--device", "cpu", "--workspace", str(tmp_path / "work")]
    assert main(words) == 0
