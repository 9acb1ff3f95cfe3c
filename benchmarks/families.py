"""Which model families are scored, in what form a prefix is shared, and how far the statistics are from a plain pass.

    python -m benchmarks.families [FAMILY ...]

Every model type that transformers offers as a causal language model is built small and with random weights, with
windows and chunks of 64 tokens. Three queries of different lengths follow an example of 150 tokens, in one batch; the
statistics are compared with those of whole sequences run one at a time with the model's own forward pass.
"""

import argparse
import sys
import warnings
from dataclasses import dataclass
from typing import Any

import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
from transformers.utils import logging

from delift_core.errors import DeliftError
from delift_core.models.loading import LoadedModel, ModelIdentity, context_length
from delift_core.scoring.batches import Suffix
from delift_core.scoring.scorer import Scorer

SMALL: dict[str, Any] = {
    "vocab_size": 258,
    "hidden_size": 64,
    "intermediate_size": 96,
    "moe_intermediate_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "num_experts": 4,
    "num_local_experts": 4,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "max_position_embeddings": 2048,
    "sliding_window": 64,
    "bos_token_id": 256,
    "eos_token_id": 257,
    "n_group": 1,
    "topk_group": 1,
    "pad_token_id": 0,
}
# Settings that a family needs besides, or in place of one above; None takes it out.
SPECIAL: dict[str, dict[str, Any]] = {
    "llama4": {"attention_chunk_size": 64, "sliding_window": None},
    "codegen": {"head_dim": None, "rotary_dim": 8},
    "gptj": {"head_dim": None, "rotary_dim": 8},
    "granitemoehybrid": {"layer_types": ["mamba", "attention"] * 2, "mamba_n_heads": 8, "mamba_d_head": 16},
    "bamba": {"attn_layer_indices": [1, 3], "mamba_n_heads": 8, "mamba_d_head": 16},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1},
    "falcon": {"head_dim": None, "num_kv_heads": 2},
    "gemma4": {"global_head_dim": 32, "vocab_size_per_layer_input": 258, "hidden_size_per_layer_input": 16},
    "qwen4_exp": {"linear_num_value_heads": 4},
    "lfm2": {"layer_types": ["conv", "full_attention"] * 2},
    "falcon_h1": {"mamba_d_ssm": 64, "mamba_n_heads": 4, "mamba_d_head": 16, "mamba_d_state": 16, "mamba_n_groups": 1},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"] * 2, "num_dense_layers": 1},
    "mamba2": {"num_heads": 8, "head_dim": 16, "n_groups": 2},
    "gpt_neo": {"num_layers": 4, "attention_types": [[["global", "local"], 2]], "window_size": 64},
    "xmod": {"default_language": "en_XX"},
}
# Families with latent attention: one rotary part of each head, shared by all.
_LATENT = {
    "head_dim": 8,
    "q_lora_rank": 32,
    "kv_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 16,
    "v_head_dim": 16,
    "num_key_value_heads": 4,
    "index_head_dim": 16,
    "index_n_heads": 2,
}
SCALE = 4.0
MOST_PARAMETERS = 60_000_000  # families whose small configuration is larger than this are left out


@dataclass(frozen=True, slots=True)
class FamilyResult:
    """How a family is scored.

    Attributes:
        outcome: "views", "copies" or "whole", or why the family is refused.
        difference: largest difference of a statistic, None where the family is refused.
    """

    family: str
    outcome: str
    context: int
    difference: float | None


def small_config(family: str, **settings: Any) -> Any:
    """A configuration of a few thousand parameters; settings that a family does not have are left to its defaults."""
    kind = CONFIG_MAPPING[family]
    default = kind()
    inner = getattr(default, "text_config", None)
    text = inner or default
    small = SMALL | (_LATENT if hasattr(text, "qk_rope_head_dim") else {})
    small |= SPECIAL.get(text.model_type.replace("_text", "").replace("_unified", ""), {}) | settings
    small = {name: value for name, value in small.items() if value is not None}
    return kind(**small) if inner is None else kind(text_config=small | {"model_type": inner.model_type})


def random_model(config: Any) -> LoadedModel | None:
    """A random model of a configuration, or None if it is too large."""
    with torch.device("meta"):
        if AutoModelForCausalLM.from_config(config).num_parameters() > MOST_PARAMETERS:
            return None
    torch.manual_seed(0)
    model: Any = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval().requires_grad_(False)
    for weight in model.parameters():
        if weight.ndim > 1:  # so large that attention is far from uniform
            weight.mul_(SCALE)
    identity = ModelIdentity(config.model_type, "random", "float32", context_length(config), model.num_parameters())
    return LoadedModel(model, None, identity)  # type: ignore[arg-type]  # no text is read


def measure(loaded: LoadedModel, *, example: int = 150, queries: tuple[int, ...] = (60, 25, 90)) -> FamilyResult:
    """Scores three queries after an example, in one batch, and compares with whole sequences."""
    torch.manual_seed(1)
    vocabulary = loaded.model.config.get_text_config(decoder=True).vocab_size
    draw = [torch.randint(8, min(vocabulary, 250), (length,)).tolist() for length in (example, *queries)]
    reference: Any = loaded.model
    plain = [_whole(reference, draw[0] + query, len(draw[0]) + len(query) // 3) for query in draw[1:]]
    scorer = Scorer(loaded)
    prefix, worst = scorer.prefill(draw[0]), 0.0
    for batch in scorer.make_batches([Suffix(tuple(q[: len(q) // 3]), tuple(q[len(q) // 3 :])) for q in draw[1:]]):
        found, expected = scorer.score(prefix, batch), torch.stack([plain[row] for row in batch.rows.tolist()])
        worst = max(worst, float((found - expected).abs().div(expected.abs().clamp(min=1)).max()))
    return FamilyResult(loaded.identity.name, scorer.sharing, loaded.identity.context_length, worst)


@torch.inference_mode()
def _whole(model: Any, ids: list[int], start: int) -> torch.Tensor:
    """(2,) float64 sums of (1 - p)^2 and log p over the tokens from `start`, from the model's own logits."""
    logits = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, start - 1 : -1].double()
    log_p = logits.log_softmax(1).gather(1, torch.tensor(ids[start:])[:, None])[:, 0]
    return torch.stack([torch.expm1(log_p).square().sum(), log_p.sum()])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("family", nargs="*", help="model types of transformers; all by default")
    chosen = parser.parse_args().family or sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
    logging.set_verbosity_error()
    warnings.filterwarnings("ignore")
    print("| family | outcome | context | largest difference |\n| --- | --- | --- | --- |")
    for family in chosen:
        try:
            loaded = random_model(small_config(family))
        except Exception as error:  # the family wants settings of its own
            print(f"left out: {family}: {type(error).__name__}: {' '.join(str(error).split())[:100]}", file=sys.stderr)
            continue
        if loaded is None:
            print(f"left out: {family}: larger than {MOST_PARAMETERS:,} parameters", file=sys.stderr)
            continue
        try:
            one = measure(loaded)
        except DeliftError as error:
            one = FamilyResult(family, str(error), loaded.identity.context_length, None)
        except Exception as error:
            one = FamilyResult(family, f"ends in {type(error).__name__}: {str(error)[:200]}", 0, None)
        difference = "" if one.difference is None else f"{one.difference:.1e}"
        print(f"| {one.family} | {one.outcome} | {one.context:,} | {difference} |", flush=True)


if __name__ == "__main__":
    main()
