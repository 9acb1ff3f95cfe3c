"""Our scorer against a plain re-implementation of the published loop, in one process on the same rows.

    python -m benchmarks.scoring FILE [--rows 24] [--model bundled | --random-shape qwen2.5-0.5b] [--repeats 3]
                                      [--devices cuda:0,cuda:1] [--dtype float32,bfloat16] [--sizes 64,128,256]
                                      [--examples 60]

The published loop runs one full sequence per pair: batches of 32, padded, logits of every position, float32. Ours
prefills each example once, shares its cache, and computes logits on response positions only. Both get the same token
ids, so the largest difference of the utilities is the error of our short cuts. With --examples ours is measured with
so many of the rows as examples of all: the rate is the same, in less time. On a GPU ours scores two examples before
the clock runs, which has it compiled; what that took is said. Times are medians over the repeats, all sides in turn;
memory is the process's most while a side ran, every side's model included, or the GPU's. The share of the peak counts
what is of use (no padding) against the best large matrix product of the precision in the same run.
With --sizes a second table has the time of ours for that many rows, at each precision.
"""

import argparse
import copy
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("GOMP_SPINCOUNT", "3000")  # as in settings.LIBRARY_ENVIRONMENT

import numpy as np
import torch
from scipy.stats import spearmanr

from benchmarks.compute import (
    PeakMemory,
    bfloat16_lacks,
    matmul_peak,
    operations,
    our_work,
    published_work,
    synchronise,
)
from benchmarks.machine import machine
from delift_core.data.loading import load_file
from delift_core.jobs.preparation import encode_samples
from delift_core.models.devices import Precision
from delift_core.models.encoded import EncodedSample
from delift_core.models.loading import LoadedModel, ModelIdentity, load_model, read_outline
from delift_core.models.mixed_precision import use_mixed_precision
from delift_core.models.model_files import BUNDLED
from delift_core.models.prompts import make_template
from delift_core.scoring.blocks import Block, ScoringInput, score_alone
from delift_core.scoring.metrics import utility
from delift_core.scoring.scorer import Scorer
from delift_core.scoring.scoring_run import Backend, DevicesBackend, LocalBackend, backend_on

BATCH = 32
_WARM_UP = 2  # examples
_TOKENS_TOGETHER = 512  # a batch for cores that split each product: larger ones serve them better
SHAPES = {  # hidden size, size between, layers, heads, key/value heads
    "qwen2.5-0.5b": (896, 4864, 24, 14, 2),
    "qwen2.5-1.5b": (1536, 8960, 28, 12, 2),
}
_HEADER = "| scorer | precision | pairs | seconds | pairs/s | tokens/s | ratio | max dU | Spearman | GiB | of peak |"
_CONTEXT, _VOCABULARY = 32768, 151936

Peaks = dict[Precision, float]  # floating-point operations a second of one device


@dataclass(frozen=True, slots=True)
class Side:
    """A scorer: its function, its work, and its measured time and memory."""

    name: str
    dtype: Precision
    pairs: int
    tokens: int
    operations: float
    devices: int
    run: Callable[[], np.ndarray]
    utilities: Callable[[np.ndarray], np.ndarray]
    device: torch.device
    seconds: list[float] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)

    def measure(self) -> np.ndarray:
        """Runs once, notes time and memory, and returns (n, examples) utilities."""
        with PeakMemory(self.device) as used:
            synchronise(self.device)
            began = time.monotonic()
            result = self.run()
            synchronise(self.device)
            self.seconds.append(time.monotonic() - began)
        self.memory.append(used.bytes)
        return self.utilities(result)

    def share(self, peaks: "Peaks") -> float:
        """Share of the devices' peak."""
        return self.operations / float(np.median(self.seconds)) / (peaks[self.dtype] * self.devices)

    def line(self, published: "Side", against: str, peaks: "Peaks") -> str:
        """A row of the table."""
        seconds = float(np.median(self.seconds))
        rate = self.pairs / seconds
        ratio = rate / (published.pairs / float(np.median(published.seconds)))
        tokens = self.tokens / seconds
        return (
            f"| {self.name} | {self.dtype} | {self.pairs:,} | {seconds:.1f} | {rate:.2f} | {tokens:,.0f} "
            f"| {ratio:.2f} | {against} | {max(self.memory) / (1 << 30):.2f} | {self.share(peaks):.0%} |"
        )


