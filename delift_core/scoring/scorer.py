"""The scorer: exact statistics of responses with and without an example, by teacher forcing.

An example is run once, and what the model keeps of it serves every query (see `prefixes`). Tokens that queries share at
their start are run with the example (`batches`). Queries are batched longest first under a token budget, padded on the
right: no token of a causal model sees padding, so no mask is needed. The output layer runs on response positions only,
in chunks, and the log-softmax in float32. This module knows nothing of samples, templates, files or metrics.

    zero-shot    head           | query_i  | response_i
    one-shot     head example_j | query_i  | response_i
                 '---prefix---' '-------suffix--------'

A hidden state predicts the token after its own. Row i of a batch, with 3 query and 3 response tokens:

    suffix       q0 q1 q2 r0 r1 r2 <pad>
    hidden       h0 h1 h2 h3 h4  -   -      h2 -> r0, h3 -> r1, h4 -> r2; only these pass the output layer
    log p              r0 r1 r2             summed over the row, as is (1 - p)^2

The last response token predicts nothing that is scored, so statistics alone do not run it; embeddings do.
"""

import logging
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, cast

import numpy as np
import torch

from delift_core.errors import ScoringError
from delift_core.models.attention import supports_packed_sequences, use_fast_attention
from delift_core.models.gpu_layers import LogP, compile_layers, compiled_log_p, run_packed
from delift_core.models.loading import LoadedModel
from delift_core.models.mixed_precision import float32_output_weights
from delift_core.scoring.batches import (
    Batch,
    GroupBatches,
    Suffix,
    bytes_per_token,
    group_by_prefix,
    make_batch,
    max_batch_tokens,
    packed_cuts,
    padded_cuts,
    to_device,
)
from delift_core.scoring.prefixes import EMPTY_PREFIX, Prefix, Sharing, extend, possible_sharing, run

_log = logging.getLogger(__name__)
_HEAD_CHUNK = 256  # response positions per pass through the output layer
_COMPILED_CHUNK = 2048  # the same for the compiled output layer, whose logits stay in bfloat16
# Float32 logits that fit into the processor's cache; a whole chunk is six times slower.
_LOGITS_AT_ONCE = {"cpu": 1 << 19}
_COMPILE_FROM = 4e15  # floating-point operations: about 20 s of a large GPU, of which compiled layers save a third
_PASS_COST = {"cpu": 64, "cuda": 8192, "mps": 2048}  # cost of an almost empty forward pass, in tokens
_CHECK_PREFIX, _CHECK_TOKENS, _LONGEST_CHECK = 9, 24, 256
_PACKING_DIFFERENCE = 0.1  # relative to the largest value: packed kernels round to bfloat16 at other points
_SUMS = {"mps": torch.float32}  # MPS has no float64


