"""`python -m tests.benchmarks.small`: every benchmark once, on the same parts, at a size that says nothing about speed.

A line of JSON each.
"""

import argparse
import json
import sys

import structlog

from tests.benchmarks import parts
from tests.benchmarks.__main__ import BENCHMARKS

SMALL = {
    "launch": "--media 100 --repeats 2",
    "expand": "--media 100 --repeats 1",
    "submit": "--count 20 --repeats 2",
    "claim": "--queued 2000 --tenants 100 --rounds 3 --wear 1000",
    "fair": "--tenants 2 --queued 2000 --arrivals 3",
    "track": "--count 20 --rate 10 --seconds 2",
    "read": "--jobs 2000 --workflows 20 --repeats 1",
    "pace": "--count 4 --pairs 1",
    "idle": "--count 2",
    "bulkhead": "--seconds 2 --rounds 1",
    "hanging": "--seconds 2 --rounds 1",
    "api": "--jobs 1000 --media 1000 --repeats 3",
    "page": "--jobs 1000 --repeats 3",
}


def main() -> None:
    """Run all of them, one after another."""
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    with parts.shared():
        for name, size in SMALL.items():
            parser = argparse.ArgumentParser()
            BENCHMARKS[name].arguments(parser)
            figures = BENCHMARKS[name].run(parser.parse_args(size.split()))
            sys.stdout.write(json.dumps({"name": name, "figures": figures}) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
