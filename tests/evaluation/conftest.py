"""The model of the evaluation's tests."""

import pytest

from tests.tiny_models import save_model


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of a tiny model."""
    return str(save_model(tmp_path_factory.mktemp("model")))
