"""The table of benchmarks/results.md: three stages on public data, every method, 30 % of each pool.

    python -m benchmarks.results DATA [--rows 60] [--sets 20] [--seeds 3] [--stages task,continual] [--methods a,b]
                                      [--model bundled] [--dtype auto] [--out FOLDER]

DATA holds alpaca_en_demo.json, gsm8k_train_400.jsonl and sharegpt_dummy_conversation.json. Instruction: Alpaca rows,
measured on other Alpaca rows. Task: Alpaca rows with a GSM8K target, measured on other GSM8K rows. Continual: GSM8K
and ShareGPT rows after existing Alpaca rows, measured on other rows of both. Rows of at most --longest characters are
taken, in file order. Scoring and fine-tuning are kept under FOLDER: what was done is not done again. Each table is
`benchmarks.proof`'s.
"""

import argparse
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from delift_core.data.loading import load_file
from delift_core.samples import Sample


@dataclass(frozen=True, slots=True)
class Stage:
    """The files of one table."""

    name: str
    pool: Path
    heldout: Path
    role: str = ""
    side: Path | None = None


def write(path: Path, rows: list[Sample]) -> Path:
    """Writes rows as messages, one per line."""
    lines = [
        json.dumps({"messages": [{"role": m.role, "content": m.content} for m in row.messages]}, ensure_ascii=False)
        for row in rows
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def stages(data: Path, folder: Path, rows: int, sets: int, heldout: int, longest: int) -> tuple[Stage, ...]:
    """Splits the files; pool, held-out rows and sets are disjoint."""

    def usable(name: str) -> list[Sample]:
        once = {row.content_hash: row for row in load_file(data / name).samples}
        return [row for row in once.values() if sum(len(m.content) for m in row.messages) <= longest]

    alpaca, gsm8k = usable("alpaca_en_demo.json"), usable("gsm8k_train_400.jsonl")
    sharegpt = usable("sharegpt_dummy_conversation.json")
    half = rows // 2
    mixed = [*gsm8k[:half], *sharegpt[: rows - half]]
    seen = rows - half
    unseen = [*gsm8k[half : half + heldout // 2], *sharegpt[seen : seen + heldout - heldout // 2]]
    pool = write(folder / "alpaca_pool.jsonl", alpaca[:rows])
    return (
        Stage("Instruction", pool, write(folder / "alpaca_heldout.jsonl", alpaca[rows : rows + heldout])),
        Stage(
            "Task",
            pool,
            write(folder / "gsm8k_heldout.jsonl", gsm8k[sets : sets + heldout]),
            "target",
            write(folder / "gsm8k_target.jsonl", gsm8k[:sets]),
        ),
        Stage(
            "Continual",
            write(folder / "mixed_pool.jsonl", mixed),
            write(folder / "mixed_heldout.jsonl", unseen),
            "existing",
            write(folder / "alpaca_existing.jsonl", alpaca[:sets]),
        ),
    )


def main() -> None:
    """Prints a table for each stage."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--rows", type=int, default=60)
    parser.add_argument("--sets", type=int, default=20, help="target rows, and existing rows")
    parser.add_argument("--heldout", type=int, default=60, help="rows to measure on")
    parser.add_argument("--longest", type=int, default=500)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--stages", default="instruction,task,continual", help="those to run, by name")
    parser.add_argument("--methods", help="as benchmarks.proof has them; default: all")
    parser.add_argument("--model", default="bundled")
    parser.add_argument("--dtype", default="auto", help="of the scoring; fine-tuning is in float32")
    parser.add_argument("--out", type=Path, default=Path(".results"))
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    for stage in stages(asked.data, asked.out, asked.rows, asked.sets, asked.heldout, asked.longest):
        if stage.name.lower() in asked.stages.split(","):
            run(stage, asked)


def run(stage: Stage, asked: argparse.Namespace) -> None:
    """Scores a stage's pool and prints its table; stages are independent and can run in parallel."""
    side = [f"--{stage.role}", str(stage.side)] if stage.side else []
    workspace, out = asked.out / f"workspace-{stage.name.lower()}", asked.out / stage.name.lower()
    print(f"\n## {stage.name}\n", flush=True)
    score = [sys.executable, "-m", "delift_core", "score", str(stage.pool), *side, "--workspace", str(workspace)]
    subprocess.run([*score, "--model", asked.model, "--dtype", asked.dtype], check=True, stdout=subprocess.DEVNULL)
    prove = [sys.executable, "-m", "benchmarks.proof", str(workspace), str(stage.pool), "--heldout", str(stage.heldout)]
    prove += [
        *side,
        "--rows",
        str(asked.rows),
        "--heldout-rows",
        str(asked.heldout),
        "--seeds",
        str(asked.seeds),
        "--method-runs",
        str(asked.seeds),
    ]
    prove += ["--epochs", str(asked.epochs), "--model", asked.model, "--out", str(out)]
    prove += ["--methods", asked.methods] if asked.methods else []
    subprocess.run(prove, check=True)


if __name__ == "__main__":
    main()