class Scorer:
    """Runs a loaded model on prefixes and batches of suffixes."""

    def __init__(self, loaded: LoadedModel, *, tokens_per_batch: int | None = None) -> None:
        """Args:
            loaded: a causal language model, on its device.
            tokens_per_batch: maximum tokens of a forward pass; the default depends on the device and its free memory.

        Raises:
            ScoringError: the model is not causal, needs more than text, or does not fit into memory.
        """
        self.loaded = loaded
        self._pass_cost = _PASS_COST.get(loaded.device.type, 64)
        self._config = cast(Any, loaded.model).config.get_text_config(decoder=True)
        self._body = _decoder(loaded.model)
        self._head = cast(Any, loaded.model).get_output_embeddings()
        self._embedded = cast(Any, loaded.model).get_input_embeddings().weight.shape[0]
        self._unrounded = float32_output_weights(loaded.model)
        self._compiled: LogP | None = None
        self.tokens_per_batch = tokens_per_batch or max_batch_tokens(loaded, self._logit_bytes)
        self._too_many: float = float("inf")  # tokens of the smallest batch that ran out of memory
        self.sharing: Sharing = self._find_sharing()
        packs = self.sharing == "views" and not loaded.is_spread and supports_packed_sequences(loaded.model)
        self._packs_suffixes = packs and self._packing_agrees()

    @property
    def batch_bytes(self) -> int:
        """Approximate memory of a batch while it is scored."""
        return self._logit_bytes + self.tokens_per_batch * bytes_per_token(self.loaded)

    @property
    def _logit_bytes(self) -> int:
        """Memory of a chunk's logits: raw, in float32, and their log-softmax; compiled, twice in bfloat16."""
        plain, compiled = 4 * 3 * _HEAD_CHUNK, 2 * 2 * _COMPILED_CHUNK
        return int((max(plain, compiled) if self.can_compile else plain) * self._head.weight.shape[0])

    @property
    def can_compile(self) -> bool:
        """Whether compiling could pay: on one GPU in bfloat16. Elsewhere matrix products dominate the time."""
        loaded = self.loaded
        return loaded.device.type == "cuda" and loaded.identity.dtype == "bfloat16" and not loaded.is_spread

    def prepare(self, tokens: int) -> None:
        """Compiles the layers and the output layer if running `tokens` tokens makes up for the time to compile.

        Numbers change within the rounding of bfloat16. A model that cannot be compiled runs uncompiled.
        """
        if self._compiled or not self.can_compile or self.sharing != "views":
            return
        operations = 2 * self.loaded.identity.parameters * tokens
        if operations > _COMPILE_FROM and compile_layers(self.loaded.model, packed=self._packs_suffixes):
            self._compiled = compiled_log_p(self.loaded.model, self._scaled, _COMPILED_CHUNK)

    @property
    def is_stateful(self) -> bool:
        """Whether the model updates its position table for each input, so that threads cannot share it."""
        config = self._config
        positions = str(getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None))
        return "dynamic" in positions or "longrope" in positions

    @property
    def sums_dtype(self) -> torch.dtype:
        """The dtype of statistics: float64 where the device supports it."""
        return _SUMS.get(self.loaded.device.type, torch.float64)

    @torch.inference_mode()
    def prefill(self, tokens: Sequence[int], after: Prefix = EMPTY_PREFIX) -> Prefix:
        """Computes the cache of a prefix (head and example), or of tokens after another prefix.

        Raises:
            ScoringError: it does not fit into memory, or holds a token that the model does not embed.
        """
        if not tokens:
            return after
        self._check_tokens(tokens)
        ids = to_device(np.asarray([tokens], dtype=np.int64), self.loaded.device)
        try:
            return extend(self._body, self.sharing, ids, after)
        except RuntimeError as error:  # includes torch.OutOfMemoryError
            if _out_of_memory(error):
                raise ScoringError(_no_room(after.length + len(tokens))) from error
            raise

    def make_grouped_batches(
        self, suffixes: Sequence[Suffix], numbers: Sequence[int] | None = None
    ) -> list[GroupBatches]:
        """Batches to score without embeddings: without shared query prefixes and the last response tokens.

        Args:
            numbers: of the rows, as batches name them; by default their positions.
        """
        named = range(len(suffixes)) if numbers is None else numbers
        found = []
        for group in group_by_prefix([suffix.query for suffix in suffixes], self._pass_cost):
            rest = [suffixes[row].after(group.shared) for row in group.rows]
            batches = self._batches([named[row] for row in group.rows], rest, whole=False)
            found.append(GroupBatches(group.shared, batches))
        return found

    def make_batches(self, suffixes: Sequence[Suffix], numbers: Sequence[int] | None = None) -> list[Batch]:
        """Batches of whole suffixes, longest first, so that running out of memory happens at the start."""
        return self._batches(range(len(suffixes)) if numbers is None else numbers, suffixes, whole=True)

    def _check_tokens(self, tokens: Sequence[int]) -> None:
        """Refuses special tokens that a tokenizer shares with a sibling for images: an index beyond the embedding."""
        if (token := max(tokens, default=0)) >= self._embedded:
            text = self.loaded.tokenizer.convert_ids_to_tokens(token)
            raise ScoringError(
                f"a row holds {text!r}, a special token for which {self.loaded.identity.name!r} has no embedding; "
                "leave out the rows with that text, or change it"
            )

    def _batches(self, indices: Sequence[int], suffixes: Sequence[Suffix], *, whole: bool) -> list[Batch]:
        for suffix in suffixes:
            self._check_tokens((*suffix.query, *suffix.response))
        order = sorted(range(len(suffixes)), key=lambda row: -len(suffixes[row]))
        lengths, packed = [len(suffixes[row]) for row in order], self._packs_suffixes and not whole
        budget, device = self.tokens_per_batch, self.loaded.device
        cuts = packed_cuts(lengths, budget) if packed else padded_cuts(lengths, budget, self._pass_cost)
        parts = [order[start:end] for start, end in pairwise(cuts)]
        return [
            make_batch(
                [indices[row] for row in part], [suffixes[row] for row in part], device, packed=packed, whole=whole
            )
            for part in parts
        ]

    @torch.inference_mode()
    def score(self, prefix: Prefix, batch: Batch) -> torch.Tensor:
        """The statistics of one batch after a prefix.

        Returns:
            (b, 2) of `sums_dtype` on the device: sums of (1 - p)^2 and of log p (nats) over each row's response tokens.
        """
        return self._score(prefix, batch)[0]

    @torch.inference_mode()
    def score_and_embed(self, prefix: Prefix, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """As `score`, with embeddings (b, d) float32: the mean of hidden states, weighted by their position.

        The weights are those of RDS+ (arXiv 2503.01807): in a causal model, later tokens have seen more of the sample.
        """
        statistics, hidden = self._score(prefix, batch)
        width = batch.ids.shape[1]
        steps = torch.arange(1, width + 1, device=hidden.device)
        weights = torch.where(steps[None, :] <= batch.lengths[:, None], steps[None, :], 0).float()  # (b, t)
        weights = weights / weights.sum(dim=1, keepdim=True)
        return statistics, torch.einsum("bt,btd->bd", weights, hidden.float())

    @torch.inference_mode()
    def token_log_p(self, prefix: Prefix, suffix: Suffix) -> np.ndarray:
        """Log probability (nats) of each response token of one suffix after a prefix: (T,) float64."""
        (batch,) = self.make_batches([suffix])
        scored = self._hidden(prefix, batch)[0, batch.positions]
        return self._log_p(scored, batch.targets).cpu().double().numpy()

    def _score(self, prefix: Prefix, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        rows, tokens = len(batch.rows), batch.token_count(prefix.length)
        runs_again = prefix.ids is not None and tokens > self.tokens_per_batch  # the prefix counts for every row
        if rows == 1 or (tokens < self._too_many and not runs_again):
            try:
                hidden = self._hidden(prefix, batch)
                return self._statistics(hidden, batch), hidden
            except RuntimeError as error:
                if not _out_of_memory(error):
                    raise
                if rows == 1:
                    raise ScoringError(_no_room(tokens)) from error
            self._too_many = tokens  # the next batch of this size is split at once
            if self.loaded.device.type != "cpu":
                torch.accelerator.empty_cache()
        left, right = (self._score(prefix, half) for half in batch.halves())
        return torch.cat([left[0], right[0]]), torch.cat([left[1], right[1]])

    def _hidden(self, prefix: Prefix, batch: Batch) -> torch.Tensor:
        """(b, t, d) last hidden states of a batch after a prefix; (1, t, d) of a packed batch."""
        if batch.bounds:
            if prefix.layers is None:
                raise ValueError("packed suffixes need an example before them")
            return run_packed(self._body, batch.ids, prefix.layers, batch.bounds)
        return run(self._body, batch.ids, prefix).to(batch.ids.device)  # the last layer may lie on another device

    def _statistics(self, hidden: torch.Tensor, batch: Batch) -> torch.Tensor:
        """(b, 2) sums over each row's response tokens."""
        scored = hidden.reshape(-1, hidden.shape[-1])[batch.positions]  # (m, d)
        sums = torch.zeros(len(batch.rows), 2, dtype=self.sums_dtype, device=hidden.device)
        step = _COMPILED_CHUNK if self._compiled else _HEAD_CHUNK
        for start in range(0, scored.shape[0], step):
            part = slice(start, start + step)
            log_p = self._log_p(scored[part], batch.targets[part])  # (chunk,)
            miss = torch.expm1(log_p)  # p - 1, accurate also for p near 1
            sums.index_add_(0, batch.owners[part], torch.stack([miss.square(), log_p], dim=1).to(sums.dtype))
        return sums

    def _log_p(self, hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """(m,) float32 log probabilities of the targets (m,) given hidden states (m, d)."""
        if self._compiled:
            return self._compiled(hidden, targets)
        logits: Any = self._head(hidden).to(hidden.device)
        rows = max(1, _LOGITS_AT_ONCE.get(logits.device.type, logits.numel()) // logits.shape[1])
        parts = zip(logits.split(rows), hidden.split(rows), targets[:, None].split(rows), strict=True)  # type: ignore[no-untyped-call]
        return torch.cat([self._logits(*part).log_softmax(1).gather(1, part[2]) for part in parts])[:, 0]

    def _logits(self, raw: torch.Tensor, hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """(m, v) float32 logits; in mixed precision, those of the targets are computed again without rounding."""
        logits = raw.float()
        if self._unrounded is not None:
            exact = (hidden.float() * self._unrounded[targets[:, 0]]).sum(dim=1, keepdim=True)  # (m, 1)
            logits = logits.scatter(1, targets, exact)
        return self._scaled(logits)

    def _scaled(self, logits: torch.Tensor) -> torch.Tensor:
        """Float32 logits with the scaling that some families apply after the output layer."""
        config = self._config
        if getattr(config, "logits_scaling", None):  # Granite
            logits = logits / config.logits_scaling
        if getattr(config, "logit_scale", None):  # Cohere
            logits = logits * config.logit_scale
        cap = getattr(config, "final_logit_softcapping", None) or getattr(config, "logits_soft_cap", None)
        if cap:  # Gemma, RecurrentGemma
            logits = torch.tanh(logits / cap) * cap
        return logits

    @torch.inference_mode()
    def _find_sharing(self) -> Sharing:
        """The fastest form of a prefix in which the model gives the numbers of its own forward pass."""
        model, family = cast(Any, self.loaded.model), self.loaded.model.config.model_type
        length = _check_length(self._config, self.loaded.identity.context_length)
        ids = torch.arange(8, 8 + length, device=self.loaded.device)[None, :] % self._config.vocab_size
        try:
            expected, early = (
                model(input_ids=part, use_cache=False).logits[0].float() for part in (ids, ids[:, :_CHECK_PREFIX])
            )
        except Exception as error:
            if _out_of_memory(error):
                raise ScoringError(_no_room(length)) from error
            raise ScoringError(
                f"models of the family {family!r} do not run on text alone: {_one_line(error)}"
            ) from error
        if not bool(expected.isfinite().all()):
            raise ScoringError(
                f"the output of {self.loaded.identity.name!r} is not finite in {self.loaded.identity.dtype}: its "
                "weights are damaged, or too large for this precision; download the model again, or use float32"
            )
        if not self._close(early, expected[:_CHECK_PREFIX]):
            raise ScoringError(
                f"models of the family {family!r} read the tokens after a token too, so they do not generate text from "
                "left to right: use a causal language model"
            )
        use_fast_attention(model)
        for sharing in possible_sharing(self._config):
            if self._agrees(sharing, ids, expected):
                return sharing
        raise ScoringError(
            f"models of the family {family!r} cannot be scored: their hidden states do not give their own output; use "
            "another model, or report this family"
        )

    def _agrees(self, sharing: Sharing, ids: torch.Tensor, expected: torch.Tensor) -> bool:
        """Whether a prefix in two parts and a padded batch give the logits (t, v) of ids (1, t)."""
        first, second, end = ids[:, :_CHECK_PREFIX], ids[:, _CHECK_PREFIX : _CHECK_PREFIX + 2], ids.shape[1]
        rest = ids[:, _CHECK_PREFIX + 2 :].repeat(2, 1)  # (2, t - prefix)
        rest[1, -3:] = 0  # padding
        try:
            prefix = extend(self._body, sharing, second, extend(self._body, sharing, first, EMPTY_PREFIX))
            hidden = run(self._body, rest, prefix)
            got = [self._scaled(self._head(row).float()).to(ids.device) for row in (hidden[0], hidden[1, :-3])]
        except Exception as error:  # families fail in their own ways where they keep nothing to share
            if _out_of_memory(error):
                raise ScoringError(_no_room(end)) from error
            _log.info("%s: no prefix as %s: %s", self.loaded.model.config.model_type, sharing, _one_line(error))
            return False
        return all(self._close(part, expected[prefix.length : prefix.length + len(part)]) for part in got)

    def _close(self, got: torch.Tensor, expected: torch.Tensor) -> bool:
        tolerance = 1e-3 if self.loaded.identity.dtype == "float32" else 0.1
        scale = float(expected.abs().max())
        return got.shape == expected.shape and torch.allclose(got, expected, rtol=tolerance, atol=tolerance * scale)

    @torch.inference_mode()
    def _packing_agrees(self) -> bool:
        """Whether suffixes of different lengths have the same hidden states packed as padded."""
        ids = tuple((torch.arange(8, 40) % self._config.vocab_size).tolist())
        prefix, device = self.prefill(ids[:9]), self.loaded.device
        suffixes = [
            Suffix(ids[start : start + 3], ids[start + 3 : end]) for start, end in ((12, 30), (9, 14), (20, 29))
        ]
        padded, packed = (make_batch(range(3), suffixes, device, packed=packed) for packed in (False, True))
        expected = self._hidden(prefix, padded).flatten(0, 1)[padded.positions].float()
        try:
            got = self._hidden(prefix, packed)[0, packed.positions].float()
        except TypeError:  # the family's layers do not accept sequence boundaries
            return False
        return torch.allclose(got, expected, rtol=0, atol=_PACKING_DIFFERENCE * float(expected.abs().max()))


def _decoder(model: Any) -> Any:
    """The layers of a model without its output layer; of an image-and-text model, those that read text."""
    found = model.get_decoder()
    while getattr(found, "lm_head", None) is not None:  # Llama 4 and others name a model with its output layer
        found = found.model
    return found


def _check_length(config: Any, context_length: int) -> int:
    """Tokens of the check sequence: beyond a window or chunk of attention, where that is short."""
    windows = [getattr(config, name, None) or 0 for name in ("sliding_window", "attention_chunk_size")]
    long_enough = max([_CHECK_TOKENS, *(window + 20 for window in windows if window <= _LONGEST_CHECK)])
    return min(long_enough, context_length)


def _one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]


def _out_of_memory(error: Exception) -> bool:
    """Whether an error of torch on CUDA, MPS or a CPU means too little memory."""
    text = str(error)
    return isinstance(error, torch.OutOfMemoryError) or "out of memory" in text or "can't allocate memory" in text


def _no_room(tokens: int) -> str:
    return (
        f"out of memory with a single sequence of {tokens:,} tokens; "
        "close other programs, use a smaller model, or leave out the longest rows"
    )
