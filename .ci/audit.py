"""`make audit` runs it: are there known holes in what the image runs? That nobody could be asked is not the same as none.

Exit code 0: none is known. 1: there are holes, or the audit itself failed. 2: not everything could be looked up.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

LOCK = Path(__file__).parents[1] / "requirements.lock"


def verdict(found: list[dict[str, Any]]) -> tuple[int, list[str]]:
    """Exit code and words.

    Args:
        found: The packages, as pip-audit says them.
    """
    holes = [
        f"{package['name']} {package['version']}: {hole['id']}; mended in {', '.join(hole['fix_versions']) or 'no version yet'}"
        for package in found
        for hole in package.get("vulns", [])
    ]
    unseen = [package["name"] for package in found if "skip_reason" in package]
    words = [*holes]
    if unseen:
        words.append(f"not looked up, the advisory database does not answer for them: {', '.join(unseen)}")
    if len(unseen) == len(found):
        words = [
            "nothing was looked up: no advisory database can be reached from here, or it knows none of the packages"
        ]
    return (1 if holes else 2 if unseen or not found else 0), words or [f"{len(found)} packages, no known hole"]


def main() -> int:
    """Ask, and print what came of it."""
    command = [
        "pip-audit",
        "--require-hashes",
        "--disable-pip",
        "--progress-spinner=off",
        "--format=json",
        "--timeout=10",
    ]
    asked = subprocess.run(
        [Path(sys.executable).parent / command[0], *command[1:], *sys.argv[1:], "--requirement", LOCK],
        capture_output=True,
        text=True,
        timeout=600,
    )
    try:
        found = json.loads(asked.stdout)["dependencies"]
    except ValueError:
        print(
            f"audit: nothing was looked up: {(asked.stderr.strip().splitlines() or ['pip-audit said nothing'])[-1][:300]}"
        )
        return 2
    code, words = verdict(found)
    print(*(f"audit: {word}" for word in words), sep="\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
