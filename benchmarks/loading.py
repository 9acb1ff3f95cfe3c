"""Loading a million rows of Alpaca, about 1 GB, next to `datasets` and DuckDB reading the same file.

    python -m benchmarks.loading [--rows 1000000] [--folder DIR] [--written FILE]

Writes the file first (or takes one written before, with --keep), then reads it with each reader in a process of its
own: rows a second, and the most memory that the process held. "ours" is what the app does: every record is parsed,
checked, hashed and kept as it was found, then stored in a workspace. `datasets` makes its Arrow cache, DuckDB fills a
table in a file.
"""

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

READERS = ("ours", "datasets", "duckdb")
WORDS = ("the", "a", "row", "of", "data", "says", "what", "model", "learns", "good", "short", "answer", "why", "how")


def write_rows(path: Path, rows: int) -> None:
    """Writes rows of about 1,000 bytes, each with different words."""
    generator = random.Random(0)
    with path.open("w", encoding="utf-8") as out:
        for number in range(rows):
            asked = f"Question {number}: " + " ".join(generator.choices(WORDS, k=20))
            answered = " ".join(generator.choices(WORDS, k=160))
            record = {"instruction": asked, "input": "" if number % 5 else "é " + asked[:60], "output": answered}
            out.write(json.dumps(record, ensure_ascii=False) + "\n")


def read_ours(path: Path, folder: Path) -> int:
    """Reads the rows into a new workspace."""
    from delift_core.data.loading import load_file
    from delift_core.system.callbacks import Progress
    from delift_core.workspace import Workspace

    def show(progress: Progress) -> None:
        if progress.message.endswith("00,000 rows"):
            print(f"{time.perf_counter() - START:.0f} s: {progress}", file=sys.stderr)

    with Workspace.open(folder / "workspace") as workspace:
        dataset = load_file(path, watch=show)
        print(f"parsed after {time.perf_counter() - START:.1f} s", file=sys.stderr)
        return workspace.datasets.add(dataset, role="pool", watch=show).n_samples


def read_datasets(path: Path, folder: Path) -> int:
    """Reads the rows into a new Arrow cache."""
    from datasets import load_dataset

    return len(load_dataset("json", data_files=str(path), split="train", cache_dir=str(folder / "cache")))


def read_duckdb(path: Path, folder: Path) -> int:
    """Reads the rows into a table of a new database file."""
    import duckdb

    connection = duckdb.connect(str(folder / "rows.duckdb"))
    connection.execute("CREATE TABLE rows AS SELECT * FROM read_json_auto(?)", [str(path)])
    return int(connection.execute("SELECT count(*) FROM rows").fetchall()[0][0])


def measure(reader: str, path: Path) -> dict[str, object]:
    """Measures one reader in this process, for the parent process."""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        read = {"ours": read_ours, "datasets": read_datasets, "duckdb": read_duckdb}[reader]
        rows = read(path, Path(folder))
        seconds = time.perf_counter() - START
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20)
    return {"reader": reader, "rows": rows, "seconds": seconds, "gib": peak}


def main() -> None:
    """Writes the rows, reads them with each reader, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, default=None)
    parser.add_argument("--only", choices=READERS)
    parser.add_argument("--file", type=Path)
    parser.add_argument("--written", type=Path, help="a file that was written by an earlier run with --keep")
    parser.add_argument("--keep", type=Path, help="only write the rows, to this file")
    options = parser.parse_args()
    if options.only:
        print(json.dumps(measure(options.only, options.file)))
        return
    if options.keep:
        write_rows(options.keep, options.rows)
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        path = options.written or Path(folder) / "alpaca.jsonl"
        if not options.written:
            write_rows(path, options.rows)
        print(f"{path.stat().st_size / 1e9:.2f} GB")
        print("| reader | rows | seconds | rows/s | peak GiB |\n| --- | --- | --- | --- | --- |", flush=True)
        for reader in READERS:
            command = [sys.executable, "-m", "benchmarks.loading", "--only", reader, "--file", str(path)]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)  # noqa: S603
            found = json.loads(done.stdout.splitlines()[-1])
            speed, peak = f"{found['rows'] / found['seconds']:,.0f}", f"{found['gib']:.2f}"
            print(
                f"| {reader} | {found['rows']:,} | {found['seconds']:.1f} | {speed} | {peak} |",
                flush=True,
            )


START = time.perf_counter()

if __name__ == "__main__":
    main()
