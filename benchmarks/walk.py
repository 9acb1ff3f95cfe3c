"""How far one `curate` walks through the code: files that it enters, and how often it climbs.

    python -m benchmarks.walk [--against PATH_OF_ANOTHER_CHECKOUT]

The command curates six rows with a tiny random model, in a process of its own for each checkout. A file is entered when
one of its functions is called; what runs while a module is imported does not count. A climb is a call into another part
of the same floor or a higher one (see `benchmarks.layout`), such as a callback; calls between two files count once.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.layout import floors, part_of

ROWS = [{"instruction": f"Say {n}.", "output": f"It is {n}{' or so' * (n % 3)}."} for n in range(6)]
INSIDE = """
import json, sys, threading
from pathlib import Path

core, counted = str(Path("delift_core").resolve()) + "/", set()

def place(frame):
    while frame is not None and not frame.f_code.co_filename.startswith(core):
        frame = frame.f_back
    return frame

def name(frame):
    return frame.f_code.co_filename[len(core):]

def is_function(frame):
    return bool(frame.f_code.co_flags & 1)  # CO_OPTIMIZED: neither a module's body nor a class's

def watch(frame, event, argument):
    if event == "call" and frame.f_code.co_filename.startswith(core) and is_function(frame):
        caller = place(frame.f_back)
        if caller is None or is_function(caller):
            counted.add(("" if caller is None else name(caller), name(frame)))

from delift_core.cli import main
threading.setprofile(watch)
sys.setprofile(watch)
code = main(sys.argv[2:])
sys.setprofile(None)
Path(sys.argv[1]).write_text(json.dumps([code, list(counted)]))
"""


def walk(root: Path, folder: Path) -> tuple[set[str], set[tuple[str, str]]]:
    """The files of a checkout that the command enters, and its climbs as (calling file, called file).

    Args:
        folder: holds the pool and the model; the workspace and the output are made in it.
    """
    found, work = folder / "found.json", folder / root.resolve().as_posix().strip("/").replace("/", "-")
    words = ["curate", folder / "pool.jsonl", "--stage", "instruction", "--budget", "50%", "--device", "cpu"]
    words += ["--model", folder / "tiny", "--workspace", work, "--out", work.with_suffix(".jsonl")]
    environment = {**os.environ, "PYTHONPATH": str(root.resolve())}
    command = [sys.executable, "-c", INSIDE, found, *words]
    subprocess.run([*map(str, command)], check=True, cwd=root, env=environment, stdout=subprocess.DEVNULL)
    code, calls = json.loads(found.read_text())
    if code:
        raise SystemExit(f"{root}: curate ended with code {code}")
    floor_of, entered = floors(root), {called for _, called in calls}

    def climbs(caller: str, called: str) -> bool:
        start, end = (part_of(tuple(file.removesuffix(".py").split("/"))) for file in (caller, called))
        known = start in floor_of and end in floor_of and start != end
        return known and floor_of[start or ""] <= floor_of[end or ""]

    return entered, {(caller, called) for caller, called in calls if climbs(caller, called)}


def main() -> None:
    from tests.tiny_models import save_model

    parser = argparse.ArgumentParser(description="How far one `curate` walks through the code.")
    parser.add_argument("--against", type=Path, help="another checkout, shown first")
    parser.add_argument("--list", action="store_true", help="also name the climbs of this checkout")
    arguments = parser.parse_args()
    here = Path(__file__).resolve().parents[1]
    roots = [arguments.against, here] if arguments.against else [here]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_model(folder / "tiny")
        (folder / "pool.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in ROWS), "utf-8")
        walks = [walk(root, folder) for root in roots]
    print("| files entered | " + " | ".join(f"{len(entered):,}" for entered, _ in walks) + " |")
    print("| climbs | " + " | ".join(f"{len(climbs):,}" for _, climbs in walks) + " |")
    if arguments.list:
        print("\n".join(f"{caller} -> {called}" for caller, called in sorted(walks[-1][1])))


if __name__ == "__main__":
    main()
