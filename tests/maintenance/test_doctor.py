from pathlib import Path

import pytest

from delift_core.maintenance import status as maintenance
from delift_core.maintenance.status import doctor


def test_doctor_finds_a_workspace_it_cannot_open(tmp_path: Path) -> None:
    (tmp_path / maintenance.DATABASE_NAME).write_bytes(b"not a database")
    found = {check.label: check for check in doctor(tmp_path)}
    assert not found["Workspace"].ok and "cannot be opened" in found["Workspace"].detail
    assert found["Python"].ok and found["Packages"].ok and found["Torch"].ok


def test_doctor_makes_no_workspace(tmp_path: Path) -> None:
    found = {check.label: check for check in doctor(tmp_path / "a" / "b")}
    assert found["Workspace"].ok and "will be made" in found["Workspace"].detail
    assert not (tmp_path / "a").exists()


def test_doctor_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maintenance, "PACKAGES", ("numpy", "no-such-package"))
    monkeypatch.setattr(maintenance, "bundled_available", lambda: False)
    monkeypatch.setattr(maintenance, "LEAST_DISK", 1 << 60)
    found = {check.label: check for check in doctor(tmp_path)}
    assert found["Packages"].detail.startswith("missing: no-such-package; run: pip install")
    assert found["Bundled model"].detail.endswith("not installed; run: python -m delift_core install-model")
    assert not any(found[label].ok for label in ("Packages", "Bundled model", "Free disk"))
