"""`python -m tests.benchmarks NAME [--json]`: figures as ratios in one run, on real parts. See README.md beside this file."""

import argparse
import json
import sys

import structlog

from tests.benchmarks import api, bulkhead, claim, expand, fair, hanging, idle, launch, pace, page, read, submit, track

BENCHMARKS = {
    "launch": launch,
    "expand": expand,
    "submit": submit,
    "claim": claim,
    "fair": fair,
    "track": track,
    "read": read,
    "pace": pace,
    "idle": idle,
    "bulkhead": bulkhead,
    "hanging": hanging,
    "api": api,
    "page": page,
}


def main() -> int:
    """Run one benchmark and print its figures."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    commands = parser.add_subparsers(dest="name", required=True)
    for name, module in BENCHMARKS.items():
        command = commands.add_parser(name, help=(module.__doc__ or "").splitlines()[0])
        command.add_argument("--json", action="store_true", help="one JSON object on standard output")
        module.arguments(command)
    chosen = parser.parse_args()
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    figures = BENCHMARKS[chosen.name].run(chosen)
    if chosen.json:
        sys.stdout.write(json.dumps(figures) + "\n")
    else:
        for key, value in figures.items():
            sys.stdout.write(f"{key:22} {value}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
