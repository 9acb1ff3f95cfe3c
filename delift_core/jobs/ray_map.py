"""One function applied to many things on the Ray cluster that this process is connected to; see `ray_cluster`."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from delift_core.jobs.backends import Placement
from delift_core.jobs.ray_cluster import connected, ray_library
from delift_core.selection.partitioned import MapParts

_Thing = TypeVar("_Thing")
_Result = TypeVar("_Result")


class RayMap:
    """As the built-in `map`, each call being a task of the cluster."""

    def __init__(self, *, memory_bytes: int = 0) -> None:
        """Args:
        memory_bytes: what a task needs; the cluster runs no more of them on a machine than that allows.
        """
        self._memory = memory_bytes

    def __call__(self, work: Callable[[_Thing], _Result], things: Iterable[_Thing], /) -> Iterator[_Result]:
        """Results in the order of the things.

        Raises:
            ScoringError: Ray is not installed.
        """
        ray = ray_library()
        task = ray.remote(_call).options(num_cpus=1, memory=self._memory)
        shared = ray.put(work)
        return iter(ray.get([task.remote(shared, thing) for thing in things]))


@contextmanager
def parts_worked_on(placement: Placement) -> Iterator[MapParts]:
    """Where the partitioned engine works on its parts: on the cluster that scores, or here and one by one.

    Raises:
        ScoringError: Ray is not installed, or no cluster answers.
    """
    if placement.backend == "local":
        yield map
        return
    with connected(placement.ray_address):
        yield RayMap()


def _call(work: Callable[[_Thing], _Result], thing: _Thing) -> _Result:
    return work(thing)
