"""Floating-point operations of a forward pass, and the peak rate of the machine."""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil
import torch

from delift_core.models.encoded import EncodedSample
from delift_core.scoring.batches import Suffix
from delift_core.scoring.scorer import Scorer

_SIZES = {"cpu": (1024, 2048), "cuda": (4096, 8192)}
_REPEATS = 5
_SAMPLE_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Work:
    """The work of a scorer, without padding.

    Attributes:
        tokens: run through the layers.
        attended: over these tokens, the positions that each attends to.
        scored: positions that go through the output layer.
    """

    tokens: int = 0
    attended: int = 0
    scored: int = 0

    def __add__(self, other: "Work") -> "Work":
        return Work(self.tokens + other.tokens, self.attended + other.attended, self.scored + other.scored)


def run_after(before: int, tokens: int, scored: int) -> Work:
    """The work of `tokens` tokens after a cache of `before`."""
    return Work(tokens, tokens * before + tokens * (tokens + 1) // 2, scored)


def published_work(encoded: Sequence[EncodedSample], helpers: Sequence[EncodedSample]) -> Work:
    """The published loop: one whole sequence per pair, with the logits of every position."""
    total = Work()
    for helper in helpers:
        for sample in encoded:
            length = sum(map(len, (sample.before_query(helper), sample.query, sample.response)))
            total += run_after(0, length, length)
    return total


def our_work(scorer: Scorer, encoded: Sequence[EncodedSample], examples: int) -> Work:
    """The first rows as examples of all: each example and each lead once; of the responses, all but the last token."""
    groups = scorer.make_grouped_batches([Suffix(sample.query, sample.response) for sample in encoded])
    rows = {row: len(group.shared) for group in groups for batch in group.batches for row in batch.rows.tolist()}
    total = Work()
    for helper in encoded[:examples]:
        example = len(helper.before_query(helper))
        total += run_after(0, example, 0)
        for group in groups:
            total += run_after(example, len(group.shared), 0)
        for row, lead in rows.items():
            length = len(encoded[row].query) + len(encoded[row].response)
            total += run_after(example + lead, length - lead - 1, len(encoded[row].response))
    return total


def operations(model: Any, work: Work) -> float:
    """Floating-point operations: 2 per weight and token (output layer: per scored position), plus attention."""
    config = model.config
    head = model.get_output_embeddings().weight.numel()
    tables = sum(part.weight.numel() for part in model.modules() if isinstance(part, torch.nn.Embedding))
    tied = model.get_output_embeddings().weight is model.get_input_embeddings().weight
    body = model.num_parameters() - tables - (0 if tied else head)
    width = config.num_attention_heads * (getattr(config, "head_dim", None) or _head_size(config))
    attention = 4 * config.num_hidden_layers * width * work.attended  # scores, and the values that they weigh
    return 2.0 * body * work.tokens + 2.0 * head * work.scored + attention


def _head_size(config: Any) -> int:
    return int(config.hidden_size // config.num_attention_heads)


def matmul_peak(device: torch.device, dtype: torch.dtype) -> float:
    """Floating-point operations per second of the fastest of some large square products, by the median of repeats."""
    return max(_matmul_rate(size, device, dtype) for size in _SIZES.get(device.type, _SIZES["cpu"]))


def _matmul_rate(size: int, device: torch.device, dtype: torch.dtype) -> float:
    left = torch.randn(size, size, device=device, dtype=dtype)
    right = torch.randn(size, size, device=device, dtype=dtype)
    times = []
    for _ in range(_REPEATS + 1):  # the first is to warm up
        began = time.perf_counter()
        torch.mm(left, right)
        synchronise(device)
        times.append(time.perf_counter() - began)
    return 2.0 * size**3 / sorted(times[1:])[_REPEATS // 2]


def synchronise(device: torch.device) -> None:
    """Waits until a device is idle."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def bfloat16_lacks(device: torch.device) -> str | None:
    """Why bfloat16 is not fast on a device; None if the hardware supports it."""
    if device.type == "cuda":
        return None if torch.cuda.is_bf16_supported(including_emulation=False) else "this GPU has no bfloat16"
    info = Path("/proc/cpuinfo")
    flags = info.read_text() if info.exists() else ""
    if any(name in flags for name in ("avx512_bf16", "amx_bf16")):
        return None
    return "this processor has neither avx512_bf16 nor amx_bf16, and emulates it"


class PeakMemory:
    """Peak memory inside a block in bytes, of the GPU if there is one, else of this process."""

    def __init__(self, device: torch.device) -> None:
        self.bytes = 0
        self._device = device
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> "PeakMemory":
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
        else:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._device.type == "cuda":
            self.bytes = torch.cuda.max_memory_allocated(self._device)
        else:
            self._over.set()
            self._thread.join()

    def _sample(self) -> None:
        process = psutil.Process()
        while not self._over.wait(_SAMPLE_SECONDS):
            self.bytes = max(self.bytes, process.memory_info().rss)
