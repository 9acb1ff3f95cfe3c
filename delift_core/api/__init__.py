"""The Python API: rows in, a subset out.

    import delift_core as delift

    scored = delift.score("pool.jsonl")
    subset = delift.select(scored, budget="30%")
    subset.export("subset.jsonl")

Rows are a path, a `hub:` name, a list of dicts, a `datasets.Dataset` or a pandas `DataFrame`. This module joins the
parts of `delift_core` and holds no arithmetic of its own.
"""

from delift_core.api.chosen_subset import EvaluationOptions, Subset, evaluate, select
from delift_core.api.scored_pool import ScoredPool, ScoringOptions, load, score
from delift_core.curation.model_text import ModelReader, ModelText
from delift_core.data.loading import Dataset
from delift_core.errors import DeliftError
from delift_core.evaluation.evaluation_request import FineTuning
from delift_core.evaluation.report import EvaluationReport as Report
from delift_core.samples import ColumnMapping
from delift_core.selection.methods import METHODS
from delift_core.workspace import Workspace

__all__ = [
    "load",
    "score",
    "select",
    "evaluate",
    "ModelReader",
    "ModelText",
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
]
