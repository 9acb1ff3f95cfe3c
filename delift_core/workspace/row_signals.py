"""Cached signals of a data set's rows: for each facet, one label per row."""

import json

import numpy as np

from delift_core.data.quality.facets import Facet
from delift_core.workspace.database import Database, fetch_one, get_row

SIGNALS_VERSION = 1  # raised when the signals of the same rows change; signals of earlier versions are not read


class SignalStore:
    """The workspace's signals; an unknown data set raises `WorkspaceError`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def keep(self, dataset_id: str, facets: tuple[Facet, ...]) -> None:
        """Stores the signals of a data set; earlier ones are replaced."""
        rows = [
            [dataset_id, place, SIGNALS_VERSION, facet.name, json.dumps(facet.labels), _packed(facet)]
            for place, facet in enumerate(facets)
        ]
        with self._database.write("observe") as cursor:
            get_row(cursor, "datasets", "id", dataset_id)
            cursor.execute("DELETE FROM signals WHERE dataset_id = ?", [dataset_id])
            # The row at place -1 says that the signals were computed, also if there are no facets.
            for row in [[dataset_id, -1, SIGNALS_VERSION, "", "[]", b""], *rows]:
                cursor.execute("INSERT INTO signals VALUES (?, ?, ?, ?, ?, ?)", row)

    def known(self, dataset_id: str) -> bool:
        """Whether the signals of a data set are stored."""
        with self._database.read() as cursor:
            query = "SELECT 1 FROM signals WHERE dataset_id = ? AND version = ? AND place = -1"
            return fetch_one(cursor, query, [dataset_id, SIGNALS_VERSION]) is not None

    def of(self, dataset_id: str) -> tuple[Facet, ...] | None:
        """The signals of a data set; None if they are not stored."""
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
