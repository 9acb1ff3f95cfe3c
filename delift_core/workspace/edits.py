"""The log of what a curator changed: one event for one or many samples, undone and redone without limit.

Events are never deleted and never rewritten; only their state moves (applied, undone, discarded). What the edits
make of a selection is computed in `delift_core.curation.subset`, not here.
"""

from collections.abc import Sequence

from delift_core.errors import WorkspaceError
from delift_core.workspace.database import Cursor, Database, Row, fetch_one, missing, required_name, with_zone
from delift_core.workspace.records import Edit, EditAction, EditState, Marks, NamedFilter, Override, Standing

_COLUMNS = "selection_id, number, action, sample_ids, author, why, created_at, state, detail, moved_by"
_LONGEST_TAG = 60

_TAGS = """
SELECT sample_id, detail
FROM (SELECT unnest(sample_ids) AS sample_id, action, detail, number FROM edits
      WHERE selection_id = ? AND state = 'applied' AND action IN ('tag', 'untag'))
GROUP BY sample_id, detail HAVING arg_max(action, number) = 'tag' ORDER BY sample_id, max(number), detail"""

_SAID = """
SELECT sample_id, action, arg_max(detail, number) AS said
FROM (SELECT unnest(sample_ids) AS sample_id, action, detail, number FROM edits
      WHERE selection_id = ? AND state = 'applied' AND action IN ('note', 'text'))
GROUP BY sample_id, action HAVING said <> '' ORDER BY max(number), sample_id"""


