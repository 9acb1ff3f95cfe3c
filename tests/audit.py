"""Looks the pinned packages up among known vulnerabilities, where that can be reached: `make check` runs it.

Ends with 1 where one is known. Without a network, or with an index that has no such list, it says so and ends with 0.
What pip-audit itself prints is not passed on: it names hosts. `AUDIT_IGNORE="ID ID"` leaves out what was looked at.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PATIENCE_SECONDS = 60


def verdict(output: str) -> tuple[int, list[str]]:
    """Exit code and lines for what pip-audit printed as JSON."""
    try:
        packages = json.loads(output)["dependencies"]
    except (ValueError, KeyError, TypeError):
        return 0, ["known vulnerabilities: the list could not be reached, nothing was looked up"]
    seen = [package for package in packages if "vulns" in package]
    if not seen:
        return 0, ["known vulnerabilities: the index has no list of them, nothing was looked up"]
    found = [(package, one) for package in seen for one in package["vulns"]]
    lines = [
        f"{package['name']} {package['version']}: {one['id']}, "
        f"mended in {' '.join(one['fix_versions']) or 'no version'}"
        for package, one in found
    ]
    told = f"known vulnerabilities: {len(found):,} in {len(seen):,} of {len(packages):,} packages looked up"
    return (1 if found else 0), [*lines, told]


def main() -> int:
    """Asks once, and says what came of it."""
    command = [sys.executable, "-m", "pip_audit", "-r", str(ROOT / "requirements.txt"), "--no-deps", "--disable-pip"]
    command += ["--format", "json", "--progress-spinner", "off", "--timeout", "5"]
    for name in os.environ.get("AUDIT_IGNORE", "").split():
        command += ["--ignore-vuln", name]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)
        output = done.stdout
    except subprocess.TimeoutExpired:
        output = ""
    code, lines = verdict(output)
    print("\n".join(lines))
    return code


if __name__ == "__main__":
    sys.exit(main())
