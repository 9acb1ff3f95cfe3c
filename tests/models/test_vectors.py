"""Likeness of samples by their embeddings."""

import numpy as np
import pytest

from delift_core.errors import DeliftError
from delift_core.models.vectors import cosine_similarity


def test_similarity_is_the_cosine_whatever_the_lengths() -> None:
    embeddings = np.array([[1, 0], [3, 3], [0, 2], [-5, 0], [0, 0]], dtype=np.float32)
    assert cosine_similarity(embeddings, 0) == pytest.approx([1, 2**-0.5, 0, -1, 0])
    assert cosine_similarity(embeddings, 4).tolist() == [0, 0, 0, 0, 1]  # a row is like itself


def test_a_position_outside_is_refused() -> None:
    with pytest.raises(DeliftError, match="position 2 is not among 2"):
        cosine_similarity(np.ones((2, 3), dtype=np.float32), 2)
