"""Our scorer against the published loop, re-implemented plainly, in one process on the same rows.

    python -m benchmarks.scoring FILE [--rows 24] [--model bundled] [--repeats 3]

The published loop runs one full sequence per pair: batches of 32, padded, logits of every position, float32. Ours
prefills each example once, shares its cache, and computes logits on response positions only. Both get the same token
ids, so the largest difference of the utilities is the error of our short cuts. Times are medians over the repeats, the
two sides in turn.
"""

import argparse
import os
import time
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "3000")  # as in settings.LIBRARY_ENVIRONMENT

import numpy as np
import torch
from scipy.stats import spearmanr

from benchmarks.machine import machine
from delift_core.jobs.scoring import encode_samples
from delift_core.models import LoadedModel, load_model
from delift_core.prompts import EncodedSample, Template, make_template
from delift_core.sources import load_file
from delift_core.utility.metrics import utility
from delift_core.utility.scorer import Scorer, Suffix

BATCH = 32


@torch.inference_mode()
def published_loop(loaded: LoadedModel, template: Template, encoded: Sequence[EncodedSample]) -> np.ndarray:
    """(n, n, 2) statistics of every pair, one whole sequence each."""
    n = len(encoded)
    pairs = [(i, j) for i in range(n) for j in range(n)]  # the published order: the example changes fastest
    statistics = np.empty((n, n, 2))
    for start in range(0, len(pairs), BATCH):
        part = pairs[start : start + BATCH]
        prompts = [template.head + encoded[j].example + encoded[i].query for i, j in part]
        whole = [prompt + encoded[i].response for prompt, (i, _) in zip(prompts, part, strict=True)]
        width = max(map(len, whole))
        ids = torch.zeros(len(part), width, dtype=torch.int64)
        for row, tokens in enumerate(whole):
            ids[row, : len(tokens)] = torch.tensor(tokens)
        log_p = torch.log_softmax(loaded.model(input_ids=ids, use_cache=False).logits.float(), dim=-1)
        for row, (i, j) in enumerate(part):
            first = len(prompts[row])
            target = torch.tensor(encoded[i].response)
            chosen = log_p[row, first - 1 : first - 1 + len(target)].gather(1, target[:, None])[:, 0].double()
            statistics[i, j] = [float(((1 - chosen.exp()) ** 2).sum()), float(chosen.sum())]
    return statistics


def ours(scorer: Scorer, template: Template, encoded: Sequence[EncodedSample]) -> np.ndarray:
    """The same numbers by our scorer."""
    packed = scorer.pack_led([Suffix(sample.query, sample.response) for sample in encoded])
    statistics = np.empty((len(encoded), len(encoded), 2))
    for j, sample in enumerate(encoded):
        example = scorer.prefill(template.head + sample.example)
        for led in packed:
            prefix = scorer.prefill(led.lead, example)
            for batch in led.batches:
                statistics[batch.rows.cpu().numpy(), j] = scorer.score(prefix, batch).cpu().numpy()
    return statistics


def utilities(scorer: Scorer, template: Template, encoded: Sequence[EncodedSample], pairs: np.ndarray) -> np.ndarray:
    """(n, n) Euclidean utilities from statistics of pairs."""
    head = scorer.prefill(template.head_alone)
    alone = np.empty((len(encoded), 2))
    for batch in scorer.pack([Suffix(sample.query_alone, sample.response) for sample in encoded]):
        alone[batch.rows.cpu().numpy()] = scorer.score(head, batch).cpu().numpy()
    tokens = np.array([len(sample.response) for sample in encoded])
    return np.stack([utility(alone, pairs[:, j], tokens, "euclidean") for j in range(len(encoded))], axis=1)


def main() -> None:
    """Prints one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--rows", type=int, default=24)
    parser.add_argument("--model", default="bundled")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    loaded = load_model(options.model, device="cpu", dtype="float32")
    template = make_template(loaded.tokenizer)
    samples = load_file(options.file).samples[: options.rows]
    conversations = {sample.content_hash: sample.messages for sample in samples}
    encoded = list(encode_samples(template, conversations, loaded.identity.context_length)[0].values())
    scorer = Scorer(loaded)
    seconds: dict[str, list[float]] = {"published loop": [], "ours": []}
    results: dict[str, np.ndarray] = {}
    for _ in range(options.repeats):
        for name, run in (
            ("published loop", lambda: published_loop(loaded, template, encoded)),
            ("ours", lambda: ours(scorer, template, encoded)),
        ):
            began = time.monotonic()
            results[name] = run()
            seconds[name].append(time.monotonic() - began)
    n = len(encoded)
    print(f"Machine: {machine()}\n{options.file.name}, {n} rows, {n * n} pairs, {options.model}, float32\n")
    print("| scorer | seconds (median) | pairs/s | ratio |\n| --- | --- | --- | --- |")
    medians = {name: float(np.median(times)) for name, times in seconds.items()}
    for name, median in medians.items():
        ratio = medians["published loop"] / median
        print(f"| {name} | {median:.1f} | {n * n / median:.2f} | {ratio:.2f} |")
    matrices = {name: utilities(scorer, template, encoded, pairs) for name, pairs in results.items()}
    off = ~np.eye(n, dtype=bool)
    left, right = (matrices[name][off] for name in ("published loop", "ours"))
    print(f"\nmax |dU| {np.abs(left - right).max():.2e}, Spearman {spearmanr(left, right).statistic:.6f}")


if __name__ == "__main__":
    main()
