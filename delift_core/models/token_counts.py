"""How many tokens a model makes of each row, before scoring: from its tokenizer and template, without its weights."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from delift_core.errors import ScoringError
from delift_core.models.loading import outline_model
from delift_core.models.prompts import Template, make_template
from delift_core.samples import Sample


@dataclass(frozen=True, slots=True)
class TokenCounts:
    """Tokens of each row as it is scored, nothing cut.

    Attributes:
        prompt, response: (n,) int64; 0 in both for a row that the template refuses.
    """

    prompt: np.ndarray
    response: np.ndarray

    @property
    def total(self) -> np.ndarray:
        """(n,) int64, both together."""
        result: np.ndarray = self.prompt + self.response
        return result


def count_tokens(samples: Sequence[Sample], template: Template) -> TokenCounts:
    """Counts with a template, which holds its tokenizer."""
    counts = np.zeros((len(samples), 2), dtype=np.int64)
    for row, sample in enumerate(samples):
        try:
            encoded = template.encode(sample.messages)
        except ScoringError:
            continue
        counts[row] = len(encoded.query_alone), len(encoded.response)
    return TokenCounts(counts[:, 0], counts[:, 1])


def count_tokens_of(samples: Sequence[Sample], model: str) -> TokenCounts:
    """Counts with a model by its name (a hub id, a folder or "bundled").

    Raises:
        ModelError: its tokenizer cannot be found.
    """
    return count_tokens(samples, make_template(outline_model(model, "float32").tokenizer))