class EditLog:
    """The edits of the workspace's selections."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def apply(
        self,
        selection_id: str,
        action: EditAction,
        sample_ids: Sequence[str],
        *,
        author: str,
        why: str = "",
        detail: str = "",
    ) -> int:
        """Records one edit; edits that were undone can no longer be redone.

        Args:
            selection_id: which selection.
            action: "keep" or "drop" whatever the optimiser chose; "reset" gives the decision back to it. "tag" and
                "untag" put a tag on rows and take it off; "note" and "text" say or take back a note, a new text.
            sample_ids: ids of samples of the selection's pool, at least one; repeats count once.
            author: who; a visitor's edits bear the visitor's name, whatever is said.
            why: the reason, may be empty.
            detail: the tag, the note, or the record with the new text.

        Returns:
            The number of the edit within the selection, counted from 1.

        Raises:
            WorkspaceError: there is no such selection, no sample was named, one is not in the pool, or a tag is none.
        """
        if action in ("tag", "untag") and not 0 < len(detail.strip()) <= _LONGEST_TAG:
            raise WorkspaceError(f"a tag has 1 to {_LONGEST_TAG} characters, not {len(detail.strip())}: choose another")
        ids = list(dict.fromkeys(sample_ids))
        if not ids:
            raise WorkspaceError(f"edit {action!r} on selection {selection_id} names no sample: choose at least one")
        with self._database.write("edit") as cursor:
            _require_selection(cursor, selection_id)
            _require_in_pool(cursor, selection_id, ids)
            _move(cursor, selection_id, "undone", "discarded")
            row = fetch_one(
                cursor, "SELECT coalesce(max(number), 0) + 1 FROM edits WHERE selection_id = ?", [selection_id]
            )
            assert row is not None  # an aggregate without GROUP BY has one row
            number = int(row[0])
            signed, now = self._database.signed(author), self._database.now()
            cursor.execute(
                f"INSERT INTO edits ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, 'applied', ?, '')",
                [selection_id, number, action, ids, signed, why, now, detail.strip()],
            )
        return number

    def undo(self, selection_id: str, *, author: str = "") -> Edit | None:
        """Takes back the last edit that counts and returns it; None when there is none.

        Args:
            author: who takes it back.

        Raises:
            WorkspaceError: there is no such selection.
        """
        return self._step(selection_id, "max", "applied", "undone", author)

    def redo(self, selection_id: str, *, author: str = "") -> Edit | None:
        """Applies again the edit that was undone last and returns it; None when there is none.

        Args:
            author: who applies it again.

        Raises:
            WorkspaceError: there is no such selection.
        """
        return self._step(selection_id, "min", "undone", "applied", author)

    def version(self, selection_id: str) -> tuple[int, int]:
        """Two numbers that change whenever the edits that count do: edits ever made, and edits that count now.

        The log only grows, and those that count are its first, without those overtaken: equal numbers, equal edits.
        This is a read-only operation.
        """
        with self._database.read() as cursor:
            return _version(cursor, selection_id)

    def can_undo(self, selection_id: str) -> int:
        """How many edits can be undone. This is a read-only operation."""
        return self._count(selection_id, "applied")

    def can_redo(self, selection_id: str) -> int:
        """How many edits can be redone. This is a read-only operation."""
        return self._count(selection_id, "undone")

    def overrides(self, selection_id: str) -> dict[str, Override]:
        """What the edits that count say now: sample id to "keep" or "drop", last edited last.

        Raises:
            WorkspaceError: there is no such selection.
        """
        with self._database.read() as cursor:
            _require_selection(cursor, selection_id)
            return _overrides(cursor, selection_id)

    def marks(self, selection_id: str) -> Marks:
        """Tags, notes and new texts, as the edits that count say now.

        Raises:
            WorkspaceError: there is no such selection.
        """
        with self._database.read() as cursor:
            _require_selection(cursor, selection_id)
            return _marks(cursor, selection_id)

    def standing(self, selection_id: str) -> Standing:
        """What the edits that count come to, all of one moment.

        Raises:
            WorkspaceError: there is no such selection.
        """
        with self._database.read() as cursor:
            _require_selection(cursor, selection_id)
            version = _version(cursor, selection_id)
            return Standing(version, _overrides(cursor, selection_id), _marks(cursor, selection_id))

    def history(self, selection_id: str) -> tuple[Edit, ...]:
        """All edits ever made, oldest first, with those undone and discarded.

        Raises:
            WorkspaceError: there is no such selection.
        """
        with self._database.read() as cursor:
            _require_selection(cursor, selection_id)
            rows = cursor.execute(
                f"SELECT {_COLUMNS} FROM edits WHERE selection_id = ? ORDER BY number", [selection_id]
            ).fetchall()
        return tuple(_edit(row) for row in rows)

    def _step(self, selection_id: str, which: str, before: EditState, after: EditState, author: str) -> Edit | None:
        with self._database.write("edit") as cursor:
            _require_selection(cursor, selection_id)
            row = fetch_one(
                cursor,
                f"SELECT {which}(number) FROM edits WHERE selection_id = ? AND state = ?",
                [selection_id, before],
            )
            if row is None or row[0] is None:
                return None
            _move(cursor, selection_id, before, after, row[0])
            cursor.execute(
                "UPDATE edits SET moved_by = ? WHERE selection_id = ? AND number = ?",
                [self._database.signed(author), selection_id, row[0]],
            )
            moved = fetch_one(
                cursor, f"SELECT {_COLUMNS} FROM edits WHERE selection_id = ? AND number = ?", [selection_id, row[0]]
            )
        return None if moved is None else _edit(moved)

    def _count(self, selection_id: str, state: EditState) -> int:
        with self._database.read() as cursor:
            _require_selection(cursor, selection_id)
            row = fetch_one(
                cursor, "SELECT count(*) FROM edits WHERE selection_id = ? AND state = ?", [selection_id, state]
            )
        return 0 if row is None else int(row[0])


def _version(cursor: Cursor, selection_id: str) -> tuple[int, int]:
    counts = "SELECT count(*), count(*) FILTER (state = 'applied') FROM edits WHERE selection_id = ?"
    row = fetch_one(cursor, counts, [selection_id])
    assert row is not None  # an aggregate without GROUP BY has one row
    return int(row[0]), int(row[1])


def _overrides(cursor: Cursor, selection_id: str) -> dict[str, Override]:
    rows = cursor.execute(
        """SELECT sample_id, arg_max(action, number) AS verdict
           FROM (SELECT unnest(sample_ids) AS sample_id, action, number FROM edits
                 WHERE selection_id = ? AND state = 'applied' AND action IN ('keep', 'drop', 'reset'))
           GROUP BY sample_id HAVING verdict <> 'reset' ORDER BY max(number), sample_id""",
        [selection_id],
    ).fetchall()
    return dict(rows)


def _marks(cursor: Cursor, selection_id: str) -> Marks:
    tagged = cursor.execute(_TAGS, [selection_id]).fetchall()
    said = cursor.execute(_SAID, [selection_id]).fetchall()
    tags: dict[str, tuple[str, ...]] = {}
    for sample_id, tag in tagged:
        tags[sample_id] = (*tags.get(sample_id, ()), tag)
    by_kind: dict[str, dict[str, str]] = {"note": {}, "text": {}}
    for sample_id, action, detail in said:
        by_kind[action][sample_id] = detail
    return Marks(tags, by_kind["note"], by_kind["text"])


def _require_selection(cursor: Cursor, selection_id: str) -> None:
    if fetch_one(cursor, "SELECT 1 FROM selections WHERE id = ?", [selection_id]) is None:
        raise missing("selection", selection_id)


def _require_in_pool(cursor: Cursor, selection_id: str, sample_ids: list[str]) -> None:
    stranger = fetch_one(
        cursor,
        """SELECT sample_id FROM (SELECT unnest(?::VARCHAR[]) AS sample_id)
           WHERE sample_id NOT IN (
               SELECT samples.sample_id FROM samples JOIN runs ON samples.dataset_id = runs.pool_id
               JOIN selections ON selections.run_id = runs.id WHERE selections.id = ?)
           LIMIT 1""",
        [sample_ids, selection_id],
    )
    if stranger is not None:
        raise WorkspaceError(
            f"sample {stranger[0]!r} is not in the pool of selection {selection_id}: name samples of that pool"
        )


def _move(cursor: Cursor, selection_id: str, before: EditState, after: EditState, number: int | None = None) -> None:
    """Moves the edits in one state (or the one with this number) to another state."""
    cursor.execute(
        "UPDATE edits SET state = ? WHERE selection_id = ? AND state = ? AND (number = ? OR ? IS NULL)",
        [after, selection_id, before, number, number],
    )


def _edit(row: Row) -> Edit:
    selection_id, number, action, sample_ids, author, why, created_at, state, detail, moved_by = row
    when = with_zone(created_at)
    return Edit(selection_id, number, action, tuple(sample_ids), author, why, when, state, detail, moved_by)


class FilterStore:
    """The workspace's named filters."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def save(self, dataset_id: str, name: str, query: str) -> NamedFilter:
        """Puts a filter under a name, in place of any that had it.

        Args:
            dataset_id: the pool whose rows it is about.
            name: for the curator, not blank.
            query: what it says, as it stands in a page's address.

        Raises:
            WorkspaceError: there is no such data set, or the name is blank.
        """
        name = required_name(name, "filter")
        with self._database.write("filter") as cursor:
            if fetch_one(cursor, "SELECT 1 FROM datasets WHERE id = ?", [dataset_id]) is None:
                raise missing("data set", dataset_id)
            cursor.execute(
                "INSERT OR REPLACE INTO filters VALUES (?, ?, ?, ?)", [dataset_id, name, query, self._database.now()]
            )
        return NamedFilter(name, query)

    def records(self, dataset_id: str) -> tuple[NamedFilter, ...]:
        """The filters of a pool, by name. This is a read-only operation."""
        with self._database.read() as cursor:
            rows = cursor.execute(
                "SELECT name, query FROM filters WHERE dataset_id = ? ORDER BY name", [dataset_id]
            ).fetchall()
        return tuple(NamedFilter(name, query) for name, query in rows)

    def delete(self, dataset_id: str, name: str) -> None:
        """Forgets a filter.

        Raises:
            WorkspaceError: there is none with this name.
        """
        with self._database.write("filter") as cursor:
            rows = cursor.execute(
                "DELETE FROM filters WHERE dataset_id = ? AND name = ? RETURNING name", [dataset_id, name]
            )
            if not rows.fetchall():
                raise missing("filter", name)
