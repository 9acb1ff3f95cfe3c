"""Token counts of data sets, one set for each tokenizer.

It knows nothing of tokenizers: what a key stands for is the caller's business.
"""

import numpy as np

from delift_core.errors import WorkspaceError
from delift_core.workspace.database import Database, fetch_one, missing
from delift_core.workspace.records import TokenCounts


class TokenCountStore:
    """The workspace's token counts."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, dataset_id: str, tokenizer_key: str, counts: TokenCounts) -> None:
        """Keeps the counts of a data set, in place of any under the same key.

        Args:
            dataset_id: which data set.
            tokenizer_key: names the tokenizer, its revision and the template.
            counts: two arrays of as many entries as the data set has samples, >= 0.

        Raises:
            WorkspaceError: there is no such data set, or the arrays do not fit it.
        """
        import pyarrow as pa

        prompt, response = (np.asarray(column, dtype=np.int64) for column in (counts.prompt, counts.response))
        with self._database.write() as cursor:
            row = fetch_one(cursor, "SELECT n_samples FROM datasets WHERE id = ?", [dataset_id])
            if row is None:
                raise missing("data set", dataset_id)
            if prompt.shape != (row[0],) or response.shape != (row[0],):
                raise WorkspaceError(
                    f"data set {dataset_id!r} has {row[0]} samples, got token counts of shapes {prompt.shape} and "
                    f"{response.shape}: count the tokens of this data set"
                )
            cursor.execute(
                "DELETE FROM token_counts WHERE dataset_id = ? AND tokenizer_key = ?", [dataset_id, tokenizer_key]
            )
            cursor.register(
                "incoming", pa.table({"position": np.arange(row[0]), "prompt": prompt, "response": response})
            )
            cursor.execute(
                "INSERT INTO token_counts SELECT ?, ?, position, prompt, response FROM incoming",
                [dataset_id, tokenizer_key],
            )
            cursor.unregister("incoming")

    def get(self, dataset_id: str, tokenizer_key: str) -> TokenCounts | None:
        """The counts under a key, in file order; None where there are none. This is a read-only operation."""
        with self._database.read() as cursor:
            rows = cursor.execute(
                "SELECT prompt_tokens, response_tokens FROM token_counts "
                "WHERE dataset_id = ? AND tokenizer_key = ? ORDER BY position",
                [dataset_id, tokenizer_key],
            ).fetchall()
        if not rows:
            return None
        columns = np.array(rows, dtype=np.int64)
        return TokenCounts(columns[:, 0].copy(), columns[:, 1].copy())
