"""The exact scorer: statistics of responses with and without an example, by teacher forcing.

An example is prefilled once and its key/value cache serves every query (no query depends on another); what queries
begin with in common joins that cache (see leads). Queries are padded on the right, longest first, under a token budget;
causal attention keeps padding from touching real tokens, so no attention mask is needed. The output layer runs on
response positions only, in chunks, and the log-softmax in float32. This module knows nothing of samples, templates'
texts, files or metrics.

    suffix       q0 q1 q2 r0 r1 r2 <pad>
    hidden        .  . h2 h3 h4  .   .     h_t predicts the token after it: h2 -> r0, h3 -> r1, h4 -> r2

Nothing is predicted from the last response token, so it is not run at all where only statistics are wanted.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from delift_core.errors import ScoringError
from delift_core.models.attention import supports_packed_sequences, use_fast_attention
from delift_core.models.compiled_layers import LogP, compile_layers, compiled_log_p
from delift_core.models.loading import LoadedModel
from delift_core.models.mixed_precision import float32_output_weights
from delift_core.models.packed_layers import run_packed
from delift_core.scoring.batches import (
    Batch,
    LedBatches,
    Suffix,
    bytes_per_token,
    cuts_of,
    even_cuts,
    lay_end_to_end,
    on_device,
    pad,
    tokens_that_fit,
)
from delift_core.scoring.shared_prefix import share

if TYPE_CHECKING:
    pass

_HEAD_CHUNK = 256  # response positions per pass through the output layer
_COMPILED_CHUNK = 2048  # the same, where the logits stay in bfloat16
_LOGITS_AT_ONCE = {"cpu": 1 << 19}  # in float32, to stay in the cache: a whole chunk takes six times longer
_COMPILE_FROM = 4e15  # floating-point operations: some 20 s of a large GPU, where a third less repays the compilation
_PASS_COST = {"cpu": 64, "cuda": 8192, "mps": 2048}  # tokens that take as long as one more, nearly empty, forward pass
_END_TO_END_DIFFERENCE = 0.1  # of the largest value: roundings to bfloat16 fall elsewhere
_SUMS = {"mps": torch.float32}  # it has no float64
_PLAIN_ATTENTION = {"full_attention", "sliding_attention", "attention"}


@dataclass(frozen=True, slots=True)
class Prefix:
    """Key/value cache of one example: per layer a (1, heads, length, head size) pair; None when there are no tokens."""

    layers: tuple[tuple[torch.Tensor, torch.Tensor], ...] | None
    length: int

    def cache(self, rows: int) -> DynamicCache:
        """A cache for `rows` queries that share this prefix (views of it: the model appends, and never writes)."""
        cache = DynamicCache()
        for keys, values in self.layers or ():
            layer = cast(Any, DynamicLayer)()
            layer.lazy_initialization(keys, values)
            layer.keys = keys.expand(rows, -1, -1, -1)
            layer.values = values.expand(rows, -1, -1, -1)
            cache.layers.append(layer)
        return cache


EMPTY_PREFIX = Prefix(None, 0)


class Scorer:
    """Runs one loaded model over prefixes and batches of suffixes."""

    def __init__(self, loaded: LoadedModel, *, tokens_per_batch: int | None = None) -> None:
        """Args:
            loaded: the model; its family must have attention layers only.
            tokens_per_batch: most tokens in a forward pass; the default suits the device and its free memory.

        Raises:
            ScoringError: the model's family cannot be scored exactly with a shared prefix.
        """
        self.loaded = loaded
        self._pass_cost = _PASS_COST.get(loaded.device.type, 64)
        self._body = cast(Any, loaded.model).get_decoder()
        self._head = cast(Any, loaded.model).get_output_embeddings()
        self._unrounded = float32_output_weights(loaded.model)
        self._compiled: LogP | None = None
        self.tokens_per_batch = tokens_per_batch or tokens_that_fit(loaded, self._logit_bytes)
        self._too_many: float = float("inf")  # positions of the smallest batch that did not fit the memory
        self._check_family()
        self._ragged = supports_packed_sequences(loaded.model) and self._agrees_end_to_end()

    @property
    def bytes_in_flight(self) -> int:
        """What a batch takes while it is scored, roughly."""
        return self._logit_bytes + self.tokens_per_batch * bytes_per_token(self.loaded)

    @property
    def _logit_bytes(self) -> int:
        """A chunk's logits, as they come, in float32, and their log-softmax; or in bfloat16, twice."""
        plain, compiled = 4 * 3 * _HEAD_CHUNK, 2 * 2 * _COMPILED_CHUNK
        return int((max(plain, compiled) if self.can_compile else plain) * self._head.weight.shape[0])

    @property
    def can_compile(self) -> bool:
        """Whether compiling is worth a try: on a GPU, in bfloat16; elsewhere products take most of the time."""
        return self.loaded.device.type == "cuda" and self.loaded.identity.dtype == "bfloat16"

    def prepare(self, tokens: int) -> None:
        """Compiles the layers and the output layer where so many tokens are to be run that it saves time.

        Numbers change by what roundings to bfloat16 do elsewhere. A model that cannot be compiled runs as it is.
        """
        if self._compiled or not self.can_compile:
            return
        if 2 * self.loaded.identity.parameters * tokens > _COMPILE_FROM and compile_layers(
            self.loaded.model, packed=self._ragged
        ):
            self._compiled = compiled_log_p(self.loaded.model, self._scaled, _COMPILED_CHUNK)

    @property
    def changes_as_it_runs(self) -> bool:
        """Whether the model adapts its position table to each input, so that two threads would disturb each other."""
        config = self.loaded.model.config
        positions = str(getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None))
        return "dynamic" in positions or "longrope" in positions

    @property
    def sums_dtype(self) -> torch.dtype:
        """What statistics are summed in: float64 where the device has it."""
        return _SUMS.get(self.loaded.device.type, torch.float64)

    @torch.inference_mode()
    def prefill(self, tokens: Sequence[int], after: Prefix = EMPTY_PREFIX) -> Prefix:
        """Computes the cache of a prefix (head and example) once, or that of a lead after another prefix.

        Raises:
            ScoringError: it does not fit the memory.
        """
        if not tokens:
            return after
        ids = on_device(np.asarray([tokens], dtype=np.int64), self.loaded.device)
        cache = after.cache(1)
        try:
            self._body(input_ids=ids, past_key_values=cache, use_cache=True)
        except RuntimeError as error:  # torch.OutOfMemoryError is one
            if _out_of_memory(error):
                raise ScoringError(_no_room(after.length + len(tokens))) from error
            raise
        layers = tuple((layer.keys, layer.values) for layer in cast(Any, cache).layers)
        return Prefix(layers, after.length + len(tokens))

    def pack_led(self, suffixes: Sequence[Suffix]) -> list[LedBatches]:
        """Batches for statistics alone: common leads are split off, and the last response tokens are not run."""
        groups = share([suffix.query for suffix in suffixes], self._pass_cost)
        return [
            LedBatches(
                group.lead,
                tuple(self._pack(group.rows, [suffixes[row].after(group.lead) for row in group.rows], whole=False)),
            )
            for group in groups
        ]

    def pack(self, suffixes: Sequence[Suffix]) -> list[Batch]:
        """Batches of whole suffixes, longest first, so that what does not fit the memory shows at once."""
        return self._pack(range(len(suffixes)), suffixes, whole=True)

    def _pack(self, places: Sequence[int], suffixes: Sequence[Suffix], *, whole: bool) -> list[Batch]:
        order = sorted(range(len(suffixes)), key=lambda row: -len(suffixes[row]))
        lengths, ragged = [len(suffixes[row]) for row in order], self._ragged and not whole
        budget, device = self.tokens_per_batch, self.loaded.device
        cuts = even_cuts(lengths, budget) if ragged else cuts_of(lengths, budget, self._pass_cost)
        batches = []
        for start, end in pairwise(cuts):
            rows = [places[row] for row in order[start:end]]
            part = [suffixes[row] for row in order[start:end]]
            batches.append(lay_end_to_end(rows, part, device) if ragged else pad(rows, part, device, whole=whole))
        return batches

    @torch.inference_mode()
    def score(self, prefix: Prefix, batch: Batch) -> torch.Tensor:
        """Statistics of one batch after a prefix.

        Returns:
            (b, 2) of `sums_dtype` on the device: sums of (1 - p)^2 and of log p (nats) over each row's response tokens.
        """
        return self._score(prefix, batch)[0]

    @torch.inference_mode()
    def score_and_embed(self, prefix: Prefix, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """As `score`, with a (b, d) float32 embedding: hidden states averaged with weights that grow with the position.

        The weighting is that of RDS+ (arXiv 2503.01807): later tokens of a causal model have seen more of the sample.
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
        (batch,) = self.pack([suffix])
        scored = self._hidden(prefix, batch)[0, batch.positions]
        return self._log_p(scored, batch.targets).cpu().double().numpy()

    def _score(self, prefix: Prefix, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        rows, positions = len(batch.rows), batch.places(prefix.length)
        if positions < self._too_many or rows == 1:
            try:
                hidden = self._hidden(prefix, batch)
                return self._statistics(hidden, batch), hidden
            except RuntimeError as error:
                if not _out_of_memory(error):
                    raise
                if rows == 1:
                    raise ScoringError(_no_room(positions)) from error
            self._too_many = positions  # the next one is not tried whole
            if self.loaded.device.type != "cpu":
                torch.accelerator.empty_cache()
        left, right = (self._score(prefix, half) for half in batch.halves())
        return torch.cat([left[0], right[0]]), torch.cat([left[1], right[1]])

    def _hidden(self, prefix: Prefix, batch: Batch) -> torch.Tensor:
        """(b, t, d) last hidden states of a batch after a prefix; (1, t, d) where suffixes stand end to end."""
        if batch.layout:
            if prefix.layers is None:
                raise ValueError("suffixes end to end need an example before them")
            return run_packed(self._body, batch.ids, prefix.layers, batch.layout)
        cache = prefix.cache(batch.ids.shape[0]) if prefix.layers else None
        output = self._body(input_ids=batch.ids, past_key_values=cache, use_cache=cache is not None)
        return cast(torch.Tensor, output.last_hidden_state)

    def _statistics(self, hidden: torch.Tensor, batch: Batch) -> torch.Tensor:
        scored = hidden.reshape(-1, hidden.shape[-1])[batch.positions]  # (m, d)
        sums = torch.zeros(len(batch.rows), 2, dtype=self.sums_dtype, device=hidden.device)
        step = _COMPILED_CHUNK if self._compiled else _HEAD_CHUNK
        for start in range(0, scored.shape[0], step):
            part = slice(start, start + step)
            log_p = self._log_p(scored[part], batch.targets[part])
            miss = torch.expm1(log_p)  # p - 1, without the rounding of 1 - exp near p = 1
            sums.index_add_(0, batch.owners[part], torch.stack([miss.square(), log_p], dim=1).to(sums.dtype))
        return sums

    def _log_p(self, hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """(m,) float32 log probabilities of the tokens that (m, d) hidden states are to predict."""
        if self._compiled:
            return self._compiled(hidden, targets)
        logits: Any = self._head(hidden)
        rows = max(1, _LOGITS_AT_ONCE.get(logits.device.type, logits.numel()) // logits.shape[1])
        parts = zip(logits.split(rows), hidden.split(rows), targets[:, None].split(rows), strict=True)  # type: ignore[no-untyped-call]
        return torch.cat([self._logits(*part).log_softmax(1).gather(1, part[2]) for part in parts])[:, 0]

    def _logits(self, some: torch.Tensor, hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """(m, v) float32; in mixed precision the targets' own, on which most depends, from unrounded factors."""
        wide = some.float()
        if self._unrounded is not None:
            own = (hidden.float() * self._unrounded[targets[:, 0]]).sum(dim=1, keepdim=True)
            wide = wide.scatter(1, targets, own)
        return self._scaled(wide)

    def _scaled(self, logits: torch.Tensor) -> torch.Tensor:
        """Logits, float32, with the scalings that some families put after the output layer."""
        config = self.loaded.model.config
        if getattr(config, "logits_scaling", None):  # Granite
            logits = logits / config.logits_scaling
        if getattr(config, "logit_scale", None):  # Cohere
            logits = logits * config.logit_scale
        if getattr(config, "final_logit_softcapping", None):  # Gemma
            cap = config.final_logit_softcapping
            logits = torch.tanh(logits / cap) * cap
        return logits

    @torch.inference_mode()
    def _check_family(self) -> None:
        """Refuses models whose own forward pass does not agree with the parts that are used here."""
        config = self.loaded.model.config
        family = config.model_type
        kinds = set(getattr(config, "layer_types", None) or ())
        if not kinds <= _PLAIN_ATTENTION:
            raise ScoringError(
                f"models of the family {family!r} keep a running state that a shared example cannot be split from; "
                "take a model with attention layers only (Llama, Qwen2, Mistral, Gemma, Phi, GPT-2, OPT…)"
            )
        ids = torch.arange(8, 24, device=self.loaded.device)[None, :] % config.vocab_size
        expected = cast(Any, self.loaded.model)(input_ids=ids).logits[0].float()
        use_fast_attention(self.loaded.model)
        prefix = self.prefill(ids[0, :9].tolist())
        rest = self._body(input_ids=ids[:, 9:], past_key_values=prefix.cache(1), use_cache=True).last_hidden_state[0]
        got = self._scaled(self._head(rest).float())
        tolerance = 1e-3 if self.loaded.identity.dtype == "float32" else 0.1
        if not torch.allclose(got, expected[9:], rtol=tolerance, atol=tolerance * float(expected.abs().max())):
            raise ScoringError(
                f"models of the family {family!r} cannot be scored: their output differs when an example's cache is "
                "reused; take another model, or report this family"
            )

    @torch.inference_mode()
    def _agrees_end_to_end(self) -> bool:
        """Whether suffixes of different lengths have the same hidden states end to end as side by side."""
        ids = tuple((torch.arange(8, 40) % self.loaded.model.config.vocab_size).tolist())
        prefix, device = self.prefill(ids[:9]), self.loaded.device
        suffixes = [
            Suffix(ids[start : start + 3], ids[start + 3 : end]) for start, end in ((12, 30), (9, 14), (20, 29))
        ]
        padded, laid = pad(range(3), suffixes, device, whole=False), lay_end_to_end(range(3), suffixes, device)
        expected = self._hidden(prefix, padded).flatten(0, 1)[padded.positions].float()
        try:
            got = self._hidden(prefix, laid)[0, laid.positions].float()
        except TypeError:  # a family that takes no word of boundaries
            return False
        return torch.allclose(got, expected, rtol=0, atol=_END_TO_END_DIFFERENCE * float(expected.abs().max()))


def _out_of_memory(error: Exception) -> bool:
    """Whether the memory of a device, of the GPU of a Mac, or of a CPU was too little."""
    said = str(error)
    return isinstance(error, torch.OutOfMemoryError) or "out of memory" in said or "can't allocate memory" in said


def _no_room(positions: int) -> str:
    return (
        f"out of memory with a single sequence of {positions:,} tokens; "
        "close other programs, take a smaller model, or leave out the longest rows"
    )