@torch.inference_mode()
def published_loop(loaded: LoadedModel, encoded: Sequence[EncodedSample]) -> np.ndarray:
    """(n, n, 2) statistics of every pair, one whole sequence each."""
    n = len(encoded)
    pairs = [(i, j) for i in range(n) for j in range(n)]  # the published order: the example changes fastest
    statistics = np.empty((n, n, 2))
    for start in range(0, len(pairs), BATCH):
        part = pairs[start : start + BATCH]
        prompts = [encoded[i].before_query(encoded[j]) + encoded[i].query for i, j in part]
        whole = [prompt + encoded[i].response for prompt, (i, _) in zip(prompts, part, strict=True)]
        width = max(map(len, whole))
        ids = torch.zeros(len(part), width, dtype=torch.int64)
        for row, tokens in enumerate(whole):
            ids[row, : len(tokens)] = torch.tensor(tokens)
        logits = loaded.model(input_ids=ids.to(loaded.device), use_cache=False).logits
        log_p = torch.log_softmax(logits.float(), dim=-1)
        for row, (i, j) in enumerate(part):
            first = len(prompts[row])
            target = torch.tensor(encoded[i].response, device=loaded.device)
            chosen = log_p[row, first - 1 : first - 1 + len(target)].gather(1, target[:, None])[:, 0].double()
            statistics[i, j] = [float(((1 - chosen.exp()) ** 2).sum()), float(chosen.sum())]
    return statistics


def ours(backend: Backend, encoded: Sequence[EncodedSample], examples: int, tokens: int) -> np.ndarray:
    """(n, examples, 2) statistics by our scorer, as in a run of that many tokens."""
    names = [str(place) for place in range(len(encoded))]
    size = backend.rows_per_block
    chunks = tuple(tuple(names[start : start + size]) for start in range(0, len(names), size))
    samples = dict(zip(names, encoded, strict=True))
    material = ScoringInput(samples, (chunks,), tokens)
    blocks = [Block(name, 0, part) for name in names[:examples] for part in range(len(chunks))]
    statistics = np.empty((len(names), examples, 2))
    for step in backend.work(material, blocks):
        if step.finished and step.finished.block.helper is not None:
            block = step.finished.block
            start = block.part * size
            statistics[start : start + len(chunks[block.part]), int(block.helper)] = step.finished.numbers
    return statistics


def utilities(scorer: Scorer, encoded: Sequence[EncodedSample], pairs: np.ndarray) -> np.ndarray:
    """(n, m) Euclidean utilities from (n, m, 2) statistics of pairs."""
    alone = np.empty((len(encoded), 2))
    for scored in score_alone(scorer, encoded):
        alone[scored.rows] = scored.statistics
    tokens = np.array([len(sample.response) for sample in encoded])
    return np.stack([utility(alone, pairs[:, j], tokens, "euclidean") for j in range(pairs.shape[1])], axis=1)


def model_for(options: argparse.Namespace, dtype: Precision) -> LoadedModel:
    """The model that was asked for, on the first device."""
    first = torch.device(options.devices[0])
    if not options.random_shape:
        loaded = load_model(options.model, device=first.type, dtype=dtype)
        return LoadedModel(loaded.model.to(first), loaded.tokenizer, loaded.identity)
    model = random_model(options.random_shape, first, torch.float32 if dtype == "float32" else torch.bfloat16)
    if dtype == "mixed":
        use_mixed_precision(model)
    identity = ModelIdentity(options.random_shape, "random", dtype, _CONTEXT, model.num_parameters())
    return LoadedModel(model, read_outline(BUNDLED, "float32").tokenizer, identity)


def random_model(shape: str, device: torch.device, dtype: torch.dtype) -> Any:
    """A model of a known shape with random weights, on which speed does not depend."""
    from transformers import AutoModelForCausalLM, Qwen2Config

    hidden, between, layers, heads, shared = SHAPES[shape]
    config = Qwen2Config(
        vocab_size=_VOCABULARY,
        hidden_size=hidden,
        intermediate_size=between,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=shared,
        max_position_embeddings=_CONTEXT,
        tie_word_embeddings=True,
    )
    torch.manual_seed(0)
    with device:
        return AutoModelForCausalLM.from_config(config, dtype=dtype).eval().requires_grad_(False)


