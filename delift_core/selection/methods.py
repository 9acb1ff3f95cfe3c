"""The catalogue of methods: name, title, one sentence, source, and what each needs. No arithmetic."""

from dataclasses import dataclass
from typing import Literal

Method = Literal[
    "random",
    "longest",
    "loss-high",
    "loss-middle",
    "loss-low",
    "ifd",
    "selectit",
    "deft-ucs",
    "k-center",
    "embedding-fl",
    "rds",
    "column-mean",
    "less",
]
Need = Literal["nothing", "passes over the pool", "utilities", "ratings", "gradients"]


@dataclass(frozen=True, slots=True)
class MethodEntry:
    """A method as shown to a curator."""

    title: str  # its name
    summary: str  # one sentence on which rows it prefers
    source: str  # where it was published
    needs: Need  # the most expensive input that it needs


METHODS: dict[Method, MethodEntry] = {
    "random": MethodEntry("Random", "Random order.", "baseline", "nothing"),
    "longest": MethodEntry(
        "Longest responses", "Most response tokens first.", "Zhao et al., arXiv 2402.04833", "passes over the pool"
    ),
    "loss-high": MethodEntry(
        "Highest loss",
        "Rows whose response the model finds least likely, per token.",
        "perplexity bands, Marion et al., arXiv 2309.04564",
        "passes over the pool",
    ),
    "loss-middle": MethodEntry(
        "Middle loss", "Rows nearest the median loss.", "Marion et al., arXiv 2309.04564", "passes over the pool"
    ),
    "loss-low": MethodEntry(
        "Lowest loss",
        "Rows whose response the model already finds likely.",
        "Marion et al., arXiv 2309.04564",
        "passes over the pool",
    ),
    "ifd": MethodEntry(
        "IFD",
        "Rows where the prompt helps least to predict the response; rows where it hurts come last.",
        "Superfiltering, Li et al., arXiv 2402.00530",
        "passes over the pool",
    ),
    "selectit": MethodEntry(
        "SelectIT",
        "Rows the model itself rates highly, and consistently under five prompts.",
        "Liu et al., arXiv 2402.16705",
        "ratings",
    ),
    "deft-ucs": MethodEntry(
        "DEFT-UCS",
        "The same share of every cluster: rows near its centre and rows far from it.",
        "Das and Khetan, arXiv 2310.16776",
        "passes over the pool",
    ),
    "k-center": MethodEntry(
        "k-center",
        "Each row as far as possible from all before it.",
        "Sener and Savarese, arXiv 1708.00489",
        "passes over the pool",
    ),
    "embedding-fl": MethodEntry(
        "Embedding coverage",
        "Facility Location on cosine similarity instead of utility: DELIFT (SE).",
        "Agarwal et al., arXiv 2411.04425",
        "passes over the pool",
    ),
    "rds": MethodEntry(
        "RDS+",
        "Rows nearest to each target row in turn (without a target, to each row).",
        "Ivison et al., arXiv 2503.01807",
        "passes over the pool",
    ),
    "column-mean": MethodEntry(
        "Mean utility",
        "Rows that help the others most on average: the utility without coverage.",
        "as Nuggets, Li et al., arXiv 2312.10302",
        "utilities",
    ),
    "less": MethodEntry(
        "LESS", "Rows whose gradient points the same way as the target's.", "Xia et al., arXiv 2402.04333", "gradients"
    ),
}

USES_SEED: frozenset[Method] = frozenset({"random", "deft-ucs", "less"})
"""Methods whose order depends on the seed."""
MODEL_METHODS: frozenset[Method] = frozenset({"ifd", "selectit", "less"})
"""Methods that ask the model about every row; the others order a pool from what scoring has measured."""
_NOT_A_METHOD = {
    "delift": ("DELIFT", "Agarwal et al., arXiv 2411.04425"),
    "given": ("Given rows", "drawn in an evaluation, or chosen elsewhere"),
}


def method_title(name: str) -> str:
    """The title of a method, of "delift", or of rows chosen elsewhere ("given")."""
    return _entry(name)[0]


def method_source(name: str) -> str:
    """Where a method was published, or where given rows came from."""
    return _entry(name)[1]


def _entry(name: str) -> tuple[str, str]:
    if name in _NOT_A_METHOD:
        return _NOT_A_METHOD[name]
    entry = next(entry for method, entry in METHODS.items() if method == name)
    return entry.title, entry.source
