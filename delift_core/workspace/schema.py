"""The tables of a workspace, as numbered migrations.

A migration is applied once, in order, and recorded in the table `migrations` in the same transaction. A released
migration is never changed; a new one is added after it. There are no foreign keys, because DuckDB cannot alter a table
that one refers to: the stores check references and delete dependent rows.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import duckdb

from delift_core.errors import WorkspaceError


@dataclass(frozen=True, slots=True)
class Migration:
    """One step of the schema: `statements` bring a file from version - 1 to `version`."""

    version: int
    name: str
    statements: tuple[str, ...]


_DATASETS = """
CREATE TABLE datasets (
    id VARCHAR PRIMARY KEY,
    number BIGINT NOT NULL,
    role VARCHAR NOT NULL CHECK (role IN ('pool', 'target', 'existing', 'heldout')),
    name VARCHAR NOT NULL,
    origin VARCHAR NOT NULL,
    format VARCHAR NOT NULL,
    mapping_prompt VARCHAR,
    mapping_response VARCHAR,
    mapping_system VARCHAR,
    content_hash VARCHAR NOT NULL,
    n_samples BIGINT NOT NULL CHECK (n_samples >= 0),
    n_problems BIGINT NOT NULL CHECK (n_problems >= 0),
    created_at TIMESTAMP NOT NULL
)"""

_SAMPLES = """
CREATE TABLE samples (
    dataset_id VARCHAR NOT NULL,
    position BIGINT NOT NULL CHECK (position >= 0),
    sample_id VARCHAR NOT NULL,
    content_hash VARCHAR NOT NULL,
    source VARCHAR NOT NULL,
    line BIGINT NOT NULL,
    messages STRUCT("role" VARCHAR, content VARCHAR)[] NOT NULL,
    raw VARCHAR NOT NULL,
    PRIMARY KEY (dataset_id, position)
)"""

# NULL for a conversation of texts alone that is scored whole. `turn` is an index into `messages`.
_STRUCTURE = (
    "STRUCT(tools VARCHAR, scored VARCHAR, turns STRUCT(turn BIGINT, thoughts VARCHAR, "
    'calls STRUCT("name" VARCHAR, arguments VARCHAR, id VARCHAR)[], call_id VARCHAR, "name" VARCHAR)[])'
)

_PROBLEMS = """
CREATE TABLE problems (
    dataset_id VARCHAR NOT NULL,
    position BIGINT NOT NULL,
    kind VARCHAR NOT NULL,
    source VARCHAR NOT NULL,
    line BIGINT NOT NULL,
    field VARCHAR NOT NULL,
    message VARCHAR NOT NULL,
    remedy VARCHAR NOT NULL,
    excerpt VARCHAR NOT NULL,
    PRIMARY KEY (dataset_id, position)
)"""

_RUNS = """
CREATE TABLE runs (
    id VARCHAR PRIMARY KEY,
    number BIGINT NOT NULL,
    pool_id VARCHAR NOT NULL,
    target_id VARCHAR,
    existing_id VARCHAR,
    model VARCHAR NOT NULL,
    template VARCHAR NOT NULL CHECK (template IN ('chat', 'plain', 'paper', 'auto')),
    device VARCHAR NOT NULL,
    dtype VARCHAR NOT NULL,
    status VARCHAR NOT NULL
        CHECK (status IN ('queued', 'running', 'done', 'cancelled', 'failed', 'interrupted')),
    context_key VARCHAR NOT NULL,
    model_revision VARCHAR NOT NULL,
    created_at TIMESTAMP NOT NULL,
    finished_at TIMESTAMP,
    message VARCHAR NOT NULL,
    truncated BIGINT NOT NULL CHECK (truncated >= 0),
    n_pairs BIGINT NOT NULL CHECK (n_pairs >= 0)
)"""

# Arrays are BLOBs of little-endian int64 or float64, which are read back bit for bit.
_SELECTIONS = """
CREATE TABLE selections (
    id VARCHAR PRIMARY KEY,
    number BIGINT NOT NULL,
    run_id VARCHAR NOT NULL,
    name VARCHAR NOT NULL,
    metric VARCHAR NOT NULL,
    seed BIGINT NOT NULL,
    created_at TIMESTAMP NOT NULL,
    stage VARCHAR NOT NULL CHECK (stage IN ('instruction', 'task', 'continual')),
    eta DOUBLE NOT NULL,
    nu DOUBLE NOT NULL,
    self_coverage DOUBLE NOT NULL,
    budget_unit VARCHAR NOT NULL CHECK (budget_unit IN ('rows', 'percent', 'tokens')),
    budget_amount DOUBLE NOT NULL,
    n_chosen BIGINT NOT NULL,
    n_pool BIGINT NOT NULL,
    objective_value DOUBLE NOT NULL,
    upper_bound DOUBLE NOT NULL,
    chosen BLOB NOT NULL,
    chosen_gains BLOB NOT NULL,
    greedy_order BLOB NOT NULL,
    greedy_gains BLOB NOT NULL,
    residual_gains BLOB NOT NULL,
    random_values BLOB NOT NULL
)"""

_EDITS = """
CREATE TABLE edits (
    selection_id VARCHAR NOT NULL,
    number BIGINT NOT NULL,
    action VARCHAR NOT NULL CHECK (action IN ('keep', 'drop', 'reset')),
    sample_ids VARCHAR[] NOT NULL,
    author VARCHAR NOT NULL,
    why VARCHAR NOT NULL,
    created_at TIMESTAMP NOT NULL,
    state VARCHAR NOT NULL CHECK (state IN ('applied', 'undone', 'discarded')),
    PRIMARY KEY (selection_id, number)
)"""

_EXPORTS = """
CREATE TABLE exports (
    id VARCHAR PRIMARY KEY,
    number BIGINT NOT NULL,
    selection_id VARCHAR NOT NULL,
    path VARCHAR NOT NULL,
    sha256 VARCHAR NOT NULL,
    n_records BIGINT NOT NULL CHECK (n_records >= 0),
    format VARCHAR NOT NULL,
    created_at TIMESTAMP NOT NULL
)"""

_SETTINGS = "CREATE TABLE settings (key VARCHAR PRIMARY KEY, value VARCHAR NOT NULL)"

# DuckDB cannot change a CHECK, so the table is created again.
_EDITS_WITH_MARKS = """
CREATE TABLE edits (
    selection_id VARCHAR NOT NULL,
    number BIGINT NOT NULL,
    action VARCHAR NOT NULL CHECK (action IN ('keep', 'drop', 'reset', 'tag', 'untag', 'note', 'text')),
    sample_ids VARCHAR[] NOT NULL,
    author VARCHAR NOT NULL,
    why VARCHAR NOT NULL,
    created_at TIMESTAMP NOT NULL,
    state VARCHAR NOT NULL CHECK (state IN ('applied', 'undone', 'discarded')),
    detail VARCHAR NOT NULL,
    moved_by VARCHAR NOT NULL,
    PRIMARY KEY (selection_id, number)
)"""

_FILTERS = """
CREATE TABLE filters (
    dataset_id VARCHAR NOT NULL,
    name VARCHAR NOT NULL,
    query VARCHAR NOT NULL,
    created_at TIMESTAMP NOT NULL,
    PRIMARY KEY (dataset_id, name)
)"""

# Codes are BLOBs of little-endian int16; a row at place -1 says that the signals were computed.
_SIGNALS = """
CREATE TABLE signals (
    dataset_id VARCHAR NOT NULL,
    place BIGINT NOT NULL,
    version BIGINT NOT NULL,
    name VARCHAR NOT NULL,
    labels VARCHAR NOT NULL,
    codes BLOB NOT NULL,
    PRIMARY KEY (dataset_id, place)
)"""

_READS = """
CREATE TABLE reads (
    dataset_id VARCHAR NOT NULL,
    sample_id VARCHAR NOT NULL,
    reader VARCHAR NOT NULL,
    read_at TIMESTAMP NOT NULL,
    PRIMARY KEY (dataset_id, sample_id)
)"""

MIGRATIONS: tuple[Migration, ...] = (
    Migration(
        1,
        "first tables",
        (
            "CREATE SEQUENCE dataset_numbers",
            "CREATE SEQUENCE run_numbers",
            "CREATE SEQUENCE selection_numbers",
            "CREATE SEQUENCE export_numbers",
            _DATASETS,
            _SAMPLES,
            _PROBLEMS,
            _RUNS,
            _SELECTIONS,
            _EDITS,
            _EXPORTS,
            _SETTINGS,
        ),
    ),
    Migration(
        2,
        "selections around fixed rows",
        (
            "ALTER TABLE selections ADD COLUMN fixed_kept BLOB",
            "ALTER TABLE selections ADD COLUMN fixed_dropped BLOB",
        ),
    ),
    Migration(
        3,
        "tags, notes and texts",
        (
            "CREATE TABLE edits_before AS SELECT * FROM edits",
            "DROP TABLE edits",
            _EDITS_WITH_MARKS,
            "INSERT INTO edits SELECT *, '', '' FROM edits_before",
            "DROP TABLE edits_before",
        ),
    ),
    Migration(4, "runs on a budget of pairs", ("ALTER TABLE runs ADD COLUMN pairs VARCHAR DEFAULT 'all'",)),
    Migration(5, "which turns are scored", ("ALTER TABLE datasets ADD COLUMN turns VARCHAR DEFAULT 'last'",)),
    Migration(6, "named filters", (_FILTERS,)),
    Migration(
        7,
        "quotas",
        (
            "ALTER TABLE selections ADD COLUMN quotas VARCHAR",
            "ALTER TABLE selections ADD COLUMN quota_codes BLOB",
        ),
    ),
    Migration(
        8,
        "remedies",
        (
            "ALTER TABLE datasets ADD COLUMN choices VARCHAR DEFAULT '[]'",
            "ALTER TABLE datasets ADD COLUMN sha256 VARCHAR DEFAULT ''",
            "ALTER TABLE problems ADD COLUMN raw VARCHAR DEFAULT ''",
        ),
    ),
    Migration(9, "signals", (_SIGNALS,)),
    Migration(10, "engines", ("ALTER TABLE selections ADD COLUMN engine VARCHAR DEFAULT 'auto'",)),
    Migration(11, "methods", ("ALTER TABLE selections ADD COLUMN method VARCHAR DEFAULT 'delift'",)),
    Migration(12, "scaling", ("ALTER TABLE selections ADD COLUMN scaling VARCHAR DEFAULT 'clamp'",)),
    Migration(13, "target help", ("ALTER TABLE selections ADD COLUMN target_help VARCHAR DEFAULT 'bonus'",)),
    Migration(14, "columns of the prompt", ("ALTER TABLE datasets ADD COLUMN mapping_parts VARCHAR DEFAULT '[]'",)),
    Migration(
        15,
        "origins",
        (
            "ALTER TABLE datasets ADD COLUMN options VARCHAR",
            "ALTER TABLE datasets ADD COLUMN hub_commit VARCHAR DEFAULT ''",
        ),
    ),
    Migration(
        16,
        "rendering",
        (
            "ALTER TABLE runs ADD COLUMN template_arguments VARCHAR DEFAULT ''",
            "ALTER TABLE runs ADD COLUMN rendering VARCHAR DEFAULT ''",
        ),
    ),
    Migration(17, "rows that were read", (_READS,)),
    Migration(
        18,
        "thoughts, tool calls and tools",
        (
            f"ALTER TABLE samples ADD COLUMN structure {_STRUCTURE}",
            # Data sets of before hold texts alone, and are read so again.
            "UPDATE datasets SET options = regexp_replace(options, '}$', ',\"text_only\":true}')",
        ),
    ),
)

_LOG = """
CREATE TABLE IF NOT EXISTS migrations (
    version INTEGER PRIMARY KEY,
    name VARCHAR NOT NULL,
    applied_at TIMESTAMP NOT NULL
)"""


def current_version(connection: duckdb.DuckDBPyConnection) -> int:
    """The schema version of a file; 0 for an empty one."""
    known = connection.execute("SELECT count(*) FROM duckdb_tables() WHERE table_name = 'migrations'").fetchall()
    if known[0][0] == 0:
        return 0
    return int(connection.execute("SELECT coalesce(max(version), 0) FROM migrations").fetchall()[0][0])


def migrate(
    connection: duckdb.DuckDBPyConnection, folder: Path, now: datetime, migrations: Sequence[Migration] = MIGRATIONS
) -> tuple[int, ...]:
    """Applies pending migrations.

    Args:
        connection: open for writing, without a transaction.
        folder: the workspace folder, for messages.
        now: naive UTC, recorded with each migration.
        migrations: in ascending order of version.

    Returns:
        The versions that were applied, in order.

    Raises:
        WorkspaceError: the file has a newer version, or a migration failed and was rolled back.
    """
    found, newest = current_version(connection), migrations[-1].version
    if found > newest:
        raise WorkspaceError(
            f"workspace {folder} has schema version {found}, this DELIFT Studio knows up to {newest}: "
            "open it with a newer DELIFT Studio, or choose another workspace folder"
        )
    pending = [migration for migration in migrations if migration.version > found]
    for migration in pending:
        _apply(connection, folder, migration, now)
    return tuple(migration.version for migration in pending)


def _apply(connection: duckdb.DuckDBPyConnection, folder: Path, migration: Migration, now: datetime) -> None:
    connection.execute("BEGIN TRANSACTION")
    try:
        connection.execute(_LOG)
        for statement in migration.statements:
            connection.execute(statement)
        connection.execute("INSERT INTO migrations VALUES (?, ?, ?)", [migration.version, migration.name, now])
        connection.execute("COMMIT")
    except BaseException as error:
        with suppress(duckdb.Error):  # a failed COMMIT has already rolled back
            connection.execute("ROLLBACK")
        if not isinstance(error, duckdb.Error):
            raise
        reason = str(error).splitlines()[0]
        raise WorkspaceError(
            f"workspace {folder} could not be brought to schema version {migration.version} ({migration.name}): "
            f"{reason}; nothing was changed: remove the cause, or use the DELIFT Studio that last opened it"
        ) from error
