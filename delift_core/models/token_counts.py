"""Token counts of rows before scoring, from a model's tokenizer and template, without its weights."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from delift_core.errors import ScoringError
from delift_core.models.loading import read_outline
from delift_core.models.prompts import Template, make_template
from delift_core.samples import Sample


@dataclass(frozen=True, slots=True)
class TokenCounts:
    """Tokens of each row as it will be scored, before truncation.

    Attributes:
        prompt, response: (n,) int64; both 0 for a row that the template refuses.
    """

    prompt: np.ndarray
    response: np.ndarray

    @property
    def total(self) -> np.ndarray:
        """(n,) int64, prompt and response together."""
        result: np.ndarray = self.prompt + self.response
        return result


def count_tokens(samples: Sequence[Sample], template: Template) -> TokenCounts:
    """Counts the tokens of samples with a template and its tokenizer."""
    counts = np.zeros((len(samples), 2), dtype=np.int64)
    for row, sample in enumerate(samples):
        try:
            encoded = template.encode(sample.messages)
        except ScoringError:
            continue
        counts[row] = len(encoded.query_alone), len(encoded.response)
    return TokenCounts(counts[:, 0], counts[:, 1])


def count_tokens_for_model(samples: Sequence[Sample], model: str) -> TokenCounts:
    """Counts the tokens of samples for a model (a hub id, a folder or "bundled").

    Raises:
        ModelError: the tokenizer cannot be found.
    """
    return count_tokens(samples, make_template(read_outline(model, "float32").tokenizer))
