"""The columns of a pool that quotas can be set on, and quotas over one of them.

A column is a facet (see `data.quality.facets`) whose labels are the groups. Quotas are over a single column, so that
every row belongs to exactly one group.
"""

from collections.abc import Sequence

import numpy as np

from delift_core.data.quality.facets import Facet, facets
from delift_core.errors import SelectionError
from delift_core.samples import Sample
from delift_core.selection.quotas import quotas_over
from delift_core.selection.request import QuotaRequest
from delift_core.selection.types import Quotas


def columns(pool: Sequence[Sample], response_tokens: np.ndarray | None = None) -> tuple[Facet, ...]:
    """The columns of a pool with at least two groups; every source is a group.

    Args:
        pool: n samples.
        response_tokens: (n,) integers; None leaves out the column of response lengths.
    """
    tokens = np.zeros(len(pool), dtype=np.int64) if response_tokens is None else response_tokens
    return facets(pool, tokens, most_sources=None)


def quotas_from(asked: Sequence[QuotaRequest], found: Sequence[Facet]) -> Quotas | None:
    """Resolves the quotas of a request; None if there are none.

    Args:
        asked: quotas with the name of their column, in any case.
        found: the pool's columns.

    Raises:
        SelectionError: the quotas name several columns, an unknown column or group, or one group twice.
    """
    if not asked:
        return None
    names = list(dict.fromkeys(one.column for one in asked))
    wanted = {name.casefold() for name in names}
    if len(wanted) > 1:
        raise SelectionError(f"Quotas are over {' and '.join(map(repr, names))}: all quotas must be over one column.")
    by_name = {column_name(facet).casefold(): facet for facet in found}
    facet = by_name.get(names[0].casefold())
    if facet is None:
        known = ", ".join(column_name(facet) for facet in found) or "none"
        raise SelectionError(f"This pool has no column {names[0]!r} for quotas: the columns are {known}.")
    return quotas_over(column_name(facet), facet.labels, facet.codes, [one.quota for one in asked])


def column_name(facet: Facet) -> str:
    """The name of a column in a quota."""
    return facet.name.strip("“”")
