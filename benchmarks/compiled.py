"""Does torch.compile speed up scoring? One core, the same examples with a plain and with a compiled model.

    python -m benchmarks.compiled FILE [--dtype bfloat16] [--rows 6]

Compiled are each layer's norms and MLP, for any shape; the attention between them grows a cache and would be compiled
anew for every layer. Seconds are of one core's time, medians over the examples, both models in turn.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any, cast

import torch

from benchmarks.machine import machine
from delift_core.data.loading import load_file
from delift_core.jobs.preparation import encode_samples
from delift_core.models.encoded import EncodedSample
from delift_core.models.loading import load_model
from delift_core.models.model_files import BUNDLED
from delift_core.models.prompts import make_template
from delift_core.scoring.batches import Suffix
from delift_core.scoring.scorer import Scorer


def compile_parts(model: Any) -> None:
    """Compiles the norms and the MLP of every layer, in place, on their first call."""
    for layer in model.get_decoder().layers:
        for part in (layer.input_layernorm, layer.post_attention_layernorm, layer.mlp):
            part.compile(dynamic=True)


def example_seconds(scorer: Scorer, encoded: Sequence[EncodedSample], helper: int) -> float:
    """Seconds to score every row with one of them as the example."""
    began = time.process_time()
    prefix = scorer.prefill(encoded[0].before_query(encoded[helper]))
    for group in scorer.make_grouped_batches([Suffix(sample.query, sample.response) for sample in encoded]):
        after = scorer.prefill(group.shared, prefix)
        for batch in group.batches:
            scorer.score(after, batch)
    return time.process_time() - began


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--dtype", default="bfloat16", choices=["float32", "bfloat16"])
    parser.add_argument("--rows", type=int, default=6)
    options = parser.parse_args()
    torch.set_num_threads(1)
    models = [load_model(BUNDLED, device="cpu", dtype=options.dtype) for _ in range(2)]
    template = make_template(models[0].tokenizer)
    samples = load_file(options.file).samples[: options.rows]
    conversations = {sample.content_hash: sample.conversation for sample in samples}
    encoded = list(encode_samples(template, conversations, models[0].identity.context_length)[0].values())
    plain, compiled = (Scorer(model) for model in models)
    compile_parts(cast(Any, models[1].model))
    began = time.monotonic()
    example_seconds(compiled, encoded, 0)
    warm_up = time.monotonic() - began
    example_seconds(plain, encoded, 0)
    times = [[example_seconds(one, encoded, j) for one in (plain, compiled)] for j in range(len(encoded))]
    one, other = (median(column) for column in zip(*times, strict=True))
    print(f"Machine: {machine()}\n{options.file.name}, bundled, {options.dtype}\n")
    print("| model | first example, s | an example, s | ratio |\n| --- | --- | --- | --- |")
    print(f"| plain | | {one:.2f} | 1.00 |\n| compiled | {warm_up:.1f} | {other:.2f} | {one / other:.2f} |")


if __name__ == "__main__":
    main()