def backend_for(loaded: LoadedModel, devices: Sequence[str]) -> Backend:
    """One device in this thread, or several with a copy of the model on each."""
    if len(devices) == 1:
        return backend_on([Scorer(loaded)])
    models = [loaded.model, *(copy.deepcopy(loaded.model).to(device) for device in devices[1:])]
    return DevicesBackend([Scorer(LoadedModel(model, loaded.tokenizer, loaded.identity)) for model in models])


def precisions(options: argparse.Namespace) -> list[Precision]:
    """The requested precisions; by default float32 and, if the hardware has bfloat16, two with it."""
    if options.dtype:
        return list(options.dtype)
    lacks = bfloat16_lacks(torch.device(options.devices[0]))
    if lacks:
        print(f"bfloat16 and mixed are left out: {lacks}.")
    return ["float32"] if lacks else ["float32", "bfloat16", "mixed"]


def our_sides(
    loaded: LoadedModel,
    encoded: Sequence[EncodedSample],
    devices: Sequence[str],
    examples: int | None = None,
) -> list[Side]:
    """Our scorer with one model; on a CPU also with the cores sharing each product."""
    on_cpu = torch.device(devices[0]).type == "cpu"
    name = "ours" if len(devices) == 1 else f"ours, {len(devices)} devices"
    backend = backend_for(loaded, devices)
    count = 1 if on_cpu else len(devices)  # names of one CPU share its peak
    sides = [our_side(name, backend, loaded, encoded, examples, count)]
    if len(devices) == 1 and isinstance(backend, DevicesBackend):
        together = LocalBackend(Scorer(loaded, tokens_per_batch=_TOKENS_TOGETHER))
        sides.append(our_side("ours, cores split products", together, loaded, encoded, examples, 1))
    return sides


def our_side(
    name: str,
    backend: Backend,
    loaded: LoadedModel,
    encoded: Sequence[EncodedSample],
    examples: int | None,
    devices: int,
) -> Side:
    """Our scorer by one backend, after a few examples to warm up."""
    scorer, count = Scorer(loaded), min(examples or len(encoded), len(encoded))
    work = our_work(scorer, encoded, count)
    if loaded.device.type != "cpu":  # where nothing is compiled
        began = time.monotonic()
        ours(backend, encoded, min(_WARM_UP, count), work.tokens)
        print(
            f"Two examples before the clock ran, {loaded.identity.dtype}: {time.monotonic() - began:.1f} s.", flush=True
        )
    return Side(
        name,
        loaded.identity.dtype,
        len(encoded) * count,
        work.tokens,
        operations(loaded.model, work),
        devices,
        partial(ours, backend, encoded, count, work.tokens),
        partial(utilities, scorer, encoded),
        loaded.device,
    )


def published_side(loaded: LoadedModel, encoded: Sequence[EncodedSample]) -> Side:
    """The published loop with a float32 model."""
    work, scorer = published_work(encoded, encoded), Scorer(loaded)

    return Side(
        "published loop",
        "float32",
        len(encoded) ** 2,
        work.tokens,
        operations(loaded.model, work),
        1,
        partial(published_loop, loaded, encoded),
        partial(utilities, scorer, encoded),
        loaded.device,
    )


def compared(matrix: np.ndarray, published: np.ndarray) -> str:
    """Largest difference and rank correlation of utilities off the diagonal, as two columns."""
    n, m = len(published), min(len(published), matrix.shape[1])
    off = ~np.eye(n, m, dtype=bool)
    left, right = matrix[:n, :m][off], published[:, :m][off]
    return f"{np.abs(left - right).max():.1e} | {spearmanr(left, right).statistic:.6f}"


def peaks_of(device: torch.device, names: set[Precision]) -> Peaks:
    """The fastest product of each precision; of "mixed" in bfloat16."""
    kinds: dict[Precision, torch.dtype] = {
        "float32": torch.float32,
        "bfloat16": torch.bfloat16,
        "mixed": torch.bfloat16,
    }
    rates = {kind: matmul_peak(device, kind) for kind in {kinds[name] for name in names}}
    return {name: rates[kinds[name]] for name in names}


