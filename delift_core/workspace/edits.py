"""The curator's edits, with undo and redo, the rows that were read, and the named filters.

Edits are never deleted: only their state changes (applied, undone, discarded). `curation.subset` applies them to a
selection.
"""

from collections.abc import Sequence

from delift_core.errors import WorkspaceError
from delift_core.workspace.database import (
    Cursor,
    Database,
    Row,
    fetch_one,
    get_row,
    insert_row,
    missing,
    required_name,
    with_zone,
)
from delift_core.workspace.records import Edit, EditAction, EditState, EditStatus, Marks, NamedFilter, Override

_COLUMNS = "selection_id, number, action, sample_ids, author, why, created_at, state, detail, moved_by"
_LONGEST_TAG = 60

_TAGS = """
SELECT sample_id, detail
FROM (SELECT unnest(sample_ids) AS sample_id, action, detail, number FROM edits
      WHERE selection_id = ? AND state = 'applied' AND action IN ('tag', 'untag'))
GROUP BY sample_id, detail HAVING arg_max(action, number) = 'tag' ORDER BY sample_id, max(number), detail"""

_NOTES_AND_TEXTS = """
SELECT sample_id, action, arg_max(detail, number) AS latest
FROM (SELECT unnest(sample_ids) AS sample_id, action, detail, number FROM edits
      WHERE selection_id = ? AND state = 'applied' AND action IN ('note', 'text'))
GROUP BY sample_id, action HAVING latest <> '' ORDER BY max(number), sample_id"""


class EditLog:
    """The edits of the workspace's selections.

    An id that is not in the workspace raises `WorkspaceError`.
    """

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
        """Records one edit and returns its number, counted from 1; edits that were undone can no longer be redone.

        Args:
            action: "keep" and "drop" overrule the optimiser, "reset" undoes that; "tag" and "untag" add and remove a
                tag; "note" and "text" set a note or a changed record, or remove it with an empty `detail`.
            sample_ids: samples of the selection's pool, at least one; repeats count once.
            author: recorded for the workspace's owner; a visitor's own name is recorded instead.
            why: the reason, may be empty.
            detail: the tag, the note, or the changed record.


        Raises:
            WorkspaceError: no sample is given, one is not in the pool, or a tag is too long
                or empty.
        """
        if action in ("tag", "untag") and not 0 < len(detail.strip()) <= _LONGEST_TAG:
            raise WorkspaceError(f"a tag has 1 to {_LONGEST_TAG} characters, not {len(detail.strip())}: choose another")
        ids = list(dict.fromkeys(sample_ids))
        if not ids:
            raise WorkspaceError(f"edit {action!r} on selection {selection_id} names no sample: choose at least one")
        with self._database.write("edit") as cursor:
            _require_selection(cursor, selection_id)
            _require_in_pool(cursor, selection_id, ids)
            _set_state(cursor, selection_id, "undone", "discarded")
            row = fetch_one(
                cursor, "SELECT coalesce(max(number), 0) + 1 FROM edits WHERE selection_id = ?", [selection_id]
            )
            assert row is not None  # an aggregate without GROUP BY has one row
            number = int(row[0])
            signed, now = self._database.signed(author), self._database.now()
            values = [selection_id, number, action, ids, signed, why, now, "applied", detail.strip(), ""]
            insert_row(cursor, "edits", _COLUMNS, values)
        return number

    def undo(self, selection_id: str, *, author: str = "") -> Edit | None:
        """Undoes the last applied edit and returns it, or None; `author` is recorded as `Edit.moved_by`."""
        return self._step(selection_id, "max", "applied", "undone", author)

    def redo(self, selection_id: str, *, author: str = "") -> Edit | None:
        """Redoes the edit that was undone last and returns it, or None; `author` is recorded as `Edit.moved_by`."""
        return self._step(selection_id, "min", "undone", "applied", author)

    def version(self, selection_id: str) -> tuple[int, int]:
        """Number of edits ever made, and of edits applied now: equal pairs mean equal applied edits.

        Edits are only appended, and apart from discarded ones the applied edits come first.
        """
        with self._database.read() as cursor:
            return _version(cursor, selection_id)

    def can_undo(self, selection_id: str) -> int:
        """Number of edits that can be undone."""
        return self._count(selection_id, "applied")

    def can_redo(self, selection_id: str) -> int:
        """Number of edits that can be redone."""
        return self._count(selection_id, "undone")

    def overrides(self, selection_id: str) -> dict[str, Override]:
        """The applied decisions: sample id to "keep" or "drop", last edited last."""
        with self._database.read() as cursor:
            _require_selection(cursor, selection_id)
            return _overrides(cursor, selection_id)

    def marks(self, selection_id: str) -> Marks:
        """The applied tags, notes and changed records."""
        with self._database.read() as cursor:
            _require_selection(cursor, selection_id)
            return _marks(cursor, selection_id)

    def current(self, selection_id: str) -> EditState:
        """The version, overrides and marks, read in one transaction."""
        with self._database.read() as cursor:
            _require_selection(cursor, selection_id)
            version = _version(cursor, selection_id)
            return EditState(version, _overrides(cursor, selection_id), _marks(cursor, selection_id))

    def history(self, selection_id: str) -> tuple[Edit, ...]:
        """All edits, oldest first, including undone and discarded ones."""
        with self._database.read() as cursor:
            _require_selection(cursor, selection_id)
            rows = cursor.execute(
                f"SELECT {_COLUMNS} FROM edits WHERE selection_id = ? ORDER BY number", [selection_id]
            ).fetchall()
        return tuple(_edit(row) for row in rows)

    def _step(self, selection_id: str, extreme: str, before: EditStatus, after: EditStatus, author: str) -> Edit | None:
        """Moves the first ("min") or last ("max") edit in one state to another."""
        with self._database.write("edit") as cursor:
            _require_selection(cursor, selection_id)
            query = f"SELECT {extreme}(number) FROM edits WHERE selection_id = ? AND state = ?"
            row = fetch_one(cursor, query, [selection_id, before])
            if row is None or row[0] is None:
                return None
            moved = fetch_one(
                cursor,
                f"UPDATE edits SET state = ?, moved_by = ? WHERE selection_id = ? AND number = ? RETURNING {_COLUMNS}",
                [after, self._database.signed(author), selection_id, row[0]],
            )
        return None if moved is None else _edit(moved)

    def _count(self, selection_id: str, state: EditStatus) -> int:
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
    details = cursor.execute(_NOTES_AND_TEXTS, [selection_id]).fetchall()
    tags: dict[str, tuple[str, ...]] = {}
    for sample_id, tag in tagged:
        tags[sample_id] = (*tags.get(sample_id, ()), tag)
    by_kind: dict[str, dict[str, str]] = {"note": {}, "text": {}}
    for sample_id, action, detail in details:
        by_kind[action][sample_id] = detail
    return Marks(tags, by_kind["note"], by_kind["text"])


