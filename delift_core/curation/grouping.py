"""Which columns of a pool quotas can be over, and quotas over one of them.

A column is a facet (see `composition`): its labels are the groups. Quotas are over one column at a time, since only
then do the groups part the pool.
"""

from collections.abc import Sequence

import numpy as np

from delift_core.data.quality.facets import Facet, facets
from delift_core.errors import SelectionError
from delift_core.samples import Sample
from delift_core.selection.quotas import quotas_over
from delift_core.selection.request import AskedQuota
from delift_core.selection.types import Quotas


def columns(pool: Sequence[Sample], response_tokens: np.ndarray | None = None) -> tuple[Facet, ...]:
    """The columns of a pool that tell its rows apart, every source a group of its own.

    Args:
        pool: n samples.
        response_tokens: (n,) whole numbers; without them there is no column of lengths.
    """
    tokens = np.zeros(len(pool), dtype=np.int64) if response_tokens is None else response_tokens
    return facets(pool, tokens, most_sources=None)


def quotas_from(asked: Sequence[AskedQuota], found: Sequence[Facet]) -> Quotas | None:
    """The quotas that were asked for; None when none were.

    Args:
        asked: with the column of each by its name, in any case.
        found: the pool's columns.

    Raises:
        SelectionError: they are over several columns, the pool has no such column or group, or two are of one group.
    """
    if not asked:
        return None
    names = list(dict.fromkeys(one.column for one in asked))
    wanted = {name.casefold() for name in names}
    if len(wanted) > 1:
        raise SelectionError(
            f"Quotas are over {' and '.join(map(repr, names))}: groups of one column part the rows, give one column."
        )
    by_name = {column_name(facet).casefold(): facet for facet in found}
    facet = by_name.get(names[0].casefold())
    if facet is None:
        known = ", ".join(column_name(facet) for facet in found) or "none"
        raise SelectionError(f"No column {names[0]!r} tells the rows of this pool apart: the columns are {known}.")
    return quotas_over(column_name(facet), facet.labels, facet.codes, [one.quota for one in asked])


def column_name(facet: Facet) -> str:
    """What a column is called in a quota."""
    return facet.name.strip("“”")
