"""Everything that a scoring job does before it needs the device: check the model, read its tokenizer, encode the rows.

No weights are loaded here.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from delift_core.errors import ScoringError
from delift_core.jobs.backends import HERE, Placement, ensure_placeable
from delift_core.models.devices import DeviceName, DtypeName, Precision, resolve_precision
from delift_core.models.encoded import EncodedSample, fit_to_context
from delift_core.models.loading import ModelIdentity, read_outline
from delift_core.models.model_files import check_model
from delift_core.models.prompts import TEMPLATE_VERSION, Rendering, Template, TemplateChoice, WholePairs, make_template
from delift_core.samples import Conversation
from delift_core.scoring.forecast import RunSamples
from delift_core.scoring.pair_spec import ALL_PAIRS, PairBudget
from delift_core.scoring.store import ScoringContext
from delift_core.system.memory import ensure_libraries_fit

JobMode = Literal["forecast", "score"]


@dataclass(frozen=True, slots=True)
class ScoringRequest:
    """What to score, with which model, and where the blocks are stored; mode "forecast" stops after the calibration."""

    mode: JobMode
    model: str
    device: DeviceName
    dtype: DtypeName
    template: TemplateChoice
    utility_folder: str
    samples: RunSamples
    placement: Placement = HERE
    pairs: PairBudget = ALL_PAIRS
    template_arguments: str = ""  # of the chat template, a JSON object as text


@dataclass(frozen=True, slots=True)
class Refusal:
    """A sample that cannot be scored with this model."""

    content_hash: str
    reason: str


@dataclass(frozen=True, slots=True)
class Prepared:
    """A job that is ready for the device.

    Attributes:
        samples: the samples of the request that can be scored.
        identity: of the model; its precision is a guess if `certain` is False.
        certain: False if the machines of a cluster decide the precision.
        has_calls: whether any row has tool calls.
    """

    template: Template
    identity: ModelIdentity
    encoded: Mapping[str, EncodedSample]
    refused: tuple[Refusal, ...]
    samples: RunSamples
    certain: bool = True
    has_calls: bool = False

    @property
    def context(self) -> ScoringContext:
        """What the results depend on, which names their folder."""
        return scoring_context(self.identity, self.template)

    def whole_pairs(self, conversations: Mapping[str, Conversation]) -> WholePairs | None:
        """What renders the pairs that cannot be cut into prefix and suffix; None if all can."""
        if not any("pairs-whole" in row.notes for row in self.encoded.values()):
            return None
        return WholePairs(self.template, conversations, self.identity.context_length)

    def rendering(self, sharing: Literal["prefix", "whole", ""]) -> Rendering:
        """How the rows are written for the model, of which is known how it shares examples."""
        notes = Counter(note for row in self.encoded.values() for note in sorted(row.notes))
        arguments = self.template.arguments_as if self.has_calls else ""
        return Rendering(self.template.name, sharing, dict(sorted(notes.items())), arguments)

    def pool_tokens(self) -> np.ndarray:
        """(n,) int64, tokens of prompt and response of each pool sample that can be scored, for a token budget."""
        rows = (self.encoded[name] for name in self.samples.pool)
        return np.array([row.length for row in rows], dtype=np.int64)


def prepare(request: ScoringRequest, conversations: Mapping[str, Conversation]) -> Prepared:
    """Reads the tokenizer and configuration of the model, and encodes the rows.

    Raises:
        ModelError: the model or the device does not exist.
        ScoringError: no pool sample can be scored, Ray is not installed, or memory is too small for the libraries.
    """
    ensure_placeable(request.placement)
    ensure_libraries_fit()
    check_model(request.model)
    precision = _precision(request)
    outline = read_outline(request.model, precision or "float32")
    template = make_template(outline.tokenizer, request.template, request.template_arguments)
    encoded, refused = encode_samples(template, conversations, outline.identity.context_length)
    samples = request.samples.only(encoded)
    if not samples.pool:
        raise ScoringError(f"no pool sample can be scored: {refused[0].reason if refused else 'the pool is empty'}")
    calls = any(message.calls for one in conversations.values() for message in one.messages)
    return Prepared(template, outline.identity, encoded, refused, samples, precision is not None, calls)


def encode_samples(
    template: Template, conversations: Mapping[str, Conversation], context_length: int
) -> tuple[dict[str, EncodedSample], tuple[Refusal, ...]]:
    """Token ids of every sample that can be scored, and the reason for each that cannot."""
    whole, refused = template.encode_all(conversations)
    encoded: dict[str, EncodedSample] = {}
    for digest, sample in whole.items():
        try:
            encoded[digest] = fit_to_context(sample, context_length)
        except ScoringError as error:
            refused[digest] = error
    return encoded, tuple(Refusal(digest, str(refused[digest])) for digest in conversations if digest in refused)


def scoring_context(identity: ModelIdentity, template: Template) -> ScoringContext:
    """The scoring context of a model with a template."""
    return ScoringContext(
        identity.name,
        identity.revision,
        identity.dtype,
        template.name,
        TEMPLATE_VERSION,
        identity.context_length,
        template.arguments,
    )


def _precision(request: ScoringRequest) -> Precision | None:
    if request.placement.backend == "local":
        return resolve_precision(request.device, request.dtype)
    if request.dtype != "auto":
        return request.dtype
    return "float32" if request.device == "cpu" else None
