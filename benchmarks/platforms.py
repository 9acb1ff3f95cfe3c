"""Whether the packages that DELIFT Studio needs can be had as wheels, for each system and version of Python.

    python -m benchmarks.platforms [--pinned]

Asks uv (`pip install uv`), which needs an index of packages, to resolve the ranges of pyproject.toml or, with --pinned,
the versions of requirements.txt, for systems other than this one; nothing is installed. pip answers for this machine
alone: `pip download --platform` chooses files of another system by the conditions of this one.
"""

import argparse
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SYSTEMS = {
    "Linux, x86-64": "x86_64-unknown-linux-gnu",
    "Linux, ARM": "aarch64-unknown-linux-gnu",
    "macOS 14, Apple silicon": "aarch64-apple-darwin",
    "macOS 15, Intel": "x86_64-apple-darwin",
    "Windows, x86-64": "x86_64-pc-windows-msvc",
}
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
NOT_EVERYWHERE = ("submodlib-py", "wordllama")


def resolve(uv: str, file: str, system: str, python: str) -> str:
    """What uv makes of a file of requirements for a system: the number of packages, or why there is no answer."""
    command = [uv, "pip", "compile", str(ROOT / file), "--quiet", "--no-header", "--no-annotate"]
    command += ["--only-binary", ":all:", "--python-platform", SYSTEMS[system], "--python-version", python]
    environment = {**os.environ, "MACOSX_DEPLOYMENT_TARGET": "15.0" if "15" in system else "14.0"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        return f"none: {_reason(done.stderr)}"
    names = {line.partition("==")[0].strip() for line in done.stdout.splitlines() if "==" in line}
    lacking = [name for name in NOT_EVERYWHERE if name not in names]
    return f"{len(names)} packages" + (f", without {' and '.join(lacking)}" if lacking else "")


def _reason(said: str) -> str:
    """Which package has no wheel, in the words of uv."""
    words = " ".join(said.split())
    found = re.search(r"([\w-]+)==\S+ has no (?:usable )?wheels", words)
    return f"{found[1]} has no wheels" if found else words[:120]


def answers(uv: str, file: str) -> Iterator[str]:
    """A line of the table for each system."""
    for system in SYSTEMS:
        yield f"| {system} | " + " | ".join(resolve(uv, file, system, python) for python in PYTHONS) + " |"


def main() -> None:
    """Prints one table: a line for each system, a column for each Python."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pinned", action="store_true", help="the versions of requirements.txt instead of the ranges")
    pinned = parser.parse_args().pinned
    uv = shutil.which("uv")
    if uv is None:
        raise SystemExit("uv is needed: pip install uv")
    print("| | " + " | ".join(PYTHONS) + " |\n| --- |" + " --- |" * len(PYTHONS))
    for line in answers(uv, "requirements.txt" if pinned else "pyproject.toml"):
        print(line, flush=True)


if __name__ == "__main__":
    main()