def best_peaks(before: Peaks, after: Peaks) -> Peaks:
    """The better of two measurements, as a shared machine may disturb either; both are printed."""
    for name, rate in before.items():
        print(f"Best large matmul for {name}: {rate / 1e9:,.0f} GFLOP/s before, {after[name] / 1e9:,.0f} after.")
    return {name: max(rate, after[name]) for name, rate in before.items()}


@dataclass(frozen=True, slots=True)
class Setting:
    """What every side shares: a model at each precision, and the rows as token ids."""

    models: dict[Precision, LoadedModel]
    reference: LoadedModel
    encoded: list[EncodedSample]


def setting_of(options: argparse.Namespace) -> Setting:
    """Loads the models and reads as many rows as any table needs."""
    models = {dtype: model_for(options, dtype) for dtype in precisions(options)}
    reference = models.get("float32") or model_for(options, "float32")
    template = make_template(reference.tokenizer)
    samples = load_file(options.file).samples[: max(options.rows, *options.sizes, 0)]
    conversations = {sample.content_hash: sample.conversation for sample in samples}
    encoded = list(encode_samples(template, conversations, reference.identity.context_length)[0].values())
    return Setting(models, reference, encoded)


def sides_of(setting: Setting, options: argparse.Namespace) -> list[Side]:
    """The published loop, and ours at each precision."""
    encoded = setting.encoded[: options.rows]
    few = encoded[: options.published_rows or len(encoded)]
    sides = [published_side(setting.reference, few)]
    for loaded in setting.models.values():
        sides += our_sides(loaded, encoded, options.devices, options.examples)
    return sides


def print_sizes(setting: Setting, options: argparse.Namespace, peaks: Peaks) -> None:
    """Prints a table of numbers of rows and the time of our scorer for every pair."""
    print("\n| rows | pairs | precision | seconds | pairs/s | of peak |\n" + "| --- " * 6 + "|")
    for size in options.sizes:
        encoded = setting.encoded[:size]
        for name, loaded in setting.models.items():
            side = our_sides(loaded, encoded, options.devices)[0]
            side.measure()
            (seconds,) = side.seconds
            rate, share = side.pairs / seconds, side.share(peaks)
            print(f"| {size:,} | {side.pairs:,} | {name} | {seconds:,.1f} | {rate:,.1f} | {share:.0%} |")


def main() -> None:
    """Prints one table."""
    options = _options()
    print(f"Machine: {machine()}\n{options.file.name}, {options.random_shape or options.model}\n")
    setting = setting_of(options)
    sides = sides_of(setting, options)
    device, names = setting.reference.device, {"float32", *setting.models}
    before = peaks_of(device, names)
    results = [side.measure() for _ in range(options.repeats) for side in sides][-len(sides) :]
    peaks = best_peaks(before, peaks_of(device, names))
    print("\n" + _HEADER + "\n" + "| --- " * 11 + "|")
    for side, result in zip(sides, results, strict=True):
        print(side.line(sides[0], compared(result, results[0]), peaks))
    if options.sizes:
        print_sizes(setting, options, peaks)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--rows", type=int, default=24)
    parser.add_argument("--examples", type=int, help="fewer examples for ours; default: every row")
    parser.add_argument("--published-rows", type=int, help="fewer rows for the published loop; default: all")
    parser.add_argument("--model", default=BUNDLED)
    parser.add_argument("--random-shape", choices=SHAPES, help="random weights instead of a model")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--dtype", type=lambda text: text.split(","), help="such as float32,bfloat16; default: see above"
    )
    parser.add_argument(
        "--sizes", type=lambda text: [int(size) for size in text.split(",")], default=[], help="such as 64,128,256"
    )
    default = ["cuda:0" if torch.cuda.is_available() else "cpu"]
    words = "such as cuda:0,cuda:1; default: the GPU, else the CPU"
    parser.add_argument("--devices", type=lambda text: text.split(","), default=default, help=words)
    return parser.parse_args()


if __name__ == "__main__":
    main()