def _require_selection(cursor: Cursor, selection_id: str) -> None:
    get_row(cursor, "selections", "id", selection_id)


def _require_in_pool(cursor: Cursor, selection_id: str, sample_ids: list[str]) -> None:
    outside = fetch_one(
        cursor,
        """SELECT sample_id FROM (SELECT unnest(?::VARCHAR[]) AS sample_id)
           WHERE sample_id NOT IN (
               SELECT samples.sample_id FROM samples JOIN runs ON samples.dataset_id = runs.pool_id
               JOIN selections ON selections.run_id = runs.id WHERE selections.id = ?)
           LIMIT 1""",
        [sample_ids, selection_id],
    )
    if outside is not None:
        raise WorkspaceError(
            f"sample {outside[0]!r} is not in the pool of selection {selection_id}: name samples of that pool"
        )


def _set_state(cursor: Cursor, selection_id: str, before: EditStatus, after: EditStatus) -> None:
    """Moves all edits in one state to another."""
    cursor.execute(
        "UPDATE edits SET state = ? WHERE selection_id = ? AND state = ?",
        [after, selection_id, before],
    )


def _edit(row: Row) -> Edit:
    selection_id, number, action, sample_ids, author, why, created_at, state, detail, moved_by = row
    when = with_zone(created_at)
    return Edit(selection_id, number, action, tuple(sample_ids), author, why, when, state, detail, moved_by)


class FilterStore:
    """The workspace's named filters; an unknown data set or name raises `WorkspaceError`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def save(self, dataset_id: str, name: str, query: str) -> NamedFilter:
        """Saves a filter of a pool; an earlier one of this name is replaced.

        Args:
            query: the filter, as written in a page's address.

        Raises:
            WorkspaceError: the name is blank.
        """
        name = required_name(name, "filter")
        with self._database.write("filter") as cursor:
            get_row(cursor, "datasets", "id", dataset_id)
            cursor.execute(
                "INSERT OR REPLACE INTO filters VALUES (?, ?, ?, ?)", [dataset_id, name, query, self._database.now()]
            )
        return NamedFilter(name, query)

    def records(self, dataset_id: str) -> tuple[NamedFilter, ...]:
        """The filters of a pool, sorted by name."""
        with self._database.read() as cursor:
            rows = cursor.execute(
                "SELECT name, query FROM filters WHERE dataset_id = ? ORDER BY name", [dataset_id]
            ).fetchall()
        return tuple(NamedFilter(name, query) for name, query in rows)

    def delete(self, dataset_id: str, name: str) -> None:
        """Deletes a filter."""
        with self._database.write("filter") as cursor:
            rows = cursor.execute(
                "DELETE FROM filters WHERE dataset_id = ? AND name = ? RETURNING name", [dataset_id, name]
            )
            if not rows.fetchall():
                raise missing("filter", name)


class ReadLog:
    """Which rows of a data set were read on the reading screen, by anyone who may edit them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, dataset_id: str, sample_ids: Sequence[str], *, reader: str) -> None:
        """Marks rows as read; rows that were read before keep their first reader.

        Args:
            reader: recorded for the workspace's owner; a visitor's own name is recorded instead.

        Raises:
            WorkspaceError: the data set is unknown.
        """
        with self._database.write("edit") as cursor:
            get_row(cursor, "datasets", "id", dataset_id)
            cursor.execute(
                "INSERT OR IGNORE INTO reads SELECT ?, unnest(?::VARCHAR[]), ?, ?",
                [dataset_id, list(dict.fromkeys(sample_ids)), self._database.signed(reader), self._database.now()],
            )

    def count(self, dataset_id: str) -> int:
        """Number of rows that were read. Marks are never removed, so equal counts mean the same rows."""
        with self._database.read() as cursor:
            row = fetch_one(cursor, "SELECT count(*) FROM reads WHERE dataset_id = ?", [dataset_id])
        return 0 if row is None else int(row[0])

    def ids(self, dataset_id: str) -> frozenset[str]:
        """The ids of the rows that were read."""
        with self._database.read() as cursor:
            rows = cursor.execute("SELECT sample_id FROM reads WHERE dataset_id = ?", [dataset_id]).fetchall()
        return frozenset(row[0] for row in rows)
