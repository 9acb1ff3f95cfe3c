"""DELIFT Studio's core: choose the part of an instruction data set that is worth fine-tuning on.

The names of `__all__` are the Python API, see `delift_core.api`. They are imported when the first of them is used, so
that importing the package costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from delift_core.api import (
        METHODS,
        ColumnMapping,
        Dataset,
        DeliftError,
        EvaluationOptions,
        FineTuning,
        Report,
        ScoredPool,
        ScoringOptions,
        Subset,
        Workspace,
        evaluate,
        load,
        score,
        select,
    )

__version__ = "0.2.0"
__all__ = [
    "load",
    "score",
    "select",
    "evaluate",
    "ScoredPool",
    "Subset",
    "Report",
    "ScoringOptions",
    "EvaluationOptions",
    "FineTuning",
    "Dataset",
    "ColumnMapping",
    "Workspace",
    "METHODS",
    "DeliftError",
    "__version__",
]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("delift_core.api"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
