"""Making many small objects without Python looking for garbage among them meanwhile, which can take as long again."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_collection() -> Iterator[None]:
    """Keeps the search for cycles off inside the block; for blocks that make hundreds of thousands of objects at once.

    Threads may be inside at the same time: the first to leave turns it on again, which costs the others time only.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
