"""Small stand-ins for tests: a byte-level tokenizer with a chat template, and random models of several families."""

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, PreTrainedTokenizerFast

from delift_core.models.loading import LoadedModel, ModelIdentity, context_length

CHAT_TEMPLATE = (
    "{% if messages[0]['role'] != 'system' %}<s>system\nBe brief.</s>\n{% endif %}"
    "{% for message in messages %}<s>{{ message['role'] }}\n{{ message['content'] }}</s>\n{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant\n{% endif %}"
)

ROWS = [  # short and long, in ASCII and beyond
    ("What is 2 + 2?", "4"),
    ("Name a colour of the sky on a clear day.", "Blue, and nothing else."),
    ("Say hi", "Hello there! How are you?"),
    ("Spell cat.", "c-a-t"),
    ("Überraschung?", "Ja – 雪。"),
]
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {"num_key_value_heads": 2},
    "qwen2": {"num_key_value_heads": 2},
    "mistral": {"num_key_value_heads": 2, "sliding_window": 96},
    "qwen3": {"num_key_value_heads": 2, "head_dim": 16},
    "gemma": {"num_key_value_heads": 2, "head_dim": 16},
    "gemma3_text": {"num_key_value_heads": 2, "head_dim": 16, "sliding_window": 96},
    "phi": {},
    "gemma2": {"num_key_value_heads": 2, "head_dim": 16, "sliding_window": 96, "final_logit_softcapping": 30.0},
    "phi3": {"num_key_value_heads": 2, "pad_token_id": 0},
    "gpt2": {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 512},
    "opt": {"ffn_dim": 96, "word_embed_proj_dim": 64},
    "granite": {"num_key_value_heads": 2, "logits_scaling": 4.0},
}


def byte_tokenizer(*, chat: bool = True) -> PreTrainedTokenizerFast:
    """One token a byte, plus <s> and </s>."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {symbol: index for index, symbol in enumerate(alphabet)} | {"<s>": 256, "</s>": 257}
    core = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens(["<s>", "</s>"])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<s>", eos_token="</s>")
    if chat:
        tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def random_model(family: str = "llama", *, seed: int = 0, scale: float = 6.0) -> Any:
    """A two-layer model with weights large enough that its probabilities are far from uniform."""
    settings = {
        "vocab_size": 258,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 512,
        "bos_token_id": 256,
        "eos_token_id": 257,
    }
    torch.manual_seed(seed)
    config = CONFIG_MAPPING[family](**(settings | FAMILIES[family]))
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim == 2 and "norm" not in name:
                weight.mul_(scale if "lm_head" in name or "embed" in name or "wte" in name else 2.0)
    return model.requires_grad_(False)


def loaded(family: str = "llama", **settings: Any) -> LoadedModel:
    """A random model as the scorer takes it."""
    model = random_model(family, **settings)
    identity = ModelIdentity(family, "random", "float32", context_length(model.config), model.num_parameters())
    return LoadedModel(model, byte_tokenizer(), identity)


def save_model(folder: Path, family: str = "llama", *, seed: int = 0) -> Path:
    """Writes a tiny model and its tokenizer as a folder that `load_model` reads."""
    random_model(family, seed=seed).save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return folder
