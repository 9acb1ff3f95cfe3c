"""One tiny model folder for all jobs."""

from pathlib import Path

import pytest

from tests.tiny_models import save_model


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model with a byte tokenizer, to be read only."""
    return save_model(tmp_path_factory.mktemp("model"))
