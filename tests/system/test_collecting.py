"""The search for garbage is off inside the block, and on again whatever happens there."""

import gc

import pytest

from delift_core.system.processes import garbage_collection_paused


def test_off_inside_and_on_again_also_after_an_error() -> None:
    assert gc.isenabled()
    with pytest.raises(ValueError), garbage_collection_paused():
        assert not gc.isenabled()
        with garbage_collection_paused():
            assert not gc.isenabled()
        assert not gc.isenabled()
        raise ValueError
    assert gc.isenabled()
