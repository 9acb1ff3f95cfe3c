"""Utilities that are put together once: read back as they were, and put together again when the file is no good."""

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_array

from delift_core.scoring.estimation.matrix_files import Utilities, UtilitiesFile


def matrix(seed: int, shape: tuple[int, int]) -> csr_array:
    rng = np.random.default_rng(seed)
    dense = rng.normal(size=shape).astype(np.float32) * (rng.random(shape) < 0.4)
    stored = csr_array(dense)
    stored.data[:1] = 0  # a pair that was scored and changes nothing stays a pair that was scored
    return stored


FULL = Utilities(matrix(0, (6, 6)), np.arange(6, dtype=np.float32), matrix(1, (2, 6)), matrix(2, (6, 3)), None)
MIXED = Utilities(np.eye(3, dtype=np.float32), np.ones(3, np.float32), None, None, matrix(3, (3, 3)))


def file(folder: Path, plan: bytes = b"pairs", metric: str = "pmi") -> UtilitiesFile:
    (folder / "plan.npz").write_bytes(plan)
    return UtilitiesFile(folder, folder / "plan.npz", ("a", "b"), metric)  # type: ignore[arg-type]


def assert_equal(one: object, other: object) -> None:
    assert type(one) is type(other)
    if isinstance(one, csr_array) and isinstance(other, csr_array):
        assert one.shape == other.shape
        for part in ("data", "indices", "indptr"):
            np.testing.assert_array_equal(getattr(one, part), getattr(other, part), strict=True)
    elif one is not None:
        np.testing.assert_array_equal(one, other, strict=True)  # type: ignore[call-overload]


@pytest.mark.parametrize("utilities", [FULL, MIXED])
def test_what_was_kept_is_read_back_bit_for_bit(tmp_path: Path, utilities: Utilities) -> None:
    assert file(tmp_path).read() is None
    file(tmp_path).write(utilities)
    found = file(tmp_path).read()
    assert found is not None
    for field in fields(Utilities):
        assert_equal(getattr(found, field.name), getattr(utilities, field.name))


def test_another_plan_or_metric_is_another_file(tmp_path: Path) -> None:
    file(tmp_path).write(FULL)
    assert file(tmp_path, plan=b"more pairs").read() is None
    assert file(tmp_path, metric="euclidean").read() is None


def test_a_damaged_file_is_as_none(tmp_path: Path) -> None:
    file(tmp_path).write(FULL)
    (path,) = (tmp_path / "assembled").iterdir()
    data = bytearray(path.read_bytes())
    data[200] ^= 0xFF
    path.write_bytes(data)
    assert file(tmp_path).read() is None
    path.write_bytes(data[:100])
    assert file(tmp_path).read() is None
