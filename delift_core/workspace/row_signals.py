"""Signals of a data set's rows, worked out once: one label a row for each facet."""

import json

import numpy as np

from delift_core.data.quality.facets import Facet
from delift_core.workspace.database import Database, fetch_one, missing

# Raised when the signals of the same rows would come out otherwise; what an earlier version left is not read.
SIGNALS_VERSION = 1


class SignalStore:
    """The workspace's signals."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def keep(self, dataset_id: str, facets: tuple[Facet, ...]) -> None:
        """Keeps the signals of a data set in place of any that it had.

        Raises:
            WorkspaceError: there is no such data set.
        """
        rows = [
            [dataset_id, place, SIGNALS_VERSION, facet.name, json.dumps(facet.labels), _packed(facet)]
            for place, facet in enumerate(facets)
        ]
        with self._database.write("observe") as cursor:
            if fetch_one(cursor, "SELECT 1 FROM datasets WHERE id = ?", [dataset_id]) is None:
                raise missing("data set", dataset_id)
            cursor.execute("DELETE FROM signals WHERE dataset_id = ?", [dataset_id])
            # A row that names no facet says that the signals are known, also where there are none.
            for row in [[dataset_id, -1, SIGNALS_VERSION, "", "[]", b""], *rows]:
                cursor.execute("INSERT INTO signals VALUES (?, ?, ?, ?, ?, ?)", row)

    def known(self, dataset_id: str) -> bool:
        """Whether the signals of a data set were worked out. This is a read-only operation."""
        with self._database.read() as cursor:
            query = "SELECT 1 FROM signals WHERE dataset_id = ? AND version = ? AND place = -1"
            return fetch_one(cursor, query, [dataset_id, SIGNALS_VERSION]) is not None

    def of(self, dataset_id: str) -> tuple[Facet, ...] | None:
        """The signals of a data set; None where they were not worked out yet. This is a read-only operation."""
        with self._database.read() as cursor:
            rows = cursor.execute(
                "SELECT place, name, labels, codes FROM signals WHERE dataset_id = ? AND version = ? ORDER BY place",
                [dataset_id, SIGNALS_VERSION],
            ).fetchall()
        if not rows:
            return None
        return tuple(
            Facet(name, tuple(json.loads(labels)), np.frombuffer(codes, "<i2").astype(np.int64))
            for place, name, labels, codes in rows
            if place >= 0
        )


def _packed(facet: Facet) -> bytes:
    return facet.codes.astype("<i2").tobytes()  # a facet has a few labels
